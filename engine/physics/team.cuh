// Threads of a CPU: only a host compiler reads this.
#pragma once

// Runs items [0, n) on a team of threads; `team` is the fork function of the OpenMP runtime that torch brought.
typedef void (*Range)(const void*, i64, i64);
struct Work { Range range; const void* args; i64 items; i64 chunk; i64 next; };
static void (*team_fork)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
static void team_member(void* w) {
    Work* k = (Work*)w;
    for (;;) {
        i64 begin = __atomic_fetch_add(&k->next, k->chunk, __ATOMIC_RELAXED);
        if (begin >= k->items) return;
        k->range(k->args, begin, begin + k->chunk < k->items ? begin + k->chunk : k->items);
    }
}

// Alone or with the team: whichever lately took less time for about as many items. Where other programs want the cores,
// waiting for a team costs far more than its work; no result depends on the choice.
struct Instant { i64 seconds, nanoseconds; };
extern "C" int clock_gettime(int clock, Instant* now);
struct Pace { float cost[2]; u32 calls, period; };
static float nanoseconds_since(const Instant& then) {
    Instant now;
    clock_gettime(1, &now);
    return (float)((now.seconds - then.seconds) * 1000000000 + now.nanoseconds - then.nanoseconds);
}
static bool choose_team(Pace& p) {
    bool team = p.cost[1] < p.cost[0];
    if (p.cost[1] == 0.0f || p.cost[0] == 0.0f) return p.cost[1] == 0.0f;
    if (++p.calls < p.period) return team;
    p.calls = 0;
    p.period = p.period < 4096 ? 2 * p.period : 4096;
    return !team;
}
static void note_cost(Pace& p, bool team, float cost) {
    bool was = p.cost[1] < p.cost[0];
    float& kept = p.cost[team];
    cost = cost + 1e-3f;
    kept = kept == 0.0f ? cost : kept + 0.25f * ((cost < 4.0f * kept ? cost : 4.0f * kept) - kept);
    if ((p.cost[1] < p.cost[0]) != was || p.period == 0) p.period = 32;
}
static void run_range(Range range, const void* args, i64 items, i64 threads, Pace* paces) {
    if (threads < 2 || items < 2 || !team_fork) { range(args, 0, items); return; }
    Pace& pace = paces[63 - __builtin_clzll((u64)items)];
    bool team = choose_team(pace);
    Instant start;
    clock_gettime(1, &start);
    Work k = {range, args, items, (items + 4 * threads - 1) / (4 * threads), 0};
    if (team) team_fork(team_member, &k, (unsigned)threads, 0);
    else range(args, 0, items);
    note_cost(pace, team, nanoseconds_since(start) / (float)items);
}
extern "C" void aihw_team(void* fork) { team_fork = (void (*)(void (*)(void*), void*, unsigned, unsigned))fork; }
