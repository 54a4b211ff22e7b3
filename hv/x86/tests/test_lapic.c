// SPDX-License-Identifier: Apache-2.0
// The virtual local APIC and its timer: priorities, EOI, destinations, registers, counting
// (SDM 10.5, 10.6, 10.8, 10.12).
#include "hv/lib/bitmap.h"
#include "hv/x86/apicv.h"
#include "hv/x86/lapic_state.h"
#include "hv/x86/tests/vm_fixture.h"
#include "spec/cpuid.h"

static struct knobs knobs;

static void run_body(void (*body)(void), bool preemption_timer)
{
    knobs_defaults(&knobs);
    knobs.v[KNOB_X86_APICV] = 0; // Vectors go to IRR at once.
    knobs.v[KNOB_X86_PREEMPTION_TIMER] = preemption_timer;
    EXPECT_EQ(with_vm(&(struct test_vm_options){.irqchip = true, .knobs = &knobs}, body), 0);
}

static void x2apic_on(struct x86_vcpu *v)
{
    EXPECT_EQ(lapic_set_base(v, APIC_BASE_RESET_ADDR | APIC_BASE_EN | APIC_BASE_EXTD, true), 0);
    EXPECT_EQ(lapic_msr_write(v, MSR_IA32_X2APIC_SIVR, 0x1ff), 0);
}

// --- Priorities.

static void priorities(void)
{
    struct x86_vcpu *v = t.v;

    vcpu_load(&v->vcpu);
    EXPECT_EQ(lapic_has_interrupt(v), -1);
    x2apic_on(v);
    lapic_post_vector(v, 0x31);
    lapic_post_vector(v, 0x52);
    EXPECT_EQ(lapic_has_interrupt(v), 0x52); // The highest first.
    lapic_ack_interrupt(v, 0x52);
    EXPECT_EQ(lapic_has_interrupt(v), -1); // 0x31 is below the class in service.
    lapic_post_vector(v, 0x5f);
    EXPECT_EQ(lapic_has_interrupt(v), -1); // The same class does not interrupt (10.8.3.1).
    lapic_post_vector(v, 0x60);
    EXPECT_EQ(lapic_has_interrupt(v), 0x60);
    EXPECT_EQ(lapic_msr_write(v, MSR_IA32_X2APIC_TPR, 0x60), 0);
    EXPECT_EQ(lapic_has_interrupt(v), -1); // The task priority holds it back.
    EXPECT_EQ(lapic_get_cr8(v), 6);
    lapic_set_cr8(v, 5);
    EXPECT_EQ(lapic_has_interrupt(v), 0x60);
    lapic_ack_interrupt(v, 0x60);
    EXPECT_EQ(lapic_eoi(v->apic), 0x60); // EOI ends the highest in service (10.8.5).
    lapic_set_cr8(v, 0);
    EXPECT_EQ(lapic_eoi(v->apic), 0x52);
    EXPECT_EQ(lapic_has_interrupt(v), 0x5f);
    EXPECT_EQ(lapic_eoi(v->apic), -1); // Nothing is in service.
    EXPECT_EQ(fake_trace_count(TP_KVM_EOI), 3);
    vcpu_put(&v->vcpu);
}
TEST(Lapic, HigherClassesInterruptAndEoiEndsTheHighest)
{
    run_body(priorities, true);
}

// --- Registers.

