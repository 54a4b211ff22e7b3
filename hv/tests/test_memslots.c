// SPDX-License-Identifier: Apache-2.0
// Memory slots: the rules of HV_SET_USER_MEMORY_REGION, lookups against a model, and the update beside
// readers.
#include "hv/core/memslots.h"
#include "hv/core/requests.h"
#include "hv/core/vm.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/tests/fake_arch.h"
#include "hv/tests/fake_hw.h"
#include "tests/shim/shim.h"

#define HVA 0x180000000000ull
#define MB (1ull << 20)

static void run_with(u32 cpus, u64 seed, const struct knobs *knobs, void (*body)(void *))
{
    struct fake_config config = {.cpus = cpus, .seed = seed, .knobs = knobs};
    fake_arch_reset();
    EXPECT_EQ(fake_run(&config, body, NULL), 0);
    EXPECT_STREQ(fake_panic(), "");
    EXPECT_EQ(fake_violations(NULL), 0);
}

static struct vm *new_vm(void)
{
    struct vm *vm = NULL;
    EXPECT_EQ(vm_create(this_host(), current_thread()->mm, 0, &vm), 0);
    return vm;
}

static int set(struct vm *vm, u32 slot, u32 flags, u64 gpa, u64 size, u64 hva)
{
    struct hv_user_memory_region r = {slot, flags, gpa, size, hva};
    return set_memory_region(vm, &r);
}

// All that a refused call must not touch.
static u64 state_hash(struct vm *vm)
{
    u64 hash = 14695981039346656037ull;
    for (unsigned as = 0; as < HV_ADDRESS_SPACES; as++) {
        const struct memslots *slots = vm->memslots[as];
        const u8 *bytes = (const u8 *)slots;
        u64 size = offsetof(struct memslots, slots) + sizeof(slots->slots[0]) * slots->used;
        for (u64 i = 0; i < size; i++)
            hash = (hash ^ bytes[i]) * 1099511628211ull;
    }
    struct host *host = vm->host;
    hash = (hash ^ host->heap.objects_in_use) * 1099511628211ull;
    hash = (hash ^ host->pages.free_pages) * 1099511628211ull;
    return (hash ^ (fake_arch.prepares * 7 + fake_arch.commits * 5 + fake_arch.flushes * 3)) *
           1099511628211ull;
}

// Slots 0 (1 MiB at 0), 3 (2 MiB at 16 MiB, read-only), and 65536 + 1 (1 MiB at 0 in address space 1).
static struct vm *vm_with_slots(void)
{
    struct vm *vm = new_vm();
    EXPECT_EQ(set(vm, 0, 0, 0, MB, HVA), 0);
    EXPECT_EQ(set(vm, 3, HV_MEM_READONLY, 16 * MB, 2 * MB, HVA + 8 * MB), 0);
    EXPECT_EQ(set(vm, 0x10001, 0, 0, MB, HVA + 32 * MB), 0);
    return vm;
}

