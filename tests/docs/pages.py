"""Runs the code blocks of a page in the current folder, from top to bottom.

A block is a fence with a language: `python FILE` or `csv FILE` is written to that file, `python`
alone is executed, and each line of `sh` is a command. A command that ends in `# refused` must end
with code 2 and at most two lines."""

from __future__ import annotations

import glob
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.settings import ROOT

FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.M | re.S)
REFUSED = "# refused"
BLANK = "\x01"


@dataclass(frozen=True)
class Block:
    """One block of code, and the line of the page at which it starts."""

    language: str
    file: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        yield Block(
            found[1], found[2] or "", found[3], text[: found.start()].count("\n") + 2
        )


def run_page(name: str, aihw: Callable[..., Any]) -> list[Any]:
    """Run a page of docs/; the results of its `aihw` commands, refused ones included."""
    return run_blocks(ROOT / "docs" / name, aihw)


def run_blocks(page: Path, aihw: Callable[..., Any]) -> list[Any]:
    """Run all blocks of a page, with `aihw` in the place of the command line."""
    results = []
    for block in blocks(page):
        where = f"{page}:{block.line}"
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(
                compile("\n" * (block.line - 1) + block.text, str(page), "exec"),
                {"__name__": "__page__"},
            )
        elif block.language == "sh":
            results += [
                _command(line, aihw, where)
                for line in block.text.splitlines()
                if line.strip()
            ]
        else:
            raise AssertionError(f"{where}: nobody runs {block.language}")
    return [result for result in results if result is not None]


def _expanded(word: str) -> list[str]:
    """A word as a shell gives it on: `$(echo runs/x/*)` and patterns of file names replaced."""
    if found := re.search(r"\$\((.*?)\)", word):
        out = subprocess.run(
            found[1], shell=True, check=True, capture_output=True, text=True
        )
        return [word.replace(found[0], out.stdout.strip())]
    return sorted(glob.glob(word)) or [word]


def _command(line: str, aihw: Callable[..., Any], where: str) -> Any:
    # A blank inside $( ) does not end a word.
    joined = re.sub(r"\$\((.*?)\)", lambda found: found[0].replace(" ", BLANK), line)
    parts = [part.replace(BLANK, " ") for part in shlex.split(joined, comments=True)]
    words = [word for part in parts for word in _expanded(part)]
    refused = line.rstrip().endswith(REFUSED)
    if words[0] != "aihw":
        subprocess.run(line, shell=True, check=True)
        return None
    end = words.index(">") if ">" in words else len(words)
    result = aihw(*words[1:end])
    if end < len(words):
        Path(words[end + 1]).write_text(result.out, encoding="utf-8")
    assert result.code == (2 if refused else 0), (
        f"{where}: {line}\n{result.err or result.out}"
    )
    assert not refused or len(result.err.splitlines()) <= 2, f"{where}: {result.err}"
    return result
