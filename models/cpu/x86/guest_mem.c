// SPDX-License-Identifier: Apache-2.0
// Memory accesses of a guest: TLB, EPT walk, page-modification log, APIC-access page, data.
#include "models/cpu/x86/trace_exit.h"
#include "models/cpu/x86/x86_state.h"

#include "models/apic/lapic.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "spec/apic_bits.h"
#include "traces/trace.h"

static unsigned needed_rights(const struct vmx *v, unsigned access)
{
    unsigned need = access & (EPT_ACCESS_READ | EPT_ACCESS_WRITE);
    bool user = (vmcs_get32(v, GUEST_SS_AR_BYTES) & AR_DPL_MASK) == AR_DPL_MASK;

    if (access & EPT_ACCESS_FETCH)
        need |= (v->ctl.cpu2 & CPU2_MODE_BASED_EPT_EXEC) && user ? 8u : 4u;
    return need;
}

static void trace_guest_walk(struct pcpu *c, uint64_t linear, uint64_t gpa, unsigned access, uint64_t begin,
                             const struct ept_walk *w)
{
    static const char *const results[] = {"ok", "ept violation", "ept misconfiguration"};
    struct trace_walk_step steps[EPT_LEVELS_MAX] = {0};
    struct trace_walk row = {.step_count = w->step_count, .dimension = 1, .access = (uint8_t)access};

    if (!c->trace)
        return;
    row.where = (struct trace_where){(uint16_t)c->index, (uint16_t)c->note_vm, (uint16_t)c->note_vcpu,
                                     (uint8_t)c->note_level, 0};
    row.result = trace_text(c->trace, results[w->fault]);
    row.gva = linear;
    row.gpa = gpa;
    row.hpa = w->fault == EPT_TRANSLATED ? w->hpa : UINT64_MAX;
    row.tick = begin;
    row.ticks = c->now_ticks - begin;
    for (unsigned i = 0; i < w->step_count; i++) {
        steps[i].address = w->steps[i].address;
        steps[i].entry = w->steps[i].entry;
        steps[i].ticks = (uint32_t)w->steps[i].ticks;
        steps[i].hit = trace_text(c->trace, ept_where_str((enum ept_where)w->steps[i].where));
        steps[i].stage = 2;
        steps[i].level = w->steps[i].level;
    }
    trace_walk(c->trace, &row, steps);
}

static bool exit_violation(struct pcpu *c, uint64_t linear, uint64_t gpa, uint64_t qualification)
{
    struct vmexit *x = vmx_exit_begin(c, EXIT_REASON_EPT_VIOLATION);

    x->qualification = qualification;
    x->has_gpa = x->has_linear = true;
    x->gpa = gpa;
    x->linear = linear;
    tlb_flush_violation(c->x86->tlb, &c->x86->vmx.tag, gpa, linear);
    return true;
}

static bool exit_misconfig(struct pcpu *c, uint64_t gpa)
{
    struct vmexit *x = vmx_exit_begin(c, EXIT_REASON_EPT_MISCONFIG);

    x->has_gpa = true;
    x->gpa = gpa;
    return true;
}

// --- Page-modification logging (SDM 28.3.6). ---

