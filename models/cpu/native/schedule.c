// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/native/schedule.h"

#include "models/cpu/native/hooks.h"
#include "traces/trace.h"
#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX
#define NONE UINT32_MAX

struct hooks {
    uint64_t *at; // Offsets of the calls' last bytes in the text, ascending
    uint32_t count, capacity;
};

struct schedule_cpu {
    uint32_t next;    // Its next step that is no drain, `count` if it has none,
    uint32_t seen;    // and how often it came there.
    uint32_t drain;   // The next drain whose store it is to make, unless another step makes that store,
    uint32_t drained; // and how often it came there.
    uint32_t keeping; // The drain whose store it is about to buffer, or NONE.
    uint64_t from_ticks;
};

struct schedule {
    struct native_watch watch; // First.
    struct mem_keeper keeper;
    struct machine *machine;
    const struct schedule_step *steps;
    uint32_t count;
    uint32_t next;        // Steps before it were passed; `count`: nothing is pinned (any more).
    uint32_t passed;      // Steps before it were passed in order.
    uint32_t passing;     // The processor that carries out step `next` between two of its hooks, or NOBODY.
    bool passing_locked;  // It drains its store buffer for that.
    uint64_t ready_ticks; // The store of the drain before `next` is visible from then on.
    uint64_t from_ps;
    struct schedule_cpu *cpus;
    uint32_t cpu_count;
    uint64_t text_base;
    struct hooks at[SCHEDULE_STEPS_MAX + 1]; // Of each step.
    uint32_t drain_of[SCHEDULE_STEPS_MAX +
                      1]; // Of a step that makes a store: the step in which it drains, or NONE.
    bool paired[SCHEDULE_STEPS_MAX + 1]; // Of a drain: another step makes its store.
    bool kept[SCHEDULE_STEPS_MAX + 1];   // Of a drain: its store is in the buffer.
};

// --- Places. ---

static void mark(void *ctx, uint64_t offset)
{
    struct hooks *h = ctx;

    if (h->count == h->capacity) {
        h->capacity = h->capacity ? 2 * h->capacity : 8;
        h->at = realloc(h->at, h->capacity * sizeof *h->at);
        if (!h->at)
            abort();
    }
    h->at[h->count++] = offset;
}

static int compare(const void *a, const void *b)
{
    uint64_t i = *(const uint64_t *)a, j = *(const uint64_t *)b;

    return (i > j) - (i < j);
}

static bool has(const struct hooks *h, uint64_t offset)
{
    return h->count && bsearch(&offset, h->at, h->count, sizeof *h->at, compare);
}

__attribute__((format(printf, 3, 4))) static int fault(char *error, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error, size, format, args);
    va_end(args);
    return -1;
}

static int find_entry(const struct schedule_step *step, const struct places *places, struct hooks *at,
                      char *error, size_t size)
{
    uint64_t offset;

    if (!(step->access & PLACE_BLOCK))
        return fault(
            error, size,
            "`%s` alone is where it is entered (block); an access in it needs a line or which one it is: "
            "%s+LINES or %s#N",
            step->function, step->function, step->function);
    if (!places_function_entry(places, step->file, step->function, &offset))
        return places_function_line(places, step->file, step->function)
                   ? fault(error, size,
                           "every call of `%s` is inlined, so it is entered nowhere; give %s+LINES or %s#N",
                           step->function, step->function, step->function)
                   : fault(error, size, "%s has no function `%s`", step->file, step->function);
    mark(at, offset);
    return 0;
}

static int find_anchor(const struct schedule_step *step, const struct places *places, struct hooks *at,
                       char *error, size_t size)
{
    const struct places_anchor a = {step->file, step->function, step->caller, step->ordinal, step->access};

    if (places_of_anchor(places, &a, mark, at))
        return 0;
    places_explain_anchor(places, &a, error, size);
    return -1;
}

