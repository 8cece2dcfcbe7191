"""One analog product, vector by vector: every step of a read in order, sums in the fixed order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.tile.settings import IO
from tests.naive.draws import Source, Stream, normal_pair, uniform_of
from tests.naive.maths import F32, Floats, clamp, fma, round_even

LANES = 32
INPUT_NOISE, INPUT_ROUND, OUTPUT_NOISE, OUTPUT_ROUND, WEIGHT_NOISE = range(5)
DIGITAL = ("PosNegSeparateDigitalSum", "SplitMode", "BitWise")


@dataclass
class Frozen:
    """What differs between outputs, and between weights where the input is negative, for good."""

    sigma: Floats
    offset: Floats
    bend: Floats
    gain: np.float32
    asymmetry: Floats


@dataclass
class NaiveProduct:
    """The periphery of one direction; `weight` [O, I] as stored, whatever the direction."""

    io: IO
    weight: Floats
    key: tuple[int, int]
    forward: bool = True
    average: np.float32 = F32(-1)

    def __post_init__(self) -> None:
        self.w = self.weight if self.forward else self.weight.T
        self.frozen = freeze(self.io, self.weight.shape, self.key, self.forward)

    def read(
        self, x: Floats, call: int, stream: int, step: int = 0, first: int = 0
    ) -> Floats:
        """y [B, outputs] of x [B, inputs], of which the first has the place `first` in its
        batch."""
        source = Source(self.key, call, step)
        return np.stack(
            [
                self._vector(row, Draws(source, stream, b))
                for b, row in enumerate(x.astype(F32), first)
            ]
        )

    def _vector(self, x: Floats, draws: Draws) -> Floats:
        io, reduce, round_ = self.io, F32(1), 0
        alpha = self._scale(x)
        if io.noise_management != "None" and not alpha > 0:
            if io.inp_noise <= 0:
                return np.zeros(len(self.w), F32)
            alpha = F32(1)
        scale = F32(1) / alpha
        while True:
            now = Draws(draws.source, draws.stream, draws.block | round_ << 26)
            y, hit = self._read_once(
                convert(io, x, scale, now), alpha * reduce * F32(io.out_scale), now
            )
            step = step_of(io.inp_res, io.inp_bound)
            spent = np.floor(reduce) > io.max_bm_factor or (
                step > 0 and reduce > F32(io.max_bm_res) / step
            )
            if not self.forward or io.bound_management == "None" or not hit or spent:
                return y
            reduce, round_ = F32(2) * reduce, round_ + 1
            if (
                io.bound_management == "IterativeWorstCase"
                and round_ == 1
                and io.noise_management != "AbsMaxNPSum"
            ):
                alpha, reduce = (
                    alpha if io.noise_management == "None" else np_sum(io, x),
                    F32(1),
                )
            scale = F32(1) / (alpha * reduce)

    def _scale(self, x: Floats) -> np.float32:
        io, top = self.io, np.abs(x).max()
        if io.noise_management == "AverageAbsMax":
            decay = F32(1e-3)
            self.average = (
                top
                if self.average < 0
                else (F32(1) - decay) * self.average + decay * top
            )
            return self.average
        limit = F32(io.nm_thres) if io.nm_thres > 0 else F32(np.inf)
        if io.noise_management == "AbsMaxNPSum":
            return np_sum(io, x)
        found = {
            "AbsMax": min(top, limit),
            "Max": min(x.max(), limit),
            "Constant": limit if io.nm_thres > 0 else F32(1),
        }
        return F32(found.get(io.noise_management, 1))

    def _read_once(
        self, v: Floats, rescale: np.float32, draws: Draws
    ) -> tuple[Floats, bool]:
        """All passes: summed as currents before the ADC, or as numbers after it."""
        parts = split(self.io, v)
        currents = [self._currents(part, n, draws) for n, (part, _) in enumerate(parts)]
        if self.io.mv_type not in DIGITAL:
            currents = [np.sum(currents, axis=0, dtype=F32)]
        total, hit = np.zeros(len(self.w), F32), False
        for n, current in enumerate(currents):
            y, clipped = self._digitise(current, n, draws)
            place = F32(parts[n][1] if self.io.mv_type in DIGITAL else 1)
            total, hit = total + y * place * rescale, hit or clipped
        return total, hit

    def _currents(self, v: Floats, number: int, draws: Draws) -> Floats:
        io = self.io
        w = (
            self.w * self.frozen.asymmetry
            if number == 0 and io.mv_type.startswith("PosNeg")
            else self.w
        )
        z = self._product(w, v)
        if io.ir_drop > 0:
            behind = F32(1) - np.arange(len(v)).astype(F32) / F32(len(v))
            c = F32(len(v) / io.ir_drop_g_ratio) * self._product(np.abs(w), np.abs(v))
            curve = c * (c * (F32(0.05) * c - F32(0.2)) + F32(0.5))
            z = z - F32(io.ir_drop) * curve * self._product(
                w, v * (F32(1) - behind * behind)
            )
        if io.v_offset_std > 0 or io.r_series > 0:
            base, o, rho = (
                F32(-io.v_offset_w_min) * lane_sum(v),
                self.frozen.offset,
                F32(io.r_series),
            )
            z = (F32(1) - o) * saturated(z + base, rho) - (F32(1) + o) * saturated(
                base, rho
            )
        if io.w_noise > 0 and io.w_noise_type != "None":
            xi = draws.normals(WEIGHT_NOISE, len(z), number)
            if io.w_noise_type == "PCMRead":
                return (
                    z + F32(io.w_noise) * np.sqrt(self._product(np.abs(w), v * v)) * xi
                )
            return z + F32(io.w_noise) * np.sqrt(lane_sum(v, v)) * xi
        return z

    def _product(self, w: Floats, v: Floats) -> Floats:
        """Forward in 32 partial sums along the inputs, backward in one."""
        if not self.forward:
            z = np.zeros(len(w), F32)
            for j, value in enumerate(v):
                z = fma(w[:, j], value, z)
            return z
        return np.array([lane_sum(v, row) for row in w], F32)

    def _digitise(self, z: Floats, number: int, draws: Draws) -> tuple[Floats, bool]:
        io, frozen = self.io, self.frozen
        if io.out_nonlinearity > 0 or io.r_series > 0:
            z = frozen.gain * z / (F32(1) + np.abs(frozen.bend * z))
        z = np.where(z < 0, z * (F32(1) - F32(io.out_asymmetry)), z)
        if io.out_noise > 0:
            sigma = frozen.sigma if io.out_noise_std > 0 else F32(io.out_noise)
            z = z + sigma * draws.normals(OUTPUT_NOISE, len(z), number)
        z = quantise(
            z,
            step_of(io.out_res, io.out_bound),
            io.out_sto_round,
            draws.uniforms(OUTPUT_ROUND, len(z), number),
        )
        if io.out_bound <= 0:
            return z, False
        bound = F32(io.out_bound)
        hit = False
        for value in z:
            if value > bound or (value < -bound and io.bm_test_negative_bound):
                hit = True
            elif value < -bound and io.bm_negative_hit_clears:
                hit = False
        return clamp(z, -bound, bound), hit


@dataclass
class Draws:
    """Random numbers of one vector in one round of bound management."""

    source: Source
    stream: int
    block: int

    def normals(self, sub: int, n: int, number: int = 0) -> Floats:
        a, b, c, d = self._words(sub, n, number)
        return by_element([*normal_pair(a, b), *normal_pair(c, d)], n)

    def uniforms(self, sub: int, n: int, number: int = 0) -> Floats:
        return by_element([uniform_of(word) for word in self._words(sub, n, number)], n)

    def _words(self, sub: int, n: int, number: int) -> list[np.ndarray]:
        at = np.arange((n + 127) // 128 * LANES, dtype=np.uint32) | np.uint32(
            number << 26
        )
        return self.source.words(self.stream + sub, at, self.block)


def by_element(quarters: list[Floats], n: int) -> Floats:
    """Element 128 k + 32 q + l takes quarter q of place 32 k + l."""
    return np.stack([q.reshape(-1, LANES) for q in quarters], axis=1).reshape(-1)[:n]


def lane_sum(v: Floats, factor: Floats | None = None) -> np.float32:
    """Sum of v, or of factor times v, in 32 partial sums that are added pairwise."""
    partial = np.zeros(LANES, F32)
    for at in range(0, len(v), LANES):
        part = v[at : at + LANES]
        n = len(part)
        partial[:n] = (
            partial[:n] + part
            if factor is None
            else fma(factor[at : at + n], part, partial[:n])
        )
    half = LANES // 2
    while half:
        partial[:half] = partial[:half] + partial[half : 2 * half]
        half //= 2
    return partial[0]


def step_of(res: float, bound: float) -> np.float32:
    """A converter's step: range and resolution are rounded to float32, then multiplied."""
    share = 0.0 if res <= 0 else 1 / res if res > 1 else res
    return F32(2 * bound) * F32(share) if bound > 0 else F32(0)


