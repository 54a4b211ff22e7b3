// SPDX-License-Identifier: Apache-2.0
// Pinned orders (schedule.h) on a hypervisor core of one page: accesses, drains of store buffers, interrupts.
#include "models/cpu/native/schedule.h"
#include "models/cpu/native/tests/mini_machine.h"
#include <stdio.h>
#include <string.h>

#define LOAD "mini_hv.c:unlocked+2 read"
#define STORE "mini_hv.c:unlocked+3 write"
struct pinned {
    const char *steps[6];
    uint64_t counter; // At the end, of two additions to 0.
    uint32_t passed;
};

static struct schedule *pin(struct fixture *f, const char *const *texts, uint32_t count, char *error,
                            size_t size)
{
    static struct schedule_step steps[8];
    struct places *places = places_open(f->image, error, size);
    struct schedule *s = NULL;
    uint32_t bad;

    for (uint32_t i = 0; places && i < count; i++)
        if (!schedule_parse(texts[i], &steps[i], error, size))
            count = 0;
    if (places && count)
        s = schedule_create(steps, count, places, &f->machine, &bad, error, size);
    places_close(places);
    return s;
}

TEST(Schedule, OrdersAccessesOfTwoProcessors)
{
    static const struct pinned rows[] = {
        // Both load before either stores: an update is lost, whoever is first.
        {{"cpu0 " LOAD, "cpu1 " LOAD, "cpu0 " STORE, "cpu1 " STORE}, 1, 4},
        {{"cpu1 " LOAD, "cpu0 " LOAD, "cpu1 " STORE, "cpu0 " STORE}, 1, 4},
        // One is through before the other begins.
        {{"cpu0 " STORE, "cpu0 mini_hv.c:unlocked_done block", "cpu1 " LOAD}, 2, 3},
        {{"cpu1 " STORE, "cpu1 mini_hv.c:unlocked_done block", "cpu0 " LOAD}, 2, 3},
    };
    char error[300] = "";
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t count = 0;

        while (rows[i].steps[count])
            count++;
        struct schedule *s = pin(&f, rows[i].steps, count, error, sizeof error);

        EXPECT_STREQ(error, "");
        ASSERT_TRUE(s != NULL);
        test_row("row %zu", i);
        for (int again = 0; again < 3; again++) {
            schedule_begin(s, &f.machine);
            EXPECT_EQ(mini_run(&f, UNLOCKED, 1, 0).counter, rows[i].counter);
            EXPECT_EQ(schedule_passed(s), rows[i].passed);
            schedule_end(s, &f.machine);
        }
        schedule_destroy(s);
    }
    mini_close(&f);
}

// cpu1 stands before its store until cpu0 has come to a place that it never comes to.
TEST(Schedule, AnImpossibleOrderIsGivenUpAndTheRunEnds)
{
    static const char *const steps[] = {"cpu0 mini_hv.c:work", "cpu1 " STORE};
    char error[300] = "";
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    struct schedule *s = pin(&f, steps, 2, error, sizeof error);

    EXPECT_STREQ(error, "");
    ASSERT_TRUE(s != NULL);
    schedule_begin(s, &f.machine);
    // It had loaded before it stood, and stores when it is let go.
    EXPECT_EQ(mini_run(&f, UNLOCKED, 1, 0).counter, 1);
    EXPECT_EQ(schedule_passed(s), 0);
    schedule_end(s, &f.machine);
    schedule_destroy(s);
    mini_close(&f);
}

// Runs `program` in the order, up to 6 steps and a NULL; how many steps were passed.
static uint32_t run_pinned(struct fixture *f, const char *const *steps, uint64_t program,
                           uint64_t irq_at_ticks, struct outcome *o)
{
    char error[300] = "";
    uint32_t count = 0;

    while (count < 6 && steps[count])
        count++;
    struct schedule *s = pin(f, steps, count, error, sizeof error);

    EXPECT_STREQ(error, "");
    if (!s)
        return 0;
    schedule_begin(s, &f->machine);
    *o = mini_run(f, program, 3, irq_at_ticks);
    uint32_t passed = schedule_passed(s);

    schedule_end(s, &f->machine);
    schedule_destroy(s);
    return passed;
}

