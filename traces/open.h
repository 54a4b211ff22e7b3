// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_OPEN_H
#define HVSIM_TRACES_OPEN_H

/* What may be opened: the rules for files that are not ours, of another version, damaged, locked, read-only.
 */

#include "traces/trace.h"

#include <sqlite3.h>

enum open_found { OPEN_NOTHING, OPEN_OURS };

// Looks at the file's first 100 bytes (the SQLite file format's header) without SQLite, so that a foreign
// file is not touched. *found is OPEN_NOTHING if there is no file or an empty one.
enum trace_status open_inspect(const char *path, enum open_found *found, struct trace_error *error);

// Opens for writing alone, with the settings for appending fast, and takes the lock. Makes the tables if
// there are none.
enum trace_status open_for_writing(const char *path, uint64_t max_bytes, sqlite3 **db, bool *created,
                                   struct trace_error *error);

// Opens for reading (the file may be written to only to undo what a killed writer left).
enum trace_status open_for_reading(const char *path, sqlite3 **db, struct trace_error *error);

// The text of schema.sql, built in.
extern const char open_schema[];

#endif
