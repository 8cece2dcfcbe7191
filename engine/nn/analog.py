"""A tile as torch sees it: autograd, mapping scales, and what an optimizer step does to it.

`TileGrid` makes AnalogTiles and multiplies with them, `AnalogSGD` makes them learn. Tiles of two
kinds meet here: pulsed ones, which record samples and never have a gradient, and those of
hardware-aware training (`learns_by_gradient`), whose weights are ordinary parameters.

Logical weights = cells x `scale` x `out_scale`. Both scales are digital: a product multiplies the
outputs by them, an update divides its gradient by `scale`, writing weights divides these by it.

Several lines go past nn.Module's search for attributes (`_modules`, `_buffers`, `__dict__`): that
search takes longer than the product of a small tile, and every step comes by here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling
from torch.nn.parallel import DistributedDataParallel

from engine.algorithms import find_algorithm
from engine.nn.interop.gradient import SampleGradient
from engine.nn.interop.wrappers import (
    REPLACED,
    keep_tensors,
    outside_compiler,
    refuse_parallel,
    restore_tensors,
)
from engine.nn.product import PulsedProduct, full_precision
from engine.tile.inputs import check_plain, check_processor, check_shape
from engine.tile.periphery import clipping_limit
from engine.tile.settings import TileSpec
from engine.tile.tile import Tile
from engine.tile.weight import AnalogWeight

# Backward passes without an optimizer step after which a tile assumes that none will ever come.
MAX_PENDING = 4096
LOST = "what they learn now would be lost with what is programmed"


class AnalogTile(nn.Module):
    """One tile with its learning algorithm: x [B, I] gives y [B, O], plus a digital bias [O] if
    there is one."""

    scale: (
        Tensor | None
    )  # [1] or [O]: outputs over those of the cells, fixed between writes
    held: nn.Parameter  # the weight that kernels compute with; replacing it is refused

    def __init__(
        self,
        out: int,
        inputs: int,
        spec: TileSpec,
        *,
        seed: int,
        tile_id: int,
    ) -> None:
        super().__init__()
        self.algorithm = spec.algorithm.name
        algorithm = find_algorithm(self.algorithm)
        self.learns_by_gradient = hasattr(algorithm, "product")
        check_tile(spec, out, inputs)
        self.tile = Tile(
            out,
            inputs,
            spec,
            seed=seed,
            tile_id=tile_id,
        )
        self.state = algorithm.init(self.tile, spec)

        # Functions of the algorithm, found once: a step must not look for them.
        self.update: Any = getattr(algorithm, "update", None)
        self.gradient_product: Any = getattr(algorithm, "product", None)
        self.pass_time: Any = algorithm.end_of_batch
        self.forward_read: Any = getattr(algorithm, "forward", None)
        self.backward_read: Any = getattr(algorithm, "backward", None)

        # Weights with a gradient mask clipped outputs themselves.
        masks = spec.forward.mask_clipped_gradient and not self.learns_by_gradient
        self.limit = clipping_limit(spec.forward) if masks else 0.0
        self._make_scales(out, spec)

        # Samples x [B, I], d [B, O] of each backward pass, until the optimizer's step.
        self.pending: list[tuple[Tensor, Tensor]] = []
        # Backward passes since that step, and the number that torch gave the latest of them.
        self.passes = 0
        self.last_pass = -1

        if self.learns_by_gradient:
            self.register_state_dict_pre_hook(_settle_before_saving)
        self.register_load_state_dict_post_hook(restore_tensors)
        self._hold()

    def _make_scales(self, out: int, spec: TileSpec) -> None:
        """Makes the fixed and the learned output scale, each [1] or [O], both 1 at first."""
        mapping = spec.mapping
        remaps = spec.remap.type != "None"
        scale = None
        if mapping.weight_scaling_omega > 0 or remaps:
            per_output = mapping.weight_scaling_columnwise or remaps
            scale = torch.ones(out if per_output else 1, dtype=torch.float32)
        self.register_buffer("scale", scale)

        self.out_scale: nn.Parameter | None = None
        if mapping.learn_out_scaling:
            size = out if mapping.out_scaling_columnwise else 1
            self.out_scale = nn.Parameter(torch.ones(size, dtype=torch.float32))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        if is_dynamo_compiling():
            return outside_compiler(AnalogTile.forward)(self, x, bias)  # type: ignore[no-any-return]
        tile: Any = self._modules["tile"]
        weight: Any = tile._modules["array"]._parameters.get("weight")
        if weight is not self.held:
            raise TypeError(REPLACED)
        if self.learns_by_gradient:
            return self._gradient_product(x, bias)
        parallel = DistributedDataParallel._active_ddp_module is not None
        if parallel and self.training and weight.requires_grad:
            refuse_parallel()
        # The usual case adds the bias in place, in the same function of autograd.
        if self.out_scale is None and (bias is None or bias.dtype is torch.float32):
            return PulsedProduct.apply(x, weight, bias, self)
        y: Tensor = PulsedProduct.apply(x, weight, None, self)
        if self.out_scale is not None:
            y = y * self.out_scale
        return y if bias is None else y + bias

    def _gradient_product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The product with weights that learn by their gradient."""
        plain = (
            x.dtype is torch.float32 and type(x) is Tensor and x.layout is torch.strided
        )
        if not plain:
            check_plain(x)
        if self.training:
            self.settle(only_if_changed=True)
        scales = (self._buffers["scale"], self.out_scale)
        parts: Any = self._modules
        with full_precision(x):
            y: Tensor = self.gradient_product(parts["tile"], parts["state"], x, scales)
        y = y.to(x.dtype)
        return y if bias is None else y + bias

    def settle(self, *, only_if_changed: bool = False) -> None:
        """Clips and remaps weights that an optimizer's step has changed; pulsed tiles do nothing.

        Optimizers that do not call it are noticed at the next product of the training, or when
        training ends or the state is asked for."""
        if is_dynamo_compiling():
            outside_compiler(AnalogTile.settle)(self, only_if_changed=only_if_changed)
            return
        if not self.learns_by_gradient:
            return
        if only_if_changed and not (self.training and self.state.changed(self.tile)):
            return
        self.tile.refuse_programmed(LOST)
        with torch.no_grad():
            algorithm = find_algorithm(self.algorithm)
            algorithm.settle(
                self.tile,
                self.state,
                self.scale,
                self.out_scale,
            )
            algorithm.end_of_batch(self.tile, self.state)

    def train(self, mode: bool = True) -> AnalogTile:
        # The last step of a training has no product after it that would settle its weights.
        if not mode:
            self.settle(only_if_changed=True)
        return super().train(mode)

    def read(self, x: Tensor) -> Tensor:
        """The analog product of the tile, or of all arrays that its algorithm gives a share:
        x [B, I] gives [B, O], without scales and bias."""
        tile: Any = self._modules["tile"]
        if (
            self.forward_read is None
        ):  # the algorithm has one array, whose product is all
            return tile.mvm(x)  # type: ignore[no-any-return]
        state = self._modules["state"]
        return self.forward_read(tile, state, x)  # type: ignore[no-any-return]

    def read_back(self, d: Tensor) -> Tensor:
        """The same product in the transposed direction: d [B, O] gives [B, I]."""
        tile: Any = self._modules["tile"]
        if self.backward_read is None:
            return tile.mvm_t(d)  # type: ignore[no-any-return]
        state = self._modules["state"]
        return self.backward_read(tile, state, d)  # type: ignore[no-any-return]

    def set_weights(self, logical: Tensor) -> None:
        """Writes logical weights [O, I], scaled to the range of the tile.

        Learned output scales start again at 1. Raises ValueError for another shape."""
        check_shape(logical, self.held)
        if self.scale is not None:
            self.scale.copy_(self._scale_for(logical))
            logical = logical / self.scale.view(-1, 1)
        if self.out_scale is not None:
            self.out_scale.data.fill_(1.0)
        algorithm = find_algorithm(self.algorithm)
        if hasattr(algorithm, "set_weights"):
            algorithm.set_weights(self.tile, self.state, logical)
        else:
            self.tile.array.set_weights(logical)

    def _scale_for(self, logical: Tensor) -> Tensor:
        """The scale with which the largest of these weights lies at `weight_scaling_omega` on the
        cells."""
        mapping = self.tile.spec.mapping
        omega = mapping.weight_scaling_omega
        if omega <= 0:
            return torch.ones(1, dtype=torch.float32)
        magnitude = logical.abs()
        largest = magnitude.amax(1)
        if not mapping.weight_scaling_columnwise:
            largest = largest.amax().view(1)
        # Rows of zeros keep a scale of 1: weights are divided by it.
        return torch.where(largest > 0, largest / omega, torch.ones_like(largest))

    def get_weights(self) -> Tensor:
        """The logical weights [O, I]: those of the cells times the scales."""
        weight = self.tile.weight.data.clone()
        for scale in (self.scale, self.out_scale):
            if scale is not None:
                weight *= scale.data.view(-1, 1)
        return weight

    def record(self, x: Tensor, d: Tensor) -> None:
        """Keeps x [B, I] and d [B, O] of a backward pass until the optimizer's step.

        Raises RuntimeError if no step seems ever to come: samples would fill the memory."""
        if x.shape[0] == 0:
            return
        weight: Any = self.held
        if weight._owner() is not self:
            # A shallow copy shares the weight, and recorded with it last.
            weight.owner = self
        # A recurrent layer records every time step of one backward pass, however many there are:
        # only a new pass counts.
        current_pass = torch._C._current_graph_task_id()
        if current_pass != self.last_pass:
            attributes = self.__dict__
            attributes["passes"] = self.passes + 1
            attributes["last_pass"] = current_pass
        if self.passes > MAX_PENDING:
            raise RuntimeError(
                f"{MAX_PENDING} backward passes without a step: analog tiles learn through "
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
        """Updates the tile with everything that backward recorded since the last step."""
        if not self.pending:
            return
        tile: Any = self._modules["tile"]
        if tile.target is not None:
            tile.refuse_programmed(LOST)
        # All samples in one update, in the order in which they were recorded.
        if len(self.pending) == 1:
            x, d = self.pending[0]
        else:
            x = torch.cat([x for x, _ in self.pending])
            d = torch.cat([d for _, d in self.pending])
        self.forget()
        scale = self._buffers["scale"]
        if scale is not None:
            # Cells are logical weights / scale, so that their steps are as well. With compensation
            # the learning rate, and not d, carries the mean of the scale.
            compensate = self.tile.spec.mapping.weight_scaling_lr_compensation
            factor = float(scale.mean()) if compensate else 1.0
            d = d / (scale * (1.0 / factor))
            lr = lr / factor
        state = self._modules["state"]
        self.update(tile, state, x, d, lr)

    def forget(self) -> None:
        """Drops what backward recorded."""
        attributes = self.__dict__
        if attributes["pending"]:
            attributes["pending"] = []
        attributes["passes"] = 0

    def end_of_batch(self) -> None:
        """Lets the time of one optimizer step act on the cells: decay, diffusion and the like."""
        tile, state = self._modules["tile"], self._modules["state"]
        self.pass_time(tile, state)

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> AnalogTile:
        """Moves with the model, but keeps its types: physics is float32 also in a model of half
        precision."""

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if moved.dtype != tensor.dtype:
                moved = tensor.to(moved.device)
            return moved.data if isinstance(moved, AnalogWeight) else moved

        analog = [
            (part._parameters, name)
            for part in self.modules()
            for name, parameter in part._parameters.items()
            if isinstance(parameter, AnalogWeight)
        ]
        super()._apply(move, recurse)
        for parameters, name in analog:
            made: Any = parameters[name]
            # With torch.__future__.set_overwrite_module_params_on_conversion, torch puts plain
            # parameters in place of ours.
            if not isinstance(made, AnalogWeight):
                parameters[name] = AnalogWeight(made.data, made.requires_grad)
        self._hold()
        return self

    def _hold(self) -> None:
        """Remembers the weight that this tile computes with, and tells it who owns it."""
        array = self.tile.array
        check_processor(array.weight.device)
        if not self.learns_by_gradient:
            array.weight.owner = self
        # Past nn.Module, which would register the parameter a second time.
        self.__dict__["held"] = array.weight

    def _load_from_state_dict(
        self, state: Any, prefix: str, metadata: Any, *rest: Any
    ) -> None:
        if metadata.get("assign_to_params_buffers", False):
            keep_tensors(self)
        super()._load_from_state_dict(state, prefix, metadata, *rest)

    def __getstate__(self) -> dict[str, Any]:
        # Samples belong to a backward pass of this process, not to a copy.
        return {**self.__dict__, "pending": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._hold()


def _settle_before_saving(tile: AnalogTile, *_: Any) -> None:
    tile.settle(only_if_changed=True)


def check_tile(spec: TileSpec, rows: int, columns: int) -> None:
    """Raises ValueError in one line for settings that only weights with a gradient can have, and
    for what the algorithm refuses on a tile of this size."""
    algorithm = find_algorithm(spec.algorithm.name)
    used = {
        "modifier": spec.modifier.type,
        "clip": spec.clip.type,
        "remap": spec.remap.type,
        "input_range": "enable" if spec.input_range.enable else "None",
    }
    for name, value in used.items():
        if value != "None" and not hasattr(algorithm, "product"):
            raise ValueError(
                f"tile.{name} needs weights that learn by gradients: algorithm hwa, not {spec.algorithm.name}"
            )
    if hasattr(algorithm, "check_tile"):
        algorithm.check_tile(spec, rows, columns)


def analog_tiles(module: nn.Module) -> Iterator[AnalogTile]:
    """Yields all analog tiles below a module, in the order of its submodules."""
    return (m for m in module.modules() if isinstance(m, AnalogTile))


def set_exact(module: nn.Module, on: bool = True) -> None:
    """Makes products of all tiles below a module add in a fixed order: the same bits at any number
    of threads."""
    for found in module.modules():
        if isinstance(found, Tile):
            found.set_exact(on)
