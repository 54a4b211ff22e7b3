// SPDX-License-Identifier: Apache-2.0
// The tracepoint port of hv/hw/trace.h: events, spans, counters, violations. Nothing here takes simulated
// time. What happens in an untimed set-up phase (hv/hw/setup.h) leaves counters and violations, nothing else.
#include "models/cpu/x86/trace_port.h"
#include "models/cpu/x86/trace_exit.h"
#include "models/cpu/x86/trace_state.h"

#include "hv/hw/trace.h"
#include "models/cpu/native/native.h"
#include "models/cpu/x86/x86_state.h"
#include "models/mmu/check.h"
#include "traces/trace.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct tracepoint {
    const char *name;
    uint8_t argc;
};

static const struct tracepoint tracepoints[TP_COUNT] = {
#define TRACEPOINT(id, name, argc, args, category) {#name, argc},
#include "spec/tracepoints.def"
};

static const char *const span_names[] = {
#define SPAN(id, name, meaning) name,
#include "spec/spans.def"
};
static const char *const dirty_methods[] = {
#define DIRTY_METHOD(id, name, meaning) name,
#include "spec/dirty_methods.def"
};
#define SPAN_KINDS (sizeof span_names / sizeof *span_names)

struct trace_where trace_where_of(const struct pcpu *c, bool guest)
{
    return (struct trace_where){(uint16_t)c->index, (uint16_t)c->note_vm, (uint16_t)c->note_vcpu,
                                guest ? (uint8_t)c->note_level : 0, 0};
}

struct trace_port *trace_port_of(struct machine *m)
{
    if (!m->trace_port) {
        m->trace_port = calloc(1, sizeof *m->trace_port);
        assert(m->trace_port);
    }
    return m->trace_port;
}

static void forget(struct trace_port *p)
{
    trace_exits_forget(p);
    for (size_t i = 0; i < p->counter_count; i++)
        free(p->counters[i].name);
    free(p->counters);
    free(p->spans);
    memset(p, 0, sizeof *p);
}

void trace_port_begin(struct machine *m)
{
    forget(trace_port_of(m));
}

void trace_port_destroy(struct machine *m)
{
    if (m->trace_port)
        forget(m->trace_port);
    free(m->trace_port);
    m->trace_port = NULL;
}

// "mmu.walks" and the like, over all processors.
static void mmu_counter(void *ctx, const char *name, uint64_t value)
{
    char full[48];

    if (!value)
        return;
    snprintf(full, sizeof full, "mmu.%s", name);
    trace_counter(ctx, trace_text(ctx, full), value);
}

static void mmu_counters(struct machine *m)
{
    struct mmu_counters sum = {0};

    for (uint32_t i = 0; i < m->cpu_count; i++)
        mmu_counters_add(&sum, &m->cpus[i]->x86->mmu->counters);
    mmu_counters_each(&sum, mmu_counter, m->trace);
}

void trace_port_end(struct machine *m)
{
    struct trace_port *p = trace_port_of(m);

    trace_exits_finish(m);
    for (size_t i = 0; m->trace && i < p->counter_count; i++)
        trace_counter(m->trace, trace_text(m->trace, p->counters[i].name), p->counters[i].value);
    if (m->trace)
        mmu_counters(m);
}

static uint64_t filled_in(const struct pcpu *c, u64 argument)
{
    const struct vmx *v = &c->x86->vmx;

    if (argument != HW_TRACE_GUEST_RIP)
        return argument;
    return v->current.mem ? vmcs_get(v, GUEST_RIP) : 0;
}

// What the hypervisor says of its duty to flush.
static void tell_checker(struct mmu_check *k, enum hw_tracepoint tp, uint32_t vm)
{
    if (tp == TP_MMU_CHANGE_BEGIN || tp == TP_MMU_CHANGE_END)
        mmu_check_change(k, vm, tp == TP_MMU_CHANGE_BEGIN);
    else
        mmu_check_postpone(k, vm, tp == TP_MMU_CHANGE_POSTPONED);
}

static void follow_migration(struct trace_port *p, enum hw_tracepoint tp, uint64_t vm, uint64_t round)
{
    if (vm >= MIGRATING_VMS)
        return;
    if (tp == TP_MIGRATION_ROUND_BEGIN)
        p->round[vm] = (uint32_t)round + 1;
    if (tp == TP_MIGRATION_END)
        p->round[vm] = 0;
}

// A lock's address: the same in every process, also of a lock on a stack.
static uint64_t lock_name(struct pcpu *c, uint64_t lock)
{
    bool fixed = lock - HW_IMAGE_BASE < c->machine->image->bytes ||
                 lock - HW_ARENA_BASE < HW_ARENA_HOSTS_MAX * HW_ARENA_STRIDE;

    return fixed ? lock : native_pointer_hpa(c, (const void *)(uintptr_t)lock);
}

void hw_trace(enum hw_tracepoint tp, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)
{
    struct pcpu *c = pcpu_current;

    if (c && c->machine->tlb_check && tp >= TP_MMU_CHANGE_BEGIN && tp <= TP_MMU_CHANGE_SETTLED)
        tell_checker(c->machine->tlb_check, tp, (uint32_t)a0);
    if (!c || !c->trace || c->untimed)
        return;
    if (tp == TP_MIGRATION_ROUND_BEGIN || tp == TP_MIGRATION_END)
        follow_migration(trace_port_of(c->machine), tp, a0, a1);
    if (tp == TP_LOCK_CONTENDED || tp == TP_LOCK_ACQUIRED)
        a0 = lock_name(c, a0);
    // RIP is the second argument or the third.
    const uint64_t args[TRACE_EVENT_ARGS] = {a0, filled_in(c, a1), filled_in(c, a2), a3, a4, a5};

    trace_event(c->trace, trace_where_of(c, true), (uint16_t)tp, c->now_ticks, args, tracepoints[tp].argc);
}