// --- Drains. Atomics of store_buffering(): 3 stores x, 5 loads y; 6 stores y, 8 loads x. Its writes: 1
// counter, 2 x, 4 y. ---

#define SB "mini_hv.c:store_buffering"
#define LOAD_Y SB "#5 atomic"
#define LOAD_X SB "#8 atomic"

// SDM 8.2.3.4: every outcome that x86-TSO allows has an order, and the fence takes away the one that it
// forbids.
TEST(Schedule, OrdersDrainsOfStoreBuffers)
{
    static const struct {
        const char *steps[7];
        uint64_t program;
        uint64_t seen_x, seen_y;
        uint32_t passed;
    } rows[] = {
        {{"cpu0 " LOAD_Y, "cpu1 " LOAD_X, "cpu0 " SB "#2 drain", "cpu1 " SB "#4 drain"},
         STORE_BUFFERING,
         0,
         0,
         4},
        {{"cpu0 " LOAD_Y, "cpu1 " LOAD_X, "cpu1 " SB "#4 drain", "cpu0 " SB "#2 drain"},
         STORE_BUFFERING,
         0,
         0,
         4},
        {{"cpu0 " LOAD_Y, "cpu0 " SB "#2 drain", "cpu1 " LOAD_X, "cpu1 " SB "#4 drain"},
         STORE_BUFFERING,
         1,
         0,
         4},
        {{"cpu1 " LOAD_X, "cpu1 " SB "#4 drain", "cpu0 " LOAD_Y, "cpu0 " SB "#2 drain"},
         STORE_BUFFERING,
         0,
         1,
         4},
        {{"cpu0 " SB "#2 drain", "cpu1 " SB "#4 drain", "cpu0 " LOAD_Y, "cpu1 " LOAD_X},
         STORE_BUFFERING,
         1,
         1,
         4},
        {{"cpu0 " SB "#2 drain", "cpu1 " SB "#4 drain", "cpu0 " LOAD_Y, "cpu1 " LOAD_X},
         STORE_BUFFERING_FENCED,
         1,
         1,
         4},
        {{"cpu0 " LOAD_Y, "cpu0 " SB "#2 drain", "cpu1 " LOAD_X, "cpu1 " SB "#4 drain"},
         STORE_BUFFERING,
         1,
         0,
         4},
    };
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int again = 0; again < 2; again++) {
            struct outcome o = {.seen_x = 9};

            test_row("row %zu", i);
            EXPECT_EQ(run_pinned(&f, rows[i].steps, rows[i].program, 0, &o), rows[i].passed);
            EXPECT_EQ(o.seen_x, rows[i].seen_x);
            EXPECT_EQ(o.seen_y, rows[i].seen_y);
        }
    mini_close(&f);
}

// The store that an earlier step makes, however often its place was passed before.
TEST(Schedule, ADrainMeansTheStoreOfItsOwnStep)
{
    static const char *const buffering[] = {"cpu0 " SB "#3 atomic",       "cpu0 " LOAD_Y,
                                            "cpu1 " SB "#6 atomic",       "cpu1 " LOAD_X,
                                            "cpu0 " SB "#3 atomic drain", NULL};
    static const char *const third[] = {"cpu0 mini_hv.c:unlock#1 write x3", "cpu0 mini_hv.c:unlock#1 drain",
                                        NULL};
    struct outcome o = {0};
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    EXPECT_EQ(run_pinned(&f, buffering, STORE_BUFFERING, 0, &o), 5);
    EXPECT_TRUE(o.seen_x == 0 && o.seen_y == 0);
    EXPECT_EQ(run_pinned(&f, third, SPIN, 0, &o), 2);
    EXPECT_EQ(o.counter, 6);
    mini_close(&f);
}

