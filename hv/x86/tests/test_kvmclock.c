// SPDX-License-Identifier: Apache-2.0
// KVM's clock in guest memory, against the time that the fake's TSC shows
// (Documentation/virt/kvm/x86/msr.rst).
#include "hv/core/vm.h"
#include "hv/lib/math.h"
#include "hv/x86/kvmclock.h"
#include "hv/x86/msr.h"
#include "hv/x86/tests/vm_fixture.h"
#include "spec/cpuid.h"
#include "spec/msrs.h"
#include <stdlib.h>

#define AT 0x3004ull // Needs an alignment of four only.

static struct knobs knobs;

static void give_cpuid(u32 features)
{
    _Alignas(8) u8 bytes[sizeof(struct hv_cpuid2) + sizeof(struct hv_cpuid_entry2)] = {0};
    struct hv_cpuid2 *c = (struct hv_cpuid2 *)(void *)bytes;

    c->nent = 1;
    c->entries[0] = (struct hv_cpuid_entry2){.function = 0x40000001, .eax = features};
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_CPUID2, c), 0);
}

static void run_body(void (*body)(void))
{
    knobs_defaults(&knobs);
    EXPECT_EQ(with_vm(&(struct test_vm_options){.irqchip = true, .knobs = &knobs}, body), 0);
}

static u64 read_clock(struct pvclock_vcpu_time_info *info)
{
    EXPECT_EQ(vm_read_guest(t.v->vcpu.vm, gpa(AT), info, sizeof(*info)), 0);
    u64 delta = guest_tsc(t.v, hw_rdtsc()) - info->tsc_timestamp;

    delta = info->tsc_shift < 0 ? delta >> -info->tsc_shift : delta << info->tsc_shift;
    return info->system_time + mul_u64_u64_shr(delta, info->tsc_to_system_mul, 32);
}

static void expect_time(void)
{
    struct pvclock_vcpu_time_info info;
    u64 vm_age = tsc_to_ns(this_host(), hw_rdtsc() + to_x86_vm(t.v->vcpu.vm)->tsc_offset),
        clock = read_clock(&info);

    EXPECT_EQ(info.version & 1, 0);
    EXPECT_EQ(info.flags, PVCLOCK_TSC_STABLE);
    EXPECT_GE(info.tsc_to_system_mul, 1u << 31);
    EXPECT_LE((u64)llabs((long long)(clock - vm_age)), 200); // The calls in between.
}

static void system_time(void)
{
    struct pvclock_vcpu_time_info info = {0};
    u64 value;

    give_cpuid(CPUID_KVM_CLOCKSOURCE | CPUID_KVM_CLOCKSOURCE2);
    vcpu_load(&t.v->vcpu);
    EXPECT_EQ(msr_write(t.v, PV_MSR_KVM_SYSTEM_TIME_NEW, AT | 1, false), 0);
    expect_time();
    fake_pass(5000000);
    expect_time();
    // The guest moves its TSC: the clock goes on as before.
    EXPECT_EQ(msr_write(t.v, MSR_IA32_TSC, 1ull << 60, false), 0);
    expect_time();
    EXPECT_EQ(msr_read(t.v, PV_MSR_KVM_SYSTEM_TIME, &value, false), 0); // Both numbers are one register.
    EXPECT_EQ(value, AT | 1);
    // Off: nothing is written any more.
    EXPECT_EQ(msr_write(t.v, PV_MSR_KVM_SYSTEM_TIME, 0, false), 0);
    EXPECT_EQ(vm_write_guest(t.v->vcpu.vm, gpa(AT), &info, sizeof(info)), 0);
    EXPECT_EQ(msr_write(t.v, MSR_IA32_TSC, 0, false), 0);
    EXPECT_EQ(read_clock(&info), 0);
    vcpu_put(&t.v->vcpu);
}
TEST(Kvmclock, ShowsTheTimeSinceTheVmWasMade)
{
    run_body(system_time);
}

