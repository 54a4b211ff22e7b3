// SPDX-License-Identifier: Apache-2.0
// x86-TSO (SDM 8.2.2): stores wait in a first-in first-out buffer; their own processor sees them, others do
// not until they drain. Locked operations and fences drain it.
//
// Natively compiled code writes its bytes straight into the arena. So the buffer remembers what each store
// overwrote, and at every change of the executing processor the bytes are exchanged: hidden stores' new bytes
// move into the buffer and come back, or become visible for good, when they are due.
#include "models/mem/core.h"
#include <assert.h>

uint64_t mem_hidden_drain_ticks = TICKS_NEVER;

uint64_t mem_next_drain_ticks(void)
{
    return mem_hidden_drain_ticks;
}

static struct mem_store *entry_at(struct mem_store_buffer *b, uint32_t i)
{
    return &b->entry[(b->head + i) % MEM_STORE_ENTRIES_MAX];
}

// The oldest store leaves the buffer: from now on its line is this core's alone.
static void pop_oldest(struct mem_core *m)
{
    struct mem_store_buffer *b = &m->stores;

    if (b->entry[b->head].claim) {
        b->claims--;
        mem_line_claim(m, b->entry[b->head].claim);
    }
    b->head = (b->head + 1) % MEM_STORE_ENTRIES_MAX;
    b->count--;
}

// Forgets stores that have drained. Their bytes are in the arena already.
static void forget_drained(struct mem_core *m, uint64_t now_ticks)
{
    if (__builtin_expect(m->stores.mode == MEM_STORES_CHOSEN, 0))
        return;
    while (m->stores.count && entry_at(&m->stores, 0)->drain_ticks <= now_ticks &&
           !entry_at(&m->stores, 0)->kept)
        pop_oldest(m);
}

// While the oldest store is kept nothing leaves the buffer.
static void wait_for_oldest(struct pcpu *c)
{
    while (c->mem->stores.count && entry_at(&c->mem->stores, 0)->kept)
        c->mem->stores.keeper->stand(c->mem->stores.keeper, c, false);
}

void mem_store_wait_for_room(struct pcpu *c)
{
    struct mem_store_buffer *b = &c->mem->stores;

    forget_drained(c->mem, c->now_ticks);
    if (b->count == b->capacity)
        wait_for_oldest(c);
}

void mem_store_make_room(struct pcpu *c)
{
    struct mem_store_buffer *b = &c->mem->stores;

    forget_drained(c->mem, c->now_ticks);
    if (b->count < b->capacity)
        return;
    c->mem->counters.store_stalls++;
    wait_for_oldest(c);
    if (b->count && entry_at(b, 0)->drain_ticks > c->now_ticks)
        c->now_ticks = entry_at(b, 0)->drain_ticks;
    forget_drained(c->mem, c->now_ticks);
    if (b->count == b->capacity)
        pop_oldest(c->mem);
}

static inline uint64_t time_store(struct pcpu *c, uint64_t hpa, unsigned size_bytes, bool guest)
{
    struct mem_core *m = c->mem;
    struct mem_store_buffer *b = &m->stores;
    uint64_t line = hpa >> MEM_LINE_SHIFT, last = (hpa + size_bytes - 1) >> MEM_LINE_SHIFT;
    b->claim = 0;
    uint32_t extra = mem_line_store(m, line, &b->claim);

    if (!guest)
        c->now_ticks += mem_dtlb(m, hpa);
    if (__builtin_expect(last != line, 0))
        extra += mem_line_store(m, last, NULL);
    m->counters.stores++;
    if (__builtin_expect(b->count == b->capacity, 0))
        mem_store_make_room(c);
    // The line is asked for as soon as the store executes; commits are in order, one at a time.
    uint64_t drain = mem_drain_ticks(m, c->now_ticks, extra);

    if (__builtin_expect(b->claim != 0, 0))
        mem_line_stored(m, line, drain);
    return drain;
}

uint64_t mem_time_store(struct pcpu *c, uint64_t hpa, unsigned size_bytes)
{
    return time_store(c, hpa, size_bytes, false);
}

uint64_t mem_time_guest_store(struct pcpu *c, uint64_t hpa, unsigned size_bytes)
{
    return time_store(c, hpa, size_bytes, true);
}

