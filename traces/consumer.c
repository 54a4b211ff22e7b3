// SPDX-License-Identifier: Apache-2.0
#include "traces/consumer.h"

#include "traces/interest_inner.h"
#include "traces/kinds.h"
#include "traces/memory.h"

#include <assert.h>

// At most so many texts belong to one record.
enum { BODY_TEXTS = 2 };

static inline uint64_t whole_cycles(uint64_t ticks)
{
    return ticks / TRACE_TICKS_PER_CYCLE;
}

static inline uint64_t text_hash(const struct consumer *c, uint32_t id)
{
    assert(id < texts_count(c->texts));
    return texts_entry(c->texts, id)->hash;
}

// Copies `words` behind a record's first, `head`, out of the ring into the struct that they are, and digests
// both. `ids` are where texts' ids stand in the struct: the digest sees the texts' hashes behind it instead.
static void take_body(struct consumer *c, uint64_t head, const uint64_t *words, void *body, size_t size,
                      uint32_t *const *ids, size_t id_count)
{
    uint32_t kept[BODY_TEXTS];

    assert(id_count <= BODY_TEXTS);
    memcpy(body, words, size);
    for (size_t i = 0; i < id_count; i++) {
        kept[i] = *ids[i];
        *ids[i] = 0;
    }
    digest_words(&c->digest, &head, 1);
    digest_words(&c->digest, body, size / 8);
    for (size_t i = 0; i < id_count; i++) {
        const uint64_t hash = text_hash(c, kept[i]);

        digest_words(&c->digest, &hash, 1);
        *ids[i] = kept[i];
    }
}

static inline int64_t row_id(const struct consumer *c, uint32_t number)
{
    return c->store->run << 32 | number;
}

// A point of time, or NULL.
static void put_time(struct bulk_row *row, int column, uint64_t tick)
{
    row->cells[column] = (int64_t)whole_cycles(tick);
    if (tick == TRACE_NEVER)
        row->nulls |= 1u << column;
}

static void put_or_null(struct bulk_row *row, int column, int64_t value, bool is_null)
{
    row->cells[column] = value;
    if (is_null)
        row->nulls |= 1u << column;
}

// A text's row, or NULL for none.
static void put_text(struct consumer *c, struct bulk_row *row, int column, uint32_t id)
{
    int64_t text = store_text(c->store, id);

    put_or_null(row, column, text, !text);
}

// A row that begins with its number in the run and whom it happened to.
static struct bulk_row *place_row(struct consumer *c, enum store_table table, uint32_t number,
                                  struct trace_where where)
{
    int64_t place = store_place(c->store, where);
    struct bulk_row *row = store_row(c->store, table);

    row->cells[0] = row_id(c, number);
    row->cells[1] = place;
    return row;
}

// --- One function per type of record; each gives the record's size in words. ---

// Calls and returns, as many as follow each other: tens of them belong to each exit, so the digest stays in
// registers.
static const uint64_t *take_calls(struct consumer *c, const uint64_t *record, const uint64_t *end)
{
    const bool store = c->mask & TRACE_CALLS;
    struct digest digest = c->digest;
    uint64_t records = 0;

    for (; record < end; record += 2, records++) {
        uint64_t head = record[0];

        if ((unsigned char)head == TRACE_REC_CALL_BEGIN) {
            struct text_entry *function = texts_entry(c->texts, (uint32_t)(head >> 32));

            digest_two(&digest, (uint32_t)head ^ function->hash, record[1]);
            if (store)
                call_recorder_begin(&c->calls, (uint32_t)head >> 8, function, record[1]);
        } else if ((unsigned char)head == TRACE_REC_CALL_END) {
            digest_two(&digest, head, record[1]);
            if (store)
                call_recorder_end(&c->calls, (uint32_t)head >> 8, record[1]);
        } else {
            break;
        }
    }
    c->digest = digest;
    c->records += records;
    return record;
}

