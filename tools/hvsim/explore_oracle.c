// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/explore_oracle.h"

#include "models/cpu/x86/trace_port.h"
#include "sim/explore/explore.h"
#include "sim/rewind/rewind.h"
#include "tools/hvsim/report.h"
#include "traces/interest.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERDICTS (1u << 15) // Of the hash table, half of which may be full
#define REASONS 64u

// By what the queries see of an execution.
struct verdict {
    struct trace_digest seen; // Zeros: free
    uint32_t reason;          // Number + 1; 0: it is fine.
};

struct oracle {
    const struct scenario *scenario;
    const struct scenario_variant *variant;
    struct trace_interest *interest;
    bool at_end; // What is recorded at the end (counters, exits that were never left) counts.
    struct verdict verdicts[VERDICTS];
    uint32_t verdict_count, reason_count;
    char reasons[REASONS][EXPLORE_REASON_BYTES];
    char reason[EXPLORE_REASON_BYTES]; // Of one that is not kept
};

struct oracle *oracle_create(const struct scenario *s, const struct scenario_variant *variant)
{
    struct oracle *o = rewind_alloc(sizeof *o);

    o->scenario = s;
    o->variant = variant;
    o->interest = trace_interest_create();
    for (uint32_t i = 0; i < s->expect_count; i++)
        if (s->expects[i].sql && report_applies(s, &s->expects[i], variant))
            trace_interest_add(o->interest, s->expects[i].sql);
    o->at_end = trace_interest_stored(o->interest) & (TRACE_COUNTERS | TRACE_EXITS);
    return o;
}

void oracle_destroy(struct oracle *o)
{
    trace_interest_free(o->interest);
}

uint32_t oracle_stored(const struct oracle *o)
{
    return trace_interest_stored(o->interest);
}

void oracle_before_photograph(struct oracle *o, struct trace *trace)
{
    trace_hold(trace, o->interest);
}

// --- Asking the database. ---

static bool first_violation(void *ctx, const struct trace_row *row)
{
    snprintf(ctx, EXPLORE_REASON_BYTES, "violation: %s (%s)", row->values[0].text ? row->values[0].text : "",
             row->values[1].text ? row->values[1].text : "");
    return false;
}

static void ask(const struct oracle *o, struct trace_reader *r, char *reason)
{
    struct trace_error error;
    struct user_error e;

    trace_query(r, "SELECT kind, detail FROM violations ORDER BY cycle LIMIT 1", first_violation, reason,
                &error);
    for (uint32_t i = 0; !*reason && i < o->scenario->expect_count; i++) {
        const struct scenario_expect *x = &o->scenario->expects[i];
        struct judged j;

        if (!report_applies(o->scenario, x, o->variant))
            continue;
        if (report_judge(r, o->scenario, x, &j, &e))
            snprintf(reason, EXPLORE_REASON_BYTES, "%.390s", e.text);
        else if (!j.pass)
            snprintf(reason, EXPLORE_REASON_BYTES, "expected: %.200s", x->about);
    }
}

static void judge(const struct oracle *o, struct trace *trace, enum machine_end end, char *reason)
{
    struct trace_error error;
    struct trace_reader *r = NULL;

    *reason = 0;
    // No scope: the private database has this one run.
    if (trace_flush(trace, &error) != TRACE_OK || !(r = trace_reader_of(trace, &error)))
        snprintf(reason, EXPLORE_REASON_BYTES, "trace: %s", error.message);
    else
        ask(o, r, reason);
    if (!*reason && end == MACHINE_IDLE)
        snprintf(reason, EXPLORE_REASON_BYTES,
                 "nothing can ever happen again although guests are not done: a lost wake-up or deadlock");
    // The reader is not closed: the restart forgets it, at no cost.
}

// --- Executions that look the same. ---

static struct verdict *find(struct oracle *o, const struct trace_digest *seen)
{
    for (uint64_t i = seen->lo;; i++) {
        struct verdict *v = &o->verdicts[i % VERDICTS];

        if ((!v->seen.lo && !v->seen.hi) || (v->seen.lo == seen->lo && v->seen.hi == seen->hi))
            return v;
    }
}

static const char *reason_of(const struct oracle *o, const struct verdict *v)
{
    return v->reason ? o->reasons[v->reason - 1] : NULL;
}

static void keep(struct oracle *o, struct verdict *v, const struct trace_digest *seen, const char *reason)
{
    uint32_t i = 0;

    while (*reason && i < o->reason_count && strcmp(o->reasons[i], reason) != 0)
        i++;
    if (o->verdict_count == VERDICTS / 2 || i == REASONS)
        return;
    if (*reason && i == o->reason_count)
        memcpy(o->reasons[o->reason_count++], reason, EXPLORE_REASON_BYTES);
    o->verdict_count++;
    *v = (struct verdict){*seen, *reason ? i + 1 : 0};
}

const char *oracle_judge(struct oracle *o, struct sim_machine *m, struct trace *trace, enum machine_end end)
{
    struct trace_digest seen;
    struct verdict *v = NULL;

    if (o->at_end)
        trace_port_end((struct machine *)(uintptr_t)machine_hardware(m));
    if (trace_held_hash(trace, &seen)) {
        seen.lo ^= (end + 1ull) * 0x9e3779b97f4a7c15ull;
        v = find(o, &seen);
        if (v->seen.lo || v->seen.hi)
            return reason_of(o, v);
    }
    judge(o, trace, end, o->reason);
    if (v)
        keep(o, v, &seen, o->reason);
    return *o->reason ? o->reason : NULL;
}
