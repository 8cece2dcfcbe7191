"""Words and files that stand for more than anybody can mean: refused at once, in a short line that
names the key."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cli.conftest import write

SHORT, QUICK = 700, 10.0


def refused(aihw, *words: str) -> str:  # type: ignore[no-untyped-def]
    """The error line of a command that is refused, and does not think about it for long."""
    begin = time.process_time()
    result = aihw(*words)
    assert time.process_time() - begin < QUICK
    assert result.code == 2 and result.err.startswith("error: "), result
    assert len(result.err) < SHORT and "Traceback" not in result.err
    return str(result.err)


VALUES = {
    "infinite": ("run.epochs=inf", "run.epochs must be finite, not inf"),
    "undefined": ("run.epochs=nan", "run.epochs must be finite, not nan"),
    "too large for a float": ("optimizer.lr=1e400", "optimizer.lr must be finite"),
    "400 digits": (
        "optimizer.lr=1" + "0" * 400,
        "optimizer.lr must have at most 100 digits",
    ),
    "5,000 digits": ("optimizer.lr=" + "9" * 5000, "optimizer.lr"),
    "inside a list": ("model.hidden=[1,inf]", "model.hidden[1] must be finite"),
    "inside a mapping": ("device={dw_min:nan}", "device"),
    "400 brackets": ("claim=" + "[" * 400 + "]" * 400, "claim: more than 20 brackets"),
    "400 brackets, open": ("claim=" + "[" * 400, "claim"),
    "400 functions": (
        "claim=" + "int(" * 400 + "1" + ")" * 400,
        "claim: more than 20 brackets",
    ),
    "40,000 characters": (
        "model.hidden=[" + "1," * 20_000 + "1]",
        "model.hidden: 40016 characters",
    ),
    "a long key": ("k" * 9000 + "=1", "characters, more than"),
    "no key": ("=1", "lacks a key"),
    "a sweep inside a list": ("model.hidden=[range(1,3)]", "model.hidden[0]: range()"),
    "an interpolation": ("name=${oc.env:HOME}", "name: interpolation '${oc.env:HOME}'"),
    "a circle": ("name=${name}", "name"),
    "an open value": ("optimizer.lr=???", "optimizer.lr is ???: write a value"),
    "a name of 300 letters": ("name=" + "a" * 300, "cannot be the name of a folder"),
    "a folder of nobody": ("conf=~nosuchuser/x.yaml", "nosuchuser"),
    "a deleted key": ("~run.epochs", "cannot be deleted"),
    "numbers as keys": ("layers={1:{algorithm:digital}}", "layer"),
    "dates as keys": ("layers={2024-05-01:3}", "layers.2024-05-01"),
}


@pytest.mark.parametrize(("word", "said"), VALUES.values(), ids=VALUES)
def test_values_of_the_command_line(aihw, word: str, said: str) -> None:
    """Each names its key."""
    assert said in refused(aihw, "validate", str(_digits()), word)


SWEEPS = {
    "a billion": (
        "run.seed=range(1000000000)",
        "run.seed: a range of 1000000000 values",
    ),
    "without an end": ("optimizer.lr=range(0,inf)", "optimizer.lr must be finite"),
    "nowhere": ("optimizer.lr=range(nan,1)", "optimizer.lr must be finite"),
    "small steps": (
        "optimizer.lr=range(0,1,1e-9)",
        "optimizer.lr: a range of 1000000000 values",
    ),
    "no step": (
        "optimizer.lr=range(0,1,0)",
        "optimizer.lr: the step of range() must not be 0",
    ),
    "letters": ("optimizer.lr=range(a,b)", "optimizer.lr"),
    "a choice of choices": ("optimizer.lr=choice(choice(1,2),3)", "optimizer.lr"),
    "shuffled": ("optimizer.lr=shuffle(1,2,3)", "optimizer.lr: shuffle()"),
    "infinite among others": ("optimizer.lr=1,inf", "optimizer.lr"),
    "a new key": ("+optimizer.lrr=1,2", "optimizer.lrr; nearest: optimizer.lr"),
    "digits": ("optimizer.lr=" + "9" * 5000 + ",1", "optimizer.lr"),
}


@pytest.mark.parametrize(("word", "said"), SWEEPS.values(), ids=SWEEPS)
def test_sweeps(aihw, word: str, said: str) -> None:
    """Nothing is expanded that has no end."""
    assert said in refused(aihw, "train", "-m", word)


def test_products_of_sweeps_and_seeds(aihw) -> None:
    """Each by itself is short enough."""
    line = refused(
        aihw, "train", "-m", "optimizer.lr=range(1,200)", "run.seed=range(1,200)"
    )
    assert "199 of 'optimizer.lr' x 199 of 'run.seed' are 39601 points" in line
    line = refused(
        aihw, "train", "-m", "optimizer.lr=1,2,3", "seeds=10000", "run.seed=1"
    )
    assert "30000 runs" in line
    assert "seeds must be <= 10000" in refused(aihw, "train", "seeds=1000000000")


FILES = {
    "a date as a key": ("layers: {2024-01-01: {}}", "no layer '2024-01-01'"),
    "no date": ("claim: 2020-13-45\nrun: {epoch: 1}", "run.epoch"),
    "a set": ("about: !!set {a}", "about: '!!set' is not allowed"),
    "laughs": (
        "a: &a [x,x]\nb: &b [*a,*a]\nc: " + "[*b," * 30 + "x" + "]" * 30,
        "mine.yaml",
    ),
    "interpolations that grow": (
        "claim: x\n"
        + "\n".join(f"k{k}: '{f'${{k{k + 1}}}' * 9}'" for k in range(9))
        + "\nk9: yyyyyyyyy",
        "stands for more than 100000 characters",
    ),
    "a circle of interpolations": (
        "about: ${claim}\nclaim: ${about}",
        "refers to itself",
    ),
    "many keys": ("\n".join(f"k{k}: 1" for k in range(50_000)), "unknown key k0"),
    "an open value": ("run: {epochs: '???'}", "run.epochs is ???: write a value"),
    "a section that is none": ("loss: nll", "loss is a section with the keys name"),
    "an infinite number": (
        "optimizer: {lr: .inf}",
        "optimizer.lr: '.inf' is no finite number",
    ),
}


@pytest.mark.parametrize(("text", "said"), FILES.values(), ids=FILES)
def test_recipes(aihw, folder: Path, text: str, said: str) -> None:
    """A stranger's text costs neither time nor memory."""
    write(folder / "mine.yaml", text)
    assert said in refused(aihw, "validate", "mine.yaml", "--as", "recipe")
    assert said in refused(aihw, "train", "conf=mine.yaml")


