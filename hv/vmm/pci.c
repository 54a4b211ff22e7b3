// SPDX-License-Identifier: Apache-2.0
// PCI of the PC (PCI Local Bus 3.0, 3.2.2.3, 6.2): configuration mechanism 1 with a host bridge at 00:00.0
// and the test device of emulators at 00:01.0, whose specification says what its two BARs do; and the reset
// control register that chipsets have amidst the configuration ports.
//
//   0xcf8  CONFIG_ADDRESS, 4 bytes. As with emulators, bits 1:0 count too: software relies on it.
//   0xcf9  reset control, 1 byte: bit 2 rising resets, which ends the guest
//   0xcfc  CONFIG_DATA, 1, 2 or 4 bytes
//
// BARs may be moved within the bridge's windows (acpi.h); outside of them nobody decodes them.
#include "hv/lib/string.h"
#include "hv/vmm/acpi.h"
#include "hv/vmm/pc.h"

#define DATA_PORT 0xcfcu
#define ADDRESS_ENABLE (1u << 31)
#define RESET_CPU 0x04u
#define RESET_KEPT 0x0eu // Full, CPU and system reset.

enum config_register {
    PCI_ID = 0x00,
    PCI_COMMAND = 0x04,
    PCI_CLASS = 0x08,
    PCI_BAR0 = 0x10,
    PCI_SUBSYSTEM = 0x2c
};
#define COMMAND_IO 0x1u
#define COMMAND_MEMORY 0x2u
#define BAR_IO 0x1u

#define TEST_DEVFN (1u << 3)
#define TEST_MEMORY_BYTES 0x1000u
#define TEST_IO_BYTES 0x100u
#define TEST_MEMORY_BASE VMM_PCI_MEMORY_BASE
#define TEST_IO_BASE VMM_PCI_IO_BASE

// A dword of configuration space: after reset, and which bits software may write.
struct config_row {
    u32 devfn, offset, value, writable;
};
static const struct config_row config_rows[] = {
    {0, PCI_ID, 0x12378086, 0}, // 82441FX
    {0, PCI_COMMAND, COMMAND_IO | COMMAND_MEMORY, 0},
    {0, PCI_CLASS, 0x06000002, 0},
    {TEST_DEVFN, PCI_ID, 0x00051b36, 0},
    {TEST_DEVFN, PCI_COMMAND, COMMAND_IO | COMMAND_MEMORY, 0x407},
    {TEST_DEVFN, PCI_CLASS, 0x00ff0000, 0},
    {TEST_DEVFN, PCI_BAR0, TEST_MEMORY_BASE, ~(TEST_MEMORY_BYTES - 1)},
    {TEST_DEVFN, PCI_BAR0 + 4, TEST_IO_BASE | BAR_IO, ~(TEST_IO_BYTES - 1)},
    {TEST_DEVFN, PCI_SUBSYSTEM, 0x11001af4, 0},
};
#define ROWS (sizeof config_rows / sizeof *config_rows)

// What a BAR of the test device begins with, as its specification has it.
enum test_register {
    TEST_NUMBER = 0,
    TEST_WIDTH = 1,
    TEST_OFFSET = 4,
    TEST_DATA = 8,
    TEST_COUNT = 12,
    TEST_NAME = 16
};
#define TEST_HEADER_BYTES 32u
// The one test of each BAR: an access that leaves to user space. There are no event descriptors here that
// would make a second.
#define TEST_WRITE_OFFSET 0x80u
#define TEST_WRITE_DATA 0xa5u
static const char test_names[2][TEST_HEADER_BYTES - TEST_NAME] = {"mmio-no-eventfd", "pio-no-eventfd"};

struct test_bar {
    u8 number;
    u32 count; // Writes that were right since the test was chosen.
};
struct pci {
    u32 address;
    u8 reset_control;
    u32 values[ROWS];
    struct test_bar bars[2];
};

// --- Configuration space. What has no row reads as zero, a function that is not there as all ones.

static u32 config_read(const struct pci *p, u32 devfn, u32 offset)
{
    bool exists = false;

    for (u32 i = 0; i < ROWS; i++) {
        exists |= config_rows[i].devfn == devfn;
        if (config_rows[i].devfn == devfn && config_rows[i].offset == offset)
            return p->values[i];
    }
    return exists ? 0 : UINT32_MAX;
}

static void config_write(struct pci *p, u32 devfn, u32 offset, u32 value, u32 mask)
{
    for (u32 i = 0; i < ROWS; i++)
        if (config_rows[i].devfn == devfn && config_rows[i].offset == offset) {
            mask &= config_rows[i].writable;
            p->values[i] = (p->values[i] & ~mask) | (value & mask);
        }
}

static u32 size_mask(u32 size)
{
    return size >= 4 ? UINT32_MAX : (1u << 8 * size) - 1;
}

// Where CONFIG_DATA leads to: bus 0 has all there is.
static bool selected(const struct pci *p, u32 *devfn)
{
    *devfn = p->address >> 8 & 0xff;
    return (p->address & ADDRESS_ENABLE) && (p->address >> 16 & 0xff) == 0;
}

