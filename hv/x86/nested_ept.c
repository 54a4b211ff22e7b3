// SPDX-License-Identifier: Apache-2.0
// Nested EPT: an L1 that uses EPT for L2. L2 then runs on shadow pages (hv/mmu/shadow.h).
//
// Offered: tables of four levels, pages of all sizes that the processor has, execute-only where it has it,
// INVEPT of both types. Refused at VM entry: five levels, accessed and dirty flags, other memory types of the
// tables than write-back (L0 maps everything write-back, as it does for L1).
#include "hv/mmu/shadow.h"
#include "hv/x86/emulate.h"
#include "hv/x86/exits.h"
#include "hv/x86/nested_state.h"

u64 nested_ept_caps(const struct x86_vcpu *v)
{
    const u64 of_host = EPT_CAP_EXECUTE_ONLY | EPT_CAP_2M | EPT_CAP_1G;

    return (x86_host(v->vcpu.vm->host)->caps.ept_vpid & of_host) | EPT_CAP_WALK_4 | EPT_CAP_WB |
           EPT_CAP_INVEPT | EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL;
}

// SDM 26.2.1.1, on the EPTP.
bool nested_ept_good_pointer(const struct x86_vcpu *v, u64 eptp)
{
    return (eptp & EPTP_MEMTYPE_MASK) == MEMTYPE_WB && (eptp & EPTP_WALK_MASK) == EPTP_WALK_4 &&
           (eptp & (EPTP_AD | EPTP_SSS | EPTP_RESERVED_LOW)) == 0 && eptp >> v->maxphyaddr == 0;
}

bool nested_ept12(const struct nested *n)
{
    return (V12(n, CPU_BASED_VM_EXEC_CONTROL) & CPU_ACTIVATE_SECONDARY_CONTROLS) != 0 &&
           (V12(n, SECONDARY_VM_EXEC_CONTROL) & CPU2_ENABLE_EPT) != 0;
}

bool nested_ept_enter(struct x86_vcpu *v)
{
    struct mmu_vcpu *m = v->vcpu.mmu;

    if (!nested_ept12(v->nested))
        return false;
    m->shadowing = true;
    m->shadow_eptp12 = V12(v->nested, EPT_POINTER);
    m->root_loaded = false; // Before the entry, where waiting and failing are possible.
    return true;
}

void nested_ept_leave(struct x86_vcpu *v)
{
    struct mmu_vcpu *m = v->vcpu.mmu;

    if (!m->shadowing)
        return;
    m->shadowing = false;
    m->root_loaded = true; // vmcs01 has held the VM's own root since L1 ran.
}

// SDM 27.2.1: bits 2:0 and the rest are the access's own; bits 5:3 what L1's entries allow together.
static void reflect_violation(struct x86_vcpu *v, const struct ept12_walk *w)
{
    const u64 allowed = QUAL_EPT_READABLE | QUAL_EPT_WRITABLE | QUAL_EPT_EXECUTABLE;
    u64 q = exit_qualification(v) & ~(allowed | QUAL_EPT_USER_EXECUTABLE);

    hw_trace_count("nested_ept_violations", 1);
    nested_vmexit(v, EXIT_REASON_EPT_VIOLATION, 0, q | (u64)w->rights << QUAL_EPT_ALLOWED_SHIFT);
}

static int reflect(struct x86_vcpu *v, const struct ept12_walk *w, gpa_t l2_gpa)
{
    V12(v->nested, GUEST_PHYSICAL_ADDRESS) = l2_gpa.v;
    if (w->fault == EPT12_VIOLATION) {
        reflect_violation(v, w);
    } else {
        hw_trace_count("nested_ept_misconfigs", 1);
        nested_vmexit(v, EXIT_REASON_EPT_MISCONFIG, 0, 0);
    }
    return 1;
}

static u64 access_of(u64 q)
{
    return (q & QUAL_EPT_READ ? EPT_READ : 0) | (q & QUAL_EPT_WRITE ? EPT_WRITE : 0) |
           (q & QUAL_EPT_FETCH ? EPT_EXEC : 0);
}

int nested_ept_violation(struct x86_vcpu *v)
{
    gpa_t l2_gpa = exit_gpa(v);
    u64 q = exit_qualification(v);
    struct ept12_walk w;

    ept12_walk(v->vcpu.vm, v->vcpu.mmu->shadow_eptp12, nested_ept_caps(v), v->maxphyaddr, l2_gpa,
               access_of(q), &w);
    if (w.fault != EPT12_TRANSLATED)
        return reflect(v, &w, l2_gpa);
    struct page_fault f = {.gpa = gpa(w.gfn << PAGE_SHIFT | (l2_gpa.v & ~PAGE_MASK)),
                           .write = (q & QUAL_EPT_WRITE) != 0,
                           .exec = (q & QUAL_EPT_FETCH) != 0};

    return finish_page_fault(v, &f, shadow_page_fault(v, &f, &w, l2_gpa));
}

u32 nested_ept_invalidate(struct x86_vcpu *v, u64 type, u64 eptp)
{
    if (type == INVEPT_SINGLE && nested_ept_good_pointer(v, eptp))
        shadow_invept(v, (eptp & EPTP_ADDR_MASK) >> PAGE_SHIFT, nested_ept_caps(v));
    else if (type == INVEPT_ALL)
        shadow_invept(v, SHADOW_ALL_ROOTS, nested_ept_caps(v));
    else
        return VMERR_INVEPT_INVVPID_BAD_OPERAND;
    return VMERR_NONE;
}