// With a count it is that store, whatever other steps there are. The first cannot wait so long: the lock is
// taken again before.
TEST(Schedule, ADrainWithACountMeansThatStore)
{
    static const struct {
        const char *steps[3];
        uint32_t passed;
    } rows[] = {
        {{"cpu0 mini_hv.c:unlock#1 write x3", "cpu0 mini_hv.c:unlock#1 drain x3"}, 2},
        {{"cpu0 mini_hv.c:unlock#1 write x3", "cpu0 mini_hv.c:unlock#1 drain x1"}, 0},
        {{"cpu0 mini_hv.c:unlock#1 drain x1", "cpu0 mini_hv.c:unlock#1 drain x2"}, 2},
    };
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct outcome o = {0};

        test_row("row %zu", i);
        EXPECT_EQ(run_pinned(&f, rows[i].steps, SPIN, 0, &o), rows[i].passed);
        EXPECT_EQ(o.counter, 6);
    }
    mini_close(&f);
}

// Behind a store that is kept the buffer fills up. The processor stands before it takes the line of the store
// that has no room, and the other takes all lines meanwhile; it sees nothing of what waits.
TEST(Schedule, AFullBufferStandsBeforeItsNextStore)
{
    static const char *const steps[] = {"cpu1 mini_hv.c:fill#2 atomic",
                                        "cpu0 mini_hv.c:fill#1 atomic drain x1", NULL};
    struct outcome o = {0};
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    EXPECT_EQ(run_pinned(&f, steps, FILL, 0, &o), 2);
    EXPECT_EQ(o.seen_x, 0);
    EXPECT_EQ(o.seen_y, 0);
    EXPECT_EQ(o.x, 1);
    mini_close(&f);
}

// The other loads when this one has loaded, or when it has stored, too, and halted.
TEST(Schedule, AnIdleStepIsPassedWhenItsProcessorHasNothingToDo)
{
    static const struct pinned rows[] = {
        {{"cpu0 " LOAD, "cpu1 " LOAD, "cpu0 " STORE}, 1, 3},
        {{"cpu0 " LOAD " idle", "cpu1 " LOAD}, 2, 2},
        {{"cpu0 " LOAD " idle", "cpu1 " LOAD, "cpu0 " STORE " ?"}, 2, 2},
    };
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct outcome o = {0};

        test_row("row %zu", i);
        EXPECT_EQ(run_pinned(&f, rows[i].steps, UNLOCKED, 0, &o), rows[i].passed);
        EXPECT_EQ(o.counter, rows[i].counter);
    }
    mini_close(&f);
}

// What hardware does not do is impossible: a fence does not pass a store that waits, and stores drain in
// order.
TEST(Schedule, OrdersThatTheBufferForbidsAreGivenUp)
{
    static const struct {
        const char *steps[7];
        uint64_t program;
        uint32_t passed;
    } rows[] = {
        // The fence before the load waits for the store, which waits for the load.
        {{"cpu0 " LOAD_Y, "cpu1 " LOAD_X, "cpu0 " SB "#2 drain", "cpu1 " SB "#4 drain"},
         STORE_BUFFERING_FENCED,
         0},
        // The younger first.
        {{"cpu0 " SB "#1 write", "cpu0 " SB "#2 write", "cpu0 " SB "#2 drain", "cpu0 " SB "#1 drain"},
         STORE_BUFFERING,
         2},
    };
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct outcome o = {0};

        test_row("row %zu", i);
        EXPECT_EQ(run_pinned(&f, rows[i].steps, rows[i].program, 0, &o), rows[i].passed);
        EXPECT_EQ(o.x, 1); // It came to its end all the same.
        if (rows[i].program == STORE_BUFFERING_FENCED)
            EXPECT_FALSE(o.seen_x == 0 && o.seen_y == 0);
    }
    mini_close(&f);
}

// Its store waits, so its fence does, and the step of another processor comes in between.
TEST(Schedule, AStepIsDoneWhenItsProcessorStandsInAFence)
{
    static const char *const steps[] = {"cpu0 " STORE, "cpu1 " STORE, "cpu0 " STORE " drain", NULL};
    struct outcome o = {0};
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    EXPECT_EQ(run_pinned(&f, steps, UNLOCKED, 0, &o), 3);
    EXPECT_EQ(o.counter, 1);
    mini_close(&f);
}