static size_t take_switch(struct consumer *c, const uint64_t *record)
{
    digest_words(&c->digest, record, 3);
    if (c->mask & TRACE_CALLS)
        call_recorder_switch(&c->calls, (uint16_t)record[2], (uint32_t)record[0] >> 8,
                             (uint32_t)(record[0] >> 32), record[1]);
    return 3;
}

static size_t take_exit_begin(struct consumer *c, const uint64_t *record)
{
    digest_words(&c->digest, record, 2);
    if (c->mask & TRACE_CALLS)
        call_recorder_exit(&c->calls, (uint32_t)record[0] >> 8, (uint32_t)(record[0] >> 32), record[1]);
    return 2;
}

static void store_exit_more(struct consumer *c, const struct trace_exit *e, int64_t id, int64_t other)
{
    int64_t device = (int64_t)whole_cycles(e->device_ticks), wait = (int64_t)whole_cycles(e->wait_ticks);

    if (!device && !wait && !other && e->recorded_ns == TRACE_NOT_RECORDED)
        return;
    struct bulk_row *row = store_row(c->store, STORE_EXITS_MORE);

    row->cells[0] = id;
    row->cells[1] = device;
    row->cells[2] = wait;
    row->cells[3] = other;
    put_or_null(row, 4, e->recorded_ns, e->recorded_ns == TRACE_NOT_RECORDED);
}

static void store_exit(struct consumer *c, const struct trace_exit *e)
{
    bool ended = e->entry_tick != TRACE_NEVER;
    int64_t id = row_id(c, ++c->exits);
    int64_t exit_cycle = (int64_t)whole_cycles(e->exit_tick);
    int64_t cycles = ended ? (int64_t)whole_cycles(e->entry_tick) - exit_cycle : 0;
    uint64_t parts =
        (uint64_t)e->hw_exit_ticks + e->hw_entry_ticks + e->hv_ticks + e->device_ticks + e->wait_ticks;
    int64_t other = ended ? (int64_t)(e->entry_tick - e->exit_tick - parts) / TRACE_TICKS_PER_CYCLE : 0;
    int64_t site = store_exit_site(c->store, e, (int64_t)whole_cycles(e->hw_exit_ticks),
                                   (int64_t)whole_cycles(e->hw_entry_ticks));
    struct bulk_row *row = store_row(c->store, STORE_EXITS);

    row->cells[0] = id;
    row->cells[1] = site;
    row->cells[2] = exit_cycle;
    row->cells[3] = (int64_t)whole_cycles(e->guest_ticks);
    put_or_null(row, 4, cycles, !ended);
    row->cells[5] = (int64_t)e->qualification;
    row->cells[6] = (int64_t)e->gpa;
    row->cells[7] = (int64_t)e->seq - c->exits;
    store_exit_more(c, e, id, other);
}

static size_t take_exit(struct consumer *c, const uint64_t *record)
{
    struct trace_exit e;
    uint32_t *const ids[] = {&e.instr, &e.path};

    take_body(c, record[0], record + 1, &e, sizeof e, ids, 2);
    summary_take(&c->summary, &e);
    if (c->mask & TRACE_CALLS)
        call_recorder_exit(&c->calls, e.thread, 0, e.entry_tick == TRACE_NEVER ? 0 : e.entry_tick);
    if (c->mask & TRACE_EVENTS)
        event_groups_exit(c->store, &c->store->groups, e.where.pcpu);
    if (c->mask & TRACE_EXITS)
        store_exit(c, &e);
    return 1 + sizeof e / 8;
}