static int find_line(const struct schedule_step *step, const struct places *places, struct hooks *at,
                     char *error, size_t size)
{
    unsigned line = step->line, below, above;

    if (*step->function) {
        unsigned begin = places_function_line(places, step->file, step->function);

        if (!begin)
            return fault(error, size, "%s has no function `%s`", step->file, step->function);
        line += begin;
    }
    if (places_of_line(places, step->file, line, step->access, mark, at))
        return 0;
    places_near(places, step->file, line, step->access, &below, &above);
    return fault(error, size,
                 "nothing of that kind happens on line %u of %s; the nearest lines are %u and %u", line,
                 step->file, below, above);
}

// Finds all hooks at the step's place.
static int find_step(const struct schedule *s, const struct schedule_step *step, const struct places *places,
                     struct hooks *at, char *error, size_t size)
{
    bool several;

    if (step->cpu >= s->cpu_count)
        return fault(error, size, "there is no cpu%u; this machine has %u", step->cpu, s->cpu_count);
    if (step->kind == SCHEDULE_DRAIN && !(step->access & (PLACE_WRITE | PLACE_ATOMIC)))
        return fault(error, size, "only a write drains");
    if (!places_file(places, step->file, &several))
        return several ? fault(error, size, "`%s` names several files; give more of the path", step->file)
                       : fault(error, size,
                               "the core has no source file `%s`; expected a path such as hv/mmu/tdp.c",
                               step->file);
    if (step->ordinal)
        return find_anchor(step, places, at, error, size);
    if (*step->function && !step->line)
        return find_entry(step, places, at, error, size);
    return find_line(step, places, at, error, size);
}

static bool is_subset(const struct hooks *of, const struct hooks *all)
{
    for (uint32_t i = 0; i < of->count; i++)
        if (!has(all, of->at[i]))
            return false;
    return true;
}

// A drain means the store of the last step before it that makes a store there, if there is one.
static void pair(struct schedule *s, uint32_t drain)
{
    for (uint32_t i = drain; i-- > 0;) {
        if (s->steps[i].kind != SCHEDULE_ACCESS || s->steps[i].cpu != s->steps[drain].cpu ||
            s->drain_of[i] != NONE || !is_subset(&s->at[i], &s->at[drain]))
            continue;
        s->drain_of[i] = drain;
        s->paired[drain] = true;
        return;
    }
}

struct schedule *schedule_create(const struct schedule_step *steps, uint32_t count,
                                 const struct places *places, const struct machine *machine, uint32_t *bad,
                                 char *error, size_t error_size)
{
    const struct price_map *map = &machine->image->map;
    struct schedule *s = calloc(1, sizeof *s);

    *bad = 0;
    if (!s)
        abort();
    assert(count <= SCHEDULE_STEPS_MAX);
    s->steps = steps;
    s->count = count;
    s->cpu_count = machine->cpu_count;
    s->text_base = map->text_base;
    s->cpus = calloc(s->cpu_count, sizeof *s->cpus);
    if (!s->cpus)
        abort();
    for (uint32_t i = 0; i < count; i++) {
        if (find_step(s, &steps[i], places, &s->at[i], error, error_size)) {
            *bad = i;
            schedule_destroy(s);
            return NULL;
        }
        qsort(s->at[i].at, s->at[i].count, sizeof *s->at[i].at, compare);
        s->drain_of[i] = NONE;
        if (steps[i].kind == SCHEDULE_DRAIN)
            pair(s, i);
    }
    return s;
}

void schedule_destroy(struct schedule *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->count; i++)
        free(s->at[i].at);
    free(s->cpus);
    free(s);
}

void schedule_from(struct schedule *s, uint64_t from_ps)
{
    s->from_ps = from_ps;
}

uint32_t schedule_count(const struct schedule *s)
{
    return s->count;
}

uint32_t schedule_passed(const struct schedule *s)
{
    return s->passed;
}

// --- The run. ---

