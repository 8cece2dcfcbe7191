"""Run folders and manifests of which something was changed, and the commands that meet them. A run
that is whole lies beside each damaged one: it must be seen as ever."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from engine.experiment.identity import hash_of, identity_parts
from engine.readers.yaml_text import parse_yaml
from engine.settings import UserError
from tests.fuzz import mutate
from tests.fuzz.harness import Outcome, run

Facts = dict[str, Any]
HEALTHY, HURT = "whole", "hurt"
SHORT = (
    "dataset.train_samples=24",
    "dataset.test_samples=16",
    "run.epochs=2",
    "run.threads=1",
)
FILES = ("run.json", "run.json", "summary.json", "summary.json", "config.yaml", "config.yaml",
         "metrics.csv", "log.txt", "lock")  # fmt: skip
VERBS = (
    ("ls",), ("show",), ("compare",), ("best",), ("plot",), ("ls", "--json"), ("show", "--json"), ("ls", "--seeds"),
    ("ls", "optimizer.lr>0"), ("plot", "--json"), ("ls", "--group", "run.seed"), ("best", "--csv"),
)  # fmt: skip
# Pieces of JSON that stand in a file as they are.
SNIPPETS = (
    "null", "true", "0", "-1", "2.5", "1e999", "-1e999", "NaN", "Infinity", "9" * 5000, "1" + "0" * 400, '""',
    '"text"', '"' + "a" * 5000 + '"', '"\\u001b[31m"', '"two\\nlines"', '"\\ud800"', '"../../x"', '"/etc/passwd"',
    "[]", "{}", "[1]", '["x"]', '{"a": 1}', "[[1]]", "[" * 400 + "]" * 400, '{"a":' * 100 + "1" + "}" * 100,
    '"finished"', '"running"', '"2024-05-01"', "'", "{",
)  # fmt: skip
KEYS = (
    "x",
    "",
    "format",
    "status",
    "seed",
    "\x1b[31m",
    "k" * 300,
    "epochs",
    "..",
    "__class__",
)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Another current folder for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@functools.cache
def runs() -> Path:
    """A folder with two finished runs that differ in their seeds, made once in a process."""
    folder = Path(tempfile.mkdtemp(prefix="aihw-fuzz-"))
    with inside(folder):
        for place, seed in ((HEALTHY, 1), (HURT, 2)):
            words = ("algorithm=digital", f"run.seed={seed}", "run.dir=made", *SHORT)
            made = run("train", *words)
            assert made.code == 0, made
            (found,) = Path("made/digits").iterdir()
            found.rename(place)
        shutil.rmtree("made")
    return folder


@functools.cache
def sweep() -> Path:
    """A folder with a finished sweep of two points and its two runs."""
    from aihw_cli.sweeps.plan import plan
    from engine.experiment.train import train

    folder = Path(tempfile.mkdtemp(prefix="aihw-fuzz-"))
    with inside(folder), contextlib.redirect_stdout(None):
        planned = plan(
            ("algorithm=digital", "optimizer.lr=0.01,0.02", *SHORT), multirun=True
        )
        planned.save_points()
        for job in planned.jobs:
            train(planned.config(job), job.folder, _Silent())
            job.status = "finished"
        planned.save()
        planned.save_tables()
        planned.folder.rename("sweep")
        Path("runs/digits").rename("digits")
        # A manifest names its runs from where it lies.
        manifest = json.loads(Path("sweep/sweep.json").read_text())
        for job in manifest["jobs"]:
            job["folder"] = f"../digits/{Path(job['folder']).name}"
        Path("sweep/sweep.json").write_text(json.dumps(manifest))
    return folder


class _Silent:
    """A reporter that nobody listens to."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def folder(number: int, place: Path) -> tuple[list[str], Facts]:
    """A run folder with a damaged file, beside one that is whole."""
    rng = mutate.dice("folder", number)
    shutil.copytree(runs(), place, symlinks=True, dirs_exist_ok=True)
    hurt = place / HURT
    what = _hurt(hurt / rng.choice(FILES), rng)
    verb = rng.choice(VERBS)
    listed, asked = (
        run("runs", "ls", str(place)),
        run("runs", verb[0], str(place), *verb[1:]),
    )
    alone = run("runs", rng.choice(("ls", "show")), str(hurt))
    # One run by itself cannot be compared.
    codes = (0, 2) if verb == ("compare",) else (0,)
    problems = [
        *listed.problems(codes=(0,)),
        *asked.problems(codes=codes),
        *alone.problems(),
    ]
    if f"{place.name}/{HEALTHY}" not in listed.out:
        problems.append(f"the run beside it is not listed: {listed.out[-300:]}")
    if HURT not in listed.out + listed.err and "run.json" not in what:
        problems.append("it is not listed at all")
    return problems, {
        "code": (asked.code, alone.code),
        "what": f"{what}; {verb}",
        "err": asked.err,
    }


