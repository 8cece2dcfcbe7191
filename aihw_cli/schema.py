"""What a configuration may hold: every key with type, default, range and meaning, from the engine's
declarations."""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Union

from engine.algorithms import algorithm_names, find_algorithm
from engine.devices import Param, find_device
from engine.experiment.config import SECTIONS
from engine.experiment.custom.arguments import FROM_DATA
from engine.experiment.members import FOLDER, find_member, member_names
from engine.experiment.tasks import TRAIN, find_task, task_names, task_of
from engine.inference.base import find_noise_model
from engine.inference.settings import Converter, InferenceSpec
from engine.readers.wording import brief
from engine.tile.settings import GROUPS, TILE_PARTS
from engine.trust.code import is_code

# The network where none is named.
MODEL = "mlp"
KINDS = {"bool": bool, "int": int, "float": float}


@dataclass(frozen=True)
class Field:
    """One key: `kind` is bool, int, float, str, any, or `list of` one of them."""

    default: Any
    kind: str
    unit: str = ""
    meaning: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[str, ...] | None = None
    # A word that stands for the default value.
    word: str = ""
    # How many values a list has; None = any number.
    length: int | None = None

    def read(self, name: str, value: Any) -> Any:
        """`value` in this field's type. Raises ValueError with one line that says what is
        allowed."""
        if self.kind == "any":
            return value
        if self.kind.startswith("list of "):
            if not isinstance(value, list | tuple):
                raise ValueError(f"{name} must be a {self.kind}, not {brief(value)}")
            if self.length is not None and len(value) != self.length:
                raise ValueError(
                    f"{name} must be a list of {self.length} values, not {brief(value)}"
                )
            item = dataclasses.replace(self, kind=self.kind.removeprefix("list of "), length=None)
            return [item.read(f"{name}[{i}]", v) for i, v in enumerate(value)]
        if self.kind == "str":
            value = "None" if value is None and self.choices and "None" in self.choices else value
            if not isinstance(value, str) or (self.choices and value not in self.choices):
                allowed = f"one of {', '.join(self.choices)}" if self.choices else "a text"
                raise ValueError(f"{name} must be {allowed}, not {brief(value)}")
            return value
        if self.word and value == self.word:
            return self.default
        limits = Param(KINDS[self.kind](), "", "", self.minimum, self.maximum, self.above)
        return limits.read(name, value)

    @property
    def allowed(self) -> str:
        """Type and range in a few words."""
        if self.choices:
            return " | ".join(self.choices)
        kind = self.kind if self.length is None else f"{self.kind}, {self.length} values"
        kind = f"{kind} or {self.word}" if self.word else kind
        limits = (("> ", self.above), (">= ", self.minimum), ("<= ", self.maximum))
        return ", ".join(
            [kind, *(f"{sign}{limit:g}" for sign, limit in limits if limit is not None)]
        )


Section = dict[str, Union[Field, "Section"]]
TEXT = Field("", "any", meaning="text, only shown")
WEIGHTS = Field(
    "", "str", meaning="file of tensors (.safetensors, .pt, .pth, .th) from which training starts"
)


def kind_of(default: Any, annotation: str = "") -> str:
    """The kind of a field from its default value, or from its annotation where the default is an
    empty list."""
    if isinstance(default, list | tuple):
        inner = (
            kind_of(default[0]) if default else annotation.partition("[")[2].rstrip("]") or "float"
        )
        inner = "any" if inner == "Any" else inner
        return f"list of {inner}"
    return type(default).__name__ if isinstance(default, bool | int | float | str) else "any"


def dataclass_section(kind: type) -> Section:
    """The section of a settings dataclass; nested dataclasses become nested sections."""
    return dict(_declared(kind))


@functools.cache
def _declared(kind: type) -> Section:
    """The same, worked out once: a sweep asks for it at every point."""
    section: Section = {}
    for item in dataclasses.fields(kind):
        default = item.default
        if item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        if dataclasses.is_dataclass(default):
            section[item.name] = dataclass_section(type(default))
            continue
        known = {
            k: v
            for k, v in item.metadata.items()
            if k in {f.name for f in dataclasses.fields(Field)}
        }
        section[item.name] = Field(default, kind_of(default, str(item.type)), **known)
    return section


