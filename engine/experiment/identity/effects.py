"""Settings that have no effect beside the others of a configuration, each with the reason.

What is listed here is certain: a test trains with another value and finds the same bits. A setting
that is not listed may still be without effect; the results of a sweep show that at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.experiment.identity import has_tiles, sections_of
from engine.experiment.identity.kernels import DIGITAL, algorithm_names
from engine.experiment.tasks import TRAIN, task_of
from engine.trust.code import is_code

# Algorithm and dataset that some settings are made for.
HWA = "hwa"
TEXT = "text"
# Settings of a dataset that only some of them have.
USED_BY = {
    "path": ("text", "npz", "csv"),
    "sequence_length": ("text",),
    "test_part": ("text", "folder", "npz", "csv"),
    "channels": ("folder",),
    "label": ("csv",),
    "split": ("emnist",),
}
# Sections that a task may leave unused. `inference` is kept for a later evaluation in any case.
PHYSICS = (
    "device",
    "tile",
    "algorithm",
    "model",
    "dataset",
    "loss",
    "optimizer",
    "layers",
)
NONE = "None"
# Which settings a schedule reads beside the learning rate.
SCHEDULES = {
    "constant": (),
    "step": ("step_size", "gamma"),
    "multistep": ("milestones", "gamma"),
    "exponential": ("gamma",),
    "cosine": ("final",),
}
DRIFT = (
    "nu_dtod", "nu_std", "t_0", "reset_tol", "wg_ratio", "g_offset", "w_offset", "nu_k", "log_g0", "w_noise_std",
)  # fmt: skip
Effects = Iterator[tuple[str, str]]


def without_effect(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys, or sections of them, that change nothing of the result, and why."""
    # A section that is of no use as a whole needs no further look at its keys.
    found = dict(_of_task(config))
    found |= _of_data(config)
    if task_of(config) == TRAIN:
        found |= _of_schedule(config)
    if "tile" not in found and "device" not in found and "tile" in sections_of(config):
        found |= _of_algorithms(config)
        # A rule of `layers` may take a setting from the common section and switch it on.
        if not config.get("layers"):
            found |= _of_tile(config)
            found |= _of_device(config)
    if "inference" in sections_of(config):
        found |= _of_inference(config)
    return found


def reason(key: str, found: Mapping[str, str]) -> str:
    """Why a key has no effect; empty if it may have one."""
    # The longest section stands first: its reason holds for all keys below it.
    parts = key.split(".")
    names = (".".join(parts[:n]) for n in range(1, len(parts) + 1))
    return next((found[name] for name in names if name in found), "")


def _value(config: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; None if there is none."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _unless(
    config: Mapping[str, Any], gate: str, prefix: str, names: tuple[str, ...]
) -> Effects:
    """Settings below `prefix` that need another one, `gate`, which is off: zero, false or None."""
    value = _value(config, gate)
    if value in (None, 0, False, NONE):
        for name in names:
            yield f"{prefix}{name}", f"{gate} is {value}"


def _of_task(config: Mapping[str, Any]) -> Effects:
    used, task = sections_of(config), task_of(config)
    for section in PHYSICS:
        if section not in used:
            yield section, f"the task {task} does not use it"
    if task != TRAIN:
        for key in ("epochs", "checkpoint_every", "graph"):
            yield f"run.{key}", f"the task {task} has no epochs of training"
    if task != TRAIN or not set(algorithm_names(config)) - {DIGITAL, HWA}:
        yield "optimizer.tile_lr", "no layer learns by pulses"
    if task == TRAIN and not has_tiles(config):
        for section in ("device", "tile"):
            yield section, "no layer lies on tiles with algorithm=digital"


def _of_data(config: Mapping[str, Any]) -> Effects:
    name = _value(config, "dataset.name")
    for key, names in USED_BY.items():
        # Of a dataset of the user's own only its code knows what it uses.
        if name is not None and name not in names and not is_code(name):
            yield (
                f"dataset.{key}",
                f"it is for dataset={' or '.join(names)}, not {name}",
            )
    if not _value(config, "dataset.augment") and name != "folder":
        yield (
            "dataset.workers",
            "there is nothing for them to do without dataset.augment",
        )


def _of_schedule(config: Mapping[str, Any]) -> Effects:
    shape = _value(config, "optimizer.schedule.name")
    if shape in SCHEDULES:
        for key in ("step_size", "milestones", "gamma", "final"):
            if key not in SCHEDULES[shape]:
                yield f"optimizer.schedule.{key}", f"optimizer.schedule.name is {shape}"


