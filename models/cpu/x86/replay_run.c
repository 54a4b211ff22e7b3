// SPDX-License-Identifier: Apache-2.0
// The cursor of a replay guest: time, control flow, handlers, entry and exit.
#include "models/cpu/x86/interp/interp.h"
#include "models/cpu/x86/native_guest_run.h"
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/trace_exit.h"
#include "models/cpu/x86/x86_state.h"

#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include <assert.h>

// More control ops in a row than this without an event: the stream loops without letting time pass.
#define CONTROL_STEPS_MAX 1000000u
#define STI_OR_MOV_SS (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)
// Where the handlers that a program does not have would stand.
#define BUILT_IN_RIP 0xffffffff81f00000ull

// Handlers of vectors without one: an interrupt is acknowledged, an exception is fixed up.
static const struct replay_op interrupt_handler[] = {
    {.kind = REPLAY_EOI, .length = 2}, {.kind = REPLAY_IRET, .length = 2}, {.kind = REPLAY_END}};
static const struct replay_op exception_handler[] = {{.kind = REPLAY_IRET, .length = 2},
                                                     {.kind = REPLAY_END}};

uint64_t replay_rip(const struct replay_guest *g)
{
    uint64_t rip = g->at.detour;

    if (!rip)
        return g->rip[g->at.op];
    for (uint32_t i = 0; i < g->at.op; i++)
        rip += replay_length(&g->at.ops[i]);
    return rip;
}

// --- Control flow. ---

static void finish(struct pcpu *c, struct replay_guest *g)
{
    const struct replay_set *set = c->machine->replays;

    if (g->done)
        return;
    g->done = true;
    if (set->done)
        set->done(set->done_ctx, g->idtr_base);
}

// Carries out one control op; false: the op at the cursor is none.
static bool control(struct replay_guest *g)
{
    const struct replay_op *op = replay_current(g);
    uint32_t i = g->at.op;

    switch (op->kind) {
    case REPLAY_LOOP:
        g->loop_left[i] = op->args[0] ? op->args[0] : UINT64_MAX;
        g->at.op = i + 1;
        return true;
    case REPLAY_ENDLOOP:
        i = g->loop_end[i];
        if (g->loop_left[i] != UINT64_MAX)
            g->loop_left[i]--;
        g->at.op = g->loop_left[i] ? i + 1 : g->at.op + 1;
        return true;
    case REPLAY_GOTO:
        g->at.op = (uint32_t)op->args[0];
        return true;
    default:
        return false;
    }
}

// Arrives at g->at.op: goes through control ops to an event, loads its gap.
static void arrive(struct pcpu *c, struct replay_guest *g)
{
    uint64_t gap = replay_current(g)->gap_cycles;
    uint32_t steps = 0;

    g->at.started = false;
    while (!g->at.detour && control(g)) {
        gap += replay_current(g)->gap_cycles;
        if (++steps > CONTROL_STEPS_MAX) {
            trace_vmx_violation(c, "guest program loops without an event", g->idtr_base,
                                replay_current(g)->line);
            g->at.op = g->program->op_count - 1;
        }
    }
    g->at.gap_left_ticks = gap * TICKS_PER_CYCLE;
    c->x86->vmx.rip = replay_rip(g);
    if (!g->at.detour && replay_current(g)->kind == REPLAY_END)
        finish(c, g);
}

void replay_goto(struct pcpu *c, struct replay_guest *g, uint32_t op)
{
    g->at.op = op;
    arrive(c, g);
}

void replay_advance(struct pcpu *c, struct replay_guest *g)
{
    if (g->native && !g->at.detour)
        native_guest_retire(g);
    else if (replay_current(g)->kind != REPLAY_END)
        g->at.op++;
    arrive(c, g);
}

bool replay_return(struct pcpu *c, struct replay_guest *g)
{
    const struct replay_frame *f;

    if (!g->frame_count)
        return false;
    f = &g->frames[--g->frame_count];
    g->at = f->back;
    c->x86->vmx.gpr = f->gpr;
    memcpy(g->operand, f->operand, sizeof g->operand);
    g->operand_bytes = f->operand_bytes;
    if (replay_current(g)->kind == REPLAY_AWAIT)
        g->at.gap_left_ticks = 0; // Look again: it may have come meanwhile.
    if (f->interrupts)
        c->x86->vmx.rflags |= X86_RFLAGS_IF;
    c->x86->vmx.rip = replay_rip(g);
    return true;
}

// --- Events. ---

static bool is_fault(uint32_t info)
{
    uint32_t vector = info & INTR_INFO_VECTOR_MASK;

    return (info & INTR_INFO_TYPE_MASK) == INTR_TYPE_HARD_EXCEPTION && vector != DB_VECTOR;
}

static bool has_handler(const struct replay_guest *g, uint32_t vector)
{
    return g->native ? native_guest_handles(g->native, vector)
                     : g->program->handler[vector] != REPLAY_NO_HANDLER;
}

