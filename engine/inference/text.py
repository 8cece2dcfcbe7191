"""The C text of a noise model: its structs, and its snippets as functions, from the declaration."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.devices.base import MAX_NODES
from engine.inference.base import NoiseModel, find_noise_model
from engine.jit.programs import Program
from engine.jit.source import line_directive
from engine.jit.unit import Unit

HERE = Path(__file__).parent


@functools.cache
def noise_program(name: str, backend: str) -> Program:
    """The kernels of one noise model."""
    return Program(noise_text(name), backend)


def noise_text(name: str) -> str:
    """One translation unit: physics, the noise model, and the kernels that program and read."""
    model = find_noise_model(name)
    parts = _structs(model)
    parts += _function(model, "program", "float& g, Kept& c")
    parts += _function(model, "drift", "float& g, const Kept& c, const Moment& m")
    unit = Unit({"model/noise.cuh": "\n".join(parts)})
    return unit.text("inference/conductance.cu")


def noise_floats(model: NoiseModel, params: Mapping[str, Any]) -> list[float]:
    """The parameters in the order of the C struct `NoiseModel`."""
    flat: list[float] = []
    for name, param in model.params.items():
        value = params[name]
        if param.kind is list:
            flat += [
                *map(float, value),
                *([0.0] * (MAX_NODES - len(value))),
                float(len(value)),
            ]
        else:
            flat.append(float(value))
    return [*flat, 0.0]


def _structs(model: NoiseModel) -> list[str]:
    fields = [
        f"    float {name}[{MAX_NODES}], {name}_n;"
        if param.kind is list
        else f"    float {name};"
        for name, param in model.params.items()
    ]
    kept = list(model.kept)
    moment = [
        f"    m.{name} = {expression};" for name, expression in model.moment.items()
    ]
    return [
        "struct NoiseModel {", *fields, "    float none;", "};",
        f"struct Kept {{ float {', '.join([*kept, 'none'])}; }};",
        f"#define KEPT {len(kept)}",
        "FN void store_kept(float* r, i64 stride, const Kept& c) {",
        *(f"    r[{i} * stride] = c.{name};" for i, name in enumerate(kept)), "}",
        f"struct Moment {{ float {', '.join([*model.moment, 'none'])}; }};",
        "FN Moment moment_of(const NoiseModel& p, float t) {", "    Moment m = {};", *moment, "    return m;", "}",
        "FN Kept kept_of(Laned<float>* v, int l) {", "    Kept c = {};",
        *(f"    c.{name} = v[{i}][l];" for i, name in enumerate(kept)), "    return c;", "}",
    ]  # fmt: skip


def _function(model: NoiseModel, event: str, arguments: str) -> list[str]:
    snippet = getattr(model, event)
    numbers = iter(range(1000))
    body = re.sub(r"\bnoise\(\)", lambda _: f"z_[{next(numbers)}]", snippet)
    count = len(re.findall(r"\bnoise\(\)", snippet))
    path = model.path or str(HERE / "models" / f"{model.name}.py")
    lines = (
        Path(path).read_text(encoding="utf-8").partition(snippet)[0].count("\n") + 1
        if snippet
        else 1
    )
    return [
        f"#define {event.upper()}_NOISE {count}",
        f"FN void {event}_device({arguments}, const NoiseModel& p, const Reach& r, float t, const float* z_) {{",
        "float g_max = r.g_max, g_min = r.g_min;",
        line_directive(lines, path), body, line_directive(1, f"made from {path}"), "}",
    ]  # fmt: skip
