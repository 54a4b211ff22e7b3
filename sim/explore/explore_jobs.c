// SPDX-License-Identifier: Apache-2.0
// One search by several processes of this machine: each is forked at the photograph, after what all of them
// have to know was learned, and goes its own way from there. This one waits for them.
#include "sim/explore/explore_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS 100
// Who does not end in so many looks after it was told to is ended.
#define PATIENCE_LOOKS 50u

static _Noreturn void be_job(struct explore *x, uint32_t job, uint32_t part, uint32_t parts, pid_t parent)
{
    // Nobody may be left behind, whatever becomes of the parent.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    x->slot = &x->board->slots[job];
    if (job)
        x->shared->counts = (struct explore_counts){.learned = x->shared->counts.learned};
    explore_search_part(x, part + parts * job, parts * x->o.jobs);
    x->slot->result = x->shared->result;
    _exit(0);
}

// Its process has ended: as it should?
static void ended(struct explore *x, uint32_t job, int status)
{
    struct explore_shared *s = x->shared;
    unsigned long long number = atomic_load(&x->board->slots[job].number);

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    atomic_store(&x->o.signs->stop, true);
    if (*s->lost)
        return;
    if (WIFSIGNALED(status))
        snprintf(s->lost, sizeof s->lost,
                 "process %u of %u was ended by signal %d (%s) in execution %llu of the search", job + 1,
                 x->o.jobs, WTERMSIG(status), strsignal(WTERMSIG(status)), number);
    else
        snprintf(s->lost, sizeof s->lost,
                 "process %u of %u ended with status %d in execution %llu of the search", job + 1, x->o.jobs,
                 WEXITSTATUS(status), number);
}

// Until all have ended; `open` has an end in each.
static void wait_for(struct explore *x, pid_t *jobs, uint32_t count, int open)
{
    uint32_t left = count, looks = 0;

    while (left) {
        struct pollfd end = {.fd = open, .events = POLLIN};

        poll(&end, 1, LOOK_MS); // All have ended, or it is time for a look.
        for (uint32_t i = 0; i < count; i++) {
            int status;

            if (jobs[i] && waitpid(jobs[i], &status, WNOHANG) == jobs[i]) {
                jobs[i] = 0;
                left--;
                ended(x, i, status);
            }
        }
        if (atomic_load(&x->o.signs->stop) && ++looks == PATIENCE_LOOKS)
            for (uint32_t i = 0; i < count; i++)
                if (jobs[i])
                    kill(jobs[i], SIGKILL);
        if (left && x->o.progress)
            x->o.progress(x->o.ctx, x);
    }
}

static void gather(struct explore *x, uint32_t count)
{
    struct explore_shared *s = x->shared;

    // What was found while learning, each job has inherited.
    s->result = x->board->slots[0].result;
    for (uint32_t i = 1; i < count; i++)
        explore_result_add(&s->result, &x->board->slots[i].result);
}

void explore_search_jobs(struct explore *x, uint32_t part, uint32_t parts)
{
    struct explore_shared *s = x->shared;
    pid_t jobs[EXPLORE_JOBS_MAX], self = getpid();
    int ends[2];
    uint32_t count = 0;

    if (pipe(ends)) {
        snprintf(s->lost, sizeof s->lost, "no pipe: %s", strerror(errno));
        return;
    }
    strategy_split(s->strategy, part, parts); // It speaks of all of them in the end.
    while (count < x->o.jobs) {
        pid_t job = fork();

        if (job == 0) {
            close(ends[0]);
            be_job(x, count, part, parts, self);
        }
        if (job < 0) {
            snprintf(s->lost, sizeof s->lost, "process %u of %u cannot be started: %s", count + 1, x->o.jobs,
                     strerror(errno));
            atomic_store(&x->o.signs->stop, true);
            break;
        }
        jobs[count++] = job;
    }
    close(ends[1]);
    wait_for(x, jobs, count, ends[0]);
    close(ends[0]);
    if (!*s->lost)
        gather(x, count);
}
