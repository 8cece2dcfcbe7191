// Peripheries that need less than all that a plan can ask for.
#pragma once

// Most peripheries are plain: one pass, noise of the output alone, converters that round to the nearest step. Their plan
// is a copy in which a compiler sees what is not there.
FN bool is_plain(const MvmPlan& p) {
    return p.reading == ONE_PASS && p.sections == 1 && !(p.sums | p.offset | p.curve | p.inp_sto_round | p.out_sto_round) &&
        p.weight_noise == WN_NONE && p.inp_noise == 0.0f && p.inp_asymmetry == 0.0f && p.out_asymmetry == 0.0f && p.out_noise_std == 0.0f;
}
template <bool plain> FN MvmPlan plan_of(const MvmArgs& a) {
    MvmPlan p = a.plan[0];
    if (!plain) return p;
    p.reading = ONE_PASS;
    p.passes = p.signed_kinds = p.sections = 1;
    p.absolute_kinds = p.sums = p.offset = p.curve = p.inp_sto_round = p.out_sto_round = 0;
    p.weight_noise = WN_NONE;
    p.ir_drop = p.inp_noise = p.inp_asymmetry = p.out_asymmetry = p.out_noise_std = 0.0f;
    return p;
}
