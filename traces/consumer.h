// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_CONSUMER_H
#define HVSIM_TRACES_CONSUMER_H

/*
 * Takes records out of a block: every one into the digest, those of a stored category into the store.
 */

#include "traces/call_recorder.h"
#include "traces/digest.h"
#include "traces/interest.h"
#include "traces/store.h"
#include "traces/summary.h"

struct consumer {
    struct digest digest;
    struct texts *texts;
    struct store *store;                   // NULL: digest only
    uint32_t mask;                         // categories to store, 0 without a store
    const struct trace_interest *interest; // NULL: every record is taken
    uint64_t records;
    uint64_t *kind_hashes; // of the tracepoints by number: what the digest sees
    struct call_recorder calls;
    struct summary summary; // of the exits of this run
    // Last numbers of this run.
    uint32_t exits, events, spans, irqs, walks, walk_steps, locks, violations, dirty_pages, instructions;
};

// `input`: text that belongs into the digest, or NULL.
void consumer_run_begin(struct consumer *consumer, const char *input);
void consumer_block(struct consumer *consumer, const unsigned char *block, size_t size);
// Digests what the queries of `interest` see, and stores nothing. False: there is a violation.
bool consumer_look(struct consumer *consumer, const unsigned char *block, size_t size);
// Gives the digest; what was gathered over the run goes to the store. tick: the run's end.
struct trace_digest consumer_run_end(struct consumer *consumer, uint64_t tick);

#endif
