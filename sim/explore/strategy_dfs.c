// SPDX-License-Identifier: Apache-2.0
// Depth-first search over decisions with dynamic partial-order reduction (Flanagan, Godefroid, POPL 2005) and
// sleep sets (Godefroid 1996), as source sets: of the orders that differ only in accesses that do not
// conflict, one is made.
//
// The tree is kept along the current execution only. After each, for every access the latest conflicting one
// of another actor that it is not ordered after gives a place where the other order must be tried.
#include "sim/explore/strategy_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DFS_NODES_MAX (1u << 16)
#define DFS_PLACES_MAX (1u << 14) // Of an execution, a power of two
#define DFS_BETWEEN_MAX 1024u
#define DFS_ACTORS_MAX 16u // Machines with more are searched by other strategies.

struct node {
    uint32_t n;         // A choice among n of another kind; 0: a decision
    uint32_t chosen;    // Value or actor
    uint32_t ready;     // Actors
    uint32_t backtrack; // Those to be tried here
    uint32_t done;      // Those that were, the current one included
    uint32_t sleep;     // Those whose order was tried before: on arrival
    struct explore_access next[DFS_ACTORS_MAX];
};

// The latest accesses to a place in the execution that is looked at.
struct place {
    uint64_t place; // 0: free
    uint64_t pass;
    uint32_t write;                // Index + 1 of the latest write, 0: none
    uint32_t read[DFS_ACTORS_MAX]; // Of the latest read of each actor
};

struct dfs {
    uint32_t depth;        // Nodes of the tree
    uint32_t buffers_from; // As in struct explore_decision
    uint32_t at;           // The next one in this execution
    uint32_t sleep;        // Asleep now
    bool overflowed;       // More decisions than the tree has room for: beyond it nothing is searched.
    bool again;            // What is shared has grown.
    bool redundant;        // Everybody is asleep: this execution was made before, in another order.
    uint64_t pass;
    uint64_t made, redundant_count;
    struct place place[DFS_PLACES_MAX];
    uint32_t clock[DFS_ACTORS_MAX][DFS_ACTORS_MAX]; // By actor: what it is ordered after
    uint32_t before[DFS_ACTORS_MAX]; // The clock of the actor whose access is looked at, before that
    uint32_t node_clock[DFS_NODES_MAX][DFS_ACTORS_MAX]; // Of the actor behind each node
    struct node node[DFS_NODES_MAX];
};

static void dfs_create(struct strategy *s, void *(*memory)(size_t bytes))
{
    s->dfs = memory(sizeof *s->dfs);
    s->dfs->depth = s->dfs->at = 0;
    s->dfs->pass = s->dfs->made = s->dfs->redundant_count = 0;
    s->dfs->overflowed = s->dfs->again = false;
}

static bool conflict(struct explore_access a, struct explore_access b)
{
    return a.place && a.place == b.place && (a.writes || b.writes);
}

// A processor reads what is in its own buffer: whether that leaves before or after, it cannot tell. Where one
// of the two must wait for the other, both say so themselves (since, empties).
static bool same_processor(const struct dfs *f, uint32_t a, uint32_t b)
{
    return explore_processor(f->buffers_from, a) == explore_processor(f->buffers_from, b);
}

// --- Going down. ---

static void add_node(struct dfs *f, const struct explore_decision *d)
{
    struct node *n = &f->node[f->depth++];

    n->n = 0;
    n->ready = d->ready;
    n->sleep = f->sleep;
    n->done = 0;
    memcpy(n->next, d->next, sizeof n->next);
    uint32_t awake = d->ready & ~f->sleep;
    uint32_t buffers = d->buffers_from ? awake >> d->buffers_from << d->buffers_from : 0;

    // Who runs goes on, else stores leave: those who wait in a loop may wait for one. Later others are tried,
    // if an order of theirs matters.
    n->chosen = d->current != EXPLORE_NOBODY && (awake >> d->current & 1)
                    ? d->current
                    : (uint32_t)__builtin_ctz(buffers ? buffers : awake);
    n->backtrack = 1u << n->chosen;
}

// After the actor's access: asleep stay those whose own is independent of it.
static void wake(struct dfs *f, const struct node *n)
{
    uint32_t asleep = (n->sleep | n->done) & ~(1u << n->chosen), still = 0;

    for (uint32_t rest = asleep & n->ready; rest; rest &= rest - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(rest);

        if (same_processor(f, i, n->chosen) || !conflict(n->next[i], n->next[n->chosen]))
            still |= 1u << i;
    }
    f->sleep = still;
}

