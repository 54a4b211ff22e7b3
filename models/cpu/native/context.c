// SPDX-License-Identifier: Apache-2.0
// Contexts: hv threads as sim processes, entries into hv at fixed stack offsets, and the way out of all of
// them.
#include "models/apic/lapic.h"
#include "models/cpu/native/hooks.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mem/core.h"
#include "models/memory/memory.h"
#include "traces/trace.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    struct native_context *slot[NATIVE_CONTEXTS_MAX];
    uint32_t used;   // Slots 1..used may be live.
    uint32_t serial; // Threads of this run so far: their names in traces.
    struct sim_process *reaper;
} contexts;

enum { UNWOUND_BY_STOP = 1, UNWOUND_BY_EXIT = 2 };

struct native_state *native_state_create(struct pcpu *c)
{
    c->prices = &native_hot.of_host[c->host];
    return calloc(1, sizeof(struct native_state));
}

void native_state_destroy(struct native_state *n)
{
    free(n);
}

static struct native_context *current(const struct pcpu *c)
{
    assert(c && c->native->current && "no hv thread on this processor");
    return c->native->current;
}

static struct native_context *context_new(const char *name, void (*entry)(void *arg), void *arg)
{
    uint32_t i = 1;

    while (i <= contexts.used && contexts.slot[i] && contexts.slot[i]->live)
        i++;
    assert(i < NATIVE_CONTEXTS_MAX && "too many hv threads");
    if (!contexts.slot[i])
        contexts.slot[i] = calloc(1, sizeof(struct native_context));
    struct native_context *x = contexts.slot[i];

    assert(x && "out of memory for an hv thread");
    if (i > contexts.used)
        contexts.used = i;
    *x = (struct native_context){
        .index = i, .live = true, .entry = entry, .arg = arg, .trace_thread = ++contexts.serial};
    snprintf(x->name, sizeof x->name, "%s", name);
    return x;
}

// --- Entering hv code. ---

struct hv_call {
    uint64_t fn, a0, a1, a2, a3, a4;
};

