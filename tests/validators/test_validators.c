// SPDX-License-Identifier: Apache-2.0
/*
 * Each validator on a core that makes one mistake (hv/tests/checked_hv.c): it is found and named; and on the
 * same core doing the same thing properly: nothing is.
 */
#include "hv/tests/checked_hv.h"
#include "models/apic/lapic.h"
#include "models/check/check.h"
#include "models/cpu/native/tests/fixture.h"
#include "tests/shim/shim.h"
#include <stdio.h>
#include <string.h>

void hw_test_send(u32 cpu);
void hw_test_end(void);

void hw_test_send(u32 cpu)
{
    pcpu_send(pcpu_current->machine->cpus[cpu], PCPU_MSG_FIXED, 0x40, false, pcpu_current->now_ticks + 1600);
}

void hw_test_end(void)
{
    machine_stop_now(pcpu_current->machine);
}

static const struct row {
    const char *violation;
    enum checked_program program;
} rows[] = {
    {"data_race", CHECKED_FLAG},
    {"data_race", CHECKED_FENCES},
    {"data_race", CHECKED_LOCK},
    {"data_race", CHECKED_BYTES},
    {"data_race", CHECKED_IPI},
    {"data_race", CHECKED_SWITCH},
    {"data_race", CHECKED_NEW_OWNER},
    {"use_after_free", CHECKED_FREED},
    {"out_of_bounds", CHECKED_BEYOND},
    {"use_after_free", CHECKED_FREE_PAGE},
    {"page_of_two", CHECKED_TWO_OWNERS},
    {"lock_order", CHECKED_ORDER},
    {"deadlock", CHECKED_DEADLOCK},
    {"deadlock", CHECKED_HANDLER},
    {"unlock_not_held", CHECKED_UNLOCK},
    {"held_at_user_return", CHECKED_HELD},
    {"preempt_unbalanced", CHECKED_PREEMPT},
    {"srcu_misuse", CHECKED_SRCU_SYNC},
    {"srcu_misuse", CHECKED_SRCU_EPOCH},
    {"srcu_unbalanced", CHECKED_SRCU_USER},
    {"livelock", CHECKED_SPIN},
    {"lost_wakeup", CHECKED_SLEEP},
    {"irq_unsafe", CHECKED_IRQ_LOCK},
    {"this_cpu_preemptible", CHECKED_THIS_CPU},
    {"preemptible_lock", CHECKED_SPIN_LOCK},
    {"grace_period", CHECKED_GRACE_END},
    {"grace_period", CHECKED_GRACE_NEXT},
};
enum { ROWS = sizeof rows / sizeof *rows };

struct outcome {
    uint64_t ticks[2];
};

static struct outcome run(struct fixture *f, struct check *k, enum checked_program program, bool wrong)
{
    fixture_reset(f);
    CHECKED->program = program;
    CHECKED->wrong = wrong;
    for (uint8_t i = 0; i < sizeof CHECKED->ranks; i++)
        CHECKED->ranks[i] = i;
    check_begin(k);
    native_boot(&f->cpu[0], NULL);
    bool idle = sim_run(SIM_PS_NEVER) == SIM_RUN_IDLE;

    check_end(k, idle);
    struct outcome o = {{f->cpu[0].now_ticks, f->cpu[1].now_ticks}};

    f->machine.stopping = true;
    native_stop(&f->machine);
    native_reset();
    sim_start_over();
    return o;
}

static bool open(struct fixture *f)
{
    char error[300] = "";
    bool good =
        fixture_open(f, test_source_dir(), test_build_dir(), "libchecked_hv.so", 2, error, sizeof error);

    EXPECT_STREQ(error, "");
    return good;
}

TEST(Validators, FindTheMistake)
{
    struct fixture f;

    ASSERT_TRUE(open(&f));
    struct check *k = check_create(&f.machine, CHECK_ALL);

    for (unsigned i = 0; i < ROWS; i++) {
        test_row("%s, program %d", rows[i].violation, rows[i].program);
        (void)run(&f, k, rows[i].program, true);
        EXPECT_TRUE(check_found(k, rows[i].violation) > 0);
    }
    check_destroy(k);
    fixture_close(&f);
}

TEST(Validators, FindNothingWhereItIsDoneProperly)
{
    struct fixture f;

    ASSERT_TRUE(open(&f));
    struct check *k = check_create(&f.machine, CHECK_ALL);

    for (unsigned i = 0; i < ROWS; i++) {
        test_row("%s, program %d", rows[i].violation, rows[i].program);
        (void)run(&f, k, rows[i].program, false);
        EXPECT_EQ(check_found(k, NULL), 0);
    }
    check_destroy(k);
    fixture_close(&f);
}

TEST(Validators, ChangeNoTime)
{
    struct fixture f;

    ASSERT_TRUE(open(&f));
    struct check *k = check_create(&f.machine, CHECK_ALL);

    for (unsigned i = 0; i < ROWS; i++) {
        struct outcome with = run(&f, k, rows[i].program, false);
        struct outcome without = run(&f, NULL, rows[i].program, false);

        test_row("%s, program %d", rows[i].violation, rows[i].program);
        EXPECT_EQ(with.ticks[0], without.ticks[0]);
        EXPECT_EQ(with.ticks[1], without.ticks[1]);
    }
    check_destroy(k);
    fixture_close(&f);
}

TEST(Validators, AreNamedInLists)
{
    static const struct {
        const char *list;
        uint32_t kinds;
        const char *unknown; // Of kinds == 0
    } lists[] = {
        {"races", 1u << CHECK_RACES, NULL},
        {"heap,races", 1u << CHECK_RACES | 1u << CHECK_HEAP, NULL},
        {"all", CHECK_ALL, NULL},
        {"races,hep", 0, "hep"},
        {"", 0, ""},
        {"races,", 0, ""},
    };

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const char *unknown;
        size_t bytes;
        char list[CHECK_LIST_BYTES];

        test_row("`%s`", lists[i].list);
        EXPECT_EQ(check_parse(lists[i].list, &unknown, &bytes), lists[i].kinds);
        if (lists[i].kinds) {
            check_list(lists[i].kinds, list);
            EXPECT_EQ(check_parse(list, &unknown, &bytes), lists[i].kinds);
        } else {
            EXPECT_EQ(bytes, strlen(lists[i].unknown));
        }
    }
}
