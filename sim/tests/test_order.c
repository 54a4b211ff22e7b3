// SPDX-License-Identifier: Apache-2.0
// The order of processes is exact: time, then the chooser among equals, by default rank, then order of
// waiting.
#include "sim/tests/log.h"
#include "tests/shim/shim.h"

#include <string.h>

enum { WALKERS = 7, STEPS = 60 };

struct walker {
    unsigned who, rank;
    uint64_t seed;
    uint32_t spread_ps; // Waits are 0 .. spread - 1: a small spread makes many ties.
    unsigned steps;
    struct log *log;
};

static void walk(void *arg)
{
    struct walker *w = arg;
    for (unsigned i = 0; i < w->steps; i++) {
        sim_wait_until(sim_now_ps() + next_random(&w->seed) % w->spread_ps);
        log_add(w->log, sim_now_ps(), w->who);
    }
}

// The same, on a clock of its own: it waits only where something else could come first.
static void walk_ahead(void *arg)
{
    struct walker *w = arg;
    sim_ps_t ps = sim_now_ps();
    for (unsigned i = 0; i < w->steps; i++) {
        ps += next_random(&w->seed) % w->spread_ps;
        if (!sim_may_continue(ps, w->rank)) {
            sim_wait_until(ps);
        }
        log_add(w->log, ps, w->who);
    }
    sim_wait_until(ps);
}

static void make_walkers(struct walker *w, struct log *log, uint64_t seed, uint32_t spread_ps)
{
    log->count = 0;
    for (unsigned i = 0; i < WALKERS; i++) {
        w[i] = (struct walker){.who = i,
                               .rank = (i * 3) % WALKERS,
                               .seed = seed * 1000 + i,
                               .spread_ps = spread_ps,
                               .steps = STEPS,
                               .log = log};
    }
}

static void run_walkers(struct log *log, uint64_t seed, uint32_t spread_ps, void (*body)(void *))
{
    struct walker w[WALKERS];
    make_walkers(w, log, seed, spread_ps);
    for (unsigned i = 0; i < WALKERS; i++) {
        sim_process_start("walker", w[i].rank, STACK_BYTES, body, &w[i]);
    }
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    sim_start_over();
}

// What must come out, by exhaustive search of the smallest (time, rank, order of waiting) at each step. Each
// walker's first turn, which starts it, is at time 0.
static void expected_order(struct log *log, uint64_t seed, uint32_t spread_ps)
{
    struct walker w[WALKERS];
    struct {
        sim_ps_t ps;
        unsigned seq, steps;
        bool over;
    } due[WALKERS];
    unsigned seq = 0;
    make_walkers(w, log, seed, spread_ps);
    memset(due, 0, sizeof due);
    for (unsigned i = 0; i < WALKERS; i++) {
        due[i].seq = seq++;
    }
    for (;;) {
        unsigned best = WALKERS;
        for (unsigned i = 0; i < WALKERS; i++) {
            if (due[i].over || (best < WALKERS && due[i].ps > due[best].ps)) {
                continue;
            }
            if (best == WALKERS || due[i].ps < due[best].ps || w[i].rank < w[best].rank ||
                (w[i].rank == w[best].rank && due[i].seq < due[best].seq)) {
                best = i;
            }
        }
        if (best == WALKERS) {
            return;
        }
        if (due[best].steps > 0) {
            log_add(log, due[best].ps, best);
        }
        if (due[best].steps++ == STEPS) {
            due[best].over = true;
            continue;
        }
        due[best].ps += next_random(&w[best].seed) % spread_ps;
        due[best].seq = seq++;
    }
}