static void refuse_body(void *arg)
{
    struct vm *vm = vm_with_slots();
    static const struct {
        u32 slot, flags;
        u64 gpa, size, hva;
        int want;
        const char *rule;
    } rows[] = {
        {5, 0x4, 64 * MB, MB, HVA, -EINVAL, "unknown flag"},
        {5, 0x80000000u, 64 * MB, MB, HVA, -EINVAL, "unknown flag, highest"},
        {5, 0, 64 * MB, MB + 1, HVA, -EINVAL, "size not page aligned"},
        {5, 0, 64 * MB + 8, MB, HVA, -EINVAL, "address not page aligned"},
        {5, 0, 64 * MB, MB, HVA + 2048, -EINVAL, "hva not page aligned"},
        {0x20000, 0, 64 * MB, MB, HVA, -EINVAL, "address space 2"},
        {0xffff0005, 0, 64 * MB, MB, HVA, -EINVAL, "address space 65535"},
        {HV_USER_MEMSLOTS, 0, 64 * MB, MB, HVA, -EINVAL, "slot id one too high"},
        {0xffff, 0, 64 * MB, MB, HVA, -EINVAL, "slot id far too high"},
        {5, 0, ~0ull << 12, 2 * 4096, HVA, -EINVAL, "gpa + size wraps"},
        {5, 0, 0, 1ull << 43, HVA, -EINVAL, "too many pages"},
        {5, 0, 1ull << 46, MB, HVA, -EINVAL, "beyond the guest-physical width"},
        {5, 0, (1ull << 46) - 4096, 8192, HVA, -EINVAL, "ends beyond the guest-physical width"},
        {5, 0, 64 * MB, MB, 1ull << 47, -EINVAL, "hva not the user's"},
        {5, 0, 64 * MB, MB, ~0ull << 12, -EINVAL, "hva + size wraps"},
        {0, 0, 0, 2 * MB, HVA, -EINVAL, "resize up"},
        {0, 0, 0, MB / 2, HVA, -EINVAL, "resize down"},
        {0, 0, 0, MB, HVA + 4096, -EINVAL, "change of hva"},
        {0, HV_MEM_READONLY, 0, MB, HVA, -EINVAL, "read-only switched on"},
        {3, 0, 16 * MB, 2 * MB, HVA + 8 * MB, -EINVAL, "read-only switched off"},
        {5, 0, 64 * MB, 0, HVA, -EINVAL, "delete of an empty slot"},
        {0x10005, 0, 0, 0, 0, -EINVAL, "delete of an empty slot in address space 1"},
        {5, 0, 0, MB, HVA, -EEXIST, "same place as slot 0"},
        {5, 0, MB - 4096, MB, HVA, -EEXIST, "overlaps slot 0's last page"},
        {5, 0, 15 * MB, 4 * MB, HVA, -EEXIST, "covers slot 3"},
        {5, 0, 17 * MB, 4096, HVA, -EEXIST, "inside slot 3"},
        {0, 0, 16 * MB, MB, HVA, -EEXIST, "moves onto slot 3"},
        {0, 0, 0, MB, HVA, 0, "identical: nothing to do"},
        {3, HV_MEM_READONLY, 16 * MB, 2 * MB, HVA + 8 * MB, 0, "identical, read-only"},
    };
    (void)arg;
    u64 hash = state_hash(vm);
    for (unsigned i = 0; i < ARRAY_COUNT(rows); i++) {
        test_row("%s", rows[i].rule);
        EXPECT_EQ(set(vm, rows[i].slot, rows[i].flags, rows[i].gpa, rows[i].size, rows[i].hva), rows[i].want);
        EXPECT_EQ(state_hash(vm), hash);
    }
    vm_put(vm);
}

TEST(HvMemslots, RefusesWithTheRightErrnoAndNoChange)
{
    run_with(1, 0, NULL, refuse_body);
}

static void accept_body(void *arg)
{
    struct vm *vm = vm_with_slots();
    (void)arg;
    EXPECT_EQ(set(vm, HV_USER_MEMSLOTS - 1, 0, 64 * MB, MB, HVA), 0);
    EXPECT_EQ(set(vm, 5, 0, MB, 15 * MB, HVA), 0);  // Fills the gap exactly.
    EXPECT_EQ(set(vm, 0x10002, 0, MB, MB, HVA), 0); // Another address space may overlap.
    EXPECT_EQ(set(vm, 6, 0, (1ull << 46) - MB, MB, HVA), 0);
    u64 flushes = fake_arch.flushes;
    EXPECT_EQ(set(vm, 0, HV_MEM_LOG_DIRTY_PAGES, 0, MB, HVA), 0); // Flags only: no zap.
    EXPECT_EQ(fake_arch.flushes, flushes);
    EXPECT_EQ(id_to_memslot(vm_memslots(vm, 0), 0)->flags, HV_MEM_LOG_DIRTY_PAGES);
    EXPECT_EQ(set(vm, 0, HV_MEM_LOG_DIRTY_PAGES, 128 * MB, MB, HVA), 0); // Move.
    EXPECT_EQ(fake_arch.flushes, flushes + 1);
    EXPECT_TRUE(gfn_to_memslot(vm_memslots(vm, 0), 0) == NULL);
    EXPECT_EQ(gfn_to_memslot(vm_memslots(vm, 0), 128 * MB >> 12)->id, 0);
    EXPECT_EQ(set(vm, 3, 0, 0, 0, 0), 0); // Delete.
    EXPECT_EQ(fake_arch.flushes, flushes + 2);
    EXPECT_TRUE(id_to_memslot(vm_memslots(vm, 0), 3) == NULL);
    EXPECT_EQ(set(vm, 3, 0, 0, 0, 0), -EINVAL);
    EXPECT_EQ(set(vm, 3, 0, 16 * MB, MB, HVA), 0); // And the id is free again.
    vm_put(vm);
    EXPECT_EQ(fake_arch.vms, 0);
}

