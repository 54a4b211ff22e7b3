// SPDX-License-Identifier: Apache-2.0
// Store buffers as actors: a store to what several processors use stays in its processor's buffer until the
// strategy lets it go. A processor that has to wait for its buffer (a fence, a locked operation, HLT, VM
// entry, a full buffer) cannot go on before.
#include "sim/explore/pilot_internal.h"

#include "models/mem/mem.h"
#include <assert.h>
#include <stddef.h>

#define NUMBERS 255u // Of kept stores: more than a buffer holds

static struct pilot_buffer *buffer_of(struct pilot *p, uint32_t cpu)
{
    return &p->buffer[cpu];
}

void pilot_stores_expect(struct pilot *p, uint32_t cpu, uint32_t step)
{
    buffer_of(p, cpu)->expected = step + 1;
}

void pilot_stores_stored(struct native_watch *w, struct pcpu *c)
{
    struct pilot *p = (struct pilot *)w;
    struct pilot_buffer *b = buffer_of(p, c->index);

    if (!p->with_buffers || !b->expected)
        return;
    assert(b->count < PILOT_STORES_MAX);
    b->store[(b->first + b->count++) % PILOT_STORES_MAX] =
        (struct pilot_store){.step = b->expected - 1, .since = p->decisions};
    mem_store_keep(c, (uint8_t)(b->number++ % NUMBERS + 1), &p->keeper);
    b->expected = 0;
    b->fresh++;
    p->buffers_ready |= pilot_buffer_bit(p, c->index);
}

uint64_t pilot_stores_ready_ticks(const struct pilot *p, uint32_t cpu)
{
    uint64_t ready = 0;

    for (uint32_t i = 0; p->with_buffers && i < p->machine->cpu_count; i++)
        if (i != cpu && p->buffer[i].ready_ticks > ready)
            ready = p->buffer[i].ready_ticks;
    return ready;
}

struct explore_access pilot_stores_next(const struct pilot *p, uint32_t actor)
{
    const struct pilot_buffer *b = &p->buffer[actor - p->machine->cpu_count];
    const struct pilot_store *s = &b->store[b->first];

    return (struct explore_access){
        .place = p->memory->steps[s->step].place, .writes = true, .since = s->since};
}

void pilot_stores_let_go(struct pilot *p, uint32_t actor, uint64_t now_ticks)
{
    uint32_t cpu = actor - p->machine->cpu_count;
    struct pilot_buffer *b = buffer_of(p, cpu);
    struct pilot_step *of = &p->memory->steps[b->store[b->first].step];
    uint64_t after = pilot_stores_ready_ticks(p, EXPLORE_NOBODY);
    uint8_t number = (uint8_t)((b->number - b->count) % NUMBERS + 1);

    assert(b->count);
    uint64_t ticks = mem_store_let_go(p->machine->cpus[cpu], number, now_ticks > after ? now_ticks : after);

    assert(ticks != TICKS_NEVER);
    b->ready_ticks = ticks + 1;
    struct pilot_step *step = pilot_record(p);

    *step = *of;
    step->ticks = ticks;
    step->store = b->store[b->first].step + 1;
    pilot_note_place(p, cpu,
                     &(struct native_access){.pc = of->pc,
                                             .p = (const void *)(uintptr_t)(of->place << 3),
                                             .access = PLACE_WRITE});
    b->first = (b->first + 1) % PILOT_STORES_MAX;
    b->count--;
    b->fresh = b->fresh < b->count ? b->fresh : b->count;
    if (!b->count)
        p->buffers_ready &= ~(1u << actor);
    if (b->waits && b->count <= b->waits_for) { // Its processor can go on.
        b->waited = true;
        p->standing |= 1u << cpu;
        p->next[cpu] = (struct native_access){.access = PLACE_ATOMIC};
        p->since[cpu] = p->machine->cpus[cpu]->now_ticks;
    }
    if (pcpu_current)
        pcpu_update_limit(pcpu_current);
}

void pilot_stores_settle(struct pilot *p, struct pcpu *c)
{
    struct pilot_buffer *b = buffer_of(p, c->index);
    uint32_t actor = p->machine->cpu_count + c->index;

    while (b->fresh) {
        if (pilot_decide(p, actor, 1u << actor | 1u << c->index, 0) != actor)
            break;
        pilot_stores_let_go(p, actor, c->now_ticks);
    }
    b->fresh = 0;
}

// The processor cannot go on while so many stores wait.
static void stand(struct mem_keeper *k, struct pcpu *c, bool all)
{
    struct pilot *p = (struct pilot *)((char *)k - offsetof(struct pilot, keeper));
    struct pilot_buffer *b = buffer_of(p, c->index);
    uint32_t self = c->index, bit = 1u << self;

    if (p->machine->hosts_off >> c->host & 1) {
        mem_store_let_all_go(c, c->now_ticks);
        b->count = b->fresh = 0;
        p->buffers_ready &= ~pilot_buffer_bit(p, self);
        return;
    }
    uint32_t in_a_row = p->turn == self ? p->in_a_row : 0;

    b->waits = true;
    b->waits_for = all ? 0 : b->count - 1;
    if (p->turn == self)
        p->turn = EXPLORE_NOBODY;
    for (;;) {
        if (p->turn == EXPLORE_NOBODY)
            pilot_pass_on(p, p->machine->cpu_count + self, c->now_ticks);
        if (p->turn == self)
            break;
        pcpu_hold(c, TICKS_NEVER);
        in_a_row = 0;
    }
    p->in_a_row = in_a_row; // Its own stores do not make it more patient.
    b->waits = false;
    p->standing &= ~bit;
    pcpu_slow_path(c, false);
}

void pilot_stores_begin(struct pilot *p)
{
    p->keeper = (struct mem_keeper){stand};
    p->buffers_ready = 0;
    p->decisions = 0;
    p->with_buffers =
        p->store_buffers && !p->jitter && !p->tells && 2 * p->machine->cpu_count <= EXPLORE_ACTORS_MAX;
    for (uint32_t i = 0; p->with_buffers && i < p->machine->cpu_count; i++) {
        struct pilot_buffer *b = buffer_of(p, i);

        b->first = b->count = b->expected = b->number = b->fresh = 0;
        b->waits = b->waited = false;
        b->ready_ticks = 0;
    }
}

void pilot_stores_end(struct pilot *p)
{
    for (uint32_t i = 0; p->with_buffers && i < p->machine->cpu_count; i++)
        mem_store_let_all_go(p->machine->cpus[i], p->machine->cpus[i]->now_ticks);
}
