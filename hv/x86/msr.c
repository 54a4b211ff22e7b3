// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/msr.h"
#include "hv/x86/kvmclock.h"
#include "hv/x86/lapic.h"
#include "hv/x86/nested.h"
#include "hv/x86/regs.h"
#include "spec/cpuid.h"
#include "spec/msrs.h"

#define MTRRCAP_GUEST (10ull | MTRRCAP_FIX | MTRRCAP_WC)
#define MC_BANKS 4u

// The access that a handler carries out.
struct msr_access {
    u32 msr, first;
    u16 offset; // Of the row's field in struct x86_vcpu.
    bool host;
    u64 value;
};
typedef int (*msr_fn)(struct x86_vcpu *v, struct msr_access *a);

static u64 *field_of(struct x86_vcpu *v, const struct msr_access *a)
{
    return (u64 *)(void *)((char *)v + a->offset) + (a->msr - a->first);
}

// --- Kinds.

static int load(struct x86_vcpu *v, struct msr_access *a)
{
    a->value = *field_of(v, a);
    return 0;
}

static int store(struct x86_vcpu *v, struct msr_access *a)
{
    *field_of(v, a) = a->value;
    return 0;
}

static int canonical_store(struct x86_vcpu *v, struct msr_access *a)
{
    return is_canonical(a->value) ? store(v, a) : 1;
}

static int ro(struct x86_vcpu *v, struct msr_access *a)
{
    return a->host ? store(v, a) : 1;
}

static int ro_zero(struct x86_vcpu *v, struct msr_access *a)
{
    (void)v;
    return !(a->host && a->value == 0);
}

static int zero(struct x86_vcpu *v, struct msr_access *a)
{
    (void)v;
    a->value = 0;
    return 0;
}

static int drop(struct x86_vcpu *v, struct msr_access *a)
{
    (void)v;
    (void)a;
    return 0;
}

// Of a feature bit that guests may lack; nothing else is done.
static int flush_write(struct x86_vcpu *v, struct msr_access *a)
{
    return !a->host && !guest_cpuid_has(v, 7, 0, CPUID_EDX, CPUID_L1D_FLUSH);
}

static int gp(struct x86_vcpu *v, struct msr_access *a)
{
    (void)v;
    (void)a;
    return 1;
}

// --- MSRs that are VMCS fields.

static u32 vmcs_field_of(u32 msr)
{
    switch (msr) {
    case MSR_IA32_SYSENTER_CS:
        return GUEST_SYSENTER_CS;
    case MSR_IA32_SYSENTER_ESP:
        return GUEST_SYSENTER_ESP;
    case MSR_IA32_SYSENTER_EIP:
        return GUEST_SYSENTER_EIP;
    case MSR_IA32_FS_BASE:
        return GUEST_FS_BASE;
    default:
        return GUEST_GS_BASE;
    }
}

static int vmcs_load(struct x86_vcpu *v, struct msr_access *a)
{
    (void)v;
    a->value = vmcs_read(vmcs_field_of(a->msr));
    return 0;
}

static int vmcs_store(struct x86_vcpu *v, struct msr_access *a)
{
    if (!is_canonical(a->value))
        return 1;
    vmcs_write(vmcs_field_of(a->msr), a->value);
    v->segs.avail = 0;
    return 0;
}

static int debugctl_write(struct x86_vcpu *v, struct msr_access *a)
{
    vmcs_write(GUEST_IA32_DEBUGCTL, a->value);
    return store(v, a);
}

static bool valid_pat(u64 value)
{
    for (unsigned i = 0; i < 8; i++) {
        u64 type = (value >> (8 * i)) & 0xff;

        if (type > MEMTYPE_UC_MINUS || type == 2 || type == 3)
            return false;
    }
    return true;
}

static int pat_write(struct x86_vcpu *v, struct msr_access *a)
{
    if (!valid_pat(a->value))
        return 1;
    if (x86_host_of(v)->caps.entry & ENTRY_LOAD_PAT)
        vmcs_write(GUEST_IA32_PAT, a->value);
    return store(v, a);
}

// --- MSRs switched with the thread.

