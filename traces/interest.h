// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_INTEREST_H
#define HVSIM_TRACES_INTEREST_H

/*
 * Which rows of a run some queries can see, told from the queries alone, and a hash of just these: two runs
 * with the same hash give the same answers, so that an explorer asks only once.
 *
 * SQLite itself says what it reads. Events are told apart by kind and column: where the planner finds that a
 * query wants but one kind (kind = 'guest_mark' that all of WHERE depends on), the others cannot change its
 * answer. Of other tables every row and column counts. Who calls: tools/, outside of simulated time, but for
 * the hash.
 */

#include "traces/trace.h"

struct trace_interest;

// Of no query; violations always count. Never NULL. The caller frees it.
struct trace_interest *trace_interest_create(void);
void trace_interest_free(struct trace_interest *interest);

// Adds what `sql` reads. A query that SQLite does not understand sees everything.
void trace_interest_add(struct trace_interest *interest, const char *sql);

// The categories that must be stored for the queries.
uint32_t trace_interest_stored(const struct trace_interest *interest);

// From here on records are held back instead of being consumed, until trace_flush(). What no query sees is
// then left out, of rows and digest. In a run, without a writer thread. `interest` is used until the run's
// end.
void trace_hold(struct trace *t, const struct trace_interest *interest);

// The hash of what is held and seen by the queries. False: it says nothing, because too much was recorded or
// there is a violation, whose text matters.
bool trace_held_hash(const struct trace *t, struct trace_digest *hash);

#endif
