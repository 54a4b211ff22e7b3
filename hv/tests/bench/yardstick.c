// SPDX-License-Identifier: Apache-2.0
// The core compiled plainly, on the fake hardware: what a unit of its work takes when nobody simulates
// anything. yardstick [ROUNDS]: lines of name, rounds done, picoseconds a round. For tools/bench/ratio.sh.
//
// Exits: one HV_RUN whose guest makes the same exit again and again, as a replay guest does on the models.
// Other work is work.c's. In the figures: the fake's own part (a call of a few instructions for each hw_*).
#include "hv/api.h"
#include "hv/hw/guest.h"
#include "hv/tests/bench/work.h"
#include "hv/tests/fake_hw.h"
#include "hv/x86/regs.h"
#include "spec/exit_reasons.h"
#include "spec/vmcs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPEATS 15

struct exit_kind {
    const char *name;
    u32 reason, length;
    u64 rax, rcx, rdx;
};
static const struct exit_kind exit_kinds[] = {
    {"cpuid", EXIT_REASON_CPUID, 2, 0, 0, 0},
    {"wrmsr", EXIT_REASON_MSR_WRITE, 2, 1, 0x48, 0},
    {"vmcall", EXIT_REASON_VMCALL, 3, 1, 0, 0},
    {"rdmsr", EXIT_REASON_MSR_READ, 2, 0, 0x1a0, 0},
};

static struct {
    u64 rounds, left, done;
    const struct exit_kind *kind;
    u64 picoseconds; // Of the whole, the fastest of REPEATS
} b;

// The guest's memory is not looked at by these exits.
bool hw_guest_is_stream(void)
{
    return true;
}
void hw_guest_read_xmm(unsigned n, u64 value[2])
{
    (void)n, (void)value;
}
void hw_guest_write_xmm(unsigned n, const u64 value[2])
{
    (void)n, (void)value;
}
bool hw_guest_read_mmx(unsigned n, u64 *value)
{
    (void)n, (void)value;
    return false;
}
bool hw_guest_write_mmx(unsigned n, u64 value)
{
    (void)n, (void)value;
    return false;
}
unsigned hw_guest_fetch(u8 *bytes, unsigned max)
{
    (void)bytes, (void)max;
    return 0;
}
bool hw_guest_read_operand(u64 linear, void *buf, unsigned size)
{
    (void)linear, (void)buf, (void)size;
    return false;
}

bool hw_guest_translate(u64 linear, u64 *gpa)
{
    *gpa = linear;
    return true;
}

static u64 now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static enum hw_vmx_status guest(struct hw_gprs *r, bool launch)
{
    const struct exit_kind *k = b.kind;

    (void)launch;
    if (b.left == 0) {
        fake_vmcs_write(VM_EXIT_REASON, EXIT_REASON_TRIPLE_FAULT);
        return HW_VMX_OK;
    }
    b.left--;
    b.done++;
    r->r[GPR_RAX] = k->rax;
    r->r[GPR_RCX] = k->rcx;
    r->r[GPR_RDX] = k->rdx;
    fake_vmcs_write(VM_EXIT_REASON, k->reason);
    fake_vmcs_write(VM_EXIT_INSTRUCTION_LEN, k->length);
    return HW_VMX_OK;
}

static bool set_cpuid(struct work *w)
{
    struct hv_cpuid2 *c = (void *)hv_mmap(64u << 10, 12, HV_MAP_DIRECT);

    c->nent = 128;
    return hv_ioctl_ptr(HV_HANDLE_SYSTEM, HV_GET_SUPPORTED_CPUID, c) == 0 &&
           hv_ioctl_ptr(w->vcpu, HV_SET_CPUID2, c) == 0;
}

static void exits(void *arg)
{
    struct work w;

    b.kind = arg;
    if (!work_prepare(&w) || !set_cpuid(&w))
        return;
    b.left = b.rounds;
    fake_set_guest(guest);
    fake_quiet(true);
    u64 begin = now_ns();

    hv_ioctl(w.vcpu, HV_RUN, 0);
    b.picoseconds = (now_ns() - begin) * 1000;
    fake_quiet(false);
}

static void other(void *arg)
{
    struct work w;

    if (!work_prepare(&w))
        return;
    fake_quiet(true);
    u64 begin = now_ns();
    s64 done = work_do(&w, arg, b.rounds);

    b.picoseconds = (now_ns() - begin) * 1000;
    fake_quiet(false);
    b.done = done < 0 ? 0 : (u64)done;
}

static int measure(const char *name, void (*body)(void *), const void *arg)
{
    u64 best = UINT64_MAX;

    for (unsigned i = 0; i < REPEATS; i++) {
        struct fake_config config = {.cpus = 1, .memory_bytes = 256u << 20};

        b.done = 0;
        if (fake_run(&config, body, (void *)(uintptr_t)arg) != 0 || b.done == 0) {
            fprintf(stderr, "yardstick: %s: %s\n", name, fake_panic());
            return 1;
        }
        if (b.picoseconds < best)
            best = b.picoseconds;
    }
    printf("%s %llu %llu\n", name, (unsigned long long)b.done, (unsigned long long)(best / b.done));
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const works[] = {"memslot", "prefault", "yield"};
    int failed = 0;

    b.rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 200000;
    for (unsigned i = 0; i < sizeof exit_kinds / sizeof *exit_kinds; i++)
        failed |= measure(exit_kinds[i].name, exits, &exit_kinds[i]);
    for (unsigned i = 0; i < sizeof works / sizeof *works; i++)
        failed |= measure(works[i], other, works[i]);
    return failed;
}
