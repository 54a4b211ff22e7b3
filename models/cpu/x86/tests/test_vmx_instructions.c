// SPDX-License-Identifier: Apache-2.0
// VMXON to VMRESUME: each VMfail with its number (SDM 30.2 to 30.4).
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"

static const struct replay_op one_hlt[] = {{.kind = REPLAY_HLT, .length = 1}, {.kind = REPLAY_END}};

static void fresh(void)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    BENCH_PROGRAM(one_hlt);
}

static uint64_t error_number(void)
{
    return bench_vmread(VM_INSTRUCTION_ERROR);
}

TEST(VmxInstructions, VmxonWantsTheRevisionAndAnAlignedAddress)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    EXPECT_EQ(hw_write_cr(4, hw_read_cr(4) | X86_CR4_VMXE), HW_DONE);
    bench_set64(BENCH_VMXON, bench.uarch.vmx_cap.revision + 1);
    EXPECT_EQ(hw_vmxon(hpa(BENCH_VMXON)), HW_VMX_FAIL_INVALID);
    bench_set64(BENCH_VMXON, bench.uarch.vmx_cap.revision | 1u << 31);
    EXPECT_EQ(hw_vmxon(hpa(BENCH_VMXON)), HW_VMX_FAIL_INVALID);
    bench_set64(BENCH_VMXON, bench.uarch.vmx_cap.revision);
    EXPECT_EQ(hw_vmxon(hpa(BENCH_VMXON + 8)), HW_VMX_FAIL_INVALID);
    EXPECT_EQ(hw_vmxon(hpa(1ull << 46)), HW_VMX_FAIL_INVALID);
    EXPECT_EQ(hw_vmxon(hpa(BENCH_VMXON)), HW_VMX_OK);
    bench_end();
}

TEST(VmxInstructions, WithoutCurrentVmcsEveryFailureIsInvalid)
{
    uint64_t value;

    fresh();
    EXPECT_EQ(hw_vmclear(hpa(BENCH_VMCS)), HW_VMX_OK);
    EXPECT_EQ(hw_vmptrst().v, UINT64_MAX);
    EXPECT_EQ(hw_vmread(GUEST_RIP, &value), HW_VMX_FAIL_INVALID);
    EXPECT_EQ(hw_vmwrite(GUEST_RIP, 0), HW_VMX_FAIL_INVALID);
    EXPECT_EQ(hw_vmlaunch(&bench_gprs), HW_VMX_FAIL_INVALID);
    EXPECT_EQ(hw_vmptrld(hpa(BENCH_VMXON)), HW_VMX_FAIL_INVALID);
    bench_end();
}

TEST(VmxInstructions, ErrorNumbers)
{
    uint64_t value;

    fresh();
    EXPECT_EQ(hw_vmclear(hpa(BENCH_VMCS + 1)), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 2);
    EXPECT_EQ(hw_vmclear(hpa(BENCH_VMXON)), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 3);
    EXPECT_EQ(hw_vmresume(&bench_gprs), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 5);
    EXPECT_EQ(hw_vmptrld(hpa(1ull << 50)), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 9);
    EXPECT_EQ(hw_vmptrld(hpa(BENCH_VMXON)), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 10);
    EXPECT_EQ(hw_vmptrld(hpa(BENCH_PML)), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 11);
    EXPECT_EQ(hw_vmread(0x6830, &value), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 12);
    EXPECT_EQ(hw_vmwrite(GUEST_RIP | 1, 0), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 12);
    EXPECT_EQ(hw_vmxon(hpa(BENCH_VMXON)), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 15);
    EXPECT_EQ(hw_invept(3, 0), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 28);
    EXPECT_EQ(hw_invvpid(1, 0, 0), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 28);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(hw_vmlaunch(&bench_gprs), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 4);
    bench_end();
}

TEST(VmxInstructions, ReadOnlyFieldsAreWritableOnlyByCapability) // SDM A.6 bit 29
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench.uarch.vmx_cap.misc &= ~VMX_MISC_VMWRITE_ANY;
    bench_start(1);
    bench_vmx();
    EXPECT_EQ(hw_vmwrite(VM_EXIT_REASON, 1), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 13);
    bench.uarch.vmx_cap.misc |= VMX_MISC_VMWRITE_ANY;
    EXPECT_EQ(hw_vmwrite(VM_EXIT_REASON, 48), HW_VMX_OK);
    EXPECT_EQ(bench_vmread(VM_EXIT_REASON), 48);
    bench_end();
}