TEST(HvMemslots, CreatesMovesFlagsDeletes)
{
    run_with(1, 0, NULL, accept_body);
}

static u64 next_random(u64 *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static void model_body(void *arg)
{
    struct vm *vm = new_vm();
    static u8 owner[256]; // gfn / 16 -> slot + 1
    static u32 start[16];
    u64 state = 17;
    (void)arg;
    memset(owner, 0, sizeof(owner));
    memset(start, 0xff, sizeof(start));
    for (unsigned round = 0; round < 400; round++) {
        u32 id = (u32)(next_random(&state) % 16), at = (u32)(next_random(&state) % 240);
        if (start[id] != UINT32_MAX) {
            ASSERT_EQ(set(vm, id, 0, 0, 0, 0), 0);
            memset(owner + start[id], 0, id + 1);
            start[id] = UINT32_MAX;
        } else {
            bool clash = false;
            for (u32 i = at; i <= at + id; i++)
                clash |= owner[i] != 0;
            ASSERT_EQ(set(vm, id, 0, at * 65536ull, (id + 1) * 65536ull, HVA + id * MB), clash ? -EEXIST : 0);
            if (!clash) {
                memset(owner + at, (int)id + 1, id + 1);
                start[id] = at;
            }
        }
        struct memslots *slots = vm_memslots(vm, 0);
        for (u32 i = 0; i < 256; i++) {
            struct memslot *s = gfn_to_memslot(slots, i * 16 + next_random(&state) % 16);
            ASSERT_EQ(s == NULL ? 0 : s->id + 1, owner[i]);
        }
        for (u32 i = 1; i < slots->used; i++)
            ASSERT_GT(slots->slots[i - 1].base_gfn, slots->slots[i].base_gfn);
        ASSERT_EQ(slots->generation & 1, 0);
        ASSERT_EQ(slots->generation & MEMSLOT_GEN_UPDATE_IN_PROGRESS, 0);
    }
    u64 objects = vm->host->heap.objects_in_use;
    (void)objects;
    vm_put(vm);
}

TEST(HvMemslots, LookupMatchesAModel)
{
    run_with(1, 0, NULL, model_body);
}

static void generation_body(void *arg)
{
    struct vm *vm = new_vm();
    (void)arg;
    u64 a = vm_memslots(vm, 0)->generation, b = vm_memslots(vm, 1)->generation;
    EXPECT_NE(a & 1, b & 1);
    EXPECT_EQ(set(vm, 0, 0, 0, MB, HVA), 0);
    EXPECT_EQ(vm_memslots(vm, 0)->generation, a + 2); // One publication.
    EXPECT_EQ(vm_memslots(vm, 1)->generation, b);
    EXPECT_EQ(set(vm, 0, 0, 0, 0, 0), 0);
    EXPECT_EQ(vm_memslots(vm, 0)->generation, a + 6); // Two.
    vm_put(vm);
}

TEST(HvMemslots, EveryPublicationMovesTheGeneration)
{
    run_with(1, 0, NULL, generation_body);
}

// --- No memory: the old version stays in force. ---

static int refuse_prepare(struct vm *vm, const struct memslot *old, struct memslot *new,
                          enum memslot_change change)
{
    (void)vm;
    (void)old;
    (void)new;
    (void)change;
    return -ENOMEM;
}

static void nomem_body(void *arg)
{
    struct vm *vm = vm_with_slots();
    (void)arg;
    u64 hash = state_hash(vm);
    fake_arch.prepare_memslot = refuse_prepare;
    EXPECT_EQ(set(vm, 5, 0, 64 * MB, MB, HVA), -ENOMEM);
    EXPECT_EQ(set(vm, 0, 0, 0, 0, 0), -ENOMEM);
    EXPECT_EQ(set(vm, 0, 0, 128 * MB, MB, HVA), -ENOMEM);
    EXPECT_EQ(state_hash(vm), hash);
    fake_arch.prepare_memslot = NULL;
    u32 taken = 0;
    while (pages_alloc(vm->host, 0, MEM_KERNEL) != PFN_NONE)
        taken++;
    hash = state_hash(vm);
    EXPECT_EQ(set(vm, 5, 0, 64 * MB, MB, HVA), -ENOMEM);
    EXPECT_EQ(set(vm, 0, 0, 0, 0, 0), -ENOMEM);
    EXPECT_EQ(state_hash(vm), hash);
    EXPECT_GT(taken, 100);
}

TEST(HvMemslots, WithoutMemoryNothingChanges)
{
    run_with(1, 0, NULL, nomem_body);
}

// Refuses what a slot that moves needs when it is asked for the second time, after the slot was retired.
static int refuse_second_phase(struct vm *vm, const struct memslot *old, struct memslot *new,
                               enum memslot_change change)
{
    const struct memslot *now = id_to_memslot(vm_memslots(vm, 0), old->id);
    (void)new;
    return change == MEMSLOT_MOVE && (now->flags & MEMSLOT_INVALID) ? -ENOMEM : 0;
}

static void reinstate_body(void *arg)
{
    struct vm *vm = vm_with_slots();
    (void)arg;
    fake_arch.prepare_memslot = refuse_second_phase;
    EXPECT_EQ(set(vm, 0, HV_MEM_LOG_DIRTY_PAGES, 128 * MB, MB, HVA), -ENOMEM);
    const struct memslot *slot = gfn_to_memslot(vm_memslots(vm, 0), 5);
    ASSERT_TRUE(slot != NULL);
    EXPECT_EQ(slot->flags, 0); // Where and as it was, and valid again.
    EXPECT_TRUE(slot->dirty_bitmap == NULL);
    EXPECT_EQ(vm_memslots(vm, 0)->generation & MEMSLOT_GEN_UPDATE_IN_PROGRESS, 0);
    fake_arch.prepare_memslot = NULL;
    EXPECT_EQ(set(vm, 0, HV_MEM_LOG_DIRTY_PAGES, 128 * MB, MB, HVA), 0);
    EXPECT_EQ(gfn_to_memslot(vm_memslots(vm, 0), 128 * MB >> 12)->id, 0);
    vm_put(vm);
}

TEST(HvMemslots, AMoveThatFailsInItsSecondPhaseIsTakenBack)
{
    run_with(1, 0, NULL, reinstate_body);
}

// --- Catalogue 001-A: a reader installs a translation of a slot that is being deleted. ---

static struct vm *race_vm;
static u32 installed, dead, installed_into_dead, reader_ready;
static struct completion done;

// What a fault handler does: look up, take a while, install; all in one read section.
static void fault_reader(void *arg)
{
    (void)arg;
    for (u32 i = 0; i < 40; i++) {
        u32 index = srcu_read_lock(&race_vm->srcu);
        struct memslot *slot = gfn_to_memslot(vm_memslots(race_vm, 0), 5);
        if (slot != NULL && (slot->flags & MEMSLOT_INVALID) == 0) {
            WRITE_ONCE(reader_ready, 1);
            fake_pass(40);
            WRITE_ONCE(installed, 1);
            if (READ_ONCE(dead) != 0)
                installed_into_dead++;
        }
        srcu_read_unlock(&race_vm->srcu, index);
    }
    complete(&done);
}

static void zap(struct vm *vm, const struct memslot *slot)
{
    (void)vm;
    (void)slot;
    WRITE_ONCE(installed, 0);
    WRITE_ONCE(dead, 1); // From here on the pages may be anybody's.
}

static u32 races_lost;

static void race_body(void *arg)
{
    (void)arg;
    installed = dead = installed_into_dead = reader_ready = 0;
    race_vm = new_vm();
    fake_arch.flush_memslot = zap;
    EXPECT_EQ(set(race_vm, 3, 0, 0, 64 * 4096, HVA), 0);
    completion_init(&done);
    struct thread_options o = {.name = "fault", .prio = THREAD_PRIO_NORMAL, .pinned_cpu = 1};
    thread_wake(thread_create(this_host(), &o, fault_reader, NULL));
    while (READ_ONCE(reader_ready) == 0)
        hw_pause();
    EXPECT_EQ(set(race_vm, 3, 0, 0, 0, 0), 0);
    wait_for_completion(&done);
    races_lost += installed_into_dead != 0 || installed != 0;
}

TEST(HvMemslots, TwoPhaseDeleteNeverLeavesATranslation)
{
    races_lost = 0;
    for (u64 seed = 1; seed <= fake_seeds(40); seed++)
        run_with(2, seed, NULL, race_body);
    EXPECT_EQ(races_lost, 0);
}

TEST(HvMemslots, SinglePhaseDeleteLosesTheRace)
{
    struct knobs knobs;
    knobs_defaults(&knobs);
    knobs.v[KNOB_MEMSLOT_DELETE_MODE] = MEMSLOT_DELETE_MODE_SINGLE_PHASE;
    races_lost = 0;
    for (u64 seed = 1; seed <= fake_seeds(40); seed++)
        run_with(2, seed, &knobs, race_body);
    EXPECT_GT(races_lost, 0);
}

// --- Guest memory through the slots. ---

static void guest_memory_body(void *arg)
{
    struct vm *vm = new_vm();
    u8 out[64], in[64];
    (void)arg;
    s64 hva = hostmm_mmap(vm->mm, MB, 12, HV_MAP_GUEST);
    EXPECT_EQ(set(vm, 0, 0, 0x10000, MB, (u64)hva), 0);
    EXPECT_EQ(set(vm, 1, HV_MEM_READONLY, 0x200000, MB, (u64)hva), 0);
    for (u32 i = 0; i < 64; i++)
        in[i] = (u8)(i + 1);
    u32 index = srcu_read_lock(&vm->srcu);
    EXPECT_EQ(vm_write_guest(vm, gpa(0x10fe0), in, 64), 0); // Crosses a page.
    EXPECT_EQ(vm_read_guest(vm, gpa(0x10fe0), out, 64), 0);
    EXPECT_MEMEQ(in, out, 64);
    EXPECT_EQ(vm_read_guest(vm, gpa(0x200fe0), out, 64), 0); // The same memory at another place.
    EXPECT_MEMEQ(in, out, 64);
    EXPECT_EQ(vm_write_guest(vm, gpa(0x200fe0), in, 1), -EFAULT);
    EXPECT_EQ(vm_read_guest(vm, gpa(0x8000), out, 1), -EFAULT);
    EXPECT_EQ(vm_read_guest(vm, gpa(0x10000 + MB - 8), out, 16), -EFAULT);
    srcu_read_unlock(&vm->srcu, index);
    vm_put(vm);
}

TEST(HvMemslots, GuestMemoryIsReachedThroughSlots)
{
    run_with(1, 0, NULL, guest_memory_body);
}

// --- Catalogue 004-D: changes whose flush was put off, counted while a flush is under way.

static u32 prepared;
static void another_change(struct vm *vm)
{
    prepared++;
    vm->tlbs_dirty++; // As by another processor: not covered by the flush that has begun.
}

static u64 left_after_flush(u64 entry, u64 reset)
{
    struct vm *vm = new_vm();
    struct knobs *k = &vm->host->knobs;

    fake_arch.prepare_tlb_flush = another_change;
    prepared = 0;
    k->v[KNOB_TLB_FLUSH_ENTRY] = entry;
    k->v[KNOB_TLB_DIRTY_RESET] = reset;
    vm->tlbs_dirty = 5;
    flush_remote_tlbs(vm);
    fake_arch.prepare_tlb_flush = NULL;
    u64 left = vm->tlbs_dirty;

    k->v[KNOB_TLB_FLUSH_ENTRY] = TLB_FLUSH_ENTRY_UNIFIED;
    k->v[KNOB_TLB_DIRTY_RESET] = TLB_DIRTY_RESET_CMPXCHG;
    vm_put(vm);
    return left;
}

static void postponed_body(void *arg)
{
    (void)arg;
    EXPECT_EQ(left_after_flush(TLB_FLUSH_ENTRY_UNIFIED, TLB_DIRTY_RESET_CMPXCHG), 6);
    EXPECT_EQ(left_after_flush(TLB_FLUSH_ENTRY_UNIFIED, TLB_DIRTY_RESET_STORE), 0); // The lost update.
    EXPECT_EQ(prepared, 1);
    EXPECT_EQ(left_after_flush(TLB_FLUSH_ENTRY_ARCH_HOOK, TLB_DIRTY_RESET_CMPXCHG),
              0);           // Nothing came in between ...
    EXPECT_EQ(prepared, 0); // ... because the architecture was not asked.
}
TEST(HvFlush, WhatIsPutOffDuringAFlushStaysCounted)
{
    run_with(1, 0, NULL, postponed_body);
}
