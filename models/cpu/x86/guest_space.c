// SPDX-License-Identifier: Apache-2.0
// What translates a guest's addresses: by control registers, PDPTE registers and VMCS; their writes by the
// guest, and what its instructions invalidate.
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/x86_state.h"

#include "models/apic/lapic.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "spec/apic_bits.h"
#include "spec/cpuid.h"

// --- Page-modification log (SDM 28.3.6). ---

static bool pml_full(struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;

    return (v->ctl.cpu2 & CPU2_ENABLE_PML) && vmcs_get(v, GUEST_PML_INDEX) >= PML_ENTRIES;
}

static void pml_log(struct pcpu *c, uint64_t gpa)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t index = vmcs_get(v, GUEST_PML_INDEX);

    if (!(v->ctl.cpu2 & CPU2_ENABLE_PML))
        return;
    pcpu_charge_cycles(c, c->uarch->vmx.pml_cycles);
    mem_write64(c, vmcs_get(v, PML_ADDRESS) + index * 8, gpa & ~0xfffull, false);
    vmcs_put(v, GUEST_PML_INDEX, (index - 1) & 0xffff);
}

// --- What translates. ---

void guest_mem_create(struct pcpu *c)
{
    const struct uarch_cpuid *row = uarch_cpuid_find(c->uarch, 0x80000001, 0);

    c->x86->mmu->log = (struct mmu_log){.full = pml_full, .append = pml_log};
    c->x86->pages_1g = row && (row->edx & CPUID_PDPE1GB);
    row = uarch_cpuid_find(c->uarch, 1, 0);
    c->x86->pse_36 = row && (row->edx & CPUID_PSE36);
}

// Replay and native programs say whether their addresses are linear; those of machine code are.
static bool is_linear(const struct vmx *v)
{
    return v->linear || !v->guest;
}

// SDM 4.1.1.
static bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return (cr0 & X86_CR0_PG) && (cr4 & X86_CR4_PAE) && !(efer & EFER_LME);
}

static uint8_t guest_levels(const struct pcpu *c)
{
    const struct x86_state *s = c->x86;

    if (!is_linear(&s->vmx) || !(s->cr[0] & X86_CR0_PG))
        return 0;
    if (MSR_VALUE(c, IA32_EFER) & EFER_LMA)
        return s->cr[4] & X86_CR4_LA57 ? 5 : 4;
    return s->cr[4] & X86_CR4_PAE ? PAGING_LEVELS_PAE : PAGING_LEVELS_32;
}

static void fill_paging(const struct pcpu *c, struct paging *p)
{
    const struct x86_state *s = c->x86;
    uint64_t cr4 = s->cr[4];

    p->cr3 = s->cr[3];
    p->levels = guest_levels(c);
    p->off = is_linear(&s->vmx) && !(s->cr[0] & X86_CR0_PG);
    if (p->levels == PAGING_LEVELS_PAE)
        memcpy(p->pdpte, s->pdpte, sizeof p->pdpte);
    p->wp = s->cr[0] & X86_CR0_WP;
    p->nxe = MSR_VALUE(c, IA32_EFER) & EFER_NXE;
    p->pse = cr4 & X86_CR4_PSE;
    p->pge = cr4 & X86_CR4_PGE;
    p->smep = cr4 & X86_CR4_SMEP;
    p->smap = cr4 & X86_CR4_SMAP;
    p->pke = cr4 & X86_CR4_PKE;
    p->pkru = s->pkru;
    p->pages_1g = s->pages_1g;
    p->pse_36 = s->pse_36;
}

// Host pages that an access is no plain access of memory to.
static void note_apart(struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;
    bool virtual_page = v->ctl.cpu2 & CPU2_VIRTUALIZE_APIC_ACCESSES, mmio = lapic_mode(c) == LAPIC_XAPIC;

    mmu_set_apart(c->x86->mmu, virtual_page ? vmcs_get(v, APIC_ACCESS_ADDR) >> 12 : UINT64_MAX,
                  mmio ? (lapic_base(c) & APIC_BASE_ADDR_MASK) >> 12 : UINT64_MAX);
}

void guest_space_load(struct pcpu *c)
{
    const struct x86_state *s = c->x86;
    const struct vmx *v = &s->vmx;
    bool ept = v->ctl.cpu2 & CPU2_ENABLE_EPT, vpid = v->ctl.cpu2 & CPU2_ENABLE_VPID;
    struct mmu_space space;

    memset(&space, 0, sizeof space); // Compared as bytes.
    fill_paging(c, &space.paging);
    space.ept = ept;
    space.eptp = ept ? vmcs_get(v, EPT_POINTER) : 0;
    space.mode_based_exec = v->ctl.cpu2 & CPU2_MODE_BASED_EPT_EXEC;
    space.tag.ep4ta = EPTP_EP4TA(space.eptp);
    space.tag.vpid = vpid ? (uint16_t)vmcs_get(v, VIRTUAL_PROCESSOR_ID) : 0;
    space.tag.pcid = s->cr[4] & X86_CR4_PCIDE ? (uint16_t)(s->cr[3] & X86_CR3_PCID_MASK) : 0;
    space.tag.unpaged = space.paging.off && ept;
    mmu_set_space(s->mmu, &space);
    note_apart(c);
}

// --- PDPTE registers (SDM 4.4.1). ---

static bool uses_pdptes(const struct pcpu *c)
{
    const struct x86_state *s = c->x86;

    return pae_paging(s->cr[0], s->cr[4], MSR_VALUE(c, IA32_EFER));
}

