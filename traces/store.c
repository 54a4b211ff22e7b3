// SPDX-License-Identifier: Apache-2.0
#include "traces/store.h"

#include "traces/error.h"
#include "traces/kinds.h"
#include "traces/memory.h"
#include "traces/open.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct {
    const char *name;
    int columns;
    bool counts; // rows come in the order of their numbers
} store_tables[STORE_TABLES] = {
    [STORE_PLACES] = {"places", 5, false},
    [STORE_EXIT_SITES] = {"exit_sites", 10, false},
    [STORE_EXITS] = {"exits_data", 8, true},
    [STORE_EXITS_MORE] = {"exits_more", 5, false},
    [STORE_EVENT_TAGS] = {"event_tags", 3, false},
    [STORE_EVENTS] = {"events_data", 10, true},
    [STORE_EVENT_SHAPES] = {"event_shapes", 9, false},
    [STORE_EVENT_GROUPS] = {"event_groups_data", 4, true},
    [STORE_SPAN_TAGS] = {"span_tags", 3, false},
    [STORE_SPANS] = {"spans_data", 4, true},
    [STORE_IRQS] = {"irqs_data", 8, true},
    [STORE_WALKS] = {"walks_data", 10, true},
    [STORE_WALK_STEPS] = {"walk_steps_data", 8, true},
    [STORE_LOCKS] = {"locks_data", 10, true},
    [STORE_VIOLATIONS] = {"violations_data", 8, true},
    [STORE_DIRTY_PAGES] = {"dirty_pages_data", 8, true},
    [STORE_INSTRUCTIONS] = {"instructions_data", 7, true},
};

void store_fail(struct store *store, const char *doing)
{
    if (store->error.status != TRACE_OK)
        return;
    struct trace_error error;
    enum trace_status status = error_from_sqlite(&error, store->db, store->path, doing);

    memcpy(store->error.message, error.message, sizeof error.message);
    memcpy(store->error.hint, error.hint, sizeof error.hint);
    // Last, so that trace_error() on the other thread finds the texts complete.
    __atomic_store_n(&store->error.status, status, __ATOMIC_RELEASE);
    // SQLite may have rolled back by itself; then this does nothing.
    sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

static bool store_works(const struct store *store)
{
    return store->error.status == TRACE_OK;
}

static bool store_simple(struct store *store, const char *sql, const char *doing)
{
    if (store_works(store) && sqlite3_exec(store->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        store_fail(store, doing);
    return store_works(store);
}

static int64_t store_number(struct store *store, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    int64_t number = 0;

    if (!store_works(store))
        return 0;
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    else
        store_fail(store, "read");
    sqlite3_finalize(statement);
    return number;
}

void store_execute(struct store *store, const char *sql, const struct store_value *values, int n)
{
    sqlite3_stmt *statement = NULL;
    bool done = false;

    if (!store_works(store))
        return;
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) == SQLITE_OK) {
        for (int i = 0; i < n; i++)
            if (values[i].integer)
                sqlite3_bind_int64(statement, i + 1, *values[i].integer);
            else
                sqlite3_bind_text(statement, i + 1, values[i].text, -1, SQLITE_STATIC);
        done = sqlite3_step(statement) == SQLITE_DONE;
    }
    if (!done)
        store_fail(store, "write to it");
    sqlite3_finalize(statement);
}

// --- Opening. ---

static void store_enter_kinds(struct store *store)
{
    store->kinds = memory_zeroed(event_kind_count, sizeof *store->kinds);
    for (uint32_t i = 0; i < event_kind_count; i++) {
        const struct event_kind *kind = &event_kinds[i];
        const int64_t argc = kind->argc;
        struct store_value values[8] = {{.text = kind->name}, {.integer = &argc}};
        char names[256], *rest = names;

        snprintf(names, sizeof names, "%s", kind->arguments);
        for (uint32_t a = 0; a < kind->argc; a++)
            values[2 + a].text = strsep(&rest, ",");
        store_execute(store,
                      "INSERT OR IGNORE INTO main.event_kinds (kind, argc, n0, n1, n2, n3, n4, n5) VALUES "
                      "(?,?,?,?,?,?,?,?)",
                      values, 8);
    }
    for (uint32_t i = 0; i < event_kind_count; i++) {
        char sql[128];

        snprintf(sql, sizeof sql, "SELECT id FROM main.event_kinds WHERE kind = '%s'", event_kinds[i].name);
        store->kinds[i] = store_number(store, sql);
    }
}

static void store_enter_reasons(struct store *store)
{
    for (uint32_t i = 0; i < exit_kind_count; i++) {
        const struct exit_kind *kind = &exit_kinds[i];
        int64_t id = kind->arch << 16 | kind->number;
        struct store_value values[] = {
            {.integer = &id}, {.integer = &kind->arch}, {.integer = &kind->number}, {.text = kind->name}};

        store_execute(store, "INSERT OR IGNORE INTO main.exit_reasons VALUES (?,?,?,?)", values, 4);
    }
}

static void store_prepare(struct store *store)
{
    const struct {
        const char *sql;
        sqlite3_stmt **statement;
    } rows[] = {
        {"INSERT INTO main.texts (text) VALUES (?)", &store->text_insert},
        {"SELECT id FROM main.texts WHERE text = ?", &store->text_find},
        {"INSERT INTO main.call_chunks (run, thread, pcpu, first_cycle, last_cycle, first_exit, last_exit, "
         "calls, packed) "
         "VALUES (?,?,?,?,?,?,?,?,?)",
         &store->chunk_insert},
    };
    int result = SQLITE_OK;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && result == SQLITE_OK; i++)
        result = sqlite3_prepare_v3(store->db, rows[i].sql, -1, SQLITE_PREPARE_PERSISTENT, rows[i].statement,
                                    NULL);
    for (size_t i = 0; i < STORE_TABLES && result == SQLITE_OK; i++)
        result = bulk_open(&store->bulk[i], store->db, store_tables[i].name, store_tables[i].columns,
                           store_tables[i].counts);
    if (result != SQLITE_OK)
        store_fail(store, "write to it");
}