void hw_trace_dirty_page(u32 vm, u32 vcpu, u32 slot, u64 gfn, enum hw_dirty_method method, bool ring)
{
    const struct pcpu *c = pcpu_current;

    assert(method < HW_DIRTY_METHODS && "hw_trace_dirty_page: no such method");
    if (!c->trace || c->untimed)
        return;
    struct trace_port *p = trace_port_of(c->machine);

    trace_dirty_page(c->trace,
                     &(struct trace_dirty_page){
                         .where = {(uint16_t)c->index, (uint16_t)vm,
                                   vcpu == UINT32_MAX ? TRACE_NOBODY : (uint16_t)vcpu, 0, 0},
                         .method = trace_once(c, &p->dirty_methods[method], dirty_methods[method]),
                         .slot = slot,
                         .round = vm < MIGRATING_VMS && p->round[vm] ? p->round[vm] - 1 : TRACE_NO_ROUND,
                         .ring = ring,
                         .gfn = gfn,
                         .tick = c->now_ticks});
}

void hw_trace_vcpu(u32 vm, u32 vcpu, u32 level, hpa_t vmcs)
{
    struct pcpu *c = pcpu_current;

    (void)vmcs; // Rows are told apart by the VMCS that is current at their entries.
    c->note_vm = vcpu == UINT32_MAX ? TRACE_NOBODY : vm;
    c->note_vcpu = vcpu == UINT32_MAX ? TRACE_NOBODY : vcpu;
    c->note_level = vcpu == UINT32_MAX ? 0 : level;
}

// --- Spans: a stack for each thread. ---

static struct span_stack *span_stack(struct trace_port *p, uint32_t thread)
{
    if (thread >= p->span_threads) {
        uint32_t count = thread + 64;

        p->spans = realloc(p->spans, count * sizeof *p->spans);
        assert(p->spans);
        memset(p->spans + p->span_threads, 0, (count - p->span_threads) * sizeof *p->spans);
        p->span_threads = count;
    }
    return &p->spans[thread];
}

void hw_trace_span_begin(u32 span)
{
    struct pcpu *c = pcpu_current;
    struct span_stack *s = span_stack(trace_port_of(c->machine), native_context_thread(c));

    assert(span < SPAN_KINDS && "hw_trace_span_begin: no such span");
    if (c->untimed)
        return;
    if (s->depth < SPAN_DEPTH_MAX)
        s->open[s->depth] = (struct span_open){span, c->now_ticks};
    s->depth++;
}

void hw_trace_span_end(u32 span)
{
    struct pcpu *c = pcpu_current;
    struct span_stack *s = span_stack(trace_port_of(c->machine), native_context_thread(c));

    if (c->untimed)
        return;
    assert(s->depth && "hw_trace_span_end: no span is open");
    if (--s->depth >= SPAN_DEPTH_MAX)
        return;
    assert(s->open[s->depth].span == span && "hw_trace_span_end: another span is open");
    if (!c->trace)
        return;
    trace_span(c->trace, &(struct trace_span){.where = trace_where_of(c, false),
                                              .name = trace_text(c->trace, span_names[span]),
                                              .begin_tick = s->open[s->depth].begin_ticks,
                                              .end_tick = c->now_ticks});
}

// --- Counters. ---

void hw_trace_count(const char *name, u64 n)
{
    struct trace_port *p = trace_port_of(pcpu_current->machine);

    for (size_t i = 0; i < p->counter_count; i++)
        if (!strcmp(p->counters[i].name, name)) {
            p->counters[i].value += n;
            return;
        }
    if (p->counter_count == p->counter_capacity) {
        p->counter_capacity = p->counter_capacity ? 2 * p->counter_capacity : 32;
        p->counters = realloc(p->counters, p->counter_capacity * sizeof *p->counters);
        assert(p->counters);
    }
    p->counters[p->counter_count++] = (struct trace_counter_row){strdup(name), n};
}

// --- Violations. ---

static void violation_text(struct pcpu *c, const char *name, uint64_t address, const char *detail, bool guest)
{
    if (c->trace)
        trace_violation(c->trace, &(struct trace_violation){.where = trace_where_of(c, guest),
                                                            .thread = native_context_thread(c),
                                                            .kind = trace_text(c->trace, name),
                                                            .detail = trace_text(c->trace, detail),
                                                            .address = address,
                                                            .tick = c->now_ticks});
}

static void violation(struct pcpu *c, const char *name, uint64_t a0, uint64_t a1, bool guest)
{
    char detail[64];

    snprintf(detail, sizeof detail, "%#" PRIx64 ", %#" PRIx64, a0, a1);
    violation_text(c, name, a0, detail, guest);
}

void hw_trace_violation(const char *name, u64 a0, u64 a1)
{
    violation(pcpu_current, name, a0, a1, false);
}

void trace_vmx_violation(struct pcpu *c, const char *name, uint64_t a0, uint64_t a1)
{
    violation(c, name, a0, a1, c->x86->vmx.in_guest);
}

void trace_guest_violation(struct pcpu *c, const char *kind, uint64_t address, const char *detail)
{
    violation_text(c, kind, address, detail, true);
}