static size_t take_event(struct consumer *c, const uint64_t *record)
{
    uint32_t kind = (uint32_t)record[0] >> 8, argc = (uint32_t)(record[0] >> 32);
    uint64_t head = record[0] ^ (uint64_t)kind << 8;

    assert(kind < event_kind_count && argc <= TRACE_EVENT_ARGS);
    head ^= c->kind_hashes[kind];
    digest_words(&c->digest, &head, 1);
    digest_words(&c->digest, record + 1, 2 + argc);
    c->events++;
    if (c->mask & TRACE_EVENTS)
        event_groups_add(c->store, c->events, kind, record[1], record + 2, argc);
    return 3 + argc;
}

static size_t take_span(struct consumer *c, const uint64_t *record)
{
    struct trace_span span;
    uint32_t *const ids[] = {&span.name};

    take_body(c, record[0], record + 1, &span, sizeof span, ids, 1);
    c->spans++;
    if (c->mask & TRACE_SPANS) {
        int64_t tag = store_span_tag(c->store, span.where, span.name);
        struct bulk_row *row = store_row(c->store, STORE_SPANS);

        row->cells[0] = row_id(c, c->spans);
        row->cells[1] = tag;
        row->cells[2] = (int64_t)whole_cycles(span.begin_tick);
        row->cells[3] = (int64_t)(whole_cycles(span.end_tick) - whole_cycles(span.begin_tick));
    }
    return 1 + sizeof span / 8;
}

static size_t take_irq(struct consumer *c, const uint64_t *record)
{
    struct trace_irq irq;
    uint32_t *const ids[] = {&irq.route};

    take_body(c, record[0], record + 1, &irq, sizeof irq, ids, 1);
    c->irqs++;
    if (c->mask & TRACE_IRQS) {
        struct bulk_row *row = place_row(c, STORE_IRQS, c->irqs, irq.where);

        row->cells[2] = irq.vector;
        put_text(c, row, 3, irq.route);
        put_time(row, 4, irq.raised_tick);
        put_time(row, 5, irq.injected_tick);
        put_time(row, 6, irq.delivered_tick);
        put_time(row, 7, irq.eoi_tick);
    }
    return 1 + sizeof irq / 8;
}

static void store_lock(struct consumer *c, const struct trace_lock *lock)
{
    struct bulk_row *row = place_row(c, STORE_LOCKS, c->locks, lock->where);
    uint64_t acquired = whole_cycles(lock->acquired_tick);

    put_text(c, row, 2, lock->name);
    put_text(c, row, 3, lock->kind);
    row->cells[4] = (int64_t)lock->address;
    row->cells[5] = lock->thread;
    put_or_null(row, 6, lock->holder, lock->holder == TRACE_NO_THREAD);
    row->cells[7] = (int64_t)acquired;
    row->cells[8] = (int64_t)(acquired - whole_cycles(lock->wait_tick));
    put_or_null(row, 9, (int64_t)(whole_cycles(lock->released_tick) - acquired),
                lock->released_tick == TRACE_NEVER);
}

static size_t take_lock(struct consumer *c, const uint64_t *record)
{
    struct trace_lock lock;
    uint32_t *const ids[] = {&lock.name, &lock.kind};

    take_body(c, record[0], record + 1, &lock, sizeof lock, ids, 2);
    c->locks++;
    if (c->mask & TRACE_LOCKS)
        store_lock(c, &lock);
    return 1 + sizeof lock / 8;
}

static size_t take_violation(struct consumer *c, const uint64_t *record)
{
    struct trace_violation violation;
    uint32_t *const ids[] = {&violation.kind, &violation.detail};

    take_body(c, record[0], record + 1, &violation, sizeof violation, ids, 2);
    c->violations++;
    if (c->mask & TRACE_VIOLATIONS) {
        struct bulk_row *row = place_row(c, STORE_VIOLATIONS, c->violations, violation.where);

        put_text(c, row, 2, violation.kind);
        put_text(c, row, 3, violation.detail);
        put_or_null(row, 4, violation.thread, violation.thread == TRACE_NO_THREAD);
        put_or_null(row, 5, violation.other_thread, violation.other_thread == TRACE_NO_THREAD);
        put_or_null(row, 6, (int64_t)violation.address, !violation.address);
        put_time(row, 7, violation.tick);
    }
    return 1 + sizeof violation / 8;
}