static uint32_t dfs_decide(struct strategy *s, const struct explore_decision *d)
{
    struct dfs *f = s->dfs;

    f->buffers_from = d->buffers_from;
    if (f->at == DFS_NODES_MAX || (d->ready >> DFS_ACTORS_MAX)) {
        f->overflowed = true;
        return d->current != EXPLORE_NOBODY ? d->current : (uint32_t)__builtin_ctz(d->ready);
    }
    if (f->at == f->depth) {
        if (!(d->ready & ~f->sleep)) {
            f->redundant = true;
            return EXPLORE_NOBODY;
        }
        add_node(f, d);
    }
    struct node *n = &f->node[f->at++];

    if (n->n || !(d->ready >> n->chosen & 1)) { // The same decisions did not lead to the same place.
        f->overflowed = true;
        return (uint32_t)__builtin_ctz(d->ready);
    }
    memcpy(n->next, d->next, sizeof n->next);
    wake(f, n);
    return n->chosen;
}

static uint32_t dfs_choose(struct strategy *s, uint32_t count)
{
    struct dfs *f = s->dfs;

    if (f->at == DFS_NODES_MAX) {
        f->overflowed = true;
        return 0;
    }
    if (f->at == f->depth) {
        struct node *n = &f->node[f->depth++];

        memset(n, 0, sizeof *n);
        n->n = count;
    }
    return f->node[f->at++].chosen % count;
}

// --- Coming up. ---

static struct place *place_of(struct dfs *f, uint64_t place)
{
    for (uint64_t i = place * 0x9e3779b97f4a7c15ull >> 20;; i++) {
        struct place *p = &f->place[i % DFS_PLACES_MAX];

        if (p->pass != f->pass) {
            memset(p, 0, sizeof *p);
            p->pass = f->pass;
            p->place = place;
            return p;
        }
        if (p->place == place)
            return p;
    }
}

static bool is_after(const struct dfs *f, uint32_t i, uint32_t j)
{
    return f->node_clock[i][f->node[j].chosen] > j;
}

// Who could go on in place of node `j` towards the other order of its access and that of node `i`: the first
// ones of what comes between the two and is not after `j`, and of `i` itself.
static uint32_t initials(const struct dfs *f, uint32_t j, uint32_t i)
{
    uint32_t firsts = 0, seen = 0, count = 0;
    uint32_t between[DFS_BETWEEN_MAX];

    for (uint32_t k = j + 1; k <= i; k++) {
        const struct node *n = &f->node[k];
        bool first = !n->n && !(seen >> n->chosen & 1);

        if (n->n || (k < i && is_after(f, k, j)))
            continue;
        for (uint32_t m = 0; m < count && first; m++)
            first = !is_after(f, k, between[m]);
        if (first)
            firsts |= 1u << n->chosen;
        seen |= 1u << n->chosen;
        if (count == DFS_BETWEEN_MAX)
            return 0; // Too far apart to tell: all are tried.
        between[count++] = k;
    }
    return firsts;
}

// Access `i` of actor `a` conflicts with that of node `j`: unless they are ordered anyway, the other order is
// tried there (source sets: Abdulla, Aronis, Jonsson, Sagonas, POPL 2014).
static void meet(struct dfs *f, uint32_t a, uint32_t i, uint32_t j_plus_1)
{
    if (!j_plus_1)
        return;
    struct node *j = &f->node[j_plus_1 - 1];

    if (same_processor(f, j->chosen, a) || f->before[j->chosen] >= j_plus_1)
        return;
    uint32_t firsts = initials(f, j_plus_1 - 1, i) & j->ready;

    if (!firsts)
        j->backtrack |= j->ready;
    else if (!(firsts & j->backtrack))
        j->backtrack |= firsts & -firsts;
}

static void join_clock(struct dfs *f, uint32_t a, const uint32_t *clock)
{
    for (uint32_t k = 0; k < DFS_ACTORS_MAX; k++)
        if (clock[k] > f->clock[a][k])
            f->clock[a][k] = clock[k];
}

static void join(struct dfs *f, uint32_t a, uint32_t j_plus_1)
{
    if (j_plus_1)
        join_clock(f, a, f->node_clock[j_plus_1 - 1]);
}