struct store *store_open(const struct trace_options *options, struct texts *texts, struct trace_error *error)
{
    struct store *store = memory_zeroed(1, sizeof *store);

    store->texts = texts;
    store->path = strdup(*options->db_path ? options->db_path : "the temporary database");
    dict_init(&store->places, 1);
    dict_init(&store->exit_sites, 7);
    dict_init(&store->event_tags, 2);
    dict_init(&store->span_tags, 2);
    event_groups_init(&store->groups);
    if (open_for_writing(options->db_path, options->max_bytes, &store->db, &store->created, &store->error) ==
            TRACE_OK &&
        store_simple(store, "BEGIN", "write to it")) {
        store_enter_kinds(store);
        store_enter_reasons(store);
        store_simple(store, "COMMIT", "write to it");
        store->place_base = store_number(store, "SELECT coalesce(max(id),0) FROM main.places");
        store->exit_site_base = store_number(store, "SELECT coalesce(max(id),0) FROM main.exit_sites");
        store->event_tag_base = store_number(store, "SELECT coalesce(max(id),0) FROM main.event_tags");
        store->span_tag_base = store_number(store, "SELECT coalesce(max(id),0) FROM main.span_tags");
        store->event_shape_base =
            store_number(store, "SELECT coalesce(max(id),0) >> 3 FROM main.event_shapes");
        if (store_works(store))
            store_prepare(store);
    }
    if (error)
        *error = store->error;
    if (!store_works(store)) {
        store_close(store);
        return NULL;
    }
    return store;
}

void store_close(struct store *store)
{
    bool useless = store->created && !store_works(store) && !store->marked && !store->runs_complete;

    sqlite3_finalize(store->text_insert);
    sqlite3_finalize(store->text_find);
    sqlite3_finalize(store->chunk_insert);
    for (size_t i = 0; i < STORE_TABLES; i++)
        bulk_close(&store->bulk[i]);
    sqlite3_close(store->db);
    if (useless)
        unlink(store->path);
    dict_free(&store->places);
    dict_free(&store->exit_sites);
    dict_free(&store->event_tags);
    dict_free(&store->span_tags);
    event_groups_free(&store->groups);
    free(store->kinds);
    free(store->path);
    free(store);
}

// --- Runs. ---

static void store_swept(struct store *store, const struct trace_run_info *info)
{
    for (uint32_t i = 0; i < info->swept_count; i++) {
        const struct trace_swept *swept = &info->swept[i];
        const int64_t number = (int64_t)swept->number;
        const struct store_value values[] = {{.integer = &store->run},
                                             {.text = swept->path},
                                             {.text = swept->value},
                                             {.integer = swept->is_number ? &number : NULL}};

        store_execute(store, "INSERT INTO main.swept VALUES (?,?,?,?)", values, 4);
    }
}

