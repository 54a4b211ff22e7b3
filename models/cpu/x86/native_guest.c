// SPDX-License-Identifier: Apache-2.0
// Native guests: the two sides and the switch between them, handlers, registration and reset.
#include "models/cpu/x86/native_guest_run.h"
#include "models/cpu/x86/replay_exec.h"
#include "models/cpu/x86/x86_state.h"

#include "models/apic/lapic.h"
#include "models/cpu/uarch/uarch.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define STI_OR_MOV_SS (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)
#define GUARD_BYTES 4096u

struct native_guest *native_running;

// --- The switch. ---

// Saves what a function must keep on the stack that is left, its pointer in *save, and goes on where `to` was
// saved.
void native_switch(void **save, void *to);
__asm__(".text\n"
        ".globl native_switch\n"
        ".hidden native_switch\n"
        ".type native_switch, @function\n"
        "native_switch:\n\t"
        "pushq %rbp\n\t"
        "pushq %rbx\n\t"
        "pushq %r12\n\t"
        "pushq %r13\n\t"
        "pushq %r14\n\t"
        "pushq %r15\n\t"
        "movq %rsp, (%rdi)\n\t"
        "movq %rsi, %rsp\n\t"
        "popq %r15\n\t"
        "popq %r14\n\t"
        "popq %r13\n\t"
        "popq %r12\n\t"
        "popq %rbx\n\t"
        "popq %rbp\n\t"
        "retq\n"
        ".size native_switch, . - native_switch\n");

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED_STACKS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED_STACKS 1
#endif
#endif
#ifdef SANITIZED_STACKS
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

static void leaving_for(const void *stack, size_t bytes)
{
    __sanitizer_start_switch_fiber(NULL, stack, bytes);
}

static void arrived_from(const void **stack, size_t *bytes)
{
    __sanitizer_finish_switch_fiber(NULL, stack, bytes);
}

// Frames that nobody returned from never made their red zones accessible again.
static void forget_frames(const struct native_guest *n)
{
    __asan_unpoison_memory_region(n->stack, NATIVE_STACK_BYTES_GUEST);
}
#else
static void leaving_for(const void *stack, size_t bytes)
{
    (void)stack, (void)bytes;
}

static void arrived_from(const void **stack, size_t *bytes)
{
    (void)stack, (void)bytes;
}

static void forget_frames(const struct native_guest *n)
{
    (void)n;
}
#endif

// --- The program's side. ---

static void to_processor(struct native_guest *n)
{
    leaving_for(n->cpu_stack, n->cpu_stack_bytes);
    native_switch(&n->program_sp, n->cpu_sp);
    arrived_from(&n->cpu_stack, &n->cpu_stack_bytes);
}

static void fill_slot(struct native_guest *n, const struct replay_op *op, uint64_t rip)
{
    n->slots[n->level] = *op;
    n->g->rip[n->level] = rip;
    n->g->text[n->level] = 0;
}

// Handlers that were delivered run first, the innermost before those that it interrupted; each ends with
// IRET, and control comes back with the cursor wherever that led.
static void run_handlers(struct native_guest *n)
{
    while (n->event[n->g->at.op].entered) {
        uint32_t outer = n->level, slot = n->g->at.op;
        const struct replay_op iret = {.kind = REPLAY_IRET, .length = 2};
        unsigned vector = n->event[slot].vector;

        n->event[slot].entered = false;
        n->level = slot;
        n->handlers[vector](vector);
        fill_slot(n, &iret, n->g->rip[slot]);
        to_processor(n);
        n->level = outer;
    }
}

// Lets the processor go on; returns when the code that called is to.
static void hand_over(struct native_guest *n)
{
    to_processor(n);
    run_handlers(n);
    assert(n->g->at.op == n->level && "a native guest goes on in another place");
}

static uint64_t rip_of(const struct native_guest *n, const void *pc)
{
    return (uint64_t)(uintptr_t)pc + n->text_offset;
}

void native_instruction(struct native_guest *n, const struct replay_op *op, const void *pc)
{
    fill_slot(n, op, rip_of(n, pc) - op->length);
    hand_over(n);
}

void native_turn(struct native_guest *n, const void *pc)
{
    n->g->rip[n->level] = rip_of(n, pc);
    hand_over(n);
}

// The first frame of the program's stack.
static void begin(void)
{
    struct native_guest *n = native_running;
    const struct replay_op end = {.kind = REPLAY_END};

    arrived_from(&n->cpu_stack, &n->cpu_stack_bytes);
    run_handlers(n);
    n->config.program->info->main(&n->config.env, n->config.args);
    fill_slot(n, &end, n->g->rip[0]);
    for (;;)
        hand_over(n); // For the sake of handlers.
}

// --- The processor's side. ---

static void prepare_stack(struct native_guest *n)
{
    void **sp = (void **)(void *)(n->stack + NATIVE_STACK_BYTES_GUEST);
    void (*first)(void) = begin;

    // As behind a call: the ABI wants the pointer 8 below a multiple of 16 at a function's entry.
    *--sp = NULL;
    --sp;
    memcpy(sp, &first, sizeof first);
    for (unsigned i = 0; i < 6; i++)
        *--sp = NULL;
    n->program_sp = sp;
    n->begun = true;
}

