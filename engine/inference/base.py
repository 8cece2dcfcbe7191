"""What a noise model is: its parameters, what a device keeps, a few lines of CUDA C for each event.

`program` is what programming makes of a target, `drift` what is read of a device at a time. Their
vocabulary:

    g            conductance in uS, changed in place
    g_max g_min  range of the converter in uS
    p.NAME       a parameter of the model
    p.NAME_n     length of a parameter that is a list
    c.NAME       what this device keeps, set by `program`
    t            seconds since programming (`drift` only)
    noise()      a fresh standard normal number
    m.NAME       an expression of `moment` over p and t (`drift` only): computed once for all
                 devices of a read
    polynomial(p.NAME, (int)p.NAME_n, x), polygon(p.X, p.Y, (int)p.X_n, x)
    exp_ log_ log10_ pow_ sqrt_ abs_ min_ max_ clamp_
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.config.fields import Param
from engine.config.members import Members
from engine.devices._file import load_member, only_member
from engine.readers.wording import unknown
from engine.trust.code import is_code

NOISE_MODELS = Members("engine.inference.models", "no noise model")


@dataclass(frozen=True)
class NoiseModel:
    """One technology.

    `kept` names what each device keeps from programming for later. `converter` holds the settings
    of the converter that differ from the usual ones. `check` returns one line if parameters
    contradict each other."""

    name: str
    about: str
    formula: str
    params: Mapping[str, Param]
    program: str = ""
    drift: str = ""
    source: str = ""
    aihwkit: str = ""
    kept: Mapping[str, str] = field(default_factory=dict)
    moment: Mapping[str, str] = field(default_factory=dict)
    converter: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[dict[str, Any]], str | None] | None = None
    path: str = ""

    def validate(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters, `values` over the defaults. Raises ValueError in one line."""
        for key in values:
            if key not in self.params:
                hint = unknown(key, self.params, have="it has")
                raise ValueError(
                    f"noise model {self.name} has no parameter {key!r}; {hint}"
                )
        full = {
            k: p.read(f"noise.{k}", values[k]) if k in values else p.default
            for k, p in self.params.items()
        }
        problem = self.check(full) if self.check else None
        if problem:
            raise ValueError(f"noise model {self.name}: {problem}")
        return full


def noise_model_names() -> list[str]:
    """Names of the built-in noise models, from the files of their folder."""
    return NOISE_MODELS.names()


def find_noise_model(name: str) -> NoiseModel:
    """The noise model of a built-in name, or of `path/to/file.py:Name` (which runs that file).

    Raises ValueError with the nearest name, or with what is wrong with the file.
    """
    if is_code(name):
        found, path = load_member(name, NoiseModel, "noise model")
        return replace(found, path=path)
    return only_member(vars(NOISE_MODELS.find(name)), NoiseModel, name)
