"""The kinds of mutants: what is changed, which command meets it, and what is right then.

A case is a function of its number and an empty folder. It returns what is wrong, and facts for
whoever looks into it."""

from __future__ import annotations

import copy
import functools
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aihw_cli.check import dotted
from aihw_cli.recipe import recipes
from aihw_cli.schema import full_schema
from engine.presets import groups, members, read_member
from engine.settings import packaged_data
from tests.fuzz import mutate
from tests.fuzz.harness import run

Facts = dict[str, Any]
Case = Callable[[int, Path], tuple[list[str], Facts]]
DIGITS = str(packaged_data() / "experiments/basics/digits.yaml")
# The beginning of what is said of settings that are right by themselves.
TOGETHER = re.compile(
    r"layer fc\d: |follows gradients|follows pulses|does not fit|learn by"
)
ODD_WORDS = (
    "nan", "inf", "-inf", "1e400", "1" + "0" * 400, "9" * 5000, "1e19", "10000000000000000000", "-1", "0",
    "0.5", "true", "null", "None", "", "''", "[]", "[1,2]", "{a:1}", "{1:2}", "{null:3}", "[[[[1]]]]",
    "[" * 400 + "]" * 400, "[" + "1," * 3000 + "1]", "a,b", "range(3)", "choice(1,2)", "interval(0,1)", "glob(*)",
    "${name}", "${oc.env:HOME}", "${nothing}", "${", "~nosuch/x", "x" * 300, "x" * 9000, "a b", "a=b", "'a b'",
    "\\x1b[31m", "\x1b[31m", "a\nb", "\x00", "mine.py:Mine", "steps.csv", "../x", "/etc/passwd", "[range(1,3)]",
    "{a:choice(1,2)}", "shuffle(1,2)", "sort(3,1)", "int(1.5)", "str(1)", "tag(log,1)", "f(1)", "1_000", "010",
    "2024-05-01",
)  # fmt: skip
ODD_KEYS = (
    "x", "", "a..b", ".run.epochs", "run.epochs.", "run", "run.epochs.x", "optimizer.lr[0]", "device@", "device@x",
    "device@hydra.x", "device@algorithm.fast", "hydra.verbose", "hydra/launcher", "+run.epochs", "++run.epochs",
    "~run.epochs", "RUN.EPOCHS", "run.epoch", "optimizer.lrr", "device.dw_mim", "layers.fc9.device",
    "layers.0.algorithm", "layers", "search", "seeds", "name", "k" * 400, "a b", "$x", "1", "1.2", "conf",
    "model.hidden", "defaults", "task",
)  # fmt: skip
SWEPT = (
    "range(3)", "range(0,1,0)", "range(1000000000)", "range(0,inf)", "range(nan,1)", "range(0,1,1e-9)", "range(5,1)",
    "range(5,1,-1)", "range(0,1e9)", "range(1e400)", "range(a,b)", "choice(choice(1,2),3)", "choice()", "choice(1)",
    "choice(range(1,3))", "1,2", "1,", ",", "a,b", "glob(e*)", "glob(z*)", "glob([e*],exclude=x)", "interval(0,1)",
    "shuffle(range(3))", "shuffle(1,2,3)", "sort(3,2,1)", "tag(a,choice(1,2))", "int(range(1,3))", "str([1,2],[3])",
    "float(1,2)", "bool(0,1)", "1e400,1", "nan,1", "'a,b'", "[1,2],[3]", "{a:1},{b:2}", "null,1",
    "1,2,3,4,5,6,7,8,9", "9" * 5000 + ",1", "[" * 50 + "]" * 50 + ",1", "range(-5,5)", "range(0.1,0.5,0.1)",
    "-1,1", "10,20",
)  # fmt: skip


@functools.cache
def originals() -> list[tuple[str, str, dict[str, Any], str]]:
    """Kind, name, values and package of everything that is packaged."""
    found = [
        ("recipe", name, read_member(paths[0]))
        for name, paths in sorted(recipes().items())
    ]
    for group in sorted(groups()):
        found += [
            (group, n, read_member(p[-1])) for n, p in sorted(members(group).items())
        ]
    return [(kind, name, member.values, member.package) for kind, name, member in found]


def _some(kind: str | None, rng: random.Random) -> tuple[str, str, dict[str, Any], str]:
    chosen = [o for o in originals() if (o[0] == "recipe") == (kind == "recipe")]
    group = rng.choice(sorted({o[0] for o in chosen}))
    kind, name, values, package = rng.choice([o for o in chosen if o[0] == group])
    return kind, name, copy.deepcopy(values), package


def _beside(kind: str, name: str) -> list[str]:
    """What a member needs beside it."""
    gradients = kind == "optimizer" and name != "analog_sgd"
    return (
        ["algorithm=hwa"]
        if gradients or (kind == "tile" and name.startswith("hwa"))
        else []
    )


@functools.cache
def _fits(kind: str, name: str) -> bool:
    """Whether the digits can be trained with a member as it is."""
    return run("validate", DIGITS, f"{kind}={name}", *_beside(kind, name)).code == 0


