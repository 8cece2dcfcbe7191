"""A tile as torch sees it: autograd, mapping scales, and what an optimizer step does to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling
from torch.nn.parallel import DistributedDataParallel

from engine.algorithms import find_algorithm
from engine.nn.interop.gradient import SampleGradient
from engine.nn.interop.wrappers import (
    REPLACED,
    Kept,
    keep_tensors,
    outside_compiler,
    refuse_parallel,
)
from engine.tile.autograd import first_order
from engine.tile.inputs import check_plain, check_processor, check_shape
from engine.tile.periphery import clipping_limit
from engine.tile.settings import TileSpec
from engine.tile.tile import Tile
from engine.tile.weight import AnalogWeight

MOST_PENDING = 4096
AS_IT_IS: AbstractContextManager[Any] = nullcontext()
LOST = "what they learn now would be lost with what is programmed"


class AnalogTile(nn.Module):
    """One tile with its learning algorithm. x [B, I] gives y [B, O], plus a digital bias [O] if
    there is one."""

    def __init__(self, out: int, inputs: int, spec: TileSpec, *, seed: int, tile_id: int) -> None:
        super().__init__()
        self.algorithm = spec.algorithm.name
        algorithm = find_algorithm(self.algorithm)
        self.trained = hasattr(algorithm, "product")
        check_tile(spec, out, inputs)
        self.tile = Tile(out, inputs, spec, seed=seed, tile_id=tile_id)
        self.state = algorithm.init(self.tile, spec)
        # Functions of the algorithm, found once: a step must not look for them.
        self.update: Any = getattr(algorithm, "update", None)
        self.pass_time: Any = algorithm.end_of_batch
        self.reads: Any = getattr(algorithm, "forward", None), getattr(algorithm, "backward", None)
        # Weights with a gradient have a mask of their own.
        masks = spec.forward.mask_clipped_gradient and not self.trained
        self.limit = clipping_limit(spec.forward) if masks else 0.0
        mapping = spec.mapping
        remaps = spec.remap.type != "None"
        scales = out if mapping.weight_scaling_columnwise or remaps else 1
        self.register_buffer(
            "scale",
            torch.ones(scales, dtype=torch.float32)
            if mapping.weight_scaling_omega > 0 or remaps
            else None,
        )
        learned = torch.ones(out if mapping.out_scaling_columnwise else 1, dtype=torch.float32)
        self.out_scale = nn.Parameter(learned) if mapping.learn_out_scaling else None
        self.pending: list[tuple[Tensor, Tensor]] = []
        self.passes, self.last_pass = 0, -1
        if self.trained:
            self.register_state_dict_pre_hook(_settle_first)
        self.register_load_state_dict_post_hook(keep_tensors)
        self._hold()

    scale: Tensor | None
    held: nn.Parameter

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        if is_dynamo_compiling():
            return outside_compiler(AnalogTile.forward)(self, x, bias)  # type: ignore[no-any-return]
        # Past nn.Module's own search for attributes, which takes longer than a small product.
        tile: Any = self._modules["tile"]
        weight: Any = tile._modules["array"]._parameters.get("weight")
        if weight is not self.held:
            raise TypeError(REPLACED)
        if DistributedDataParallel._active_ddp_module is not None:
            refuse_parallel(self)
        if self.trained:
            return self._trained_product(x, bias)
        if self.out_scale is None and (bias is None or bias.dtype is torch.float32):
            return _Product.apply(x, weight, bias, self)
        y: Tensor = _Product.apply(x, weight, None, self)
        y = y if self.out_scale is None else y * self.out_scale
        return y if bias is None else y + bias

    def _trained_product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The product with weights that learn by their gradient."""
        if x.dtype is not torch.float32 or type(x) is not Tensor or x.layout is not torch.strided:
            check_plain(x)
        self.settle(only_if_changed=True)
        scales = (self.scale, self.out_scale)
        with _full_precision(x):
            found: Tensor = find_algorithm(self.algorithm).product(self.tile, self.state, x, scales)
        found = found.to(x.dtype)
        return found if bias is None else found + bias

    def settle(self, *, only_if_changed: bool = False) -> None:
        """After an optimizer's step: what it means for weights that learn by their gradient; others
        have learned.

        Optimizers that do not call it are noticed at the next product of the training, or when
        training ends or the state is asked for."""
        if is_dynamo_compiling():
            outside_compiler(AnalogTile.settle)(self, only_if_changed=only_if_changed)
            return
        if not self.trained or (
            only_if_changed and not (self.training and self.state.changed(self.tile))
        ):
            return
        self.tile.refuse_programmed(LOST)
        with torch.no_grad():
            algorithm = find_algorithm(self.algorithm)
            algorithm.settle(self.tile, self.state, self.scale, self.out_scale)
            algorithm.end_of_batch(self.tile, self.state)

    def train(self, mode: bool = True) -> AnalogTile:
        if not mode:
            self.settle(only_if_changed=True)
        return super().train(mode)

    def read(self, x: Tensor) -> Tensor:
        """The analog product of the tile, or of all arrays that its algorithm gives a share."""
        read, tile = self.reads[0], self._part("tile")
        return tile.mvm(x) if read is None else read(tile, self.state, x)  # type: ignore[no-any-return]

    def read_back(self, d: Tensor) -> Tensor:
        """The same product the other way."""
        read, tile = self.reads[1], self._part("tile")
        return tile.mvm_t(d) if read is None else read(tile, self.state, d)  # type: ignore[no-any-return]

    def _part(self, name: str) -> Any:
        return self._modules[name]

    def set_weights(self, logical: Tensor) -> None:
        """Writes logical weights [O, I], scaled to the range of the tile; learned output scales
        start again at 1. Raises ValueError for another shape."""
        check_shape(logical, self.held)
        if self.scale is not None:
            mapping = self.tile.spec.mapping
            top = (
                logical.abs().amax(1)
                if mapping.weight_scaling_columnwise
                else logical.abs().amax().view(1)
            )
            omega = mapping.weight_scaling_omega
            self.scale.copy_(
                torch.where(top > 0, top / omega, torch.ones_like(top))
                if omega > 0
                else torch.ones(1, dtype=torch.float32)
            )
            logical = logical / self.scale.view(-1, 1)
        if self.out_scale is not None:
            self.out_scale.data.fill_(1.0)
        algorithm = find_algorithm(self.algorithm)
        if hasattr(algorithm, "set_weights"):
            algorithm.set_weights(self.tile, self.state, logical)
        else:
            self.tile.array.set_weights(logical)

    def get_weights(self) -> Tensor:
        """The logical weights [O, I]: those of the tile times its scales."""
        weight = self.tile.weight.data.clone()
        for scale in (self.scale, self.out_scale):
            if scale is not None:
                weight *= scale.data.view(-1, 1)
        return weight

    def record(self, x: Tensor, d: Tensor) -> None:
        """Keeps a sample batch until the optimizer's step. Raises RuntimeError if no step ever
        comes."""
        if x.shape[0] == 0:
            return
        weight: Any = self.held
        if weight._owner() is not self:  # a shallow copy has taken it
            weight.owner = self
        # A recurrent layer records every time step of one backward pass, however many there are.
        own, now = self.__dict__, torch._C._current_graph_task_id()
        if now != self.last_pass:
            own["passes"], own["last_pass"] = self.passes + 1, now
        if self.passes > MOST_PENDING:
            raise RuntimeError(
                f"{MOST_PENDING} backward passes without a step: analog tiles learn through "
                "engine.optim.AnalogSGD and keep each pass for it; model.zero_grad() drops them, and "
                "torch.autograd.grad(loss, x) leaves none behind"
            )
        self.pending.append((x, d))

    def gradient(self) -> Tensor | None:
        """What backward recorded since the last step, as torch's `grad`; None if nothing."""
        return SampleGradient(self) if self.pending else None

    def scale_samples(self, factor: Tensor | float) -> None:
        """Multiplies what backward recorded, as torch scales gradients in place."""
        self.__dict__["pending"] = [(x, d * factor) for x, d in self.pending]

    def learn(self, lr: float) -> None:
        """One update of the tile with everything that backward recorded since the last one."""
        if not self.pending:
            return
        tile: Any = self._modules["tile"]
        if tile.target is not None:
            tile.refuse_programmed(LOST)
        x, d = (
            parts[0] if len(parts) == 1 else torch.cat(parts)
            for parts in zip(*self.pending, strict=True)
        )
        self.forget()
        scale = self._buffers["scale"]
        if scale is not None:
            compensate = self.tile.spec.mapping.weight_scaling_lr_compensation
            factor = float(scale.mean()) if compensate else 1.0
            d, lr = d / (scale * (1.0 / factor)), lr / factor
        self.update(tile, self._modules["state"], x, d, lr)

    def forget(self) -> None:
        """Drops what backward recorded."""
        # Past nn.Module, whose own way of setting takes longer than a small product.
        own = self.__dict__
        if own["pending"]:
            own["pending"] = []
        own["passes"] = 0

    def end_of_batch(self) -> None:
        """What time does to the cells in one optimizer step."""
        self.pass_time(self._modules["tile"], self._modules["state"])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> AnalogTile:
        """Moves with the model, but keeps its types: physics is float32 also in a model of half
        precision."""

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            moved = moved if moved.dtype == tensor.dtype else tensor.to(moved.device)
            return moved.data if isinstance(moved, AnalogWeight) else moved

        cells = [
            (part._parameters, name)
            for part in self.modules()
            for name, parameter in part._parameters.items()
            if isinstance(parameter, AnalogWeight)
        ]
        super()._apply(move, recurse)
        for home, name in cells:
            made: Any = home[name]
            if not isinstance(made, AnalogWeight):  # a setting of torch: moves make new parameters
                home[name] = AnalogWeight(made.data, made.requires_grad)
        self._hold()
        return self

    def _hold(self) -> None:
        """Takes note of the weight that this tile computes with, and tells it whose it is."""
        array = self.tile.array
        check_processor(array.weight.device)
        if not self.trained:
            array.weight.owner = self
        # Past nn.Module, which would register it once more.
        self.__dict__["held"] = array.weight

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *rest: Any) -> None:
        if metadata.get("assign_to_params_buffers", False):
            # What torch is about to put in their places is copied into them afterwards.
            self.__dict__["kept"] = Kept(self)
        super()._load_from_state_dict(state, prefix, metadata, *rest)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "pending": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._hold()


