// SPDX-License-Identifier: Apache-2.0
#include "sim/explore/pilot_internal.h"

#include "models/cpu/native/hooks.h"
#include <string.h>

// An actor that makes so many accesses while others stand waits for one of them, or might as well.
#define PILOT_PATIENCE 4000u
// So long an actor stands for others that have nothing to do yet: as an interrupt of the firmware might take.
#define PILOT_LATER_PS (200ull * 1000 * 1000)

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}

// --- What is shared. ---

static struct pilot_group *find_group(struct pilot_memory *m, uint64_t number)
{
    for (uint64_t i = number * 0x9e3779b97f4a7c15ull >> 40;; i++) {
        struct pilot_group *g = &m->groups[i % PILOT_GROUPS_MAX];

        if (g->number == number)
            return g;
        if (g->number)
            continue;
        if (m->group_count == PILOT_GROUPS_MAX / 4 * 3)
            return NULL; // Full: what is not known yet counts as shared.
        g->number = number;
        m->group_count++;
        m->new_groups[m->new_group_count++] = g;
        return g;
    }
}

static inline struct pilot_place *find(struct pilot_memory *m, uint64_t place)
{
    uint64_t number = place / PILOT_GROUP_WORDS;

    if (!m->last || m->last->number != number) {
        struct pilot_group *g = find_group(m, number);

        if (!g)
            return NULL;
        m->last = g;
    }
    return &m->last->words[place % PILOT_GROUP_WORDS];
}

// NULL: it is nowhere, or what is known of it is not.
static struct pilot_place *place_at(struct pilot *p, const struct native_access *a)
{
    return a->p ? find(p->memory, pilot_place_of(a)) : NULL;
}

static bool is_shared(const struct pilot_place *e, const struct native_access *a)
{
    return e ? e->shared : a->p != NULL;
}

static void note_pair(struct pilot_memory *m, uint64_t first_pc, uint64_t then_pc)
{
    uint64_t key = mix(first_pc, then_pc) | 1;

    if (m->pair_count == PILOT_PAIRS_MAX / 2)
        return;
    for (uint64_t i = key >> 8;; i++) {
        uint64_t *at = &m->pairs[i % PILOT_PAIRS_MAX];

        if (*at == key)
            return;
        if (*at)
            continue;
        *at = key;
        m->pair_count++;
        return;
    }
}

// The access happens now. Memory that one actor uses in this execution and another one in the next, as
// whoever allocates it first, is shared in neither.
static void note_place(struct pilot_memory *m, struct pilot_place *e, uint32_t actor,
                       const struct native_access *a)
{
    bool first = e->execution != (uint32_t)m->execution;

    if (first) {
        e->execution = (uint32_t)m->execution;
        e->actors = 0;
        e->written = false;
    }
    e->actors |= 1u << actor;
    e->written |= (a->access & PLACE_WRITE) != 0;
    if (!e->shared && e->written && (e->actors & (e->actors - 1))) {
        e->shared = true;
        m->shared_count++;
        m->new_shared[m->new_shared_count++] = e;
    }
    if (e->shared) {
        m->order = mix(m->order, pilot_place_of(a) * EXPLORE_ACTORS_MAX + actor);
        if (!first && e->last_actor != actor)
            note_pair(m, e->last_pc, (uint32_t)a->pc);
    }
    e->last_actor = (uint8_t)actor;
    e->last_pc = (uint32_t)a->pc;
}

void pilot_note_place(struct pilot *p, uint32_t cpu, const struct native_access *a)
{
    struct pilot_place *e = place_at(p, a);

    if (e)
        note_place(p->memory, e, cpu, a);
}

bool pilot_learn(struct pilot_memory *m, bool keep)
{
    bool learned = m->new_shared_count > 0;

    for (uint32_t i = 0; i < m->new_shared_count && !keep; i++) {
        m->new_shared[i]->shared = false;
        m->shared_count--;
    }
    // The last one first: the table is searched past places that are taken.
    for (uint32_t i = m->new_group_count; i > 0 && !keep; i--) {
        memset(m->new_groups[i - 1], 0, sizeof *m->new_groups[0]);
        m->group_count--;
    }
    m->new_shared_count = m->new_group_count = 0;
    m->last = NULL;
    return learned;
}

