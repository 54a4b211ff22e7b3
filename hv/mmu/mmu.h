// SPDX-License-Identifier: Apache-2.0
// Stage 2 of a guest: two-dimensional paging by EPT, one tree for all vCPUs of a VM.
//
// Faults work side by side under mmu_lock held for reading and change entries by compare-and-exchange; so
// does write protection of a whole slot. Whatever takes entries or tables away holds it for writing: tables
// never vanish under a walker that holds the lock. The fast page fault holds no lock: it walks with
// interrupts disabled and vcpu->mode saying so, and whoever frees tables flushes first, which waits for such
// walkers (hv/core/requests.h, REQ_WAIT). It sets W, and only in leaves that are MMU-writable, so W may
// appear in those at any time, and processors set A and D at any time: entries in use are only changed by
// atomic operations.
#ifndef HV_MMU_MMU_H
#define HV_MMU_MMU_H

#include "hv/core/vm.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/xarray.h"
#include "hv/mmu/spte.h"

struct shadow_vcpu;
struct shadow_vm;
struct x86_vcpu;

// A page of stage-2 entries.
struct mmu_page {
    struct list node; // mmu_vm.pages, or a list of pages to be freed.
    u64 *spt;
    u64 *parent; // Entry that refers to it; NULL: root.
    gfn_t gfn;   // First one that it covers.
    u64 wp_gen;  // Generation at which its entries were made clean (write_protect_all.c).
    u8 level;    // Of its entries.
    u64 pw_bitmap[BITMAP_WORDS(PT64_ENTRIES)] __cacheline_aligned; // Entries that are possibly writable.
};

struct mmu_vm {
    struct mmu_page *root;
    struct spte_format format;
    u64 eptp;
    u64 flush_generation;     // Counts changes that vCPUs have to flush for, from 1.
    u8 root_level;            // Of the root's entries: 4 or 5.
    u8 max_level;             // Largest page by knob and processor.
    u8 dirty_start, pw_track; // Knobs.
    bool log_by_dirty;        // A logged page is clean when its dirty bit is; else when it is not writable.
    u32 logging_slots; // Slots that log dirty pages: page-modification logging is on while it is not 0.
    u64 wp_gen;        // Times that the whole VM was write-protected.
    struct spinlock pages_lock; // Of the next four; inside mmu_lock.
    struct list pages;
    struct xarray page_of_pfn;
    u64 page_count;
    u64 mapped[PG_LEVEL_1G + 1]; // Leaves by level.
    bool have_rmaps;             // Every slot has reverse maps (hv/mmu/rmap.h), `shadow` is there.
    struct shadow_vm *shadow;    // Of nested guests (hv/mmu/shadow.h); NULL until the first one.
};

// What one fault may need at most, taken before the lock: a table for each level below the root.
#define MMU_CACHE_PAGES (PG_LEVEL_ROOT_MAX - 1)
struct mmu_vcpu {
    struct mmu_page *cache[MMU_CACHE_PAGES];
    u32 cached;
    bool root_loaded;     // EPT_POINTER holds the VM's root.
    u64 flush_generation; // For which it flushed last; 0: must flush at the next request whatever was flushed
                          // before.
    bool shadowing;       // Runs a nested guest whose L1 uses EPT: its root is a shadow of shadow_eptp12.
    u64 shadow_eptp12;
    struct shadow_vcpu *shadow; // NULL until then.
};

// Levels of stage 2's tables for every VM of the host: what knob mmu.ept_levels asks for and the processor
// walks.
u8 mmu_root_level(struct host *host);
// Creation and end with the VM; 0 or -ENOMEM.
int mmu_vm_create(struct vm *vm);
void mmu_vm_destroy(struct vm *vm);
int mmu_vcpu_create(struct x86_vcpu *v);
void mmu_vcpu_destroy(struct x86_vcpu *v);

// --- Faults.

