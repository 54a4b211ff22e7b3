// SPDX-License-Identifier: Apache-2.0
// Exits from the processor's fields to what the guest or user space sees (SDM 25, 27).
#include "hv/lib/errno.h"
#include "hv/x86/tests/vm_fixture.h"
#include "spec/msrs.h"

// --- The table.

TEST(ExitTable, EveryReasonOfTheManualHasARow)
{
    static const struct {
        u32 reason;
        const char *name;
    } reasons[] = {
#define EXIT_REASON(number, name, qualification, section) {number, #name},
#include "spec/exit_reasons.def"
    };
    for (u32 i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        EXPECT_TRUE(exit_handler_of(reasons[i].reason) != handle_unknown);
}

TEST(ExitTable, NumbersThatTheManualLeavesOutAreUnknown)
{
    static const u32 gaps[] = {
#define EXIT_REASON(number, name, qualification, section)
#define EXIT_REASON_GAP(number) number,
#include "spec/exit_reasons.def"
    };
    for (u32 i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++)
        EXPECT_TRUE(exit_handler_of(gaps[i]) == handle_unknown);
    EXPECT_TRUE(exit_handler_of(EXIT_REASON_COUNT) == handle_unknown);
    EXPECT_TRUE(exit_handler_of(0xffff) == handle_unknown);
}

static void unmodelled_exit(struct hw_gprs *r)
{
    (void)r;
    guest_exit(EXIT_REASON_GETSEC, 0x1234, 2);
}
static void unmodelled(void)
{
    static const guest_step steps[] = {unmodelled_exit};

    script_guest(steps, 1);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_INTERNAL_ERROR);
    EXPECT_EQ(t.run->internal.suberror, HV_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON);
    EXPECT_EQ(t.run->internal.data[0], EXIT_REASON_GETSEC);
    EXPECT_EQ(fake_trace_count(TP_NOT_MODELLED), 1);
}
TEST(Exits, WhatIsNotModelledEndsInANamedErrorNeverInSilence)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, unmodelled), 0);
}

// --- CPUID, VMCALL, MSRs.

static u64 seen[8];

static void cpuid_kvm(struct hw_gprs *r)
{
    seen[0] = fake_vmcs_read(GUEST_RIP);
    r->r[GPR_RAX] = 0x40000000;
    r->r[GPR_RCX] = 0;
    guest_exit(EXIT_REASON_CPUID, 0, 2);
}
static void after_cpuid(struct hw_gprs *r)
{
    seen[1] = fake_vmcs_read(GUEST_RIP);
    seen[2] = r->r[GPR_RBX];
    seen[3] = r->r[GPR_RAX];
    r->r[GPR_RAX] = 12345; // Unknown hypercall.
    guest_exit(EXIT_REASON_VMCALL, 0, 3);
}
static void after_vmcall(struct hw_gprs *r)
{
    seen[4] = r->r[GPR_RAX];
    r->r[GPR_RCX] = 0x12345678; // No such MSR.
    guest_exit(EXIT_REASON_MSR_READ, 0, 2);
}
static void after_msr(struct hw_gprs *r)
{
    seen[5] = fake_vmcs_read(VM_ENTRY_INTR_INFO_FIELD);
    seen[6] = fake_vmcs_read(VM_ENTRY_EXCEPTION_ERROR_CODE);
    seen[7] = fake_vmcs_read(GUEST_RIP);
    r->r[GPR_RCX] = MSR_IA32_MISC_ENABLE;
    guest_exit(EXIT_REASON_MSR_READ, 0, 2);
}
static void instructions(void)
{
    static const guest_step steps[] = {cpuid_kvm, after_cpuid, after_vmcall, after_msr};
    struct hv_cpuid2 *cpuid = (void *)hv_mmap(
        align_up(sizeof(*cpuid) + HV_CPUID_ENTRIES_MAX * sizeof(struct hv_cpuid_entry2), 4096), 12,
        HV_MAP_DIRECT);
    struct hv_sregs *s = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);

    cpuid->nent = HV_CPUID_ENTRIES_MAX;
    EXPECT_EQ(hv_ioctl_ptr(HV_HANDLE_SYSTEM, HV_GET_SUPPORTED_CPUID, cpuid), 0);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_CPUID2, cpuid), 0);
    // Protected mode, so that exceptions carry error codes.
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_SREGS, s), 0);
    s->cr0 |= X86_CR0_PE;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_SREGS, s), 0);
    script_guest(steps, 4);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
    EXPECT_EQ(seen[0], 0xfff0);
    EXPECT_EQ(seen[1], 0xfff2);
    EXPECT_EQ(seen[2], 0x4b4d564b); // "KVMK"
    EXPECT_EQ(seen[3], 0x40000001);
    EXPECT_EQ((u32)seen[4], (u32)-1000); // -KVM_ENOSYS, 32 bits outside of 64-bit mode
    EXPECT_EQ(seen[5], INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE | GP_VECTOR);
    EXPECT_EQ(seen[6], 0);
    EXPECT_EQ(seen[7], 0xfff5); // A fault leaves RIP at the instruction.
    EXPECT_EQ(fake_trace_count(TP_KVM_CPUID), 1);
    EXPECT_EQ(fake_trace_count(TP_KVM_HYPERCALL), 1);
    EXPECT_EQ(fake_trace(TP_KVM_MSR, 0)->a[3], 1);
    EXPECT_EQ(fake_trace(TP_KVM_MSR, 1)->a[3], 0);
}
TEST(Exits, InstructionsAnswerAndMoveOn)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, instructions), 0);
}

