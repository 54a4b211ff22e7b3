// SPDX-License-Identifier: Apache-2.0
// Nested VMX: L1's MSR areas (SDM 24.7.2, 24.8.2, 26.4, 27.4, 27.6). They are lists in L1's memory, which L0
// goes through itself: the processor knows nothing of them.
#include "hv/x86/lapic.h"
#include "hv/x86/msr.h"
#include "hv/x86/nested_state.h"

// SDM A.6: IA32_VMX_MISC recommends this many; more is undefined, here a failure of the first beyond.
#define ENTRIES_MAX 512u

static bool is_x2apic(u32 msr)
{
    return msr - MSR_X2APIC_BASE < 0x100;
}

static bool loadable(const struct x86_vcpu *v, const struct msr_entry *e, u32 number)
{
    if (number > ENTRIES_MAX || e->reserved != 0)
        return false;
    if (e->msr == MSR_IA32_FS_BASE || e->msr == MSR_IA32_GS_BASE)
        return false; // The VMCS has them.
    if (e->msr == MSR_IA32_BIOS_SIGN_ID)
        return false;
    return !is_x2apic(e->msr) || !(v->apic_base & APIC_BASE_EXTD);
}

static bool read_entry(struct x86_vcpu *v, u64 area, u32 number, struct msr_entry *e)
{
    return vm_read_guest(v->vcpu.vm, gpa(area + (u64)(number - 1) * sizeof *e), e, sizeof *e) == 0;
}

u32 nested_msrs_load(struct x86_vcpu *v, u64 area, u64 count)
{
    struct msr_entry e;

    for (u32 number = 1; number <= count; number++)
        if (!read_entry(v, area, number, &e) || !loadable(v, &e, number) ||
            msr_write(v, e.msr, e.value, false) != 0)
            return number;
    return 0;
}

void nested_msrs_enter(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    struct msr_entry e = {0};
    bool store = false;

    for (u32 number = 1; number <= V12(n, VM_EXIT_MSR_STORE_COUNT) && number <= ENTRIES_MAX && !store;
         number++)
        store = read_entry(v, V12(n, VM_EXIT_MSR_STORE_ADDR), number, &e) && e.msr == MSR_IA32_TSC;
    if (store == n->stores_tsc)
        return;
    n->stores_tsc = store;
    n->exit_tsc.msr = MSR_IA32_TSC;
    vmcs_write(VM_EXIT_MSR_STORE_ADDR, va_to_hpa(v->vcpu.vm->host, &n->exit_tsc).v);
    vmcs_write(VM_EXIT_MSR_STORE_COUNT, store);
}

// As L1 reads it: L2's offset is no part of the time-stamp counter.
static int read_msr(struct x86_vcpu *v, struct msr_entry *e)
{
    struct nested *n = v->nested;

    if (e->msr != MSR_IA32_TSC)
        return msr_read(v, e->msr, &e->value, false);
    e->value = n->l1_tsc_offset + (n->stores_tsc ? n->exit_tsc.value : hw_rdtsc());
    return 0;
}

u32 nested_msrs_store(struct x86_vcpu *v, u64 area, u64 count)
{
    struct msr_entry e;

    for (u32 number = 1; number <= count; number++) {
        if (number > ENTRIES_MAX || !read_entry(v, area, number, &e) || e.reserved != 0)
            return number;
        if (is_x2apic(e.msr) && (v->apic_base & APIC_BASE_EXTD))
            return number;
        if (read_msr(v, &e) != 0 ||
            vm_write_guest(v->vcpu.vm,
                           gpa(area + (u64)(number - 1) * sizeof e + offsetof(struct msr_entry, value)),
                           &e.value, sizeof e.value) != 0)
            return number;
    }
    return 0;
}

void nested_abort(struct x86_vcpu *v, u32 indicator)
{
    (void)vm_write_guest(v->vcpu.vm, gpa(v->nested->current.v + VMCS_ABORT_OFFSET), &indicator,
                         sizeof indicator);
    make_request(REQ_TRIPLE_FAULT, &v->vcpu);
}
