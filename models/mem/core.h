// SPDX-License-Identifier: Apache-2.0
// Inside of models/mem: one core's caches, host TLB and store buffer. The hooks of models/cpu/native use the
// inline fast paths; everybody else goes through mem.h.
#ifndef MODELS_MEM_CORE_H
#define MODELS_MEM_CORE_H

#include "models/mem/cache.h"
#include "models/mem/l1.h"
#include "models/mem/mem.h"

#define MEM_LINE_SHIFT 6
#define MEM_STORE_ENTRIES_MAX 128u
#define MEM_DIRECT_PAGE_SHIFT 30 // hv's direct map uses 1-GByte pages.
#define MEM_DTLB_MAX 64u

// A store that other processors cannot see yet. While its processor executes, the arena holds the new bytes
// and `other` the old ones; while another does, it is the other way round.
struct mem_store {
    unsigned char *p;
    uint64_t drain_ticks;
    uint64_t claim; // Line + 1 that the other holders lose when it drains; 0: nobody else holds it.
    uint8_t size_bytes;
    uint8_t kept; // Number by which it is let go (mem_store_keep()); 0: it drains when it is due.
    unsigned char other[16];
};

struct mem_store_buffer {
    struct mem_store entry[MEM_STORE_ENTRIES_MAX]; // A ring.
    uint32_t head, count;                          // head: the oldest
    uint32_t capacity;
    uint32_t claims; // Number of entries with a claim.
    uint32_t kept;   // Number of entries that are kept.
    struct mem_keeper *keeper;
    uint64_t last_drain_ticks;
    uint64_t claim; // Of the store whose time was taken last and which is not pushed yet.
    bool hidden;
    enum mem_store_mode mode;
};

// Where an access by pointer finds its line without a look at the TLB or a search in L1. An entry tells the
// truth as long as its key is of this generation and its way still has the tag: then the page is in the
// first-level TLB. Loads and stores have tables of their own, so that a copy does not thrash one.
#define MEM_NEAR_LINES 256u
#define MEM_NEAR_GENERATION (1ull << 48) // Above every line number of a pointer.
struct mem_near {
    uint64_t key; // Line of the pointer + generation; 0: none
    uint64_t tag;
    struct l1_way *way;
};

struct mem_counters {
    uint64_t loads, stores, rmws;
    uint64_t l1i_misses, l1_misses, l2_misses, l3_misses, transfers, upgrades, dtlb_misses, store_stalls;
};

struct mem_core {
    struct pcpu *cpu;
    struct l1 l1;
    struct l1 l1i; // Of code that is fetched: a guest's machine code
    struct cache l2;
    struct cache *l3; // Of the socket, shared.
    struct mem_store_buffer stores;
    uint64_t dtlb[MEM_DTLB_MAX]; // Page numbers + 1, the latest fill first: the DTLB's (first in, first out),
                                 // then the STLB's.
    uint32_t dtlb_first, dtlb_total;
    uint64_t monitor; // Line + 1 that is watched; 0: none
    void (*monitor_hit)(struct pcpu *c, uint64_t at_ticks);
    struct mem_near near_load[MEM_NEAR_LINES], near_store[MEM_NEAR_LINES]; // near_store: lines in state M
    uint64_t near_generation; // A multiple of MEM_NEAR_GENERATION, never 0.
    struct mem_counters counters;
    // Latencies in ticks, beyond the L1 hit where the name says extra.
    uint32_t fetch_l2_extra, l2_extra, l3_extra, dram_extra, clean_extra, modified_extra, upgrade, stlb,
        walk_start, commit, rmw;
};

// Earliest drain among stores hidden on processors that do not execute; TICKS_NEVER if none.
extern uint64_t mem_hidden_drain_ticks;
// Makes hidden stores due by `c`'s now visible.
void mem_commit_due(struct pcpu *c);

