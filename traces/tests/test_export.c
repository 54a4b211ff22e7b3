// SPDX-License-Identifier: Apache-2.0
/* Queries that only read, one run's scope, CSV, JSON, folded stacks, the summary of exits. */
#include "traces/tests/fixture.h"

#include "spec/exit_reasons.h"

#include <stdio.h>
#include <string.h>

struct collected {
    char text[8192];
    size_t used;
    int pieces, stop_after; // 0: never
};

static bool collect(void *context, const char *text, size_t size)
{
    struct collected *all = context;

    if (size > sizeof all->text - 1 - all->used)
        size = sizeof all->text - 1 - all->used;
    memcpy(all->text + all->used, text, size);
    all->used += size;
    all->text[all->used] = 0;
    return ++all->pieces != all->stop_after;
}

static struct trace *an_empty_run(void)
{
    struct trace *t = fixture_begin("");

    fixture_end(t, 1600);
    return t;
}

static const struct {
    const char *query, *csv, *json;
} exported[] = {
    {"SELECT 1 AS a, 'x' AS b", "a,b\r\n1,x\r\n", "[\n{\"a\":1,\"b\":\"x\"}\n]\n"},
    {"SELECT 1 AS a WHERE 0", "a\r\n", "[\n]\n"},
    {"SELECT NULL AS a, '' AS b", "a,b\r\n,\"\"\r\n", "[\n{\"a\":null,\"b\":\"\"}\n]\n"},
    {"SELECT 'a,b' AS c", "c\r\n\"a,b\"\r\n", "[\n{\"c\":\"a,b\"}\n]\n"},
    {"SELECT 'say \"no\"' AS \"the \"\"word\"\"\"", "\"the \"\"word\"\"\"\r\n\"say \"\"no\"\"\"\r\n",
     "[\n{\"the \\\"word\\\"\":\"say \\\"no\\\"\"}\n]\n"},
    {"SELECT 'two' || char(10) || 'lines' || char(13) AS a", "a\r\n\"two\nlines\r\"\r\n",
     "[\n{\"a\":\"two\\u000alines\\u000d\"}\n]\n"},
    {"SELECT 'back\\slash' AS a", "a\r\nback\\slash\r\n", "[\n{\"a\":\"back\\\\slash\"}\n]\n"},
    {"SELECT 0.5 AS a, -9223372036854775807 - 1 AS b", "a,b\r\n0.5,-9223372036854775808\r\n",
     "[\n{\"a\":0.5,\"b\":-9223372036854775808}\n]\n"},
    {"SELECT 9e999 AS a", "a\r\nInf\r\n", "[\n{\"a\":null}\n]\n"},
    {"SELECT 'gr\xc3\xbc\xc3\x9f' AS a", "a\r\ngr\xc3\xbc\xc3\x9f\r\n",
     "[\n{\"a\":\"gr\xc3\xbc\xc3\x9f\"}\n]\n"},
    {"SELECT 1 AS a UNION SELECT 2", "a\r\n1\r\n2\r\n", "[\n{\"a\":1},\n{\"a\":2}\n]\n"},
    {"counters", "run,name,value\r\n", "[\n]\n"},
};

TEST(Export, CsvAndJson)
{
    struct trace *t = an_empty_run();
    struct trace_error error;
    struct trace_reader *reader = trace_reader_of(t, &error);

    for (size_t i = 0; i < sizeof exported / sizeof exported[0]; i++) {
        struct collected csv = {.used = 0}, json = {.used = 0};

        test_row("%s", exported[i].query);
        EXPECT_EQ(trace_export(reader, exported[i].query, TRACE_CSV, collect, &csv, &error), TRACE_OK);
        EXPECT_STREQ(csv.text, exported[i].csv);
        EXPECT_EQ(trace_export(reader, exported[i].query, TRACE_JSON, collect, &json, &error), TRACE_OK);
        EXPECT_STREQ(json.text, exported[i].json);
    }
    trace_reader_close(reader);
    trace_close(t, NULL);
}

