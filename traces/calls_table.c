// SPDX-License-Identifier: Apache-2.0
/* The virtual table `calls`: call_chunks unpacked, one row per call that ended. See export.h. */
#include "traces/chunks.h"
#include "traces/memory.h"
#include "traces/reader.h"

#include <stdlib.h>

enum calls_column {
    CALLS_RUN,
    CALLS_THREAD,
    CALLS_PCPU,
    CALLS_DEPTH,
    CALLS_FUNCTION,
    CALLS_BEGIN,
    CALLS_CYCLES,
    CALLS_SELF,
    CALLS_EXIT,
};

struct calls_table {
    sqlite3_vtab base; // first, as SQLite wants it
    sqlite3 *db;
    const int64_t *scope; // run, 0 all
};

struct calls_cursor {
    sqlite3_vtab_cursor base;
    sqlite3_stmt *text;
    struct chunks chunks;
    struct call_done done;
    int64_t exit; // wanted, -1 all
    int64_t row;
    bool at_end;
};

static int calls_connect(sqlite3 *db, void *context, int argc, const char *const *argv, sqlite3_vtab **table,
                         char **message)
{
    struct calls_table *made = memory_zeroed(1, sizeof *made);

    (void)argc, (void)argv, (void)message;
    made->db = db;
    made->scope = context;
    *table = &made->base;
    return sqlite3_declare_vtab(
        db, "CREATE TABLE calls(run INTEGER, thread INTEGER, pcpu INTEGER, depth INTEGER, "
            "function TEXT, begin_cycle INTEGER, cycles INTEGER, self_cycles INTEGER, "
            "exit_seq INTEGER)");
}

static int calls_disconnect(sqlite3_vtab *table)
{
    free(table);
    return SQLITE_OK;
}

// idxNum: bit 0 run, 1 thread, 2 exit_seq are given, in this order.
static int calls_best_index(sqlite3_vtab *table, sqlite3_index_info *info)
{
    static const enum calls_column columns[] = {CALLS_RUN, CALLS_THREAD, CALLS_EXIT};
    int arguments = 0;

    (void)table;
    info->estimatedCost = 1e7;
    for (int wanted = 0; wanted < 3; wanted++)
        for (int i = 0; i < info->nConstraint; i++) {
            if (!info->aConstraint[i].usable || info->aConstraint[i].op != SQLITE_INDEX_CONSTRAINT_EQ ||
                info->aConstraint[i].iColumn != (int)columns[wanted])
                continue;
            info->aConstraintUsage[i].argvIndex = ++arguments;
            info->idxNum |= 1 << wanted;
            info->estimatedCost /= wanted == 2 ? 1000 : 10;
            break;
        }
    return SQLITE_OK;
}

static int calls_open(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor)
{
    struct calls_cursor *made = memory_zeroed(1, sizeof *made);

    *cursor = &made->base;
    return sqlite3_prepare_v2(((struct calls_table *)table)->db, "SELECT text FROM main.texts WHERE id = ?",
                              -1, &made->text, NULL);
}

static int calls_close(sqlite3_vtab_cursor *base)
{
    struct calls_cursor *cursor = (struct calls_cursor *)base;

    chunks_close(&cursor->chunks);
    sqlite3_finalize(cursor->text);
    free(cursor);
    return SQLITE_OK;
}

// Whether a call of the wanted exit is still open: it ends in this chunk or a later one of the thread.
static bool calls_is_pending(const struct calls_cursor *cursor)
{
    const struct call_stack *stack = &cursor->chunks.stack;

    if (stack->exit <= cursor->exit)
        return true;
    for (size_t i = 0; i < stack->depth; i++)
        if (stack->frames[i].exit == cursor->exit)
            return true;
    return false;
}