def quantise(v: Floats, step: np.float32, stochastic: bool, u: Floats) -> Floats:
    if step <= 0:
        return v
    return step * round_even(v / step + (u - F32(0.5) if stochastic else F32(0)))


def saturated(v: Floats, rho: np.float32) -> Floats:
    return v / (F32(1) + rho * np.abs(v))


def np_sum(io: IO, x: Floats) -> np.float32:
    top = np.abs(x).max()
    top = (
        min(top, F32(io.nm_thres))
        if io.nm_thres > 0 and io.noise_management != "None"
        else top
    )
    most = max(lane_sum(np.maximum(x, F32(0))), lane_sum(np.maximum(-x, F32(0))))
    scale = most * F32(0.6) / (F32(io.out_bound) if io.out_bound > 0 else F32(1))
    step = step_of(io.inp_res, io.inp_bound)
    return max(top, min(scale, top * F32(io.max_bm_res) / step) if step > 0 else scale)


def convert(io: IO, x: Floats, scale: np.float32, draws: Draws) -> Floats:
    """The DAC."""
    v = quantise(
        x * scale,
        step_of(io.inp_res, io.inp_bound),
        io.inp_sto_round,
        draws.uniforms(INPUT_ROUND, len(x)),
    )
    v = clamp(v, F32(-io.inp_bound), F32(io.inp_bound)) if io.inp_bound > 0 else v
    v = (
        v + F32(io.inp_noise) * draws.normals(INPUT_NOISE, len(x))
        if io.inp_noise > 0
        else v
    )
    return np.where(v < 0, v * (F32(1) - F32(io.inp_asymmetry)), v).astype(F32)


