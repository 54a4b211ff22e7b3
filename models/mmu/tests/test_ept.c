// SPDX-License-Identifier: Apache-2.0
// EPT walks over tables typed by hand from SDM 28.3.2: every reference, right, flag and misconfiguration.
#include "models/cpu/uarch/uarch.h"
#include "models/mmu/ept.h"
#include "models/mmu/tests/fake_mem.h"
#include "spec/vmx_controls.h"
#include "tests/shim/shim.h"
#include <string.h>

static struct uarch uarch;
static struct pcpu cpu;

// Tables at 1000H (PML5), 2000H (PML4), 3000H (PDPT), 4000H (PD), 5000H (PT).
#define CAPS                                                                                                 \
    (EPT_CAP_EXECUTE_ONLY | EPT_CAP_WALK_4 | EPT_CAP_WALK_5 | EPT_CAP_WB | EPT_CAP_UC | EPT_CAP_2M |         \
     EPT_CAP_1G | EPT_CAP_AD)
// gpa 0x7b_c6d8_9abc_def0: indexes 0, 0xf7, 0x11b, 0xc4, 0x1ab and offset; chosen so that all differ.
#define GPA (0x0f7ull << 39 | 0x11bull << 30 | 0x0c4ull << 21 | 0x1abull << 12 | 0x6f0)

static void tables(void)
{
    memset(&uarch, 0, sizeof uarch);
    memset(&cpu, 0, sizeof cpu);
    uarch.address.physical_bits = 46;
    uarch.vmx_cap.ept_vpid = CAPS;
    uarch.l1d.latency_cycles = 4;
    uarch.l2.latency_cycles = 14;
    uarch.l3.latency_cycles = 70;
    uarch.memory.dram_cycles = 200;
    cpu.uarch = &uarch;
    fake_mem_reset();
    fake_set64(0x1000, 0x2007);
    fake_set64(0x2000 + 0xf7 * 8, 0x3007);
    fake_set64(0x3000 + 0x11b * 8, 0x4007);
    fake_set64(0x4000 + 0xc4 * 8, 0x5007);
    fake_set64(0x5000 + 0x1ab * 8, 0x123456037);
}

static struct ept_walk walk(uint64_t eptp, unsigned access)
{
    struct ept_request rq = {
        .eptp = eptp, .gpa = GPA, .access = access, .linear_valid = true, .translates_linear = true};
    struct ept_walk w;

    fake_access_count = 0;
    ept_walk(&cpu, &rq, NULL, &w);
    return w;
}

#define EPTP4 0x201eull
#define EPTP5 0x1026ull

TEST(Ept, FourLevelWalkReadsFourEntriesInOrder)
{
    static const uint64_t addresses[] = {0x2000 + 0xf7 * 8, 0x3000 + 0x11b * 8, 0x4000 + 0xc4 * 8,
                                         0x5000 + 0x1ab * 8};
    struct ept_walk w;

    tables();
    w = walk(EPTP4, EPT_ACCESS_READ);
    EXPECT_EQ(w.fault, EPT_TRANSLATED);
    EXPECT_EQ(w.hpa, 0x1234566f0);
    EXPECT_EQ(w.page_bits, 12);
    EXPECT_EQ(w.memory_type, 6);
    EXPECT_EQ(w.rights & 7, 7);
    EXPECT_EQ(w.step_count, 4);
    EXPECT_EQ(fake_access_count, 4);
    for (unsigned i = 0; i < 4; i++) {
        EXPECT_EQ(w.steps[i].address, addresses[i]);
        EXPECT_EQ(w.steps[i].level, 4 - i);
        EXPECT_FALSE(fake_accesses[i].write);
    }
}

TEST(Ept, FiveLevelWalk)
{
    struct ept_walk w;

    tables();
    w = walk(EPTP5, EPT_ACCESS_READ);
    EXPECT_EQ(w.step_count, 5);
    EXPECT_EQ(w.steps[0].address, 0x1000);
    EXPECT_EQ(w.steps[0].level, 5);
    EXPECT_EQ(w.hpa, 0x1234566f0);
}