static void registers(void)
{
    // x2APIC access (10.12.1.2): 0 done, 1 #GP.
    static const struct {
        u32 msr;
        u64 value;
        int write, read;
    } rows[] = {
        {0x802, 0, 1, 0},          {0x803, 0, 1, 0},
        {0x808, 0x20, 0, 0},       {0x808, 0x100, 1, 0},
        {0x809, 0, 1, 1},          {0x80a, 0, 1, 0},
        {0x80b, 0, 0, 1},          {0x80b, 1, 1, 1},
        {0x80d, 0, 1, 0},          {0x80e, 0, 1, 1},
        {0x80f, 0x1ff, 0, 0},      {0x810, 0, 1, 0},
        {0x828, 0, 0, 0},          {0x828, 1, 1, 0},
        {0x831, 0, 1, 1},          {0x832, 0x40030, 0, 0},
        {0x832, 0x100000, 1, 0},   {0x839, 0, 1, 0},
        {0x83e, 0xb, 0, 0},        {0x83e, 4, 1, 0},
        {0x83f, 0x41, 0, 1},       {0x83f, 0x141, 1, 1},
        {0x840, 0, 1, 1},          {0x804, 0, 1, 1},
        {0x82f, 0, 1, 1},          {0x83c, 0, 1, 1}, // No LVT CMCI: MCG_CAP has no bit 10.
        {0x830, 1ull << 20, 1, 0}, {0x830, 0x4041 | 3ull << 18, 0, 0},
    };
    struct x86_vcpu *v = t.v;
    u64 value;

    vcpu_load(&v->vcpu);
    EXPECT_EQ(lapic_msr_read(v, 0x802, &value), 1); // Not in xAPIC mode.
    x2apic_on(v);
    for (u32 i = 0; i < ARRAY_COUNT(rows); i++) {
        EXPECT_EQ(lapic_msr_write(v, rows[i].msr, rows[i].value), rows[i].write);
        EXPECT_EQ(lapic_msr_read(v, rows[i].msr, &value), rows[i].read);
    }
    EXPECT_EQ(lapic_has_interrupt(v), 0x41); // Self-IPI.
    // Modes (10.12.5): x2APIC to xAPIC and EXTD alone are #GP.
    EXPECT_EQ(lapic_set_base(v, APIC_BASE_RESET_ADDR | APIC_BASE_EN, false), 1);
    EXPECT_EQ(lapic_set_base(v, APIC_BASE_RESET_ADDR | APIC_BASE_EXTD, false), 1);
    EXPECT_EQ(lapic_set_base(v, APIC_BASE_RESET_ADDR, false), 0);
    EXPECT_EQ(lapic_set_base(v, APIC_BASE_RESET_ADDR | APIC_BASE_EN | APIC_BASE_EXTD, false), 1);
    vcpu_put(&v->vcpu);
}
TEST(Lapic, X2apicRegistersHaveTheAccessOfTable106)
{
    run_body(registers, true);
}

static void read_through(void)
{
    static const struct {
        u32 msr;
        bool intercepted;
    } rows[] = {{0x800, true},  {0x802, false}, {0x808, false}, {0x80b, true}, {0x82f, true},
                {0x830, false}, {0x839, true},  {0x83c, true},  {0x83f, true}, {0x8ff, true}};

    const u8 *map = t.v->vmcs01.msr_bitmap;

    vcpu_load(&t.v->vcpu);
    x2apic_on(t.v);
    t.v->apicv_active = true;
    apicv_update_msr_bitmap(t.v);
    for (u32 i = 0; i < ARRAY_COUNT(rows); i++)
        EXPECT_EQ(map[rows[i].msr / 8] >> rows[i].msr % 8 & 1, rows[i].intercepted);
    t.v->apicv_active = false;
    vcpu_put(&t.v->vcpu);
}
// The processor answers any number of the range from the page, also those that must fault (29.5).
TEST(Lapic, OnlyRegistersThatExistAreReadWithoutAnExit)
{
    run_body(read_through, true);
}

static void memory_page(void)
{
    struct x86_vcpu *v = t.v;
    u32 value = 0x1ff;

    vcpu_load(&v->vcpu);
    EXPECT_TRUE(irqchip_mmio(v, 0xfee000f0, true, &value, 4));
    value = 0x4033 | (u32)APIC_ICR_SELF;
    EXPECT_TRUE(irqchip_mmio(v, 0xfee00300, true, &value, 4));
    EXPECT_EQ(lapic_has_interrupt(v), 0x33);
    EXPECT_TRUE(irqchip_mmio(v, 0xfee00210, false, &value, 4)); // IRR of vectors 32-63.
    EXPECT_EQ(value, 1u << (0x33 - 32));
    EXPECT_FALSE(irqchip_mmio(v, 0xfee01000, false, &value, 4));
    // A reserved register: error on the next write of ESR (10.5.3).
    EXPECT_TRUE(irqchip_mmio(v, 0xfee00040, true, &value, 4));
    value = 0;
    EXPECT_TRUE(irqchip_mmio(v, 0xfee00280, true, &value, 4));
    EXPECT_TRUE(irqchip_mmio(v, 0xfee00280, false, &value, 4));
    EXPECT_EQ(value, APIC_ESR_ILLEGAL_REGISTER);
    vcpu_put(&v->vcpu);
}
TEST(Lapic, XapicPageReadsAndWritesRegisters)
{
    run_body(memory_page, true);
}

