// SPDX-License-Identifier: Apache-2.0
#include "models/apic/lapic_state.h"

#include "models/cpu/uarch/uarch.h"
#include "spec/x86_bits.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MSR_FIRST 0x800u

enum access { NA, RW, RO, WO };

struct reg_row {
    enum access xapic, x2apic;
    uint32_t reset;
};

static const struct reg_row rows[0x40] = {
#define APIC_REG(offset, msr, name, xapic, x2apic, bits, reset, section)                                     \
    [(offset) >> 4] = {xapic, x2apic, reset},
#include "spec/apic_regs.def"
};

// Bits that software may write; the others raise #GP in x2APIC mode and are dropped in xAPIC mode.
static const uint32_t writable[0x40] = {
    [APIC_TPR >> 4] = 0xff,
    [APIC_LDR >> 4] = 0xff000000,
    [APIC_DFR >> 4] = 0xf0000000,
    [APIC_SVR >> 4] = 0x11ff,
    [APIC_LVT_CMCI >> 4] = 0x107ff,
    [APIC_ICR >> 4] = 0xccfff,
    [APIC_LVT_TIMER >> 4] = 0x700ff,
    [APIC_LVT_THERMAL >> 4] = 0x107ff,
    [APIC_LVT_PMI >> 4] = 0x107ff,
    [APIC_LVT_LINT0 >> 4] = 0x1a7ff,
    [APIC_LVT_LINT1 >> 4] = 0x1a7ff,
    [APIC_LVT_ERROR >> 4] = 0x100ff,
    [APIC_TIMER_INITIAL >> 4] = 0xffffffff,
    [APIC_TIMER_DIVIDE >> 4] = APIC_DIVIDE_MASK,
    [APIC_SELF_IPI >> 4] = 0xff,
};

// Version 15H: highest LVT entry 6 (with CMCI), EOI broadcasts can be suppressed.
#define VERSION 0x01060015u

static bool readable(enum access a)
{
    return a == RW || a == RO;
}

static bool can_write(enum access a)
{
    return a == RW || a == WO;
}

// --- Vectors. ---

static int highest(const uint32_t bits[8])
{
    for (int i = 7; i >= 0; i--)
        if (bits[i])
            return i * 32 + 31 - __builtin_clz(bits[i]);
    return -1;
}

static void set_bit(uint32_t bits[8], unsigned n, bool value)
{
    if (value)
        bits[n / 32] |= 1u << (n % 32);
    else
        bits[n / 32] &= ~(1u << (n % 32));
}

uint8_t lapic_ppr(const struct pcpu *c)
{
    int isr = highest(c->lapic->isr);
    uint32_t tpr = lapic_value(c->lapic, APIC_TPR) & 0xff;
    uint32_t isrv = isr < 0 ? 0 : (uint32_t)isr;

    // SDM 10.8.3.1.
    return (uint8_t)((tpr & 0xf0) >= (isrv & 0xf0) ? tpr : isrv & 0xf0);
}

int lapic_pending_vector(const struct pcpu *c)
{
    int irr = highest(c->lapic->irr);

    if (irr < 0 || !(lapic_value(c->lapic, APIC_SVR) & APIC_SVR_ENABLE))
        return -1;
    return (irr & 0xf0) > (lapic_ppr(c) & 0xf0) ? irr : -1;
}

void lapic_update(struct pcpu *c)
{
    bool pending = lapic_pending_vector(c) >= 0;

    if (pending != c->irq_pending) {
        c->irq_pending = pending;
        pcpu_update_limit(c);
        pcpu_show(c);
    }
}

void lapic_error(struct pcpu *c, uint32_t esr_bit)
{
    uint32_t lvt = lapic_value(c->lapic, APIC_LVT_ERROR);

    c->lapic->esr_latched |= esr_bit;
    if (!(lvt & APIC_LVT_MASKED) && (lvt & 0xff) >= 16)
        lapic_accept(c, (uint8_t)lvt, false);
}

void lapic_accept(struct pcpu *c, uint8_t vector, bool level)
{
    struct lapic *l = c->lapic;

    if (!(l->base & APIC_BASE_EN) || !(lapic_value(l, APIC_SVR) & APIC_SVR_ENABLE))
        return; // A software-disabled APIC takes no fixed interrupts (SDM 10.4.7.2).
    if (vector < 16) {
        l->esr_latched |= APIC_ESR_RECEIVE_ILLEGAL_VECTOR;
        return;
    }
    set_bit(l->irr, vector, true);
    set_bit(l->tmr, vector, level);
    lapic_update(c);
}

uint8_t lapic_ack(struct pcpu *c)
{
    int vector = lapic_pending_vector(c);

    if (vector < 0)
        return (uint8_t)lapic_value(c->lapic, APIC_SVR);
    set_bit(c->lapic->irr, (unsigned)vector, false);
    set_bit(c->lapic->isr, (unsigned)vector, true);
    lapic_update(c);
    return (uint8_t)vector;
}

