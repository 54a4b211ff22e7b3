// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/explain_migration.h"
#include "tools/hvsim/command.h"
#include "traces/export.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BAR = 40 };

static const char *const reasons[] = {
#define MIGRATION_REASON(id, name, about) about,
#include "hv/vmm/migration_reasons.def"
};
enum { REASONS = sizeof reasons / sizeof *reasons };

struct picture {
    struct trace_reader *reader;
    int64_t khz;
    int64_t longest, most; // Cycles and pages of the largest round.
    int64_t migrations;
    struct trace_error error;
    bool failed;
};

// A round's columns, in the order of its query.
enum { ROUND, CYCLES, SENT, BYTES, DIRTIED, THROTTLE, DOWNTIME };

static bool take_number(void *ctx, const struct trace_row *row)
{
    *(int64_t *)ctx = row->values[0].integer;
    return true;
}

// "1.234 ms" of cycles.
static const char *milliseconds(const struct picture *p, int64_t cycles, char *text, size_t size)
{
    int64_t us = p->khz ? cycles * 1000 / p->khz : 0;

    snprintf(text, size, "%" PRId64 ".%03" PRId64 " ms", us / 1000, us % 1000);
    return text;
}

static void bar(int64_t value, int64_t most, char mark)
{
    int64_t length = most ? (value * BAR + most - 1) / most : 0;

    for (int64_t i = 0; i < length; i++)
        putchar(mark);
}

static bool take_round(void *ctx, const struct trace_row *row)
{
    const struct picture *p = ctx;
    const struct trace_value *v = row->values;
    char time[32], downtime[32];

    snprintf(downtime, sizeof downtime, "%" PRId64 ".%03" PRId64 " ms", v[DOWNTIME].integer / 1000000,
             v[DOWNTIME].integer / 1000 % 1000);
    printf("  %5" PRId64 "  %12s  %10" PRId64 "  %9" PRId64 ".%01" PRId64 "  %10" PRId64 "  %12s  %7" PRId64
           " %%\n",
           v[ROUND].integer, milliseconds(p, v[CYCLES].integer, time, sizeof time), v[SENT].integer,
           v[BYTES].integer >> 20, (v[BYTES].integer & 0xfffff) * 10 >> 20, v[DIRTIED].integer, downtime,
           v[THROTTLE].integer);
    printf("         time ");
    bar(v[CYCLES].integer, p->longest, '=');
    printf("\n         sent ");
    bar(v[SENT].integer, p->most, '#');
    printf("\n      dirtied ");
    bar(v[DIRTIED].integer, p->most, '*');
    putchar('\n');
    return true;
}

static bool query(struct picture *p, trace_row_fn *fn, void *ctx, const char *sql)
{
    if (trace_query(p->reader, sql, fn, ctx, &p->error) != TRACE_OK)
        p->failed = true;
    return !p->failed;
}

static void draw_rounds(struct picture *p, int64_t vm, int64_t begin, int64_t end)
{
    char where[160], sql[500];

    snprintf(where, sizeof where,
             "FROM dirty_rounds WHERE vm = %" PRId64 " AND begin_cycle BETWEEN %" PRId64 " AND %" PRId64, vm,
             begin, end);
    snprintf(sql, sizeof sql, "SELECT coalesce(max(cycles), 0) %s", where);
    query(p, take_number, &p->longest, sql);
    snprintf(sql, sizeof sql, "SELECT coalesce(max(max(sent, dirtied)), 0) %s", where);
    query(p, take_number, &p->most, sql);
    if (p->failed || !p->longest)
        return;
    puts("  round          time  pages sent  MiB on wire     dirtied  rest would    throttle");
    puts("                                                              stop for            ");
    snprintf(
        sql, sizeof sql,
        "SELECT round, cycles, sent, bytes, dirtied, throttle_percent, downtime_ns %s ORDER BY begin_cycle",
        where);
    query(p, take_round, p, sql);
}

static void draw_requests(struct picture *p, int64_t vm, int64_t begin, int64_t end)
{
    int64_t requests = 0;
    char sql[300];

    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM events WHERE kind = 'migration_request' AND a0 = %" PRId64
             " AND cycle BETWEEN %" PRId64 " AND %" PRId64,
             vm, begin, end);
    query(p, take_number, &requests, sql);
    if (requests)
        printf("  the guest waited for %" PRId64 " pages that had not come yet (post-copy)\n", requests);
}

static bool take_migration(void *ctx, const struct trace_row *row)
{
    struct picture *p = ctx;
    const struct trace_value *v = row->values;
    int64_t reason = v[5].integer;
    char time[32];

    p->migrations++;
    printf("Migration of VM %" PRId64 ", from cycle %" PRId64 " to %" PRId64 " (%s): %s.\n", v[0].integer,
           v[1].integer, v[4].integer, milliseconds(p, v[4].integer - v[1].integer, time, sizeof time),
           reason >= 0 && reason < REASONS ? reasons[reason] : "unknown end");
    draw_rounds(p, v[0].integer, v[1].integer, v[4].integer);
    draw_requests(p, v[0].integer, v[1].integer, v[4].integer);
    if (v[2].type != TRACE_VALUE_NULL && v[3].type != TRACE_VALUE_NULL) {
        printf("  the guest stood still for %s |",
               milliseconds(p, v[3].integer - v[2].integer, time, sizeof time));
        bar(v[3].integer - v[2].integer,
            p->longest > v[3].integer - v[2].integer ? p->longest : v[3].integer - v[2].integer, '=');
        puts("|");
    }
    putchar('\n');
    return !p->failed;
}

int explain_migration(const char *db, int64_t run)
{
    struct picture p = {0};

    p.reader = trace_reader_open(db, &p.error);
    if (!p.reader)
        return complain("%s; %s", p.error.message, p.error.hint);
    run = run ? run : trace_reader_last_run(p.reader);
    p.failed = trace_reader_scope(p.reader, run, &p.error) != TRACE_OK;
    if (!p.failed && query(&p, take_number, &p.khz, "SELECT clock_khz FROM runs"))
        query(&p, take_migration, &p,
              "SELECT vm, begin_cycle, stop_cycle, running_cycle, end_cycle, reason FROM migrations ORDER BY "
              "begin_cycle");
    trace_reader_close(p.reader);
    if (p.failed)
        return complain("%s; %s", p.error.message, p.error.hint);
    if (!p.migrations)
        return complain("run %" PRId64 " of %s has no migration; its scenario needs the action `migrate`",
                        run, db);
    return STATUS_OK;
}
