// SPDX-License-Identifier: Apache-2.0
// The runtime's laws on a hypervisor core of one page (hv/tests/mini_hv.c): exact order, TSO, interrupts,
// contexts, starting over.
#include "models/cpu/native/schedule.h"
#include "models/cpu/native/tests/fixture.h"
#include "tests/shim/shim.h"
#include <string.h>

static bool open_machine(struct fixture *f)
{
    char error[512] = "";
    bool good = fixture_open(f, test_source_dir(), test_build_dir(), "libmini_hv.so", 2, error, sizeof error);

    EXPECT_STREQ(error, "");
    return good;
}

void hw_test_end(void);
void hw_test_wait_until(u64 cycle);

void hw_test_wait_until(u64 cycle)
{
    if (cycle * TICKS_PER_CYCLE > pcpu_current->now_ticks)
        pcpu_current->now_ticks = cycle * TICKS_PER_CYCLE;
    pcpu_slow_path(pcpu_current, true);
}

void hw_test_end(void)
{
    machine_stop_now(pcpu_current->machine);
}

enum {
    SPIN,
    STORE_BUFFERING,
    STORE_BUFFERING_FENCED,
    THREADS,
    WORK,
    WORK_MORE,
    UNLOCKED,
    MESSAGE_ON_STACK,
    SETUP,
};

// The layout of mini_hv.c's state.
struct mini {
    uint64_t lock, counter, padding1[6], x, padding2[7], y, padding3[7], seen_x, seen_y, irqs,
        irq_during_user, pings;
    struct hw_context boot, threads[2];
    uint64_t done, program, rounds;
};
static struct mini *const mini = (struct mini *)(HW_ARENA_BASE + (1u << 20));

struct outcome {
    uint64_t ticks[2], counter, irqs, pings, seen_x, seen_y, x;
};

static struct outcome run(struct fixture *f, uint64_t program, uint64_t rounds, uint64_t irq_at_ticks)
{
    fixture_reset(f);
    mini->program = program;
    mini->rounds = rounds;
    native_boot(&f->cpu[0], NULL);
    if (irq_at_ticks)
        pcpu_send(&f->cpu[0], PCPU_MSG_FIXED, 0x40, false, irq_at_ticks);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_STOPPED);
    struct outcome o = {{f->cpu[0].now_ticks, f->cpu[1].now_ticks},
                        mini->counter,
                        mini->irqs,
                        mini->pings,
                        mini->seen_x,
                        mini->seen_y,
                        mini->x};

    native_stop(&f->machine);
    native_reset();
    sim_start_over();
    return o;
}

TEST(Runtime, SpinLockLosesNothing)
{
    struct fixture f;

    ASSERT_TRUE(open_machine(&f));
    struct outcome o = run(&f, SPIN, 2000, 0);

    EXPECT_EQ(o.counter, 4000);
    fixture_close(&f);
}

TEST(Runtime, StartingOverRepeatsEveryTick)
{
    struct fixture f;

    ASSERT_TRUE(open_machine(&f));
    struct outcome first = run(&f, SPIN, 300, 20000);

    EXPECT_EQ(first.irqs, 0x40);
    for (int i = 0; i < 100; i++) {
        struct outcome again = run(&f, SPIN, 300, 20000);

        ASSERT_EQ(memcmp(&first, &again, sizeof first), 0);
    }
    fixture_close(&f);
}

// SDM 8.2.3.4: each processor's load may pass its own earlier store; MFENCE forbids it.
TEST(Runtime, StoresWaitInTheBufferUntilAFence)
{
    struct fixture f;

    ASSERT_TRUE(open_machine(&f));
    struct outcome plain = run(&f, STORE_BUFFERING, 0, 0);
    struct outcome fenced = run(&f, STORE_BUFFERING_FENCED, 0, 0);

    EXPECT_TRUE(plain.seen_x == 0 && plain.seen_y == 0);
    EXPECT_FALSE(fenced.seen_x == 0 && fenced.seen_y == 0);
    fixture_close(&f);
}