// Calls fn with the stack pointer at `sp`. The only place where the stack pointer is touched: hv frames then
// lie at the same offsets whatever frames the simulator's compiler made.
__attribute__((noinline)) static uint64_t call_at(char *sp, const struct hv_call *call)
{
    uint64_t result;

    __asm__ volatile("movq %%rsp, %%rbx\n\t"
                     "movq %[sp], %%rsp\n\t"
                     "movq 8(%[call]), %%rdi\n\t"
                     "movq 16(%[call]), %%rsi\n\t"
                     "movq 24(%[call]), %%rdx\n\t"
                     "movq 32(%[call]), %%rcx\n\t"
                     "movq 40(%[call]), %%r8\n\t"
                     "callq *(%[call])\n\t"
                     "movq %%rbx, %%rsp"
                     : "=a"(result)
                     : [sp] "r"(sp), [call] "r"(call)
                     : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc", "memory", "xmm0",
                       "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return result;
}

// One level further into hv on the current context's stack.
static uint64_t enter_hv(struct native_context *x, const struct hv_call *call)
{
    char *sp = x->stack_top - (uint64_t)x->level * NATIVE_LEVEL_BYTES;
    char here;

    assert(x->level < NATIVE_LEVELS_MAX && "interrupts nest too deep");
    assert((x->level == 0 || sp < &here) && "an hv stack level overflowed");
    x->level++;
    uint64_t result = call_at(sp, call);

    x->level--;
    return result;
}

// A stack begins or ends to be a context's: what the processors know of its addresses no longer holds.
static void forget_stacks(void)
{
    const struct pcpu *c = pcpu_current;

    for (uint32_t i = 0; c && i < c->machine->cpu_count; i++)
        mem_near_forget(c->machine->cpus[i]->mem);
}

__attribute__((noinline)) static void run_context(struct native_context *x)
{
    // Leave our own frames above: a page suffices for what lies between here and the fixed start.
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    x->stack_top = (char *)((here - 4096) & ~(uintptr_t)4095);
    forget_stacks();
    native_watch_event(pcpu_current, &(struct native_event){.kind = NATIVE_EVENT_START,
                                                            .p = x->stack_top,
                                                            .bytes = NATIVE_LEVELS_MAX * NATIVE_LEVEL_BYTES});
    enter_hv(x, &(struct hv_call){.fn = (uint64_t)(uintptr_t)x->entry, .a0 = (uint64_t)(uintptr_t)x->arg});
}

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED_STACKS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED_STACKS 1
#endif
#endif
#ifdef SANITIZED_STACKS
#include <sanitizer/asan_interface.h>

// Frames that were left by a jump never made their red zones accessible again, and AddressSanitizer itself
// looks for them on the operating system's stack.
__attribute__((noinline)) static void forget_frames_below(const struct native_context *x)
{
    char *here = __builtin_frame_address(0);
    char *bottom = (char *)sim_process_stack_top(x->process) - sim_process_stack_bytes(x->process);

    __asan_unpoison_memory_region(bottom, (size_t)(here - bottom));
}
#else
static void forget_frames_below(const struct native_context *x)
{
    (void)x;
}
#endif

static void context_body(void *arg)
{
    struct native_context *volatile x = arg;
    int how = _setjmp(x->unwind);

    if (how != 0)
        forget_frames_below(x);
    if (how == 0 && !x->reaped) {
        run_context(x);
        assert(!"an hv thread's entry returned; it must exit through hw_switch_to_and_exit()");
    }
    struct native_context *next = x->next_on_exit;
    bool reaped = x->reaped;

    x->live = false;
    forget_stacks();
    if (how == UNWOUND_BY_EXIT)
        sim_process_hand_over_and_exit(next->process);
    else if (reaped)
        sim_process_hand_over_and_exit(contexts.reaper);
}

_Noreturn void native_unwind(struct pcpu *c)
{
    _longjmp(current(c)->unwind, UNWOUND_BY_STOP);
}

// --- Accounting. ---

void native_settle(struct pcpu *c)
{
    uint64_t delta = c->now_ticks - c->mode_since_ticks;

    c->mode_ticks[c->mode] += delta;
    c->mode_since_ticks = c->now_ticks;
    struct native_context *x = c->native->current;

    if (x) {
        x->mode_ticks[c->mode] += c->now_ticks - x->since_ticks;
        x->since_ticks = c->now_ticks;
    }
}

void native_context_times(struct pcpu *c, uint64_t *kernel, uint64_t *user, uint64_t *off)
{
    native_settle(c);
    const struct native_context *x = current(c);

    *kernel = x->mode_ticks[PCPU_KERNEL];
    *user = x->mode_ticks[PCPU_USER];
    *off = x->off_ticks;
}

uint32_t native_context_thread(const struct pcpu *c)
{
    return native_thread(c);
}

// --- Switching (hv/hw/thread.h). ---

static struct native_context *context_of(const struct hw_context *ctx)
{
    assert(ctx->id > 0 && ctx->id <= contexts.used && contexts.slot[ctx->id]->live && "not a context");
    return contexts.slot[ctx->id];
}

void hw_context_create(struct hw_context *ctx, const char *name, u64 stack_bytes, void (*entry)(void *arg),
                       void *arg)
{
    struct pcpu *c = pcpu_current;

    (void)stack_bytes; // Every level of ours has NATIVE_LEVEL_BYTES.
    struct native_context *x = context_new(name, entry, arg);

    x->since_ticks = c->now_ticks;
    native_watch_event(c, &(struct native_event){.kind = NATIVE_EVENT_CREATE, .thread = x->trace_thread});
    x->process = sim_process_create_parked(x->name, c->index, NATIVE_STACK_BYTES, context_body, x);
    if (c->machine->memory)
        memory_thread_leaves(c->machine->memory, c->index, x->index); // It knows what its creator knows.
    ctx->id = x->index;
}

void hw_context_adopt(struct hw_context *ctx, const char *name)
{
    struct native_context *x = current(pcpu_current);

    snprintf(x->name, sizeof x->name, "%s", name);
    ctx->id = x->index;
}

// The processor's side of a switch: who is charged from now on.
static void switch_accounts(struct pcpu *c, struct native_context *to)
{
    struct native_context *from = current(c);

    native_watch_event(c, &(struct native_event){.kind = NATIVE_EVENT_SWITCH, .thread = to->trace_thread});
    native_settle(c);
    to->off_ticks += c->now_ticks - to->since_ticks;
    to->since_ticks = c->now_ticks;
    c->native->current = to;
    if (c->machine->memory) {
        memory_thread_leaves(c->machine->memory, c->index, from->index);
        memory_thread_comes(c->machine->memory, c->index, to->index);
    }
    c->untimed = to->untimed;
    pcpu_set_current(c);
    sim_process_set_rank(to->process, c->index);
    if (c->trace)
        trace_switch(c->trace, (uint16_t)c->index, from->trace_thread, to->trace_thread, c->now_ticks);
}

void hw_switch_to(struct hw_context *prev, struct hw_context *next)
{
    struct pcpu *c = pcpu_current;
    struct native_context *from = current(c), *to = context_of(next);

    assert(!c->irqs_enabled && prev->id == from->index &&
           "hw_switch_to: interrupts on, or prev is not the caller");
    pcpu_charge_cycles(c, c->uarch->op.segment_load_cycles);
    pcpu_checkpoint(c);
    if (from == to)
        return;
    switch_accounts(c, to);
    sim_process_hand_over(to->process);
    if (from->reaped)
        _longjmp(from->unwind, UNWOUND_BY_STOP);
    pcpu_update_limit(pcpu_current);
}

void hw_switch_to_and_exit(struct hw_context *prev, struct hw_context *next)
{
    struct pcpu *c = pcpu_current;
    struct native_context *from = current(c), *to = context_of(next);

    assert(!c->irqs_enabled && prev->id == from->index && from != to);
    pcpu_checkpoint(c);
    native_watch_event(c, &(struct native_event){.kind = NATIVE_EVENT_END});
    switch_accounts(c, to);
    from->dead = true;
    from->next_on_exit = to;
    _longjmp(from->unwind, UNWOUND_BY_EXIT);
}

// --- Ring transitions and vectors (hv/hw/cpu.h). ---

void hw_set_vectors(const struct hw_vectors *vectors)
{
    pcpu_charge_cycles(pcpu_current, pcpu_current->uarch->op.lgdt_cycles);
    pcpu_current->vectors = vectors;
}

u64 hw_syscall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
    struct pcpu *c = pcpu_current;
    const struct uarch_op *op = &c->uarch->op;

    assert(c->mode == PCPU_USER && "SYSCALL from the kernel");
    pcpu_checkpoint(c);
    c = pcpu_current;
    pcpu_charge_cycles(c, op->syscall_cycles + op->swapgs_cycles);
    pcpu_set_mode(c, PCPU_KERNEL);
    c->irqs_enabled = false; // IA32_FMASK holds IF.
    u64 result = enter_hv(current(c), &(struct hv_call){.fn = (uint64_t)(uintptr_t)c->vectors->syscall,
                                                        .a0 = nr,
                                                        .a1 = a0,
                                                        .a2 = a1,
                                                        .a3 = a2,
                                                        .a4 = a3});

    c = pcpu_current;
    pcpu_charge_cycles(c, op->swapgs_cycles + op->sysret_cycles);
    pcpu_set_mode(c, PCPU_USER);
    c->irqs_enabled = true;
    pcpu_update_limit(c);
    pcpu_checkpoint(c);
    return result;
}