static int calls_next(sqlite3_vtab_cursor *base)
{
    struct calls_cursor *cursor = (struct calls_cursor *)base;
    int result;

    cursor->row++;
    for (;;) {
        switch (chunks_step(&cursor->chunks, &cursor->done, &result)) {
        case CALL_STEP_END_OF_CHUNK:
            cursor->at_end = true;
            return result == SQLITE_DONE ? SQLITE_OK : result;
        case CALL_STEP_DAMAGED:
            return SQLITE_CORRUPT;
        case CALL_STEP_DONE:
            if (cursor->exit < 0 || cursor->done.exit == cursor->exit)
                return SQLITE_OK;
            // Nothing of a thread that is past the exit is wanted: go on with the next chunk.
            if (cursor->exit > 0 && !calls_is_pending(cursor))
                cursor->chunks.reader.pos = cursor->chunks.reader.end;
            break;
        case CALL_STEP_OTHER:
        case CALL_STEP_BEGAN:
            break;
        }
    }
}

static int calls_filter(sqlite3_vtab_cursor *base, int given, const char *text, int argc,
                        sqlite3_value **argv)
{
    struct calls_cursor *cursor = (struct calls_cursor *)base;
    const struct calls_table *table = (const struct calls_table *)base->pVtab;
    int64_t values[3] = {-1, -1, -1};

    (void)text;
    for (int i = 0, argument = 0; i < 3 && argument < argc; i++)
        if (given & 1 << i)
            values[i] = sqlite3_value_int64(argv[argument++]);
    chunks_close(&cursor->chunks);
    // SQLite itself drops rows of another run than the one that the query asked for.
    if (*table->scope)
        values[0] = *table->scope;
    cursor->exit = values[2];
    cursor->row = 0;
    cursor->at_end = false;
    int result = chunks_open(&cursor->chunks, table->db, values[0], values[1], values[2] > 0 ? values[2] : 0);

    return result == SQLITE_OK ? calls_next(base) : result;
}

static int calls_eof(sqlite3_vtab_cursor *base)
{
    return ((struct calls_cursor *)base)->at_end;
}

static void calls_function(struct calls_cursor *cursor, sqlite3_context *context)
{
    sqlite3_bind_int64(cursor->text, 1, cursor->done.function);
    if (sqlite3_step(cursor->text) == SQLITE_ROW)
        sqlite3_result_value(context, sqlite3_column_value(cursor->text, 0));
    sqlite3_reset(cursor->text);
}

static int calls_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column)
{
    struct calls_cursor *cursor = (struct calls_cursor *)base;
    const struct call_done *done = &cursor->done;

    switch ((enum calls_column)column) {
    case CALLS_RUN:
        sqlite3_result_int64(context, cursor->chunks.run);
        break;
    case CALLS_THREAD:
        sqlite3_result_int64(context, cursor->chunks.thread);
        break;
    case CALLS_PCPU:
        if (cursor->chunks.stack.pcpu != TRACE_NOBODY)
            sqlite3_result_int64(context, cursor->chunks.stack.pcpu);
        break;
    case CALLS_DEPTH:
        sqlite3_result_int64(context, (int64_t)done->depth);
        break;
    case CALLS_FUNCTION:
        calls_function(cursor, context);
        break;
    case CALLS_BEGIN:
        sqlite3_result_int64(context, (int64_t)done->begin);
        break;
    case CALLS_CYCLES:
        sqlite3_result_int64(context, (int64_t)done->cycles);
        break;
    case CALLS_SELF:
        sqlite3_result_int64(context, (int64_t)done->self_cycles);
        break;
    case CALLS_EXIT:
        sqlite3_result_int64(context, done->exit);
        break;
    }
    return SQLITE_OK;
}

static int calls_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *rowid)
{
    *rowid = ((struct calls_cursor *)base)->row;
    return SQLITE_OK;
}

int calls_table_register(sqlite3 *db, const int64_t *scope)
{
    static const sqlite3_module module = {
        .iVersion = 1,
        .xConnect = calls_connect,
        .xDisconnect = calls_disconnect,
        .xBestIndex = calls_best_index,
        .xOpen = calls_open,
        .xClose = calls_close,
        .xFilter = calls_filter,
        .xNext = calls_next,
        .xEof = calls_eof,
        .xColumn = calls_column,
        .xRowid = calls_rowid,
    };

    return sqlite3_create_module(db, "calls", &module, (void *)(uintptr_t)scope);
}
