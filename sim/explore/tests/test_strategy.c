// SPDX-License-Identifier: Apache-2.0
// The strategies on programs of a few accesses that are simulated here: what they find, what they claim, and
// that they make the same search again.
#include "sim/explore/strategy.h"
#include "tests/shim/shim.h"

#include <stdlib.h>
#include <string.h>

enum { LOAD, STORE, ADD };
struct op {
    int kind;
    unsigned place; // From 1
};
struct program {
    unsigned actors, length;
    struct op op[4][6];
};

// What searches take is never given back one by one.
static void *taken[256];
static unsigned taken_count;

static void free_all(void)
{
    while (taken_count)
        free(taken[--taken_count]);
}

static void *memory(size_t bytes)
{
    if (!taken_count)
        atexit(free_all);
    EXPECT_LT(taken_count, 256);
    return taken[taken_count++] = calloc(1, bytes);
}

static struct explore_access access_of(const struct program *p, unsigned actor, unsigned at)
{
    const struct op *op = &p->op[actor][at];

    return (struct explore_access){.place = op->place, .writes = op->kind != LOAD, .pc = 1 + at};
}

// Everybody at the same pace, but for those that the strategy has stand.
static void execute_timed(const struct program *p, struct strategy *s, char *order)
{
    unsigned at[4] = {0};
    size_t length = 0;

    while (length < (size_t)p->actors * p->length) {
        size_t before = length;

        for (unsigned a = 0; a < p->actors; a++) {
            struct explore_access next;

            if (at[a] == p->length)
                continue;
            next = access_of(p, a, at[a]);
            if (strategy_stands(s, a, &next) == EXPLORE_STANDS)
                continue;
            strategy_made(s, a, &next);
            order[length++] = (char)('0' + a);
            if (++at[a] == p->length)
                strategy_idle(s, a);
        }
        for (unsigned a = 0; a < p->actors && length == before; a++)
            strategy_late(s, a);
    }
    order[length] = 0;
}

// One execution; the order as text, a digit each. False: cut short.
static bool execute(const struct program *p, struct strategy *s, char *order)
{
    unsigned at[4] = {0};
    uint32_t current = EXPLORE_NOBODY;
    size_t length = 0;

    if (strategy_timed(s)) {
        execute_timed(p, s, order);
        return true;
    }
    for (;;) {
        struct explore_decision d = {.current = current, .ready = 0};

        for (unsigned a = 0; a < p->actors; a++)
            if (at[a] < p->length) {
                d.ready |= 1u << a;
                d.next[a] = access_of(p, a, at[a]);
            }
        if (!d.ready)
            break;
        if (current != EXPLORE_NOBODY && !(d.ready >> current & 1))
            d.current = EXPLORE_NOBODY;
        current = strategy_decide(s, &d);
        if (current == EXPLORE_NOBODY)
            break;
        EXPECT_TRUE(d.ready >> current & 1);
        strategy_made(s, current, &d.next[current]);
        at[current]++;
        order[length++] = (char)('0' + current);
    }
    order[length] = 0;
    return current != EXPLORE_NOBODY;
}

// Executions that reached their end, and how many different orders of conflicting accesses those are.
struct searched {
    unsigned executions, complete, kinds;
};

// The order of conflicting accesses: for each place, who accessed it in which order, reads between writes
// sorted.
static void kind_of(const struct program *p, const char *order, char *kind)
{
    unsigned at[4] = {0}, length = 0;
    struct {
        unsigned who, what;
    } ops[32];
    unsigned count = 0;

    for (unsigned place = 1; place <= 4; place++) {
        memset(at, 0, sizeof at);
        count = 0;
        for (const char *o = order; *o; o++) {
            unsigned a = (unsigned)(*o - '0');
            const struct op *op = &p->op[a][at[a]++];

            if (op->place == place) {
                ops[count].who = a * 8 + at[a];
                ops[count++].what = op->kind != LOAD;
            }
        }
        for (unsigned i = 0; i < count; i++) // Neighbouring reads in one order only.
            for (unsigned j = 0; j + 1 < count; j++)
                if (!ops[j].what && !ops[j + 1].what && ops[j].who > ops[j + 1].who) {
                    unsigned swapped = ops[j].who;

                    ops[j].who = ops[j + 1].who;
                    ops[j + 1].who = swapped;
                }
        for (unsigned i = 0; i < count; i++)
            kind[length++] = (char)('!' + ops[i].who);
        kind[length++] = '|';
    }
    kind[length] = 0;
}