TEST(Export, StopsWhenTold)
{
    struct trace *t = an_empty_run();
    struct trace_error error;
    struct trace_reader *reader = trace_reader_of(t, &error);
    struct collected csv = {.stop_after = 1};

    EXPECT_EQ(trace_export(reader,
                           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
                           TRACE_CSV, collect, &csv, &error),
              TRACE_OK);
    EXPECT_EQ(csv.pieces, 1);
    trace_reader_close(reader);
    trace_close(t, NULL);
}

static const struct {
    const char *sql, *words;
} refused[] = {
    {"DELETE FROM runs", "not a query"},
    {"UPDATE runs SET verdict = 'pass'", "not a query"},
    {"DROP TABLE runs", "not a query"},
    {"SELECT 1; SELECT 2", "more than one statement"},
    {"SELECT 1; DELETE FROM runs", "more than one statement"},
    {"", "no statement"},
    {"-- only a comment", "no statement"},
    {"SELECT nowhere FROM exits", "no such column: nowhere"},
    {"SELECT 1 FROM nowhere", "no such table: nowhere"},
    {"SELEC 1", "syntax error"},
    {"SELECT json('{')", "malformed JSON"},
    {"SELECT abs(-9223372036854775807 - 1)", "integer overflow"},
};

TEST(Query, OnlyReads)
{
    struct trace *t = an_empty_run();
    struct trace_error error;
    struct trace_reader *reader = trace_reader_of(t, &error);

    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct trace_value value;
        char text[64];

        test_row("%s", refused[i].sql);
        EXPECT_EQ(trace_query_value(reader, refused[i].sql, &value, text, sizeof text, &error),
                  TRACE_BAD_QUERY);
        EXPECT_STRSTR(error.message, refused[i].words);
        EXPECT_STRSTR(error.hint, "docs/trace-schema.md");
    }
    EXPECT_STREQ(fixture_read(reader, "SELECT count(*), max(verdict) FROM runs"), "1|-\n");
    trace_reader_close(reader);
    trace_close(t, NULL);
}

TEST(Query, ValueIsTheOnlyOne)
{
    struct trace *t = an_empty_run();
    struct trace_error error;
    struct trace_reader *reader = trace_reader_of(t, &error);
    struct trace_value value;
    char text[8];

    EXPECT_EQ(trace_query_value(reader, "SELECT 42;", &value, text, sizeof text, &error), TRACE_OK);
    EXPECT_EQ(value.type, TRACE_VALUE_INTEGER);
    EXPECT_EQ(value.integer, 42);
    EXPECT_TRUE(value.real == 42.0);
    EXPECT_STREQ(value.text, "42");
    EXPECT_EQ(trace_query_value(reader, "SELECT 0.25", &value, text, sizeof text, &error), TRACE_OK);
    EXPECT_EQ(value.type, TRACE_VALUE_REAL);
    EXPECT_TRUE(value.real == 0.25);
    EXPECT_EQ(trace_query_value(reader, "SELECT 'longer than eight'", &value, text, sizeof text, &error),
              TRACE_OK);
    EXPECT_STREQ(value.text, "longer ");
    EXPECT_EQ(trace_query_value(reader, "SELECT max(cycles) FROM spans", &value, text, sizeof text, &error),
              TRACE_OK);
    EXPECT_EQ(value.type, TRACE_VALUE_NULL);
    EXPECT_EQ(trace_query_value(reader, "SELECT run FROM spans", &value, text, sizeof text, &error),
              TRACE_BAD_QUERY);
    EXPECT_STRSTR(error.message, "no row");
    EXPECT_EQ(trace_query_value(reader, "SELECT 1 UNION SELECT 2", &value, text, sizeof text, &error),
              TRACE_BAD_QUERY);
    EXPECT_STRSTR(error.message, "more than one row");
    trace_reader_close(reader);
    trace_close(t, NULL);
}

