// SPDX-License-Identifier: Apache-2.0
// hvsim export: tables, views and queries of a database as CSV or JSON, and call stacks as folded lines.
#include "tools/hvsim/command.h"
#include "traces/export.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_CSV, OPT_JSON, OPT_FOLDED, OPT_TABLE, OPT_SQL, OPT_RUN, OPT_THREADS };
static const struct option_row options[] = {
    [OPT_CSV] = {"--csv", NULL, "comma-separated values, RFC 4180 (default)"},
    [OPT_JSON] = {"--json", NULL, "an array of one object per row"},
    [OPT_FOLDED] = {"--folded", NULL,
                    "hypervisor call stacks with cycles, one a line, for flame graph tools"},
    [OPT_TABLE] = {"--table", "NAME", "which table or view (default exits)"},
    [OPT_SQL] = {"--sql", "QUERY", "rows of a query instead of a table"},
    [OPT_RUN] = {"--run", "N", "only this run of the database (default: the last)"},
    [OPT_THREADS] = {"--threads", NULL, "with --folded: the thread as outermost frame"},
};
static const struct usage usage = {
    .synopsis = "export DB [options]",
    .about = "Prints what a run recorded. docs/trace-schema.md describes tables and columns.",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  hvsim export q.db --csv > exits.csv\n"
                "  hvsim export q.db --json --table events\n"
                "  hvsim export q.db --folded | flamegraph.pl > q.svg\n"};

static bool print_text(void *ctx, const char *text, size_t size)
{
    (void)ctx;
    return fwrite(text, 1, size, stdout) == size;
}

struct arguments {
    const char *db, *what;
    enum trace_format format;
    bool folded, threads;
    long long run;
};

static bool has_run(struct trace_reader *r, int64_t run)
{
    struct trace_value value;
    struct trace_error error;
    char sql[80], text[40];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM runs WHERE run = %lld", (long long)run);
    return trace_query_value(r, sql, &value, text, sizeof text, &error) == TRACE_OK && value.integer > 0;
}

static int export(const struct arguments *a)
{
    struct trace_error error;
    struct trace_reader *r = trace_reader_open(a->db, &error);

    if (!r)
        return complain("%s; %s", error.message, error.hint);
    int64_t run = a->run ? a->run : trace_reader_last_run(r);
    if (!has_run(r, run)) {
        trace_reader_close(r);
        return complain("%s: has no run %lld; `hvsim run SCENARIO --db %s` adds one", a->db, (long long)run,
                        a->db);
    }
    enum trace_status status = trace_reader_scope(r, run, &error);

    if (status == TRACE_OK && a->folded)
        status = trace_export_folded(r, run, a->threads, print_text, NULL, &error);
    else if (status == TRACE_OK)
        status = trace_export(r, a->what, a->format, print_text, NULL, &error);
    trace_reader_close(r);
    if (fflush(stdout) || ferror(stdout))
        return STATUS_USAGE; // Told at the end of every verb.
    return status == TRACE_OK ? STATUS_OK : complain("%s; %s", error.message, error.hint);
}

static int take_option(void *ctx, int option, const char *value)
{
    struct arguments *a = ctx;
    char *end;

    switch (option) {
    case OPTION_WORD:
        if (a->db)
            return complain("export: one database at a time");
        a->db = value;
        return 0;
    case OPT_CSV:
        a->format = TRACE_CSV;
        return 0;
    case OPT_JSON:
        a->format = TRACE_JSON;
        return 0;
    case OPT_FOLDED:
        a->folded = true;
        return 0;
    case OPT_THREADS:
        a->threads = true;
        return 0;
    case OPT_RUN:
        a->run = strtoll(value, &end, 10);
        return *end || a->run <= 0 ? complain("--run wants a number from 1, got `%s`", value) : 0;
    default:
        a->what = value;
        return 0;
    }
}

int export_main(int argc, char **argv)
{
    struct arguments a = {.what = "exits"};
    int status;

    if (!usage_take(&usage, argc, argv, take_option, &a, &status))
        return status;
    if (!a.db)
        return complain("export: name a database; `hvsim run` makes one");
    return export(&a);
}