static struct searched search(const struct program *p, struct strategy *s, unsigned budget)
{
    static char kinds[4096][64];
    struct searched result = {0};
    char order[64], kind[64];

    while (result.executions < budget && strategy_begin(s)) {
        bool complete = execute(p, s, order);

        strategy_end(s, complete);
        result.executions++;
        if (!complete)
            continue;
        result.complete++;
        kind_of(p, order, kind);
        unsigned i = 0;

        while (i < result.kinds && strcmp(kinds[i], kind) != 0)
            i++;
        if (i == result.kinds && i < 4096)
            strcpy(kinds[result.kinds++], kind);
    }
    return result;
}

static struct strategy *create(enum strategy_kind kind, uint32_t depth, uint64_t seed)
{
    struct strategy_options o = {.kind = kind, .depth = depth, .seed = seed, .parts = 1};

    return strategy_create(&o, memory);
}

// Every order of a program, by brute force.
static unsigned all_kinds(const struct program *p, unsigned *orders)
{
    static char kinds[4096][64];
    unsigned count = 0, at[4], total = p->actors * p->length;
    char order[64], kind[64];
    unsigned long number = 1;

    *orders = 0;
    for (unsigned i = 0; i < total; i++)
        number *= p->actors;
    for (unsigned long n = 0; n < number; n++) {
        unsigned long rest = n;
        bool fits = true;

        memset(at, 0, sizeof at);
        for (unsigned i = 0; i < total; i++, rest /= p->actors) {
            order[i] = (char)('0' + rest % p->actors);
            fits &= ++at[rest % p->actors] <= p->length;
        }
        order[total] = 0;
        if (!fits)
            continue;
        ++*orders;
        kind_of(p, order, kind);
        unsigned i = 0;

        while (i < count && strcmp(kinds[i], kind) != 0)
            i++;
        if (i == count)
            strcpy(kinds[count++], kind);
    }
    return count;
}

static const struct program programs[] = {
    {2, 2, {{{STORE, 1}, {LOAD, 2}}, {{STORE, 2}, {LOAD, 1}}}},                        // store buffering
    {2, 2, {{{STORE, 1}, {STORE, 2}}, {{LOAD, 2}, {LOAD, 1}}}},                        // message passing
    {2, 3, {{{LOAD, 1}, {STORE, 1}, {LOAD, 2}}, {{LOAD, 1}, {STORE, 1}, {STORE, 3}}}}, // a lost update
    {3, 2, {{{STORE, 1}, {LOAD, 2}}, {{STORE, 2}, {LOAD, 3}}, {{STORE, 3}, {LOAD, 1}}}},
    {3, 2, {{{LOAD, 1}, {LOAD, 2}}, {{STORE, 1}, {STORE, 2}}, {{LOAD, 2}, {LOAD, 1}}}},
    {3,
     3,
     {{{ADD, 1}, {ADD, 2}, {LOAD, 3}}, {{ADD, 2}, {ADD, 1}, {LOAD, 3}}, {{LOAD, 1}, {STORE, 3}, {LOAD, 2}}}},
    {4,
     2,
     {{{STORE, 1}, {LOAD, 4}}, {{STORE, 2}, {LOAD, 4}}, {{LOAD, 1}, {LOAD, 2}}, {{LOAD, 2}, {LOAD, 1}}}},
};
enum { PROGRAMS = sizeof programs / sizeof *programs };

