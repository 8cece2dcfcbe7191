"""The C text of a device: structs, loads and stores, and its snippets, from the declaration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.devices._common import BASE
from engine.devices.base import BASE_CELLS, MAX_NODES, Device, find_device
from engine.jit.unit import Unit, unit_text

# Kernel files of an array; each includes what it needs.
CELLS = ("cells/construct.cu", "cells/array.cu", "trains/trains.cu", "update/exact.cu")
GPU_UPDATES = (
    *(
        "trains/gpu/masks.cu",
        "update/gpu/mark_hits.cu",
        "update/gpu/warp_per_32_cells.cu",
    ),
    *("update/gpu/thread_per_cell.cu", "update/gpu/thread_per_pulsed_cell.cu"),
)
CPU_UPDATES = ("update/cpu/rows.cu",)
PRODUCTS = {
    "cpu": ("mvm/frozen.cu", "mvm/vector.cu", "mvm/cpu/rows.cu", "mvm/cpu/panels.cu"),
    "cuda": (
        *("mvm/frozen.cu", "mvm/vector.cu"),
        *("mvm/gpu/tiles.cu", "mvm/gpu/blocks.cu", "mvm/gpu/reread.cu"),
    ),
}
NOT_IN_C = ("construction_seed",)
OPTIONAL = {
    "decay_scale": "1.0f",
    "diffusion_rate": "0.0f",
    "reset_bias": "0.0f",
    "drift_nu": "0.0f",
}
UNBOUND = {
    "max_bound": "3.4e38f",
    "min_bound": "-3.4e38f",
    "dwmin_up": "0.0f",
    "dwmin_down": "0.0f",
}
NEUTRAL = UNBOUND | OPTIONAL
NO_SPREAD = {
    "w_max": 3.4e38,
    "w_min": -3.4e38,
    **{name: 0.0 for name in BASE if name.endswith("_dtod")},
}
DRIFT_STATES = ("drift_calls", "drift_seen", "drift_from", "drift_w0")


@dataclass(frozen=True)
class Layout:
    """What a record of one cell holds: constants, then hidden state."""

    cells: tuple[str, ...]
    states: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.cells) + len(self.states)

    def column(self, name: str) -> int:
        """Place of a constant or state in the record. Raises LookupError if this array does not
        hold it."""
        names = self.cells + self.states
        if name not in names:
            raise LookupError(
                f"no per-cell value {name!r}; there are {', '.join(names)}"
            )
        return names.index(name)


def layout(device: Device, params: Mapping[str, Any]) -> Layout:
    """Only what these parameters need is stored: no decay constants without a lifetime, and so
    on."""
    needed = {
        "decay_scale": params.get("lifetime", 0) > 0,
        "diffusion_rate": params.get("diffusion", 0) > 0,
        "reset_bias": "reset_bias" in device.cells
        or params.get("reset", 0) != 0
        or params.get("reset_dtod", 0) != 0,
        "drift_nu": params.get("drift_nu", 0) > 0,
    }
    own = [name for name in device.cells if name not in needed]
    states = list(device.states)
    states += ["persistent"] if params.get("write_noise_std", 0) > 0 else []
    states += DRIFT_STATES if needed["drift_nu"] else []
    common = () if device.ideal else BASE_CELLS
    return Layout(
        (*common, *own, *(k for k, used in needed.items() if used)), tuple(states)
    )


def params_floats(device: Device, params: Mapping[str, Any]) -> list[float]:
    """The parameters in the order of the C struct `Params`."""
    flat: list[float] = []
    for name, kind in _c_params(device):
        value = params.get(name, NO_SPREAD.get(name, 0.0))
        if kind is list:
            flat += [
                *map(float, value),
                *([0.0] * (MAX_NODES - len(value))),
                float(len(value)),
            ]
        else:
            flat.append(float(value))
    return flat


def device_text(model: str, place: Layout, backend: str) -> str:
    """One translation unit: physics, the device, and all kernels of an array of it."""
    return _device_unit(model, place, CELLS + updates_of(backend))


def updates_of(backend: str) -> tuple[str, ...]:
    """The strategies of the pulsed update that a processor has."""
    return CPU_UPDATES if backend == "cpu" else GPU_UPDATES


def update_reference_text(model: str, place: Layout) -> str:
    """The translation unit of the pulsed update as its definition has it, for tests."""
    return _device_unit(model, place, ("update/reference.cu",))


def trains_reference_text(model: str, place: Layout) -> str:
    """The translation unit of trains as their definition has them, for tests."""
    return _device_unit(model, place, ("trains/reference.cu",))


def response_text(model: str, place: Layout) -> str:
    """The translation unit of a response curve."""
    return _device_unit(model, place, ("cells/response.cu",))


def _device_unit(model: str, place: Layout, kernels: tuple[str, ...]) -> str:
    return Unit(device_parts(find_device(model), place)).text(*kernels)


def device_parts(device: Device, place: Layout) -> dict[str, str]:
    """What a declaration of a device adds to a unit, by the names under which it is included:
    structs, loads and stores; the construction of a cell; its steps."""
    return {
        "device/structs.cuh": _structs(device, place),
        "device/construct.cuh": _construct(device),
        "device/step.cuh": _step(device),
    }


def mvm_text(backend: str = "cuda") -> str:
    """The translation unit of the matrix products: it knows no device."""
    return Unit(aliases=_backend(backend)).text(*PRODUCTS[backend])


def mvm_reference_text(backend: str) -> str:
    """The translation unit of the matrix products as their definition has them, for tests."""
    return Unit(aliases=_backend(backend)).text("mvm/reference.cu")


def _backend(backend: str) -> dict[str, str]:
    """The files that a processor has of its own, by the names under which they are included."""
    end = "cpu" if backend == "cpu" else "gpu"
    return {"backend/product.cuh": f"mvm/{end}/product.cuh"}


def patches_text() -> str:
    """The translation unit of convolutions' patches."""
    return unit_text("patches/patches.cu")


