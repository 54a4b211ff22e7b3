// SPDX-License-Identifier: Apache-2.0
// The timer of the local APIC (SDM 10.5.4): one-shot and periodic counts of the bus clock, and TSC deadlines.
#include "models/apic/lapic_state.h"

#include "models/cpu/uarch/uarch.h"
#include "models/timer/tsc.h"

// Where CPUID leaf 15H names no crystal, the timer counts the 100 MHz bus clock (SDM 10.5.4).
#define BUS_KHZ 100000u

static uint64_t timer_khz(const struct pcpu *c)
{
    return c->uarch->clock.crystal_khz ? c->uarch->clock.crystal_khz : BUS_KHZ;
}

static unsigned divisor(uint32_t conf)
{
    unsigned code = (conf & 3) | (conf & 8) >> 1;

    return code == 7 ? 1 : 2u << code; // SDM figure 10-10.
}

static unsigned mode_of(const struct pcpu *c)
{
    return LVT_TIMER_MODE(lapic_value(c->lapic, APIC_LVT_TIMER));
}

static uint64_t period_ticks(const struct pcpu *c)
{
    uint64_t count = lapic_value(c->lapic, APIC_TIMER_INITIAL);

    return clock_to_ticks(count * divisor(lapic_value(c->lapic, APIC_TIMER_DIVIDE)), timer_khz(c),
                          c->uarch->clock.core_khz);
}

static void fire(struct pcpu *c)
{
    struct lapic *l = c->lapic;
    uint32_t lvt = lapic_value(l, APIC_LVT_TIMER);

    pcpu_timer_disarm(c, PCPU_TIMER_LAPIC);
    if (LVT_TIMER_MODE(lvt) == TIMER_TSC_DEADLINE)
        l->deadline = 0;
    if (LVT_TIMER_MODE(lvt) == TIMER_PERIODIC && period_ticks(c)) {
        // From the exact end of the last period: no drift, however late it was noticed.
        l->timer_start_ticks += period_ticks(c);
        pcpu_timer_arm(c, PCPU_TIMER_LAPIC, l->timer_start_ticks + period_ticks(c), fire);
    }
    if (!(lvt & APIC_LVT_MASKED))
        lapic_accept(c, (uint8_t)lvt, false);
}

void lapic_timer_start(struct pcpu *c)
{
    struct lapic *l = c->lapic;

    if (mode_of(c) == TIMER_TSC_DEADLINE)
        return; // Writes to the initial count are ignored (SDM 10.5.4.1).
    pcpu_timer_disarm(c, PCPU_TIMER_LAPIC);
    if (!lapic_value(l, APIC_TIMER_INITIAL))
        return;
    l->timer_start_ticks = c->now_ticks;
    pcpu_timer_arm(c, PCPU_TIMER_LAPIC, c->now_ticks + period_ticks(c), fire);
}

uint32_t lapic_timer_count(const struct pcpu *c)
{
    const struct lapic *l = c->lapic;
    uint32_t initial = lapic_value(l, APIC_TIMER_INITIAL);
    uint64_t counted;

    if (mode_of(c) == TIMER_TSC_DEADLINE || c->timer_at_ticks[PCPU_TIMER_LAPIC] == TICKS_NEVER)
        return 0;
    counted = clock_from_ticks(c->now_ticks - l->timer_start_ticks, timer_khz(c), c->uarch->clock.core_khz) /
              divisor(lapic_value(l, APIC_TIMER_DIVIDE));
    return counted >= initial ? 0 : (uint32_t)(initial - counted);
}

void lapic_timer_lvt(struct pcpu *c, uint32_t old_lvt)
{
    bool was = LVT_TIMER_MODE(old_lvt) == TIMER_TSC_DEADLINE;
    bool is = mode_of(c) == TIMER_TSC_DEADLINE;

    if (was == is)
        return;
    // A change to or from TSC-deadline mode disarms the timer (SDM 10.5.4.1).
    c->lapic->deadline = 0;
    *lapic_reg(c->lapic, APIC_TIMER_INITIAL) = 0;
    pcpu_timer_disarm(c, PCPU_TIMER_LAPIC);
}

void lapic_timer_divider(struct pcpu *c, uint32_t old_divider)
{
    if (lapic_value(c->lapic, APIC_TIMER_DIVIDE) == old_divider)
        return;
    if (mode_of(c) != TIMER_TSC_DEADLINE && c->timer_at_ticks[PCPU_TIMER_LAPIC] != TICKS_NEVER)
        lapic_timer_start(
            c); // The count starts over under the new clock: our choice, SDM 10.5.4 leaves it open.
}

uint64_t lapic_deadline(const struct pcpu *c)
{
    return mode_of(c) == TIMER_TSC_DEADLINE ? c->lapic->deadline : 0;
}

static void arm_deadline(struct pcpu *c)
{
    uint64_t at = pcpu_tsc_to_ticks(c, c->lapic->deadline);

    pcpu_timer_arm(c, PCPU_TIMER_LAPIC, at < c->now_ticks ? c->now_ticks : at, fire);
}

void lapic_set_deadline(struct pcpu *c, uint64_t tsc)
{
    if (mode_of(c) != TIMER_TSC_DEADLINE)
        return;
    c->lapic->deadline = tsc;
    if (tsc)
        arm_deadline(c);
    else
        pcpu_timer_disarm(c, PCPU_TIMER_LAPIC);
}

void lapic_tsc_changed(struct pcpu *c)
{
    if (mode_of(c) == TIMER_TSC_DEADLINE && c->lapic->deadline)
        arm_deadline(c);
}