static const u32 switched_numbers[SWITCHED_MSRS] = {
    [SWITCHED_STAR] = MSR_IA32_STAR,
    [SWITCHED_LSTAR] = MSR_IA32_LSTAR,
    [SWITCHED_FMASK] = MSR_IA32_FMASK,
    [SWITCHED_TSC_AUX] = MSR_IA32_TSC_AUX,
    [SWITCHED_KERNEL_GS_BASE] = MSR_IA32_KERNEL_GS_BASE,
};

u32 switched_msr_number(enum switched_msr m)
{
    return switched_numbers[m];
}

static enum switched_msr switched_of(u32 msr)
{
    unsigned i = 0;

    while (i < SWITCHED_MSRS - 1 && switched_numbers[i] != msr)
        i++;
    return (enum switched_msr)i;
}

static int switched_read(struct x86_vcpu *v, struct msr_access *a)
{
    enum switched_msr m = switched_of(a->msr);

    if (m == SWITCHED_KERNEL_GS_BASE && v->guest_msrs_loaded) // The guest writes it without an exit.
        (void)hw_rdmsr(a->msr, &v->switched_msr[m]);
    a->value = v->switched_msr[m];
    return 0;
}

static int switched_write(struct x86_vcpu *v, struct msr_access *a)
{
    enum switched_msr m = switched_of(a->msr);

    if (m != SWITCHED_STAR && m != SWITCHED_TSC_AUX && !is_canonical(a->value))
        return 1;
    v->switched_msr[m] = a->value;
    preempt_disable();
    if (v->guest_msrs_loaded && v->vcpu.loaded) {
        v->vcpu.cpu->arch->switched_msr[m] = a->value;
        (void)hw_wrmsr(a->msr, a->value);
    }
    preempt_enable();
    return 0;
}

static bool has_rdtscp(struct x86_vcpu *v, const struct msr_access *a)
{
    return a->host || guest_cpuid_has(v, 0x80000001, 0, CPUID_EDX, CPUID_RDTSCP);
}

static int tsc_aux_read(struct x86_vcpu *v, struct msr_access *a)
{
    return has_rdtscp(v, a) ? switched_read(v, a) : 1;
}

static int tsc_aux_write(struct x86_vcpu *v, struct msr_access *a)
{
    return has_rdtscp(v, a) ? switched_write(v, a) : 1;
}

// --- Time.

static int tsc_read(struct x86_vcpu *v, struct msr_access *a)
{
    a->value = guest_tsc(v, hw_rdtsc());
    return 0;
}

static void set_tsc_offset(struct x86_vcpu *v, u64 offset)
{
    hw_trace(TP_KVM_WRITE_TSC_OFFSET, v->vcpu.index, v->tsc_offset, offset, 0, 0, 0);
    v->tsc_offset = offset;
    vmcs_write(TSC_OFFSET, offset);
    kvmclock_update(v); // It counts the guest's TSC.
}

// A guest's write also moves TSC_ADJUST by as much (SDM 17.17.3).
static int tsc_write(struct x86_vcpu *v, struct msr_access *a)
{
    u64 delta = a->value - guest_tsc(v, hw_rdtsc());

    if (!a->host)
        v->tsc_adjust += delta;
    set_tsc_offset(v, v->tsc_offset + delta);
    return 0;
}

static int tsc_adjust_write(struct x86_vcpu *v, struct msr_access *a)
{
    if (!a->host) {
        if (!guest_cpuid_has(v, 7, 0, CPUID_EBX, CPUID_TSC_ADJUST))
            return 1;
        set_tsc_offset(v, v->tsc_offset + (a->value - v->tsc_adjust));
    }
    v->tsc_adjust = a->value;
    return 0;
}

static int deadline_read(struct x86_vcpu *v, struct msr_access *a)
{
    a->value = v->apic != NULL ? lapic_get_tsc_deadline(v) : 0;
    return 0;
}

static int deadline_write(struct x86_vcpu *v, struct msr_access *a)
{
    if (v->apic != NULL)
        lapic_set_tsc_deadline(v, a->value);
    return 0;
}

// --- Interrupt controller.

