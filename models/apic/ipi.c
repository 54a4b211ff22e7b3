// SPDX-License-Identifier: Apache-2.0
// Interrupt messages between processors (SDM 10.6, 10.12.9, 10.12.10).
#include "models/apic/lapic_state.h"

#include "models/cpu/uarch/uarch.h"

enum shorthand { TO_DESTINATION, TO_SELF, TO_ALL, TO_OTHERS };

#define ICR_DELIVERY(icr) ((unsigned)((icr) >> 8) & 7u)
#define ICR_SHORTHAND(icr) ((unsigned)((icr) >> 18) & 3u)

static bool logical_match(const struct pcpu *to, uint32_t dest)
{
    uint32_t id = lapic_id(to);
    uint32_t ldr = lapic_value(to->lapic, APIC_LDR) >> 24;

    if (lapic_mode(to) == LAPIC_X2APIC)
        return dest >> 16 == id >> 4 && ((dest >> (id & 0xf)) & 1);
    if (lapic_value(to->lapic, APIC_DFR) >> 28 == 0xf)
        return (ldr & dest) != 0;
    return ldr >> 4 == dest >> 4 && (ldr & dest & 0xf); // Cluster model.
}

static bool is_target(const struct pcpu *from, const struct pcpu *to, uint64_t icr)
{
    uint32_t dest = (uint32_t)(icr >> 32);

    if (to->host != from->host)
        return false;
    switch ((enum shorthand)ICR_SHORTHAND(icr)) {
    case TO_SELF:
        return to == from;
    case TO_ALL:
        return true;
    case TO_OTHERS:
        return to != from;
    case TO_DESTINATION:
        break;
    }
    if (dest == UINT32_MAX)
        return true;
    return icr & APIC_ICR_LOGICAL ? logical_match(to, dest) : lapic_id(to) == dest;
}

static void send_one(struct pcpu *from, struct pcpu *to, uint64_t icr)
{
    uint64_t latency = to == from ? 0 : from->uarch->op.ipi_cycles * TICKS_PER_CYCLE;
    uint64_t at = from->now_ticks + latency;
    uint8_t vector = (uint8_t)icr;

    switch (ICR_DELIVERY(icr)) {
    case APIC_DM_FIXED:
    case APIC_DM_LOWEST:
        pcpu_send(to, PCPU_MSG_FIXED, vector, (icr & APIC_ICR_LEVEL) != 0, at);
        break;
    case APIC_DM_SMI:
        pcpu_send(to, PCPU_MSG_SMI, 0, false, at);
        break;
    case APIC_DM_NMI:
        pcpu_send(to, PCPU_MSG_NMI, 0, false, at);
        break;
    case APIC_DM_INIT:
        // INIT level de-assert has no effect (SDM 10.6.1).
        if (!(icr & APIC_ICR_LEVEL) || (icr & APIC_ICR_ASSERT))
            pcpu_send(to, PCPU_MSG_INIT, 0, false, at);
        break;
    case APIC_DM_STARTUP:
        pcpu_send(to, PCPU_MSG_SIPI, vector, false, at);
        break;
    default:
        break;
    }
}

void lapic_send_icr(struct pcpu *c, uint64_t icr)
{
    const struct machine *m = c->machine;
    unsigned delivery = ICR_DELIVERY(icr);
    struct pcpu *lowest = NULL;

    if ((delivery == APIC_DM_FIXED || delivery == APIC_DM_LOWEST) && (uint8_t)icr < 16) {
        lapic_error(c, APIC_ESR_SEND_ILLEGAL_VECTOR);
        return;
    }
    for (uint32_t i = 0; i < m->cpu_count; i++) {
        struct pcpu *to = m->cpus[i];

        if (!is_target(c, to, icr))
            continue;
        if (delivery != APIC_DM_LOWEST) {
            send_one(c, to, icr);
            continue;
        }
        // Lowest priority: the smallest PPR, of equal ones the first (SDM 10.6.2.4).
        if (!lowest || lapic_ppr(to) < lapic_ppr(lowest))
            lowest = to;
    }
    if (lowest)
        send_one(c, lowest, icr);
}

void lapic_send_self(struct pcpu *c, uint8_t vector)
{
    if (vector < 16)
        lapic_error(c, APIC_ESR_SEND_ILLEGAL_VECTOR);
    else
        lapic_accept(c, vector, false);
}
