"""A device from measured traces: models ranked, parameters with errors, spreads between devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.devices import device_names, find_device
from engine.fit.read import Measured, Trace
from engine.fit.search import READ_NOISE, Bools, Data, Fit, fit_model
from engine.settings import UserError

# Readings are held out in blocks, so that a model must foresee several pulses.
BLOCK, FOLDS = 10, 5
# Models closer than this in AICc are not told apart by the data (Burnham & Anderson 2002).
CLOSE = 2.0
# A parameter whose error is so many times itself is not known; near 0 an error below this is a
# statement.
VAGUE, SMALL = 3.0, 0.3
# Parameters of the mean device and what their spread between devices is called; the second says
# whether that is relative to the mean.
SPREADS = {
    "dw_min": ("dw_min_dtod", True),
    "w_max": ("w_max_dtod", True),
    "w_min": ("w_min_dtod", True),
    "up_down": ("up_down_dtod", False),
    "gamma_up": ("gamma_up_dtod", False),
    "gamma_down": ("gamma_down_dtod", False),
}


@dataclass(frozen=True)
class Candidate:
    """A model, its AICc, and its loss for each reading that was held out; or why it was left
    out."""

    model: str
    criterion: float = float("inf")
    held_out: float = float("inf")
    reason: str = ""


@dataclass(frozen=True)
class Fitted:
    """What `fit_device` finds: the ranking, a fit for each device, the scale of the weight."""

    ranking: tuple[Candidate, ...]
    fits: tuple[Fit, ...]
    data: tuple[Data, ...]
    # Conductances that are weights 0 and 1.
    middle: float
    half: float
    mean: dict[str, float]
    errors: dict[str, float]
    spreads: dict[str, float]

    @property
    def model(self) -> str:
        """The model that was ranked first."""
        return self.fits[0].model

    @property
    def ties(self) -> list[str]:
        """Models that the data cannot tell from the first."""
        best = self.ranking[0].criterion
        return [c.model for c in self.ranking[1:] if c.criterion - best < CLOSE]


def fit_device(
    measured: Measured,
    *,
    models: Sequence[str] = (),
    ends: tuple[float, float] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """Rank the models on all devices, then fit the best to each. `ends` are the conductances that
    are to be weights -1 and 1. Raises UserError for data that hold no step."""
    if ends is None:
        every = np.concatenate([trace.readings for trace in measured.traces])
        ends = float(every.min()), float(every.max())
    middle, half = 0.5 * (ends[0] + ends[1]), 0.5 * (ends[1] - ends[0])
    data = tuple(_scaled(trace, middle, half) for trace in measured.traces)
    first: dict[str, list[Fit]] = {}
    ranking = []
    for model in models or [n for n in device_names() if not find_device(n).ideal]:
        tell(f"fitting {model}")
        candidate, first[model] = _try(model, data)
        ranking.append(candidate)
    ranking.sort(key=lambda c: (c.criterion, c.model))
    best = ranking[0]
    if best.reason:
        raise UserError(f"no model can be fitted: {best.model}: {best.reason}")
    tell(f"fitting {best.model} to all readings")
    fits = tuple(
        fit_model(best.model, one, np.ones(len(one.pulses), bool), start)
        for one, start in zip(data, first[best.model], strict=True)
    )
    _refuse_noise(measured, data, fits)
    mean, errors, spreads = _together(fits)
    return Fitted(tuple(ranking), fits, data, middle, half, mean, errors, spreads)


def is_determined(value: float, error: float) -> bool:
    """Whether the data say more of a parameter than its order of magnitude."""
    return error < VAGUE * max(abs(value), SMALL)


def _scaled(trace: Trace, middle: float, half: float) -> Data:
    return Data((trace.readings - middle) / half, trace.pulses)


def _shown(count: int) -> Bools:
    """Every fifth block of readings is held out."""
    return np.arange(count) // BLOCK % FOLDS != FOLDS - 1


def _try(model: str, data: Sequence[Data]) -> tuple[Candidate, list[Fit]]:
    criterion = held_out = 0.0
    hidden = 0
    fits = []
    for one in data:
        seen = _shown(len(one.pulses))
        try:
            fit = fit_model(model, one, seen)
        except (ValueError, np.linalg.LinAlgError) as error:
            return Candidate(model, reason=str(error)), []
        criterion += fit.criterion(int(seen.sum()))
        held_out += float(fit.filtered.loss(~seen)[0])
        hidden += int((~seen).sum())
        fits.append(fit)
    return Candidate(model, criterion, held_out / max(hidden, 1)), fits


def _refuse_noise(
    measured: Measured, data: Sequence[Data], fits: Sequence[Fit]
) -> None:
    """One line for a trace that noise about one value explains as well."""
    for trace, one, fit in zip(measured.traces, data, fits, strict=True):
        count = len(one.pulses)
        variance = float(np.var(one.readings[1:]))
        still = 0.5 * count * (np.log(2.0 * np.pi * variance) + 1.0)
        if 2.0 * still + 4.0 <= fit.criterion(count):
            raise UserError(
                f"device {trace.name}: noise about one value explains the readings as well as pulses do; "
                "there is no step to fit"
            )


def _together(
    fits: Sequence[Fit],
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Mean over devices, its standard error, and the spread between devices without what the
    errors of the fits add to it."""
    mean, errors, spreads = {}, {}, {}
    for name in fits[0].values:
        values = np.array([fit.values[name] for fit in fits])
        own = np.array([fit.errors[name] for fit in fits])
        mean[name] = float(values.mean())
        errors[name] = float(own[0])
        if len(fits) == 1:
            continue
        variance = float(values.var(ddof=1))
        errors[name] = float(np.sqrt(variance / len(fits)))
        if name not in SPREADS or not np.isfinite(own).all():
            continue
        between = float(np.sqrt(max(variance - float((own**2).mean()), 0.0)))
        spread, relative = SPREADS[name]
        spreads[spread] = between / abs(mean[name]) if relative else between
    declared = find_device(fits[0].model).params
    kept = {name: value for name, value in spreads.items() if name in declared}
    return mean, errors, kept


