// SPDX-License-Identifier: Apache-2.0
// Inside of sim/explore: what the two halves of the strategy REVERSE share, the executions and what is
// learned from them.
#ifndef SIM_EXPLORE_STRATEGY_REVERSE_H
#define SIM_EXPLORE_STRATEGY_REVERSE_H

#include "sim/explore/strategy_internal.h"

#define REVERSALS_MAX (1u << 16)
#define INDEX_MAX (2 * REVERSALS_MAX)
#define COUNTS_MAX (1u << 17)
#define LOG_MAX (1u << 15)
#define CLASSES_MAX LOG_MAX
#define BASES_MAX 6u    // Executions without a reversal, until all that is shared is known
#define SPINS_MAX 64u   // So often others turn in a loop before nobody is held any more.
#define BULK_PLACES 12u // A place in the code with so many words is a loop over them: one stands for all.
#define OLDER_MAX 3u    // Of a value that is read
#define HANDED_OVER_MAX 1024u // Words; more than that belongs to guests.
#define TAKES_MAX 8u          // Interrupts before accesses by one place of the code
#define NONE UINT32_MAX

enum kind {
    REVERSE_STAY, // After the second access its actor goes on, ...
    REVERSE_GO,   // ... or the one that stood does.
    REVERSE_MEET, // Only until the second is about to be made: then it stands for the first.
    REVERSE_TAKE, // Until an interrupt waits, which is then taken right before the access.
    REVERSE_OLDER // The access reads an older value, or its store goes before others.
};

// An access: the nth that its actor makes there, to that place. `pc` 0: a guest's.
struct event {
    uint64_t pc, place;
    uint32_t nth;
    uint32_t actor;
};

struct reversal {
    struct event held, until;
    enum kind kind;
    uint32_t older;
    uint32_t parent; // Made together with it: index, NONE
    uint32_t depth;
    uint32_t often; // How often both were made
    bool timed;     // On top of an execution in which everybody runs at its own time
    uint64_t key;
};

struct logged {
    struct event e;
    uint64_t locks, exclusive; // As in struct explore_access
    bool writes, of_lock, interruptible;
    uint32_t own;  // Of a guest's access: the last one of its actor in the hypervisor before
    uint32_t turn; // Other actors had theirs in between.
    uint32_t choices;
    uint64_t handed_over; // No access: so many places from e.place on have another owner.
};

enum state {
    STATE_WAITS,
    STATE_HOLDS,
    STATE_LEAVES, // The guest made the second access; it counts when its processor is back in the hypervisor.
    STATE_DONE,
    STATE_BROKEN
};

// The accesses to a place by one actor at one place of the code.
struct class
{
    uint64_t place, pc;
    uint32_t actor, last; // Index in the log
    uint32_t total;       // How many there are
    uint32_t stays;       // The turn behind which its last one was put
    uint32_t next;        // Of the same place, NONE
};

struct count {
    uint64_t key, execution;
    uint32_t count;
};

struct slot {
    uint64_t key, pass;
    uint32_t value;
};

struct reverse {
    uint32_t count;
    uint32_t untried[STRATEGY_DEPTH_MAX][REVERSALS_MAX], untried_count[STRATEGY_DEPTH_MAX];
    uint32_t index[INDEX_MAX]; // By key: + 1, 0: free
    struct reversal list[REVERSALS_MAX];
    uint64_t made, together, effective;
    uint32_t bases[2];
    bool grown[2]; // What is shared has, in the last execution without a reversal, by `timed`.
    // This execution
    uint64_t execution;
    bool timed;  // Everybody runs at its own time.
    bool base;   // Without a reversal
    bool random; // With several that need not belong together
    struct {
        uint32_t reversal;
        enum state state;
    } active[STRATEGY_DEPTH_MAX];
    uint32_t active_count;
    uint32_t prefer; // Goes on next; if timed, before `aside` does
    uint32_t aside;
    bool takes; // Whoever was asked for last takes an interrupt.
    uint32_t spins;
    uint32_t own[EXPLORE_ACTORS_MAX]; // The last access in the log that is no guest's
    uint32_t turn, turn_of;           // How many there were, and whose it is
    struct count counts[COUNTS_MAX];
    struct logged log[LOG_MAX];
    uint32_t log_count;
    bool logged; // The last access is in the log.
    // When it is looked at
    uint64_t pass;
    struct slot by_place[CLASSES_MAX * 2], by_pc[CLASSES_MAX];
    struct class classes[CLASSES_MAX];
    uint32_t class_count;
};

static inline uint64_t reverse_mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}

// The accesses of the execution that ended: reversals that were not known.
void reverse_look(struct strategy *s);

#endif
