"""YAML, read by one parser for every purpose, into texts, numbers, true, false, null, lists and
mappings with texts as keys.

YAML can say much more than a configuration needs, and some of it is harmful or surprising: dates
and octal numbers where a text is meant, constructors of objects, aliases that stand for a billion
values. What is not in the list above is refused with file, line and key; dates stay texts."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.readers.plain import read_text
from engine.readers.wording import brief, first_line, shortened
from engine.settings import UserError
from engine.trust.text import visible

# A complete configuration of a network with settings for each of its 150 layers has 40,000 values.
VALUES = 200_000
DEPTH = 32
DIGITS = 100
KEY_LENGTH = 200
TAG = "tag:yaml.org,2002:"
NULL, BOOL, INT, FLOAT, STR = (
    f"{TAG}{kind}" for kind in ("null", "bool", "int", "float", "str")
)
MERGE = f"{TAG}merge"
# YAML 1.1 without its octal and sexagesimal numbers, which are typing errors here (010, 1:30), and
# with 1e-3 for a number.
PATTERNS = {
    NULL: re.compile(r"~|null|Null|NULL|"),
    BOOL: re.compile(
        r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF"
    ),
    INT: re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)"),
    FLOAT: re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
    ),
    MERGE: re.compile(r"<<"),
}
STARTS = {
    NULL: "~nN",
    BOOL: "yYnNtTfFoO",
    INT: "-+0123456789",
    FLOAT: "-+.0123456789",
    MERGE: "<",
}
TRUE = ("yes", "true", "on")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises UserError with file, line and key."""
    return parse_yaml(read_text(path), path)


def parse_yaml(text: str, path: Path) -> dict[str, Any]:
    """The mapping in a text that stands in the file `path`, which messages name."""
    import yaml

    name = shortened(str(path))
    try:
        root = yaml.compose(text, Loader=_loader())
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        # "but found another document" needs what was expected.
        problem = error.problem or first_line(error)
        whole = f"{error.context}, {problem}" if problem.startswith("but ") else problem
        raise UserError(f"{name}{line}: not valid YAML: {whole}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{name}: not valid YAML: {first_line(error)}") from None
    if root is None:
        return {}
    values = Builder(name).value(root)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(
            f"{name}: expected `key: value` lines, found {type(values).__name__}"
        )
    return values


@functools.cache
def _loader() -> type:
    """libyaml's parser where PyYAML has it, with our own idea of what a plain word is."""
    import yaml

    class Loader(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):  # type: ignore[misc]
        """Composes nodes and constructs nothing."""

    for tag, pattern in PATTERNS.items():
        # The parsers ask whether the beginning matches.
        whole = re.compile(rf"(?:{pattern.pattern})\Z")
        Loader.add_implicit_resolver(
            tag, whole, [*STARTS[tag], *([""] if tag == NULL else [])]
        )
    return Loader


def dump_yaml(values: Mapping[str, Any]) -> str:
    """The text that `parse_yaml` reads these values from."""
    import yaml

    return str(yaml.dump(dict(values), Dumper=_dumper(), sort_keys=False))


