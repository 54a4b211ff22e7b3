// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of stream files: one target, parsing of literals.
#ifndef SIM_SCENARIO_TESTS_STREAM_TEST_H
#define SIM_SCENARIO_TESTS_STREAM_TEST_H

#include "sim/scenario/stream.h"
#include "tests/shim/shim.h"

#include <string.h>

// The guest's TSC runs at half of the core clock, so that the two cannot be mixed up unseen.
static const struct stream_target test_target = {
    .clock_khz = 2000000, .tsc_khz = 1000000, .vm = 2, .vcpu = 5};

static inline bool parse_text(const char *text, struct stream_set *set, struct stream_error *error)
{
    return stream_parse("t.stream", text, strlen(text), &test_target, set, error);
}

// Parses text that must be good. On failure the set is empty.
static inline struct stream_set parse_good(const char *text)
{
    struct stream_set set;
    struct stream_error error;
    bool good = parse_text(text, &set, &error);
    EXPECT_STREQ(error.text, "");
    EXPECT_TRUE(good);
    return set;
}

#endif
