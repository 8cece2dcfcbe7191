"""What a configuration may hold: every key with type, default, range and meaning, from the engine's
declarations."""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Union

from engine.algorithms import algorithm_names, find_algorithm
from engine.config.fields import Param
from engine.config.sections import declarations
from engine.devices import find_device
from engine.experiment.config import SECTIONS
from engine.experiment.custom.arguments import FROM_DATA, Argument
from engine.experiment.members import FOLDER, find_member, member_names
from engine.experiment.tasks import TRAIN, find_task, task_names, task_of
from engine.inference.base import find_noise_model
from engine.inference.settings import Converter, InferenceSpec
from engine.readers.wording import brief
from engine.tile.settings import GROUPS, TILE_PARTS
from engine.trust.code import is_code

# A key of the schema.
Field = Param
# The network where none is named.
MODEL = "mlp"
KINDS: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
Section = dict[str, Union[Field, "Section"]]
TEXT = Field("", meaning="text, only shown", free=True)
WEIGHTS = Field(
    "",
    meaning="file of tensors (.safetensors, .pt, .pth, .th) from which training starts",
)


def dataclass_section(kind: type) -> Section:
    """The section of a settings dataclass; nested dataclasses become nested sections."""
    return dict(_declared(kind))


@functools.cache
def _declared(kind: type) -> Section:
    """The same, worked out once: a sweep asks for it at every point."""
    return {
        name: entry if isinstance(entry, Param) else _declared(entry)
        for name, entry in declarations(kind).items()
    }


def device_section(values: Mapping[str, Any] | str) -> Section:
    """The section of a device, by its values or its model alone. Raises ValueError with the nearest
    name."""
    values = {"model": values} if isinstance(values, str) else values
    model = _text(values, "model", "constant_step")
    section: Section = {
        "model": Field("constant_step", meaning="step model"),
        "about": TEXT,
        "source": TEXT,
    }
    if model in GROUPS:
        cells: Section = {
            k: device_section(_mapping(v))
            for k, v in _mapping(values.get("cells")).items()
        }
        return {**section, **dataclass_section(GROUPS[model]), "cells": cells}
    return {**section, **find_device(model).params}


def tile_section() -> Section:
    """Periphery of both directions, pulsed update, mapping, hardware-aware training."""
    return {
        "about": TEXT,
        "source": TEXT,
        **{name: dataclass_section(kind) for name, kind in TILE_PARTS.items()},
    }


def algorithm_section(values: Mapping[str, Any]) -> Section:
    """Settings of an algorithm, and a device section for each further array that `values` gives a
    device."""
    module = find_algorithm(_text(values, "name", "sgd"))
    section = dataclass_section(module.Settings)
    arrays = {k: values[k] for k in module.ARRAYS if isinstance(values.get(k), Mapping)}
    names = Field("sgd", meaning="learning algorithm", choices=tuple(algorithm_names()))
    devices = {k: device_section(v) for k, v in arrays.items()}
    return {"name": names, "about": TEXT, "source": TEXT, **section, **devices}


def inference_section(values: Mapping[str, Any]) -> Section:
    """How weights are programmed and read: the parameters and the usual converter are those of the
    noise model."""
    model = find_noise_model(_text(values, "noise_model", "pcm"))
    converter = {
        name: dataclasses.replace(
            entry, default=model.converter.get(name, entry.default)
        )
        for name, entry in dataclass_section(Converter).items()
        if isinstance(entry, Field)
    }
    parts: dict[str, Section] = {
        "converter": dict(converter),
        "noise": dict(model.params),
    }
    return {"about": TEXT, "source": TEXT, **dataclass_section(InferenceSpec), **parts}


def model_section(name: str) -> Section:
    """The keyword arguments of a model's `build`, read from its text: importing it would import
    torch."""
    if is_code(name):
        return custom_section(name)
    names = member_names("models")
    section: Section = {
        "name": Field(MODEL, meaning="network", choices=tuple(names)),
        "weights": WEIGHTS,
    }
    if name not in names:
        return section
    tree = ast.parse((FOLDER / "models" / f"{name}.py").read_text(encoding="utf-8"))
    build = next(
        n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "build"
    )
    for argument, value in zip(
        build.args.kwonlyargs, build.args.kw_defaults, strict=True
    ):
        default = ast.literal_eval(value) if value is not None else None
        default = list(default) if isinstance(default, tuple) else default
        meaning = f"see `build` of model {name}"
        section[argument.arg] = Field(
            default, meaning=meaning, shortest=0, longest=None
        )
    return section


