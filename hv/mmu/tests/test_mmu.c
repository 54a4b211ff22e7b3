// SPDX-License-Identifier: Apache-2.0
// Stage 2: which page sizes, what faults map, what zaps leave (SDM 28.3).
#include "hv/core/hostmm.h"
#include "hv/lib/errno.h"
#include "hv/mmu/tests/mmu_fixture.h"
#include <string.h>

#define MIB (1ull << 20)
#define GIB (1ull << 30)

TEST(Mmu, LevelIsTheLargestThatSlotHostPageAndKnobAllow)
{
    static const struct {
        gfn_t base;
        u64 npages;
        hva_t hva;
        gfn_t gfn;
        unsigned page_shift, max_level, want;
    } rows[] = {
        {0, 1 << 18, 0x7f0040000000, 5, 30, PG_LEVEL_1G, PG_LEVEL_1G},
        {0, 1 << 18, 0x7f0040000000, 5, 30, PG_LEVEL_2M, PG_LEVEL_2M}, // Knob.
        {0, 1 << 18, 0x7f0040000000, 5, 21, PG_LEVEL_1G, PG_LEVEL_2M}, // Host page.
        {0, 1 << 18, 0x7f0040000000, 5, 12, PG_LEVEL_1G, PG_LEVEL_4K},
        {0, (1 << 18) - 1, 0x7f0040000000, 5, 30, PG_LEVEL_1G, PG_LEVEL_2M}, // 1 GiB sticks out.
        {0, 600, 0x7f0040000000, 511, 30, PG_LEVEL_1G, PG_LEVEL_2M},
        {0, 600, 0x7f0040000000, 512, 30, PG_LEVEL_1G, PG_LEVEL_4K},     // Behind the last 2 MiB.
        {1, 1 << 18, 0x7f0040000000, 600, 30, PG_LEVEL_1G, PG_LEVEL_4K}, // Misaligned to each other.
        {1, 1 << 18, 0x7f0040001000, 600, 30, PG_LEVEL_1G, PG_LEVEL_2M}, // Equally misaligned.
        {1, 1 << 18, 0x7f0040001000, 1, 30, PG_LEVEL_1G, PG_LEVEL_4K},   // The first 2 MiB start before it.
        {0x200, 1 << 18, 0x7f0040000000, 0x300, 21, PG_LEVEL_1G, PG_LEVEL_2M}, // Equal below 2 MiB is enough.
    };
    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mmu_vm mmu = {.max_level = (u8)rows[i].max_level};
        struct memslot slot = {.base_gfn = rows[i].base, .npages = rows[i].npages, .hva = rows[i].hva};

        EXPECT_EQ(mmu_mapping_level(&mmu, &slot, rows[i].gfn, rows[i].page_shift), rows[i].want);
    }
}

TEST(Mmu, MmioEntriesKeepGfnAndGenerationAndAreMisconfigured)
{
    static const u64 generations[] = {0, 1, 0xff, 0x100, SPTE_MMIO_GEN_MASK};

    for (u32 i = 0; i < sizeof(generations) / sizeof(generations[0]); i++) {
        u64 spte = make_mmio_spte(0xfe000, generations[i]);

        EXPECT_TRUE(is_mmio(spte));
        EXPECT_FALSE(is_present(spte));
        EXPECT_EQ(spte & EPT_RWX, EPT_WRITE | EPT_EXEC); // SDM 28.3.3.1: writable, not readable.
        EXPECT_EQ(spte_pfn(spte), 0xfe000);
        EXPECT_EQ(mmio_spte_generation(spte), generations[i]);
    }
}

static void faults(void)
{
    unsigned level;
    u64 pages = vm_of()->mmu->page_count;

    EXPECT_FALSE(is_present(spte_at(5, &level)));
    EXPECT_EQ(level, 4u);
    fault(5 << 12, QUAL_EPT_WRITE);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
    u64 spte = spte_at(5, &level);

    EXPECT_EQ(level, PG_LEVEL_4K);
    EXPECT_EQ(spte & (EPT_RWX | EPT_A | EPT_D | EPT_MEMTYPE_MASK | EPT_PS),
              EPT_RWX | EPT_A | EPT_D | (u64)MEMTYPE_WB << EPT_MEMTYPE_SHIFT);
    // It maps the page which user space sees there.
    u8 *user = (u8 *)hv_syscall(HV_SYS_TOUCH, t.memory + (5 << 12), 1, 0, 0);

    EXPECT_EQ((u64)user, (u64)pfn_to_va(vm_of()->host, spte_pfn(spte)));
    EXPECT_EQ(vm_of()->mmu->page_count, pages + 3);
    // A second fault of the same address changes nothing.
    u64 sets = fake_trace_count(TP_KVM_MMU_SPTE_SET);

    fault(5 << 12, QUAL_EPT_READ);
    EXPECT_EQ(fake_trace_count(TP_KVM_MMU_SPTE_SET), sets);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_4K], 1);
    // Neighbours share tables.
    fault(6 << 12, QUAL_EPT_READ);
    EXPECT_EQ(vm_of()->mmu->page_count, pages + 3);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_4K], 2);
    // Zaps take the page out and free what became empty.
    mmu_zap_range(vm_of(), 5, 6);
    EXPECT_FALSE(is_present(spte_at(5, &level)));
    EXPECT_TRUE(is_present(spte_at(6, &level)));
    EXPECT_EQ(vm_of()->mmu->page_count, pages + 3);
    mmu_zap_all(vm_of());
    EXPECT_EQ(vm_of()->mmu->page_count, 0);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_4K], 0);
}
TEST(Mmu, FaultsMapOnceAndZapsFree)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, faults), 0);
}