// A locked operation is visible when it is made: its step stands before it, and the other takes the lock
// first.
TEST(Schedule, ADrainOfALockedOperationIsTheOperation)
{
    static const char *const rows[][3] = {
        {"cpu1 mini_hv.c:spin#1 write", "cpu0 mini_hv.c:lock#1 atomic drain", NULL},
        {"cpu0 mini_hv.c:spin#1 write", "cpu1 mini_hv.c:lock#1 atomic drain", NULL},
    };
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    for (unsigned i = 0; i < 2; i++) {
        struct outcome o = {0};

        EXPECT_EQ(run_pinned(&f, rows[i], SPIN, 0, &o), 2);
        EXPECT_EQ(o.counter, 6);
    }
    mini_close(&f);
}

// --- Interrupts. ---

#define IRQ_TICKS (1000000 * TICKS_PER_CYCLE)

TEST(Schedule, AProcessorWaitsForAnInterruptAtAPlace)
{
    static const char *const steps[] = {"cpu0 " STORE " interrupt", "cpu1 " LOAD, "cpu0 " STORE, NULL};
    struct outcome o = {0};
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    // Without it the run is over long before, and cpu1 is fast enough or not.
    EXPECT_EQ(mini_run(&f, UNLOCKED, 1, IRQ_TICKS).irqs, 0);
    EXPECT_EQ(run_pinned(&f, steps, UNLOCKED, IRQ_TICKS, &o), 3);
    EXPECT_EQ(o.irqs, 0x40);
    EXPECT_EQ(o.counter, 1); // cpu0 had loaded before the interrupt, and stored after cpu1's load.
    EXPECT_GT(o.ticks[0], IRQ_TICKS);
    // None comes.
    EXPECT_EQ(run_pinned(&f, steps, UNLOCKED, 0, &o), 0);
    EXPECT_EQ(o.irqs, 0);
    mini_close(&f);
}

// --- Since when. ---

TEST(Schedule, NothingCountsBeforeItBegins)
{
    static const char *const steps[] = {"cpu0 mini_hv.c:work#1 read x3"};
    char error[300] = "";
    uint64_t passed_at[2];
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    struct schedule *s = pin(&f, steps, 1, error, sizeof error);

    EXPECT_STREQ(error, "");
    ASSERT_TRUE(s != NULL);
    uint64_t end_ps = pcpu_ticks_to_ps(&f.cpu[0], mini_run(&f, WORK, 100, 0).ticks[0]);

    for (int late = 0; late < 2; late++) {
        schedule_from(s, late ? end_ps : 0);
        schedule_begin(s, &f.machine);
        mini_run(&f, WORK, 100, 0);
        passed_at[late] = schedule_passed(s);
        schedule_end(s, &f.machine);
    }
    EXPECT_EQ(passed_at[0], 1);
    EXPECT_EQ(passed_at[1], 0);
    // In the middle of it, and there are three more.
    schedule_from(s, end_ps / 2);
    schedule_begin(s, &f.machine);
    mini_run(&f, WORK, 100, 0);
    EXPECT_EQ(schedule_passed(s), 1);
    schedule_end(s, &f.machine);
    schedule_destroy(s);
    mini_close(&f);
}

// --- Text. ---

TEST(Schedule, StepsAreWrittenAsTheyAreRead)
{
    static const char *const rows[] = {
        "cpu0 hv/mmu/tdp.c:120",
        "cpu1 tdp.c:tdp_map block",
        "cpu2 tdp.c:tdp_map+12 write x3",
        "cpu3 tdp.c:set_bit#2@make_all atomic ?",
        "cpu4 tdp.c:tdp_map#1 drain",
        "cpu5 tdp.c:tdp_map#1 atomic drain x2 ?",
        "cpu5 tdp.c:tdp_map#1 drain x1",
        "cpu5 tdp.c:tdp_map#1 read idle x2",
        "cpu6 tdp.c:tdp_map#7 read interrupt",
    };
    char text[400], error[300] = "";
    struct schedule_step step;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(text, sizeof text, "  %s   # why", rows[i]);
        EXPECT_TRUE(schedule_parse(text, &step, error, sizeof error));
        schedule_step_text(&step, text, sizeof text);
        EXPECT_STREQ(text, rows[i]);
    }
}

