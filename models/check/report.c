// SPDX-License-Identifier: Apache-2.0
// Findings: kept while the run goes on, put into words at its end, when names may be looked up.
#include "models/check/check_internal.h"

#include "models/cpu/native/places.h"
#include "traces/trace.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STACK_SHOWN 10u

// Where in the code, not when: the same two places are one finding, in either order.
static uint64_t identity(const char *kind, const struct check_site *a, const struct check_site *b)
{
    uint32_t first = a ? a->pc : 0, second = b ? b->pc : 0, swap = first < second ? first : second;
    uint64_t hash = (uint64_t)(first ^ second ^ swap) << 32 | swap;

    for (; *kind; kind++)
        hash = (hash ^ (uint8_t)*kind) * 0x100000001b3ull;
    return hash | 1;
}

void check_report(struct check *k, const char *kind, uint64_t address, const char *about,
                  const struct check_site *first, const struct check_site *second)
{
    struct check_reports *all = &k->reports;
    void **known = check_table_slot(&all->seen, identity(kind, first, second));

    if (*known || all->count == CHECK_REPORTS_MAX)
        return;
    *known = all;
    if (all->count == all->capacity) {
        all->capacity = all->capacity ? 2 * all->capacity : 16;
        all->rows = realloc(all->rows, all->capacity * sizeof *all->rows);
        if (!all->rows)
            abort();
    }
    struct check_report *r = &all->rows[all->count++];

    *r = (struct check_report){.kind = kind, .address = address};
    snprintf(r->about, sizeof r->about, "%s", about);
    if (first)
        r->site[0] = *first;
    if (second)
        r->site[1] = *second;
}

uint32_t check_found(const struct check *k, const char *violation)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < k->reports.count; i++)
        count += !violation || strcmp(k->reports.rows[i].kind, violation) == 0;
    return count;
}

// --- In words. ---

struct text {
    char *at;
    size_t left;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    int wanted = vsnprintf(t->at, t->left, format, list);

    va_end(list);
    size_t bytes = wanted < 0 ? 0 : (size_t)wanted < t->left ? (size_t)wanted : t->left - 1;

    t->at += bytes;
    t->left -= bytes;
}

static void put_place(struct text *t, const struct check *k, const struct places *places, uint32_t pc)
{
    struct place_name name;

    if (!places || !places_name(places, HW_IMAGE_BASE + pc, &name)) {
        put(t, "%s", native_function_name(k->machine->image, HW_IMAGE_BASE + pc));
        return;
    }
    const struct place_frame *in = &name.frames[0];

    put(t, "%s", name.text);
    if (name.frame_count && in->line)
        put(t, " (line %u)", in->line);
}

static void put_stack(struct text *t, const struct check *k, uint32_t stack)
{
    for (uint32_t depth = 0; stack; stack = k->stacks.frames[stack].parent, depth++) {
        if (depth == STACK_SHOWN) {
            put(t, " < ...");
            break;
        }
        put(t, "%s%s", depth ? " < " : "",
            native_function_name(k->machine->image, HW_IMAGE_BASE + k->stacks.frames[stack].pc));
    }
}

static const char *access_words(unsigned access)
{
    static const char *const words[2][4] = {{"access", "read", "write", "read and write"},
                                            {"fence", "atomic read", "atomic write", "locked operation"}};

    return words[(access & PLACE_ATOMIC) != 0][access & 3];
}

static void put_site(struct text *t, const struct check *k, const struct places *places,
                     const struct check_site *s)
{
    if (s->access)
        put(t, "%s of %u byte%s at ", access_words(s->access), s->bytes, s->bytes == 1 ? "" : "s");
    if (s->pc)
        put_place(t, k, places, s->pc);
    put(t, " by thread %u (cpu%u, cycle %" PRIu64, s->thread, s->cpu, s->ticks / TICKS_PER_CYCLE);
    if (s->stack) {
        put(t, "; ");
        put_stack(t, k, s->stack);
    }
    put(t, ")");
}

static void describe(const struct check *k, const struct places *places, const struct check_report *r,
                     char *text, size_t size)
{
    struct text t = {text, size};

    *text = 0;
    for (const char *p = r->about; *p; p++) {
        if (*p == '%' && (p[1] == '1' || p[1] == '2'))
            put_site(&t, k, places, &r->site[*++p - '1']);
        else
            put(&t, "%c", *p);
    }
}

void check_reports_write(struct check *k)
{
    struct trace *trace = k->machine->trace;
    struct places *places;
    char error[300], detail[3000];

    if (!trace || !k->reports.count)
        return;
    places = places_open(k->machine->image, error, sizeof error);
    for (uint32_t i = 0; i < k->reports.count; i++) {
        const struct check_report *r = &k->reports.rows[i];

        describe(k, places, r, detail, sizeof detail);
        trace_violation(trace, &(struct trace_violation){
                                   .where = {r->site[0].cpu, TRACE_NOBODY, TRACE_NOBODY, 0, 0},
                                   .thread = r->site[0].thread,
                                   .other_thread = r->site[1].thread ? r->site[1].thread : TRACE_NO_THREAD,
                                   .kind = trace_text(trace, r->kind),
                                   .detail = trace_text(trace, detail),
                                   .address = r->address,
                                   .tick = r->site[0].ticks});
    }
    places_close(places);
}