// What an access or a block must know of the processor at this entry.
static void look_at_processor(struct native_guest *n, struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;

    if (n->cpu != c)
        n->map = n->config.program->maps[c->host];
    n->cpu = c;
    n->careful = (v->ctl.cpu & CPU_MONITOR_TRAP_FLAG) || (v->rflags & X86_RFLAGS_TF) ||
                 !(v->ctl.cpu2 & CPU2_ENABLE_EPT);
    n->apart[0] = v->ctl.cpu2 & CPU2_VIRTUALIZE_APIC_ACCESSES ? (vmcs_get(v, APIC_ACCESS_ADDR) >> 12) + 1 : 0;
    n->apart[1] = lapic_mode(c) == LAPIC_XAPIC ? ((lapic_base(c) & APIC_BASE_ADDR_MASK) >> 12) + 1 : 0;
    n->load_ticks = c->uarch->l1d.latency_cycles * TICKS_PER_CYCLE;
    if (v->timer_at_ticks < c->limit_ticks)
        c->limit_ticks = v->timer_at_ticks;
    if (v->blocking & STI_OR_MOV_SS)
        c->limit_ticks = 0; // The shadow ends with the first time that passes.
}

void native_guest_run(struct pcpu *c, struct replay_guest *g)
{
    struct native_guest *n = g->native;
    struct vmx *v = &c->x86->vmx;
    uint64_t begin_ticks = c->now_ticks;

    look_at_processor(n, c);
    if (!n->begun)
        prepare_stack(n);
    n->gap_ticks = 0;
    native_running = n;
    leaving_for(n->stack, NATIVE_STACK_BYTES_GUEST);
    native_switch(&n->cpu_sp, n->program_sp);
    arrived_from(NULL, NULL);
    native_running = NULL;
    if (c->now_ticks != begin_ticks)
        v->blocking &= ~(uint32_t)STI_OR_MOV_SS;
    replay_goto(c, g, g->at.op);
    g->at.gap_left_ticks = n->gap_ticks;
}

static void runs(struct native_guest *n, uint32_t slot)
{
    n->slots[slot] = (struct replay_op){.kind = REPLAY_FETCH, .flags = REPLAY_RUNS};
}

void native_guest_retire(struct replay_guest *g)
{
    struct replay_op *op = &g->native->slots[g->at.op];

    if (op->kind == REPLAY_END)
        return;
    g->rip[g->at.op] += replay_length(op);
    runs(g->native, g->at.op);
}

bool native_guest_handles(const struct native_guest *n, unsigned vector)
{
    return n->handlers[vector] != NULL;
}

uint32_t native_guest_enter(struct native_guest *n, unsigned vector)
{
    uint32_t slot = n->g->frame_count;

    n->event[slot].entered = true;
    n->event[slot].vector = (uint8_t)vector;
    runs(n, slot);
    n->g->rip[slot] = rip_of(n, (const void *)(uintptr_t)n->handlers[vector]);
    return slot;
}

// --- Its life. ---

static void *stack_create(void)
{
    char *base = mmap(NULL, NATIVE_STACK_BYTES_GUEST + GUARD_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

    if (base == MAP_FAILED)
        return NULL;
    mprotect(base, GUARD_BYTES, PROT_NONE);
    return base + GUARD_BYTES;
}

void native_guest_reset(struct native_guest *n, uint64_t run_seed)
{
    forget_frames(n);
    n->begun = false;
    n->level = 0;
    n->config.env.seed = n->run_seed + run_seed * 0x9e3779b97f4a7c15ull;
    memset(n->handlers, 0, sizeof n->handlers);
    memset(n->event, 0, sizeof n->event);
    for (uint32_t i = 0; i < NATIVE_SLOTS; i++)
        runs(n, i);
    n->g->rip[0] = n->program.initial_rip;
}

void native_guest_free(struct native_guest *n)
{
    if (!n)
        return;
    munmap(n->stack - GUARD_BYTES, NATIVE_STACK_BYTES_GUEST + GUARD_BYTES);
    free(n);
}

const char *native_guest_register(struct machine *m, uint64_t idtr_base,
                                  const struct native_guest_config *config)
{
    struct native_guest *n = calloc(1, sizeof *n);
    const char *wrong;

    assert(n);
    n->stack = stack_create();
    if (!n->stack) {
        free(n);
        return "no memory for the stack of a native guest";
    }
    n->config = *config;
    n->run_seed = config->env.seed;
    n->text_offset = NATIVE_TEXT_BASE - config->program->bias;
    n->slots[NATIVE_SLOTS].kind = REPLAY_END;
    n->program = (struct replay_program){.name = "native",
                                         .ops = n->slots,
                                         .op_count = NATIVE_SLOTS + 1,
                                         .initial_rip = native_program_entry(config->program),
                                         .linear = config->linear};
    memset(n->program.handler, 0xff, sizeof n->program.handler); // REPLAY_NO_HANDLER
    wrong = replay_register(m, idtr_base, &n->program);
    if (wrong) {
        native_guest_free(n);
        return wrong;
    }
    n->g = replay_find(m, idtr_base);
    n->g->native = n;
    native_guest_reset(n, 0);
    return NULL;
}
