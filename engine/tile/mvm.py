"""One analog matrix product of a tile: fused kernels before and after the digital product.

Shapes: L lanes (leading axis left out for L = 1), B samples, I inputs, O outputs.
"""

from __future__ import annotations

import functools
import math
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor

from engine.jit.programs import fill, mvm_program
from engine.jit.struct import read_struct
from engine.tile.settings import BOUND_MANAGEMENT, IO, NOISE_MANAGEMENT

NM_DECAY = 1e-3
ASSUMED_WMAX = 0.6
STREAMS = {("forward", True): 16, ("backward", True): 32, ("forward", False): 48, ("backward", False): 64}


class Product:
    """The periphery of one direction of a tile. `exact` takes the fixed-order product instead of torch's."""

    def __init__(self, io: IO, direction: str) -> None:
        self.io, self.direction, self.exact = io, direction, False
        check_io(io)

    def __call__(self, x: Tensor, weight: Tensor, control: Tensor, *, call: int, training: bool, average: Tensor) -> Tensor:
        """y [.., B, O] of x [.., B, I] with weight [.., O, I] forward, [.., I, O] backward."""
        w = weight if self.direction == "forward" else weight.transpose(-1, -2)
        if self.io.is_perfect and not self.exact:
            return _scaled(torch.matmul(x, w.transpose(-1, -2)), self.io.out_scale)
        args, keep = self._args(x, w, control)
        args.call, args.stream = call, STREAMS[self.direction, training]
        args.average = average.data_ptr()
        program, threads, x = mvm_program(x.device.type), torch.get_num_threads(), keep[0]
        z, v = keep[1], keep[2]
        small = 1 if x.numel() + z.numel() < 8192 else threads
        if self.io.is_perfect:
            args.v = x.data_ptr()
            program.run("mvm_product", args, threads=threads, warp=True)
            return _scaled(z, self.io.out_scale)
        if self.io.noise_management == "AverageAbsMax":
            args.items = args.lanes
            program.run("mvm_average", args, threads=1)
            args.items = args.lanes * args.batch
        program.run("mvm_input", args, threads=small, warp=True)
        if self.exact:
            program.run("mvm_product", args, threads=threads, warp=True)
        else:
            torch.matmul(v, w.transpose(-1, -2), out=z)
        program.run("mvm_output", args, threads=small, warp=True)
        return z

    def _args(self, x: Tensor, w: Tensor, control: Tensor) -> tuple[Any, tuple[Tensor, ...]]:
        x = x.to(torch.float32).contiguous()
        batch, lanes = x.shape[-2], w.shape[0] if w.dim() == 3 else 1
        z = torch.empty(*x.shape[:-1], w.shape[-2], device=x.device)
        v, alpha = torch.empty_like(x), torch.empty(x.shape[:-1], device=x.device)
        args = read_struct("periphery.cuh", "MvmArgs")()
        args.items, args.lanes, args.batch = lanes * batch, lanes, batch
        args.n_in, args.n_out, args.w_out, args.w_in = w.shape[-1], w.shape[-2], w.stride(-2), w.stride(-1)
        plan = _plan(astuple(self.io), self.direction, x.device)
        fill(args, ("x", "w", "v", "z", "alpha", "control", "plan"), (x, w, v, z, alpha, control, plan))
        return args, (x, z, v, alpha, plan)


def check_io(io: IO) -> None:
    """Raises ValueError in one line for settings that contradict each other."""
    if io.noise_management != "None" and io.inp_bound != 1.0 and not io.is_perfect:
        raise ValueError(f"noise_management={io.noise_management} needs inp_bound=1, not {io.inp_bound:g}")
    for side in ("inp", "out"):
        if getattr(io, f"{side}_bound") <= 0 < getattr(io, f"{side}_res") and not io.is_perfect:
            raise ValueError(f"{side}_res={getattr(io, f'{side}_res'):g} needs a bound: {side}_bound must be > 0")


def step_size(res: float, bound: float) -> float:
    """Width of a converter's step from its resolution: a share of the range, or a number of steps if above 1."""
    share = 0.0 if res <= 0 else 1 / res if res > 1 else res
    return 2 * bound * share if math.isfinite(bound) else 0.0


def _scaled(y: Tensor, scale: float) -> Tensor:
    return y if scale == 1.0 else y * scale


@functools.lru_cache(maxsize=512)
def _plan(values: tuple[Any, ...], direction: str, where: torch.device) -> Tensor:
    io = IO(*values)
    struct = read_struct("periphery.cuh", "MvmPlan")()
    for name in ("inp_bound", "inp_noise", "inp_asymmetry", "out_bound", "out_noise", "out_scale", "out_asymmetry"):
        setattr(struct, name, getattr(io, name))
    struct.inp_step, struct.out_step = step_size(io.inp_res, io.inp_bound), step_size(io.out_res, io.out_bound)
    struct.nm_thres = 0.0 if io.noise_management == "None" else io.nm_thres
    struct.nm_decay, struct.nm_assumed_wmax = NM_DECAY, ASSUMED_WMAX
    struct.max_bm_factor, struct.max_bm_res = io.max_bm_factor, io.max_bm_res
    struct.noise_management = NOISE_MANAGEMENT.index(io.noise_management)
    struct.bound_management = BOUND_MANAGEMENT.index(io.bound_management) if direction == "forward" else 0
    struct.inp_sto_round, struct.out_sto_round = io.inp_sto_round, io.out_sto_round
    struct.test_negative = io.bm_test_negative_bound
    return torch.frombuffer(bytearray(struct), dtype=torch.uint8).to(where)
