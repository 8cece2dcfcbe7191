"""Hardware-aware training on weights: modification, clip and remap, and the input range, number by
number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.config.hwa import InputRange, WeightClip, WeightModifier, WeightRemap
from tests.naive.draws import Source
from tests.naive.maths import F32, Floats, clamp, exp, fma, log, power
from tests.naive.mvm import Draws, lane_sum

NOISE, STEPS, DROP, PCM_DRIFT, PCM_READ, PCM_RESET, PCM_GMAX, PCM_RANDOM, PCM_AMOUNT = (
    range(9)
)
WITHOUT_FORMULA = ("None", "Copy", "DropConnect")
ONE = F32(1)


def modify(
    weight: Floats, s: WeightModifier, source: Source, stream: int, sample: int = 0
) -> Floats:
    """The disturbed weights [O, I], or those that are `sample`'s own."""
    changed = weight.shape[1] - s.copy_last_column
    tops = np.abs(weight[:, :changed]).max(1)
    if not s.per_channel:
        tops = np.full_like(tops, tops.max())
    m = np.where(tops > 0, tops, ONE)
    if not s.rel_to_actual_wmax:
        m = np.full_like(tops, s.assumed_wmax)
    first = sample * len(weight)
    made = np.stack(
        [
            _row(row, s, F32(m[k]), Draws(source, stream, first + k))
            for k, row in enumerate(weight)
        ]
    )
    made[:, changed:] = weight[:, changed:]
    return made


def _row(w: Floats, s: WeightModifier, m: np.float32, draws: Draws) -> Floats:
    n = len(w)
    z, u = draws.normals(NOISE, n), draws.uniforms(STEPS, n) - F32(0.5)
    made = w.copy()
    if s.type == "PCMNoise":
        normals = [z, draws.normals(PCM_DRIFT, n), draws.normals(PCM_READ, n)]
        made = pcm(
            w, s, m, normals, [draws.uniforms(PCM_RESET + k, n) for k in range(4)]
        )
    elif s.type not in WITHOUT_FORMULA:
        made = formula(
            w,
            s,
            m,
            z if s.std_dev else np.zeros_like(z),
            u if s.sto_round else np.zeros_like(u),
        )
    return np.where(
        (draws.uniforms(DROP, n) < F32(s.pdrop)) & (s.pdrop > 0), F32(0), made
    )


def formula(
    w: Floats, s: WeightModifier, m: np.float32, z: Floats, u: Floats
) -> Floats:
    std, torch_tile = F32(s.std_dev), s.convention == "Torch"
    curve = np.zeros_like(w)
    for c in reversed(s.coeffs):
        curve = fma(curve, np.abs(w) / m, F32(c))
    made = {
        "Discretize": lambda: m * stepped(w / m, s, u),
        "MultNormal": lambda: w + w * (std if torch_tile else std * m) * z,
        "AddNormal": lambda: w + std * m * z,
        "DiscretizeAddNormal": lambda: m * stepped(w / m, s, u) + std * m * z,
        "DoReFa": lambda: stepped(tanh(w) * np.abs(F32(s.dorefa_clip) / tanh(m)), s, u),
        "Poly": lambda: w + m * std * curve * z,
        "ProgNoise": lambda: mirrored(
            w, np.abs(w) + m * (std / F32(s.g_max)) * curve * z
        ),
    }
    return made[s.type]().astype(F32)


def mirrored(w: Floats, v: Floats) -> Floats:
    return np.where(w < 0, -np.abs(v), np.abs(v))


def tanh(v: Floats) -> Floats:
    e = exp(F32(-2) * np.abs(np.asarray(v, F32)))
    r = (ONE - e) / (ONE + e)
    return np.where(v < 0, -r, r).astype(F32)


def stepped(v: Floats, s: WeightModifier, u: Floats) -> Floats:
    share = 1 / s.res if s.res > 1 else s.res
    step = F32(2 * share if s.convention == "Torch" else share)
    if step <= 0:
        return v
    t = v / step + u
    away = np.copysign(
        np.floor(np.abs(t)) + (np.abs(t) - np.floor(np.abs(t)) >= F32(0.5)), t
    ).astype(F32)
    return step * (np.rint(t) if s.convention == "Torch" else away)


