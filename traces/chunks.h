// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_CHUNKS_H
#define HVSIM_TRACES_CHUNKS_H

/*
 * Reads call_chunks one operation at a time: run by run, thread by thread, in simulated order. A chunk starts
 * with the stack as it was, so that reading may start at any one.
 */

#include "traces/calls.h"

#include <sqlite3.h>

struct chunks {
    sqlite3_stmt *statement;
    struct call_reader reader;
    struct call_stack stack;
    int64_t run, thread;
    int64_t first_exit, last_exit; // of the chunk
    bool have_chunk, same_thread;  // same_thread: the chunk continues the one before
};

// Negative run or thread: all. from_exit: skip chunks in which no call of that exit can have begun or ended
// (0: none).
int chunks_open(struct chunks *chunks, sqlite3 *db, int64_t run, int64_t thread, int64_t from_exit);
void chunks_close(struct chunks *chunks);

// CALL_STEP_END_OF_CHUNK here means that there are no more chunks. *result gets SQLite's code with it or
// DAMAGED.
enum call_step chunks_step(struct chunks *chunks, struct call_done *done, int *result);

#endif
