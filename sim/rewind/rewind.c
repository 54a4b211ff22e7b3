// SPDX-License-Identifier: Apache-2.0
#include "sim/rewind/rewind.h"
#include "sim/kernel.h"
#include "sim/rewind/inner.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__has_include)
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#define REWIND_RSEQ 1
#endif
#endif

#define HEAP_BYTES (64ull << 30)
// The heap's end is moved by this much before the photograph, so that executions do not.
#define HEAP_AHEAD_BYTES (64ull << 20)
// How far down the main stack is mapped before the photograph, at most.
#define STACK_AHEAD_BYTES (8ull << 20)
// The address space is looked at after executions with faults, else after every so many.
enum { CHECK_INTERVAL_MAX = 1024 };

struct rewinder *rewinder;
static struct rewind_stats last_stats;

const char *rewind_unsupported(void)
{
#if !defined(__x86_64__) || !defined(__linux__)
    return "restarting from a photograph needs x86-64 and Linux";
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return "restarting from a photograph does not go with sanitizers, whose shadow memory is terabytes";
#else
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
    return "restarting from a photograph does not go with sanitizers, whose shadow memory is terabytes";
#endif
#endif
    return sysconf(_SC_PAGESIZE) == PAGE_BYTES ? NULL : "restarting from a photograph needs pages of 4 KiB";
#endif
}

// --- Memory that survives. ---

// At its start: what is taken already.
static struct heap {
    _Alignas(64) size_t used;
} * heap;

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    SIM_CHECK(p != MAP_FAILED, "rewind: %zu bytes of address space cannot be reserved", bytes);
    return p;
}

static void heap_make(void)
{
    if (!heap) {
        heap = reserve(HEAP_BYTES);
        heap->used = sizeof *heap;
    }
}

void *rewind_alloc(size_t bytes)
{
    heap_make();
    SIM_CHECK(bytes <= HEAP_BYTES - heap->used, "rewind_alloc(%zu): out of memory", bytes);
    void *p = (char *)heap + heap->used;
    heap->used += (bytes + 63) / 64 * 64;
    return p;
}

void rewind_free(void)
{
    SIM_CHECK(!rewinder, "rewind_free() during an exploration");
    if (heap) {
        munmap(heap, HEAP_BYTES);
    }
    heap = NULL;
}

struct rewind_range rewind_heap_range(void)
{
    return (struct rewind_range){(uintptr_t)heap, heap ? (uintptr_t)heap + HEAP_BYTES : 0, 0, false};
}

// --- Before the photograph. ---

void rewind_prepare(void)
{
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, INT32_MAX);
}

static void heap_ahead(void)
{
    rewind_prepare();
    char *volatile block = malloc(HEAP_AHEAD_BYTES); // Volatile: compilers leave out a pair of calls.

    free(block);
}

// The main stack is mapped down to where it may grow: below what is protected, the kernel would let it grow
// by pages that nobody watches over.
static void main_stack_ahead(struct rewinder *r)
{
    struct rewind_range stack = rewind_maps_main_stack(r);
    struct rlimit limit;
    uint64_t bytes = STACK_AHEAD_BYTES;

    // Half of what is allowed: the kernel wants room between it and other mappings.
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur / 2 < bytes) {
        bytes = limit.rlim_cur / 2 / PAGE_BYTES * PAGE_BYTES;
    }
    if (stack.end - stack.begin < bytes) {
        *(volatile char *)(stack.end - bytes) = 0;
    }
}

// The kernel writes the number of the processor into struct rseq whenever a thread was preempted, and kills
// if it cannot.
static void keep_what_the_kernel_writes(struct rewinder *r)
{
#if defined(REWIND_RSEQ) && defined(__x86_64__)
    char *thread;

    if (__rseq_size) {
        __asm__("movq %%fs:0, %0" : "=r"(thread));
        rewind_pages_keep_open(r, thread + __rseq_offset);
    }
#else
    (void)r;
#endif
}

