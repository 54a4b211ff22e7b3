// SPDX-License-Identifier: Apache-2.0
#include "traces/bulk.h"

#include "traces/memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct bulk_table {
    sqlite3_vtab base; // first, as SQLite wants it
    struct bulk *bulk;
};

struct bulk_cursor {
    sqlite3_vtab_cursor base;
    const struct bulk_row *row, *end;
};

static int bulk_connect(sqlite3 *db, void *bulk, int argc, const char *const *argv, sqlite3_vtab **table,
                        char **message)
{
    static const char *const declaration[BULK_COLUMNS + 1] = {
        [2] = "CREATE TABLE b(a,b)",
        [4] = "CREATE TABLE b(a,b,c,d)",
        [5] = "CREATE TABLE b(a,b,c,d,e)",
        [3] = "CREATE TABLE b(a,b,c)",
        [6] = "CREATE TABLE b(a,b,c,d,e,f)",
        [7] = "CREATE TABLE b(a,b,c,d,e,f,g)",
        [8] = "CREATE TABLE b(a,b,c,d,e,f,g,h)",
        [9] = "CREATE TABLE b(a,b,c,d,e,f,g,h,i)",
        [10] = "CREATE TABLE b(a,b,c,d,e,f,g,h,i,j)",
        [11] = "CREATE TABLE b(a,b,c,d,e,f,g,h,i,j,k)",
        [12] = "CREATE TABLE b(a,b,c,d,e,f,g,h,i,j,k,l)",
    };
    struct bulk_table *made = memory_zeroed(1, sizeof *made);

    (void)argc, (void)argv, (void)message;
    made->bulk = bulk;
    *table = &made->base;
    assert(declaration[made->bulk->columns]);
    return sqlite3_declare_vtab(db, declaration[made->bulk->columns]);
}

static int bulk_disconnect(sqlite3_vtab *table)
{
    free(table);
    return SQLITE_OK;
}

static int bulk_best_index(sqlite3_vtab *table, sqlite3_index_info *info)
{
    (void)table;
    info->estimatedCost = BULK_ROWS;
    return SQLITE_OK;
}

static int bulk_cursor_open(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor)
{
    struct bulk_cursor *made = memory_zeroed(1, sizeof *made);

    (void)table;
    *cursor = &made->base;
    return SQLITE_OK;
}

static int bulk_cursor_close(sqlite3_vtab_cursor *cursor)
{
    free(cursor);
    return SQLITE_OK;
}

static int bulk_filter(sqlite3_vtab_cursor *base, int number, const char *text, int argc,
                       sqlite3_value **argv)
{
    struct bulk_cursor *cursor = (struct bulk_cursor *)base;
    const struct bulk *bulk = ((const struct bulk_table *)base->pVtab)->bulk;

    (void)number, (void)text, (void)argc, (void)argv;
    cursor->row = bulk->rows + bulk->first;
    cursor->end = bulk->rows + bulk->count;
    return SQLITE_OK;
}

static int bulk_cursor_next(sqlite3_vtab_cursor *cursor)
{
    ((struct bulk_cursor *)cursor)->row++;
    return SQLITE_OK;
}

static int bulk_cursor_eof(sqlite3_vtab_cursor *base)
{
    const struct bulk_cursor *cursor = (const struct bulk_cursor *)base;

    return cursor->row == cursor->end;
}

static int bulk_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column)
{
    const struct bulk_row *row = ((const struct bulk_cursor *)cursor)->row;

    if (!(row->nulls >> column & 1))
        sqlite3_result_int64(context, row->cells[column]);
    return SQLITE_OK;
}

static int bulk_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid)
{
    *rowid = ((const struct bulk_cursor *)cursor)->row->cells[0];
    return SQLITE_OK;
}

static const sqlite3_module bulk_module = {
    .iVersion = 1,
    .xConnect = bulk_connect,
    .xDisconnect = bulk_disconnect,
    .xBestIndex = bulk_best_index,
    .xOpen = bulk_cursor_open,
    .xClose = bulk_cursor_close,
    .xFilter = bulk_filter,
    .xNext = bulk_cursor_next,
    .xEof = bulk_cursor_eof,
    .xColumn = bulk_column,
    .xRowid = bulk_rowid,
};