TEST(Dfs, MakesEveryOrderOfConflictingAccessesAndNoneTwice)
{
    for (unsigned i = 0; i < PROGRAMS; i++) {
        unsigned orders, kinds = all_kinds(&programs[i], &orders);
        struct strategy *s = create(STRATEGY_DFS, 1, 0);
        struct searched r = search(&programs[i], s, 100000);
        char text[300];

        test_row("program %u: %u orders of %u kinds, %u executions, %u complete", i, orders, kinds,
                 r.executions, r.complete);
        EXPECT_EQ(r.kinds, kinds);
        EXPECT_EQ(r.complete, kinds);
        EXPECT_TRUE(r.executions <= orders);
        strategy_established(s, text, sizeof text);
        EXPECT_STRSTR(text, "every order");
    }
}

TEST(Dfs, SaysSoWhenItIsNotDone)
{
    struct strategy *s = create(STRATEGY_DFS, 1, 0);
    char text[300];

    search(&programs[5], s, 3);
    strategy_established(s, text, sizeof text);
    EXPECT_STRSTR(text, "not all orders");
}

TEST(Delay, MakesAllWithAtMostSoManyDelays)
{
    // Two actors of n accesses each, one delay: the first switches at any of its decisions, or none does.
    struct strategy *s = create(STRATEGY_DELAY, 1, 0);
    struct searched r = search(&programs[2], s, 1000);
    char text[300];

    EXPECT_EQ(r.executions, 1 + 4); // Decisions among two: while neither has come to its end.
    strategy_established(s, text, sizeof text);
    EXPECT_STRSTR(text, "at most 1 delay were made (5 executions)");
    for (unsigned i = 0; i < 4; i++) { // With enough delays nothing is left out where two take turns.
        s = create(STRATEGY_DELAY, 8, 0);
        unsigned orders;

        test_row("program %u", i);
        r = search(&programs[i], s, 10000);
        EXPECT_EQ(r.kinds, all_kinds(&programs[i], &orders));
    }
}

// Makes the executions of one part, each into `orders` by its number; how many.
enum { NUMBERS = 2000, LEARNED = 8 };
static unsigned part_of(enum strategy_kind kind, uint32_t part, uint32_t parts, char orders[NUMBERS][64])
{
    struct strategy *s = create(kind, 2, 3);
    unsigned count = 0;
    char order[64];

    strategy_learn(s);
    for (unsigned i = 0; i < LEARNED; i++) {
        EXPECT_TRUE(strategy_begin(s));
        EXPECT_EQ(strategy_number(s), i);
        strategy_end(s, execute(&programs[5], s, order));
    }
    strategy_split(s, part, parts);
    for (uint64_t last = LEARNED - 1; strategy_begin(s) && strategy_number(s) < NUMBERS; count++) {
        uint64_t number = strategy_number(s);

        EXPECT_TRUE(number > last);
        EXPECT_EQ(orders[number][0], 0); // Nobody else made it.
        strategy_end(s, execute(&programs[5], s, orders[number]));
        last = number;
    }
    return count;
}

TEST(Strategies, MakeTheSameExecutionsInAnyNumberOfParts)
{
    static char whole[NUMBERS][64], split[NUMBERS][64];
    static const uint32_t parts[] = {2, 3, 7};

    for (unsigned kind = 0; kind < STRATEGY_COUNT; kind++) {
        if (strategy_sharing((enum strategy_kind)kind) != SHARED_BY_NUMBER)
            continue;
        memset(whole, 0, sizeof whole);
        unsigned all = part_of((enum strategy_kind)kind, 0, 1, whole);

        for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
            unsigned together = 0;

            test_row("%s in %u parts", strategy_name((enum strategy_kind)kind), parts[i]);
            memset(split, 0, sizeof split);
            for (uint32_t part = 0; part < parts[i]; part++)
                together += part_of((enum strategy_kind)kind, part, parts[i], split);
            EXPECT_EQ(together, all);
            EXPECT_EQ(memcmp(whole, split, sizeof whole), 0);
        }
    }
}

