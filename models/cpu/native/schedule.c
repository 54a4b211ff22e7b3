// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/native/schedule.h"

#include "traces/trace.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX

struct schedule {
    struct native_watch watch; // First.
    const struct schedule_step *steps;
    uint32_t count;
    uint32_t next;      // Steps before it were passed; `count`: nothing is pinned (any more).
    uint32_t passed;    // Steps before it were passed in order.
    uint32_t passing;   // The processor that carries out step `next` between two of its hooks, or NOBODY.
    uint32_t *cpu_next; // By processor: its next step, `count` if it has none.
    uint32_t *cpu_seen; // And how often it came there.
    uint32_t cpus;
    uint64_t text_base, text_bytes;
    uint64_t *at[SCHEDULE_STEPS_MAX + 1]; // Of each step, by byte of the text.
};

// --- Places. ---

static void mark(void *ctx, uint64_t offset)
{
    uint64_t *bits = ctx;

    bits[offset / 64] |= 1ull << offset % 64;
}

__attribute__((format(printf, 3, 4))) static int fault(char *error, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error, size, format, args);
    va_end(args);
    return -1;
}

static int find_entry(const struct schedule_step *step, const struct places *places, uint64_t *bits,
                      char *error, size_t size)
{
    uint64_t offset;

    if (!(step->access & PLACE_BLOCK))
        return fault(error, size,
                     "`%s` alone is where it is entered (block); an access in it needs a line: %s+LINES",
                     step->function, step->function);
    if (!places_function_entry(places, step->file, step->function, &offset))
        return places_function_line(places, step->file, step->function)
                   ? fault(error, size,
                           "every call of `%s` is inlined, so it is entered nowhere; give %s+LINES",
                           step->function, step->function)
                   : fault(error, size, "%s has no function `%s`", step->file, step->function);
    mark(bits, offset);
    return 0;
}

// Sets a bit for the last byte of each call of a hook at the step's place.
static int find_step(const struct schedule *s, const struct schedule_step *step, const struct places *places,
                     uint64_t *bits, char *error, size_t size)
{
    unsigned line = step->line, below, above;
    bool several;

    if (step->cpu >= s->cpus)
        return fault(error, size, "there is no cpu%u; this machine has %u", step->cpu, s->cpus);
    if (!places_file(places, step->file, &several))
        return several ? fault(error, size, "`%s` names several files; give more of the path", step->file)
                       : fault(error, size,
                               "the core has no source file `%s`; expected a path such as hv/mmu/tdp.c",
                               step->file);
    if (*step->function && !step->line)
        return find_entry(step, places, bits, error, size);
    if (*step->function) {
        unsigned begin = places_function_line(places, step->file, step->function);

        if (!begin)
            return fault(error, size, "%s has no function `%s`", step->file, step->function);
        line += begin;
    }
    if (places_of_line(places, step->file, line, step->access, mark, bits))
        return 0;
    places_near(places, step->file, line, step->access, &below, &above);
    return fault(error, size,
                 "nothing of that kind happens on line %u of %s; the nearest lines are %u and %u", line,
                 step->file, below, above);
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
    s->cpus = machine->cpu_count;
    s->text_base = map->text_base;
    s->text_bytes = map->text_bytes;
    s->cpu_next = calloc(s->cpus, sizeof *s->cpu_next);
    s->cpu_seen = calloc(s->cpus, sizeof *s->cpu_seen);
    if (!s->cpu_next || !s->cpu_seen)
        abort();
    for (uint32_t i = 0; i < count; i++) {
        s->at[i] = calloc(s->text_bytes / 64 + 1, sizeof *s->at[i]);
        if (!s->at[i])
            abort();
        if (find_step(s, &steps[i], places, s->at[i], error, error_size) == 0)
            continue;
        *bad = i;
        schedule_destroy(s);
        return NULL;
    }
    return s;
}

void schedule_destroy(struct schedule *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->count; i++)
        free(s->at[i]);
    free(s->cpu_next);
    free(s->cpu_seen);
    free(s);
}

// --- The run. ---

// The first step of `cpu` from `from` on.
static uint32_t step_of(const struct schedule *s, uint32_t cpu, uint32_t from)
{
    while (from < s->count && s->steps[from].cpu != cpu)
        from++;
    return from;
}

