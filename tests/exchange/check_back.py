"""Runs beside aihwkit: loads files of this engine into fresh models there, and compares them with
what was recorded. Prints a JSON line for each model: largest error of the outputs, what was lost.

    python -m tests.exchange.check_back FOLDER"""

from __future__ import annotations

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
        sys.stdout.write(json.dumps({"name": path.stem, "error": error, "lost": lost}) + "\n")


if __name__ == "__main__":
    main()
