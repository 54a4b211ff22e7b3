// SPDX-License-Identifier: Apache-2.0
// Loads, stores, read-modify-writes and fences.
#include "models/memory/c11.h"
#include "sim/sim.h"
#include <assert.h>

static uint64_t next_epoch(struct memory *m, uint32_t cpu)
{
    uint64_t epoch = ++c11_happens(m->cpu[cpu].now)[cpu];

    c11_order(m, m->cpu[cpu].now)[cpu] = epoch;
    return epoch;
}

// A seq_cst operation comes after all those before; the event is counted already.
static void order_sc(struct memory *m, uint32_t cpu)
{
    uint64_t *order = c11_order(m, m->cpu[cpu].now);

    if (!m->values)
        return;
    c11_join_words(order, m->sc_order, m->cpus);
    memcpy(m->sc_order, order, m->cpus * sizeof *order);
}

// --- Loads. ---

// What reading `s` makes known to the processor, and that it has read it.
static void take(struct memory *m, uint32_t cpu, struct c11_store *s, int order)
{
    struct c11_cpu *c = &m->cpu[cpu];
    uint64_t epoch = next_epoch(m, cpu);

    if (!(s->readers >> cpu & 1)) {
        s->readers |= 1ull << cpu;
        c11_read_epochs(m, s)[cpu] = epoch;
    }
    if (order == MEMORY_SEQ_CST && !s->sc_read)
        s->sc_read = m->sc + 1; // The caller counts.
    if (m->values && !s->promise && s->epoch)
        c11_join_words(c11_order(m, c->now), c11_store_order(m, s), m->cpus);
    if (order == MEMORY_SEQ_CST)
        order_sc(m, cpu);
    if (s->late && c11_acquires(order))
        s->acquired = true;
    if (s->releases)
        c11_join(m, c11_acquires(order) ? c->now : c->acquired, s->words);
}

// A load of bytes that locations of other sizes hold: their newest.
struct mixed {
    uint32_t cpu;
    int order;
    bool loads, stores;
};

static void mixed_one(struct memory *m, struct c11_location *l, void *ctx)
{
    const struct mixed *x = ctx;
    struct c11_store *s = c11_in_memory(l);

    if (x->loads)
        take(m, x->cpu, s, x->order);
    if (!x->stores)
        return;
    s = c11_insert(m, l, l->newest, 0);
    s->from_memory = true;
    s->cpu = x->cpu;
    s->epoch = next_epoch(m, x->cpu);
    if (m->values)
        memcpy(c11_store_order(m, s), c11_order(m, m->cpu[x->cpu].now), m->cpus * sizeof(uint64_t));
    if (c11_releases(x->order)) {
        s->releases = true;
        memcpy(s->words, m->cpu[x->cpu].now, m->view_bytes);
    }
}

static void mixed(struct memory *m, const volatile void *p, uint32_t size_bytes, struct mixed x)
{
    c11_overlapping(m, p, size_bytes, mixed_one, &x);
    m->sc += x.order == MEMORY_SEQ_CST;
}

// Stores from the newest to `bound`.
static uint32_t readable(const struct c11_location *l, const struct c11_store *bound,
                         struct c11_store *list[C11_PLACES_MAX])
{
    uint32_t count = 0;

    for (struct c11_store *s = l->newest; count < C11_PLACES_MAX; s = s->older) {
        list[count++] = s;
        if (s == bound)
            break;
    }
    return count;
}

// The store that is read among `count`, or a promise of a later one.
static struct c11_store *choose_store(struct memory *m, uint32_t cpu, struct c11_location *l,
                                      struct c11_store *bound, struct c11_store *const *list, uint32_t count)
{
    uint64_t values[MEMORY_VALUES_MAX];
    uint32_t more = m->values ? c11_promisable(m, cpu, l, values, MEMORY_VALUES_MAX) : 0;
    uint32_t choice = count + more > 1 ? sim_choose(SIM_SITE_READ, count + more) : 0;

    return choice < count ? list[choice] : c11_promise(m, l, bound, values[choice - count]);
}

uint64_t memory_load(struct memory *m, uint32_t cpu, const volatile void *p, uint32_t size_bytes, int order)
{
    struct c11_location *l = c11_find(m, p, size_bytes);
    bool sc = order == MEMORY_SEQ_CST;

    if (!l) {
        mixed(m, p, size_bytes, (struct mixed){cpu, order, true, false});
        return c11_read_memory(p, size_bytes);
    }
    struct c11_store *s = l->newest;

    if (s != l->oldest || m->values) {
        struct c11_store *list[C11_PLACES_MAX], *bound = c11_bound(m, cpu, l, sc);

        s = choose_store(m, cpu, l, bound, list, readable(l, bound, list));
    }
    take(m, cpu, s, order);
    m->sc += sc;
    return s->value;
}

