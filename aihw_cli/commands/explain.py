"""`aihw show`: what a member is, its formula, its parameters with value, default, unit and meaning,
its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.commands.catalog import RECIPE, STEP, Member, find
from aihw_cli.output import say, say_json
from aihw_cli.schema import (
    Field,
    Section,
    algorithm_section,
    device_section,
    full_schema,
    inference_section,
    model_section,
    tile_section,
)
from engine.algorithms import algorithm_names, find_algorithm
from engine.devices import device_names, find_device
from engine.inference.base import find_noise_model
from engine.presets import load_member
from engine.settings import UserError
from engine.tile.settings import GROUPS, TEXTS
from engine.trust.text import visible

KIND_KEYS = ("model", "name")


def show(arguments: Arguments) -> int:
    """Explain a member, or a key of the configuration, or the layers of a network."""
    name, *changes = arguments.words
    if arguments.has("--model"):
        from aihw_cli.network import show_network

        allowed = arguments.has("--allow-code")
        return show_network(
            arguments.words, allow_code=allowed, as_json=arguments.has("--json")
        )
    if changes:
        raise UserError(
            f"aihw show takes one name, not {changes[0]!r} as well; key=value goes with --model"
        )
    try:
        found = find(name)
    except UserError:
        texts: dict[tuple[str, str], list[str]] = {}
        for key, owner, entry in _keys(name):
            texts.setdefault((key, describe(entry)), []).extend(owner)
        if not texts:
            raise
        for (key, text), owners in texts.items():
            say(key + (f" of {', '.join(owners)}" if owners else "") + f": {text}")
        return 0
    member = found[0]
    if arguments.has("--json"):
        say_json(as_data(member), indent=1)
        return 0
    say("\n\n".join(part for part in explain(member) if part))
    if member.kind in ("device", STEP):
        say("\n" + _response(member))
    if len(found) > 1:
        say(
            "\nthe same name: "
            + ", ".join(f"aihw show {m.kind}/{m.name}" for m in found[1:])
        )
    return 0


def explain(member: Member) -> Iterator[str]:
    """The paragraphs of a member."""
    values = values_of(member)
    yield f"{member.kind} {member.name}: {member.about()}"
    texts = values.get("preset", {}) if member.kind == "preset" else values
    told = (key for key in ("source", "expected", "tolerance") if texts.get(key))
    yield "\n".join(f"{key}: {' '.join(str(texts[key]).split())}" for key in told)
    yield f"file: {visible(member.path)}"
    if member.shadows:
        yield f"shadows: {visible(member.shadows)}"
    if member.kind in ("device", STEP):
        yield _device_text(
            str(values.get("model", "constant_step")) if values else member.name
        )
    if member.kind == "algorithm":
        yield _algorithm_text(str(values.get("name", "")))
    if member.kind == "inference":
        yield _noise_text(str(values.get("noise_model", "pcm")))
    if member.kind in (RECIPE, "preset"):
        yield _choices(values)
    schema = section_of(member, values)
    yield parameters(schema, values) if schema else _own_values(values)
    if member.kind == RECIPE:
        yield f"run it: aihw train conf={member.name}"


def section_of(member: Member, values: Mapping[str, Any]) -> Section:
    """The schema of a member that has parameters."""
    if member.kind in ("device", STEP):
        return device_section(values or member.name)
    if member.kind == "tile":
        return tile_section()
    if member.kind == "algorithm":
        return algorithm_section(values)
    if member.kind == "inference":
        return inference_section(values)
    if member.kind == "model":
        return model_section(str(values.get("name", "")))
    whole = full_schema({})
    part = whole.get(member.kind)
    return part if isinstance(part, dict) and member.kind != "preset" else {}


def values_of(member: Member) -> dict[str, Any]:
    """What a member sets; a device with the devices of its cells, which its defaults name."""
    values = {} if member.kind == STEP else member.values()
    return (
        load_member("device", member.name)
        if member.kind == "device" and "defaults" in values
        else values
    )


def parameters(schema: Section, values: Mapping[str, Any]) -> str:
    """The parameters that the member sets, then the others at their defaults."""
    rows = list(_rows(schema, values))
    own = [row for row in rows if row[1] != ""]
    rest = [row for row in rows if row[1] == ""]
    heads = (
        ("parameter", "value", "default", "unit", "meaning"),
        ("at its default", "", "default", "unit", "meaning"),
    )
    return "\n\n".join(
        _columns([head, *chosen])
        for head, chosen in zip(heads, (own, rest), strict=True)
        if chosen
    )


def describe(entry: Field) -> str:
    """A key in a sentence."""
    unit = f", unit: {entry.unit}" if entry.unit else ""
    return f"{entry.meaning} ({entry.allowed}{unit}; default {_text(entry.default)})"


def as_data(member: Member) -> dict[str, Any]:
    """A member for a script."""
    values = values_of(member)
    schema = section_of(member, values)
    heads = ("name", "value", "default", "unit", "meaning")
    table = [dict(zip(heads, row, strict=True)) for row in _rows(schema, values)]
    return {**member.as_data(), "values": values, "parameters": table}


def _keys(name: str) -> Iterator[tuple[str, list[str], Field]]:
    """Keys that are `name` or end in it, with the step model or algorithm that they belong to."""
    for key, entry in _flat(full_schema({})):
        if not key.startswith(("device.", "algorithm.")) and (
            key == name or key.endswith(f".{name}")
        ):
            yield key, [], entry
    leaf = name.removeprefix("device.").removeprefix("algorithm.")
    for title, names, section in (
        ("device", device_names(), device_section),
        ("algorithm", algorithm_names(), _settings),
    ):
        for member in names:
            if isinstance(
                entry_of := section(member).get(leaf), Field
            ) and leaf not in (
                *TEXTS,
                *KIND_KEYS,
            ):
                yield f"{title}.{leaf}", [member], entry_of


def _settings(name: str) -> Section:
    return algorithm_section({"name": name})


def _flat(schema: Section, prefix: str = "") -> Iterator[tuple[str, Field]]:
    for key, entry in schema.items():
        if isinstance(entry, Field):
            yield prefix + key, entry
        else:
            yield from _flat(entry, f"{prefix}{key}.")


def _rows(
    schema: Section, values: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, str, str]]:
    for key, entry in _flat(schema):
        if key in KIND_KEYS or key.rpartition(".")[2] in TEXTS:
            continue
        value: Any = values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        shown = "" if value is None else _text(value)
        meaning = entry.meaning + (
            f" ({' | '.join(entry.choices)})" if entry.choices else ""
        )
        yield key, shown, _text(entry.default), entry.unit, meaning


def _response(member: Member) -> str:
    """The curve of a device; where none can be measured, one line that says why."""
    from aihw_cli.curve import response_text
    from engine.jit.cpu import CompileError
    from engine.presets import load_member
    from engine.tile.settings import TileSpec

    try:
        values = (
            {"model": member.name}
            if member.kind == STEP
            else load_member("device", member.name)
        )
        return response_text(TileSpec.from_config({"device": values}).device)
    except CompileError as error:
        return f"no response curve: {error.first}"
    except ValueError as error:
        return f"no response curve: {str(error).splitlines()[0]}"


def _device_text(model: str) -> str:
    if model in GROUPS:
        return f"cells {model}: {' '.join(str(GROUPS[model].__doc__).split())}"
    device = find_device(model)
    texts = {
        f"step model {model}": device.about,
        "formula": device.formula,
        "source of the model": device.source,
    }
    return "\n".join(f"{title}: {text}" for title, text in texts.items() if text)


def _noise_text(name: str) -> str:
    model = find_noise_model(name)
    texts = {
        f"noise model {name}": model.about,
        "formula": model.formula,
        "source of the model": model.source,
    }
    return "\n".join(f"{title}: {text}" for title, text in texts.items() if text)


def _algorithm_text(name: str) -> str:
    module = find_algorithm(name)
    texts = {
        "algorithm": "ABOUT",
        "update": "FORMULA",
        "source of the algorithm": "SOURCE",
    }
    return "\n".join(
        f"{title}: {getattr(module, key)}"
        for title, key in texts.items()
        if getattr(module, key, "")
    )


def _choices(values: Mapping[str, Any]) -> str:
    pairs = [
        p
        for entry in values.get("defaults", [])
        if isinstance(entry, dict)
        for p in entry.items()
    ]
    rows = [
        (str(k).removeprefix("override ").lstrip("/"), str(v))
        for k, v in pairs
        if v is not None
    ]
    return "is made of:\n" + _columns(rows, indent=2) if rows else ""


def _own_values(values: Mapping[str, Any]) -> str:
    hidden = ("defaults", "claim", "expected", "tolerance", "preset", *TEXTS)
    rows = [
        (k, _text(v))
        for k, v in _leaves({k: v for k, v in values.items() if k not in hidden})
    ]
    return "with the values:\n" + _columns(rows, indent=2) if rows else ""


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _columns(rows: Sequence[tuple[str, ...]], indent: int = 0) -> str:
    rows = [tuple(map(visible, row)) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True) if w)
        for row in rows
    )
    return "\n".join(" " * indent + line.rstrip() for line in lines)


COMMANDS = (
    Command(
        "show",
        "explain a recipe, preset, device, tile, algorithm or a single key",
        "aihw show NAME | KIND/NAME | KEY | --model RECIPE|MODEL [key=value ...] [--json]",
        (
            ("aihw show ecram", "a device: formula, numbers, units, source"),
            (
                "aihw show tile/preset",
                "a periphery, where the name alone is not enough",
            ),
            ("aihw show mnist_fcn", "a recipe: its claim and what it is made of"),
            ("aihw show dw_min_std", "a single key"),
            (
                "aihw show --model mnist_lenet",
                "its layers, tiles, how they are filled, parameters",
            ),
            (
                "aihw show --model resnet20 dataset=cifar10 tile.mapping.max_input_size=256",
                "with other tiles",
            ),
        ),
        show,
        (
            Option(
                "--model",
                "the layers of a network, as a recipe or the model of this name builds it",
            ),
            Option("--allow-code", "allow a device file of your own to run"),
            Option("--json", "as JSON"),
        ),
        (1, 10**9),
    ),
)
