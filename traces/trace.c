// SPDX-License-Identifier: Apache-2.0
#include "traces/trace.h"

#include "traces/category.h"
#include "traces/error.h"
#include "traces/interest.h"
#include "traces/internal.h"
#include "traces/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

struct trace_options trace_options_defaults(const char *db_path)
{
    return (struct trace_options){.db_path = db_path, .store = TRACE_ALL};
}

static void trace_consume(void *context, const unsigned char *block, size_t size)
{
    consumer_block(context, block, size);
}

// Whether a writer thread pays. Only speed depends on it, never a result.
static bool trace_wants_thread(const struct trace_options *options)
{
    if (options->writer == TRACE_WRITER_AUTO)
        return options->db_path && sysconf(_SC_NPROCESSORS_ONLN) > 1;
    return options->writer == TRACE_WRITER_THREAD;
}

struct trace *trace_open(const struct trace_options *options, struct trace_error *error)
{
    struct trace *t = memory_zeroed(1, sizeof *t);

    error_clear(error);
    texts_init(&t->texts);
    if (options->db_path && !options->silent) {
        t->store = store_open(options, &t->texts, error);
        if (!t->store) {
            texts_free(&t->texts);
            free(t);
            return NULL;
        }
    }
    t->silent = options->silent;
    t->stored = t->store ? options->store & TRACE_EVERY : 0;
    t->consumer = (struct consumer){.texts = &t->texts, .store = t->store, .mask = t->stored};
    ring_open(&t->ring, !t->silent && trace_wants_thread(options), trace_consume, &t->consumer);
    return t;
}

// Everything recorded so far is consumed when this returns; the writer thread is idle.
static void trace_drain(struct trace *t)
{
    if (t->head.recording && t->head.pos != ring_block(&t->ring))
        ring_push(&t->ring, (size_t)(t->head.pos - ring_block(&t->ring)));
    ring_drain(&t->ring);
    if (t->head.recording) {
        t->head.pos = ring_block(&t->ring);
        t->head.end = t->head.pos + RING_BLOCK_BYTES;
    }
}

void trace_hold(struct trace *t, const struct trace_interest *interest)
{
    assert(t->in_run);
    trace_drain(t);
    t->consumer.interest = interest;
    ring_hold(&t->ring);
}

bool trace_held_hash(const struct trace *t, struct trace_digest *hash)
{
    struct consumer seen = {
        .texts = t->consumer.texts, .kind_hashes = t->consumer.kind_hashes, .interest = t->consumer.interest};
    const struct ring *ring = &t->ring;
    bool good = ring->holds && !ring->spilled && !t->silent;

    for (int i = 0; good && i < ring->current; i++)
        good = consumer_look(&seen, ring->blocks[i], ring->held[i]);
    good = good && consumer_look(&seen, ring_block(ring), (size_t)(t->head.pos - ring_block(ring)));
    *hash = digest_value(&seen.digest);
    summary_free(&seen.summary);
    return good;
}

bool trace_ring_next(struct trace *t, size_t size)
{
    if (!t->head.recording)
        return false;
    assert(size <= TRACE_RECORD_MAX);
    ring_push(&t->ring, (size_t)(t->head.pos - ring_block(&t->ring)));
    t->head.pos = ring_block(&t->ring);
    t->head.end = t->head.pos + RING_BLOCK_BYTES;
    return true;
}

uint32_t trace_stored(const struct trace *t)
{
    return t->stored;
}

enum trace_status trace_error(const struct trace *t, struct trace_error *error)
{
    if (!t->store)
        return error_clear(error);
    // The writer thread sets the status last; the text is read only when it is seen.
    enum trace_status status = __atomic_load_n(&t->store->error.status, __ATOMIC_ACQUIRE);

    if (status == TRACE_OK)
        return error_clear(error);
    if (error)
        *error = t->store->error;
    return status;
}

// --- Runs. ---

enum trace_status trace_run_begin(struct trace *t, const struct trace_run_info *info, int64_t *run_id,
                                  struct trace_error *error)
{
    char stored[128];

    assert(!t->in_run);
    *run_id = 0;
    category_names(t->stored, stored, sizeof stored);
    if (t->store)
        *run_id = store_run_begin(t->store, info, stored);
    consumer_run_begin(&t->consumer, info->memory);
    t->in_run = true;
    t->head.exit_seq = 0;
    if (!t->silent) {
        t->head.recording = true;
        t->head.pos = ring_block(&t->ring);
        t->head.end = t->head.pos + RING_BLOCK_BYTES;
    }
    return trace_error(t, error);
}

