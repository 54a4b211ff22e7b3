// SPDX-License-Identifier: Apache-2.0
// A hand-over takes no time, and nobody runs in between.
#include "sim/tests/log.h"
#include "tests/shim/shim.h"

enum { PING, PONG, THIRD };
static struct log got;
static struct sim_process *ping, *pong;

static void third(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        log_add(&got, sim_now_ps(), THIRD);
        sim_wait_until(sim_now_ps() + 5);
    }
}

static void play_pong(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        log_add(&got, sim_now_ps(), PONG);
        sim_process_hand_over(ping);
    }
}

static void play_ping(void *arg)
{
    (void)arg;
    sim_wait_until(10);
    for (int i = 0; i < 3; i++) {
        log_add(&got, sim_now_ps(), PING);
        sim_process_hand_over(pong);
    }
    log_add(&got, sim_now_ps(), PING);
    sim_process_hand_over_and_exit(pong);
}

TEST(HandOver, IsDirectAndTakesNoTime)
{
    // A third of the lowest rank is due at 10 too: it goes before ping gets control, and then not before the
    // two are through with each other.
    static const struct log_entry want[] = {{0, THIRD}, {5, THIRD}, {10, THIRD}, {10, PING},
                                            {10, PONG}, {10, PING}, {10, PONG},  {10, PING},
                                            {10, PONG}, {10, PING}, {15, THIRD}};
    ASSERT_EQ(sim_init(), 0);
    got.count = 0;
    sim_process_start("third", 0, STACK_BYTES, third, NULL);
    ping = sim_process_start("ping", 1, STACK_BYTES, play_ping, NULL);
    pong = sim_process_create_parked("pong", 2, STACK_BYTES, play_pong, NULL);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(got.count, 17);
    for (unsigned i = 0; i < sizeof want / sizeof *want; i++) {
        test_row("step %u", i);
        EXPECT_EQ(got.entry[i].ps, want[i].ps);
        EXPECT_EQ(got.entry[i].who, want[i].who);
    }
    sim_start_over();
}

static void go_and_see(void *arg)
{
    (void)arg;
    sim_process_hand_over(pong);
}

static void go_for_good(void *arg)
{
    (void)arg;
    sim_process_hand_over_and_exit(pong);
}

static void idle_once(void *arg)
{
    (void)arg;
    sim_process_park();
    log_add(&got, sim_now_ps(), PONG);
}

TEST(HandOver, WakesWhoParked)
{
    ASSERT_EQ(sim_init(), 0);
    got.count = 0;
    pong = sim_process_start("parks", 0, STACK_BYTES, idle_once, NULL);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(got.count, 0);
    ping = sim_process_start("wakes", 0, STACK_BYTES, go_and_see, NULL);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(got.count, 1);
    pong = ping;
    sim_process_start("wakes the waker", 0, STACK_BYTES, go_for_good, NULL);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    sim_start_over();
}

// The chain: each link creates the next, hands over to it for good and ends. The pool serves all of them.
static unsigned links;

static void link_body(void *arg)
{
    (void)arg;
    EXPECT_EQ(sim_now_ps(), 0);
    if (++links < 1000) {
        sim_process_hand_over_and_exit(
            sim_process_create_parked("link", links % 7, STACK_BYTES, link_body, NULL));
    }
}

TEST(HandOver, ForGoodEndsTheCaller)
{
    ASSERT_EQ(sim_init(), 0);
    links = 0;
    sim_process_start("link", 0, STACK_BYTES, link_body, NULL);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(links, 1000);
    sim_start_over();
}

static void wait_long(void *arg)
{
    (void)arg;
    sim_wait_until(1000);
}

static void hand_over_to_a_waiter(void *arg)
{
    (void)arg;
    sim_init();
    pong = sim_process_start("waits", 0, STACK_BYTES, wait_long, NULL);
    sim_process_start("wrong", 1, STACK_BYTES, go_and_see, NULL);
    sim_run(SIM_PS_NEVER);
}

static void park_outside(void *arg)
{
    (void)arg;
    sim_init();
    sim_process_park();
}

TEST(HandOver, MisuseIsABug)
{
    static const struct {
        void (*fn)(void *);
        const char *says;
    } rows[] = {
        {hand_over_to_a_waiter, "wrong hands over to waits, which is not parked"},
        {park_outside, "sim_process_park outside of a process"},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[512];
        EXPECT_EQ(test_exit_status(rows[i].fn, NULL, out, sizeof out), 70);
        EXPECT_STRSTR(out, rows[i].says);
    }
}
