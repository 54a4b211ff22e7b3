// SPDX-License-Identifier: Apache-2.0
// What fake_hw.c (processors, time) and fake_insn.c (instructions, records) share.
#ifndef HV_TESTS_FAKE_STATE_H
#define HV_TESTS_FAKE_STATE_H

#include "hv/tests/fake_hw.h"
#include <ucontext.h>

#define FAKE_CPUS_MAX 8u
#define FAKE_CONTEXTS_MAX 512u
#define FAKE_MSRS_MAX 192u
#define FAKE_LVT_TIMER 0x832u
#define FAKE_VMCS_MAX 16u
#define FAKE_COUNTERS_MAX 64u

struct fake_context {
    ucontext_t uc;
    u64 id;
    void *stack;
    u64 stack_bytes;
    void (*entry)(void *);
    void *arg;
    bool live;
    char name[32];
};

struct fake_vmcs {
    u64 hpa; // 0: free
    bool launched;
    u64 *fields; // By encoding, 32768 of them.
};

struct fake_cpu {
    u32 id;
    bool started, halted, irqs, nmi, in_nmi, user, vmx;
    u64 gs_base;
    u64 irr[4];
    u64 deadline;
    u64 cr[16], xcr0;
    const struct hw_vectors *vectors;
    struct fake_context *current;
    struct fake_vmcs *vmcs;
    struct {
        u32 msr;
        u64 value;
    } msrs[FAKE_MSRS_MAX];
    u32 msr_count;
};

struct fake {
    struct fake_config config;
    struct fake_cpu cpus[FAKE_CPUS_MAX];
    struct fake_cpu *cpu; // That executes now.
    struct fake_context *contexts[FAKE_CONTEXTS_MAX];
    u32 context_count;
    ucontext_t main_uc;
    bool inside, arena_mapped, quiet;
    u64 time, points, random, next_deadline;
    u32 turn_left;
    void (*body)(void *);
    void *body_arg;
    char panic[256];

    struct fake_event *events;
    u64 event_count, event_room;
    struct {
        const char *name;
        u64 count;
    } violations[FAKE_COUNTERS_MAX], counters[FAKE_COUNTERS_MAX];
    u32 violation_names, counter_names;
    u64 delivered[256];
    struct {
        u32 msr;
        u64 count;
    } msr_writes[FAKE_MSRS_MAX];
    struct fake_vmcs vmcs[FAKE_VMCS_MAX];
    fake_guest_fn guest;
};
extern struct fake fake;

void fake_point(u64 points);
void fake_stop(const char *why) __attribute__((noreturn));
bool fake_irq_pending(const struct fake_cpu *c);
void fake_start_ap(u32 cpu);
void fake_default_msrs(struct fake_cpu *c);
// hv_boot(), whose own header belongs to hv/core.
void hv_boot_entry(const struct hw_bootinfo *info) __asm__(HW_BOOT_ENTRY_NAME) __attribute__((noreturn));

#endif
