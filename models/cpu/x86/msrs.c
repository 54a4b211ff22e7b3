// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/x86_state.h"

#include "models/apic/lapic.h"
#include "models/cpu/uarch/uarch.h"
#include <assert.h>
#include <string.h>

#define X2APIC_LAST 0x8ffu

enum access { RW, RO, WO };

// 0: always there.
struct gate {
    bool gated;
    uint32_t leaf, subleaf;
    enum cpuid_reg reg;
    unsigned bit;
};

typedef uint64_t (*msr_read_fn)(struct pcpu *c, uint32_t msr);
// Checks beyond the reserved bits, and the effect; `commit` false: checks only. `row` is the value's place.
typedef enum hw_fault (*msr_write_fn)(struct pcpu *c, unsigned row, uint64_t value, bool commit);

struct msr_row {
    uint32_t number;
    enum access access;
    uint64_t reserved, reset;
    struct gate gate;
    msr_read_fn read;
    msr_write_fn write;
};

static enum hw_fault store(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    if (commit)
        c->x86->msrs.value[row] = value;
    return HW_DONE;
}

// --- Functions of single MSRs. ---

static uint64_t read_tsc(struct pcpu *c, uint32_t msr)
{
    (void)msr;
    return pcpu_tsc(c);
}

static enum hw_fault write_tsc(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    (void)row;
    // A write moves IA32_TSC_ADJUST by as much as the TSC (SDM 17.17.3).
    if (commit) {
        c->x86->tsc_adjust += value - pcpu_tsc(c);
        lapic_tsc_changed(c);
    }
    return HW_DONE;
}

static uint64_t read_tsc_adjust(struct pcpu *c, uint32_t msr)
{
    (void)msr;
    return c->x86->tsc_adjust;
}

static enum hw_fault write_tsc_adjust(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    (void)row;
    if (commit) {
        c->x86->tsc_adjust = value;
        lapic_tsc_changed(c);
    }
    return HW_DONE;
}

static uint64_t read_apic_base(struct pcpu *c, uint32_t msr)
{
    (void)msr;
    return lapic_base(c);
}

static enum hw_fault write_apic_base(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    enum hw_fault result = commit ? lapic_set_base(c, value) : HW_DONE;

    (void)row;
    if (commit && c->x86->vmx.in_guest)
        guest_space_load(c); // Its page is no ordinary memory.
    return result;
}

static enum hw_fault write_feature_control(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    if (c->x86->msrs.value[row] & FEATURE_CONTROL_LOCK)
        return HW_FAULT_GP; // SDM 23.7.
    return store(c, row, value, commit);
}

static enum hw_fault write_command(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    // Barriers of predictors and caches: their cost is the instruction's.
    (void)c, (void)row, (void)value, (void)commit;
    return HW_DONE;
}

static uint64_t read_platform_info(struct pcpu *c, uint32_t msr)
{
    (void)msr;
    return (c->uarch->clock.tsc_khz / 100000) << 8; // Bits 15:8: TSC ratio to 100 MHz (SDM vol. 4 2.8).
}

static enum hw_fault write_canonical(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    return x86_canonical(c, value) ? store(c, row, value, commit) : HW_FAULT_GP;
}

static bool memory_type_valid(unsigned type)
{
    return type == 0 || type == 1 || type == 4 || type == 5 || type == 6;
}

static enum hw_fault write_mtrr_fixed(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    for (unsigned i = 0; i < 8; i++)
        if (!memory_type_valid((unsigned)(value >> (8 * i)) & 0xff))
            return HW_FAULT_GP;
    return store(c, row, value, commit);
}

static enum hw_fault write_mtrr_def_type(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    return memory_type_valid((unsigned)value & 0xff) ? store(c, row, value, commit) : HW_FAULT_GP;
}

bool msrs_pat_valid(uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned type = (unsigned)(value >> (8 * i)) & 0xff;

        if (!memory_type_valid(type) && type != 7)
            return false;
    }
    return true;
}

static enum hw_fault write_pat(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    return msrs_pat_valid(value) ? store(c, row, value, commit) : HW_FAULT_GP;
}

static enum hw_fault write_mc_status(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    return value == 0 ? store(c, row, value, commit) : HW_FAULT_GP; // Only clearing (SDM 15.3.2.2).
}

static uint64_t read_deadline(struct pcpu *c, uint32_t msr)
{
    (void)msr;
    return lapic_deadline(c);
}

static enum hw_fault write_deadline(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    (void)row;
    if (commit)
        lapic_set_deadline(c, value);
    return HW_DONE;
}

static enum hw_fault write_efer(struct pcpu *c, unsigned row, uint64_t value, bool commit)
{
    uint64_t old = c->x86->msrs.value[row];

    // LME cannot change while paging is on; LMA is not writable (SDM 2.2.1, 4.1).
    if ((c->x86->cr[0] & X86_CR0_PG) && ((value ^ old) & EFER_LME))
        return HW_FAULT_GP;
    store(c, row, (value & ~EFER_LMA) | (old & EFER_LMA), commit);
    if (commit && c->x86->vmx.in_guest)
        guest_space_load(c); // NXE.
    return HW_DONE;
}