void lapic_eoi(struct pcpu *c)
{
    int vector = highest(c->lapic->isr);

    if (vector >= 0)
        set_bit(c->lapic->isr, (unsigned)vector, false);
    lapic_update(c);
}

uint8_t lapic_cr8(const struct pcpu *c)
{
    return (uint8_t)((lapic_value(c->lapic, APIC_TPR) >> 4) & 0xf);
}

void lapic_set_cr8(struct pcpu *c, uint8_t cr8)
{
    *lapic_reg(c->lapic, APIC_TPR) = (uint32_t)(cr8 & 0xf) << 4;
    lapic_update(c);
}

// --- Life and mode. ---

struct lapic *lapic_create(struct pcpu *c)
{
    c->lapic = calloc(1, sizeof *c->lapic);
    assert(c->lapic);
    lapic_reset(c);
    return c->lapic;
}

void lapic_destroy(struct lapic *l)
{
    free(l);
}

static void reset_registers(struct pcpu *c)
{
    struct lapic *l = c->lapic;
    uint64_t base = l->base;

    memset(l, 0, sizeof *l);
    l->base = base;
    for (unsigned i = 0; i < 0x40; i++)
        l->regs[i] = rows[i].reset;
    *lapic_reg(l, APIC_VERSION) = VERSION;
}

// The boot processor comes first among its host's.
static bool first_of_host(const struct pcpu *c)
{
    return c->index == 0 || c->machine->cpus[c->index - 1]->host != c->host;
}

void lapic_reset(struct pcpu *c)
{
    c->lapic->base = APIC_BASE_RESET_ADDR | APIC_BASE_EN | (first_of_host(c) ? APIC_BASE_BSP : 0);
    reset_registers(c);
    c->irq_pending = false;
    pcpu_timer_disarm(c, PCPU_TIMER_LAPIC);
}

enum lapic_mode lapic_mode(const struct pcpu *c)
{
    if (!(c->lapic->base & APIC_BASE_EN))
        return LAPIC_DISABLED;
    return c->lapic->base & APIC_BASE_EXTD ? LAPIC_X2APIC : LAPIC_XAPIC;
}

uint32_t lapic_id(const struct pcpu *c)
{
    return c->index;
}

uint64_t lapic_base(const struct pcpu *c)
{
    return c->lapic->base;
}

enum hw_fault lapic_set_base(struct pcpu *c, uint64_t value)
{
    uint64_t old = c->lapic->base;
    uint64_t mask = ((1ull << c->uarch->address.physical_bits) - 1) & ~0xfffull;
    bool en = value & APIC_BASE_EN, ext = value & APIC_BASE_EXTD;

    if (value & ~(mask | APIC_BASE_BSP | APIC_BASE_EXTD | APIC_BASE_EN))
        return HW_FAULT_GP;
    if (ext && !en)
        return HW_FAULT_GP;
    // From x2APIC mode only to disabled, to x2APIC mode only from xAPIC mode (SDM 10.12.5, figure 10-27).
    if ((old & APIC_BASE_EXTD) && en && !ext)
        return HW_FAULT_GP;
    if (!(old & APIC_BASE_EN) && ext)
        return HW_FAULT_GP;
    c->lapic->base = value;
    if (!en) {
        reset_registers(c);
        pcpu_timer_disarm(c, PCPU_TIMER_LAPIC);
    }
    lapic_update(c);
    return HW_DONE;
}

// --- Registers. ---

static uint32_t x2apic_ldr(const struct pcpu *c)
{
    uint32_t id = lapic_id(c);

    return (id >> 4) << 16 | 1u << (id & 0xf); // SDM 10.12.10.2.
}

static const uint32_t *family(const struct lapic *l, uint32_t offset)
{
    unsigned n = (offset >> 4) & 7;

    switch (offset & ~0x7fu) {
    case APIC_ISR0:
        return &l->isr[n];
    case APIC_TMR0:
        return &l->tmr[n];
    case APIC_IRR0:
        return &l->irr[n];
    default:
        return NULL;
    }
}

static uint32_t read_reg(struct pcpu *c, uint32_t offset)
{
    const uint32_t *word = family(c->lapic, offset);

    if (word)
        return *word;
    switch (offset) {
    case APIC_ID:
        return lapic_mode(c) == LAPIC_X2APIC ? lapic_id(c) : lapic_id(c) << 24;
    case APIC_LDR:
        return lapic_mode(c) == LAPIC_X2APIC ? x2apic_ldr(c) : lapic_value(c->lapic, APIC_LDR);
    case APIC_PPR:
        return lapic_ppr(c);
    case APIC_TIMER_CURRENT:
        return lapic_timer_count(c);
    case APIC_ICR:
        return (uint32_t)c->lapic->icr;
    default:
        return lapic_value(c->lapic, offset);
    }
}

