// SPDX-License-Identifier: Apache-2.0
// Memory accesses of a guest: translation and what its faults make, page-modification log, APIC-access page,
// data. And what a guest's instructions invalidate.
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/trace_exit.h"
#include "models/cpu/x86/x86_state.h"

#include "models/apic/lapic.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "models/mmu/check.h"
#include "spec/apic_bits.h"
#include "spec/cpuid.h"
#include "traces/trace.h"

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
}

// Levels of the guest's tables that translate its program's addresses.
static uint8_t guest_levels(const struct pcpu *c)
{
    const struct x86_state *s = c->x86;

    if (!s->vmx.linear || !(s->cr[0] & X86_CR0_PG))
        return 0;
    return s->cr[4] & X86_CR4_LA57 ? 5 : 4;
}

void guest_space_load(struct pcpu *c)
{
    const struct x86_state *s = c->x86;
    const struct vmx *v = &s->vmx;
    bool ept = v->ctl.cpu2 & CPU2_ENABLE_EPT, vpid = v->ctl.cpu2 & CPU2_ENABLE_VPID;
    uint64_t cr4 = s->cr[4];
    struct mmu_space space;

    memset(&space, 0, sizeof space); // Compared as bytes.
    space.paging.cr3 = s->cr[3];
    space.paging.levels = guest_levels(c);
    space.paging.wp = s->cr[0] & X86_CR0_WP;
    space.paging.nxe = MSR_VALUE(c, IA32_EFER) & EFER_NXE;
    space.paging.pge = cr4 & X86_CR4_PGE;
    space.paging.smep = cr4 & X86_CR4_SMEP;
    space.paging.smap = cr4 & X86_CR4_SMAP;
    space.paging.pages_1g = s->pages_1g;
    space.paging.ac = v->rflags & X86_RFLAGS_AC;
    space.ept = ept;
    space.eptp = ept ? vmcs_get(v, EPT_POINTER) : 0;
    space.mode_based_exec = v->ctl.cpu2 & CPU2_MODE_BASED_EPT_EXEC;
    space.tag.ep4ta = EPTP_EP4TA(space.eptp);
    space.tag.vpid = vpid ? (uint16_t)vmcs_get(v, VIRTUAL_PROCESSOR_ID) : 0;
    space.tag.pcid = cr4 & X86_CR4_PCIDE ? (uint16_t)(s->cr[3] & X86_CR3_PCID_MASK) : 0;
    // 32-bit and PAE paging are not modelled; nothing here starts such a guest.
    if (space.paging.levels && !(MSR_VALUE(c, IA32_EFER) & EFER_LMA)) {
        trace_vmx_violation(c, "not modelled: paging outside of IA-32e mode", s->cr[0], s->cr[4]);
        space.paging.levels = 0;
    }
    mmu_set_space(s->mmu, &space);
    // Of machine code the VMCS has what VM entry loaded.
    s->mmu->user =
        ((v->guest ? vmcs_get32(v, GUEST_SS_AR_BYTES) : v->seg[SEG_SS].ar) & AR_DPL_MASK) == AR_DPL_MASK;
}

// --- What the guest invalidates (SDM 4.10.4.1): linear and combined mappings of its VPID (28.4.3.1). ---

void guest_tlb_invlpg(struct pcpu *c, uint64_t linear)
{
    struct mmu *m = c->x86->mmu;

    tlb_flush_linear(&m->tlb, m->space.tag.vpid, m->space.tag.pcid, linear);
}

void guest_tlb_cr(struct pcpu *c, uint64_t cr0_from, uint64_t cr4_from)
{
    struct mmu *m = c->x86->mmu;
    const struct tlb_tag tag = m->space.tag;
    uint64_t cr0 = c->x86->cr[0], cr4 = c->x86->cr[4], changed = cr4 ^ cr4_from;

    if ((cr0_from & ~cr0 & X86_CR0_PG) || (changed & X86_CR4_PGE) || (cr4_from & ~cr4 & X86_CR4_PCIDE))
        tlb_invvpid_single(&m->tlb, tag.vpid, false);
    else if ((changed & X86_CR4_PAE) || (cr4 & ~cr4_from & X86_CR4_SMEP))
        tlb_flush_pcid(&m->tlb, tag.vpid, tag.pcid);
    guest_space_load(c);
}

void guest_tlb_cr3(struct pcpu *c, uint64_t value)
{
    struct mmu *m = c->x86->mmu;

    guest_space_load(c);
    if (!(c->x86->cr[4] & X86_CR4_PCIDE) || !(value & X86_CR3_NO_FLUSH))
        tlb_flush_pcid(&m->tlb, m->space.tag.vpid, m->space.tag.pcid);
}

