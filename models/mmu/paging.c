// SPDX-License-Identifier: Apache-2.0
#include "models/mmu/paging.h"

#include "models/mmu/ept.h"
#include "models/mmu/tlb.h"
#include "spec/x86_bits.h"

bool paging_is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || (level <= 3 && (entry & X86_PTE_PS));
}

uint64_t paging_reserved_set(const struct paging *p, uint64_t entry, unsigned level, unsigned phys_bits)
{
    uint64_t reserved = X86_PTE_ADDR_MASK & ~((1ull << phys_bits) - 1);

    if (!p->nxe)
        reserved |= X86_PTE_XD;
    if (level >= 4 || (level == 3 && !p->pages_1g))
        reserved |= X86_PTE_PS;
    else if (level > 1 && (entry & X86_PTE_PS)) // Address bits below the page's size, but for PAT.
        reserved |= ((1ull << (12 + 9 * (level - 1))) - 1) & X86_PTE_ADDR_MASK & ~X86_PTE_PAT_LARGE;
    return entry & reserved;
}

bool paging_canonical(uint64_t linear, unsigned levels)
{
    unsigned shift = 64 - (12 + 9 * levels);

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

void paging_demands(const struct paging *p, unsigned access, bool user, uint16_t *need, uint16_t *forbid)
{
    bool fetch = access & EPT_ACCESS_FETCH, data = access & (EPT_ACCESS_READ | EPT_ACCESS_WRITE);

    *need = *forbid = 0;
    if (!p->levels)
        return;
    if (user)
        *need |= MMU_GU;
    if ((access & EPT_ACCESS_WRITE) && (user || p->wp))
        *need |= MMU_GW;
    if (fetch)
        *need |= MMU_GX;
    if (!user && ((fetch && p->smep) || (data && p->smap && !p->ac)))
        *forbid |= MMU_GU;
}

uint32_t paging_error_code(const struct paging *p, unsigned access, bool user)
{
    uint32_t code = user ? PFERR_USER : 0;

    if (access & EPT_ACCESS_WRITE)
        code |= PFERR_WRITE;
    if ((access & EPT_ACCESS_FETCH) && (p->nxe || p->smep))
        code |= PFERR_FETCH;
    return code;
}
