"""Arrays of samples and labels of any common kind as tensors that networks take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.experiment.feeding.split import numbered
from engine.settings import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch

FULL = {"uint8": 255.0, "uint16": 65535.0}
COLOURS = (1, 3)


def samples(what: str, x: np.ndarray[Any, Any]) -> torch.Tensor:
    """float32 samples: images [N, C, H, W] from [N, H, W], [N, H, W, C] or [N, C, H, W], or rows
    [N, F]; pixels of 8 or 16 bit become 0 to 1."""
    import numpy as np
    import torch

    if x.dtype.kind not in "biuf" or x.ndim < 2 or x.ndim > 4 or len(x) == 0:
        shape = " x ".join(map(str, x.shape))
        raise UserError(
            f"{what} must hold numbers of 2 to 4 dimensions, not {shape} of {x.dtype}"
        )
    values = torch.from_numpy(np.ascontiguousarray(x.astype(np.float32)))
    if not bool(values.isfinite().all()):
        raise UserError(f"{what} holds numbers that are not finite")
    if x.ndim > 2 and str(x.dtype) in FULL:
        values.div_(FULL[str(x.dtype)])
    if x.ndim == 3:
        return values.unsqueeze(1)
    # Channels stand last unless only the second extent can be that of channels.
    if x.ndim == 4 and x.shape[3] in COLOURS and x.shape[1] not in COLOURS:
        return values.movedim(3, 1).contiguous()
    return values


def labels(
    what: str, parts: dict[str, np.ndarray[Any, Any]]
) -> tuple[dict[str, torch.Tensor], int]:
    """The labels of all parts as numbers from 0 on, and the number of classes. Raises UserError
    for a class that training does not have."""
    import torch

    flat = {name: _flat(f"{what}: {name}", y) for name, y in parts.items()}
    kinds, numbers = numbered(flat["train"])
    for name, values in flat.items():
        strange = sorted(set(values) - set(kinds))
        if strange:
            raise UserError(
                f"{what}: {name} has the label {strange[0]!r}, which training lacks"
            )
    if len(kinds) < 2:
        raise UserError(f"{what}: all training samples have the label {kinds[0]!r}")
    made = {
        name: torch.tensor([numbers[value] for value in values], dtype=torch.int64)
        for name, values in flat.items()
    }
    return made, len(kinds)


def _flat(what: str, y: np.ndarray[Any, Any]) -> list[Any]:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "iubUSf":
        shape = " x ".join(map(str, y.shape))
        raise UserError(
            f"{what} must hold one label a sample, not {shape} of {y.dtype}"
        )
    found = y.tolist()
    if y.dtype.kind == "f" and any(value != int(value) for value in found):
        raise UserError(f"{what} holds {found[0]:g}: labels are whole numbers or names")
    return found
