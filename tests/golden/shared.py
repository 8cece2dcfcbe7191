"""Where the reference figures are, and the mark of tests that need them."""

from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"no reference figures in {GOLDEN}"
)
