// SPDX-License-Identifier: Apache-2.0
// Memory accesses of a guest: translation and what its faults make, APIC-access page, data, locked
// read-modify-writes.
#include "models/cpu/native/watch.h"
#include "models/cpu/x86/trace_exit.h"
#include "models/cpu/x86/trace_state.h"
#include "models/cpu/x86/x86_state.h"

#include "models/apic/lapic.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "traces/trace.h"

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
    struct trace_port *p = trace_port_of(c->machine);

    row.result = trace_once(c, &p->walk_results[w->result], mmu_result_str(w->result));
    row.gva = w->linear;
    row.gpa = w->gpa;
    row.hpa =
        w->result == MMU_OK ? w->value.hpa | (w->linear & ((1ull << w->value.page_bits) - 1)) : UINT64_MAX;
    row.tick = w->begin_ticks;
    row.ticks = w->ticks;
    for (unsigned i = 0; i < w->step_count; i++)
        steps[i] =
            (struct trace_walk_step){.address = w->steps[i].address,
                                     .entry = w->steps[i].entry,
                                     .ticks = (uint32_t)w->steps[i].ticks,
                                     .hit = trace_once(c, &p->walk_wheres[w->steps[i].where],
                                                       ept_where_str((enum ept_where)w->steps[i].where)),
                                     .stage = w->steps[i].stage,
                                     .level = w->steps[i].level};
    trace_walk(c->trace, &row, steps);
}

static enum guest_access exit_violation(struct pcpu *c)
{
    struct vmexit *x = vmx_exit_begin(c, EXIT_REASON_EPT_VIOLATION);
    const struct mmu_walk *w = &c->x86->mmu->walk;

