// SPDX-License-Identifier: Apache-2.0
#include "traces/reader.h"

#include "traces/error.h"
#include "traces/internal.h"
#include "traces/memory.h"
#include "traces/open.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

struct trace_reader *trace_reader_open(const char *path, struct trace_error *error)
{
    sqlite3 *db;

    if (open_for_reading(path, &db, error) != TRACE_OK)
        return NULL;
    struct trace_reader *reader = memory_zeroed(1, sizeof *reader);

    reader->db = db;
    reader->path = strdup(path);
    reader->owns_db = true;
    calls_table_register(db, &reader->scope);
    return reader;
}

struct trace_reader *trace_reader_of(struct trace *t, struct trace_error *error)
{
    if (!t->store) {
        error_set(error, TRACE_CANNOT_OPEN, "this run has no database");
        return NULL;
    }
    if (trace_flush(t, error) != TRACE_OK)
        return NULL;
    struct trace_reader *reader = memory_zeroed(1, sizeof *reader);

    reader->db = t->store->db;
    reader->path = strdup(t->store->path);
    calls_table_register(reader->db, &reader->scope);
    return reader;
}

void trace_reader_close(struct trace_reader *reader)
{
    if (!reader)
        return;
    if (reader->owns_db)
        sqlite3_close(reader->db);
    else {
        trace_reader_scope(reader, 0, NULL);
        sqlite3_create_module(reader->db, "calls", NULL, NULL);
    }
    free(reader->path);
    free(reader);
}

enum trace_status reader_finish(struct trace_reader *reader, sqlite3_stmt *statement, int result,
                                struct trace_error *error)
{
    enum trace_status status = TRACE_OK;

    // A query's own mistakes (an overflow, bad JSON) are the user's; the rest are the file's.
    if ((result & 0xff) == SQLITE_ERROR)
        status = error_set(error, TRACE_BAD_QUERY, "%s (in: %.160s)", sqlite3_errmsg(reader->db),
                           sqlite3_sql(statement));
    else if (result != SQLITE_DONE && result != SQLITE_ROW)
        status = error_from_sqlite(error, reader->db, reader->path, "read");
    else
        error_clear(error);
    sqlite3_finalize(statement);
    return status;
}

static bool reader_is_blank(const char *sql)
{
    while (isspace((unsigned char)*sql) || *sql == ';')
        sql++;
    return !*sql;
}

enum trace_status reader_prepare(struct trace_reader *reader, const char *sql, sqlite3_stmt **statement,
                                 struct trace_error *error)
{
    const char *rest = NULL;
    int result = sqlite3_prepare_v2(reader->db, sql, -1, statement, &rest);

    if (result != SQLITE_OK) {
        if ((result & 0xff) != SQLITE_ERROR)
            return error_from_sqlite(error, reader->db, reader->path, "read");
        return error_set(error, TRACE_BAD_QUERY, "%s (in: %.160s)", sqlite3_errmsg(reader->db), sql);
    }
    const char *problem = !*statement              ? "no statement"
                          : !reader_is_blank(rest) ? "more than one statement"
                          : !sqlite3_stmt_readonly(*statement) || !sqlite3_column_count(*statement)
                              ? "not a query"
                              : NULL;

    if (!problem)
        return error_clear(error);
    sqlite3_finalize(*statement);
    *statement = NULL;
    return error_set(error, TRACE_BAD_QUERY, "%s: %.160s", problem, sql);
}

// --- Scope. ---

// Temporary views go before the tables and views of the same name in the database. Those with packed rows are
// narrowed by the view's column run too: SQLite carries it into the range of row ids.
static const char *const reader_scoped[] = {
    "runs",      "expectations", "exits", "events",     "spans",        "call_chunks",
    "functions", "irqs",         "walks", "walk_steps", "locks",        "violations",
    "counters",  "swept",        "sweep", "migrations", "dirty_rounds", "dirty_pages"};

enum trace_status trace_reader_scope_runs(struct trace_reader *reader, int64_t first, int64_t last,
                                          struct trace_error *error)
{
    int result = SQLITE_OK;