struct page_fault {
    gpa_t gpa;
    gfn_t gfn;
    bool write, exec, prefetch;
    bool present; // The processor found a leaf, only without the right that it needed.
    const struct memslot *slot;
    struct user_page page;
    bool map_writable;
    u8 level; // Chosen.
    u64 invalidate_seq;
    gfn_t ahead_end; // With `prefetch`: how far to map, then how far was mapped.
};
enum fault_result {
    FAULT_RETRY,    // Somebody changed things meanwhile: let the guest try again.
    FAULT_FIXED,    // Mapped.
    FAULT_SPURIOUS, // Was already mapped well enough.
    FAULT_EMULATE,  // No memory there, or not writable: device memory.
    FAULT_ERROR,    // No page: the process has no such memory.
};
// Handles an access to guest memory that stage 2 does not allow. srcu read section held; may sleep.
enum fault_result mmu_page_fault(struct x86_vcpu *v, struct page_fault *f);
// Maps pages from gpa on, at most `bytes`, for reading (and writing where the slot allows it) before the
// guest does. *mapped_bytes: how far from gpa the mapping reaches; a call maps a large page or what one
// last-level table covers. 0, -ENOENT: no memory slot, -EFAULT, -EAGAIN.
int mmu_prefault(struct x86_vcpu *v, gpa_t gpa, u64 bytes, u64 *mapped_bytes);
// An EPT misconfiguration: true if the entry says memory-mapped I/O and is not out of date.
bool mmu_is_mmio(struct x86_vcpu *v, gpa_t gpa);

// --- Walks and zaps.

// The leaf (or last entry) that covers gfn; *level is its level. mmu_lock held, either way.
u64 *mmu_lookup(struct vm *vm, gfn_t gfn, unsigned *level);
// Every flush of other CPUs that hv/mmu wants.
void mmu_flush_remote(struct vm *vm);
// Removes what maps [first, end), tables that lie in it whole included, flushes, frees. Takes mmu_lock.
void mmu_zap_range(struct vm *vm, gfn_t first, gfn_t end);
// Without the flush, which is the caller's: only for pages, not for tables (knob mm.release_order).
void mmu_zap_range_unflushed(struct vm *vm, gfn_t first, gfn_t end);
void mmu_zap_all(struct vm *vm);
// Is anything of [first, end) mapped? mmu_lock held, either way.
bool mmu_any_mapped(struct vm *vm, gfn_t first, gfn_t end);

// --- log_start.c, write_protect_all.c. mmu_lock held for writing, or as it says.

// Dirty logging of the slot begins (knob mmu.dirty_start). Flushes. Takes mmu_lock.
void mmu_log_start(struct vm *vm, const struct memslot *slot);
// Does the VM keep track of possibly writable entries? Constant.
bool mmu_tracks_writable(const struct mmu_vm *mmu);
// The table that sptep stands in. mmu_lock held, either way.
struct mmu_page *mmu_page_of(const struct vm *vm, const u64 *sptep);
// Before an entry becomes `spte`: is it, or may it become, writable, then the table's bitmap names it.
// mmu_lock held, either way.
void mmu_track_entry(struct vm *vm, const u64 *sptep, u64 spte);
// Before table `sp` is put under *sptep: it is of the generation of the table above. As above.
void mmu_track_table(struct vm *vm, const u64 *sptep, struct mmu_page *sp);
// The same for entries [first, first + count) of a table that nobody sees yet; all are like `spte`.
void mmu_track_entries(struct vm *vm, struct mmu_page *sp, unsigned first, unsigned count, u64 spte);
// Makes everything clean by the root's entries. True: the caller must flush.
bool mmu_write_protect_all(struct vm *vm);
// Is a write to gfn refused above its leaf? mmu_lock held, either way, or within a lock-less walk.
bool mmu_must_push_down(const struct vm *vm, gfn_t gfn);
// Makes what lies beside gfn's path clean and the path down to its leaf's table writable.
void mmu_push_down(struct vm *vm, gfn_t gfn);

// The largest level at which gfn of the slot may be mapped onto a host page of 1 << page_shift bytes.
unsigned mmu_mapping_level(const struct mmu_vm *mmu, const struct memslot *slot, gfn_t gfn,
                           unsigned page_shift);

// --- Dirty logging (dirty.c, huge.c, fast_fault.c).