// Columns 1.. of the virtual table, which are all but the row id.
static const char *bulk_rest(int columns)
{
    static const char *const rest[BULK_COLUMNS + 1] = {
        [2] = "b",
        [3] = "b,c",
        [4] = "b,c,d",
        [5] = "b,c,d,e",
        [6] = "b,c,d,e,f",
        [7] = "b,c,d,e,f,g",
        [8] = "b,c,d,e,f,g,h",
        [9] = "b,c,d,e,f,g,h,i",
        [10] = "b,c,d,e,f,g,h,i,j",
        [11] = "b,c,d,e,f,g,h,i,j,k",
        [12] = "b,c,d,e,f,g,h,i,j,k,l",
    };

    assert(columns <= BULK_COLUMNS && rest[columns]);
    return rest[columns];
}

// The names of table's columns but the first, comma separated; the caller frees them with sqlite3_free().
static char *bulk_names(sqlite3 *db, const char *table)
{
    sqlite3_stmt *statement = NULL;
    char *names = NULL;

    if (sqlite3_prepare_v2(db, "SELECT group_concat(name) FROM pragma_table_info(?) WHERE cid > 0", -1,
                           &statement, NULL) == SQLITE_OK) {
        sqlite3_bind_text(statement, 1, table, -1, SQLITE_STATIC);
        if (sqlite3_step(statement) == SQLITE_ROW)
            names = sqlite3_mprintf("%s", sqlite3_column_text(statement, 0));
    }
    sqlite3_finalize(statement);
    return names;
}

static int bulk_prepare(sqlite3 *db, char *sql, sqlite3_stmt **statement)
{
    int result = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);

    sqlite3_free(sql);
    return result;
}

int bulk_open(struct bulk *bulk, sqlite3 *db, const char *table, int columns, bool counts)
{
    *bulk = (struct bulk){.table = table, .columns = columns, .counts = counts, .restart = true};
    bulk->rows = memory_zeroed(BULK_ROWS, sizeof *bulk->rows);
    char *names = bulk_names(db, table), *module = sqlite3_mprintf("batch_%s", table);
    int result = sqlite3_create_module(db, module, &bulk_module, bulk);

    if (result == SQLITE_OK)
        result =
            bulk_prepare(db, sqlite3_mprintf("INSERT INTO main.%s SELECT * FROM %s LIMIT ?", table, module),
                         &bulk->insert_ids);
    // Not naming the row id lets SQLite append at the highest plus one; a NULL for it would do the same, but
    // with a search of the tree for each row.
    if (result == SQLITE_OK)
        result = bulk_prepare(db,
                              sqlite3_mprintf("INSERT INTO main.%s (%s) SELECT %s FROM %s", table, names,
                                              bulk_rest(columns), module),
                              &bulk->insert_next);
    sqlite3_free(names);
    sqlite3_free(module);
    return result;
}

void bulk_close(struct bulk *bulk)
{
    sqlite3_finalize(bulk->insert_ids);
    sqlite3_finalize(bulk->insert_next);
    free(bulk->rows);
    *bulk = (struct bulk){0};
}

static int bulk_run(sqlite3_stmt *statement)
{
    sqlite3_step(statement);
    return sqlite3_reset(statement);
}

int bulk_flush(struct bulk *bulk)
{
    int result = SQLITE_OK;

    bulk->first = 0;
    if (bulk->count && (!bulk->counts || bulk->restart)) {
        sqlite3_bind_int(bulk->insert_ids, 1, bulk->counts ? 1 : -1);
        result = bulk_run(bulk->insert_ids);
        bulk->first = bulk->counts ? 1 : bulk->count;
        bulk->restart = false;
    }
    if (bulk->first < bulk->count && result == SQLITE_OK)
        result = bulk_run(bulk->insert_next);
    bulk->first = bulk->count = 0;
    return result;
}
