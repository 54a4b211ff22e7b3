// SPDX-License-Identifier: Apache-2.0
// Caches, coherence and store buffers: each access takes exactly what the micro-architecture's file says.
#include "models/cpu/uarch/uarch.h"
#include "models/mem/core.h"
#include "tests/shim/shim.h"
#include <stdio.h>
#include <string.h>

#define T TICKS_PER_CYCLE

struct fixture {
    struct machine machine;
    struct pcpu *cpus[2], cpu[2];
    struct uarch *u;
};

static bool open_two(struct fixture *f)
{
    char path[512], error[512] = "";

    memset(f, 0, sizeof *f);
    snprintf(path, sizeof path, "%s/models/cpu/uarch/skylake-sp.yaml", test_source_dir());
    f->u = uarch_load(path, error, sizeof error);
    EXPECT_STREQ(error, "");
    if (!f->u || mem_arena_create(0, 256ull << 20))
        return false;
    f->machine = (struct machine){.cpus = f->cpus, .cpu_count = 2, .host_count = 1, .uarch = f->u};
    for (unsigned i = 0; i < 2; i++) {
        f->cpus[i] = &f->cpu[i];
        f->cpu[i] = (struct pcpu){.index = i, .machine = &f->machine, .uarch = f->u};
        f->cpu[i].mem = mem_core_create(&f->cpu[i]);
        if (!f->cpu[i].mem)
            return false;
    }
    // Later accesses find the page in the first-level TLB.
    mem_access(&f->cpu[0], 0, 8, MEM_LOAD);
    mem_access(&f->cpu[1], 0, 8, MEM_LOAD);
    return true;
}

static void close_two(struct fixture *f)
{
    for (unsigned i = 0; i < 2; i++)
        mem_core_destroy(f->cpu[i].mem);
    uarch_free(f->u);
    mem_arena_destroy();
}

static uint64_t load(struct pcpu *c, uint64_t hpa)
{
    uint64_t before = c->now_ticks;

    mem_access(c, hpa, 8, MEM_LOAD);
    return c->now_ticks - before;
}

TEST(Mem, LoadsTakeWhatTheirLevelTakes)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    struct pcpu *c = &f.cpu[0];
    uint64_t l1 = f.u->l1d.latency_cycles, sets = f.u->l1d.size_bytes / 64 / f.u->l1d.ways;

    EXPECT_EQ(load(c, 4096), (f.u->memory.dram_cycles - l1) * T);
    EXPECT_EQ(load(c, 4096), 0);
    EXPECT_EQ(load(c, 4096 + 56), 0);
    EXPECT_EQ(load(c, 4096 + 64), (f.u->memory.dram_cycles - l1) * T);
    // One line more than the set has ways: the oldest is in L2 only.
    for (uint64_t i = 1; i <= f.u->l1d.ways; i++)
        load(c, 4096 + i * sets * 64);
    EXPECT_EQ(load(c, 4096), (f.u->l2.latency_cycles - l1) * T);
    close_two(&f);
}

static uint64_t fetch(struct pcpu *c, uint64_t hpa, unsigned bytes)
{
    uint64_t before = c->now_ticks;

    mem_fetch(c, hpa, bytes);
    return c->now_ticks - before;
}

TEST(Mem, FetchesTakeWhatTheirLevelTakes)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    struct pcpu *c = &f.cpu[0];
    uint64_t l1 = f.u->l1d.latency_cycles, sets = f.u->l1i.size_bytes / 64 / f.u->l1i.ways;
    const uint64_t at = 64 << 20; // No other test's
    uint64_t l2 = f.u->l2.latency_cycles - f.u->l1i.latency_cycles;

    EXPECT_EQ(fetch(c, at, 15), (f.u->memory.dram_cycles - l1) * T);
    EXPECT_EQ(fetch(c, at + 49, 15), 0);
    EXPECT_EQ(fetch(c, at + 50, 15), (f.u->memory.dram_cycles - l1) * T); // The next line.
    // One line more than the set has ways: the oldest is in L2 only.
    for (uint64_t i = 1; i <= f.u->l1i.ways; i++)
        fetch(c, at + i * sets * 64, 1);
    EXPECT_EQ(fetch(c, at, 15), l2 * T);
    // Data are no code: what was loaded comes from L2.
    load(c, at + (1 << 20));
    EXPECT_EQ(fetch(c, at + (1 << 20), 1), l2 * T);
    close_two(&f);
}

