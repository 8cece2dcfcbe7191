"""CUDA C text as a set of declarations, free of comments, white space, file names and order.

Two texts give the same set if and only if a compiler sees the same declarations in them. Hashing
the set instead of the text is what lets kernels move between files without renaming every run.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

# Strings come first: a comment sign inside one starts no comment.
COMMENT = re.compile(
    r'("(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')|//[^\n]*|/\*.*?\*/', re.DOTALL
)
WORDS = r"""
    "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'             # texts and characters
    | \.?\d(?:[eEpP][+-]|[\w.])*                        # numbers
    | \w+                                               # names
    | <<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||::|[-+*/%&|^]=|\#\#
    | \S"""
# A directive takes its whole line.
TOKEN = re.compile(rf"^[ \t]*\#[^\n]* | {WORDS}", re.MULTILINE | re.VERBOSE)
# The parenthesis of a macro's parameters touches its name; one of its body does not.
DIRECTIVE = re.compile(rf"(?<=define\ )\w+\( | {WORDS}", re.VERBOSE)
# They place the compiler's messages, or keep a header from being read twice: nothing is compiled.
WITHOUT_EFFECT = ("line", "pragma once")


def tokens(text: str) -> list[str]:
    """The tokens of a text; a preprocessor directive is one token, without needless blanks."""
    joined = text.replace("\\\n", " ")
    plain = COMMENT.sub(lambda found: found[1] or " ", joined)
    found = (
        _directive(t) if t.lstrip().startswith("#") else t for t in TOKEN.findall(plain)
    )
    return [token for token in found if token]


def _directive(line: str) -> str:
    """One directive as its tokens with single blanks between them; empty if it has no effect."""
    body = line.strip().lstrip("#").strip()
    body = re.sub(r"^define\s+", "define ", body)
    if body.startswith(WITHOUT_EFFECT):
        return ""
    if body.startswith("include") and '"' in body:
        # The text of that file would not be in the hash, and a change of it would go unnoticed.
        raise ValueError(f"the text of a kernel must be complete, but it has #{body}")
    return "#" + " ".join(DIRECTIVE.findall(body))


@functools.lru_cache(maxsize=128)
def declarations(text: str) -> frozenset[str]:
    """The declarations at the outermost level of a text, each as one line of tokens.

    A line begins with the namespaces and the conditions (`#if`) around the declaration.
    """
    reader = _Reader()
    for token in tokens(text):
        reader.add(token)
    return frozenset(reader.finish())


class _Reader:
    """Splits tokens into declarations, one token after the other."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.macros: dict[str, list[str]] = {}
        self.scopes: list[str] = []
        self.conditions: list[str] = []
        self.item: list[str] = []
        self.braces = self.parentheses = 0
        # Conditions that opened inside the current declaration: they are part of it.
        self.inner_conditions = 0

    def add(self, token: str) -> None:
        """Adds one token to the current declaration, or ends it."""
        if token.startswith("#") and token != "##" and len(token) > 1:
            self._add_directive(token)
        elif token == "{" and self._opens_scope():
            self.scopes.append(" ".join(self.item))
            self.item = []
        elif token == "}" and not self.braces and self.scopes:
            self.scopes.pop()
        else:
            self._add_plain(token)

    def _add_plain(self, token: str) -> None:
        self.item.append(token)
        self.braces += (token == "{") - (token == "}")
        self.parentheses += (token == "(") - (token == ")")
        if token in (";", "}") and not self.braces and not self.parentheses:
            self._end_item()

    def _opens_scope(self) -> bool:
        """Whether the current declaration is a namespace or `extern "C"`, whose brace encloses
        further declarations."""
        if self.braces or not self.item:
            return False
        return self.item[0] == "namespace" or self.item == ["extern", '"C"']

    def _add_directive(self, token: str) -> None:
        word = token[1:].partition(" ")[0]
        if self.item or self.inner_conditions:
            self.inner_conditions += word.startswith("if") - (word == "endif")
            self.item.append(token)
        elif word.startswith("if"):
            self.conditions.append(token)
        elif word in ("else", "elif"):
            self.conditions[-1] += f" {token}"
        elif word == "endif":
            self.conditions.pop()
        elif word in ("define", "undef"):
            name = re.split(r"[ (]", token)[1]
            self.macros.setdefault(name, []).append(" ".join([*self.conditions, token]))
        else:
            self.found.append(" ".join([*self.conditions, token]))

    def _end_item(self) -> None:
        if self.item != [";"]:
            self.found.append(" ".join([*self.scopes, *self.conditions, *self.item]))
        self.item = []

    def finish(self) -> Iterator[str]:
        """All declarations. The definitions of one macro stay together in their order: it decides
        what the macro means where."""
        if self.item:
            self._end_item()
        yield from self.found
        for definitions in self.macros.values():
            yield "\n".join(definitions)
