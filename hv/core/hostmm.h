// SPDX-License-Identifier: Apache-2.0
// Address space of a user process: areas, and pages that appear at first touch.
//
// Two kinds of area. HV_MAP_GUEST: memory to be handed to a VM, at host virtual addresses from
// HOSTMM_GUEST_BASE, filled page by page (4 KiB, 2 MiB or 1 GiB) through a radix page table. HV_MAP_DIRECT:
// contiguous, populated at once, and visible to the process' own code at its direct-map address: its heap and
// shared pages.
#ifndef HV_CORE_HOSTMM_H
#define HV_CORE_HOSTMM_H

#include "hv/core/host.h"
#include "hv/lib/rbtree.h"
#include "hv/lib/wait.h"

// Below the core's image, away from stacks and the direct map.
#define HOSTMM_GUEST_BASE 0x180000000000ull
#define HOSTMM_GUEST_END 0x1fff00000000ull

typedef u64 hva_t;

struct vm;

struct hostmm_area {
    struct rb_node node;
    hva_t start;
    u64 size;      // Bytes.
    u8 page_shift; // 12, 21 or 30.
    bool direct;
    bool userfault; // Its process brings missing pages in.
};

struct hostmm {
    struct host *host;
    struct mutex lock;
    struct rb_root areas; // By start.
    u64 *pgd;             // 512-way, 4 levels; entries: pfn << 12 | HOSTMM_PTE_*.
    hva_t next_hva;
    u64 resident_pages; // 4 KiB units.
    u64 free_marks;     // Host pages that are marked free.
    hva_t reclaim_at;   // Where the next reclaim begins to look.
    u64 fault_count;
    struct list user_faults; // struct user_fault, under lock.
    u32 untold_faults;
    struct waitqueue fault_readers; // Wait for one to be told.
    struct waitqueue fault_waiters; // Wait for their page.
    u32 users;
    struct list threads;
    // VMs on this memory, and the range that is being taken from them: one at a time.
    struct mutex notifier_lock;
    struct list vms; // struct vm
};

// What a host virtual address is backed by.
struct user_page {
    pfn_t pfn;     // Of the 4 KiB page that holds the address.
    u8 page_shift; // Size of the host page around it: 12, 21 or 30.
    bool writable;
};

struct hostmm *hostmm_create(struct host *host);
void hostmm_get(struct hostmm *mm);
void hostmm_put(struct hostmm *mm);
// Address of a new area or -EINVAL (size 0, not a multiple of the page size, unknown page size), -ENOMEM.
s64 hostmm_mmap(struct hostmm *mm, u64 size, unsigned page_shift, u64 flags);
// -EINVAL unless it is a whole area. Pages mapped into VMs are unmapped there first (arch_unmap_hva_range).
int hostmm_munmap(struct hostmm *mm, hva_t start, u64 size);
// VMs no longer map the range, and, as MADV_DONTNEED, its pages are gone: the next touch brings new, zeroed
// ones. With `lazy`, as MADV_FREE: they stay, marked free, until they are looked up again (then with their
// content) or a fault of this process finds no memory (then they are taken). -EINVAL unless it is whole pages
// of a guest area.
int hostmm_discard(struct hostmm *mm, hva_t start, u64 size, bool lazy);
// A VM that maps this memory into its guest hears of pages that go, from now on and no longer.
void hostmm_add_vm(struct hostmm *mm, struct vm *vm);
void hostmm_remove_vm(struct hostmm *mm, struct vm *vm);

// The page behind hva, brought in by a host page fault if need be. 0; -EFAULT: no area there, or a write to a
// read-only one; -ENOMEM. May sleep. This is the fault path's gup.
int get_user_page(struct hostmm *mm, hva_t hva, bool write, struct user_page *out);
// Only if it is resident: no lock, no sleep. False: call get_user_page() in a context that may sleep.
bool get_user_page_fast(struct hostmm *mm, hva_t hva, bool write, struct user_page *out);

// Does one guest area hold all of [hva, hva + bytes)?
bool hostmm_guest_range(struct hostmm *mm, hva_t hva, u64 bytes);
// The page behind hva, which is in a guest area, is not there: does its process bring it in? *order is its
// size.
bool hostmm_missing(struct hostmm *mm, hva_t hva, unsigned *order);
// Puts a page of the area's size, with its content, behind hva and wakes who waits for it. -EEXIST: there is
// one.
int hostmm_install(struct hostmm *mm, hva_t hva, pfn_t pfn, unsigned order);

// The area that holds hva; NULL: none. mm->lock held.
struct hostmm_area *hostmm_find_area(struct hostmm *mm, hva_t hva);

// Faults that the process itself resolves, as userfaultfd's missing mode: get_user_page() waits until a page
// was installed. -EINVAL unless it is a whole guest area. Switched off, those who wait get pages of zeros.
int userfault_register(struct hostmm *mm, hva_t start, u64 size, bool on);
// The next fault that nobody was told of; waits for one. -EINTR.
int userfault_read(struct hostmm *mm, hva_t *out);
// Waits for the page behind hva, in `a`. mm->lock held; released meanwhile.
void userfault_wait(struct hostmm *mm, const struct hostmm_area *a, hva_t hva);

// May the process use [va, va + bytes) as a pointer? Copies below check it themselves.
bool user_access_ok(struct hostmm *mm, u64 va, u64 bytes);
// Kernel's access to user memory; user pointers are checked against the areas. 0 or -EFAULT.
int copy_from_user(struct hostmm *mm, void *to, u64 from, u64 bytes);
int copy_to_user(struct hostmm *mm, u64 to, const void *from, u64 bytes);

#endif
