// SPDX-License-Identifier: Apache-2.0
// The test device of kvm-unit-tests ("pc-testdev"): ports and memory that keep what is written, interrupt
// lines by ports, and a way to lose a page's stage-2 mapping.
//
//   ports  0xe0-0xe3       scratch: keeps what is written, by bytes
//   port   0xe4            a guest-physical address, 4 bytes: the mapping of its page goes, its content stays
//   ports  0xe8-0xeb       scratch of its own
//   ports  0x2000-0x2017   line n of the I/O APIC: 1 raises, 0 lowers
//   memory 0xff000000      64 KiB that an emulated access reads and writes
#include "hv/lib/string.h"
#include "hv/vmm/pc.h"
#include "spec/apic_bits.h"

#define SCRATCH_PORT 0xe0u
#define FLUSH_PORT 0xe4u
#define SCRATCH2_PORT 0xe8u
#define SCRATCH_BYTES 4u
#define IRQ_PORT 0x2000u
#define IORAM_BASE 0xff000000ull
#define IORAM_BYTES 0x10000u
#define PAGE_BYTES 4096u

struct testdev {
    u8 scratch[2][SCRATCH_BYTES];
    u8 page[PAGE_BYTES]; // On its way.
    u8 ioram[IORAM_BYTES];
};

// Where the bytes of a range that keeps them are, `left` of them from there; NULL: another range.
static u8 *stored(struct testdev *t, u64 address, u32 *left)
{
    const struct {
        u64 base;
        u8 *bytes;
        u32 size;
    } ranges[] = {{SCRATCH_PORT, t->scratch[0], SCRATCH_BYTES},
                  {SCRATCH2_PORT, t->scratch[1], SCRATCH_BYTES},
                  {IORAM_BASE, t->ioram, IORAM_BYTES}};

    for (u32 i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (address - ranges[i].base >= ranges[i].size)
            continue;
        *left = ranges[i].size - (u32)(address - ranges[i].base);
        return ranges[i].bytes + (address - ranges[i].base);
    }
    return NULL;
}

// The host's page is given back and comes again with the same content: whoever mapped it must map anew.
// Nothing happens where the host's pages are larger, or there is no memory.
static void flush_page(struct vmm_pc_device *d, u64 gpa)
{
    struct testdev *t = d->state;

    for (u32 i = 0; i < VMM_SLOTS_MAX; i++) {
        const struct vmm_slot *s = &d->vm->slots[i];

        if (!s->used || s->page_shift != 12 || gpa - s->gpa >= s->bytes)
            continue;
        u64 address = (s->address + (gpa - s->gpa)) & ~(u64)(PAGE_BYTES - 1);
        s64 page = hv_syscall(HV_SYS_TOUCH, address, HV_TOUCH_READ, 0, 0);

        if (page <= 0)
            return;
        memcpy(t->page, (const void *)page, PAGE_BYTES);
        vmm_require(hv_syscall(HV_SYS_MADVISE_FREE, address, PAGE_BYTES, 0, 0), "a page cannot be flushed");
        vmm_require(vmm_write_guest(d->vm, gpa & ~(u64)(PAGE_BYTES - 1), t->page, PAGE_BYTES),
                    "a flushed page does not come back");
        return;
    }
}

static u64 read(struct vmm_pc_device *d, u64 address, u32 size)
{
    u32 left = 0;
    const u8 *from = stored(d->state, address, &left);
    u64 value = ~0ull;

    if (from)
        memcpy(&value, from, size < left ? size : left);
    return value;
}

static void write(struct vmm_pc_device *d, u64 address, u32 size, u64 value)
{
    u32 left = 0;
    u8 *to = stored(d->state, address, &left);

    if (to)
        memcpy(to, &value, size < left ? size : left);
    else if (address == FLUSH_PORT)
        flush_page(d, value);
    else if (address - IRQ_PORT < IOAPIC_PINS)
        vmm_irq_line(d->vm, (u32)(address - IRQ_PORT), value != 0);
}

const struct vmm_pc_model vmm_pc_testdev = {
    .name = "pc-testdev",
    .ranges = {{.kind = VMM_DEVICE_PORT, .base = SCRATCH_PORT, .size = SCRATCH_BYTES},
               {.kind = VMM_DEVICE_PORT, .base = FLUSH_PORT, .size = 4},
               {.kind = VMM_DEVICE_PORT, .base = SCRATCH2_PORT, .size = SCRATCH_BYTES},
               {.kind = VMM_DEVICE_PORT, .base = IRQ_PORT, .size = IOAPIC_PINS},
               {.kind = VMM_DEVICE_MMIO, .base = IORAM_BASE, .size = IORAM_BYTES}},
    .state_bytes = sizeof(struct testdev),
    .read = read,
    .write = write,
};
