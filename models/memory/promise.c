// SPDX-License-Identifier: Apache-2.0
// Load buffering: a load reads a value that a store will store which is executed later.
//
// Natively compiled code cannot execute a store early, so the load takes the value on trust: one that some
// other processor stored there in an earlier execution, which is why values do not come out of thin air. The
// promise is a store in modification order that nobody has executed. The store that justifies it takes its
// place, if it could have been there when it was read; an execution in which none does is discarded.
#include "models/memory/c11.h"
#include "sim/sim.h"

static struct memory_value *find(struct memory_value *v, uint32_t count, const struct memory_value *like)
{
    for (uint32_t i = 0; i < count; i++)
        if (v[i].address == like->address && v[i].value == like->value && v[i].cpu == like->cpu &&
            v[i].size_bytes == like->size_bytes)
            return &v[i];
    return NULL;
}

void memory_use_values(struct memory *m, struct memory_values *values)
{
    m->values = values;
    m->stored_count = 0;
}

bool memory_values_renew(struct memory_values *values)
{
    bool more = false;

    for (uint32_t i = 0; i < values->count; i++) {
        more |= values->v[i].offered != values->v[i].most;
        values->v[i].offered = values->v[i].most;
    }
    return more;
}

bool memory_justified(struct memory *m)
{
    struct memory_values *values = m->values;

    if (m->promises)
        return false;
    for (uint32_t i = 0; values && i < m->stored_count; i++) {
        const struct memory_value *s = &m->stored[i];
        struct memory_value *v = find(values->v, values->count, s);

        if (v && v->most < s->most)
            v->most = s->most;
        else if (!v && values->count < MEMORY_VALUES_MAX)
            values->v[values->count++] = *s;
    }
    return true;
}

bool memory_hopeless(const struct memory *m)
{
    return m->hopeless;
}

// Is the value, as far as is known, still to be stored by the processor in this execution?
static bool to_come(struct memory *m, const struct memory_value *v)
{
    const struct memory_value *s = find(m->stored, m->stored_count, v);

    return v->offered > (s ? s->most : 0);
}

static bool is_of(const struct memory_value *v, const struct c11_location *l)
{
    return v->address == l->address && v->size_bytes == l->size_bytes;
}

// Can a processor that has not read the promise still store its value?
static bool has_hope(struct memory *m, const struct c11_store *p)
{
    for (uint32_t i = 0; i < m->values->count; i++) {
        const struct memory_value *v = &m->values->v[i];

        if (v->value == p->value && is_of(v, p->of) && !(p->readers >> v->cpu & 1) && to_come(m, v))
            return true;
    }
    return false;
}

void c11_note_value(struct memory *m, uint32_t cpu, const struct c11_location *l, uint64_t value)
{
    const struct memory_value note = {l->address, value, l->size_bytes, cpu, 1, 0};
    struct memory_value *s = find(m->stored, m->stored_count, &note);

    if (s)
        s->most++;
    else if (m->stored_count < MEMORY_VALUES_MAX)
        m->stored[m->stored_count++] = note;
    for (uint32_t p = 0; p < m->promises; p++)
        m->hopeless |= !has_hope(m, m->promise[p]);
}

uint32_t c11_promisable(struct memory *m, uint32_t cpu, const struct c11_location *l, uint64_t *values,
                        uint32_t max)
{
    uint32_t count = 0;

    if (m->promises == C11_PROMISES_MAX || m->hopeless)
        return 0;
    for (uint32_t i = 0; i < m->values->count && count < max; i++) {
        const struct memory_value *v = &m->values->v[i];
        uint32_t k = 0;

        if (v->cpu == cpu || !is_of(v, l) || !to_come(m, v))
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
    struct c11_store *p = c11_insert(m, l, places[count > 1 ? sim_choose(SIM_SITE_ORDER, count) : 0], value);

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

// Does the processor's store come after a load of the promise? If not, the load can come after the store.
static bool is_needed(const struct memory *m, uint32_t cpu, struct c11_store *p)
{
    for (uint64_t left = p->readers; left; left &= left - 1) {
        uint32_t reader = (uint32_t)__builtin_ctzll(left);

        if (c11_read_epochs(m, p)[reader] <= c11_order(m, m->cpu[cpu].now)[reader])
            return true;
    }
    return false;
}

bool c11_can_justify(const struct memory *m, uint32_t cpu, struct c11_store *p, const struct c11_store *bound,
                     bool rmw, uint64_t value, const uint64_t *view)
{
    if (p->of != bound->of || p->value != value || (rmw ? p->older != bound : !newer_than(p, bound)) ||
        !is_needed(m, cpu, p))
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