enum trace_status trace_run_end(struct trace *t, enum trace_run_state state, uint64_t tick,
                                struct trace_digest *digest, struct trace_error *error)
{
    char text[TRACE_DIGEST_TEXT];

    assert(t->in_run && state != TRACE_RUNNING);
    trace_drain(t);
    t->head.recording = false;
    t->head.pos = t->head.end = NULL;
    *digest = consumer_run_end(&t->consumer, tick == TRACE_NEVER ? 0 : tick);
    trace_digest_text(*digest, text);
    if (t->store)
        store_run_end(t->store, state, tick, text);
    t->in_run = false;
    return trace_error(t, error);
}

void trace_exit_summary(struct trace *t, trace_exit_row_fn *fn, void *context)
{
    assert(!t->in_run);
    summary_rows(&t->consumer.summary, fn, context);
}

enum trace_status trace_mark_interrupted(struct trace *t, uint64_t tick, struct trace_error *error)
{
    struct trace_digest digest;

    return t->in_run ? trace_run_end(t, TRACE_INTERRUPTED, tick, &digest, error) : trace_error(t, error);
}

enum trace_status trace_flush(struct trace *t, struct trace_error *error)
{
    trace_drain(t);
    if (t->store && t->in_run) {
        store_flush(t->store);
        store_commit(t->store);
    }
    return trace_error(t, error);
}

enum trace_status trace_run_verdict(struct trace *t, int64_t run_id, const char *verdict,
                                    struct trace_error *error)
{
    const struct store_value values[] = {{.text = verdict}, {.integer = &run_id}};

    assert(!t->in_run);
    if (t->store)
        store_execute(t->store, "UPDATE main.runs SET verdict = ? WHERE run = ?", values, 2);
    return trace_error(t, error);
}

enum trace_status trace_expectation(struct trace *t, int64_t run_id,
                                    const struct trace_expectation *expectation, struct trace_error *error)
{
    const struct store_value values[] = {{.integer = &run_id},       {.text = expectation->about},
                                         {.text = expectation->sql}, {.text = expectation->expected},
                                         {.text = expectation->got}, {.text = expectation->verdict}};

    assert(!t->in_run);
    if (t->store)
        store_execute(t->store,
                      "INSERT INTO main.expectations SELECT ?1, 1 + count(*), ?2, ?3, ?4, ?5, ?6 FROM "
                      "main.expectations WHERE run = ?1",
                      values, 6);
    return trace_error(t, error);
}

// --- The rest. ---

void trace_after_fork(struct trace *t)
{
    ring_after_fork(&t->ring);
    // The connection is the parent's: closing it here would drop the parent's locks. It is left alone.
    t->store = t->consumer.store = NULL;
    t->stored = t->consumer.mask = 0;
}

struct trace_statistics trace_statistics(struct trace *t)
{
    struct trace_statistics statistics = {0};

    trace_drain(t);
    statistics.records = t->consumer.records;
    if (t->store) {
        sqlite3_stmt *statement = NULL;

        statistics.rows = t->store->rows;
        statistics.calls = t->store->calls;
        if (sqlite3_prepare_v2(t->store->db,
                               "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", -1,
                               &statement, NULL) == SQLITE_OK &&
            sqlite3_step(statement) == SQLITE_ROW)
            statistics.bytes = (uint64_t)sqlite3_column_int64(statement, 0);
        sqlite3_finalize(statement);
    }
    return statistics;
}

enum trace_status trace_close(struct trace *t, struct trace_error *error)
{
    struct trace_digest digest;

    error_clear(error);
    if (!t)
        return TRACE_OK;
    if (t->in_run)
        trace_run_end(t, TRACE_INCOMPLETE, TRACE_NEVER, &digest, error);
    enum trace_status status = trace_error(t, error);

    ring_close(&t->ring);
    call_recorder_free(&t->consumer.calls);
    summary_free(&t->consumer.summary);
    free(t->consumer.kind_hashes);
    if (t->store)
        store_close(t->store);
    texts_free(&t->texts);
    free(t);
    return status;
}

uint32_t trace_text(struct trace *t, const char *text)
{
    return texts_id(&t->texts, text);
}