// Sharing: another core's modified line, then shared by both, then an upgrade for the writer.
TEST(Mem, LinesMoveBetweenCoresAtTheirPrice)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    struct pcpu *a = &f.cpu[0], *b = &f.cpu[1];
    uint64_t l1 = f.u->l1d.latency_cycles;

    mem_access(a, 8192, 8, MEM_RMW);
    EXPECT_EQ(load(b, 8192), (f.u->coherence.modified_cycles - l1) * T);
    EXPECT_EQ(load(a, 8192), 0);
    EXPECT_EQ(load(b, 8192), 0);
    uint64_t before = b->now_ticks;

    mem_access(b, 8192, 8, MEM_RMW);
    EXPECT_EQ(b->now_ticks - before, (f.u->coherence.upgrade_cycles + f.u->op.rmw_cycles) * T);
    EXPECT_EQ(load(a, 8192), (f.u->coherence.modified_cycles - l1) * T);
    load(a, 12288); // Clean and exclusive.
    EXPECT_EQ(load(b, 12288), (f.u->coherence.clean_cycles - l1) * T);
    close_two(&f);
}

TEST(Mem, StoresDrainInOrderAndStallOnlyWhenTheBufferIsFull)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    struct pcpu *c = &f.cpu[0];
    char *p = mem_hpa_to_ptr(c, 1 << 20, 1 << 20);

    ASSERT_TRUE(p != NULL);
    uint64_t start = c->now_ticks, miss = (f.u->memory.dram_cycles - f.u->l1d.latency_cycles) * T;

    for (uint64_t i = 0; i < f.u->buffers.store_entries; i++)
        mem_store_begin(c, p + i * 64, 8);
    EXPECT_EQ(c->now_ticks, start); // Nobody waits for a store.
    EXPECT_EQ(c->mem->counters.store_stalls, 0);
    mem_store_begin(c, p + f.u->buffers.store_entries * 64, 8);
    EXPECT_EQ(c->mem->counters.store_stalls, 1);
    EXPECT_EQ(c->now_ticks, start + miss); // Until the oldest has its line.
    mem_store_drain(c);
    EXPECT_EQ(c->mem->stores.count, 0);
    close_two(&f);
}

// SDM 8.2.3.5 to 8.2.3.8 in small: own stores are seen at once, others' when they drain, in order.
TEST(Mem, HiddenStoresAppearWhenTheyDrain)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    struct pcpu *a = &f.cpu[0], *b = &f.cpu[1];
    uint64_t *x = mem_hpa_to_ptr(a, 2 << 20, 16), *y = x + 8;

    b->now_ticks = a->now_ticks;
    mem_store_begin(a, x, 8);
    *x = 1;
    mem_store_begin(a, y, 8);
    *y = 2;
    uint64_t drained = a->mem->stores.last_drain_ticks;

    mem_store_hide(a);
    EXPECT_EQ(*x, 0);
    EXPECT_EQ(*y, 0);
    b->now_ticks = mem_hidden_drain_ticks - 1;
    mem_commit_due(b);
    EXPECT_EQ(*x, 0);
    b->now_ticks = mem_hidden_drain_ticks;
    mem_commit_due(b);
    EXPECT_EQ(*x, 1); // The first one's time has come, not yet the second's.
    EXPECT_EQ(*y, drained == b->now_ticks ? 2 : 0);
    b->now_ticks = drained;
    mem_commit_due(b);
    EXPECT_EQ(*y, 2);
    EXPECT_EQ(mem_hidden_drain_ticks, TICKS_NEVER);
    mem_store_show(a);
    EXPECT_EQ(*x, 1);
    close_two(&f);
}

