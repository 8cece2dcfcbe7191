"""Python text as what it does: its syntax tree, without comments, layout, docstrings and prose."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from typing import Any

from engine.experiment.identity.tokens import tokens

# Keywords of declarations that explain and decide nothing.
PROSE = frozenset({"about", "formula", "source", "aihwkit", "meaning", "unit"})


def python_digest(text: bytes | str) -> str:
    """A digest that changes only if the program in `text` does. Raises SyntaxError."""
    tree = ast.parse(text)
    return hashlib.sha256(_text_of(_without_docstrings(tree)).encode()).hexdigest()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree


def _text_of(node: Any) -> str:
    """One line for a tree. Empty fields are left out: newer versions of Python add such fields."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return repr(_snippet(node.value))
    if isinstance(node, ast.AST):
        return f"{type(node).__name__}({', '.join(_fields(node))})"
    if isinstance(node, list):
        return f"[{', '.join(map(_text_of, node))}]"
    return repr(node)


def _fields(node: ast.AST) -> Iterator[str]:
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(node, ast.Call) and name == "keywords":
            value = [keyword for keyword in value or () if keyword.arg not in PROSE]
        if value is not None and value != []:
            yield f"{name}={_text_of(value)}"


def _snippet(text: str) -> str:
    """A string of several lines with a semicolon is CUDA C: comments and blanks do not count."""
    if "\n" not in text or ";" not in text:
        return text
    try:
        return "CUDA C: " + " ".join(tokens(text))
    except ValueError:
        return text  # it includes a file by name, which no snippet does