// --- Destinations (10.6.2, 10.12.10.2): a bit per vCPU that took it.

static u32 took(u8 vector)
{
    struct vcpu *vcpu;
    u32 mask = 0;

    vm_for_each_vcpu(i, vcpu, t.v->vcpu.vm) mask |=
        (u32)lapic_test_vector(to_x86(vcpu)->apic, APIC_IRR0, vector) << i;
    return mask;
}

static void destinations(void)
{
    static const struct {
        u64 icr; // Without vector.
        u32 expect;
    } rows[] = {
        {0x4000 | 2ull << 32, 0x4},          // Physical: one.
        {0x4000 | 0xffffffffull << 32, 0xf}, // Physical broadcast.
        {0x4000 | 9ull << 32, 0x0},          // Nobody.
        {0x4800 | 0x5ull << 32, 0x5},        // Logical: cluster 0, bits 0 and 2.
        {0x4800 | 0x10001ull << 32, 0x0},    // Another cluster.
        {0x4900 | 0x6ull << 32, 0x2},        // Lowest priority among 1 and 2: the first of equals.
        {0x4000 | 1ull << 18, 0x1},          // Self.
        {0x4000 | 2ull << 18, 0xf},          // All.
        {0x4000 | 3ull << 18, 0xe},          // All but self.
    };
    struct x86_vcpu *v = t.v;
    struct vcpu *vcpu;

    for (u32 i = 1; i < 4; i++)
        EXPECT_GT(hv_ioctl(t.vm, HV_CREATE_VCPU, i), 0);
    vm_for_each_vcpu(i, vcpu, v->vcpu.vm)
    {
        vcpu_load(vcpu);
        x2apic_on(to_x86(vcpu));
        vcpu_put(vcpu);
    }
    vcpu_load(&v->vcpu);
    for (u32 i = 0; i < ARRAY_COUNT(rows); i++) {
        u8 vector = (u8)(0x40 + i);
        EXPECT_EQ(lapic_msr_write(v, MSR_IA32_X2APIC_ICR, rows[i].icr | vector), 0);
        EXPECT_EQ(took(vector), rows[i].expect);
    }
    EXPECT_TRUE(lapic_fast_icr(v, 3ull << 32 | 0x71)); // One fixed target.
    EXPECT_EQ(took(0x71), 0x8);
    EXPECT_FALSE(lapic_fast_icr(v, 3ull << 32 | 0x871)); // Logical: the slow path's.
    EXPECT_EQ(lapic_pv_send_ipi(v->vcpu.vm, 0x5, 0, 1, 0x72, true), 2);
    EXPECT_EQ(took(0x72), 0xa);
    EXPECT_EQ(lapic_pv_send_ipi(v->vcpu.vm, 0x5, 0, 1, 0x872, true), -EINVAL);
    // Beyond all IDs, and where the bits would count around to the low ones: nobody.
    EXPECT_EQ(lapic_pv_send_ipi(v->vcpu.vm, ~0ull, ~0ull, 0xffffffff, 0x73, true), 0);
    EXPECT_EQ(lapic_pv_send_ipi(v->vcpu.vm, ~0ull, ~0ull, 0xfffffffe, 0x73, true), 0);
    EXPECT_EQ(took(0x73), 0);
    vcpu_put(&v->vcpu);
}
TEST(Lapic, InterruptsReachWhomTheDestinationNames)
{
    run_body(destinations, true);
}

