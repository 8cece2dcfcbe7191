"""Several processes: distributed training of tiles, and tiles that go to another process."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from engine.nn import AnalogLinear, analog_tiles
from engine.optim import AnalogSGD, make_optimizer
from tests.nn.layers import NOISY, PERFECT, spec
from tests.nn.test_layers_hwa import HWA
from tests.nn.test_layers_hwa import NOISY as NOISY_HWA

RANKS = 2


def test_distributed_training(tmp_path: Path) -> None:
    """Pulsed tiles refuse it in the first training step; weights with a gradient stay equal."""
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path / "meeting"),), nprocs=RANKS)


def _rank(rank: int, meeting: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=RANKS
    )
    try:
        _pulsed(rank)
        _perfect(rank)
        _ranges(rank)
        _sharded()
    finally:
        distributed.destroy_process_group()


def _pulsed(rank: int) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        AnalogLinear(4, 3, tile=spec(NOISY), seed=1), nn.Linear(3, 2)
    )
    network(torch.ones(1, 4))  # a product before it is wrapped must not hide what comes
    model = DistributedDataParallel(network)
    with pytest.raises(
        RuntimeError, match="pulsed tiles cannot be trained under Distributed"
    ):
        model(torch.rand(8, 4))
    with torch.no_grad():
        model(torch.rand(8, 4))
    model.eval()(torch.rand(8, 4))
    network[0].requires_grad_(False)
    model.train()(torch.rand(8, 4)).sum().backward()


def _perfect(rank: int) -> None:
    """Two ranks learn what one process learns from the whole batch."""
    x, results = torch.linspace(-1, 1, 32).view(8, 4), []
    for parallel in (False, True):
        network = AnalogLinear(4, 3, tile=spec({**PERFECT, **HWA}), seed=1)
        network.set_weights(torch.linspace(-0.5, 0.5, 12).view(3, 4), torch.zeros(3))
        model = DistributedDataParallel(network) if parallel else network
        optimizer = make_optimizer(network, {"name": "adam", "lr": 0.05})
        for _ in range(3):
            optimizer.zero_grad()
            model(x.chunk(RANKS)[rank] if parallel else x).square().mean().backward()
            optimizer.step()
        results.append(network.get_weights()[0])
    torch.testing.assert_close(results[0], results[1])


def _ranges(rank: int) -> None:
    """Input ranges start from the data of all ranks, whatever each of them sees."""
    torch.manual_seed(1)
    tile = spec(NOISY_HWA)
    network = nn.Sequential(
        AnalogLinear(6, 4, tile=tile), AnalogLinear(4, 2, tile=tile)
    )
    model = DistributedDataParallel(network)
    optimizer = AnalogSGD(model.parameters(), lr=0.05)
    torch.manual_seed(rank + 1)
    for number in range(4):
        x = torch.zeros(8, 6) if rank and not number else (rank + 1) * torch.randn(8, 6)
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        for tile in analog_tiles(network):
            limit: Any = tile.state.input_range
            for value in (limit.value.detach(), limit.seen, tile.tile.weight.detach()):
                _equal_on_all(value)
            _equal_on_all(torch.tensor([float(limit.batches)]))


def _equal_on_all(value: Tensor) -> None:
    both = [torch.zeros_like(value) for _ in range(RANKS)]
    distributed.all_gather(both, value.contiguous())
    assert torch.equal(both[0], both[1]), both


def _sharded() -> None:
    """A tile needs its whole matrix, which torch's sharding takes apart."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for base in (NOISY, NOISY_HWA):
        network = nn.Sequential(AnalogLinear(4, 4, tile=spec(base), seed=1))
        with pytest.raises(TypeError, match="the weights of a tile were replaced"):
            fully_shard(network, mesh=init_device_mesh("cpu", (RANKS,)))(
                torch.rand(2, 4)
            )


def test_a_tile_computes_the_same_in_another_process() -> None:
    layers = [
        AnalogLinear(4, 3, tile=spec(base), seed=1) for base in (NOISY, NOISY_HWA)
    ]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(_output, layers)
    assert found == [_output(layer) for layer in layers]


def _output(layer: AnalogLinear) -> list[list[float]]:
    """A product and its gradient. Cells lie in memory that both processes share, as in torch, so
    that a step in one would be one in the other."""
    torch.set_num_threads(1)
    x = torch.linspace(-1, 1, 8).view(2, 4).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert x.grad is not None
    return [*y.tolist(), *x.grad.tolist()]
