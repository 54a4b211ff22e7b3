// SPDX-License-Identifier: Apache-2.0
// Stage 2 of a guest: two-dimensional paging by EPT, one tree for all vCPUs of a VM.
//
// Faults work side by side under mmu_lock held for reading and change entries by compare-and-exchange;
// whatever takes permissions or tables away holds it for writing. So tables never vanish under a walker that
// holds the lock.
#ifndef HV_MMU_MMU_H
#define HV_MMU_MMU_H

#include "hv/core/vm.h"
#include "hv/hw/trace.h"
#include "hv/lib/xarray.h"
#include "hv/mmu/spte.h"

struct x86_vcpu;

// A page of stage-2 entries.
struct mmu_page {
    struct list node; // mmu_vm.pages, or a list of pages to be freed.
    u64 *spt;
    u64 *parent; // Entry that refers to it; NULL: root.
    gfn_t gfn;   // First one that it covers.
    u8 level;    // Of its entries.
};

struct mmu_vm {
    struct mmu_page *root;
    struct spte_format format;
    u64 eptp;
    u8 max_level;               // Largest page by knob and processor.
    struct spinlock pages_lock; // Of the next four; inside mmu_lock.
    struct list pages;
    struct xarray page_of_pfn;
    u64 page_count;
    u64 mapped[PG_LEVEL_1G + 1]; // Leaves by level.
};

// What one fault may need at most, taken before the lock: a table for each level below the root.
#define MMU_CACHE_PAGES (PG_LEVEL_ROOT_5 - 1)
struct mmu_vcpu {
    struct mmu_page *cache[MMU_CACHE_PAGES];
    u32 cached;
    bool root_loaded; // EPT_POINTER holds the VM's root.
};

// Creation and end with the VM; 0 or -ENOMEM.
int mmu_vm_create(struct vm *vm);
// Levels of EPT tables by knob mmu.ept_levels and processor: 4 or 5.
unsigned mmu_ept_levels(struct host *host);
void mmu_vm_destroy(struct vm *vm);
int mmu_vcpu_create(struct x86_vcpu *v);
void mmu_vcpu_destroy(struct x86_vcpu *v);

// --- Faults.

struct page_fault {
    gpa_t gpa;
    gfn_t gfn;
    bool write, exec, prefetch;
    const struct memslot *slot;
    struct user_page page;
    bool map_writable;
    u8 level; // Chosen.
    u64 invalidate_seq;
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
// Maps gpa for reading (and writing where the slot allows it) before the guest does. *mapped_bytes: how far
// from gpa the mapping reaches. 0, -ENOENT: no memory slot, -EFAULT, -EAGAIN.
int mmu_prefault(struct x86_vcpu *v, gpa_t gpa, u64 *mapped_bytes);
// An EPT misconfiguration: true if the entry says memory-mapped I/O and is not out of date.
bool mmu_is_mmio(struct x86_vcpu *v, gpa_t gpa);

// Brackets of every change that takes pages or rights of stage 2 away, its flush included: what the
// simulator's TLB checker knows of the time in which caches may lag behind the tables (docs/tlb-checker.md).
static inline void mmu_change_begin(const struct vm *vm)
{
    hw_trace(TP_MMU_CHANGE_BEGIN, vm->id, 0, 0, 0, 0, 0);
}
static inline void mmu_change_end(const struct vm *vm)
{
    hw_trace(TP_MMU_CHANGE_END, vm->id, 0, 0, 0, 0, 0);
}

// Is this invalidation (MMU_SKIP_FLUSH_*) left out? Knob mmu.skip_flush: the checker's own test.
static inline bool mmu_skips_flush(const struct vm *vm, u64 which)
{
    return unlikely(knob(&vm->host->knobs, KNOB_MMU_SKIP_FLUSH) == which);
}

// --- Walks and zaps.

// The leaf (or last entry) that covers gfn; *level is its level. mmu_lock held, either way.
u64 *mmu_lookup(struct vm *vm, gfn_t gfn, unsigned *level);
// Removes what maps [first, end), tables that lie in it whole included, flushes, frees. Takes mmu_lock.
void mmu_zap_range(struct vm *vm, gfn_t first, gfn_t end);
void mmu_zap_all(struct vm *vm);
// The largest level at which gfn of the slot may be mapped onto a host page of 1 << page_shift bytes.
unsigned mmu_mapping_level(const struct mmu_vm *mmu, const struct memslot *slot, gfn_t gfn,
                           unsigned page_shift);

// tdp.c: installs f->page. mmu_lock held for reading, table cache filled.
enum fault_result tdp_map(struct x86_vcpu *v, struct page_fault *f);
enum fault_result tdp_map_mmio(struct x86_vcpu *v, gfn_t gfn, u64 generation);
struct mmu_page *mmu_page_alloc(struct host *host);
void mmu_page_free(struct host *host, struct mmu_page *sp);

// --- Translation caches of the calling CPU, for the loaded vCPU.
void mmu_load_root(struct x86_vcpu *v); // EPT_POINTER.
void mmu_flush_all(
    struct x86_vcpu *v); // REQ_TLB_FLUSH, REQ_TLB_FLUSH_CURRENT: guest-physical and combined (INVEPT).
void mmu_flush_guest(struct x86_vcpu *v); // REQ_TLB_FLUSH_GUEST: linear and combined (INVVPID).
void mmu_invlpg(struct x86_vcpu *v, u64 linear);

#endif
