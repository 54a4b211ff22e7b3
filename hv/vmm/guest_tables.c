// SPDX-License-Identifier: Apache-2.0
// Page tables of a guest, as a boot loader leaves them: everything that has an address mapped to itself, in
// supervisor mode, readable, writable, executable.
//
// Memory and slots are mapped by pages of at most the configured size, devices' address space uncached and by
// the largest pages there are. Accessed and dirty flags are set beforehand, as kernels set them in mappings
// that they make (SDM 4.8 leaves that to software). The tables lie at the end of guest memory, the top one
// last.
#include "hv/lib/string.h"
#include "hv/vmm/vmm.h"
#include "spec/x86_bits.h"

#define TABLE_ENTRIES 512u
#define PAGE_BYTES 4096ull
#define TABLE_FLAGS (X86_PTE_P | X86_PTE_RW | X86_PTE_US | X86_PTE_A)
#define PAGE_FLAGS (X86_PTE_P | X86_PTE_RW | X86_PTE_A | X86_PTE_D)
#define DEVICE_FLAGS (PAGE_FLAGS | X86_PTE_PCD | X86_PTE_PWT)

struct tables {
    struct vmm_vm *vm;
    u64 next; // The next table goes below this guest-physical address.
    u64 root;
    unsigned levels;
    u32 largest; // Page shift that the vCPU's CPUID allows
};

// The table at a guest-physical address of the VM's own memory.
static u64 *table_at(struct tables *t, u64 gpa)
{
    const struct vmm_slot *slot = vmm_find_slot(t->vm, gpa >= VMM_ABOVE_HOLE ? 1 : 0);
    u64 offset = gpa - (gpa >= VMM_ABOVE_HOLE ? VMM_ABOVE_HOLE : 0);
    s64 p = hv_syscall(HV_SYS_TOUCH, slot->address + offset, 1, 0, 0);

    vmm_check(p > 0, "guest memory for page tables");
    return (u64 *)p;
}

// Fresh guest memory reads as zero.
static u64 new_table(struct tables *t)
{
    t->next -= PAGE_BYTES;
    return t->next;
}

static unsigned shift_of(unsigned level)
{
    return 12 + 9 * (level - 1);
}

// The table of `level` that translates gpa, made with all tables on the way to it.
static u64 *walk_to(struct tables *t, u64 gpa, unsigned level)
{
    u64 *table = table_at(t, t->root);

    for (unsigned l = t->levels; l > level; l--) {
        u64 *entry = &table[gpa >> shift_of(l) & (TABLE_ENTRIES - 1)];

        if (*entry == 0)
            *entry = new_table(t) | TABLE_FLAGS;
        vmm_check(!(l <= 3 && (*entry & X86_PTE_PS)), "a device inside of guest memory");
        table = table_at(t, *entry & X86_PTE_ADDR_MASK);
    }
    return table;
}

static unsigned level_for(u64 gpa, u64 end, u32 shift)
{
    unsigned level = (shift - 12) / 9 + 1;

    while (level > 1 && ((gpa & ((1ull << shift_of(level)) - 1)) != 0 || end - gpa < 1ull << shift_of(level)))
        level--;
    return level;
}

// [gpa, end) to itself: by each place's largest page of at most `shift`, table by table.
static void map(struct tables *t, u64 gpa, u64 end, u32 shift, u64 flags)
{
    while (gpa < end) {
        unsigned level = level_for(gpa, end, shift);
        u64 page = 1ull << shift_of(level);
        u64 *table = walk_to(t, gpa, level);
        u64 leaf = flags | (level > 1 ? X86_PTE_PS : 0);

        for (u64 i = gpa >> shift_of(level) & (TABLE_ENTRIES - 1); i < TABLE_ENTRIES && end - gpa >= page;
             i++, gpa += page)
            if (table[i] == 0)
                table[i] = gpa | leaf;
    }
}

static void map_devices(struct tables *t)
{
    for (u32 i = 0; i < t->vm->config->device_count; i++) {
        const struct vmm_device_config *d = t->vm->devices[i].config;

        if (d->kind == VMM_DEVICE_MMIO && (d->base >= VMM_ABOVE_HOLE || d->base < VMM_HOLE))
            map(t, d->base & ~(PAGE_BYTES - 1), (d->base + d->size + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1), 12,
                DEVICE_FLAGS);
    }
}

u64 vmm_guest_tables(struct vmm_vm *vm, bool pages_1g)
{
    const struct vmm_vm_config *c = vm->config;
    const struct vmm_slot_config *slots = vmm_config_at(vm->vmm->config, c->slots_offset);
    u64 low = c->memory_bytes < VMM_HOLE ? c->memory_bytes : VMM_HOLE;
    u64 high_end = c->memory_bytes > low ? VMM_ABOVE_HOLE + c->memory_bytes - low : 0;
    struct tables t = {.vm = vm,
                       .next = high_end ? high_end : low,
                       .levels = c->paging_levels,
                       .largest = pages_1g ? 30 : 21};
    u32 shift = c->guest_page_shift < t.largest ? c->guest_page_shift : t.largest;

    t.root = new_table(&t);
    map(&t, 0, low, shift, PAGE_FLAGS);
    if (high_end)
        map(&t, VMM_ABOVE_HOLE, high_end, shift, PAGE_FLAGS);
    for (u32 i = 0; i < c->slot_count; i++)
        map(&t, slots[i].gpa, slots[i].gpa + slots[i].size, shift, PAGE_FLAGS);
    map(&t, VMM_HOLE, VMM_ABOVE_HOLE, t.largest, DEVICE_FLAGS);
    map_devices(&t);
    u64 mapped = c->memory_bytes, end = high_end ? high_end : low;

    for (u32 i = 0; i < c->slot_count; i++)
        mapped += slots[i].size;
    vmm_check(end - t.next <=
                  vmm_guest_tables_max(mapped, c->guest_page_shift, c->slot_count + c->device_count),
              "page tables grew into the guest's memory");
    return t.root;
}
