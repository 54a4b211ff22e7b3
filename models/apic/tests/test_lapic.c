// SPDX-License-Identifier: Apache-2.0
// The local APIC: priorities, acknowledge and EOI, IPIs, modes and reserved bits, the timer to the tick
// (SDM 10.4 to 10.12). On the bench of models/cpu/x86.
#include "models/apic/lapic.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "models/timer/tsc.h"
#include "spec/apic_bits.h"
#include "tests/shim/shim.h"

static struct pcpu *cpu(unsigned i)
{
    return &bench.cpus[i];
}

static void start(unsigned count)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(count);
    for (unsigned i = 0; i < count; i++) {
        EXPECT_EQ(lapic_set_base(cpu(i), lapic_base(cpu(i)) | APIC_BASE_EXTD), HW_DONE);
        EXPECT_EQ(lapic_write_msr(cpu(i), MSR_IA32_X2APIC_SIVR, 0x1ff), HW_DONE);
    }
}

TEST(Lapic, HighestClassAboveThePpr) // SDM 10.8.3
{
    static const struct {
        uint8_t irr[2];
        uint8_t tpr, in_service;
        int pending;
    } cases[] = {
        {{0x31, 0x45}, 0, 0, 0x45},  {{0x45, 0}, 0x40, 0, -1},   {{0x45, 0}, 0x3f, 0, 0x45},
        {{0x45, 0}, 0, 0x41, -1},    {{0x51, 0}, 0, 0x4f, 0x51}, {{0x51, 0x5f}, 0x10, 0x22, 0x5f},
        {{0x51, 0}, 0x52, 0x60, -1},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("row %u", i);
        start(1);
        if (cases[i].in_service) {
            lapic_accept(cpu(0), cases[i].in_service, false);
            EXPECT_EQ(lapic_ack(cpu(0)), cases[i].in_service);
        }
        EXPECT_EQ(lapic_write_msr(cpu(0), MSR_IA32_X2APIC_TPR, cases[i].tpr), HW_DONE);
        for (unsigned k = 0; k < 2; k++)
            if (cases[i].irr[k])
                lapic_accept(cpu(0), cases[i].irr[k], false);
        EXPECT_EQ(lapic_pending_vector(cpu(0)), cases[i].pending);
        EXPECT_EQ(cpu(0)->irq_pending, cases[i].pending >= 0);
        bench_end();
    }
}

TEST(Lapic, PprIsTheHigherOfTprAndInService) // SDM 10.8.3.1
{
    start(1);
    lapic_accept(cpu(0), 0x47, false);
    lapic_ack(cpu(0));
    EXPECT_EQ(lapic_ppr(cpu(0)), 0x40);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_TPR, 0x43);
    EXPECT_EQ(lapic_ppr(cpu(0)), 0x43);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_TPR, 0x3f);
    EXPECT_EQ(lapic_ppr(cpu(0)), 0x40);
    bench_end();
}

TEST(Lapic, EoiEndsTheHighestInService) // SDM 10.8.5
{
    uint64_t value;

    start(1);
    lapic_accept(cpu(0), 0x31, true);
    lapic_ack(cpu(0));
    lapic_accept(cpu(0), 0x91, false);
    lapic_ack(cpu(0));
    EXPECT_EQ(lapic_read_msr(cpu(0), MSR_IA32_X2APIC_TMR1, &value), HW_DONE);
    EXPECT_EQ(value, 1u << 17);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_EOI, 0);
    EXPECT_EQ(lapic_ppr(cpu(0)), 0x30);
    lapic_read_msr(cpu(0), MSR_IA32_X2APIC_ISR4, &value);
    EXPECT_EQ(value, 0);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_EOI, 0);
    EXPECT_EQ(lapic_ppr(cpu(0)), 0);
    bench_end();
}

TEST(Lapic, NothingPendingIsSpurious) // SDM 10.9
{
    start(1);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_SIVR, 0x1ef);
    EXPECT_EQ(lapic_ack(cpu(0)), 0xef);
    EXPECT_EQ(lapic_ppr(cpu(0)), 0); // No bit in ISR.
    bench_end();
}

