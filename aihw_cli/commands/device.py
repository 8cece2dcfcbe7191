"""`aihw device`: how devices answer to pulses, as curves in the terminal, as an image, or as
numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.curve import figures, response_text, steps_at, symmetry
from aihw_cli.output import say, say_json
from engine.experiment.files import writing
from engine.settings import UserError
from engine.trust.text import plain_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from engine.tile.response import Response
    from engine.tile.settings import DeviceSpec

FORMATS = (".png", ".svg", ".pdf")
CODE = Option(
    "--allow-code", "allow a device file of your own to run (my_device.py:MyDevice)"
)


def device(arguments: Arguments) -> int:
    """Dispatch to the second word."""
    verb, *words = arguments.words
    if verb == "fit":
        return _fit(words, arguments)
    if verb != "plot":
        raise UserError(
            f"no command `aihw device {verb}`; there are `aihw device plot` and `aihw device fit`"
        )
    names = [word for word in words if not _is_change(word)]
    changes = [word for word in words if _is_change(word)]
    if not names:
        raise UserError(
            "aihw device plot needs the name of a device; `aihw ls device` lists them"
        )
    specs = {
        name: find_spec(name, changes, allow_code=arguments.has("--allow-code"))
        for name in names
    }
    from engine.jit.cpu import CompileError

    try:
        _show(specs, arguments)
    except CompileError as error:
        raise UserError(
            f"the snippet of a device cannot be compiled: {error.first}"
        ) from error
    return 0


def _fit(files: list[str], arguments: Arguments) -> int:
    from aihw_cli.measured.fitting import fit

    return fit(files, arguments)


def find_spec(name: str, changes: list[str], *, allow_code: bool = False) -> DeviceSpec:
    """The device of a preset, a step model or a file, with changed parameters (`dw_min=0.01`)."""
    from aihw_cli.compose import compose
    from aihw_cli.overrides import read
    from engine.devices import device_names
    from engine.presets import members
    from engine.tile.settings import TileSpec

    texts = [
        change if change.startswith("device.") else f"device.{change}"
        for change in changes
    ]
    model, preset = name.removeprefix("step/"), name.removeprefix("device/")
    if model in device_names() and preset not in members("device"):
        values = {"model": model} | {
            change.key.removeprefix("device."): change.value for change in read(texts)
        }
    else:
        values = compose([f"device={preset}", *texts], allow_code=allow_code).values[
            "device"
        ]
    try:
        return TileSpec.from_config({"device": values}).device
    except ValueError as error:
        raise UserError(f"device {name}: {error}") from error


def _is_change(word: str) -> bool:
    return re.match(r"^[\w.@]+=", word) is not None


def _show(specs: dict[str, DeviceSpec], arguments: Arguments) -> None:
    out = arguments.options.get("--out")
    if out is None and not arguments.has("--json"):
        say(
            "\n\n".join(
                f"{name}\n{response_text(spec)}" for name, spec in specs.items()
            )
        )
        return
    if out is not None and Path(out).suffix not in FORMATS:
        raise UserError(
            f"--out {out}: the name must end in one of {', '.join(FORMATS)}"
        )
    found = _measured(specs)
    if arguments.has("--json"):
        say_json({name: figures(response) for name, response in found.items()})
    if out is not None:
        _draw(found, Path(out))
        if not arguments.has("--json"):
            say(f"{out} shows {', '.join(found)}")


def _measured(specs: dict[str, DeviceSpec]) -> dict[str, Response]:
    """The response of each device; of each kind of device where a cell holds several."""
    from engine.tile.response import measure

    single: dict[str, Any] = {}
    for name, spec in specs.items():
        single |= (
            {f"{name} {k}": s for k, s in spec.cells.items()}
            if spec.cells
            else {name: spec}
        )
    found = {name: measure(spec) for name, spec in single.items()}
    for name, response in found.items():
        if response is None:
            raise UserError(
                f"device {name} takes any weight in one step; there are no pulses to draw"
            )
    return {name: response for name, response in found.items() if response is not None}


def _draw(found: dict[str, Response], path: Path) -> None:
    """Mean and spread of the response, and the step size over the weight with the symmetry
    point."""
    from engine.experiment.files import image, style

    with style():
        content = image(_figure(found), path.suffix.removeprefix("."), dpi=150)
    with writing("the figure", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _figure(found: dict[str, Response]) -> Figure:
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (name, response) in enumerate(found.items()):
        colour = f"C{number}"
        mean, std = response.weights.mean(1), response.weights.std(1)
        share = np.linspace(0, 2, len(mean))
        left.fill_between(
            share, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0
        )
        left.plot(
            share,
            mean,
            color=colour,
            label=plain_label(
                f"{name}: {response.each * (len(mean) - 1) // 2} pulses each way"
            ),
        )
        for steps, style in ((response.up, "-"), (-response.down, "--")):
            middle, spread = np.nanmean(steps, 1), np.nanstd(steps, 1)
            right.fill_between(
                response.grid,
                middle - spread,
                middle + spread,
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
            right.plot(response.grid, middle, style, color=colour)
        point = symmetry(response)
        if point is not None:
            height = steps_at(response, point["mean"])[0][0]
            right.errorbar(
                point["mean"],
                height,
                xerr=point["std"],
                fmt="o",
                color=colour,
                capsize=3,
            )
    left.set(xlabel="up pulses, then down pulses (share of the train)", ylabel="weight")
    left.legend()
    right.set(
        xlabel="weight",
        ylabel="step of one pulse (solid up, dashed down)",
        title="circle: symmetry point",
    )
    return figure


COMMANDS = (
    Command(
        "device",
        "draw how devices answer to pulses, or fit one to measured pulses",
        "aihw device plot NAME... [parameter=value ...] [--out FILE] [--allow-code] [--json]\n"
        "       aihw device fit DATA... [--out mine.yaml] [--figure fit.png] [--unit uS] [--columns NAMES] "
        "[--pulses N] [--range LOW,HIGH] [--model NAME] [--json]",
        (
            ("aihw device plot reram_es", "the curve in the terminal"),
            ("aihw device plot reram_es ecram --out both.png", "an image of both"),
            (
                "aihw device plot reram_es dw_min_dtod=0",
                "without the spread of steps between cells",
            ),
            (
                "aihw device plot my_device.py:MyDevice --allow-code",
                "a device of your own",
            ),
            (
                "aihw device fit pulses.csv --unit uS --out mine.yaml",
                "a preset from readings of your device",
            ),
        ),
        device,
        (
            Option(
                "--out", "write an image (png, svg, pdf), or the fitted preset", "FILE"
            ),
            Option("--figure", "draw data, steps and residuals of a fit", "FILE"),
            Option("--unit", "the unit of the conductances (S, mS, uS, nS)", "UNIT"),
            Option(
                "--columns",
                "what the columns hold: device, polarity, conductance, up, down, voltage, current; - skips one",
                "NAMES",
            ),
            Option("--pulses", "so many pulses go up, then as many down", "N"),
            Option("--range", "the conductances of weights -1 and 1", "LOW,HIGH"),
            Option("--model", "fit this step model only", "NAME"),
            CODE,
            Option("--json", "the numbers as JSON"),
        ),
        (1, 99),
        "Up pulses from the lower bound, then down pulses, on 400 cells; and one noiseless pulse at each weight. "
        "A fit follows the hidden weight through read noise, for every step model with few parameters, and ranks "
        "the models by AICc beside their loss on readings held out.",
    ),
)
