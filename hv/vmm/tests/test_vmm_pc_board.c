// SPDX-License-Identifier: Apache-2.0
// The PC's board: ACPI tables in memory (ACPI 6.4, 5.2), sleeping and resetting, keyboard controller, PCI.
#include "hv/vmm/acpi.h"
#include "hv/vmm/tests/pc_fixture.h"
#include "spec/apic_bits.h"
#include <string.h>

// --- ACPI tables.

static u64 number(u64 gpa, u32 bytes)
{
    u64 value = 0;

    memcpy(&value, memory + gpa, bytes);
    return value;
}
static u8 sum(u64 gpa, u64 bytes)
{
    u8 result = 0;

    for (u64 i = 0; i < bytes; i++)
        result += memory[gpa + i];
    return result;
}

// As guests look for it: on a boundary of 16 bytes in the BIOS' area.
static u64 find_rsdp(void)
{
    for (u64 gpa = 0xe0000; gpa < 0x100000; gpa += 16)
        if (memcmp(memory + gpa, "RSD PTR ", 8) == 0)
            return gpa;
    return 0;
}

static u64 find_table(const char *signature)
{
    u64 xsdt = number(find_rsdp() + 24, 8);

    for (u64 at = xsdt + 36; at < xsdt + number(xsdt + 4, 4); at += 8)
        if (memcmp(memory + number(at, 8), signature, 4) == 0)
            return number(at, 8);
    return 0;
}

TEST(Acpi, EveryTableIsFoundAndSumsToZero)
{
    static const char *const names[] = {"FACP", "APIC", "HPET"};

    memset(memory, 0, sizeof memory);
    make();
    u64 rsdp = find_rsdp(), rsdt = number(rsdp + 16, 4), xsdt = number(rsdp + 24, 8);

    EXPECT_EQ(rsdp, VMM_ACPI_BASE);
    EXPECT_EQ(sum(rsdp, 20), 0);
    EXPECT_EQ(sum(rsdp, 36), 0);
    EXPECT_EQ(memory[rsdp + 15], 2);
    EXPECT_EQ(memcmp(memory + rsdt, "RSDT", 4), 0);
    EXPECT_EQ(memcmp(memory + xsdt, "XSDT", 4), 0);
    EXPECT_EQ(sum(rsdt, number(rsdt + 4, 4)), 0);
    EXPECT_EQ(sum(xsdt, number(xsdt + 4, 4)), 0);
    for (u32 i = 0; i < 3; i++) {
        u64 table = find_table(names[i]);

        test_row("%s", names[i]);
        ASSERT_NE(table, 0);
        EXPECT_EQ(number(rsdt + 36 + 4 * i, 4), table); // Both roots name the same ones.
        EXPECT_EQ(sum(table, number(table + 4, 4)), 0);
        EXPECT_LE(table + number(table + 4, 4), VMM_ACPI_BASE + VMM_ACPI_BYTES_MAX);
    }
}