// SDM 10.4.6: software may write the ID of an xAPIC, even one that another has.
static void shared_id(void)
{
    struct x86_vcpu *v = t.v;
    u32 value = 0x1ff;
    struct vcpu *vcpu;

    EXPECT_GT(hv_ioctl(t.vm, HV_CREATE_VCPU, 1), 0);
    EXPECT_GT(hv_ioctl(t.vm, HV_CREATE_VCPU, 2), 0);
    vm_for_each_vcpu(i, vcpu, v->vcpu.vm)
    {
        vcpu_load(vcpu);
        EXPECT_TRUE(irqchip_mmio(to_x86(vcpu), 0xfee000f0, true, &value, 4));
        u32 id = 5u << 24;

        EXPECT_TRUE(irqchip_mmio(to_x86(vcpu), 0xfee00020, true, &id, 4));
        vcpu_put(vcpu);
    }
    EXPECT_EQ(apic_deliver(v->vcpu.vm, NULL, &(struct apic_interrupt){.dest = 5, .vector = 0x41}), 3);
    EXPECT_EQ(took(0x41), 0x7);
    EXPECT_EQ(apic_deliver(v->vcpu.vm, NULL, &(struct apic_interrupt){.dest = 1, .vector = 0x42}), -1);
    vcpu_load(&v->vcpu);
    EXPECT_FALSE(lapic_fast_icr(v, 5ull << 32 | 0x43)); // The slow path's.
    vcpu_put(&v->vcpu);
}
TEST(Lapic, ProcessorsWithOneIdAllTakeWhatIsSentToIt)
{
    run_body(shared_id, true);
}

// SDM 10.4.3: while IA32_APIC_BASE has it disabled, CPUID says so, its page is not there, state is lost.
static void switched_off(void)
{
    _Alignas(8) u8 bytes[sizeof(struct hv_cpuid2) + sizeof(struct hv_cpuid_entry2)] = {0};
    struct hv_cpuid2 *c = (struct hv_cpuid2 *)(void *)bytes;
    struct x86_vcpu *v = t.v;
    u32 value = 0x1ff;

    c->nent = 1;
    c->entries[0] = (struct hv_cpuid_entry2){.function = 1, .edx = CPUID_APIC};
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_CPUID2, c), 0);
    vcpu_load(&v->vcpu);
    EXPECT_TRUE(guest_cpuid_has(v, 1, 0, CPUID_EDX, CPUID_APIC));
    EXPECT_TRUE(irqchip_mmio(v, 0xfee000f0, true, &value, 4));
    EXPECT_EQ(lapic_set_base(v, APIC_BASE_RESET_ADDR | APIC_BASE_BSP, false), 0);
    EXPECT_FALSE(guest_cpuid_has(v, 1, 0, CPUID_EDX, CPUID_APIC));
    EXPECT_FALSE(irqchip_mmio(v, 0xfee00030, false, &value, 4));
    lapic_set_cr8(v, 9); // CR8 stays (10.8.6).
    EXPECT_EQ(lapic_get_cr8(v), 9);
    // It takes nothing from others, NMIs neither.
    EXPECT_EQ(apic_deliver(v->vcpu.vm, NULL,
                           &(struct apic_interrupt){.mode = APIC_DM_NMI, .shorthand = APIC_ICR_ALL}),
              -1);
    EXPECT_EQ(v->nmi_queued, 0);
    EXPECT_EQ(lapic_set_base(v, 0xfed40000 | APIC_BASE_BSP | APIC_BASE_EN, false), 0); // It may move.
    EXPECT_TRUE(guest_cpuid_has(v, 1, 0, CPUID_EDX, CPUID_APIC));
    EXPECT_TRUE(irqchip_mmio(v, 0xfed400f0, false, &value, 4));
    EXPECT_EQ(value & APIC_SVR_ENABLE, 0);
    EXPECT_TRUE(irqchip_mmio(v, 0xfed40080, false, &value, 4));
    EXPECT_EQ(value, 0x90);
    // CPUID does not offer x2APIC mode.
    EXPECT_EQ(lapic_set_base(v, 0xfed40000 | APIC_BASE_BSP | APIC_BASE_EN | APIC_BASE_EXTD, false), 1);
    vcpu_put(&v->vcpu);
}
TEST(Lapic, ComesAndGoesWithItsBaseRegister)
{
    run_body(switched_off, true);
}

static void start_up(void)
{
    EXPECT_GT(hv_ioctl(t.vm, HV_CREATE_VCPU, 1), 0);
    struct x86_vcpu *v = t.v, *other = to_x86(vm_vcpu_by_index(v->vcpu.vm, 1));

    vcpu_load(&v->vcpu);
    x2apic_on(v);
    EXPECT_EQ(lapic_msr_write(v, MSR_IA32_X2APIC_ICR, 1ull << 32 | 0xc500), 0); // INIT, level assert.
    EXPECT_TRUE(lapic_has_events(other));
    EXPECT_EQ(lapic_msr_write(v, MSR_IA32_X2APIC_ICR, 1ull << 32 | 0x4612), 0); // SIPI.
    vcpu_put(&v->vcpu);
    vcpu_load(&other->vcpu);
    lapic_accept_events(other);
    EXPECT_EQ(other->vcpu.mp_state, MP_STATE_RUNNABLE);
    EXPECT_EQ(fake_vmcs_read(GUEST_CS_SELECTOR), 0x1200);
    EXPECT_FALSE(lapic_has_events(other));
    vcpu_put(&other->vcpu);
}
TEST(Lapic, InitThenSipiStartsAProcessor)
{
    run_body(start_up, true);
}

