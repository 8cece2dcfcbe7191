// Voltage drop along the wires of a column while inputs are pulses of different lengths. Cells of a segment meet in one
// node; wires join the nodes; every cell is a source of 0.6, 0.4 or 0.2 V. Resistances do not change during a read, so
// the charge of a column is linear in the lengths of the pulses: its cells get weights of their own, and it an offset.
#pragma once

#define MAX_SEGMENTS 64
enum Integration { SUM, TRAPEZIUM };

// Conductances in uS, resistances in megaohm, currents in uA. `before` rows without inputs precede those with inputs.
struct WireArgs {
    i64 items, inputs, outputs, physical, before, segments, pairs, batch;
    const float *plus, *minus, *v, *charge;
    float *factor, *base, *length, *z;
    float wire, idle, v_read, step, steps, scale, frequency;
    float weight[8];
    int integration, digital;
};

// The time steps that begin while an input lasts. Trapezia put a copy of the first one in front and halve the outer two.
FN float counted(const WireArgs& a, float active) {
    bool halved = a.integration == TRAPEZIUM && active > 0.0f && active < a.steps;
    return halved ? active + 0.5f : active;
}

// What an ADC that counts `frequency` GHz makes of a charge in uA ns.
FN float ticks(const WireArgs& a, float charge) {
    return a.digital ? trunc_(charge / 100.0f * a.frequency) * 100.0f / a.frequency : charge;
}
