"""Which settings of `run.cluster` a recipe may hold: sizes and names. All others need the user's
permission, since submitit and Ray can be told to run commands, and results of a foreign cluster
are unpickled here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.readers.wording import nearest_of
from engine.trust.code import code_permitted, refusal

SLURM = (
    *(
        "account",
        "comment",
        "constraint",
        "cpus_per_gpu",
        "cpus_per_task",
        "dependency",
    ),
    *(
        "exclude",
        "exclusive",
        "gpus_per_node",
        "gpus_per_task",
        "gres",
        "mem",
        "mem_per_cpu",
    ),
    *("mem_per_gpu", "nodelist", "partition", "qos", "signal_delay_s", "time", "wckey"),
)
HARMLESS: Mapping[str, tuple[str, ...]] = {
    "submitit": (
        *(
            "cluster",
            "name",
            "timeout_min",
            "mem_gb",
            "nodes",
            "cpus_per_task",
            "gpus_per_node",
        ),
        *("tasks_per_node", "stderr_to_stdout", *(f"slurm_{name}" for name in SLURM)),
    ),
    "ray": ("address", "num_cpus", "num_gpus", "memory", "resources"),
}
# A cluster of submitit, and Ray's on this machine or the one that its own variables name.
CHOICES: Mapping[str, tuple[str, ...]] = {
    "cluster": ("slurm", "local"),
    "address": ("auto", "local"),
}
ACTS = "may run commands or the code of others"


def check_cluster(
    run: Mapping[str, Any], where: Callable[[str], str], granted: bool | None = None
) -> None:
    """Refuse settings that act like code, unless that was permitted; `where` says for a key where
    it stands. Raises UserError."""
    known = HARMLESS.get(str(run.get("executor")))
    if known is None or (code_permitted() if granted is None else granted):
        return
    for key, value in dict(run.get("cluster") or {}).items():
        if key not in known or not _harmless(key, value):
            choices = CHOICES.get(key) or [*filter(None, [nearest_of(key, known)])]
            hint = f" (nearest: {', '.join(choices)})" if choices else ""
            name = f"run.cluster.{key}"
            raise refusal(f"{name}={value!r}", f"{hint}{where(name)}", ACTS)


def _harmless(key: str, value: Any) -> bool:
    if key in CHOICES:
        return value in CHOICES[key]
    if key == "resources":
        return isinstance(value, Mapping) and all(
            map(_plain, (*value, *value.values()))
        )
    return _plain(value)


def _plain(value: Any) -> bool:
    """A number, or a text of one line: what follows a line break in a script of Slurm is a
    command."""
    return isinstance(value, bool | int | float) or (
        isinstance(value, str) and value.isprintable()
    )