def group_text() -> str:
    """The translation unit of cells of several devices."""
    return unit_text("group/group.cu")


def rounds_text() -> str:
    """The translation unit of transfers in rounds: it knows no device."""
    return unit_text("transfer/rounds.cu")


def digital_text() -> str:
    """The translation unit of what algorithms compute beside their arrays."""
    return unit_text("digital/digital.cu")


def training_text() -> str:
    """The translation unit of hardware-aware training: it knows no device."""
    return unit_text("hwa/modifier.cu", "hwa/range.cu")


def line_directive(number: int, name: str) -> str:
    """A line that tells the compiler where the next one comes from. A path may hold quotes and line
    breaks, after which the rest of it would be C."""
    shown = "".join(
        c
        if c.isprintable() and c not in '"\\?'
        else "".join(f"\\{b:03o}" for b in _bytes(c))
        for c in name
    )
    return f'#line {number} "{shown}"'


def _bytes(character: str) -> bytes:
    return character.encode("utf-8", "surrogateescape")


def _c_params(device: Device) -> list[tuple[str, type]]:
    return [
        (name, p.kind)
        for name, p in ({**BASE, **device.params}).items()
        if name not in NOT_IN_C
    ]


def _structs(device: Device, place: Layout) -> str:
    params = [
        f"    float {name}[{MAX_NODES}], {name}_n;"
        if kind is list
        else f"    float {name};"
        for name, kind in _c_params(device)
    ]
    constants = [*place.cells, *(name for name in NEUTRAL if name not in place.cells)]
    load = [f"c.{name} = r[{i} * stride];" for i, name in enumerate(place.cells)]
    load += [
        f"c.{name} = {NEUTRAL[name]};" for name in constants if name not in place.cells
    ]
    first = len(place.cells)
    keep = [(first + i, name) for i, name in enumerate(place.states)]
    return "\n".join(
        [
            "struct Params {", *params, "};",
            f"struct Cell {{ float {', '.join(constants)}; }};",
            f"struct State {{ float {', '.join([*place.states, 'none'])}; }};",
            f"#define CELL_FLOATS {first}",
            f"#define RECORD {place.size}",
            f"#define WRITE_NOISE {int('persistent' in place.states)}",
            f"#define DRIFT_STATE {int('drift_w0' in place.states)}",
            f"#define STATE_PULSED {int(bool(device.states))}",
            f"#define NOISE {_count('noise', device.step)}",
            f"#define UNIFORM {_count('uniform', device.step)}",
            f"#define JUMPS {int(bool(device.jump))}",
            "FN Cell load_cell(const float* r, i64 stride) {", "    Cell c;", *load, "    return c;", "}",
            "FN void store_cell(float* r, const Cell& c) {",
            *(f"r[{i}] = c.{n};" for i, n in enumerate(place.cells)), "}",
            "FN State load_state(const float* r, i64 stride) {", "    State s = {};",
            *(f"s.{n} = r[{i} * stride];" for i, n in keep), "    return s;", "}",
            "FN void store_state(float* r, i64 stride, const State& s) {",
            *(f"r[{i} * stride] = s.{n};" for i, n in keep), "}",
        ]
    )  # fmt: skip


