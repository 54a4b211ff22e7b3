// SPDX-License-Identifier: Apache-2.0
// Nested VMX: error numbers of the instructions, entry checks, merged controls, whose exit it is (SDM
// 25, 26.2, 30).
#include "hv/x86/lapic_state.h"
#include "hv/x86/tests/nested_fixture.h"

// --- The table of exits has a row for every reason, and no other.

TEST(NestedTable, EveryExitReasonHasOneRow)
{
    u8 spec[EXIT_REASON_COUNT] = {0}, ours[EXIT_REASON_COUNT] = {0};

#define EXIT_REASON(number, name, qualification, section) spec[number]++;
#include "spec/exit_reasons.def"
#define NESTED_EXIT(name, rule, argument) ours[EXIT_REASON_##name]++;
#include "hv/x86/nested_exits.def"
    EXPECT_MEMEQ(spec, ours, sizeof spec);
}

// --- Encodings.

TEST(NestedVmcs, EveryFieldHasAPlaceOfItsOwn)
{
#define VMCS_FIELD(name, encoding, section) EXPECT_EQ(vmcs12_index(encoding), V12_##name);
#include "spec/vmcs_fields.def"
    EXPECT_EQ(vmcs12_index(IO_BITMAP_A | 1), V12_IO_BITMAP_A); // High half of a 64-bit field.
    EXPECT_EQ(vmcs12_index(GUEST_CR0 | 1), -1);
    EXPECT_EQ(vmcs12_index(0x2ffe), -1);
    EXPECT_EQ(vmcs12_index(0x1000), -1);
    EXPECT_EQ(vmcs12_index(0x10000), -1);
}

// --- Merging (SDM 24.6): bits of either side that must exit stay, L1's delivery by hardware does not reach
// L2.

TEST(NestedMerge, ControlsOfBothSidesHold)
{
    static struct vmcs12 c;
    struct vmcs_controls l0 = {.pin = PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING |
                                      PIN_POSTED_INTERRUPTS | PIN_PREEMPTION_TIMER,
                               .cpu = CPU_HLT_EXITING | CPU_USE_TPR_SHADOW | CPU_USE_MSR_BITMAPS |
                                      CPU_INTERRUPT_WINDOW_EXITING | CPU_ACTIVATE_SECONDARY_CONTROLS,
                               .cpu2 = CPU2_ENABLE_EPT | CPU2_VIRTUAL_INTR_DELIVERY |
                                       CPU2_APIC_REGISTER_VIRT | CPU2_VIRTUALIZE_X2APIC_MODE |
                                       CPU2_ENABLE_RDTSCP | CPU2_VMCS_SHADOWING,
                               .exit = EXIT_HOST_ADDR_SPACE_SIZE | EXIT_ACK_INTERRUPT_ON_EXIT,
                               .entry = ENTRY_IA32E_MODE_GUEST};
    c.field[V12_PIN_BASED_VM_EXEC_CONTROL] = PIN_EXTERNAL_INTERRUPT_EXITING;
    c.field[V12_CPU_BASED_VM_EXEC_CONTROL] = CPU_RDTSC_EXITING | CPU_USE_IO_BITMAPS;
    c.field[V12_SECONDARY_VM_EXEC_CONTROL] = CPU2_WBINVD_EXITING; // Not active.
    struct vmcs_controls m = nested_merge_controls(l0, &c, NULL);
    EXPECT_EQ(m.pin, PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_PREEMPTION_TIMER);
    EXPECT_EQ(m.cpu, CPU_HLT_EXITING | CPU_RDTSC_EXITING | CPU_CR8_LOAD_EXITING | CPU_CR8_STORE_EXITING |
                         CPU_UNCONDITIONAL_IO_EXITING | CPU_ACTIVATE_SECONDARY_CONTROLS);
    EXPECT_EQ(m.cpu2, CPU2_ENABLE_EPT);
    EXPECT_EQ(m.exit, l0.exit);
    EXPECT_EQ(m.entry, 0);
    c.field[V12_CPU_BASED_VM_EXEC_CONTROL] |= CPU_ACTIVATE_SECONDARY_CONTROLS | CPU_USE_MSR_BITMAPS;
    c.field[V12_VM_ENTRY_CONTROLS] = ENTRY_IA32E_MODE_GUEST;
    m = nested_merge_controls(l0, &c, NULL);
    EXPECT_EQ(m.cpu2, CPU2_ENABLE_EPT | CPU2_WBINVD_EXITING);
    EXPECT_NE(m.cpu & CPU_USE_MSR_BITMAPS, 0);
    EXPECT_EQ(m.entry, ENTRY_IA32E_MODE_GUEST);
}

