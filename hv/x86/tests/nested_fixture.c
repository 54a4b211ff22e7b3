// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/tests/nested_fixture.h"

int run_vmx_insn(const struct vmx_insn *row)
{
    struct x86_vcpu *v = t.v;

    v->exception = (struct x86_exception){0};
    v->regs_avail &= ~((1u << CACHED_INSN_LEN) | (1u << CACHED_QUALIFICATION));
    fake_vmcs_write(VM_EXIT_INSTRUCTION_LEN, 3);
    fake_vmcs_write(EXIT_QUALIFICATION, 0);
    // Memory operand [rdi], 64-bit address; or registers RAX and RDX.
    bool reg = row->reason == EXIT_REASON_VMREAD || row->reason == EXIT_REASON_VMWRITE;
    fake_vmcs_write(VMX_INSTRUCTION_INFO, reg ? (2ull << INSN_INFO_REG2_SHIFT) | INSN_INFO_IS_REG
                                              : (7ull << INSN_INFO_BASE_SHIFT) | INSN_INFO_NO_INDEX |
                                                    3u << INSN_INFO_SEG_SHIFT |
                                                    2u << INSN_INFO_ADDR_SIZE_SHIFT);
    v->gprs.r[GPR_RDI] = 0x5000;
    v->gprs.r[GPR_RDX] = row->operand;
    v->gprs.r[GPR_RAX] = row->value;
    guest_operand(row->operand, row->value);
    nested_handle_insn(v, row->reason);
    if (v->exception.pending)
        return FAULT;
    u64 rflags = vcpu_rflags(v);
    if (rflags & X86_RFLAGS_CF)
        return FAIL_INVALID;
    return rflags & X86_RFLAGS_ZF ? (int)V12(v->nested, VM_INSTRUCTION_ERROR) : OK;
}

void put_revision(u64 at, u32 revision)
{
    EXPECT_EQ(vm_write_guest(t.v->vcpu.vm, gpa(at), &revision, 4), 0);
}

void offer_vmx(void)
{
    static const struct {
        u32 msr;
        u64 value;
    } rows[] = {
        {MSR_IA32_VMX_PINBASED_CTLS, 0xff00000016},         {MSR_IA32_VMX_PROCBASED_CTLS, 0xfff9fffe0401e172},
        {MSR_IA32_VMX_PROCBASED_CTLS2, 0xffffffff00000000}, {MSR_IA32_VMX_EXIT_CTLS, 0x01ffffff00036dff},
        {MSR_IA32_VMX_ENTRY_CTLS, 0x3ffff000011ff},
    };
    struct x86_vcpu *v = t.v;
    static struct hv_cpuid_entry2 entries[2];

    for (u32 i = 0; i < ARRAY_COUNT(rows); i++)
        fake_set_msr(0, rows[i].msr, rows[i].value);
    entries[0] = (struct hv_cpuid_entry2){.function = 1, .ecx = 1u << 5};
    entries[1] = (struct hv_cpuid_entry2){.function = 0x80000001, .edx = 1u << 27 | 1u << 29};
    struct hv_cpuid2 *c = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);
    c->nent = 2;
    c->entries[0] = entries[0];
    c->entries[1] = entries[1];
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_CPUID2, c), 0);
    vcpu_load(&v->vcpu);
    v->maxphyaddr = 46;
    v->feature_control = FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUTSIDE_SMX;
    vcpu_write_efer(v, EFER_LME | EFER_LMA);
    vcpu_write_cr0(v, 0x80050033);
    vcpu_write_cr4(v, X86_CR4_PAE | X86_CR4_VMXE);
    fake_vmcs_write(GUEST_CS_AR_BYTES, 0xa09b);
    fake_vmcs_write(GUEST_SS_AR_BYTES, 0xc093);
    v->segs.avail = 0;
    put_revision(0x1000, VMCS12_REVISION);
    put_revision(0x2000, VMCS12_REVISION);
    put_revision(0x3000, 7);
}

// --- L2.

static const struct {
    enum vmcs12_field field;
    u64 value;
} l2_fields[] = {
    {V12_PIN_BASED_VM_EXEC_CONTROL, 0x16},
    {V12_CPU_BASED_VM_EXEC_CONTROL, 0x8401e172},
    {V12_VM_EXIT_CONTROLS, 0x36fff},
    {V12_VM_ENTRY_CONTROLS, 0x13ff},
    {V12_VMCS_LINK_POINTER, ~0ull},
    {V12_HOST_CR0, 0x80050033},
    {V12_HOST_CR4, X86_CR4_PAE | X86_CR4_VMXE},
    {V12_HOST_CS_SELECTOR, 0x10},
    {V12_HOST_TR_SELECTOR, 0x40},
    {V12_GUEST_CR0, 0x80050033},
    {V12_GUEST_CR4, X86_CR4_PAE | X86_CR4_VMXE},
    {V12_GUEST_RFLAGS, 2},
    {V12_GUEST_CS_AR_BYTES, 0xa09b},
    {V12_GUEST_SS_AR_BYTES, 0xc093},
};

void nested_start(u64 eptp12)
{
    static const struct vmx_insn on[] = {{EXIT_REASON_VMON, 0x1000, 0, OK},
                                         {EXIT_REASON_VMPTRLD, 0x2000, 0, OK}};

    offer_vmx();
    for (u32 i = 0; i < ARRAY_COUNT(on); i++)
        EXPECT_EQ(run_vmx_insn(&on[i]), OK);
    u64 *fields = t.v->nested->vmcs12->field;

    for (u32 i = 0; i < ARRAY_COUNT(l2_fields); i++)
        fields[l2_fields[i].field] = l2_fields[i].value;
    fields[V12_EPT_POINTER] = eptp12;
    fields[V12_SECONDARY_VM_EXEC_CONTROL] = eptp12 != 0 ? CPU2_ENABLE_EPT : 0;
    t.v->nested->dirty = t.v->nested->controls_dirty = true;
    nested_shadow_load(t.v); // VMWRITEs of shadowed fields would have gone there.
    vcpu_put(&t.v->vcpu);
}

static u64 access_gpa, access_qualification;

static void enter(struct hw_gprs *r)
{
    (void)r;
    bool again = t.v->nested->vmcs12->launched != 0;

    guest_exit(again ? EXIT_REASON_VMRESUME : EXIT_REASON_VMLAUNCH, 0, 3);
}

static void touch(struct hw_gprs *r)
{
    (void)r;
    fake_vmcs_write(GUEST_PHYSICAL_ADDRESS, access_gpa);
    guest_exit(EXIT_REASON_EPT_VIOLATION, access_qualification, 3);
}

s64 l2_access(u64 gpa, u64 qualification)
{
    static const guest_step steps[] = {enter, touch};

    access_gpa = gpa;
    access_qualification = qualification;
    script_guest(steps, ARRAY_COUNT(steps));
    return run_vm();
}
