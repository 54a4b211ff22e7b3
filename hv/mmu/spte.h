// SPDX-License-Identifier: Apache-2.0
// Stage-2 entries as EPT has them (SDM 28.3.2), and the bits that hardware leaves to software.
//
// present, maps a page or refers to a table:
//  63                        12 11 10  9  8  7   6   5 3  2 1 0
// +----------------------------+--+--+--+--+--+----+-----+------+     P: software's "present" (bit 11); an
// entry with |  address of page or table  |P | 0|D |A |PS|IPAT| mt  |X W R |     it is in use whatever its
// permissions are
// +----------------------------+--+--+--+--+--+----+-----+------+
// memory-mapped I/O (an EPT misconfiguration on purpose: W and X without R, SDM 28.3.3.1):
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
// Levels: 1 maps 4 KiB, 2 2 MiB, 3 1 GiB; the root's is 4 or 5 (struct mmu_vm).
#define PG_LEVEL_4K 1u
#define PG_LEVEL_2M 2u
#define PG_LEVEL_1G 3u
#define PG_LEVEL_ROOT_4 4u
#define PG_LEVEL_ROOT_5 5u

#define SPTE_PRESENT (1ull << 11)
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
// A page of `level` that the guest may read, execute and, if so, write. Dirty is set ahead for writable ones,
// which saves the processor the locked update; `prefetch`: the guest has not touched it yet.
static inline u64 make_spte(struct spte_format f, pfn_t pfn, unsigned level, bool writable, bool prefetch)
{
    u64 spte = f.leaf | EPT_READ | EPT_EXEC | pfn << PAGE_SHIFT;

    if (level > PG_LEVEL_4K)
        spte |= EPT_PS;
    if (!prefetch)
        spte |= f.accessed;
    if (writable)
        spte |= EPT_WRITE | f.dirty;
    return spte;
}
static inline u64 make_table_spte(struct spte_format f, hpa_t table)
{
    return SPTE_PRESENT | EPT_RWX | f.accessed | table.v;
}

#endif
