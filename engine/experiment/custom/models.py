"""A network of the user's: `model=my.py:Net`, with the arguments of its constructor as
`model.NAME=VALUE`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.experiment.custom.arguments import (
    FROM_DATA,
    Argument,
    arguments_of,
    given_values,
)
from engine.settings import UserError
from engine.trust.load import load_code, shown_name, user_code

if TYPE_CHECKING:
    from torch import nn

    from engine.experiment.build import Maker
    from engine.experiment.data import Info


@dataclass(frozen=True)
class Network:
    """A class or function of the user's that gives a network, in the form of a member of `models`."""

    name: str
    make: Callable[..., Any]
    path: Path
    ABOUT: str
    SOURCE: str = ""
    # It says itself what samples it takes.
    TAKES: str | None = None

    def arguments(self) -> dict[str, Argument]:
        """What its constructor takes."""
        return arguments_of(self.make)

    def build(self, make: Maker, info: Info, **settings: Any) -> nn.Module:
        """The network with its layers on tiles where the configuration wants it. Raises UserError
        for wrong arguments, CodeError for code that fails."""
        from torch import nn

        from engine.experiment.models._wrapped import Wrapped

        what = f"model {shown_name(self.name)}"
        values = given_values(what, self.arguments(), self._filled(settings, info))
        with user_code(self.path, what):
            network = self.make(**values)
        if not isinstance(network, nn.Module):
            kind = type(network).__name__
            raise UserError(f"{what} gives {kind}, not a network (torch.nn.Module)")
        return Wrapped(make.convert(network), make.output(), path=self.path, what=what)

    def _filled(self, settings: Mapping[str, Any], info: Info) -> dict[str, Any]:
        """The settings, with what follows from the samples where it was not given."""
        found = dict(settings)
        for name in self.arguments():
            if name in FROM_DATA and found.get(name) is None:
                value = FROM_DATA[name](info)
                if value is None:
                    found.pop(name, None)
                else:
                    found[name] = value
        return found


def find(name: str) -> Network:
    """The network of `path/to/file.py:Name` or `package.module:Name`, or the only one that a file
    defines. Raises UserError without permission, and for what is none."""
    import torch

    code = load_code(name, "network")
    members, attribute = vars(code.module), name.partition(":")[2]
    classes = {
        key: value
        for key, value in members.items()
        if inspect.isclass(value)
        and issubclass(value, torch.nn.Module)
        and value.__module__ == code.module.__name__
    }
    if not attribute:
        if len(classes) != 1:
            names = ", ".join(sorted(classes)) or "none"
            raise UserError(
                f"{name}: name one of its networks as {name}:NAME; it has {names}"
            )
        attribute = next(iter(classes))
    found = members.get(attribute)
    if not callable(found):
        names = ", ".join(sorted(classes)) or "none"
        raise UserError(f"{code.path} has no network {attribute!r}; it has {names}")
    about = (inspect.getdoc(found) or "").partition("\n")[0]
    return Network(name, found, code.path, about)