TEST(Delay, IsAsCompleteInLanes)
{
    // What one row of executions makes (the last test but one), many rows make too.
    static char orders[NUMBERS][64];
    struct searched row = search(&programs[5], create(STRATEGY_DELAY, 2, 0), 10000);
    unsigned made = 0, kinds = 0;
    struct strategy *s = create(STRATEGY_DELAY, 2, 3);
    char text[300];

    strategy_learn(s);
    strategy_begin(s);
    strategy_end(s, execute(&programs[5], s, orders[made++]));
    strategy_split(s, 0, 1);
    while (made < NUMBERS && strategy_begin(s))
        strategy_end(s, execute(&programs[5], s, orders[made++]));
    EXPECT_FALSE(strategy_begin(s));
    strategy_established(s, text, sizeof text);
    EXPECT_STRSTR(text, "all executions with at most 2 delays were made (");
    for (unsigned i = 0; i < made; i++) {
        bool known = false;

        for (unsigned j = 0; j < i && !known; j++)
            known = strcmp(orders[i], orders[j]) == 0;
        kinds += !known;
    }
    EXPECT_TRUE(kinds >= row.kinds && made >= row.executions);
}

TEST(Reverse, MakesWhatEachPairTheOtherWayRoundLeadsTo)
{
    for (unsigned i = 0; i < 3; i++) { // Two actors: two reversals lead to every order that differs.
        unsigned orders, kinds = all_kinds(&programs[i], &orders);
        struct strategy *s = create(STRATEGY_REVERSE, 2, 0);
        struct searched r = search(&programs[i], s, 400);

        test_row("program %u: %u kinds, %u executions", i, kinds, r.executions);
        EXPECT_EQ(r.kinds, kinds);
    }
}

// Under one lock, or with memory that was handed over, the order is that of somebody else.
TEST(Reverse, LeavesAloneWhatALockOrders)
{
    struct strategy *s = create(STRATEGY_REVERSE, 1, 0);
    struct explore_access held = {.place = 1, .writes = true, .pc = 7, .locks = 1, .exclusive = 1};
    unsigned executions = 0;
    char text[300];

    while (executions < 50 && strategy_begin(s)) {
        for (unsigned actor = 0; actor < 2; actor++)
            strategy_made(s, actor, &held);
        strategy_end(s, true);
        executions++;
    }
    EXPECT_TRUE(executions < 50);
    strategy_established(s, text, sizeof text);
    EXPECT_STRSTR(text, "0 reversals of accesses that met are known");
}

TEST(Pct, FindsWhatNeedsTwoOrdersAndNamesItsBound)
{
    struct strategy *s = create(STRATEGY_PCT, 2, 7);
    struct searched r = search(&programs[2], s, 400);
    char text[300];

    EXPECT_TRUE(r.kinds >= 4);
    strategy_established(s, text, sizeof text);
    EXPECT_STRSTR(text, "1 execution in 10 (2 actors, 5 decisions); 400 were made");
}

TEST(Strategies, MakeTheSameSearchFromTheSameSeed)
{
    for (unsigned kind = 0; kind < STRATEGY_COUNT; kind++) {
        struct strategy *a = create(kind, 3, 5), *b = create(kind, 3, 5), *c = create(kind, 3, 6);
        unsigned differ = 0;

        test_row("%s", strategy_name(kind));
        for (unsigned i = 0; i < 50; i++) {
            char one[64], two[64], three[64];

            if (!strategy_begin(a))
                break;
            ASSERT_TRUE(strategy_begin(b) && strategy_begin(c));
            strategy_end(a, execute(&programs[5], a, one));
            strategy_end(b, execute(&programs[5], b, two));
            strategy_end(c, execute(&programs[5], c, three));
            EXPECT_STREQ(one, two);
            differ += strcmp(one, three) != 0;
        }
        EXPECT_EQ(differ > 0, kind == STRATEGY_PCT || kind == STRATEGY_RANDOM || kind == STRATEGY_REVERSE);
    }
}
