"""Mutants of recipes, presets, words of a command line and files of run folders, each a function of
its number alone."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Tree = Any
Path = tuple[Any, ...]


@dataclass(frozen=True)
class Raw:
    """A piece of YAML that stands in the file as it is."""

    text: str


# What people and their tools write where something else is meant, and what breaks programs.
SNIPPETS = (
    "null", "true", "no", "''", "text", "0", "1", "-1", "2.5", "3", "1e-320", "1e38", "1e308", "-1e308",
    "1e400", "10000000000000000000", "1" + "0" * 400, "9" * 5000, ".nan", ".inf", "-.inf", "010", "1:30",
    "0x1F", "1_000", "[]", "[1]", "[x, 2]", "[[1], [2]]", "{}", "{a: 1}", "{1: 2}", "{null: 1}",
    "2024-05-01", "2024-05-01 10:00:00", "2020-13-45", "{2024-01-01: {}}", "!!set {a}", "!!binary aGk=",
    "{!!binary aGk=: 1}", "!!int 1e3", "!!bool maybe", "!!float 3", "!!python/object/apply:os.system [id]",
    "!custom 3", "!!timestamp 2024-05-01", "!!omap [a: 1]", "&a [*a]", "&a {x: *a}", "{<<: {a: 1}}",
    "{<<: 5}", "? [1, 2]\n  : 3", "'${oc.env:HOME}'", "'${name}'", "'${nothing.here}'", "'${'", "???",
    "'${run.seed}'", "'x${run.seed}'", "'~nosuchuser/x'", "/etc/passwd", "../../x", "mine.py:Mine", "steps.csv",
    "'" + "a" * 300 + "'", "'" + "b" * 5000 + "'", '"\\e[31m"', '"two\\nlines"', '"\\0"', "'%s'", "'{}'",
    "|\n    block", "- 1", ": x", "*nothing", "'",
)  # fmt: skip
KEYS = (
    "x", "lr", "epochs", "model", "name", "defaults", "hydra", "_self_", "<<", "'1'", "1", "1.5", "null",
    "true", "2024-05-01", "''", "a.b", "run.epochs", "optimizer.lr", "'x y'", "'=x'", "'${name}'",
    '"\\e[31m"', "k" * 300, "!!binary aGk=", "~", "-", "'*'", "seeds", "layers", "search", "about",
)  # fmt: skip


def dice(*name: object) -> random.Random:
    """The random numbers of one mutant."""
    return random.Random(" ".join(map(str, name)))


def places(tree: Tree, path: Path = ()) -> Iterator[Path]:
    """The paths of all nodes below the root."""
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def parent(tree: Tree, path: Path) -> Tree:
    """What holds the node at a path."""
    for key in path[:-1]:
        tree = tree[key]
    return tree


def change(
    tree: Tree,
    rng: random.Random,
    snippets: Sequence[str] = SNIPPETS,
    keys: Sequence[str] = KEYS,
) -> tuple[str, str]:
    """Change one node of a tree in place. Returns the key that a message must name, as far as one
    can say, and what was done."""
    path = rng.choice(list(places(tree)))
    holder, key = parent(tree, path), path[-1]
    action = rng.choice(
        ("value", "value", "value", "value", "name", "add", "drop", "wrap", "swap")
    )
    if action == "value":
        snippet = rng.choice(snippets)
        holder[key] = Raw(snippet)
        return last_word(path), f"{path} = {snippet[:40]!r}"
    if action == "name" and isinstance(holder, dict):
        new = misspelt(str(key), rng, keys)
        holder[_name(new, keys)] = holder.pop(key)
        return new.strip("'\""), f"{path} -> {new[:40]!r}"
    if action == "add" and isinstance(holder, dict):
        new = rng.choice(keys)
        holder[_name(new, keys)] = Raw(rng.choice(snippets))
        return new.strip("'\""), f"{path[:-1]} + {new[:40]!r}"
    if action == "drop":
        del holder[key]
        return "", f"{path} dropped"
    if action == "wrap":
        holder[key] = rng.choice(
            ([holder[key]], {"x": holder[key]}, [[holder[key]] * 3])
        )
        return last_word(path), f"{path} wrapped"
    other = rng.choice(list(places(tree)))
    holder[key] = json.loads(json.dumps(plain(parent(tree, other)[other[-1]])))
    return last_word(path), f"{path} = {other}"


def _name(text: str, keys: Sequence[str]) -> Raw | str:
    """A key as it stands in the file: those of YAML are pieces of YAML themselves."""
    return Raw(text) if keys is KEYS else text


def plain(tree: Tree) -> Tree:
    """A tree without raw pieces."""
    if isinstance(tree, dict):
        return {str(getattr(k, "text", k)): plain(v) for k, v in tree.items()}
    return (
        [plain(v) for v in tree]
        if isinstance(tree, list)
        else getattr(tree, "text", tree)
    )


def last_word(path: Path) -> str:
    """The innermost key of a path."""
    return next((str(key) for key in reversed(path) if isinstance(key, str)), "")


def misspelt(key: str, rng: random.Random, keys: Sequence[str] = KEYS) -> str:
    """A key with a typing error, or an odd one."""
    if rng.random() < 0.4 or len(key) < 2:
        return rng.choice(keys)
    at = rng.randrange(len(key) - 1)
    return rng.choice(
        (
            key[:at] + key[at + 1 :],
            key[:at] + key[at + 1] + key[at] + key[at + 2 :],
            key[:at] + rng.choice(string.ascii_lowercase) + key[at:],
            key.upper(),
        )
    )


def as_yaml(tree: Tree, indent: int = 0) -> str:
    """The text of a tree: blocks for mappings, one line for everything else."""
    lines = []
    for key, value in tree.items():
        name = key.text if isinstance(key, Raw) else json.dumps(str(key))
        start = f"{' ' * indent}{name}:"
        if isinstance(value, dict) and value:
            lines.append(f"{start}\n{as_yaml(value, indent + 2)}")
        else:
            lines.append(f"{start} {flow(value)}")
    return "\n".join(lines)


def flow(value: Tree) -> str:
    """A value in one line, as far as its raw pieces allow."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        items = (
            f"{k.text if isinstance(k, Raw) else json.dumps(str(k))}: {flow(v)}"
            for k, v in value.items()
        )
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return json.dumps(value)