// --- Who goes on. ---

// Those who may come to an access later: everybody who neither stands nor waits for his store buffer.
static uint32_t later(const struct pilot *p)
{
    uint32_t mask = p->on & ~p->standing;

    for (uint32_t i = 0; p->with_buffers && i < p->machine->cpu_count; i++)
        mask &= ~((uint32_t)p->buffer[i].waits << i);
    return mask;
}

uint32_t pilot_decide(struct pilot *p, uint32_t current, uint32_t ready, uint32_t later_ones)
{
    struct explore_decision d; // Large: `next` is that of those who are ready.

    d.current = current;
    d.ready = ready;
    d.later = later_ones;
    d.buffers_from = p->with_buffers ? p->machine->cpu_count : 0;
    for (uint32_t rest = ready; rest; rest &= rest - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(rest);
        const struct native_access *a = &p->next[i];

        if (pilot_is_buffer(p, i)) {
            d.next[i] = pilot_stores_next(p, i);
            continue;
        }
        bool shared = is_shared(place_at(p, a), a);

        if (pilot_stores_keeps(p, p->machine->cpus[i], a, shared))
            shared = false;
        d.next[i] = (struct explore_access){.place = shared ? pilot_place_of(a) : 0,
                                            .writes = a->access & PLACE_WRITE,
                                            .empties = native_is_locked(a) || p->buffer[i].waited,
                                            .pc = a->pc};
    }
    p->decisions++;
    uint32_t actor = strategy_decide(p->strategy, &d);

    if (actor == EXPLORE_NOBODY)
        p->give_up(p->ctx, PILOT_REDUNDANT);
    return actor;
}

static void hand_over(struct pilot *p, uint32_t to, uint64_t now_ticks)
{
    uint64_t ready = pilot_stores_ready_ticks(p, to);

    p->turn = to;
    p->in_a_row = 0;
    pcpu_release(p->machine->cpus[to], now_ticks > ready ? now_ticks : ready);
}

// Nobody has the turn until somebody comes, or until the warden has stood long enough.
static void wait_for_later(struct pilot *p, struct pcpu *warden)
{
    p->turn = EXPLORE_NOBODY;
    p->in_a_row = 0;
    p->warden = warden->index;
    p->warden_ticks = p->since[warden->index] + pcpu_ps_to_ticks(warden, PILOT_LATER_PS);
}

void pilot_pass_on(struct pilot *p, uint32_t current, uint64_t now_ticks)
{
    p->warden = EXPLORE_NOBODY;
    for (uint32_t ready; (ready = pilot_ready(p)) != 0;) {
        if (pilot_is_buffer(p, current) && !(ready >> current & 1)) {
            current -= p->machine->cpu_count; // It is empty: its processor may go on.
            if (!(ready >> current & 1))
                current = EXPLORE_NOBODY;
        }
        uint32_t to =
            pilot_decide(p, current, ready, current == EXPLORE_NOBODY && p->standing ? later(p) : 0);

        if (to == EXPLORE_LATER) {
            struct pcpu *warden = p->machine->cpus[__builtin_ctz(p->standing)];

            wait_for_later(p, warden);
            pcpu_release(warden, now_ticks); // It stands with a limit now.
            return;
        }
        if (!pilot_is_buffer(p, to)) {
            hand_over(p, to, now_ticks);
            return;
        }
        pilot_stores_let_go(p, to, now_ticks);
    }
}

// Until it has its turn.
static void stand(struct pilot *p, struct pcpu *c)
{
    while (p->turn != c->index) {
        bool limited = p->turn == EXPLORE_NOBODY && p->warden == c->index;

        if (limited && c->now_ticks >= p->warden_ticks) {
            strategy_late(p->strategy, c->index);
            p->turn = c->index;
            break;
        }
        pcpu_hold(c, limited ? p->warden_ticks : TICKS_NEVER);
    }
}

