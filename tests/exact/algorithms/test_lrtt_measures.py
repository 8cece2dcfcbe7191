"""What low-rank Tiki-Taka is judged by: the effective rank of what it wrote, and what it asks of
hardware."""

from __future__ import annotations

import pytest
import torch

from benchmarks.lrtt_cost import Hardware, break_even, full, low_rank, main
from engine.algorithms.parts.lowrank import effective_rank
from tests.exact.algorithms.test_lrtt import COLUMNS, RANK, ROWS, Run, spec_of

PAPER = Hardware()
QKVO = (48, 768, 768)  # of BERT base


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("n", [1, 5, 64])
def test_effective_rank_of_an_identity(n: int) -> None:
    assert float(effective_rank(torch.eye(n))) == pytest.approx(n)
    assert float(effective_rank(torch.eye(n, n + 7))) == pytest.approx(n)


def test_effective_rank_of_one_product_and_of_nothing() -> None:
    assert float(effective_rank(random(9, 1) @ random(1, 6))) == pytest.approx(
        1, rel=1e-3
    )
    assert effective_rank(torch.zeros(2, 3, 4)).tolist() == [0.0, 0.0]


def test_effective_rank_is_that_of_the_singular_values_and_not_of_their_squares() -> (
    None
):
    """Of diag(3, 1): entropy of 3/4 and 1/4; squared, they would be 9/10 and 1/10."""
    assert float(effective_rank(torch.diag(torch.tensor([3.0, 1.0])))) == pytest.approx(
        4 / 3**0.75
    )


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e20])
def test_effective_rank_does_not_depend_on_the_scale(scale: float) -> None:
    w = random(7, 5)
    assert float(effective_rank(scale * w)) == pytest.approx(float(effective_rank(w)))
    q, _ = torch.linalg.qr(random(7, 7))
    assert float(effective_rank(q @ w)) == pytest.approx(float(effective_rank(w)))


def test_what_is_transferred_after_resets_has_at_most_the_rank() -> None:
    run = Run(spec_of(transfer_every=1, after_transfer="reset_out"))
    start = run.c.clone()
    for _ in range(30):
        run.step()
    assert 1 < float(effective_rank(run.c - start)) < RANK + 0.01


def test_cost_of_a_second_array() -> None:
    cost = full(*QKVO, PAPER)
    assert (cost.cells, cost.operations, cost.tiles) == (
        28_311_552,
        56_623_104,
        432,
    )  # 28.3M, 56.6M
    assert cost.joules == pytest.approx(4.42e-6, rel=1e-3)
    assert cost.seconds == pytest.approx(7.44e-6)


def test_cost_of_low_rank() -> None:
    cost = low_rank(*QKVO, 32, PAPER)
    assert (cost.cells, cost.operations, cost.tiles) == (
        2_359_296,
        9_437_184,
        36,
    )  # 2.36M, 9.4M
    assert cost.joules == pytest.approx(0.736e-6, rel=1e-3)
    assert cost.seconds == pytest.approx(12.24e-6)
    assert low_rank(*QKVO, 32, Hardware(read=50e-9)).seconds == pytest.approx(9.84e-6)
    assert full(*QKVO, PAPER).joules / cost.joules == pytest.approx(6.0)


def test_share_of_the_pulses_in_an_update() -> None:
    for read, share in ((100e-9, 0.608), (50e-9, 0.756)):
        hardware = Hardware(read=read)
        whole = low_rank(1, 768, 768, 32, hardware).seconds
        assert hardware.update / whole == pytest.approx(share, abs=5e-4)


def test_operations_of_all_layers() -> None:
    """The reads of all layers of BERT base, or their updates, are half of LR-TT's operations."""
    layers = (QKVO, (12, 3072, 768), (12, 768, 3072))
    assert sum(
        low_rank(*size, 32, PAPER).operations for size in layers
    ) / 2 == pytest.approx(10.62e6, rel=5e-4)
    # Forward and backward of the visible arrays: 4 operations a cell.
    assert 4 * sum(full(*size, PAPER).cells for size in layers) == pytest.approx(
        339.7e6, rel=5e-4
    )


def test_ranks_of_equal_cost() -> None:
    cells, operations = break_even(784, 256)
    assert (round(cells), int(operations)) == (193, 96)
    for rank, cheaper in ((192, True), (193, False)):
        assert (
            low_rank(1, 784, 256, rank, PAPER).cells < full(1, 784, 256, PAPER).cells
        ) == cheaper


def test_cells_are_those_of_the_arrays() -> None:
    run = Run(spec_of())
    factors = run.state.in_factor.array, run.state.out_factor.array
    assert (
        sum(a.weight.numel() for a in factors)
        == low_rank(1, ROWS, COLUMNS, RANK, PAPER).cells
    )


def test_factors_of_two_lengths_share_no_tile() -> None:
    assert low_rank(1, 256, 784, 8, PAPER).tiles == 1 + 4
    assert low_rank(40, 256, 784, 8, PAPER).tiles == 2 * (1 + 4)


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert (
        "| LR-TT, rank 32 | 2359296 | 9437184 | 0.736 | 36 | 12.24 |"
        in capsys.readouterr().out
    )
    with pytest.raises(SystemExit):
        main(["--rank", "0"])
    assert "a rank of 1 to 768" in capsys.readouterr().err
