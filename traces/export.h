// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_EXPORT_H
#define HVSIM_TRACES_EXPORT_H

/*
 * What happened, read back: queries, summaries and exports of a trace database. Nothing here prints; rows and
 * text go to callbacks. Memory does not grow with the database.
 *
 * A callback returns false to stop early; that is not an error.
 *
 * Readers also know the virtual table `calls`, one row per call of a hypervisor function, unpacked from
 * call_chunks: run, thread, pcpu (at the end of the call), depth (0 outermost), function, begin_cycle, cycles
 * (begin to end), self_cycles (on a pCPU, less the calls that it made), exit_seq (exits.seq during which it
 * began, 0 none). Rows come in the order of their ends per thread. Constraints = on run, thread and exit_seq
 * are fast.
 */

#include "traces/trace.h"

struct trace_reader;

// Opens a database read-only. NULL and *error: NOT_OURS, OTHER_VERSION, LOCKED, DAMAGED, CANNOT_OPEN, IO.
struct trace_reader *trace_reader_open(const char *path, struct trace_error *error);

// Reads what t wrote, through t's own connection, whatever its database is (flush or end the run before).
// NULL if t has no database. Close it before t; between runs only.
struct trace_reader *trace_reader_of(struct trace *t, struct trace_error *error);
void trace_reader_close(struct trace_reader *reader);

// Narrows every table and view to one run: from now on queries see that run alone (`SELECT ... FROM exits` as
// in scenarios' expectations). 0: all runs again.
enum trace_status trace_reader_scope(struct trace_reader *reader, int64_t run, struct trace_error *error);

// The same for the runs `first` to `last`, both included. The table `calls` stays that of all runs.
enum trace_status trace_reader_scope_runs(struct trace_reader *reader, int64_t first, int64_t last,
                                          struct trace_error *error);

// The number of the database's last run, 0 if it has none.
int64_t trace_reader_last_run(struct trace_reader *reader);

// --- Queries. ---

enum trace_value_type { TRACE_VALUE_NULL, TRACE_VALUE_INTEGER, TRACE_VALUE_REAL, TRACE_VALUE_TEXT };

struct trace_value {
    enum trace_value_type type;
    int64_t integer;
    double real;      // of INTEGER and REAL
    const char *text; // of every type but NULL, as SQLite prints it; valid during the callback
    size_t text_size; // bytes without the final zero
};

struct trace_row {
    int columns;
    const char *const *names;
    const struct trace_value *values;
};

typedef bool trace_row_fn(void *context, const struct trace_row *row);

// One SELECT (or WITH, PRAGMA that reads): anything that would change the database is BAD_QUERY, as is a
// second statement. The message of BAD_QUERY holds SQLite's own words.
enum trace_status trace_query(struct trace_reader *reader, const char *sql, trace_row_fn *fn, void *context,
                              struct trace_error *error);

// The first column of the only row, for expectations. No row, or more than one, is BAD_QUERY. *value's text
// is copied into text (cut off at text_size - 1).
enum trace_status trace_query_value(struct trace_reader *reader, const char *sql, struct trace_value *value,
                                    char *text, size_t text_size, struct trace_error *error);

// --- Exports. ---

// Gets the next bytes of an export; false stops it.
typedef bool trace_text_fn(void *context, const char *text, size_t size);

enum trace_format {
    TRACE_CSV,  // RFC 4180 with a header line and CRLF; NULL is an empty field, an empty text is ""
    TRACE_JSON, // an array of one object per row, one row a line
};

// what: the name of a table or view, or a query.
enum trace_status trace_export(struct trace_reader *reader, const char *what, enum trace_format format,
                               trace_text_fn *fn, void *context, struct trace_error *error);

// Folded stacks for flame graphs: one line "outer;inner;innermost cycles\n" per distinct stack, self cycles
// on a pCPU, sorted by the stacks' texts. run 0: all runs. With threads, the thread's number is the outermost
// frame.
enum trace_status trace_export_folded(struct trace_reader *reader, int64_t run, bool threads,
                                      trace_text_fn *fn, void *context, struct trace_error *error);

#endif
