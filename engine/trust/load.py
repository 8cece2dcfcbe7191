"""Python code of the user's: read once, with permission, and its errors told in one line.

A name is `path/to/file.py:Name`, or `package.module:Name` for what can be imported. Whatever the
code raises becomes a CodeError that says in which line of the user's file it was raised."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType

from engine.settings import UserError, user_path
from engine.trust.code import check_code, loaded_code
from engine.trust.files import read_bytes
from engine.trust.text import visible

# How the names of modules begin that were read from files.
PREFIX = "aihw_user_"
# Folders of installed packages; their files are known by the version of the package.
INSTALLED = ("site-packages", "dist-packages")
LENGTH = 12


class CodeError(UserError):
    """The user's own code failed: the message points into it, `__cause__` is what it raised."""


@dataclass(frozen=True)
class Code:
    """A module of the user's, and the file that it stands in."""

    module: ModuleType
    path: Path


def load_code(name: str, what: str) -> Code:
    """The module that `name` names, run unless it was under the permission that holds now. `what`
    it should hold is for messages. Raises UserError without permission, CodeError for code that fails."""
    check_code(name)
    where, _, _ = name.partition(":")
    if where.endswith(".py"):
        return _from_file(user_path(where).resolve(), what)
    return _from_package(where, what)


def is_code_file(name: object) -> bool:
    """Whether a name means code in a file, and not in a module that is found by its dotted name."""
    return isinstance(name, str) and name.partition(":")[0].endswith(".py")


def shown_name(name: str) -> str:
    """A name in a message: that of a file without its folders."""
    where, mark, attribute = name.partition(":")
    return Path(where).name + mark + attribute if where.endswith(".py") else name


@contextmanager
def user_code(path: Path, what: str) -> Iterator[None]:
    """What is done meanwhile calls code of the file at `path`: it finds the modules beside that
    file, and what it raises is told with the line of the file. Raises CodeError."""
    with _also_from(path.parent):
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if _out_of_memory(error):
                raise
            raise told(error, path, what) from error


@contextmanager
def _also_from(folder: Path) -> Iterator[None]:
    """Modules of a folder are found meanwhile; none of them hides an installed one."""
    name = str(folder)
    sys.path.append(name)
    try:
        yield
    finally:
        # The last one: the user may have put the same folder further up.
        if name in sys.path:
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(name)]


def told(error: Exception, path: Path, what: str) -> CodeError:
    """The line for what code at `path` raised: the innermost line of the user's, kind, message."""
    if isinstance(error, SyntaxError):
        file, message = Path(error.filename or path).name, error.msg
        return CodeError(
            f"{what}: {file} line {error.lineno}: SyntaxError: {visible(message)}"
        )
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    message = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return CodeError(f"{what}: {_place(error.__traceback__, path)}: {visible(message)}")


def in_full(error: UserError) -> str:
    """What a log keeps of an error: that of the user's code with its traceback."""
    if not isinstance(error, CodeError) or error.__cause__ is None:
        return str(error)
    lines = "".join(traceback.format_exception(error.__cause__)).rstrip()
    return f"{error}\n{lines}"


def code_files(name: str) -> tuple[Path, list[Path]]:
    """The files whose text decides what the code of `name` does: its own first, then the modules
    that lie beside it and are imported, and the folder that their names are relative to.

    An installed package counts by its version instead."""
    code = load_code(name, "code")
    where, _, _ = name.partition(":")
    if where.endswith(".py"):
        home = code.path.parent
    else:
        home = code.path.parents[where.count(".") + (code.path.name == "__init__.py")]
    if set(INSTALLED) & set(home.parts):
        return home, [code.path]
    return home, _with_imports(code.path, home)


def _from_file(path: Path, what: str) -> Code:
    if not path.is_file():
        raise UserError(f"no {what} file {visible(path)}")
    try:
        text = read_bytes(path)
    except OSError as problem:
        raise UserError(
            f"{visible(path)} cannot be read: {problem.strerror or problem}"
        ) from None
    digest = hashlib.sha256(str(path).encode() + b"\0" + text).hexdigest()[:LENGTH]
    known = loaded_code()
    if digest in known:
        return known[digest]  # type: ignore[no-any-return]
    name = f"{PREFIX}{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{visible(path)} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses and annotations of the file look for its names.
    sys.modules[name] = module
    try:
        with user_code(path, str(path)):
            spec.loader.exec_module(module)
            _check_imports(path)
    except BaseException:
        del sys.modules[name]
        raise
    known[digest] = Code(module, path)
    return known[digest]  # type: ignore[no-any-return]


def _from_package(name: str, what: str) -> Code:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(
            f"{visible(name)} is neither a .py file nor the dotted name of a module"
        )
    try:
        with _also_from(Path.cwd()):
            module = importlib.import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name and name.startswith(problem.name):
            raise UserError(
                f"there is no module {visible(name)} with a {what}; install it, go to the folder "
                "that holds it, or name its file (path/to/file.py:Name)"
            ) from None
        raise told(problem, Path(name), name) from problem
    except Exception as problem:
        raise told(problem, Path.cwd() / name, name) from problem
    if not getattr(module, "__file__", None):
        raise UserError(f"{visible(name)} is no module with a file")
    return Code(module, Path(str(module.__file__)).resolve())


def _place(trace: TracebackType | None, path: Path) -> str:
    """File, line and function of the innermost frame that is the user's own."""
    home = path.parent
    frames = [
        frame
        for frame in traceback.extract_tb(trace)
        if Path(frame.filename).is_relative_to(home)
        and not set(INSTALLED) & set(Path(frame.filename).parts)
    ]
    if not frames:
        return path.name
    last = frames[-1]
    inside = "" if last.name == "<module>" else f" in {last.name}"
    return f"{Path(last.filename).name} line {last.lineno}{inside}"


def _out_of_memory(error: Exception) -> bool:
    """No fault of the user's code: the program has words of its own for it."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _with_imports(first: Path, home: Path) -> list[Path]:
    """A file and the files below `home` that it imports, in turn."""
    found = [first]
    for path in found:
        try:
            tree = ast.parse(read_bytes(path, follow=True))
        except (SyntaxError, ValueError, OSError):
            continue  # loading it has said, or will say, what is wrong with it
        for target in _imported(tree, path, home):
            found += [file for file in _files_of(target, home) if file not in found]
    return found


def _imported(tree: ast.AST, path: Path, home: Path) -> Iterator[tuple[str, ...]]:
    """The names of modules that a file imports, as parts of their paths below `home`."""
    package = path.parent.relative_to(home).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = (*above, *(node.module or "").split(".")) if node.module else above
            yield base
            # A name that is taken from a package may be one of its modules.
            yield from ((*base, alias.name) for alias in node.names)


def _files_of(parts: tuple[str, ...], home: Path) -> Iterator[Path]:
    """The files below `home` that importing a module runs: those of its packages, and its own."""
    for count in range(1, len(parts) + 1):
        place = home.joinpath(*parts[:count])
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                yield file


def _check_imports(path: Path) -> None:
    """Refuse a file that got another module than the one of that name beside it, which its hash
    would count. Raises CodeError."""
    for file in _with_imports(path, path.parent)[1:]:
        top = file.relative_to(path.parent).with_suffix("").parts
        name = ".".join(top[:-1] if top[-1] == "__init__" else top)
        origin = getattr(sys.modules.get(name), "__file__", None)
        if origin and Path(origin).resolve() != file.resolve():
            raise CodeError(
                f"{path.name} imports {name}, which is {visible(origin)} and not the file of that "
                "name beside it: give that file another name"
            )
