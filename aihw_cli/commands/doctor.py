"""`aihw doctor`: what this machine has, which backend is active and why, what would make it
faster."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from importlib import metadata
from typing import Any

from aihw_cli.arguments import Arguments, Command, Option
from aihw_cli.output import say, say_json
from engine.settings import UserError, data_dirs

PACKAGES = ("aihw", "torch", "torchvision", "hydra-core", "omegaconf", "numpy", "rich", "scikit-learn", "safetensors",
            "ziglang", "cupy-cuda12x", "cupy-cuda13x")  # fmt: skip
CUDA13 = 13000
# The largest compiled kernel.
NEEDED_BYTES = 1 << 20


def doctor(arguments: Arguments) -> int:
    """Print the findings; problems come with what helps."""
    findings = examine()
    if arguments.has("--json"):
        say_json(findings, indent=1)
        return 0
    for title, found in findings.items():
        if isinstance(found, dict):
            say(f"{title}:")
            for key, value in found.items():
                say(f"  {key:<16}{value}")
        elif isinstance(found, list):
            say(f"{title}:")
            say("\n".join(f"  {line}" for line in found) or "  none")
        else:
            say(f"{title}: {found}")
    return 0


def examine() -> dict[str, Any]:
    """Everything that `aihw doctor` says."""
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "Python": f"{platform.python_version()} ({sys.executable})",
        "versions": {name: version(name) for name in PACKAGES},
        "compiler": compiler(),
        "GPU driver": driver(),
        "backends": backends(),
        "cache": kernel_cache(),
        "data folders": [str(folder) for folder in data_dirs()],
        "advice": advice(),
    }


def version(package: str) -> str:
    """The installed version of a package, without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


def compiler() -> str:
    """The C++ compiler of the CPU backend, or how to get one."""
    from engine.jit import cpu

    try:
        command = cpu.compiler()
        said = cpu.version(command)
    except UserError as error:
        return f"none: {error}"
    return f"{' '.join(command)} ({(said.splitlines() or ['it does not say its version'])[0]})"


def backends() -> dict[str, str]:
    """Which backend works and why, and which one a run takes by itself."""
    from engine.jit import cuda

    usable, why = cuda.available()
    working = not compiler().startswith("none")
    active = "cuda" if usable else "cpu" if working else "neither"
    return {
        "cpu": "works" if working else "does not work: there is no compiler",
        "cuda": f"works: {why}" if usable else f"does not work: {why}",
        "run.device=auto": f"takes {active}",
    }


def kernel_cache() -> str:
    """Where compiled kernels are kept, and what is wrong with that place."""
    from engine.jit import cache, cpu

    try:
        home = cache.folder(cpu.KIND)
        with cache.usable(home), tempfile.TemporaryFile(dir=home) as file:
            file.write(bytes(NEEDED_BYTES))
            file.flush()
    except UserError as error:
        return f"does not work: {error}"
    if os.statvfs(home).f_flag & os.ST_NOEXEC:
        return f"does not work: {home} is on a file system that runs no programs (noexec): set AIHW_CACHE"
    kept = [path for path in home.iterdir() if path.suffix == ".so"]
    damaged = len([path for path in kept if not cache.is_whole(path)])
    healed = (
        f", {damaged} without a fitting checksum: made anew when needed"
        if damaged
        else ""
    )
    return f"{home.parent} ({len(kept)} kernels of the CPU{healed})"


def driver() -> str:
    """The NVIDIA driver, by the newest CUDA that it serves, and the extra that fits it."""
    from engine.jit import cuda

    version_number = cuda.driver_version()
    if version_number is None:
        return "none found"
    return f"serves CUDA {version_number // 1000}.{version_number % 1000 // 10}; the extra that fits is {extra()}"


def extra() -> str:
    """The extra that brings CuPy for the driver of this machine; empty without a driver."""
    from engine.jit import cuda

    version_number = cuda.driver_version()
    return (
        ""
        if version_number is None
        else "cuda13"
        if version_number >= CUDA13
        else "cuda12"
    )


def advice() -> list[str]:
    """What to install for what is missing, and what stands in the way."""
    lines = []
    fitting = extra()
    if fitting:
        packages = {f"cupy-{name}x" for name in ("cuda12", "cuda13")}
        if version(f"cupy-{fitting}x") == "-":
            lines.append(f"the GPU needs CuPy: pip install 'aihw[{fitting}]'")
        for other in sorted(packages - {f"cupy-{fitting}x"}):
            if version(other) != "-":
                lines.append(f"{other} does not fit the driver: pip uninstall {other}")
    if sys.platform != "linux" or platform.machine() != "x86_64":
        lines.append("only Linux on x86-64 is tested")
    return lines


COMMANDS = (
    Command(
        "doctor",
        "versions, compiler, GPU, which backend is active and why",
        "aihw doctor [--json]",
        (
            ("aihw doctor", "what works here and what to install"),
            ("aihw doctor --json", "for a bug report"),
        ),
        doctor,
        (Option("--json", "as JSON"),),
    ),
)
