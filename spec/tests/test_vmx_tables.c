// SPDX-License-Identifier: Apache-2.0
//
// The VMX tables obey the laws that the manual gives for all their rows (SDM 24.11.2, Appendices A, B, C).

#include "spec/exit_reasons.h"
#include "spec/tests/rows.h"
#include "spec/vm_errors.h"
#include "spec/vmcs.h"
#include "spec/vmx_controls.h"

static const struct row fields[] = {
#define VMCS_FIELD(name, encoding, section) {#name, encoding},
#include "spec/vmcs_fields.def"
};
static const char *const field_sections[] = {
#define VMCS_FIELD(name, encoding, section) section,
#include "spec/vmcs_fields.def"
};
enum { FIELD_COUNT = sizeof(fields) / sizeof(fields[0]) };

TEST(SpecVmcs, EncodingsAscendAndNamesDiffer)
{
    expect_ascending(ROWS(fields));
    expect_distinct_names(ROWS(fields));
}

TEST(SpecVmcs, EncodingsAreFullAccessWithReservedBitsClear)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        test_row("%s", fields[i].name);
        EXPECT_EQ(VMCS_ENC_HIGH(fields[i].value), 0);
        EXPECT_EQ(fields[i].value & VMCS_ENC_RESERVED, 0);
        EXPECT_EQ(VMCS_ENC(VMCS_ENC_WIDTH(fields[i].value), VMCS_ENC_TYPE(fields[i].value),
                           VMCS_ENC_INDEX(fields[i].value)),
                  fields[i].value);
    }
}

// What the name says about the kind of value decides the width (tables B-1 to B-15).
TEST(SpecVmcs, WidthFollowsFromName)
{
    static const struct {
        const char *suffix;
        enum vmcs_width width;
        unsigned bytes;
    } laws[] = {
        {"_SELECTOR", VMCS_WIDTH_16, 2},  {"_LIMIT", VMCS_WIDTH_32, 4},    {"_AR_BYTES", VMCS_WIDTH_32, 4},
        {"_BASE", VMCS_WIDTH_NATURAL, 8}, {"_CR3", VMCS_WIDTH_NATURAL, 8}, {"_RIP", VMCS_WIDTH_NATURAL, 8},
        {"_COUNT", VMCS_WIDTH_32, 4},     {"_PAT", VMCS_WIDTH_64, 8},      {"_EFER", VMCS_WIDTH_64, 8},
        {"_ADDR", VMCS_WIDTH_64, 8},
    };
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        for (size_t j = 0; j < sizeof(laws) / sizeof(laws[0]); j++) {
            if (ends_with(fields[i].name, laws[j].suffix)) {
                test_row("%s", fields[i].name);
                EXPECT_EQ(VMCS_ENC_WIDTH(fields[i].value), laws[j].width);
                EXPECT_EQ(VMCS_ENC_BYTES(fields[i].value), laws[j].bytes);
            }
        }
    }
}

TEST(SpecVmcs, TypeFollowsFromNameAndSection)
{
    static const char *const sections[] = {[VMCS_TYPE_CONTROL] = "24.",
                                           [VMCS_TYPE_READ_ONLY] = "24.9.",
                                           [VMCS_TYPE_GUEST] = "24.4.",
                                           [VMCS_TYPE_HOST] = "24.5"};
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        unsigned type = VMCS_ENC_TYPE(fields[i].value);
        test_row("%s", fields[i].name);
        EXPECT_EQ(starts_with(fields[i].name, "HOST_"), type == VMCS_TYPE_HOST);
        // The two addresses of an exit are about the guest, but not its state.
        bool guest_name = starts_with(fields[i].name, "GUEST_") &&
                          !starts_with(fields[i].name, "GUEST_PHYSICAL") &&
                          !starts_with(fields[i].name, "GUEST_LINEAR");
        if (guest_name) {
            EXPECT_EQ(type, VMCS_TYPE_GUEST);
        }
        EXPECT_TRUE(starts_with(field_sections[i], sections[type]));
        if (type == VMCS_TYPE_CONTROL) {
            EXPECT_TRUE(strchr("678", field_sections[i][3]) != NULL);
        }
    }
}

