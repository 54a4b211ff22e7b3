// SPDX-License-Identifier: Apache-2.0
// The instructions of hv/hw/cpu.h in root operation.
#include "models/cpu/x86/x86_state.h"

#include "hv/hw/board.h"
#include "models/apic/assigned_msi.h"
#include "models/apic/lapic.h"
#include "models/cpu/native/native.h"
#include "models/cpu/native/watch.h"
#include "models/cpu/uarch/uarch.h"
#include "models/dev/link.h"
#include "models/mem/mem.h"
#include "models/memory/memory.h"
#include <assert.h>

struct pcpu *x86_instruction(uint64_t cycles, bool serializing)
{
    struct pcpu *c = pcpu_current;

    assert(c);
    if (serializing)
        mem_store_drain(c);
    pcpu_charge_cycles(c, cycles);
    pcpu_checkpoint(c);
    return pcpu_current;
}

#define COST(name) (pcpu_current->uarch->op.name##_cycles)

enum hw_fault hw_rdmsr(u32 msr, u64 *value)
{
    struct pcpu *c = x86_instruction(msrs_read_cycles(pcpu_current, msr), false);

    return msrs_read(c, msr, value);
}

enum hw_fault hw_wrmsr(u32 msr, u64 value)
{
    // WRMSR is serializing, except for the x2APIC registers and the TSC deadline (SDM 10.12.3).
    struct pcpu *c = x86_instruction(msrs_write_cycles(pcpu_current, msr), msrs_serializing(msr));

    return msrs_write(c, msr, value);
}

void hw_cpuid(u32 leaf, u32 subleaf, struct hw_cpuid_regs *out)
{
    x86_cpuid(x86_instruction(COST(cpuid), true), leaf, subleaf, out);
}

u64 hw_rdtsc(void)
{
    return pcpu_tsc(x86_instruction(COST(rdtsc), false));
}

u64 hw_rdtsc_ordered(void)
{
    return pcpu_tsc(x86_instruction(COST(lfence) + COST(rdtsc), false));
}

u64 hw_read_cr(unsigned n)
{
    return x86_cr(x86_instruction(COST(mov_cr_read), false), n);
}

enum hw_fault hw_write_cr(unsigned n, u64 value)
{
    // CR8 is not serializing (SDM 8.3).
    return x86_write_cr(x86_instruction(n == 3 ? COST(mov_cr3) : COST(mov_cr_write), n != 8), n, value);
}

u64 hw_read_dr(unsigned n)
{
    struct pcpu *c = x86_instruction(COST(mov_dr_read), false);

    assert(n < 8);
    return c->x86->dr[n == 4 || n == 5 ? n + 2 : n];
}

enum hw_fault hw_write_dr(unsigned n, u64 value)
{
    return x86_write_dr(x86_instruction(COST(mov_dr_write), true), n, value);
}

enum hw_fault hw_xsetbv(u32 index, u64 value)
{
    return x86_write_xcr(x86_instruction(COST(xsetbv), false), index, value);
}

void hw_sti(void)
{
    struct pcpu *c = x86_instruction(COST(sti), false);

    // Taken at the next hook at the earliest: the one-instruction shadow.
    c->irqs_enabled = true;
    pcpu_update_limit(c);
}

void hw_cli(void)
{
    struct pcpu *c = x86_instruction(COST(cli), false);

    c->irqs_enabled = false;
    pcpu_update_limit(c);
}

bool hw_irqs_enabled(void)
{
    return x86_instruction(COST(pushf), false)->irqs_enabled;
}

void hw_sti_hlt(void)
{
    struct pcpu *c = x86_instruction(COST(sti), false);

    c->irqs_enabled = true;
    pcpu_charge_cycles(c, c->uarch->op.hlt_enter_cycles);
    pcpu_halt(c);
}

void hw_pause(void)
{
    native_watch_pause(x86_instruction(COST(pause), false));
}

void hw_mb_after_locked(void)
{
    struct pcpu *c = pcpu_hooked;

    if (c && c->machine->memory)
        memory_fence(c->machine->memory, c->index, MEMORY_SEQ_CST);
    native_watch_event(c, &(struct native_event){.kind = NATIVE_EVENT_FENCE});
}

u64 hw_rdgsbase(void)
{
    // As cheap as reading a register: no scheduling point of its own, its block is one.
    return MSR_VALUE(pcpu_current, IA32_GS_BASE);
}

void hw_wrgsbase(u64 value)
{
    MSR_VALUE(pcpu_current, IA32_GS_BASE) = value;
}

// --- Ports. ---

static bool input_port(uint16_t port)
{
    return port >= BOARD_PORT_INPUT && port < BOARD_PORT_INPUT + 4 * BOARD_INPUT_VMS && port % 4 == 0;
}

uint32_t x86_port_in(struct pcpu *c, uint16_t port, unsigned size)
{
    uint32_t value = UINT32_MAX;

    if (assigned_msi_port(port))
        value = assigned_msi_in(c, port);
    else if (link_port(port))
        value = link_in(c, port);
    else if (input_port(port) && size == 4 && c->machine->console_input)
        value = c->machine->console_input(c->machine, (port - BOARD_PORT_INPUT) / 4);
    return size == 4 ? value : value & ((1u << (8 * size)) - 1);
}

void x86_port_out(struct pcpu *c, uint16_t port, unsigned size, uint32_t value)
{
    struct machine *m = c->machine;

    if (port == BOARD_PORT_POWER && size == 2 && (value & BOARD_POWER_SLP_EN) && m->power_off)
        m->power_off(m, c->host);
    else if (port == BOARD_PORT_CONSOLE && size == 4 && m->console)
        m->console(m, value >> 8, (uint8_t)value);
    else if (port == BOARD_PORT_END && size == 4 && m->guest_end)
        m->guest_end(m, value & 0xff, (enum guest_end)(value >> 8 & 0xff), value >> 16);
    else if (link_port(port))
        link_out(c, port, value);
}

u32 hw_in(u16 port, unsigned size_bytes)
{
    struct pcpu *c = x86_instruction(COST(in), true);

    assert(size_bytes == 1 || size_bytes == 2 || size_bytes == 4);
    return x86_port_in(c, port, size_bytes);
}

void hw_out(u16 port, unsigned size_bytes, u32 value)
{
    struct pcpu *c = x86_instruction(COST(out), true);

    assert(size_bytes == 1 || size_bytes == 2 || size_bytes == 4);
    x86_port_out(c, port, size_bytes, value);
}

// --- Caches and TLB. ---

void hw_invlpg(u64 linear)
{
    // Root translations of hv are models/mem's, whose mappings never change.
    struct pcpu *c = x86_instruction(COST(invlpg), true);

    tlb_flush_linear(&c->x86->mmu->tlb, 0, 0, linear);
}

void hw_wbinvd(void)
{
    x86_instruction(COST(wbinvd), true);
}

void hw_clflush(const void *p)
{
    struct pcpu *c = x86_instruction(1, false);

    // Ordered with stores to the line, which must reach memory: data lives in the arena already.
    mem_store_drain(c);
    mem_access(c, native_pointer_hpa(c, p), 1, MEM_RMW);
}