static void expect_same(const struct log *want, const struct log *got)
{
    EXPECT_EQ(got->count, want->count);
    for (unsigned i = 0; i < want->count && i < got->count; i++) {
        if (got->entry[i].ps != want->entry[i].ps || got->entry[i].who != want->entry[i].who) {
            TEST_FAIL("step %u: want walker %u at %llu ps, got walker %u at %llu ps", i, want->entry[i].who,
                      (unsigned long long)want->entry[i].ps, got->entry[i].who,
                      (unsigned long long)got->entry[i].ps);
            return;
        }
    }
}

static const uint32_t spreads_ps[] = {1, 2, 5, 40, 100000};
static struct log want, got;

TEST(Order, IsThatOfAReferenceSort)
{
    ASSERT_EQ(sim_init(), 0);
    for (unsigned s = 0; s < sizeof spreads_ps / sizeof *spreads_ps; s++) {
        for (uint64_t seed = 1; seed <= 40; seed++) {
            test_row("spread %u ps, seed %llu", spreads_ps[s], (unsigned long long)seed);
            expected_order(&want, seed, spreads_ps[s]);
            run_walkers(&got, seed, spreads_ps[s], walk);
            EXPECT_EQ(want.count, WALKERS * STEPS);
            expect_same(&want, &got);
        }
    }
}

TEST(Order, IsTheSameForProcessesThatRunAhead)
{
    ASSERT_EQ(sim_init(), 0);
    for (unsigned s = 0; s < sizeof spreads_ps / sizeof *spreads_ps; s++) {
        for (uint64_t seed = 1; seed <= 40; seed++) {
            test_row("spread %u ps, seed %llu", spreads_ps[s], (unsigned long long)seed);
            expected_order(&want, seed, spreads_ps[s]);
            run_walkers(&got, seed, spreads_ps[s], walk_ahead);
            expect_same(&want, &got);
        }
    }
}

static void note(void *arg)
{
    struct walker *w = arg;
    sim_wait_until(100);
    log_add(w->log, sim_now_ps(), w->who);
}

static void run_notes(const unsigned *ranks, unsigned n)
{
    struct walker w[8];
    got.count = 0;
    for (unsigned i = 0; i < n; i++) {
        w[i] = (struct walker){.who = i, .rank = ranks[i], .log = &got};
        sim_process_start("note", ranks[i], STACK_BYTES, note, &w[i]);
    }
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(got.count, n);
    EXPECT_EQ(sim_now_ps(), 100);
    sim_start_over();
}

TEST(Order, TiesGoByRankThenByOrderOfWaiting)
{
    static const struct {
        unsigned ranks[4];
        unsigned order[4];
    } rows[] = {
        {{0, 1, 2, 3}, {0, 1, 2, 3}},
        {{3, 2, 1, 0}, {3, 2, 1, 0}},
        {{1000, 5, 1000, 5}, {1, 3, 0, 2}},
        {{7, 7, 7, 7}, {0, 1, 2, 3}},
    };
    ASSERT_EQ(sim_init(), 0);
    for (unsigned r = 0; r < sizeof rows / sizeof *rows; r++) {
        test_row("row %u", r);
        run_notes(rows[r].ranks, 4);
        for (unsigned i = 0; i < 4; i++) {
            EXPECT_EQ(got.entry[i].who, rows[r].order[i]);
        }
    }
}

struct chooser {
    bool last;
    unsigned asked, n[64];
};

static unsigned choose(void *ctx, enum sim_site site, unsigned n)
{
    struct chooser *c = ctx;
    EXPECT_EQ(site, SIM_SITE_TIE);
    c->n[c->asked++ % 64] = n;
    return c->last ? n - 1 : 0;
}

