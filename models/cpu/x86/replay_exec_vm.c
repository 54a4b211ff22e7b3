// SPDX-License-Identifier: Apache-2.0
// Replay guests: memory, VM instructions, exceptions, and events that are not instructions.
#include "models/cpu/x86/replay_exec.h"
#include "models/cpu/x86/trace_exit.h"

#include "models/apic/assigned_msi.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "models/timer/tsc.h"

#define LENGTH replay_length(op)
// An `await` that lasts longer than this many milliseconds of simulated time is a mistake of the stream.
#define AWAIT_MS_MAX 1000u
#define NANOSECOND_KHZ 1000000u // A clock of one period each nanosecond.

// --- Memory (SDM 28.3.3). Addresses are linear where the program says so, else guest-physical. ---

static unsigned size_of(const struct replay_op *op)
{
    return op->args[1] ? (unsigned)op->args[1] : 4;
}

// What a result of `size` bytes makes of a register: 32-bit ones clear the upper half, smaller ones keep the
// rest.
static uint64_t merge(uint64_t before, uint64_t result, unsigned size)
{
    return size >= 4 ? result : result | (before & ~((1ull << (8 * size)) - 1));
}

EXEC(read)
{
    struct vmx *v = &c->x86->vmx;
    unsigned size = size_of(op);
    uint64_t value = 0;
    enum guest_access result;

    if (first_time(g))
        v->gpr.r[RDI] = op->args[0];
    result = guest_access(c, v->gpr.r[RDI], size, EPT_ACCESS_READ, &value);
    if (result != GUEST_DONE)
        return replay_access(c, op, result);
    v->gpr.r[RAX] = merge(v->gpr.r[RAX], value, size);
    return STEP_RETIRED;
}

EXEC(write)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g)) {
        v->gpr.r[RDI] = op->args[0];
        v->gpr.r[RAX] = op->args[2];
    }
    return replay_access(c, op,
                         guest_access(c, v->gpr.r[RDI], size_of(op), EPT_ACCESS_WRITE, &v->gpr.r[RAX]));
}

EXEC(fetch)
{
    uint64_t ignored = 0;

    first_time(g);
    return replay_access(c, op, guest_access(c, op->args[0], 1, EPT_ACCESS_FETCH, &ignored));
}

// Locked read-modify-writes of [rdi] (SDM 8.1.2); the old value comes in RAX.
static enum replay_step locked(struct pcpu *c, const struct replay_op *op, enum guest_rmw_kind what,
                               uint64_t operand)
{
    struct vmx *v = &c->x86->vmx;
    unsigned size = size_of(op);
    uint64_t old = v->gpr.r[RAX];
    enum guest_access result = guest_rmw(c, v->gpr.r[RDI], size, what, operand, &old);

    if (result == GUEST_DONE)
        v->gpr.r[RAX] = merge(v->gpr.r[RAX], old, size);
    return replay_access(c, op, result);
}

EXEC(xadd)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g)) {
        v->gpr.r[RDI] = op->args[0];
        v->gpr.r[RAX] = op->args[2];
    }
    return locked(c, op, GUEST_RMW_ADD, v->gpr.r[RAX]);
}

EXEC(xchg)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g)) {
        v->gpr.r[RDI] = op->args[0];
        v->gpr.r[RAX] = op->args[2];
    }
    return locked(c, op, GUEST_RMW_EXCHANGE, v->gpr.r[RAX]);
}

EXEC(cmpxchg)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g)) {
        v->gpr.r[RDI] = op->args[0];
        v->gpr.r[RAX] = op->args[2];
        v->gpr.r[RCX] = op->args[3];
    }
    return locked(c, op, GUEST_RMW_COMPARE, v->gpr.r[RCX]);
}

// --- VM instructions (SDM 25.1.2, 25.1.3, 30.3). ---

// The memory operand [rdi] of up to 16 bytes.
static struct insn_operand vm_operand(struct pcpu *c, struct replay_guest *g, uint64_t low, uint64_t high,
                                      uint64_t bytes)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g)) {
        v->gpr.r[RDI] = REPLAY_OPERAND_LINEAR;
        memcpy(g->operand, &low, 8);
        memcpy(g->operand + 8, &high, 8);
        g->operand_bytes = bytes;
    }
    return memory_operand(v, g);
}

static enum replay_step vm_pointer(struct pcpu *c, struct replay_guest *g, const struct replay_op *op,
                                   uint32_t reason)
{
    const struct insn_operand o = vm_operand(c, g, op->args[0], 0, 8);

    return replay_result(insn_vmx_pointer(c, LENGTH, reason, &o));
}

