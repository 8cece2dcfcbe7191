"""`aihw device plot` and the curve of `aihw show`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import write

FILE = """
from engine.devices import Device, Param, base_params

Steep = Device(
    name="steep",
    about="Steps shrink faster than linearly.",
    formula="w += D (1 - w / b)^2",
    params=base_params(dw_min=0.01) | {"power": Param(2.0, "", "how fast", minimum=0)},
    step='''
float bound = up ? c.max_bound : c.min_bound;
w += (up ? c.dwmin_up : -c.dwmin_down) * pow_(max_(1.0f - w / bound, 0.0f), p.power);
''',
)
"""


def test_show_draws_a_curve_with_steps_and_symmetry_point(aihw) -> None:
    text = aihw("show", "reram_es").out
    assert "response of 400 cells" in text and text.count("*") > 60
    assert "step of one pulse at weight 0: up +0.00" in text
    assert "symmetry point: weight -0.20" in text
    assert "no pulses to draw" in aihw("show", "step/ideal").out


def test_show_draws_without_torch() -> None:
    code = "import sys; from aihw_cli.main import main; main(['show', 'ecram']); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert (
        "response of 400 cells" in done.stdout
        and done.stdout.splitlines()[-1] == "False"
    )


def test_show_of_a_cell_of_several_devices_draws_each_kind(aihw) -> None:
    assert (
        "device a of a cell:\nresponse of 400 cells"
        in aihw("show", "device/ecram2").out
    )


def test_show_without_a_compiler_says_why_there_is_no_curve(
    aihw, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.jit import cpu
    from engine.settings import UserError

    def build(text: str) -> Path:
        raise UserError("no C++ compiler found\ninstall one")

    monkeypatch.setattr(cpu, "build", build)
    monkeypatch.setattr(
        "engine.tile.response._kernel", lambda text: cpu.Library(text, team=False)
    )
    result = aihw("show", "device/ecram")
    assert (
        result.code == 0 and "no response curve: no C++ compiler found\n" in result.out
    )


def test_plot_in_the_terminal_with_a_changed_parameter(aihw) -> None:
    text = aihw("device", "plot", "ecram", "soft_bounds", "dw_min_dtod=0.0").out
    assert [line for line in text.splitlines() if line in ("ecram", "soft_bounds")] == [
        "ecram",
        "soft_bounds",
    ]
    assert "spread between cells 30 %" in aihw("device", "plot", "step/soft_bounds").out
    assert "spread between cells 30 %" not in text


def test_numbers_for_a_script(aihw) -> None:
    found = json.loads(aihw("device", "plot", "reram_sb", "--json").out)["reram_sb"]
    assert len(found["pulses"]) == len(found["mean"]) == len(found["std"])
    assert len(found["weight"]) == len(found["up"]) == len(found["down_std"])
    assert abs(found["symmetry"]["mean"]) < 0.01 and found["symmetry"]["share"] == 1.0
    assert (
        json.loads(aihw("device", "plot", "gokmen_vlasov", "--json").out)[
            "gokmen_vlasov"
        ]["symmetry"]
        is None
    )


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_an_image(aihw, folder: Path, suffix: str, start: bytes) -> None:
    result = aihw(
        "device", "plot", "reram_es", "ecram", "--out", f"plots/both.{suffix}"
    )
    assert (
        result.code == 0
        and result.out == f"plots/both.{suffix} shows reram_es, ecram\n"
    )
    assert (folder / f"plots/both.{suffix}").read_bytes().startswith(start)


def test_a_device_of_ones_own_needs_permission_and_is_drawn(aihw, folder: Path) -> None:
    write(folder / "mine.py", FILE)
    refused = aihw("device", "plot", "mine.py:Steep")
    assert refused.code == 2 and "--allow-code" in refused.err
    result = aihw("device", "plot", "mine.py:Steep", "power=3", "--allow-code")
    assert result.code == 0 and "response of 400 cells" in result.out


def test_a_broken_snippet_names_file_and_line(aihw, folder: Path) -> None:
    path = write(folder / "mine.py", FILE.replace("p.power", "p.powder"))
    line = (
        path.read_text()
        .splitlines()
        .index(next(x for x in path.read_text().splitlines() if "powder" in x))
        + 1
    )
    result = aihw("device", "plot", "mine.py:Steep", "--allow-code")
    assert result.code == 2 and result.err.count("\n") == 1
    assert f"{path.resolve()}:{line}: " in result.err and "powder" in result.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["plod", "ecram"], "there are `aihw device plot` and `aihw device fit`"),
        (["plot"], "needs the name of a device"),
        (["plot", "ecrm"], "nearest: ecram"),
        (["plot", "ecram", "dw_mim=1"], "nearest"),
        (["plot", "soft_bounds", "dw_min=-1"], "dw_min must be > 0"),
        (["plot", "ecram", "--out", "x.txt"], "must end in one of .png, .svg, .pdf"),
        (["plot", "step/ideal", "--json"], "no pulses to draw"),
    ],
)
def test_wrong_words(aihw, words: list[str], line: str) -> None:
    result = aihw("device", *words)
    assert result.code == 2 and line in result.err and len(result.err.splitlines()) <= 2
