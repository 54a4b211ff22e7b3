// SPDX-License-Identifier: Apache-2.0
// Shadow pages of nested guests: what L2's accesses map, what L1 gets to see, what happens to L1's memory;
// and when reverse maps come.
#include "hv/core/dirty_log.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/errno.h"
#include "hv/mmu/shadow.h"
#include "hv/x86/tests/nested_fixture.h"

#define MIB (1ull << 20)
#define EPTP12 0x1001eull
#define WRITE QUAL_EPT_WRITE
#define READ QUAL_EPT_READ
#define LINEAR (QUAL_EPT_LINEAR_VALID | QUAL_EPT_TRANSLATED)

static struct vm *vm_of(void)
{
    return t.v->vcpu.vm;
}
static const struct memslot *slot0(void)
{
    return id_to_memslot(vm_memslots(vm_of(), 0), 0);
}
static struct rmap_head *head_of(gfn_t gfn, unsigned level)
{
    return gfn_to_rmap(slot0(), gfn, level);
}
// The only shadow entry of a page; 0: none.
static u64 leaf(gfn_t gfn, unsigned level)
{
    const struct rmap_head *head = head_of(gfn, level);

    return rmap_empty(head) ? 0 : *rmap_any(head);
}
static void put(u64 at, u64 entry)
{
    EXPECT_EQ(vm_write_guest(vm_of(), gpa(at), &entry, sizeof(entry)), 0);
}
// Root 0x10000, then 0x11000, 0x12000; L2's 0..2 MiB by the table at 0x13000: page n is L1's 0x100 + n.
static void make_ept12(void)
{
    put(0x10000, 0x11007);
    put(0x11000, 0x12007);
    put(0x12000, 0x13007);
    for (u64 i = 0; i < 64; i++)
        put(0x13000 + i * 8, (0x100 + i) << PAGE_SHIFT | 0x37);
    nested_start(EPTP12);
}
static u64 seen_by_l1(void)
{
    return V12(t.v->nested, VM_EXIT_REASON) & EXIT_REASON_BASIC_MASK;
}
// L2 gets there: L1 sees only its end.
static void works(u64 gpa, u64 qualification)
{
    EXPECT_EQ(l2_access(gpa, qualification), 0);
    EXPECT_EQ(seen_by_l1(), EXIT_REASON_TRIPLE_FAULT);
}

static struct knobs knobs;
static int with_l1(enum knob_value rmaps, unsigned page_shift, void (*body)(void))
{
    knobs_defaults(&knobs);
    knobs.v[KNOB_MMU_RMAPS] = rmaps;
    return with_vm(
        &(struct test_vm_options){
            .irqchip = true, .page_shift = page_shift, .memory_bytes = 4 * MIB, .knobs = &knobs},
        body);
}

// --- Mapping.

static void maps(void)
{
    make_ept12();
    works(0x5123, WRITE);
    u64 spte = leaf(0x105, 1);
    u8 *user = (u8 *)hv_syscall(HV_SYS_TOUCH, t.memory + (0x105 << 12), 1, 0, 0);

    EXPECT_EQ((u64)pfn_to_va(vm_of()->host, spte_pfn(spte)), (u64)user);
    EXPECT_EQ(spte & (EPT_RWX | EPT_A | EPT_D), EPT_RWX); // No flags: L1 has none.
    EXPECT_EQ(vm_of()->mmu->shadow->page_count, 4);
    EXPECT_EQ(vm_of()->mmu->shadow->mapped, 1);
    // Rights are those of both stages.
    put(0x13000 + 6 * 8, 0x106 << PAGE_SHIFT | 0x31);
    works(0x6000, READ);
    EXPECT_EQ(leaf(0x106, 1) & EPT_RWX, EPT_READ);
    put(0x13000 + 7 * 8, 0x107 << PAGE_SHIFT | 0x34);
    works(0x7000, QUAL_EPT_FETCH);
    EXPECT_EQ(leaf(0x107, 1) & EPT_RWX, EPT_EXEC);
    EXPECT_EQ(vm_of()->mmu->shadow->page_count, 4);
    // One page under many addresses: a chain.
    for (u64 i = 0; i < 40; i++) {
        put(0x13000 + (64 + i) * 8, 0x150 << PAGE_SHIFT | 0x37);
        works((64 + i) << PAGE_SHIFT, WRITE);
    }
    EXPECT_EQ(vm_of()->mmu->shadow->mapped, 43);
    EXPECT_EQ(hv_syscall(HV_SYS_MADVISE_FREE, t.memory + (0x150 << 12), 4096, 0, 0), 0);
    EXPECT_EQ(vm_of()->mmu->shadow->mapped, 3);
    EXPECT_TRUE(rmap_empty(head_of(0x150, 1)));
}
TEST(Shadow, LeavesHoldBothTranslationsAndTheirRights)
{
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY, 12, maps), 0);
}

