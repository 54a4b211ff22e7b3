// SPDX-License-Identifier: Apache-2.0
#include "models/mmu/paging.h"

#include "models/mmu/ept.h"
#include "models/mmu/tlb.h"
#include "spec/x86_bits.h"

#define LOW_32_BITS 0xffffffffull

static bool is_32(const struct paging *p)
{
    return p->levels == PAGING_LEVELS_32;
}

unsigned paging_top(const struct paging *p)
{
    return p->levels == PAGING_LEVELS_PAE ? PAGING_LEVELS_PAE - 1 : p->levels;
}

bool paging_root(const struct paging *p, uint64_t linear, uint64_t *gpa)
{
    uint64_t pdpte = p->pdpte[linear >> 30 & 3];

    if (p->levels != PAGING_LEVELS_PAE) {
        *gpa = p->cr3 & X86_CR3_ADDR_MASK & (is_32(p) ? LOW_32_BITS : UINT64_MAX);
        return true;
    }
    *gpa = pdpte & X86_PTE_ADDR_MASK;
    return pdpte & X86_PTE_P;
}

unsigned paging_bits(const struct paging *p, unsigned level)
{
    return 12 + (is_32(p) ? 10 : 9) * (level - 1);
}

uint64_t paging_offset(const struct paging *p, uint64_t linear, unsigned level)
{
    uint64_t index = linear >> paging_bits(p, level);

    return is_32(p) ? (index & 0x3ff) * 4 : (index & 0x1ff) * 8;
}

static unsigned shift_of(const struct paging *p, uint64_t gpa)
{
    return is_32(p) && (gpa & 4) ? 32 : 0;
}

uint64_t paging_entry(const struct paging *p, uint64_t gpa, uint64_t bytes)
{
    return is_32(p) ? bytes >> shift_of(p, gpa) & LOW_32_BITS : bytes;
}

uint64_t paging_entry_set(const struct paging *p, uint64_t gpa, uint64_t bytes, uint64_t set)
{
    return bytes | set << shift_of(p, gpa);
}

bool paging_is_leaf(const struct paging *p, uint64_t entry, unsigned level)
{
    if (is_32(p) && !p->pse)
        return level == 1; // The flag is ignored (SDM 4.3).
    return level == 1 || (level <= 3 && (entry & X86_PTE_PS));
}

uint64_t paging_table(const struct paging *p, uint64_t entry)
{
    (void)p;
    return entry & X86_PTE_ADDR_MASK;
}

uint64_t paging_page(const struct paging *p, uint64_t entry, unsigned level)
{
    uint64_t page = entry & X86_PTE_ADDR_MASK & ~((1ull << paging_bits(p, level)) - 1);

    if (is_32(p) && level == 2)
        page |= (entry >> X86_PDE_4M_HIGH_SHIFT & X86_PDE_4M_HIGH_MASK) << 32;
    return page;
}

// Of an entry of 32 bits: only pages of 4 MBytes have such bits, by the processor's address width.
static uint64_t reserved_32(const struct paging *p, uint64_t entry, unsigned level, unsigned phys_bits)
{
    unsigned high = p->pse_36 && phys_bits > 32 ? phys_bits - 32 : 0;

    if (level == 1 || !paging_is_leaf(p, entry, level))
        return 0;
    if (high > 8)
        high = 8;
    return X86_PDE_4M_RESERVED | (X86_PDE_4M_HIGH_MASK << high & X86_PDE_4M_HIGH_MASK)
                                     << X86_PDE_4M_HIGH_SHIFT;
}

uint64_t paging_reserved_set(const struct paging *p, uint64_t entry, unsigned level, unsigned phys_bits)
{
    uint64_t reserved = X86_PTE_ADDR_MASK & ~((1ull << phys_bits) - 1);

    if (is_32(p))
        return entry & reserved_32(p, entry, level, phys_bits);
    if (!p->nxe)
        reserved |= X86_PTE_XD;
    if (p->levels == PAGING_LEVELS_PAE) // Bits 62:52 have no use there.
        reserved |= ~X86_PTE_ADDR_MASK & ~0xfffull & ~X86_PTE_XD;
    if (level >= 4 || (level == 3 && !p->pages_1g))
        reserved |= X86_PTE_PS;
    else if (level > 1 && (entry & X86_PTE_PS)) // Address bits below the page's size, but for PAT.
        reserved |= ((1ull << paging_bits(p, level)) - 1) & X86_PTE_ADDR_MASK & ~X86_PTE_PAT_LARGE;
    return entry & reserved;
}