static int apic_base_write(struct x86_vcpu *v, struct msr_access *a)
{
    if (v->apic != NULL)
        return lapic_set_base(v, a->value, a->host);
    if (!a->host && (a->value & ~(APIC_BASE_ADDR_MASK | APIC_BASE_BSP | APIC_BASE_EN)))
        return 1;
    return store(v, a);
}

static int x2apic_read(struct x86_vcpu *v, struct msr_access *a)
{
    return v->apic != NULL ? lapic_msr_read(v, a->msr, &a->value) : 1;
}

static int x2apic_write(struct x86_vcpu *v, struct msr_access *a)
{
    return v->apic != NULL ? lapic_msr_write(v, a->msr, a->value) : 1;
}

// --- Modes and features.

static int efer_write(struct x86_vcpu *v, struct msr_access *a)
{
    return vcpu_set_efer(v, a->value, a->host);
}

static int feature_read(struct x86_vcpu *v, struct msr_access *a)
{
    return load(v, a);
}

static int feature_write(struct x86_vcpu *v, struct msr_access *a)
{
    if (!a->host && (v->feature_control & FEATURE_CONTROL_LOCK))
        return 1;
    return store(v, a);
}

static int vmx_read(struct x86_vcpu *v, struct msr_access *a)
{
    return nested_msr_read(v, a->msr, &a->value);
}

// The paravirtual clock has two pairs of numbers, each with its feature bit.
static bool has_clock(struct x86_vcpu *v, const struct msr_access *a)
{
    bool is_new = a->msr >= PV_MSR_KVM_WALL_CLOCK_NEW;
    u32 feature = is_new ? CPUID_KVM_CLOCKSOURCE2 : CPUID_KVM_CLOCKSOURCE;

    return a->host || guest_cpuid_has(v, 0x40000001, 0, CPUID_EAX, feature);
}

static int clock_read(struct x86_vcpu *v, struct msr_access *a)
{
    return has_clock(v, a) ? load(v, a) : 1;
}

static int wall_clock_write(struct x86_vcpu *v, struct msr_access *a)
{
    if (!has_clock(v, a))
        return 1;
    if (!a->host) // What user space restores was filled in when the guest wrote it.
        kvmclock_write_wall_clock(v, a->value);
    return store(v, a);
}

static int system_time_write(struct x86_vcpu *v, struct msr_access *a)
{
    if (!has_clock(v, a))
        return 1;
    store(v, a);
    kvmclock_update(v);
    return 0;
}

// Bit 0: the guest's kernel asks the host to poll (or not) when it halts.
static int poll_read(struct x86_vcpu *v, struct msr_access *a)
{
    if (!a->host && !guest_cpuid_has(v, 0x40000001, 0, CPUID_EAX, CPUID_KVM_POLL_CONTROL))
        return 1;
    return load(v, a);
}

static int poll_write(struct x86_vcpu *v, struct msr_access *a)
{
    if (!a->host && !guest_cpuid_has(v, 0x40000001, 0, CPUID_EAX, CPUID_KVM_POLL_CONTROL))
        return 1;
    return store(v, a);
}

// --- Memory types and machine checks: kept for the guest, without effect on EPT (write-back, guest's PAT
// ignored).

static int mtrrcap_read(struct x86_vcpu *v, struct msr_access *a)
{
    (void)v;
    a->value = MTRRCAP_GUEST;
    return 0;
}

static u64 *mtrr_fixed_of(struct x86_vcpu *v, u32 msr)
{
    if (msr == MSR_IA32_MTRR_FIX64K_00000)
        return &v->mtrr_fixed[0];
    if (msr <= MSR_IA32_MTRR_FIX16K_A0000)
        return &v->mtrr_fixed[1 + msr - MSR_IA32_MTRR_FIX16K_80000];
    return &v->mtrr_fixed[3 + msr - MSR_IA32_MTRR_FIX4K_C0000];
}

static int mtrr_fixed_read(struct x86_vcpu *v, struct msr_access *a)
{
    a->value = *mtrr_fixed_of(v, a->msr);
    return 0;
}

