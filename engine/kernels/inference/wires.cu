// What: a read with voltage drop along the wires: weights of the cells once, then inputs, the
//   product, noise, outputs.
// One item is: a column (wire_columns); an input; a vector (wire_levels); four outputs of one
//   (wire_noise); an output, a thread.
// Must equal: the formulas that tests/inference has.
// When it is chosen: where a noise model has wires (engine/inference/wires.py).
#include "inference/wires.cuh"

// One column a thread, from its far end to its ADC; columns with odd numbers have the ADC on the
// other side.
KERNEL(wire_columns, WireArgs) {
    float total[MAX_SEGMENTS], share[MAX_SEGMENTS];
    i64 length = a.physical / a.segments;
    const float *plus = a.plus + item * a.inputs, *minus = a.minus + item * a.inputs;
    for (i64 k = 0; k < a.segments; ++k) {
        total[k] = 0.0f;
        for (i64 p = k * length; p < (k + 1) * length; ++p) {
            i64 j = (item & 1 ? a.physical - 1 - p : p) - a.before;
            total[k] = total[k] + (j >= 0 && j < a.inputs ? plus[j] + minus[j] : a.idle);
        }
    }
    float r = 1.0f / (total[0] + 1e-12f);
    share[0] = 1.0f;
    for (i64 k = 1; k < a.segments; ++k) {
        float before = r + a.wire, own = 1.0f / (total[k] + 1e-12f);
        r = before * own / (before + own);
        for (i64 n = 0; n < k; ++n) share[n] = share[n] * (r / before);
        share[k] = r / own;
    }
    r = r + 0.5f * a.wire;
    float rest = 0.0f;
    for (i64 k = 0; k < a.segments; ++k) {
        float g = total[k] + 1e-12f;
        rest = rest + share[k] * 0.4f * (total[k] / g);
        share[k] = 0.2f * share[k] / (g * r);
    }
    a.base[item] = counted(a, a.steps) * (rest - a.v_read) / r;
    for (i64 j = 0; j < a.inputs; ++j) {
        i64 p = j + a.before, place = item & 1 ? a.physical - 1 - p : p, cell = item * a.inputs + j;
        float g = plus[j] - minus[j], part = share[place / length];
        a.factor[cell] = part * g;
        if (a.noise > 0.0f) {
            i64 all = a.outputs * a.inputs;
            // Nothing flows in a pair without conductance, so there is nothing to be noisy.
            a.spread[cell] = g == 0.0f ? 0.0f : part * part;
            a.spread[all + cell] = part * part * abs_(g);
            a.spread[2 * all + cell] = part * part * g * g;
        }
    }
}

// Lengths of the pulses in time steps, with the sign of the input. Inputs lie on steps but for
// rounding.
KERNEL(wire_inputs, WireArgs) {
    float v = a.v[item], active = -floor_(1e-3f - abs_(v) / a.step);
    float n = counted(a, active > 0.0f ? min_(active, a.steps) : 0.0f);
    a.length[item] = v < 0.0f ? -n : n;
}

// Noise of the reads of one vector each, from the mean length of its inputs; sums of whole steps
// are exact.
KERNEL(wire_levels, WireArgs) {
    const float* v = a.v + item * a.inputs;
    float steps = 0.0f;
    for (i64 j = 0; j < a.inputs; ++j) steps = steps + round_(abs_(v[j]) / a.unit);
    ReadNoise n = {0.0f, 0.0f};
    if (steps > 0.0f) n = read_noise(steps / (float)a.inputs);
    a.share[item] = a.noise * n.offset;
    a.share[a.batch + item] = a.noise * n.slope;
}

// Adds the noise of four outputs of one vector to the charges of all pairs: each of its cells was
// read with its own.
KERNEL(wire_noise, WireArgs) {
    i64 groups = (a.outputs + 3) / 4, b = item / groups, o = item % groups * 4,
        all = a.batch * a.outputs;
    float offset = a.share[b], slope = a.share[a.batch + b];
    Draw t = {a.call, a.draw, WIRE_NOISE};
    for (i64 k = 0; k < a.pairs; ++k) {
        float z[4];
        normals4(
            key_of(*a.control), t, (u32)(a.first + b), (u32)(k * groups + o / 4), z[0], z[1], z[2],
            z[3]
        );
        for (i64 q = 0; q < 4 && o + q < a.outputs; ++q) {
            i64 at = b * a.outputs + o + q;
            const float* square = a.variance + 3 * k * all + at;
            float rise = offset * (2.0f * slope * square[all]) + slope * slope * square[2 * all];
            a.charge[k * all + at] =
                fma_(sqrt_(offset * offset * square[0] + rise), z[q], a.charge[k * all + at]);
        }
    }
}

// Charges of all pairs of devices, [pair][batch][output], as one number in units of the weight.
KERNEL(wire_outputs, WireArgs) {
    i64 o = item % a.outputs;
    float sum = 0.0f;
    for (i64 k = 0; k < a.pairs; ++k)
        sum = fma_(
            a.weight[k], ticks(a, a.charge[k * a.items + item] + a.base[k * a.outputs + o]), sum
        );
    a.z[item] = sum * a.scale;
}
