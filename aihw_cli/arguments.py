"""The shape of a command and the reading of its arguments. Options may stand anywhere among
key=value words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.readers.wording import nearest_of
from engine.settings import UserError
from engine.trust.text import visible

# Short words resemble each other: only a misspelling may count as the other one.
ALIKE = 0.6


@dataclass(frozen=True)
class Option:
    """`--name`, with a value if `value` names one; `short` is its one-letter form."""

    name: str
    about: str
    value: str = ""
    short: str = ""


@dataclass
class Arguments:
    """What a command was given: its words in order, and its options."""

    words: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether an option was given."""
        return name in self.options


@dataclass(frozen=True)
class Command:
    """A verb of the command line. `words` is the least and the largest number of words that it
    takes."""

    name: str
    about: str
    usage: str
    examples: tuple[tuple[str, str], ...]
    run: Callable[[Arguments], int]
    options: tuple[Option, ...] = ()
    words: tuple[int, int] = (0, 0)
    notes: str = ""

    def help(self) -> str:
        """The text of `aihw NAME --help`."""
        options = (*self.options, Option("--help", "this text", short="-h"))
        rows = [
            (f"{o.short + ', ' if o.short else ''}{o.name} {o.value}".rstrip(), o.about)
            for o in options
        ]
        parts = [f"aihw {self.name}: {self.about}", f"usage: {self.usage}"]
        if self.notes:
            parts.append(self.notes)
        parts.append("options:\n" + table(rows))
        parts.append("examples:\n" + table(self.examples))
        return "\n\n".join(parts)

    def parse(self, texts: Sequence[str]) -> Arguments:
        """Words and options. Raises UserError, naming the nearest option."""
        known = {n: o for o in self.options for n in (o.name, o.short) if n}
        result = Arguments()
        rest = list(texts)
        while rest:
            text = rest.pop(0)
            if not text.startswith("-") or text == "-":
                result.words.append(text)
                continue
            name, mark, value = text.partition("=")
            option = known.get(name)
            if option is None:
                near = nearest_of(name, [*known, "--help"], ALIKE)
                hint = (
                    f"nearest: {near}"
                    if near
                    else f"aihw {self.name} --help lists them"
                )
                raise UserError(f"aihw {self.name} has no option {name}; {hint}")
            if option.value and not mark:
                if not rest:
                    raise UserError(f"{name} needs a value: {name} {option.value}")
                value = rest.pop(0)
            if mark and not option.value:
                raise UserError(f"{name} takes no value")
            result.options[option.name] = value
        low, high = self.words
        if not low <= len(result.words) <= high:
            what = "needs more" if len(result.words) < low else "takes fewer"
            raise UserError(f"aihw {self.name} {what} words; usage: {self.usage}")
        return result


def table(rows: Sequence[tuple[str, str]], indent: int = 2) -> str:
    """Two columns of text, each pair on its line whatever it holds."""
    rows = [(visible(left), visible(right)) for left, right in rows]
    width = max(len(left) for left, _ in rows)
    return "\n".join(
        f"{'':{indent}}{left:<{width}}  {right}".rstrip() for left, right in rows
    )