void hw_user_enter(void (*fn)(void *arg), void *arg)
{
    struct pcpu *c = pcpu_current;

    pcpu_charge_cycles(c, c->uarch->op.swapgs_cycles + c->uarch->op.sysret_cycles);
    pcpu_set_mode(c, PCPU_USER);
    c->irqs_enabled = true;
    pcpu_update_limit(c);
    enter_hv(current(c), &(struct hv_call){.fn = (uint64_t)(uintptr_t)fn, .a0 = (uint64_t)(uintptr_t)arg});
    assert(!"a user thread returned instead of making its exit system call");
}

void native_take_interrupt(struct pcpu *c)
{
    enum pcpu_mode mode = c->mode;
    uint8_t vector = lapic_ack(c);

    assert(c->vectors && "interrupt without a handler");
    pcpu_charge_cycles(c, c->uarch->op.interrupt_cycles);
    pcpu_set_mode(c, PCPU_KERNEL);
    c->irqs_enabled = false;
    pcpu_update_limit(c);
    native_watch_event(c, &(struct native_event){.kind = NATIVE_EVENT_INTERRUPT});
    enter_hv(current(c), &(struct hv_call){.fn = (uint64_t)(uintptr_t)c->vectors->interrupt, .a0 = vector});
    c = pcpu_current;
    native_watch_event(c, &(struct native_event){.kind = NATIVE_EVENT_INTERRUPT_END});
    assert(!c->irqs_enabled && "an interrupt handler returned with interrupts enabled");
    pcpu_charge_cycles(c, c->uarch->op.iret_cycles);
    pcpu_set_mode(c, mode);
    c->irqs_enabled = true;
    c->nmi_blocked = false; // Any IRET does that (SDM 6.7.1).
}

