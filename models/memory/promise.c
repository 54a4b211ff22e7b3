// SPDX-License-Identifier: Apache-2.0
// Load buffering: a load reads a value that a store will store which is executed later.
//
// Natively compiled code cannot execute a store early, so the load takes the value on trust: one that some
// other processor stored there in an earlier execution, which is why values do not come out of thin air. The
// promise is a store in modification order that nobody has executed. The store that justifies it takes its
// place, if it could have been there when it was read; an execution in which none does is discarded.
#include "models/memory/c11.h"
#include "sim/sim.h"

void memory_use_values(struct memory *m, struct memory_values *values)
{
    m->values = values;
}

bool memory_values_renew(struct memory_values *values)
{
    bool more = values->offered != values->count;

    values->offered = values->count;
    return more;
}

bool memory_justified(const struct memory *m)
{
    return m->promises == 0;
}

void c11_note_value(struct memory *m, uint32_t cpu, const struct c11_location *l, uint64_t value)
{
    struct memory_values *values = m->values;

    for (uint32_t i = 0; i < values->count; i++) {
        const struct memory_value *v = &values->v[i];

        if (v->address == l->address && v->size_bytes == l->size_bytes && v->value == value && v->cpu == cpu)
            return;
    }
    if (values->count < MEMORY_VALUES_MAX)
        values->v[values->count++] = (struct memory_value){l->address, value, l->size_bytes, cpu};
}

uint32_t c11_promisable(const struct memory *m, uint32_t cpu, const struct c11_location *l,
                        uint64_t *values, uint32_t max)
{
    uint32_t count = 0;

    if (m->promises == C11_PROMISES_MAX)
        return 0;
    for (uint32_t i = 0; i < m->values->offered && count < max; i++) {
        const struct memory_value *v = &m->values->v[i];
        uint32_t k = 0;

        if (v->address != l->address || v->size_bytes != l->size_bytes || v->cpu == cpu)
            continue;
        while (k < count && values[k] != v->value)
            k++;
        if (k == count)
            values[count++] = v->value;
    }
    return count;
}

struct c11_store *c11_promise(struct memory *m, struct c11_location *l, struct c11_store *bound,
                              uint64_t value)
{
    struct c11_store *places[C11_PLACES_MAX];
    uint32_t count = 0;

    for (struct c11_store *s = l->newest; count < C11_PLACES_MAX; s = s->older) {
        if (!s->newer || !s->newer->rmw)
            places[count++] = s;
        if (s == bound)
            break;
    }
    struct c11_store *p =
        c11_insert(m, l, places[count > 1 ? sim_choose(SIM_SITE_ORDER, count) : 0], value);

    p->promise = p->late = true;
    p->epoch = UINT64_MAX;
    m->promise[m->promises++] = p;
    l->promises++;
    return p;
}

static bool newer_than(const struct c11_store *s, const struct c11_store *bound)
{
    for (s = s->older; s; s = s->older)
        if (s == bound)
            return true;
    return false;
}

bool c11_can_justify(const struct c11_location *l, const struct c11_store *p, const struct c11_store *bound,
                     bool rmw, uint64_t value, const uint64_t *view)
{
    if (p->of != l || p->value != value || (rmw ? p->older != bound : !newer_than(p, bound)))
        return false;
    // Who has acquired from it already must have got to know nothing by that.
    for (const struct c11_store *s = p; view && s && (s == p || s->rmw); s = s->newer)
        if (s->acquired)
            return false;
    return true;
}

void c11_justify(struct memory *m, struct c11_location *l, struct c11_store *p, const uint64_t *view)
{
    uint32_t i = 0;

    while (m->promise[i] != p)
        i++;
    m->promise[i] = m->promise[--m->promises];
    l->promises--;
    p->promise = false;
    for (struct c11_store *s = p; view && s && (s == p || s->rmw); s = s->newer) {
        for (uint64_t left = s->readers; left; left &= left - 1)
            c11_join(m, m->cpu[__builtin_ctzll(left)].acquired, view);
        if (s == p)
            continue;
        if (s->releases)
            c11_join(m, s->words, view);
        else
            memcpy(s->words, view, m->view_bytes);
        s->releases = true;
    }
}

void c11_promises_acquired(struct memory *m, uint32_t cpu)
{
    for (uint32_t i = 0; i < m->promises; i++)
        for (struct c11_store *s = m->promise[i]; s && (s == m->promise[i] || s->rmw); s = s->newer)
            s->acquired |= s->readers >> cpu & 1;
}