// Those who stand ask whether they still have to.
static void look_again(struct pilot *p, const struct pcpu *c)
{
    for (uint32_t rest = p->standing & ~(1u << c->index); rest; rest &= rest - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(rest);

        if (!p->after[i])
            p->after[i] = p->memory->step_count;
        pcpu_release(p->machine->cpus[i], c->now_ticks);
    }
}

static void tell(struct pilot *p, const struct pcpu *c, const struct native_access *a,
                 const struct pilot_place *e)
{
    struct explore_access made = {.place = pilot_place_of(a), .writes = a->access & PLACE_WRITE, .pc = a->pc};

    made.interruptible = a->pc && c->irqs_enabled;
    if (a->pc)
        pilot_notes_access(&p->memory->notes, native_thread(c), a->p, &made);
    if (p->all || (a->access & PLACE_ATOMIC) || is_shared(e, a))
        if (strategy_made(p->strategy, c->index, &made) && p->timed)
            look_again(p, c);
}

struct pilot_step *pilot_record(struct pilot *p)
{
    struct pilot_memory *m = p->memory;

    if (m->step_count == PILOT_STEPS_MAX)
        p->give_up(p->ctx, PILOT_TOO_LONG);
    return &m->steps[m->step_count++];
}

static struct pilot_step *note_step(struct pilot *p, const struct pcpu *c, const struct native_access *a)
{
    struct pilot_step *step = pilot_record(p);

    *step = (struct pilot_step){.pc = a->pc,
                                .place = a->p ? pilot_place_of(a) : 0,
                                .ticks = c->now_ticks,
                                .actor = (uint8_t)c->index,
                                .access = a->access};
    return step;
}

// How a processor came to make its access.
struct turn {
    bool switched;  // Somebody else had the turn before.
    bool decided;   // There was a choice.
    uint32_t after; // As in struct pilot_step
};

// `kept`: nothing that anybody else sees.
static void carry_out(struct pilot *p, struct pcpu *c, const struct native_access *a, struct pilot_place *e,
                      bool kept, struct turn turn)
{
    struct pilot_step *step = note_step(p, c, a);

    step->switched = turn.switched;
    step->decided = turn.decided;
    step->after = turn.after;
    if (kept)
        pilot_stores_expect(p, c->index, p->memory->step_count - 1);
    else if (e)
        note_place(p->memory, e, c->index, a);
    p->buffer[c->index].waited = false;
    if (a->p && p->tells)
        tell(p, c, a, e);
}

// --- At its own time. ---

static bool is_interrupted(const struct pcpu *c)
{
    return (c->nmi_pending && !c->nmi_blocked) || (c->irq_pending && c->irqs_enabled);
}

// Everybody runs at its own time; who is told to stands until it need not any more.
static void timed_point(struct pilot *p, struct pcpu *c, const struct native_access *a, struct pilot_place *e)
{
    uint64_t limit = c->now_ticks + pcpu_ps_to_ticks(c, PILOT_LATER_PS);
    struct explore_access next = {.place = pilot_place_of(a),
                                  .writes = a->access & PLACE_WRITE,
                                  .pc = a->pc,
                                  .interrupted = is_interrupted(c)};
    uint32_t *after = &p->after[c->index];
    enum explore_stand stands = EXPLORE_GOES_ON;
    bool stood = false;

    *after = 0;
    p->standing |= 1u << c->index;
    while ((p->all || is_shared(e, a)) &&
           (stands = strategy_stands(p->strategy, c->index, &next)) == EXPLORE_STANDS) {
        if (c->now_ticks >= limit) {
            strategy_late(p->strategy, c->index);
            *after = p->memory->step_count;
            break;
        }
        if (!stood)
            look_again(p, c); // Who stands until this one comes here
        *after = 0;
        stood = true;
        pcpu_hold(c, c->next_local_ticks < limit ? c->next_local_ticks : limit);
        pcpu_slow_path(c, false);
        next.interrupted = is_interrupted(c);
    }
    p->standing &= ~(1u << c->index);
    if (stands == EXPLORE_TAKES) { // The thread may be elsewhere afterwards.
        note_step(p, c, a)->interrupt = true;
        pcpu_slow_path(c, true);
        timed_point(p, pcpu_current, a, e);
        return;
    }
    carry_out(p, c, a, e, false, (struct turn){.decided = stood, .after = *after});
}

