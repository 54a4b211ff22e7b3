// SPDX-License-Identifier: Apache-2.0
// hvsim-mpi: speaks MPI for the explorer of a rank (tools/hvsim/explore_ranks.h). Started by `hvsim explore
// --mpi` only.
#include "tools/hvsim/explore_ranks.h"

#include <mpi.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS 20

struct rank {
    struct ranks_board *board;
    int to, from; // The child
    pid_t child;
    bool made; // It has made its part,
    bool gone; // or ended without.
};

// A look at the child, of LOOK_MS if it has nothing to say.
static void look(struct rank *r)
{
    struct pollfd fd = {.fd = r->from, .events = POLLIN};
    char word;

    if (poll(&fd, 1, LOOK_MS) > 0 && !r->made && !r->gone) {
        r->made = read(r->from, &word, 1) == 1;
        r->gone = !r->made;
    }
}

// All together, from look to look: who is not done searches up to the lowest number that anybody found; if
// one has died, all stop.
static void search(struct rank *r)
{
    enum { FOUND, STOPS_NOT, DONE, WORDS };
    struct explore_signs *signs = &r->board->signs;
    uint64_t all[WORDS] = {0};

    while (!all[DONE]) {
        look(r);
        uint64_t mine[WORDS] = {[FOUND] = atomic_load(&signs->found),
                                [STOPS_NOT] = !r->gone && !atomic_load(&signs->stop),
                                [DONE] = r->made || r->gone};

        MPI_Allreduce(mine, all, WORDS, MPI_UINT64_T, MPI_MIN, MPI_COMM_WORLD);
        uint64_t lowest = atomic_load(&signs->found);

        while (all[FOUND] < lowest && !atomic_compare_exchange_weak(&signs->found, &lowest, all[FOUND]))
            ;
        if (!all[STOPS_NOT])
            atomic_store(&signs->stop, true);
    }
}

// Rank 0 gets all results, and tells its child.
static void gather(struct rank *r)
{
    struct ranks_board *b = r->board;
    struct explore_result *own = malloc(sizeof *own);
    uint32_t lost = b->lost || r->gone ? b->rank : UINT32_MAX, first;

    if (!own)
        MPI_Abort(MPI_COMM_WORLD, 70);
    *own = b->results[0];
    MPI_Gather(own, sizeof *own, MPI_BYTE, b->results, sizeof *own, MPI_BYTE, 0, MPI_COMM_WORLD);
    MPI_Allreduce(&lost, &first, 1, MPI_UINT32_T, MPI_MIN, MPI_COMM_WORLD);
    b->lost = first != UINT32_MAX;
    b->lost_rank = first;
    free(own);
    if (!r->gone && write(r->to, "", 1) != 1)
        r->gone = true;
}

int main(int argc, char **argv)
{
    struct rank r = {0};
    int rank, count, status = 0;

    if (argc != 5) {
        fprintf(stderr, "hvsim-mpi: started by `mpirun -n N hvsim explore ... --mpi`\n");
        return 2;
    }
    r.board =
        mmap(NULL, sizeof *r.board, PROT_READ | PROT_WRITE, MAP_SHARED, (int)strtol(argv[1], NULL, 10), 0);
    r.to = (int)strtol(argv[2], NULL, 10);
    r.from = (int)strtol(argv[3], NULL, 10);
    r.child = (pid_t)strtol(argv[4], NULL, 10);
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    if (r.board == MAP_FAILED || count > (int)RANKS_MAX) {
        fprintf(stderr, "hvsim-mpi: at most %u ranks\n", RANKS_MAX);
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    r.board->rank = (uint32_t)rank;
    r.board->count = (uint32_t)count;
    r.gone = write(r.to, "", 1) != 1;
    search(&r);
    gather(&r);
    waitpid(r.child, &status, 0);
    MPI_Finalize();
    if (r.gone || !WIFEXITED(status))
        return 2;
    return WEXITSTATUS(status);
}