TEST(Lapic, X2apicAccessRules) // SDM 10.12.1.2, table 10-6
{
    static const struct {
        uint32_t msr;
        uint64_t value;
        bool reads, writes;
    } cases[] = {
        {0x802, 0, true, false},       {0x803, 0, true, false},      {0x808, 0x100, true, false},
        {0x808, 0xff, true, true},     {0x809, 0, false, false},     {0x80a, 0, true, false},
        {0x80b, 0, false, true},       {0x80b, 1, false, false},     {0x80d, 0, true, false},
        {0x80e, 0, false, false},      {0x80f, 0x2000, true, false}, {0x810, 0, true, false},
        {0x828, 0, true, true},        {0x828, 1, true, false},      {0x831, 0, false, false},
        {0x832, 0x80000, true, false}, {0x832, 0x300ef, true, true}, {0x839, 0, true, false},
        {0x83e, 0xb, true, true},      {0x83e, 4, true, false},      {0x83f, 0x100, false, false},
        {0x804, 0, false, false},      {0x8ff, 0, false, false},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t value;

        test_row("row %u, MSR %#x", i, cases[i].msr);
        start(1);
        EXPECT_EQ(lapic_read_msr(cpu(0), cases[i].msr, &value), cases[i].reads ? HW_DONE : HW_FAULT_GP);
        EXPECT_EQ(lapic_write_msr(cpu(0), cases[i].msr, cases[i].value),
                  cases[i].writes ? HW_DONE : HW_FAULT_GP);
        bench_end();
    }
}

TEST(Lapic, ModeChanges) // SDM 10.12.5, figure 10-27
{
    uint64_t base, value;

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    base = lapic_base(cpu(0));
    EXPECT_EQ(base, APIC_BASE_RESET_ADDR | APIC_BASE_EN | APIC_BASE_BSP);
    EXPECT_EQ(lapic_read_msr(cpu(0), MSR_IA32_X2APIC_APICID, &value), HW_FAULT_GP); // Not in xAPIC mode.
    EXPECT_EQ(lapic_set_base(cpu(0), (base & ~APIC_BASE_EN) | APIC_BASE_EXTD), HW_FAULT_GP);
    EXPECT_EQ(lapic_set_base(cpu(0), base | APIC_BASE_EXTD), HW_DONE);
    EXPECT_EQ(lapic_set_base(cpu(0), base), HW_FAULT_GP); // Back only through disabled.
    EXPECT_EQ(lapic_set_base(cpu(0), base & ~APIC_BASE_EN), HW_DONE);
    EXPECT_EQ(lapic_mode(cpu(0)), LAPIC_DISABLED);
    EXPECT_EQ(lapic_set_base(cpu(0), base | APIC_BASE_EXTD), HW_FAULT_GP);
    EXPECT_EQ(lapic_set_base(cpu(0), base), HW_DONE);
    EXPECT_EQ(lapic_set_base(cpu(0), base | 1ull << 46), HW_FAULT_GP);
    bench_end();
}

TEST(Lapic, XapicPageHasItsOwnLayout) // SDM 10.4.6, 10.6.2.2
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(2);
    EXPECT_EQ(lapic_read_page(cpu(1), APIC_ID), 1u << 24);
    lapic_write_page(cpu(1), APIC_LDR, 0x12345678);
    EXPECT_EQ(lapic_read_page(cpu(1), APIC_LDR), 0x12000000);
    lapic_write_page(cpu(1), APIC_SVR, 0x1ff);
    lapic_write_page(cpu(0), APIC_ICR2, 1u << 24);
    lapic_write_page(cpu(0), APIC_ICR, 0x44);
    EXPECT_EQ(cpu(1)->inbox_count, 1);
    EXPECT_EQ(cpu(1)->inbox[0].vector, 0x44);
    bench_end();
}

