// SPDX-License-Identifier: Apache-2.0
// Events: who is woken, when, and which notification counts.
#include "sim/tests/log.h"
#include "tests/shim/shim.h"

static struct log got;
static struct sim_event *ev;

struct waiter {
    unsigned who; // Rank too.
    sim_ps_t from_ps, until_ps;
    bool by_event;
};

static void wait_body(void *arg)
{
    struct waiter *w = arg;
    sim_wait_until(w->from_ps);
    w->by_event = sim_wait_event_until(ev, w->until_ps);
    log_add(&got, sim_now_ps(), w->who);
}

// At `at_ps` notifies for `for_ps`, or cancels.
enum verb { END, NOTIFY, CANCEL };
struct stimulus {
    enum verb verb;
    sim_ps_t at_ps, for_ps;
};

static void notify_body(void *arg)
{
    for (const struct stimulus *s = arg; s->verb != END; s++) {
        sim_wait_until(s->at_ps);
        if (s->verb == NOTIFY) {
            sim_event_notify_at(ev, s->for_ps);
        } else {
            sim_event_cancel(ev);
        }
    }
}

enum { NOTIFIER_RANK = 5, WAITERS_MAX = 4, RESCUE_PS = 1000000 };

static void rescue_body(void *arg)
{
    (void)arg;
    sim_wait_until(RESCUE_PS);
    sim_event_notify_at(ev, RESCUE_PS);
}

// One waiter, from 10 to `until_ps`, of a rank before or after the notifier's.
struct row {
    const char *law;
    unsigned rank;
    sim_ps_t from_ps, until_ps;
    struct stimulus stimuli[4];
    sim_ps_t woken_ps; // RESCUE_PS: by none of the stimuli.
    bool by_event;
};

// Law, rank, waits from, until, stimuli {at, for}, woken at, by the event.
// clang-format off
static const struct row rows[] = {
    {"by the notification", 0, 10, SIM_PS_NEVER, {{NOTIFY, 20, 30}}, 30, true},
    {"at once", 0, 10, SIM_PS_NEVER, {{NOTIFY, 20, 20}}, 20, true},
    {"by the limit", 0, 10, 25, {{NOTIFY, 20, 30}}, 25, false},
    {"limit and notification at one time: the notification", 0, 10, 30, {{NOTIFY, 20, 30}}, 30, true},
    {"the limit is now", 0, 10, 10, {{NOTIFY, 20, 30}}, 10, false},
    {"one before the wait is still pending", 0, 10, SIM_PS_NEVER, {{NOTIFY, 5, 30}}, 30, true},
    {"one that found nobody is not remembered", 0, 10, SIM_PS_NEVER, {{NOTIFY, 5, 5}}, RESCUE_PS, true},
    {"nor if it comes due at the time of the wait", 0, 10, SIM_PS_NEVER, {{NOTIFY, 5, 10}}, RESCUE_PS, true},
    {"at the time of the wait, by one of higher rank", 0, 10, SIM_PS_NEVER, {{NOTIFY, 10, 10}}, 10, true},
    {"at the time of the wait, by one of lower rank", 9, 10, SIM_PS_NEVER, {{NOTIFY, 10, 10}}, RESCUE_PS, true},
    {"an earlier pending one stays", 0, 10, SIM_PS_NEVER, {{NOTIFY, 5, 30}, {NOTIFY, 15, 40}}, 30, true},
    {"a later pending one is replaced", 0, 10, SIM_PS_NEVER, {{NOTIFY, 5, 40}, {NOTIFY, 15, 30}}, 30, true},
    {"a lost one does not stand in the way", 0, 10, SIM_PS_NEVER, {{NOTIFY, 5, 8}, {NOTIFY, 15, 40}}, 40, true},
    {"one lost at this very time does not", 9, 10, SIM_PS_NEVER, {{NOTIFY, 5, 10}, {NOTIFY, 10, 40}}, 40, true},
    {"cancelled", 0, 10, SIM_PS_NEVER, {{NOTIFY, 15, 30}, {CANCEL, 20, 0}}, RESCUE_PS, true},
    {"cancelled before the wait", 0, 10, 50, {{NOTIFY, 5, 30}, {CANCEL, 7, 0}}, 50, false},
    {"after a cancel, a later one", 0, 10, 99, {{NOTIFY, 15, 30}, {CANCEL, 20, 0}, {NOTIFY, 20, 60}}, 60, true},
};
// clang-format on

TEST(Event, WakesOneWaiter)
{
    ASSERT_EQ(sim_init(), 0);
    ev = sim_event_create("ev");
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        struct waiter w = {r->rank, r->from_ps, r->until_ps, false};
        test_row("%s", r->law);
        got.count = 0;
        sim_process_start("waiter", w.who, STACK_BYTES, wait_body, &w);
        sim_process_start("notifier", NOTIFIER_RANK, STACK_BYTES, notify_body, (void *)(uintptr_t)r->stimuli);
        sim_process_start("rescue", NOTIFIER_RANK, STACK_BYTES, rescue_body, NULL);
        EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
        EXPECT_EQ(got.count, 1);
        EXPECT_EQ(got.entry[0].ps, r->woken_ps);
        EXPECT_EQ(w.by_event, r->by_event);
        sim_start_over();
    }
    sim_event_destroy(ev);
}

