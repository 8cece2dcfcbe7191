// A read with voltage drop along the wires: weights of the cells once, then inputs, the digital product, outputs.

// One column a thread, from its far end to its ADC; columns with odd numbers have the ADC on the other side.
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
        i64 p = j + a.before, place = item & 1 ? a.physical - 1 - p : p;
        a.factor[item * a.inputs + j] = share[place / length] * (plus[j] - minus[j]);
    }
}

// Lengths of the pulses in time steps, with the sign of the input. Inputs lie on steps but for rounding.
KERNEL(wire_inputs, WireArgs) {
    float v = a.v[item], active = -floor_(1e-3f - abs_(v) / a.step);
    float n = counted(a, active > 0.0f ? min_(active, a.steps) : 0.0f);
    a.length[item] = v < 0.0f ? -n : n;
}

// Charges of all pairs of devices, [pair][batch][output], as one number in units of the weight.
KERNEL(wire_outputs, WireArgs) {
    i64 o = item % a.outputs;
    float sum = 0.0f;
    for (i64 k = 0; k < a.pairs; ++k)
        sum = fma_(a.weight[k], ticks(a, a.charge[k * a.items + item] + a.base[k * a.outputs + o]), sum);
    a.z[item] = sum * a.scale;
}