TEST(Ipi, GoesToItsTargetsAfterTheLatency) // SDM 10.6.1, 10.12.9, 10.12.10
{
    static const struct {
        uint64_t icr;
        unsigned targets; // Bit for each of four processors; the sender is 1
        uint8_t kind;
    } cases[] = {
        {0x0000000200000041, 1u << 2, PCPU_MSG_FIXED},
        {0xffffffff00000041, 0xf, PCPU_MSG_FIXED},
        {0x0000000000040041, 1u << 1, PCPU_MSG_FIXED},
        {0x0000000000080041, 0xf, PCPU_MSG_FIXED},
        {0x00000000000c0041, 0xd, PCPU_MSG_FIXED},
        {0x000000090000c841, 0x9, PCPU_MSG_FIXED}, // Logical, level
        {0x0001000900000841, 0, PCPU_MSG_FIXED},   // Another cluster
        {0x0000000300000400, 1u << 3, PCPU_MSG_NMI},
        {0x00000003000c4500, 0xd, PCPU_MSG_INIT},
        {0x0000000300008500, 0, PCPU_MSG_INIT}, // INIT level de-assert
        {0x0000000300004699, 1u << 3, PCPU_MSG_SIPI},
        {0x0000000800000941, 1u << 3, PCPU_MSG_FIXED}, // Lowest priority
        {0x0000000300000200, 1u << 3, PCPU_MSG_SMI},
        {0x0000000700000041, 0, PCPU_MSG_FIXED},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        start(4);
        cpu(1)->now_ticks = 5000;
        EXPECT_EQ(lapic_write_msr(cpu(1), MSR_IA32_X2APIC_ICR, cases[i].icr), HW_DONE);
        for (unsigned t = 0; t < 4; t++) {
            bool hit = (cases[i].targets >> t) & 1;
            uint64_t latency = t == 1 ? 0 : bench.uarch.op.ipi_cycles * TICKS_PER_CYCLE;

            test_row("row %u, processor %u", i, t);
            EXPECT_EQ(cpu(t)->inbox_count, hit);
            if (hit) {
                EXPECT_EQ(cpu(t)->inbox[0].kind, cases[i].kind);
                EXPECT_EQ(cpu(t)->inbox[0].at_ticks, 5000 + latency);
            }
        }
        bench_end();
    }
}

TEST(Ipi, LowestPriorityPrefersTheLowerPpr) // SDM 10.6.2.4
{
    start(4);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_TPR, 0x50);
    lapic_write_msr(cpu(2), MSR_IA32_X2APIC_TPR, 0x20);
    lapic_write_msr(cpu(3), MSR_IA32_X2APIC_TPR, 0x30);
    EXPECT_EQ(lapic_write_msr(cpu(1), MSR_IA32_X2APIC_ICR, 0x0000000d00000941), HW_DONE);
    EXPECT_EQ(cpu(2)->inbox_count, 1);
    EXPECT_EQ(cpu(0)->inbox_count + cpu(3)->inbox_count, 0);
    bench_end();
}

TEST(Ipi, IllegalVectorIsAnError) // SDM 10.5.3
{
    uint64_t esr;

    start(2);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_LVT_ERROR, 0xfe);
    EXPECT_EQ(lapic_write_msr(cpu(0), MSR_IA32_X2APIC_ICR, 0x000000010000000f), HW_DONE);
    EXPECT_EQ(cpu(1)->inbox_count, 0);
    EXPECT_EQ(lapic_pending_vector(cpu(0)), 0xfe);
    lapic_read_msr(cpu(0), MSR_IA32_X2APIC_ESR, &esr);
    EXPECT_EQ(esr, 0); // Latched by a write.
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_ESR, 0);
    lapic_read_msr(cpu(0), MSR_IA32_X2APIC_ESR, &esr);
    EXPECT_EQ(esr, APIC_ESR_SEND_ILLEGAL_VECTOR);
    bench_end();
}

TEST(LapicTimer, OneShotFiresOnceAtItsTick) // SDM 10.5.4
{
    uint64_t khz, expected, count;

    start(1);
    khz = bench.uarch.clock.crystal_khz ? bench.uarch.clock.crystal_khz : 100000;
    cpu(0)->now_ticks = 777;
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_DIV_CONF, 3); // Divide by 16
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_LVT_TIMER, 0xef);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_INIT_COUNT, 1000);
    expected = 777 + clock_to_ticks(16000, khz, bench.uarch.clock.core_khz);
    EXPECT_EQ(cpu(0)->timer_at_ticks[PCPU_TIMER_LAPIC], expected);
    cpu(0)->now_ticks = expected - 1;
    lapic_read_msr(cpu(0), MSR_IA32_X2APIC_CUR_COUNT, &count);
    EXPECT_EQ(count, 1);
    pcpu_slow_path(cpu(0), false);
    EXPECT_EQ(lapic_pending_vector(cpu(0)), -1);
    cpu(0)->now_ticks = expected;
    pcpu_slow_path(cpu(0), false);
    EXPECT_EQ(lapic_pending_vector(cpu(0)), 0xef);
    EXPECT_EQ(cpu(0)->timer_at_ticks[PCPU_TIMER_LAPIC], TICKS_NEVER);
    bench_end();
}

