// SPDX-License-Identifier: Apache-2.0
// Exits of guest-physical memory: EPT violation and misconfiguration, APIC page (SDM 28.3.3, 29.4).
#include "hv/hw/guest.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/emulate.h"
#include "hv/x86/exits.h"
#include "hv/x86/lapic.h"
#include "hv/x86/nested.h"

int finish_page_fault(struct x86_vcpu *v, const struct page_fault *f, enum fault_result result)
{
    switch (result) {
    case FAULT_RETRY:
    case FAULT_FIXED:
    case FAULT_SPURIOUS:
        return 1;
    case FAULT_EMULATE:
        if (f->exec) // Code in device memory.
            return internal_error(v, HV_INTERNAL_ERROR_EMULATION, 1, f->gpa.v, 0, 0);
        return emulate_mmio(v, f->gpa, false);
    case FAULT_ERROR:
        break;
    }
    return userspace_exit(v, HV_EXIT_MEMORY_FAULT);
}

static int fault(struct x86_vcpu *v, struct page_fault *f)
{
    return finish_page_fault(v, f, mmu_page_fault(v, f));
}

int handle_ept_violation(struct x86_vcpu *v)
{
    u64 q = exit_qualification(v);
    struct page_fault f = {
        .gpa = exit_gpa(v), .write = (q & QUAL_EPT_WRITE) != 0, .exec = (q & QUAL_EPT_FETCH) != 0};

    // Any right that the entries had: they are there.
    f.present = (q & (QUAL_EPT_READABLE | QUAL_EPT_WRITABLE | QUAL_EPT_EXECUTABLE)) != 0;
    // An IRET that had unblocked NMIs before it faulted will run again (SDM 27.2.3).
    if (!(v->idt_vectoring & INTR_INFO_VALID) && (q & QUAL_EPT_UNBLOCK_NMI))
        set_nmi_mask(v, true);
    hw_trace(TP_KVM_PAGE_FAULT, v->vcpu.index, trace_rip(v), f.gpa.v, q, 0, 0);
    if (unlikely(v->vcpu.mmu->shadowing))
        return nested_ept_violation(v);
    return fault(v, &f);
}

int handle_ept_misconfig(struct x86_vcpu *v)
{
    gpa_t a = exit_gpa(v);

    if (likely(mmu_is_mmio(v, a)))
        return emulate_mmio(v, a, true);
    // The entry is out of date: slots changed since. Ask for the memory again.
    struct page_fault f = {.gpa = a};

    return fault(v, &f);
}

int handle_apic_access(struct x86_vcpu *v)
{
    u64 q = exit_qualification(v);

    if (v->apic == NULL)
        return handle_not_modelled(v);
    int result = lapic_handle_apic_access(v, q);

    if (result >= 0)
        return result;
    return emulate_mmio(v, gpa((v->apic_base & APIC_BASE_ADDR_MASK) + (q & QUAL_APIC_OFFSET_MASK)), true);
}

// Only with "descriptor-table exiting". The operand is wherever the instruction says (SDM 27.2.5, tables
// 27-10, 27-11): carried out whole.
int handle_descriptor_table(struct x86_vcpu *v)
{
    return hw_guest_is_stream() ? handle_not_modelled(v) : emulate_instruction(v);
}