// Whatever the TSC's rate: a fraction with its highest bit set, and a shift either way.
static void rates(void)
{
    static const u64 khz[] = {300000, 999999, 1000000, 2100000, 3700001, 8000000};
    struct host *host = this_host();
    u64 own = host->tsc_khz;

    give_cpuid(CPUID_KVM_CLOCKSOURCE);
    vcpu_load(&t.v->vcpu);
    fake_pass(50000000);
    for (u32 i = 0; i < ARRAY_COUNT(khz); i++) {
        host->tsc_khz = khz[i];
        test_row("%llu kHz", (unsigned long long)khz[i]);
        EXPECT_EQ(msr_write(t.v, PV_MSR_KVM_SYSTEM_TIME, AT | 1, false), 0);
        expect_time();
    }
    host->tsc_khz = own;
    vcpu_put(&t.v->vcpu);
}
TEST(Kvmclock, ScalesEveryRateOfTheTsc)
{
    run_body(rates);
}

static void wall_clock(void)
{
    struct pvclock_wall_clock wall = {.version = 7};
    u64 base = tsc_to_ns(this_host(), -to_x86_vm(t.v->vcpu.vm)->tsc_offset);

    give_cpuid(CPUID_KVM_CLOCKSOURCE2);
    vcpu_load(&t.v->vcpu);
    EXPECT_EQ(vm_write_guest(t.v->vcpu.vm, gpa(AT), &wall, sizeof(wall)), 0);
    EXPECT_EQ(msr_write(t.v, PV_MSR_KVM_WALL_CLOCK_NEW, AT, false), 0);
    EXPECT_EQ(vm_read_guest(t.v->vcpu.vm, gpa(AT), &wall, sizeof(wall)), 0);
    EXPECT_EQ(wall.version, 10); // The next even number after the next odd one.
    EXPECT_EQ(wall.sec, HV_BOOT_SECONDS + base / 1000000000);
    EXPECT_EQ(wall.nsec, base % 1000000000);
    EXPECT_EQ(msr_write(t.v, PV_MSR_KVM_WALL_CLOCK_NEW, 1ull << 40, false), 0); // No memory: its own fault.
    vcpu_put(&t.v->vcpu);
}
TEST(Kvmclock, TheWallClockIsTheHostsAtTheVmsBirth)
{
    run_body(wall_clock);
}

static void features(void)
{
    static const struct {
        u32 msr, feature;
    } rows[] = {{PV_MSR_KVM_WALL_CLOCK, CPUID_KVM_CLOCKSOURCE},
                {PV_MSR_KVM_SYSTEM_TIME, CPUID_KVM_CLOCKSOURCE},
                {PV_MSR_KVM_WALL_CLOCK_NEW, CPUID_KVM_CLOCKSOURCE2},
                {PV_MSR_KVM_SYSTEM_TIME_NEW, CPUID_KVM_CLOCKSOURCE2},
                {PV_MSR_KVM_POLL_CONTROL, CPUID_KVM_POLL_CONTROL}};
    static const u32 absent[] = {PV_MSR_KVM_ASYNC_PF_EN, PV_MSR_KVM_STEAL_TIME, PV_MSR_KVM_PV_EOI_EN};
    u64 value;

    for (u32 i = 0; i < ARRAY_COUNT(rows); i++)
        for (u32 has = 0; has < 2; has++) {
            give_cpuid(has ? rows[i].feature : ~rows[i].feature);
            test_row("msr %#x has %u", rows[i].msr, has);
            EXPECT_EQ(msr_read(t.v, rows[i].msr, &value, false), has ? 0 : 1);
            EXPECT_EQ(msr_write(t.v, rows[i].msr, 0, false), has ? 0 : 1);
            EXPECT_EQ(msr_read(t.v, rows[i].msr, &value, true), 0); // User space may always.
        }
    give_cpuid(~0u);
    for (u32 i = 0; i < ARRAY_COUNT(absent); i++)
        EXPECT_EQ(msr_write(t.v, absent[i], 0, false), 1);
}
TEST(Kvmclock, ItsMsrsNeedTheirFeatureBits)
{
    run_body(features);
}