static void store_walk_step(struct consumer *c, const struct trace_walk_step *step)
{
    struct bulk_row *row = store_row(c->store, STORE_WALK_STEPS);

    row->cells[0] = row_id(c, c->walk_steps);
    row->cells[1] = c->walks;
    row->cells[2] = step->stage;
    row->cells[3] = step->level;
    row->cells[4] = (int64_t)step->address;
    row->cells[5] = (int64_t)step->entry;
    put_text(c, row, 6, step->hit);
    row->cells[7] = step->ticks / TRACE_TICKS_PER_CYCLE;
}

static void store_walk(struct consumer *c, const struct trace_walk *walk)
{
    struct bulk_row *row = place_row(c, STORE_WALKS, c->walks, walk->where);

    row->cells[2] = walk->dimension;
    row->cells[3] = walk->access;
    put_or_null(row, 4, (int64_t)walk->gva, walk->gva == UINT64_MAX);
    put_or_null(row, 5, (int64_t)walk->gpa, walk->gpa == UINT64_MAX);
    put_or_null(row, 6, (int64_t)walk->hpa, walk->hpa == UINT64_MAX);
    put_text(c, row, 7, walk->result);
    row->cells[8] = (int64_t)whole_cycles(walk->tick);
    row->cells[9] = (int64_t)(whole_cycles(walk->tick + walk->ticks) - whole_cycles(walk->tick));
}

static size_t take_walk(struct consumer *c, const uint64_t *record)
{
    const uint64_t *step_words = record + 1 + sizeof(struct trace_walk) / 8;
    struct trace_walk walk;
    uint32_t *const ids[] = {&walk.result};

    take_body(c, record[0], record + 1, &walk, sizeof walk, ids, 1);
    c->walks++;
    if (c->mask & TRACE_WALKS)
        store_walk(c, &walk);
    for (uint32_t i = 0; i < walk.step_count; i++, step_words += sizeof(struct trace_walk_step) / 8) {
        struct trace_walk_step step;
        uint32_t *const hits[] = {&step.hit};

        take_body(c, record[0], step_words, &step, sizeof step, hits, 1);
        c->walk_steps++;
        if (c->mask & TRACE_WALKS)
            store_walk_step(c, &step);
    }
    return (size_t)(step_words - record);
}

static size_t take_dirty_page(struct consumer *c, const uint64_t *record)
{
    struct trace_dirty_page page;
    uint32_t *const ids[] = {&page.method};

    take_body(c, record[0], record + 1, &page, sizeof page, ids, 1);
    c->dirty_pages++;
    if (c->mask & TRACE_DIRTY) {
        struct bulk_row *row = place_row(c, STORE_DIRTY_PAGES, c->dirty_pages, page.where);

        put_time(row, 2, page.tick);
        row->cells[3] = page.slot;
        row->cells[4] = (int64_t)page.gfn;
        row->cells[5] = store_text(c->store, page.method);
        row->cells[6] = page.ring;
        put_or_null(row, 7, page.round, page.round == TRACE_NO_ROUND);
    }
    return 1 + sizeof page / 8;
}

static size_t take_instruction(struct consumer *c, const uint64_t *record)
{
    struct trace_instruction i;

    memcpy(&i, record + 1, sizeof i);
    if (c->mask & TRACE_INSTRUCTIONS) {
        struct bulk_row *row = place_row(c, STORE_INSTRUCTIONS, ++c->instructions, i.where);
        uint64_t end = whole_cycles(i.tick + i.ticks), priced = i.ticks - i.stall_ticks;

        row->cells[2] = (int64_t)whole_cycles(i.tick);
        row->cells[3] = (int64_t)i.rip;
        row->cells[4] = store_text(c->store, i.text);
        row->cells[5] = (int64_t)(end - whole_cycles(i.tick));
        row->cells[6] = (int64_t)(end - whole_cycles(i.tick + priced));
    }
    return 1 + sizeof i / 8;
}

