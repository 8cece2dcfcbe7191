"""`python -m aihw_cli` is `aihw`."""

import os
import sys

HOME = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def without_current_folder(path: list[str]) -> list[str]:
    """A search path for modules without the current folder, which `python -m` puts first: a file
    torch.py or yaml.py in a stranger's folder would run in place of the library."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = ""
    # In a checkout the current folder is where our own packages are.
    if here and os.path.realpath(here) == HOME:
        return path
    return [entry for entry in path if entry not in ("", here)]


if __name__ == "__main__":
    # Before anything of ours is imported, since that imports the libraries.
    sys.path[:] = without_current_folder(sys.path)
    from aihw_cli.main import main

    sys.exit(main())