TEST(Order, AChooserDecidesEveryTieAndNothingElse)
{
    static const unsigned ranks[4] = {0, 1, 2, 3};
    struct chooser c = {.last = true};
    ASSERT_EQ(sim_init(), 0);
    sim_choose_install(choose, &c);
    run_notes(ranks, 4);
    sim_choose_install(NULL, NULL);
    // Four to start at 0, then four at 100: each time 4, 3, 2 to choose from, and no question for one.
    static const unsigned want_n[] = {4, 3, 2, 4, 3, 2};
    ASSERT_EQ(c.asked, 6);
    for (unsigned i = 0; i < 6; i++) {
        EXPECT_EQ(c.n[i], want_n[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        EXPECT_EQ(got.entry[i].who, 3 - i);
    }
}

TEST(Order, AChooserSeesAtMostSixtyFourAndLosesNobody)
{
    enum { MANY = 100, SEEN = 64 };
    static struct walker w[MANY];
    unsigned turns[MANY] = {0};
    struct chooser c = {.last = true};
    ASSERT_EQ(sim_init(), 0);
    got.count = 0;
    for (unsigned i = 0; i < MANY; i++) {
        w[i] = (struct walker){.who = i, .log = &got};
        sim_process_start("note", MANY - i, STACK_BYTES, note, &w[i]);
    }
    sim_choose_install(choose, &c);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    sim_choose_install(NULL, NULL);
    EXPECT_EQ(c.asked, 2 * (MANY - 1));
    ASSERT_EQ(got.count, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        // The last of those seen: of rank 64, 65, ... 100, then 63, 62, ...
        unsigned rank = i <= MANY - SEEN ? SEEN + i : MANY - i;
        EXPECT_EQ(got.entry[i].who, MANY - rank);
        turns[got.entry[i].who]++;
    }
    for (unsigned i = 0; i < MANY; i++) {
        EXPECT_EQ(turns[i], 1);
    }
    sim_start_over();
}

TEST(Order, AChooserThatTakesTheFirstChangesNothing)
{
    ASSERT_EQ(sim_init(), 0);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct chooser c = {.last = false};
        test_row("seed %llu", (unsigned long long)seed);
        expected_order(&want, seed, 5);
        sim_choose_install(choose, &c);
        run_walkers(&got, seed, 5, walk_ahead);
        sim_choose_install(NULL, NULL);
        EXPECT_GT(c.asked, 0);
        expect_same(&want, &got);
    }
}

// Two that keep to the same time, as processors that run ahead do: they ask before each step whether they
// may.
static void ask_and_step(void *arg)
{
    unsigned *steps = arg;

    for (unsigned i = 0; i < 10; i++) {
        while (!sim_may_continue(100 * i, 0)) {
            sim_wait_until(100 * i);
            if (sim_may_continue(100 * i, 0))
                break;
            ASSERT_TRUE(++steps[1] < 100);
        }
        steps[0]++;
    }
}

TEST(Order, WhoWasChosenAmongEqualsMayGoOn)
{
    unsigned one[2] = {0}, two[2] = {0};
    struct chooser c = {.last = true};
    ASSERT_EQ(sim_init(), 0);
    sim_choose_install(choose, &c);
    sim_process_start("one", 0, STACK_BYTES, ask_and_step, one);
    sim_process_start("two", 0, STACK_BYTES, ask_and_step, two);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    sim_choose_install(NULL, NULL);
    EXPECT_EQ(one[0], 10);
    EXPECT_EQ(two[0], 10);
    sim_start_over();
}

static unsigned choose_too_much(void *ctx, enum sim_site site, unsigned n)
{
    (void)ctx;
    (void)site;
    return n;
}

static void make_bad_choice(void *arg)
{
    (void)arg;
    sim_choose_install(choose_too_much, NULL);
    sim_choose(SIM_SITE_MODEL, 3);
}

TEST(Order, AChoiceOutOfRangeIsABug)
{
    char out[512];
    EXPECT_EQ(sim_choose(SIM_SITE_MODEL, 1), 0);
    EXPECT_EQ(sim_choose(SIM_SITE_PREEMPT, 9), 0);
    EXPECT_EQ(test_exit_status(make_bad_choice, NULL, out, sizeof out), 70);
    EXPECT_STRSTR(out, "took 3 of 3");
}
