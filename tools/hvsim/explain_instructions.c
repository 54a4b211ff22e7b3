// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/explain_instructions.h"

#include "tools/hvsim/command.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool instruction_range(const char *text, struct instruction_range *range)
{
    char *end;

    *range = (struct instruction_range){1, UINT32_MAX};
    if (!text)
        return true;
    range->first = range->last = strtoll(text, &end, 10);
    if (strncmp(end, "..", 2) == 0 && !end[2])
        range->last = UINT32_MAX;
    else if (strncmp(end, "..", 2) == 0)
        range->last = strtoll(end + 2, &end, 10);
    else if (*end)
        return false;
    return range->first > 0 && range->last >= range->first && (*end == 0 || end[2] == 0);
}

struct listing {
    uint64_t instructions, cycles, stalls;
};

// is_exit, seq, cycle, pcpu, vcpu, level, rip, text, cycles, stall
static bool print_row(void *ctx, const struct trace_row *row)
{
    const struct trace_value *v = row->values;
    struct listing *l = ctx;
    const char *vcpu = v[4].type == TRACE_VALUE_NULL ? "?" : v[4].text;

    if (v[0].integer) {
        printf("%10s  %12s  %4s  %-18s %7s %6s  exit %s: %s%s\n", "", v[2].text, vcpu, v[6].text, "", "",
               v[1].text, v[7].text, v[5].integer == 2 ? " (L2)" : "");
        return true;
    }
    l->instructions++;
    l->cycles += (uint64_t)v[8].integer;
    l->stalls += (uint64_t)v[9].integer;
    printf("%10s  %12s  %4s  %-18s %7s %6s  %s%s\n", v[1].text, v[2].text, vcpu, v[6].text, v[8].text,
           v[9].integer ? v[9].text : "", v[5].integer == 2 ? "(L2) " : "", v[7].text);
    return true;
}

static int none(struct trace_reader *r, int64_t run, const char *db)
{
    struct trace_error error;
    struct trace_value count;
    char text[40];

    if (trace_query_value(r, "SELECT count(*) FROM instructions", &count, text, sizeof text, &error) !=
        TRACE_OK)
        return complain("%s; %s", error.message, error.hint);
    if (count.integer)
        return complain("run %" PRId64 " of %s has instructions 1 to %s", run, db, text);
    return complain("run %" PRId64
                    " of %s has no instructions; `hvsim run SCENARIO --trace all,instructions` "
                    "stores those of machine-code guests",
                    run, db);
}

int explain_instructions(struct trace_reader *r, int64_t run, const char *db,
                         const struct instruction_range *range)
{
    struct listing l = {0, 0, 0};
    struct trace_error error;
    char sql[1200];

    snprintf(
        sql, sizeof sql,
        "WITH chosen AS MATERIALIZED (SELECT * FROM instructions WHERE seq BETWEEN %" PRId64 " AND %" PRId64
        "), span AS (SELECT min(cycle) AS first, max(cycle + cycles) AS last, "
        "max(seq) + 1 AS next FROM chosen) "
        "SELECT 0 AS is_exit, seq, cycle, pcpu, vcpu, level, rip, text, cycles, stall_cycles FROM chosen "
        "UNION ALL SELECT 1, e.seq, exit_cycle, pcpu, vcpu, level, rip, "
        "reason || coalesce(' of `' || instr || '`', ''), cycles, 0 FROM exits e, span "
        "WHERE exit_cycle BETWEEN first AND coalesce("
        "(SELECT cycle - 1 FROM instructions WHERE seq = next), "
        "(SELECT min(exit_cycle) FROM exits WHERE exit_cycle >= last), last) ORDER BY 3, 4, 1, 2",
        range->first, range->last);
    printf("%10s  %12s  %4s  %-18s %7s %6s  %s\n", "", "cycle", "vCPU", "rip", "cycles", "stall",
           "instruction");
    if (trace_query(r, sql, print_row, &l, &error) != TRACE_OK)
        return complain("%s; %s", error.message, error.hint);
    if (!l.instructions)
        return none(r, run, db);
    printf("%" PRIu64 " instructions in %" PRIu64 " cycles, %" PRIu64
           " of them stalls (caches, translation, wrong predictions).\n",
           l.instructions, l.cycles, l.stalls);
    return STATUS_OK;
}