def device_section(values: Mapping[str, Any] | str) -> Section:
    """The section of a device, by its values or its model alone. Raises ValueError with the nearest
    name."""
    values = {"model": values} if isinstance(values, str) else values
    model = _text(values, "model", "constant_step")
    section: Section = {
        "model": Field("constant_step", "str", meaning="step model"),
        "about": TEXT,
        "source": TEXT,
    }
    if model in GROUPS:
        cells: Section = {
            k: device_section(_mapping(v)) for k, v in _mapping(values.get("cells")).items()
        }
        return {**section, **dataclass_section(GROUPS[model]), "cells": cells}
    for name, param in find_device(model).params.items():
        section[name] = param_field(param)
    return section


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
    names = Field("sgd", "str", meaning="learning algorithm", choices=tuple(algorithm_names()))
    devices = {k: device_section(v) for k, v in arrays.items()}
    return {"name": names, "about": TEXT, "source": TEXT, **section, **devices}


def inference_section(values: Mapping[str, Any]) -> Section:
    """How weights are programmed and read: the parameters and the usual converter are those of the
    noise model."""
    model = find_noise_model(_text(values, "noise_model", "pcm"))
    converter = {
        name: dataclasses.replace(entry, default=model.converter.get(name, entry.default))
        for name, entry in dataclass_section(Converter).items()
        if isinstance(entry, Field)
    }
    noise = {name: param_field(param) for name, param in model.params.items()}
    own: dict[str, Section] = {"converter": dict(converter), "noise": dict(noise)}
    section = dataclass_section(InferenceSpec)
    section["times"] = dataclasses.replace(section["times"], kind="any")  # type: ignore[type-var]
    return {"about": TEXT, "source": TEXT, **section, **own}


def param_field(param: Param) -> Field:
    """The key of a parameter of a device or noise model."""
    kind = "list of float" if param.kind is list else param.kind.__name__
    limits = {k: getattr(param, k) for k in ("unit", "meaning", "minimum", "maximum", "above")}
    return Field(param.default, kind, **limits)


def model_section(name: str) -> Section:
    """The keyword arguments of a model's `build`, read from its text: importing it would import
    torch."""
    if is_code(name):
        return custom_section(name)
    names = member_names("models")
    section: Section = {
        "name": Field(MODEL, "str", meaning="network", choices=tuple(names)),
        "weights": WEIGHTS,
    }
    if name not in names:
        return section
    tree = ast.parse((FOLDER / "models" / f"{name}.py").read_text(encoding="utf-8"))
    build = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "build")
    for argument, value in zip(build.args.kwonlyargs, build.args.kw_defaults, strict=True):
        default = ast.literal_eval(value) if value is not None else None
        default = list(default) if isinstance(default, tuple) else default
        section[argument.arg] = Field(
            default, kind_of(default), meaning=f"see `build` of model {name}"
        )
    return section


def custom_section(name: str) -> Section:
    """The arguments of the constructor of a network of the user's own, whose file is run for it."""
    found = find_member("models", name)
    section: Section = {"name": Field(name, "str", meaning="network"), "weights": WEIGHTS}
    for key, argument in found.arguments().items():
        from_data = key in FROM_DATA
        meaning = "from the data unless it is given" if from_data else f"see {name}"
        free = from_data or argument.optional or argument.required
        section[key] = Field(
            None if from_data else argument.default,
            "any" if free else argument.kind,
            meaning=meaning,
            choices=None if free else argument.choices,
        )
    return section


def task_section(values: Mapping[str, Any]) -> Section:
    """Settings of what the recipe does; training has none of its own. Raises UserError with the
    nearest name."""
    names = Field(TRAIN, "str", meaning="what is done", choices=tuple(task_names()))
    task = task_of({"task": values})
    return {"name": names, **({} if task == TRAIN else dataclass_section(find_task(task).Settings))}


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
        "name": Field("", "str", meaning="name of the recipe and of the folder of its runs"),
        "task": task_section(_mapping(values.get("task"))),
        "device": _section("device", device_section, values),
        "tile": tile_section(),
        "algorithm": _section("algorithm", algorithm_section, values),
        "preset": {"name": TEXT, "about": TEXT, "source": TEXT},
        "inference": _section("inference", inference_section, values),
        "model": model_section(model),
        **sections,
        "layers": Field(
            {}, "any", meaning="device, algorithm and tile settings of single layers, by layer name"
        ),
        "seeds": Field(
            1, "int", meaning="runs with seed, seed + 1, ...", minimum=1, maximum=10_000
        ),
        "search": Field({}, "any", meaning="what `aihw search` varies: key: interval(1e-3,1e-1)"),
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