// SDM 8.2.2: what is kept holds all younger stores behind it; let go, they follow it one commit after the
// other.
TEST(Mem, AStoreThatIsKeptHoldsTheYoungerOnes)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    struct pcpu *a = &f.cpu[0], *b = &f.cpu[1];
    uint64_t *x = mem_hpa_to_ptr(a, 2 << 20, 24), late = a->now_ticks + 100000 * T;

    for (unsigned i = 0; i < 3; i++) {
        mem_store_begin(a, x + i * 8, 8);
        x[i * 8] = 1;
        if (i == 1)
            mem_store_keep(a, 7, NULL);
    }
    mem_store_hide(a);
    b->now_ticks = late;
    mem_commit_due(b);
    EXPECT_TRUE(x[0] == 1 && x[8] == 0 && x[16] == 0);
    EXPECT_EQ(mem_hidden_drain_ticks, TICKS_NEVER);
    EXPECT_EQ(mem_store_let_go(a, 6, late), TICKS_NEVER); // Another number.
    EXPECT_EQ(mem_store_let_go(a, 7, late + 10), late + 10);
    EXPECT_EQ(mem_hidden_drain_ticks, late + 10);
    b->now_ticks = late + 10;
    mem_commit_due(b);
    EXPECT_TRUE(x[8] == 1 && x[16] == 0);
    b->now_ticks = late + 10 + a->mem->commit;
    mem_commit_due(b);
    EXPECT_EQ(x[16], 1);
    mem_store_show(a);
    // One that could not have drained yet does not do so earlier.
    mem_store_begin(a, x, 8);
    uint64_t due = a->mem->stores.last_drain_ticks;

    mem_store_keep(a, 1, NULL);
    EXPECT_EQ(mem_store_let_go(a, 1, due - 1), due);
    close_two(&f);
}

// A store of another core that drains while this one has a newer store of its own pending stays below it.
TEST(Mem, AnOlderStoreOfAnotherCoreDoesNotHideOnesOwn)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    struct pcpu *a = &f.cpu[0], *b = &f.cpu[1];
    uint64_t *x = mem_hpa_to_ptr(a, 3 << 20, 8);

    b->now_ticks = a->now_ticks;
    mem_store_begin(a, x, 8);
    *x = 1;
    mem_store_hide(a);
    uint64_t first = mem_hidden_drain_ticks;

    b->now_ticks = first - 1;
    mem_store_begin(b, x, 8);
    *x = 2;
    ASSERT_GT(b->mem->stores.last_drain_ticks, first);
    b->now_ticks = first;
    mem_commit_due(b);
    EXPECT_EQ(*x, 2);
    mem_store_hide(b);
    EXPECT_EQ(*x, 1); // What everybody else sees until b's store drains.
    mem_store_show(b);
    EXPECT_EQ(*x, 2);
    close_two(&f);
}

// As the hooks do it (models/cpu/native/hooks.h): by what is near, or by the long way each time.
static void by_pointer(struct pcpu *c, void *p, bool store, bool near)
{
    struct mem_core *m = c->mem;
    uint64_t hpa = (uint64_t)(uintptr_t)p - HW_ARENA_BASE;

    if (!near)
        mem_near_forget(m);
    if (mem_near(m, store ? m->near_store : m->near_load, p, 8)) {
        if (store && m->stores.count == m->stores.capacity)
            mem_store_make_room(c);
        if (store)
            mem_store_near(m, c->now_ticks, p, 8);
        return;
    }
    if (store)
        mem_store_push(c, p, 8, mem_time_store(c, hpa, 8));
    else
        mem_time_load(c, hpa, 8);
    mem_near_learn(m, store ? m->near_store : m->near_load, p, hpa);
}

