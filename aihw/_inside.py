"""Loads the `engine` that was installed with this package, whatever lies in the working directory.

`engine` is a common name: a script that is run beside a folder of this name would get that one."""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
NAME = "engine"


def load() -> None:
    """Puts our package under its name. Raises ImportError if another one has the name already."""
    start = HOME / NAME / "__init__.py"
    loaded = sys.modules.get(NAME)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        if file and Path(file).resolve() == start:
            return
        raise ImportError(
            f"aihw needs its own package {NAME!r}, but another one of this name was imported before "
            f"({file or 'a folder without __init__.py'}): import aihw first, or rename that one"
        )
    found = importlib.util.spec_from_file_location(
        NAME, start, submodule_search_locations=[str(start.parent)]
    )
    if found is None or found.loader is None:
        raise ImportError(f"the installation of aihw lacks {start}: install it again")
    package = importlib.util.module_from_spec(found)
    sys.modules[NAME] = package
    found.loader.exec_module(package)


def version() -> str:
    """The version of the installed distribution; a checkout that is only on the path has none."""
    try:
        return metadata.version("aihw")
    except metadata.PackageNotFoundError:
        return "(not installed)"


load()