def pcm(
    w: Floats, s: WeightModifier, m: np.float32, z: list[Floats], u: list[Floats]
) -> Floats:
    """Programmed, stuck, drifted and read as phase-change memory."""
    g_max, std = F32(s.g_max), F32(s.std_dev)
    unit = g_max / m
    g = clamp(w, -m, m) * unit
    g = np.where(np.abs(g) <= F32(s.pcm_zero_thres) * std * F32(0.26348), F32(0), g)
    negative, at_gmax = g < 0, F32(s.pcm_prob_at_gmax)
    g = np.where(u[0] < F32(s.pcm_prob_at_reset), F32(0), g)
    g = np.where(
        u[1] < at_gmax, g + np.where(u[1] < F32(0.5) * at_gmax, g_max, -g_max), g
    )
    g = np.where(
        u[2] < F32(s.pcm_prob_at_random),
        np.where(g > 0, u[3] * g_max, -u[3] * g_max),
        g,
    )
    g = clamp(g, -g_max, g_max)
    x = np.abs(g) / g_max
    placed = g + std * fma(fma(F32(-1.1731), x, F32(1.965)), x, F32(0.26348)) * z[0]
    p, time = np.abs(placed) / g_max, F32(s.pcm_t_inference) + F32(s.pcm_t0)
    spread = clamp(
        F32(-0.0125) * log(np.maximum(p, F32(1e-6))) - F32(0.0059),
        F32(0.008),
        F32(0.045),
    )
    drifted = placed
    if s.pcm_t_inference > 0:
        drifted = placed * power(
            np.full_like(p, time / F32(s.pcm_t0)), -np.abs(z[1] * spread)
        )
    late = np.sqrt(log((time + F32(2.5e-7)) / F32(5e-7)))
    q = (
        np.minimum(F32(0.0088) / np.maximum(power(p, F32(0.65)), F32(1e-3)), F32(0.2))
        * late
    )
    held = np.abs(drifted + std * np.abs(drifted) * q * z[2]) / unit
    return np.where(g == 0, F32(0), np.where(negative, -held, held)).astype(F32)


@dataclass
class Rows:
    """Largest magnitude, mean and squares about the mean of every row."""

    top: Floats
    mean: Floats
    spread: Floats

    @staticmethod
    def of(w: Floats) -> Rows:
        means = [lane_sum(row) / F32(len(row)) for row in w]
        spread = [
            lane_sum(row - mean, row - mean) for row, mean in zip(w, means, strict=True)
        ]
        return Rows(np.abs(w).max(1), np.array(means, F32), np.array(spread, F32))

    def deviation(self, columns: int) -> np.float32:
        """Standard deviation of all elements."""
        mean, n = lane_sum(self.mean) / F32(len(self.mean)), F32(columns)
        off = self.mean - mean
        total = lane_sum(fma(n * off, off, self.spread))
        return np.sqrt(total / (F32(len(self.mean)) * n - ONE))


def settle(
    w: Floats, scale: Floats | None, clip: WeightClip, remap: WeightRemap
) -> tuple[Floats, Floats | None]:
    """Weights and scales after clip and remap."""
    rows = Rows.of(w)
    limit = F32(clip.fixed_value) if clip.type != "None" else F32(0)
    if clip.type in ("LayerGaussian", "AverageChannelMax"):
        gaussian = clip.type == "LayerGaussian"
        own = (
            F32(clip.sigma) * rows.deviation(w.shape[1])
            if gaussian
            else lane_sum(rows.top) / F32(len(w))
        )
        limit = min(own, limit) if limit > 0 else own
    top = rows.top
    if clip.type == "LayerGaussianPerChannel":
        own = F32(clip.sigma) * np.sqrt(rows.spread / (F32(w.shape[1]) - ONE))
        own = np.minimum(own, limit) if limit > 0 else own
        clipped = np.clip(w, -own[:, None], own[:, None])
        w = np.where(own[:, None] > 0, clipped, w)
        top = np.where(own > 0, np.minimum(top, own), top)
    elif limit > 0:
        w, top = clamp(w, -limit, limit), np.minimum(top, limit)
    if remap.type == "None" or scale is None:
        return w, scale
    if remap.type == "LayerwiseSymmetric":
        top = np.full_like(top, top.max())
    factor = top / F32(remap.remapped_wmax)
    factor = np.where(factor > 0, factor, ONE).astype(F32)
    made = scale * factor
    if remap.type == "ChannelwiseSymmetric" and remap.max_scale_range > 0:
        most = F32(remap.max_scale_range) * max(
            scale.min(), F32(0), F32(remap.max_scale_ref)
        )
        factor = np.where(made > most, most / scale, factor).astype(F32)
        made = np.minimum(made, most)
    return w / factor[:, None], made


def range_gradient(x: Floats, d: Floats, r: np.float32, s: InputRange) -> np.float32:
    """The gradient of the input range r where no output is clipped."""
    high, low = (
        np.where(x >= r, np.minimum(d, F32(0)), F32(0)),
        np.where(x <= -r, np.maximum(d, F32(0)), F32(0)),
    )
    g = lane_sum(np.array([lane_sum(row) for row in high - low], F32))
    g = g * r * F32(s.gradient_scale) if s.gradient_relative else g
    inside = lane_sum((np.abs(x) < r).sum(1).astype(F32)) / F32(x.size)
    return (
        g + F32(s.decay) * r
        if s.decay > 0 and inside > F32(s.input_min_percentage)
        else g
    )
