"""On a machine of several GPUs a kernel runs where its tensors are, whichever GPU is torch's
current one."""

from __future__ import annotations

import ctypes
import types
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from engine.jit import cuda, driver, programs
from engine.nn import AnalogLinear
from engine.tile.settings import TileSpec


class Args(ctypes.Structure):
    """As a kernel's: a number, pointers, and a pointer that may be null."""

    _fields_ = (
        ("items", ctypes.c_int64),
        ("none", ctypes.c_void_p),
        ("w", ctypes.c_void_p),
        ("n", ctypes.c_int32),
    )


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two GPUs, of which the pointer's owner is address // 1000; the list holds torch's current
    one."""
    now = [0]

    @contextmanager
    def switched(device: int) -> Iterator[None]:
        before, now[0] = now[0], device
        yield
        now[0] = before

    monkeypatch.setattr(driver, "device_of_pointer", lambda address: address // 1000)
    monkeypatch.setattr(cuda, "several", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: now[0])
    monkeypatch.setattr(torch.cuda, "device", switched)
    return now


def test_the_gpu_of_the_pointers(current: list[int]) -> None:
    assert [cuda.device_of(Args(1, None, address, 1)) for address in (7, 1007)] == [
        0,
        1,
    ]
    current[0] = 1
    assert cuda.device_of(Args(1, None, None, 1)) == 1
    with cuda.at(0):
        assert current == [0]
    assert current == [1]


def test_a_program_has_a_module_for_each_gpu(
    current: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[int] = []
    ran: list[tuple[int, str]] = []

    def load(_: object) -> types.SimpleNamespace:
        loaded.append(current[0])
        return types.SimpleNamespace(
            get_function=lambda name, device=current[0]: (device, name)
        )

    def launch(function: tuple[int, str], args: Args, **_: object) -> None:
        assert function[0] == current[0]
        ran.append(function)

    monkeypatch.setattr(cuda, "build", lambda text, arch: text)
    monkeypatch.setattr(cuda, "device_arch", lambda: f"sm_{current[0]}")
    monkeypatch.setattr(cuda, "load", load)
    monkeypatch.setattr(cuda, "launch", launch)
    program = programs.Program("text", "cuda")
    for address in (7, 1007, 7, 1007):
        program.run("kernel", Args(1, None, address, 1), threads=1)
    assert (
        ran == [(0, "kernel"), (1, "kernel")] * 2
        and loaded == [0, 1]
        and current == [0]
    )


@pytest.mark.gpu
def test_two_gpus_give_the_same_bits() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    outputs = []
    for device in ("cuda:0", "cuda:1"):
        torch.manual_seed(1)
        layer = AnalogLinear(
            20,
            10,
            tile=TileSpec.from_config({"device": {"model": "constant_step"}}),
            seed=3,
        )
        layer = layer.to(device).eval()
        outputs.append(layer(torch.linspace(-1, 1, 40).reshape(2, 20).to(device)).cpu())
    assert torch.equal(*outputs)
