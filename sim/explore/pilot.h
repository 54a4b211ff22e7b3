// SPDX-License-Identifier: Apache-2.0
// One processor at a time: at every access of hypervisor code somebody decides who goes on, the others stand.
//
// Actors are the machine's processors by index. One has the turn; whoever else comes to an access stands
// still there (pcpu_hold(): time passes, interrupts wait), so a piloted run is a run that the machine could
// have had with those processors slow at those places. A processor that halts or lets a guest's time pass
// gives the turn away; what it does in the guest is not piloted. Accesses to what only one actor has touched
// so far decide nothing: which places are shared is learned, and kept over executions by the table's owner.
//
// With store buffers (x86-TSO) each processor's buffer is an actor of its own, numbered after all processors:
// a store to what is shared waits in it until the buffer is chosen, and only that is an access of the place.
#ifndef SIM_EXPLORE_PILOT_H
#define SIM_EXPLORE_PILOT_H

#include "models/cpu/native/watch.h"
#include "models/mem/mem.h"
#include "sim/explore/pilot_notes.h"
#include "sim/explore/strategy.h"

// One access of the execution, in order.
struct pilot_step {
    uint64_t pc;    // Of the hook's return
    uint64_t place; // 8-byte line of the address; 0: none
    uint64_t ticks;
    uint8_t actor;
    uint8_t access; // enum place_access bits
    uint32_t store; // Not 0: the store that step `store` - 1 made leaves its buffer; `pc` is that step's.
    uint8_t older;  // What it read, or where its store went: as in struct schedule_step
    bool idle;      // Behind it the processor halted or let a guest's time pass.
    bool switched;  // Another actor had the turn before.
    bool interrupt; // No access: it took an interrupt before that.
    bool decided;   // Two or more could have gone on.
    uint32_t after; // It could have gone on at once and stood until that step was made: index + 1; 0: no
};

#define PILOT_STEPS_MAX (1u << 18)
#define PILOT_GROUP_WORDS 64u
#define PILOT_GROUPS_MAX (1u << 12)
#define PILOT_PAIRS_MAX (1u << 16)

// Eight bytes that were touched.
struct pilot_place {
    uint32_t execution; // In which it was touched last (its number's low bits); of that execution:
    uint32_t actors;    // Bit set: who has touched it
    uint32_t last_pc;   // Low bits: the core's image is smaller
    uint8_t last_actor;
    bool written;
    bool shared; // Of any execution
};

// Neighbours, as loops touch them one after the other.
struct pilot_group {
    uint64_t number; // place / PILOT_GROUP_WORDS; 0: free
    struct pilot_place words[PILOT_GROUP_WORDS];
};

// Kept over executions: memory that a restart does not put back.
struct pilot_memory {
    struct pilot_group groups[PILOT_GROUPS_MAX];
    struct pilot_group *last; // That was looked at; NULL: none
    uint32_t group_count, shared_count;
    // What this execution has taught.
    struct pilot_place *new_shared[PILOT_GROUPS_MAX * PILOT_GROUP_WORDS];
    struct pilot_group *new_groups[PILOT_GROUPS_MAX];
    uint32_t new_shared_count, new_group_count;
    uint64_t pairs[PILOT_PAIRS_MAX]; // Hashes of (place of code, place of code) that met; 0: free
    uint32_t pair_count;
    uint64_t execution;
    struct pilot_notes notes;
    struct pilot_step steps[PILOT_STEPS_MAX]; // Of this execution
    uint32_t step_count;
    uint64_t order; // Hash of who made which shared access
};

enum pilot_end {
    PILOT_GOES_ON,
    PILOT_REDUNDANT, // The strategy knows the rest.
    PILOT_TOO_LONG,  // More than PILOT_STEPS_MAX accesses: a livelock, or a window too wide
};

#define PILOT_STORES_MAX 128u // Of one buffer

// A store that waits.
struct pilot_store {
    uint32_t step;  // Of the execution: who made it
    uint32_t since; // Decisions before that
};

struct pilot_buffer {
    struct pilot_store store[PILOT_STORES_MAX]; // A ring
    uint32_t first, count, number;
    uint32_t expected;    // Step + 1 whose store its processor is about to make; 0: none
    uint32_t fresh;       // So many, the newest ones, have not been decided about.
    bool waits, waited;   // Its processor stands until few enough are left; did so since its last access.
    uint32_t waits_for;   // So many
    uint64_t ready_ticks; // The last one that left is visible from then on.
};

struct pilot {
    struct native_watch watch; // First.
    struct machine *machine;
    struct strategy *strategy;
    struct pilot_memory *memory;
    uint32_t turn;                                 // Actor, EXPLORE_NOBODY
    uint32_t standing;                             // Bit set: stand at an access
    uint32_t after[EXPLORE_ACTORS_MAX];            // As in struct pilot_step, for the one that stands
    uint32_t on;                                   // Bit set: execute at all
    uint32_t warden;                               // Stands until somebody else comes, or until
    uint64_t warden_ticks;                         // that time, which counts from
    uint64_t since[EXPLORE_ACTORS_MAX];            // when it came to its access.
    struct native_access next[EXPLORE_ACTORS_MAX]; // Theirs
    uint32_t in_a_row;                             // Accesses since the turn last changed
    bool jitter;
    bool asks_all;          // The strategy wants to hear of every access, also where there is no choice.
    bool store_buffers;     // Stores wait until chosen: wanted;
    bool with_buffers;      // and so it is: not of too many processors, nor with jitter.
    uint32_t buffers_ready; // Bit set: actors that are buffers with a store
    uint32_t decisions;     // In this execution
    struct mem_keeper keeper;
    struct pilot_buffer buffer[EXPLORE_ACTORS_MAX];
    bool tells;                                     // The strategy hears of what is carried out,
    bool all;                                       // of what is not shared, too.
    bool timed;                                     // Nobody has the turn; who stands is asked for itself.
    void (*give_up)(void *ctx, enum pilot_end why); // Does not return.
    void *ctx;
};

// From a process of the machine, before the execution's first access: begins to decide.
void pilot_begin(struct pilot *p, struct machine *machine);
void pilot_end(struct pilot *p);

// Between executions: what the last one taught stays known (`keep`), or is as if it had not been seen. True:
// it found words that are shared.
bool pilot_learn(struct pilot_memory *m, bool keep);

#endif
