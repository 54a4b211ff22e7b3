// SPDX-License-Identifier: Apache-2.0
// Instructions of native guests: each is the op of a stream, executed by the same code (spec/native_guest.h).
#include "models/cpu/x86/native_guest_run.h"
#include "models/cpu/x86/replay_exec.h"
#include "models/cpu/x86/trace_exit.h"
#include "models/cpu/x86/x86_state.h"

#include "hv/hw/trace.h"
#include "models/cpu/uarch/uarch.h"
#include "models/timer/tsc.h"
#include <assert.h>

static const uint8_t lengths[REPLAY_OP_COUNT] = {
#define REPLAY_OP(name, word, args, min, max, length, section) [REPLAY_##name] = length,
#include "models/cpu/x86/replay_ops.def"
#undef REPLAY_OP
};

// The guest's registers after the instruction.
static const struct hw_gprs *execute(enum replay_op_kind kind, uint64_t a0, uint64_t a1, uint64_t a2,
                                     const void *pc)
{
    struct native_guest *n = native_running;
    const struct replay_op op = {.kind = (uint8_t)kind, .length = lengths[kind], .args = {a0, a1, a2}};

    native_instruction(n, &op, pc);
    return &n->cpu->x86->vmx.gpr;
}

static uint64_t edx_eax(const struct hw_gprs *r)
{
    return (uint32_t)r->r[RAX] | r->r[RDX] << 32;
}

#define HERE __builtin_return_address(0)

uint32_t guest_in(uint16_t port, unsigned size_bytes)
{
    return (uint32_t)execute(REPLAY_IN, port, size_bytes, 0, HERE)->r[RAX];
}

void guest_out(uint16_t port, unsigned size_bytes, uint32_t value)
{
    execute(REPLAY_OUT, port, size_bytes, value, HERE);
}

void guest_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    const struct hw_gprs *r = execute(REPLAY_CPUID, leaf, subleaf, 0, HERE);

    out[0] = (uint32_t)r->r[RAX];
    out[1] = (uint32_t)r->r[RBX];
    out[2] = (uint32_t)r->r[RCX];
    out[3] = (uint32_t)r->r[RDX];
}

uint64_t guest_rdmsr(uint32_t msr)
{
    return edx_eax(execute(REPLAY_RDMSR, msr, 0, 0, HERE));
}

void guest_wrmsr(uint32_t msr, uint64_t value)
{
    execute(REPLAY_WRMSR, msr, value, 0, HERE);
}

uint64_t guest_rdtsc(void)
{
    return edx_eax(execute(REPLAY_RDTSC, 0, 0, 0, HERE));
}

uint64_t guest_vmcall(uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3)
{
    struct native_guest *n = native_running;
    const struct replay_op op = {
        .kind = REPLAY_VMCALL, .length = lengths[REPLAY_VMCALL], .args = {number, a0, a1, a2, a3}};

    native_instruction(n, &op, HERE);
    return n->cpu->x86->vmx.gpr.r[RAX];
}

void guest_hlt(void)
{
    execute(REPLAY_HLT, 0, 0, 0, HERE);
}

void guest_pause(void)
{
    execute(REPLAY_PAUSE, 1, 0, 0, HERE);
}

void guest_sti(void)
{
    execute(REPLAY_STI, 0, 0, 0, HERE);
}

void guest_cli(void)
{
    execute(REPLAY_CLI, 0, 0, 0, HERE);
}

void guest_eoi(void)
{
    execute(REPLAY_EOI, 0, 0, 0, HERE);
}

void guest_flush_page(uint64_t linear)
{
    execute(REPLAY_INVLPG, linear, 0, 0, HERE);
}

uint64_t guest_read_cr(unsigned n)
{
    return execute(REPLAY_MOVFROMCR, n, 0, 0, HERE)->r[RAX];
}

void guest_write_cr(unsigned n, uint64_t value)
{
    execute(REPLAY_MOVTOCR, n, value, 0, HERE);
}

// --- Not instructions. ---

void guest_work(uint64_t tsc_cycles)
{
    struct native_guest *n = native_running;
    const struct uarch_clock *k = &n->cpu->uarch->clock;

    n->gap_ticks = tsc_to_ticks(tsc_cycles, k->core_khz, k->tsc_khz);
    if (n->gap_ticks)
        native_turn(n, HERE);
}

void guest_set_handler(unsigned vector, void (*handler)(unsigned vector))
{
    assert(vector < 256 && "guest program: no such vector");
    native_running->handlers[vector] = handler;
}

void guest_mark(uint64_t phase)
{
    hw_trace(TP_GUEST_MARK, native_running->config.env.vcpu, phase, 0, 0, 0, 0);
}

void guest_fail(const char *what, uint64_t a0, uint64_t a1)
{
    trace_vmx_violation(native_running->cpu, what, a0, a1);
}