TEST(SpecVmcs, SlotsDiffer)
{
    static bool used[VMCS_SLOTS];
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        test_row("%s", fields[i].name);
        ASSERT_LT(VMCS_ENC_INDEX(fields[i].value), VMCS_SLOT_INDEXES);
        ASSERT_LT(VMCS_SLOT(fields[i].value), VMCS_SLOTS);
        EXPECT_FALSE(used[VMCS_SLOT(fields[i].value)]);
        used[VMCS_SLOT(fields[i].value)] = true;
    }
}

static const struct row reasons[] = {
#define EXIT_REASON(number, name, qualification, section) {#name, number},
#include "spec/exit_reasons.def"
};

TEST(SpecExitReasons, AscendAndNamesDiffer)
{
    expect_ascending(ROWS(reasons));
    expect_distinct_names(ROWS(reasons));
}

TEST(SpecExitReasons, RowsAndGapsCoverEveryNumberOnce)
{
    static const int numbers[] = {
#define EXIT_REASON(number, name, qualification, section) number,
#define EXIT_REASON_GAP(number) number,
#include "spec/exit_reasons.def"
    };
    EXPECT_EQ(sizeof(numbers) / sizeof(numbers[0]), EXIT_REASON_COUNT);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        EXPECT_EQ(numbers[i], i);
    }
}

static const struct row vm_errors[] = {
#define VM_ERROR(number, name, text) {#name, number},
#include "spec/vm_errors.def"
};

TEST(SpecVmErrors, AscendAndNamesDiffer)
{
    expect_ascending(ROWS(vm_errors));
    expect_distinct_names(ROWS(vm_errors));
}

struct control {
    const char *group, *name;
    unsigned bit;
    const char *section;
};

static const struct control controls[] = {
#define CTRL(group, name, bit, section) {#group, #name, bit, section},
#include "spec/vmx_controls.def"
};
enum { CONTROL_COUNT = sizeof(controls) / sizeof(controls[0]) };

TEST(SpecControls, EveryBitOfAGroupOnceAndInOrder)
{
    for (size_t i = 0; i < CONTROL_COUNT; i++) {
        test_row("%s %s", controls[i].group, controls[i].name);
        EXPECT_LT(controls[i].bit, 32);
        if (i > 0 && strcmp(controls[i - 1].group, controls[i].group) == 0) {
            EXPECT_LT(controls[i - 1].bit, controls[i].bit);
        }
        for (size_t j = i + 1; j < CONTROL_COUNT; j++) {
            if (strcmp(controls[i].group, controls[j].group) == 0) {
                EXPECT_NE(controls[i].bit, controls[j].bit);
                EXPECT_TRUE(strcmp(controls[i].name, controls[j].name) != 0);
            }
        }
    }
}

TEST(SpecControls, SectionFollowsFromGroup)
{
    static const struct {
        const char *group, *section;
    } laws[] = {{"PIN", "24.6.1"},  {"CPU", "24.6.2"},   {"CPU2", "24.6.2"}, {"CPU3", "24.6.2"},
                {"EXIT", "24.7.1"}, {"EXIT2", "24.7.1"}, {"ENTRY", "24.8.1"}};
    for (size_t i = 0; i < CONTROL_COUNT; i++) {
        unsigned found = 0;
        for (size_t j = 0; j < sizeof(laws) / sizeof(laws[0]); j++) {
            if (strcmp(laws[j].group, controls[i].group) == 0) {
                found++;
                EXPECT_STREQ(controls[i].section, laws[j].section);
            }
        }
        test_row("%s %s", controls[i].group, controls[i].name);
        EXPECT_EQ(found, 1);
    }
}
