// SPDX-License-Identifier: Apache-2.0
#include "hv/mmu/tests/mmu_fixture.h"

struct vm *vm_of(void)
{
    return t.v->vcpu.vm;
}

u64 spte_at(gfn_t gfn, unsigned *level)
{
    read_lock(&vm_of()->mmu_lock);
    u64 spte = *mmu_lookup(vm_of(), gfn, level);

    read_unlock(&vm_of()->mmu_lock);
    return spte;
}

static u64 fault_gpa, fault_qualification;

static void violation(struct hw_gprs *r)
{
    (void)r;
    fake_vmcs_write(GUEST_PHYSICAL_ADDRESS, fault_gpa);
    guest_exit(EXIT_REASON_EPT_VIOLATION, fault_qualification, 3);
}

void misconfig(struct hw_gprs *r)
{
    (void)r;
    fake_vmcs_write(GUEST_PHYSICAL_ADDRESS, fault_gpa);
    guest_exit(EXIT_REASON_EPT_MISCONFIG, 0, 0);
}

void set_fault_gpa(u64 gpa)
{
    fault_gpa = gpa;
}

void fault(u64 gpa, u64 qualification)
{
    static const guest_step steps[] = {violation};

    fault_gpa = gpa;
    fault_qualification = qualification;
    script_guest(steps, 1);
    EXPECT_EQ(run_vm(), 0);
}

void prefault(u64 gpa, u64 bytes)
{
    struct hv_pre_fault_memory *p = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);

    *p = (struct hv_pre_fault_memory){.gpa = gpa, .size = bytes};
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_PRE_FAULT_MEMORY, p), 0);
    EXPECT_EQ(p->size, 0);
}
