// SPDX-License-Identifier: Apache-2.0
// Which event goes into an entry, and what happens to one that an exit interrupted
// (SDM 6.9, 6.15, 24.8.3, 27.2.4).
#include "hv/x86/inject.h"
#include "hv/x86/tests/vm_fixture.h"

// SDM 6.15, table 6-5.
TEST(Inject, ExceptionsJoinAsTheTableOfDoubleFaultsSays)
{
    static const struct {
        u8 first, second;
        enum exception_join join;
    } rows[] = {
        {DB_VECTOR, PF_VECTOR, JOIN_SECOND},       {UD_VECTOR, GP_VECTOR, JOIN_SECOND},
        {GP_VECTOR, UD_VECTOR, JOIN_SECOND},       {GP_VECTOR, GP_VECTOR, JOIN_DOUBLE_FAULT},
        {DE_VECTOR, TS_VECTOR, JOIN_DOUBLE_FAULT}, {SS_VECTOR, NP_VECTOR, JOIN_DOUBLE_FAULT},
        {GP_VECTOR, PF_VECTOR, JOIN_SECOND},       {PF_VECTOR, PF_VECTOR, JOIN_DOUBLE_FAULT},
        {PF_VECTOR, GP_VECTOR, JOIN_DOUBLE_FAULT}, {PF_VECTOR, DB_VECTOR, JOIN_SECOND},
        {DF_VECTOR, GP_VECTOR, JOIN_SHUTDOWN},     {DF_VECTOR, PF_VECTOR, JOIN_SHUTDOWN},
    };
    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        EXPECT_EQ(join_exceptions(rows[i].first, rows[i].second), rows[i].join);
}

static u64 info[16], windows[16];
static u32 entry;

static void record(void)
{
    info[entry] = fake_vmcs_read(VM_ENTRY_INTR_INFO_FIELD);
    windows[entry++] =
        fake_vmcs_read(CPU_BASED_VM_EXEC_CONTROL) & (CPU_INTERRUPT_WINDOW_EXITING | CPU_NMI_WINDOW_EXITING);
}
static void external(struct hw_gprs *r)
{
    (void)r;
    record();
    guest_exit(EXIT_REASON_EXTERNAL_INTERRUPT, 0, 0);
    fake_vmcs_write(VM_EXIT_INTR_INFO, INTR_INFO_VALID | 0xfd);
}
static void nmi_window(struct hw_gprs *r)
{
    (void)r;
    record();
    guest_exit(EXIT_REASON_NMI_WINDOW, 0, 0);
}
static void irq_window(struct hw_gprs *r)
{
    (void)r;
    record();
    guest_exit(EXIT_REASON_INTERRUPT_WINDOW, 0, 0);
}
// The exit interrupted the delivery of what this entry injected.
static void interrupted(struct hw_gprs *r)
{
    (void)r;
    record();
    guest_exit(EXIT_REASON_EXTERNAL_INTERRUPT, 0, 0);
    fake_vmcs_write(VM_EXIT_INTR_INFO, INTR_INFO_VALID | 0xfd);
    fake_vmcs_write(IDT_VECTORING_INFO_FIELD, fake_vmcs_read(VM_ENTRY_INTR_INFO_FIELD));
    fake_vmcs_write(IDT_VECTORING_ERROR_CODE, fake_vmcs_read(VM_ENTRY_EXCEPTION_ERROR_CODE));
}

static void set_rflags(u64 rflags)
{
    struct hv_regs *r = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);

    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_REGS, r), 0);
    r->rflags = rflags;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_REGS, r), 0);
}

// Exceptions first, then NMI, then external interrupt; what waits arms its window (SDM 6.9, table 6-2).
static void priority(void)
{
    static const guest_step steps[] = {external, irq_window, external};

    entry = 0;
    set_rflags(X86_RFLAGS_FIXED | X86_RFLAGS_IF);
    EXPECT_EQ(hv_ioctl(t.vcpu, HV_NMI, 0), 0);
    EXPECT_EQ(hv_ioctl(t.vcpu, HV_INTERRUPT, 0x41), 0);
    script_guest(steps, 3);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(info[0], INTR_INFO_VALID | INTR_TYPE_NMI | NMI_VECTOR);
    EXPECT_EQ(windows[0], CPU_INTERRUPT_WINDOW_EXITING);
    EXPECT_EQ(info[2], INTR_INFO_VALID | INTR_TYPE_EXTERNAL | 0x41);
    EXPECT_EQ(windows[2], 0);
}
TEST(Inject, NmiBeforeInterruptAndTheRestArmsItsWindow)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, priority), 0);
}

static void blocked(void)
{
    static const guest_step steps[] = {external, irq_window};

    entry = 0;
    set_rflags(X86_RFLAGS_FIXED); // IF is 0.
    EXPECT_EQ(hv_ioctl(t.vcpu, HV_INTERRUPT, 0x41), 0);
    EXPECT_EQ(hv_ioctl(t.vcpu, HV_INTERRUPT, 0x42), -17); // EEXIST
    EXPECT_EQ(hv_ioctl(t.vcpu, HV_INTERRUPT, 256), -22);
    script_guest(steps, 2);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(info[0] & INTR_INFO_VALID, 0);
    EXPECT_EQ(windows[0], CPU_INTERRUPT_WINDOW_EXITING);
    EXPECT_EQ(info[1] & INTR_INFO_VALID, 0);
}
TEST(Inject, ClosedInterruptFlagWaitsForTheWindow)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, blocked), 0);
}

