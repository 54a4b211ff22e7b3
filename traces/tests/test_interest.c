// SPDX-License-Identifier: Apache-2.0
/* What queries see of a run, and that what they do not see does not count. */
#include "traces/tests/fixture.h"

#include "traces/interest.h"
#include "traces/kinds.h"

#include <stdio.h>
#include <string.h>

static uint16_t kind_of(const char *name)
{
    for (uint32_t i = 0; i < event_kind_count; i++)
        if (strcmp(event_kinds[i].name, name) == 0)
            return (uint16_t)i;
    TEST_FAIL("there is no tracepoint %s", name);
    return 0;
}

// One run's records.
struct told {
    const char *kind;
    uint64_t tick, a0, a1;
    uint16_t pcpu;
    const char *span; // A span of this name as well
    uint32_t exits;   // And so many exits
};

static void tell(struct trace *t, const struct told *told)
{
    const uint64_t args[] = {told->a0, told->a1};

    trace_event(t, (struct trace_where){told->pcpu, 0, 0, 0, 0}, kind_of(told->kind), told->tick, args, 2);
    if (told->span)
        trace_span(t, &(struct trace_span){.name = trace_text(t, told->span), .end_tick = 160});
    for (uint32_t i = 0; i < told->exits; i++)
        trace_exit(t, &(struct trace_exit){.entry_tick = 1600, .arch = TRACE_ARCH_X86, .reason = 10});
}

static struct trace *begin(void)
{
    const struct trace_options options = {.db_path = "", .store = TRACE_ALL, .writer = TRACE_WRITER_INLINE};
    struct trace_error error;
    struct trace *t = trace_open(&options, &error);
    int64_t run;

    EXPECT_EQ(trace_run_begin(t, &fixture_run, &run, &error), TRACE_OK);
    return t;
}

static struct trace_interest *interest_in(const char *sql)
{
    struct trace_interest *interest = trace_interest_create();

    trace_interest_add(interest, sql);
    return interest;
}

static struct trace_digest hash_of(const char *sql, const struct told *told)
{
    struct trace_interest *interest = interest_in(sql);
    struct trace *t = begin();
    struct trace_digest hash;

    trace_hold(t, interest);
    tell(t, told);
    EXPECT_TRUE(trace_held_hash(t, &hash));
    trace_interest_free(interest);
    trace_close(t, NULL);
    return hash;
}

static bool same(struct trace_digest a, struct trace_digest b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

#define MARK .kind = "guest_mark"
#define ONE "SELECT count(*) FROM events WHERE kind = 'guest_mark' AND a1 = 2"
static const struct {
    const char *sql;
    struct told told; // Beside that of a mark with a0 = a1 = 2 at tick 160
    bool differs;
} looks[] = {
    {ONE, {MARK, .tick = 160, .a0 = 2, .a1 = 2}, false},
    {ONE, {MARK, .tick = 160, .a0 = 2, .a1 = 3}, true},
    // Columns that are not read.
    {ONE, {MARK, .tick = 320, .a0 = 2, .a1 = 2}, false},
    {ONE, {MARK, .tick = 160, .a0 = 7, .a1 = 2}, false},
    {ONE, {MARK, .tick = 160, .a0 = 2, .a1 = 2, .pcpu = 1}, false},
    {ONE " AND pcpu = 0", {MARK, .tick = 160, .a0 = 2, .a1 = 2, .pcpu = 1}, true},
    {"SELECT max(cycle) FROM events WHERE kind = 'guest_mark'", {MARK, .tick = 320, .a0 = 2, .a1 = 2}, true},
    {"SELECT max(seq) FROM events WHERE kind = 'guest_mark'", {MARK, .tick = 320, .a0 = 2, .a1 = 2}, false},
    {"SELECT max(args) FROM events", {MARK, .tick = 160, .a0 = 7, .a1 = 2}, true},
    {"SELECT * FROM events", {MARK, .tick = 320, .a0 = 2, .a1 = 2}, true},
    // Other kinds.
    {"SELECT a1 FROM events WHERE kind = 'kvm_entry'", {MARK, .tick = 160, .a0 = 2, .a1 = 3}, false},
    {"SELECT a1 FROM events WHERE kind = 'kvm_entry' OR pcpu = 0",
     {MARK, .tick = 160, .a0 = 2, .a1 = 3},
     true},
    {"SELECT a1 FROM events WHERE kind = 'kvm_entry' OR kind = 'guest_mark'",
     {MARK, .tick = 160, .a0 = 2, .a1 = 3},
     true},
    {"SELECT EXISTS (SELECT 1 FROM events WHERE kind = 'kvm_entry' AND a1 = 3)",
     {MARK, .tick = 160, .a0 = 2, .a1 = 3},
     false},
    {"SELECT a1 FROM events WHERE kind LIKE 'kvm%'", {MARK, .tick = 160, .a0 = 2, .a1 = 3}, true},
    {"SELECT a1 FROM events WHERE kind <> 'kvm_entry'", {MARK, .tick = 160, .a0 = 2, .a1 = 3}, true},
    {"SELECT a1 FROM events WHERE kind IN ('guest_mark', 'kvm_entry')",
     {MARK, .tick = 160, .a0 = 2, .a1 = 3},
     true},
    {"SELECT a1 FROM events WHERE kind = 'GUEST_MARK' COLLATE nocase",
     {MARK, .tick = 160, .a0 = 2, .a1 = 3},
     true},
    {"SELECT a.a1 FROM events a LEFT JOIN events b ON a.kind = 'kvm_entry' AND b.kind = 'kvm_entry'",
     {MARK, .tick = 160, .a0 = 2, .a1 = 3},
     true},
    // Other tables, also where a view reads them.
    {ONE, {MARK, .tick = 160, .a0 = 2, .a1 = 2, .span = "x", .exits = 1}, false},
    {"SELECT count(*) FROM spans", {MARK, .tick = 160, .a0 = 2, .a1 = 2, .span = "x"}, true},
    {"SELECT count(*) FROM exits", {MARK, .tick = 160, .a0 = 2, .a1 = 2, .exits = 1}, true},
    {"SELECT count(*) FROM exits", {MARK, .tick = 320, .a0 = 3, .a1 = 3}, false},
    {"SELECT count(*) FROM events WHERE kind = 'kvm_exit'",
     {MARK, .tick = 160, .a0 = 2, .a1 = 2, .exits = 1},
     true},
    {"SELECT count(*) FROM migrations", {MARK, .tick = 320, .a0 = 3, .a1 = 3}, false},
    {"SELECT count(*) FROM migrations", {.kind = "migration_phase", .tick = 160, .a0 = 2, .a1 = 2}, true},
    // What is no query sees everything.
    {"SELEKT", {MARK, .tick = 320, .a0 = 2, .a1 = 2}, true},
};

TEST(Interest, OnlyWhatTheQueryCanSeeCounts)
{
    const struct told mark = {MARK, .tick = 160, .a0 = 2, .a1 = 2};

    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
        test_row("%s (row %zu)", looks[i].sql, i);
        EXPECT_EQ(!same(hash_of(looks[i].sql, &mark), hash_of(looks[i].sql, &looks[i].told)),
                  looks[i].differs);
    }
}

