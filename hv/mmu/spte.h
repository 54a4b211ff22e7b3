// SPDX-License-Identifier: Apache-2.0
// Stage-2 entries as EPT has them (SDM 28.3.2), and the bits that hardware leaves to software.
//
// present, maps a page or refers to a table:
//  63 59  58  57  56 52 51       12 11 10  9  8  7   6   5 3  2 1 0
// +-----+---+---+-----+-----------+--+--+--+--+--+----+-----+------+   P: software's "present": the entry is
// in |  0  |MW |HW |  0  |  address  |P | 0|D |A |PS|IPAT| mt  |X W R |   use whatever its permissions are
// +-----+---+---+-----+-----------+--+--+--+--+--+----+-----+------+
// HW: the host's page is writable (leaves). MW: nothing but dirty logging keeps W clear, so a write fault may
// set it without a lock. memory-mapped I/O (an EPT misconfiguration on purpose: W and X without R,
// SDM 28.3.3.1):
//  63  62      52 51           12 11 10      3  2 1 0
// +---+----------+---------------+--+---------+------+
// | 0 | gen 18:8 |      gfn      | 0| gen 7:0 |1 1 0 |
// +---+----------+---------------+--+---------+------+
#ifndef HV_MMU_SPTE_H
#define HV_MMU_SPTE_H

#include "hv/lib/compiler.h"
#include "spec/vmx_bits.h"
#include "spec/x86_bits.h"

#define PT64_ENTRIES 512u
#define PT64_LEVEL_BITS 9u
// Levels: 1 maps 4 KiB, 2 2 MiB, 3 1 GiB; 4 or 5 is the root's.
#define PG_LEVEL_4K 1u
#define PG_LEVEL_2M 2u
#define PG_LEVEL_1G 3u
#define PG_LEVEL_ROOT_MAX 5u

#define SPTE_PRESENT (1ull << 11)
#define SPTE_HOST_WRITABLE (1ull << 57)
#define SPTE_MMU_WRITABLE (1ull << 58)
#define SPTE_MMIO_VALUE (EPT_WRITE | EPT_EXEC)
#define SPTE_MMIO_GEN_BITS 19u
#define SPTE_MMIO_GEN_LOW_BITS 8u
#define SPTE_MMIO_GEN_MASK ((1ull << SPTE_MMIO_GEN_BITS) - 1)

static inline bool is_present(u64 spte)
{
    return (spte & SPTE_PRESENT) != 0;
}
static inline bool is_mmio(u64 spte)
{
    return (spte & (EPT_RWX | SPTE_PRESENT)) == SPTE_MMIO_VALUE;
}
static inline bool is_leaf(u64 spte, unsigned level)
{
    return level == PG_LEVEL_4K || (spte & EPT_PS);
}
static inline bool is_writable(u64 spte)
{
    return (spte & EPT_WRITE) != 0;
}
// Write-protected for dirty logging only.
static inline bool is_mmu_writable(u64 spte)
{
    return (spte & (SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE)) == (SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE);
}
static inline pfn_t spte_pfn(u64 spte)
{
    return (spte & EPT_ADDR_MASK) >> PAGE_SHIFT;
}
static inline u64 pages_of_level(unsigned level)
{
    return 1ull << ((level - 1) * PT64_LEVEL_BITS);
}
static inline unsigned spte_index(gfn_t gfn, unsigned level)
{
    return (unsigned)(gfn >> ((level - 1) * PT64_LEVEL_BITS)) & (PT64_ENTRIES - 1);
}
static inline gfn_t gfn_round(gfn_t gfn, unsigned level)
{
    return gfn & ~(pages_of_level(level) - 1);
}

// Memory slots' generation counts by two when idle and reserves bit 63; what an entry keeps of it.
static inline u64 mmio_generation(u64 slots_generation)
{
    return (slots_generation >> 1) & SPTE_MMIO_GEN_MASK;
}
static inline u64 make_mmio_spte(gfn_t gfn, u64 generation)
{
    u64 low = generation & ((1ull << SPTE_MMIO_GEN_LOW_BITS) - 1),
        high = generation >> SPTE_MMIO_GEN_LOW_BITS;

    return SPTE_MMIO_VALUE | low << 3 | high << 52 | ((gfn << PAGE_SHIFT) & EPT_ADDR_MASK);
}
static inline u64 mmio_spte_generation(u64 spte)
{
    u64 low = (spte >> 3) & ((1ull << SPTE_MMIO_GEN_LOW_BITS) - 1);

    return low | ((spte >> 52) & 0x7ff) << SPTE_MMIO_GEN_LOW_BITS;
}

// Bits that leaves of a VM have in common, by its use of accessed and dirty bits.
struct spte_format {
    u64 leaf;            // Present, write-back, ignoring the guest's PAT.
    u64 accessed, dirty; // 0 without A and D bits.
};
static inline struct spte_format spte_format_of(bool ad)
{
    return (struct spte_format){
        .leaf = SPTE_PRESENT | (u64)MEMTYPE_WB << EPT_MEMTYPE_SHIFT | EPT_IPAT,
        .accessed = ad ? EPT_A : 0,
        .dirty = ad ? EPT_D : 0,
    };
}
// How the guest may write to a page.
enum spte_write {
    SPTE_READ_ONLY,
    SPTE_WRITE_LATER, // Its first write shall be noticed.
    SPTE_WRITE_NOW,
};
// A page of `level` that the guest may read, execute and perhaps write. Dirty is set ahead for writable ones,
// which saves the processor the locked update; `prefetch`: the guest has not touched it yet.
static inline u64 make_spte(struct spte_format f, pfn_t pfn, unsigned level, enum spte_write write,
                            bool prefetch)
{
    u64 spte = f.leaf | EPT_READ | EPT_EXEC | pfn << PAGE_SHIFT;

    if (level > PG_LEVEL_4K)
        spte |= EPT_PS;
    if (!prefetch)
        spte |= f.accessed;
    if (write != SPTE_READ_ONLY)
        spte |= SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE;
    if (write == SPTE_WRITE_NOW)
        spte |= EPT_WRITE | f.dirty;
    return spte;
}
// Entry `index` of the table that takes the place of the large page `huge` of `level`: same rights, a part of
// its memory.
static inline u64 make_split_spte(u64 huge, unsigned level, unsigned index)
{
    u64 spte = huge + ((u64)index << (PAGE_SHIFT + (level - 2) * PT64_LEVEL_BITS));

    return level == PG_LEVEL_2M ? spte & ~EPT_PS : spte;
}
// The large page of `level` that takes the place of a table in which `small` is a leaf. What dirty logging
// took away from the small page is given back.
static inline u64 make_collapsed_spte(struct spte_format f, u64 small, unsigned level)
{
    u64 spte = small & ~((pages_of_level(level) - 1) << PAGE_SHIFT);

    if (is_mmu_writable(spte))
        spte |= EPT_WRITE | f.dirty;
    return spte | EPT_PS;
}
static inline u64 make_table_spte(struct spte_format f, hpa_t table)
{
    return SPTE_PRESENT | EPT_RWX | f.accessed | table.v;
}

#endif