static void large(void)
{
    put(0x10000, 0x11007);
    put(0x11000, 0x12007);
    put(0x12000, 0x2000b7); // L2's 0..2 MiB are L1's 2..4 MiB.
    nested_start(EPTP12);
    works(0x5123, WRITE);
}
static void large_host(void)
{
    large();
    EXPECT_EQ(leaf(0x200, 2) & (EPT_PS | EPT_RWX), EPT_PS | EPT_RWX);
    EXPECT_EQ(vm_of()->mmu->shadow->page_count, 3);
}
static void small_host(void)
{
    large();
    EXPECT_TRUE(rmap_empty(head_of(0x200, 2)));
    EXPECT_EQ(leaf(0x205, 1) & EPT_RWX, EPT_RWX);
    EXPECT_EQ(vm_of()->mmu->shadow->page_count, 4); // The last one is direct.
    works(0x6000, READ);
    EXPECT_TRUE(leaf(0x206, 1) != 0);
    EXPECT_EQ(vm_of()->mmu->shadow->page_count, 4);
    // L1 puts a table there: the fault finds out, and what stood there is gone.
    put(0x12000, 0x13007);
    put(0x13000 + 9 * 8, 0x109 << PAGE_SHIFT | 0x37);
    works(0x9000, WRITE);
    EXPECT_TRUE(rmap_empty(head_of(0x205, 1)));
    EXPECT_TRUE(leaf(0x109, 1) != 0);
    EXPECT_EQ(vm_of()->mmu->shadow->page_count, 4);
}
TEST(Shadow, LargePagesAreAsLargeAsBothStagesAllow)
{
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY, 21, large_host), 0);
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY, 12, small_host), 0);
}

// --- What L1 sees (SDM 27.2.1, 28.3.3).

static void reflections(void)
{
    static const struct {
        const char *what;
        u64 at, entry, access, reason, qualification;
    } rows[] = {
        {"page not there", 0x13000 + 5 * 8, 0, WRITE, EXIT_REASON_EPT_VIOLATION, WRITE},
        {"read-only", 0x13000 + 5 * 8, 0x105031, WRITE, EXIT_REASON_EPT_VIOLATION, WRITE | QUAL_EPT_READABLE},
        {"not executable", 0x13000 + 5 * 8, 0x105033, QUAL_EPT_FETCH, EXIT_REASON_EPT_VIOLATION,
         QUAL_EPT_FETCH | QUAL_EPT_READABLE | QUAL_EPT_WRITABLE},
        {"read-only table", 0x12000, 0x13001, WRITE, EXIT_REASON_EPT_VIOLATION, WRITE | QUAL_EPT_READABLE},
        {"no table", 0x11000, 0, READ, EXIT_REASON_EPT_VIOLATION, READ},
        {"write-only", 0x13000 + 5 * 8, 0x105032, READ, EXIT_REASON_EPT_MISCONFIG, 0},
        {"memory type 3", 0x13000 + 5 * 8, 0x10501f, READ, EXIT_REASON_EPT_MISCONFIG, 0},
        {"reserved bit of a table", 0x12000, 0x13047, READ, EXIT_REASON_EPT_MISCONFIG, 0},
        {"a table where no memory is", 0x12000, 0x7fff0007, READ, EXIT_REASON_EPT_MISCONFIG, 0},
    };

    make_ept12();
    for (u32 i = 0; i < ARRAY_COUNT(rows); i++) {
        u64 before = 0;

        test_row("%s", rows[i].what);
        EXPECT_EQ(vm_read_guest(vm_of(), gpa(rows[i].at), &before, 8), 0);
        put(rows[i].at, rows[i].entry);
        EXPECT_EQ(l2_access(0x5123, rows[i].access | LINEAR), 0);
        EXPECT_EQ(seen_by_l1(), rows[i].reason);
        bool violation = rows[i].reason == EXIT_REASON_EPT_VIOLATION;

        EXPECT_EQ(V12(t.v->nested, EXIT_QUALIFICATION), rows[i].qualification | (violation ? LINEAR : 0));
        EXPECT_EQ(V12(t.v->nested, GUEST_PHYSICAL_ADDRESS), 0x5123);
        put(rows[i].at, before);
    }
    EXPECT_EQ(vm_of()->mmu->shadow->mapped, 0);
    works(0x5123, WRITE);
    EXPECT_FALSE(t.v->vcpu.mmu->shadowing);
}
TEST(Shadow, ViolationsAndMisconfigurationsOfL1sTablesAreL1s)
{
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY, 12, reflections), 0);
}