static void reinjected(void)
{
    static const guest_step steps[] = {interrupted, external};

    entry = 0;
    set_rflags(X86_RFLAGS_FIXED | X86_RFLAGS_IF);
    EXPECT_EQ(hv_ioctl(t.vcpu, HV_INTERRUPT, 0x41), 0);
    script_guest(steps, 2);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(info[0], INTR_INFO_VALID | INTR_TYPE_EXTERNAL | 0x41);
    EXPECT_EQ(info[1], info[0]);
    EXPECT_EQ(fake_trace_count(TP_KVM_INJ_VIRQ), 2);
    EXPECT_EQ(fake_trace(TP_KVM_INJ_VIRQ, 0)->a[2], 0);
    EXPECT_EQ(fake_trace(TP_KVM_INJ_VIRQ, 1)->a[2], 1);
}
TEST(Inject, AnInterruptedDeliveryIsRepeatedFirst)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, reinjected), 0);
}

// Two NMIs are remembered, a third is lost as on hardware; STI blocking is none of theirs.
static void many_nmis(void)
{
    static const guest_step steps[] = {nmi_window, external};

    entry = 0;
    for (u32 i = 0; i < 3; i++)
        EXPECT_EQ(hv_ioctl(t.vcpu, HV_NMI, 0), 0);
    script_guest(steps, 2);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(info[0], INTR_INFO_VALID | INTR_TYPE_NMI | NMI_VECTOR);
    EXPECT_EQ(windows[0], CPU_NMI_WINDOW_EXITING);
    EXPECT_EQ(info[1], INTR_INFO_VALID | INTR_TYPE_NMI | NMI_VECTOR);
    EXPECT_EQ(windows[1], 0);
    EXPECT_EQ(t.v->nmi_pending, 0);
}
TEST(Inject, AtMostTwoNmisWait)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, many_nmis), 0);
}

static u64 pending_bs[2], entered_rip[2];

static void debug_exit(u32 blocking, u32 type, u64 tf)
{
    guest_exit(EXIT_REASON_EXCEPTION_NMI, type == INTR_TYPE_HARD_EXCEPTION ? DEBUG_INFO_BS : 0, 1);
    fake_vmcs_write(VM_EXIT_INTR_INFO, INTR_INFO_VALID | type | DB_VECTOR);
    fake_vmcs_write(GUEST_INTERRUPTIBILITY_INFO, blocking);
    fake_vmcs_write(GUEST_PENDING_DBG_EXCEPTIONS, 0);
    fake_vmcs_write(GUEST_RFLAGS, X86_RFLAGS_FIXED | tf);
    fake_vmcs_write(GUEST_RIP, 0x1000);
}
static void step_behind_sti(struct hw_gprs *r)
{
    (void)r;
    debug_exit(INTERRUPTIBILITY_STI, INTR_TYPE_HARD_EXCEPTION, X86_RFLAGS_TF);
}
static void int1_stepped(struct hw_gprs *r)
{
    (void)r;
    pending_bs[0] = fake_vmcs_read(GUEST_PENDING_DBG_EXCEPTIONS) & DEBUG_INFO_BS;
    entered_rip[0] = fake_vmcs_read(GUEST_RIP);
    info[0] = fake_vmcs_read(VM_ENTRY_INTR_INFO_FIELD);
    debug_exit(INTERRUPTIBILITY_MOV_SS, INTR_TYPE_PRIV_SOFT_EXCEPTION, X86_RFLAGS_TF);
}
static void behind_int1(struct hw_gprs *r)
{
    (void)r;
    pending_bs[1] =
        fake_vmcs_read(GUEST_INTERRUPTIBILITY_INFO) | fake_vmcs_read(GUEST_PENDING_DBG_EXCEPTIONS);
    entered_rip[1] = fake_vmcs_read(GUEST_RIP);
    info[1] = fake_vmcs_read(VM_ENTRY_INTR_INFO_FIELD);
    guest_exit(EXIT_REASON_EXTERNAL_INTERRUPT, 0, 0);
    fake_vmcs_write(VM_EXIT_INTR_INFO, INTR_INFO_VALID | 0xfd);
}
static void debug_exceptions(void)
{
    static const guest_step steps[] = {step_behind_sti, int1_stepped, behind_int1};

    script_guest(steps, 3);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(info[0], INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | DB_VECTOR);
    EXPECT_EQ(pending_bs[0], DEBUG_INFO_BS);
    EXPECT_EQ(entered_rip[0], 0x1000);
    EXPECT_EQ(info[1], INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | DB_VECTOR);
    EXPECT_EQ(pending_bs[1], 0);
    EXPECT_EQ(entered_rip[1], 0x1001);
}
// SDM 26.3.1.5; INT1's exit is on the instruction, its exception behind it (SDM vol. 2, INT1).
TEST(Inject, DebugExceptionsOfStepsInAShadowAndOfInt1)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, debug_exceptions), 0);
}
