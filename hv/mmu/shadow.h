// SPDX-License-Identifier: Apache-2.0
// Shadow stage 2 (EPT02): what a nested guest whose L1 uses EPT runs on.
//
// L1's tables (EPT12) lead from L2's to L1's guest-physical addresses, the VM's memory slots from there to
// host pages; a shadow page holds both in one. There is one per {table of L1, level, rights on the way, root
// of L1}, found by a hash, made by faults, filled entry by entry. Where L1 maps a large page and the host
// does not, `direct` pages stand below L1's last entry.
//
// L1's tables are not watched. Shadow pages are L1's translation caches: what L1 takes away may stay until it
// executes INVEPT (SDM 28.4.3.3), which compares that root's pages with L1's tables (shadow_sync.c); what it
// adds is found by the fault, which reads L1's tables anew. Pages are not shared between roots, so INVEPT of
// one is exact.
//
// Everything here is changed under mmu_lock held for writing. zap-all moves valid_gen on: pages of an older
// generation are found no more, roots are loaded anew, and the pages are freed in portions.
#ifndef HV_MMU_SHADOW_H
#define HV_MMU_SHADOW_H

#include "hv/mmu/ept12.h"
#include "hv/mmu/mmu.h"
#include "hv/mmu/rmap.h"

#define SHADOW_ROOT_LEVEL 4u
#define SHADOW_BUCKETS 256u

// What a shadow page stands for.
struct shadow_role {
    gfn_t gfn;  // L1's table; direct: the first page that it maps.
    gfn_t root; // L1's root table.
    u8 level;   // Of its entries.
    u8 rights;  // R, W, X (EPT_RWX): what L1's entries above allow.
    bool direct;
};

struct shadow_page {
    struct list node;         // shadow_vm.pages, newest first, or a list of pages to be freed.
    struct shadow_page *next; // In the hash.
    struct shadow_role role;
    u64 *spt;
    gfn_t *gfns; // By entry: page of L1 that a leaf maps. NULL in direct pages, where it follows.
    struct rmap_head parents; // Entries that refer to it.
    u64 valid_gen;
    u32 roots;    // vCPUs that have it loaded.
    bool invalid; // Out of the books; freed when nobody has it loaded.
};

struct shadow_vm {
    struct shadow_page *hash[SHADOW_BUCKETS];
    struct list pages;
    struct xarray page_of_pfn;
    struct spte_format format; // Without A and D: L1 is offered none.
    u64 page_count;
    u64 mapped; // Leaves.
    u64 valid_gen;
    u64 invept_seq; // Moves when L1 has executed INVEPT: walks of its tables that began before are void.
};

#define SHADOW_CACHE_PAGES SHADOW_ROOT_LEVEL
#define SHADOW_CACHE_DESCS (SHADOW_ROOT_LEVEL + 1) // A link per level and a leaf.
struct shadow_vcpu {
    struct shadow_page *root;
    struct shadow_page *pages[SHADOW_CACHE_PAGES];
    struct rmap_desc *descs[SHADOW_CACHE_DESCS];
    u32 page_count, desc_count;
};

// 0 or -ENOMEM; slots_arch_lock, or nobody knows the VM yet. Undone by destroy, when all pages are zapped.
int shadow_vm_create(struct vm *vm);
void shadow_vm_destroy(struct vm *vm);
void shadow_vcpu_destroy(struct x86_vcpu *v);

// Root for mmu->shadow_eptp12 into the current VMCS (vmcs02). 1, or -ENOMEM. Inside srcu; may sleep.
int shadow_load_root(struct x86_vcpu *v);
// An access of L2 that EPT02 does not allow and L1's tables, walked to `w`, do. f->gpa is L1's address. As
// mmu_page_fault().
enum fault_result shadow_page_fault(struct x86_vcpu *v, struct page_fault *f, const struct ept12_walk *w,
                                    gpa_t l2_gpa);
// INVEPT of L1 on this vCPU: of the tables whose root is `root`; SHADOW_ALL_ROOTS: of all. Other vCPUs may go
// on with what they have cached: the flush for them is put off (vm->tlbs_dirty). `caps` is the
// IA32_VMX_EPT_VPID_CAP that L1 sees. srcu read section held.
#define SHADOW_ALL_ROOTS UINT64_MAX
void shadow_invept(struct x86_vcpu *v, gfn_t root, u64 caps);

// --- What happens to L1's memory. All of them do nothing without reverse maps.

// Takes W from what maps the pages of the slot, flushes. Takes mmu_lock, and drops it now and then.
void shadow_write_protect_slot(struct vm *vm, const struct memslot *slot);
// The same for the pages base + n of `mask`; mmu_lock held for writing.
void shadow_write_protect_mask(struct vm *vm, const struct memslot *slot, gfn_t base, u64 mask);
// Removes what maps [first, end) of the slot, flushes. Takes mmu_lock.
void shadow_unmap(struct vm *vm, const struct memslot *slot, gfn_t first, gfn_t end);
// Removes all pages, flushes. Takes mmu_lock, and drops it now and then.
void shadow_zap_all(struct vm *vm);

// --- Between shadow.c, shadow_map.c and shadow_sync.c. mmu_lock held for writing.

struct shadow_page *shadow_get_page(struct vm *vm, struct shadow_vcpu *s, const struct shadow_role *role);
struct shadow_page *shadow_page_of(struct vm *vm, u64 spte);
// Removes entry `index`; a page below it that nobody else refers to goes onto `doomed`. True: it was present.
bool shadow_drop(struct vm *vm, struct shadow_page *sp, unsigned index, struct list *doomed);
// Takes the page out of the books and onto `doomed`, with those below it that nobody else refers to.
void shadow_zap_page(struct vm *vm, struct shadow_page *sp, struct list *doomed);
void shadow_free_list(struct host *host, struct list *doomed);
// The page of L1 (the first, of a large one) that leaf `index` maps.
gfn_t shadow_mapped_gfn(const struct shadow_page *sp, unsigned index);
// May still be walked and filled?
bool shadow_is_valid(const struct shadow_vm *shadow, const struct shadow_page *sp);
// Fills the vCPU's caches for one fault or root. 0 or -ENOMEM.
int shadow_top_up(struct x86_vcpu *v);

#endif
