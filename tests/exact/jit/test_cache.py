"""The cache of compiled kernels: private, healed where it is damaged, each kernel made once; and
compilers that do not do what compilers do."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.jit import cache, cpu
from engine.settings import UserError
from engine.trust import files

TEXT = 'extern "C" int answer(void) { return 42; }'
VERSION = 'if [ "$1" = --version ]; then echo "script 1.0"; exit 0; fi\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no compiler of another test."""
    monkeypatch.setenv("AIHW_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AIHW_CXX", raising=False)
    cpu.compiler.cache_clear()
    yield tmp_path / "cache" / "cpu"
    cpu.compiler.cache_clear()


def use(
    monkeypatch: pytest.MonkeyPatch, path: Path, body: str, head: str = "#!/bin/sh\n"
) -> Path:
    """A script as the compiler. It counts its calls in a file beside it."""
    path.write_text(f"{head}{VERSION}echo >> '{path}.calls'\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setenv("AIHW_CXX", f"'{path}'")
    cpu.compiler.cache_clear()
    return path


def calls(path: Path) -> int:
    """How often the script was asked to compile."""
    count = Path(f"{path}.calls")
    return count.read_text().count("\n") if count.exists() else 0


def answer(path: Path) -> int:
    """What the library says, loaded in a process of its own."""
    code = f"import ctypes; print(ctypes.CDLL({str(path)!r}).answer())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_many_that_need_a_kernel_at_once_compile_it_once(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = use(monkeypatch, tmp_path / "slow", 'sleep 0.3; exec c++ "$@"')
    found: list[Path] = []
    workers = [
        threading.Thread(target=lambda: found.append(cpu.build(TEXT))) for _ in range(8)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 8 and len(set(found)) == 1
    assert calls(script) == 1 and answer(found[0]) == 42


def test_the_lock_holds_between_processes(home: Path) -> None:
    files.private_folder(home)
    script = "\n".join(
        [
            "import time; from pathlib import Path; from engine.jit import cache",
            f"with cache._alone(Path({str(home)!r}), 'a'):",
            "    print('held', flush=True); time.sleep(0.5)",
        ]
    )
    words = [sys.executable, "-c", script]
    root = Path(__file__).parents[3]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=root) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        begun = time.monotonic()
        with cache._alone(home, "a"):
            waited = time.monotonic() - begun
    assert waited > 0.3


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").write_text("x")


def link_instead(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut,
    "text": lambda path: path.write_text("hello"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"),
    "gone": lambda path: path.unlink(),
    "folder": folder_instead,
    "link": link_instead,
    "dangling link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "checksum gone": lambda path: cache._beside(path).unlink(),
    "checksum cut": lambda path: cut(cache._beside(path)),
    "writable by all": lambda path: path.chmod(0o666),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_damaged_is_made_anew(home: Path, damage) -> None:
    path = cpu.build(TEXT)
    damage(path)
    assert not cache.is_whole(path)
    assert cpu.build(TEXT) == path and cache.is_whole(path) and answer(path) == 42
    assert path.is_file() and not path.is_symlink()


def test_what_is_whole_is_not_made_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cpu.build(TEXT)
    monkeypatch.setattr(cpu, "_compiled", lambda *_: pytest.fail("compiled again"))
    assert cpu.build(TEXT) == path


def test_folder_and_files_are_private_whatever_the_umask(home: Path) -> None:
    before = os.umask(0)
    try:
        path = cpu.build(TEXT)
    finally:
        os.umask(before)
    for folder in (home, home.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_others_may_write_to_is_closed_and_what_they_put_there_ignored(
    home: Path,
) -> None:
    path = cpu.build(TEXT)
    home.chmod(0o777)
    path.write_bytes(b"theirs")
    path.chmod(0o777)
    assert answer(cpu.build(TEXT)) == 42
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(home: Path) -> None:
    path = cpu.build(TEXT)
    os.chown(home, 65534, 65534)
    with pytest.raises(UserError, match=r"belongs to another user.*set AIHW_CACHE"):
        cpu.build(TEXT)
    os.chown(home, 0, 0)
    os.chown(path, 65534, 65534)
    assert not cache.is_whole(path) and answer(cpu.build(TEXT)) == 42


def test_a_link_in_the_place_of_the_folder_is_refused(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    home.parent.mkdir()
    home.symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match="it is a link"):
        cpu.build(TEXT)


def test_leftovers_of_killed_processes_are_removed(home: Path) -> None:
    path = cpu.build(TEXT)
    letter = path.name[0]
    left = [
        home / f"tmp-{letter}-abc",
        home / f"{letter}0.so.unfinished",
        home / "tmpold",
    ]
    for place in (left[0], left[2]):
        place.mkdir()
        (place / "kernel.cpp").write_text("x")
    left[1].write_text("x")
    os.utime(left[2], (0, 0))
    busy = (
        home / f"tmp-{'b' if letter == 'a' else 'a'}-abc"
    )  # of a process that has another lock
    busy.mkdir()
    path.unlink()
    cpu.build(TEXT)
    assert not any(place.exists() for place in left) and busy.exists()
    assert not list(home.glob(f"tmp-{letter}-*"))


def test_no_home_and_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIHW_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"Not a directory.*set AIHW_CACHE"):
        cpu.build(TEXT)
    monkeypatch.delenv("AIHW_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(
        Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home"))
    )
    with pytest.raises(UserError, match=r"no home folder.*set AIHW_CACHE"):
        cpu.build(TEXT)


def test_a_file_system_without_programs_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise OSError("failed to map segment from shared object")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    real = os.statvfs

    def noexec(path: Path) -> os.statvfs_result:
        fields = list(real(path))
        fields[8] |= os.ST_NOEXEC
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", noexec)
    with pytest.raises(UserError, match=r"noexec.*set AIHW_CACHE"):
        cpu.Library(TEXT, team=False)


WRONG = {
    "an error": ('echo "$8.cpp:3:4: error: nonsense" >&2; exit 1', "nonsense"),
    "nothing": ("exit 3", "ended with exit code 3 and said nothing"),
    "killed": ("kill -9 $$", "killed by SIGKILL"),
    "no file": ("exit 0", "made no library"),
    "an empty file": (
        'while [ "$1" != -o ]; do shift; done; : > "$2"',
        "made no library",
    ),
    "rubbish": (
        'while [ "$1" != -o ]; do shift; done; echo rubbish > "$2"',
        "made no library",
    ),
    "half": (
        'c++ "$@"; while [ "$1" != -o ]; do shift; done; truncate -s 5000 "$2"',
        "made half a library",
    ),
    "a folder": ('while [ "$1" != -o ]; do shift; done; mkdir "$2"', "made no library"),
    "a megabyte": ('head -c 1000000 /dev/zero | tr "\\0" x >&2; exit 1', "xxx"),
}


@pytest.mark.parametrize("body, told", WRONG.values(), ids=WRONG)
def test_a_compiler_that_does_something_else(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, told: str
) -> None:
    use(monkeypatch, tmp_path / "script", body)
    with pytest.raises(cpu.CompileError) as caught:
        cpu.build(TEXT)
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert not list(home.glob("*.so")) and not list(home.glob("tmp-*"))


def test_a_library_that_cannot_be_loaded_is_not_kept(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(
        monkeypatch, tmp_path / "script", 'c++ "$@" -Wl,--unresolved-symbols=ignore-all'
    )
    text = 'extern "C" int missing(void); extern "C" int answer(void) { return missing(); }\nint (*f)(void) = missing;'
    with pytest.raises(cpu.CompileError, match="cannot be loaded"):
        cpu.Library(text, team=False)
    assert not any(map(cache.is_whole, home.glob("*.so")))


def test_a_compiler_that_hangs_is_ended_with_all_its_programs(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "COMPILE_SECONDS", 0.3)
    use(
        monkeypatch, tmp_path / "script", f"sleep 60 & echo $! > '{tmp_path}/pid'; wait"
    )
    begun = time.monotonic()
    with pytest.raises(UserError, match="did not end within"):
        cpu.build(TEXT)
    assert time.monotonic() - begun < 20
    state = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_compiler_that_hangs_when_it_is_asked_for_its_version(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "ANSWER_SECONDS", 0.3)
    use(monkeypatch, tmp_path / "asleep", "", head="#!/bin/sh\nsleep 60\n")
    with pytest.raises(UserError, match="did not end within"):
        cpu.build(TEXT)


@pytest.mark.parametrize("head", ["#!/no/such/shell\n", "\x7fELF\x00\x00"])
def test_a_compiler_that_cannot_be_started(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    use(monkeypatch, tmp_path / "script", "", head=head)
    with pytest.raises(UserError, match="cannot be run"):
        cpu.build(TEXT)


@pytest.mark.parametrize("value", ["/etc", "'", "  ", "/etc/passwd"])
def test_what_is_no_compiler_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("AIHW_CXX", value)
    cpu.compiler.cache_clear()
    with pytest.raises(UserError, match="AIHW_CXX"):
        cpu.build(TEXT)


def test_a_blank_in_the_path_of_a_compiler(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my compilers").mkdir()
    script = use(monkeypatch, tmp_path / "my compilers" / "cxx", 'exec c++ "$@"')
    monkeypatch.setenv("AIHW_CXX", str(script))
    cpu.compiler.cache_clear()
    assert answer(cpu.build(TEXT)) == 42 and calls(script) == 1


def test_a_compiler_may_lie_in_the_current_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tmp_path / "cxx", 'exec c++ "$@"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIHW_CXX", "./cxx")
    cpu.compiler.cache_clear()
    assert answer(cpu.build(TEXT)) == 42 and calls(tmp_path / "cxx") == 1


def test_without_locks_each_process_compiles_and_nothing_of_others_is_removed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    path = cpu.build(TEXT)
    other = home / f"tmp-{path.name[0]}-of-another-process"
    other.mkdir()
    path.unlink()
    monkeypatch.setattr(files, "lock", refuse)
    assert answer(cpu.build(TEXT)) == 42 and other.exists()