def split(io: IO, v: Floats) -> list[tuple[Floats, int]]:
    """The input of each pass, and what its output counts."""
    if io.mv_type == "OnePass":
        return [(v, 1)]
    if io.mv_type.startswith("PosNeg"):
        return [(np.minimum(v, F32(0)), 1), (np.maximum(v, F32(0)), 1)]
    step = step_of(io.inp_res, io.inp_bound)
    number, sign = (
        round_even((np.abs(v) / step).astype(F32)).astype(int),
        np.where(v < 0, F32(-1), F32(1)),
    )
    if io.mv_type == "SplitMode":
        base = 1 << io.split_mode_bit_shift
        parts = [(number % base, 1), (number // base, base)]
    else:
        bits = round(float(1 / step)).bit_length()
        parts = [(number >> k & 1, 1 << k) for k in range(bits)]
    return [(sign * (part.astype(F32) * step), place) for part, place in parts]


def freeze(
    io: IO, shape: tuple[int, int], key: tuple[int, int], forward: bool
) -> Frozen:
    """Spreads drawn once for each direction; `shape` is [O, I] in both."""
    outputs = shape[0] if forward else shape[1]
    source, numbers = Source(key, 0 if forward else 1), np.arange(outputs)
    xi = [source.normal(Stream.FROZEN, numbers, n) for n in range(4)]
    top = io.out_bound if io.out_bound > 0 else 1.0
    bend = np.abs(
        F32(io.out_nonlinearity / top) * (F32(1) + F32(io.out_nonlinearity_std) * xi[2])
    )
    offset = F32(io.v_offset_std) * xi[1]
    chosen = offset > 0 if io.v_offset_positive else xi[3] > 0
    mean = np.add.accumulate(bend, dtype=F32)[-1] / F32(outputs)
    slope = F32(io.slope_calibration * top)
    root = F32(1) + (mean + F32(io.r_series)) * slope if slope > 0 else F32(1)
    z = source.normal(Stream.FROZEN, np.arange(shape[0] * shape[1]), 4).reshape(shape)
    asymmetry = F32(1) + F32(io.w_read_asymmetry_dtod) * (z if forward else z.T)
    sigma = np.abs(F32(io.out_noise) * (F32(1) + F32(io.out_noise_std) * xi[0]))
    return Frozen(
        sigma,
        np.where(chosen, offset, F32(0)).astype(F32),
        bend,
        root * root,
        asymmetry,
    )