void mem_store_push(struct pcpu *c, void *p, unsigned size_bytes, uint64_t drain_ticks)
{
    struct mem_store_buffer *b = &c->mem->stores;

    assert(size_bytes <= sizeof b->entry[0].other && !b->hidden);
    if (b->count == b->capacity)
        forget_drained(c->mem, c->now_ticks);
    if (b->count ==
        b->capacity) { // Another store was pushed since its time was taken: the oldest must go first.
        wait_for_oldest(c);
        if (b->count == b->capacity)
            pop_oldest(c->mem);
    }
    struct mem_store *e = entry_at(b, b->count++);

    e->p = p;
    e->size_bytes = (uint8_t)size_bytes;
    e->drain_ticks = drain_ticks;
    e->claim = b->claim;
    b->claims += b->claim != 0;
    b->claim = 0;
    memcpy(e->other, p, size_bytes);
}

void mem_store_forget(struct pcpu *c)
{
    struct mem_store_buffer *b = &c->mem->stores;

    if (b->claim)
        mem_line_claim(c->mem, b->claim);
    b->claim = 0;
}

void mem_store_begin(struct pcpu *c, void *p, unsigned size_bytes)
{
    uint64_t hpa = ((uint64_t)(uintptr_t)p - HW_ARENA_BASE) % HW_ARENA_STRIDE;

    mem_store_push(c, p, size_bytes, mem_time_guest_store(c, hpa, size_bytes));
}

void mem_store_drain(struct pcpu *c)
{
    struct mem_store_buffer *b = &c->mem->stores;

    while (__builtin_expect(b->kept, 0))
        b->keeper->stand(b->keeper, c, true);
    if (b->count && b->last_drain_ticks > c->now_ticks)
        c->now_ticks = b->last_drain_ticks;
    while (b->claims)
        pop_oldest(c->mem);
    b->head = (b->head + b->count) % MEM_STORE_ENTRIES_MAX;
    b->count = 0;
}

static inline void exchange_bytes(struct mem_store *e, unsigned size_bytes)
{
    unsigned char shown[sizeof e->other];

    memcpy(shown, e->p, size_bytes);
    memcpy(e->p, e->other, size_bytes);
    memcpy(e->other, shown, size_bytes);
}

// With constant sizes a copy is a move of a register; processors that run side by side spend their time here.
static void exchange(struct mem_store *e)
{
    switch (e->size_bytes) {
    case 8:
        exchange_bytes(e, 8);
        break;
    case 4:
        exchange_bytes(e, 4);
        break;
    case 1:
        exchange_bytes(e, 1);
        break;
    default:
        exchange_bytes(e, e->size_bytes);
        break;
    }
}

// The oldest of stores that are hidden drains at a time that is known.
static void note_hidden(struct mem_store_buffer *b)
{
    if (!entry_at(b, 0)->kept && entry_at(b, 0)->drain_ticks < mem_hidden_drain_ticks)
        mem_hidden_drain_ticks = entry_at(b, 0)->drain_ticks;
}

void mem_store_hide(struct pcpu *c)
{
    struct mem_store_buffer *b = &c->mem->stores;

    forget_drained(c->mem, c->now_ticks);
    b->hidden = true;
    if (!b->count)
        return;
    if (b->mode != MEM_STORES_AT_ONCE)
        for (uint32_t i = b->count; i-- > 0;)
            exchange(entry_at(b, i));
    if (b->mode != MEM_STORES_CHOSEN)
        note_hidden(b);
}

void mem_store_show(struct pcpu *c)
{
    struct mem_store_buffer *b = &c->mem->stores;

    b->hidden = false;
    if (b->mode == MEM_STORES_AT_ONCE)
        return;
    for (uint32_t i = 0; i < b->count; i++)
        exchange(entry_at(b, i));
}

// Writes one byte that drained elsewhere below the executing processor's own buffered stores: where it has a
// store of its own to that byte pending, the byte it sees stays and the value below changes. `mine` is NULL
// where no processor executes.
static void commit_byte(struct mem_store_buffer *mine, unsigned char *p, unsigned char value)
{
    for (uint32_t i = 0; mine && i < mine->count; i++) {
        struct mem_store *e = entry_at(mine, i);

        if (p >= e->p && p < e->p + e->size_bytes) {
            e->other[p - e->p] = value;
            return;
        }
    }
    *p = value;
}

