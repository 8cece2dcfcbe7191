"""Tasks other than training: ordinary run folders, checked settings, and the mixed-precision
solver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from aihw_cli.compose import compose
from aihw_cli.main import main
from engine.experiment import identity
from engine.experiment.runs import read_record, run_folder, run_status
from engine.experiment.tasks import find_task, mvm_error, solve, task_names
from engine.experiment.train import resume, train
from engine.settings import UserError
from tests.experiment.helpers import Recorder

SMALL = [
    "conf=legallo2018/linsolve",
    "task.size=40",
    "task.copies=2",
    "run.threads=1",
    "run.device=cpu",
    "seeds=1",
]


def config(folder: Path, *changes: str) -> dict[str, Any]:
    return compose([*SMALL, f"run.dir={folder}", *changes]).values


@pytest.mark.parametrize("name", task_names()[1:])
def test_every_task_says_what_it_is(name: str) -> None:
    task = find_task(name)
    assert (
        task.ABOUT
        and task.SOURCE
        and task.FIGURE
        and isinstance(task.LOWER_IS_BETTER, bool)
    )
    assert set(task.SECTIONS) <= {
        "device",
        "tile",
        "algorithm",
        "inference",
        "model",
        "dataset",
        "loss",
        "layers",
    }
    task.Settings()


def test_a_task_makes_an_ordinary_run_folder(tmp_path: Path) -> None:
    values = config(tmp_path)
    folder, reporter = run_folder(values), Recorder()
    summary = train(values, folder, reporter)
    assert run_status(folder) == "finished" and read_record(folder)["task"] == "solve"
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert (
        summary["task"] == "solve"
        and summary["figure"] == "refinements"
        and summary["converged"] is True
    )
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert rows[0] == "refinement,residual" and len(rows) == summary["refinements"] + 2
    assert any("Le Gallo" in text for text in read_record(folder)["citations"])
    assert not any("Kaynak" in text for text in read_record(folder)["citations"])
    assert (
        train(values, folder, reporter) == summary
        and "finished already" in reporter.messages[-1]
    )


def test_an_interrupted_task_begins_anew_on_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = config(tmp_path)
    folder = run_folder(values)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(solve, "refine", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(values, folder, Recorder())
    assert run_status(folder) == "interrupted"
    assert (
        resume(folder, Recorder())["converged"] is True
        and run_status(folder) == "finished"
    )


def test_hash_covers_the_task_and_not_the_data(tmp_path: Path) -> None:
    base = identity.run_hash(config(tmp_path))
    assert (
        identity.run_hash(config(tmp_path, "dataset.batch_size=3", "optimizer.lr=0.7"))
        == base
    )
    assert identity.run_hash(config(tmp_path, "task.inner_steps=4")) != base
    assert identity.run_hash(config(tmp_path, "tile.forward.out_noise=0.5")) != base


def test_bad_settings_are_told_in_one_line(tmp_path: Path) -> None:
    for change, text in (
        ("task.name=slove", "task.name: no task 'slove'; nearest: solve"),
        ("task.sise=3", "unknown key task.sise; nearest: task.size"),
        ("task.size=1", "task.size must be >= 2, not 1"),
        ("task.band=40", "task.band must be < task.size = 40, not 40"),
        ("task.tolerance=0", "task.tolerance must be > 0, not 0"),
    ):
        with pytest.raises(UserError) as caught:
            config(tmp_path, change)
        assert text in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_command_line_runs_a_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *SMALL, f"run.dir={tmp_path}"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "legallo2018/linsolve: solve, seed 1" and out[-1].startswith(
        "finished: refinements "
    )
    assert main(["train", *SMALL, f"run.dir={tmp_path}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["converged"] is True


def test_matrix_of_the_paper() -> None:
    matrix = solve.decaying_matrix(500)
    assert matrix[0, 0] == 2 and matrix[3, 3] == 3 and matrix[2, 6] == 0.25
    banded = solve.decaying_matrix(500, 12)
    assert 4 * int((banded != 0).sum()) == 49376  # as many devices as the paper counts
    assert torch.equal(banded, banded.T)


def test_exact_products_converge_at_once_and_count_as_plain_conjugate_gradients() -> (
    None
):
    matrix, b = solve.decaying_matrix(60), torch.ones(60, dtype=torch.float64)
    residuals: list[float] = []
    settings = solve.Settings(size=60, inner_steps=60, tolerance=1e-12)
    x = solve.refine(
        matrix, b, settings, inner=lambda p: matrix @ p, told=residuals.append
    )
    assert len(residuals) == 2 and torch.allclose(matrix @ x, b)
    needed = solve.exact_steps(matrix, b, 1e-10)
    assert 5 < needed < 60
    z = solve.conjugate_gradients(lambda p: matrix @ p, b, steps=needed)
    assert (b - matrix @ z).norm() <= 1.01e-10 * b.norm()


def test_noise_in_the_inner_solver_does_not_limit_the_accuracy() -> None:
    matrix, b = solve.decaying_matrix(60), torch.ones(60, dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    wrong = matrix * (
        1 + 0.05 * torch.randn(60, 60, generator=generator, dtype=torch.float64)
    )
    residuals: list[float] = []
    settings = solve.Settings(size=60, tolerance=1e-13)
    solve.refine(matrix, b, settings, inner=lambda p: wrong @ p, told=residuals.append)
    assert residuals[-1] < 1e-13 and 5 < len(residuals) < 60


MVM = [
    "run.threads=1",
    "run.device=cpu",
    "task.rows=64",
    "task.columns=96",
    "task.matrices=3",
    "task.vectors=40",
]


def mvm(folder: Path, *changes: str) -> dict[str, Any]:
    values = compose(
        ["conf=rasch2023/fig3d-mvm", *MVM, f"run.dir={folder}", *changes]
    ).values
    return train(values, run_folder(values), Recorder())


def test_error_of_products_is_that_of_the_noise(tmp_path: Path) -> None:
    """Without a periphery, of drift and reads, what is left is the programming noise, which has a
    formula."""
    quiet = [
        "tile.forward.is_perfect=true",
        "inference.noise.read_noise_scale=0",
        "inference.noise.drift_scale=0",
    ]
    assert (
        mvm(tmp_path, *quiet, "inference.noise.prog_noise_scale=0")["mvm_error"] < 1e-5
    )
    found = mvm(tmp_path, *quiet)
    settings = mvm_error.Settings(rows=64, columns=96, vectors=4)
    weight, _ = mvm_error.draw(settings, torch.Generator().manual_seed(1))
    sigma = (0.26348 + 1.965 * weight.abs() - 1.1731 * weight.square()) / 25
    # The other device of a pair lies at 0 uS, where half of its noise is cut off: mean and square
    # of that half.
    zero = 0.26348 / 25
    expected = (
        sigma.square().mean() + zero**2 / 2
    ).sqrt() / weight.square().mean().sqrt()
    assert found["mvm_error"] == pytest.approx(float(expected), rel=0.08)
    assert found["slope"] == pytest.approx(1, abs=0.02)


def test_error_grows_without_compensation(tmp_path: Path) -> None:
    year = ["task.time=3.15e7"]
    with_it, without = (
        mvm(tmp_path, *year),
        mvm(tmp_path, *year, "inference.compensation=none"),
    )
    fresh = mvm(tmp_path)
    assert fresh["mvm_error"] < with_it["mvm_error"] < without["mvm_error"]
    assert without["slope"] < 0.6 and with_it["slope"] > 0.95


@pytest.mark.parametrize(
    ("recipe", "published"),
    [("legallo2023/fig5-mvm", 0.13), ("rasch2023/fig3d-mvm", 0.15)],
)
def test_both_published_errors_of_products(
    tmp_path: Path, recipe: str, published: float
) -> None:
    """Two of the ten matrices of the recipe, in full size."""
    changes = [
        "task.matrices=2",
        "task.vectors=64",
        "run.device=cpu",
        f"run.dir={tmp_path}",
    ]
    values = compose([f"conf={recipe}", *changes]).values
    assert train(values, run_folder(values), Recorder())["mvm_error"] == pytest.approx(
        published, abs=0.015
    )


def test_half_of_the_inputs_are_zero_and_one_weight_takes_the_whole_range() -> None:
    weight, x = mvm_error.draw(
        mvm_error.Settings(zeros=0.5), torch.Generator().manual_seed(1)
    )
    assert (
        float((x == 0).float().mean()) == pytest.approx(0.5, abs=0.01)
        and float(x.abs().max()) <= 1
    )
    assert float(weight.abs().max()) == 1 and float(weight.std()) == pytest.approx(
        0.246, rel=0.01
    )