// --- The table. ---

#define ALWAYS                                                                                               \
    {                                                                                                        \
        false, 0, 0, CPUID_EAX, 0                                                                            \
    }
#define GATE(leaf, subleaf, reg, bit)                                                                        \
    {                                                                                                        \
        true, leaf, subleaf, CPUID_##reg, bit                                                                \
    }
static const struct msr_row rows[MSR_ROW_COUNT] = {
#define MSR_ROW(name, access, reserved, reset, gate, read, write)                                            \
    {MSR_##name, access, reserved, reset, gate, read, write},
#include "models/cpu/x86/msr_rows.def"
#undef MSR_ROW
};
#undef ALWAYS
#undef GATE

static int row_of(const struct pcpu *c, uint32_t msr)
{
    int low = 0, high = MSR_ROW_COUNT - 1;

    while (low <= high) {
        int mid = (low + high) / 2;

        if (rows[mid].number == msr)
            return c->x86->msrs.present[mid] ? mid : -1;
        if (rows[mid].number < msr)
            low = mid + 1;
        else
            high = mid - 1;
    }
    return -1;
}

static bool gate_open(const struct pcpu *c, const struct gate *g)
{
    return !g->gated || x86_has(c, g->leaf, g->subleaf, g->reg, g->bit);
}

void msrs_create(struct pcpu *c)
{
    for (unsigned i = 0; i < MSR_ROW_COUNT; i++) {
        assert(i == 0 || rows[i - 1].number < rows[i].number);
        c->x86->msrs.present[i] = gate_open(c, &rows[i].gate);
    }
}

void msrs_destroy(struct msr_file *f)
{
    (void)f; // Nothing of its own.
}

void msrs_reset(struct pcpu *c)
{
    for (unsigned i = 0; i < MSR_ROW_COUNT; i++)
        c->x86->msrs.value[i] = rows[i].reset;
}

enum hw_fault msrs_read(struct pcpu *c, uint32_t msr, uint64_t *value)
{
    int row;

    if (msr >= MSR_X2APIC_BASE && msr <= X2APIC_LAST)
        return lapic_read_msr(c, msr, value);
    if (msr >= MSR_IA32_VMX_BASIC && msr <= MSR_IA32_VMX_EXIT_CTLS2)
        return uarch_vmx_msr(c->uarch, msr, value) ? HW_DONE : HW_FAULT_GP;
    row = row_of(c, msr);
    if (row < 0 || rows[row].access == WO)
        return HW_FAULT_GP;
    *value = rows[row].read ? rows[row].read(c, msr) : c->x86->msrs.value[row];
    return HW_DONE;
}

static enum hw_fault write_row(struct pcpu *c, uint32_t msr, uint64_t value, bool commit)
{
    int row = row_of(c, msr);

    if (row < 0 || rows[row].access == RO || (value & rows[row].reserved))
        return HW_FAULT_GP;
    return (rows[row].write ? rows[row].write : store)(c, (unsigned)row, value, commit);
}

enum hw_fault msrs_write(struct pcpu *c, uint32_t msr, uint64_t value)
{
    if (msr >= MSR_X2APIC_BASE && msr <= X2APIC_LAST)
        return lapic_write_msr(c, msr, value);
    return write_row(c, msr, value, true);
}

bool msrs_writable(struct pcpu *c, uint32_t msr, uint64_t value)
{
    return write_row(c, msr, value, false) == HW_DONE;
}

// --- Costs and names. ---

uint64_t msrs_read_cycles(const struct pcpu *c, uint32_t msr)
{
    bool x2apic = msr >= MSR_X2APIC_BASE && msr <= X2APIC_LAST;

    return x2apic ? c->uarch->op.rdmsr_x2apic_cycles : c->uarch->op.rdmsr_cycles;
}

uint64_t msrs_write_cycles(const struct pcpu *c, uint32_t msr)
{
    switch (msr) {
    case MSR_IA32_X2APIC_ICR:
    case MSR_IA32_X2APIC_SELF_IPI:
        return c->uarch->op.wrmsr_icr_cycles;
    case MSR_IA32_X2APIC_EOI:
        return c->uarch->op.wrmsr_eoi_cycles;
    case MSR_IA32_TSC_DEADLINE:
        return c->uarch->op.wrmsr_deadline_cycles;
    case MSR_IA32_SPEC_CTRL:
        return c->uarch->op.wrmsr_spec_ctrl_cycles;
    default:
        return c->uarch->op.wrmsr_cycles;
    }
}

bool msrs_serializing(uint32_t msr)
{
    return msr != MSR_IA32_TSC_DEADLINE && (msr < MSR_X2APIC_BASE || msr > X2APIC_LAST);
}

const char *msrs_name(uint32_t msr)
{
    switch (msr) {
#define MSR(number, name, section)                                                                           \
    case number:                                                                                             \
        return #name;
#define PV(number, name, origin) MSR(number, name, origin)
#include "spec/msrs.def"
    default:
        return NULL;
    }
}
