// SPDX-License-Identifier: Apache-2.0
// Identification, MSRs, time, counters, random numbers, extended control registers (SDM 25.1.2, 25.1.3; the
// pages of vol. 2).
#include "models/cpu/x86/insn_common.h"
#include "models/cpu/x86/xsave.h"

#include "models/cpu/uarch/uarch.h"
#include "models/cpu/x86/interp/flags.h"
#include "models/mem/mem.h"
#include "models/timer/tsc.h"

uint64_t vmx_guest_tsc(const struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;
    bool offsetting = v->ctl.cpu & CPU_USE_TSC_OFFSETTING;
    bool scaling = offsetting && (v->ctl.cpu2 & CPU2_USE_TSC_SCALING);

    if (!offsetting)
        return pcpu_tsc(c);
    return tsc_in_guest(pcpu_tsc(c), scaling ? vmcs_get(v, TSC_MULTIPLIER) : 1ull << 48,
                        vmcs_get(v, TSC_OFFSET));
}

enum insn_result insn_cpuid(struct pcpu *c, unsigned length)
{
    return insn_exit(c, EXIT_REASON_CPUID, length);
}

// --- MSRs (SDM 25.1.3, 24.6.9). ---

static bool msr_exits(struct pcpu *c, uint32_t msr, bool write)
{
    const struct vmx *v = &c->x86->vmx;
    uint64_t base = v->msr_bitmap;
    uint32_t bit = msr;

    if (!(v->ctl.cpu & CPU_USE_MSR_BITMAPS))
        return true;
    if (msr < MSR_BITMAP_RANGE) {
        base += write ? MSR_BITMAP_WRITE_LOW : MSR_BITMAP_READ_LOW;
    } else if (msr - MSR_BITMAP_HIGH_BASE < MSR_BITMAP_RANGE) {
        base += write ? MSR_BITMAP_WRITE_HIGH : MSR_BITMAP_READ_HIGH;
        bit -= MSR_BITMAP_HIGH_BASE;
    } else {
        return true;
    }
    return (mem_read64(c, base + bit / 64 * 8) >> (bit % 64)) & 1;
}

static bool is_x2apic(uint32_t msr)
{
    return msr >= MSR_X2APIC_BASE && msr < MSR_X2APIC_BASE + 0x100;
}

enum insn_result insn_rdmsr(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;
    uint32_t msr = (uint32_t)v->gpr.r[RCX];
    bool handled = false;
    uint64_t value = 0;

    if (insn_cpl(v))
        return insn_gp(c);
    if (msr_exits(c, msr, false))
        return insn_exit(c, EXIT_REASON_MSR_READ, length);
    pcpu_charge_cycles(c, msrs_read_cycles(c, msr));
    vmx_sync(c);
    if (is_x2apic(msr) && vapic_read_msr(c, msr, &value, &handled))
        return INSN_EXIT;
    if (!handled && msr == MSR_IA32_TSC)
        value = vmx_guest_tsc(c);
    else if (!handled && msrs_read(c, msr, &value) != HW_DONE)
        return insn_gp(c);
    insn_set_edx_eax(v, value);
    return INSN_DONE;
}

// What depends on the MSR's value and is kept beside it.
static void msr_written(struct pcpu *c, uint32_t msr)
{
    struct vmx *v = &c->x86->vmx;

    if (msr == MSR_IA32_FS_BASE)
        segment_changed(v, SEG_FS);
    else if (msr == MSR_IA32_GS_BASE)
        segment_changed(v, SEG_GS);
}

enum insn_result insn_wrmsr(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;
    uint32_t msr = (uint32_t)v->gpr.r[RCX];
    uint64_t value = (v->gpr.r[RAX] & 0xffffffff) | v->gpr.r[RDX] << 32;
    bool handled = false;

    if (insn_cpl(v))
        return insn_gp(c);
    if (msr_exits(c, msr, true))
        return insn_exit(c, EXIT_REASON_MSR_WRITE, length);
    pcpu_charge_cycles(c, msrs_write_cycles(c, msr));
    vmx_sync(c);
    if (is_x2apic(msr) && vapic_write_msr(c, msr, value, &handled))
        return INSN_EXIT;
    if (v->delivered)
        return INSN_FAULT; // #GP for a reserved bit of a virtual register.
    if (!handled && msrs_write(c, msr, value) != HW_DONE)
        return insn_gp(c);
    msr_written(c, msr);
    return INSN_DONE;
}

// --- Time and counters. ---

// CR4.TSD and CR4.PCE bind code outside of ring 0, in real-address mode nobody (SDM vol. 2, RDTSC, RDPMC).
static bool ring_0(const struct vmx *v)
{
    return insn_cpl(v) == 0 || !(v->cpu->x86->cr[0] & X86_CR0_PE);
}

static bool tsc_forbidden(const struct vmx *v)
{
    return !ring_0(v) && (v->cpu->x86->cr[4] & X86_CR4_TSD);
}

enum insn_result insn_rdtsc(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;

    if (tsc_forbidden(v))
        return insn_gp(c);
    if (v->ctl.cpu & CPU_RDTSC_EXITING)
        return insn_exit(c, EXIT_REASON_RDTSC, length);
    pcpu_charge_cycles(c, c->uarch->op.rdtsc_cycles);
    insn_set_edx_eax(v, vmx_guest_tsc(c));
    return INSN_DONE;
}

