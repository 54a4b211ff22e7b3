// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/watch.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

volatile int watch_attention;
static volatile sig_atomic_t interrupted, tick;

static void on_signal(int number)
{
    if (number == SIGALRM)
        tick++;
    else
        interrupted = 1;
    watch_attention = 1;
}

void watch_look(void *ctx, uint64_t cycles)
{
    struct watch *w = ctx;
    struct trace_error error;

    watch_attention = 0;
    if (interrupted || (w->trace && trace_error(w->trace, &error) != TRACE_OK)) {
        machine_interrupt(w->machine);
        return;
    }
    if (!w->quiet && isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%s %s: %" PRIu64 ".%03" PRIu64 " ms simulated, %d s ", w->scenario->name,
                w->variant->name, cycles / w->clock_khz, cycles * 1000 / w->clock_khz % 1000, (int)tick);
        w->shown = true;
    }
}

void watch_start(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    const struct itimerval second = {{1, 0}, {1, 0}};

    tick = 0;
    watch_attention = 0;
    sigaction(SIGALRM, &action, NULL);
    action.sa_flags = (int)SA_RESETHAND; // A second Ctrl-C kills.
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    setitimer(ITIMER_REAL, &second, NULL);
}

void watch_stop(void)
{
    const struct itimerval never = {{0, 0}, {0, 0}};

    setitimer(ITIMER_REAL, &never, NULL);
}

bool watch_interrupted(void)
{
    return interrupted;
}