static s64 invept(u64 type, u64 eptp)
{
    vcpu_load(&t.v->vcpu);
    int result = run_vmx_insn(&(struct vmx_insn){EXIT_REASON_INVEPT, eptp, type, OK});

    vcpu_put(&t.v->vcpu);
    return result;
}
static void invalidation(void)
{
    make_ept12();
    works(0x5000, WRITE);
    // What L1 took away may stay until it says so, what it added is found.
    put(0x13000 + 5 * 8, 0);
    EXPECT_TRUE(leaf(0x105, 1) != 0);
    EXPECT_EQ(invept(INVEPT_SINGLE, 0x3001e), OK); // Another root.
    EXPECT_TRUE(leaf(0x105, 1) != 0);
    EXPECT_EQ(invept(INVEPT_SINGLE, EPTP12), OK);
    EXPECT_TRUE(rmap_empty(head_of(0x105, 1)));
    EXPECT_EQ(vm_of()->mmu->shadow->page_count, 4);
    EXPECT_EQ(l2_access(0x5000, WRITE), 0);
    EXPECT_EQ(seen_by_l1(), EXIT_REASON_EPT_VIOLATION);
    put(0x13000 + 5 * 8, 0x108037);
    works(0x5000, WRITE);
    EXPECT_TRUE(leaf(0x108, 1) != 0);
    // A table that was left and comes back does not bring old entries along.
    works(0x6000, WRITE);
    put(0x12000, 0x14007);
    put(0x14000 + 7 * 8, 0x107037);
    works(0x7000, WRITE);
    EXPECT_TRUE(rmap_empty(head_of(0x106, 1)));
}
TEST(Shadow, InveptDropsWhatTheTablesOfItsRootDoNotSayAnyMore)
{
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY, 12, invalidation), 0);
}

// L2's page 5 is L1's 0x105; `entry` is what L1 makes of it. Does INVEPT of all keep what maps it?
static bool kept_by_invept(u64 entry)
{
    u64 was = 0x105037;

    put(0x13000 + 5 * 8, was);
    works(0x5000, WRITE);
    u64 before = vm_of()->tlbs_dirty;

    put(0x13000 + 5 * 8, entry);
    EXPECT_EQ(invept(INVEPT_ALL, 0), OK);
    bool kept = !rmap_empty(head_of(0x105, 1));

    EXPECT_EQ(vm_of()->tlbs_dirty, before + !kept); // Counted, not flushed.
    return kept;
}
static void comparison(void)
{
    static const struct {
        const char *what;
        u64 entry;
        bool kept;
    } rows[] = {
        {"nothing changed", 0x105037, true},
        {"software's bits", 0x105037 | 1ull << 60, true},
        {"the way to X lost", 0x105033, false},
        {"W lost", 0x105035, false},
        {"another page", 0x106037, false},
        {"not there any more", 0, false},
        {"misconfigured: W without R", 0x105036, false},
        {"misconfigured: memory type", 0x105017, false},
    };

    make_ept12();
    for (unsigned i = 0; i < ARRAY_COUNT(rows); i++) {
        test_row("%s", rows[i].what);
        EXPECT_EQ(kept_by_invept(rows[i].entry), rows[i].kept);
    }
    // A table that is another one now takes what is below along, and flushes: it is freed.
    put(0x13000 + 5 * 8, 0x105037);
    works(0x5000, WRITE);
    put(0x12000, 0x14007);
    EXPECT_EQ(invept(INVEPT_ALL, 0), OK);
    EXPECT_EQ(vm_of()->mmu->shadow->page_count, 3);
    EXPECT_EQ(vm_of()->tlbs_dirty, 0);
}
TEST(Shadow, InveptKeepsWhatAFaultWouldMakeAgainAndCountsTheOthers)
{
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY, 12, comparison), 0);
}

// A dropped leaf is in no reverse map, and another processor may still have it cached.
static void postponed(void)
{
    make_ept12();
    works(0x5000, WRITE);
    put(0x13000 + 5 * 8, 0);
    u64 flushes = vm_of()->remote_tlb_flush_count;

    EXPECT_EQ(invept(INVEPT_ALL, 0), OK);
    EXPECT_EQ(vm_of()->tlbs_dirty, 1);
    EXPECT_EQ(vm_of()->remote_tlb_flush_count, flushes);
    EXPECT_EQ(hv_syscall(HV_SYS_MADVISE_FREE, t.memory + (0x105 << 12), 4096, 0, 0), 0);
    EXPECT_EQ(vm_of()->remote_tlb_flush_count, flushes + 1);
    EXPECT_EQ(vm_of()->tlbs_dirty, 0);
    EXPECT_EQ(hv_syscall(HV_SYS_MADVISE_FREE, t.memory + (0x105 << 12), 4096, 0, 0), 0);
    EXPECT_EQ(vm_of()->remote_tlb_flush_count, flushes + 1);
}
TEST(Shadow, WhoTakesAPageAwayMakesUpForFlushesThatWerePutOff)
{
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY, 12, postponed), 0);
}