// A store that leaves a buffer comes after what its processor did before it made the store; an access that
// waits for the buffer, after all that left it.
static void order_in_processor(struct dfs *f, uint32_t a, struct explore_access access)
{
    uint32_t j = access.since, cpu = explore_processor(f->buffers_from, a);

    if (access.empties && f->buffers_from && f->buffers_from + a < DFS_ACTORS_MAX)
        join_clock(f, a, f->clock[f->buffers_from + a]);
    if (cpu == a)
        return;
    while (j && (f->node[j - 1].n || f->node[j - 1].chosen != cpu))
        j--;
    join(f, a, j);
}

static void order(struct dfs *f, uint32_t i)
{
    const struct node *n = &f->node[i];
    uint32_t a = n->chosen;
    struct explore_access access = n->next[a];
    struct place *p = access.place ? place_of(f, access.place) : NULL;
    struct place was = p ? *p : (struct place){0};

    order_in_processor(f, a, access);
    memcpy(f->before, f->clock[a], sizeof f->before);
    if (was.write && !same_processor(f, f->node[was.write - 1].chosen, a))
        join(f, a, was.write);
    for (uint32_t k = 0; access.writes && k < DFS_ACTORS_MAX; k++)
        if (!same_processor(f, k, a))
            join(f, a, was.read[k]);
    f->clock[a][a] = i + 1;
    memcpy(f->node_clock[i], f->clock[a], sizeof f->node_clock[i]);
    if (!p)
        return;
    meet(f, a, i, was.write);
    for (uint32_t k = 0; access.writes && k < DFS_ACTORS_MAX; k++)
        meet(f, a, i, was.read[k]);
    if (access.writes) {
        memset(p->read, 0, sizeof p->read);
        p->write = i + 1;
    } else {
        p->read[a] = i + 1;
    }
}

static void add_backtracking(struct dfs *f)
{
    f->pass++;
    memset(f->clock, 0, sizeof f->clock);
    for (uint32_t i = 0; i < f->at; i++)
        if (!f->node[i].n)
            order(f, i);
}

// The deepest node that has something left to try becomes the end of the tree.
static bool next_branch(struct dfs *f)
{
    while (f->depth) {
        struct node *n = &f->node[f->depth - 1];

        if (n->n) {
            if (++n->chosen < n->n)
                return true;
        } else {
            n->done |= 1u << n->chosen;
            uint32_t left = n->backtrack & ~n->done & ~n->sleep;

            if (left) {
                n->chosen = (uint32_t)__builtin_ctz(left);
                return true;
            }
        }
        f->depth--;
    }
    return false;
}

static bool dfs_begin(struct strategy *s)
{
    struct dfs *f = s->dfs;

    if (f->again) // From the beginning
        f->again = false;
    else if (s->executions > 0 && !next_branch(f))
        return false;
    f->at = 0;
    f->sleep = 0;
    f->redundant = false;
    return true;
}

static void dfs_end(struct strategy *s, bool complete)
{
    struct dfs *f = s->dfs;

    (void)complete;
    f->redundant_count += f->redundant;
    f->depth = f->at < f->depth ? f->at : f->depth;
    add_backtracking(f);
}

static void dfs_changed(struct strategy *s)
{
    s->dfs->depth = 0;
    s->dfs->again = true;
}

static void dfs_established(const struct strategy *s, char *text, size_t size)
{
    const struct strategy_sums sums = strategy_told(s);
    const struct dfs *f = s->dfs;

    if (sums.finished && !f->overflowed)
        snprintf(text, size,
                 "every order of conflicting accesses was tried: %" PRIu64 " executions, %" PRIu64
                 " of them cut short as known",
                 sums.executions, f->redundant_count);
    else
        snprintf(text, size, "%" PRIu64 " executions, depth first%s: not all orders were tried",
                 sums.executions, f->overflowed ? ", of decisions too many to keep" : "");
}

const struct strategy_ops strategy_dfs = {
    .name = "dfs",
    .about = "all orders of conflicting accesses, one of each kind",
    .sharing = SHARED_NEVER,
    .create = dfs_create,
    .begin = dfs_begin,
    .changed = dfs_changed,
    .end = dfs_end,
    .decide = dfs_decide,
    .choose = dfs_choose,
    .established = dfs_established,
};