def damage(content: bytes, rng: random.Random) -> bytes:
    """Bytes as disks, editors and other systems leave them."""
    at = rng.randrange(len(content) + 1)
    noise = bytes(rng.randrange(256) for _ in range(4))
    lines = content.split(b"\n")
    rng.shuffle(lines)
    text = content.decode("utf-8", "replace")
    return rng.choice(
        (
            b"",
            content[:at],
            content[:at] + noise + content[at + 4 :],
            content[:at] + b"\0" + content[at:],
            content[:at] + rng.choice(SNIPPETS).encode() + content[at:],
            content + content,
            b"\xef\xbb\xbf" + content,
            content.replace(b"\n", b"\r\n"),
            content.replace(b"  ", b"\t"),
            text.encode("utf-16"),
            text.encode("utf-16-le"),
            b"\0" * len(content),
            b"\n".join(lines),
        )
    )


def bomb(rng: random.Random) -> str:
    """A short text that stands for very much."""
    levels, width = rng.randrange(5, 12), rng.randrange(5, 12)
    kind = rng.randrange(6)
    if kind == 0:
        lines = ["l0: &l0 [x, x]"]
        lines += [
            f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * width)}]"
            for k in range(1, levels)
        ]
        return "\n".join(lines)
    if kind == 1:
        lines = ["claim: 'x'"]
        lines += [f"k{k}: '" + f"${{k{k + 1}}}" * width + "'" for k in range(levels)]
        return "\n".join([*lines, f"k{levels}: {'y' * width}"])
    if kind == 2:
        depth = rng.choice((30, 100, 400, 5000, 100_000))
        return "claim: " + rng.choice(("[", "{a: ")) * depth
    if kind == 3:
        depth = rng.choice((31, 100, 400))
        return "claim: " + "[" * depth + "]" * depth
    if kind == 4:
        return "\n".join(f"k{k}: 1" for k in range(rng.choice((1000, 20_000))))
    return "run:\n" + "\n".join(
        f"  k{k}: {{a: [1, 2]}}" for k in range(rng.choice((1000, 5000)))
    )