// The way of mmu.dirty_start = per_page: pages become so that their first write is noticed, large ones are
// split (knob mmu.eager_split) or split when they are written. Flushes. Takes mmu_lock.
void mmu_slot_start_log(struct vm *vm, const struct memslot *slot);
// Large leaves in [first, end) become tables of 4 KiB leaves, as far as memory for tables reaches. mmu_lock
// held, either way; `yield`: for reading, and dropped now and then.
void mmu_split_range(struct vm *vm, gfn_t first, gfn_t end, bool yield);
// A slot's log has ended: tables become large leaves where slot and host page allow it. Flushes. Takes
// mmu_lock.
void mmu_collapse_slot(struct vm *vm, const struct memslot *slot);
// A write to a leaf that only logging keeps from being written, without a lock. FAULT_FIXED, FAULT_SPURIOUS;
// FAULT_RETRY: not such a case, take the long way. f->slot is valid.
enum fault_result mmu_fast_fault(struct x86_vcpu *v, struct page_fault *f);
// Lets others have mmu_lock (held for reading) and the processor, if any of them waits. True: it was dropped.
bool mmu_yield_read(struct vm *vm);

// --- fault.c, for shadow_map.c.

// Finds the host page. FAULT_FIXED: f->page, f->map_writable and f->invalidate_seq are valid.
enum fault_result mmu_find_page(struct x86_vcpu *v, struct page_fault *f);
// Host mappings that f->page was taken from may have changed since. mmu_lock held.
bool mmu_is_stale(const struct vm *vm, const struct page_fault *f);

// --- tdp.c, for the files above.

// Consecutive entries of one table.
struct spte_run {
    u64 *sptep;
    gfn_t gfn; // Of the first.
    u32 count; // 1 above 4 KiB.
    u8 level;
};
// The next run at or after *gfn and below `end` that is present, or of the lowest level; *gfn moves behind
// it. mmu_lock held. False: no more.
bool tdp_next_run(struct vm *vm, gfn_t *gfn, gfn_t end, struct spte_run *run);
// Puts table `sp`, whose entries are written, into the place of entry `old`. False: the entry is another one
// by now.
bool tdp_attach(struct vm *vm, u64 *sptep, u64 old, struct mmu_page *sp, gfn_t gfn, unsigned level);
// Fills `sp` with the parts of the large leaf and attaches it. False: as above.
bool tdp_split(struct vm *vm, u64 *sptep, u64 huge, struct mmu_page *sp, gfn_t gfn, unsigned level);
// Takes the tables below entry `spte` of `level`, which no longer stands in the tree, out of the books and
// onto `doomed`. mmu_lock held for writing. mmu_free_list() after a flush.
void tdp_detach(struct vm *vm, u64 spte, unsigned level, struct list *doomed);
void mmu_free_list(struct host *host, struct list *doomed);
// tdp.c: installs f->page. mmu_lock held for reading, table cache filled.
enum fault_result tdp_map(struct x86_vcpu *v, struct page_fault *f);
// bulk.c: the same for the pages of [f->gfn, f->ahead_end) that f->page and one last-level table hold;
// f->ahead_end becomes the first one behind them.
enum fault_result tdp_map_ahead(struct x86_vcpu *v, struct page_fault *f);
enum fault_result tdp_map_mmio(struct x86_vcpu *v, gfn_t gfn, u64 generation);
// Walks down to `*level`, making tables. A larger leaf on the way is split if it refuses what `write` says;
// *level may end higher at one that does not, or lower where a table already stands in the place of the
// wanted large page. NULL: lost a race.
u64 *tdp_walk_to(struct x86_vcpu *v, gfn_t gfn, bool write, unsigned *level);
// Puts a table from the vCPU's cache under *sptep, an entry of `level` that held `old`. False: somebody else
// was faster; the table stays in the cache.
bool tdp_link_table(struct x86_vcpu *v, u64 *sptep, u64 old, gfn_t gfn, unsigned level);
// A page that is brought in ahead of the guest was not written: while the slot logs, its first write shall
// tell.
enum spte_write tdp_write_right(const struct page_fault *f);
struct mmu_page *mmu_page_alloc(struct host *host);
void mmu_page_free(struct host *host, struct mmu_page *sp);

// --- Translation caches of the calling CPU, for the loaded vCPU.
void mmu_load_root(struct x86_vcpu *v); // EPT_POINTER.
void mmu_flush_all(struct x86_vcpu *v); // Guest-physical and combined (INVEPT).
void mmu_flush_requested(
    struct x86_vcpu *v); // REQ_TLB_FLUSH: the same, unless nothing changed since the last time.
void mmu_flush_guest(struct x86_vcpu *v); // REQ_TLB_FLUSH_GUEST: linear and combined (INVVPID).
void mmu_invlpg(struct x86_vcpu *v, u64 linear);

#endif
