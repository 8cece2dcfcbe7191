"""The text of a file that a person writes: of a size that a person may have written, in UTF-8."""

from __future__ import annotations

from pathlib import Path

from engine.readers.wording import shortened
from engine.settings import UserError
from engine.trust.files import read_bytes
from engine.trust.text import visible

MEGABYTE = 1 << 20


def read_text(path: Path, *, limit: int = MEGABYTE, follow: bool = True) -> str:
    """The text of an ordinary file; a link is followed unless `follow` is false. Raises UserError
    for a pipe, a device, a folder, for more than `limit` bytes, and for what is no UTF-8."""
    try:
        content = read_bytes(path, limit=limit, follow=follow)
        # Editors of Windows put a byte order mark before UTF-8.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = (
            " (UTF-16? Save it as UTF-8)"
            if content[:2] in (b"\xff\xfe", b"\xfe\xff")
            else ""
        )
        reason = f"byte {error.start} is no UTF-8 text{kind}"
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)  # Python's own refusal of a name with a NUL byte in it
    raise UserError(f"cannot read {visible(shortened(str(path)))}: {reason}")