static int mtrr_fixed_write(struct x86_vcpu *v, struct msr_access *a)
{
    for (unsigned i = 0; i < 8; i++) {
        u64 type = (a->value >> (8 * i)) & 0xff;

        if (type > MEMTYPE_WB || type == 2 || type == 3)
            return 1;
    }
    *mtrr_fixed_of(v, a->msr) = a->value;
    return 0;
}

// Control registers hold all ones or nothing; status registers may only be cleared (SDM 15.3.2).
static int mc_write(struct x86_vcpu *v, struct msr_access *a)
{
    unsigned kind = (a->msr - a->first) % MC_BANKS;

    if (!a->host && kind == 0 && a->value != 0 && (a->value | (1ull << 10)) != ~0ull)
        return 1;
    if (!a->host && kind == 1 && a->value != 0)
        return 1;
    return store(v, a);
}

// --- The table.

struct msr_row {
    u32 first, last;
    msr_fn read, write;
    u64 reserved;
    u16 offset;
};
static const struct msr_row rows[] = {
#define MSR_ROW(first, last, read, write, field, reserved)                                                   \
    {first, last, read, write, reserved, offsetof(struct x86_vcpu, field)},
#include "hv/x86/msr_table.def"
};

static const struct msr_row *find_row(u32 msr)
{
    u32 low = 0, high = ARRAY_COUNT(rows);

    while (low < high) {
        u32 middle = (low + high) / 2;

        if (msr > rows[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ARRAY_COUNT(rows) && msr >= rows[low].first ? &rows[low] : NULL;
}

int msr_read(struct x86_vcpu *v, u32 msr, u64 *value, bool host_initiated)
{
    const struct msr_row *row = find_row(msr);

    if (unlikely(row == NULL))
        return 1;
    struct msr_access a = {.msr = msr, .first = row->first, .offset = row->offset, .host = host_initiated};
    int result = row->read(v, &a);

    *value = a.value;
    return result;
}

int msr_write(struct x86_vcpu *v, u32 msr, u64 value, bool host_initiated)
{
    const struct msr_row *row = find_row(msr);

    if (unlikely(row == NULL || (value & row->reserved)))
        return 1;
    struct msr_access a = {
        .msr = msr, .first = row->first, .offset = row->offset, .host = host_initiated, .value = value};

    return row->write(v, &a);
}

u32 msr_list(u32 *out, u32 max)
{
    u32 count = 0;

    for (u32 i = 0; i < ARRAY_COUNT(rows); i++) {
        // User space saves the local APIC by its page, and nothing of what only reads 0 or faults.
        if (rows[i].read == gp || rows[i].read == x2apic_read || rows[i].read == zero)
            continue;
        for (u32 msr = rows[i].first; msr <= rows[i].last; msr++, count++)
            if (count < max)
                out[count] = msr;
    }
    return count;
}

void msr_bitmap_init(struct x86_vcpu *v)
{
    static const u32 through[] = {MSR_IA32_FS_BASE,     MSR_IA32_GS_BASE,      MSR_IA32_KERNEL_GS_BASE,
                                  MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP};

    vmx_set_msr_intercept(v, MSR_IA32_TSC, false, true);
    for (unsigned i = 0; i < ARRAY_COUNT(through); i++)
        vmx_set_msr_intercept(v, through[i], false, false);
}

void msr_reset(struct x86_vcpu *v, bool init_event)
{
    if (init_event) // INIT keeps MSRs (SDM 9.1.1, table 9-1).
        return;
    v->pat = PAT_RESET;
    v->misc_enable = MISC_ENABLE_FAST_STRING | MISC_ENABLE_BTS_UNAVAILABLE | MISC_ENABLE_PEBS_UNAVAILABLE;
    v->mcg_cap = MC_BANKS;
    v->platform_info = 1ull << 31; // CPUID faulting is not offered; the ratio is the host's business.
    v->bios_sign_id = 1ull << 32;
    v->pv_poll_control = 1;
    if (x86_host_of(v)->caps.entry & ENTRY_LOAD_PAT)
        vmcs_write(GUEST_IA32_PAT, v->pat);
}