// Brings `line` in; returns the extra ticks beyond an L1 hit. L1 was found to lack it (or to hold it shared).
uint32_t mem_line_load_miss(struct mem_core *m, uint64_t line);
// The same for a store. Other holders lose the line at once if `claim` is NULL (locked operations); otherwise
// they keep it until the store drains: *claim is then the argument for mem_line_claim(), 0 if there is no
// other holder.
// `l1` is its way, not modified, or NULL.
uint32_t mem_line_store_miss(struct mem_core *m, uint64_t line, struct l1_way *l1, uint64_t *claim);
void mem_line_claim(struct mem_core *m, uint64_t claim);
uint32_t mem_dtlb_miss(struct mem_core *m, uint64_t page);
// Another core than `m` that watches `line` is told of a store of this one.
void mem_line_stored(struct mem_core *m, uint64_t line, uint64_t at_ticks);

// What the first-level TLB holds, or what pointers mean, has changed.
void mem_near_forget(struct mem_core *m);
// After an access of pointer `p` at `hpa`: remembers in a table where its line is.
void mem_near_learn(struct mem_core *m, struct mem_near *table, const void *p, uint64_t hpa);

// Time of the fetch of `bytes` (1..4096, within a page) of code at `hpa` beyond that of hits in the
// instruction cache, which costs nothing.
uint32_t mem_fetch_miss(struct mem_core *m, uint64_t line); // Of a line that is not where it was last
static inline __attribute__((always_inline)) void mem_fetch(struct pcpu *c, uint64_t hpa, unsigned bytes)
{
    struct mem_core *m = c->mem;
    uint64_t line = hpa >> MEM_LINE_SHIFT, last = (hpa + bytes - 1) >> MEM_LINE_SHIFT;

    do {
        struct l1_way *w = l1_guess(&m->l1i, line);

        if (__builtin_expect(!w, 0))
            c->now_ticks += mem_fetch_miss(m, line);
        else
            l1_use(&m->l1i, w);
    } while (line++ != last);
}

// True if an access of `size_bytes` at `p` is within one line that is near; it then takes no time beyond that
// of an L1 hit, and has been made the latest used.
static inline bool mem_near(struct mem_core *m, const struct mem_near *table, const void *p,
                            unsigned size_bytes)
{
    uint64_t at = (uint64_t)(uintptr_t)p, line = at >> MEM_LINE_SHIFT;
    const struct mem_near *n = &table[line % MEM_NEAR_LINES];

    if (n->key != line + m->near_generation || n->way->tag != n->tag ||
        at % (1u << MEM_LINE_SHIFT) > (1u << MEM_LINE_SHIFT) - size_bytes)
        return false;
    l1_use(&m->l1, n->way);
    return true;
}

static inline uint32_t mem_line_load(struct mem_core *m, uint64_t line)
{
    if (__builtin_expect(l1_touch(&m->l1, line) != NULL, 1))
        return 0;
    return mem_line_load_miss(m, line);
}

static inline uint32_t mem_line_store(struct mem_core *m, uint64_t line, uint64_t *claim)
{
    struct l1_way *l1 = l1_touch(&m->l1, line);

    if (__builtin_expect(l1 && (l1->tag & 3) == CACHE_M, 1))
        return 0;
    return mem_line_store_miss(m, line, l1, claim);
}

static inline uint32_t mem_dtlb(struct mem_core *m, uint64_t hpa)
{
    uint64_t page = (hpa >> MEM_DIRECT_PAGE_SHIFT) + 1;

    for (uint32_t i = 0; i < m->dtlb_first; i++)
        if (m->dtlb[i] == page)
            return 0;
    return mem_dtlb_miss(m, page);
}

// Time of one load of at most 64 bytes: exposed latency beyond the L1 hit, both lines where it crosses one.
// By a guest: at the address that its own TLB gave.
static inline void mem_time_guest_load(struct pcpu *c, uint64_t hpa, unsigned size_bytes)
{
    struct mem_core *m = c->mem;
    uint64_t line = hpa >> MEM_LINE_SHIFT, last = (hpa + size_bytes - 1) >> MEM_LINE_SHIFT;
    uint32_t extra = mem_line_load(m, line);

    if (__builtin_expect(last != line, 0))
        extra += mem_line_load(m, last);
    m->counters.loads++;
    c->now_ticks += extra;
}

static inline void mem_time_load(struct pcpu *c, uint64_t hpa, unsigned size_bytes)
{
    c->now_ticks += mem_dtlb(c->mem, hpa);
    mem_time_guest_load(c, hpa, size_bytes);
}