TEST(LapicTimer, PeriodsDoNotDrift)
{
    uint64_t khz, period;

    start(1);
    khz = bench.uarch.clock.crystal_khz ? bench.uarch.clock.crystal_khz : 100000;
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_DIV_CONF, 0xb); // Divide by 1
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_LVT_TIMER, 0x200ef);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_INIT_COUNT, 999);
    period = clock_to_ticks(999, khz, bench.uarch.clock.core_khz);
    for (uint64_t i = 1; i < 20; i++) {
        EXPECT_EQ(cpu(0)->timer_at_ticks[PCPU_TIMER_LAPIC], i * period);
        cpu(0)->now_ticks = i * period + 7; // Noticed late.
        pcpu_slow_path(cpu(0), false);
        EXPECT_EQ(lapic_ack(cpu(0)), 0xef);
        lapic_eoi(cpu(0));
    }
    bench_end();
}

TEST(LapicTimer, DeadlineFiresAtTheFirstTickOfItsTsc) // SDM 10.5.4.1
{
    uint64_t at, value;

    start(1);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_LVT_TIMER, 0x400ee);
    EXPECT_EQ(hw_wrmsr(MSR_IA32_TSC_DEADLINE, 1234567), HW_DONE);
    at = cpu(0)->timer_at_ticks[PCPU_TIMER_LAPIC];
    EXPECT_EQ(at, pcpu_tsc_to_ticks(cpu(0), 1234567));
    cpu(0)->now_ticks = at - 1;
    EXPECT_LT(pcpu_tsc(cpu(0)), 1234567);
    cpu(0)->now_ticks = at;
    pcpu_slow_path(cpu(0), false);
    EXPECT_EQ(lapic_pending_vector(cpu(0)), 0xee);
    EXPECT_EQ(hw_rdmsr(MSR_IA32_TSC_DEADLINE, &value), HW_DONE);
    EXPECT_EQ(value, 0);
    bench_end();
}

TEST(LapicTimer, ZeroDisarmsAndOtherModesIgnoreTheDeadline)
{
    start(1);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_LVT_TIMER, 0x400ee);
    lapic_set_deadline(cpu(0), 99999);
    lapic_set_deadline(cpu(0), 0);
    EXPECT_EQ(cpu(0)->timer_at_ticks[PCPU_TIMER_LAPIC], TICKS_NEVER);
    lapic_set_deadline(cpu(0), 99999);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_LVT_TIMER, 0xee); // Leaving the mode disarms.
    EXPECT_EQ(cpu(0)->timer_at_ticks[PCPU_TIMER_LAPIC], TICKS_NEVER);
    lapic_set_deadline(cpu(0), 99999);
    EXPECT_EQ(cpu(0)->timer_at_ticks[PCPU_TIMER_LAPIC], TICKS_NEVER);
    bench_end();
}

TEST(LapicTimer, AWriteOfTheTscMovesAnArmedDeadline) // SDM 17.17.3
{
    uint64_t value, before;

    start(1);
    lapic_write_msr(cpu(0), MSR_IA32_X2APIC_LVT_TIMER, 0x400ee);
    lapic_set_deadline(cpu(0), 10000000);
    before = cpu(0)->timer_at_ticks[PCPU_TIMER_LAPIC];
    EXPECT_EQ(hw_wrmsr(MSR_IA32_TSC_ADJUST, 4000000), HW_DONE);
    EXPECT_EQ(before - cpu(0)->timer_at_ticks[PCPU_TIMER_LAPIC],
              pcpu_tsc_to_ticks(cpu(0), 10000000 + 4000000) - pcpu_tsc_to_ticks(cpu(0), 10000000));
    EXPECT_EQ(hw_wrmsr(MSR_IA32_TSC, 0), HW_DONE);
    EXPECT_EQ(hw_rdmsr(MSR_IA32_TSC_ADJUST, &value), HW_DONE);
    EXPECT_LT(pcpu_tsc(cpu(0)), 1000);
    bench_end();
}
