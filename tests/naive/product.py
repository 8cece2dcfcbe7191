"""One analog read of one vector: scale, DAC, currents, output stage and ADC, one number after
another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from engine.tile.periphery import step_size
from engine.tile.settings import IO
from tests.naive.draws import Source, Stream, normal_pair, uniform_of
from tests.naive.maths import F32, Floats, clamp, fma, round_even

ONE, ZERO = F32(1), F32(0)
INPUT_NOISE, INPUT_ROUND, OUTPUT_NOISE, OUTPUT_ROUND, WEIGHT_NOISE = range(5)
SIGMA, OFFSET, BEND, CHOICE, FACTOR = range(5)
ASSUMED_WMAX, DECAY = F32(0.6), F32(1e-3)


def tree_sum(lanes: Floats) -> np.float32:
    """The sum of 32 partial sums, halves added to halves."""
    while lanes.size > 1:
        half = lanes.size // 2
        lanes = lanes[:half] + lanes[half:]
    return lanes[0]


def strided(v: Floats, add: Callable[[Floats, Floats], Floats]) -> np.float32:
    """Sum over v in 32 interleaved partial sums."""
    sums = np.zeros(32, F32)
    for at in range(0, len(v), 32):
        part = v[at : at + 32]
        sums[: len(part)] = add(sums[: len(part)], part)
    return tree_sum(sums)


@dataclass
class NaiveProduct:
    """Reads of `weight` [outputs, inputs], which lies transposed in memory for the backward
    direction."""

    io: IO
    weight: Floats
    key: tuple[int, int]
    forward: bool = True
    average: np.float32 = field(default=F32(-1))

    def __post_init__(self) -> None:
        n_out = self.weight.shape[0]
        source, outputs = (
            Source(self.key, 0 if self.forward else 1),
            np.arange(n_out, dtype=np.uint32),
        )
        io, top = self.io, F32(self.io.out_bound) if self.io.out_bound > 0 else ONE
        drawn = {
            n: source.normal(Stream.FROZEN, outputs, n)
            for n in (SIGMA, OFFSET, BEND, CHOICE)
        }
        self.sigma = np.abs(
            F32(io.out_noise) * (ONE + F32(io.out_noise_std) * drawn[SIGMA])
        )
        offset = F32(io.v_offset_std) * drawn[OFFSET]
        self.offset = np.where(
            offset > 0 if io.v_offset_positive else drawn[CHOICE] > 0, offset, ZERO
        )
        bend = F32(max(io.out_nonlinearity, 0.0) / float(top))
        self.bend = np.abs(bend * (ONE + F32(io.out_nonlinearity_std) * drawn[BEND]))
        total = ZERO
        for value in self.bend:
            total = total + value
        slope = F32(io.slope_calibration * float(top))
        root = (
            ONE + (total / F32(n_out) + F32(io.r_series)) * slope if slope > 0 else ONE
        )
        self.gain = root * root
        cells = np.arange(self.weight.size, dtype=np.uint32)
        factors = ONE + F32(io.w_read_asymmetry_dtod) * source.normal(
            Stream.FROZEN, cells, FACTOR
        )
        self.factors = factors.reshape(
            self.weight.shape if self.forward else self.weight.shape[::-1]
        )
        self.factors = self.factors if self.forward else self.factors.T

    def read(self, x: Floats, source: Source, stream: int, sample: int) -> Floats:
        """The output of one vector, bound management included."""
        alpha, io = self._scale(x), self.io
        managed = io.noise_management != "None"
        if managed and not alpha > 0 and not io.inp_noise > 0:
            return np.zeros(self.weight.shape[0], F32)
        alpha = ONE if managed and not alpha > 0 else F32(alpha)
        reduce, round_number = ONE, 0
        step = F32(step_size(io.inp_res, io.inp_bound))
        while True:
            one = _Read(self, source, stream, sample | round_number << 26)
            y, hit = one.outputs(
                x, ONE / (alpha * reduce), alpha * reduce * F32(io.out_scale)
            )
            spent = np.floor(reduce) > io.max_bm_factor or (
                step > 0 and reduce > F32(io.max_bm_res) / step
            )
            if io.bound_management == "None" or not self.forward or not hit or spent:
                return y
            reduce, round_number = F32(2) * reduce, round_number + 1
            if (
                io.bound_management == "IterativeWorstCase"
                and round_number == 1
                and io.noise_management != "AbsMaxNPSum"
            ):
                alpha, reduce = self._np_sum(x) if managed else alpha, ONE

    def _limited(self, v: np.float32) -> np.float32:
        return min(v, F32(self.io.nm_thres)) if self.io.nm_thres > 0 else v

    def _scale(self, x: Floats) -> np.float32:
        kind, top = self.io.noise_management, np.abs(x).max()
        if kind == "AverageAbsMax":
            self.average = (
                top if self.average < 0 else (ONE - DECAY) * self.average + DECAY * top
            )
            return self.average
        scales: dict[str, Callable[[], np.float32]] = {
            "None": lambda: ONE,
            "AbsMax": lambda: self._limited(top),
            "AbsMaxNPSum": lambda: self._np_sum(x),
            "Max": lambda: self._limited(x.max()),
            "Constant": lambda: F32(self.io.nm_thres) if self.io.nm_thres > 0 else ONE,
        }
        return scales[kind]()

    def _np_sum(self, x: Floats) -> np.float32:
        plus, minus = (
            strided(np.maximum(v, ZERO), lambda s, part: s + part) for v in (x, -x)
        )
        top = self._limited(np.abs(x).max())
        reach = F32(self.io.out_bound) if self.io.out_bound > 0 else ONE
        scale, step = (
            max(plus, minus) * ASSUMED_WMAX / reach,
            F32(step_size(self.io.inp_res, self.io.inp_bound)),
        )
        return max(
            top, min(scale, top * F32(self.io.max_bm_res) / step) if step > 0 else scale
        )


@dataclass
class _Read:
    """One drive of the array; `block` numbers its draws."""

    owner: NaiveProduct
    source: Source
    stream: int
    block: int

    def outputs(
        self, x: Floats, scale: np.float32, rescale: np.float32
    ) -> tuple[Floats, bool]:
        """Outputs, and whether one of them asks for bound management."""
        parts = self._parts(self._converted(x, scale))
        currents = [self._currents(part, number) for number, part in enumerate(parts)]
        if self.owner.io.mv_type not in (
            "PosNegSeparateDigitalSum",
            "SplitMode",
            "BitWise",
        ):
            total = currents[0]
            for current in currents[1:]:
                total = total + current
            y, hit = self._digital(total, 0)
            return y * rescale, hit
        y, any_hit = np.zeros_like(currents[0]), False
        for number, current in enumerate(currents):
            z, hit = self._digital(current, number)
            y, any_hit = y + z * F32(1 << self._shift(number)) * rescale, any_hit or hit
        return y, any_hit

    def _places(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Element and word of a block of random numbers for each of n values."""
        j = np.arange(n)
        return (j // 128 * 32 + j % 32).astype(np.uint32), j % 128 // 32

    def _normal(self, sub: int, n: int, number: int = 0) -> Floats:
        at, word = self._places(n)
        a, b, c, d = self.source.words(
            self.stream + sub, at | np.uint32(number << 26), self.block
        )
        return np.choose(word, [*normal_pair(a, b), *normal_pair(c, d)]).astype(F32)

    def _dither(self, on: bool, sub: int, n: int, number: int = 0) -> Floats:
        at, word = self._places(n)
        drawn = self.source.words(
            self.stream + sub, at | np.uint32(number << 26), self.block
        )
        return (
            uniform_of(np.choose(word, drawn).astype(np.uint32)) - F32(0.5)
            if on
            else np.zeros(n, F32)
        )

    def _quantised(self, v: Floats, step: float, dither: Floats) -> Floats:
        return F32(step) * round_even(v / F32(step) + dither) if step > 0 else v

    def _converted(self, x: Floats, scale: np.float32) -> Floats:
        io = self.owner.io
        v = self._quantised(
            x * scale,
            step_size(io.inp_res, io.inp_bound),
            self._dither(io.inp_sto_round, INPUT_ROUND, len(x)),
        )
        v = clamp(v, F32(-io.inp_bound), F32(io.inp_bound)) if io.inp_bound > 0 else v
        v = (
            v + F32(io.inp_noise) * self._normal(INPUT_NOISE, len(x))
            if io.inp_noise > 0
            else v
        )
        return np.where(v < 0, v * (ONE - F32(io.inp_asymmetry)), v)

    def _shift(self, number: int) -> int:
        return {
            "SplitMode": number * self.owner.io.split_mode_bit_shift,
            "BitWise": number,
        }.get(self.owner.io.mv_type, 0)

    def _parts(self, v: Floats) -> list[Floats]:
        """What each pass over the array drives."""
        io = self.owner.io
        if io.mv_type.startswith("PosNeg"):
            return [np.minimum(v, ZERO), np.maximum(v, ZERO)]
        if io.mv_type == "OnePass":
            return [v]
        step = F32(step_size(io.inp_res, io.inp_bound))
        steps = round_even(np.abs(v) / step).astype(np.int64)
        bits = round(1 / (float(step) / 2) + 2).bit_length() - 2
        if io.mv_type == "SplitMode":
            low = steps & ((1 << io.split_mode_bit_shift) - 1)
            numbers = [low, steps >> io.split_mode_bit_shift]
        else:
            numbers = [(steps >> bit) & 1 for bit in range(bits)]
        return [
            np.where(v < 0, -(n.astype(F32) * step), n.astype(F32) * step)
            for n in numbers
        ]

    def _multiply(self, v: Floats, number: int, *, absolute: bool = False) -> Floats:
        w = self.owner.weight
        if number == 0 and self.owner.io.w_read_asymmetry_dtod > 0:
            w = w * self.owner.factors
        w = np.abs(w) if absolute else w
        if self.owner.forward:
            return np.array([strided_product(row, v) for row in w], F32)
        total = np.zeros(w.shape[0], F32)
        for j, value in enumerate(v):
            total = fma(w[:, j], value, total)
        return total

    def _currents(self, v: Floats, number: int) -> Floats:
        io, s, n = self.owner.io, self._multiply(v, number), F32(len(v))
        if io.ir_drop > 0:
            behind = ONE - np.arange(len(v)).astype(F32) / n
            dropped = self._multiply(v * (ONE - behind * behind), number)
            c = F32(len(v) / io.ir_drop_g_ratio) * self._multiply(
                np.abs(v), number, absolute=True
            )
            s = (
                s
                - F32(io.ir_drop)
                * (c * (c * (F32(0.05) * c - F32(0.2)) + F32(0.5)))
                * dropped
            )
        if io.v_offset_std > 0 or io.r_series > 0:
            base = F32(-io.v_offset_w_min) * strided(
                v, lambda total, part: total + part
            )
            own, lost = self._saturated(s + base), self._saturated(base)
            s = (ONE - self.owner.offset) * own - (ONE + self.owner.offset) * lost
        if io.w_noise <= 0 or io.w_noise_type == "None":
            return s
        z = self._normal(WEIGHT_NOISE, len(s), number)
        if io.w_noise_type == "PCMRead":
            return (
                s
                + F32(io.w_noise)
                * np.sqrt(self._multiply(v * v, number, absolute=True))
                * z
            )
        return (
            s
            + F32(io.w_noise)
            * np.sqrt(strided(v, lambda total, part: fma(part, part, total)))
            * z
        )

    def _saturated(self, v: Floats) -> Floats:
        return v / (ONE + F32(self.owner.io.r_series) * np.abs(v))

    def _digital(self, s: Floats, number: int) -> tuple[Floats, bool]:
        io, n = self.owner.io, len(s)
        if io.out_nonlinearity > 0 or io.r_series > 0:
            s = self.owner.gain * s / (ONE + np.abs(self.owner.bend * s))
        s = np.where(s < 0, s * (ONE - F32(io.out_asymmetry)), s)
        if io.out_noise > 0:
            sigma = self.owner.sigma if io.out_noise_std > 0 else F32(io.out_noise)
            s = s + sigma * self._normal(OUTPUT_NOISE, n, number)
        s = self._quantised(
            s,
            step_size(io.out_res, io.out_bound),
            self._dither(io.out_sto_round, OUTPUT_ROUND, n, number),
        )
        if io.out_bound <= 0:
            return s, False
        bound, hit = F32(io.out_bound), False
        for value in s:
            if value > bound or (value < -bound and io.bm_test_negative_bound):
                hit = True
            elif value < -bound and io.bm_negative_hit_clears:
                hit = False
        return clamp(s, -bound, bound), hit


def strided_product(w: Floats, v: Floats) -> np.float32:
    """w . v in 32 interleaved sums of fused products."""
    sums = np.zeros(32, F32)
    for at in range(0, len(v), 32):
        rest = len(v[at : at + 32])
        sums[:rest] = fma(w[at : at + rest], v[at : at + rest], sums[:rest])
    return tree_sum(sums)
