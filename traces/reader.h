// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_READER_H
#define HVSIM_TRACES_READER_H

/* What a struct trace_reader is, for the files of traces/ alone. */

#include "traces/export.h"

#include <sqlite3.h>

struct trace_reader {
    sqlite3 *db;
    char *path;
    bool owns_db;
    int64_t scope; // run, 0 all
};

// Makes the virtual table `calls` known on db, narrowed to run *scope unless that is 0. *scope must outlive
// its use. Returns an SQLite result code.
int calls_table_register(sqlite3 *db, const int64_t *scope);

// Prepares one reading statement; what stands in messages.
enum trace_status reader_prepare(struct trace_reader *reader, const char *sql, sqlite3_stmt **statement,
                                 struct trace_error *error);

// The end of a statement: OK after SQLITE_DONE or SQLITE_ROW (stopped early), else the error. Finalizes it.
enum trace_status reader_finish(struct trace_reader *reader, sqlite3_stmt *statement, int result,
                                struct trace_error *error);

#endif