static void write_svr(struct pcpu *c, uint32_t value)
{
    static const uint16_t lvts[] = {APIC_LVT_CMCI,  APIC_LVT_TIMER, APIC_LVT_THERMAL, APIC_LVT_PMI,
                                    APIC_LVT_LINT0, APIC_LVT_LINT1, APIC_LVT_ERROR};

    *lapic_reg(c->lapic, APIC_SVR) = value;
    if (!(value & APIC_SVR_ENABLE))
        for (unsigned i = 0; i < sizeof lvts / sizeof *lvts; i++)
            *lapic_reg(c->lapic, lvts[i]) |= APIC_LVT_MASKED; // SDM 10.4.7.2.
    lapic_update(c);
}

static void write_reg(struct pcpu *c, uint32_t offset, uint32_t value)
{
    struct lapic *l = c->lapic;
    uint32_t old = lapic_value(l, offset);

    // LVT entries stay masked while the APIC is software-disabled.
    if (offset >= APIC_LVT_TIMER && offset <= APIC_LVT_ERROR && !(lapic_value(l, APIC_SVR) & APIC_SVR_ENABLE))
        value |= APIC_LVT_MASKED;
    switch (offset) {
    case APIC_EOI:
        lapic_eoi(c);
        return;
    case APIC_ESR:
        *lapic_reg(l, APIC_ESR) = l->esr_latched;
        l->esr_latched = 0;
        return;
    case APIC_SVR:
        write_svr(c, value);
        return;
    case APIC_SELF_IPI:
        lapic_send_self(c, (uint8_t)value);
        return;
    default:
        *lapic_reg(l, offset) = value;
        break;
    }
    if (offset == APIC_TPR)
        lapic_update(c);
    else if (offset == APIC_LVT_TIMER)
        lapic_timer_lvt(c, old);
    else if (offset == APIC_TIMER_INITIAL)
        lapic_timer_start(c);
    else if (offset == APIC_TIMER_DIVIDE)
        lapic_timer_divider(c, old);
}

enum hw_fault lapic_read_msr(struct pcpu *c, uint32_t msr, uint64_t *value)
{
    uint32_t offset = (msr - MSR_FIRST) << 4;

    if (lapic_mode(c) != LAPIC_X2APIC || offset >= 0x400)
        return HW_FAULT_GP;
    if (!readable(rows[offset >> 4].x2apic))
        return HW_FAULT_GP;
    *value = offset == APIC_ICR ? c->lapic->icr : read_reg(c, offset);
    return HW_DONE;
}

enum hw_fault lapic_write_msr(struct pcpu *c, uint32_t msr, uint64_t value)
{
    uint32_t offset = (msr - MSR_FIRST) << 4;
    uint64_t allowed = writable[(offset >> 4) & 0x3f];

    if (lapic_mode(c) != LAPIC_X2APIC || offset >= 0x400)
        return HW_FAULT_GP;
    if (!can_write(rows[offset >> 4].x2apic))
        return HW_FAULT_GP;
    if (offset == APIC_ICR)
        allowed |= 0xffffffff00000000ull;
    if (value & ~allowed)
        return HW_FAULT_GP;
    if (offset == APIC_ICR) {
        c->lapic->icr = value;
        lapic_send_icr(c, value);
    } else {
        write_reg(c, offset, (uint32_t)value);
    }
    return HW_DONE;
}

uint32_t lapic_read_page(struct pcpu *c, uint32_t offset)
{
    offset &= 0xff0;
    if (lapic_mode(c) != LAPIC_XAPIC || offset >= 0x400)
        return 0;
    if (offset == APIC_ICR2)
        return (uint32_t)(c->lapic->icr >> 32);
    return read_reg(c, offset);
}

// In xAPIC mode the destination is bits 63:56 of the ICR.
static uint64_t x2apic_icr(uint64_t icr)
{
    uint32_t dest = (uint32_t)(icr >> 56);

    return (icr & 0xffffffff) | (uint64_t)(dest == 0xff ? UINT32_MAX : dest) << 32;
}

void lapic_write_page(struct pcpu *c, uint32_t offset, uint32_t value)
{
    struct lapic *l = c->lapic;

    offset &= 0xff0;
    if (lapic_mode(c) != LAPIC_XAPIC || offset >= 0x400)
        return;
    switch (offset) {
    case APIC_ICR2:
        l->icr = (l->icr & 0xffffffff) | (uint64_t)value << 32;
        return;
    case APIC_ICR:
        l->icr = (l->icr & 0xffffffff00000000ull) | (value & writable[APIC_ICR >> 4]);
        lapic_send_icr(c, x2apic_icr(l->icr));
        return;
    case APIC_LDR:
        *lapic_reg(l, APIC_LDR) = value & 0xff000000;
        return;
    case APIC_DFR:
        *lapic_reg(l, APIC_DFR) = value | 0x0fffffff;
        return;
    default:
        break;
    }
    if (can_write(rows[offset >> 4].xapic))
        write_reg(c, offset, value & writable[offset >> 4]);
}
