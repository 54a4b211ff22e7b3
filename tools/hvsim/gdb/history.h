// SPDX-License-Identifier: Apache-2.0
// Going back: snapshots of the simulator, and what is carried out again from them.
//
// A position is the number of guest instructions begun, over all vCPUs; equal runs have equal positions. A
// snapshot is a forked process that sleeps at its position. An order makes it fork once more: that process
// carries the run out again, either up to a bound, to find the last stop before it, or up to a target, where
// it takes the place of the process that gave the order (which ends). What both must know is in memory that
// all share; only one of them is awake at a time. The command's first process only waits for the last one's
// exit status.
//
// Snapshots are made every HISTORY_INTERVAL instructions, and on the way to a target at distances that shrink
// by 16; when there are too many, the one goes whose neighbours are closest to each other by the measure of
// how long ago it is.
#ifndef TOOLS_HVSIM_GDB_HISTORY_H
#define TOOLS_HVSIM_GDB_HISTORY_H

#include "tools/hvsim/gdb/packets.h"
#include <sys/types.h>

#define HISTORY_INTERVAL (1u << 20)
#define HISTORY_POINTS_MAX 40u

enum history_role {
    HISTORY_LIVE, // Talks with gdb
    HISTORY_SCAN, // Looks for the last stop before `bound`, then history_found()
    HISTORY_SEEK, // Goes to `bound` and is live there
};

struct history_order {
    enum history_role role;
    uint64_t bound;
    bool instructions; // Of a scan: each instruction of thread `thread` is a stop, nothing else is
    unsigned thread;
};

// Shared by all processes.
struct history_shared {
    struct gdb_state state;
    struct rsp rsp;
    struct history_order order;
    uint64_t found;         // By a scan: position, 0 none ...
    struct gdb_hit hit;     // ... and what was accessed there
    volatile bool cancel;   // gdb wants the scan to end
    uint64_t console_bytes; // Of the guests' consoles that have been written
    bool begun;             // gdb has been told of the first stop
    // Snapshots there are, by number. A copy knows those that were there when its snapshot was made; some may
    // be gone.
    uint32_t alive[HISTORY_POINTS_MAX], alive_count, last_number;
};

struct history_point {
    uint64_t position;
    int order; // To write to; it reads the other end.
    uint32_t number;
};
struct history {
    struct history_shared *shared;
    struct history_point points[HISTORY_POINTS_MAX]; // By position
    unsigned point_count;
    int lifeline;  // Readable when the command's first process is gone
    int report[2]; // From scans to who waits for them
    int status;    // To the first process
};

// Splits the command: returns in the process that simulates. The first process waits in here and exits with
// what history_exit() says. -1: out of resources (errno).
int history_begin(struct history *h);
// The run is over.
_Noreturn void history_exit(struct history *h, int status);
// Has the first process gone? Then there is nobody to run for.
bool history_orphaned(const struct history *h);

// A snapshot at this position. LIVE in the process that called; others when it wakes up in one of its copies,
// whose order is shared->order.
enum history_role history_snapshot(struct history *h, uint64_t position);
// Forgets all: gdb has gone.
void history_forget(struct history *h);

// The last stop before `bound`, as `how` says, at or behind the first snapshot. 0: there is none. Ctrl-C from
// `fd` ends the search.
uint64_t history_search(struct history *h, struct history_order how, uint64_t bound, int fd);
// Ends a scan.
_Noreturn void history_found(struct history *h);
// Goes to a position at or behind the first snapshot: the copy takes over, the caller ends. `now` is free for
// the target's use.
_Noreturn void history_seek(struct history *h, uint64_t position);

#endif
