// SPDX-License-Identifier: Apache-2.0
// Instructions of replay guests: CPUID, MSRs, ports, time, idling. Each decides by the controls whether it
// exits (SDM 25.1); otherwise it does what it does.
#include "models/cpu/x86/replay_exec.h"
#include "models/cpu/x86/trace_exit.h"

#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "models/timer/tsc.h"
#include "spec/apic_bits.h"

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

struct vmexit *replay_exit(struct pcpu *c, const struct replay_op *op, uint32_t reason)
{
    struct vmexit *x = vmx_exit_begin(c, reason);

    x->insn_length = replay_length(op);
    return x;
}

EXEC(cpuid)
{
    struct hw_gprs *r = &c->x86->vmx.gpr;

    if (first_time(g)) {
        r->r[RAX] = (uint32_t)op->args[0];
        r->r[RCX] = (uint32_t)op->args[1];
    }
    return exit_for(c, op, EXIT_REASON_CPUID);
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

EXEC(rdmsr)
{
    struct hw_gprs *r = &c->x86->vmx.gpr;
    bool handled = false;
    uint64_t value = 0;
    uint32_t msr;

    if (first_time(g))
        r->r[RCX] = (uint32_t)op->args[0];
    msr = (uint32_t)r->r[RCX];
    if (msr_exits(c, msr, false))
        return exit_for(c, op, EXIT_REASON_MSR_READ);
    pcpu_charge_cycles(c, msrs_read_cycles(c, msr));
    vmx_sync(c);
    if (is_x2apic(msr) && vapic_read_msr(c, msr, &value, &handled))
        return STEP_EXIT;
    if (!handled && msr == MSR_IA32_TSC)
        value = vmx_guest_tsc(c);
    else if (!handled && msrs_read(c, msr, &value) != HW_DONE)
        return fault(c, GP_VECTOR, 0);
    set_edx_eax(r, value);
    return STEP_RETIRED;
}

// WRMSR of ECX, EDX:EAX, already in the registers.
static enum replay_step do_wrmsr(struct pcpu *c, const struct replay_op *op)
{
    const struct hw_gprs *r = &c->x86->vmx.gpr;
    uint32_t msr = (uint32_t)r->r[RCX];
    uint64_t value = (r->r[RAX] & 0xffffffff) | r->r[RDX] << 32;
    bool handled = false;

    if (msr_exits(c, msr, true))
        return exit_for(c, op, EXIT_REASON_MSR_WRITE);
    pcpu_charge_cycles(c, msrs_write_cycles(c, msr));
    vmx_sync(c);
    if (is_x2apic(msr) && vapic_write_msr(c, msr, value, &handled))
        return STEP_EXIT;
    if (c->x86->vmx.delivered)
        return STEP_FAULT; // #GP for a reserved bit of a virtual register.
    if (!handled && msrs_write(c, msr, value) != HW_DONE)
        return fault(c, GP_VECTOR, 0);
    return STEP_RETIRED;
}

EXEC(wrmsr)
{
    struct hw_gprs *r = &c->x86->vmx.gpr;

    if (first_time(g)) {
        bool relative = op->flags & REPLAY_ARG1_TSC_RELATIVE;

        r->r[RCX] = (uint32_t)op->args[0];
        set_edx_eax(r, op->args[1] + (relative ? vmx_guest_tsc(c) : 0));
    }
    return do_wrmsr(c, op);
}

EXEC(eoi)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t zero = 0, apic = APIC_DEFAULT_BASE + APIC_EOI;

    if (v->ctl.cpu2 & CPU2_VIRTUALIZE_APIC_ACCESSES) {
        // mov [rdi], eax: the guest's APIC page at its default place.
        if (first_time(g)) {
            v->gpr.r[RDI] = apic;
            v->gpr.r[RAX] = 0;
        }
        return replay_access(c, op, guest_access(c, apic, 4, EPT_ACCESS_WRITE, &zero));
    }
    if (first_time(g)) {
        v->gpr.r[RCX] = MSR_IA32_X2APIC_EOI;
        set_edx_eax(&v->gpr, 0);
    }
    return do_wrmsr(c, op);
}

// --- Ports (SDM 25.1.3, 24.6.4). ---

static bool io_exits(struct pcpu *c, uint16_t port, unsigned size)
{
    const struct vmx *v = &c->x86->vmx;

    if (!(v->ctl.cpu & CPU_USE_IO_BITMAPS))
        return v->ctl.cpu & CPU_UNCONDITIONAL_IO_EXITING;
    if (port + size > 0x10000u)
        return true; // Wraps around the 16-bit port space.
    for (unsigned i = 0; i < size; i++) {
        uint32_t p = port + i, bit = p & 0x7fff;
        uint64_t base = p & 0x8000 ? v->io_bitmap_b : v->io_bitmap_a;

        if ((mem_read64(c, base + bit / 64 * 8) >> (bit % 64)) & 1)
            return true;
    }
    return false;
}