TEST(VmxInstructions, ResumeAfterVmxoffIsError6)
{
    fresh();
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(hw_vmxoff(), HW_VMX_OK);
    EXPECT_EQ(hw_vmxon(hpa(BENCH_VMXON)), HW_VMX_OK);
    EXPECT_EQ(hw_vmptrld(hpa(BENCH_VMCS)), HW_VMX_OK);
    EXPECT_EQ(hw_vmresume(&bench_gprs), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 6);
    bench_end();
}

TEST(VmxInstructions, VmclearMakesLaunchPossibleAgainAndKeepsFields)
{
    fresh();
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(hw_vmclear(hpa(BENCH_VMCS)), HW_VMX_OK);
    EXPECT_EQ(hw_vmptrld(hpa(BENCH_VMCS)), HW_VMX_OK);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1000);
    EXPECT_EQ(hw_vmlaunch(&bench_gprs), HW_VMX_OK);
    bench_end();
}

TEST(VmxInstructions, HighHalvesReachBits63To32) // SDM 24.11.2
{
    fresh();
    bench_vmwrite(TSC_OFFSET, 0x1111111122222222);
    EXPECT_EQ(bench_vmread(TSC_OFFSET | 1), 0x11111111);
    bench_vmwrite(TSC_OFFSET | 1, 0xabcdef01);
    EXPECT_EQ(bench_vmread(TSC_OFFSET), 0xabcdef0122222222);
    bench_end();
}

TEST(VmxInstructions, EveryFieldHoldsItsOwnValue) // SDM appendix B
{
    static const uint32_t fields[] = {
#define VMCS_FIELD(name, encoding, section) encoding,
#include "spec/vmcs_fields.def"
    };
    const struct vmcs_layout *l;
    unsigned present = 0;

    fresh();
    l = &pcpu_current->x86->vmx.layout;
    for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++)
        if (l->offset[VMCS_SLOT(fields[i])]) {
            bench_vmwrite(fields[i], 0x0101010101010101ull * (i + 1));
            present++;
        }
    for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++) {
        unsigned bytes = VMCS_ENC_BYTES(fields[i]);
        uint64_t mask = bytes == 8 ? UINT64_MAX : (1ull << (8 * bytes)) - 1;

        if (fields[i] == VM_INSTRUCTION_ERROR || !l->offset[VMCS_SLOT(fields[i])])
            continue;
        test_row("field %#x", fields[i]);
        EXPECT_EQ(bench_vmread(fields[i]), (0x0101010101010101ull * (i + 1)) & mask);
    }
    EXPECT_GE(present, 140);
    EXPECT_LE(l->bytes, VMX_REGION_BYTES);
    bench_end();
}

TEST(VmxInstructions, FieldsWithoutTheirControlDoNotExist) // Footnotes of SDM appendix B
{
    uint64_t value;

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench.uarch.vmx_cap.proc2_allowed1 &= ~(uint64_t)CPU2_ENABLE_PML;
    bench_start(1);
    bench_vmx();
    EXPECT_EQ(hw_vmread(PML_ADDRESS, &value), HW_VMX_FAIL_VALID);
    EXPECT_EQ(hw_vmread(GUEST_PML_INDEX, &value), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 12);
    EXPECT_EQ(hw_vmread(HLAT_POINTER, &value), HW_VMX_FAIL_VALID);
    EXPECT_EQ(hw_vmread(EPT_POINTER, &value), HW_VMX_OK);
    bench_end();
}

TEST(VmxInstructions, VmcsOnTwoProcessorsIsAViolation) // SDM 24.11.1
{
    fresh();
    // What VMPTRLD finds in a region that another processor has not cleared.
    vmcs_set_header32(&pcpu_current->x86->vmx.current, VMCS_OWNER, 4);
    EXPECT_EQ(hw_vmptrld(hpa(BENCH_VMCS)), HW_VMX_OK);
    EXPECT_EQ(bench_violations, 1);
    EXPECT_STREQ(bench_violation, "VMCS is active on another processor");
    bench_end();
}

TEST(VmxInstructions, ACorruptedRegionFailsAsOnSilicon)
{
    fresh();
    bench_set64(BENCH_VMCS, 0); // Software overwrites the revision identifier.
    EXPECT_EQ(hw_vmptrld(hpa(BENCH_VMCS)), HW_VMX_FAIL_VALID);
    EXPECT_EQ(error_number(), 11);
    bench_end();
}