// --- Instructions: each with its operand, and what RFLAGS and the error field then say.

static void instructions(void)
{
    static const struct vmx_insn rows[] = {
        {EXIT_REASON_VMOFF, 0, 0, FAULT},
        {EXIT_REASON_VMPTRLD, 0x2000, 0, FAULT},
        {EXIT_REASON_VMON, 0x1001, 0, FAIL_INVALID}, // Not aligned.
        {EXIT_REASON_VMON, 1ull << 46, 0, FAIL_INVALID},
        {EXIT_REASON_VMON, 0x3000, 0, FAIL_INVALID}, // Another revision.
        {EXIT_REASON_VMON, 0x1000, 0, OK},
        {EXIT_REASON_VMON, 0x1000, 0, FAIL_INVALID}, // VMfail without a current VMCS.
        {EXIT_REASON_VMREAD, GUEST_RIP, 0, FAIL_INVALID},
        {EXIT_REASON_VMWRITE, GUEST_RIP, 1, FAIL_INVALID},
        {EXIT_REASON_VMLAUNCH, 0, 0, FAIL_INVALID},
        {EXIT_REASON_VMCLEAR, 0x2000, 0, OK},
        {EXIT_REASON_VMPTRLD, 0x2000, 0, OK},
        {EXIT_REASON_VMON, 0x1000, 0, VMERR_VMXON_IN_ROOT},
        {EXIT_REASON_VMCLEAR, 0x2008, 0, VMERR_VMCLEAR_BAD_ADDRESS},
        {EXIT_REASON_VMCLEAR, 0x1000, 0, VMERR_VMCLEAR_VMXON_POINTER},
        {EXIT_REASON_VMPTRLD, 0x2008, 0, VMERR_VMPTRLD_BAD_ADDRESS},
        {EXIT_REASON_VMPTRLD, 0x1000, 0, VMERR_VMPTRLD_VMXON_POINTER},
        {EXIT_REASON_VMPTRLD, 0x3000, 0, VMERR_VMPTRLD_BAD_REVISION},
        {EXIT_REASON_VMREAD, 0x1fff, 0, VMERR_UNSUPPORTED_COMPONENT},
        {EXIT_REASON_VMWRITE, 0x1fff, 0, VMERR_UNSUPPORTED_COMPONENT},
        {EXIT_REASON_VMWRITE, 1ull << 32 | GUEST_RIP, 0, VMERR_UNSUPPORTED_COMPONENT},
        {EXIT_REASON_VMWRITE, VM_EXIT_REASON, 0, VMERR_VMWRITE_READ_ONLY},
        {EXIT_REASON_VMWRITE, GUEST_RIP, 0x1234, OK},
        {EXIT_REASON_VMRESUME, 0, 0, VMERR_VMRESUME_NOT_LAUNCHED},
        {EXIT_REASON_VMLAUNCH, 0, 0, VMERR_ENTRY_BAD_CONTROLS},        // All controls are zero.
        {EXIT_REASON_INVVPID, 0, 0, VMERR_INVEPT_INVVPID_BAD_OPERAND}, // VPID 0, type 0 (RAX).
        {EXIT_REASON_INVVPID, 1, 4, VMERR_INVEPT_INVVPID_BAD_OPERAND},
        {EXIT_REASON_INVVPID, 1, 1, OK},
        {EXIT_REASON_INVEPT, 0, 0, VMERR_INVEPT_INVVPID_BAD_OPERAND},       // Type 0 (RAX).
        {EXIT_REASON_INVEPT, 0x1001f, 1, VMERR_INVEPT_INVVPID_BAD_OPERAND}, // Memory type 7.
        {EXIT_REASON_INVEPT, 0x1005e, 1, VMERR_INVEPT_INVVPID_BAD_OPERAND}, // Accessed and dirty flags.
        {EXIT_REASON_INVEPT, 0x10026, 1, VMERR_INVEPT_INVVPID_BAD_OPERAND}, // Five levels.
        {EXIT_REASON_VMOFF, 0, 0, OK},
        {EXIT_REASON_VMREAD, GUEST_RIP, 0, FAULT},
    };

    offer_vmx();
    for (u32 i = 0; i < ARRAY_COUNT(rows); i++) {
        int got = run_vmx_insn(&rows[i]);
        EXPECT_EQ(got * 1000 + (int)i, rows[i].expect * 1000 + (int)i); // The row's number tells which one.
    }
    vcpu_put(&t.v->vcpu);
}
TEST(NestedInstructions, FailWithTheNumbersOfTheManual)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){.irqchip = true}, instructions), 0);
}