def _text(values: dict[str, Any], package: str) -> str:
    head = f"# @package {package}\n" if package else ""
    return head + mutate.as_yaml(values) + "\n"


def recipe(number: int, folder: Path) -> tuple[list[str], Facts]:
    """A recipe in which a node was changed."""
    rng = mutate.dice("recipe", number)
    _, name, values, _ = _some("recipe", rng)
    key, what = mutate.change(values, rng)
    path = folder / name.rpartition("/")[0] / "mine.yaml"
    if not path.parent.is_dir():
        # Some recipes build on others beside them.
        shutil.copytree(
            packaged_data() / "experiments" / name.rpartition("/")[0], path.parent
        )
    path.write_text(_text(values, ""))
    found = run("validate", str(path), "--as", "recipe")
    named = (key[:40], "mine.yaml") if key else ()
    facts = {
        "code": found.code,
        "what": f"{name}: {what}",
        "path": path,
        "err": found.err,
    }
    return found.problems(named=named), facts


def member(number: int, folder: Path) -> tuple[list[str], Facts]:
    """A member of a group in which a node was changed: checked, and used by a run."""
    rng = mutate.dice("member", number)
    kind, name, values, package = _some(None, rng)
    key, what = mutate.change(values, rng)
    home = "conf" if (packaged_data() / "conf" / kind).is_dir() else "presets"
    shutil.rmtree(folder / home, ignore_errors=True)
    path = folder / home / kind / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(_text(values, package))
    found = run("validate", str(path))
    named = (key[:40], "mine.yaml") if key else ()
    problems = found.problems(named=named)
    used = run("validate", DIGITS, f"{kind}=mine", *_beside(kind, name))
    # What one member says may not go together with what others say: the line names both.
    fits = _fits(kind, name)
    problems += [f"used: {p}" for p in used.problems(named=named if fits else ())]
    if (found.code, used.code) == (0, 2) and fits and not TOGETHER.search(used.err):
        problems.append(f"valid, and refused by a run: {used.err}")
    shutil.rmtree(folder / home)
    facts = {
        "code": (found.code, used.code),
        "what": f"{kind}/{name}: {what}",
        "err": found.err,
    }
    return problems, facts


def content(number: int, folder: Path) -> tuple[list[str], Facts]:
    """A recipe of which bytes were changed, or one that stands for very much."""
    rng = mutate.dice("content", number)
    _, name, values, _ = _some("recipe", rng)
    path = folder / "mine.yaml"
    if rng.random() < 0.7:
        path.write_bytes(mutate.damage(mutate.as_yaml(values).encode(), rng))
    else:
        path.write_text(mutate.bomb(rng))
    found = run("validate", str(path), "--as", "recipe")
    what = f"{name}: {path.read_bytes()[:60]!r}"
    return found.problems(named=("mine.yaml",)), {
        "code": found.code,
        "what": what,
        "err": found.err,
    }


@functools.cache
def known_keys() -> list[str]:
    """All keys of a configuration, and the groups."""
    return [*dotted(full_schema({"model": {"name": "mlp"}})), *groups()]


def override(number: int, folder: Path) -> tuple[list[str], Facts]:
    """Words of a command line with odd keys or values."""
    rng = mutate.dice("override", number)
    key = rng.choice(known_keys()) if rng.random() < 0.7 else rng.choice(ODD_KEYS)
    if rng.random() < 0.1:
        key = mutate.misspelt(key, rng)
    value = rng.choice(ODD_WORDS)
    words = [f"{key}={value}"]
    if rng.random() < 0.2:
        words.append(f"{rng.choice(known_keys())}={rng.choice(ODD_WORDS)}")
    found = run("validate", DIGITS, *words)
    keys = [w.partition("=")[0].strip("+~ .")[:40] for w in words]
    named = tuple(part for key in keys for part in key.split(".") if part)
    named = (*named, "key=value", "digits.yaml:")
    return found.problems(named=named), {
        "code": found.code, "what": " ".join(words)[:200], "words": words, "err": found.err,
    }  # fmt: skip


def sweep(number: int, folder: Path) -> tuple[list[str], Facts]:
    """A sweep, planned and not run: the caller sees to that."""
    rng = mutate.dice("sweep", number)
    keys = ("optimizer.lr", "run.seed", "device", "model.hidden", "run.epochs", "+optimizer.lr", "layers.fc1", "x",
            "seeds", "run.dir", "name", "preset", "device.dw_min", "dataset.train_samples")  # fmt: skip
    words = [
        f"{rng.choice(keys)}={rng.choice(SWEPT)}" for _ in range(rng.choice((1, 1, 2)))
    ]
    if rng.random() < 0.2:
        words.append(
            f"seeds={rng.choice(('3', '1000000000', '-1', '0', '1.5', '10000'))}"
        )
    found = run("train", "-m", *words)
    named = tuple(w.partition("=")[0].strip("+") for w in words)
    facts = {"code": found.code, "what": " ".join(words)[:200], "err": found.err}
    # Runs that are not done here count as failed.
    return found.problems(codes=(0, 1, 2), named=named), facts


KINDS: dict[str, Case] = {
    "recipe": recipe, "member": member, "content": content, "override": override, "sweep": sweep,
}  # fmt: skip