TEST(Schedule, StepsThatCannotBeAreNamed)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"cpu0", "expected a place"},
        {"vcpu0 a.c:1", "begins with a processor"},
        {"cpu0 a.c", "expected a place"},
        {"cpu0 a.c:", "expected a place"},
        {"cpu0 a.c:0 read", "expected a place"},
        {"cpu0 a.c:f+x read", "expected a place"},
        {"cpu0 a.c:1 wirte", "`wirte` is not known; expected read, write"},
        {"cpu0 a.c:1 x0", "`x0` is not known"},
        {"cpu0 nowhere.c:1", "no source file `nowhere.c`"},
        {"cpu0 ini_hv.c:1", "no source file"},
        {"cpu9 mini_hv.c:work", "there is no cpu9; this machine has 2"},
        {"cpu0 mini_hv.c:absent", "no function `absent`"},
        {"cpu0 mini_hv.c:unlocked write", "`unlocked` alone is where it is entered"},
        {"cpu0 mini_hv.c:spin", "every call of `spin` is inlined"},
        {"cpu0 a.c:f#0 read", "expected a place"},
        {"cpu0 a.c:f#x read", "expected a place"},
        {"cpu0 a.c:f#1@ read", "expected a place"},
        {"cpu0 a.c:f+1@g read", "expected a place"},
        {"cpu0 mini_hv.c:absent#1 read", "mini_hv.c has no function `absent`"},
        {"cpu0 mini_hv.c:unlocked#2 write", "`unlocked` has no #2 of kind write; it has #1 on line"},
        {"cpu0 mini_hv.c:unlocked#1 atomic", "`unlocked` has no #1 of kind atomic; it has none of that kind"},
        {"cpu0 mini_hv.c:lock#1@work atomic", "`lock#1` is not inlined into `work`; it is in program"},
        {"cpu0 mini_hv.c:unlocked#1 read drain", "only a write drains"},
        {"cpu0 mini_hv.c:3 read", "happens on line 3 of mini_hv.c; the nearest lines are 0 and"},
    };
    char error[300];
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        *error = 0;
        test_row("%s", rows[i].text);
        EXPECT_TRUE(pin(&f, &rows[i].text, 1, error, sizeof error) == NULL);
        EXPECT_TRUE(strstr(error, rows[i].says) != NULL);
    }
    mini_close(&f);
}

// --- Those who look (watch.h). ---

struct counting {
    struct native_watch watch;
    uint64_t blocks, accesses;
};

static void count(struct native_watch *w, const struct native_access *a)
{
    struct counting *c = (struct counting *)w;

    c->blocks += a->access == PLACE_BLOCK;
    c->accesses += a->access != PLACE_BLOCK;
}

TEST(Watch, BasicBlocksAreToldToThoseWhoAsk)
{
    uint64_t accesses = 0;
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    for (int blocks = 0; blocks < 2; blocks++) {
        struct counting looks = {
            .watch = {.rank = NATIVE_WATCH_LOOKS, .blocks = blocks != 0, .point = count}};

        native_watch_add(&f.machine, &looks.watch);
        EXPECT_EQ(mini_run(&f, UNLOCKED, 1, 0).counter, 2);
        native_watch_remove(&f.machine, &looks.watch);
        EXPECT_EQ(looks.blocks > 0, blocks != 0);
        EXPECT_GT(looks.accesses, 0);
        EXPECT_TRUE(!accesses || accesses == looks.accesses);
        accesses = looks.accesses;
    }
    mini_close(&f);
}
