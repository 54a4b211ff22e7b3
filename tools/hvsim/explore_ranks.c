// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/explore_ranks.h"

#include "sim/rewind/rewind.h"
#include "tools/hvsim/command.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

struct explore_ranks {
    struct ranks_board *board;
    int from, to; // The parent
    char lost[80];
};

// The program beside this one. False: it is not there.
static bool find_program(char *path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 1);

    path[length > 0 ? length : 0] = 0;
    char *slash = strrchr(path, '/');

    if (!slash || (size_t)(slash + 1 - path) + sizeof RANKS_PROGRAM > size)
        return false;
    memcpy(slash + 1, RANKS_PROGRAM, sizeof RANKS_PROGRAM);
    return access(path, X_OK) == 0;
}

static _Noreturn void become_parent(const char *path, int board, int to, int from, pid_t child)
{
    char words[4][16];

    snprintf(words[0], sizeof words[0], "%d", board);
    snprintf(words[1], sizeof words[1], "%d", to);
    snprintf(words[2], sizeof words[2], "%d", from);
    snprintf(words[3], sizeof words[3], "%d", (int)child);
    execl(path, RANKS_PROGRAM, words[0], words[1], words[2], words[3], (char *)NULL);
    complain("explore: %s: %s", path, strerror(errno));
    kill(child, SIGKILL);
    _exit(STATUS_USAGE);
}

// A word from the parent; if it has none, it is gone, and nobody waits for us.
static void await(const struct explore_ranks *r)
{
    char word = 0;

    if (read(r->from, &word, 1) != 1)
        _exit(STATUS_USAGE);
}

struct explore_ranks *explore_ranks_begin(uint64_t *part, uint64_t *parts)
{
    char path[4096];
    int down[2], up[2];

    if (!find_program(path, sizeof path)) {
        complain("explore: this build has no MPI (there is no " RANKS_PROGRAM
                 " beside hvsim): install libopenmpi-dev and build again, or use --part");
        return NULL;
    }
    int fd = memfd_create("hvsim-ranks", 0);
    struct ranks_board *board = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, sizeof *board) == 0)
        board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (board == MAP_FAILED || pipe(down) || pipe(up)) {
        complain("explore: no memory or pipe for --mpi: %s", strerror(errno));
        return NULL;
    }
    atomic_init(&board->signs.found, EXPLORE_NONE);
    fflush(NULL);
    pid_t parent = getpid(), child = fork();

    if (child < 0) {
        complain("explore: no process for --mpi: %s", strerror(errno));
        return NULL;
    }
    close(down[child ? 0 : 1]);
    close(up[child ? 1 : 0]);
    if (child)
        become_parent(path, fd, down[1], up[0], child);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(STATUS_USAGE);
    struct explore_ranks *r = rewind_alloc(sizeof *r);

    *r = (struct explore_ranks){.board = board, .from = down[0], .to = up[1]};
    await(r);
    *part = board->rank;
    *parts = board->count;
    return r;
}

struct explore_signs *explore_ranks_signs(struct explore_ranks *r)
{
    return &r->board->signs;
}

void explore_ranks_agree(struct explore_ranks *r, struct explore_result *result, bool lost)
{
    struct ranks_board *b = r->board;

    b->lost = lost;
    b->results[0] = *result;
    if (write(r->to, "", 1) != 1)
        _exit(STATUS_USAGE);
    await(r);
    if (b->rank)
        _exit(STATUS_OK);
    if (b->lost)
        snprintf(r->lost, sizeof r->lost, "rank %u of %u has no result", b->lost_rank, b->count);
    *result = b->results[0];
    for (uint32_t i = 1; i < b->count; i++) {
        uint32_t pairs = result->counts.pairs, more = b->results[i].counts.pairs;

        explore_result_add(result, &b->results[i]);
        result->counts.pairs = more > pairs ? more : pairs; // Most are the same ones.
    }
}

const char *explore_ranks_lost(const struct explore_ranks *r)
{
    return r && *r->lost ? r->lost : NULL;
}
