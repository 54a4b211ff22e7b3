// SPDX-License-Identifier: Apache-2.0
#include "traces/bench/mix.h"

#include "hv/hw/trace.h"
#include "spec/exit_reasons.h"

#include <stdio.h>

static uint64_t mix_random(struct mix *mix, uint64_t below)
{
    mix->random = mix->random * 6364136223846793005u + 1442695040888963407u;
    return (mix->random >> 33) % below;
}

static void mix_pass(struct mix *mix, uint64_t cycles)
{
    mix->tick += cycles * TRACE_TICKS_PER_CYCLE + mix_random(mix, TRACE_TICKS_PER_CYCLE);
}

void mix_init(struct mix *mix, struct trace *trace)
{
    static const char *const instr[] = {"cpuid", "wrmsr 0x6e0", "out 0x3f8", "mov [rax], rbx"};
    static const char *const path[] = {"fastpath", "kernel", "user"};
    static const char *const span[] = {"vm.exit", "exit.handle", "vm.entry"};
    char name[32];

    *mix = (struct mix){.trace = trace, .random = 1};
    for (uint32_t i = 0; i < MIX_FUNCTIONS; i++) {
        snprintf(name, sizeof name, "vmx_function_%u", i);
        mix->functions[i] = trace_text(trace, name);
    }
    for (int i = 0; i < 4; i++)
        mix->instr[i] = trace_text(trace, instr[i]);
    for (int i = 0; i < 3; i++) {
        mix->path[i] = trace_text(trace, path[i]);
        mix->span[i] = trace_text(trace, span[i]);
    }
    mix->route = trace_text(trace, "ioapic");
    mix->lock = trace_text(trace, "vm->mmu_lock");
    mix->kind = trace_text(trace, "spin");
    mix->hit = trace_text(trace, "l2");
    mix->result = trace_text(trace, "ok");
}

// A call tree of MIX_CALLS calls, four deep.
static void mix_calls(struct mix *mix, uint32_t thread, uint64_t choice)
{
    static const uint8_t shape[] = {1, 1, 0, 1, 1, 0, 0, 0, 1, 0}; // begin or end, five calls

    for (int i = 0; i < MIX_CALLS / 5; i++)
        for (size_t j = 0; j < sizeof shape; j++) {
            mix_pass(mix, 10 + mix_random(mix, 40));
            if (shape[j])
                trace_call_begin(mix->trace, thread,
                                 mix->functions[(choice * 20 + (uint64_t)i * 5 + j) % MIX_FUNCTIONS],
                                 mix->tick);
            else
                trace_call_end(mix->trace, thread, mix->tick);
        }
}

static void mix_span(struct mix *mix, struct trace_where where, int which, uint64_t begin)
{
    struct trace_span span = {
        .where = where, .name = mix->span[which], .begin_tick = begin, .end_tick = mix->tick};

    trace_span(mix->trace, &span);
}

static void mix_user(struct mix *mix, struct trace_where where, uint32_t thread, uint64_t begin)
{
    struct trace_irq irq = {.where = where,
                            .vector = 0x31,
                            .route = mix->route,
                            .raised_tick = begin,
                            .injected_tick = mix->tick,
                            .delivered_tick = mix->tick + 1000,
                            .eoi_tick = mix->tick + 20000};
    struct trace_lock lock = {.where = where,
                              .thread = thread,
                              .holder = TRACE_NO_THREAD,
                              .name = mix->lock,
                              .kind = mix->kind,
                              .address = 0x7f0000,
                              .wait_tick = begin,
                              .acquired_tick = begin,
                              .released_tick = mix->tick};
    struct trace_walk walk = {.where = where,
                              .result = mix->result,
                              .step_count = 4,
                              .dimension = 1,
                              .access = 1,
                              .gva = UINT64_MAX,
                              .gpa = mix_random(mix, 1u << 31),
                              .hpa = mix_random(mix, 1u << 31),
                              .tick = begin,
                              .ticks = 3200};
    struct trace_walk_step steps[4];

    for (uint8_t i = 0; i < 4; i++)
        steps[i] = (struct trace_walk_step){.address = 0x100000u + 8 * mix_random(mix, 4096),
                                            .entry = 0x7000u + mix_random(mix, 1u << 30),
                                            .ticks = 800,
                                            .hit = mix->hit,
                                            .stage = 2,
                                            .level = (uint8_t)(4 - i)};
    trace_irq(mix->trace, &irq);
    trace_lock(mix->trace, &lock);
    trace_walk(mix->trace, &walk, steps);
}

void mix_exit(struct mix *mix)
{
    static const uint16_t reasons[] = {EXIT_REASON_CPUID, EXIT_REASON_MSR_WRITE, EXIT_REASON_IO_INSTRUCTION,
                                       EXIT_REASON_EPT_VIOLATION};
    uint32_t vcpu = mix->vcpu++ % MIX_VCPUS, thread = 1 + vcpu;
    uint64_t choice = mix_random(mix, 4), user = mix_random(mix, 8) == 0;
    struct trace_where where = {.pcpu = (uint16_t)vcpu, .vm = 1, .vcpu = (uint16_t)vcpu, .level = 1};
    struct trace_exit e = {.where = where,
                           .thread = thread,
                           .reason = reasons[choice],
                           .arch = TRACE_ARCH_X86,
                           .instr = mix->instr[choice],
                           .path = mix->path[user ? 2 : choice % 2],
                           .hw_exit_ticks = 600 * 16,
                           .hw_entry_ticks = 500 * 16,
                           .qualification = choice == 2   ? 0x3f80000u
                                            : choice == 3 ? 0x182
                                                          : 0,
                           .rip = 0xffffffff81000000u + choice * 0x1234,
                           .gpa = choice == 3 ? mix_random(mix, 1u << 22) << 12 : 0,
                           .recorded_ns = TRACE_NOT_RECORDED};

    if (mix->vcpu <= MIX_VCPUS)
        trace_switch(mix->trace, (uint16_t)vcpu, TRACE_NO_THREAD, thread, mix->tick);
    e.guest_ticks = (1000 + mix_random(mix, 3000)) * 16;
    e.exit_tick = mix->tick += e.guest_ticks;
    e.seq = trace_exit_begin(mix->trace, thread, mix->tick);
    mix_pass(mix, 600);
    uint64_t begin = mix->tick;

    mix_calls(mix, thread, choice);
    const uint64_t cpuid[6] = {mix_random(mix, 32),       0, mix_random(mix, 1u << 31),
                               mix_random(mix, 1u << 31), 0, 0};

    trace_event(mix->trace, where, TP_KVM_CPUID, mix->tick, cpuid, 6);
    mix_span(mix, where, 0, begin);
    mix_span(mix, where, 1, begin + 500);
    if (user) {
        mix_pass(mix, 5000);
        e.device_ticks = 5000 * 16;
        mix_user(mix, where, thread, begin);
    }
    mix_span(mix, where, 2, begin + 900);
    const uint64_t entry[2] = {vcpu, e.rip};

    trace_event(mix->trace, where, TP_KVM_ENTRY, mix->tick, entry, 2);
    mix_pass(mix, 500);
    e.entry_tick = mix->tick;
    e.hv_ticks = e.entry_tick - e.exit_tick - e.hw_exit_ticks - e.hw_entry_ticks - e.device_ticks;
    trace_exit(mix->trace, &e);
}
