"""Where Hydra gets the members that it composes: from our reader, with its limits, instead of its
own one. So a run and `aihw validate` read the same text the same way."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from aihw_cli.composition.names import spelled_out
from engine.presets import groups, members, read_member

SCHEME = "aihw"
# The generated file that Hydra starts from; no file of a user may be called so.
PRIMARY = "aihw-primary"


class Library:
    """The files that may be composed: members of groups, and recipes in `folder`. Hydra asks for
    the same ones again and again, while nothing changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = tuple(groups())
        self.members: dict[str, dict[str, list[Path]]] = {}

    def group(self, name: str) -> dict[str, list[Path]]:
        """The members of a group."""
        if name not in self.members:
            self.members[name] = members(name) if name in self.names else {}
        return self.members[name]

    def find(self, path: str) -> Path | None:
        """The file of `device/ecram`, or of a recipe beside the one that is composed."""
        group, slash, name = path.removesuffix(".yaml").partition("/")
        if slash:
            return self.group(group).get(name, [None])[0]
        sibling = self.folder / f"{group}.yaml"
        return sibling if group != PRIMARY and sibling.is_file() else None


LIBRARY: ContextVar[Library] = ContextVar("what the composition in progress may read")


@contextlib.contextmanager
def recipe_folder(folder: Path) -> Iterator[str]:
    """The place to give to Hydra's search path while a recipe in `folder` is composed."""
    from hydra.core.plugins import Plugins

    Plugins.instance().register(_source())
    token = LIBRARY.set(Library(folder))
    try:
        yield f"{SCHEME}://members"
    finally:
        LIBRARY.reset(token)


@functools.cache
def _source() -> type[Any]:
    from hydra.core.object_type import ObjectType
    from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
    from omegaconf import OmegaConf

    class Members(ConfigSource):
        """The questions that Hydra asks of a place of its search path."""

        @staticmethod
        def scheme() -> str:
            return SCHEME

        def load_config(self, config_path: str) -> ConfigResult:
            path = LIBRARY.get().find(config_path)
            if path is None:
                raise ConfigLoadError(f"there is no member {config_path}")
            member = read_member(path)
            header: dict[str, str | None] = {"package": member.package or None}
            # A recipe on which another one builds is written like any other.
            is_recipe = "/" not in config_path
            values = spelled_out(path, member.values) if is_recipe else member.values
            made = OmegaConf.create(values)
            return ConfigResult(
                provider=self.provider,
                path=self.full_path(),
                config=made,
                header=header,
            )

        def available(self) -> bool:
            return True

        def is_group(self, config_path: str) -> bool:
            return config_path in ("", *LIBRARY.get().names)

        def is_config(self, config_path: str) -> bool:
            return LIBRARY.get().find(config_path) is not None

        def list(
            self, config_path: str, results_filter: ObjectType | None
        ) -> list[str]:
            return sorted(
                LIBRARY.get().group(config_path) if config_path else LIBRARY.get().names
            )

    return Members