// --- One at a time. ---

// Nobody but the processor could go on, nor could a store of another's leave. Then its own stores wait
// unasked: nobody can tell.
static bool is_alone(const struct pilot *p, uint32_t cpu)
{
    return !p->asks_all && !(pilot_ready(p) & ~(1u << cpu | pilot_buffer_bit(p, cpu)));
}

// Are there stores of the processor of which it is to be asked whether they wait?
static bool has_fresh(const struct pilot *p, uint32_t cpu)
{
    return p->buffer[cpu].fresh && !is_alone(p, cpu);
}

// The processor with the turn stands at an access: who goes on? Stores leave at once. `matters`: to others,
// what it is about to do; otherwise it is asked only whether its last stores wait.
static uint32_t choose(struct pilot *p, struct pcpu *c, bool matters)
{
    uint32_t self = c->index, to;

    for (;;) {
        bool of_store = has_fresh(p, self);

        to = pilot_decide(p, of_store ? p->machine->cpu_count + self : self,
                          is_alone(p, self) ? 1u << self : pilot_ready(p), later(p));
        if (to == EXPLORE_LATER)
            pilot_stores_settle(p, c);
        if (of_store && !pilot_is_buffer(p, to))
            p->buffer[self].fresh = 0;
        if (!pilot_is_buffer(p, to))
            return to;
        pilot_stores_let_go(p, to, c->now_ticks);
        if (!matters && !p->buffer[self].fresh)
            return self;
    }
}

static bool several_ready(const struct pilot *p)
{
    uint32_t ready = pilot_ready(p);

    return (ready & (ready - 1)) || later(p);
}

// It has not the turn, or others may go on instead.
static struct turn take_turn(struct pilot *p, struct pcpu *c, const struct native_access *a, bool matters)
{
    uint32_t self = c->index;
    struct turn turn = {.switched = p->turn != self};
    bool stood = false;

    p->standing |= 1u << self;
    p->next[self] = *a;
    p->since[self] = c->now_ticks;
    if (p->turn == EXPLORE_NOBODY)
        p->turn = self;
    stand(p, c);
    if (matters || has_fresh(p, self) || ++p->in_a_row > PILOT_PATIENCE) {
        if (p->in_a_row > PILOT_PATIENCE)
            strategy_yielded(p->strategy, self);
        if (several_ready(p)) {
            uint32_t to = choose(p, c, matters);

            turn.decided = true;
            if (to == EXPLORE_LATER)
                wait_for_later(p, c);
            else if (to != self)
                hand_over(p, to, c->now_ticks);
            stand(p, c);
            stood = to != self; // It could have gone on at once and did not.
            turn.switched |= stood;
        }
    }
    p->standing &= ~(1u << self);
    uint64_t ready = pilot_stores_ready_ticks(p, self);

    c->now_ticks = c->now_ticks > ready ? c->now_ticks : ready;
    pcpu_slow_path(c, false);
    turn.after = stood ? p->memory->step_count : 0;
    return turn;
}

static void point(struct native_watch *w, const struct native_access *a)
{
    struct pilot *p = (struct pilot *)w;
    struct pcpu *c = pcpu_current;
    struct turn turn = {.switched = false};
    struct pilot_place *e;

    if (a->access == PLACE_BLOCK)
        return;
    e = place_at(p, a);
    if (p->timed) {
        timed_point(p, c, a, e);
        return;
    }
    bool shared = is_shared(e, a), kept = pilot_stores_keeps(p, c, a, shared), matters = shared && !kept;

    if (p->jitter) {
        uint32_t late = strategy_delay_cycles(p->strategy);

        if (late && shared) {
            pcpu_charge_cycles(c, late);
            pcpu_slow_path(c, false);
        }
    } else if (p->turn == c->index && !matters && !has_fresh(p, c->index) && p->in_a_row < PILOT_PATIENCE) {
        p->in_a_row++; // Most accesses: nothing is due, or the hook's own slow path had come before.
    } else {
        turn = take_turn(p, c, a, matters);
    }
    carry_out(p, c, a, e, kept, turn);
}