TEST(Ept, LargePages)
{
    struct ept_walk w;

    tables();
    fake_set64(0x4000 + 0xc4 * 8, 0x12340000b7);
    w = walk(EPTP4, EPT_ACCESS_WRITE);
    EXPECT_EQ(w.hpa, 0x1234000000 | (GPA & 0x1fffff));
    EXPECT_EQ(w.page_bits, 21);
    EXPECT_EQ(w.step_count, 3);
    tables();
    fake_set64(0x3000 + 0x11b * 8, 0x12400000b7);
    w = walk(EPTP4, EPT_ACCESS_WRITE);
    EXPECT_EQ(w.hpa, 0x1240000000 | (GPA & 0x3fffffff));
    EXPECT_EQ(w.page_bits, 30);
    EXPECT_EQ(w.step_count, 2);
}

TEST(Ept, RightsAreAndedOverTheWalk) // SDM 28.3.3.2
{
    struct ept_walk w;

    tables();
    fake_set64(0x3000 + 0x11b * 8, 0x4005); // No write at the second level.
    w = walk(EPTP4, EPT_ACCESS_WRITE);
    EXPECT_EQ(w.fault, EPT_FAULT_VIOLATION);
    EXPECT_EQ(w.qualification, 0x1aa);
    EXPECT_EQ(w.step_count, 4);
    w = walk(EPTP4, EPT_ACCESS_FETCH);
    EXPECT_EQ(w.fault, EPT_TRANSLATED);
}

TEST(Ept, NotPresentEndsTheWalkThere)
{
    static const uint64_t addresses[] = {0x2000 + 0xf7 * 8, 0x3000 + 0x11b * 8, 0x4000 + 0xc4 * 8,
                                         0x5000 + 0x1ab * 8};

    for (unsigned i = 0; i < 4; i++) {
        struct ept_walk w;

        test_row("level %u", 4 - i);
        tables();
        fake_set64(addresses[i], 0xfffffffffffff8f8); // Bits 2:0 clear: nothing else counts.
        w = walk(EPTP4, EPT_ACCESS_READ);
        EXPECT_EQ(w.fault, EPT_FAULT_VIOLATION);
        EXPECT_EQ(w.level, 4 - i);
        EXPECT_EQ(w.entry_address, addresses[i]);
        EXPECT_EQ(w.qualification, 0x181);
    }
}

TEST(Ept, AccessedAndDirtyFlags) // SDM 28.3.5
{
    struct ept_walk w;

    tables();
    w = walk(EPTP4 | EPTP_AD, EPT_ACCESS_READ);
    EXPECT_EQ(fake_access_count, 8);
    for (unsigned i = 4; i < 8; i++)
        EXPECT_TRUE(fake_accesses[i].write && fake_accesses[i].locked);
    EXPECT_EQ(fake_get64(0x5000 + 0x1ab * 8), 0x123456137);
    EXPECT_FALSE(w.dirty);
    w = walk(EPTP4 | EPTP_AD, EPT_ACCESS_WRITE);
    EXPECT_EQ(fake_access_count, 5); // Only the leaf's dirty flag is new.
    EXPECT_TRUE(w.dirty_set);
    EXPECT_EQ(fake_get64(0x5000 + 0x1ab * 8), 0x123456337);
    EXPECT_EQ(fake_get64(0x4000 + 0xc4 * 8), 0x5107);
    w = walk(EPTP4 | EPTP_AD, EPT_ACCESS_WRITE);
    EXPECT_FALSE(w.dirty_set);
    EXPECT_TRUE(w.dirty);
    EXPECT_EQ(fake_access_count, 4);
}

