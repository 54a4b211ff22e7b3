// SPDX-License-Identifier: Apache-2.0
#include "models/mmu/peek.h"

#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "spec/x86_bits.h"

static bool peek(const struct pcpu *c, uint64_t hpa, uint64_t *bytes)
{
    const uint64_t *p = mem_hpa_to_ptr(c, hpa, 8);

    if (p)
        *bytes = *p;
    return p != NULL;
}

static void note(struct mmu_peek_path *path, unsigned stage, unsigned level, uint64_t address, uint64_t entry)
{
    if (path && path->count < MMU_STEPS_MAX)
        path->steps[path->count++] = (struct mmu_step){
            .address = address, .entry = entry, .stage = (uint8_t)stage, .level = (uint8_t)level};
}

bool mmu_peek_ept(const struct pcpu *c, const struct mmu_space *space, uint64_t gpa, unsigned to,
                  struct array_value *v, struct mmu_peek_path *path)
{
    const struct uarch *u = c->uarch;
    uint64_t eptp = space->eptp, entry, table = EPTP_EP4TA(eptp);
    uint16_t rights = MMU_EPT_RIGHTS;

    *v = (struct array_value){.hpa = gpa & ~0xfffull,
                              .gpa = gpa & ~0xfffull,
                              .rights = MMU_EPT_RIGHTS | MMU_DIRTY,
                              .page_bits = 12};
    if (!space->ept)
        return true;
    for (unsigned level = EPTP_LEVELS(eptp); level >= 1; level--) {
        uint64_t at = table + (gpa >> (12 + 9 * (level - 1)) & 0x1ff) * 8;
        bool leaf;

        if (!peek(c, at, &entry))
            return false;
        note(path, 2, level, at, entry);
        if (!(entry & EPT_RWX) ||
            ept_entry_misconfigured(entry, level, u->vmx_cap.ept_vpid, (unsigned)u->address.physical_bits,
                                    space->mode_based_exec))
            return false;
        rights &= (uint16_t)((entry & EPT_RWX) | (entry & EPT_EXEC_USER ? MMU_XU : 0));
        leaf = level == 1 || (level <= 3 && (entry & EPT_PS));
        table = entry & EPT_ADDR_MASK;
        v->rights = rights;
        v->hpa = table;
        if (leaf) {
            uint64_t in_page = (1ull << (12 + 9 * (level - 1))) - 1;

            v->hpa = (table & ~in_page) | (gpa & in_page & ~0xfffull);
            v->rights |= !(eptp & EPTP_AD) || (entry & EPT_D) ? MMU_DIRTY : 0;
            return to == 1;
        }
        if (level == to)
            return true;
    }
    return false;
}

enum mmu_peeked mmu_peek_guest(const struct pcpu *c, const struct mmu_space *space, uint64_t linear,
                               unsigned to, struct array_value *v, struct mmu_peek_path *path)
{
    const struct paging *p = &space->paging;
    unsigned phys_bits = (unsigned)c->uarch->address.physical_bits;
    uint64_t table, bytes;
    uint16_t rights = MMU_GW | MMU_GU | MMU_GX;

    *v = (struct array_value){.gpa = linear & ~0xfffull, .rights = MMU_GW | MMU_GX | MMU_GDIRTY};
    if (!paging_root(p, linear, &table))
        return MMU_PEEK_NOTHING;
    for (unsigned level = paging_top(p); level >= 1; level--) {
        uint64_t gpa = table + paging_offset(p, linear, level), entry;
        struct array_value page;

        if (!mmu_peek_ept(c, space, gpa, 1, &page, path) || !peek(c, page.hpa | (gpa & 0xff8), &bytes))
            return MMU_PEEK_UNREACHABLE;
        entry = paging_entry(p, gpa, bytes);
        note(path, 1, level, page.hpa | (gpa & 0xfff), entry);
        if (!(entry & X86_PTE_P) || paging_reserved_set(p, entry, level, phys_bits))
            return MMU_PEEK_NOTHING;
        rights = paging_rights(p, rights, entry);
        table = paging_table(p, entry);
        *v = (struct array_value){.gpa = table, .rights = rights};
        if (paging_is_leaf(p, entry, level)) {
            uint64_t in_page = (1ull << paging_bits(p, level)) - 1;

            v->gpa = paging_page(p, entry, level) | (linear & in_page & ~0xfffull);
            v->rights |= paging_key(p, entry);
            v->rights |= entry & X86_PTE_D ? MMU_GDIRTY : 0;
            return to == 1 ? MMU_PEEK_FOUND : MMU_PEEK_NOTHING;
        }
        if (level == to)
            return MMU_PEEK_FOUND;
    }
    return p->levels ? MMU_PEEK_NOTHING : MMU_PEEK_FOUND;
}

bool mmu_peek(const struct pcpu *c, const struct mmu_space *space, uint64_t linear, uint64_t *gpa)
{
    struct array_value v;

    if (space->paging.levels && !paging_canonical(linear, space->paging.levels))
        return false;
    if (mmu_peek_guest(c, space, linear, 1, &v, NULL) != MMU_PEEK_FOUND)
        return false;
    *gpa = v.gpa | (linear & 0xfff);
    return true;
}