// Three runs of different size; an expectation sees one of them in every table and view.
TEST(Query, ScopeIsOneRun)
{
    static const char *const tables[] = {"runs", "exits", "events", "spans",      "call_chunks", "functions",
                                         "irqs", "walks", "locks",  "walk_steps", "calls"};
    const char *path = fixture_path("a.db");
    struct trace *t = fixture_begin(path);
    struct trace_error error;
    int64_t run;

    for (uint32_t i = 1; i <= 3; i++) {
        fixture_mix(t, 100 * i);
        if (i < 3)
            trace_run_begin(t, &fixture_run, &run, &error);
    }
    for (int own = 0; own < 2; own++) {
        struct trace_reader *reader = own ? trace_reader_open(path, &error) : trace_reader_of(t, &error);

        ASSERT_TRUE(reader != NULL);
        EXPECT_EQ(trace_reader_last_run(reader), 3);
        EXPECT_EQ(trace_reader_scope(reader, 2, &error), TRACE_OK);
        for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
            char sql[128];

            test_row("%s, connection %d", tables[i], own);
            snprintf(sql, sizeof sql, "SELECT min(run), max(run), count(*) > 0 FROM %s", tables[i]);
            EXPECT_STREQ(fixture_read(reader, sql), "2|2|1\n");
        }
        EXPECT_STREQ(fixture_read(reader, "SELECT count(*) FROM exits"), "200\n");
        EXPECT_EQ(trace_reader_last_run(reader), 3);
        // The run's verdict can be written while an expectation's reader is open.
        if (!own) {
            EXPECT_EQ(trace_run_verdict(t, 2, "pass", &error), TRACE_OK);
        }
        EXPECT_STREQ(fixture_read(reader, "SELECT verdict FROM runs"), "pass\n");
        EXPECT_EQ(trace_reader_scope(reader, 3, &error), TRACE_OK);
        EXPECT_STREQ(fixture_read(reader, "SELECT count(*) FROM exits"), "300\n");
        EXPECT_EQ(trace_reader_scope(reader, 0, &error), TRACE_OK);
        EXPECT_STREQ(fixture_read(reader, "SELECT count(*) FROM exits"), "600\n");
        trace_reader_close(reader);
        if (!own)
            trace_close(t, NULL);
    }
}

static void flame(struct trace *t)
{
    uint32_t a = trace_text(t, "a"), b = trace_text(t, "b"), c = trace_text(t, "c");

    for (uint32_t thread = 1; thread <= 2; thread++) {
        trace_switch(t, 0, TRACE_NO_THREAD, thread, 0);
        for (uint64_t i = 0; i < 3; i++) {
            trace_call_begin(t, thread, a, (i * 100 + 10) * 16);
            trace_call_begin(t, thread, b, (i * 100 + 20) * 16);
            trace_call_begin(t, thread, c, (i * 100 + 25) * 16);
            trace_call_end(t, thread, (i * 100 + 32) * 16);
            trace_call_end(t, thread, (i * 100 + 40) * 16);
            trace_call_begin(t, thread, c, (i * 100 + 50) * 16);
            trace_call_end(t, thread, (i * 100 + 51) * 16);
            trace_call_end(t, thread, (i * 100 + 60) * 16);
        }
        trace_switch(t, 0, thread, TRACE_NO_THREAD, 400 * 16);
    }
    fixture_end(t, 500 * 16);
}

TEST(Export, FoldedStacks)
{
    struct trace *t = fixture_begin("");
    struct trace_error error;

    flame(t);
    struct trace_reader *reader = trace_reader_of(t, &error);
    struct collected all = {.used = 0}, threads = {.used = 0};

    EXPECT_EQ(trace_export_folded(reader, 1, false, collect, &all, &error), TRACE_OK);
    EXPECT_STREQ(all.text, "a 174\na;b 78\na;b;c 42\na;c 6\n");
    EXPECT_EQ(trace_export_folded(reader, 0, true, collect, &threads, &error), TRACE_OK);
    EXPECT_STREQ(threads.text, "thread 1;a 87\nthread 1;a;b 39\nthread 1;a;b;c 21\nthread 1;a;c 3\n"
                               "thread 2;a 87\nthread 2;a;b 39\nthread 2;a;b;c 21\nthread 2;a;c 3\n");
    struct collected none = {.used = 0};

    EXPECT_EQ(trace_export_folded(reader, 2, false, collect, &none, &error), TRACE_OK);
    EXPECT_STREQ(none.text, "");
    trace_reader_close(reader);
    trace_close(t, NULL);
}

