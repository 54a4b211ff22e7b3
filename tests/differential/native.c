// SPDX-License-Identifier: Apache-2.0
#include "tests/differential/native.h"
#include "spec/x86_bits.h"

#include <assert.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define PAGE 4096u

static struct native_state *running;
static unsigned char *code_page;
static uint64_t data_address, data_bytes;
static sigjmp_buf out;

_Static_assert(offsetof(struct native_state, gpr) == 512, "native_call() knows the layout");
_Static_assert(offsetof(struct native_state, rflags) == 640, "native_call() knows the layout");
_Static_assert(offsetof(struct native_state, code) == 648, "native_call() knows the layout");

void native_call(struct native_state *s);
__asm__(".pushsection .text\n"
        ".globl native_call\n"
        "native_call:\n"
        "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "mov %rdi, %r15\n"
        "fxrstor64 (%r15)\n"
        "push 640(%r15)\n popfq\n"
        "mov 512(%r15), %rax\n mov 520(%r15), %rcx\n mov 528(%r15), %rdx\n mov 536(%r15), %rbx\n"
        "mov 552(%r15), %rbp\n mov 560(%r15), %rsi\n mov 568(%r15), %rdi\n"
        "mov 576(%r15), %r8\n mov 584(%r15), %r9\n mov 592(%r15), %r10\n mov 600(%r15), %r11\n"
        "mov 608(%r15), %r12\n mov 616(%r15), %r13\n mov 624(%r15), %r14\n"
        "call *648(%r15)\n"
        "mov %rax, 512(%r15)\n mov %rcx, 520(%r15)\n mov %rdx, 528(%r15)\n mov %rbx, 536(%r15)\n"
        "mov %rbp, 552(%r15)\n mov %rsi, 560(%r15)\n mov %rdi, 568(%r15)\n"
        "mov %r8, 576(%r15)\n mov %r9, 584(%r15)\n mov %r10, 592(%r15)\n mov %r11, 600(%r15)\n"
        "mov %r12, 608(%r15)\n mov %r13, 616(%r15)\n mov %r14, 624(%r15)\n"
        "pushfq\n pop 640(%r15)\n"
        "fxsave64 (%r15)\n"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
        "ret\n"
        ".popsection\n");

static void reset_host(void)
{
    const uint32_t mxcsr = 0x1f80;

    __asm__ volatile("fninit\n\tldmxcsr %0\n\tcld" : : "m"(mxcsr));
}

// The trap number of the fault, and the state it left.
static void on_signal(int signal, siginfo_t *info, void *context)
{
    const ucontext_t *u = context;

    (void)signal, (void)info;
    running->vector = (unsigned)u->uc_mcontext.gregs[REG_TRAPNO];
    memcpy(running->fx, u->uc_mcontext.fpregs, sizeof running->fx);
    siglongjmp(out, 1);
}

void native_open(uint64_t address, uint64_t bytes)
{
    static const int signals[] = {SIGFPE, SIGSEGV, SIGILL, SIGBUS};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    void *data = mmap((void *)address, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    assert(data == (void *)address);
    code_page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(code_page != MAP_FAILED);
    data_address = address;
    data_bytes = bytes;
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

void native_run(struct native_state *s, const unsigned char *code, unsigned length)
{
    memcpy(code_page, code, length);
    code_page[length] = 0xc3;
    s->code = code_page;
    s->vector = NATIVE_NO_VECTOR;
    running = s;
    if (!sigsetjmp(out, 1))
        native_call(s);
    reset_host();
}

void native_close(void)
{
    munmap((void *)data_address, data_bytes);
    munmap(code_page, PAGE);
    for (int i = 1; i < 32; i++)
        if (i == SIGFPE || i == SIGSEGV || i == SIGILL || i == SIGBUS)
            signal(i, SIG_DFL);
}
