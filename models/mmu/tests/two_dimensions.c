// SPDX-License-Identifier: Apache-2.0
#include "models/mmu/tests/two_dimensions.h"

#include "spec/vmx_controls.h"
#include "spec/x86_bits.h"
#include <string.h>

struct two_dimensions td;

#define CAPS                                                                                                 \
    (EPT_CAP_WALK_4 | EPT_CAP_WALK_5 | EPT_CAP_WB | EPT_CAP_2M | EPT_CAP_1G | EPT_CAP_AD | EPT_CAP_EXIT_INFO)
#define TABLE (X86_PTE_P | X86_PTE_RW | X86_PTE_US | X86_PTE_A)

uint64_t td_guest_get(uint64_t gpa)
{
    return fake_get64(HPA_OF(gpa));
}

void td_guest_set(uint64_t gpa, uint64_t value)
{
    fake_set64(HPA_OF(gpa), value);
}

static void tables(void)
{
    fake_mem_reset();
    fake_set64(0x1000, 0x2107);
    fake_set64(0x2000, 0x3107);
    fake_set64(0x3000, 0x4107);
    fake_set64(0x4000, 0x5107);
    for (uint64_t gpa = 0; gpa < 0x40000; gpa += 0x1000)
        fake_set64(EPT_PTE(gpa), HPA_OF(gpa) | 0x337);
    td_guest_set(GUEST_PML5E, 0x2000 | TABLE);
    td_guest_set(GUEST_PML4E, 0x3000 | TABLE);
    td_guest_set(GUEST_PDPTE, 0x4000 | TABLE);
    td_guest_set(GUEST_PDE, 0x5000 | TABLE);
    td_guest_set(GUEST_PTE, 0x9000 | X86_PTE_P | X86_PTE_RW | X86_PTE_A | X86_PTE_D);
}

static void sizes(struct uarch *u, unsigned caches)
{
    struct uarch_paging_cache *p = &u->paging_cache;

    if (caches & TD_TLB) {
        u->dtlb.entries_4k = u->itlb.entries_4k = 8, u->dtlb.ways_4k = u->itlb.ways_4k = 4;
        u->dtlb.entries_2m = u->itlb.entries_2m = 4, u->dtlb.ways_2m = u->itlb.ways_2m = 4;
        u->dtlb.entries_1g = 2, u->dtlb.ways_1g = 2;
        u->stlb.entries = 32, u->stlb.ways = 4, u->stlb.holds_2m = 1;
    }
    if (caches & TD_TABLES)
        p->pml5_entries = p->pml4_entries = p->pdpt_entries = p->pd_entries = 4;
    if (caches & TD_EPT_TABLES)
        p->ept_pml5_entries = p->ept_pml4_entries = p->ept_pdpt_entries = p->ept_pd_entries = 4;
    if (caches & TD_NESTED)
        p->nested_entries = p->nested_ways = 8;
}

void td_load(const struct mmu_space *s)
{
    struct mmu_space copy;

    memcpy(&copy, s, sizeof copy);
    mmu_set_space(td.mmu, &copy);
}

void td_make(unsigned caches, unsigned guest_levels, unsigned ept_levels)
{
    struct mmu_space s;

    memset(&td, 0, sizeof td);
    td.uarch.address.physical_bits = 46;
    td.uarch.vmx_cap.ept_vpid = CAPS;
    td.uarch.l1d.latency_cycles = 4;
    td.uarch.l2.latency_cycles = 14;
    td.uarch.l3.latency_cycles = 70;
    td.uarch.memory.dram_cycles = 200;
    td.uarch.stlb.latency_cycles = 9;
    td.uarch.paging_cache.walk_start_cycles = 5;
    sizes(&td.uarch, caches);
    td.cpu.uarch = &td.uarch;
    td.cpu.machine = &td.machine;
    tables();
    td.mmu = mmu_create(&td.cpu);
    memset(&s, 0, sizeof s);
    s.paging.cr3 = guest_levels == 5 ? 0x1000 : 0x2000;
    s.paging.levels = (uint8_t)guest_levels;
    s.paging.wp = s.paging.nxe = s.paging.pge = s.paging.pages_1g = true;
    s.ept = ept_levels != 0;
    s.eptp = ept_levels == 5 ? 0x1026 : 0x201e;
    s.tag.ep4ta = EPTP_EP4TA(s.eptp);
    s.tag.vpid = 1;
    mmu_set_space(td.mmu, &s);
    fake_access_count = 0;
}

void td_end(void)
{
    mmu_destroy(td.mmu);
}

unsigned td_references(unsigned stage)
{
    unsigned count = 0;

    for (unsigned i = 0; i < td.mmu->walk.step_count; i++)
        count += td.mmu->walk.steps[i].stage == stage;
    return count;
}
