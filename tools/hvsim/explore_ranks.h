// SPDX-License-Identifier: Apache-2.0
// hvsim explore --mpi: the ranks of an MPI job make a part of the search each.
//
// MPI starts threads, and a process that is photographed must have one only. So each rank forks: the child
// explores and knows nothing of MPI; the parent becomes the program hvsim-mpi, which alone is linked with it,
// and speaks for the child. Both have `struct ranks_board` in common, and a pipe each way that wakes the
// other up.
#ifndef TOOLS_HVSIM_EXPLORE_RANKS_H
#define TOOLS_HVSIM_EXPLORE_RANKS_H

#include "sim/explore/explore.h"

#define RANKS_MAX 1024u
#define RANKS_PROGRAM "hvsim-mpi" // Beside hvsim; its arguments: board, pipe to the child, from it, its id.

struct ranks_board {
    struct explore_signs signs; // Of this rank; the lowest number found spreads among all.
    uint32_t rank, count;
    bool lost;                                // A rank has no result,
    uint32_t lost_rank;                       // this one.
    struct explore_result results[RANKS_MAX]; // First its own; at the end, rank 0 has all.
};

struct explore_ranks;

// Does not return in the parent. In the child: which part of how many this rank makes. NULL after a message:
// no MPI here.
struct explore_ranks *explore_ranks_begin(uint64_t *part, uint64_t *parts);
struct explore_signs *explore_ranks_signs(struct explore_ranks *r);
// When this rank's part is made: rank 0 gets all results as one; the others end here.
void explore_ranks_agree(struct explore_ranks *r, struct explore_result *result, bool lost);
// After that: NULL, or why there is no result.
const char *explore_ranks_lost(const struct explore_ranks *r);

#endif