// --- What happens to L1's memory.

static s64 set_slot(u32 flags, u64 gpa, u64 size)
{
    struct hv_user_memory_region *region = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);

    *region = (struct hv_user_memory_region){
        .flags = flags, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = t.memory};
    return hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, region);
}
static bool logged(gfn_t gfn)
{
    struct hv_dirty_log *log = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);
    u64 *bits = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);

    *log = (struct hv_dirty_log){.bitmap = (u64)bits};
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_GET_DIRTY_LOG, log), 0);
    return bitmap_test(bits, gfn);
}

static void dirty(void)
{
    make_ept12();
    works(0x5000, WRITE);
    works(0x6000, WRITE);
    EXPECT_EQ(fake_counter("dirty_log_write_locks"), 0);
    EXPECT_EQ(set_slot(HV_MEM_LOG_DIRTY_PAGES, 0, t.memory_bytes), 0);
    EXPECT_EQ(fake_counter("dirty_log_write_locks"), 1);
    EXPECT_FALSE(is_writable(leaf(0x105, 1)));
    EXPECT_FALSE(logged(0x105));
    works(0x5000, WRITE | QUAL_EPT_READABLE);
    EXPECT_TRUE(is_writable(leaf(0x105, 1)));
    EXPECT_FALSE(is_writable(leaf(0x106, 1)));
    EXPECT_TRUE(logged(0x105));
    EXPECT_FALSE(is_writable(leaf(0x105, 1)));
    EXPECT_FALSE(logged(0x105));
    EXPECT_EQ(fake_counter("dirty_log_write_locks"), 4);
    // What is only read while the slot logs may not be written.
    works(0x7000, READ);
    EXPECT_EQ(leaf(0x107, 1) & EPT_RWX, EPT_READ | EPT_EXEC);
    EXPECT_FALSE(logged(0x107));
    EXPECT_EQ(set_slot(0, 0, t.memory_bytes), 0);
    EXPECT_EQ(vm_of()->mmu->shadow->mapped, 0);
}
TEST(Shadow, DirtyLoggingReachesL2sMappings)
{
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY, 12, dirty), 0);
}

static void dirty_large(void)
{
    large();
    EXPECT_EQ(set_slot(HV_MEM_LOG_DIRTY_PAGES, 0, t.memory_bytes), 0);
    EXPECT_FALSE(is_writable(leaf(0x200, 2)));
    works(0x5000, WRITE | QUAL_EPT_READABLE);
    EXPECT_TRUE(rmap_empty(head_of(0x200, 2)));
    EXPECT_TRUE(is_writable(leaf(0x205, 1)));
    EXPECT_TRUE(logged(0x205));
    EXPECT_EQ(set_slot(0, 0, t.memory_bytes), 0);
    works(0x5000, WRITE);
    EXPECT_EQ(leaf(0x200, 2) & (EPT_PS | EPT_WRITE), EPT_PS | EPT_WRITE);
}
TEST(Shadow, LargeLeavesAreSmallWhileTheSlotLogs)
{
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY, 21, dirty_large), 0);
}

static void zaps(void)
{
    make_ept12();
    works(0x5000, WRITE);
    works(0x6000, WRITE);
    EXPECT_EQ(hv_syscall(HV_SYS_MADVISE_FREE, t.memory + (0x105 << 12), 4096, 0, 0), 0);
    EXPECT_TRUE(rmap_empty(head_of(0x105, 1)));
    EXPECT_TRUE(leaf(0x106, 1) != 0);
    // All at once: the generation moves on, the root is made anew.
    u64 generation = vm_of()->mmu->shadow->valid_gen;
    const struct shadow_page *root = t.v->vcpu.mmu->shadow->root;

    shadow_zap_all(vm_of());
    EXPECT_EQ(vm_of()->mmu->shadow->valid_gen, generation + 1);
    EXPECT_EQ(vm_of()->mmu->shadow->page_count, 0);
    EXPECT_TRUE(root->invalid);
    works(0x6000, WRITE);
    EXPECT_FALSE(t.v->vcpu.mmu->shadow->root->invalid);
    EXPECT_EQ(vm_of()->mmu->shadow->mapped, 1);
    // A slot that moves or goes takes them along; its arrays move and go as well.
    EXPECT_EQ(set_slot(0, 64 * MIB, t.memory_bytes), 0);
    EXPECT_EQ(vm_of()->mmu->shadow->page_count, 0);
    EXPECT_TRUE(head_of((64 * MIB >> 12) + 5, 1) != NULL);
    EXPECT_EQ(set_slot(0, 0, t.memory_bytes), 0);
    works(0x6000, WRITE);
    EXPECT_EQ(vm_of()->mmu->shadow->mapped, 1);
}
TEST(Shadow, ZapsFindWhatMapsAPage)
{
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY, 12, zaps), 0);
}