enum insn_result insn_rdtscp(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;

    if (!(v->ctl.cpu2 & CPU2_ENABLE_RDTSCP))
        return insn_fault(c, UD_VECTOR, 0);
    if (tsc_forbidden(v))
        return insn_gp(c);
    if (v->ctl.cpu & CPU_RDTSC_EXITING)
        return insn_exit(c, EXIT_REASON_RDTSCP, length);
    pcpu_charge_cycles(c, c->uarch->op.rdtscp_cycles);
    insn_set_edx_eax(v, vmx_guest_tsc(c));
    v->gpr.r[RCX] = MSR_VALUE(c, IA32_TSC_AUX);
    return INSN_DONE;
}

// In non-root operation RDPID hangs on "enable RDTSCP" too (SDM 25.3).
enum insn_result insn_rdpid(struct pcpu *c, unsigned length, unsigned reg)
{
    struct vmx *v = &c->x86->vmx;

    (void)length;
    if (!x86_has(c, 7, 0, CPUID_ECX, CPUID_BITNR_RDPID) || !(v->ctl.cpu2 & CPU2_ENABLE_RDTSCP))
        return insn_fault(c, UD_VECTOR, 0);
    pcpu_charge_cycles(c, c->uarch->op.rdtscp_cycles);
    insn_set_reg(v, reg, insn_64(v) ? 8 : 4, MSR_VALUE(c, IA32_TSC_AUX));
    return INSN_DONE;
}

enum insn_result insn_rdpmc(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;

    if (!ring_0(v) && !(c->x86->cr[4] & X86_CR4_PCE))
        return insn_gp(c);
    if (v->ctl.cpu & CPU_RDPMC_EXITING)
        return insn_exit(c, EXIT_REASON_RDPMC, length);
    return insn_gp(c); // The core has no performance counters: every index is out of range.
}

// --- Random numbers. ---

// SplitMix64 over the run's seed and the time: as random as a repeatable run can have it.
static uint64_t random_value(const struct pcpu *c)
{
    uint64_t z = c->machine->seed + c->now_ticks + 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static enum insn_result random_number(struct pcpu *c, unsigned length, unsigned reg, unsigned size,
                                      uint32_t control, uint32_t reason)
{
    struct vmx *v = &c->x86->vmx;

    if (v->ctl.cpu2 & control) {
        // SDM table 27-12: operand register in bits 6:3, operand size (0, 1, 2) in 12:11.
        insn_exit_begin(c, reason, length)->insn_info = reg << INSN_INFO_REG1_SHIFT | (size / 4) << 11;
        return INSN_EXIT;
    }
    insn_set_reg(v, reg, size, random_value(c));
    flags_set(v, FLAGS_ARITHMETIC, X86_RFLAGS_CF);
    return INSN_DONE;
}

enum insn_result insn_rdrand(struct pcpu *c, unsigned length, unsigned reg, unsigned size)
{
    return random_number(c, length, reg, size, CPU2_RDRAND_EXITING, EXIT_REASON_RDRAND);
}

enum insn_result insn_rdseed(struct pcpu *c, unsigned length, unsigned reg, unsigned size)
{
    return random_number(c, length, reg, size, CPU2_RDSEED_EXITING, EXIT_REASON_RDSEED);
}

// --- XCR0, PKRU. ---

enum insn_result insn_xgetbv(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;
    uint32_t index = (uint32_t)v->gpr.r[RCX];

    (void)length;
    if (!(c->x86->cr[4] & X86_CR4_OSXSAVE))
        return insn_fault(c, UD_VECTOR, 0);
    if (index > 1 || (index == 1 && !x86_has(c, 13, 1, CPUID_EAX, CPUID_BITNR_XGETBV_ECX1)))
        return insn_gp(c);
    // Index 1: without what is in its initial configuration. A program has no such state to look at.
    insn_set_edx_eax(v, index && !v->guest ? c->x86->xcr0 & xsave_in_use(c->x86, false) : c->x86->xcr0);
    return INSN_DONE;
}

enum insn_result insn_xsetbv(struct pcpu *c, unsigned length)
{
    const struct vmx *v = &c->x86->vmx;

    if (!v->guest && !(c->x86->cr[4] & X86_CR4_OSXSAVE))
        return insn_fault(c, UD_VECTOR, 0);
    if (insn_cpl(v))
        return insn_gp(c);
    return insn_exit(c, EXIT_REASON_XSETBV, length);
}

enum insn_result insn_rdpkru(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;

    (void)length;
    if (!(c->x86->cr[4] & X86_CR4_PKE))
        return insn_fault(c, UD_VECTOR, 0);
    if ((uint32_t)v->gpr.r[RCX])
        return insn_gp(c);
    insn_set_edx_eax(v, c->x86->pkru);
    return INSN_DONE;
}

enum insn_result insn_wrpkru(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;

    (void)length;
    if (!(c->x86->cr[4] & X86_CR4_PKE))
        return insn_fault(c, UD_VECTOR, 0);
    if ((uint32_t)v->gpr.r[RCX] || (uint32_t)v->gpr.r[RDX])
        return insn_gp(c);
    c->x86->pkru = (uint32_t)v->gpr.r[RAX];
    guest_space_pkru(c);
    return INSN_DONE;
}