    for (size_t i = 0; i < sizeof reader_scoped / sizeof reader_scoped[0] && result == SQLITE_OK; i++) {
        const char *name = reader_scoped[i];
        char sql[256];
        size_t used =
            (size_t)snprintf(sql, sizeof sql, "PRAGMA query_only=0; DROP VIEW IF EXISTS temp.%s;", name);

        if (first && first == last)
            snprintf(sql + used, sizeof sql - used,
                     "CREATE TEMP VIEW %s AS SELECT * FROM main.%s WHERE run = %lld;", name, name,
                     (long long)first);
        else if (first)
            snprintf(sql + used, sizeof sql - used,
                     "CREATE TEMP VIEW %s AS SELECT * FROM main.%s WHERE run BETWEEN %lld AND %lld;", name,
                     name, (long long)first, (long long)last);
        result = sqlite3_exec(reader->db, sql, NULL, NULL, NULL);
    }
    if (result != SQLITE_OK)
        return error_from_sqlite(error, reader->db, reader->path, "narrow it to a run");
    reader->scope = first == last ? first : 0;
    if (reader->owns_db)
        sqlite3_exec(reader->db, "PRAGMA query_only=1", NULL, NULL, NULL);
    return error_clear(error);
}

enum trace_status trace_reader_scope(struct trace_reader *reader, int64_t run, struct trace_error *error)
{
    return trace_reader_scope_runs(reader, run, run, error);
}

static bool reader_number(void *context, const struct trace_row *row)
{
    *(int64_t *)context = row->values[0].integer;
    return true;
}

int64_t trace_reader_last_run(struct trace_reader *reader)
{
    int64_t run = 0;

    trace_query(reader, "SELECT max(run) FROM main.runs", reader_number, &run, NULL);
    return run;
}

// --- Queries. ---

static struct trace_value reader_value(sqlite3_stmt *statement, int column)
{
    struct trace_value value = {.type = TRACE_VALUE_TEXT};

    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_NULL:
        return (struct trace_value){.type = TRACE_VALUE_NULL};
    case SQLITE_INTEGER:
        value.type = TRACE_VALUE_INTEGER;
        value.integer = sqlite3_column_int64(statement, column);
        value.real = (double)value.integer;
        break;
    case SQLITE_FLOAT:
        value.type = TRACE_VALUE_REAL;
        value.real = sqlite3_column_double(statement, column);
        break;
    default:
        break;
    }
    value.text = (const char *)sqlite3_column_text(statement, column);
    value.text_size = (size_t)sqlite3_column_bytes(statement, column);
    return value;
}

enum trace_status trace_query(struct trace_reader *reader, const char *sql, trace_row_fn *fn, void *context,
                              struct trace_error *error)
{
    sqlite3_stmt *statement;
    enum trace_status status = reader_prepare(reader, sql, &statement, error);

    if (status != TRACE_OK)
        return status;
    int columns = sqlite3_column_count(statement), result;
    struct trace_value *values = memory_zeroed((size_t)columns, sizeof *values);
    const char **names = memory_zeroed((size_t)columns, sizeof *names);
    const struct trace_row row = {columns, names, values};

    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        // Names stay where they are from the first step on.
        for (int i = 0; i < columns && !names[i]; i++)
            names[i] = sqlite3_column_name(statement, i);
        for (int i = 0; i < columns; i++)
            values[i] = reader_value(statement, i);
        if (!fn(context, &row))
            break;
    }
    free(values);
    free(names);
    return reader_finish(reader, statement, result, error);
}

struct reader_single {
    struct trace_value *value;
    char *text;
    size_t text_size;
    int rows;
};

static bool reader_take_single(void *context, const struct trace_row *row)
{
    struct reader_single *single = context;

    if (single->rows++)
        return false;
    *single->value = row->values[0];
    snprintf(single->text, single->text_size, "%s", row->values[0].text ? row->values[0].text : "");
    return true;
}

enum trace_status trace_query_value(struct trace_reader *reader, const char *sql, struct trace_value *value,
                                    char *text, size_t text_size, struct trace_error *error)
{
    struct reader_single single = {value, text, text_size, 0};
    enum trace_status status = trace_query(reader, sql, reader_take_single, &single, error);

    if (status != TRACE_OK)
        return status;
    if (single.rows != 1)
        return error_set(error, TRACE_BAD_QUERY, "%s row instead of one: %.160s",
                         single.rows ? "more than one" : "no", sql);
    value->text = value->type == TRACE_VALUE_NULL ? NULL : text;
    value->text_size = strlen(text);
    return TRACE_OK;
}