#define STEPS 60000u
#define GIB (1ull << 30)

// Two cores by turns at lines of few L1 sets, so that LRU matters, in more GBytes than the TLB holds.
static void walk(bool near, uint64_t *times, uint64_t *near_uses)
{
    struct fixture f;
    uint64_t random = 7;

    ASSERT_TRUE(open_two(&f));
    ASSERT_EQ(mem_arena_create(0, 32 * GIB), 0);
    for (unsigned i = 0; i < 2; i++) {
        mem_core_reset(f.cpu[i].mem);
        f.cpu[i].now_ticks = 0;
    }
    mem_store_hide(&f.cpu[1]);
    for (uint32_t i = 0; i < STEPS; i++) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t r = (uint32_t)(random >> 33);
        struct pcpu *c = &f.cpu[r >> 8 & 1];
        uint64_t at = (r & 3) * 64 + (r >> 2 & 15) * 4096 + (r >> 9 & 7) * 8; // 4 sets, 16 lines in each

        if ((r >> 12 & 63) == 0)
            at += (r >> 18 & 31) * GIB;
        mem_store_hide(&f.cpu[!c->index]);
        mem_store_show(c);
        c->now_ticks = c->now_ticks > f.cpu[!c->index].now_ticks ? c->now_ticks : f.cpu[!c->index].now_ticks;
        uint64_t uses = c->mem->l1.clock;

        by_pointer(c, (void *)(uintptr_t)(HW_ARENA_BASE + at), r >> 24 & 1, near);
        *near_uses += c->mem->l1.clock == uses + 1 && c->mem->l1.last->used != c->mem->l1.clock;
        times[i] = c->now_ticks;
        if ((r >> 25 & 15) == 0)
            mem_store_drain(c);
    }
    close_two(&f);
}

TEST(Mem, NearLinesTakeTheTimeOfTheLongWay)
{
    static uint64_t times[2][STEPS];
    uint64_t uses[2] = {0, 0};

    walk(false, times[0], &uses[0]);
    walk(true, times[1], &uses[1]);
    for (uint32_t i = 0; i < STEPS; i++)
        ASSERT_EQ(times[0][i], times[1][i]);
    EXPECT_EQ(uses[0], 0);
    EXPECT_GT(uses[1], STEPS / 20); // Else it says nothing.
}

// --- MONITOR (SDM 8.10.2).

static struct {
    uint32_t count;
    uint64_t at_ticks;
} hits;
static void on_hit(struct pcpu *c, uint64_t at_ticks)
{
    (void)c;
    hits.count++;
    hits.at_ticks = at_ticks;
}
static void monitor(struct pcpu *c, uint64_t hpa)
{
    mem_access(c, hpa, 1, MEM_GUEST_LOAD);
    mem_monitor_arm(c, hpa, on_hit);
    hits.count = 0;
}
static uint64_t store(struct pcpu *c, uint64_t hpa)
{
    uint64_t drain = mem_time_guest_store(c, hpa, 8);

    mem_store_push(c, mem_hpa_to_ptr(c, hpa, 8), 8, drain);
    return drain;
}

// The first store of another core is told, with the time at which it drains; others are not.
TEST(Monitor, HitByAnotherCoresStore)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    struct pcpu *a = &f.cpu[0], *b = &f.cpu[1];

    store(b, 8192); // Modified there.
    mem_store_drain(b);
    monitor(a, 8192 + 8);
    store(b, 8192 + 64); // The next line.
    store(a, 8192);      // Its own.
    load(b, 8192);
    EXPECT_EQ(hits.count, 0);
    EXPECT_TRUE(mem_monitor_armed(a));
    mem_access(a, 8192, 8, MEM_LOAD);
    uint64_t drain = store(b, 8192 + 56);

    EXPECT_EQ(hits.count, 1);
    EXPECT_EQ(hits.at_ticks, drain);
    EXPECT_GT(drain, b->now_ticks);
    EXPECT_FALSE(mem_monitor_armed(a));
    store(b, 8192);
    mem_store_drain(b);
    EXPECT_EQ(hits.count, 1);
    close_two(&f);
}