// --- Port I/O.

static void in_32(struct hw_gprs *r)
{
    r->r[GPR_RAX] = ~0ull;
    guest_exit(EXIT_REASON_IO_INSTRUCTION, 0xcf8ull << QUAL_IO_PORT_SHIFT | 3 | QUAL_IO_IN, 1);
}
static void in_8(struct hw_gprs *r)
{
    seen[0] = r->r[GPR_RAX];
    r->r[GPR_RAX] = 0x1122334455667788;
    guest_exit(EXIT_REASON_IO_INSTRUCTION, 0x3f8ull << QUAL_IO_PORT_SHIFT | QUAL_IO_IN, 1);
}
static void out_16(struct hw_gprs *r)
{
    seen[1] = r->r[GPR_RAX];
    r->r[GPR_RAX] = 0xaabbccdd;
    guest_exit(EXIT_REASON_IO_INSTRUCTION, 0x80ull << QUAL_IO_PORT_SHIFT | 1, 1);
}
static void ports(void)
{
    static const guest_step steps[] = {in_32, in_8, out_16};
    u8 *data = (u8 *)t.run + HV_RUN_IO_DATA_OFFSET;

    script_guest(steps, 3);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_IO);
    EXPECT_EQ(t.run->io.port, 0xcf8);
    EXPECT_EQ(t.run->io.size, 4);
    EXPECT_EQ(t.run->io.direction, HV_IO_IN);
    *(u32 *)(void *)data = 0x80001234;
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(seen[0], 0x80001234); // 32-bit results zero-extend.
    EXPECT_EQ(t.run->io.port, 0x3f8);
    *data = 0x60;
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(seen[1], 0x1122334455667760); // 8-bit ones keep the rest.
    EXPECT_EQ(t.run->io.direction, HV_IO_OUT);
    EXPECT_EQ(t.run->io.size, 2);
    EXPECT_EQ(*(u16 *)(void *)data, 0xccdd);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
}
TEST(Exits, PortsGoToUserSpaceAndComeBack)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, ports), 0);
}

// INS and OUTS: the address is GUEST_LINEAR_ADDRESS (SDM 27.2.5), what is stored goes into guest memory.
static void string_exit(const struct hw_gprs *r, unsigned size, bool in)
{
    seen[0] = r->r[GPR_RCX];
    seen[1] = r->r[in ? GPR_RDI : GPR_RSI];
    fake_vmcs_write(GUEST_LINEAR_ADDRESS, seen[1]);
    guest_exit(EXIT_REASON_IO_INSTRUCTION,
               0x1f0ull << QUAL_IO_PORT_SHIFT | (size - 1) | QUAL_IO_STRING | QUAL_IO_REP |
                   (in ? QUAL_IO_IN : 0),
               2);
}
static void rep_insw_first(struct hw_gprs *r)
{
    r->r[GPR_RCX] = 5;
    r->r[GPR_RDI] = 0x1ffb; // Two and a half elements fit into the page.
    string_exit(r, 2, true);
}
static void rep_insw(struct hw_gprs *r)
{
    string_exit(r, 2, true);
}
static void after_ins(struct hw_gprs *r)
{
    seen[0] = r->r[GPR_RCX];
    seen[1] = r->r[GPR_RDI];
    guest_exit(EXIT_REASON_CPUID, 0, 2);
}
static void string_input(void)
{
    static const guest_step steps[] = {rep_insw_first, rep_insw, rep_insw, after_ins};
    static const unsigned counts[] = {2, 1, 2};
    static const u8 bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    u8 *data = (u8 *)t.run + HV_RUN_IO_DATA_OFFSET, stored[12];
    unsigned done = 0;

    script_guest(steps, 4);
    for (unsigned i = 0; i < 3; i++) {
        test_row("round %u", i);
        EXPECT_EQ(run_vm(), 0);
        EXPECT_EQ(t.run->exit_reason, HV_EXIT_IO);
        EXPECT_EQ(seen[0], 5 - done);
        EXPECT_EQ(seen[1], 0x1ffb + 2 * done);
        EXPECT_EQ(t.run->io.count, counts[i]);
        EXPECT_EQ(t.run->io.size, 2);
        for (unsigned n = 0; n < 2 * counts[i]; n++)
            data[n] = bytes[2 * done + n];
        done += counts[i];
    }
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
    EXPECT_EQ(seen[0], 0);
    EXPECT_EQ(seen[1], 0x1ffb + 10);
    EXPECT_EQ(vm_read_guest(t.v->vcpu.vm, (gpa_t){0x1ffa}, stored, sizeof stored), 0);
    EXPECT_EQ(stored[0], 0);
    EXPECT_MEMEQ(stored + 1, bytes, sizeof bytes);
    EXPECT_EQ(stored[11], 0);
}
TEST(Exits, WhatInsReadsIsInGuestMemory)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, string_input), 0);
}

