"""Runs beside aihwkit: loads files of this engine into fresh models there, and compares them with
what was recorded. Prints a JSON line for each model: largest error of the outputs, what was lost;
then one on the presets that changed, and one on a model that was programmed.

    python -m tests.exchange.check_back FOLDER"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import torch

from tests.exchange import make_data


def main() -> None:
    sys.path.insert(0, str(make_data.SCRIPTS))
    import export_aihwkit

    for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
        model, _ = make_data.MODELS[path.stem]()
        lost = export_aihwkit.load(model, path)
        model.eval()
        recorded, _ = export_aihwkit.read(make_data.FOLDER / path.name)
        with torch.no_grad():
            found = make_data.first(model(recorded["check.x"]))
        error = float((found - recorded["check.y"]).abs().max())
        say(name=path.stem, error=error, lost=lost)
    say(changed=changed_presets(export_aihwkit))
    say(**programmed(export_aihwkit, Path(sys.argv[1])))


def say(**found: object) -> None:
    sys.stdout.write(json.dumps(found) + "\n")


def changed_presets(exporter) -> list[str]:
    """Presets whose fields are not those that were recorded."""
    recorded = json.loads(
        gzip.decompress((make_data.FOLDER / "presets.json.gz").read_bytes())
    )
    now = make_data.all_presets(exporter)
    return sorted(
        name for name in {**recorded, **now} if recorded.get(name) != now.get(name)
    )


def programmed(exporter, folder: Path) -> dict[str, object]:
    """How far weights of a programmed model are from the trained ones: exported as a model, and as
    a state dict, which has lost them."""
    model, _ = make_data.MODELS["digits_hwa"]()
    files = [folder / f"{name}.part" for name in ("before", "model", "state")]
    exporter.save(model.eval(), files[0])
    model.program_analog_weights()
    model.drift_analog_weights(100.0)
    told = [exporter.save(model, files[1]), exporter.save(model.state_dict(), files[2])]
    before, after, state = (exporter.read(file)[0]["tile.0.weights"] for file in files)
    errors = [float((other - before).abs().max()) for other in (after, state)]
    return {"errors": errors, "told": [lines[0] for lines in told]}


if __name__ == "__main__":
    main()
