// SPDX-License-Identifier: Apache-2.0
/* At most 48 bytes a row, over a mix of everything and for the rows that SQL sees alone. */
#include "traces/tests/fixture.h"

#include "traces/bench/mix.h"

#include <stdio.h>

enum { BYTES_PER_ROW_MAX = 48, EXITS = 30000 };

static long long number(const char *path, const char *sql)
{
    long long value = -1;

    sscanf(fixture_plain(path, sql), "%lld", &value);
    return value;
}

static const char *size_path(void)
{
    const char *path = fixture_path("a.db");
    struct trace *t = fixture_begin(path);

    fixture_mix(t, EXITS);
    trace_close(t, NULL);
    return path;
}

TEST(Size, RowsAreSmall)
{
    const char *path = size_path();
    long long bytes = number(path, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size");
    long long rows = number(
        path,
        "SELECT (SELECT count(*) FROM exits) + (SELECT count(*) FROM events WHERE kind <> 'kvm_exit') + "
        "(SELECT count(*) FROM spans) + (SELECT count(*) FROM irqs) + (SELECT count(*) FROM walks) + "
        "(SELECT count(*) FROM walk_steps) + (SELECT count(*) FROM locks)");
    long long calls = number(path, "SELECT sum(calls) FROM functions");

    EXPECT_GT(rows, 6 * EXITS);
    EXPECT_EQ(calls, (long long)EXITS * MIX_CALLS);
    printf("[   SIZE   ] %lld bytes, %lld rows, %lld calls: %lld bytes a row\n", bytes, rows, calls,
           bytes / (rows + calls));
    EXPECT_LE(bytes, BYTES_PER_ROW_MAX * (rows + calls));
}

// dbstat tells the bytes of each table's pages. Tables of few rows are dominated by their last page; these
// are not.
TEST(Size, RowsOfEachTableAreSmall)
{
    static const struct {
        const char *table;
        long long max; // bytes a row
    } tables[] = {{"exits_data", 48}, {"events_data", 48}, {"spans_data", 48},     {"irqs_data", 48},
                  {"locks_data", 48}, {"walks_data", 48},  {"walk_steps_data", 48}};
    const char *path = size_path();
    long long all_bytes = 0, all_rows = 0;

    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        char sql[128];

        test_row("%s", tables[i].table);
        snprintf(sql, sizeof sql, "SELECT sum(pgsize) FROM dbstat WHERE name = '%s'", tables[i].table);
        long long bytes = number(path, sql);

        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", tables[i].table);
        long long rows = number(path, sql);

        all_bytes += bytes;
        all_rows += rows;
        printf("[   SIZE   ] %-16s %7lld rows, %lld bytes a row\n", tables[i].table, rows, bytes / rows);
        EXPECT_LE(bytes, tables[i].max * rows);
    }
    test_row("rows without calls");
    EXPECT_LE(all_bytes, BYTES_PER_ROW_MAX * all_rows);
}

TEST(Size, CallsTakeAFewBytesEach)
{
    const char *path = size_path();
    long long bytes = number(path, "SELECT sum(pgsize) FROM dbstat WHERE name = 'call_chunks'");

    printf("[   SIZE   ] calls: %.1f bytes each\n", (double)bytes / (EXITS * MIX_CALLS));
    EXPECT_LE(bytes, 8ll * EXITS * MIX_CALLS);
}