// The first step of `cpu` from `from` on: of those whose stores no other step makes if `drain`, else of those
// that are no drains.
static uint32_t step_of(const struct schedule *s, uint32_t cpu, uint32_t from, bool drain)
{
    while (from < s->count &&
           (s->steps[from].cpu != cpu || s->paired[from] || (s->steps[from].kind == SCHEDULE_DRAIN) != drain))
        from++;
    return from;
}

static void schedule_point(struct native_watch *w, const struct native_access *a);
static void schedule_idle(struct native_watch *w, struct pcpu *c, bool begins);
static void schedule_stored(struct native_watch *w, struct pcpu *c);
static void schedule_stand(struct mem_keeper *k, struct pcpu *c);

// What an atomic access that a step carries out reads, or where its store goes.
static unsigned choose(void *ctx, enum sim_site site, unsigned n)
{
    const struct schedule *s = ctx;

    if ((site != SIM_SITE_READ && site != SIM_SITE_ORDER) || !pcpu_current ||
        s->passing != pcpu_current->index)
        return 0;
    return s->steps[s->next].older < n ? s->steps[s->next].older : n - 1;
}

static bool has_older(const struct schedule *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (s->steps[i].older)
            return true;
    return false;
}

void schedule_begin(struct schedule *s, struct machine *machine)
{
    if (!s || !s->count)
        return;
    s->machine = machine;
    s->next = s->passed = 0;
    s->passing = NOBODY;
    s->ready_ticks = 0;
    memset(s->kept, 0, sizeof s->kept);
    for (uint32_t i = 0; i < s->cpu_count; i++)
        s->cpus[i] = (struct schedule_cpu){.next = step_of(s, i, 0, false),
                                           .drain = step_of(s, i, 0, true),
                                           .keeping = NONE,
                                           .from_ticks = pcpu_ps_to_ticks(machine->cpus[i], s->from_ps)};
    s->keeper = (struct mem_keeper){schedule_stand};
    s->watch = (struct native_watch){.rank = NATIVE_WATCH_DECIDES,
                                     .blocks = true,
                                     .point = schedule_point,
                                     .idle = schedule_idle,
                                     .stored = schedule_stored};
    native_watch_add(machine, &s->watch);
    if (has_older(s))
        sim_choose_install(choose, s);
}

static void note(const struct schedule *s, uint32_t i, const char *kind, uint64_t tick)
{
    struct trace *trace = s->machine->trace;
    char text[4 * SCHEDULE_NAME_BYTES];

    if (!trace)
        return;
    int used = snprintf(text, sizeof text, "step %u: ", i + 1);

    schedule_step_text(&s->steps[i], text + used, sizeof text - (size_t)used);
    trace_violation(
        trace, &(struct trace_violation){.where = {(uint16_t)s->steps[i].cpu, UINT16_MAX, UINT16_MAX, 0, 0},
                                         .kind = trace_text(trace, kind),
                                         .detail = trace_text(trace, text),
                                         .thread = TRACE_NO_THREAD,
                                         .other_thread = TRACE_NO_THREAD,
                                         .tick = tick});
}

// Nothing is pinned any more: the hooks need not ask.
static void stop(struct schedule *s, uint64_t now_ticks)
{
    native_watch_remove(s->machine, &s->watch);
    if (has_older(s))
        sim_choose_install(NULL, NULL);
    for (uint32_t i = 0; i < s->cpu_count; i++)
        mem_store_let_all_go(s->machine->cpus[i], now_ticks);
}

void schedule_end(struct schedule *s, struct machine *machine)
{
    (void)machine;
    if (!s || !s->count)
        return;
    stop(s, 0);
    for (uint32_t i = s->next; i < s->count; i++)
        if (!s->steps[i].optional) {
            note(s, i, "schedule step not reached", TRACE_NEVER);
            break;
        }
}

