// SPDX-License-Identifier: Apache-2.0
// Catching the first write to each page, on a stack that is not protected. Nothing here may call what could
// itself write to protected memory.
#include "sim/rewind/inner.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)
// Error code of a page fault (SDM 4.7): bit 0 a protection, bit 1 a write, bit 2 from user mode.
static bool is_write_to_protected(const ucontext_t *context)
{
    return context->uc_mcontext.gregs[REG_TRAPNO] == 14 && (context->uc_mcontext.gregs[REG_ERR] & 2);
}
#else
static bool is_write_to_protected(const ucontext_t *context)
{
    (void)context;
    return false;
}
#endif

// Whoever handled SIGSEGV before, or the default action, gets what is not ours: the instruction faults again.
static void forward(struct rewinder *r, const siginfo_t *info)
{
    sigaction(SIGSEGV, &r->old_segv, NULL);
    if (info->si_code <= 0) { // By kill(2): nothing will fault again. It arrives when the handler returns.
        kill(getpid(), SIGSEGV);
    }
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    struct rewinder *r = rewinder;
    uintptr_t address = (uintptr_t)info->si_addr;

    (void)number;
    if (info->si_code == SEGV_ACCERR && is_write_to_protected(context)) {
        const struct rewind_range *range = rewind_maps_find(r, address);
        if (range && rewind_pages_open(r, range, address)) {
            r->stats.faults++;
            return;
        }
    }
    forward(r, info);
}

void rewind_signals_install(struct rewinder *r)
{
    stack_t stack = {.ss_sp = r->signal_stack, .ss_size = sizeof r->signal_stack};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigaltstack(&stack, &r->old_signal_stack);
    // The kernel cannot put a frame on a protected stack; it kills instead.
    for (int i = 1; i < SIGNALS; i++) {
        struct sigaction other;
        if (sigaction(i, NULL, &other) == 0 && other.sa_handler != SIG_DFL && other.sa_handler != SIG_IGN &&
            !(other.sa_flags & SA_ONSTACK)) {
            other.sa_flags |= SA_ONSTACK;
            r->moved_to_signal_stack[i] = sigaction(i, &other, NULL) == 0;
        }
    }
    sigfillset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &r->old_segv);
}

void rewind_signals_restore(struct rewinder *r)
{
    sigaction(SIGSEGV, &r->old_segv, NULL);
    for (int i = 1; i < SIGNALS; i++) {
        struct sigaction other;
        if (r->moved_to_signal_stack[i] && sigaction(i, NULL, &other) == 0) {
            other.sa_flags &= ~SA_ONSTACK;
            sigaction(i, &other, NULL);
        }
    }
    sigaltstack(&r->old_signal_stack, NULL);
}