static void protect(struct rewinder *r)
{
    rewind_maps_learn(r);
    r->brk = (uintptr_t)sbrk(0);
    r->check_in = r->check_interval = 1;
    keep_what_the_kernel_writes(r);
    for (uint32_t i = 0; i < r->range_count; i++) {
        const struct rewind_range *range = &r->ranges[i];
        uintptr_t begin = range->begin, kept = (uintptr_t)r->kernel_live / PAGE_BYTES * PAGE_BYTES;
        bool ok = true;
        if (kept >= begin && kept < range->end) {
            ok = begin == kept || rewind_protect(begin, kept, range->prot & ~PROT_WRITE);
            begin = kept + PAGE_BYTES;
        }
        if (!ok || (begin < range->end && !rewind_protect(begin, range->end, range->prot & ~PROT_WRITE))) {
            rewind_die("hvsim: rewind: memory cannot be protected\n");
        }
    }
}

// --- From execution to execution. ---

static void restore(struct rewinder *r)
{
    uintptr_t brk = (uintptr_t)sbrk(0); // What the C library remembers: no system call.

    if (brk < r->brk) {
        rewind_die("hvsim: bug: rewind: an execution gave memory of the heap back\n");
    }
    rewind_pages_put_back(r);
    if (brk != r->brk) { // What comes above it again must be zero: calloc() relies on it.
        rewind_set_brk(r->brk);
    }
    // Who maps memory will mostly write to new pages as well.
    if (r->stats.faults != r->faults_seen || --r->check_in == 0) {
        bool found = rewind_maps_undo(r);
        r->check_interval = found ? 1 : r->check_interval * 2;
        if (r->check_interval > CHECK_INTERVAL_MAX) {
            r->check_interval = CHECK_INTERVAL_MAX;
        }
        r->check_in = r->check_interval;
        r->faults_seen = r->stats.faults;
    }
}

// On the explorer's stack.
static void explore(void)
{
    struct rewinder *r = rewinder;

    protect(r);
    r->explorer(r->arg);
    restore(r);
    for (uint32_t i = 0; i < r->range_count; i++) {
        rewind_protect(r->ranges[i].begin, r->ranges[i].end, r->ranges[i].prot);
    }
    rewind_signals_restore(r);
    rewind_switch(&r->nobody_sp, r->photograph_sp, REWIND_OVER);
    rewind_die("hvsim: bug: rewind: the explorer goes on after its end\n");
}

int rewind_begin(void (*explorer)(void *arg), void *arg)
{
    const char *reason = rewind_unsupported();

    SIM_CHECK(!rewinder, "rewind_begin() during an exploration");
    if (!reason && rewind_maps_threads() != 1) {
        reason = "restarting from a photograph needs a process of one thread";
    }
    if (reason) {
        fprintf(stderr, "hvsim: %s\n", reason);
        return REWIND_REFUSED;
    }
    int caller_errno = errno;
    fflush(NULL); // What is buffered now would be written once by every execution that flushes.
    heap_ahead();
    heap_make();
    struct rewinder *r = rewinder = reserve(sizeof *r);
    r->explorer = explorer;
    r->arg = arg;
    mprotect(r->guard, sizeof r->guard, PROT_NONE);
    rewind_copy_choose();
    main_stack_ahead(r);
    rewind_signals_install(r);

    char *top = r->explorer_stack + sizeof r->explorer_stack;
    errno = caller_errno;
    int value = rewind_switch(&r->photograph_sp, rewind_new_stack(top, explore), 0);
    if (value == REWIND_OVER) {
        last_stats = rewind_stats();
        munmap(r, sizeof *r);
        rewinder = NULL;
    }
    return value;
}

int rewind_run(int value)
{
    struct rewinder *r = rewinder;

    SIM_CHECK(r && !r->in_execution, "rewind_run(%d) outside of the explorer", value);
    SIM_CHECK(value >= 0, "rewind_run(%d)", value);
    restore(r);
    r->in_execution = true;
    r->stats.executions++;
    return rewind_switch(&r->explorer_sp, r->photograph_sp, value);
}

_Noreturn void rewind_end(int value)
{
    struct rewinder *r = rewinder;

    SIM_CHECK(r && r->in_execution, "rewind_end(%d) outside of an execution", value);
    r->in_execution = false;
    rewind_switch(&r->nobody_sp, r->explorer_sp, value);
    abort();
}

bool rewind_active(void)
{
    return rewinder != NULL;
}

struct rewind_stats rewind_stats(void)
{
    struct rewind_stats stats = rewinder ? rewinder->stats : last_stats;

    stats.pages = rewinder ? rewinder->page_count : stats.pages;
    return stats;
}
