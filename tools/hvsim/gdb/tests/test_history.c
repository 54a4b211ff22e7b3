// SPDX-License-Identifier: Apache-2.0
/* Going back in a run that only counts: every seventh position is a stop. */
#include "tests/shim/shim.h"
#include "tools/hvsim/gdb/history.h"

#include <stdlib.h>
#include <unistd.h>

#define LAST 200u // More than there may be snapshots
#define EVERY 7u

struct count {
    struct history history;
    enum history_role role;
    uint64_t position;
    uint64_t value; // What a snapshot has to keep: the sum of all positions
};

/* One stop further back, or the end: the first process's status. */
static void go_back(struct count *c)
{
    const struct history_order how = {.instructions = false};
    uint64_t expected = (c->position - 1) / EVERY * EVERY;
    uint64_t to = history_search(&c->history, how, c->position, -1);

    if (to != expected || c->value != c->position * (c->position + 1) / 2)
        history_exit(&c->history, 1);
    if (!to)
        history_exit(&c->history, 42);
    history_seek(&c->history, to);
}

static void look(struct count *c)
{
    struct history_shared *s = c->history.shared;

    if (c->role == HISTORY_SCAN) {
        if (c->position >= s->order.bound)
            history_found(&c->history);
        if (c->position % EVERY == 0)
            s->found = c->position;
    } else if (c->role == HISTORY_SEEK) {
        if (c->position == s->order.bound)
            go_back(c);
    } else if (c->position == LAST) {
        go_back(c);
    }
}

/* Snapshots at every position, on the way forward and on each way to a target: some go for others to come, so
 * the copies know of snapshots that are gone. */
static void run(void *argument)
{
    static struct count c;

    (void)argument;
    alarm(60); // Of the first process; without it all others end.
    if (history_begin(&c.history))
        exit(2);
    for (;;) {
        c.value += ++c.position;
        if (c.role != HISTORY_SCAN) {
            enum history_role role = history_snapshot(&c.history, c.position);

            if (role != HISTORY_LIVE)
                c.role = role;
        }
        look(&c);
    }
}

TEST(History, EachStopIsFoundFromTheOneBehindIt)
{
    EXPECT_EQ(test_exit_status(run, NULL, NULL, 0), 42);
}

static void break_down(void *argument)
{
    static struct history h;

    (void)argument;
    if (history_begin(&h))
        exit(2);
    abort();
}

TEST(History, ACrashIsABugOfOurs)
{
    EXPECT_EQ(test_exit_status(break_down, NULL, NULL, 0), 70);
}
