"""Which CUDA C text decides the result of a run: the kernels of its algorithms, for its devices.

The processor does not decide a result, so the text of both processors counts.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.algorithms import find_algorithm
from engine.devices.base import Device, find_device
from engine.experiment.identity.tokens import declarations
from engine.inference.base import NoiseModel, find_noise_model
from engine.inference.text import noise_text
from engine.jit import source
from engine.jit.pair import pair_text
from engine.settings import UserError
from engine.tile.settings import GROUPS

DIGITAL = "digital"
BACKENDS = ("cpu", "cuda")
# Whatever a cell may keep is kept, so that no parameter of a device chooses which text is hashed.
EVERYTHING = {
    "lifetime": 1.0,
    "diffusion": 1.0,
    "reset": 1.0,
    "drift_nu": 1.0,
    "write_noise_std": 1.0,
}
# Units that an algorithm may need beside those of all tiles; an algorithm names its own in KERNELS.
UNITS = ("digital", "training", "transfer")


@dataclass(frozen=True)
class Needs:
    """All that decides which kernels a run may compile. `noise` is empty where nothing is
    programmed."""

    algorithms: frozenset[str]
    models: tuple[str, ...]
    noise: str
    wires: bool


def needs_of(config: Mapping[str, Any]) -> Needs:
    """What the sections of a run need."""
    inference = config.get("inference") or {}
    return Needs(
        frozenset(algorithm_names(config)),
        tuple(sorted(set(device_models(config)) - set(GROUPS))),
        str(inference.get("noise_model") or "pcm") if inference else "",
        bool((inference.get("wires") or {}).get("enabled")),
    )


def kernel_texts(needs: Needs) -> Iterator[str]:
    """Every translation unit that may be compiled for a run, for both processors."""
    if not needs.algorithms - {DIGITAL} and not needs.noise:
        return
    # Every tile has products and patches, and every device its updates and its response curve.
    for backend in BACKENDS:
        yield source.mvm_text(backend)
        for model in needs.models:
            yield source.device_text(model, _layout(model), backend)
    yield source.patches_text()
    yield source.group_text()
    for model in needs.models:
        yield source.response_text(model, _layout(model))
    for unit in sorted(_units(needs.algorithms, evaluates=bool(needs.noise))):
        yield from _unit_texts(unit, needs.models)
    if needs.noise:
        yield from _inference_texts(needs)


@functools.lru_cache(maxsize=256)
def kernels_digest(needs: Needs, declared: tuple[str, ...]) -> str:
    """One digest of all declarations in these texts, wherever they stand. `declared` are the
    digests of the devices: the points of a sweep share the answer as long as these are the same."""
    found: set[str] = set()
    for text in kernel_texts(needs):
        found |= declarations(text)
    return hashlib.sha256("\n\n".join(sorted(found)).encode()).hexdigest()


def algorithm_names(config: Mapping[str, Any]) -> Iterator[str]:
    """The learning algorithms of a configuration: the common one, and those of single layers."""
    sections = [config, *(config.get("layers") or {}).values()]
    for section in sections:
        named = (section or {}).get("algorithm")
        if isinstance(named, Mapping):
            yield str(named.get("name", "sgd"))
        elif named:
            yield str(named)


def device_models(config: Mapping[str, Any]) -> Iterator[str]:
    """Names of all device models in `device`, `algorithm` and `layers`."""
    for section in ("device", "algorithm", "layers"):
        yield from _models(config.get(section) or {})


def find_pulsed(model: str) -> Device:
    """The device of a name or file. Raises UserError in one line."""
    try:
        return find_device(model)
    except ValueError as problem:
        raise UserError(f"device.model: {problem}") from problem


def find_noise(name: str) -> NoiseModel:
    """The noise model of a name or file. Raises UserError in one line."""
    try:
        return find_noise_model(name)
    except ValueError as problem:
        raise UserError(f"inference.noise_model: {problem}") from problem


def _models(values: Any) -> Iterator[str]:
    if isinstance(values, Mapping):
        if isinstance(values.get("model"), str):
            yield values["model"]
        for value in values.values():
            yield from _models(value)


def _units(algorithms: Iterable[str], *, evaluates: bool) -> set[str]:
    """Names of the further units. An algorithm that does not name its units gets all of them."""
    found = {"training"} if evaluates else set()
    for name in algorithms:
        # Kernels of unknown use count rather than not.
        found |= set(getattr(find_algorithm(name), "KERNELS", UNITS))
    return found


def _layout(model: str) -> source.Layout:
    return source.layout(find_pulsed(model), EVERYTHING)


def _unit_texts(unit: str, models: Iterable[str]) -> Iterator[str]:
    if unit == "digital":
        yield source.digital_text()
    elif unit == "training":
        yield source.training_text()
    else:
        yield from _transfer_texts(models)


def _transfer_texts(models: Iterable[str]) -> Iterator[str]:
    """Transfers between arrays; the device of the fast array and that of a slower one add their
    own parts independently, so that a pair of equal devices holds all of them."""
    yield source.rounds_text()
    for model in models:
        part = (model, _layout(model))
        for backend in BACKENDS:
            yield pair_text(part, part, backend)


def _inference_texts(needs: Needs) -> Iterator[str]:
    find_noise(needs.noise)
    yield noise_text(needs.noise)
    # What turns outputs back into weights is compiled with a model that does nothing.
    yield noise_text("none")
    if needs.wires:
        from engine.inference.wires import wires_text

        yield wires_text()