static void large(void)
{
    struct hv_pre_fault_memory *p = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);
    unsigned level;

    fault(3 * MIB, QUAL_EPT_READ);
    u64 spte = spte_at(3 * MIB >> 12, &level);

    EXPECT_EQ(level, PG_LEVEL_2M);
    EXPECT_TRUE((spte & EPT_PS) != 0);
    EXPECT_EQ(spte & EPT_2M_RESERVED_LOW, 0);
    // The rest ahead of the guest: 16 MiB are 8 large pages, one is there.
    *p = (struct hv_pre_fault_memory){.size = t.memory_bytes};
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_PRE_FAULT_MEMORY, p), 0);
    EXPECT_EQ(p->size, 0);
    EXPECT_EQ(p->gpa, t.memory_bytes);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_2M], t.memory_bytes / (2 * MIB));
    // Prefetched entries are not accessed yet, but dirty: writable (as is everything that may be written).
    EXPECT_EQ(spte_at(9 * MIB >> 12, &level) & EPT_A, 0);
    *p = (struct hv_pre_fault_memory){.gpa = 1, .size = 4096};
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_PRE_FAULT_MEMORY, p), -EINVAL);
    *p = (struct hv_pre_fault_memory){.gpa = 1 * GIB, .size = 4096};
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_PRE_FAULT_MEMORY, p), -ENOENT);
    // A zap inside a large page takes it whole.
    mmu_zap_range(vm_of(), 1, 2);
    EXPECT_FALSE(is_present(spte_at(0, &level)));
    EXPECT_TRUE(is_present(spte_at(2 * MIB >> 12, &level)));
    // Memory that the process gives back disappears from the guest first.
    EXPECT_EQ(hv_syscall(HV_SYS_MADVISE_FREE, t.memory + 2 * MIB, 2 * MIB, 0, 0), 0);
    EXPECT_FALSE(is_present(spte_at(2 * MIB >> 12, &level)));
    EXPECT_TRUE(is_present(spte_at(4 * MIB >> 12, &level)));
}
TEST(Mmu, LargeHostPagesMapLarge)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){.memory_bytes = 16 * MIB, .page_shift = 21}, large), 0);
}

// What hostmm's invalidate_begin() says while pages are on their way out.
static void invalidation(void)
{
    struct vm *vm = vm_of();
    unsigned level;

    vm->mmu_invalidate_start = t.memory + 2 * MIB;
    vm->mmu_invalidate_end = t.memory + 4 * MIB;
    vm->mmu_invalidate_in_progress = 1;
    fault(2 * MIB, QUAL_EPT_WRITE);
    EXPECT_FALSE(is_present(spte_at(2 * MIB >> 12, &level)));
    fault(4 * MIB - 4096, QUAL_EPT_WRITE);
    EXPECT_FALSE(is_present(spte_at((4 * MIB >> 12) - 1, &level)));
    fault(4 * MIB, QUAL_EPT_WRITE);
    EXPECT_TRUE(is_present(spte_at(4 * MIB >> 12, &level)));
    vm->mmu_invalidate_in_progress = 0;
    fault(2 * MIB, QUAL_EPT_WRITE);
    EXPECT_TRUE(is_present(spte_at(2 * MIB >> 12, &level)));
}
TEST(Mmu, NothingMapsARangeThatIsBeingTaken)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){.memory_bytes = 16 * MIB, .page_shift = 21}, invalidation),
              0);
}

// --- Device memory: entry, exit to user space, and generations.

