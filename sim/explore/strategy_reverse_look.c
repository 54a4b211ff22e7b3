// SPDX-License-Identifier: Apache-2.0
// What met in an execution, and which reversals follow from it.
#include "sim/explore/strategy_reverse.h"

// Where the key stands, or may.
static struct slot *slot_find(struct slot *slots, uint32_t size, uint64_t key, uint64_t pass)
{
    for (uint64_t i = reverse_mix(key, 1) >> 20;; i++) {
        struct slot *at = &slots[i % size];

        if (at->pass != pass || at->key == key)
            return at;
    }
}

static struct slot *slot_of(struct slot *slots, uint32_t size, uint64_t key, uint64_t pass)
{
    struct slot *at = slot_find(slots, size, key, pass);

    if (at->pass != pass)
        *at = (struct slot){key, pass, 0};
    return at;
}

static struct class *class_of(struct reverse *f, const struct logged *l, struct slot *place)
{
    for (uint32_t i = place->value; i; i = f->classes[i - 1].next) {
        struct class *c = &f->classes[i - 1];

        if (c->pc == l->e.pc && c->actor == l->e.actor)
            return c;
    }
    if (f->class_count == CLASSES_MAX)
        return NULL;
    f->classes[f->class_count] = (struct class){
        .place = l->e.place, .pc = l->e.pc, .actor = l->e.actor, .last = NONE, .next = place->value};
    place->value = ++f->class_count;
    slot_of(f->by_pc, CLASSES_MAX, l->e.pc, f->pass)->value++;
    return &f->classes[f->class_count - 1];
}

static uint64_t key_of(struct reverse *f, const struct event *e)
{
    bool bulk = slot_of(f->by_pc, CLASSES_MAX, e->pc, f->pass)->value > BULK_PLACES;

    return reverse_mix(reverse_mix(e->pc, e->actor), bulk ? 0 : e->place);
}

// A reversal that was not known before, on top of this execution.
static void add(struct strategy *s, struct reversal r)
{
    struct reverse *f = s->reverse;

    r.depth = f->active_count + 1;
    r.parent = f->active_count ? f->active[0].reversal : NONE;
    r.timed = f->timed;
    r.key = reverse_mix(reverse_mix(key_of(f, &r.held), key_of(f, &r.until)),
                        (r.older * 8 + r.kind) * 2 + r.timed);
    if (r.kind == REVERSE_TAKE)
        r.key = reverse_mix(reverse_mix(r.held.pc, r.held.actor), r.older);
    if (f->count == REVERSALS_MAX)
        return;
    for (uint64_t i = r.key >> 20;; i++) {
        uint32_t *at = &f->index[i % INDEX_MAX];

        if (*at && f->list[*at - 1].key == r.key)
            return;
        if (*at)
            continue;
        f->list[f->count] = r;
        // Several processes share the first ones; what follows from each is its own.
        if (r.parent != NONE || r.key % s->o.parts == s->o.part)
            f->untried[r.depth - 1][f->untried_count[r.depth - 1]++] = f->count;
        *at = ++f->count;
        return;
    }
}

// A lock that both hold has them in the order in which it was taken, and what a lock does itself is decided
// by who comes there first.
static bool can_be_reversed(const struct logged *a, const struct logged *b)
{
    return (a->e.pc || a->own != NONE) && a->e.actor != b->e.actor && (a->writes || b->writes) &&
           !a->of_lock && !b->of_lock && !(a->exclusive & b->locks) && !(a->locks & b->exclusive);
}

static void look_at(struct strategy *s, uint32_t i)
{
    struct reverse *f = s->reverse;
    const struct logged *l = &f->log[i];
    struct slot *place = slot_of(f->by_place, 2 * CLASSES_MAX, l->e.place, f->pass);
    struct class *own = class_of(f, l, place);

    if (!own)
        return;
    for (uint32_t k = place->value; k; k = f->classes[k - 1].next) {
        struct class *c = &f->classes[k - 1];

        if (c->last == NONE || !can_be_reversed(&f->log[c->last], l))
            continue;
        // A guest cannot be held; its processor can before it enters it.
        struct reversal r = {.held = f->log[c->pc ? c->last : f->log[c->last].own].e,
                             .until = l->e,
                             .kind = REVERSE_GO,
                             .often = own->total * c->total};

        add(s, r);
        r.kind = REVERSE_MEET;
        if (l->e.pc)
            add(s, r);
        r.kind = REVERSE_STAY;
        if (c->stays != l->turn) // Where the other one goes on anyway, all of its turn comes before.
            add(s, r);
        c->stays = l->turn;
    }
    for (uint32_t older = 1; older < l->choices && older <= OLDER_MAX; older++)
        add(s, (struct reversal){
                   .held = l->e, .kind = REVERSE_OLDER, .older = older, .often = own->total * own->total});
    own->last = i;
}

// Before some of the accesses by each place of the code an interrupt is taken.
static void take_at(struct strategy *s, uint32_t i)
{
    struct reverse *f = s->reverse;
    const struct logged *l = &f->log[i];
    const struct class *own = class_of(f, l, slot_of(f->by_place, 2 * CLASSES_MAX, l->e.place, f->pass));
    uint32_t every = own ? (own->total + TAKES_MAX - 1) / TAKES_MAX : 1;

    if (own && l->interruptible && (l->e.nth - 1) % every == 0)
        add(s, (struct reversal){
                   .held = l->e, .kind = REVERSE_TAKE, .older = (l->e.nth - 1) / every, .often = own->total});
}

// Who uses the memory now comes after whoever did.
static void forget(struct reverse *f, const struct logged *l)
{
    for (uint64_t p = l->e.place; p < l->e.place + l->handed_over; p++) {
        const struct slot *place = slot_find(f->by_place, 2 * CLASSES_MAX, p, f->pass);

        for (uint32_t k = place->pass == f->pass ? place->value : 0; k; k = f->classes[k - 1].next)
            f->classes[k - 1].last = NONE;
    }
}

// Every two accesses of different actors to one place, one of them a write: the last of its kind before each.
void reverse_look(struct strategy *s)
{
    struct reverse *f = s->reverse;

    f->pass++;
    f->class_count = 0;
    for (uint32_t i = 0; i < f->log_count; i++) {
        struct slot *place = slot_of(f->by_place, 2 * CLASSES_MAX, f->log[i].e.place, f->pass);
        struct class *c = f->log[i].handed_over ? NULL : class_of(f, &f->log[i], place);

        if (c)
            c->total++;
    }
    for (uint32_t i = 0; i < f->log_count; i++) {
        if (f->log[i].handed_over) {
            forget(f, &f->log[i]);
        } else {
            // Interrupts are a search of their own: each place of the code is one.
            if (s->o.kind == STRATEGY_INTERRUPT && !f->active_count)
                take_at(s, i);
            else
                look_at(s, i);
        }
    }
}
