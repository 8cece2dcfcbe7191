"""`aihw doctor`: what this machine has, which backend is active and why, what would make it faster."""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from aihw_cli.arguments import Arguments, Command, Option
from engine.settings import cache_dir, compiler_command, data_dirs

PACKAGES = ("aihw", "torch", "torchvision", "hydra-core", "omegaconf", "numpy", "rich", "scikit-learn", "safetensors",
            "ziglang", "cupy-cuda12x", "cupy-cuda13x")  # fmt: skip
DRIVER_FILE = Path("/proc/driver/nvidia/version")
DRIVER_OF_CUDA13 = 580


def doctor(arguments: Arguments) -> int:
    """Print the findings; problems come with what helps."""
    findings = examine()
    if arguments.has("--json"):
        print(json.dumps(findings, indent=1))
        return 0
    for title, found in findings.items():
        if isinstance(found, dict):
            print(f"{title}:")
            for key, value in found.items():
                print(f"  {key:<14}{value}")
        elif isinstance(found, list):
            print(f"{title}:")
            print("\n".join(f"  {line}" for line in found) or "  none")
        else:
            print(f"{title}: {found}")
    return 0


def examine() -> dict[str, Any]:
    """Everything that `aihw doctor` says."""
    driver = driver_version()
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "Python": f"{platform.python_version()} ({sys.executable})",
        "versions": {name: version(name) for name in PACKAGES},
        "compiler": compiler(),
        "GPU driver": driver or "none found",
        "backends": backends(),
        "cache": str(cache_dir()) + ("" if writable(cache_dir()) else " (not writable: kernels cannot be kept)"),
        "data folders": [str(folder) for folder in data_dirs()],
        "advice": advice(driver),
    }


def version(package: str) -> str:
    """The installed version of a package, without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


def compiler() -> str:
    """The C++ compiler that the CPU backend would take."""
    wanted = compiler_command()
    for name in (wanted,) if wanted else ("c++", "clang++"):
        path = shutil.which(name.split()[0]) if name else None
        if path:
            return f"{path} ({_first_line([path, '--version'])})"
    if not wanted and version("ziglang") != "-":
        return f"ziglang {version('ziglang')}"
    return "none"


def driver_version() -> str:
    """Version of the NVIDIA driver, from the kernel module or nvidia-smi; empty if there is none."""
    if DRIVER_FILE.is_file():
        found = re.search(r"\s(\d+\.\d+[.\d]*)\s", DRIVER_FILE.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[1]
    smi = shutil.which("nvidia-smi")
    text = _first_line([smi, "--query-gpu=driver_version", "--format=csv,noheader"]) if smi else ""
    return text if re.match(r"\d+\.", text) else ""


def backends() -> dict[str, str]:
    """Which backends work and why, in the engine's words."""
    try:
        found = importlib.import_module("engine.jit").backends()
    except (ImportError, AttributeError) as error:
        return {"cpu": f"unknown: {error}"}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {"": str(found)}


def advice(driver: str) -> list[str]:
    """What to install for what is missing."""
    lines = []
    if compiler() == "none":
        lines.append("no C++ compiler: apt install g++, or without root: pip install 'aihw[compiler]'")
    if driver:
        extra = "cuda13" if int(driver.partition(".")[0]) >= DRIVER_OF_CUDA13 else "cuda12"
        package = f"cupy-{extra}x"
        if version(package) == "-":
            lines.append(f"the GPU needs CuPy: pip install 'aihw[{extra}]' (driver {driver})")
        for other in {"cupy-cuda12x", "cupy-cuda13x"} - {package}:
            if version(other) != "-":
                lines.append(f"{other} is installed beside what fits the driver: pip uninstall {other}")
    if sys.platform != "linux":
        lines.append("only Linux x86-64 is tested")
    return lines


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder that may not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.splitlines() or [""])[0].strip()


COMMANDS = (
    Command(
        "doctor",
        "versions, compiler, GPU, which backend is active and why",
        "aihw doctor [--json]",
        (("aihw doctor", "what works here and what to install"), ("aihw doctor --json", "for a bug report")),
        doctor,
        (Option("--json", "as JSON"),),
    ),
)