static void idle(struct native_watch *w, struct pcpu *c, bool begins)
{
    struct pilot *p = (struct pilot *)w;

    if (begins && p->timed && strategy_idle(p->strategy, c->index))
        look_again(p, c);
    if (!begins || p->timed || p->jitter || p->turn != c->index)
        return;
    if (p->memory->step_count && p->memory->steps[p->memory->step_count - 1].actor == c->index)
        p->memory->steps[p->memory->step_count - 1].idle = true;
    p->turn = EXPLORE_NOBODY;
    pilot_pass_on(p, EXPLORE_NOBODY, c->now_ticks);
}

static void give_way(struct native_watch *w, struct pcpu *c)
{
    struct pilot *p = (struct pilot *)w;

    if (p->timed && p->standing) {
        strategy_yielded(p->strategy, c->index);
        look_again(p, c);
    }
    if (p->timed || p->jitter || p->turn != c->index || !pilot_ready(p))
        return;
    strategy_yielded(p->strategy, c->index);
    p->turn = EXPLORE_NOBODY;
    pilot_pass_on(p, EXPLORE_NOBODY, c->now_ticks);
}

// What guests write, and which entries are walked for them, is shared like anything else: the hypervisor
// reads and changes it.
static void beside(struct pilot *p, const struct pcpu *c, const void *at, uint32_t size_bytes, bool writes)
{
    struct native_access a = {.p = at, .size_bytes = size_bytes, .access = writes ? PLACE_WRITE : PLACE_READ};

    struct pilot_place *e = place_at(p, &a);

    if (e)
        note_place(p->memory, e, c->index, &a);
    if (p->tells)
        tell(p, c, &a, e);
}

static void guest_stores(struct native_watch *w, struct pcpu *c, const void *at, uint32_t size_bytes)
{
    beside((struct pilot *)w, c, at, size_bytes, true);
}

static void walks(struct native_watch *w, struct pcpu *c, const void *at, bool writes)
{
    beside((struct pilot *)w, c, at, 8, writes);
}

static void event(struct native_watch *w, struct pcpu *c, const struct native_event *e)
{
    struct pilot *p = (struct pilot *)w;

    if (e->kind != NATIVE_EVENT_NOTE || !p->tells)
        return;
    const struct native_note *n = e->note;

    if (n->kind == NATIVE_NOTE_ALLOC || (n->kind == NATIVE_NOTE_PAGES && n->owner))
        strategy_handed_over(p->strategy, (uint64_t)(uintptr_t)n->p >> 3, (n->bytes + 7) / 8);
    else
        pilot_notes_take(&p->memory->notes, native_thread(c), n);
}

void pilot_begin(struct pilot *p, struct machine *machine)
{
    p->machine = machine;
    p->turn = EXPLORE_NOBODY;
    p->warden = EXPLORE_NOBODY;
    p->timed = strategy_timed(p->strategy);
    p->tells = strategy_listens(p->strategy);
    p->all = strategy_wants_all(p->strategy);
    p->standing = p->on = 0;
    for (uint32_t i = 0; i < machine->cpu_count; i++)
        if (machine->cpus[i]->mode != PCPU_OFF)
            p->on |= 1u << i;
    p->in_a_row = 0;
    pilot_stores_begin(p);
    p->memory->step_count = 0;
    p->memory->order = 0;
    p->memory->execution++;
    pilot_notes_begin(&p->memory->notes);
    p->watch = (struct native_watch){.rank = NATIVE_WATCH_DECIDES,
                                     .point = point,
                                     .idle = idle,
                                     .pause = give_way,
                                     .stored = pilot_stores_stored,
                                     .guest_stores = guest_stores,
                                     .walks = walks,
                                     .event = event};
    native_watch_add(machine, &p->watch);
}

void pilot_end(struct pilot *p)
{
    pilot_stores_end(p);
    native_watch_remove(p->machine, &p->watch);
}
