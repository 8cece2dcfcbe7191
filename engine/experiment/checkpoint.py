"""Checkpoints: tensors in safetensors, the rest in json; nothing pickled, each either whole or not
there.

checkpoint/EPOCH-BATCH/ holds `tensors.safetensors` and `state.json`, which carries the checksum of
the former and its own. The folder is written under another name, synced and renamed; the one before
it stays as a reserve."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.readers.json_text import parse_json
from engine.readers.wording import first_line
from engine.settings import UserError
from engine.trust import files
from engine.trust.files import UNFINISHED, remove_tree, sync_folder
from engine.trust.text import visible

if TYPE_CHECKING:
    import torch

# Folders of a run: where it goes on, and its best epoch so far.
LAST, BEST = "checkpoint", "best"
FORMAT = 1
KEEP = 2
TENSORS, STATE = "tensors.safetensors", "state.json"
PLACE = re.compile(r"\d{6}-\d{9}")


class Damaged(Exception):
    """A checkpoint that is not whole; the message says why."""


def save_checkpoint(
    folder: Path,
    place: tuple[int, int],
    *,
    tensors: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
) -> None:
    """Write the checkpoint of `place` (epochs, batches) below `folder` and drop needless ones.
    Raises OSError."""
    from safetensors.torch import save

    content = save({name: _copy(tensor) for name, tensor in tensors.items()})
    body = {
        "format": FORMAT,
        "sha256": _digest(content),
        "bytes": len(content),
        "state": dict(state),
    }
    final = folder / f"{place[0]:06d}-{place[1]:09d}"
    temporary = final.with_name(final.name + UNFINISHED)
    try:
        files.make_folder(folder)
        for left in files.folders_in(folder):
            if left.name.endswith(UNFINISHED):
                remove_tree(left)
        temporary.mkdir()
        files.write_new(temporary / TENSORS, content)
        files.write_new(temporary / STATE, _signed(body))
        sync_folder(temporary)
        _put(temporary, final)
        sync_folder(folder)
    except OSError:
        remove_tree(temporary)
        raise
    for old in _finished(folder)[KEEP:]:
        remove_tree(old)


def load_checkpoint(
    folder: Path,
) -> tuple[dict[str, torch.Tensor], dict[str, Any], list[str]] | None:
    """Tensors and state of the newest whole checkpoint, and a line for each newer, damaged one;
    None without any.

    Raises UserError if there are checkpoints and none is whole.
    """
    if folder.is_symlink():
        raise UserError(f"{visible(folder)}: {files.LINK}")
    paths = _finished(folder)
    problems: list[str] = []
    for path in paths:
        try:
            tensors, state = _read(path)
            return tensors, state, problems
        except Damaged as problem:
            problems.append(f"checkpoint {path} is not used: {problem}")
    if problems:
        hint = f"delete {folder}, and training starts anew"
        raise UserError(f"no usable checkpoint; {problems[0]}; {hint}")
    return None


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    """Contiguous on the CPU with memory of its own: safetensors refuses views and shared memory."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _put(temporary: Path, final: Path) -> None:
    """Rename into place. A damaged checkpoint of the same place, passed over on resume, makes
    way."""
    if final.exists():
        aside = final.with_name(final.name + ".replaced" + UNFINISHED)
        remove_tree(aside)
        os.rename(final, aside)
        os.rename(temporary, final)
        remove_tree(aside)
    else:
        os.rename(temporary, final)


def _finished(folder: Path) -> list[Path]:
    """Finished checkpoints, newest first."""
    return sorted(
        (p for p in files.folders_in(folder) if PLACE.fullmatch(p.name)), reverse=True
    )


def _signed(body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body)
    return f"{_digest(text.encode())}\n{text}\n".encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        sign, _, text = files.read_text(path / STATE).partition("\n")
        content = files.read_bytes(path / TENSORS)
    except FileNotFoundError as problem:
        raise Damaged(f"{Path(problem.filename).name} is missing") from problem
    except (OSError, UnicodeDecodeError) as problem:
        raise Damaged(f"it cannot be read ({problem})") from problem
    if _digest(text.rstrip("\n").encode()) != sign:
        raise Damaged(f"{STATE} is truncated or was changed")
    body = _body(text)
    if body["format"] > FORMAT:
        raise UserError(
            f"{path} was written by a newer version of aihw (format {body['format']}); update aihw"
        )
    if len(content) != body["bytes"]:
        raise Damaged(f"{TENSORS} has {len(content)} bytes instead of {body['bytes']}")
    if _digest(content) != body["sha256"]:
        raise Damaged(f"{TENSORS} does not match its checksum")
    try:
        return load(content), body["state"]
    except SafetensorError as problem:
        raise Damaged(f"{TENSORS} cannot be read: {first_line(problem)}") from problem


def _body(text: str) -> dict[str, Any]:
    """What the file of a state holds beside its checksum, which anybody can compute anew."""
    try:
        body = parse_json(text, STATE)
    except UserError as problem:
        raise Damaged(str(problem)) from problem
    kinds = {"format": int, "bytes": int, "sha256": str, "state": dict}
    if not isinstance(body, dict) or not all(
        isinstance(body.get(k), v) for k, v in kinds.items()
    ):
        raise Damaged(f"{STATE} does not hold {', '.join(kinds)}")
    return body