static void enter_handler(struct pcpu *c, struct replay_guest *g, uint32_t info)
{
    uint32_t vector = info & INTR_INFO_VECTOR_MASK;
    bool interrupt = (info & INTR_INFO_TYPE_MASK) == INTR_TYPE_EXTERNAL;

    if (has_handler(g, vector)) {
        g->at.ops = g->program->ops;
        g->at.detour = 0;
        replay_goto(c, g, g->native ? native_guest_enter(g->native, vector) : g->program->handler[vector]);
        return;
    }
    g->at.ops = interrupt ? interrupt_handler : exception_handler;
    g->at.detour = BUILT_IN_RIP + vector * 16;
    replay_goto(c, g, 0);
}

static void push(struct replay_guest *g, const struct vmx *v)
{
    struct replay_frame *f = &g->frames[g->frame_count++];

    f->back = g->at;
    f->interrupts = v->rflags & X86_RFLAGS_IF;
    f->gpr = v->gpr;
    memcpy(f->operand, g->operand, sizeof f->operand);
    f->operand_bytes = g->operand_bytes;
}

void replay_deliver(struct pcpu *c, struct replay_guest *g, uint32_t info, uint32_t length)
{
    struct vmx *v = &c->x86->vmx;
    bool handled, retry;

    if (!g)
        return;
    if (g->frame_count == REPLAY_FRAMES_MAX) {
        trace_vmx_violation(c, "guest handlers are nested too deeply", g->idtr_base,
                            info & INTR_INFO_VECTOR_MASK);
        return;
    }
    handled = has_handler(g, info & INTR_INFO_VECTOR_MASK);
    // A fault's handler repairs what the instruction needed: a page fault's retries it, others continue
    // behind it.
    retry = handled && (info & INTR_INFO_VECTOR_MASK) == PF_VECTOR;
    if (g->at.started && ((is_fault(info) && !retry) || length))
        replay_advance(c, g);
    push(g, v);
    v->rflags &= ~(uint64_t)(X86_RFLAGS_IF | X86_RFLAGS_TF | X86_RFLAGS_RF); // Interrupt gates.
    enter_handler(c, g, info);
}

// --- Entry and exit. ---

// The op at `rip`, searched from the cursor on; false: none.
static bool find_rip(const struct replay_guest *g, uint64_t rip, uint32_t *op)
{
    uint32_t n = g->program->op_count, from = g->at.detour ? 0 : g->at.op;

    for (uint32_t i = 0; i < n; i++) {
        *op = (from + i) % n;
        if (g->rip[*op] == rip)
            return true;
    }
    return false;
}

// RIP is behind the instruction at the cursor: software did its work.
static void software_did(struct pcpu *c, struct replay_guest *g, const struct replay_op *op)
{
    if (op->kind == REPLAY_BRANCH) {
        replay_branch(c, g, op);
    } else if (op->kind == REPLAY_PAUSE && g->pauses_left > 1) {
        g->pauses_left--; // One round of the spin loop is over.
        c->x86->vmx.rip = replay_rip(g);
    } else {
        replay_advance(c, g);
    }
}

static void position(struct pcpu *c, struct replay_guest *g)
{
    const struct vmx *v = &c->x86->vmx;
    const struct replay_op *op = replay_current(g);
    uint64_t rip = v->rip;
    uint32_t target;

    if (rip == g->rip_saved)
        return;
    if (rip == g->rip_saved + replay_length(op) && g->at.started) {
        software_did(c, g, op);
        return;
    }
    if (g->native) { // It cannot be moved: only its own frames know where it stands.
        trace_vmx_violation(c, "guest RIP is outside of its program", g->idtr_base, rip);
        return;
    }
    // Behind an instruction that was an event of its own (INT3): the cursor has passed it already.
    if (!g->at.started && rip > g->rip_saved && rip - g->rip_saved <= 15 && !find_rip(g, rip, &target))
        return;
    if (find_rip(g, rip, &target)) {
        if (op->kind == REPLAY_VMLAUNCH || op->kind == REPLAY_VMRESUME)
            g->nested_gpr = v->gpr;
        g->at.ops = g->program->ops;
        g->at.detour = 0;
        replay_goto(c, g, target);
        return;
    }
    if (!g->fresh)
        trace_vmx_violation(c, "guest RIP is outside of its program", g->idtr_base, rip);
}

struct replay_guest *replay_enter(struct pcpu *c, uint64_t idtr_base)
{
    struct vmx *v = &c->x86->vmx;
    struct replay_guest *g = replay_find(c->machine, idtr_base);

    if (!g)
        return NULL; // Machine code.
    position(c, g);
    if (g->fresh && g->at.op == 0)
        replay_goto(c, g, 0); // Through leading control ops.
    g->fresh = false;
    g->rip_saved = v->rip;
    return g;
}

void replay_leave(struct pcpu *c, struct replay_guest *g)
{
    struct vmx *v = &c->x86->vmx;
    uint32_t reason = v->exit.reason & EXIT_REASON_BASIC_MASK;

    if (!g)
        return;
    g->rip_saved = v->rip;
    g->seen[(reason >> 6) & 1] |= 1ull << (reason & 63);
    if (replay_current(g)->kind == REPLAY_AWAIT && replay_current(g)->args[0] == reason)
        g->at.gap_left_ticks = 0;
}

