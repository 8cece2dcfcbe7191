"""Whether a recorded run may go on, with which settings, and what is noted about it.

What decides the result must be as it was: configuration, data, weights and physics are refused if
they changed, another program needs permission. What does not decide the result is taken from the
command that goes on: where data lie, threads, checkpoints, logs, and the settings of inference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.experiment.identity import LEFT_OUT, MEANINGS, identity_parts
from engine.experiment.identity.program import changed_since, stretch
from engine.experiment.runs import RunFolder
from engine.readers.run_files import damaged
from engine.readers.wording import first_line
from engine.settings import UserError

# Of what does not decide a result: where the run lies, and who does it, is known from elsewhere.
KNOWN = ("seed", "dir", "executor", "cluster", "start", "weights")
# The section that a training records for a later evaluation.
INFERENCE = "inference"


def check_identity(
    folder: Path,
    record: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    changed_program: bool,
) -> None:
    """A result under the recorded hash must come from what the hash was made of. Raises
    UserError."""
    before = record.get("identity")
    if before is None:
        # The hash of the first version held file names and comments: it cannot be made again.
        allow(folder, changed_since(record), changed_program=changed_program)
        return
    # Part by part, so that the line can say what changed.
    try:
        now = identity_parts(config)
    except (KeyError, TypeError, AttributeError) as problem:
        raise damaged(
            folder / "config.yaml", f"it lacks {first_line(problem)}"
        ) from problem
    changed = [
        MEANINGS.get(key, key)
        for key in now | before
        if now.get(key) != before.get(key)
    ]
    if changed:
        raise UserError(
            f"{folder} cannot go on: {', '.join(changed)} changed since it began; "
            "start it anew with aihw train: that makes a new run folder"
        )


def allow(folder: Path, changes: list[str], *, changed_program: bool) -> None:
    """Refuse to mix two programs in one result unless that is asked for. Raises UserError."""
    if changes and not changed_program:
        raise UserError(
            f"{folder} was not begun by this program: {'; '.join(changes)}\n"
            f"go on with it nevertheless: aihw resume {folder} --changed-program; "
            "or start it anew: aihw train ... --again"
        )


def note_program(
    run: RunFolder, changes: list[str], *, place: tuple[int, int], continued: bool
) -> None:
    """Record in run.json from which epoch and step on this program does the run. Nothing of an
    earlier program is left in a run that is not `continued` but starts anew."""
    if not changes:
        return
    earlier = run.record.get("stretches") or [
        {"epoch": 0, "step": 0, "commit": run.record.get("commit", ""), "engine": ""}
    ]
    run.update(stretches=[*(earlier if continued else []), stretch(*place)])
    run.log(f"the program changed: {'; '.join(changes)}")


def free_keys() -> list[str]:
    """Keys that may change when a run goes on, because they decide nothing of its result."""
    return [
        f"{section}.{key}"
        for section, keys in LEFT_OUT.items()
        for key in keys
        if key not in KNOWN
    ]


def altered(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Keys that decide no result and differ between two configurations of one run, each with both
    values: `run.threads is now 2 (was 1)`."""
    found = []
    for name in free_keys():
        section, _, key = name.partition(".")
        old, new = before.get(section) or {}, after.get(section) or {}
        if key in new and new[key] != old.get(key):
            found.append(f"{name} is now {new[key]!r} (was {old.get(key)!r})")
    return found


def altered_inference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The settings of inference that differ, which only a later evaluation uses."""
    return sorted(
        _unequal(before.get(INFERENCE) or {}, after.get(INFERENCE) or {}, INFERENCE)
    )


def _unequal(before: Any, after: Any, key: str) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys([*before, *after]):
            yield from _unequal(before.get(name), after.get(name), f"{key}.{name}")
    elif before != after:
        yield key