void guest_tlb_invpcid(struct pcpu *c, uint64_t type, uint16_t pcid, uint64_t linear)
{
    struct mmu *m = c->x86->mmu;
    uint16_t vpid = m->space.tag.vpid;

    if (type == 0)
        tlb_flush_pcid_linear(&m->tlb, vpid, pcid, linear, true);
    else if (type == 1)
        tlb_flush_pcid(&m->tlb, vpid, pcid);
    else
        tlb_invvpid_single(&m->tlb, vpid, type == 3);
}

// --- Translation. ---

static void trace_guest_walk(struct pcpu *c, unsigned access)
{
    const struct mmu *m = c->x86->mmu;
    const struct mmu_walk *w = &m->walk;
    struct trace_walk_step steps[MMU_STEPS_MAX];
    struct trace_walk row = {.step_count = (uint16_t)w->step_count, .access = (uint8_t)access};

    if (!c->trace)
        return;
    row.dimension = m->space.paging.levels && m->space.ept ? 2 : 1;
    row.where = (struct trace_where){(uint16_t)c->index, (uint16_t)c->note_vm, (uint16_t)c->note_vcpu,
                                     (uint8_t)c->note_level, 0};
    row.result = trace_text(c->trace, mmu_result_str(w->result));
    row.gva = w->linear;
    row.gpa = w->gpa;
    row.hpa =
        w->result == MMU_OK ? w->value.hpa | (w->linear & ((1ull << w->value.page_bits) - 1)) : UINT64_MAX;
    row.tick = w->begin_ticks;
    row.ticks = w->ticks;
    for (unsigned i = 0; i < w->step_count; i++)
        steps[i] = (struct trace_walk_step){
            .address = w->steps[i].address,
            .entry = w->steps[i].entry,
            .ticks = (uint32_t)w->steps[i].ticks,
            .hit = trace_text(c->trace, ept_where_str((enum ept_where)w->steps[i].where)),
            .stage = w->steps[i].stage,
            .level = w->steps[i].level};
    trace_walk(c->trace, &row, steps);
}

static enum guest_access exit_violation(struct pcpu *c)
{
    struct vmexit *x = vmx_exit_begin(c, EXIT_REASON_EPT_VIOLATION);
    const struct mmu_walk *w = &c->x86->mmu->walk;

    x->qualification = w->qualification;
    x->has_gpa = x->has_linear = true;
    x->gpa = w->gpa;
    x->linear = w->linear;
    return GUEST_EXIT;
}

static enum guest_access exit_misconfig(struct pcpu *c)
{
    struct vmexit *x = vmx_exit_begin(c, EXIT_REASON_EPT_MISCONFIG);

    x->has_gpa = true;
    x->gpa = c->x86->mmu->walk.gpa;
    return GUEST_EXIT;
}

static enum guest_access exception(struct pcpu *c, unsigned vector, uint32_t error, uint64_t detail)
{
    return vmx_exception(c, vector, error, detail) ? GUEST_EXIT : GUEST_FAULT;
}

enum guest_access guest_translate(struct pcpu *c, uint64_t address, unsigned access, uint64_t *hpa)
{
    struct mmu *m = c->x86->mmu;
    enum mmu_result result;

    if (guest_translate_fast(c, address, access, hpa))
        return GUEST_DONE;
    result = mmu_translate(m, address, access, m->user, hpa);
    if (m->walked)
        trace_guest_walk(c, access);
    switch (result) {
    case MMU_OK:
        break;
    case MMU_NOT_CANONICAL:
        return exception(c, GP_VECTOR, 0, 0);
    case MMU_PAGE_FAULT:
        return exception(c, PF_VECTOR, m->walk.error_code, address);
    case MMU_EPT_VIOLATION:
        return exit_violation(c);
    case MMU_EPT_MISCONFIG:
        return exit_misconfig(c);
    case MMU_LOG_FULL:
        vmx_exit_begin(c, EXIT_REASON_PML_FULL);
        return GUEST_EXIT;
    case MMU_RESULTS:
        break;
    }
    return GUEST_DONE;
}

// --- Data. ---

static bool is_apic_access(const struct vmx *v, uint64_t hpa)
{
    return (v->ctl.cpu2 & CPU2_VIRTUALIZE_APIC_ACCESSES) &&
           ((hpa ^ vmcs_get(v, APIC_ACCESS_ADDR)) >> 12) == 0;
}