    x->qualification = w->qualification;
    x->has_gpa = true;
    x->has_linear = w->qualification & QUAL_EPT_LINEAR_VALID; // Not of a PDPTE that MOV to CR loads.
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

// What a translation that ended in `result` makes.
static enum guest_access consequence(struct pcpu *c, enum mmu_result result, uint64_t address)
{
    switch (result) {
    case MMU_OK:
        break;
    case MMU_NOT_CANONICAL:
        return exception(c, GP_VECTOR, 0, 0);
    case MMU_PAGE_FAULT:
        return exception(c, PF_VECTOR, c->x86->mmu->walk.error_code, address);
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

enum guest_access guest_translate(struct pcpu *c, uint64_t address, unsigned access, uint64_t *hpa)
{
    struct mmu *m = c->x86->mmu;
    enum mmu_mode mode = access & GUEST_SYSTEM ? MMU_SUPERVISOR : m->mode;
    enum mmu_result result;

    access &= ~GUEST_SYSTEM;
    if (mmu_hit(m, address, access, mode, hpa))
        return GUEST_DONE;
    result = mmu_translate(m, address, access, mode, hpa);
    if (m->walked)
        trace_guest_walk(c, access);
    return consequence(c, result, address);
}

enum guest_access guest_translate_physical(struct pcpu *c, uint64_t gpa, uint64_t *hpa)
{
    return consequence(c, mmu_translate_physical(c->x86->mmu, gpa, hpa), 0);
}

// --- Data. ---

static void host_apic_page(struct pcpu *c, uint64_t hpa, unsigned access, uint64_t *value)
{
    pcpu_charge_cycles(c, c->uarch->op.apic_mmio_cycles);
    if (access & EPT_ACCESS_WRITE)
        lapic_write_page(c, (uint32_t)hpa & 0xfff, (uint32_t)*value);
    else
        *value = lapic_read_page(c, (uint32_t)hpa & 0xfff);
}

// An access of one of the pages apart. True: exit.
static bool apart_access(struct pcpu *c, uint64_t hpa, unsigned size, unsigned access, void *bytes)
{
    uint64_t value[2] = {0};
    bool exits = false;

    if (access & EPT_ACCESS_WRITE)
        memcpy(value, bytes, size);
    if (hpa >> 12 == c->x86->mmu->apart[0])
        exits = vapic_page_access(c, (uint32_t)hpa & 0xfff, size, access & ~GUEST_SYSTEM, value);
    else
        host_apic_page(c, hpa, access, value);
    if (!exits && !(access & EPT_ACCESS_WRITE))
        memcpy(bytes, value, size);
    return exits;
}

static void memory(struct pcpu *c, uint64_t hpa, unsigned size, unsigned access, void *bytes)
{
    unsigned char *p = mem_hpa_to_ptr(c, hpa, size);

    if (!p) {
        // Nothing decodes the address: reads are all ones, writes are dropped.
        if (!(access & EPT_ACCESS_WRITE))
            memset(bytes, 0xff, size);
        return;
    }
    if (access & EPT_ACCESS_WRITE) {
        native_watch_guest_stores(c, p, size);
        mem_store_begin(c, p, size);
        memcpy(p, bytes, size);
        return;
    }
    mem_access(c, hpa, size, MEM_GUEST_LOAD);
    if (access & EPT_ACCESS_READ)
        memcpy(bytes, p, size);
}

// Where an access lies: both pages of a split one.
struct place {
    uint64_t hpa, hpa2;
    unsigned first; // Bytes in the first page
};

// Both pages of a split access are translated before any byte moves. Addresses of 32 bits wrap.
static enum guest_access locate(struct pcpu *c, uint64_t address, unsigned size, unsigned access,
                                struct place *p)
{
    const struct paging *paging = &c->x86->mmu->space.paging;
    enum guest_access result = guest_translate(c, address, access, &p->hpa);
    unsigned in_page = 4096 - (unsigned)(address & 0xfff);
    uint64_t next = address + in_page;

    p->first = in_page < size ? in_page : size;
    if (result != GUEST_DONE || p->first == size)
        return result;
    if (paging->off || (paging->levels && paging->levels <= PAGING_LEVELS_PAE))
        next = (uint32_t)next;
    return guest_translate(c, next, access, &p->hpa2);
}

enum guest_access guest_access(struct pcpu *c, uint64_t address, unsigned size, unsigned access, void *bytes)
{
    struct place at;
    enum guest_access result = locate(c, address, size, access, &at);

    if (result != GUEST_DONE)
        return result;
    if (guest_apart(c, at.hpa))
        return apart_access(c, at.hpa, size, access, bytes) ? GUEST_EXIT : GUEST_DONE;
    memory(c, at.hpa, at.first, access, bytes);
    if (at.first < size)
        memory(c, at.hpa2, size - at.first, access, (unsigned char *)bytes + at.first);
    return GUEST_DONE;
}

// --- Locked read-modify-writes (SDM 8.1.2). ---

enum guest_access guest_rmw_begin(struct pcpu *c, uint64_t address, unsigned size, struct guest_rmw *r)
{
    struct place at;
    enum guest_access result = locate(c, address, size, EPT_ACCESS_READ | EPT_ACCESS_WRITE, &at);

    if (result != GUEST_DONE)
        return result;
    r->address = address;
    r->size = size;
    r->apart = at.first < size || guest_apart(c, at.hpa);
    r->p = r->apart ? NULL : mem_hpa_to_ptr(c, at.hpa, size);
    if (r->p) {
        mem_access(c, at.hpa, size, MEM_GUEST_RMW);
        return GUEST_DONE;
    }
    // Devices, and an access that is split over two pages: a read and a write.
    r->apart = true;
    r->p = r->bytes;
    return guest_access(c, address, size, EPT_ACCESS_READ, r->bytes);
}

enum guest_access guest_rmw_end(struct pcpu *c, struct guest_rmw *r)
{
    return r->apart ? guest_access(c, r->address, r->size, EPT_ACCESS_WRITE, r->bytes) : GUEST_DONE;
}

uint64_t guest_rmw_bytes(unsigned char *p, unsigned size, enum guest_rmw_kind what, uint64_t expected,
                         uint64_t operand)
{
    uint64_t old = 0, mask = size == 8 ? UINT64_MAX : (1ull << (8 * size)) - 1, result = operand;

    memcpy(&old, p, size);
    if (what == GUEST_RMW_ADD)
        result = old + operand;
    else if (what == GUEST_RMW_COMPARE && old != (expected & mask))
        result = old;
    memcpy(p, &result, size);
    return old;
}

enum guest_access guest_rmw(struct pcpu *c, uint64_t address, unsigned size, enum guest_rmw_kind what,
                            uint64_t operand, uint64_t *value)
{
    struct guest_rmw r;
    enum guest_access result = guest_rmw_begin(c, address, size, &r);

    if (result != GUEST_DONE)
        return result;
    *value = guest_rmw_bytes(r.p, size, what, *value, operand);
    return guest_rmw_end(c, &r);
}