static bool pml_full(const struct vmx *v)
{
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

// --- Translation. ---

static bool walk(struct pcpu *c, uint64_t linear, uint64_t gpa, unsigned access, struct ept_walk *w)
{
    struct vmx *v = &c->x86->vmx;
    struct tlb *tlb = c->x86->tlb;
    unsigned levels = EPTP_LEVELS(v->eptp);
    struct ept_start start;
    bool cached = tlb_table_lookup(tlb, v->tag.ep4ta, levels, gpa, &start);
    struct ept_request rq = {.eptp = v->eptp,
                             .gpa = gpa,
                             .access = access,
                             .linear_valid = true,
                             .translates_linear = true,
                             .user = needed_rights(v, access) & 8,
                             .mode_based_exec = v->ctl.cpu2 & CPU2_MODE_BASED_EPT_EXEC,
                             .keep_clean = pml_full(v)};
    uint64_t begin = c->now_ticks;

    ept_walk(c, &rq, cached ? &start : NULL, w);
    if (w->fault != EPT_FAULT_MISCONFIG)
        tlb_table_insert(tlb, v->tag.ep4ta, levels, gpa, cached ? &start : NULL, w);
    trace_guest_walk(c, linear, gpa, access, begin, w);
    if (w->fault == EPT_FAULT_VIOLATION)
        return exit_violation(c, linear, gpa, w->qualification);
    if (w->fault == EPT_FAULT_MISCONFIG)
        return exit_misconfig(c, gpa);
    if (w->kept_clean) {
        vmx_exit_begin(c, EXIT_REASON_PML_FULL);
        return true;
    }
    if (w->dirty_set)
        pml_log(c, gpa);
    return false;
}

bool guest_translate(struct pcpu *c, uint64_t linear, uint64_t gpa, unsigned access, uint64_t *hpa)
{
    struct vmx *v = &c->x86->vmx;
    bool fetch = access & EPT_ACCESS_FETCH;
    unsigned need = needed_rights(v, access);
    struct tlb_mapping m;
    struct ept_walk w;
    enum tlb_where where;

    if (!(v->ctl.cpu2 & CPU2_ENABLE_EPT)) {
        *hpa = gpa;
        return false;
    }
    where = tlb_lookup(c->x86->tlb, TLB_COMBINED, &v->tag, linear, fetch, &m);
    if (where == TLB_HIT_L2)
        pcpu_charge_cycles(c, c->uarch->stlb.latency_cycles);
    if (where != TLB_MISS && (m.rights & need) == need && (m.dirty || !(access & EPT_ACCESS_WRITE))) {
        *hpa = m.hpa | (linear & ((1ull << m.page_bits) - 1));
        return false;
    }
    if (walk(c, linear, gpa, access, &w))
        return true;
    m = (struct tlb_mapping){.tag = v->tag,
                             .address = linear,
                             .hpa = w.hpa & ~((1ull << w.page_bits) - 1),
                             .kind = TLB_COMBINED,
                             .page_bits = w.page_bits,
                             .rights = w.rights,
                             .memory_type = w.memory_type,
                             .dirty = w.dirty};
    tlb_insert(c->x86->tlb, &m, fetch);
    *hpa = w.hpa;
    return false;
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

bool guest_access(struct pcpu *c, uint64_t linear, uint64_t gpa, unsigned size, unsigned access,
                  uint64_t *value)
{
    const struct vmx *v = &c->x86->vmx;
    unsigned first = 4096 - (unsigned)(gpa & 0xfff);
    uint64_t hpa, hpa2 = 0, part;

    // Both pages of a split access are translated before any byte moves.
    if (guest_translate(c, linear, gpa, access, &hpa))
        return true;
    if (first < size && guest_translate(c, linear + first, gpa + first, access, &hpa2))
        return true;
    if (is_apic_access(v, hpa))
        return vapic_page_access(c, (uint32_t)hpa & 0xfff, size, access, value);
    if (hpa >> 12 == (lapic_base(c) & APIC_BASE_ADDR_MASK) >> 12 && lapic_mode(c) == LAPIC_XAPIC) {
        host_apic_page(c, hpa, access, value);
        return false;
    }
    if (first >= size) {
        memory(c, hpa, size, access, value);
        return false;
    }
    memory(c, hpa, first, access, value);
    part = *value >> (8 * first);
    memory(c, hpa2, size - first, access, &part);
    if (!(access & EPT_ACCESS_WRITE))
        *value = (*value & ((1ull << (8 * first)) - 1)) | part << (8 * first);
    return false;
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

bool guest_rmw(struct pcpu *c, uint64_t linear, uint64_t gpa, unsigned size, enum guest_rmw what,
               uint64_t operand, uint64_t *value)
{
    unsigned first = 4096 - (unsigned)(gpa & 0xfff);
    uint64_t hpa, hpa2, old = 0, result;
    unsigned char *p;

    if (guest_translate(c, linear, gpa, EPT_ACCESS_READ | EPT_ACCESS_WRITE, &hpa) ||
        (first < size &&
         guest_translate(c, linear + first, gpa + first, EPT_ACCESS_READ | EPT_ACCESS_WRITE, &hpa2)))
        return true;
    p = mem_hpa_to_ptr(c, hpa, size);
    if (p && first >= size && !is_apic_access(&c->x86->vmx, hpa)) {
        mem_access(c, hpa, size, MEM_GUEST_RMW);
        *value = guest_rmw_bytes(p, size, what, *value, operand);
        return false;
    }
    // Devices, and an access that is split over two pages: a read and a write.
    if (guest_access(c, linear, gpa, size, EPT_ACCESS_READ, &old))
        return true;
    result = rmw_result(old, size, what, *value, operand);
    *value = old;
    return guest_access(c, linear, gpa, size, EPT_ACCESS_WRITE, &result);
}