TEST(Acpi, TheFixedTableNamesTheHardware)
{
    memset(memory, 0, sizeof memory);
    make();
    u64 fadt = find_table("FACP"), facs = number(fadt + 36, 4), dsdt = number(fadt + 40, 4);

    EXPECT_EQ(number(fadt + 4, 4), 244);
    EXPECT_EQ(number(fadt + 46, 2), 9);
    EXPECT_EQ(number(fadt + 48, 4), 0); // No SMI command.
    EXPECT_EQ(number(fadt + 56, 4), 0x600);
    EXPECT_EQ(number(fadt + 64, 4), 0x604);
    EXPECT_EQ(number(fadt + 76, 4), 0x608);
    EXPECT_EQ(number(fadt + 88, 4), 0x04000204); // Lengths.
    EXPECT_EQ(memory[fadt + 108], 0x32);
    EXPECT_EQ(number(fadt + 112, 4), 0x535);
    EXPECT_EQ(number(fadt + 116, 4), 0x0801); // Reset register: 8 bits of I/O.
    EXPECT_EQ(number(fadt + 120, 8), 0xcf9);
    EXPECT_EQ(memory[fadt + 128], 6);
    EXPECT_EQ(number(fadt + 132, 8), facs);
    EXPECT_EQ(number(fadt + 140, 8), dsdt);
    EXPECT_EQ(number(fadt + 148, 4), 0x2001);
    EXPECT_EQ(number(fadt + 152, 8), 0x600);
    EXPECT_EQ(number(fadt + 172, 4), 0x1001);
    EXPECT_EQ(number(fadt + 176, 8), 0x604);
    EXPECT_EQ(number(fadt + 208, 4), 0x2001);
    EXPECT_EQ(number(fadt + 212, 8), 0x608);
    EXPECT_EQ(facs % 64, 0);
    EXPECT_EQ(memcmp(memory + facs, "FACS", 4), 0);
    EXPECT_EQ(number(facs + 4, 4), 64);
    EXPECT_EQ(memory[facs + 32], 1);
    EXPECT_EQ(memcmp(memory + dsdt, "DSDT", 4), 0);
    EXPECT_EQ(sum(dsdt, number(dsdt + 4, 4)), 0);
    // Name (\_S5_, Package (4) {0, 0, 0, 0}) at its end; the encoding was checked with ACPICA's disassembler.
    static const u8 s5[] = {0x08, 0x5c, '_', 'S', '5', '_', 0x12, 0x48, 0x00, 0x04, 0x0a, 0x00, 0, 0, 0};

    EXPECT_EQ(memcmp(memory + dsdt + number(dsdt + 4, 4) - sizeof s5, s5, sizeof s5), 0);
}

TEST(Acpi, TheInterruptTableListsProcessorsAndTheIoapic)
{
    u32 counts[5] = {0}, overrides[16] = {0};

    memset(memory, 0, sizeof memory);
    make();
    u64 madt = find_table("APIC");

    EXPECT_EQ(number(madt + 36, 4), 0xfee00000);
    EXPECT_EQ(number(madt + 40, 4), 1);
    for (u64 at = madt + 44; at < madt + number(madt + 4, 4); at += memory[at + 1]) {
        ASSERT_LT(memory[at], 5);
        ASSERT_GT(memory[at + 1], 0);
        if (memory[at] == 0) { // As the fixture numbers them.
            EXPECT_EQ(memory[at + 2], counts[0]);
            EXPECT_EQ(memory[at + 3], 2 * counts[0]);
            EXPECT_EQ(number(at + 4, 4), 1);
        } else if (memory[at] == 1) {
            EXPECT_EQ(number(at + 4, 4), IOAPIC_DEFAULT_BASE);
            EXPECT_EQ(number(at + 8, 4), 0);
        } else if (memory[at] == 2) {
            overrides[memory[at + 3]] = (u32)(number(at + 4, 4) | number(at + 8, 2) << 8);
        } else if (memory[at] == 4) {
            EXPECT_EQ(memory[at + 2], 0xff);
            EXPECT_EQ(memory[at + 5], 1);
        }
        counts[memory[at]]++;
    }
    EXPECT_EQ(counts[0], PC_VCPUS);
    EXPECT_EQ(counts[1], 1);
    EXPECT_EQ(counts[2], 2);
    EXPECT_EQ(counts[4], 1);
    EXPECT_EQ(overrides[0], 0x502);
    EXPECT_EQ(overrides[9], 0xd09);
    u64 hpet = find_table("HPET");

    EXPECT_EQ(number(hpet + 36, 4), load(VMM_HPET_BASE, 4));
    EXPECT_EQ(number(hpet + 44, 8), VMM_HPET_BASE);
}

// --- Sleeping and resetting.

TEST(Pm, SoftOffEndsTheGuestAndNothingElseSleeps)
{
    make();
    EXPECT_EQ(in(0x604, 2), 1); // Always in ACPI mode.
    out(0x604, 0x1400, 2);      // A type alone does nothing.
    EXPECT_EQ(in(0x604, 2), 0x1401);
    out(0x604, 0x2400, 2); // Type 1, which S3 has elsewhere.
    EXPECT_EQ(core.ends, 0);
    EXPECT_EQ(core.not_modelled, 1);
    out(0x604, 0x00, 1); // Not by bytes.
    EXPECT_EQ(in(0x604, 2), 0x0401);
    out(0x604, 0x2000, 2);
    EXPECT_EQ(core.how, GUEST_END_POWER_OFF);
    EXPECT_EQ(core.not_modelled, 1);
}