static enum replay_step vm_invalidate(struct pcpu *c, struct replay_guest *g, const struct replay_op *op,
                                      uint32_t reason, uint64_t low, uint64_t high)
{
    bool first = !g->at.started;
    const struct insn_operand o = vm_operand(c, g, low, high, 16);

    if (first)
        c->x86->vmx.gpr.r[RAX] = op->args[0];
    return replay_result(insn_vmx_invalidate(c, LENGTH, reason, RAX, &o));
}

EXEC(vmxon)
{
    return vm_pointer(c, g, op, EXIT_REASON_VMON);
}

EXEC(vmclear)
{
    return vm_pointer(c, g, op, EXIT_REASON_VMCLEAR);
}

EXEC(vmptrld)
{
    return vm_pointer(c, g, op, EXIT_REASON_VMPTRLD);
}

EXEC(invept)
{
    return vm_invalidate(c, g, op, EXIT_REASON_INVEPT, op->args[1], 0);
}

EXEC(invvpid)
{
    return vm_invalidate(c, g, op, EXIT_REASON_INVVPID, op->args[1] & 0xffff, op->args[2]);
}

EXEC(vmxoff)
{
    first_time(g);
    return replay_result(insn_vmx_plain(c, LENGTH, EXIT_REASON_VMOFF));
}

EXEC(vmlaunch)
{
    first_time(g);
    return replay_result(insn_vmx_plain(c, LENGTH, EXIT_REASON_VMLAUNCH));
}

EXEC(vmresume)
{
    if (first_time(g))
        c->x86->vmx.gpr = g->nested_gpr;
    return replay_result(insn_vmx_plain(c, LENGTH, EXIT_REASON_VMRESUME));
}

EXEC(vmcall)
{
    static const uint8_t order[] = {RAX, RBX, RCX, RDX, RSI};
    struct vmx *v = &c->x86->vmx;

    if (first_time(g))
        for (unsigned i = 0; i < 5; i++)
            v->gpr.r[order[i]] = op->args[i];
    return replay_result(insn_vmcall(c, LENGTH));
}

// Register operands: field in RDX, data in RAX.
static enum insn_result vmread(struct pcpu *c, struct replay_guest *g, const struct replay_op *op)
{
    const struct insn_operand o = register_operand(RAX);

    if (first_time(g))
        c->x86->vmx.gpr.r[RDX] = op->args[0];
    return insn_vmread(c, LENGTH, RDX, &o);
}

EXEC(vmread)
{
    return replay_result(vmread(c, g, op));
}

EXEC(vmwrite)
{
    const struct insn_operand o = register_operand(RAX);
    struct vmx *v = &c->x86->vmx;

    if (first_time(g)) {
        v->gpr.r[RDX] = op->args[0];
        v->gpr.r[RAX] = op->args[1];
    }
    return replay_result(insn_vmwrite(c, LENGTH, RDX, &o));
}

EXEC(branch)
{
    enum insn_result r = vmread(c, g, op);

    if (r == INSN_DONE)
        replay_branch(c, g, op);
    return replay_result(r);
}

void replay_branch(struct pcpu *c, struct replay_guest *g, const struct replay_op *op)
{
    if ((c->x86->vmx.gpr.r[RAX] & op->args[1]) == op->args[2])
        replay_goto(c, g, (uint32_t)op->args[3]);
    else
        replay_advance(c, g);
}

// --- Exceptions and worse. ---

EXEC(exception)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t rip = v->rip;

    // The program goes on behind it, whoever handles it; RIP stays on the instruction that faulted.
    replay_advance(c, g);
    v->rip = rip;
    return vmx_exception(c, (unsigned)op->args[0] & 31, (uint32_t)op->args[1], op->args[2]) ? STEP_EXIT
                                                                                            : STEP_FAULT;
}

EXEC(taskswitch)
{
    first_time(g);
    return replay_result(task_switch(&c->x86->vmx, (uint16_t)op->args[0], QUAL_TASK_SOURCE_JMP, LENGTH));
}

EXEC(triple)
{
    (void)op;
    first_time(g);
    return replay_result(insn_exit(c, EXIT_REASON_TRIPLE_FAULT, 0));
}

// --- Events from outside. ---

// Lets what is due now arrive.
static enum replay_step arrive_now(struct pcpu *c)
{
    pcpu_slow_path(c, false);
    return STEP_EVENT;
}

EXEC(intr)
{
    (void)g;
    pcpu_send(c, PCPU_MSG_FIXED, (uint8_t)op->args[0], false, c->now_ticks);
    return arrive_now(c);
}

EXEC(nmi)
{
    (void)g, (void)op;
    pcpu_send(c, PCPU_MSG_NMI, 0, false, c->now_ticks);
    return arrive_now(c);
}

EXEC(msi)
{
    uint64_t delay = clock_to_ticks(op->args[1], NANOSECOND_KHZ, c->uarch->clock.core_khz);
    uint32_t function = (uint32_t)((g->idtr_base - REPLAY_IDTR_BASE) >> 12);

    assigned_msi_send(c, function, (uint8_t)op->args[0], c->now_ticks + delay);
    return arrive_now(c);
}

