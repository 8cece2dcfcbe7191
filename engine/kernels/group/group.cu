// What: updates of cells of several devices. Trains are made once, for all devices; these kernels deal them out.
// One item is: a sample (deal_plans), a line of a word (split_words), a cell, a thread.
// Must equal: tests/naive/group.py.
// When it is chosen: where a cell has several devices.
#include "group.cuh"

// Plans as [device][replica][sample]: that of the sample for the devices that take part, no pulses for the others.
KERNEL(deal_plans, GroupArgs) {
    i64 replica = item / a.batch, b = item % a.batch;
    const Control& c = a.frozen[replica];
    u32 taken = device_of(a, c, b);
    for (int k = 0; k < a.devices; ++k) {
        Amplitude plan = a.plans[item];
        if (a.policy != POLICY_ALL && (u32)k != taken) plan.length = 0;
        a.dealt[k * a.items + item] = plan;
    }
    if (b == 0) a.control[replica].turn = (u32)(((i64)c.turn + a.batch) % a.devices);
}

// One-sided pairs: sample b becomes 2 b with the positive lines of x and 2 b + 1 with the negative ones. Of d, the first
// device keeps the lines that raise the weight, the second the others with their sign turned, so that it goes up as well.
KERNEL(split_words, GroupArgs) {
    i64 lines = a.cols + a.rows, line = item % lines, word = item / lines, sample = word / a.words, k = word % a.words;
    bool down = a.plans[sample].down != 0;
    for (int s = 0; s < 2; ++s) {
        i64 to = (2 * sample + s) * a.words + k;
        if (line < a.cols) {
            a.x_split[to * a.cols + line] = word_if(a.x_words[word * a.cols + line], s == 1, false);
        } else {
            i64 i = line - a.cols, all = 2 * a.replicas * a.batch * a.words;
            u32 d = a.d_words[word * a.rows + i];
            a.d_split[to * a.rows + i] = word_if(d, (s == 1) != down, false);
            a.d_split[(all + to) * a.rows + i] = word_if(d, (s == 1) == down, true);
        }
        if (line == 0 && k == 0) a.dealt[2 * sample + s] = a.dealt[2 * a.replicas * a.batch + 2 * sample + s] = a.plans[sample];
    }
}

// What the cell weighs: the sum of its devices, each with its factor, in order.
KERNEL(combine_cells, GroupArgs) {
    float sum = a.factors[0] * a.parts[0][item];
    for (int k = 1; k < a.devices; ++k) sum = sum + a.factors[k] * a.parts[k][item];
    a.w[item] = sum;
}

// Pairs of which both devices have come far up: marked for a reset, with the difference that is written afterwards.
// What was read lies as [replica][column][row]; so do the values to write.
KERNEL(choose_refresh, RefreshArgs) {
    i64 replica = item / (a.rows * a.cols), cell = item % (a.rows * a.cols), i = cell / a.cols, j = cell % a.cols;
    i64 at = (replica * a.cols + j) * a.rows + i;
    float p = a.up[at], m = a.down[at];
    bool full = p > m ? p > a.up_high && m > a.down_low : p > a.up_low && m > a.down_high;
    a.chosen[item] = full ? 1.0f : 0.0f;
    a.up_write[at] = full && p > m ? m - p : 0.0f;
    a.down_write[at] = full && !(p > m) ? p - m : 0.0f;
}
