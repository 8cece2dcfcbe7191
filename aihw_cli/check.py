"""A composed configuration against the schema: complete it, or refuse it in one line that names
key, value and file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aihw_cli.arguments import ALIKE
from aihw_cli.recipe import NO_NAME, check_member, is_name
from aihw_cli.schema import (
    Field,
    Section,
    algorithm_section,
    device_section,
    full_schema,
    tile_section,
)
from aihw_cli.sweeps.cluster import check_cluster
from engine.devices import find_device
from engine.experiment.data import check_valid_part
from engine.experiment.tasks import TRAIN, find_task, task_of, task_settings
from engine.inference.base import find_noise_model
from engine.inference.settings import InferenceSpec
from engine.presets import PARTS, find_member, load_member, overlay
from engine.readers.run_files import damaged
from engine.readers.wording import brief, listed, nearest_of, unknown
from engine.settings import UserError
from engine.tile.settings import GROUPS, TEXTS, TileSpec
from engine.trust.code import SECTIONS as CODE_SECTIONS
from engine.trust.code import code_in, is_code, refusal
from engine.trust.text import visible

MANY_KEYS = 20
Origins = Mapping[str, list[tuple[str, Any]]]


class Checker:
    """Completes and checks configurations. `origins` says for every key which files, or the command
    line, set it."""

    def __init__(self, origins: Origins, allow_code: bool = False) -> None:
        self.origins = origins
        self.allow_code = allow_code

    def complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All keys of the schema, `values` over the defaults. Raises UserError."""
        self._permitted(values)
        for key, model in device_models(
            {k: values.get(k) for k in ("device", "algorithm", "layers")}
        ):
            self._known_device(key, model)
        self._known_noise_model(values.get("inference"))
        try:
            schema = full_schema(values)
        except ValueError as error:
            key = str(error).partition(":")[0]
            raise UserError(f"{error}{self.where(key)}") from None
        result = self.section(schema, values)
        name = result["name"]
        if not is_name(name):
            raise UserError(f"name {brief(name)} {NO_NAME}{self.where('name')}")
        result["layers"] = {
            name: self._layer(f"layers.{name}", own, result)
            for name, own in self._layers(result)
        }
        self._task(result)
        self._called("dataset.valid_part", check_valid_part, result["dataset"])
        self._inference(result["inference"])
        self._tile(result, "")
        for layer, own in result["layers"].items():
            self._tile(
                {part: own.get(part, result[part]) for part in PARTS},
                f"layers.{layer}.",
            )
        check_cluster(result["run"], self.where, self.allow_code)
        for part in ("model", "dataset", "loss", "optimizer", "run"):
            result[part] = {k: v for k, v in result[part].items() if k not in TEXTS}
        return result

    def section(
        self, schema: Section, values: Mapping[str, Any], prefix: str = ""
    ) -> dict[str, Any]:
        """One section: every key known, of the right type, in range; missing ones at their
        defaults."""
        texts = TEXTS if prefix and "." not in prefix[:-1] else ()
        for key in values:
            if key not in schema and key not in texts:
                raise UserError(self._unknown(prefix + str(key), schema, prefix))
        result: dict[str, Any] = {}
        for key, entry in schema.items():
            name = prefix + key
            if isinstance(entry, Field):
                result[key] = (
                    self._called(name, entry.read, name, values[key])
                    if key in values
                    else entry.default
                )
            elif isinstance(values.get(key, {}), Mapping):
                result[key] = self.section(entry, values.get(key, {}), f"{name}.")
            else:
                hint = f"; write {name}.name={values[key]}" if "name" in entry else ""
                raise UserError(
                    f"{name} is a section with the keys {listed(entry)}{hint}{self.where(name)}"
                )
        return result | {k: v for k, v in values.items() if k in texts}

    def where(self, key: str) -> str:
        """Where the value of a key, or of the nearest section above it, comes from."""
        while key:
            found = self.origins.get(key) or next(
                (v for k, v in self.origins.items() if k.startswith(f"{key}.")), None
            )
            if found:
                return f" ({visible(found[-1][0])})"
            key = key.rpartition(".")[0]
        return ""

    def _called(self, key: str, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except ValueError as error:
            raise UserError(f"{error}{self.where(key)}") from None

    def _unknown(self, key: str, schema: Section, prefix: str) -> str:
        leaf = key.rpartition(".")[2]
        everything = (
            {k.rpartition(".")[2]: k for k in dotted(full_schema({}))}
            if not prefix
            else {}
        )
        if near := nearest_of(leaf, schema, ALIKE):
            hint = f"nearest: {prefix}{near}"
        elif near := nearest_of(leaf, everything, ALIKE):
            hint = f"nearest: {everything[near]}"
        elif len(schema) <= MANY_KEYS:
            hint = f"{prefix[:-1] or 'there'} has {listed(schema)}"
        else:
            hint = f"`aihw show {leaf}` says which parts have it, if any has"
        return f"unknown key {visible(key)}; {hint}{self.where(key)}"

    def _permitted(self, values: Mapping[str, Any]) -> None:
        """Refuse a network or dataset in a file of the user's without permission."""
        for key, name in code_in({part: values.get(part) for part in CODE_SECTIONS}):
            if not self.allow_code:
                raise refusal(f"{key}={name}", self.where(key))

    def _known_device(
        self, key: str, model: Any, find: Callable[[str], Any] = find_device
    ) -> None:
        """Refuse a user's device file without permission before it runs, and say what is wrong with
        it."""
        if not isinstance(model, str):
            what = f"{key} must be a name, not {brief(model)}"
            raise UserError(f"{what}{self.where(key)}")
        if is_code(model) and not self.allow_code:
            raise refusal(f"{key}={model}", self.where(key))
        try:
            _ = (find is find_device and model in GROUPS) or find(model)
        except ValueError as error:
            raise UserError(f"{key}: {error}{self.where(key)}") from None
        except Exception as error:  # whatever a user's file may raise
            line = getattr(error, "lineno", None)
            place = f" line {line}" if line else ""
            raise UserError(
                f"{key}={model}:{place} {type(error).__name__}: {error}{self.where(key)}"
            ) from None

    def _known_noise_model(self, values: Any) -> None:
        """The same for the noise model of inference."""
        if isinstance(values, Mapping) and "noise_model" in values:
            key = "inference.noise_model"
            self._known_device(key, values["noise_model"], find_noise_model)

    def _inference(self, values: Mapping[str, Any]) -> None:
        """Times, and settings that do not fit together."""
        try:
            InferenceSpec.from_config(values)
        except ValueError as error:
            key = str(error).partition(" ")[0]
            key = key if key.startswith("inference.") else f"inference.{key}"
            raise UserError(f"{error}{self.where(key)}") from None

    def _layers(
        self, result: Mapping[str, Any]
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        layers = result["layers"]
        if not isinstance(layers, Mapping):
            raise UserError(
                f"layers must hold settings by layer name, not {brief(layers)}{self.where('layers')}"
            )
        for name, own in layers.items():
            if not isinstance(own, Mapping):
                key = visible(f"layers.{name}")
                what = f"{key} must hold {', '.join(PARTS)}, not {brief(own)}"
                raise UserError(f"{what}{self.where(key)}")
            yield name, own

    def _layer(
        self, key: str, own: Mapping[str, Any], common: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The complete sections that a layer changes; `algorithm: digital` names a member of the
        group."""
        result = {}
        for part, change in own.items():
            if part not in PARTS:
                hint = unknown(part, PARTS, have="a layer has")
                name = visible(f"{key}.{part}")
                raise UserError(
                    f"unknown key {name}; {hint}{self.where(f'{key}.{part}')}"
                )
            values = self._named(f"{key}.{part}", part, change)
            if _adds_to(part, change, common[part]):
                values = overlay(dict(common[part]), values)
            schemas = {"device": device_section, "algorithm": algorithm_section}
            schema = self._called(
                f"{key}.{part}", schemas.get(part, lambda _: tile_section()), values
            )
            result[part] = self.section(schema, values, f"{key}.{part}.")
        return result

    def _named(self, key: str, part: str, change: Any) -> dict[str, Any]:
        if isinstance(change, Mapping):
            return dict(change)
        if not isinstance(change, str):
            raise UserError(
                f"{key} must name a {part} or hold settings, not {brief(change)}{self.where(key)}"
            )
        path = self._called(key, find_member, part, change)
        check_member(path, part, change, "")
        return load_member(part, change)

    def _task(self, result: Mapping[str, Any]) -> None:
        """Whatever only the task knows of its settings."""
        name = task_of(result)
        if name != TRAIN and hasattr(find_task(name), "check"):
            self._called(
                "task",
                find_task(name).check,
                task_settings(result, find_task(name).Settings),
            )

    def _tile(self, config: Mapping[str, Any], prefix: str) -> None:
        """Whatever only the engine knows of settings that do not fit together."""
        if config["algorithm"]["name"] == "digital":
            return
        try:
            TileSpec.from_config({part: config[part] for part in PARTS})
        except ValueError as error:
            named = re.findall(r"\w+", str(error))
            leaves = [
                k
                for k, found in self.origins.items()
                if not isinstance(found[-1][1], Mapping)
            ]
            keys = [
                k
                for k in leaves
                if k.rpartition(".")[2] in named and k.startswith(prefix or PARTS)
            ]
            places = dict.fromkeys(
                self.where(key).strip(" ()") for key in keys if "." in key
            )
            raise UserError(
                f"{prefix}{error}" + (f" ({', '.join(places)})" if places else "")
            ) from None


def check_stored(
    folder: Path, config: Mapping[str, Any], *, allow_code: bool = False
) -> None:
    """Raises UserError unless the configuration of a run folder is as whole and sound as one that
    was composed just now."""
    try:
        Checker({}, allow_code).complete(config)
    except UserError as problem:
        raise damaged(folder / "config.yaml", problem) from None


def _adds_to(part: str, change: Any, common: Mapping[str, Any]) -> bool:
    """Whether a layer's settings lie over the common ones; another device model or algorithm starts
    anew."""
    if isinstance(change, str):
        return False
    kind = {"device": "model", "algorithm": "name"}.get(part, "")
    return change.get(kind, common.get(kind)) == common.get(kind)


def device_models(
    values: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Keys and names of all device models of a configuration."""
    for key, value in values.items():
        if key == "model" and not isinstance(value, Mapping):
            yield f"{prefix}model", value
        elif isinstance(value, Mapping):
            yield from device_models(value, f"{prefix}{key}.")


def dotted(schema: Section, prefix: str = "") -> Iterator[str]:
    """All keys of a schema."""
    for key, entry in schema.items():
        if isinstance(entry, Field):
            yield prefix + key
        else:
            yield from dotted(entry, f"{prefix}{key}.")
