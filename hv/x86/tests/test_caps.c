// SPDX-License-Identifier: Apache-2.0
// Control words from capability MSRs (SDM A.2 to A.5).
#include "hv/knobs.h"
#include "hv/x86/cpuid.h"
#include "hv/x86/tests/vm_fixture.h"
#include "spec/cpuid.h"
#include "spec/msrs.h"

TEST(VmxControls, MustBe1AndMayBe1DecideEachBit)
{
    // SDM A.3.1: bits 31:0 allowed 0-settings, 63:32 allowed 1-settings.
    static const struct {
        u32 required, optional;
        u64 msr;
        bool ok;
        u32 out;
    } rows[] = {
        {0x0, 0x0, 0xffffffff00000000, true, 0x0},       // Nothing wanted, nothing forced.
        {0x0, 0x0, 0xffffffff00000016, true, 0x16},      // Forced ones appear by themselves.
        {0x1, 0x0, 0xffffffff00000000, true, 0x1},       // Wanted and possible.
        {0x1, 0x0, 0xfffffffe00000000, false, 0x0},      // Wanted and impossible.
        {0x0, 0x1, 0xfffffffe00000000, true, 0x0},       // Optional and impossible: left out.
        {0x8, 0x1, 0x0000000900000000, true, 0x9},       // Both possible.
        {0x8, 0x7, 0x0000001f00000010, true, 0x1f},      // Forced beside them.
        {0x80000000, 0, 0x7fffffff00000000, false, 0x0}, // The highest bit counts too.
    };
    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        u32 out = 0;
        struct vmx_control_request request = {rows[i].required, rows[i].optional};

        EXPECT_EQ(vmx_adjust_control(request, rows[i].msr, &out), rows[i].ok);
        if (rows[i].ok)
            EXPECT_EQ(out, rows[i].out);
    }
}

static void read_caps(void)
{
    struct knobs k;
    struct vmx_caps c;

    knobs_defaults(&k);
    EXPECT_TRUE(vmx_caps_read(&c, &k) == NULL);
    EXPECT_EQ(c.revision, 4);
    EXPECT_TRUE(c.apicv && c.vpid && c.ple && c.preemption_timer && c.ept_ad && c.ept_1g && c.ept_2m);
    EXPECT_EQ(c.preemption_shift, 5);
    // With EPT and a TPR shadow these exits are not wanted.
    EXPECT_EQ(c.cpu & (CPU_CR3_LOAD_EXITING | CPU_INVLPG_EXITING | CPU_CR8_LOAD_EXITING), 0);
    EXPECT_EQ(c.cpu & CPU_HLT_EXITING, CPU_HLT_EXITING);

    // Each knob takes its feature away and nothing else.
    k.v[KNOB_X86_VPID] = 0;
    k.v[KNOB_X86_APICV] = 0;
    k.v[KNOB_X86_PLE] = 0;
    k.v[KNOB_X86_PREEMPTION_TIMER] = 0;
    k.v[KNOB_X86_EPT_AD] = 0;
    EXPECT_TRUE(vmx_caps_read(&c, &k) == NULL);
    EXPECT_FALSE(c.apicv || c.vpid || c.ple || c.preemption_timer || c.ept_ad);
    EXPECT_EQ(c.pin & (PIN_POSTED_INTERRUPTS | PIN_PREEMPTION_TIMER), 0);
    EXPECT_EQ(c.cpu2 & (CPU2_ENABLE_VPID | CPU2_PAUSE_LOOP_EXITING | CPU2_VIRTUAL_INTR_DELIVERY), 0);
    EXPECT_TRUE(c.ept_1g);

    // Processors without: refused in words, or the feature stays off.
    knobs_defaults(&k);
    u64 cpu2 = fake_get_msr(0, MSR_IA32_VMX_PROCBASED_CTLS2);

    fake_set_msr(0, MSR_IA32_VMX_PROCBASED_CTLS2, cpu2 & ~((u64)CPU2_ENABLE_EPT << 32));
    EXPECT_TRUE(vmx_caps_read(&c, &k) != NULL);
    fake_set_msr(0, MSR_IA32_VMX_PROCBASED_CTLS2, cpu2 & ~((u64)CPU2_VIRTUAL_INTR_DELIVERY << 32));
    EXPECT_TRUE(vmx_caps_read(&c, &k) == NULL);
    EXPECT_FALSE(c.apicv);
    EXPECT_EQ(c.cpu2 & CPU2_APIC_REGISTER_VIRT, 0);
    fake_set_msr(0, MSR_IA32_VMX_PROCBASED_CTLS2, cpu2);
    fake_set_msr(0, MSR_IA32_VMX_TRUE_PINBASED_CTLS, 0x0000001600000016);
    EXPECT_TRUE(vmx_caps_read(&c, &k) != NULL);
}
TEST(VmxControls, FollowProcessorAndKnobs)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, read_caps), 0);
}

// --- What VMX has to give to guests (SDM 26.3) is offered only where it does.

static u32 offered_edx(void)
{
    static struct hv_cpuid_entry2 entries[HV_CPUID_ENTRIES_MAX];
    u32 edx = 0;

    u32 count = supported_cpuid(this_host(), entries, HV_CPUID_ENTRIES_MAX);

    for (u32 i = 0; i < count; i++)
        edx |= entries[i].function == 0x80000001 ? entries[i].edx : 0;
    return edx;
}
static void offers(void)
{
    struct vmx_caps *caps = &x86_host(this_host())->caps;

    EXPECT_EQ(offered_edx() & CPUID_RDTSCP, CPUID_RDTSCP);
    caps->rdtscp = false;
    EXPECT_EQ(offered_edx() & (CPUID_RDTSCP | CPUID_LM), CPUID_LM);
    caps->rdtscp = true;
}
TEST(VmxControls, AGuestIsOfferedOnlyWhatAControlGivesIt)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, offers), 0);
}

static void gpa_bits(void)
{
    EXPECT_EQ(hv_ioctl(HV_HANDLE_SYSTEM, HV_CHECK_EXTENSION, HV_CAP_VM_GPA_BITS), 48);
    struct host *host = this_host();
    const struct knobs before = host->knobs;

    host->knobs.v[KNOB_MMU_EPT_LEVELS] = MMU_EPT_LEVELS_5;
    EXPECT_EQ(hv_ioctl(HV_HANDLE_SYSTEM, HV_CHECK_EXTENSION, HV_CAP_VM_GPA_BITS), 57);
    x86_host(host)->caps.ept_5level = false; // Asked for is not had.
    EXPECT_EQ(hv_ioctl(HV_HANDLE_SYSTEM, HV_CHECK_EXTENSION, HV_CAP_VM_GPA_BITS), 48);
    x86_host(host)->caps.ept_5level = true;
    host->knobs = before;
}
TEST(VmxControls, GuestPhysicalBitsAreThoseOfStage2)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, gpa_bits), 0);
}