static void schedule_point(struct native_watch *w, const struct native_access *a);

void schedule_begin(struct schedule *s, struct machine *machine)
{
    if (!s)
        return;
    s->next = s->passed = 0;
    s->passing = NOBODY;
    for (uint32_t i = 0; i < s->cpus; i++) {
        s->cpu_next[i] = step_of(s, i, 0);
        s->cpu_seen[i] = 0;
    }
    s->watch = (struct native_watch){.rank = NATIVE_WATCH_DECIDES, .point = schedule_point};
    native_watch_add(machine, &s->watch);
}

static void note(const struct schedule *s, uint32_t i, const char *kind, struct machine *machine,
                 uint64_t tick)
{
    const struct schedule_step *step = &s->steps[i];
    char text[200];

    if (!machine->trace)
        return;
    size_t used = (size_t)snprintf(text, sizeof text, "step %u: cpu%u %.70s:%.70s", i + 1, step->cpu,
                                   step->file, step->function);

    if (step->line)
        snprintf(text + used, sizeof text - used, "%s%u", *step->function ? "+" : "", step->line);
    trace_violation(machine->trace,
                    &(struct trace_violation){.where = {(uint16_t)step->cpu, UINT16_MAX, UINT16_MAX, 0, 0},
                                              .kind = trace_text(machine->trace, kind),
                                              .detail = trace_text(machine->trace, text),
                                              .thread = TRACE_NO_THREAD,
                                              .other_thread = TRACE_NO_THREAD,
                                              .tick = tick});
}

void schedule_end(struct schedule *s, struct machine *machine)
{
    if (!s)
        return;
    native_watch_remove(machine, &s->watch);
    for (uint32_t i = s->next; i < s->count; i++)
        if (!s->steps[i].optional) {
            note(s, i, "schedule step not reached", machine, TRACE_NEVER);
            break;
        }
}

uint32_t schedule_passed(const struct schedule *s)
{
    return s->passed;
}

// Step `next` has been carried out by `c`: whoever stands at the place of the next one goes on.
static void pass(struct schedule *s, struct pcpu *c)
{
    s->passing = NOBODY;
    s->passed = ++s->next;
    s->cpu_next[c->index] = step_of(s, c->index, s->next);
    s->cpu_seen[c->index] = 0;
    if (s->next == s->count)
        native_watch_remove(c->machine, &s->watch); // Nothing is pinned any more: the hooks need not ask.
    else
        pcpu_release(c->machine->cpus[s->steps[s->next].cpu], c->now_ticks);
}

// The step that is next did not come: this order does not exist, and everybody goes on.
static void give_up(struct schedule *s, struct pcpu *c)
{
    if (!s->steps[s->next].optional)
        note(s, s->next, "schedule impossible", c->machine, c->now_ticks);
    s->next = s->count;
    native_watch_remove(c->machine, &s->watch);
    for (uint32_t i = 0; i < s->cpus; i++)
        pcpu_release(c->machine->cpus[i], c->now_ticks);
}

// The calling processor is about to do what a hook announces. May let others run.
static void schedule_point(struct native_watch *w, const struct native_access *a)
{
    struct schedule *s = (struct schedule *)w;
    struct pcpu *c = pcpu_current;

    if (s->passing == c->index)
        pass(s, c);
    uint32_t i = s->cpu_next[c->index];
    uint64_t offset = a->pc - 1 - s->text_base; // Within the call of the hook.

    if (i >= s->count || s->next >= s->count || offset >= s->text_bytes)
        return;
    if (!(s->at[i][offset / 64] >> offset % 64 & 1) || ++s->cpu_seen[c->index] < s->steps[i].count)
        return;
    uint64_t limit = c->now_ticks + pcpu_ps_to_ticks(c, SCHEDULE_HOLD_PS);

    while (s->next < i && c->now_ticks < limit)
        pcpu_hold(c, limit);
    if (s->next < i)
        give_up(s, c);
    // What this hook announces happens right behind it, before anybody else's turn: at the processor's next
    // hook it is done.
    pcpu_slow_path(c, false);
    if (s->next == i)
        s->passing = c->index;
}