// --- When reverse maps come.

static void first_root(void)
{
    EXPECT_FALSE(vm_have_rmaps(vm_of()));
    put(0x10000, 0x11007);
    nested_start(0);
    EXPECT_EQ(l2_access(0x5000, WRITE), 0); // L2 on L1's tree needs none.
    EXPECT_EQ(fake_counter("mem.rmap_bytes"), 0);
    V12(t.v->nested, EPT_POINTER) = EPTP12;
    V12(t.v->nested, SECONDARY_VM_EXEC_CONTROL) = CPU2_ENABLE_EPT;
    t.v->nested->dirty = true;
    EXPECT_EQ(l2_access(0x5000, WRITE), 0);
    EXPECT_TRUE(vm_have_rmaps(vm_of()));
    EXPECT_EQ(fake_counter("mem.rmap_bytes"), 8 * (1024 + 2 + 1));
    EXPECT_EQ(l2_access(0x5000, WRITE), 0);
    EXPECT_EQ(fake_counter("mem.rmap_bytes"), 8 * (1024 + 2 + 1)); // Once.
    EXPECT_EQ(fake_violations(NULL), 0);
}
TEST(LazyRmaps, ComeWithTheFirstShadowRoot)
{
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY, 12, first_root), 0);
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY_NORELEASE, 12, first_root), 0); // Not to be told from it on x86.
}

static void from_the_start(void)
{
    EXPECT_TRUE(vm_have_rmaps(vm_of()));
    EXPECT_EQ(fake_counter("mem.rmap_bytes"), 8 * (1024 + 2 + 1));
    EXPECT_EQ(set_slot(HV_MEM_LOG_DIRTY_PAGES, 0, t.memory_bytes), 0);
    EXPECT_FALSE(logged(5));
    EXPECT_EQ(fake_counter("dirty_log_write_locks"), 2);
    make_ept12();
    works(0x5000, WRITE);
    EXPECT_EQ(fake_counter("mem.rmap_bytes"), 8 * (1024 + 2 + 1));
}
TEST(LazyRmaps, EagerOnesComeWithTheSlot)
{
    EXPECT_EQ(with_l1(MMU_RMAPS_EAGER, 12, from_the_start), 0);
}

static void no_memory(void)
{
    struct host *host = vm_of()->host;
    struct list taken;

    make_ept12();
    list_init(&taken);
    for (unsigned order = PAGE_ORDER_COUNT; order-- > 1;)
        for (pfn_t pfn; (pfn = pages_alloc(host, order, MEM_KERNEL)) != PFN_NONE;) {
            struct list *block = pfn_to_va(host, pfn);

            list_add(block, &taken);
            ((u64 *)block)[2] = order;
        }
    EXPECT_EQ(l2_access(0x5000, WRITE), -ENOMEM);
    EXPECT_FALSE(vm_have_rmaps(vm_of()));
    EXPECT_FALSE(mutex_is_held_by_me(&vm_of()->slots_arch_lock));
    EXPECT_EQ(run_vm(), -ENOMEM);
    while (!list_empty(&taken)) {
        struct list *block = taken.next;

        list_unlink(block);
        pages_free(host, va_to_hpa(host, block).v >> PAGE_SHIFT, (unsigned)((u64 *)block)[2], MEM_KERNEL);
    }
    EXPECT_EQ(run_vm(), 0); // It goes on where it stood: in front of L2's first instruction.
    EXPECT_TRUE(vm_have_rmaps(vm_of()));
    EXPECT_TRUE(leaf(0x105, 1) != 0);
    EXPECT_EQ(seen_by_l1(), EXIT_REASON_TRIPLE_FAULT);
}
TEST(LazyRmaps, WithoutMemoryRunFailsAndMayBeTriedAgain)
{
    EXPECT_EQ(with_l1(MMU_RMAPS_LAZY, 12, no_memory), 0);
}