def _settle_first(tile: AnalogTile, *_: Any) -> None:
    tile.settle(only_if_changed=True)


def check_tile(spec: TileSpec, rows: int, columns: int) -> None:
    """Raises ValueError in one line for settings that only weights with a gradient can have, and
    for what the algorithm refuses on a tile of this size."""
    algorithm = find_algorithm(spec.algorithm.name)
    used = {
        "modifier": spec.modifier.type, "clip": spec.clip.type, "remap": spec.remap.type,
        "input_range": "None" if not spec.input_range.enable else "enable",
    }  # fmt: skip
    for name, value in used.items():
        if value != "None" and not hasattr(algorithm, "product"):
            raise ValueError(
                f"tile.{name} needs weights that learn by gradients: algorithm hwa, not {spec.algorithm.name}"
            )
    if hasattr(algorithm, "check_tile"):
        algorithm.check_tile(spec, rows, columns)


class _Product(torch.autograd.Function):
    """y = tile(x); backward reads the tile the other way and leaves x and dL/dy for the update."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, owner: AnalogTile
    ) -> Tensor:
        ctx.owner, ctx.kind = owner, x.dtype
        with _full_precision(x):
            y = owner.read(x)
        ctx.save_for_backward(x, (y.abs() < owner.limit) if owner.limit > 0 else None)
        scale = owner._buffers["scale"]
        y = y if scale is None else y * scale
        y = y if x.dtype is torch.float32 else y.to(x.dtype)
        return y if bias is None else y.add_(bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return first_order(_Product.backward, ctx, grads, [ctx.owner.held])
        owner, (x, kept), (d,) = ctx.owner, ctx.saved_tensors, grads
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        grad_bias = d.sum(0) if needs_bias else None
        d = d if d.dtype is torch.float32 else d.to(torch.float32)
        if needs_weight and _is_reached(ctx.next_functions[1][0]):
            owner.record(x, d)
        if not needs_x:
            return None, None, grad_bias, None
        scale = owner._buffers["scale"]
        d = d if scale is None else d * scale
        d = d if kept is None else d * kept
        with _full_precision(d):
            return owner.read_back(d).to(ctx.kind), None, grad_bias, None


def _is_reached(node: Any) -> bool:
    """Whether this backward pass goes on to a leaf: `torch.autograd.grad` for inputs alone must not
    teach the tile."""
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError as error:  # raised where exactly this leaf was asked for
        raise RuntimeError(
            "torch.autograd.grad does not reach the weights of pulsed tiles: take loss.backward(), "
            "after which weight.grad.dense() is their gradient"
        ) from error


def _full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Autocast must not halve the precision of a product."""
    # Asking for the type of a device takes ten times as long as this, in every product.
    if not torch._C._is_any_autocast_enabled():
        return AS_IT_IS
    return torch.autocast(x.device.type, enabled=False)


def analog_tiles(module: nn.Module) -> Iterator[AnalogTile]:
    """All analog tiles below a module."""
    return (m for m in module.modules() if isinstance(m, AnalogTile))


def set_exact(module: nn.Module, on: bool = True) -> None:
    """Fixed-order products in all tiles below a module: the same bits at any number of threads."""
    for found in module.modules():
        if isinstance(found, Tile):
            found.set_exact(on)
