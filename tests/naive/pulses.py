"""From samples to pulses, line by line: the plan of a sample, the slots in which a line fires,
pulses of a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.tile.settings import Update
from tests.naive import maths as m
from tests.naive.draws import Source, Stream
from tests.naive.maths import F32, Floats

SLOTS = 31
FEW_SLOTS = 12
SHARED_SLOTS = 2
STOCHASTIC = ("StochasticCompressed", "Stochastic")
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """One sample: length of its trains, and the factors from |x| and |d| to firing
    probabilities."""

    length: int
    x_factor: np.float32
    d_factor: np.float32


def plan_sample(u: Update, lr: float, granularity: float, x: Floats, d: Floats) -> Plan:
    """Lengths and factors by update and pulse-length management."""
    rate, g, longest = abs(F32(lr)), F32(granularity), F32(u.desired_bl)
    x_max, d_max = np.abs(x).max(), np.abs(d).max()
    if rate == 0 or x_max == 0 or d_max == 0:
        return Plan(0, F32(0), F32(0))
    d_scaled = F32(u.um_grad_scale) * d_max
    wanted = rate * x_max * d_scaled / g
    length, factor = longest, None
    if u.update_bl_management:
        length = min(np.ceil(wanted), longest)
    elif not u.fixed_bl and g * longest < rate:
        length, factor = max(np.ceil(rate / g), F32(1)), F32(1)
    factor = np.sqrt(rate / (g * length)) if factor is None else factor
    if not (u.update_management or u.update_bl_management):
        return Plan(int(length), factor, factor)
    d_top = d_scaled * longest / wanted if wanted > longest else d_scaled
    return Plan(
        int(length), factor * np.sqrt(d_top / x_max), factor * np.sqrt(x_max / d_top)
    )


@dataclass(frozen=True)
class Lines:
    """Rows or columns of one sample: their values and the streams that they draw from."""

    values: Floats
    factor: np.float32
    is_x: bool
    sample: int
    shared: bool = True

    @property
    def numbers(self) -> np.ndarray:
        return np.arange(len(self.values), dtype=np.uint32)


def probabilities(u: Update, lines: Lines, source: Source) -> Floats:
    """Firing probabilities, on their steps if there are any."""
    p = np.abs(lines.values) * lines.factor
    res = F32(
        (u.x_res_implicit if lines.is_x else u.d_res_implicit)
        if u.pulse_type == "DeterministicImplicit"
        else u.res
    )
    if res <= 0:
        return p
    stream = Stream.ROUND_X if lines.is_x else Stream.ROUND_D
    dither = (
        source.uniform(stream, lines.numbers, lines.sample << 2)
        if u.sto_round
        else F32(0.5)
    )
    return res * m.round_even(p / res + (dither - F32(0.5)))


def fire(u: Update, lines: Lines, length: int, source: Source) -> npt.NDArray[np.bool_]:
    """Whether each line fires in each slot [lines, length]: 32 random digits against those of its
    probability."""
    p = probabilities(u, lines, source) * F32(4294967296.0)
    target = np.where(
        (p >= 1) & (p < F32(4294967296.0)), np.minimum(p, F32(4294967040.0)), 0
    ).astype(np.uint64)
    stream = Stream.TRAIN_X if lines.is_x else Stream.TRAIN_D
    words = [
        _digits(lines, (stream, w), length, source) for w in range(-(-length // SLOTS))
    ]
    digits = np.concatenate(words, axis=1)
    return (digits < target[:, None]) | (p >= F32(4294967296.0))[:, None]


def _digits(
    lines: Lines, place: tuple[int, int], length: int, source: Source
) -> npt.NDArray[np.uint64]:
    """32 random digits [lines, slots] for the slots of one word: a random word each if they are
    few, else planes.

    The words of the shortest trains come from blocks that four samples share.
    """
    (stream, w), first = place, lines.sample << 10
    slots = min(SLOTS, length - w * SLOTS)
    blocks = -(-slots // 4) if slots <= FEW_SLOTS else 8
    if lines.shared and length <= SHARED_SLOTS:
        first = lines.sample // 4 * SHARED_SLOTS
        four = [
            source.words(stream, lines.numbers | 1 << 31, first + slot)
            for slot in range(slots)
        ]
        return np.stack([words[lines.sample % 4] for words in four], axis=1).astype(
            np.uint64
        )
    drawn = [
        source.words(stream, lines.numbers, first | (w * 8 + block))
        for block in range(blocks)
    ]
    words = np.stack([word for block in drawn for word in block], axis=1).astype(
        np.uint64
    )
    if slots <= FEW_SLOTS:
        return words[:, :slots]
    bits = (words[:, :, None] >> np.arange(slots, dtype=np.uint64)) & np.uint64(1)
    return np.sum(
        bits << np.arange(31, -1, -1, dtype=np.uint64)[None, :, None],
        axis=1,
        dtype=np.uint64,
    )


def counts(
    u: Update,
    x: Floats,
    d: Floats,
    plan: Plan,
    sample: int,
    source: Source,
    *,
    shared: bool = True,
) -> Ints:
    """Pulses of every cell [rows, columns] for one sample; the writes of a transfer share no
    blocks."""
    columns = Lines(x, plan.x_factor, True, sample, shared)
    rows = Lines(d, plan.d_factor, False, sample, shared)
    if plan.length == 0:
        return np.zeros((len(d), len(x)), np.int64)
    if u.pulse_type in STOCHASTIC:
        x_fires, d_fires = (
            fire(u, lines, plan.length, source).astype(np.int64)
            for lines in (columns, rows)
        )
        return d_fires @ x_fires.T
    p_x, p_d = (probabilities(u, lines, source) for lines in (columns, rows))
    length = F32(plan.length)
    if u.pulse_type == "MeanCount":
        c_x, c_d = (np.minimum(m.round_even(length * p), length) for p in (p_x, p_d))
        return m.round_even(c_d[:, None] * c_x[None, :] / length).astype(np.int64)
    q_x, q_d = np.minimum(p_x, F32(1)), np.minimum(p_d, F32(1))
    return m.round_even(length * q_d[:, None] * q_x[None, :]).astype(np.int64)