TEST(Event, WakesAllWaitersInTheirOrder)
{
    static const struct stimulus stimuli[] = {{NOTIFY, 20, 30}, {END, 0, 0}};
    static const unsigned order[] = {1, 2, 3, 3};
    struct waiter w[WAITERS_MAX] = {
        {3, 0, SIM_PS_NEVER, false}, {1, 15, 1000, false}, {3, 10, 30, false}, {2, 25, SIM_PS_NEVER, false}};
    ASSERT_EQ(sim_init(), 0);
    ev = sim_event_create("ev");
    got.count = 0;
    for (unsigned i = 0; i < WAITERS_MAX; i++) {
        sim_process_start("waiter", w[i].who, STACK_BYTES, wait_body, &w[i]);
    }
    sim_process_start("notifier", NOTIFIER_RANK, STACK_BYTES, notify_body, (void *)(uintptr_t)stimuli);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    ASSERT_EQ(got.count, WAITERS_MAX);
    for (unsigned i = 0; i < WAITERS_MAX; i++) {
        EXPECT_EQ(got.entry[i].ps, 30);
        EXPECT_EQ(got.entry[i].who, order[i]);
        EXPECT_TRUE(w[i].by_event);
    }
    sim_event_destroy(ev);
    sim_start_over();
}

// --- What a process that runs ahead sees. ---

static void sleep_on_event(void *arg)
{
    (void)arg;
    sim_wait_event_until(ev, SIM_PS_NEVER);
}

static void sleep_until_500(void *arg)
{
    (void)arg;
    sim_wait_until(500);
}

static void look_around(void *arg)
{
    (void)arg;
    sim_wait_until(10);
    EXPECT_EQ(sim_horizon_ps(), 500);
    EXPECT_TRUE(sim_may_continue(499, 3));
    EXPECT_TRUE(sim_may_continue(500, 3)); // The sleeper has rank 4.
    EXPECT_FALSE(sim_may_continue(500, 4));
    EXPECT_FALSE(sim_may_continue(501, 0));
    sim_event_notify_at(ev, 200);
    EXPECT_EQ(sim_horizon_ps(), 200);
    EXPECT_TRUE(sim_may_continue(199, 3));
    EXPECT_FALSE(sim_may_continue(200, 3));
    sim_event_cancel(ev);
    EXPECT_EQ(sim_horizon_ps(), 500);
    sim_event_notify_at(ev, 10);
    EXPECT_EQ(sim_horizon_ps(), 10);
}

TEST(Event, MovesTheHorizonOfTheOthers)
{
    ASSERT_EQ(sim_init(), 0);
    ev = sim_event_create("ev");
    sim_process_start("on event", 0, STACK_BYTES, sleep_on_event, NULL);
    sim_process_start("sleeper", 4, STACK_BYTES, sleep_until_500, NULL);
    sim_process_start("looks", 3, STACK_BYTES, look_around, NULL);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    sim_event_destroy(ev);
    sim_start_over();
}

static void wait_until_20(void *arg)
{
    (void)arg;
    EXPECT_FALSE(sim_wait_event_until(ev, 20));
}

static void notify_nobody(void *arg)
{
    (void)arg;
    sim_event_notify_at(ev, 100);
    EXPECT_EQ(sim_horizon_ps(), 20);
    sim_wait_until(30); // The waiter has come and gone.
    EXPECT_EQ(sim_horizon_ps(), SIM_PS_NEVER);
    sim_wait_until(200);
}

TEST(Event, WithoutWaitersDisturbsNobody)
{
    ASSERT_EQ(sim_init(), 0);
    ev = sim_event_create("ev");
    sim_process_start("gives up", 0, STACK_BYTES, wait_until_20, NULL);
    sim_process_start("notifies", 0, STACK_BYTES, notify_nobody, NULL);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(sim_now_ps(), 200);
    sim_event_destroy(ev);
    sim_start_over();
}

static void wait_to_300(void *arg)
{
    sim_ps_t *woken_ps = arg;
    sim_wait_event_until(ev, 300);
    *woken_ps = sim_now_ps();
}

TEST(Event, PendingInOneRunIsGoneInTheNext)
{
    sim_ps_t woken_ps = 0;
    ASSERT_EQ(sim_init(), 0);
    ev = sim_event_create("ev");
    sim_event_notify_at(ev, 100);
    sim_start_over();
    sim_process_start("waits", 0, STACK_BYTES, wait_to_300, &woken_ps);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(woken_ps, 300);
    sim_event_destroy(ev);
    sim_start_over();
}

static void notify_the_past(void *arg)
{
    (void)arg;
    sim_wait_until(50);
    sim_event_notify_at(ev, 49);
}

static void run_notify_the_past(void *arg)
{
    (void)arg;
    sim_init();
    ev = sim_event_create("late");
    sim_process_start("notifies", 0, STACK_BYTES, notify_the_past, NULL);
    sim_run(SIM_PS_NEVER);
}

TEST(Event, InThePastIsABug)
{
    char out[512];
    EXPECT_EQ(test_exit_status(run_notify_the_past, NULL, out, sizeof out), 70);
    EXPECT_STRSTR(out, "at 50 ps: event late is notified in the past, at 49 ps");
}
