// SPDX-License-Identifier: Apache-2.0
// Waiting, and the interrupt flag (SDM 25.1.3; 8.10; vol. 2: STI, CLI).
#include "models/cpu/x86/insn_common.h"

#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"

enum insn_result insn_hlt(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;

    if (insn_cpl(v))
        return insn_gp(c);
    if (v->ctl.cpu & CPU_HLT_EXITING)
        return insn_exit(c, EXIT_REASON_HLT, length);
    pcpu_charge_cycles(c, c->uarch->op.hlt_enter_cycles);
    v->activity = ACTIVITY_HLT;
    return INSN_DONE;
}

// SDM 24.6.13, 25.1.3: PAUSEs closer together than the gap are one loop, which may last for the window. Of
// ring 0 only.
static bool pause_loop_exits(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t now = pcpu_tsc(c), last = v->ple_last_tsc;

    if (!(v->ctl.cpu2 & CPU2_PAUSE_LOOP_EXITING) || insn_cpl(v))
        return false;
    v->ple_last_tsc = now;
    if (last == 0 || now - last > vmcs_get32(v, PLE_GAP)) {
        v->ple_first_tsc = now;
        return false;
    }
    return now - v->ple_first_tsc > vmcs_get32(v, PLE_WINDOW);
}

enum insn_result insn_pause(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;

    if (v->ctl.cpu & CPU_PAUSE_EXITING)
        return insn_exit(c, EXIT_REASON_PAUSE_INSTRUCTION, length);
    pcpu_charge_cycles(c, c->uarch->op.pause_cycles);
    if (!pause_loop_exits(c))
        return INSN_DONE;
    v->ple_last_tsc = 0;
    return insn_exit(c, EXIT_REASON_PAUSE_INSTRUCTION, length);
}

// --- MONITOR, MWAIT: undefined outside of ring 0 (SDM vol. 2). ---

enum insn_result insn_monitor(struct pcpu *c, unsigned length, const struct insn_operand *o)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t ignored, hpa = UINT64_MAX;
    enum insn_result r;

    if (insn_cpl(v))
        return insn_fault(c, UD_VECTOR, 0);
    if (v->ctl.cpu & CPU_MONITOR_EXITING)
        return insn_exit(c, EXIT_REASON_MONITOR_INSTRUCTION, length);
    if ((uint32_t)v->gpr.r[RCX])
        return insn_gp(c); // There are no extensions.
    r = insn_load(c, length, o, 0, 1, &ignored);
    if (r == INSN_DONE && !o->bytes) // A byte of a program's own is at no address: nobody stores there.
        r = insn_physical(c, length, o->segment, o->offset, &hpa);
    if (r == INSN_DONE)
        mem_monitor_arm(c, hpa, pcpu_wake);
    return r;
}

// SDM 25.3: with ECX bit 0 and interrupts masked, what is pending for the guest is already there to end the
// wait, and a wait for the window would be in vain.
static bool already_over(const struct vmx *v)
{
    return v->mwait_masked && !(v->rflags & X86_RFLAGS_IF) &&
           (v->virtual_interrupt || (v->ctl.cpu & CPU_INTERRUPT_WINDOW_EXITING));
}

enum insn_result insn_mwait(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;
    uint32_t extensions = x86_has(c, 5, 0, CPUID_ECX, CPUID_BITNR_MWAIT_INTERRUPT_BREAK) ? 1 : 0;

    if (insn_cpl(v))
        return insn_fault(c, UD_VECTOR, 0);
    if (v->ctl.cpu & CPU_MWAIT_EXITING) {
        insn_exit_begin(c, EXIT_REASON_MWAIT_INSTRUCTION, length)->qualification = mem_monitor_armed(c);
        return INSN_EXIT;
    }
    if ((uint32_t)v->gpr.r[RCX] & ~extensions)
        return insn_gp(c);
    v->mwait_masked = v->gpr.r[RCX] & 1;
    if (!mem_monitor_armed(c) || already_over(v))
        return INSN_DONE;
    // Whatever the hint in EAX is: C1, the state of HLT.
    pcpu_charge_cycles(c, c->uarch->op.hlt_enter_cycles);
    mem_store_drain(c);
    v->mwait = true;
    return INSN_DONE;
}

// --- RFLAGS.IF, or its virtual double (SDM vol. 2, STI table 4-19, CLI table 3-7; 20.3, 20.4). ---

// Code that IOPL does not let write IF may write VIF.
static bool virtual_flag(const struct vmx *v)
{
    uint64_t cr4 = v->cpu->x86->cr[4];

    return insn_v86(v) ? cr4 & X86_CR4_VME : insn_cpl(v) == 3 && (cr4 & X86_CR4_PVI);
}

enum insn_result insn_sti(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;

    (void)length;
    if (!insn_iopl_allows(v)) {
        if (!virtual_flag(v) || (v->rflags & X86_RFLAGS_VIP))
            return insn_gp(c);
        v->rflags |= X86_RFLAGS_VIF;
        return INSN_DONE;
    }
    pcpu_charge_cycles(c, c->uarch->op.sti_cycles);
    if (!(v->rflags & X86_RFLAGS_IF))
        v->blocking |= INTERRUPTIBILITY_STI;
    v->rflags |= X86_RFLAGS_IF;
    return INSN_DONE;
}

enum insn_result insn_cli(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;

    (void)length;
    if (!insn_iopl_allows(v)) {
        if (!virtual_flag(v))
            return insn_gp(c);
        v->rflags &= ~X86_RFLAGS_VIF;
        return INSN_DONE;
    }
    pcpu_charge_cycles(c, c->uarch->op.cli_cycles);
    v->rflags &= ~X86_RFLAGS_IF;
    return INSN_DONE;
}