EXEC(await)
{
    uint64_t reason = op->args[0];

    if ((g->seen[(reason >> 6) & 1] >> (reason & 63)) & 1) {
        g->await_until_ticks = 0;
        g->seen[0] = g->seen[1] = 0;
        return STEP_EVENT;
    }
    if (!g->await_until_ticks)
        g->await_until_ticks = c->now_ticks + clock_to_ticks(AWAIT_MS_MAX, 1, c->uarch->clock.core_khz);
    if (c->now_ticks >= g->await_until_ticks) {
        trace_vmx_violation(c, "await never satisfied", reason, op->line);
        g->await_until_ticks = 0;
        return STEP_EVENT;
    }
    g->at.gap_left_ticks = g->await_until_ticks - c->now_ticks;
    return STEP_FAULT;
}

EXEC(end)
{
    (void)op;
    // The program is over: the guest does nothing more by itself, as a halted one.
    g->at.gap_left_ticks = TICKS_NEVER;
    (void)c;
    return STEP_FAULT;
}

static EXEC(control)
{
    (void)c, (void)g, (void)op;
    return STEP_EVENT; // Arriving at an op has gone through these already.
}

const replay_exec_fn replay_exec[REPLAY_OP_COUNT] = {
    [REPLAY_CPUID] = exec_cpuid,
    [REPLAY_RDMSR] = exec_rdmsr,
    [REPLAY_WRMSR] = exec_wrmsr,
    [REPLAY_IN] = exec_in,
    [REPLAY_OUT] = exec_out,
    [REPLAY_HLT] = exec_hlt,
    [REPLAY_PAUSE] = exec_pause,
    [REPLAY_MONITOR] = exec_monitor,
    [REPLAY_MWAIT] = exec_mwait,
    [REPLAY_VMCALL] = exec_vmcall,
    [REPLAY_READ] = exec_read,
    [REPLAY_WRITE] = exec_write,
    [REPLAY_FETCH] = exec_fetch,
    [REPLAY_XADD] = exec_xadd,
    [REPLAY_XCHG] = exec_xchg,
    [REPLAY_CMPXCHG] = exec_cmpxchg,
    [REPLAY_MOVTOCR] = exec_movtocr,
    [REPLAY_MOVFROMCR] = exec_movfromcr,
    [REPLAY_CLTS] = exec_clts,
    [REPLAY_LMSW] = exec_lmsw,
    [REPLAY_MOVTODR] = exec_movtodr,
    [REPLAY_MOVFROMDR] = exec_movfromdr,
    [REPLAY_INVLPG] = exec_invlpg,
    [REPLAY_INVPCID] = exec_invpcid,
    [REPLAY_INVD] = exec_invd,
    [REPLAY_WBINVD] = exec_wbinvd,
    [REPLAY_XSETBV] = exec_xsetbv,
    [REPLAY_RDTSC] = exec_rdtsc,
    [REPLAY_RDTSCP] = exec_rdtscp,
    [REPLAY_RDPMC] = exec_rdpmc,
    [REPLAY_RDRAND] = exec_rdrand,
    [REPLAY_RDSEED] = exec_rdseed,
    [REPLAY_LGDT] = exec_lgdt,
    [REPLAY_SLDT] = exec_sldt,
    [REPLAY_STI] = exec_sti,
    [REPLAY_CLI] = exec_cli,
    [REPLAY_IRET] = exec_iret,
    [REPLAY_EOI] = exec_eoi,
    [REPLAY_EXCEPTION] = exec_exception,
    [REPLAY_TASKSWITCH] = exec_taskswitch,
    [REPLAY_TRIPLE] = exec_triple,
    [REPLAY_VMXON] = exec_vmxon,
    [REPLAY_VMXOFF] = exec_vmxoff,
    [REPLAY_VMCLEAR] = exec_vmclear,
    [REPLAY_VMPTRLD] = exec_vmptrld,
    [REPLAY_VMREAD] = exec_vmread,
    [REPLAY_VMWRITE] = exec_vmwrite,
    [REPLAY_VMLAUNCH] = exec_vmlaunch,
    [REPLAY_VMRESUME] = exec_vmresume,
    [REPLAY_INVEPT] = exec_invept,
    [REPLAY_INVVPID] = exec_invvpid,
    [REPLAY_INTR] = exec_intr,
    [REPLAY_NMI] = exec_nmi,
    [REPLAY_MSI] = exec_msi,
    [REPLAY_AWAIT] = exec_await,
    [REPLAY_LOOP] = exec_control,
    [REPLAY_ENDLOOP] = exec_control,
    [REPLAY_GOTO] = exec_control,
    [REPLAY_BRANCH] = exec_branch,
    [REPLAY_END] = exec_end,
};
