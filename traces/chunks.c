// SPDX-License-Identifier: Apache-2.0
#include "traces/chunks.h"

#include <string.h>

int chunks_open(struct chunks *chunks, sqlite3 *db, int64_t run, int64_t thread, int64_t from_exit)
{
    // A call of an exit ends in a chunk whose last_exit is that exit or a later one.
    static const char sql[] =
        "SELECT run, thread, first_cycle, first_exit, last_exit, packed FROM main.call_chunks "
        "WHERE (?1 < 0 OR run = ?1) AND (?2 < 0 OR thread = ?2) AND last_exit >= ?3 "
        "ORDER BY run, thread, id";

    memset(chunks, 0, sizeof *chunks);
    int result = sqlite3_prepare_v2(db, sql, -1, &chunks->statement, NULL);

    if (result != SQLITE_OK)
        return result;
    sqlite3_bind_int64(chunks->statement, 1, run);
    sqlite3_bind_int64(chunks->statement, 2, thread);
    sqlite3_bind_int64(chunks->statement, 3, from_exit);
    return SQLITE_OK;
}

void chunks_close(struct chunks *chunks)
{
    sqlite3_finalize(chunks->statement);
    call_stack_free(&chunks->stack);
    memset(chunks, 0, sizeof *chunks);
}

static int chunks_next(struct chunks *chunks)
{
    int result = sqlite3_step(chunks->statement);

    chunks->have_chunk = result == SQLITE_ROW;
    if (!chunks->have_chunk)
        return result;
    int64_t run = sqlite3_column_int64(chunks->statement, 0),
            thread = sqlite3_column_int64(chunks->statement, 1);

    chunks->same_thread = run == chunks->run && thread == chunks->thread;
    chunks->run = run;
    chunks->thread = thread;
    chunks->first_exit = sqlite3_column_int64(chunks->statement, 3);
    chunks->last_exit = sqlite3_column_int64(chunks->statement, 4);
    chunks->stack.cycle = (uint64_t)sqlite3_column_int64(chunks->statement, 2);
    chunks->stack.off = 0;
    const void *packed = sqlite3_column_blob(chunks->statement, 5);

    return call_unpack_state(&chunks->reader, packed, (size_t)sqlite3_column_bytes(chunks->statement, 5),
                             &chunks->stack)
               ? SQLITE_ROW
               : SQLITE_CORRUPT;
}

enum call_step chunks_step(struct chunks *chunks, struct call_done *done, int *result)
{
    for (;;) {
        if (chunks->have_chunk) {
            enum call_step step = call_unpack(&chunks->reader, &chunks->stack, done);

            *result = SQLITE_CORRUPT;
            if (step != CALL_STEP_END_OF_CHUNK)
                return step;
        }
        *result = chunks_next(chunks);
        if (*result == SQLITE_CORRUPT)
            return CALL_STEP_DAMAGED;
        if (*result != SQLITE_ROW)
            return CALL_STEP_END_OF_CHUNK;
    }
}