def group_section(group: str, values: Mapping[str, Any]) -> Section:
    """The section of a group for the kind that `values` names. Raises ValueError."""
    if group == "model":
        return model_section(str(values.get("name", MODEL)))
    if group in SECTIONS:
        return dataclass_section(SECTIONS[group])
    makers = {
        "device": device_section,
        "algorithm": algorithm_section,
        "inference": inference_section,
    }
    return makers[group](values)


def custom_section(name: str) -> Section:
    """The arguments of the constructor of a network of the user's own, whose file is run for it."""
    found = find_member("models", name)
    section: Section = {"name": Field(name, meaning="network"), "weights": WEIGHTS}
    for key, argument in found.arguments().items():
        if key in FROM_DATA:
            section[key] = Field(None, meaning="from the data unless it is given")
        else:
            section[key] = _argument_field(argument, f"see {name}")
    return section


def _argument_field(argument: Argument, meaning: str) -> Field:
    """The key of an argument of the user's. What may be None, or must be given, is checked when
    the network is made."""
    default = argument.default
    kind = argument.kind.removeprefix("list of ")
    if argument.optional or argument.required or kind not in KINDS:
        return Field(default, meaning=meaning, free=True)
    if kind != argument.kind:
        return Field(
            default, meaning=meaning, item=KINDS[kind], shortest=0, longest=None
        )
    # An annotation counts more than a default: `width: float = 1` takes 1.5 as well.
    return Field(KINDS[kind](default), meaning=meaning, choices=argument.choices)


def task_section(values: Mapping[str, Any]) -> Section:
    """Settings of what the recipe does; training has none of its own. Raises UserError with the
    nearest name."""
    names = Field(TRAIN, meaning="what is done", choices=tuple(task_names()))
    task = task_of({"task": values})
    return {
        "name": names,
        **({} if task == TRAIN else dataclass_section(find_task(task).Settings)),
    }


def full_schema(values: Mapping[str, Any]) -> Section:
    """The whole schema for the device model, algorithm and network that `values` names."""
    model = str(_mapping(values.get("model")).get("name", MODEL))
    dataset = str(_mapping(values.get("dataset")).get("name", ""))
    sections = {part: dataclass_section(kind) for part, kind in SECTIONS.items()}
    if not is_code(dataset):
        choices = tuple(member_names("datasets"))
        sections["dataset"]["name"] = dataclasses.replace(
            sections["dataset"]["name"],  # type: ignore[type-var]
            choices=choices,
        )
    return {
        "name": Field("", meaning="name of the recipe and of the folder of its runs"),
        "task": task_section(_mapping(values.get("task"))),
        "device": _section("device", device_section, values),
        "tile": tile_section(),
        "algorithm": _section("algorithm", algorithm_section, values),
        "preset": {"name": TEXT, "about": TEXT, "source": TEXT},
        "inference": _section("inference", inference_section, values),
        "model": model_section(model),
        **sections,
        "layers": Field(
            {},
            meaning="device, algorithm and tile settings of single layers, by layer name",
        ),
        "seeds": Field(
            1, meaning="runs with seed, seed + 1, ...", minimum=1, maximum=10_000
        ),
        "search": Field(
            {}, meaning="what `aihw search` varies: key: interval(1e-3,1e-1)"
        ),
        **dict.fromkeys(("about", "claim", "source", "expected", "tolerance"), TEXT),
    }


def _section(
    key: str, make: Callable[[Mapping[str, Any]], Section], values: Mapping[str, Any]
) -> Section:
    """The section of a key; an error in the names that it depends on says so."""
    try:
        return make(_mapping(values.get(key)))
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _text(values: Mapping[str, Any], key: str, default: str) -> str:
    """A name on which the other keys of a section depend. Raises ValueError for what is no text:
    `['mine.py:X']` as a text would be the name of a file."""
    value = values.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a name, not {brief(value)}")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