static void read_pdptes(struct pcpu *c, uint64_t hpa, uint64_t pdpte[4])
{
    for (unsigned i = 0; i < 4; i++)
        pdpte[i] = mem_read64(c, hpa + 8 * i);
}

void guest_pdptes_load(struct pcpu *c)
{
    struct x86_state *s = c->x86;

    if (!uses_pdptes(c))
        return;
    if (!(s->vmx.ctl.cpu2 & CPU2_ENABLE_EPT)) {
        read_pdptes(c, s->cr[3] & X86_CR3_PAE_ADDR_MASK, s->pdpte);
        return;
    }
    for (unsigned i = 0; i < 4; i++)
        s->pdpte[i] = vmcs_get(&s->vmx, GUEST_PDPTR0 + 2 * i);
}

void guest_pdptes_save(struct pcpu *c)
{
    const struct x86_state *s = c->x86;

    if (!uses_pdptes(c) || !(s->vmx.ctl.cpu2 & CPU2_ENABLE_EPT))
        return;
    for (unsigned i = 0; i < 4; i++)
        vmcs_put(&s->vmx, GUEST_PDPTR0 + 2 * i, s->pdpte[i]);
}

// Does the write of `value` to CR `n`, which is legal, load them?
static bool loads_pdptes(const struct pcpu *c, unsigned n, uint64_t value)
{
    const uint64_t cr0_bits = X86_CR0_CD | X86_CR0_NW | X86_CR0_PG;
    const uint64_t cr4_bits = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP;
    const uint64_t *cr = c->x86->cr;

    if (!pae_paging(n == 0 ? value : cr[0], n == 4 ? value : cr[4], MSR_VALUE(c, IA32_EFER)))
        return false;
    return n == 3 || ((value ^ cr[n]) & (n == 0 ? cr0_bits : cr4_bits));
}

// GUEST_DONE: they are loaded, from `cr3`.
static enum guest_access fetch_pdptes(struct pcpu *c, uint64_t cr3)
{
    struct x86_state *s = c->x86;
    uint64_t hpa, pdpte[4];
    enum guest_access result = guest_translate_physical(c, cr3 & X86_CR3_PAE_ADDR_MASK, &hpa);

    if (result != GUEST_DONE)
        return result;
    read_pdptes(c, hpa, pdpte);
    for (unsigned i = 0; i < 4; i++)
        if (paging_pdpte_reserved_set(pdpte[i], (unsigned)c->uarch->address.physical_bits))
            return vmx_exception(c, GP_VECTOR, 0, 0) ? GUEST_EXIT : GUEST_FAULT;
    memcpy(s->pdpte, pdpte, sizeof pdpte);
    return GUEST_DONE;
}

// --- What the guest invalidates (SDM 4.10.4.1): linear and combined mappings of its VPID (28.4.3.1). ---

void guest_tlb_invlpg(struct pcpu *c, uint64_t linear)
{
    struct mmu *m = c->x86->mmu;

    tlb_flush_linear(&m->tlb, m->space.tag.vpid, m->space.tag.pcid, linear);
}

static void flush_by_cr(struct mmu *m, uint64_t cr0_from, uint64_t cr0, uint64_t cr4_from, uint64_t cr4)
{
    const struct tlb_tag tag = m->space.tag;
    uint64_t changed = cr4 ^ cr4_from;

    if ((cr0_from & ~cr0 & X86_CR0_PG) || (changed & X86_CR4_PGE) || (cr4_from & ~cr4 & X86_CR4_PCIDE))
        tlb_invvpid_single(&m->tlb, tag.vpid, false);
    else if ((changed & X86_CR4_PAE) || (cr4 & ~cr4_from & X86_CR4_SMEP))
        tlb_flush_pcid(&m->tlb, tag.vpid, tag.pcid, false);
}

enum guest_access guest_mov_to_cr(struct pcpu *c, unsigned n, uint64_t value)
{
    struct x86_state *s = c->x86;
    struct mmu *m = s->mmu;
    uint64_t cr0 = s->cr[0], cr4 = s->cr[4];

    if (!x86_cr_legal(c, n, value))
        return vmx_exception(c, GP_VECTOR, 0, 0) ? GUEST_EXIT : GUEST_FAULT;
    if (loads_pdptes(c, n, value)) {
        enum guest_access result = fetch_pdptes(c, n == 3 ? value : s->cr[3]);

        if (result != GUEST_DONE)
            return result;
    }
    x86_set_cr(c, n, value);
    flush_by_cr(m, cr0, s->cr[0], cr4, s->cr[4]);
    guest_space_load(c);
    if (n == 3 && (!(s->cr[4] & X86_CR4_PCIDE) || !(value & X86_CR3_NO_FLUSH)))
        tlb_flush_pcid(&m->tlb, m->space.tag.vpid, m->space.tag.pcid, true);
    return GUEST_DONE;
}

void guest_tlb_invpcid(struct pcpu *c, uint64_t type, uint16_t pcid, uint64_t linear)
{
    struct mmu *m = c->x86->mmu;
    uint16_t vpid = m->space.tag.vpid;

    if (type == 0)
        tlb_flush_pcid_linear(&m->tlb, vpid, pcid, linear, true);
    else if (type == 1)
        tlb_flush_pcid(&m->tlb, vpid, pcid, true);
    else
        tlb_invvpid_single(&m->tlb, vpid, type == 3);
}