static void host_apic_page(struct pcpu *c, uint64_t hpa, unsigned access, uint64_t *value)
{
    pcpu_charge_cycles(c, c->uarch->op.apic_mmio_cycles);
    if (access & EPT_ACCESS_WRITE)
        lapic_write_page(c, (uint32_t)hpa & 0xfff, (uint32_t)*value);
    else
        *value = lapic_read_page(c, (uint32_t)hpa & 0xfff);
}

static void memory(struct pcpu *c, uint64_t hpa, unsigned size, unsigned access, uint64_t *value)
{
    unsigned char *p = mem_hpa_to_ptr(c, hpa, size);

    if (!p) {
        // Nothing decodes the address: reads are all ones, writes are dropped.
        if (!(access & EPT_ACCESS_WRITE))
            memset(value, 0xff, size);
        return;
    }
    if (access & EPT_ACCESS_WRITE) {
        mem_store_begin(c, p, size);
        memcpy(p, value, size);
        return;
    }
    mem_access(c, hpa, size, MEM_GUEST_LOAD);
    if (access & EPT_ACCESS_READ)
        memcpy(value, p, size);
}

enum guest_access guest_access(struct pcpu *c, uint64_t address, unsigned size, unsigned access,
                               uint64_t *value)
{
    const struct vmx *v = &c->x86->vmx;
    unsigned first = 4096 - (unsigned)(address & 0xfff);
    uint64_t hpa, hpa2 = 0, part;
    enum guest_access result;

    // Both pages of a split access are translated before any byte moves.
    result = guest_translate(c, address, access, &hpa);
    if (result == GUEST_DONE && first < size)
        result = guest_translate(c, address + first, access, &hpa2);
    if (result != GUEST_DONE)
        return result;
    if (is_apic_access(v, hpa))
        return vapic_page_access(c, (uint32_t)hpa & 0xfff, size, access, value) ? GUEST_EXIT : GUEST_DONE;
    if (hpa >> 12 == (lapic_base(c) & APIC_BASE_ADDR_MASK) >> 12 && lapic_mode(c) == LAPIC_XAPIC) {
        host_apic_page(c, hpa, access, value);
        return GUEST_DONE;
    }
    if (first >= size) {
        memory(c, hpa, size, access, value);
        return GUEST_DONE;
    }
    memory(c, hpa, first, access, value);
    part = *value >> (8 * first);
    memory(c, hpa2, size - first, access, &part);
    if (!(access & EPT_ACCESS_WRITE))
        *value = (*value & ((1ull << (8 * first)) - 1)) | part << (8 * first);
    return GUEST_DONE;
}

// --- Locked read-modify-writes (SDM 8.1.2). ---

static uint64_t rmw_result(uint64_t old, unsigned size, enum guest_rmw what, uint64_t expected,
                           uint64_t operand)
{
    uint64_t mask = size == 8 ? UINT64_MAX : (1ull << (8 * size)) - 1;

    switch (what) {
    case GUEST_RMW_ADD:
        return old + operand;
    case GUEST_RMW_EXCHANGE:
        return operand;
    case GUEST_RMW_COMPARE:
        break;
    }
    return old == (expected & mask) ? operand : old;
}

uint64_t guest_rmw_bytes(unsigned char *p, unsigned size, enum guest_rmw what, uint64_t expected,
                         uint64_t operand)
{
    uint64_t old = 0, result;

    memcpy(&old, p, size);
    result = rmw_result(old, size, what, expected, operand);
    memcpy(p, &result, size);
    return old;
}

enum guest_access guest_rmw(struct pcpu *c, uint64_t address, unsigned size, enum guest_rmw what,
                            uint64_t operand, uint64_t *value)
{
    unsigned first = 4096 - (unsigned)(address & 0xfff);
    uint64_t hpa, hpa2, old = 0, result;
    enum guest_access done = guest_translate(c, address, EPT_ACCESS_READ | EPT_ACCESS_WRITE, &hpa);
    unsigned char *p;

    if (done == GUEST_DONE && first < size)
        done = guest_translate(c, address + first, EPT_ACCESS_READ | EPT_ACCESS_WRITE, &hpa2);
    if (done != GUEST_DONE)
        return done;
    p = mem_hpa_to_ptr(c, hpa, size);
    if (p && first >= size && !is_apic_access(&c->x86->vmx, hpa)) {
        mem_access(c, hpa, size, MEM_GUEST_RMW);
        *value = guest_rmw_bytes(p, size, what, *value, operand);
        return GUEST_DONE;
    }
    // Devices, and an access that is split over two pages: a read and a write.
    done = guest_access(c, address, size, EPT_ACCESS_READ, &old);
    if (done != GUEST_DONE)
        return done;
    result = rmw_result(old, size, what, *value, operand);
    *value = old;
    return guest_access(c, address, size, EPT_ACCESS_WRITE, &result);
}
