"""Configurations of aihwkit, as `describe` of the exporter writes them, as sections of a recipe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from engine.algorithms import find_algorithm
from engine.algorithms.parts.transfer import Read
from engine.config.hwa import InputRange, WeightClip, WeightModifier, WeightRemap
from engine.devices.base import find_device
from engine.exchange.aihwkit import noise, periphery, released, words
from engine.exchange.aihwkit.lost import Losses, Untranslatable
from engine.exchange.aihwkit.words import Setup
from engine.tile.settings import IO, Mapping, OneSided, Update

Values = dict[str, Any]
TEXTS = ("class", "bases")
# Statistics that the release keeps beside what it computes.
STATISTICS = {"count_pulses": "counts only", "d_sparsity": "a statistic only"}
# What a member of the transfer family does not have here, with the value at which it means nothing.
NEUTRAL: Values = {
    "n_reads_per_transfer": 1,
    "random_selection": False,
    "transfer_every_vec": [],
    "transfer_lr_vec": [],
}
# Inputs of a transfer are one full line, read with both managements off: these parameters of its
# periphery are idle.
IDLE_READS = ("mv_type", "noise_management", "bound_management", "nm_thres", "max_bm_factor", "max_bm_res",
              "bm_test_negative_bound", "inp_asymmetry", "inp_sto_round")  # fmt: skip
TRANSFER_PARTS = ("unit_cell_devices", "construction_seed", "no_self_transfer",
                  "transfer_forward", "transfer_update")  # fmt: skip
# Members of a configuration that say how it is computed, not what.
HOW = ("tile_class", "tile_array_class", "simulator_tile_class")
REFRESH = (
    "refresh_every",
    "units_in_mbatch",
    "refresh_upper_thres",
    "refresh_lower_thres",
)
# Cells of several devices: what is read, and a mirror image that this engine draws anew.
GROUP_PARTS = ("unit_cell_devices", "construction_seed", "update_policy", "first_update_idx",
               "gamma_vec", "refresh_forward", "refresh_update", "copy_inverted")  # fmt: skip


@dataclass
class Translation:
    """Turns settings into sections of a recipe, and collects what cannot be carried in `losses`.

    With `as_released`, options are set that follow the release where this engine's defaults follow
    what was meant (docs/quirks.md)."""

    as_released: bool = False
    losses: Losses = field(default_factory=Losses)

    def config(self, setup: Setup) -> Values:
        """`device`, `algorithm` and `tile` of a configuration, and `inference` where weights are to
        be programmed. Raises Untranslatable for classes without counterpart."""
        kinds = words.TRAINED + words.PULSED + words.EXACT
        kind = words.nearest_class(setup, kinds)
        if not kind:
            raise Untranslatable(
                f"configuration {setup.get('class')} has nothing like it here"
            )
        parts = self._learning(setup, kind)
        tile = self._tile(setup, trained=kind in words.TRAINED)
        if kind in words.EXACT:
            tile |= {"forward": {"is_perfect": True}, "backward": {"is_perfect": True}}
        found: Values = {**parts, "tile": tile}
        if setup.get("noise_model") is not None:
            found["inference"] = noise.inference(
                setup, self.losses, as_released=self.as_released
            )
            if "ir_drop_segments" in setup["forward"]:
                found["inference"]["wires"] = periphery.wires(
                    setup["forward"], as_released=self.as_released
                )
                tile["forward"].pop("ir_drop", None)
        self._runtime(setup)
        return found

    def device(self, setup: Setup, where: str = "device") -> Values:
        """A device, or cells of several. Raises Untranslatable for an unknown class."""
        group = words.nearest_class(setup, words.GROUPS)
        if group:
            return self._group(setup, words.GROUPS[group], where)
        kind = words.nearest_class(setup, words.devices())
        if not kind:
            raise Untranslatable(
                f"device class {setup.get('class')} has nothing like it here"
            )
        model = words.devices()[kind]
        values = self.known(_flat(setup), find_device(model).params, where)
        return {
            "model": model,
            **(released.device(model, values) if self.as_released else values),
        }

    def io(self, setup: Setup, where: str) -> Values:
        """The periphery of one direction."""
        extra = (*words.WIRES, "apply_xdep_pcm_read_noise", "xdep_pcm_read_noise_scale",
                 "ir_drop_integration_sum")  # fmt: skip
        plain = {k: v for k, v in setup.items() if k not in extra}
        values = periphery.converters(self.known(plain, _names(IO), where))
        return released.periphery(values) if self.as_released else values

    def update(
        self, setup: Setup, where: str = "update", *, writes: bool = False
    ) -> Values:
        """The pulsed update, of a tile or of the writes of a transfer."""
        values = self.known(setup, _names(Update), where)
        return periphery.pulses(values, writes=writes, as_released=self.as_released)

    def known(self, setup: Setup, names: Iterable[str], where: str) -> Values:
        """The settings that have the same name here; the others are noted, unless they are off."""
        names, found = set(names), {}
        for key, value in setup.items():
            if key in TEXTS or value is None:
                continue
            if key in names:
                found[key] = value
            elif key in STATISTICS:
                if value:
                    self.losses.add(
                        f"{where}.{key}", STATISTICS[key], value, matters=False
                    )
            elif value != "None":
                self.losses.add(f"{where}.{key}", "unknown here", value)
        return found

    def _learning(self, setup: Setup, kind: str) -> Values:
        """`device` and `algorithm`."""
        device, update = setup["device"], setup.get("update", {})
        if kind in words.TRAINED:
            return {"device": self.device(device), "algorithm": {"name": "hwa"}}
        if self.as_released and released.bypassed(device, update):
            return {
                "device": self._bypassing(device, update),
                "algorithm": {"name": "sgd"},
            }
        if words.nearest_class(device, (words.MIXED_PRECISION,)):
            return self._mixed_precision(device)
        family = words.nearest_class(device, words.TRANSFERS)
        if family:
            return self._transfer(device, family)
        return {"device": self.device(device), "algorithm": {"name": "sgd"}}

    def _bypassing(self, device: Setup, update: Setup) -> Values:
        """What learns where updates without pulses go past the arrays of a compound."""
        if update["pulse_type"] == "None" or words.nearest_class(device, words.GROUPS):
            return {"model": "ideal"}
        return self.device(device["unit_cell_devices"][-1])

    def _mixed_precision(self, device: Setup) -> Values:
        names = _names(find_algorithm("mixed_precision").Settings)
        plain = {
            k: v for k, v in device.items() if k not in ("device", "construction_seed")
        }
        values = self.known(plain, names, "device")
        values = released.mixed_precision(values) if self.as_released else values
        return {
            "device": self.device(device["device"], "device.device"),
            "algorithm": {"name": "mixed_precision", **values},
        }

    def _transfer(self, device: Setup, family: str) -> Values:
        """The transfer family: the first device is the fast array, all others have the second
        one's settings."""
        name = words.TRANSFERS[family]
        fast, *slow = device["unit_cell_devices"]
        settings = self._transfer_settings(device, family)
        if "arrays" in _names(find_algorithm(name).Settings):
            settings["arrays"] = len(slow) + 1
        visible = self.device(slow[0], "device.unit_cell_devices[1]")
        quick = self.device(fast, "device.unit_cell_devices[0]")
        # A fast array without a device of its own has that of the visible one.
        arrays = {} if quick == visible else {"fast": quick}
        return {"device": visible, "algorithm": {"name": name, **arrays, **settings}}

    def _transfer_settings(self, device: Setup, family: str) -> Values:
        names = _names(find_algorithm(words.TRANSFERS[family]).Settings)
        unused = (*TRANSFER_PARTS, *released.UNUSED.get(family, ()))
        values = {
            words.TRANSFER_SETTINGS.get(key, key): value
            for key, value in device.items()
            if key not in unused
        }
        if family in ("ChoppedTransferCompound", "DynamicTransferCompound"):
            # Two arrays: of the vectors only the first number counts.
            for key in ("transfer_every", "transfer_lr"):
                vector = values.pop(f"{key}_vec", None)
                values[key] = vector[0] if vector else values[key]
            if not device.get("no_self_transfer", True):
                why = "the release also transfers the last array to itself"
                self.losses.add("device.no_self_transfer", why, "false")
        idle = [
            k
            for k in values
            if k not in names and values[k] == NEUTRAL.get(k, object())
        ]
        values = {k: v for k, v in values.items() if k not in idle}
        # Before this setting existed, the learning rate of the fast array was absolute.
        values.setdefault("scale_fast_lr", False)
        values = self.known(values, names, "device")
        if self.as_released:
            values = released.transfer(family, values, device["transfer_update"])
        return values | {
            "transfer_forward": self._read(device["transfer_forward"]),
            "transfer_update": self.update(
                device["transfer_update"], "device.transfer_update", writes=True
            ),
        }

    def _read(self, setup: Setup) -> Values:
        """The periphery of a transfer's reads: what would change how one line reads, and is not
        here, is noted."""
        names, usual = _names(Read), {f.name: f.default for f in fields(IO)}
        for key, value in setup.items():
            idle = key in (*TEXTS, *names, *IDLE_READS) or setup["is_perfect"]
            if not idle and value != usual.get(key):
                self.losses.add(
                    f"transfer_forward.{key}", "reads of a transfer lack it", value
                )
        return {key: value for key, value in setup.items() if key in names}

    def _group(self, setup: Setup, model: str, where: str) -> Values:
        """Cells of several devices."""
        parts = [p for p in setup["unit_cell_devices"] if not isinstance(p, str)]
        # One-sided pairs of the release have its first device twice, whatever the second one is.
        parts = (
            parts[:1]
            if model == "one_sided"
            else parts[:2]
            if model != "vector"
            else parts
        )
        found = [
            self.device(p, f"{where}.unit_cell_devices[{k}]")
            for k, p in enumerate(parts)
        ]
        # Equal devices are named once.
        alike = all(one == found[0] for one in found)
        repeats = {"copies": len(found)} if model == "vector" and alike else {}
        cells = {
            chr(ord("a") + k): one
            for k, one in enumerate(found[:1] if alike else found)
        }
        plain = {k: v for k, v in setup.items() if k not in GROUP_PARTS}
        known = self.known(plain, REFRESH if model == "one_sided" else (), where)
        if setup.get("copy_inverted"):
            why = "the second device has draws of its own here"
            self.losses.add(f"{where}.copy_inverted", why, "true", matters=False)
        settings = {**known, **self._group_settings(setup, model), **repeats}
        return {"model": model, **settings, "cells": cells}

    def _group_settings(self, setup: Setup, model: str) -> Values:
        if model == "vector":
            return {
                "policy": words.POLICIES[setup["update_policy"]],
                "first": setup["first_update_idx"],
                "gamma_vec": list(setup["gamma_vec"]),
            }
        if model == "reference_pair":
            return {}
        names = _names(OneSided)
        found: Values = {}
        if "refresh_forward" in setup and "refresh_forward" in names:
            found["refresh_forward"] = self.io(
                setup["refresh_forward"], "refresh_forward"
            )
        if "refresh_update" in setup:
            found["refresh_update"] = self.update(
                setup["refresh_update"], "refresh_update"
            )
        return found

    def _tile(self, setup: Setup, *, trained: bool) -> Values:
        """Every part of `tile`."""
        found: Values = {}
        for part in ("forward", "backward"):
            if part in setup:
                found[part] = self.io(setup[part], part)
        if not trained and "update" in setup:
            found["update"] = self.update(setup["update"])
        if "mapping" in setup:
            found["mapping"] = self.known(setup["mapping"], _names(Mapping), "mapping")
        ranges = setup.get("pre_post", {}).get("input_range", {})
        if trained:
            found |= self._training(setup)
            found["input_range"] = self._input_range(setup, ranges)
        elif ranges.get("enable"):
            why = "tiles that learn by pulses have no input range here"
            self.losses.add("pre_post.input_range.enable", why, "true")
        return found

    def _training(self, setup: Setup) -> Values:
        """How weights are disturbed, clipped and remapped."""
        torch_tile = bool(words.nearest_class(setup, words.TORCH_TILES))
        kinds: dict[str, type] = {
            "modifier": WeightModifier, "clip": WeightClip, "remap": WeightRemap,
        }  # fmt: skip
        found = {
            part: self.known(setup[part], _names(kind), part)
            for part, kind in kinds.items()
            if part in setup
        }
        modifier = found.get("modifier", {})
        if torch_tile and modifier.get("type", "None") != "None":
            # Their torch tile draws for each product, and takes some numbers in its own way.
            modifier |= {"per_forward": True, "convention": "Torch"}
        elif self.as_released and modifier:
            found["modifier"] = released.modifier(modifier)
        if self.as_released and "clip" in found:
            found["clip"] = released.clip(found["clip"])
        return found

    def _input_range(self, setup: Setup, ranges: Setup) -> Values:
        plain = {k: v for k, v in ranges.items() if k != "calibration_info"}
        values = self.known(plain, _names(InputRange), "pre_post.input_range")
        if not values.get("enable"):
            return values
        if words.nearest_class(setup, words.TORCH_TILES):
            return values | {"stop_at_range": True}
        return released.input_range(values) if self.as_released else values

    def _runtime(self, setup: Setup) -> None:
        """Notes what lies beside the settings of a tile and is not carried."""
        runtime = setup.get("runtime", {})
        if runtime.get("data_type", "float") != "float":
            self.losses.add(
                "runtime.data_type", "tiles compute in float32", runtime["data_type"]
            )
        parts = ("runtime", "pre_post", "mapping", "forward", "backward", "update", "device",
                 "noise_model", "drift_compensation", "clip", "remap", "modifier")  # fmt: skip
        for key, value in setup.items():
            if key not in (*TEXTS, *HOW, *parts) and value is not None:
                self.losses.add(key, "unknown here", value)
        quantised = setup.get("pre_post", {}).get("periph_quant", {}).get("n_bits", 0)
        if quantised:
            self.losses.add(
                "pre_post.periph_quant.n_bits", "digital values are exact", quantised
            )


def _names(kind: type) -> set[str]:
    return {f.name for f in fields(kind)}


def _flat(setup: Setup) -> Values:
    """The nested drift parameters become `drift_...`; parameters that are computed from others
    (null) are left out."""
    flat: Values = {}
    for key, value in setup.items():
        if isinstance(value, dict):
            flat |= {
                f"{key}_{inner}": v for inner, v in value.items() if inner not in TEXTS
            }
        elif value is not None:
            flat[key] = value
    return flat
