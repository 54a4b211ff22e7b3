// SPDX-License-Identifier: Apache-2.0
// Sweeps: which points there are, what a point is, which mistakes are told.
#include "sim/scenario/scenario.h"
#include "tests/shim/shim.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *write_file(const char *text)
{
    static char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/sweep.yaml", test_tmpdir());
    f = fopen(path, "wb");
    if (f) {
        fwrite(text, 1, strlen(text), f);
        fclose(f);
    }
    return path;
}

// Characters of more than one byte stand before the values: places are counted in characters.
#define HEAD                                                                                                 \
    "scenario: s\nabout: \"größer, größer\"\nmachine: { cpus: 2, memory: 8GiB }\n"                       \
    "vms:\n  - name: a\n    memory: 64MiB # of the first run\n    vcpus:\n      - { stream: a.stream, "      \
    "pcpu: 0 }\n"
#define SWEEP "sweep:\n  vms[0].memory: [1GiB, 2GiB, \"3GiB\"]\n  vms[0].vcpus[0].pcpu: [0, 1]\n"

TEST(Sweep, PointsAreAllCombinationsTheLastFieldTurningFastest)
{
    static const struct {
        uint64_t memory;
        uint32_t pcpu;
        const char *value;
    } want[] = {{1ull << 30, 0, "1GiB"}, {1ull << 30, 1, "1GiB"}, {2ull << 30, 0, "2GiB"},
                {2ull << 30, 1, "2GiB"}, {3ull << 30, 0, "3GiB"}, {3ull << 30, 1, "3GiB"}};
    const char *path = write_file(HEAD SWEEP "expect:\n  - { about: a, at: 2GiB, sql: SELECT 1 }\n");
    struct user_error e = {""};
    struct scenario *s = scenario_load(path, &e);

    EXPECT_STREQ(e.text, "");
    ASSERT_TRUE(s != NULL);
    EXPECT_EQ(scenario_point_count(s), 6);
    EXPECT_EQ(s->vms[0].memory_bytes, 64u << 20); // As written.
    EXPECT_EQ(s->swept_count, 0);
    scenario_free(s);
    for (uint32_t i = 0; i < 6; i++) {
        s = scenario_load_point(path, i, &e);
        EXPECT_STREQ(e.text, "");
        ASSERT_TRUE(s != NULL);
        EXPECT_EQ(s->vms[0].memory_bytes, want[i].memory);
        EXPECT_EQ(s->vms[0].vcpus[0].pcpu, want[i].pcpu);
        EXPECT_STREQ(s->about, "größer, größer");
        ASSERT_EQ(s->swept_count, 2);
        EXPECT_STREQ(s->swept[0].path, "vms[0].memory");
        EXPECT_STREQ(s->swept[0].value, want[i].value);
        EXPECT_EQ(s->swept[0].number, want[i].memory);
        EXPECT_EQ(s->swept[1].number, want[i].pcpu);
        EXPECT_EQ(scenario_is_at(s, "2GiB"), i / 2 == 1);
        EXPECT_EQ(scenario_is_at(s, "vms[0].vcpus[0].pcpu=1"), i % 2 == 1);
        EXPECT_FALSE(scenario_is_at(s, "vms[0].memory=1"));
        scenario_free(s);
    }
}

static char *resolved(const struct scenario *s)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    scenario_print_resolved(s, out);
    fclose(out);
    return text;
}

TEST(Sweep, ResolvedFormsReadBackTheSame)
{
    static const char text[] = HEAD
        "knobs: { mmu.max_page: 4k }\n"
        "sweep:\n  vms[0].memory: [1GiB, 2GiB]\n  knobs.mmu.max_page: [4k, 2m]\n"
        "show:\n  - { as: \"a b\", sql: SELECT 1 }\n"
        "expect:\n  - { about: a, at: 2GiB, sql: SELECT 1 }\n  - { about: b, over: sweep, sql: SELECT 1 }\n";
    struct user_error e = {""};

    for (int point = -1; point < 4; point++) {
        const char *path = write_file(text);
        struct scenario *s =
            point < 0 ? scenario_load(path, &e) : scenario_load_point(path, (uint32_t)point, &e);

        ASSERT_TRUE(s != NULL);
        char *once = resolved(s);

        scenario_free(s);
        s = scenario_load(write_file(once), &e);
        EXPECT_STREQ(e.text, "");
        ASSERT_TRUE(s != NULL);
        // A point's has its values in their places, and only what is expected of it.
        EXPECT_EQ(s->axis_count, point < 0 ? 2 : 0);
        EXPECT_EQ(s->expect_count, point < 0 ? 2 : (uint32_t)(point / 2));
        char *twice = resolved(s);

        EXPECT_STREQ(twice, once);
        scenario_free(s);
        free(once);
        free(twice);
    }
}

TEST(Sweep, MistakesAreToldWithTheirPlace)
{
    static const struct {
        const char *text, *place, *words;
    } mistakes[] = {
        {HEAD "sweep: 3\n", ":9: sweep: ", "expected fields with lists"},
        {HEAD "sweep:\n  vms[0].memory: 1GiB\n", ":10: sweep.vms[0].memory: ", "list of values"},
        {HEAD "sweep:\n  vms[0].memory: []\n", ":10: sweep.vms[0].memory: ", "list of values"},
        {HEAD "sweep:\n  vms[0].memory: [[1]]\n", ":10: sweep.vms[0].memory[0]: ", "expected a value"},
        {HEAD "sweep:\n  vms[0].page: [4KiB]\n", ":10: sweep.vms[0].page: ", "write its usual value"},
        {HEAD "sweep:\n  vms: [4KiB]\n", ":10: sweep.vms: ", "write its usual value"},
        {HEAD SWEEP "expect:\n  - { about: x, at: 4GiB, sql: q }\n", ":13: expect[0].at: ", "no value of"},
        {HEAD SWEEP "expect:\n  - { about: x, over: all, sql: q }\n",
         ":13: expect[0].over: ", "one of: sweep"},
        {HEAD SWEEP "expect:\n  - { about: x, over: sweep, variant: default, sql: q }\n",
         ":13: expect[0].over: ", "neither"},
        {HEAD "expect:\n  - { about: x, at: 4GiB, sql: q }\n", ":10: expect[0]: ", "with a `sweep`"},
    };

    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        struct user_error e = {""};
        const char *path = write_file(mistakes[i].text);
        struct scenario *s = scenario_load(path, &e);

        EXPECT_EQ(s, NULL);
        scenario_free(s);
        ASSERT_GT(strlen(e.text), strlen(path));
        if (!strstr(e.text, mistakes[i].place) || !strstr(e.text, mistakes[i].words))
            printf("case %zu: %s\n", i, e.text);
        EXPECT_STRSTR(e.text + strlen(path), mistakes[i].place);
        EXPECT_STRSTR(e.text, mistakes[i].words);
    }
}

TEST(Sweep, AValueThatDoesNotFitIsToldWhereTheFieldStands)
{
    struct user_error e = {""};
    const char *path = write_file(HEAD "sweep:\n  vms[0].memory: [1GiB, 9GiB]\n");
    struct scenario *s = scenario_load_point(path, 0, &e);

    EXPECT_TRUE(s != NULL);
    scenario_free(s);
    EXPECT_EQ(scenario_load_point(path, 1, &e), NULL);
    EXPECT_STRSTR(e.text, ":6: vms[0].memory: ");
}