TEST(Board, EachResetLineEndsTheGuest)
{
    static const struct {
        u16 ports[2];
        u8 values[2];
        bool resets;
    } rows[] = {
        {{0x64, 0x64}, {0xae, 0xfe}, true},  // Pulse of the controller's line 0.
        {{0x64, 0x64}, {0xae, 0xff}, false}, // Of none.
        {{0x64, 0x64}, {0xfd, 0xf1}, false}, // Of others.
        {{0x64, 0x60}, {0xd1, 0xfe}, true},  // Output port, bit 0.
        {{0x64, 0x60}, {0xd1, 0x01}, false},  {{0x64, 0x60}, {0x60, 0xfe}, false}, // The configuration byte.
        {{0x92, 0x92}, {0x02, 0x03}, true},   {{0x92, 0x92}, {0x00, 0x02}, false},
        {{0xcf9, 0xcf9}, {0x02, 0x06}, true}, {{0xcf9, 0xcf9}, {0x02, 0x00}, false},
    };

    for (u32 i = 0; i < sizeof rows / sizeof *rows; i++) {
        make();
        out(rows[i].ports[0], rows[i].values[0], 1);
        EXPECT_EQ(core.ends, 0);
        out(rows[i].ports[1], rows[i].values[1], 1);
        test_row("port %#x value %#x", rows[i].ports[1], rows[i].values[1]);
        EXPECT_EQ(core.ends, rows[i].resets);
        EXPECT_EQ(core.how, rows[i].resets ? GUEST_END_RESET : GUEST_END_NONE);
    }
}

TEST(I8042, AnswersItsTestsAndHasNoKeyboard)
{
    static const struct {
        u8 command, answer;
    } rows[] = {{0xaa, 0x55}, {0xab, 0x00}, {0xa9, 0x01}, {0x20, 0x04}, {0xd0, 0x03}, {0xc0, 0x00}};

    make();
    EXPECT_EQ(in(0x64, 1), 0x14);
    for (u32 i = 0; i < sizeof rows / sizeof *rows; i++) {
        out(0x64, rows[i].command, 1);
        EXPECT_EQ(in(0x64, 1), 0x1d);
        EXPECT_EQ(in(0x60, 1), rows[i].answer);
        EXPECT_EQ(in(0x64, 1), 0x1c);
    }
    out(0x64, 0x60, 1);
    out(0x60, 0x47, 1);
    out(0x64, 0x20, 1);
    EXPECT_EQ(in(0x60, 1), 0x47);
    out(0x64, 0xd1, 1); // The A20 gate is kept.
    out(0x60, 0x01, 1);
    out(0x64, 0xd0, 1);
    EXPECT_EQ(in(0x60, 1), 0x01);
    out(0x60, 0xff, 1); // To the keyboard: nobody answers.
    EXPECT_EQ(in(0x64, 1), 0x55);
    EXPECT_EQ(in(0x60, 1), 0xfe);
    EXPECT_EQ(in(0x92, 1), 0x02);
    EXPECT_EQ(core.ends, 0);
}

// --- PCI.

static u64 config(u32 devfn, u32 offset, u32 size)
{
    out(0xcf8, 1u << 31 | devfn << 8 | (offset & ~3u), 4);
    return in((u16)(0xcfc + offset % 4), size);
}
static void set_config(u32 devfn, u32 offset, u32 value, u32 size)
{
    out(0xcf8, 1u << 31 | devfn << 8 | (offset & ~3u), 4);
    out((u16)(0xcfc + offset % 4), value, size);
}