TEST(Interest, NamesWhatMustBeStored)
{
    static const struct {
        const char *sql;
        uint32_t stored;
    } rows[] = {
        {"SELECT 1", 0},
        {ONE, TRACE_EVENTS},
        {"SELECT count(*) FROM events", TRACE_EVENTS | TRACE_EXITS},
        {"SELECT count(*) FROM dirty_rounds", TRACE_EVENTS},
        {"SELECT count(*) FROM dirty_pages", TRACE_DIRTY},
        {"SELECT count(*) FROM violations", 0},
        {"SELECT count(*) FROM calls", TRACE_CALLS},
        {"SELECT value FROM counters WHERE name = 'exits'", TRACE_COUNTERS},
        {"SELECT count(*) FROM texts", TRACE_ALL},
        {"SELECT nothing FROM nowhere", TRACE_ALL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct trace_interest *interest = interest_in(rows[i].sql);

        test_row("%s", rows[i].sql);
        EXPECT_EQ(trace_interest_stored(interest), rows[i].stored | TRACE_VIOLATIONS);
        trace_interest_free(interest);
    }
}

TEST(Interest, TextsCountAsTextsWhateverTheirNumbers)
{
    struct trace_interest *interest = interest_in("SELECT name FROM spans");
    struct trace_digest hash[3];

    for (int i = 0; i < 3; i++) {
        struct trace *t = begin();

        if (i == 1)
            trace_text(t, "somebody else's");
        trace_hold(t, interest);
        tell(t, &(struct told){MARK, .span = i == 2 ? "other" : "same"});
        EXPECT_TRUE(trace_held_hash(t, &hash[i]));
        trace_close(t, NULL);
    }
    EXPECT_TRUE(same(hash[0], hash[1]));
    EXPECT_FALSE(same(hash[0], hash[2]));
    trace_interest_free(interest);
}

TEST(Interest, SaysNothingOfViolationsOrWhereTooMuchWasRecorded)
{
    struct trace_interest *interest = interest_in(ONE);
    struct trace_digest hash;

    for (int i = 0; i < 2; i++) {
        struct trace *t = begin();

        EXPECT_FALSE(trace_held_hash(t, &hash)); // Nothing is held yet.
        trace_hold(t, interest);
        EXPECT_TRUE(trace_held_hash(t, &hash));
        if (i == 0)
            trace_violation(t, &(struct trace_violation){.kind = trace_text(t, "bad"), .tick = 16});
        for (uint32_t n = 0; i == 1 && n < 300000; n++) // 8 MiB are held at most.
            tell(t, &(struct told){MARK, .tick = n, .a1 = n});
        EXPECT_FALSE(trace_held_hash(t, &hash));
        trace_close(t, NULL);
    }
    trace_interest_free(interest);
}

TEST(Interest, WhatIsSeenIsInTheDatabaseAfterwards)
{
    static const char *const queries[] = {
        "SELECT count(*), sum(a1), max(seq), min(cycle) FROM events WHERE kind = 'guest_mark'",
        "SELECT count(*), sum(cycles) FROM exits", "SELECT count(*) FROM violations"};

    for (size_t q = 0; q < sizeof queries / sizeof *queries; q++) {
        struct trace_interest *interest = interest_in(queries[q]);
        char rows[2][64];

        test_row("%s", queries[q]);
        for (int i = 0; i < 2; i++) {
            struct trace *t = begin();
            struct trace_error error;

            tell(t, &(struct told){MARK, .tick = 16, .exits = 1});
            if (i)
                trace_hold(t, interest);
            for (uint32_t n = 0; n < 5000; n++) {
                tell(t, &(struct told){MARK, .tick = 160 * n, .a0 = n, .a1 = n, .exits = n % 3});
                tell(t, &(struct told){"kvm_entry", .tick = 160 * n + 16, .span = "x"});
            }
            trace_violation(t, &(struct trace_violation){.kind = trace_text(t, "bad"), .tick = 16});
            EXPECT_EQ(trace_flush(t, &error), TRACE_OK);
            snprintf(rows[i], sizeof rows[i], "%s", fixture_query(t, queries[q]));
            trace_close(t, NULL);
        }
        EXPECT_STREQ(rows[0], rows[1]);
        trace_interest_free(interest);
    }
}