TEST(Monitor, HitByALockedOperation)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    monitor(&f.cpu[0], 8192);
    mem_access(&f.cpu[1], 8192, 8, MEM_GUEST_RMW);
    EXPECT_EQ(hits.count, 1);
    mem_access(&f.cpu[1], 8192, 8, MEM_GUEST_RMW);
    EXPECT_EQ(hits.count, 1);
    close_two(&f);
}

// A store that was executed before MONITOR, and drains behind it.
TEST(Monitor, HitByAStoreThatWasOnItsWay)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    struct pcpu *a = &f.cpu[0], *b = &f.cpu[1];

    load(a, 8192);
    uint64_t drain = store(b, 8192);

    mem_store_hide(b);
    a->now_ticks = drain - 1;
    monitor(a, 8192);
    EXPECT_EQ(mem_next_drain_ticks(), drain);
    mem_commit_due(a);
    EXPECT_EQ(hits.count, 0);
    a->now_ticks = drain;
    mem_commit_due(a);
    EXPECT_EQ(hits.count, 1);
    mem_store_show(b);
    close_two(&f);
}

// Evicted lines are watched all the same: nobody else gets them exclusively, so each store asks.
TEST(Monitor, OutlivesItsLine)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    struct pcpu *a = &f.cpu[0], *b = &f.cpu[1];
    uint64_t sets = f.u->l2.size_bytes / 64 / f.u->l2.ways;

    monitor(a, 8192);
    for (uint64_t i = 1; i <= f.u->l2.ways; i++)
        load(a, 8192 + i * sets * 64);
    EXPECT_TRUE(cache_probe(&a->mem->l2, 8192 >> MEM_LINE_SHIFT) == NULL);
    load(b, 8192);
    EXPECT_EQ(hits.count, 0);
    store(b, 8192);
    EXPECT_EQ(hits.count, 1);
    close_two(&f);
}

TEST(Monitor, DisarmedItHearsNothing)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    monitor(&f.cpu[0], 8192);
    mem_monitor_disarm(&f.cpu[0]);
    store(&f.cpu[1], 8192);
    monitor(&f.cpu[0], UINT64_MAX); // Nowhere.
    store(&f.cpu[1], 8192);
    EXPECT_EQ(hits.count, 0);
    EXPECT_TRUE(mem_monitor_armed(&f.cpu[0]));
    close_two(&f);
}

TEST(Mem, ResetForgetsEverything)
{
    struct fixture f;

    ASSERT_TRUE(open_two(&f));
    struct pcpu *c = &f.cpu[0];
    uint64_t cold = load(c, 64 << 20);

    for (int i = 0; i < 3; i++) {
        mem_core_reset(c->mem);
        c->now_ticks = 0;
        load(c, 0);
        EXPECT_EQ(load(c, 64 << 20), cold);
    }
    close_two(&f);
}

TEST(Mem, ArenaRefusesWhatDoesNotFit)
{
    EXPECT_EQ(mem_arena_create(0, 100), -1);
    EXPECT_EQ(mem_arena_create(0, 0), -1);
    EXPECT_EQ(mem_arena_create(0, 1ull << 50), -1);
    ASSERT_EQ(mem_arena_create(0, 1 << 20), 0);
    struct pcpu c = {.host = 0};

    EXPECT_TRUE(mem_hpa_to_ptr(&c, 0, 1 << 20) != NULL);
    EXPECT_EQ(mem_hpa_to_ptr(&c, 1, 1 << 20), NULL);
    EXPECT_EQ(mem_hpa_to_ptr(&c, UINT64_MAX, 8), NULL);
    EXPECT_EQ(mem_hpa_to_ptr(&c, 8, UINT64_MAX), NULL);
    mem_arena_destroy();
}