static enum replay_step io_exit(struct pcpu *c, const struct replay_op *op, bool in, bool string)
{
    struct vmx *v = &c->x86->vmx;
    struct vmexit *x = replay_exit(c, op, EXIT_REASON_IO_INSTRUCTION);

    x->qualification = (op->args[1] - 1) | op->args[0] << QUAL_IO_PORT_SHIFT | (in ? QUAL_IO_IN : 0);
    if (!string)
        return STEP_EXIT;
    // SDM table 27-9: address size 64 bits, segment DS (OUTS).
    x->qualification |= QUAL_IO_STRING | QUAL_IO_REP;
    x->insn_info = 2u << INSN_INFO_ADDR_SIZE_SHIFT | (in ? 0u : 3u << INSN_INFO_SEG_SHIFT);
    x->has_linear = true;
    x->linear = v->gpr.r[in ? RDI : RSI];
    return STEP_EXIT;
}

// REP INS without an exit for the port. The destination is written to as by a store, and may exit; no port is
// read for an element that cannot be stored.
static enum replay_step rep_ins(struct pcpu *c, const struct replay_op *op)
{
    struct vmx *v = &c->x86->vmx;
    unsigned size = (unsigned)op->args[1];

    for (; v->gpr.r[RCX]; v->gpr.r[RCX]--, v->gpr.r[RDI] += size) {
        uint64_t to = v->gpr.r[RDI], last = to + size - 1, hpa, value;
        enum guest_access result = guest_translate(c, to, EPT_ACCESS_WRITE, &hpa);

        if (result == GUEST_DONE && last >> 12 != to >> 12)
            result = guest_translate(c, last, EPT_ACCESS_WRITE, &hpa);
        if (result == GUEST_DONE) {
            pcpu_charge_cycles(c, c->uarch->op.in_cycles);
            value = x86_port_in(c, (uint16_t)op->args[0], size);
            result = guest_access(c, to, size, EPT_ACCESS_WRITE, &value);
        }
        if (result != GUEST_DONE)
            return replay_access(c, op, result);
    }
    return STEP_RETIRED;
}

static enum replay_step rep_outs(struct pcpu *c, const struct replay_op *op)
{
    struct vmx *v = &c->x86->vmx;

    for (; v->gpr.r[RCX]; v->gpr.r[RCX]--, v->gpr.r[RSI] += op->args[1]) {
        pcpu_charge_cycles(c, c->uarch->op.out_cycles);
        x86_port_out(c, (uint16_t)op->args[0], (unsigned)op->args[1], (uint32_t)op->args[2]);
    }
    return STEP_RETIRED;
}

EXEC(in)
{
    struct vmx *v = &c->x86->vmx;
    bool string = op->args[2] != 0;

    if (first_time(g)) {
        v->gpr.r[RDX] = op->args[0];
        if (string) {
            v->gpr.r[RCX] = op->args[2];
            v->gpr.r[RDI] = op->args[3];
        }
    }
    if (string && !v->gpr.r[RCX])
        return STEP_RETIRED;
    if (io_exits(c, (uint16_t)op->args[0], (unsigned)op->args[1]))
        return io_exit(c, op, true, string);
    if (string)
        return rep_ins(c, op);
    pcpu_charge_cycles(c, c->uarch->op.in_cycles);
    v->gpr.r[RAX] = x86_port_in(c, (uint16_t)op->args[0], (unsigned)op->args[1]);
    return STEP_RETIRED;
}

EXEC(out)
{
    struct vmx *v = &c->x86->vmx;
    bool string = op->args[3] != 0;

    if (first_time(g)) {
        v->gpr.r[RDX] = op->args[0];
        v->gpr.r[RAX] = op->args[2];
        if (string) {
            v->gpr.r[RCX] = op->args[3];
            v->gpr.r[RSI] = REPLAY_OPERAND_LINEAR;
        }
        for (unsigned i = 0; i < sizeof g->operand; i++)
            g->operand[i] = (unsigned char)(op->args[2] >> i % op->args[1] * 8);
        g->operand_bytes = op->args[3] * op->args[1];
    }
    if (string && !v->gpr.r[RCX])
        return STEP_RETIRED;
    if (io_exits(c, (uint16_t)op->args[0], (unsigned)op->args[1]))
        return io_exit(c, op, false, string);
    if (string)
        return rep_outs(c, op);
    pcpu_charge_cycles(c, c->uarch->op.out_cycles);
    x86_port_out(c, (uint16_t)op->args[0], (unsigned)op->args[1], (uint32_t)v->gpr.r[RAX]);
    return STEP_RETIRED;
}

// --- Idling. ---

EXEC(hlt)
{
    struct vmx *v = &c->x86->vmx;

    first_time(g);
    if (v->ctl.cpu & CPU_HLT_EXITING)
        return exit_for(c, op, EXIT_REASON_HLT);
    pcpu_charge_cycles(c, c->uarch->op.hlt_enter_cycles);
    v->activity = ACTIVITY_HLT;
    return STEP_RETIRED;
}

