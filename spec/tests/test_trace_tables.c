// SPDX-License-Identifier: Apache-2.0
//
// Tables of tracepoints, spans, and of other people's numbers obey the laws of all their rows.

#include "spec/exit_reasons.h"
#include "spec/tests/rows.h"

#include <ctype.h>
#include <errno.h>

static const struct tracepoint_row {
    const char *id, *name;
    unsigned argc;
    const char *args, *category;
} tracepoints[] = {
#define TRACEPOINT(id, name, argc, args, category) {#id, #name, argc, args, #category},
#include "spec/tracepoints.def"
};
enum { TRACEPOINT_COUNT = sizeof(tracepoints) / sizeof(tracepoints[0]) };

TEST(SpecTracepoints, IdIsTheNameInUpperCaseAndUnique)
{
    for (size_t i = 0; i < TRACEPOINT_COUNT; i++) {
        const struct tracepoint_row *t = &tracepoints[i];
        test_row("%s", t->id);
        ASSERT_EQ(strlen(t->id), strlen(t->name));
        for (size_t c = 0; t->id[c]; c++) {
            EXPECT_EQ(t->id[c], toupper((unsigned char)t->name[c]));
        }
        for (size_t j = i + 1; j < TRACEPOINT_COUNT; j++) {
            EXPECT_TRUE(strcmp(t->name, tracepoints[j].name) != 0);
        }
    }
}

TEST(SpecTracepoints, ArgumentsAreCountedAndAtMostSix)
{
    for (size_t i = 0; i < TRACEPOINT_COUNT; i++) {
        unsigned names = tracepoints[i].args[0] != 0;
        for (const char *c = tracepoints[i].args; *c; c++) {
            names += *c == ',';
            test_row("%s: %s", tracepoints[i].name, tracepoints[i].args);
            EXPECT_TRUE(islower((unsigned char)*c) || isdigit((unsigned char)*c) || *c == '_' || *c == ',');
        }
        EXPECT_EQ(tracepoints[i].argc, names);
        EXPECT_LE(tracepoints[i].argc, 6);
    }
}

TEST(SpecTracepoints, CategoryIsKnown)
{
    static const char *const categories[] = {"exits",    "irqs",  "timers",     "sched",
                                             "requests", "mmu",   "nested",     "migration",
                                             "locks",    "spans", "violations", "console"};
    for (size_t i = 0; i < TRACEPOINT_COUNT; i++) {
        unsigned found = 0;
        for (size_t j = 0; j < sizeof(categories) / sizeof(categories[0]); j++) {
            found += strcmp(categories[j], tracepoints[i].category) == 0;
        }
        test_row("%s: %s", tracepoints[i].name, tracepoints[i].category);
        EXPECT_EQ(found, 1);
    }
}

enum span_id {
#define SPAN(id, name, meaning) SPAN_##id,
#include "spec/spans.def"
    SPAN_COUNT
};
static const struct row spans[] = {
#define SPAN(id, name, meaning) {name, SPAN_##id},
#include "spec/spans.def"
};

TEST(SpecSpans, NamesDiffer)
{
    EXPECT_EQ(sizeof(spans) / sizeof(spans[0]), SPAN_COUNT);
    expect_ascending(ROWS(spans));
    expect_distinct_names(ROWS(spans));
}

static const struct errno_row {
    const char *name;
    int number, libc;
} errnos[] = {
#define ERRNO(number, name, text) {#name, number, name},
#include "spec/errnos.def"
};

// The C library's numbers come from the same kernel interface, but from other people's table.
TEST(SpecErrnos, AscendAndAgreeWithTheHostsHeaders)
{
    for (size_t i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++) {
        test_row("%s", errnos[i].name);
        EXPECT_EQ(errnos[i].number, errnos[i].libc);
        EXPECT_TRUE(i == 0 || errnos[i - 1].number < errnos[i].number);
    }
}

static const struct row user_exits[] = {
#define EXIT_USER(number, name) {#name, number},
#include "spec/exit_user.def"
};

TEST(SpecUserExits, AscendWithoutGap)
{
    expect_distinct_names(ROWS(user_exits));
    for (size_t i = 0; i < sizeof(user_exits) / sizeof(user_exits[0]); i++) {
        EXPECT_EQ(user_exits[i].value, i);
    }
}

static const struct row svm_exits[] = {
#define SVM_EXIT(code, kernel, plugin, vmx) {kernel, code},
#define SVM_EXIT_ONLY(code, kernel, plugin) {kernel, code},
#include "spec/svm_exit_names.def"
};
static const char *const svm_plugin_names[] = {
#define SVM_EXIT(code, kernel, plugin, vmx) plugin,
#define SVM_EXIT_ONLY(code, kernel, plugin) plugin,
#include "spec/svm_exit_names.def"
};

TEST(SpecSvmExits, AscendAndBothNamesDiffer)
{
    expect_ascending(ROWS(svm_exits));
    expect_distinct_names(ROWS(svm_exits));
    for (size_t i = 0; i < sizeof(svm_exits) / sizeof(svm_exits[0]); i++) {
        test_row("%s", svm_exits[i].name);
        EXPECT_TRUE(svm_plugin_names[i][0] == 0 || starts_with(svm_plugin_names[i], "EXIT_"));
        for (size_t j = i + 1; svm_plugin_names[i][0] && j < sizeof(svm_exits) / sizeof(svm_exits[0]); j++) {
            EXPECT_TRUE(strcmp(svm_plugin_names[i], svm_plugin_names[j]) != 0);
        }
    }
}

// A word must not mean one exit on Intel and another on AMD: the importer tells the vendor from the words.
TEST(SpecSvmExits, NoWordIsAlsoAVmxReason)
{
    static const char *const vmx[] = {
#define EXIT_REASON(number, name, qualification, section) #name,
#include "spec/exit_reasons.def"
    };
    for (size_t i = 0; i < sizeof(svm_exits) / sizeof(svm_exits[0]); i++) {
        for (size_t j = 0; j < sizeof(vmx) / sizeof(vmx[0]); j++) {
            test_row("%s", vmx[j]);
            EXPECT_TRUE(strcmp(svm_exits[i].name, vmx[j]) != 0);
            EXPECT_TRUE(strcmp(svm_plugin_names[i], vmx[j]) != 0);
        }
    }
}

TEST(SpecSvmExits, NearestReasonIsARow)
{
    static const int vmx[] = {
#define SVM_EXIT(code, kernel, plugin, vmx) EXIT_REASON_##vmx,
#include "spec/svm_exit_names.def"
    };
    for (size_t i = 0; i < sizeof(vmx) / sizeof(vmx[0]); i++) {
        EXPECT_LT(vmx[i], EXIT_REASON_COUNT);
    }
}

static const struct row arm64_ec[] = {
#define ARM64_EC(number, name) {#name, number},
#include "spec/arm64_ec.def"
};
static const struct row arm64_exits[] = {
#define ARM64_EXIT(number, name) {#name, number},
#include "spec/arm64_ec.def"
};

TEST(SpecArm64, AscendWithinSixBits)
{
    expect_ascending(ROWS(arm64_ec));
    expect_distinct_names(ROWS(arm64_ec));
    expect_ascending(ROWS(arm64_exits));
    expect_distinct_names(ROWS(arm64_exits));
    EXPECT_LT(arm64_ec[sizeof(arm64_ec) / sizeof(arm64_ec[0]) - 1].value, 64);
}