def _construct(device: Device) -> str:
    body = re.sub(r"\bnoise\(\)", "next_normal(r)", device.construct)
    return "\n".join(
        [
            "struct Draws; FN float next_normal(Draws& r);",
            "FN void construct_device(const Params& p, Cell& c, Draws& r) {",
            *_located(device, "construct", body),
            "}",
        ]
    )


def _step(device: Device) -> str:
    numbers = iter(range(1000))
    body = re.sub(r"\bnoise\(\)", lambda _: f"z_[{next(numbers)}]", device.step)
    numbers = iter(range(1000))
    body = re.sub(r"\buniform\(\)", lambda _: f"u_[{next(numbers)}]", body)
    arguments = "float& w, const Params& p, const Cell& c, State& s, bool up"
    return "\n".join(
        [
            f"FN void step_once({arguments}, const float* z_, const float* u_) {{",
            *_located(device, "step", body),
            "}",
            f"FN void pulse_once({arguments}, const float* z, const float* u) {{",
            "step_once(w, p, c, s, up, z, u);",
            *_located(device, "bounds", device.bounds),
            "}",
            "FN void bounds_of(const Params& p, const Cell& c, float& low, float& high) {",
            "State s = {}; float w = -3.4e38f;",
            *_located(device, "bounds", device.bounds),
            "low = w; w = 3.4e38f;",
            *_located(device, "bounds", device.bounds),
            "high = w;",
            "}",
            f"FN bool jumps_with(const Params& p) {{ return {device.jump_if}; }}",
            "FN void jump_of(const Params& p, const Cell& c, bool up, float& shift, float& slope, float& spread) {",
            *_located(device, "jump", device.jump),
            "}",
        ]
    )


def _located(device: Device, field: str, body: str) -> list[str]:
    """The snippet with the place it stands at, so that a compiler's message points into the user's
    file."""
    if not body.strip():
        return []
    path = device.path or f"engine/devices/{device.name}.py"
    line = _line_of(path, getattr(device, field))
    return [
        line_directive(line, path if line > 1 else f"{path}:{field}"),
        body,
        line_directive(1, f"made from {path}"),
    ]


def _line_of(path: str, snippet: str) -> int:
    file = Path(path)
    if not file.is_file():
        return 1
    text = file.read_text(encoding="utf-8", errors="replace")
    at = text.find(snippet)
    return text[:at].count("\n") + 1 if at >= 0 else 1


def _count(call: str, body: str) -> int:
    return len(re.findall(rf"\b{call}\(\)", body))