def preset_text(fitted: Fitted, measured: Measured, *, source: str, date: str) -> str:
    """The device as a preset: values with their errors; spreads that were not measured are 0."""
    params = find_device(fitted.model).params
    unit = measured.unit or "the unit of the file"
    noise = fitted.mean[READ_NOISE]
    lines = [
        f"about: fitted to {len(fitted.fits)} measured device(s); weights -1 and 1 are "
        f"{fitted.middle - fitted.half:.6g} and {fitted.middle + fitted.half:.6g} {unit}",
        f"source: {_quoted(f'{source}, fitted {date}')}",
        f"# read noise {noise:.4g} +- {fitted.errors[READ_NOISE]:.2g} weight: of the reading, not of the device",
        f"model: {fitted.model}",
    ]
    for name, param in params.items():
        if name in fitted.mean:
            error = fitted.errors[name]
            known = f"+- {error:.2g}"
            if not is_determined(fitted.mean[name], error):
                known = "not determined by the data"
            meaning = f"{param.unit}; {known}" if param.unit else known
            lines.append(f"{name}: {_float(fitted.mean[name])}  # {meaning}")
        elif name in fitted.spreads:
            lines.append(f"{name}: {_float(fitted.spreads[name])}  # between devices")
        elif name.endswith("_dtod") and param.default:
            lines.append(f"{name}: 0.0  # not measured")
        elif name == "mult_noise":
            lines.append(f"{name}: true  # as fitted")
    return "\n".join(lines) + "\n"


def _float(value: float) -> str:
    """A number that YAML reads as one (YAML 1.1 takes 1e-05 for a text)."""
    text = f"{value:.6g}"
    return text if "e" not in text else f"{value:.12f}".rstrip("0") + "0"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "/").replace('"', "'") + '"'