uint64_t paging_pdpte_reserved_set(uint64_t entry, unsigned phys_bits)
{
    if (!(entry & X86_PTE_P))
        return 0;
    return entry & (X86_PDPTE_PAE_RESERVED | ~((1ull << phys_bits) - 1));
}

bool paging_canonical(uint64_t linear, unsigned levels)
{
    unsigned shift = 64 - (12 + 9 * levels);

    if (levels <= PAGING_LEVELS_PAE)
        return linear <= LOW_32_BITS;
    return (uint64_t)((int64_t)(linear << shift) >> shift) == linear;
}

uint16_t paging_rights(const struct paging *p, uint16_t rights, uint64_t entry)
{
    if (!(entry & X86_PTE_RW))
        rights &= (uint16_t)~MMU_GW;
    if (!(entry & X86_PTE_US))
        rights &= (uint16_t)~MMU_GU;
    if (p->nxe && (entry & X86_PTE_XD))
        rights &= (uint16_t)~MMU_GX;
    return rights;
}

uint16_t paging_key(const struct paging *p, uint64_t entry)
{
    if (p->levels <= PAGING_LEVELS_PAE)
        return 0;
    return (uint16_t)((entry & X86_PTE_PK_MASK) >> X86_PTE_PK_SHIFT << MMU_KEY_SHIFT);
}

// SDM 4.6.2: by two bits for each key, access disable and write disable.
static uint16_t denied_keys(const struct paging *p, unsigned access, bool writes_count)
{
    uint16_t keys = 0;

    if (!p->pke || p->levels <= PAGING_LEVELS_PAE)
        return 0;
    for (unsigned key = 0; key < 16; key++) {
        bool ad = p->pkru >> (2 * key) & 1, wd = p->pkru >> (2 * key + 1) & 1;

        if (ad || (wd && writes_count && (access & EPT_ACCESS_WRITE)))
            keys |= (uint16_t)(1u << key);
    }
    return keys;
}

struct paging_demand paging_demand(const struct paging *p, unsigned access, enum mmu_mode mode)
{
    bool fetch = access & EPT_ACCESS_FETCH, data = access & (EPT_ACCESS_READ | EPT_ACCESS_WRITE);
    bool user = mode == MMU_USER;
    struct paging_demand d = {0};

    if (!p->levels)
        return d;
    if (user)
        d.need |= MMU_GU;
    if ((access & EPT_ACCESS_WRITE) && (user || p->wp))
        d.need |= MMU_GW;
    if (fetch)
        d.need |= MMU_GX;
    if (!user && ((fetch && p->smep) || (data && p->smap && mode != MMU_SUPERVISOR_AC)))
        d.forbid |= MMU_GU;
    if (data)
        d.keys = denied_keys(p, access, user || p->wp);
    return d;
}

bool paging_key_denies(const struct paging_demand *d, uint16_t rights)
{
    return (rights & MMU_GU) && (d->keys >> (rights >> MMU_KEY_SHIFT & MMU_KEYS) & 1);
}

bool paging_allows(const struct paging_demand *d, uint16_t rights)
{
    return (rights & d->need) == d->need && !(rights & d->forbid) && !paging_key_denies(d, rights);
}

uint32_t paging_error_code(const struct paging *p, unsigned access, enum mmu_mode mode)
{
    bool xd = p->nxe && p->levels >= PAGING_LEVELS_PAE;
    uint32_t code = mode == MMU_USER ? PFERR_USER : 0;

    if (access & EPT_ACCESS_WRITE)
        code |= PFERR_WRITE;
    if ((access & EPT_ACCESS_FETCH) && (xd || p->smep))
        code |= PFERR_FETCH;
    return code;
}