@functools.cache
def _dumper() -> type:
    """PyYAML's plain dumper, which puts a text into quotes also where only our reader would take
    it for a number (1e3)."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes plain values; a list or section that stands twice is written twice."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    for tag, pattern in PATTERNS.items():
        Dumper.add_implicit_resolver(
            tag, re.compile(rf"(?:{pattern.pattern})\Z"), list(STARTS[tag])
        )
    return Dumper


class Builder:
    """Makes values of the nodes of a parser. An alias counts as all that it stands for: whoever
    walks the values later meets them that often."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.keys: list[str] = []
        self.open: set[int] = set()

    def value(self, node: Any) -> Any:
        """The value of a node. Raises UserError."""
        self.count += 1
        if self.count > VALUES:
            raise self._error(
                node, f"more than {VALUES} values (an alias counts as what it names)"
            )
        if node.id == "scalar":
            return self._scalar(node)
        if id(node) in self.open:
            raise self._error(node, "an alias that holds itself")
        if len(self.open) >= DEPTH:
            raise self._error(node, f"more than {DEPTH} levels of lists and mappings")
        if node.tag != f"{TAG}{'seq' if node.id == 'sequence' else 'map'}":
            raise self._forbidden(node)
        self.open.add(id(node))
        found = self._list(node) if node.id == "sequence" else self._mapping(node)
        self.open.discard(id(node))
        return found

    def _list(self, node: Any) -> list[Any]:
        found = []
        for number, item in enumerate(node.value):
            self.keys.append(f"[{number}]")
            found.append(self.value(item))
            self.keys.pop()
        return found

    def _mapping(self, node: Any) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        merges = 0
        for key_node, item in node.value:
            key = self._key(key_node)
            self.keys.append(key)
            if key_node.tag == MERGE:
                merges += 1
                for part in self._merged(item):
                    merged = {**part, **merged}
            elif key in own:
                raise self._error(key_node, f"key {brief(key)} twice")
            else:
                own[key] = self.value(item)
            self.keys.pop()
        if merges > 1:
            raise self._error(node, "key '<<' twice; write <<: [*one, *other]")
        return {**merged, **own} if merges else own

    def _merged(self, node: Any) -> Iterator[dict[str, Any]]:
        """The mappings that `<<` names; the first one goes before the others."""
        found = self.value(node)
        for part in found if isinstance(found, list) else [found]:
            if not isinstance(part, dict):
                raise self._error(node, "<< takes a mapping, or a list of mappings")
            yield part

    def _key(self, node: Any) -> str:
        """The text of a key as it is written: `0:` and `2024-01-01:` name layers, not numbers."""
        if node.id != "scalar" or node.tag not in (*PATTERNS, STR):
            raise self._error(node, "a key must be a word or a number")
        if len(node.value) > KEY_LENGTH:
            raise self._error(
                node,
                f"a key of {len(node.value)} characters; at most {KEY_LENGTH} are allowed",
            )
        return str(node.value)

    def _scalar(self, node: Any) -> Any:
        text: str = node.value
        if node.tag in (STR, "!"):
            return text
        if node.tag not in PATTERNS or node.tag == MERGE:
            raise self._forbidden(node)
        if not PATTERNS[node.tag].fullmatch(text) and not self._widened(node):
            raise self._error(node, f"{brief(text)} is no {node.tag.removeprefix(TAG)}")
        if node.tag == NULL:
            return None
        if node.tag == BOOL:
            return text.lower() in TRUE
        return self._number(node)

    def _widened(self, node: Any) -> bool:
        """Whether a number is whole and `!!float` asks for it."""
        return node.tag == FLOAT and PATTERNS[INT].fullmatch(node.value) is not None

    def _number(self, node: Any) -> int | float:
        text = node.value.replace("_", "")
        if len(text) > DIGITS:
            raise self._error(
                node,
                f"a number of {len(text)} characters; at most {DIGITS} are allowed",
            )
        if node.tag == INT:
            prefix = text.lstrip("+-")[:2]
            return int(text, {"0x": 16, "0b": 2}.get(prefix, 10))
        special = text.lower().endswith((".inf", ".nan"))
        value = math.inf if special else float(text)
        if math.isinf(value):
            raise self._error(node, f"{brief(node.value)} is no finite number")
        return value

    def _forbidden(self, node: Any) -> UserError:
        tag = node.tag.replace(TAG, "!!")
        kinds = "texts, numbers, true, false, null, lists and mappings are"
        return self._error(node, f"{brief(tag)} is not allowed; {kinds}")

    def _error(self, node: Any, problem: str) -> UserError:
        key = ".".join(self.keys).replace(".[", "[")
        where = f"{visible(shortened(key, 100))}: " if key else ""
        line = node.start_mark.line + 1
        return UserError(f"{self.name}:{line}: not valid YAML: {where}{problem}")
