// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_TESTS_FIXTURE_H
#define HVSIM_TRACES_TESTS_FIXTURE_H

/* What the tests of traces/ share: a run in a database of the test's folder, and queries as text. */

#include "tests/shim/shim.h"
#include "traces/export.h"
#include "traces/trace.h"

// name in the test's folder; valid until the next call but three.
const char *fixture_path(const char *name);

// Opens with everything stored and begins a run; a failure fails the test.
struct trace *fixture_begin(const char *path);

// Ends the run and gives its digest.
struct trace_digest fixture_end(struct trace *t, uint64_t tick);

// All rows as text: columns split by '|', rows ended by '\n', NULL as "-". An error's message instead, after
// "error: ". Valid until the next call.
const char *fixture_query(struct trace *t, const char *sql);
const char *fixture_read(struct trace_reader *reader, const char *sql);

// The same from a closed database, by the sqlite3 library alone: as any other program sees it.
const char *fixture_plain(const char *path, const char *sql);

// A run of so many exits of bench/mix.h; gives its digest.
struct trace_digest fixture_mix(struct trace *t, uint32_t exits);

extern const struct trace_run_info fixture_run;

#endif
