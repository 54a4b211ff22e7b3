// SPDX-License-Identifier: Apache-2.0
// Rows of VM exits: each is opened at the exit and completed by the next entry for the same vCPU, whichever
// VMCS that entry uses (a hypervisor that nests answers an exit of L2 by entering L1); by VMCS where software
// does not say whom it works for.
#include "models/cpu/x86/trace_exit.h"
#include "models/cpu/x86/interp/interp.h"
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/trace_state.h"
#include "models/cpu/x86/x86_state.h"

#include "models/cpu/native/native.h"
#include <assert.h>
#include <stdlib.h>

void trace_exits_forget(struct trace_port *p)
{
    free(p->exits);
    p->exits = NULL;
    p->exit_count = p->exit_capacity = 0;
}

static uint64_t key_of(const struct pcpu *c)
{
    if (c->note_vcpu == UINT32_MAX)
        return c->x86->vmx.current.hpa;
    return 1ull << 63 | (uint64_t)c->note_vm << 32 | c->note_vcpu;
}

static struct exit_open *insert(struct trace_port *p, size_t at, uint64_t key)
{
    if (p->exit_count == p->exit_capacity) {
        p->exit_capacity = p->exit_capacity ? 2 * p->exit_capacity : 32;
        p->exits = realloc(p->exits, p->exit_capacity * sizeof *p->exits);
        assert(p->exits);
    }
    memmove(&p->exits[at + 1], &p->exits[at], (p->exit_count - at) * sizeof *p->exits);
    p->exits[at] = (struct exit_open){.key = key};
    p->exit_count++;
    return &p->exits[at];
}

static struct exit_open *exit_of(struct pcpu *c)
{
    struct trace_port *p = trace_port_of(c->machine);
    uint64_t key = key_of(c);
    size_t low = 0, high = p->exit_count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (p->exits[mid].key < key)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < p->exit_count && p->exits[low].key == key)
        return &p->exits[low];
    return insert(p, low, key);
}

// The entry that began at `begin_ticks` is complete now.
static void close_row(struct pcpu *c, struct exit_open *e, uint64_t begin_ticks)
{
    uint64_t kernel, user, off, entry = c->now_ticks - begin_ticks;

    if (!e->open)
        return;
    e->open = false;
    native_context_times(c, &kernel, &user, &off);
    e->row.entry_tick = c->now_ticks;
    e->row.hw_entry_ticks = (uint32_t)entry;
    if (native_context_thread(c) == e->thread) {
        kernel -= e->kernel_ticks;
        e->row.hv_ticks = kernel > entry ? kernel - entry : 0; // The entry itself was spent in kernel mode.
        e->row.device_ticks = user - e->user_ticks;
        e->row.wait_ticks = off - e->off_ticks;
    }
    e->row.path = trace_text(c->trace, e->row.device_ticks ? "user" : "kernel");
    trace_exit(c->trace, &e->row);
}

void trace_vm_entry(struct pcpu *c, uint64_t begin_ticks)
{
    struct exit_open *e;

    if (!c->trace)
        return;
    e = exit_of(c);
    close_row(c, e, begin_ticks);
    e->entered_ticks = c->now_ticks;
}

void trace_vm_entry_failed(struct pcpu *c, uint64_t begin_ticks)
{
    trace_vm_entry(c, begin_ticks);
}

// Text of the instruction that exited; made once for each op.
static uint32_t instruction_text(struct pcpu *c, struct replay_guest *g)
{
    const struct replay_op *op = replay_current(g);
    char text[96];

    if (!g->at.started)
        return 0;
    if (!g->at.detour && g->text[g->at.op])
        return g->text[g->at.op];
    replay_text(op, text, sizeof text);
    if (g->at.detour)
        return trace_text(c->trace, text);
    g->text[g->at.op] = trace_text(c->trace, text);
    return g->text[g->at.op];
}

static void describe(struct pcpu *c, struct trace_exit *row)
{
    const struct vmx *v = &c->x86->vmx;
    const struct vmexit *x = &v->exit;
    struct replay_guest *g = v->guest;

    row->reason = (uint16_t)x->reason;
    row->arch = TRACE_ARCH_X86;
    row->intr_info = x->intr_info;
    row->error_code = x->intr_error;
    row->qualification = x->qualification;
    row->rip = v->rip;
    row->gpa = x->has_gpa ? x->gpa : UINT64_MAX;
    row->recorded_ns = TRACE_NOT_RECORDED;
    if (x->reason & EXIT_REASON_ENTRY_FAILURE)
        return;
    if (!g) {
        row->instr = interp_exit_text(c);
        return;
    }
    row->instr = instruction_text(c, g);
    if (g->at.started && (replay_current(g)->flags & REPLAY_HAS_RECORDED))
        row->recorded_ns = (int64_t)replay_current(g)->recorded_ns;
}

void trace_vm_exit(struct pcpu *c, uint64_t begin_ticks)
{
    struct exit_open *e;

    if (!c->trace)
        return;
    e = exit_of(c);
    e->row = (struct trace_exit){.where = trace_where_of(c, true)};
    e->thread = e->row.thread = native_context_thread(c);
    e->row.seq = trace_exit_begin(c->trace, e->thread, begin_ticks);
    e->row.exit_tick = begin_ticks;
    e->row.entry_tick = TRACE_NEVER;
    e->row.hw_exit_ticks = (uint32_t)(c->now_ticks - begin_ticks);
    e->row.guest_ticks = begin_ticks - e->entered_ticks;
    describe(c, &e->row);
    native_context_times(c, &e->kernel_ticks, &e->user_ticks, &e->off_ticks);
    e->open = true;
}

void trace_exits_finish(struct machine *m)
{
    struct trace_port *p = trace_port_of(m);

    for (size_t i = 0; m->trace && i < p->exit_count; i++) {
        if (p->exits[i].open)
            trace_exit(m->trace, &p->exits[i].row);
        p->exits[i].open = false;
    }
}
