// SPDX-License-Identifier: Apache-2.0
#include "traces/interest_inner.h"

#include "traces/kinds.h"
#include "traces/memory.h"
#include "traces/open.h"
#include "traces/reader.h"

#include <stdlib.h>

// Tables of the schema (traces/schema.sql) by what fills them. Those that only views join to are left out.
static const struct {
    const char *table;
    uint32_t category;
} interest_tables[] = {
    {"exits_data", TRACE_EXITS},
    {"exits_more", TRACE_EXITS},
    {"exit_sites", TRACE_EXITS},
    {"event_tags", TRACE_EVENTS},
    {"events_data", TRACE_EVENTS},
    {"event_shapes", TRACE_EVENTS},
    {"event_groups_data", TRACE_EVENTS},
    {"spans_data", TRACE_SPANS},
    {"span_tags", TRACE_SPANS},
    {"calls", TRACE_CALLS},
    {"call_chunks", TRACE_CALLS},
    {"functions", TRACE_CALLS},
    {"irqs_data", TRACE_IRQS},
    {"walks_data", TRACE_WALKS},
    {"walk_steps_data", TRACE_WALKS},
    {"locks_data", TRACE_LOCKS},
    {"violations_data", 0},
    {"counters", TRACE_COUNTERS},
    {"dirty_pages_data", TRACE_DIRTY},
    {"events", 0},
    {"runs", 0},
    {"swept", 0},
    {"exit_reasons", 0},
    {"event_kinds", 0},
};
// The same numbers mean other things in every run. Views read them to translate; of a query that does so
// itself everything counts.
static const char *const interest_numbering[] = {"texts", "places"};
enum { INTEREST_NUMBERING = sizeof interest_numbering / sizeof *interest_numbering };

struct interest_reads {
    struct trace_interest *interest;
    bool through_view[INTEREST_NUMBERING];
};

struct trace_interest *trace_interest_create(void)
{
    struct trace_interest *interest = memory_zeroed(1, sizeof *interest);

    interest->events = memory_zeroed(event_kind_count, sizeof *interest->events);
    return interest;
}

void trace_interest_free(struct trace_interest *interest)
{
    if (!interest)
        return;
    free(interest->events);
    free(interest);
}

uint32_t trace_interest_stored(const struct trace_interest *interest)
{
    uint32_t stored = interest->whole | TRACE_VIOLATIONS;

    for (uint32_t i = 0; i < event_kind_count; i++)
        if (interest->events[i])
            stored |= TRACE_EVENTS;
    return stored;
}

static void interest_whole(struct trace_interest *interest, uint32_t categories)
{
    interest->whole |= categories;
    for (uint32_t i = 0; i < event_kind_count && (categories & TRACE_EVENTS); i++)
        interest->events[i] = (1u << INTEREST_ARGS) - 1;
}

// --- Events: a virtual table without rows, which is told what the planner knows. ---

struct interest_table {
    sqlite3_vtab base; // first, as SQLite wants it
    struct trace_interest *interest;
};

static int interest_connect(sqlite3 *db, void *context, int argc, const char *const *argv,
                            sqlite3_vtab **table, char **message)
{
    struct interest_table *made = memory_zeroed(1, sizeof *made);

    (void)argc, (void)argv, (void)message;
    made->interest = context;
    *table = &made->base;
    return sqlite3_declare_vtab(db, "CREATE TABLE events(run, seq, cycle, pcpu, vm, vcpu, level, kind TEXT, "
                                    "a0, a1, a2, a3, a4, a5, args)");
}

static int interest_disconnect(sqlite3_vtab *table)
{
    free(table);
    return SQLITE_OK;
}

// The kind that all rows must have; NULL: any. It is told to be used: terms of the ON of an outer join are
// offered too, and only then does SQLite ask once more without them.
static const char *interest_kind(sqlite3_index_info *info)
{
    for (int i = 0; i < info->nConstraint; i++) {
        sqlite3_value *value;

        if (info->aConstraint[i].iColumn == INTEREST_KIND &&
            info->aConstraint[i].op == SQLITE_INDEX_CONSTRAINT_EQ && info->aConstraint[i].usable &&
            strcmp(sqlite3_vtab_collation(info, i), "BINARY") == 0 &&
            sqlite3_vtab_rhs_value(info, i, &value) == SQLITE_OK &&
            sqlite3_value_type(value) == SQLITE_TEXT) {
            info->aConstraintUsage[i].argvIndex = 1;
            return (const char *)sqlite3_value_text(value);
        }
    }
    return NULL;
}

