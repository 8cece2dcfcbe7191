"""The empty folder and the command line of the tests of commands."""

from tests.cli.conftest import aihw, folder

__all__ = ["aihw", "folder"]
