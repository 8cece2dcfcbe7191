"""A sweep folder may come from a stranger: its manifest names no other folder, its links lead
nowhere, and its settings of a cluster run nothing."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aihw_cli.main import main
from aihw_cli.sweeps.cluster import check_cluster
from aihw_cli.sweeps.executors import make_executor
from aihw_cli.sweeps.manifest import Options, load, run_beside
from engine.settings import UserError
from engine.trust.code import code_permission
from tests.cli.conftest import Result

Call = Callable[..., Result]
QUICK = (
    "run.epochs=1",
    "dataset.train_samples=10",
    "dataset.test_samples=10",
    "run.threads=1",
)
HARMFUL = [
    ("submitit", "setup", ["touch x"]),
    ("submitit", "local_setup", ["touch x"]),
    ("submitit", "slurm_setup", ["touch x"]),
    ("submitit", "slurm_teardown", ["touch x"]),
    ("submitit", "slurm_srun_args", ["--x"]),
    ("submitit", "slurm_python", "sh -c x"),
    ("submitit", "slurm_additional_parameters", {"output": "/home/me/.bashrc"}),
    ("submitit", "slurm_partition", "main\ntouch x"),
    ("submitit", "slurm_comment", ["a", "b"]),
    ("submitit", "name", "a\rb"),
    ("submitit", "cluster", "other"),
    ("submitit", "unheard_of", 1),
    ("ray", "address", "ray://10.0.0.1:10001"),
    ("ray", "init", {"address": "10.0.0.1:6379"}),
    ("ray", "runtime_env", {"pip": ["evil"]}),
    ("ray", "resources", {"a": {"b": 1}}),
    ("ray", "num_cpus", {"a": 1}),
]
HARMLESS = [
    (
        "submitit",
        {
            "cluster": "slurm",
            "timeout_min": 240,
            "slurm_partition": "main",
            "mem_gb": 8,
        },
    ),
    ("submitit", {"cluster": "local", "name": "x", "slurm_exclusive": True}),
    ("ray", {"address": "auto", "num_cpus": 4, "resources": {"fast": 1}}),
    ("local", {"setup": ["ignored, and refused by the executor"]}),
]


@pytest.mark.parametrize("executor, key, value", HARMFUL)
def test_settings_that_act_like_code_need_permission(
    executor: str, key: str, value: Any
) -> None:
    run = {"executor": executor, "cluster": {key: value}}
    with code_permission(False):
        with pytest.raises(
            UserError, match=rf"run\.cluster\.{key}=.*--allow-code"
        ) as caught:
            check_cluster(run, lambda key: f" (of {key})")
        assert len(str(caught.value).splitlines()) == 1 and "(of run.cluster." in str(
            caught.value
        )
    with code_permission(True):
        check_cluster(run, str)


@pytest.mark.parametrize("executor, cluster", HARMLESS)
def test_sizes_and_names_need_none(executor: str, cluster: dict[str, Any]) -> None:
    with code_permission(False):
        check_cluster({"executor": executor, "cluster": cluster}, str)


def test_a_recipe_runs_no_command_on_a_cluster(aihw: Call, folder: Path) -> None:
    pytest.importorskip(
        "submitit", reason="submitit is not installed: pip install 'aihw[slurm]'"
    )
    setup = {"cluster": "local", "local_setup": [f"touch {folder}/ran"]}
    text = json.dumps({"run": {"executor": "submitit", "cluster": setup}})
    (folder / "r.yaml").write_text(text)
    for words in (["train", "conf=r.yaml"], ["validate", "r.yaml", "--as", "recipe"]):
        result = aihw(*words)
        assert (
            result.code == 2 and "--allow-code" in result.err and "r.yaml" in result.err
        )
    assert not (folder / "ran").exists()


def test_results_that_were_there_before_are_not_unpickled(folder: Path) -> None:
    pytest.importorskip(
        "submitit", reason="submitit is not installed: pip install 'aihw[slurm]'"
    )

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(folder / "ran"),)

    (folder / "submitit").mkdir()
    (folder / "submitit" / "1_0_result.pkl").write_bytes(
        pickle.dumps(("success", Evil()))
    )
    run = {"executor": "submitit", "cluster": {"cluster": "local"}}
    with code_permission(False):
        executor: Any = make_executor(run, Options(), folder)
    home = Path(executor.executor.folder)
    assert home.parent == folder / "submitit" and not list(home.iterdir())
    assert home.stat().st_mode & 0o077 == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of two runs that were done."""
    home = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["train", "-m", "run.seed=1,2", "algorithm=digital", *QUICK]) == 0
    return home


@pytest.fixture
def sweep(made: Path, folder: Path) -> Path:
    """A copy of it in `home`, and files outside that must stay as they are."""
    shutil.copytree(made, "home")
    (folder / "victim").mkdir()
    (folder / "victim.json").write_text("precious")
    return next(Path("home/runs/digits").glob("sweep-*"))