static u32 read_data(const struct pci *p, u32 byte, u32 size)
{
    u32 devfn, offset = (p->address & 0xff) | byte;

    if (!selected(p, &devfn))
        return UINT32_MAX;
    return config_read(p, devfn, offset & ~3u) >> 8 * (offset & 3) & size_mask(size);
}

static void write_data(struct pci *p, u32 byte, u32 size, u32 value)
{
    u32 devfn, offset = (p->address & 0xff) | byte, shift = 8 * (offset & 3);

    if (selected(p, &devfn))
        config_write(p, devfn, offset & ~3u, value << shift, size_mask(size) << shift);
}

// --- The test device.

// Which of its BARs has this address, and where in it; -1: none.
static int find_bar(const struct pci *p, u64 address, bool io, u32 *offset)
{
    u32 base = config_read(p, TEST_DEVFN, PCI_BAR0 + (io ? 4 : 0)) &
               ~(io ? TEST_IO_BYTES - 1 : TEST_MEMORY_BYTES - 1);
    u32 command = config_read(p, TEST_DEVFN, PCI_COMMAND);

    *offset = (u32)address - base;
    if ((command & (io ? COMMAND_IO : COMMAND_MEMORY)) == 0 ||
        address - base >= (io ? TEST_IO_BYTES : TEST_MEMORY_BYTES))
        return -1;
    return io;
}

static u64 test_read(const struct pci *p, int bar, u32 offset, u32 size)
{
    const struct test_bar *t = &p->bars[bar];
    u8 header[TEST_HEADER_BYTES + sizeof(u64)] = {0};
    const u32 numbers[3] = {TEST_WRITE_OFFSET, TEST_WRITE_DATA, t->count};
    u64 value;

    if (offset >= TEST_HEADER_BYTES || t->number != 0) // Another test: no width, no name.
        return 0;
    header[TEST_WIDTH] = 1;
    memcpy(header + TEST_OFFSET, numbers, sizeof numbers);
    memcpy(header + TEST_NAME, test_names[bar], sizeof test_names[bar]);
    memcpy(&value, header + offset, sizeof value);
    return size < 8 ? value & ((1ull << 8 * size) - 1) : value;
}

static void test_write(struct pci *p, int bar, u32 offset, u32 size, u64 value)
{
    struct test_bar *t = &p->bars[bar];

    if (offset == TEST_NUMBER)
        *t = (struct test_bar){.number = (u8)value};
    else if (offset == TEST_WRITE_OFFSET && size == 1 && value == TEST_WRITE_DATA && t->number == 0)
        t->count++;
}

// --- Accesses.

static bool is_window(u64 address)
{
    return address < VMM_PCI_PORTS || address > DATA_PORT + 3;
}

// Ports and memory of the windows do not overlap as numbers.
static u64 read(struct vmm_pc_device *d, u64 address, u32 size)
{
    const struct pci *p = d->state;
    u32 offset;

    if (is_window(address)) {
        int bar = find_bar(p, address, address < VMM_PCI_MEMORY_BASE, &offset);

        return bar < 0 ? ~0ull : test_read(p, bar, offset, size);
    }
    if (address >= DATA_PORT)
        return read_data(p, (u32)address - DATA_PORT, size);
    if (address == VMM_RESET_PORT && size == 1)
        return p->reset_control;
    return address == VMM_PCI_PORTS && size == 4 ? p->address : ~0ull;
}

static void write_reset(struct vmm_pc_device *d, u8 value)
{
    struct pci *p = d->state;
    bool rises = (value & ~p->reset_control & RESET_CPU) != 0;

    p->reset_control = value & RESET_KEPT;
    if (rises)
        vmm_guest_end(d->vm, GUEST_END_RESET, 0);
}

static void write(struct vmm_pc_device *d, u64 address, u32 size, u64 value)
{
    struct pci *p = d->state;
    u32 offset;

    if (is_window(address)) {
        int bar = find_bar(p, address, address < VMM_PCI_MEMORY_BASE, &offset);

        if (bar >= 0)
            test_write(p, bar, offset, size, value);
    } else if (address >= DATA_PORT) {
        write_data(p, (u32)address - DATA_PORT, size, (u32)value);
    } else if (address == VMM_RESET_PORT && size == 1) {
        write_reset(d, (u8)value);
    } else if (address == VMM_PCI_PORTS && size == 4) {
        p->address = (u32)value;
    }
}

static void reset(struct vmm_pc_device *d)
{
    struct pci *p = d->state;

    for (u32 i = 0; i < ROWS; i++)
        p->values[i] = config_rows[i].value;
}

const struct vmm_pc_model vmm_pc_pci = {
    .name = "PCI",
    .ranges = {{.kind = VMM_DEVICE_PORT, .base = VMM_PCI_PORTS, .size = 8},
               {.kind = VMM_DEVICE_PORT, .base = VMM_PCI_IO_BASE, .size = VMM_PCI_IO_BYTES},
               {.kind = VMM_DEVICE_MMIO, .base = VMM_PCI_MEMORY_BASE, .size = VMM_PCI_MEMORY_BYTES}},
    .state_bytes = sizeof(struct pci),
    .reset = reset,
    .read = read,
    .write = write,
};