// The oldest store of a hidden buffer becomes visible to everybody.
static void commit_oldest(struct mem_core *of, struct mem_store_buffer *mine)
{
    struct mem_store *e = entry_at(&of->stores, 0);

    for (uint32_t i = 0; i < e->size_bytes && of->stores.mode != MEM_STORES_AT_ONCE; i++)
        commit_byte(mine, e->p + i, e->other[i]);
    pop_oldest(of);
}

void mem_commit_due(struct pcpu *c)
{
    uint64_t next = TICKS_NEVER;

    forget_drained(c->mem, c->now_ticks);
    for (;;) {
        // The earliest hidden store of all, so that stores of different processors drain in order of time.
        struct mem_core *first = NULL;

        next = TICKS_NEVER;
        for (uint32_t i = 0; i < c->machine->cpu_count; i++) {
            struct mem_store_buffer *b = &c->machine->cpus[i]->mem->stores;

            if (b->hidden && b->count && b->mode != MEM_STORES_CHOSEN && !entry_at(b, 0)->kept &&
                entry_at(b, 0)->drain_ticks < next) {
                next = entry_at(b, 0)->drain_ticks;
                first = c->machine->cpus[i]->mem;
            }
        }
        if (!first || next > c->now_ticks)
            break;
        commit_oldest(first, &c->mem->stores);
    }
    mem_hidden_drain_ticks = next;
}

// --- Stores that are kept. ---

void mem_store_keep(struct pcpu *c, uint8_t number, struct mem_keeper *k)
{
    struct mem_store_buffer *b = &c->mem->stores;

    assert(b->count && number && !entry_at(b, b->count - 1)->kept);
    entry_at(b, b->count - 1)->kept = number;
    b->kept++;
    b->keeper = k;
}

// Those behind a store that drains late follow it one by one.
static void follow(struct mem_core *m, uint32_t i)
{
    struct mem_store_buffer *b = &m->stores;
    uint64_t last = entry_at(b, i)->drain_ticks;

    for (i++; i < b->count; i++) {
        last += m->commit;
        if (entry_at(b, i)->drain_ticks < last)
            entry_at(b, i)->drain_ticks = last;
        last = entry_at(b, i)->drain_ticks;
    }
    if (last > b->last_drain_ticks)
        b->last_drain_ticks = last;
}

uint64_t mem_store_let_go(struct pcpu *c, uint8_t number, uint64_t at_ticks)
{
    struct mem_store_buffer *b = &c->mem->stores;
    uint32_t i = 0;

    while (i < b->count && !entry_at(b, i)->kept)
        i++;
    if (i == b->count || entry_at(b, i)->kept != number)
        return TICKS_NEVER;
    struct mem_store *e = entry_at(b, i);

    e->kept = 0;
    b->kept--;
    if (e->drain_ticks < at_ticks)
        e->drain_ticks = at_ticks;
    follow(c->mem, i);
    if (b->hidden)
        note_hidden(b);
    return e->drain_ticks;
}

void mem_store_let_all_go(struct pcpu *c, uint64_t at_ticks)
{
    struct mem_store_buffer *b = &c->mem->stores;

    for (uint32_t i = 0; b->kept && i < b->count; i++)
        if (entry_at(b, i)->kept)
            mem_store_let_go(c, entry_at(b, i)->kept, at_ticks);
}

// --- Visible when somebody says so. ---

void mem_store_before_guest(struct pcpu *c)
{
    while (c->mem->stores.mode == MEM_STORES_CHOSEN && c->mem->stores.count)
        pop_oldest(c->mem);
}

void mem_store_set_mode(struct pcpu *c, enum mem_store_mode mode)
{
    assert(c->mem->stores.count == 0 || c->mem->stores.mode == MEM_STORES_AT_ONCE);
    while (c->mem->stores.count)
        pop_oldest(c->mem);
    c->mem->stores.mode = mode;
}

bool mem_store_waits(struct pcpu *c)
{
    struct mem_store_buffer *b = &c->mem->stores;

    while (b->count && !entry_at(b, 0)->size_bytes)
        pop_oldest(c->mem); // To the thread's own stack: nobody can tell.
    return b->count != 0;
}

void mem_store_show_oldest(struct pcpu *of, struct pcpu *executing)
{
    // The executing processor's bytes are where they belong; where there is none, all are hidden.
    if (of->mem->stores.hidden)
        commit_oldest(of->mem, executing ? &executing->mem->stores : NULL);
    else
        pop_oldest(of->mem);
}
