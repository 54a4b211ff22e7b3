// SPDX-License-Identifier: Apache-2.0
// A VMCS that passes every check, and a guest program for it.
#include "models/cpu/x86/tests/fake_pcpu.h"

#include "tests/shim/shim.h"
#include <string.h>

static struct replay_program program;
static bool launched;

void bench_vmwrite(uint32_t field, uint64_t value)
{
    EXPECT_EQ(hw_vmwrite(field, value), HW_VMX_OK);
}

uint64_t bench_vmread(uint32_t field)
{
    uint64_t value = 0;

    EXPECT_EQ(hw_vmread(field, &value), HW_VMX_OK);
    return value;
}

void bench_control(uint32_t field, uint32_t set, uint32_t clear)
{
    bench_vmwrite(field, (bench_vmread(field) & ~(uint64_t)clear) | set);
}

struct value {
    uint32_t field;
    uint64_t value;
};

// A 64-bit guest in ring 0 and a 64-bit host.
static const struct value valid[] = {
    {HOST_CR0, 0x80050033},
    {HOST_CR3, 0x1000},
    {HOST_CR4, 0x20a0},
    {HOST_CS_SELECTOR, 8},
    {HOST_SS_SELECTOR, 0x10},
    {HOST_TR_SELECTOR, 0x18},
    {HOST_RIP, 0xffffffff80000000},
    {HOST_RSP, 0xffff800000001000},
    {HOST_IA32_PAT, 0x0007040600070406},
    {HOST_IA32_EFER, 0xd01},
    {GUEST_CR0, 0x80050033},
    {GUEST_CR3, 0x2000},
    {GUEST_CR4, 0x20a0},
    {GUEST_DR7, 0x400},
    {GUEST_IA32_PAT, 0x0007040600070406},
    {GUEST_IA32_EFER, 0xd01},
    {GUEST_RFLAGS, 0x202},
    {GUEST_RSP, 0xffff800000002000},
    {GUEST_RIP, 0x1000},
    {GUEST_CS_SELECTOR, 0x10},
    {GUEST_CS_AR_BYTES, 0xa09b},
    {GUEST_CS_LIMIT, 0xffffffff},
    {GUEST_SS_SELECTOR, 0x18},
    {GUEST_SS_AR_BYTES, 0xc093},
    {GUEST_SS_LIMIT, 0xffffffff},
    {GUEST_DS_AR_BYTES, 0x10000},
    {GUEST_ES_AR_BYTES, 0x10000},
    {GUEST_FS_AR_BYTES, 0x10000},
    {GUEST_GS_AR_BYTES, 0x10000},
    {GUEST_LDTR_AR_BYTES, 0x10000},
    {GUEST_TR_SELECTOR, 0x40},
    {GUEST_TR_AR_BYTES, 0x8b},
    {GUEST_TR_LIMIT, 0x67},
    {GUEST_GDTR_LIMIT, 0x7f},
    {GUEST_IDTR_LIMIT, 0xfff},
    {VMCS_LINK_POINTER, UINT64_MAX},
    {MSR_BITMAP, BENCH_MSR_BITMAP},
    {IO_BITMAP_A, BENCH_IO_A},
    {IO_BITMAP_B, BENCH_IO_B},
    {VIRTUAL_APIC_PAGE_ADDR, BENCH_VAPIC},
    {APIC_ACCESS_ADDR, BENCH_APIC_ACCESS},
    {POSTED_INTR_DESC_ADDR, BENCH_PID},
    {POSTED_INTR_NV, 0xf2},
    {PML_ADDRESS, BENCH_PML},
    {VMREAD_BITMAP, BENCH_VMREAD_BITMAP},
    {VMWRITE_BITMAP, BENCH_VMWRITE_BITMAP},
    {TSC_MULTIPLIER, 1ull << 48},
};