static size_t take_counter(struct consumer *c, const uint64_t *record)
{
    uint32_t name = (uint32_t)(record[0] >> 32);
    const uint64_t canonical[2] = {(uint32_t)record[0] ^ text_hash(c, name), record[1]};

    digest_words(&c->digest, canonical, 2);
    if (c->mask & TRACE_COUNTERS) {
        const int64_t value = (int64_t)record[1];
        const struct store_value values[] = {
            {.integer = &c->store->run}, {.text = texts_entry(c->texts, name)->text}, {.integer = &value}};

        store_execute(c->store, "INSERT OR REPLACE INTO main.counters VALUES (?,?,?)", values, 3);
    }
    return 2;
}

// --- Blocks and runs. ---

void consumer_run_begin(struct consumer *c, const char *input)
{
    digest_init(&c->digest, 0);
    if (input)
        digest_words(&c->digest, &(uint64_t){digest_bytes(input, strlen(input), 0).lo}, 1);
    c->exits = c->events = c->spans = c->irqs = c->walks = c->walk_steps = c->locks = c->violations =
        c->dirty_pages = c->instructions = 0;
    summary_begin(&c->summary);
    c->calls.store = c->store;
    if (!c->kind_hashes) {
        c->kind_hashes = memory_zeroed(event_kind_count, sizeof *c->kind_hashes);
        for (uint32_t i = 0; i < event_kind_count; i++)
            c->kind_hashes[i] = digest_bytes(event_kinds[i].name, strlen(event_kinds[i].name), 0).lo;
    }
}

static size_t (*const take[])(struct consumer *, const uint64_t *) = {
    [TRACE_REC_SWITCH] = take_switch,
    [TRACE_REC_EXIT_BEGIN] = take_exit_begin,
    [TRACE_REC_EXIT] = take_exit,
    [TRACE_REC_EVENT] = take_event,
    [TRACE_REC_SPAN] = take_span,
    [TRACE_REC_IRQ] = take_irq,
    [TRACE_REC_LOCK] = take_lock,
    [TRACE_REC_VIOLATION] = take_violation,
    [TRACE_REC_WALK] = take_walk,
    [TRACE_REC_COUNTER] = take_counter,
    [TRACE_REC_DIRTY_PAGE] = take_dirty_page,
    [TRACE_REC_INSTRUCTION] = take_instruction,
};

// Records by type: their words, and the category that they fill.
static const struct {
    uint32_t words, category;
} records[] = {
    [TRACE_REC_CALL_BEGIN] = {2, TRACE_CALLS},
    [TRACE_REC_CALL_END] = {2, TRACE_CALLS},
    [TRACE_REC_SWITCH] = {3, TRACE_CALLS},
    [TRACE_REC_EXIT_BEGIN] = {2, TRACE_EXITS},
    [TRACE_REC_EXIT] = {1 + sizeof(struct trace_exit) / 8, TRACE_EXITS},
    [TRACE_REC_EVENT] = {3, TRACE_EVENTS},
    [TRACE_REC_SPAN] = {1 + sizeof(struct trace_span) / 8, TRACE_SPANS},
    [TRACE_REC_IRQ] = {1 + sizeof(struct trace_irq) / 8, TRACE_IRQS},
    [TRACE_REC_LOCK] = {1 + sizeof(struct trace_lock) / 8, TRACE_LOCKS},
    [TRACE_REC_VIOLATION] = {1 + sizeof(struct trace_violation) / 8, TRACE_VIOLATIONS},
    [TRACE_REC_WALK] = {1 + sizeof(struct trace_walk) / 8, TRACE_WALKS},
    [TRACE_REC_COUNTER] = {2, TRACE_COUNTERS},
    [TRACE_REC_DIRTY_PAGE] = {1 + sizeof(struct trace_dirty_page) / 8, TRACE_DIRTY},
    [TRACE_REC_INSTRUCTION] = {1 + sizeof(struct trace_instruction) / 8, TRACE_INSTRUCTIONS},
};