def resumed(number: int, place: Path) -> tuple[list[str], Facts]:
    """A run folder with a damaged file or checkpoint, which is to go on or to be evaluated."""
    rng = mutate.dice("resumed", number)
    shutil.copytree(runs() / HURT, place, symlinks=True, dirs_exist_ok=True)
    if rng.random() < 0.5:
        (place / "summary.json").unlink()
        _edit(place / "run.json", lambda record: record.update(status="running"))
    files = [p for p in sorted(place.rglob("*")) if p.is_file() and p.suffix != ".txt"]
    what = _hurt(rng.choice(files), rng)
    if "config.yaml" in what and (place / "config.yaml").is_file():
        _name_anew(place)
    verb = rng.choice(("resume", "resume", "resume", "eval"))
    words = ("inference.times=[1h]", "task.repeats=1") if verb == "eval" else ()
    found = run(verb, str(place), *words)
    return found.problems(), {
        "code": found.code,
        "what": f"{what}; {verb}",
        "err": found.err,
    }


def manifest(number: int, place: Path) -> tuple[list[str], Facts]:
    """A sweep with a damaged file, which is listed, and goes on. Its runs are not done here: the
    caller sees to that."""
    rng = mutate.dice("manifest", number)
    shutil.copytree(sweep(), place, symlinks=True, dirs_exist_ok=True)
    home = place / "sweep"
    inner = sorted(p for p in (place / "digits").rglob("*") if p.is_file())
    names = (
        [home / "sweep.json"] * 4 + [home / "points.jsonl"] * 2 + [home / "table.csv"]
    )
    what = _hurt(rng.choice([*names, rng.choice(inner)]), rng)
    found = (
        run("resume", str(home)),
        run("runs", "ls", str(home)),
        run("runs", "ls", str(place)),
    )
    problems = [
        *found[0].problems(codes=(0, 1, 2)),
        *found[1].problems(),
        *found[2].problems(),
    ]
    if "sweep/" in what and found[0].code == 2 and not _advises(found[0]):
        problems.append(f"it does not say what to do: {found[0].err}")
    return problems, {
        "code": tuple(f.code for f in found),
        "what": what,
        "err": found[0].err,
    }


def _advises(found: Outcome) -> bool:
    return any(
        word in found.err
        for word in ("delete", "again", "update aihw", "put what", "cannot write")
    )


def _edit(path: Path, change: Callable[[Any], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def _name_anew(place: Path) -> None:
    """Give the record the hash of its changed configuration, as somebody who wants to deceive us
    would."""
    with contextlib.suppress(
        UserError, KeyError, TypeError, AttributeError, ValueError, OSError
    ):
        path = place / "config.yaml"
        parts = identity_parts(parse_yaml(path.read_text(), path))
        _edit(
            place / "run.json", lambda r: r.update(identity=parts, hash=hash_of(parts))
        )


def _hurt(path: Path, rng: random.Random) -> str:
    """Change, damage, remove or replace a file. Returns what was done."""
    name = f"{path.parent.name}/{path.name}"
    action = rng.random()
    if action < 0.5 and path.suffix in (".json", ".yaml", ".jsonl"):
        return f"{name}: {_change_tree(path, rng)}"
    if action < 0.85:
        path.write_bytes(mutate.damage(path.read_bytes(), rng))
        return f"{name}: bytes damaged to {path.read_bytes()[:30]!r}"
    path.unlink()
    kind = rng.choice(("removed", "folder", "pipe", "circle", "link"))
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in ("circle", "link"):
        path.symlink_to(path.name if kind == "circle" else "/dev/zero")
    return f"{name}: {kind}"


def _change_tree(path: Path, rng: random.Random) -> str:
    if path.suffix == ".yaml":
        tree = yaml.safe_load(path.read_text())
        _, what = mutate.change(tree, rng)
        path.write_text(mutate.as_yaml(tree))
        return what
    lines = (
        path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    )
    if path.name == "state.json":
        # Its first line is a digest of the second one, which fits again.
        lines = lines[0].splitlines()[1:]
    number = rng.randrange(len(lines))
    tree = {"": json.loads(lines[number])}
    _, what = mutate.change(tree, rng, SNIPPETS, KEYS)
    lines[number] = mutate.flow(tree.get("", mutate.Raw("")))
    if path.name == "state.json":
        lines.insert(
            0, hashlib.sha256(lines[0].encode("utf-8", "surrogatepass")).hexdigest()
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")
    return what


KINDS = {"folder": folder, "resumed": resumed, "manifest": manifest}
