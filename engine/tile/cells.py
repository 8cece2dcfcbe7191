"""An array of cells: weights, the constants of every cell, and all that pulses and time do to them.

Shapes: L lanes (independent copies in one launch; no leading axis for L = 1), O rows, I columns, B
samples."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor, nn

from engine.devices.base import find_device
from engine.jit import source
from engine.jit.programs import Program, array_program, fill
from engine.jit.struct import read_struct
from engine.tile import pulses, trains
from engine.tile.inputs import check_processor, check_shape
from engine.tile.keys import derive, halves, place_of
from engine.tile.settings import DeviceSpec, Update
from engine.tile.weight import AnalogWeight

# The control block of a replica, in words of 4 bytes: its size, and the places of what Python writes.
_CONTROL = read_struct("random.cuh", "Control")
CONTROL_WORDS = ctypes.sizeof(_CONTROL) // 4
STEP, LR, TURN = (
    getattr(_CONTROL, name).offset // 4 for name in ("step", "lr", "turn")
)


class CellArray(nn.Module):
    """O x I cells of one device.

    `weight` is what is read; `cells[..., k]` are the constants and hidden states of each cell
    (`parameter(name)` is a view of one). All draws depend on (seed, tile id, call) alone, never on
    torch's generator."""

    def __init__(
        self,
        out: int,
        inputs: int,
        device: DeviceSpec,
        *,
        seed: int = 0,
        tile_id: int = 0,
        lanes: int = 1,
        trains: bool = True,
    ) -> None:
        super().__init__()
        self.out_size, self.in_size, self.lanes, self.spec = out, inputs, lanes, device
        self.model = find_device(device.model)
        self.layout = source.layout(self.model, device.params)
        self.seed, self.tile_id, self.copies, self.calls = seed, tile_id, 0, 0
        self.clock = 0.0
        self._lr: float | None = None
        self.prepared = pulses.PreparedUpdates()
        lead = (lanes,) if lanes > 1 else ()
        self.weight = AnalogWeight(
            torch.zeros(*lead, out, inputs, dtype=torch.float32), requires_grad=trains
        )
        check_processor(self.weight.device)
        self.register_buffer(
            "cells",
            torch.empty(*lead, out, inputs, self.layout.size, dtype=torch.float32),
        )
        self.register_buffer(
            "control", torch.zeros(lanes, CONTROL_WORDS, dtype=torch.int32)
        )
        flat = torch.tensor(
            source.params_floats(self.model, device.params), dtype=torch.float32
        )
        self.register_buffer("params", flat.repeat(lanes, 1), persistent=False)
        own = int(device.params.get("construction_seed", 0))
        if own:
            # The id of the tile depends on the seed of its layer, which these devices do not.
            self._set_keys(own, place_of(tile_id))
        else:
            self._set_keys(seed, tile_id)
        self._array_call("construct_cells")
        self._set_keys(seed, tile_id)

    control: Tensor
    cells: Tensor
    params: Tensor

    def parameter(self, name: str) -> Tensor:
        """View [.., O, I] of a constant or hidden state of the cells. Raises LookupError with the
        names there are."""
        return self.cells[..., self.layout.column(name)]

    @property
    def persistent(self) -> Tensor:
        """The hidden weight below the write noise, or the weight itself where there is none."""
        return (
            self.parameter("persistent")
            if "persistent" in self.layout.states
            else self.weight.data
        )

    @functools.cached_property
    def granularity(self) -> float:
        """The expected step of one pulse, read off a mean cell."""
        return pulses.granularity(
            self.spec.model,
            tuple((k, _frozen(v)) for k, v in sorted(self.spec.params.items())),
        )

    def set_weights(self, weight: Tensor) -> None:
        """Writes weights [.., O, I], clipped to the bounds of each cell, with write noise where
        wanted. Raises ValueError for another shape."""
        check_shape(weight, self.weight)
        self.weight.data.copy_(weight)
        self._array_call(
            "set_cells",
            amount=float(self.spec.params.get("apply_write_noise_on_set", True)),
        )

    def decay(self, alpha: float = 1.0) -> None:
        """One mini-batch of decay towards the reset value, scaled by `alpha`."""
        self._array_call("decay_cells", amount=alpha)

    def diffuse(self) -> None:
        """One mini-batch of diffusion."""
        self._array_call("diffuse_cells")

    def clip(self, limit: float = -1.0) -> None:
        """Applies the bounds of the cells, and plus or minus `limit` unless it is negative."""
        self._array_call("clip_cells", amount=limit)

    def reset(self, start: int = 0, count: int = -1, prob: float = 1.0) -> None:
        """Resets `count` columns from `start` on (wrapping; -1 = all), each cell with probability
        `prob`."""
        self._array_call(
            "reset_cells",
            start=start,
            count=count if count >= 0 else self.in_size,
            amount=prob,
        )

    def reset_where(self, chosen: Tensor) -> None:
        """Resets the cells that `chosen` [.., O, I] (float32) marks with anything but 0."""
        self._array_call("reset_chosen", chosen=chosen.data_ptr())

    def drift(self, time: float) -> None:
        """Lets `time` pass (in the unit of drift_t_0): the power-law drift of each cell."""
        if "drift_w0" not in self.layout.states:
            return
        self.clock += time / self.spec.params["drift_t_0"]
        self._array_call("drift_cells", clock=self.clock)

    def end_of_batch(self) -> None:
        """What happens once in a mini-batch: diffusion, then decay, where the device has them."""
        if "diffusion_rate" in self.layout.cells:
            self.diffuse()
        if "decay_scale" in self.layout.cells:
            self.decay()

    def pulse(self, n: int) -> None:
        """Exactly |n| pulses on every cell, up for n > 0."""
        trains.pulse_all(self, n)

    def update(self, x: Tensor, d: Tensor, lr: float, update: Update) -> None:
        """Changes the weights by about -lr d^T x, pulse by pulse, summed over samples x [.., B, I],
        d [.., B, O]."""
        pulses.update(self, x, d, lr, update)

    def program(self) -> Program:
        return array_program(self.spec.model, self.layout, self.weight.device.type)

    def next_call(self) -> int:
        """Number of this call: no two calls of an array share their noise."""
        # Past nn.Module's own __setattr__, which takes longer than a small kernel.
        self.__dict__["calls"] = call = self.calls + 1
        return call

    @property
    def lr(self) -> float:
        """The learning rate that was set last."""
        return self._lr or 0.0

    def set_lr(self, lr: float) -> None:
        """Learning rate of the following updates, kept where kernels read it."""
        if lr != self._lr:
            self.control.view(torch.float32)[:, LR] = lr
            self._lr = lr

    def get_extra_state(self) -> Tensor:
        clock = int.from_bytes(ctypes.c_double(self.clock), "little", signed=True)
        return torch.tensor(
            [self.calls, self.seed, _signed(self.tile_id), self.copies, clock],
            dtype=torch.int64,
        )

    def set_extra_state(self, state: Tensor) -> None:
        self.calls, self.seed, tile_id, self.copies, clock = (int(v) for v in state)
        self.tile_id = tile_id & ((1 << 64) - 1)
        self.clock = ctypes.c_double.from_buffer_copy(
            clock.to_bytes(8, "little", signed=True)
        ).value
        self._lr = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the device: one of a file of the user's own holds functions that no other process
        can find."""
        return {key: value for key, value in self.__dict__.items() if key != "model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.model = find_device(self.spec.model)

    def __deepcopy__(self, memo: dict[int, Any]) -> CellArray:
        """A copy has the same cells, and noise of its own."""
        self.copies += 1
        made = self.__class__.__new__(self.__class__)
        memo[id(self)] = made
        nn.Module.__init__(made)
        for key, value in self.__dict__.items():
            made.__dict__[key] = _copy(value, memo)
        made.tile_id, made.copies = derive(self.tile_id, self.copies), 0
        made._set_keys(made.seed, made.tile_id)
        return made

    def _set_keys(self, seed: int, tile_id: int) -> None:
        """Lane number n draws like a single array with the seed `seed` + n."""
        for lane in range(self.lanes):
            self.control[lane, 0], self.control[lane, 1] = halves(
                derive(seed + lane, tile_id)
            )

    def _array_call(self, name: str, **values: float) -> None:
        args = read_struct("update/args.cuh", "ArrayArgs")()
        args.replicas, args.rows, args.cols = self.lanes, self.out_size, self.in_size
        args.items, args.call = self.weight.numel(), self.next_call()
        fill(
            args,
            ("w", "cells", "params", "control"),
            (self.weight, self.cells, self.params, self.control),
        )
        for key, value in values.items():
            setattr(args, key, value)
        self.program().run(name, args)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    import copy

    return copy.deepcopy(value, memo)