static bool collect_summary(void *context, const struct trace_exit_row *row)
{
    char line[512];
    int size = snprintf(line, sizeof line,
                        "%s n=%lu unfinished=%lu median=%lu p99=%lu min=%lu max=%lu total=%lu hw=%lu+%lu "
                        "hv=%lu device=%lu wait=%lu "
                        "other=%lu guest=%lu recorded=%lu: %lu ns, median %lu ns against %lu, median %lu\n",
                        row->reason, row->count, row->unfinished, row->median_cycles, row->p99_cycles,
                        row->min_cycles, row->max_cycles, row->total_cycles, row->hw_exit_cycles,
                        row->hw_entry_cycles, row->hv_cycles, row->device_cycles, row->wait_cycles,
                        row->other_cycles, row->guest_cycles, row->recorded_count, row->recorded_total_ns,
                        row->recorded_median_ns, row->recorded_sim_cycles, row->recorded_sim_median_cycles);

    return collect(context, line, (size_t)size);
}

// Percentiles by nearest rank: of 1..200 the median is 100, the 99th percentile 198.
TEST(Summary, OfExitsByReason)
{
    struct trace *t = fixture_begin("");
    struct collected got = {.used = 0};

    for (uint64_t i = 1; i <= 200; i++) {
        struct trace_exit e = {.where = {.level = 1 + i % 2},
                               .seq = trace_exit_begin(t, 1, 0),
                               .reason = EXIT_REASON_HLT,
                               .arch = TRACE_ARCH_X86,
                               .guest_ticks = 160,
                               .hw_exit_ticks = 16,
                               .wait_ticks = (i * 7 % 200) * 16,
                               .entry_tick = (1 + i * 7 % 200) * 16,
                               .recorded_ns = i <= 3 ? (int64_t)(1000 * i) : TRACE_NOT_RECORDED};
        trace_exit(t, &e);
    }
    struct trace_exit cpuid = {.where = {.level = 1},
                               .seq = trace_exit_begin(t, 1, 0),
                               .reason = EXIT_REASON_CPUID,
                               .arch = TRACE_ARCH_X86,
                               .entry_tick = 5 * 16,
                               .hv_ticks = 3 * 16,
                               .device_ticks = 16,
                               .recorded_ns = TRACE_NOT_RECORDED};

    trace_exit(t, &cpuid);
    cpuid.entry_tick = TRACE_NEVER;
    cpuid.device_ticks = 0;
    trace_exit(t, &cpuid);
    fixture_end(t, 16000);
    trace_exit_summary(t, collect_summary, &got);
    EXPECT_STREQ(
        got.text,
        "HLT n=200 unfinished=0 median=100 p99=198 min=1 max=200 total=20100 hw=200+0 hv=0 device=0 "
        "wait=19900 other=0 "
        "guest=2000 recorded=3: 6000 ns, median 2000 ns against 45, median 15\n"
        "CPUID n=2 unfinished=1 median=5 p99=5 min=5 max=5 total=5 hw=0+0 hv=3 device=1 wait=0 other=1 "
        "guest=0 recorded=0: 0 ns, median 0 ns against 0, median 0\n");
    struct collected first = {.stop_after = 1};

    trace_exit_summary(t, collect_summary, &first);
    EXPECT_STRSTR(first.text, "HLT n=200 ");
    EXPECT_EQ(first.pieces, 1);
    trace_close(t, NULL);
}
