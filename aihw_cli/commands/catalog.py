"""What there is: `aihw ls` and `aihw cp`. Reads text only; neither torch nor Hydra is needed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aihw_cli.arguments import Arguments, Command, Option, table
from aihw_cli.output import say, say_json
from aihw_cli.recipe import recipes
from engine.devices import base, device_names, find_device
from engine.presets import groups, members, nearest, read_yaml
from engine.settings import UserError, user_path

RECIPE, STEP = "recipe", "step"
ORDER = (
    RECIPE,
    "device",
    "tile",
    "algorithm",
    "preset",
    STEP,
    "model",
    "dataset",
    "optimizer",
    "inference",
    "run",
)
USE = {RECIPE: "conf=NAME", STEP: "device.model=NAME"}


@dataclass(frozen=True)
class Member:
    """Something that has a name: its kind, its file, and the packaged file that it shadows, if
    any."""

    kind: str
    name: str
    path: Path
    shadows: Path | None = None

    def values(self) -> dict[str, Any]:
        """What its YAML file holds."""
        return read_yaml(self.path)

    def about(self) -> str:
        """One line on it. A file that cannot be read says so."""
        if self.kind == STEP:
            return find_device(self.name).about
        try:
            values = self.values()
        except UserError as error:
            return f"(cannot be read: {error})"
        inner = values.get(self.kind) if self.kind == "preset" else None
        found = (inner if isinstance(inner, dict) else values).get(
            "claim" if self.kind == RECIPE else "about", ""
        )
        return " ".join(str(found).split())

    def as_data(self) -> dict[str, str]:
        """What a script wants to know."""
        return {
            "kind": self.kind,
            "name": self.name,
            "about": self.about(),
            "file": str(self.path),
        }


def kinds() -> list[str]:
    """All kinds, in the order of the list."""
    known = [RECIPE, STEP, *groups()]
    return [*(k for k in ORDER if k in known), *(k for k in known if k not in ORDER)]


def all_members(kind: str) -> list[Member]:
    """Every member of a kind."""
    if kind == STEP:
        return [
            Member(STEP, name, base.FOLDER / f"{name}.py") for name in device_names()
        ]
    found = recipes() if kind == RECIPE else members(kind)
    short = {
        name: name.removeprefix("basics/") if kind == RECIPE else name for name in found
    }
    return [
        Member(kind, short[n], paths[0], (*paths, None)[1])
        for n, paths in sorted(found.items())
    ]


def find(name: str) -> list[Member]:
    """The members of a name, or of `kind/name`; the first is meant. Raises UserError with the
    nearest name."""
    kind, _, rest = name.partition("/")
    if kind in kinds() and rest:
        found = {m.name: m for m in all_members(kind)}
        if rest not in found:
            raise UserError(f"no {kind} {rest!r}; {nearest(rest, found)}")
        return [found[rest]]
    everything = [m for k in kinds() for m in all_members(k)]
    found_here = [m for m in everything if m.name == name]
    if not found_here:
        raise UserError(
            f"nothing is called {name!r}; {_near(name, {m.name for m in everything})}"
        )
    return found_here


def ls(arguments: Arguments) -> int:
    """List the members of one kind, or of all."""
    wanted = arguments.words or kinds()
    if wanted[0] not in kinds():
        plural = wanted[0].removesuffix("s")
        if plural not in kinds():
            raise UserError(f"no kind {wanted[0]!r}; {nearest(wanted[0], kinds())}")
        wanted = [plural]
    if arguments.has("--json"):
        say_json([m.as_data() for kind in wanted for m in all_members(kind)], indent=1)
        return 0
    say("\n\n".join(_listing(wanted)))
    return 0


def cp(arguments: Arguments) -> int:
    """Copy the file of a member; nothing is overwritten."""
    name, target = arguments.words
    member = find(name)[0]
    path = user_path(target)
    if path.is_dir():
        path = path / member.path.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(member.path.read_text(encoding="utf-8"))
    except FileExistsError:
        raise UserError(f"{path} is there already; name another file") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    say(f"{path} is a copy of {member.kind} {member.name}; {_how_to_use(member, path)}")
    return 0


def completion(arguments: Arguments) -> int:
    """A completion script that asks nobody: names of commands only, files otherwise."""
    from aihw_cli.main import COMMANDS as verbs

    if arguments.words != ["bash"]:
        raise UserError(f"no completion for {arguments.words[0]!r}; there is bash")
    say(
        "_aihw() {\n"
        '  if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W "'
        + " ".join(verbs)
        + '" -- "$2"))\n'
        '  else COMPREPLY=($(compgen -f -- "$2")); fi\n'
        "}\ncomplete -o filenames -F _aihw aihw"
    )
    return 0


def _near(name: str, names: set[str]) -> str:
    hint = nearest(name, names)
    return hint if hint.startswith("nearest") else "`aihw ls` lists everything"


def _listing(wanted: list[str]) -> Iterator[str]:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for kind in wanted:
        found = all_members(kind)
        rows = [
            (
                m.name,
                m.about() + (f" [yours, shadows {m.shadows}]" if m.shadows else ""),
            )
            for m in found
        ]
        lines = table(rows).splitlines() if rows else ["  (none)"]
        lines = [
            line[: width - 1] + "…" if 0 < width < len(line) else line for line in lines
        ]
        yield "\n".join([f"{kind} ({USE.get(kind, f'{kind}=NAME')})", *lines])


def _how_to_use(member: Member, path: Path) -> str:
    if member.kind == RECIPE:
        return f"train it with: aihw train conf={path}"
    if member.kind == STEP:
        return f"use it with: aihw train device={path} --allow-code"
    home = next(folder for folder in groups()[member.kind]).parent.name
    return f"it is found as {member.kind}=NAME if it lies at {home}/{member.kind}/NAME.yaml below the current folder"


COMMANDS = (
    Command(
        "ls",
        "list what there is",
        "aihw ls [KIND] [--json]",
        (
            ("aihw ls", "everything"),
            ("aihw ls device", "device presets"),
            ("aihw ls recipe --json", "for a script"),
        ),
        ls,
        (Option("--json", "as JSON"),),
        (0, 1),
        f"kinds: {', '.join(ORDER)}",
    ),
    Command(
        "cp",
        "copy a preset or a recipe to a file of your own",
        "aihw cp NAME FILE",
        (
            ("aihw cp mnist_fcn my.yaml", "then: aihw train conf=my.yaml"),
            (
                "aihw cp device/ecram presets/device/mine.yaml",
                "then: aihw train device=mine",
            ),
            (
                "aihw cp step/linear_step my_device.py",
                "then: aihw train device=my_device.py --allow-code",
            ),
        ),
        cp,
        words=(2, 2),
    ),
    Command(
        "completion",
        "print the completion script for bash",
        "aihw completion bash",
        (('eval "$(aihw completion bash)"', "in ~/.bashrc"),),
        completion,
        words=(1, 1),
    ),
)