// Stores whose turn it is drain, and whoever stands at the place of the next step goes on.
static void advance(struct schedule *s, struct pcpu *c)
{
    struct pcpu **cpus = s->machine->cpus;

    while (s->next < s->count && s->kept[s->next]) {
        struct pcpu *to = cpus[s->steps[s->next].cpu];
        uint64_t at = c->now_ticks > s->ready_ticks ? c->now_ticks : s->ready_ticks;

        at = mem_store_let_go(to, (uint8_t)(s->next + 1), at);
        if (at == TICKS_NEVER) // An older store of the processor has its turn later: this cannot be.
            return;
        s->ready_ticks = at + 1;
        s->passed = ++s->next;
        pcpu_release(to, c->now_ticks);
    }
    if (s->next == s->count)
        stop(s, c->now_ticks);
    else
        pcpu_release(cpus[s->steps[s->next].cpu],
                     c->now_ticks > s->ready_ticks ? c->now_ticks : s->ready_ticks);
}

// Step `next` has been carried out by `c`.
static void pass(struct schedule *s, struct pcpu *c)
{
    struct schedule_cpu *cpu = &s->cpus[c->index];

    s->passing = NOBODY;
    if (s->steps[s->next].kind == SCHEDULE_DRAIN) {
        cpu->drain = step_of(s, c->index, s->next + 1, true);
        cpu->drained = 0;
    } else {
        cpu->next = step_of(s, c->index, s->next + 1, false);
        cpu->seen = 0;
    }
    s->passed = ++s->next;
    advance(s, c);
}

// The step that is next did not come: this order does not exist, and everybody goes on.
static void give_up(struct schedule *s, struct pcpu *c)
{
    if (!s->steps[s->next].optional)
        note(s, s->next, "schedule impossible", c->now_ticks);
    s->next = s->count;
    stop(s, c->now_ticks);
    for (uint32_t i = 0; i < s->cpu_count; i++)
        pcpu_release(s->machine->cpus[i], c->now_ticks);
}

// Until all steps before `step` were passed, and what drained in them is visible. False: the order was given
// up.
static bool stand(struct schedule *s, struct pcpu *c, uint32_t step)
{
    uint64_t limit = c->now_ticks + pcpu_ps_to_ticks(c, SCHEDULE_HOLD_PS);

    while (s->next <= step && (s->next < step || c->now_ticks < s->ready_ticks) && c->now_ticks < limit)
        pcpu_hold(c, s->next == step && s->ready_ticks < limit ? s->ready_ticks : limit);
    if (s->next < step)
        give_up(s, c);
    // What this hook announces happens right behind it, before anybody else's turn: at the processor's next
    // hook it is done.
    pcpu_slow_path(c, false);
    return s->next == step;
}

// Does it drain the store buffer before it has its effect (SDM 8.2.2)?
static bool is_locked(const struct native_access *a)
{
    bool writes = a->access & PLACE_WRITE, reads = a->access & PLACE_READ;

    return (a->access & PLACE_ATOMIC) && ((reads && writes) || (!reads && a->order == NATIVE_ORDER_SEQ_CST));
}

static void begin_passing(struct schedule *s, struct pcpu *c, const struct native_access *a)
{
    s->passing = c->index;
    s->passing_locked = is_locked(a);
}

static bool can_interrupt(const struct pcpu *c)
{
    return (c->nmi_pending && !c->nmi_blocked) || (c->irq_pending && c->irqs_enabled);
}

// Its handler passes the step; afterwards the processor is at the same hook again.
static bool take_interrupt(struct schedule *s, struct pcpu *c)
{
    uint64_t limit = c->now_ticks + pcpu_ps_to_ticks(c, SCHEDULE_HOLD_PS);

    while (!can_interrupt(c) && c->now_ticks < limit) {
        pcpu_hold(c, c->next_local_ticks < limit ? c->next_local_ticks : limit);
        pcpu_slow_path(c, false);
    }
    if (!can_interrupt(c)) {
        give_up(s, c);
        return false;
    }
    s->passing = c->index;
    s->passing_locked = false;
    pcpu_slow_path(c, true);
    return true;
}