// SDM 8.2.3.2: stores become visible in their order, also where the later one is to another thread's stack.
TEST(Runtime, AFlagOnAStackIsNotSeenBeforeItsMessage)
{
    struct fixture f;

    ASSERT_TRUE(open_machine(&f));
    EXPECT_EQ(run(&f, MESSAGE_ON_STACK, 0, 0).seen_y, 1);
    fixture_close(&f);
}

TEST(Runtime, ContextsTakeTurns)
{
    struct fixture f;

    ASSERT_TRUE(open_machine(&f));
    struct outcome o = run(&f, THREADS, 10, 0);

    EXPECT_EQ(o.pings, 20);
    fixture_close(&f);
}

TEST(Runtime, SetUpTakesNoTimeHoweverMuchItIs)
{
    struct fixture f;

    ASSERT_TRUE(open_machine(&f));
    struct outcome little = run(&f, SETUP, 1, 0);
    struct outcome much = run(&f, SETUP, 1000000, 0);

    EXPECT_EQ(little.x, 1);
    EXPECT_EQ(much.x, 1000000);
    EXPECT_EQ(much.seen_x, 5);
    EXPECT_EQ(much.seen_y, 6);
    EXPECT_EQ(much.ticks[0], little.ticks[0]);
    EXPECT_EQ(much.ticks[1], little.ticks[1]);
    // What follows it is timed as ever, and so is the other processor.
    EXPECT_GT(little.ticks[0], 100 * TICKS_PER_CYCLE);
    fixture_close(&f);
}

// --- Pinned orders (schedule.h). ---

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

    ASSERT_TRUE(open_machine(&f));
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
            EXPECT_EQ(run(&f, UNLOCKED, 1, 0).counter, rows[i].counter);
            EXPECT_EQ(schedule_passed(s), rows[i].passed);
            schedule_end(s, &f.machine);
        }
        schedule_destroy(s);
    }
    fixture_close(&f);
}

// cpu1 stands before its store until cpu0 has come to a place that it never comes to.
TEST(Schedule, AnImpossibleOrderIsGivenUpAndTheRunEnds)
{
    static const char *const steps[] = {"cpu0 mini_hv.c:work", "cpu1 " STORE};
    char error[300] = "";
    struct fixture f;

    ASSERT_TRUE(open_machine(&f));
    struct schedule *s = pin(&f, steps, 2, error, sizeof error);

    EXPECT_STREQ(error, "");
    ASSERT_TRUE(s != NULL);
    schedule_begin(s, &f.machine);
    // It had loaded before it stood, and stores when it is let go.
    EXPECT_EQ(run(&f, UNLOCKED, 1, 0).counter, 1);
    EXPECT_EQ(schedule_passed(s), 0);
    schedule_end(s, &f.machine);
    schedule_destroy(s);
    fixture_close(&f);
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
        {"cpu0 mini_hv.c:3 read", "happens on line 3 of mini_hv.c; the nearest lines are 0 and"},
    };
    char error[300];
    struct fixture f;

    ASSERT_TRUE(open_machine(&f));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        *error = 0;
        test_row("%s", rows[i].text);
        EXPECT_TRUE(pin(&f, &rows[i].text, 1, error, sizeof error) == NULL);
        EXPECT_TRUE(strstr(error, rows[i].says) != NULL);
    }
    fixture_close(&f);
}

TEST(Runtime, TwiceTheWorkCostsTwiceTheCycles)
{
    struct fixture f;

    ASSERT_TRUE(open_machine(&f));
    uint64_t none = run(&f, WORK, 0, 0).ticks[0];
    uint64_t once = run(&f, WORK, 20000, 0).ticks[0] - none;
    uint64_t twice = run(&f, WORK_MORE, 20000, 0).ticks[0] - none;

    EXPECT_GT(once, 20000 * TICKS_PER_CYCLE / 2);
    EXPECT_GE(twice * 100, once * 195);
    EXPECT_LE(twice * 100, once * 205);
    fixture_close(&f);
}
