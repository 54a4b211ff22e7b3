// SPDX-License-Identifier: Apache-2.0
// Host physical memory: one sparse reserved region per simulated host.
#include "models/mem/mem.h"
#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

static struct arena {
    uint64_t bytes;
} arenas[HW_ARENA_HOSTS_MAX];

static void *arena_base(unsigned host)
{
    return (void *)(uintptr_t)(HW_ARENA_BASE + host * HW_ARENA_STRIDE);
}

int mem_arena_create(unsigned host, uint64_t bytes)
{
    assert(host < HW_ARENA_HOSTS_MAX);
    if (bytes == 0 || bytes % 4096 || bytes > HW_STACK_HPA) {
        errno = EINVAL;
        return -1;
    }
    if (arenas[host].bytes == bytes)
        return 0;
    if (arenas[host].bytes)
        munmap(arena_base(host), arenas[host].bytes);
    arenas[host].bytes = 0;
    void *p = mmap(arena_base(host), bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (p == MAP_FAILED)
        return -1;
    if (p != arena_base(host)) { // A kernel older than MAP_FIXED_NOREPLACE takes it for a hint.
        munmap(p, bytes);
        errno = EEXIST;
        return -1;
    }
    arenas[host].bytes = bytes;
    return 0;
}

void mem_arena_reset(void)
{
    for (unsigned h = 0; h < HW_ARENA_HOSTS_MAX; h++)
        if (arenas[h].bytes && madvise(arena_base(h), arenas[h].bytes, MADV_DONTNEED))
            assert(!"madvise of the arena");
}

void mem_arena_dense(bool dense)
{
    // Only advice: a kernel without large pages refuses it.
    for (unsigned h = 0; h < HW_ARENA_HOSTS_MAX; h++)
        if (arenas[h].bytes)
            (void)madvise(arena_base(h), arenas[h].bytes, dense ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

void mem_arena_destroy(void)
{
    for (unsigned h = 0; h < HW_ARENA_HOSTS_MAX; h++) {
        if (arenas[h].bytes)
            munmap(arena_base(h), arenas[h].bytes);
        arenas[h].bytes = 0;
    }
}

uint64_t mem_arena_bytes(unsigned host)
{
    return arenas[host].bytes;
}

void *mem_hpa_to_ptr(const struct pcpu *c, uint64_t hpa, uint64_t size_bytes)
{
    uint64_t bytes = arenas[c->host].bytes;

    if (hpa > bytes || size_bytes > bytes - hpa)
        return NULL;
    return (char *)arena_base(c->host) + hpa;
}
