"""Image files as tensors: grey or colour, 8 or 16 bit, alpha left out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.readers.wording import first_line
from engine.settings import UserError
from engine.trust.files import read_bytes

if TYPE_CHECKING:
    import torch

ENDINGS = (
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".pgm",
    ".ppm",
    ".pbm",
)
PNG_START, PNG_DEPTH_AT, DEEP = b"\x89PNG\r\n\x1a\n", 24, b"\x10"
FULL = {"uint8": 255.0, "uint16": 65535.0}
GREY, COLOUR = 1, 3
# Modes of Pillow that are neither grey nor colour as they are.
AS_GREY, AS_COLOUR = (
    ("1", "LA", "La"),
    ("P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"),
)


def read_image(path: Path) -> torch.Tensor:
    """An image [C, H, W] of C = 1 or 3 channels in 0 to 1. Raises UserError."""
    import torch

    try:
        content = read_bytes(path, follow=True)
    except OSError as problem:
        raise UserError(
            f"{path}: cannot be read: {problem.strerror or problem}"
        ) from problem
    deep = (
        content.startswith(PNG_START)
        and content[PNG_DEPTH_AT : PNG_DEPTH_AT + 1] == DEEP
    )
    pixels = _deep_png(path, content) if deep else _any(path, content)
    full = FULL[str(pixels.dtype).removeprefix("torch.")]
    # Two or four channels: the last one is alpha.
    colours = COLOUR if pixels.shape[0] >= COLOUR else GREY
    return pixels[:colours].to(torch.float32).div_(full)


def _deep_png(path: Path, content: bytes) -> torch.Tensor:
    """Pillow would cut colours of 16 bit down to 8."""
    import torch
    from torchvision.io import decode_png

    try:
        found = decode_png(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    except RuntimeError as problem:
        raise UserError(
            f"{path}: not a whole PNG image: {first_line(problem)}"
        ) from problem
    if found.dtype == torch.uint8:
        raise UserError(
            f"{path}: this torchvision reads 8 of its 16 bits; update torchvision"
        )
    return found


def _any(path: Path, content: bytes) -> torch.Tensor:
    import io

    import numpy as np
    import torch
    from PIL import Image

    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise UserError(
            f"{path}: not a whole image: {first_line(problem)}"
        ) from problem
    if image.mode in AS_GREY + AS_COLOUR:
        image = image.convert("L" if image.mode in AS_GREY else "RGB")
    values = np.asarray(image)
    if str(values.dtype) not in FULL or image.mode == "F":
        raise UserError(
            f"{path}: pixels of kind {image.mode}; save it with 8 or 16 bit"
        )
    planes = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(planes))