// SDM 24.6.13, 25.1.3: PAUSEs closer together than the gap are one loop, which may last for the window.
static bool pause_loop_exits(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t now = pcpu_tsc(c), last = v->ple_last_tsc;

    if (!(v->ctl.cpu2 & CPU2_PAUSE_LOOP_EXITING))
        return false;
    v->ple_last_tsc = now;
    if (last == 0 || now - last > vmcs_get32(v, PLE_GAP)) {
        v->ple_first_tsc = now;
        return false;
    }
    return now - v->ple_first_tsc > vmcs_get32(v, PLE_WINDOW);
}

EXEC(pause)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g))
        g->pauses_left = op->args[0] ? op->args[0] : 1;
    if (v->ctl.cpu & CPU_PAUSE_EXITING)
        return exit_for(c, op, EXIT_REASON_PAUSE_INSTRUCTION);
    pcpu_charge_cycles(c, c->uarch->op.pause_cycles);
    if (pause_loop_exits(c)) {
        v->ple_last_tsc = 0;
        return exit_for(c, op, EXIT_REASON_PAUSE_INSTRUCTION);
    }
    return --g->pauses_left ? STEP_FAULT : STEP_RETIRED;
}

EXEC(monitor)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g)) {
        v->gpr.r[RAX] = REPLAY_OPERAND_LINEAR;
        v->gpr.r[RCX] = v->gpr.r[RDX] = 0;
    }
    if (v->ctl.cpu & CPU_MONITOR_EXITING)
        return exit_for(c, op, EXIT_REASON_MONITOR_INSTRUCTION);
    v->monitor_armed = true;
    return STEP_RETIRED;
}

EXEC(mwait)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g))
        v->gpr.r[RAX] = v->gpr.r[RCX] = 0;
    if (v->ctl.cpu & CPU_MWAIT_EXITING) {
        replay_exit(c, op, EXIT_REASON_MWAIT_INSTRUCTION)->qualification = v->monitor_armed;
        return STEP_EXIT;
    }
    // Nothing writes the monitored line: an armed MWAIT ends with an interrupt, as HLT does.
    if (v->monitor_armed)
        v->activity = ACTIVITY_HLT;
    v->monitor_armed = false;
    return STEP_RETIRED;
}

// --- Time, counters, random numbers. ---

EXEC(rdtsc)
{
    struct vmx *v = &c->x86->vmx;

    first_time(g);
    if (v->ctl.cpu & CPU_RDTSC_EXITING)
        return exit_for(c, op, EXIT_REASON_RDTSC);
    pcpu_charge_cycles(c, c->uarch->op.rdtsc_cycles);
    set_edx_eax(&v->gpr, vmx_guest_tsc(c));
    return STEP_RETIRED;
}

EXEC(rdtscp)
{
    struct vmx *v = &c->x86->vmx;

    first_time(g);
    if (!(v->ctl.cpu2 & CPU2_ENABLE_RDTSCP))
        return fault(c, UD_VECTOR, 0);
    if (v->ctl.cpu & CPU_RDTSC_EXITING)
        return exit_for(c, op, EXIT_REASON_RDTSCP);
    pcpu_charge_cycles(c, c->uarch->op.rdtscp_cycles);
    set_edx_eax(&v->gpr, vmx_guest_tsc(c));
    v->gpr.r[RCX] = MSR_VALUE(c, IA32_TSC_AUX);
    return STEP_RETIRED;
}

EXEC(rdpmc)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g))
        v->gpr.r[RCX] = (uint32_t)op->args[0];
    if (v->ctl.cpu & CPU_RDPMC_EXITING)
        return exit_for(c, op, EXIT_REASON_RDPMC);
    return fault(c, GP_VECTOR, 0); // The core has no performance counters: every index is out of range.
}

// SplitMix64 over the run's seed and the time: as random as a repeatable run can have it.
static uint64_t random_value(const struct pcpu *c)
{
    uint64_t z = c->machine->seed + c->now_ticks + 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static enum replay_step random_number(struct pcpu *c, const struct replay_op *op, uint32_t control,
                                      uint32_t reason)
{
    struct vmx *v = &c->x86->vmx;

    if (v->ctl.cpu2 & control) {
        // SDM table 27-12: operand register in bits 6:3, 1 in bits 12:11 is 32 bits.
        replay_exit(c, op, reason)->insn_info = (uint32_t)RAX << INSN_INFO_REG1_SHIFT | 1u << 11;
        return STEP_EXIT;
    }
    v->gpr.r[RAX] = (uint32_t)random_value(c);
    v->rflags |= X86_RFLAGS_CF;
    return STEP_RETIRED;
}

EXEC(rdrand)
{
    first_time(g);
    return random_number(c, op, CPU2_RDRAND_EXITING, EXIT_REASON_RDRAND);
}

EXEC(rdseed)
{
    first_time(g);
    return random_number(c, op, CPU2_RDSEED_EXITING, EXIT_REASON_RDSEED);
}
