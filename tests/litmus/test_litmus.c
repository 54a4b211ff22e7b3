// SPDX-License-Identifier: Apache-2.0
// Each litmus test has exactly the outcomes that its row allows, under each model, over all executions.
#include "tests/litmus/harness.h"
#include "tests/shim/shim.h"
#include <stdio.h>
#include <string.h>

struct row {
    const char *name, *program, *observed;
    const char *adds[LITMUS_MODEL_COUNT]; // On top of the models before
};

static const struct row rows[] = {
#define LITMUS(name, program, observed, sc, tso, c11, lb) {name, program, observed, {sc, tso, c11, lb}},
#include "tests/litmus/litmus.def"
#undef LITMUS
};
#define ROWS (sizeof rows / sizeof *rows)

static const char *const model_names[] = {"sc", "tso", "c11", "c11 with promises"};

static bool allowed(const struct row *r, enum litmus_model model, const char *outcome)
{
    for (uint32_t i = 0; i <= (uint32_t)model; i++)
        if (strstr(r->adds[i], outcome))
            return true;
    return false;
}

static uint32_t allowed_count(const struct row *r, enum litmus_model model)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i <= (uint32_t)model; i++)
        for (const char *p = r->adds[i]; *p; p += strcspn(p, " "), p += *p == ' ')
            count++;
    return count;
}

static bool has(const struct litmus_outcomes *o, const char *text, size_t length)
{
    for (uint32_t i = 0; i < o->count; i++)
        if (strlen(o->text[i]) == length && memcmp(o->text[i], text, length) == 0)
            return true;
    return false;
}

static void compare(const struct row *r, enum litmus_model model)
{
    struct litmus_test t;
    struct litmus_outcomes o;
    char error[100] = "";

    test_row("%s under %s", r->name, model_names[model]);
    ASSERT_TRUE(litmus_parse(r->program, r->observed, &t, error, sizeof error));
    litmus_run(&t, model, &o);
    for (uint32_t i = 0; i < o.count; i++)
        if (!allowed(r, model, o.text[i]))
            TEST_FAIL("%s under %s: %s is not allowed", r->name, model_names[model], o.text[i]);
    for (uint32_t i = 0; i <= (uint32_t)model; i++)
        for (const char *p = r->adds[i]; *p; p += strcspn(p, " "), p += *p == ' ')
            if (!has(&o, p, strcspn(p, " ")))
                TEST_FAIL("%s under %s: %.*s is missing", r->name, model_names[model], (int)strcspn(p, " "),
                          p);
    EXPECT_EQ(o.count, allowed_count(r, model));
}

static void compare_all(enum litmus_model model)
{
    char error[512] = "";

    ASSERT_TRUE(litmus_open(test_source_dir(), test_build_dir(), error, sizeof error));
    EXPECT_STREQ(error, "");
    for (size_t i = 0; i < ROWS; i++)
        compare(&rows[i], model);
    litmus_close();
}

TEST(Litmus, SequentialConsistency)
{
    compare_all(LITMUS_MODEL_SC);
}

TEST(Litmus, TotalStoreOrder)
{
    compare_all(LITMUS_MODEL_TSO);
}

TEST(Litmus, C11)
{
    compare_all(LITMUS_MODEL_C11);
}

TEST(Litmus, C11WithLoadBuffering)
{
    compare_all(LITMUS_MODEL_C11_LB);
}
