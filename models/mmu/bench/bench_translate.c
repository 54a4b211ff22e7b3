// SPDX-License-Identifier: Apache-2.0
/*
 * How fast a guest's addresses are translated: bench_translate [MILLIONS].
 *
 * A guest of 1 GiB in 4-KiB pages, 4 levels in both dimensions, on skylake-sp with every cache modelled. One
 * of twenty accesses goes to a page that no TLB has and walks, each of its references through the modelled
 * data caches; the others go round 48 pages. Prints the fastest of five rounds, the same with hits alone, and
 * whole loads that hit, as guest code makes them (models/cpu/x86/guest_fast.h).
 */
#include "models/mem/core.h"
#include "models/mem/mem.h"
#include "models/mmu/mmu.h"
#include "spec/vmx_bits.h"
#include "spec/x86_bits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GUEST_PAGES 262144ull // 1 GiB
#define HOT_PAGES 48u
#define ROUNDS 5
// Host memory: the guest's from 4 MiB on, tables of the EPT behind it.
#define GUEST_HPA 0x400000ull
#define EPT_HPA (GUEST_HPA + GUEST_PAGES * 4096)
#define ARENA_BYTES (EPT_HPA + (8ull << 20))
// Guest's tables at the end of its memory: PML4, PDPT, PD, then 512 page tables.
#define TABLES_GPA ((GUEST_PAGES - 520) * 4096)

static struct machine machine;
static struct pcpu cpu;

static void put(uint64_t hpa, uint64_t value)
{
    *(uint64_t *)mem_hpa_to_ptr(&cpu, hpa, 8) = value;
}

// Four levels at `root` (tables one after another) that map the pages from 0 on to `to`; `base`: what a
// table's own address is seen at.
static void map(uint64_t root_hpa, uint64_t base, uint64_t to, uint64_t table_flags, uint64_t page_flags)
{
    put(root_hpa, (base + 0x1000) | table_flags);
    put(root_hpa + 0x1000, (base + 0x2000) | table_flags);
    for (uint64_t i = 0; i < GUEST_PAGES / 512; i++)
        put(root_hpa + 0x2000 + i * 8, (base + 0x3000 + i * 0x1000) | table_flags);
    for (uint64_t i = 0; i < GUEST_PAGES; i++)
        put(root_hpa + 0x3000 + i * 8, (to + i * 4096) | page_flags);
}

static struct mmu *build(const struct uarch *u)
{
    static struct pcpu *list[] = {&cpu};
    struct mmu_space s;
    struct mmu *m;

    machine.cpus = list;
    machine.cpu_count = 1;
    machine.uarch = u;
    cpu.machine = &machine;
    cpu.uarch = u;
    cpu.limit_ticks = TICKS_NEVER;
    if (mem_arena_create(0, ARENA_BYTES)) {
        perror("bench_translate: memory");
        exit(2);
    }
    cpu.mem = mem_core_create(&cpu);
    map(GUEST_HPA + TABLES_GPA, TABLES_GPA, 0, X86_PTE_P | X86_PTE_RW | X86_PTE_A,
        X86_PTE_P | X86_PTE_RW | X86_PTE_A | X86_PTE_D);
    map(EPT_HPA, EPT_HPA, GUEST_HPA, EPT_RWX | EPT_A, EPT_RWX | EPT_A | EPT_D | 6ull << EPT_MEMTYPE_SHIFT);
    m = mmu_create(&cpu);
    memset(&s, 0, sizeof s);
    s.paging.cr3 = TABLES_GPA;
    s.paging.levels = 4;
    s.paging.wp = s.paging.nxe = s.paging.pages_1g = true;
    s.ept = true;
    s.eptp = EPT_HPA | EPTP_WALK_4 | EPTP_AD | 6;
    s.tag.ep4ta = EPTP_EP4TA(s.eptp);
    s.tag.vpid = 1;
    mmu_set_space(m, &s);
    return m;
}

static uint64_t sum; // Keeps the compiler from leaving the work out.

// As guest_translate() in models/cpu/x86 does it.
static inline void touch(struct mmu *m, uint64_t linear)
{
    uint64_t hpa = 0;

    if (!mmu_hit(m, linear, EPT_ACCESS_READ, MMU_SUPERVISOR, &hpa) &&
        mmu_translate(m, linear, EPT_ACCESS_READ, MMU_SUPERVISOR, &hpa) != MMU_OK)
        abort();
    sum += hpa;
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// `stride` 20: every twentieth access is cold; 0: none is.
static double round_of(struct mmu *m, uint64_t count, unsigned stride)
{
    uint64_t cold = 0;
    double begin = seconds();

    for (uint64_t i = 0; i < count; i += HOT_PAGES)
        for (unsigned p = 0; p < HOT_PAGES; p++) {
            if (stride && (i + p) % stride == 0) {
                cold = (cold + 7919) % (GUEST_PAGES - 1024); // Prime: comes round after all others.
                touch(m, (cold + 256) * 4096);
            } else {
                touch(m, p * 4096ull + 8);
            }
        }
    return seconds() - begin;
}

static double round_of_loads(struct mmu *m, uint64_t count)
{
    double begin = seconds();

    for (uint64_t i = 0; i < count; i += HOT_PAGES)
        for (unsigned p = 0; p < HOT_PAGES; p++) {
            uint64_t hpa, value;
            const unsigned char *at = mmu_ordinary(m, p * 4096ull + 8 + p % 8 * 64, 8, EPT_ACCESS_READ,
                                                   &hpa); // Over sets of the cache.

            if (!at)
                abort();
            mem_time_guest_load(m->cpu, hpa, 8);
            memcpy(&value, at, 8);
            sum += value;
        }
    return seconds() - begin;
}

static void measure(struct mmu *m, const char *what, uint64_t count, unsigned stride, bool whole)
{
    double best = 1e9;
    struct mmu_counters before = m->counters;

    for (unsigned i = 0; i < ROUNDS; i++) {
        double s = whole ? round_of_loads(m, count) : round_of(m, count, stride);

        best = s < best ? s : best;
    }
    uint64_t walks = m->counters.walks - before.walks;
    uint64_t references = m->counters.guest_references + m->counters.ept_references -
                          before.guest_references - before.ept_references;

    printf("%-10s %6.1f M/s, %5.1f ns each; %.2f %% walked, %.2f references a walk\n", what,
           (double)count / best / 1e6, best / (double)count * 1e9,
           100.0 * (double)walks / (double)(count * ROUNDS),
           walks ? (double)references / (double)walks : 0.0);
}

int main(int argc, char **argv)
{
    const char *source = getenv("HVSIM_SOURCE_DIR");
    uint64_t count = (argc > 1 ? strtoull(argv[1], NULL, 10) : 20) * 1000000;
    char path[600], error[700];

    snprintf(path, sizeof path, "%s/models/cpu/uarch/skylake-sp.yaml", source ? source : ".");
    struct uarch *u = uarch_load(path, error, sizeof error);

    if (!u) {
        fprintf(stderr, "%s\n", error);
        return 2;
    }
    struct mmu *m = build(u);

    measure(m, "5 % miss", count, 20, false);
    measure(m, "hits", count, 0, false);
    measure(m, "loads", count, 0, true);
    printf("(%" PRIu64 ")\n", sum & 1); // The sum is even: hpas of 4-KByte pages and 8.
    mmu_destroy(m);
    mem_core_destroy(cpu.mem);
    mem_arena_destroy();
    uarch_free(u);
    return 0;
}
