// SPDX-License-Identifier: Apache-2.0
#include "hv/mmu/ept12.h"

#include "hv/mmu/shadow.h"
#include "spec/vmx_controls.h"

static u64 reserved_bits(u64 entry, unsigned level, u64 caps)
{
    bool page = (entry & EPT_PS) != 0;

    if (level == PG_LEVEL_4K)
        return 0;
    if (level == PG_LEVEL_2M && page)
        return caps & EPT_CAP_2M ? EPT_2M_RESERVED_LOW : EPT_PS;
    if (level == PG_LEVEL_1G && page)
        return caps & EPT_CAP_1G ? EPT_1G_RESERVED_LOW : EPT_PS;
    return level > PG_LEVEL_1G ? EPT_TABLE_RESERVED_LOW : EPT_TABLE_RESERVED_LOW_PS;
}

static bool good_memory_type(u64 entry)
{
    u64 type = (entry & EPT_MEMTYPE_MASK) >> EPT_MEMTYPE_SHIFT;

    return type != 2 && type != 3 && type != 7;
}

bool ept12_misconfigured(u64 entry, unsigned level, u64 caps, unsigned width)
{
    if ((entry & EPT_READ) == 0 && ((entry & EPT_WRITE) || !(caps & EPT_CAP_EXECUTE_ONLY)))
        return true;
    if ((entry & EPT_ADDR_MASK) >> width != 0 || (entry & reserved_bits(entry, level, caps)) != 0)
        return true;
    return is_leaf(entry, level) && !good_memory_type(entry);
}

// Memory of nobody reads as ones, which is a misconfiguration.
static u64 read_entry(struct vm *vm, gfn_t table, unsigned index)
{
    u64 entry = ~0ull;

    (void)vm_read_guest(vm, gpa((table << PAGE_SHIFT) + index * sizeof(entry)), &entry, sizeof(entry));
    return entry;
}

void ept12_walk(struct vm *vm, u64 eptp12, u64 caps, unsigned width, gpa_t address, u64 access,
                struct ept12_walk *w)
{
    gfn_t gfn = address.v >> PAGE_SHIFT;

    *w = (struct ept12_walk){.rights = EPT_RWX, .root = (eptp12 & EPTP_ADDR_MASK) >> PAGE_SHIFT};
    w->invept_seq = READ_ONCE(vm->mmu->shadow->invept_seq);
    smp_rmb();
    gfn_t table = w->root;

    for (unsigned level = EPT12_LEVELS;; level--) {
        u64 entry = read_entry(vm, table, spte_index(gfn, level));

        w->table[level - 1] = table;
        w->above[level - 1] = w->rights;
        w->rights &= (u8)(entry & EPT_RWX);
        w->level = (u8)level;
        if ((entry & EPT_RWX) == 0) {
            w->fault = EPT12_VIOLATION;
            return;
        }
        if (ept12_misconfigured(entry, level, caps, width)) {
            w->fault = EPT12_MISCONFIG;
            return;
        }
        table = spte_pfn(entry);
        if (is_leaf(entry, level))
            break;
    }
    w->gfn = gfn_round(table, w->level) | (gfn & (pages_of_level(w->level) - 1));
    w->fault = (access & ~(u64)w->rights) != 0 ? EPT12_VIOLATION : EPT12_TRANSLATED;
}