// --- Stores. ---

// Where the store goes: `older` is right before it, or it is the one that `justifies` was promised.
struct place {
    struct c11_store *older, *justifies;
};

// `view`: what it releases, NULL: nothing.
static struct place choose_place(struct memory *m, uint32_t cpu, struct c11_location *l,
                                 struct c11_store *bound, uint64_t value, const uint64_t *view)
{
    struct place list[2 * C11_PLACES_MAX];
    uint32_t count = 0;

    for (struct c11_store *s = l->newest; count < C11_PLACES_MAX; s = s->older) {
        if (!s->newer || !s->newer->rmw)
            list[count++] = (struct place){s, NULL};
        if (s == bound)
            break;
    }
    for (uint32_t i = 0; i < m->promises; i++)
        if (c11_can_justify(m, cpu, m->promise[i], bound, false, value, view))
            list[count++] = (struct place){NULL, m->promise[i]};
    return list[count > 1 ? sim_choose(SIM_SITE_ORDER, count) : 0];
}

// The store happens at its place.
static struct c11_store *put(struct memory *m, uint32_t cpu, struct c11_location *l, struct place place,
                             uint64_t value, const uint64_t *view, bool sc)
{
    struct c11_store *s = place.justifies;

    if (s)
        c11_justify(m, l, s, view);
    else
        s = c11_insert(m, l, place.older, value);
    s->cpu = cpu;
    s->epoch = c11_happens(m->cpu[cpu].now)[cpu];
    if (view) {
        s->releases = true;
        memcpy(s->words, view, m->view_bytes);
    }
    if (sc)
        s->sc = ++m->sc;
    if (c11_in_memory(l) == s)
        c11_write_memory(l->address, l->size_bytes, value);
    if (m->values) {
        memcpy(c11_store_order(m, s), c11_order(m, m->cpu[cpu].now), m->cpus * sizeof(uint64_t));
        c11_note_value(m, cpu, l, value);
    }
    return s;
}

// What a store of the order makes known to who acquires from it.
static const uint64_t *released(const struct memory *m, uint32_t cpu, int order)
{
    const struct c11_cpu *c = &m->cpu[cpu];

    if (c11_releases(order))
        return c->now;
    // Release fences are rare; where there was none the view is empty.
    return c->has_released ? c->released : NULL;
}

void memory_store(struct memory *m, uint32_t cpu, volatile void *p, uint32_t size_bytes, uint64_t value,
                  int order)
{
    struct c11_location *l = c11_find(m, p, size_bytes);

    next_epoch(m, cpu);
    if (!l) {
        mixed(m, p, size_bytes, (struct mixed){cpu, order, false, true});
        c11_write_memory((uint64_t)(uintptr_t)p, size_bytes, value);
        return;
    }
    bool sc = order == MEMORY_SEQ_CST;
    const uint64_t *view = released(m, cpu, order);

    if (sc)
        order_sc(m, cpu);
    struct place place = {l->newest, NULL};

    if (l->oldest != l->newest || m->promises)
        place = choose_place(m, cpu, l, c11_bound(m, cpu, l, sc), value, view);
    put(m, cpu, l, place, value, view, sc);
}

void memory_plain_store(struct memory *m, uint32_t cpu, const volatile void *p, uint32_t size_bytes)
{
    mixed(m, p, size_bytes, (struct mixed){cpu, MEMORY_RELAXED, false, true});
}

// --- Read-modify-writes. ---

static void begin_rmw(struct memory *m, uint32_t cpu, volatile void *p, uint32_t size_bytes, int order)
{
    m->rmw_location = c11_find(m, p, size_bytes);
    m->rmw_p = p;
    m->rmw_size_bytes = size_bytes;
    m->rmw_cpu = cpu;
    m->rmw_order = order;
    m->rmw_reads = NULL;
}

// A store that another read-modify-write reads already is not to be read by this one: the new store comes
// right after the one that is read.
static bool free_after(const struct c11_store *s)
{
    return !s->newer || !s->newer->rmw;
}