int64_t store_run_begin(struct store *store, const struct trace_run_info *info, const char *stored)
{
    const int64_t seed = (int64_t)info->seed, quantum = (int64_t)info->quantum_cycles,
                  khz = (int64_t)info->clock_khz;
    const struct store_value values[] = {
        {.text = info->scenario},    {.text = info->variant}, {.integer = &seed},
        {.text = info->knobs},       {.text = info->uarch},   {.integer = &quantum},
        {.text = info->hv_build_id}, {.integer = &khz},       {.text = stored},
        {.text = info->resolved},    {.text = info->setup},   {.text = info->memory ? info->memory : "tso"},
    };

    store_execute(store,
                  "INSERT INTO main.runs (scenario, variant, seed, knobs, uarch, quantum_cycles, hv_build, "
                  "clock_khz, stored, "
                  "resolved, setup, memory, state) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,'running')",
                  values, 12);
    store->run = store_works(store) ? sqlite3_last_insert_rowid(store->db) : 0;
    store_swept(store, info);
    store->marked = false;
    store->event_rows = store->event_group_rows = 0;
    for (size_t i = 0; i < STORE_TABLES; i++)
        bulk_restart(&store->bulk[i]);
    store_simple(store, "BEGIN", "write to it");
    return store->run;
}

// Says in the database that the run lacks something. Nothing to be done if even that fails: store_close()
// looks at it.
static void store_mark_incomplete(struct store *store)
{
    char sql[96];

    snprintf(sql, sizeof sql, "UPDATE main.runs SET state = 'incomplete' WHERE run = %lld",
             (long long)store->run);
    store->marked = sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

void store_run_end(struct store *store, enum trace_run_state state, uint64_t tick, const char *digest)
{
    static const char *const names[] = {"running", "complete", "interrupted", "incomplete"};
    const int64_t cycles = (int64_t)(tick / TRACE_TICKS_PER_CYCLE);
    const struct store_value values[] = {{.text = names[state]},
                                         {.integer = tick == TRACE_NEVER ? NULL : &cycles},
                                         {.text = digest},
                                         {.integer = &store->run}};

    store_flush(store);
    store_simple(store, "CREATE INDEX IF NOT EXISTS main.call_chunks_by_run ON call_chunks(run, thread)",
                 "write to it");
    store_execute(store, "UPDATE main.runs SET state = ?, cycles = ?, digest = ? WHERE run = ?", values, 4);
    store_simple(store, "COMMIT", "write to it");
    if (store_works(store))
        store->runs_complete++;
    else if (store->run)
        store_mark_incomplete(store);
    store->run = 0;
}

// --- Rows. ---

void store_table_flush(struct store *store, enum store_table table)
{
    struct bulk *bulk = &store->bulk[table];
    int count = bulk->count;

    if (!store_works(store)) {
        bulk->count = 0;
        return;
    }
    if (bulk_flush(bulk) != SQLITE_OK) {
        store_fail(store, "write to it");
        return;
    }
    store->rows += (uint64_t)count;
    store->uncommitted += (uint64_t)count;
    // A transaction's dirty pages leave the cache early; what is bounded here is what a killed process loses.
    if (store->uncommitted >= 1u << 20)
        store_commit(store);
}

void store_flush(struct store *store)
{
    event_groups_close(store);
    for (enum store_table table = 0; table < STORE_TABLES; table++)
        store_table_flush(store, table);
}

void store_commit(struct store *store)
{
    store->uncommitted = 0;
    if (store_simple(store, "COMMIT", "write to it"))
        store_simple(store, "BEGIN", "write to it");
}

void store_chunk(struct store *store, const struct store_chunk *chunk, const void *packed, size_t size)
{
    const int64_t cells[] = {store->run,
                             chunk->thread,
                             chunk->pcpu,
                             (int64_t)chunk->first_cycle,
                             (int64_t)chunk->last_cycle,
                             chunk->first_exit,
                             chunk->last_exit,
                             chunk->calls};
    sqlite3_stmt *insert = store->chunk_insert;

    if (!store_works(store))
        return;
    for (int i = 0; i < 8; i++)
        sqlite3_bind_int64(insert, i + 1, cells[i]);
    sqlite3_bind_blob64(insert, 9, packed, size, SQLITE_STATIC);
    sqlite3_step(insert);
    if (sqlite3_reset(insert) != SQLITE_OK)
        store_fail(store, "write to it");
    store->rows++;
    store->calls += chunk->calls;
}

int64_t store_text_new(struct store *store, struct text_entry *entry)
{
    sqlite3_stmt *const statements[] = {store->text_find, store->text_insert};

    if (!store_works(store))
        return 0;
    for (int i = 0; i < 2 && !entry->db_id && store_works(store); i++) {
        sqlite3_bind_text(statements[i], 1, entry->text, -1, SQLITE_STATIC);
        int result = sqlite3_step(statements[i]);

        if (result == SQLITE_ROW)
            entry->db_id = sqlite3_column_int64(statements[i], 0);
        else if (i == 1 && result == SQLITE_DONE)
            entry->db_id = sqlite3_last_insert_rowid(store->db);
        if (sqlite3_reset(statements[i]) != SQLITE_OK)
            store_fail(store, "write to it");
    }
    return entry->db_id;
}

static void store_nobody(struct bulk_row *row, int column, uint16_t number)
{
    row->cells[column] = number;
    if (number == TRACE_NOBODY)
        row->nulls |= 1u << column;
}

int64_t store_place(struct store *store, struct trace_where where)
{
    uint64_t key;
    bool is_new;

    memcpy(&key, &where, sizeof key);
    int64_t id = store->place_base + dict_number(&store->places, &key, &is_new);

    if (is_new) {
        struct bulk_row *row = store_row(store, STORE_PLACES);

        row->cells[0] = id;
        store_nobody(row, 1, where.pcpu);
        store_nobody(row, 2, where.vm);
        store_nobody(row, 3, where.vcpu);
        row->cells[4] = where.level;
    }
    return id;
}

int64_t store_event_tag(struct store *store, uint32_t kind, struct trace_where where)
{
    uint64_t key[2] = {0, kind};
    bool is_new;

    memcpy(key, &where, sizeof where);
    int64_t id = store->event_tag_base + dict_number(&store->event_tags, key, &is_new);

    if (is_new) {
        int64_t place = store_place(store, where);
        struct bulk_row *row = store_row(store, STORE_EVENT_TAGS);

        row->cells[0] = id;
        row->cells[1] = store->kinds[kind];
        row->cells[2] = place;
    }
    return id;
}

int64_t store_span_tag(struct store *store, struct trace_where where, uint32_t name)
{
    uint64_t key[2] = {0, name};
    bool is_new;

    memcpy(key, &where, sizeof where);
    int64_t id = store->span_tag_base + dict_number(&store->span_tags, key, &is_new);

    if (is_new) {
        int64_t place = store_place(store, where), text = store_text(store, name);
        struct bulk_row *row = store_row(store, STORE_SPAN_TAGS);

        row->cells[0] = id;
        row->cells[1] = place;
        row->cells[2] = text;
    }
    return id;
}

int64_t store_exit_site(struct store *store, const struct trace_exit *e, int64_t hw_exit, int64_t hw_entry)
{
    uint64_t where;

    memcpy(&where, &e->where, sizeof where);
    const uint64_t key[7] = {where,
                             (uint64_t)e->arch << 16 | e->reason,
                             e->rip,
                             (uint64_t)e->instr << 32 | e->path,
                             (uint64_t)e->intr_info << 32 | e->error_code,
                             (uint64_t)hw_exit,
                             (uint64_t)hw_entry};
    bool is_new;
    int64_t id = store->exit_site_base + dict_number(&store->exit_sites, key, &is_new);

    if (is_new) {
        int64_t place = store_place(store, e->where), instr = store_text(store, e->instr);
        int64_t path = store_text(store, e->path);
        struct bulk_row *row = store_row(store, STORE_EXIT_SITES);
        const int64_t cells[] = {id,   place,        (int64_t)key[1], (int64_t)e->rip, instr,
                                 path, e->intr_info, e->error_code,   hw_exit,         hw_entry};

        memcpy(row->cells, cells, sizeof cells);
        row->nulls = (instr ? 0 : 1u << 4) | (path ? 0 : 1u << 5);
    }
    return id;
}
