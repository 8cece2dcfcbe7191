// Voltage drop along the wires of a column while inputs are pulses of different lengths. Cells of
// a segment meet in one node; wires join the nodes; every cell is a source of 0.6, 0.4 or 0.2 V.
// Resistances do not change during a read, so the charge of a column is linear in the lengths of
// the pulses: its cells get weights of their own, and it an offset.
#pragma once
#include "portable.cuh"
#include "maths.cuh"
#include "random.cuh"

#define MAX_SEGMENTS 64
enum Integration { SUM, TRAPEZIUM };

enum WireStream { WIRE_NOISE = ALGORITHM + 40 };

// Conductances in uS, resistances in megaohm, currents in uA. `before` rows without inputs
// precede those with inputs. Read noise: squares of charges `variance` [pair][power of |g|: 0, 1,
// 2][vector][output], from squares of `spread` [pair][power][output][input], for a noise of 1 uS
// times that power; `share` [2][vector]: noise at g = 0, its rise.
struct WireArgs {
    i64 items, inputs, outputs, physical, before, segments, pairs, batch, first;
    const float *plus, *minus, *v, *variance;
    float *factor, *base, *length, *charge, *spread, *share, *z;
    const Control* control;
    float wire, idle, v_read, step, unit, steps, scale, frequency, noise;
    float weight[8];
    int integration, digital;
    u32 call, draw;
};

// The time steps that begin while an input lasts. Trapezia put a copy of the first one in front
// and halve the outer two.
FN float counted(const WireArgs& a, float active) {
    bool halved = a.integration == TRAPEZIUM && active > 0.0f && active < a.steps;
    return halved ? active + 0.5f : active;
}

// What an ADC that counts `frequency` GHz makes of a charge in uA ns.
FN float ticks(const WireArgs& a, float charge) {
    return a.digital ? trunc_(charge / 100.0f * a.frequency) * 100.0f / a.frequency : charge;
}

// Noise of a pair of devices of conductance g (plus less minus) in a read whose inputs last
// `mean` steps of the DAC on average: offset + slope |g|, in uS. Shorter reads are noisier.
struct ReadNoise {
    float offset, slope;
};
FN ReadNoise read_noise(float mean) {
    float l = log10_(mean);
    ReadNoise n = {1.11906167e-3f, 2.1926e-4f};
    n.offset =
        fma_(fma_(fma_(n.offset, l, -9.08576764e-3f), l, 3.07015063e-2f), l, -6.77079241e-2f);
    n.offset = fma_(n.offset, l, 1.17763144e-1f);
    n.slope = fma_(
        fma_(fma_(fma_(n.slope, l, -1.87352e-3f), l, 6.55714e-3f), l, -1.46159e-2f), l, 2.578764e-2f
    );
    return n;
}
