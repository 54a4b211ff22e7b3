// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/pml.h"

#include "hv/core/dirty_log.h"
#include "hv/lib/errno.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/exits.h"
#include "hv/x86/vmcs.h"

#define PML_HEAD (PML_ENTRIES - 1) // Written first; the index counts down.

int pml_create(struct x86_vcpu *v)
{
    if (!x86_host_of(v)->caps.pml)
        return 0;
    v->pml_buffer = page_alloc_zeroed(v->vcpu.vm->host, MEM_KERNEL);
    return v->pml_buffer != NULL ? 0 : -ENOMEM;
}

void pml_free(struct x86_vcpu *v)
{
    if (v->pml_buffer != NULL)
        page_free(v->vcpu.vm->host, v->pml_buffer, MEM_KERNEL);
    v->pml_buffer = NULL;
}

void pml_vmcs_setup(struct x86_vcpu *v)
{
    if (v->pml_buffer == NULL)
        return;
    vmcs_write(PML_ADDRESS, va_to_hpa(v->vcpu.vm->host, v->pml_buffer).v);
    vmcs_write(GUEST_PML_INDEX, PML_HEAD);
}

bool pml_wanted(struct x86_vcpu *v)
{
    return v->pml_buffer != NULL && READ_ONCE(v->vcpu.vm->mmu->logging_slots) != 0;
}

void pml_update(struct x86_vcpu *v)
{
    if (v->pml_buffer == NULL)
        return;
    if (pml_wanted(v))
        cpu2_controls_setbit(v, CPU2_ENABLE_PML);
    else
        cpu2_controls_clearbit(v, CPU2_ENABLE_PML);
}

void pml_flush(struct x86_vcpu *v)
{
    // Off since the last flush: whatever came before it was flushed then.
    if (likely(!cpu2_controls_has(v, CPU2_ENABLE_PML)))
        return;
    u32 index = vmcs_read32(GUEST_PML_INDEX);

    if (index == PML_HEAD)
        return;
    // The index names the next free entry, or has run below 0.
    u32 last = index >= PML_ENTRIES ? 0 : index + 1, count = PML_ENTRIES - last;

    for (u32 i = 0; i < count; i++) {
        gfn_t gfn = v->pml_buffer[PML_HEAD - i] >> PAGE_SHIFT;
        const struct memslot *slot = vcpu_gfn_to_memslot(&v->vcpu, gfn);

        if (slot != NULL)
            mark_page_dirty_in_slot(v->vcpu.vm, &v->vcpu, slot, gfn, HW_DIRTY_PML);
    }
    vmcs_write(GUEST_PML_INDEX, PML_HEAD);
    hw_trace_count("pml_flushes", 1);
    hw_trace_count("pml_entries", count);
}

int handle_pml_full(struct x86_vcpu *v)
{
    hw_trace(TP_KVM_PML_FULL, v->vcpu.index, 0, 0, 0, 0, 0);
    // An IRET that had unblocked NMIs before its write was not logged will run again (SDM 27.2.3).
    if (!(v->idt_vectoring & INTR_INFO_VALID) && (exit_qualification(v) & QUAL_EPT_UNBLOCK_NMI))
        set_nmi_mask(v, true);
    return 1; // The buffer is empty already.
}
