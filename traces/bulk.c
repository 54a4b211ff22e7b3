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

static int bulk_connect(sqlite3 *db, void *bulk, int argc, const char *const *argv, sqlite3_vtab **table, char **message)
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

static int bulk_filter(sqlite3_vtab_cursor *base, int number, const char *text, int argc, sqlite3_value **argv)
{
    struct bulk_cursor *cursor = (struct bulk_cursor *)base;
    const struct bulk *bulk = ((const struct bulk_table *)base->pVtab)->bulk;

    (void)number, (void)text, (void)argc, (void)argv;
    cursor->row = bulk->rows;
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

int bulk_open(struct bulk *bulk, sqlite3 *db, const char *table, int columns)
{
    char name[64], sql[160];

    assert(columns <= BULK_COLUMNS);
    *bulk = (struct bulk){.table = table, .columns = columns};
    bulk->rows = memory_zeroed(BULK_ROWS, sizeof *bulk->rows);
    snprintf(name, sizeof name, "batch_%s", table);
    int result = sqlite3_create_module(db, name, &bulk_module, bulk);

    snprintf(sql, sizeof sql, "INSERT INTO %s SELECT * FROM %s", table, name);
    if (result == SQLITE_OK)
        result = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &bulk->insert, NULL);
    return result;
}

void bulk_close(struct bulk *bulk)
{
    sqlite3_finalize(bulk->insert);
    free(bulk->rows);
    *bulk = (struct bulk){0};
}

int bulk_flush(struct bulk *bulk)
{
    if (!bulk->count)
        return SQLITE_OK;
    sqlite3_step(bulk->insert);
    int result = sqlite3_reset(bulk->insert);

    bulk->count = 0;
    return result;
}