// A store that executes now drains when its line is there (`extra` ticks from now) and it is its turn.
static inline uint64_t mem_drain_ticks(struct mem_core *m, uint64_t now_ticks, uint32_t extra)
{
    uint64_t ready = now_ticks + extra, in_turn = m->stores.last_drain_ticks + m->commit;

    m->stores.last_drain_ticks = ready > in_turn ? ready : in_turn;
    return m->stores.last_drain_ticks;
}

// A store leaves the core's way at once (unless the buffer is full); returns the tick at which it drains.
uint64_t mem_time_store(struct pcpu *c, uint64_t hpa, unsigned size_bytes);
uint64_t mem_time_guest_store(struct pcpu *c, uint64_t hpa, unsigned size_bytes);
// Remembers a store that drains at `drain_ticks`; the caller has not yet written the bytes.
void mem_store_push(struct pcpu *c, void *p, unsigned size_bytes, uint64_t drain_ticks);

// Before a store whose time is not taken yet: while one stands for a full buffer of stores that are kept,
// others run, and lines change hands.
void mem_store_wait_for_room(struct pcpu *c);
static inline void mem_store_before(struct pcpu *c)
{
    if (__builtin_expect(c->mem->stores.kept, 0))
        mem_store_wait_for_room(c);
}
// Waits until the buffer, which is full, has room.
void mem_store_make_room(struct pcpu *c);
// Both, for a store that finds everything in place (mem_near()) and room in the buffer. `kept_bytes` of those
// at `p` are remembered: its size, or 0.
static inline void mem_store_near(struct mem_core *m, uint64_t now_ticks, void *p, unsigned kept_bytes)
{
    struct mem_store_buffer *b = &m->stores;
    struct mem_store *e = &b->entry[(b->head + b->count++) % MEM_STORE_ENTRIES_MAX];

    m->counters.stores++;
    e->p = p;
    e->size_bytes = (uint8_t)kept_bytes;
    e->drain_ticks = mem_drain_ticks(m, now_ticks, 0);
    e->claim = 0;
    memcpy(e->other, p, kept_bytes);
}

// For a guest's access of `size_bytes` at `hpa` within a line that is where it was last: its way, where the
// access takes no time. NULL: it may. Nothing has happened yet.
static inline __attribute__((always_inline)) struct l1_way *mem_guest_near(const struct mem_core *m,
                                                                           uint64_t hpa, unsigned size_bytes)
{
    return hpa % (1u << MEM_LINE_SHIFT) + size_bytes <= 1u << MEM_LINE_SHIFT
               ? l1_guess(&m->l1, hpa >> MEM_LINE_SHIFT)
               : NULL;
}
// The same for a store, which also finds room in the buffer.
static inline __attribute__((always_inline)) struct l1_way *
mem_guest_near_store(const struct mem_core *m, uint64_t hpa, unsigned size_bytes)
{
    struct l1_way *w = mem_guest_near(m, hpa, size_bytes);

    return w && (w->tag & 3) == CACHE_M && m->stores.count < m->stores.capacity ? w : NULL;
}

// A guest's plain store at `p`, which is at `hpa`: its time, and mem_store_push() in place, where
// `size_bytes` is a constant. Taking the time has made room.
static inline __attribute__((always_inline)) void mem_guest_store(struct pcpu *c, uint64_t hpa, void *p,
                                                                  unsigned size_bytes)
{
    struct mem_store_buffer *b = &c->mem->stores;
    uint64_t drain = mem_time_guest_store(c, hpa, size_bytes);
    struct mem_store *e = &b->entry[(b->head + b->count) % MEM_STORE_ENTRIES_MAX];

    if (!__builtin_constant_p(size_bytes)) {
        mem_store_push(c, p, size_bytes, drain);
        return;
    }
    b->count++;
    e->p = p;
    e->size_bytes = (uint8_t)size_bytes;
    e->drain_ticks = drain;
    e->claim = b->claim;
    b->claims += b->claim != 0;
    b->claim = 0;
    memcpy(e->other, p, size_bytes);
}

// Instead of mem_store_push(): the store takes effect at once, and its line is the core's now.
void mem_store_forget(struct pcpu *c);

#endif