void bench_vmx(void)
{
    const struct uarch *u = &bench.uarch;
    uint32_t revision = (uint32_t)u->vmx_cap.revision;

    memcpy(bench.memory + BENCH_VMXON, &revision, 4);
    memcpy(bench.memory + BENCH_VMCS, &revision, 4);
    memcpy(bench.memory + BENCH_VMCS2, &revision, 4);
    ASSERT_EQ(hw_write_cr(4, hw_read_cr(4) | X86_CR4_VMXE), HW_DONE);
    ASSERT_EQ(hw_vmxon(hpa(BENCH_VMXON)), HW_VMX_OK);
    ASSERT_EQ(hw_vmclear(hpa(BENCH_VMCS)), HW_VMX_OK);
    ASSERT_EQ(hw_vmptrld(hpa(BENCH_VMCS)), HW_VMX_OK);
    for (unsigned i = 0; i < sizeof valid / sizeof *valid; i++)
        if (pcpu_current->x86->vmx.layout.offset[VMCS_SLOT(valid[i].field)])
            bench_vmwrite(valid[i].field, valid[i].value);
    bench_vmwrite(PIN_BASED_VM_EXEC_CONTROL, u->vmx_cap.pin_true_allowed0);
    bench_vmwrite(CPU_BASED_VM_EXEC_CONTROL,
                  u->vmx_cap.proc_true_allowed0 | CPU_HLT_EXITING | CPU_ACTIVATE_SECONDARY_CONTROLS);
    bench_vmwrite(VM_EXIT_CONTROLS, u->vmx_cap.exit_true_allowed0 | EXIT_HOST_ADDR_SPACE_SIZE |
                                        EXIT_SAVE_EFER | EXIT_LOAD_EFER | EXIT_SAVE_PAT | EXIT_LOAD_PAT);
    bench_vmwrite(VM_ENTRY_CONTROLS,
                  u->vmx_cap.entry_true_allowed0 | ENTRY_IA32E_MODE_GUEST | ENTRY_LOAD_EFER | ENTRY_LOAD_PAT);
    bench_vmwrite(GUEST_IDTR_BASE, replay_idtr_base(0, 0, 0));
    launched = false;
}

void bench_program(const struct replay_op *ops, uint32_t count, const struct bench_handler *handlers)
{
    const char *wrong;

    program = (struct replay_program){"vcpu0", (struct replay_op *)(uintptr_t)ops, count, {0}, 0x1000, false};
    for (unsigned v = 0; v < 256; v++)
        program.handler[v] = REPLAY_NO_HANDLER;
    for (; handlers && handlers->vector; handlers++)
        program.handler[handlers->vector] = handlers->op;
    wrong = replay_register(&bench.machine, replay_idtr_base(0, 0, 0), &program);
    if (wrong)
        TEST_FAIL("%s", wrong);
}

void bench_linear(void)
{
    program.linear = true;
}

void bench_ept(void)
{
    uint64_t pml4 = BENCH_EPT, pdpt = BENCH_EPT + 0x1000, pd = BENCH_EPT + 0x2000, pt = BENCH_EPT + 0x3000;

    bench_set64(pml4, pdpt | 7);
    bench_set64(pdpt, pd | 7);
    bench_set64(pd, BENCH_GUEST | EPT_PS | 6 << EPT_MEMTYPE_SHIFT | 7);
    bench_set64(pd + 8, pt | 7);
    bench_vmwrite(EPT_POINTER, pml4 | EPTP_WALK_4 | 6);
    bench_vmwrite(VIRTUAL_PROCESSOR_ID, 1);
    bench_control(SECONDARY_VM_EXEC_CONTROL, CPU2_ENABLE_EPT | CPU2_ENABLE_VPID, 0);
}

uint32_t bench_run(void)
{
    enum hw_vmx_status status = launched ? hw_vmresume(&bench_gprs) : hw_vmlaunch(&bench_gprs);

    if (status != HW_VMX_OK)
        return UINT32_MAX;
    if (!(bench_vmread(VM_EXIT_REASON) & EXIT_REASON_ENTRY_FAILURE))
        launched = true;
    return (uint32_t)bench_vmread(VM_EXIT_REASON);
}

void bench_skip(void)
{
    bench_vmwrite(GUEST_RIP, bench_vmread(GUEST_RIP) + bench_vmread(VM_EXIT_INSTRUCTION_LEN));
}