def test_dates_and_merges_are_what_they_seem(aihw, folder: Path) -> None:
    """A date is a text, a key may be a number, `<<` is a merge."""
    text = "base: &b {epochs: 2}\n"
    assert "unknown key base" in refused(
        aihw, "validate", str(write(folder / "a.yaml", text)), "--as", "recipe"
    )
    text = "about: 2024-05-01\nlayers:\n  fc1: &l {algorithm: digital}\n  fc2: {<<: *l}\nrun: {epochs: 1}\n"
    write(folder / "b.yaml", text)
    result = aihw("validate", "b.yaml", "--json")
    assert result.code == 0 and '"about": "2024-05-01"' in result.out


CIRCLE = {"presets/device/x.yaml": "y", "presets/device/y.yaml": "x"}


def test_defaults_in_a_circle(aihw, folder: Path) -> None:
    """The line shows the way."""
    for name, other in CIRCLE.items():
        write(folder / name, f"defaults: [{{/device: {other}}}]\n")
    for words in (
        ("train", "device=x"),
        ("show", "x"),
        ("validate", "presets/device/x.yaml"),
    ):
        assert "circle: device/x -> device/y -> device/x" in refused(
            aihw, *words
        ).replace(
            "circle: device/y -> device/x -> device/y",
            "circle: device/x -> device/y -> device/x",
        )


def test_defaults_without_end(aihw, folder: Path) -> None:
    """A tree of members, each of which names the next one three times."""
    for level in range(9):
        names = [f"/device@cells.{k}: m{level + 1}" for k in "abc"] if level < 8 else []
        write(
            folder / f"presets/device/m{level}.yaml",
            "defaults:\n" + "".join(f"  - {n}\n" for n in names)
            if names
            else "model: ideal\n",
        )
    assert "name more than 100 members in turn" in refused(aihw, "train", "device=m0")


def test_a_member_that_meets_something_else(aihw, folder: Path) -> None:
    """A list where a section is expected: the file is named, and the key where it is known."""
    preset = write(
        folder / "presets/preset/mine.yaml", "# @package _global_\nalgorithm: [1]\n"
    )
    line = refused(aihw, "train", "preset=mine")
    assert f"{preset}: algorithm is a section" in line
    preset.write_text("# @package _global_\ntile: {forward: 3}\n")
    assert f"{preset}: tile.forward is a section" in refused(
        aihw, "train", "preset=mine"
    )


def test_names_of_commands(aihw) -> None:
    """Whatever stands where a file, a run or a member is meant."""
    for word in ("a" * 5000, "~nosuchuser/x", "a\nb", "\x1b[31m"):
        for verb in ("show", "resume", "eval", "validate"):
            line = refused(aihw, verb, word)
            assert "\x1b" not in line and len(line.splitlines()) <= 2


def _digits() -> Path:
    from engine.settings import packaged_data

    return packaged_data() / "experiments/basics/digits.yaml"