static size_t words_of(const uint64_t *record)
{
    unsigned type = (unsigned char)*record;
    struct trace_walk walk;

    assert(type && type < sizeof records / sizeof *records);
    if (type == TRACE_REC_EVENT)
        return records[type].words + (*record >> 32);
    if (type != TRACE_REC_WALK)
        return records[type].words;
    memcpy(&walk, record + 1, sizeof walk);
    return records[type].words + walk.step_count * sizeof(struct trace_walk_step) / 8;
}

static bool is_seen(const struct consumer *c, const uint64_t *record)
{
    unsigned type = (unsigned char)*record;

    if (type == TRACE_REC_EVENT)
        return c->interest->events[(uint32_t)record[0] >> 8] != 0;
    return type == TRACE_REC_VIOLATION || (records[type].category & c->interest->whole);
}

void consumer_block(struct consumer *c, const unsigned char *block, size_t size)
{
    const uint64_t *record = (const uint64_t *)(const void *)block, *end = record + size / 8;

    while (record < end) {
        size_t type = (unsigned char)*record;

        assert(type && type < sizeof take / sizeof *take);
        if (__builtin_expect(c->interest && !is_seen(c, record), 0)) {
            c->events += type == TRACE_REC_EVENT;
            record += words_of(record);
        } else if (type <= TRACE_REC_CALL_END) {
            record = take_calls(c, record, end);
        } else {
            record += take[type](c, record);
            c->records++;
        }
    }
}

// The columns of an event that count.
static void look_at_event(struct consumer *c, const uint64_t *record, uint32_t kind, uint32_t columns)
{
    uint32_t argc = (uint32_t)(record[0] >> 32);
    uint64_t seen[5 + TRACE_EVENT_ARGS] = {kind, columns};
    struct trace_where where;
    size_t count = 2;

    memcpy(&where, record + 2, sizeof where);
    const uint64_t fixed[INTEREST_A0] = {
        [INTEREST_SEQ] = c->events, [INTEREST_CYCLE] = record[1], [INTEREST_PCPU] = where.pcpu,
        [INTEREST_VM] = where.vm,   [INTEREST_VCPU] = where.vcpu, [INTEREST_LEVEL] = where.level};

    for (unsigned i = INTEREST_SEQ; i <= INTEREST_LEVEL; i++)
        if (columns >> i & 1)
            digest_two(&c->digest, i, fixed[i]);
    for (unsigned i = 0; i < argc; i++)
        if (columns >> (INTEREST_A0 + i) & 1)
            seen[count++] = record[3 + i];
    digest_words(&c->digest, seen, count);
}

bool consumer_look(struct consumer *c, const unsigned char *block, size_t size)
{
    const uint64_t *record = (const uint64_t *)(const void *)block, *end = record + size / 8;

    for (; record < end; record += words_of(record)) {
        unsigned type = (unsigned char)*record;

        if (type == TRACE_REC_VIOLATION)
            return false;
        if (type == TRACE_REC_EVENT) {
            uint32_t kind = (uint32_t)record[0] >> 8;

            c->events++;
            if (c->interest->events[kind])
                look_at_event(c, record, kind, c->interest->events[kind]);
        } else if (is_seen(c, record)) {
            if (type <= TRACE_REC_CALL_END)
                take_calls(c, record, record + 2);
            else
                take[type](c, record);
        }
    }
    return true;
}

struct trace_digest consumer_run_end(struct consumer *c, uint64_t tick)
{
    if (c->mask & TRACE_CALLS)
        call_recorder_finish(&c->calls, tick);
    return digest_value(&c->digest);
}