void native_take_nmi(struct pcpu *c)
{
    enum pcpu_mode mode = c->mode;
    bool irqs = c->irqs_enabled;

    c->nmi_pending = false;
    c->nmi_blocked = true;
    pcpu_charge_cycles(c, c->uarch->op.interrupt_cycles);
    pcpu_set_mode(c, PCPU_KERNEL);
    c->irqs_enabled = false;
    pcpu_update_limit(c);
    native_watch_event(c, &(struct native_event){.kind = NATIVE_EVENT_INTERRUPT});
    enter_hv(current(c), &(struct hv_call){.fn = (uint64_t)(uintptr_t)c->vectors->nmi});
    c = pcpu_current;
    native_watch_event(c, &(struct native_event){.kind = NATIVE_EVENT_INTERRUPT_END});
    pcpu_charge_cycles(c, c->uarch->op.iret_cycles);
    pcpu_set_mode(c, mode);
    c->irqs_enabled = irqs;
    c->nmi_blocked = false;
}

void hw_iret(void)
{
    struct pcpu *c = pcpu_current;

    pcpu_checkpoint(c);
    c = pcpu_current;
    pcpu_charge_cycles(c, c->uarch->op.iret_cycles);
    c->nmi_blocked = false;
    pcpu_update_limit(c);
    pcpu_checkpoint(c);
}

// --- Start and end. ---

static void start_processor(struct pcpu *c, const char *name, void (*entry)(void *), void *arg)
{
    struct native_context *x = context_new(name, entry, arg);

    native_watch_event(pcpu_current,
                       &(struct native_event){.kind = NATIVE_EVENT_CREATE, .thread = x->trace_thread});
    c->native->current = x;
    c->mode = PCPU_KERNEL;
    c->irqs_enabled = false;
    x->since_ticks = c->mode_since_ticks = c->now_ticks;
    if (c->trace)
        trace_switch(c->trace, (uint16_t)c->index, TRACE_NO_THREAD, x->trace_thread, c->now_ticks);
}

static void boot_body(void *arg)
{
    struct pcpu *c = arg;

    pcpu_set_current(c);
    pcpu_update_limit(c);
    c->native->current->process = sim_process_self();
    context_body(c->native->current);
}

void native_boot(struct pcpu *c, const struct hw_bootinfo *info)
{
    void *arg = (void *)(uintptr_t)info;
    void (*entry)(void *);

    memcpy(&entry, &c->machine->image->boot, sizeof entry);
    start_processor(c, "boot", entry, arg);
    sim_process_start("boot", c->index, NATIVE_STACK_BYTES, boot_body, c);
}

