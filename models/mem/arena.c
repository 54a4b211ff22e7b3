// SPDX-License-Identifier: Apache-2.0
// Host physical memory: one sparse reserved region per simulated host.
#include "models/mem/mem.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct arena {
    uint64_t bytes;
} arenas[HW_ARENA_HOSTS_MAX];

static void *arena_base(unsigned host)
{
    return (void *)(uintptr_t)(HW_ARENA_BASE + host * HW_ARENA_STRIDE);
}

// The operating system's page table as it shows it to us: 8 bytes a page, bit 63 present, bit 62 swapped out.
// An open file shows the process that opened it, so a forked child opens its own.
#define PAGEMAP_HELD (3ull << 62)
static struct {
    int file;
    pid_t owner; // 0: not opened yet.
} pagemap;

static void pagemap_open(void)
{
    if (pagemap.owner != getpid()) {
        if (pagemap.owner && pagemap.file >= 0)
            close(pagemap.file);
        pagemap.file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        pagemap.owner = getpid();
    }
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
    pagemap_open(); // Here, so that restarts of a later photograph do not open it again and again.
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

static bool pagemap_read(uint64_t address, uint32_t pages, uint64_t *entries)
{
    ssize_t bytes = (ssize_t)(pages * sizeof *entries);

    pagemap_open();
    memset(entries, 0,
           (size_t)bytes); // An explorer protects memory, and what is protected read() cannot fill.
    return pagemap.file >= 0 &&
           pread(pagemap.file, entries, (size_t)bytes, (off_t)(address / 4096 * 8)) == bytes;
}

void mem_arena_untouched(unsigned host, uint64_t hpa, uint32_t pages, uint64_t untouched[8])
{
    uint64_t entries[MEM_UNTOUCHED_PAGES_MAX];

    assert(pages <= MEM_UNTOUCHED_PAGES_MAX && hpa % 4096 == 0);
    memset(untouched, 0, MEM_UNTOUCHED_PAGES_MAX / 8);
    if (!pagemap_read(HW_ARENA_BASE + host * HW_ARENA_STRIDE + hpa, pages, entries))
        return;
    for (uint32_t i = 0; i < pages; i++)
        if (!(entries[i] & PAGEMAP_HELD))
            untouched[i / 64] |= 1ull << i % 64;
}

void *mem_hpa_to_ptr(const struct pcpu *c, uint64_t hpa, uint64_t size_bytes)
{
    uint64_t bytes = arenas[c->host].bytes;

    if (hpa > bytes || size_bytes > bytes - hpa)
        return NULL;
    return (char *)arena_base(c->host) + hpa;
}
