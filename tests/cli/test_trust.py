"""What a stranger's recipe, preset or run folder may not do: run code, write elsewhere, take over
the terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from aihw_cli.__main__ import without_current_folder
from aihw_cli.compose import compose
from engine.devices import find_device
from engine.presets import preset
from engine.settings import ROOT, UserError
from engine.tile.settings import TileSpec
from engine.trust.code import code_permission
from tests.cli.conftest import Result, write

Call = Callable[..., Result]
SMALL = (
    "run.epochs=1",
    "dataset.train_samples=20",
    "dataset.test_samples=20",
    "run.threads=1",
)
CELL = """from pathlib import Path
from engine.devices import Device, base_params
Path(__file__).with_name("ran").touch()
X = Device(name="x", about="a", formula="w", params=base_params(), step="w += up ? c.dwmin_up : -c.dwmin_down;")
"""
NOISE = """from pathlib import Path
from engine.inference.base import NoiseModel
Path(__file__).with_name("ran").touch()
X = NoiseModel(name="x", about="a", formula="G", params={}, program="g = g;", drift="g = g;")
"""
RECIPES = {
    "device": "device: {model: 'evil.py:X'}",
    "device without a name": "device: {model: evil.py}",
    "device of a layer": "layers: {fc1: {device: {model: 'evil.py:X'}}}",
    "device of an array": "defaults: [{algorithm: tiki_taka}]\nalgorithm: {fast: {model: 'evil.py:X'}}",
    "device of a cell": "device: {model: one_sided, cells: {a: {model: 'evil.py:X'}}}",
    "noise model": "inference: {noise_model: 'noise.py:X'}",
    "member": "defaults: [{device: nice}]",
    "member of a layer": "layers: {fc1: {device: nice}}",
    "preset": "defaults: [{preset: nice}]",
    "member that names it": "defaults: [{device: outer}]",
    "interpolation": "claim: 'evil.py:X'\ndevice: {model: '${claim}'}",
    "list": "inference: {noise_model: ['noise.py:X']}",
    "list as a device": "device: {model: ['evil.py:X']}",
}
COMMANDS = {
    "show a device": ["show", "device/nice"],
    "show a noise model": ["show", "inference/nice"],
    "show for a script": ["show", "device/nice", "--json"],
    "show a preset": ["show", "--model", "mlp", "preset=nice"],
    "show a network": ["show", "--model", "mlp", "device=nice"],
    "plot": ["device", "plot", "nice"],
    "plot a file": ["device", "plot", "evil.py:X"],
    "validate a device": ["validate", "presets/device/nice.yaml"],
    "validate a noise model": ["validate", "conf/inference/nice.yaml"],
    "sweep": ["train", "-m", "device=nice,ecram"],
    "sweep over a value": ["train", "-m", "device.model=constant_step,evil.py:X"],
    "seeds": ["train", "device=nice", "seeds=2"],
    "search": ["search", "device=nice", "optimizer.lr=interval(0.1,0.2)"],
}


@pytest.fixture
def evil(folder: Path) -> Path:
    """A folder with code, and members that name it. The file `ran` appears when code runs."""
    write(folder / "evil.py", CELL)
    write(folder / "noise.py", NOISE)
    write(folder / "presets/device/nice.yaml", "about: nice\nmodel: 'evil.py:X'\n")
    write(
        folder / "presets/device/outer.yaml",
        "defaults: [{device@_here_: nice}]\nabout: out\n",
    )
    header = "# @package _global_\n"
    write(
        folder / "presets/preset/nice.yaml", f"{header}device: {{model: 'evil.py:X'}}\n"
    )
    write(
        folder / "conf/inference/nice.yaml", "about: nice\nnoise_model: 'noise.py:X'\n"
    )
    return folder / "ran"


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("verb", ["train", "validate"])
def test_a_recipe_runs_no_code(aihw: Call, evil: Path, text: str, verb: str) -> None:
    path = write(evil.parent / "r.yaml", text)
    words = (
        [f"conf={path}", *SMALL] if verb == "train" else [str(path), "--as", "recipe"]
    )
    result = aihw(verb, *words)
    assert result.code == 2 and "Traceback" not in result.err and not evil.exists(), (
        result.err
    )
    assert not (evil.parent / "runs").exists()


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_no_command_runs_code(aihw: Call, evil: Path, words: list[str]) -> None:
    result = aihw(*words)
    assert not evil.exists(), result.out
    assert (
        result.code == 2
        and "--allow-code" in result.err
        and "Traceback" not in result.err
    )


def test_with_permission_it_runs(aihw: Call, evil: Path) -> None:
    assert (
        aihw("validate", "presets/device/nice.yaml", "--allow-code").code == 0
        and evil.exists()
    )
    evil.unlink()
    assert aihw("show", "inference/nice", "--allow-code").code == 0 and evil.exists()


def test_the_permission_ends_with_the_command(aihw: Call, evil: Path) -> None:
    aihw("show", "inference/nice", "--allow-code")
    evil.unlink()
    assert aihw("show", "inference/nice").code == 2 and not evil.exists()


def test_a_run_folder_runs_no_code(aihw: Call, evil: Path) -> None:
    # Without pulses nothing of it is compiled, which would take long.
    words = (
        "algorithm=digital",
        "device=evil.py:X",
        "inference.noise_model=noise.py:X",
        *SMALL,
    )
    made = aihw("train", *words, "--allow-code")
    assert made.code == 0, made.err
    run = next(Path("runs/digits").iterdir())
    done = aihw(
        "eval", str(run), "inference.times=[1s]", "inference.repeats=1", "--allow-code"
    )
    assert done.code == 0, done.err
    evaluation = next((run / "eval").iterdir())
    for place in (run, evaluation):
        record = json.loads((place / "run.json").read_text())
        write(place / "run.json", json.dumps({**record, "status": "interrupted"}))
        (place / "summary.json").unlink()
    (evaluation / "metrics.csv").unlink()
    evil.unlink()
    recipe = write(
        evil.parent / "r.yaml", f"task: {{name: evaluate, weights: {run}}}\n"
    )
    start = write(evil.parent / "s.yaml", f"run: {{start: {run}}}\n")
    for command in (
        ("resume", str(run)),
        ("resume", str(evaluation)),
        ("eval", str(run)),
        ("eval", str(run), "run.device=cpu"),
        ("train", f"run.start={run}", *SMALL),
        ("train", f"conf={start}", *SMALL),
        ("train", f"conf={recipe}", *SMALL),
        ("train", "-m", f"run.start={run}", "run.seed=5,6", *SMALL),
        ("runs", "show", str(run)),
        ("runs",),
    ):
        result = aihw(*command)
        assert not evil.exists(), command
        assert "Traceback" not in result.err, result.err
        assert command[0] == "runs" or result.code != 0, command
    assert aihw("resume", str(evaluation), "--allow-code").code == 0 and evil.exists()


def test_a_sweep_folder_runs_no_code(aihw: Call, evil: Path) -> None:
    assert aihw("train", "-m", "run.seed=1,2", *SMALL).code == 0
    sweep = next(Path("runs/digits").glob("sweep-*"))
    lines = [
        json.loads(line) for line in (sweep / "points.jsonl").read_text().splitlines()
    ]
    for values in lines:
        values["device"]["model"] = "evil.py:X"
    write(sweep / "points.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    result = aihw("resume", str(sweep))
    assert result.code == 2 and "--allow-code" in result.err and not evil.exists()


def test_a_program_may_name_code_and_a_preset_may_not(evil: Path) -> None:
    with pytest.raises(UserError, match="code_permission"):
        preset("nice")
    assert not evil.exists()
    assert (
        TileSpec.from_config({"device": {"model": "evil.py:X"}}).device.model
        == "evil.py:X"
    )
    assert evil.exists()
    with code_permission(True):
        assert preset("nice").device.model == "evil.py:X"
    with code_permission(False), pytest.raises(UserError, match="--allow-code"):
        find_device("evil.py:X")


ELSEWHERE = {
    "absolute": "run: {dir: OUT/runs}\n",
    "above": "run: {dir: ../runs}\n",
    "home": "run: {dir: ~/runs}\n",
    "interpolation": "claim: OUT/runs\nrun: {dir: '${claim}'}\n",
    "interpolation of a part": "claim: ../..\nrun: {dir: 'runs/${claim}/x'}\n",
    "default of an interpolation": "run: {dir: '${oc.select:nothing,OUT/runs}'}\n",
    "member": "defaults: [{run: elsewhere}]\n",
    "line break": 'run: {dir: "runs\\ntouch x"}\n',
    "download": "dataset: {name: mnist, root: OUT, download: true}\n",
    "name": "name: ../elsewhere\n",
    "name with a line break": 'name: "digits\\n"\n',
}


@pytest.mark.parametrize("text", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_recipe_writes_below_the_current_folder_only(
    folder: Path, aihw: Call, text: str
) -> None:
    (folder / "here").mkdir()
    write(
        folder / "here/conf/run/elsewhere.yaml", f"dir: {folder}/out/runs\nepochs: 1\n"
    )
    path = write(folder / "here/r.yaml", text.replace("OUT", f"{folder}/out"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "here")
        result = aihw("train", f"conf={path}", *SMALL)
    assert result.code == 2 and "Traceback" not in result.err, result.err
    assert sorted(p.name for p in folder.iterdir()) == ["here"]
    assert sorted(p.name for p in (folder / "here").iterdir()) == ["conf", "r.yaml"]


def test_a_recipe_beside_it_writes_below_the_current_folder_only(folder: Path) -> None:
    groups = "device: gokmen_vlasov", "tile: preset", "algorithm: sgd", "model: mlp"
    rest = "dataset: digits", "optimizer: analog_sgd", "run: default"
    lines = "".join(f"  - {group}\n" for group in (*groups, *rest))
    write(
        folder / "base.yaml",
        f"defaults:\n{lines}  - _self_\nrun: {{dir: {folder}/out}}\n",
    )
    path = write(folder / "r.yaml", "defaults: [base, _self_]\n")
    with pytest.raises(UserError, match=r"run\.dir .* reaches outside"):
        compose([f"conf={path}"])
    # The user may send the results anywhere.
    assert (
        compose([f"conf={path}", f"run.dir={folder}/x"]).values["run"]["dir"]
        == f"{folder}/x"
    )


BAD = "\x1b]0;pwned\x07\x1b[31m\u202e\x9b1m\x7f"
FORGED = "x\nerror: disk on fire"


def unseen(text: str) -> str:
    """What is left of a text without its printable characters and line breaks."""
    return "".join(c for c in text if not c.isprintable() and c not in "\n")


def test_texts_of_recipes_and_members_do_not_reach_the_terminal(
    aihw: Call, folder: Path
) -> None:
    claim = json.dumps(BAD + FORGED)
    write(
        folder / "experiments/m.yaml",
        f"claim: {claim}\nsource: {claim}\nexpected: {claim}\n",
    )
    write(folder / "presets/device/d.yaml", f"about: {claim}\nmodel: constant_step\n")
    write(folder / f"presets/device/x{FORGED}\x1b.yaml", "model: constant_step\n")
    for words in (["ls"], ["ls", "device"], ["ls", "--json"], ["show", "recipe/m"], ["show", "d"],
                  ["train", "device=nothing"], ["cp", "recipe/m", "copy.yaml"]):  # fmt: skip
        result = aihw(*words)
        assert not unseen(result.out) and not unseen(result.err), words
        assert (
            "\nerror: disk" not in result.out and "\nerror: disk" not in result.err
        ), words


@pytest.mark.parametrize(
    "text",
    [
        f"{json.dumps(BAD)}: 1",
        f"{json.dumps(FORGED)}: 1",
        f"run: {{{json.dumps(FORGED)}: 1}}",
        f"layers: {{fc1: {{{json.dumps(FORGED)}: 1}}}}",
        f"layers: {{{json.dumps(FORGED)}: 3}}",
        f"device: {{model: {json.dumps(BAD + FORGED)}}}",
        f"name: {json.dumps(BAD + FORGED)}",
        f"defaults: [{{{json.dumps(FORGED)}: x}}]",
        f"defaults: [{{device: {json.dumps(FORGED)}}}]",
        f"task: {{name: {json.dumps(FORGED)}}}",
    ],
)
def test_errors_cannot_be_forged(aihw: Call, folder: Path, text: str) -> None:
    path = write(folder / "r.yaml", text)
    result = aihw("validate", str(path), "--as", "recipe")
    assert result.code == 2 and not unseen(result.err)
    assert "\nerror: disk" not in result.err


def test_records_do_not_reach_the_terminal(aihw: Call, folder: Path) -> None:
    assert aihw("train", *SMALL).code == 0
    run = next(Path("runs/digits").iterdir())
    record = json.loads((run / "run.json").read_text())
    text = BAD + FORGED
    foreign = {
        "citations": [text],
        "host": {"name": text},
        "name": text,
        "commit": text,
    }
    write(run / "run.json", json.dumps({**record, **foreign, "versions": {text: text}}))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["device"]["about"] = config["model"]["name"] = text
    write(run / "config.yaml", yaml.safe_dump(config))
    other = run.rename(run.with_name("x\x1b[31m\nerror: disk"))
    for words in (["ls"], ["ls", "--columns", "host,commit"], ["show", str(other)], ["best"],
                  ["ls", "--csv"], ["show", str(other), "--json"], ["plot"],
                  ["plot", "--group", "model.name"]):  # fmt: skip
        result = aihw("runs", *words)
        assert result.code == 0, (words, result.err)
        assert not unseen(result.out) and not unseen(result.err), words
        # In CSV a line break within quotes belongs to its field.
        forged = "\nerror: disk" in result.out and "--csv" not in words
        assert not forged and "\nerror: disk" not in result.err, words
    log = aihw("resume", str(other))
    assert not unseen(log.out + log.err)


def test_formulas_in_foreign_texts_are_texts(aihw: Call, folder: Path) -> None:
    assert aihw("train", "-m", "run.seed=1,2", *SMALL).code == 0
    for number, run in enumerate(sorted(Path("runs/digits").glob("*-[12]"))):
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["model"]["name"] = f"$\\frac{{x^{number}$"
        write(run / "config.yaml", yaml.safe_dump(config))
    result = aihw("runs", "plot", "--group", "model.name", "--out", "a.svg")
    assert result.code == 0 and r"$\frac{x^1$" in Path("a.svg").read_text(), result.err
    wrong = aihw("runs", "plot", "--title", "$x^$", "--out", "b.png")
    assert wrong.code == 2 and "formula" in wrong.err and not Path("b.png").exists()
    assert aihw("runs", "plot", "--title", "$x^2$", "--out", "c.png").code == 0


def test_settings_of_matplotlib_are_not_read_from_the_current_folder(
    aihw: Call, folder: Path
) -> None:
    import matplotlib

    with matplotlib.rc_context({"text.usetex": True, "font.size": 30}):
        assert aihw("device", "plot", "ecram", "--out", "a.png").code == 0


MODULES = ("torch", "yaml", "numpy", "engine", "rich", "hydra", "omegaconf", "json5")


def shadowing(folder: Path) -> Path:
    """Modules in the current folder that tell when they are imported."""
    for name in MODULES:
        write(folder / f"{name}.py", f"open({str(folder / 'ran')!r}, 'w')\n")
    return folder / "ran"


def test_modules_of_the_current_folder_are_not_imported_with_m(folder: Path) -> None:
    ran = shadowing(folder)
    words = [
        sys.executable,
        "-m",
        "aihw_cli",
        "validate",
        str(ROOT / "experiments/basics/digits.yaml"),
    ]
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False
    )
    assert not ran.exists() and done.returncode == 0, done.stderr


def test_modules_of_the_current_folder_are_not_imported_by_workers(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ran = shadowing(folder)
    script = write(
        tmp_path_factory.mktemp("script") / "script.py",
        "import sys, time\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from aihw_cli.sweeps import local\n"
        "local.PRELOADED[:] = ['yaml', 'torch_is_slow_to_import']\n"
        "if __name__ == '__main__':\n"
        "    made = local.Local(1, (), 1)\n"
        "    process = made._context.Process(target=time.sleep, args=(0,))\n"
        "    process.start(); process.join()\n"
        "    print(process.exitcode)\n",
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "0\n" and not ran.exists(), done.stderr


def test_a_checkout_stays_on_its_own_path(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    assert without_current_folder(["", str(folder), "/lib"]) == ["/lib"]
    monkeypatch.chdir(ROOT)
    assert without_current_folder([str(ROOT), "/lib"]) == [str(ROOT), "/lib"]
