"""`aihw device fit`: measured pulses in, a preset and a figure out."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from aihw_cli.arguments import Arguments
from aihw_cli.output import say, say_json
from engine.experiment.files import writing
from engine.settings import UserError
from engine.trust.text import plain_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from engine.fit.device import Fitted
    from engine.fit.read import Measured

FORMATS = (".png", ".svg", ".pdf")


def fit(files: list[str], arguments: Arguments) -> int:
    """Read, say what was understood, fit, say what was found, write preset and figure."""
    from engine.fit.device import fit_device, preset_text
    from engine.fit.read import read_traces

    options = arguments.options
    out, drawn = options.get("--out"), options.get("--figure")
    if out is not None and Path(out).suffix != ".yaml":
        raise UserError(f"--out {out}: the name of a preset must end in .yaml")
    if drawn is not None and Path(drawn).suffix not in FORMATS:
        raise UserError(
            f"--figure {drawn}: the name must end in one of {', '.join(FORMATS)}"
        )
    if not files:
        raise UserError("aihw device fit needs a file of readings")
    measured = read_traces(
        [Path(name) for name in files],
        columns=options.get("--columns", ""),
        unit=options.get("--unit", ""),
        each=_count(options.get("--pulses", "0")),
    )
    tell = (lambda _: None) if arguments.has("--json") else say
    tell(_understood(measured))
    chosen = options.get("--model")
    models = (_model(chosen),) if chosen else ()
    fitted = fit_device(measured, models=models, ends=_ends(options), tell=tell)
    tell(_found(fitted))
    if out is not None:
        source = ", ".join(Path(name).name for name in files)
        today = datetime.date.today().isoformat()
        text = preset_text(fitted, measured, source=source, date=today)
        _write(Path(out), text.encode())
        tell(f"{out} holds the device: aihw train device={out}")
    if drawn is not None:
        _draw(fitted, measured, Path(drawn))
        tell(f"{drawn} shows data, steps and residuals")
    if arguments.has("--json"):
        say_json(
            {
                "model": fitted.model,
                "values": fitted.mean,
                "errors": fitted.errors,
                "spreads": fitted.spreads,
                "ties": fitted.ties,
                "ranking": [vars(one) for one in fitted.ranking],
            }
        )
    return 0


def _count(text: str) -> int:
    if not text.isdecimal():
        raise UserError(f"--pulses {text}: expected how many pulses go each way")
    return int(text)


def _model(name: str) -> str:
    from engine.devices import device_names
    from engine.readers.wording import unknown

    if name not in device_names():
        raise UserError(f"no step model {name!r}; {unknown(name, device_names())}")
    return name


def _ends(options: dict[str, str]) -> tuple[float, float] | None:
    text = options.get("--range")
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise UserError(
            f"--range {text}: expected two conductances LOW,HIGH that are to be weights -1 and 1"
        )
    return low, high


def _understood(measured: Measured) -> str:
    lines = [f"understood: {measured.form}, unit {measured.unit or 'not given'}"]
    for trace in measured.traces[:10]:
        up = int((trace.pulses > 0).sum())
        low, high = trace.readings.min(), trace.readings.max()
        lines.append(
            f"  {trace.name}: {up} pulses up, {len(trace.pulses) - up} down, {low:.4g} to {high:.4g}"
        )
    if len(measured.traces) > 10:
        lines.append(f"  and {len(measured.traces) - 10} more devices")
    return "\n".join(lines)


def _found(fitted: Fitted) -> str:
    from engine.fit.device import is_determined

    best = fitted.ranking[0]
    lines = ["model                  AICc above the best   loss of held-out reading"]
    for one in fitted.ranking:
        if one.reason:
            lines.append(f"{one.model:<22} left out: {one.reason}")
            continue
        above = one.criterion - best.criterion
        lines.append(f"{one.model:<22} {above:>19.1f}   {one.held_out:.4f}")
    for name, value in fitted.mean.items():
        error = fitted.errors[name]
        sure = is_determined(value, error)
        lines.append(
            f"  {name} {value:.5g} "
            + (f"+- {error:.2g}" if sure else "(not determined by the data)")
        )
    for name, value in fitted.spreads.items():
        lines.append(f"  {name} {value:.3g} between devices")
    if len(fitted.ranking) == 1:
        return "\n".join(lines)
    ties = ", ".join(fitted.ties)
    lines.append(
        f"the data cannot tell {fitted.model} from {ties}"
        if ties
        else f"{fitted.model} explains the readings best"
    )
    return "\n".join(lines)


def _write(path: Path, content: bytes) -> None:
    with writing("the result of the fit", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _draw(fitted: Fitted, measured: Measured, path: Path) -> None:
    from engine.experiment.files import image, style

    with style():
        content = image(
            _figure(fitted, measured), path.suffix.removeprefix("."), dpi=150
        )
    _write(path, content)


def _figure(fitted: Fitted, measured: Measured) -> Figure:
    """The first device: readings over what was foreseen, step over weight, residuals."""
    import numpy as np
    from matplotlib.figure import Figure

    from engine.fit.filter import steps_of

    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    data, one = fitted.data[0], fitted.fits[0]
    surprise, variance = one.filtered.surprise[0], one.filtered.variance[0]
    left.plot(data.readings, ".", markersize=2, color="0.6", label="reading")
    foreseen = data.readings[1:] - surprise
    label = plain_label(f"{measured.traces[0].name}: foreseen by {fitted.model}")
    left.plot(np.arange(1, len(data.readings)), foreseen, label=label)
    left.set(xlabel="pulse", ylabel="weight")
    left.legend()
    steps = steps_of(one.model, one.params)
    grid = np.linspace(steps.low, steps.high, steps.mean.shape[1])
    for name, mean, spread in zip(
        ("down", "up"), steps.mean, steps.spread, strict=True
    ):
        middle.plot(grid, mean, label=name)
        middle.fill_between(grid, mean - spread, mean + spread, alpha=0.2)
    middle.set(xlabel="weight", ylabel="step of one pulse and its spread")
    middle.legend()
    right.plot(surprise / np.sqrt(variance), ".", markersize=2)
    right.set(xlabel="pulse", ylabel="residual, in standard deviations")
    return figure