TEST(Ept, NoFlagsAreSetByARefusedAccess)
{
    tables();
    fake_set64(0x5000 + 0x1ab * 8, 0x123456031);
    EXPECT_EQ(walk(EPTP4 | EPTP_AD, EPT_ACCESS_WRITE).fault, EPT_FAULT_VIOLATION);
    EXPECT_EQ(fake_get64(0x5000 + 0x1ab * 8), 0x123456031);
}

TEST(Ept, Misconfigurations) // SDM 28.3.3.1
{
    static const struct {
        uint64_t entry;
        unsigned level;
        uint64_t caps;
        bool misconfigured;
    } cases[] = {
        {0x2, 4, CAPS, true},  // W without R
        {0x6, 1, CAPS, true},  // W and X without R
        {0x4, 4, CAPS, false}, // X alone
        {0x4, 4, CAPS & ~EPT_CAP_EXECUTE_ONLY, true},
        {0x37, 1, CAPS, false}, // WB
        {0x07, 1, CAPS, false}, // UC
        {0x17, 1, CAPS, true},  // type 2
        {0x1f, 1, CAPS, true},  // type 3
        {0x3f, 1, CAPS, true},  // type 7
        {0x0f, 4, CAPS, true},  // reserved bit 3 of a table
        {0x87, 4, CAPS, true},  // PS in a PML4E
        {0x87, 3, CAPS, false}, // 1 GiB
        {0x87, 3, CAPS & ~EPT_CAP_1G, true},
        {0x87, 2, CAPS & ~EPT_CAP_2M, true},
        {0x10b7, 2, CAPS, true},     // address bit 12 of a 2-MiB page
        {0x200b7, 3, CAPS, true},    // address bit 17 of a 1-GiB page
        {0x200000b7, 3, CAPS, true}, // address bit 29
        {0x400000b7, 3, CAPS, false},
        {1ull << 46 | 0x37, 1, CAPS, true}, // beyond MAXPHYADDR
        {1ull << 45 | 0x37, 1, CAPS, false},
        {1ull << 52 | 0x37, 1, CAPS, false}, // ignored
        {0xb7, 1, CAPS, false},              // bit 7 is ignored in a PTE
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("row %u, entry %#llx", i, (unsigned long long)cases[i].entry);
        EXPECT_EQ(ept_entry_misconfigured(cases[i].entry, cases[i].level, cases[i].caps, 46, false),
                  cases[i].misconfigured);
    }
}

TEST(Ept, UserExecuteIsARightOfItsOwn) // Mode-based execute control, SDM 28.3.3.2
{
    struct ept_request rq = {.eptp = EPTP4, .gpa = GPA, .access = EPT_ACCESS_FETCH, .mode_based_exec = true};
    struct ept_walk w;

    tables();
    ept_walk(&cpu, &rq, NULL, &w);
    EXPECT_EQ(w.fault, EPT_TRANSLATED);
    rq.user = true;
    ept_walk(&cpu, &rq, NULL, &w);
    EXPECT_EQ(w.fault, EPT_FAULT_VIOLATION);
    for (unsigned i = 0; i < 4; i++)
        fake_set64(w.steps[i].address, w.steps[i].entry | EPT_EXEC_USER);
    ept_walk(&cpu, &rq, NULL, &w);
    EXPECT_EQ(w.fault, EPT_TRANSLATED);
}

TEST(Ept, ReadsOfGuestTablesAreWritesWithFlagsOn) // SDM 28.3.3.2
{
    struct ept_request rq = {
        .eptp = EPTP4 | EPTP_AD, .gpa = GPA, .access = EPT_ACCESS_READ, .linear_valid = true};
    struct ept_walk w;

    tables();
    fake_set64(0x5000 + 0x1ab * 8, 0x123456035);
    ept_walk(&cpu, &rq, NULL, &w);
    EXPECT_EQ(w.fault, EPT_FAULT_VIOLATION);
    EXPECT_EQ(w.qualification, 0xab); // Read and write; bit 8 clear.
}