static void ins_nowhere(struct hw_gprs *r)
{
    r->r[GPR_RCX] = 3;
    r->r[GPR_RDI] = 0;
    string_exit(r, 1, true);
}
static void after_fault(struct hw_gprs *r)
{
    seen[2] = fake_vmcs_read(VM_ENTRY_INTR_INFO_FIELD);
    seen[3] = r->r[GPR_RCX];
    guest_exit(EXIT_REASON_CPUID, 0, 2);
}
static void ins_to_a_device(struct hw_gprs *r)
{
    r->r[GPR_RCX] = 1;
    r->r[GPR_RDI] = 0xfe000000;
    string_exit(r, 1, true);
}
static void string_faults(void)
{
    static const guest_step steps[] = {ins_nowhere, after_fault, ins_to_a_device};

    script_guest(steps, 3);
    EXPECT_EQ(run_vm(), 0); // The port was not read for the first.
    EXPECT_EQ(seen[2], INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | PF_VECTOR); // Real mode: no error code.
    EXPECT_EQ(seen[3], 3);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_IO);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_INTERNAL_ERROR);
    EXPECT_EQ(t.run->internal.suberror, HV_INTERNAL_ERROR_EMULATION);
}
TEST(Exits, InsFaultsBeforeThePortIsRead)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, string_faults), 0);
}

static void two_to_a_device(struct hw_gprs *r)
{
    r->r[GPR_RCX] = 2;
    r->r[GPR_RDI] = 0xfe000ffe;
    string_exit(r, 1, true);
}
static void behind_ins(struct hw_gprs *r)
{
    seen[2] = r->r[GPR_RCX];
    seen[3] = r->r[GPR_RDI];
    guest_exit(EXIT_REASON_CPUID, 0, 2);
}
static void string_to_device(void)
{
    static const guest_step steps[] = {two_to_a_device, behind_ins};

    guest_is_machine_code();
    script_guest(steps, 2);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_IO);
    EXPECT_EQ(t.run->io.count, 2);
    ((u8 *)t.run + t.run->io.data_offset)[0] = 0x11;
    ((u8 *)t.run + t.run->io.data_offset)[1] = 0x22;
    for (u32 i = 0; i < 2; i++) {
        EXPECT_EQ(run_vm(), 0);
        EXPECT_EQ(t.run->exit_reason, HV_EXIT_MMIO);
        EXPECT_TRUE(t.run->mmio.is_write);
        EXPECT_EQ(t.run->mmio.phys_addr, 0xfe000ffe + i);
        EXPECT_EQ(t.run->mmio.len, 1);
        EXPECT_EQ(t.run->mmio.data[0], 0x11 * (i + 1));
    }
    (void)run_vm();
    EXPECT_EQ(seen[2], 0);
    EXPECT_EQ(seen[3], 0xfe001000);
}
TEST(Exits, WhatInsReadsGoesToDevicesElementByElement)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, string_to_device), 0);
}

// --- Failed entries.

static enum hw_vmx_status vmfail(struct hw_gprs *r, bool launch)
{
    (void)r;
    fake_vmcs_write(VM_INSTRUCTION_ERROR, 7);
    (void)launch;
    return HW_VMX_FAIL_VALID;
}
static enum hw_vmx_status invalid_state(struct hw_gprs *r, bool launch)
{
    (void)r;
    (void)launch;
    guest_exit(EXIT_REASON_INVALID_STATE | EXIT_REASON_ENTRY_FAILURE, 0, 0);
    return HW_VMX_OK;
}
static void failures(void)
{
    fake_set_guest(vmfail);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_FAIL_ENTRY);
    EXPECT_EQ(t.run->fail_entry.hardware_entry_failure_reason, 7);
    EXPECT_EQ(fake_trace(TP_VM_FAIL, 0)->a[0], EXIT_REASON_VMLAUNCH);
    EXPECT_EQ(fake_trace(TP_VM_FAIL, 0)->a[1], 7);
    EXPECT_FALSE(t.v->vmcs->launched); // The next attempt is VMLAUNCH again.
    fake_set_guest(invalid_state);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_FAIL_ENTRY);
    EXPECT_EQ(t.run->fail_entry.hardware_entry_failure_reason, 0x80000021);
}
TEST(Exits, FailedEntriesReachUserSpaceWithTheProcessorsNumber)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, failures), 0);
}

// --- HOST_RSP and launch state (catalogue 000-B).

static void count_host_rsp(void)
{
    static const guest_step steps[] = {cpuid_kvm, cpuid_kvm, cpuid_kvm, cpuid_kvm, cpuid_kvm, cpuid_kvm};

    script_guest(steps, 6);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(guest_entries(), 7);
    EXPECT_EQ(t.v->vmcs->vmwrite_host_rsp, 1);
    EXPECT_TRUE(t.v->vmcs->launched);
}
TEST(Exits, HostRspIsWrittenOnceForAThread)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, count_host_rsp), 0);
}
