// SPDX-License-Identifier: Apache-2.0
// The PC's devices against a core of a few lines: what a guest reads and writes, and what comes of it.
#include "hv/vmm/tests/pc_fixture.h"
#include "spec/uart_bits.h"
#include <stdlib.h>
#include <string.h>

#define PC_DEVICE(model) extern const struct vmm_pc_model vmm_pc_##model;
#include "hv/vmm/pc_devices.def"
#undef PC_DEVICE
static const struct vmm_pc_model *const models[] = {
#define PC_DEVICE(model) &vmm_pc_##model,
#include "hv/vmm/pc_devices.def"
#undef PC_DEVICE
};
#define RANGES (VMM_PC_RANGES_MAX * sizeof models / sizeof *models)

TEST(VmmPc, RangesDoNotOverlap)
{
    for (u32 i = 0; i < RANGES; i++)
        for (u32 k = 0; k < i; k++) {
            const struct vmm_pc_range *x = &models[i / VMM_PC_RANGES_MAX]->ranges[i % VMM_PC_RANGES_MAX];
            const struct vmm_pc_range *y = &models[k / VMM_PC_RANGES_MAX]->ranges[k % VMM_PC_RANGES_MAX];

            if (x->size && y->size && x->kind == y->kind)
                EXPECT_TRUE(x->base + x->size <= y->base || y->base + y->size <= x->base);
        }
}

TEST(VmmPc, NobodyIsWhereThereIsNoDevice)
{
    u8 data[4];

    make();
    EXPECT_FALSE(vmm_pc_access(&vm, VMM_DEVICE_PORT, 0x3f7, false, data, 1));
    EXPECT_FALSE(vmm_pc_access(&vm, VMM_DEVICE_MMIO, UART_PORT, false, data, 1));
}

TEST(DebugExit, TheCodeIsWhatWasWritten)
{
    make();
    out(0xf4, 0x12345, 4);
    EXPECT_EQ(core.how, GUEST_END_EXIT);
    EXPECT_EQ(core.code, 0x12345);
    out(0xf4, 0, 1);
    EXPECT_EQ(core.code, 0);
    EXPECT_EQ(core.ends, 2);
}

TEST(DebugExit, ShutdownIsAWordOfBytes)
{
    make();
    for (const char *p = "ShutShutdow"; *p; p++)
        out(0x8900, (u8)*p, 1);
    EXPECT_EQ(core.ends, 0);
    out(0x8900, 'n', 1);
    EXPECT_EQ(core.how, GUEST_END_POWER_OFF);
}

TEST(FwCfg, ItemsAreReadByteByByte)
{
    static const struct {
        u16 key;
        u32 bytes;
        u64 value;
    } items[] = {{0x00, 4, 0x554d4551}, {0x01, 4, 1},  {0x03, 8, 0x123456789000},
                 {0x05, 2, 3},          {0x0f, 2, 3},  {0x11, 8, 0},
                 {0x19, 4, 0},          {0x7777, 8, 0}};

    make();
    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        u64 value = 0;

        out(0x510, items[i].key, 2);
        for (u32 n = 0; n < items[i].bytes; n++)
            value |= in(0x511, 1) << 8 * n;
        EXPECT_EQ(value, items[i].value);
        for (u32 n = items[i].bytes; n < 20; n++)
            EXPECT_EQ(in(0x511, 1), 0);
    }
}

TEST(TestDevice, ScratchIsBytesThatAWiderAccessReads)
{
    make();
    out(0xe0, 0x11223344, 4);
    EXPECT_EQ(in(0xe0, 1), 0x44);
    EXPECT_EQ(in(0xe1, 2), 0x2233);
    out(0xe2, 0xabcd, 2);
    EXPECT_EQ(in(0xe0, 4), 0xabcd3344);
    EXPECT_EQ(in(0xe8, 4), 0);
}

TEST(TestDevice, LinesAreDrivenByPorts)
{
    make();
    out(0x200b, 1, 1);
    EXPECT_EQ(core.line[11], 1);
    out(0x200b, 0, 1);
    EXPECT_EQ(core.line[11], 0);
}

TEST(TestDevice, MemoryKeepsWhatIsWritten)
{
    u8 data[8] = {1, 2, 3, 4, 5, 6, 7, 8}, got[8] = {0};

    make();
    EXPECT_TRUE(vmm_pc_access(&vm, VMM_DEVICE_MMIO, 0xff000000 + 0xfff8, true, data, 8));
    EXPECT_TRUE(vmm_pc_access(&vm, VMM_DEVICE_MMIO, 0xff000000 + 0xfffc, false, got, 4));
    EXPECT_EQ(got[0], 5);
    EXPECT_FALSE(vmm_pc_access(&vm, VMM_DEVICE_MMIO, 0xff010000, false, got, 1));
}

TEST(TestDevice, AFlushedPageKeepsItsContent)
{
    make();
    memory[0x5123] = 42;
    out(0xe4, 0x5000, 4);
    EXPECT_EQ(core.freed, (u64)memory + 0x5000);
    EXPECT_EQ(memory[0x5123], 42);
    core.freed = 0;
    vm.slots[0].page_shift = 21; // Its neighbours would go with it.
    out(0xe4, 0x5000, 4);
    out(0xe4, 0xfffff000, 4);
    EXPECT_EQ(core.freed, 0);
}

TEST(Post, ShowsTheLastCode)
{
    make();
    out(0x80, 0xa5, 1);
    EXPECT_EQ(in(0x80, 1), 0xa5);
}

TEST(VmmPc, WritesToGuestMemoryCrossPagesAndStopAtItsEnd)
{
    make();
    memset(memory, 0, sizeof memory);
    EXPECT_EQ(vmm_write_guest(&vm, 0x1ffe, "abcd", 4), 0);
    EXPECT_EQ(memcmp(memory + 0x1ffe, "abcd", 4), 0);
    EXPECT_EQ(vmm_write_guest(&vm, sizeof memory - 2, "abcd", 4), -14); // EFAULT
    EXPECT_EQ(memory[sizeof memory - 1], 'b');
}