static void values(void)
{
    static const struct {
        u32 field;
        u64 write, read;
    } rows[] = {
        {GUEST_ES_SELECTOR, 0x12345, 0x2345},
        {EXCEPTION_BITMAP, 0x123456789, 0x23456789},
        {GUEST_RIP, 0xfffff80000001234, 0xfffff80000001234},
        {TSC_OFFSET, 0x1122334455667788, 0x1122334455667788},
        {TSC_OFFSET | 1, 0xaabbccdd, 0xaabbccdd},
        {TSC_OFFSET, 0x1, 0x1},
    };
    static const struct vmx_insn on[] = {{EXIT_REASON_VMON, 0x1000, 0, OK},
                                         {EXIT_REASON_VMPTRLD, 0x2000, 0, OK}};

    offer_vmx();
    for (u32 i = 0; i < 2; i++)
        EXPECT_EQ(run_vmx_insn(&on[i]), OK);
    for (u32 i = 0; i < ARRAY_COUNT(rows); i++) {
        EXPECT_EQ(run_vmx_insn(&(struct vmx_insn){EXIT_REASON_VMWRITE, rows[i].field, rows[i].write, OK}),
                  OK);
        EXPECT_EQ(run_vmx_insn(&(struct vmx_insn){EXIT_REASON_VMREAD, rows[i].field, 0, OK}), OK);
        EXPECT_EQ(t.v->gprs.r[GPR_RAX], rows[i].read);
    }
    // VMCLEAR writes the cache to memory; loading it again finds it.
    EXPECT_EQ(run_vmx_insn(&(struct vmx_insn){EXIT_REASON_VMWRITE, HOST_RIP, 0xfffff80000005678, OK}), OK);
    EXPECT_EQ(run_vmx_insn(&(struct vmx_insn){EXIT_REASON_VMCLEAR, 0x2000, 0, OK}), OK);
    EXPECT_EQ(run_vmx_insn(&on[1]), OK);
    EXPECT_EQ(run_vmx_insn(&(struct vmx_insn){EXIT_REASON_VMREAD, HOST_RIP, 0, OK}), OK);
    EXPECT_EQ(t.v->gprs.r[GPR_RAX], 0xfffff80000005678);
    vcpu_put(&t.v->vcpu);
}
TEST(NestedInstructions, FieldsKeepTheirWidthAndSurviveVmclear)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){.irqchip = true}, values), 0);
}

static void capabilities(void)
{
    u64 controls, highest;

    offer_vmx();
    EXPECT_EQ(nested_msr_read(t.v, MSR_IA32_VMX_PROCBASED_CTLS2, &controls), 0);
    EXPECT_EQ(controls >> 32 & CPU2_RDRAND_EXITING, 0);                 // L1's CPUID has no RDRAND ...
    EXPECT_EQ(controls >> 32 & CPU2_ENABLE_RDTSCP, CPU2_ENABLE_RDTSCP); // ... but RDTSCP.
    EXPECT_EQ(nested_msr_read(t.v, MSR_IA32_VMX_VMCS_ENUM, &highest), 0);
    EXPECT_TRUE(vmcs12_index(0x2000u | (u32)highest) >= 0 || vmcs12_index((u32)highest) >= 0 ||
                vmcs12_index(0x6000u | (u32)highest) >= 0 || vmcs12_index(0x4000u | (u32)highest) >= 0);
    for (u32 type = 0; type < 16; type++)
        EXPECT_EQ(vmcs12_index(type << 10 | ((u32)highest + 2)), -1);
    vcpu_put(&t.v->vcpu);
}
// SDM A.3.3, A.9.
TEST(NestedCapabilities, FollowCpuidAndTheFieldsThatThereAre)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, capabilities), 0);
}

static void pat_of_l2(void)
{
    nested_start(0);
    V12(t.v->nested, VM_ENTRY_CONTROLS) |= ENTRY_LOAD_PAT;
    V12(t.v->nested, GUEST_IA32_PAT) = 0x0606060606060600;
    EXPECT_EQ(l2_access(0x5000, QUAL_EPT_READ), 0);
    EXPECT_EQ(t.v->pat, 0x0606060606060600); // Without "load IA32_PAT" on exits it stays (SDM 27.5.1).
}
TEST(NestedEntry, LoadsThePatThatRdmsrThenReads) // SDM 26.3.2.1
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, pat_of_l2), 0);
}
