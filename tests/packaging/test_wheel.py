"""What is built holds all it needs and nothing compiled, and works in an environment outside the
checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ("conf", "presets", "experiments")
COMPILED = (".so", ".pyd", ".dll", ".o", ".a", ".pyc", ".cubin", ".ptx")


def build(source: Path, target: str, folder: Path) -> Path:
    """Build one target of a source tree; the path of what came out."""
    run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=source,
    )
    (built,) = folder.iterdir()
    return built


def run(command: list[str], *, cwd: Path) -> str:
    """Standard output of a command that must succeed, without the checkout on Python's path."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "AIHW_DATA")
    }
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(wheel: Path, folder: Path) -> Path:
    """A new environment with the wheel; it borrows this one's other packages. Returns its bin
    folder."""
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], cwd=folder.parent)
    site = (
        folder
        / "lib"
        / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        / "site-packages"
    )
    # A path named in a .pth file is searched last, and .pth files inside it (an editable aihw) are
    # not followed.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "install",
        "--quiet",
    ]
    run(
        [*pip, "--no-deps", "--no-index", "--force-reinstall", str(wheel)],
        cwd=folder.parent,
    )
    return folder / "bin"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment outside the checkout that has the wheel."""
    return install(wheel, tmp_path_factory.mktemp("environment") / "venv")


def sources(*folders: str, suffixes: tuple[str, ...]) -> set[str]:
    """Files of the checkout that must travel."""
    found = (
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in suffixes
    )
    return {path.relative_to(ROOT).as_posix() for path in found}


def test_the_wheel_holds_code_kernels_and_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert (
        sources("aihw", "aihw_cli", "engine", suffixes=(".py", ".cu", ".cuh")) <= names
    )
    data = sources(*DATA, suffixes=(".yaml", ".py"))
    assert data and {f"aihw_cli/_data/{name}" for name in data} <= names
    assert {name.split("/")[0] for name in names} == {
        "aihw",
        "aihw_cli",
        "engine",
        wheel.name.split("-py3")[0] + ".dist-info",
    }


def test_the_wheel_runs_anywhere(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [
        name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(COMPILED)
    ]


def test_the_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    archive = build(ROOT, "sdist", tmp_path / "sdist")
    with tarfile.open(archive) as tar:
        tar.extractall(
            tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
        )
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    again = zipfile.ZipFile(build(source, "wheel", tmp_path / "wheel"))
    first = zipfile.ZipFile(wheel)
    assert sorted(again.namelist()) == sorted(first.namelist())
    assert all(
        again.read(name) == first.read(name)
        for name in first.namelist()
        if "dist-info" not in name
    )


def test_an_editable_install_reads_the_checkout(tmp_path: Path) -> None:
    programs = install(
        build(ROOT, "wheel:editable", tmp_path / "wheel"), tmp_path / "venv"
    )
    code = "import aihw_cli, engine.settings as s; print(aihw_cli.__file__); print(s.packaged_data())"
    shown = run([str(programs / "python"), "-c", code], cwd=tmp_path).split()
    assert shown == [str(ROOT / "aihw_cli" / "__init__.py"), str(ROOT)]


def test_installed_outside_the_checkout_it_lists_what_it_has(
    programs: Path, tmp_path: Path
) -> None:
    where = run(
        [str(programs / "python"), "-c", "import engine; print(engine.__file__)"],
        cwd=tmp_path,
    )
    assert Path(where.strip()).is_relative_to(programs.parent)
    shown = run([str(programs / "aihw"), "ls"], cwd=tmp_path)
    assert {"constant_step", "gokmen_vlasov", "digits"} <= set(shown.split())


def test_installed_outside_the_checkout_it_trains(
    programs: Path, tmp_path: Path
) -> None:
    run([str(programs / "aihw"), "train", "run.epochs=1"], cwd=tmp_path)
    (summary,) = tmp_path.glob("runs/**/summary.json")
    found = json.loads(summary.read_text())
    assert found["epochs"] == 1
    assert found["test_accuracy"] > 0.5
