"""A run that another program continues: it is refused, or recorded as two stretches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aihw_cli.main import main
from engine.experiment.identity import kernels, program
from engine.experiment.runs import read_record, run_folder
from engine.experiment.train import resume, train
from engine.jit import unit
from engine.settings import UserError
from tests.experiment.helpers import (
    Recorder,
    Stopper,
    analog_config,
    interrupt,
    outcome,
    run,
    small_config,
)

pytestmark = pytest.mark.usefixtures("every_step_is_reported")


def stopped(config: dict[str, Any]) -> Path:
    """A run that was interrupted in its second epoch, with a checkpoint."""
    folder = run_folder(config)
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, Stopper((2, 4), interrupt))
    return folder


def become(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """From here on, this is another program."""
    before = program.this_program()
    monkeypatch.setattr(program, "this_program", lambda: {**before, **changes})


def test_the_program_of_a_run_is_recorded(tmp_path: Path) -> None:
    record = read_record(run(small_config(tmp_path)))
    (only,) = record["stretches"]
    assert only["epoch"] == only["step"] == 0
    assert (
        only["engine"] == program.engine_digest()
        and only["torch"] == record["versions"]["torch"]
    )
    assert set(record["identity"]) == {"configuration", "data", "physics"}


def test_another_program_is_refused_in_one_line_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(small_config(tmp_path))
    become(monkeypatch, engine="0" * 16, commit="f" * 40)
    with pytest.raises(UserError) as caught:
        resume(folder, Recorder())
    first, second = str(caught.value).splitlines()
    assert "is now ffffffffffff" in first and str(folder) in first
    assert f"aihw resume {folder} --changed-program" in second
    assert read_record(folder)["status"] == "interrupted", "nothing was begun"


def test_another_program_that_is_allowed_is_a_second_stretch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(small_config(tmp_path))
    first = read_record(folder)["stretches"][0]
    become(monkeypatch, engine="0" * 16, commit="f" * 40)
    reporter = Recorder()
    resume(folder, reporter, changed_program=True)
    record = read_record(folder)
    assert record["status"] == "finished" and record["stretches"][0] == first
    second = record["stretches"][1]
    assert (second["epoch"], second["step"]) == (1, 4) and second["commit"] == "f" * 40
    assert any("the program changed on the way" in text for text in reporter.messages)
    again = Recorder()
    resume(folder, again)
    assert not any("another program" in text for text in again.messages), (
        "it is the last one's"
    )


def test_the_command_line_can_allow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped(small_config(tmp_path))
    become(monkeypatch, engine="0" * 16, commit="f" * 40)
    assert main(["resume", str(folder)]) == 2
    assert "--changed-program" in capsys.readouterr().err
    assert main(["resume", str(folder), "--changed-program"]) == 0
    assert main(["runs", "show", str(folder)]) == 0
    assert "aihw ffffffffffff from epoch 1, step 4" in capsys.readouterr().out


def test_a_change_of_the_commit_alone_is_no_other_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(small_config(tmp_path))
    become(monkeypatch, commit="f" * 40)
    resume(folder, Recorder())
    assert len(read_record(folder)["stretches"]) == 1


def test_another_torch_is_another_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(small_config(tmp_path))
    become(monkeypatch, torch="9.9")
    with pytest.raises(UserError, match=r"torch \S+ is now 9\.9"):
        resume(folder, Recorder())


def test_a_run_without_a_checkpoint_starts_anew_with_the_program_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = outcome(run(small_config(tmp_path / "reference")))
    config = small_config(tmp_path / "stopped")
    folder = run_folder(config)
    with pytest.raises(KeyboardInterrupt):
        train(
            config,
            folder,
            Stopper((1, 1), lambda: (_ for _ in ()).throw(KeyboardInterrupt)),
        )
    assert not (folder / "checkpoint").exists()
    become(monkeypatch, engine="0" * 16)
    resume(folder, Recorder())
    (only,) = read_record(folder)["stretches"]
    assert only["engine"] == "0" * 16 and outcome(folder) == reference


def test_a_finished_run_of_another_program_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tmp_path)
    folder, same, other = run(config), Recorder(), Recorder()
    train(config, folder, same)
    assert same.messages == [f"{folder} is finished already"]
    become(monkeypatch, engine="0" * 16)
    train(config, folder, other)
    assert "another program computed this result" in other.messages[1]


def test_changed_physics_are_refused_whatever_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(analog_config(tmp_path))
    header = unit.header
    kernels.kernels_digest.cache_clear()
    monkeypatch.setattr(unit, "header", lambda name: f"// explained\n{header(name)}")
    resume_to_the_next_step(folder)
    monkeypatch.setattr(
        unit, "header", lambda name: header(name) + "\nstruct Another { int n; };"
    )
    kernels.kernels_digest.cache_clear()
    with pytest.raises(UserError) as caught:
        resume(folder, Recorder(), changed_program=True)
    text = str(caught.value)
    assert "the physics of its kernels, devices or noise model changed" in text
    assert len(text.splitlines()) == 1


def resume_to_the_next_step(folder: Path) -> None:
    """A changed comment does not keep a run from going on."""
    with pytest.raises(KeyboardInterrupt):
        resume(folder, Stopper((0, 0), interrupt))


def test_a_run_of_an_earlier_version_needs_permission_and_keeps_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped(small_config(tmp_path))
    record = json.loads((folder / "run.json").read_text())
    for key in ("identity", "stretches"):
        del record[key]
    (folder / "run.json").write_text(
        json.dumps({**record, "format": 1, "hash": "0123456789ab"})
    )
    assert main(["runs", "ls", str(tmp_path), "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (
        listed["status"] == "interrupted" and main(["runs", "show", str(folder)]) == 0
    )
    with pytest.raises(UserError, match="an earlier version of aihw"):
        resume(folder, Recorder())
    resume(folder, Recorder(), changed_program=True)
    found = read_record(folder)
    assert found["status"] == "finished" and found["hash"] == "0123456789ab"
    assert found["stretches"][0]["commit"] == record["commit"]


def test_the_digest_of_the_engine_follows_its_programs_and_not_their_comments(
    tmp_path: Path,
) -> None:
    path = tmp_path / "loop.py"

    def found(text: str) -> str:
        path.write_text(text)
        return program.digest_of([path])

    base = found("lr = 0.1\n")
    assert found("# the rate\nlr = (0.1)\n") == base != found("lr = 0.2\n")


def test_every_module_that_computes_counts() -> None:
    paths = [path for path in program.ENGINE.rglob("*.py") if program._decides(path)]
    names = {path.relative_to(program.ENGINE).as_posix() for path in paths}
    assert {
        "experiment/loop.py",
        "optim/sgd.py",
        "tile/pulses.py",
        "jit/cpu.py",
    } <= names
    for part in program.NOT_DECIDING:
        assert (program.ENGINE / part).exists(), part