TEST(Pci, TheBusHasABridgeAndATestDevice)
{
    make();
    for (u32 devfn = 0; devfn < 256; devfn++)
        EXPECT_EQ(config(devfn, 0, 4), devfn == 0 ? 0x12378086 : devfn == 8 ? 0x00051b36 : 0xffffffff);
    EXPECT_EQ(config(0, 0x0a, 2), 0x0600);
    EXPECT_EQ(config(8, 0x0e, 1), 0); // One function.
    EXPECT_EQ(config(8, 0x40, 4), 0);
    out(0xcf8, 0x800 | 2 | 1u << 31, 4); // The address' low bits count too.
    EXPECT_EQ(in(0xcfc, 2), 0x0005);
    EXPECT_EQ(in(0xcf8, 4), 0x80000802);
    out(0xcf8, 0x800, 4); // Not enabled.
    EXPECT_EQ(in(0xcfc, 4), 0xffffffff);
    out(0xcf8, 1u << 31 | 1u << 16, 4); // Another bus.
    EXPECT_EQ(in(0xcfc, 4), 0xffffffff);
    EXPECT_EQ(in(0xcf8, 1), 0xff); // Of its bytes only the reset register is there.
}

TEST(Pci, BarsTellTheirSizeAndMove)
{
    make();
    set_config(8, 0x10, 0xffffffff, 4);
    set_config(8, 0x14, 0xffffffff, 4);
    EXPECT_EQ(config(8, 0x10, 4), 0xfffff000);
    EXPECT_EQ(config(8, 0x14, 4), 0xffffff01);
    EXPECT_EQ(config(8, 0x18, 4), 0);
    set_config(8, 0, 0, 4); // Read only.
    EXPECT_EQ(config(8, 0, 4), 0x00051b36);
    set_config(8, 0x10, VMM_PCI_MEMORY_BASE + 0x3000, 4);
    set_config(8, 0x15, 0xc1, 1); // A byte of it.
    set_config(8, 0x14, 0x00, 1);
    set_config(8, 0x16, 0x0000, 2);
    EXPECT_EQ(load(VMM_PCI_MEMORY_BASE, 4), 0xffffffff);
    EXPECT_EQ(load(VMM_PCI_MEMORY_BASE + 0x3001, 1), 1);
    EXPECT_EQ(in(0xc001, 1), 0xff);
    EXPECT_EQ(in(0xc101, 1), 1);
    set_config(8, 4, 0, 2); // Decodes nothing any more.
    EXPECT_EQ(load(VMM_PCI_MEMORY_BASE + 0x3001, 1), 0xff);
    EXPECT_EQ(in(0xc101, 1), 0xff);
}

// The device's specification: choose a test, read how to do it, do it, read how often it was seen.
TEST(Pci, TheTestDeviceCountsRightWrites)
{
    make();
    for (u32 bar = 0; bar < 2; bar++) {
        u64 base = bar ? VMM_PCI_IO_BASE : VMM_PCI_MEMORY_BASE;
#define READ(offset, size) (bar ? in((u16)(base + (offset)), size) : load(base + (offset), size))
#define WRITE(offset, value) (bar ? out((u16)(base + (offset)), value, 1) : store(base + (offset), value, 1))
        test_row("bar %u", bar);
        WRITE(0, 0);
        EXPECT_EQ(READ(1, 1), 1);
        u32 offset = (u32)READ(4, 4);
        u8 data = (u8)READ(8, 4);

        EXPECT_EQ(READ(12, 4), 0);
        WRITE(offset, data);
        WRITE(offset, data);
        WRITE(offset, (u8)(data + 1));
        EXPECT_EQ(READ(12, 4), 2);
        EXPECT_EQ(READ(16, 1), bar ? 'p' : 'm');
        EXPECT_EQ(READ(31, 1), 0);
        WRITE(0, 1); // There is no second one.
        EXPECT_EQ(READ(1, 1), 0);
        WRITE(0, 0);
        EXPECT_EQ(READ(12, 4), 0);
#undef READ
#undef WRITE
    }
    EXPECT_EQ(load(VMM_PCI_MEMORY_BASE + 16, 8), 0x2d6f6e2d6f696d6d);
}