// --- Running. ---

// Lets guest time pass up to `ticks`, less if something happens. A one-instruction shadow ends with the first
// cycle.
static void pass(struct pcpu *c, uint64_t *left_ticks)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t want = *left_ticks, begin = c->now_ticks, until, passed;

    if ((v->blocking & STI_OR_MOV_SS) && want > TICKS_PER_CYCLE)
        want = TICKS_PER_CYCLE;
    until = want > TICKS_NEVER - begin ? TICKS_NEVER : begin + want;
    if (v->activity != ACTIVITY_WAIT_SIPI && v->timer_at_ticks < until)
        until = v->timer_at_ticks > begin ? v->timer_at_ticks : begin;
    pcpu_pass_time(c, until);
    passed = c->now_ticks - begin;
    if (*left_ticks != TICKS_NEVER)
        *left_ticks = passed >= *left_ticks ? 0 : *left_ticks - passed;
    if (passed)
        v->blocking &= ~(uint32_t)STI_OR_MOV_SS;
}

static void idle(struct pcpu *c)
{
    uint64_t forever = TICKS_NEVER;

    pass(c, &forever);
}

// The optimized state of MWAIT: until another processor stores into the line, or an interrupt is pending that
// need not be taken. What is taken, or exits, is the next boundary's.
static void wait_monitored(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t drain = mem_next_drain_ticks(), left = TICKS_NEVER;

    if (mem_monitor_armed(c) && !(v->mwait_masked && (c->irq_pending || v->virtual_interrupt))) {
        if (drain != TICKS_NEVER) // A store may be on its way that was executed before MONITOR was.
            left = drain > c->now_ticks ? drain - c->now_ticks : 1;
        v->mwait_asleep = true;
        pass(c, &left);
    }
    if (!mem_monitor_armed(c) || (v->mwait_masked && (c->irq_pending || v->virtual_interrupt)))
        vmx_mwait_end(c);
}

// The end of an instruction.
static bool retire(struct pcpu *c, struct replay_guest *g, const struct replay_op *op, uint32_t blocking,
                   uint64_t rflags)
{
    if (g->at.ops + g->at.op == op && op->kind != REPLAY_IRET && op->kind != REPLAY_BRANCH)
        replay_advance(c, g);
    return vmx_retired(c, blocking, rflags, true);
}

// One op. True: exit.
static bool step(struct pcpu *c, struct replay_guest *g)
{
    struct vmx *v = &c->x86->vmx;
    const struct replay_op *op = replay_current(g);
    uint32_t blocking = v->blocking;
    uint64_t rflags = v->rflags;

    if (op->kind != REPLAY_AWAIT && !g->frame_count)
        g->seen[0] = g->seen[1] = 0;
    if (!g->at.started)
        g->operand_bytes = 0;
    switch (replay_exec[op->kind](c, g, op)) {
    case STEP_EXIT:
        return true;
    case STEP_RETIRED:
        return retire(c, g, op, blocking, rflags);
    case STEP_EVENT:
        if (g->at.ops + g->at.op == op)
            replay_advance(c, g);
        return v->exit_pending;
    case STEP_FAULT:
        break;
    }
    return v->exit_pending;
}

void replay_run(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;

    for (;;) {
        struct replay_guest *g = v->guest;

        if (vmx_boundary(c))
            return;
        if (v->activity != ACTIVITY_ACTIVE)
            idle(c);
        else if (v->mwait)
            wait_monitored(c);
        else if (!g && interp_run(c))
            return;
        else if (!g)
            continue;
        else if (g->at.gap_left_ticks)
            pass(c, &g->at.gap_left_ticks);
        else if (replay_current(g)->flags & REPLAY_RUNS)
            native_guest_run(c, g);
        else if (step(c, g))
            return;
    }
}

// Event injection (SDM 26.6.1). True: its delivery makes an exit.
static bool inject(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    uint32_t info = vmcs_get32(v, VM_ENTRY_INTR_INFO_FIELD), type = info & INTR_INFO_TYPE_MASK;
    bool software = type >= INTR_TYPE_SOFT_INTERRUPT;

    if (!(info & INTR_INFO_VALID))
        return false;
    if (type == INTR_TYPE_OTHER) {
        v->mtf_pending = true;
        return false;
    }
    pcpu_charge_cycles(c, c->uarch->vmx.inject_cycles);
    return vmx_deliver(c, info, vmcs_get32(v, VM_ENTRY_EXCEPTION_ERROR_CODE),
                       software ? vmcs_get32(v, VM_ENTRY_INSTRUCTION_LEN) : 0);
}

void vmx_run_guest(struct pcpu *c)
{
    c->x86->vmx.trap_exit = 0;
    vapic_entry(c);
    if (!inject(c))
        replay_run(c);
}
