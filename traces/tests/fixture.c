// SPDX-License-Identifier: Apache-2.0
#include "traces/tests/fixture.h"

#include "traces/bench/mix.h"

#include <sqlite3.h>
#include <stdio.h>

const struct trace_run_info fixture_run = {
    .scenario = "a test", .seed = 7, .uarch = "skylake-sp", .hv_build_id = "0123abcd", .clock_khz = 2100000};

const char *fixture_path(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", test_tmpdir(), name);
    return path;
}

struct trace *fixture_begin(const char *path)
{
    struct trace_options options = trace_options_defaults(path);
    struct trace_error error;
    int64_t run;

    options.store = TRACE_EVERY;
    struct trace *t = trace_open(&options, &error);

    if (!t) {
        TEST_FAIL("%s: %s", error.message, error.hint);
        return NULL;
    }
    EXPECT_EQ(trace_run_begin(t, &fixture_run, &run, &error), TRACE_OK);
    return t;
}

struct trace_digest fixture_end(struct trace *t, uint64_t tick)
{
    struct trace_digest digest = {0, 0};
    struct trace_error error;

    if (trace_run_end(t, TRACE_COMPLETE, tick, &digest, &error) != TRACE_OK)
        TEST_FAIL("%s", error.message);
    return digest;
}

struct fixture_text {
    char text[16384];
    size_t used;
};

static void fixture_add(struct fixture_text *out, const char *text)
{
    out->used += (size_t)snprintf(out->text + out->used, sizeof out->text - out->used, "%s", text);
    if (out->used >= sizeof out->text)
        out->used = sizeof out->text - 1;
}

static bool fixture_row(void *context, const struct trace_row *row)
{
    for (int i = 0; i < row->columns; i++) {
        fixture_add(context, i ? "|" : "");
        fixture_add(context, row->values[i].type == TRACE_VALUE_NULL ? "-" : row->values[i].text);
    }
    fixture_add(context, "\n");
    return true;
}

const char *fixture_read(struct trace_reader *reader, const char *sql)
{
    static struct fixture_text out;
    struct trace_error error;

    out.used = 0;
    out.text[0] = 0;
    if (trace_query(reader, sql, fixture_row, &out, &error) != TRACE_OK) {
        out.used = 0;
        fixture_add(&out, "error: ");
        fixture_add(&out, error.message);
    }
    return out.text;
}

const char *fixture_query(struct trace *t, const char *sql)
{
    struct trace_error error;
    struct trace_reader *reader = trace_reader_of(t, &error);
    const char *text = reader ? fixture_read(reader, sql) : "error: no reader";

    trace_reader_close(reader);
    return text;
}

const char *fixture_plain(const char *path, const char *sql)
{
    static struct fixture_text out;
    sqlite3_stmt *statement = NULL;
    sqlite3 *db = NULL;

    out.used = 0;
    out.text[0] = 0;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK) {
        fixture_add(&out, "error: ");
        fixture_add(&out, sqlite3_errmsg(db));
    }
    while (statement && sqlite3_step(statement) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            const char *text = (const char *)sqlite3_column_text(statement, i);

            fixture_add(&out, i ? "|" : "");
            fixture_add(&out, text ? text : "-");
        }
        fixture_add(&out, "\n");
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return out.text;
}

struct trace_digest fixture_mix(struct trace *t, uint32_t exits)
{
    struct mix mix;

    mix_init(&mix, t);
    for (uint32_t i = 0; i < exits; i++)
        mix_exit(&mix);
    return fixture_end(t, mix.tick);
}
