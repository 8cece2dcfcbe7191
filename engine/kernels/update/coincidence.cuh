// From the words of lines to the pulses of the cells that they cross.
#include "jump.cuh"

// Cells of a line that is their own, crossed by other lines: words of both, part k of sample b in row b words + k.
// Samples from .. to - 1, or those that `picked` names by these numbers. `signs` and `chop` are those of choppers.
struct TrainView {
    const u32 *line, *crossing, *signs;
    const Amplitude* plans;
    const int* picked;
    i64 line_stride, crossing_stride, sign_stride, from, to;
    u32 chop;
    bool by_columns;
    const float* rates;
};
// What row i of a replica and its columns from `col` on bring in all samples.
FN TrainView trains_of(const UpdateArgs& a, i64 replica, i64 i, i64 col) {
    i64 words = replica * a.batch * a.words;
    const u32 *line = a.d_words + words * a.rows + i, *crossing = a.x_words + words * a.cols + col;
    return {line, crossing, nullptr, a.plans + replica * a.batch, nullptr, a.rows, a.cols, 0, 0, a.batch};
}
FN i64 sample_of(const TrainView& m, i64 n) { return m.picked ? m.picked[n] : n; }

// Other lines from `at` on, of which those beyond `lines` have no pulses; or those of a list.
struct AdjacentLines { i64 at, lines; };
struct ListedLines { const u32* list; };
FN void fetch_words(u32& to, const u32* row, const AdjacentLines& k) { to = k.at < k.lines ? row[k.at] : 0u; }
FN u32 counted(int type, u32 own, u32 other, bool by_columns, int length) {
    return by_columns ? pulses_of(type, own, other, length) : pulses_of(type, other, own, length);
}
#if WIDE > 1
FN void fetch_words(WideBits& to, const u32* row, const AdjacentLines& k) {
    if (k.at + WIDE <= k.lines) {
        fetch(to, row + k.at);
        return;
    }
    u32 all[WIDE];
    for (int l = 0; l < WIDE; ++l) all[l] = k.at + l < k.lines ? row[k.at + l] : 0u;
    fetch(to, all);
}
FN void fetch_words(WideBits& to, const u32* row, const ListedLines& k) {
    u32 all[WIDE];
    LOOP for (int l = 0; l < WIDE; ++l) all[l] = row[k.list[l]];
    fetch(to, all);
}
FN WideBits counted(int type, u32 own, WideBits other, bool by_columns, int length) {
    u32 n[WIDE];
    put(n, other);
    LOOP for (int l = 0; l < WIDE; ++l) n[l] = counted(type, own, n[l], by_columns, length);
    fetch(other, n);
    return other;
}
#endif

// 1 where equal signs of both lines mean a pulse up.
FN u32 direction_of(const TrainView& m, const Amplitude& plan) { return m.chop ^ 1u ^ (plan.down ? 1u : 0u); }

// In how many slots of a word both lines fire.
template <class N> FN N coincidences(const N& word, u32 own) { return popcount(word & (own & SLOT_MASK)); }

// Pulses of sample b on the cells that other lines cross, and whether they go up.
template <class N, class L> FN N pulses_in(const UpdateArgs& a, const TrainView& m, i64 b, const L& lines, N& up) {
    const Amplitude& plan = m.plans[b];
    N n = {}, word = {}, turn = {};
    u32 own = 0u;
    for (int part = 0; part < a.words && part * SLOTS < plan.length; ++part) {
        i64 row = b * a.words + part;
        u32 fires = m.line[row * m.line_stride];
        if ((fires & SLOT_MASK) == 0u) continue;
        own = fires;
        fetch_words(word, m.crossing + row * m.crossing_stride, lines);
        if (a.type != STOCHASTIC) {
            n = counted(a.type, own, word, m.by_columns, plan.length);
            break;
        }
        n = n + coincidences(word, own);
    }
    if (m.signs) fetch_words(turn, m.signs + b * m.sign_stride, lines);
    up = ((word ^ (own ^ direction_of(m, plan) << 31)) >> 31) ^ turn;
    return n;
}