// Asked for every plan that is thought of: what any of them needs counts.
static int interest_best_index(sqlite3_vtab *table, sqlite3_index_info *info)
{
    struct trace_interest *interest = ((struct interest_table *)table)->interest;
    const char *kind = interest_kind(info);
    uint32_t columns = (uint32_t)info->colUsed | 1u << INTEREST_KIND;

    bool numbers = columns >> INTEREST_SEQ & 1; // Which all events have together

    if (columns >> INTEREST_ARGS & 1)
        columns |= (1u << INTEREST_ARGS) - (1u << INTEREST_A0);
    for (uint32_t i = 0; i < event_kind_count; i++)
        if (!kind || numbers || strcmp(event_kinds[i].name, kind) == 0)
            interest->events[i] |= columns;
    if (!kind || strcmp(kind, "kvm_exit") == 0) // These rows are made of exits.
        interest->whole |= TRACE_EXITS;
    info->estimatedCost = 1e6;
    return SQLITE_OK;
}

static int interest_open(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor)
{
    (void)table;
    *cursor = memory_zeroed(1, sizeof **cursor);
    return SQLITE_OK;
}

static int interest_close(sqlite3_vtab_cursor *cursor)
{
    free(cursor);
    return SQLITE_OK;
}

static int interest_filter(sqlite3_vtab_cursor *cursor, int plan, const char *name, int argc,
                           sqlite3_value **argv)
{
    (void)cursor, (void)plan, (void)name, (void)argc, (void)argv;
    return SQLITE_OK;
}

static int interest_next(sqlite3_vtab_cursor *cursor)
{
    (void)cursor;
    return SQLITE_OK;
}

static int interest_eof(sqlite3_vtab_cursor *cursor)
{
    (void)cursor;
    return 1;
}

static int interest_cell(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column)
{
    (void)cursor, (void)context, (void)column;
    return SQLITE_OK;
}

static int interest_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *row)
{
    (void)cursor;
    *row = 0;
    return SQLITE_OK;
}

static const sqlite3_module interest_module = {
    .xCreate = interest_connect,
    .xConnect = interest_connect,
    .xBestIndex = interest_best_index,
    .xDisconnect = interest_disconnect,
    .xDestroy = interest_disconnect,
    .xOpen = interest_open,
    .xClose = interest_close,
    .xFilter = interest_filter,
    .xNext = interest_next,
    .xEof = interest_eof,
    .xColumn = interest_cell,
    .xRowid = interest_rowid,
};

// --- The others. ---

// `view`: through which the table is read; NULL: the query names it itself, or it names no column and a view
// that was told of before became part of the query.
static int interest_read(void *context, int action, const char *table, const char *column, const char *schema,
                         const char *view)
{
    struct interest_reads *reads = context;
    struct trace_interest *interest = reads->interest;

    (void)schema;
    if (action != SQLITE_READ)
        return SQLITE_OK;
    for (size_t i = 0; i < sizeof interest_tables / sizeof *interest_tables; i++)
        if (strcmp(interest_tables[i].table, table) == 0)
            interest_whole(interest, interest_tables[i].category);
    for (size_t i = 0; i < INTEREST_NUMBERING; i++) {
        if (strcmp(interest_numbering[i], table) != 0)
            continue;
        if (view)
            reads->through_view[i] = true;
        else if (*column || !reads->through_view[i])
            interest_whole(interest, TRACE_ALL);
    }
    return SQLITE_OK;
}

void trace_interest_add(struct trace_interest *interest, const char *sql)
{
    struct interest_reads reads = {.interest = interest};
    sqlite3_stmt *statement = NULL;
    sqlite3 *db = NULL;
    int64_t scope = 0;
    bool good = sqlite3_open(":memory:", &db) == SQLITE_OK &&
                sqlite3_exec(db, open_schema, NULL, NULL, NULL) == SQLITE_OK &&
                sqlite3_create_module(db, "interest", &interest_module, interest) == SQLITE_OK &&
                sqlite3_exec(db, "DROP VIEW events; CREATE VIRTUAL TABLE events USING interest", NULL, NULL,
                             NULL) == SQLITE_OK &&
                calls_table_register(db, &scope) == SQLITE_OK;

    sqlite3_set_authorizer(db, interest_read, &reads);
    if (!good || sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        interest_whole(interest, TRACE_ALL);
    sqlite3_finalize(statement);
    sqlite3_close(db);
}