TEST(Ept, WalkTakesTheTimeOfItsReferences)
{
    uint64_t begin;
    struct ept_walk w;

    tables();
    fake_ticks_of_read = 10 * TICKS_PER_CYCLE;
    begin = cpu.now_ticks;
    w = walk(EPTP4, EPT_ACCESS_READ);
    EXPECT_EQ(cpu.now_ticks - begin, 4 * 10 * TICKS_PER_CYCLE);
    EXPECT_EQ(w.steps[2].ticks, 10 * TICKS_PER_CYCLE);
    EXPECT_EQ(w.steps[2].where, EPT_WHERE_L2);
}

TEST(Ept, FullLogKeepsEveryFlag) // SDM 28.3.6: "needs to set an accessed or dirty flag"
{
    struct ept_request rq = {
        .eptp = EPTP4 | EPTP_AD, .gpa = GPA, .access = EPT_ACCESS_READ, .keep_clean = true};
    struct ept_walk w;

    tables();
    ept_walk(&cpu, &rq, NULL, &w);
    EXPECT_TRUE(w.kept_clean);
    EXPECT_EQ(fake_get64(0x2000 + 0xf7 * 8), 0x3007);
    rq.keep_clean = false;
    ept_walk(&cpu, &rq, NULL, &w);
    EXPECT_FALSE(w.kept_clean);
    rq.keep_clean = true; // All flags that a read needs are set now.
    ept_walk(&cpu, &rq, NULL, &w);
    EXPECT_FALSE(w.kept_clean);
    EXPECT_EQ(w.fault, EPT_TRANSLATED);
}

TEST(Ept, AddressesBeyondTheTablesAreNotPresent)
{
    struct ept_request rq = {.eptp = EPTP4, .gpa = 1ull << 48 | GPA, .access = EPT_ACCESS_READ};
    struct ept_walk w;

    tables();
    ept_walk(&cpu, &rq, NULL, &w);
    EXPECT_EQ(w.fault, EPT_FAULT_VIOLATION);
    EXPECT_EQ(w.qualification, 1);
    EXPECT_EQ(w.step_count, 0);
}

TEST(Ept, AdvancedInformationTellsTheGuestsRights) // SDM table 27-7, bits 11:9
{
    struct ept_request rq = {.eptp = EPTP4,
                             .gpa = GPA,
                             .access = EPT_ACCESS_READ,
                             .linear_valid = true,
                             .translates_linear = true,
                             .linear_rights = EPT_LINEAR_USER | EPT_LINEAR_XD};
    struct ept_walk w;

    tables();
    fake_set64(0x5000 + 0x1ab * 8, 0);
    ept_walk(&cpu, &rq, NULL, &w);
    EXPECT_EQ(w.qualification, 0x181); // The processor has none.
    uarch.vmx_cap.ept_vpid |= EPT_CAP_EXIT_INFO;
    ept_walk(&cpu, &rq, NULL, &w);
    EXPECT_EQ(w.qualification, 0xb81);
    rq.translates_linear = false;
    ept_walk(&cpu, &rq, NULL, &w);
    EXPECT_EQ(w.qualification, 0x81);
}

TEST(Ept, PointerRules) // SDM 26.2.1.1
{
    static const struct {
        uint64_t eptp, caps;
        bool valid;
    } cases[] = {
        {0x201e, CAPS, true},
        {0x2018, CAPS, true},
        {0x2019, CAPS, false},
        {0x2016, CAPS, false},
        {0x2026, CAPS, true},
        {0x202e, CAPS, false},
        {0x205e, CAPS, true},
        {0x205e, CAPS & ~EPT_CAP_AD, false},
        {0x209e, CAPS, false},
        {0x211e, CAPS, false},
        {1ull << 46 | 0x1e, CAPS, false},
        {0x2026, CAPS & ~EPT_CAP_WALK_5, false},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("row %u", i);
        EXPECT_EQ(ept_pointer_valid(cases[i].eptp, cases[i].caps, 46), cases[i].valid);
    }
}