static void ap_body(void *arg)
{
    struct pcpu *c = arg;

    sim_wait_until(pcpu_ticks_to_ps(c, c->now_ticks));
    boot_body(c);
}

void native_start_ap(struct pcpu *c, uint64_t at_ticks)
{
    const struct pcpu *bsp = NULL;
    void (*entry)(void *);

    for (uint32_t i = 0; i < c->machine->cpu_count && !bsp; i++)
        if (c->machine->cpus[i]->host == c->host && c->machine->cpus[i]->vectors)
            bsp = c->machine->cpus[i];
    assert(bsp && bsp->vectors->ap_entry && "SIPI before hw_set_vectors()");
    memcpy(&entry, &bsp->vectors->ap_entry, sizeof entry);
    c->now_ticks = at_ticks;
    c->init_pending = false;
    if (c->machine->memory && pcpu_current)
        memory_cpu_starts(c->machine->memory, c->index, pcpu_current->index);
    start_processor(c, "ap-boot", entry, (void *)(uintptr_t)bsp->vectors->ap_argument);
    sim_process_start("ap-boot", c->index, NATIVE_STACK_BYTES, ap_body, c);
}

void native_reserve(unsigned count)
{
    sim_process_reserve(NATIVE_STACK_BYTES, count);
}

// Gets every context's control once, with machine->stopping set, so that it unwinds.
static void reap(void *arg)
{
    struct machine *machine = arg;

    contexts.reaper = sim_process_self();
    for (uint32_t i = 0; i < machine->cpu_count; i++)
        if (machine->cpus[i]->sleeps)
            sim_event_notify_at(machine->cpus[i]->wake, sim_now_ps());
    for (uint32_t i = 1; i <= contexts.used; i++) {
        struct native_context *x = contexts.slot[i];
        bool on_processor = false;

        for (uint32_t n = 0; n < machine->cpu_count; n++)
            on_processor |= machine->cpus[n]->native->current == x;
        if (!x->live || on_processor)
            continue;
        x->reaped = true;
        sim_process_hand_over(x->process);
    }
}

void native_stop(struct machine *machine)
{
    assert(machine->stopping);
    pcpu_set_current(NULL);
    sim_process_start("reaper", UINT32_MAX - 1, 64u << 10, reap, machine);
    sim_run(SIM_PS_NEVER);
    pcpu_set_current(NULL);
}

void native_reset(void)
{
    for (uint32_t i = 1; i <= contexts.used; i++) {
        assert(!contexts.slot[i]->live && "an hv thread survived the end of its run");
        free(contexts.slot[i]);
        contexts.slot[i] = NULL;
    }
    contexts.used = contexts.serial = 0;
}

// --- Addresses. ---

uint64_t native_pointer_hpa(struct pcpu *c, const void *p)
{
    return native_hpa(c, p, 0);
}

uint64_t native_ptr_to_hpa(struct pcpu *c, const void *p, uint64_t pc)
{
    uint64_t at = (uint64_t)(uintptr_t)p;
    const struct native_context *x = c->native->current;

    if (at - c->machine->image->base < c->machine->image->bytes)
        return HW_IMAGE_HPA + (at - c->machine->image->base);
    for (uint32_t i = 0;; x = contexts.slot[i]) {
        // The thread's own stack first; waiters on others' stacks are found by looking.
        uint64_t below = (uint64_t)(uintptr_t)x->stack_top - at;

        if (x->live && below <= NATIVE_LEVELS_MAX * NATIVE_LEVEL_BYTES)
            return HW_STACK_HPA + (uint64_t)(x->index + 1) * NATIVE_STACK_HPA_STRIDE - below;
        if (++i > contexts.used)
            break;
    }
    char detail[160];

    snprintf(detail, sizeof detail, "%s touches %p, which is not memory of the host",
             native_function_name(c->machine->image, pc), p);
    native_core_bug(c, "wild_pointer", at, detail);
}