// --- Timer. One TSC cycle of the fake is one nanosecond.

static void timer_counts(void)
{
    // Divide configuration (figure 10-10) and the divisor it means.
    static const struct {
        u32 dcr, divisor;
    } rows[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
    struct x86_vcpu *v = t.v;
    u64 value;

    vcpu_load(&v->vcpu);
    x2apic_on(v);
    EXPECT_EQ(lapic_msr_write(v, 0x832, 0x30), 0); // One-shot.
    for (u32 i = 0; i < ARRAY_COUNT(rows); i++) {
        EXPECT_EQ(lapic_msr_write(v, 0x83e, rows[i].dcr), 0);
        u64 before = hw_rdtsc();
        EXPECT_EQ(lapic_msr_write(v, 0x838, 1000000), 0);
        fake_pass(10000);
        EXPECT_EQ(lapic_msr_read(v, 0x839, &value), 0);
        u64 passed = hw_rdtsc() - before;
        EXPECT_LE(value, 1000000 - 10000 / rows[i].divisor);
        EXPECT_GE(value + 1, 1000000 - passed / rows[i].divisor);
    }
    vcpu_put(&v->vcpu);
}
TEST(GuestTimer, CountsDownByItsDivisor)
{
    run_body(timer_counts, false);
}

static void deadline(void)
{
    struct x86_vcpu *v = t.v;

    vcpu_load(&v->vcpu);
    x2apic_on(v);
    lapic_set_tsc_deadline(v, guest_tsc(v, hw_rdtsc()) + 5000);
    EXPECT_EQ(lapic_get_tsc_deadline(v), 0); // Ignored outside of its mode (10.5.4.1).
    EXPECT_EQ(lapic_msr_write(v, 0x832, 0x40031), 0);
    u64 at = guest_tsc(v, hw_rdtsc()) + 20000;
    lapic_set_tsc_deadline(v, at);
    EXPECT_EQ(lapic_get_tsc_deadline(v), at);
    fake_pass(10000);
    guest_timer_inject_pending(v);
    EXPECT_EQ(lapic_has_interrupt(v), -1);
    fake_pass(15000);
    EXPECT_TRUE(guest_timer_has_pending(v));
    guest_timer_inject_pending(v);
    EXPECT_EQ(lapic_has_interrupt(v), 0x31);
    EXPECT_EQ(lapic_get_tsc_deadline(v), 0); // Firing disarms.
    lapic_ack_interrupt(v, 0x31);
    lapic_set_tsc_deadline(v, 1); // Long past: at once.
    EXPECT_EQ(lapic_has_interrupt(v), -1);
    lapic_eoi(v->apic);
    EXPECT_EQ(lapic_has_interrupt(v), 0x31);
    vcpu_put(&v->vcpu);
}
TEST(GuestTimer, TscDeadlineFiresOnceAtItsTime)
{
    run_body(deadline, false);
}

static void periodic(void)
{
    struct x86_vcpu *v = t.v;

    vcpu_load(&v->vcpu);
    x2apic_on(v);
    EXPECT_EQ(lapic_msr_write(v, 0x83e, 11), 0);
    EXPECT_EQ(lapic_msr_write(v, 0x832, 0x20032), 0);
    EXPECT_EQ(lapic_msr_write(v, 0x838, 20000), 0);
    for (u32 i = 0; i < 3; i++) {
        fake_pass(20500);
        guest_timer_inject_pending(v);
        EXPECT_EQ(lapic_has_interrupt(v), 0x32);
        lapic_ack_interrupt(v, 0x32);
        EXPECT_EQ(lapic_eoi(v->apic), 0x32);
    }
    vcpu_put(&v->vcpu);
}
TEST(GuestTimer, PeriodicModeRepeats)
{
    run_body(periodic, false);
}
