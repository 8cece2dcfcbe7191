// The weights that a vector is multiplied with, and where the vectors of a section are.
#pragma once
#include "mvm/per_sample.cuh"

// Weights as they are, times the variability of read polarity, or the absolute values of either.
enum Kind { PLAIN, ABSOLUTE, POLAR, POLAR_ABSOLUTE };
struct Factors {
    const float *w, *spread;
};
template <int kind> FN float factor(const Factors& f, i64 at) {
    float w = kind >= POLAR ? f.w[at] * f.spread[at] : f.w[at];
    return kind & 1 ? abs_(w) : w;
}
FN Factors factors_of(const MvmArgs& a, i64 item) {
    i64 cells = item / a.batch * a.n_in * a.n_out;
    Factors f = {a.w + cells, a.asymmetry + cells};
    return f;
}
// The pass of a section, and whether it goes with absolute values.
struct Place {
    int pass;
    bool absolute;
};
FN Place place_of(const MvmPlan& p, int section) {
    int first = p.passes * p.signed_kinds;
    bool absolute = section >= first;
    Place place = {
        absolute ? (section - first) / p.absolute_kinds : section / p.signed_kinds, absolute
    };
    return place;
}
// The variability of read polarity acts where inputs are negative.
FN bool is_polar(const MvmArgs& a, int pass) { return a.asymmetry && pass == 0; }
