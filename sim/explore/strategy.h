// SPDX-License-Identifier: Apache-2.0
// Who goes on: the ways to search interleavings, behind one interface.
//
// An execution is a row of decisions. At each, one of the actors that are ready goes on. A strategy is told
// when an execution begins and ends, answers each decision, and says at the end what its search establishes.
// Everything is a function of the seed and of what it was asked, so a search can be made again.
// Its memory comes from strategy_memory(), which must survive the restart of an execution.
#ifndef SIM_EXPLORE_STRATEGY_H
#define SIM_EXPLORE_STRATEGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPLORE_ACTORS_MAX 32u
#define EXPLORE_NOBODY UINT32_MAX
#define EXPLORE_LATER                                                                                        \
    (UINT32_MAX - 1) // Who could go on waits until somebody comes who now has nothing to do.
#define STRATEGY_DEPTH_MAX 16u

enum strategy_kind {
    STRATEGY_PCT,    // Random priorities and depth - 1 random places where the one that runs falls behind all
                     // others (Burckhardt et al., ASPLOS 2010).
    STRATEGY_RANDOM, // At every decision any ready actor, with equal probability.
    STRATEGY_DELAY, // The one that runs goes on, but for at most `depth` delays: all places, one delay first,
                    // then two (Emmi, Qadeer, Rakamaric, POPL 2011).
    STRATEGY_REVERSE,   // Of two accesses that conflict the first waits for the second: each pair that met,
                        // then what meets on top of that, up to `depth` at a time.
    STRATEGY_INTERRUPT, // A processor stands until an interrupt waits, which is taken before its access: each
                        // place of the code, then REVERSE on top.
    STRATEGY_DFS,       // Every order that differs in an order of conflicting accesses.
    STRATEGY_JITTER, // Nobody is held: processors fall behind by random small times. Every execution is one
                     // that the machine's timing could have had.
    STRATEGY_COUNT
};
const char *strategy_name(enum strategy_kind kind);
const char *strategy_about(enum strategy_kind kind);

struct strategy_options {
    enum strategy_kind kind;
    uint64_t seed;
    uint32_t depth;       // PCT: of bugs (2 to 16); DELAY: delays (1 to 16); REVERSE: reversals (1 to 16)
    uint32_t part, parts; // Of several processes that search together: this one's number, and how many.
};

// How a search can be shared out to processes that do not speak with each other meanwhile.
enum strategy_sharing {
    SHARED_ANYHOW,    // Each part goes where its own executions lead it.
    SHARED_BY_NUMBER, // An execution is a function of its number and of what was learned: part p of n makes
                      // every nth one, and which ones are made does not depend on n.
    SHARED_NEVER      // One process makes the whole search.
};
enum strategy_sharing strategy_sharing(enum strategy_kind kind);

// What an access does to whom: two conflict if they touch the same place and one of them writes it.
struct explore_access {
    uint64_t
        place; // Line of 8 bytes, or a number of its own for what hardware does; 0: nothing anybody shares
    bool writes;
    bool empties;   // It comes after every store that has left its processor's buffer.
    uint32_t since; // Of a store buffer: the store was made after so many decisions.
    uint64_t pc;    // Where the code does it; 0: a guest does
    // When it is carried out: the locks that are held then, a bit each, and those that nobody else can have;
    // a lock's own work is done, other than coming there first.
    uint64_t locks, exclusive;
    bool of_lock;
    bool interruptible, interrupted; // An interrupt could be taken before it, or waits already.
};

struct explore_decision {
    uint32_t current; // Who ran last and could go on; EXPLORE_NOBODY: it cannot
    uint32_t ready;   // Bit set, `current` included; never empty
    uint32_t
        later; // Those that have nothing to do but may have soon; EXPLORE_LATER is an answer if not empty
    uint32_t buffers_from; // Actors from this one on are store buffers, each of the processor so many less;
                           // 0: there are none
    struct explore_access next[EXPLORE_ACTORS_MAX]; // What each ready actor does first if it goes on
};

enum explore_stand { EXPLORE_GOES_ON, EXPLORE_STANDS, EXPLORE_TAKES /* the interrupt that waits */ };

struct strategy;
struct strategy *strategy_create(const struct strategy_options *options, void *(*memory)(size_t bytes));
// Another execution. False: there is none that could differ.
bool strategy_begin(struct strategy *s);
// The number of the execution that was begun last, among those of all parts; each part's own ascend.
uint64_t strategy_number(const struct strategy *s);
// SHARED_BY_NUMBER: until strategy_split(), before which every part makes the same executions, what they are
// like is learned from them (how long they are; what is shared). After it, nothing is learned any more.
void strategy_learn(struct strategy *s);
// From here on, between two executions: a part only.
void strategy_split(struct strategy *s, uint32_t part, uint32_t parts);
// An actor that is ready; EXPLORE_LATER: none of these (without a current one too, by some strategies); or
// EXPLORE_NOBODY: what would follow is known.
uint32_t strategy_decide(struct strategy *s, const struct explore_decision *d);
// The actor carries out an access to a place that is shared. True: one that stands may go on now.
bool strategy_made(struct strategy *s, uint32_t actor, const struct explore_access *a);
// Memory has another owner from now on, who got it from whoever used it before.
void strategy_handed_over(struct strategy *s, uint64_t place, uint64_t places);
// Does everybody run at its own time in this execution? Then there are no decisions, and at each access to
// what is shared: does the actor stand there?
bool strategy_timed(const struct strategy *s);
// Does it care for what was made and handed over?
bool strategy_listens(const struct strategy *s);
// It is to be asked at, and told of, accesses to what is not shared, too.
bool strategy_wants_all(const struct strategy *s);
enum explore_stand strategy_stands(struct strategy *s, uint32_t actor, const struct explore_access *a);
// In such an execution: the actor has nothing to execute. True: one that stands may go on now.
bool strategy_idle(struct strategy *s, uint32_t actor);
// EXPLORE_LATER was answered, or it stands, and the actor has stood long enough: it goes on.
void strategy_late(struct strategy *s, uint32_t actor);
// A choice among n of another kind (a value that the access made last reads, a store to let go): 0 is what
// happens by default.
uint32_t strategy_choose(struct strategy *s, uint32_t n);
// An actor waits in a loop for others (PAUSE): it should not go on while others can.
void strategy_yielded(struct strategy *s, uint32_t actor);
// JITTER: by how many cycles the actor falls behind before its next access.
uint32_t strategy_delay_cycles(struct strategy *s);
// The execution is over; `complete`: it came to its end and was not given up.
void strategy_end(struct strategy *s, bool complete);
// What counts as shared has grown in the execution that ended: a search of all orders begins again.
void strategy_changed(struct strategy *s);
// What the parts have done, to be put together.
struct strategy_sums {
    uint64_t executions;
    uint32_t decisions_max, actors_max;
    uint32_t delays; // Up to so many: all
    bool finished;
};
struct strategy_sums strategy_sums(const struct strategy *s);
void strategy_sums_add(struct strategy_sums *sums, const struct strategy_sums *of);
// Speak of these from here on.
void strategy_take_sums(struct strategy *s, const struct strategy_sums *sums);
// What has been established so far, a sentence.
void strategy_established(const struct strategy *s, char *text, size_t size);

// Numbers that look random: the state advances.
uint64_t explore_random(uint64_t *state);
static inline uint32_t explore_below(uint64_t *state, uint32_t n)
{
    return (uint32_t)(((explore_random(state) >> 32) * n) >> 32);
}

#endif
