// SPDX-License-Identifier: Apache-2.0
/* docs/trace-schema.md lists exactly the tables, views and columns of schema.sql, and each column of
 * schema.sql says what it is. */
#include "traces/tests/fixture.h"

#include "traces/kinds.h"
#include "traces/open.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_source(const char *name)
{
    static char text[1 << 17];
    char path[1024];

    snprintf(path, sizeof path, "%s/%s", test_source_dir(), name);
    FILE *file = fopen(path, "r");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;

    if (!file)
        TEST_FAIL("cannot read %s", path);
    else
        fclose(file);
    text[size] = 0;
    return text;
}

// The comment behind `name` in the statement that creates `table`: "" if there is none.
static bool has_comment(const char *table, const char *column)
{
    char create[96], needle[96];

    for (int view = 0; view < 2; view++) {
        snprintf(create, sizeof create, "CREATE %s %s %s", view ? "VIEW" : "TABLE", table, view ? "AS" : "(");
        const char *at = strstr(open_schema, create);
        const char *end = at ? strstr(at, view ? "\nFROM" : "\n)") : NULL;

        if (!at)
            continue;
        snprintf(needle, sizeof needle, view ? " AS %s" : "\n    %s", column);
        for (at = strstr(at, needle); at && at < end; at = strstr(at + 1, needle)) {
            const char *after = at + strlen(needle);
            size_t line = strcspn(after, "\n");

            if (!isalnum((unsigned char)*after) && *after != '_' && memmem(after, line, "-- ", 3))
                return true;
        }
    }
    return false;
}

struct schema_walk {
    const char *document;
    int columns;
};

// Each column must stand in the document's section of its table, as "| `column` |".
static bool check_column(void *context, const struct trace_row *row)
{
    struct schema_walk *walk = context;
    const char *table = row->values[0].text, *column = row->values[1].text;
    char heading[96], cell[96];

    test_row("%s.%s", table, column);
    snprintf(heading, sizeof heading, "\n### %s\n", table);
    snprintf(cell, sizeof cell, "\n| `%s` |", column);
    const char *section = strstr(walk->document, heading);

    EXPECT_TRUE(section != NULL);
    EXPECT_TRUE(has_comment(table, column));
    if (section) {
        const char *end = strstr(section + 2, "\n### "), *found = strstr(section, cell);

        EXPECT_TRUE(found && (!end || found < end));
    }
    walk->columns++;
    return true;
}

TEST(Schema, DocumentListsEveryColumn)
{
    struct trace *t = fixture_begin("");
    struct trace_error error;

    fixture_end(t, 1);
    struct trace_reader *reader = trace_reader_of(t, &error);
    struct schema_walk walk = {.document = read_source("docs/trace-schema.md")};

    EXPECT_EQ(
        trace_query(reader,
                    "SELECT m.name, c.name FROM main.sqlite_schema m, pragma_table_xinfo(m.name, 'main') c "
                    "WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid",
                    check_column, &walk, &error),
        TRACE_OK);
    EXPECT_GT(walk.columns, 150);
    // And nothing but them: as many rows of columns as columns, those of the virtual table included.
    int listed = 0;

    for (const char *at = walk.document; (at = strstr(at, "\n| `")) != NULL; at++)
        listed++;
    EXPECT_EQ(listed, walk.columns + 9);
    trace_reader_close(reader);
    trace_close(t, NULL);
}

TEST(Schema, IsTheFileInTheTree)
{
    EXPECT_STREQ(open_schema, read_source("traces/schema.sql"));
}

TEST(Schema, VersionIsInTheFileAndInTheDocument)
{
    const char *path = fixture_path("a.db");
    char wanted[64];
    struct trace *t = fixture_begin(path);

    fixture_end(t, 1);
    trace_close(t, NULL);
    EXPECT_STREQ(fixture_plain(path, "PRAGMA application_id"), "1752593257\n");
    snprintf(wanted, sizeof wanted, "schema version %s", fixture_plain(path, "PRAGMA user_version"));
    wanted[strcspn(wanted, "\n")] = 0;
    EXPECT_STRSTR(read_source("docs/trace-schema.md"), wanted);
}

TEST(Schema, KindsAreThoseOfTheSpec)
{
    struct trace *t = fixture_begin("");

    fixture_end(t, 1);
    for (uint32_t i = 0; i < event_kind_count; i++) {
        char sql[256], row[256];
        uint32_t commas = 0;

        test_row("%s", event_kinds[i].name);
        for (const char *c = event_kinds[i].arguments; *c; c++)
            commas += *c == ',';
        EXPECT_EQ(event_kinds[i].argc, event_kinds[i].arguments[0] ? commas + 1 : 0);
        snprintf(sql, sizeof sql,
                 "SELECT argc, (n0 NOT NULL) + (n1 NOT NULL) + (n2 NOT NULL) + (n3 NOT NULL) + (n4 NOT NULL) "
                 "+ (n5 NOT NULL) "
                 "FROM event_kinds WHERE kind = '%s'",
                 event_kinds[i].name);
        snprintf(row, sizeof row, "%u|%u\n", event_kinds[i].argc, event_kinds[i].argc);
        EXPECT_STREQ(fixture_query(t, sql), row);
    }
    char reasons[64];

    snprintf(reasons, sizeof reasons, "%u|EPT_VIOLATION\n", exit_kind_count);
    EXPECT_STREQ(
        fixture_query(
            t, "SELECT count(*), max(CASE number WHEN 48 THEN reason END) FROM exit_reasons WHERE arch = 1"),
        reasons);
    trace_close(t, NULL);
}
