// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_STORE_H
#define HVSIM_TRACES_STORE_H

/*
 * The database being written. After its first failure a store drops everything it is given and remembers the
 * error: a run goes on, because its digest and its cycles do not need a disk.
 *
 * One thread at a time. Rows of the open run are visible to readers on store->db at once after store_flush().
 */

#include "traces/bulk.h"
#include "traces/dict.h"
#include "traces/event_groups.h"
#include "traces/text.h"
#include "traces/trace.h"

enum { STORE_APPLICATION_ID = 0x68767369, STORE_VERSION = 6 };

enum store_table {
    STORE_PLACES,
    STORE_EXIT_SITES,
    STORE_EXITS,
    STORE_EXITS_MORE,
    STORE_EVENT_TAGS,
    STORE_EVENTS,
    STORE_EVENT_SHAPES,
    STORE_EVENT_GROUPS,
    STORE_SPAN_TAGS,
    STORE_SPANS,
    STORE_IRQS,
    STORE_WALKS,
    STORE_WALK_STEPS,
    STORE_LOCKS,
    STORE_VIOLATIONS,
    STORE_DIRTY_PAGES,
    STORE_INSTRUCTIONS,
    STORE_TABLES,
};

struct store {
    sqlite3 *db;
    char *path;
    struct texts *texts;
    bool created; // by this store_open()
    bool marked;  // the open run's row says that it is incomplete
    uint64_t runs_complete;
    struct trace_error error; // the first one; status OK while all is well
    int64_t run;              // open run, 0 none
    uint64_t uncommitted;     // rows
    uint64_t rows, calls;
    struct bulk bulk[STORE_TABLES];
    struct dict places, exit_sites, event_tags, span_tags;
    int64_t place_base, exit_site_base, event_tag_base, span_tag_base; // highest ids that were there before
    struct event_groups groups;
    int64_t event_shape_base;
    uint32_t event_rows, event_group_rows; // last numbers of the open run
    int64_t *kinds;                        // event_kinds.id of each tracepoint
    sqlite3_stmt *text_insert, *text_find, *chunk_insert;
};

// What a chunk of calls is, beside its bytes.
struct store_chunk {
    uint32_t thread;
    uint16_t pcpu;
    uint64_t first_cycle, last_cycle;
    uint32_t first_exit, last_exit, calls;
};

struct store *store_open(const struct trace_options *options, struct texts *texts, struct trace_error *error);

// Closes; removes the file if nothing but a failed run is in it and even that could not be said in it.
void store_close(struct store *store);

// A new row of `runs`, committed. Gives its number, or 0 after a failure.
int64_t store_run_begin(struct store *store, const struct trace_run_info *info, const char *stored);
void store_run_end(struct store *store, enum trace_run_state state, uint64_t tick, const char *digest);

// Hands all gathered rows to SQLite; commits.
void store_flush(struct store *store);
void store_commit(struct store *store);

// Remembers SQLite's last error, gives the transaction up. doing completes "cannot ...".
void store_fail(struct store *store, const char *doing);

// Runs SQL that gives no rows, once, with n parameters: integers, or texts (NULL for NULL) where integer is
// NULL.
struct store_value {
    const int64_t *integer;
    const char *text;
};
void store_execute(struct store *store, const char *sql, const struct store_value *values, int n);

void store_chunk(struct store *store, const struct store_chunk *chunk, const void *packed, size_t size);

// texts.id of a trace_text() id, 0 for none.
int64_t store_text_new(struct store *store, struct text_entry *entry);
static inline int64_t store_text(struct store *store, uint32_t id)
{
    struct text_entry *entry = texts_entry(store->texts, id);

    return entry->db_id || !id ? entry->db_id : store_text_new(store, entry);
}

int64_t store_place(struct store *store, struct trace_where where);
int64_t store_event_tag(struct store *store, uint32_t kind, struct trace_where where);
int64_t store_span_tag(struct store *store, struct trace_where where, uint32_t name);
// The row of an exit's site; whole cycles of the hardware's parts.
int64_t store_exit_site(struct store *store, const struct trace_exit *e, int64_t hw_exit, int64_t hw_entry);

// A row of table for the caller to fill; the batch before it goes to SQLite when it is full.
void store_table_flush(struct store *store, enum store_table table);
static inline struct bulk_row *store_row(struct store *store, enum store_table table)
{
    struct bulk *bulk = &store->bulk[table];

    if (bulk_is_full(bulk))
        store_table_flush(store, table);
    struct bulk_row *row = bulk_next(bulk);

    row->nulls = 0;
    return row;
}

#endif