static bool is_at(const struct schedule *s, uint32_t step, const struct native_access *a)
{
    return step < s->count && s->next < s->count && (a->access & s->steps[step].access) &&
           (s->steps[step].kind != SCHEDULE_DRAIN || (a->access & PLACE_WRITE)) &&
           has(&s->at[step], a->pc - 1 - s->text_base);
}

// The processor comes to a hook. True: it is still there, and it may be the place of its next step too.
static bool arrive(struct schedule *s, struct pcpu *c, const struct native_access *a)
{
    struct schedule_cpu *cpu = &s->cpus[c->index];
    uint32_t i = cpu->next;

    if (!is_at(s, i, a) || ++cpu->seen < s->steps[i].count || !stand(s, c, i))
        return false;
    if (s->steps[i].kind == SCHEDULE_INTERRUPT)
        return take_interrupt(s, c);
    begin_passing(s, c, a);
    if (s->drain_of[i] != NONE && native_is_buffered(c, a))
        cpu->keeping = s->drain_of[i];
    return false;
}

// Makes it the store of a drain? A store that no buffer hides is visible when it is made: its processor
// stands.
static void look_for_drain(struct schedule *s, struct pcpu *c, const struct native_access *a)
{
    struct schedule_cpu *cpu = &s->cpus[c->index];
    uint32_t i = cpu->drain;

    if (!is_at(s, i, a) || ++cpu->drained < s->steps[i].count || cpu->keeping != NONE)
        return;
    if (native_is_buffered(c, a)) {
        cpu->keeping = i;
        cpu->drain = step_of(s, c->index, i + 1, true);
        cpu->drained = 0;
    } else if (s->passing != c->index && stand(s, c, i)) {
        begin_passing(s, c, a);
    }
}

// The calling processor is about to do what a hook announces. May let others run.
static void schedule_point(struct native_watch *w, const struct native_access *a)
{
    struct schedule *s = (struct schedule *)w;

    if (s->passing == pcpu_current->index)
        pass(s, pcpu_current);
    if (s->next >= s->count || pcpu_current->now_ticks < s->cpus[pcpu_current->index].from_ticks)
        return;
    while (arrive(s, pcpu_current, a))
        ;
    look_for_drain(s, pcpu_current, a);
}

static void schedule_idle(struct native_watch *w, struct pcpu *c, bool begins)
{
    struct schedule *s = (struct schedule *)w;

    if (begins && s->passing == c->index)
        pass(s, c);
}

static void schedule_stored(struct native_watch *w, struct pcpu *c)
{
    struct schedule *s = (struct schedule *)w;
    struct schedule_cpu *cpu = &s->cpus[c->index];

    if (cpu->keeping == NONE)
        return;
    mem_store_keep(c, (uint8_t)(cpu->keeping + 1), &s->keeper);
    s->kept[cpu->keeping] = true;
    cpu->keeping = NONE;
    if (s->passing == NOBODY)
        advance(s, c);
}

// The processor cannot go on before a store of its own drains.
static void schedule_stand(struct mem_keeper *k, struct pcpu *c)
{
    struct schedule *s = (struct schedule *)((char *)k - offsetof(struct schedule, keeper));
    uint64_t limit = c->now_ticks + pcpu_ps_to_ticks(c, SCHEDULE_HOLD_PS);
    uint32_t kept = c->mem->stores.kept;

    if (s->machine->hosts_off >> c->host & 1) {
        mem_store_let_all_go(c, c->now_ticks);
        return;
    }
    if (s->passing == c->index && !s->passing_locked)
        pass(s, c); // That access was made, or it would not be here.
    while (c->mem->stores.kept == kept && c->now_ticks < limit)
        pcpu_hold(c, limit);
    if (c->mem->stores.kept == kept)
        give_up(s, c);
    pcpu_slow_path(c, false);
}