static u64 eax;
static void look(struct hw_gprs *r)
{
    eax = r->r[GPR_RAX];
    guest_exit(EXIT_REASON_TRIPLE_FAULT, 0, 0);
}
static void mmio(void)
{
    static const guest_step steps[] = {misconfig, look};
    static const u8 load[] = {0x8b, 0x07}; // mov eax, [rdi]
    struct hv_user_memory_region *region = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);
    unsigned level;

    guest_instruction(load, sizeof(load));
    fault(0xfe000010, QUAL_EPT_READ);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_MMIO);
    EXPECT_EQ(t.run->mmio.phys_addr, 0xfe000010);
    EXPECT_EQ(t.run->mmio.len, 4);
    EXPECT_EQ(t.run->mmio.is_write, 0);
    EXPECT_TRUE(is_mmio(spte_at(0xfe000, &level)));
    u64 rip = fake_vmcs_read(GUEST_RIP);

    memcpy(t.run->mmio.data, "\x78\x56\x34\x12", 4);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(fake_vmcs_read(GUEST_RIP), rip + 2);
    // The second access finds the entry: a misconfiguration.
    set_fault_gpa(0xfe000014);
    script_guest(steps, 2);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_MMIO);
    memcpy(t.run->mmio.data, "\xff\xff\xff\xff", 4);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(eax, 0xffffffff);
    // Memory appears in its place: the entry is out of date, the access is tried again and mapped.
    *region = (struct hv_user_memory_region){
        .slot = 1, .guest_phys_addr = 0xfe000000, .memory_size = 4096, .userspace_addr = t.memory};
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, region), 0);
    script_guest(steps, 1);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
    EXPECT_TRUE(is_present(spte_at(0xfe000, &level)));
    // And goes: nothing maps it any more.
    region->memory_size = 0;
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, region), 0);
    EXPECT_FALSE(is_present(spte_at(0xfe000, &level)));
}
TEST(Mmu, DeviceMemoryIsRememberedUntilSlotsChange)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, mmio), 0);
}

static void unknown_instruction(void)
{
    static const u8 addps[] = {0x0f, 0x58, 0x07};

    guest_instruction(addps, sizeof(addps));
    fault(0xfe000000, QUAL_EPT_WRITE);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_INTERNAL_ERROR);
    EXPECT_EQ(t.run->internal.suberror, HV_INTERNAL_ERROR_EMULATION);
    EXPECT_EQ(t.run->internal.data[0], 3);
    EXPECT_EQ(t.run->internal.data[1], 0x07580f);
}
TEST(Mmu, InstructionsThatCannotBeEmulatedAreShown)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, unknown_instruction), 0);
}

static void read_only(void)
{
    static const u8 store[] = {0x66, 0x89, 0x07}; // mov [rdi], ax
    struct hv_user_memory_region *region = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);
    unsigned level;

    *region = (struct hv_user_memory_region){.slot = 1,
                                             .flags = HV_MEM_READONLY,
                                             .guest_phys_addr = 0xfe000000,
                                             .memory_size = 4096,
                                             .userspace_addr = t.memory};
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, region), 0);
    fault(0xfe000000, QUAL_EPT_READ);
    EXPECT_EQ(spte_at(0xfe000, &level) & EPT_RWX, EPT_READ | EPT_EXEC);
    guest_instruction(store, sizeof(store));
    t.v->gprs.r[GPR_RAX] = 0xabcd;
    fault(0xfe000ffe, QUAL_EPT_WRITE | QUAL_EPT_READABLE);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_MMIO);
    EXPECT_EQ(t.run->mmio.is_write, 1);
    EXPECT_EQ(t.run->mmio.len, 2);
    EXPECT_MEMEQ(t.run->mmio.data, "\xcd\xab", 2);
}
TEST(Mmu, WritesToReadOnlyMemoryAreUserSpaces)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, read_only), 0);
}

static void page_crossing(void)
{
    static const u8 store[] = {0x89, 0x07}; // mov [rdi], eax

    guest_instruction(store, sizeof(store));
    t.v->gprs.r[GPR_RAX] = 0x44332211;
    fault(0xfe000fff, QUAL_EPT_WRITE);
    EXPECT_EQ(t.run->mmio.phys_addr, 0xfe000fff);
    EXPECT_EQ(t.run->mmio.len, 1);
    EXPECT_EQ(t.run->mmio.data[0], 0x11);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_MMIO);
    EXPECT_EQ(t.run->mmio.phys_addr, 0xfe001000);
    EXPECT_EQ(t.run->mmio.len, 3);
    EXPECT_MEMEQ(t.run->mmio.data, "\x22\x33\x44", 3);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
}
TEST(Mmu, AccessesAcrossAPageAreTwo)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, page_crossing), 0);
}
