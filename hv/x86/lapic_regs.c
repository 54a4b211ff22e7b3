// SPDX-License-Identifier: Apache-2.0
// Virtual local APIC: its registers as guests read and write them, by MSR and by memory
// (SDM 10.4.1, 10.12.1.2).
#include "hv/x86/lapic_state.h"

#include "hv/lib/string.h"

enum apic_access { ACCESS_NA, ACCESS_RO, ACCESS_WO, ACCESS_RW };

struct apic_row {
    u8 xapic, x2apic; // enum apic_access
    u8 x2apic_bits;
};

// By offset / 16. Rows that the table does not have are ACCESS_NA.
static const struct apic_row rows[64] = {
#define APIC_REG(offset, msr, name, xa, xb, bits, reset, section)                                            \
    [(offset) / 16] = {.xapic = ACCESS_##xa, .x2apic = ACCESS_##xb, .x2apic_bits = bits},
#include "spec/apic_regs.def"
};

// Registers that are not there fault as MSRs and are errors in memory. LVT CMCI comes with the seventh LVT
// entry, which LAPIC_VERSION does not have (SDM 10.4.8, 10.5.1).
static enum apic_access access_of(u32 index, bool x2apic)
{
    if (index >= ARRAY_COUNT(rows) || index * 16 == APIC_LVT_CMCI)
        return ACCESS_NA;
    return (enum apic_access)(x2apic ? rows[index].x2apic : rows[index].xapic);
}

static bool readable(u32 index, bool x2apic)
{
    enum apic_access access = access_of(index, x2apic);

    return access == ACCESS_RO || access == ACCESS_RW;
}

static bool writable(u32 index, bool x2apic)
{
    enum apic_access access = access_of(index, x2apic);

    return access == ACCESS_WO || access == ACCESS_RW;
}

bool lapic_msr_readable(u32 msr)
{
    return readable(msr - MSR_X2APIC_BASE, true);
}

#define LVT_COMMON (APIC_LVT_VECTOR_MASK | APIC_LVT_MASKED)
#define LVT_LINT (LVT_COMMON | APIC_LVT_MODE_MASK | APIC_LVT_ACTIVE_LOW | APIC_LVT_LEVEL)

struct lvt_row {
    u16 offset;
    u32 writable; // SDM 10.5.1, figure 10-8. Read-only bits (12, 14) are kept.
};
static const struct lvt_row lvt_rows[] = {
    {APIC_LVT_TIMER, LVT_COMMON | APIC_LVT_TIMER_MASK},
    {APIC_LVT_THERMAL, LVT_COMMON | APIC_LVT_MODE_MASK},
    {APIC_LVT_PMI, LVT_COMMON | APIC_LVT_MODE_MASK},
    {APIC_LVT_LINT0, LVT_LINT},
    {APIC_LVT_LINT1, LVT_LINT},
    {APIC_LVT_ERROR, LVT_COMMON},
};

static u32 read_register(struct lapic *a, u32 offset)
{
    switch (offset) {
    case APIC_PPR:
        return lapic_update_ppr(a);
    case APIC_TIMER_CURRENT:
        return guest_timer_current_count(a->v);
    default:
        return lapic_reg(a, offset);
    }
}

static void write_lvt(struct lapic *a, const struct lvt_row *row, u32 value)
{
    u32 old = lapic_reg(a, row->offset);

    value &= row->writable;
    if (!a->sw_enabled)
        value |= APIC_LVT_MASKED; // SDM 10.4.7.2.
    lapic_set_reg(a, row->offset, value | (old & (APIC_LVT_PENDING | APIC_LVT_REMOTE_IRR)));
    if (row->offset == APIC_LVT_TIMER)
        guest_timer_lvt_changed(a->v, old);
}

static void write_svr(struct lapic *a, u32 value)
{
    bool enable = (value & APIC_SVR_ENABLE) != 0;

    lapic_set_reg(a, APIC_SVR,
                  value & (APIC_SVR_VECTOR_MASK | APIC_SVR_ENABLE | APIC_SVR_FOCUS_DISABLE |
                           APIC_SVR_EOI_BROADCAST_SUPPRESS));
    if (enable == a->sw_enabled)
        return;
    a->sw_enabled = enable;
    if (!enable) {
        // SDM 10.4.7.2: all LVT entries become masked and stay so.
        for (u32 i = 0; i < ARRAY_COUNT(lvt_rows); i++)
            lapic_set_reg(a, lvt_rows[i].offset, lapic_reg(a, lvt_rows[i].offset) | APIC_LVT_MASKED);
        guest_timer_lvt_changed(a->v, lapic_reg(a, APIC_LVT_TIMER));
    }
    apic_map_rebuild(a->v->vcpu.vm);
    make_request(REQ_EVENT, &a->v->vcpu);
}

static void write_identity(struct lapic *a, u32 offset, u32 value)
{
    if (offset == APIC_DFR)
        value |= 0x0fffffff; // Bits 27:0 read as ones (SDM 10.6.2.2).
    else
        value &= 0xff000000;
    lapic_set_reg(a, offset, value);
    apic_map_rebuild(a->v->vcpu.vm);
    make_request(REQ_SCAN_IOAPIC, &a->v->vcpu);
}

// A write whose right to happen was checked.
static void write_register(struct lapic *a, u32 offset, u32 value)
{
    u32 before;

    switch (offset) {
    case APIC_ID:
    case APIC_LDR:
    case APIC_DFR:
        write_identity(a, offset, value);
        return;
    case APIC_TPR:
        lapic_set_reg(a, APIC_TPR, value & 0xff);
        lapic_update_ppr(a);
        make_request(REQ_EVENT, &a->v->vcpu);
        return;
    case APIC_EOI:
        lapic_eoi(a);
        return;
    case APIC_SVR:
        write_svr(a, value);
        return;
    case APIC_ESR: // SDM 10.5.3: the write shows what happened since the last one.
        lapic_set_reg(a, APIC_ESR, __atomic_exchange_n(&a->esr_next, 0, __ATOMIC_RELAXED));
        return;
    case APIC_ICR2:
        lapic_set_reg(a, APIC_ICR2, value & 0xff000000);
        return;
    case APIC_ICR:
        lapic_write_icr(a, value, lapic_reg(a, APIC_ICR2) >> 24);
        return;
    case APIC_TIMER_INITIAL:
        if ((lapic_reg(a, APIC_LVT_TIMER) & APIC_LVT_TIMER_MASK) == APIC_LVT_TIMER_TSC_DEADLINE)
            return; // SDM 10.5.4.1: ignored.
        lapic_set_reg(a, APIC_TIMER_INITIAL, value);
        guest_timer_initial_count(a->v);
        return;
    case APIC_TIMER_DIVIDE:
        before = guest_timer_current_count(a->v);
        lapic_set_reg(a, APIC_TIMER_DIVIDE, value & APIC_DIVIDE_MASK);
        guest_timer_divide_changed(a->v, before);
        return;
    default:
        break;
    }
    for (u32 i = 0; i < ARRAY_COUNT(lvt_rows); i++)
        if (lvt_rows[i].offset == offset) {
            write_lvt(a, &lvt_rows[i], value);
            return;
        }
}

// --- x2APIC: MSRs.

int lapic_msr_read(struct x86_vcpu *v, u32 msr, u64 *value)
{
    struct lapic *a = v->apic;
    u32 index = msr - MSR_X2APIC_BASE;

    if (a == NULL || a->mode != LAPIC_X2APIC || !readable(index, true))
        return 1;
    *value = read_register(a, index * 16);
    if (rows[index].x2apic_bits == 64)
        *value |= (u64)lapic_reg(a, APIC_ICR2) << 32;
    hw_trace(TP_KVM_APIC, 0, index * 16, *value, 0, 0, 0);
    return 0;
}

// Bits that WRMSR must find 0 (SDM 10.12.1.2, "reserved bits").
static u64 reserved_bits(const struct lapic *a, u32 offset)
{
    switch (offset) {
    case APIC_EOI:
    case APIC_ESR:
        return ~0ull;
    case APIC_ICR:
        return APIC_ICR_RESERVED_LOW | APIC_ICR_PENDING;
    case APIC_TPR:
    case APIC_SELF_IPI:
        return ~0xffull;
    case APIC_SVR:
        return ~(u64)(0x3ffu | APIC_SVR_EOI_BROADCAST_SUPPRESS);
    case APIC_TIMER_DIVIDE:
        return ~(u64)APIC_DIVIDE_MASK;
    default:
        break;
    }
    for (u32 i = 0; i < ARRAY_COUNT(lvt_rows); i++)
        if (lvt_rows[i].offset == offset)
            return ~(u64)(lvt_rows[i].writable | APIC_LVT_PENDING | APIC_LVT_REMOTE_IRR);
    (void)a;
    return ~0xffffffffull;
}

int lapic_msr_write(struct x86_vcpu *v, u32 msr, u64 value)
{
    struct lapic *a = v->apic;
    u32 index = msr - MSR_X2APIC_BASE, offset = index * 16;

    if (a == NULL || a->mode != LAPIC_X2APIC || !writable(index, true) || (value & reserved_bits(a, offset)))
        return 1;
    hw_trace(TP_KVM_APIC, 1, offset, value, 0, 0, 0);
    if (offset == APIC_ICR) {
        lapic_set_reg(a, APIC_ICR2, (u32)(value >> 32));
        lapic_write_icr(a, (u32)value, (u32)(value >> 32));
    } else if (offset == APIC_SELF_IPI) {
        lapic_write_icr(a, (u32)value | APIC_ICR_SELF | APIC_ICR_ASSERT, 0);
    } else {
        write_register(a, offset, (u32)value);
    }
    return 0;
}

// --- xAPIC: memory. Registers are 32 bits at 16-byte steps; the bytes between belong to none (SDM 10.4.1).

static void mmio_read(struct lapic *a, u32 offset, void *data, unsigned len)
{
    u32 value = 0;

    if (!readable(offset / 16, false)) {
        lapic_error(a, APIC_ESR_ILLEGAL_REGISTER);
    } else {
        value = read_register(a, offset & ~0xfu) >> (8 * (offset & 3));
        hw_trace(TP_KVM_APIC, 0, offset & ~0xfu, value, 0, 0, 0);
    }
    for (unsigned i = 0; i < len; i++)
        ((u8 *)data)[i] = (u8)(i < 4 ? value >> (8 * i) : 0);
}

static void mmio_write(struct lapic *a, u32 offset, const void *data, unsigned len)
{
    u32 value;

    // SDM 10.4.1: only aligned 32-bit accesses are defined; others do nothing here.
    if (len != 4 || (offset & 0xf) != 0)
        return;
    if (!writable(offset / 16, false)) {
        lapic_error(a, APIC_ESR_ILLEGAL_REGISTER);
        return;
    }
    memcpy(&value, data, 4);
    hw_trace(TP_KVM_APIC, 1, offset, value, 0, 0, 0);
    write_register(a, offset, value);
}

bool lapic_mmio(struct x86_vcpu *v, u64 gpa, bool write, void *data, unsigned len)
{
    struct lapic *a = v->apic;

    if (a == NULL || a->mode != LAPIC_XAPIC || gpa - (v->apic_base & APIC_BASE_ADDR_MASK) >= PAGE_SIZE)
        return false;
    u32 offset = (u32)(gpa & (PAGE_SIZE - 1));
    if (write)
        mmio_write(a, offset, data, len);
    else
        mmio_read(a, offset, data, len);
    return true;
}

int lapic_handle_apic_write(struct x86_vcpu *v, u32 offset)
{
    struct lapic *a = v->apic;
    u32 row = offset / 16;

    // The processor has written the page (SDM 29.4.3.3); what the write means is left to do.
    if (row >= ARRAY_COUNT(rows))
        return 1;
    u32 value = lapic_reg(a, offset);
    hw_trace(TP_KVM_APIC, 1, offset, value, 0, 0, 0);
    if (offset == APIC_ICR && a->mode == LAPIC_X2APIC)
        lapic_write_icr(a, value, lapic_reg(a, APIC_ICR2));
    else if (offset == APIC_SELF_IPI)
        lapic_write_icr(a, (value & 0xff) | APIC_ICR_SELF | APIC_ICR_ASSERT, 0);
    else
        write_register(a, offset, value);
    return 1;
}

int lapic_handle_apic_access(struct x86_vcpu *v, u64 qualification)
{
    // "Virtualize APIC accesses" is never on (apicv_adjust_controls), so no exit of this kind is ours to
    // shorten.
    (void)v;
    (void)qualification;
    return -1;
}