def change(sweep: Path, **values: Any) -> None:
    """Other values for the first run of a manifest, which then is to be done again."""
    content = json.loads((sweep / "sweep.json").read_text())
    content["jobs"][0].update(values, status="queued")
    (sweep / "sweep.json").write_text(json.dumps(content))


def everything(folder: Path) -> list[str]:
    """All paths outside the folder that holds the sweep."""
    return sorted(str(p) for p in folder.rglob("*") if "home" not in p.parts)


@pytest.mark.parametrize(
    "values",
    [
        {"folder": "../../../../victim/x"},
        {"folder": "/tmp/aihw-victim"},
        {"folder": "."},
        {"folder": ".."},
        {"folder": "inside"},
        {"folder": "../linked/x"},
        {"folder": "../linked"},
        {"seed": "x/../../../../../../victim"},
        {"seed": 1.5},
        {"seed": True},
        {"point": 7},
        {"point": -1},
        {"point": "0"},
    ],
)
def test_a_manifest_names_no_other_place(
    aihw: Call, folder: Path, sweep: Path, values: dict[str, Any]
) -> None:
    (sweep.parent / "linked").symlink_to(folder / "victim")
    change(sweep, **values)
    before = everything(folder)
    for words in (("resume", str(sweep)), ("runs", "ls", str(sweep))):
        result = aihw(*words)
        assert "Traceback" not in result.err and len(result.err.splitlines()) <= 2, (
            result.err
        )
        assert result.code == 2 or words[0] == "runs"
    assert everything(folder) == before and not list((folder / "victim").iterdir())
    assert (folder / "victim.json").read_text() == "precious"


@pytest.mark.parametrize(
    "name",
    ["lock", "holder.txt", "sweep.json.unfinished", "table.csv", "logs", "progress"],
)
def test_links_of_a_sweep_are_not_followed(
    aihw: Call, folder: Path, sweep: Path, name: str
) -> None:
    change(sweep, folder="../again")
    path = sweep / name
    target = folder / ("victim" if name in ("logs", "progress") else "victim.json")
    if path.is_dir():
        path.rename(sweep / "aside")
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    result = aihw("resume", str(sweep))
    assert "Traceback" not in result.err
    assert (folder / "victim.json").read_text() == "precious"
    assert not list((folder / "victim").iterdir())


def test_a_sweep_may_be_moved_and_named_from_anywhere(
    aihw: Call, sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Path("moved")
    Path("home/runs").rename(moved)
    folder = moved / "digits" / sweep.name
    assert all(
        job.folder.parent == moved / "digits" and job.done for job in load(folder).jobs
    )
    assert aihw("resume", str(folder)).code == 0
    monkeypatch.chdir(folder)
    assert [job.folder.parent for job in load(Path(".")).jobs] == [Path("..")] * 2
    assert run_beside(Path("."), "../x") == Path("../x")


def test_a_study_is_no_link(aihw: Call, folder: Path) -> None:
    pytest.importorskip(
        "optuna", reason="Optuna is not installed: pip install 'aihw[search]'"
    )
    words = (
        "optimizer.lr=interval(0.1,0.2)",
        "algorithm=digital",
        *QUICK,
        "--trials",
        "1",
    )
    assert aihw("search", *words).code == 0
    search = next(Path("runs/digits").glob("search-*"))
    (search / "study.db").unlink()
    (search / "study.db").symlink_to(folder / "outside.db")
    result = aihw("resume", str(search), "--trials", "2")
    assert (
        result.code == 2
        and "link" in result.err
        and not (folder / "outside.db").exists()
    )


def test_the_words_of_a_search_send_no_results_elsewhere(
    aihw: Call, folder: Path
) -> None:
    pytest.importorskip(
        "optuna", reason="Optuna is not installed: pip install 'aihw[search]'"
    )
    words = (
        "optimizer.lr=interval(0.1,0.2)",
        "algorithm=digital",
        *QUICK,
        "--trials",
        "1",
    )
    assert aihw("search", *words).code == 0
    search = next(Path("runs/digits").glob("search-*"))
    content = json.loads((search / "sweep.json").read_text())
    content["search"]["fixed"] += [f"run.dir={folder}/outside", "name=../x"]
    (search / "sweep.json").write_text(json.dumps(content))
    assert aihw("resume", str(search), "--trials", "2").code == 2
    content["search"]["fixed"].pop()
    (search / "sweep.json").write_text(json.dumps(content))
    assert aihw("resume", str(search), "--trials", "2").code == 0
    assert (
        not (folder / "outside").exists() and len(list(search.parent.glob("*-1"))) == 2
    )