uint64_t memory_rmw_read(struct memory *m, uint32_t cpu, volatile void *p, uint32_t size_bytes, int order)
{
    begin_rmw(m, cpu, p, size_bytes, order);
    struct c11_location *l = m->rmw_location;

    if (!l) {
        mixed(m, p, size_bytes, (struct mixed){cpu, order, true, true});
        return c11_read_memory(p, size_bytes);
    }
    struct c11_store *s = l->newest;

    if (s != l->oldest || m->values) {
        struct c11_store *list[C11_PLACES_MAX], *bound = c11_bound(m, cpu, l, order == MEMORY_SEQ_CST);
        uint32_t all = readable(l, bound, list), count = 0;

        for (uint32_t i = 0; i < all; i++)
            if (free_after(list[i]))
                list[count++] = list[i];
        s = choose_store(m, cpu, l, bound, list, count);
    }
    take(m, cpu, s, order);
    m->rmw_reads = s;
    return s->value;
}

bool memory_cas_read(struct memory *m, uint32_t cpu, volatile void *p, uint32_t size_bytes,
                     uint64_t *expected, int ok, int fail)
{
    begin_rmw(m, cpu, p, size_bytes, ok);
    struct c11_location *l = m->rmw_location;

    if (!l) {
        uint64_t value = c11_read_memory(p, size_bytes);
        bool equal = value == *expected;

        mixed(m, p, size_bytes, (struct mixed){cpu, equal ? ok : fail, true, equal});
        *expected = value;
        return equal;
    }
    struct c11_store *list[C11_PLACES_MAX], *bounds[2], *lower;
    uint32_t count = 0;
    bool in_reach[2] = {true, true}; // As a load that fails; as one that does not

    bounds[0] = c11_bound(m, cpu, l, fail == MEMORY_SEQ_CST);
    bounds[1] = c11_bound(m, cpu, l, ok == MEMORY_SEQ_CST);
    lower = bounds[0];
    for (struct c11_store *s = l->newest; s && count < C11_PLACES_MAX; s = s->older) {
        bool equal = s->value == *expected;

        if (in_reach[equal] && (!equal || free_after(s)))
            list[count++] = s;
        in_reach[0] &= s != bounds[0];
        in_reach[1] &= s != bounds[1];
        if (s == bounds[1] && in_reach[0]) // A promise is read after both.
            lower = bounds[1];
    }
    struct c11_store *s = choose_store(m, cpu, l, lower, list, count);
    bool equal = s->value == *expected;

    take(m, cpu, s, equal ? ok : fail);
    m->sc += !equal && fail == MEMORY_SEQ_CST;
    *expected = s->value;
    m->rmw_reads = s;
    return equal;
}

void memory_rmw_write(struct memory *m, uint64_t value)
{
    struct c11_location *l = m->rmw_location;
    struct c11_store *reads = m->rmw_reads;
    uint32_t cpu = m->rmw_cpu;

    if (!l) {
        c11_write_memory((uint64_t)(uintptr_t)m->rmw_p, m->rmw_size_bytes, value);
        return;
    }
    const uint64_t *view = released(m, cpu, m->rmw_order);

    if (reads->releases && view) {
        memcpy(m->combined, view, m->view_bytes);
        c11_join(m, m->combined, reads->words);
        view = m->combined;
    } else if (reads->releases) {
        view = reads->words; // It continues the release sequence that it reads from.
    }
    struct place place = {reads, NULL}, list[1 + C11_PROMISES_MAX];
    uint32_t count = 0;

    list[count++] = place;
    for (uint32_t i = 0; i < m->promises; i++)
        if (c11_can_justify(m, cpu, m->promise[i], reads, true, value, view))
            list[count++] = (struct place){reads, m->promise[i]};
    if (count > 1)
        place = list[sim_choose(SIM_SITE_ORDER, count)];
    struct c11_store *s = put(m, cpu, l, place, value, view, m->rmw_order == MEMORY_SEQ_CST);

    s->rmw = true;
    s->late |= reads->late;
}

// --- Fences. ---

void memory_fence(struct memory *m, uint32_t cpu, int order)
{
    struct c11_cpu *c = &m->cpu[cpu];

    if (order == MEMORY_RELAXED)
        return;
    next_epoch(m, cpu);
    if (c11_acquires(order)) {
        c11_join(m, c->now, c->acquired);
        if (m->promises)
            c11_promises_acquired(m, cpu);
    }
    if (order == MEMORY_SEQ_CST) {
        c11_join_words(m->fences, c11_happens(c->now), m->cpus);
        memcpy(c11_fenced(m, c->now), m->fences, m->cpus * sizeof *m->fences);
        c->now[0] = ++m->sc;
        order_sc(m, cpu);
    }
    if (c11_releases(order)) {
        memcpy(c->released, c->now, m->view_bytes);
        c->has_released = true;
    }
}
