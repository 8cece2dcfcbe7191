"""Patches against torch's own, and their gradient; strides of the image, ones for a bias, wrong
shapes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine.nn import AnalogConv2d
from engine.nn.patches import Axes, Window, patches
from tests.nn.layers import PERFECT, spec

WINDOWS = {
    "plain": Window((1, 3, 3), (1, 1, 1), (0, 0, 0), (1, 1, 1)),
    "padded": Window((1, 3, 2), (1, 1, 1), (0, 1, 1), (1, 1, 1)),
    "strided": Window((1, 2, 3), (1, 2, 3), (0, 1, 0), (1, 1, 1)),
    "dilated": Window((1, 3, 2), (1, 2, 1), (0, 2, 3), (1, 2, 3)),
    "much padding": Window((1, 2, 2), (1, 2, 2), (0, 7, 8), (1, 1, 1)),
    "volume": Window((2, 3, 2), (1, 2, 1), (1, 0, 2), (2, 1, 1)),
    "line": Window((1, 1, 5), (1, 1, 2), (0, 0, 2), (1, 1, 1)),
}


def by_hand(x: Tensor, window: Window) -> Tensor:
    """The same rows, by torch: pad, then unfold each axis."""
    pads = [pad for pad in reversed(window.padding) for _ in range(2)]
    x = functional.pad(x, pads)
    starts = [
        window.step[a] * torch.arange(window.places((9, 8, 11))[a]) for a in range(3)
    ]
    taps = [window.dilation[a] * torch.arange(window.kernel[a]) for a in range(3)]
    z, y, w = (s.view(-1, 1) + t.view(1, -1) for s, t in zip(starts, taps, strict=True))
    seen = x[
        :,
        :,
        z[:, None, None, :, None, None],
        y[None, :, None, None, :, None],
        w[None, None, :, None, None, :],
    ]
    return seen.permute(0, 2, 3, 4, 1, 5, 6, 7).reshape(
        -1, x.shape[1] * z.shape[1] * y.shape[1] * w.shape[1]
    )


def image(kind: str, shape: Axes = (9, 8, 11)) -> Tensor:
    """Five channels, laid out in one way or another."""
    x = torch.randn(2, 5, *shape, generator=torch.Generator().manual_seed(1))
    if kind == "channels last":
        return x.contiguous(memory_format=torch.channels_last_3d)
    return (
        torch.randn(4, 5, shape[0], shape[2], shape[1]).movedim(3, 4)[::2]
        if kind == "a view"
        else x
    )


@pytest.mark.parametrize("kind", ["contiguous", "channels last", "a view"])
@pytest.mark.parametrize("name", WINDOWS)
def test_rows_and_gradients(name: str, kind: str) -> None:
    x = image(kind).requires_grad_()
    rows, expected = patches(x, WINDOWS[name]), by_hand(x, WINDOWS[name])
    assert torch.equal(rows, expected)
    flow = torch.randn_like(rows)
    found, wanted = (torch.autograd.grad(r, x, flow)[0] for r in (rows, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_gradient_lies_as_its_image_does() -> None:
    x = image("channels last").requires_grad_()
    rows = patches(x, WINDOWS["volume"])
    assert torch.autograd.grad(rows.sum(), x)[0].stride() == x.stride()


def test_columns_of_ones_take_no_gradient() -> None:
    x = image("contiguous").requires_grad_()
    rows = patches(x, WINDOWS["padded"], ones=2)
    assert torch.equal(rows[:, -2:], torch.ones(rows.shape[0], 2))
    assert torch.equal(rows[:, :-2], patches(x, WINDOWS["padded"]))
    assert torch.equal(
        torch.autograd.grad(rows[:, -2:].sum(), x)[0], torch.zeros_like(x)
    )


def test_threads_do_not_matter() -> None:
    x = torch.randn(4, 6, 5, 20, 20)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y = x.clone().requires_grad_()
            rows = patches(y, WINDOWS["volume"])
            results.append(
                (rows.detach(), torch.autograd.grad((rows * rows).sum(), y)[0])
            )
    finally:
        torch.set_num_threads(before)
    assert all(
        torch.equal(a, b)
        for other in results[1:]
        for a, b in zip(results[0], other, strict=True)
    )


def test_an_empty_batch_has_no_rows() -> None:
    x = torch.empty(0, 5, 9, 8, 11, requires_grad=True)
    rows = patches(x, WINDOWS["padded"])
    assert rows.shape[0] == 0
    assert torch.autograd.grad(rows.sum(), x)[0].shape == x.shape


def test_a_window_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        patches(torch.zeros(1, 1, 1, 2, 2), WINDOWS["plain"])


@pytest.mark.gpu
@pytest.mark.parametrize("name", WINDOWS)
def test_the_gpu_gives_the_same_bits(name: str) -> None:
    x = image("channels last").requires_grad_()
    y = x.detach().cuda().requires_grad_()
    rows, others = patches(x, WINDOWS[name], ones=1), patches(y, WINDOWS[name], ones=1)
    assert torch.equal(rows, others.cpu())
    flow = torch.randn_like(rows)
    assert torch.equal(
        torch.autograd.grad(rows, x, flow)[0],
        torch.autograd.grad(others, y, flow.cuda())[0].cpu(),
    )


def test_a_convolution_keeps_its_patches_once_and_nothing_else() -> None:
    layer = AnalogConv2d(3, 8, 3, padding=1, tile=spec(PERFECT), seed=1)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = layer(torch.randn(4, 3, 10, 10))
    assert sum(kept.values()) == 4 * (4 * 100) * (3 * 9)
    assert y.is_contiguous(memory_format=torch.channels_last), (
        "the output is a view, not a transposed copy"
    )