def _of_algorithms(config: Mapping[str, Any]) -> Effects:
    """Hardware-aware training knows no pulses, and what is trained by pulses none of its parts."""
    names = set(algorithm_names(config)) - {DIGITAL}
    evaluated = task_of(config) == "evaluate"
    if evaluated or names == {HWA}:
        why = (
            "nothing is trained"
            if evaluated
            else "algorithm=hwa learns by gradients, not pulses"
        )
        yield "tile.update", why
        if evaluated or _value(config, "algorithm.analog_backward") is False:
            exact = "its way back is exact without algorithm.analog_backward"
            yield "tile.backward", why if evaluated else exact
    # Layers that learn by pulses refuse these parts when they are switched on, and do not look at
    # their other keys.
    if HWA not in names:
        for part in ("modifier", "clip", "remap", "input_range"):
            yield (
                f"tile.{part}",
                f"it needs algorithm=hwa, not {', '.join(sorted(names))}",
            )


def _of_tile(config: Mapping[str, Any]) -> Effects:
    for direction in ("tile.forward", "tile.backward"):
        yield from _of_periphery(config, direction)
    if _value(config, "tile.update.pulse_type") != "DeterministicImplicit":
        for key in ("x_res_implicit", "d_res_implicit"):
            yield (
                f"tile.update.{key}",
                "it is for tile.update.pulse_type=DeterministicImplicit",
            )
    scaled = ("weight_scaling_columnwise", "weight_scaling_lr_compensation")
    yield from _unless(
        config, "tile.mapping.weight_scaling_omega", "tile.mapping.", scaled
    )
    learned = ("out_scaling_columnwise",)
    yield from _unless(
        config, "tile.mapping.learn_out_scaling", "tile.mapping.", learned
    )
    yield from _unless(config, "tile.clip.type", "tile.clip.", ("fixed_value", "sigma"))
    remapped = ("remapped_wmax", "max_scale_range", "max_scale_ref")
    yield from _unless(config, "tile.remap.type", "tile.remap.", remapped)
    ranges = tuple(
        key for key in _value(config, "tile.input_range") or () if key != "enable"
    )
    yield from _unless(config, "tile.input_range.enable", "tile.input_range.", ranges)


def _of_periphery(config: Mapping[str, Any], where: str) -> Effects:
    if _value(config, f"{where}.is_perfect") is True:
        for key in _value(config, where):
            if key not in ("is_perfect", "out_scale"):
                yield f"{where}.{key}", f"{where}.is_perfect is true"
        return
    gates = {
        "out_noise": ("out_noise_std",),
        "ir_drop": ("ir_drop_g_ratio",),
        "out_nonlinearity": ("out_nonlinearity_std", "slope_calibration"),
        "v_offset_std": ("v_offset_positive", "v_offset_w_min"),
        "w_noise": ("w_noise_type",),
    }
    for gate, names in gates.items():
        yield from _unless(config, f"{where}.{gate}", f"{where}.", names)
    managed = (
        "max_bm_factor",
        "max_bm_res",
        "bm_test_negative_bound",
        "bm_negative_hit_clears",
    )
    yield from _unless(config, f"{where}.bound_management", f"{where}.", managed)
    if _value(config, f"{where}.mv_type") != "SplitMode":
        yield f"{where}.split_mode_bit_shift", f"it is for {where}.mv_type=SplitMode"


def _of_device(config: Mapping[str, Any]) -> Effects:
    gates = {
        "lifetime": ("lifetime_dtod",),
        "diffusion": ("diffusion_dtod",),
        "corrupt_devices_prob": ("corrupt_devices_range",),
        "drift_nu": tuple(f"drift_{name}" for name in DRIFT),
    }
    for gate, names in gates.items():
        if _value(config, f"device.{gate}") is not None:
            yield from _unless(config, f"device.{gate}", "device.", names)


def _of_inference(config: Mapping[str, Any]) -> Effects:
    if _value(config, "inference.programming") == "open_loop":
        for key in ("verify_band", "verify_rounds"):
            yield f"inference.{key}", "inference.programming is open_loop"
    wires = tuple(
        key for key in _value(config, "inference.wires") or () if key != "enabled"
    )
    yield from _unless(config, "inference.wires.enabled", "inference.wires.", wires)
