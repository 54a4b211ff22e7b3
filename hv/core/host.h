// SPDX-License-Identifier: Apache-2.0
// One physical host under this hypervisor: everything mutable hangs off it. Memory of the kernel's own.
#ifndef HV_CORE_HOST_H
#define HV_CORE_HOST_H

#include "hv/core/cpu.h"
#include "hv/hw/boot.h"
#include "hv/knobs.h"
#include "hv/lib/mutex.h"
#include "hv/lib/wait.h"
#include "hv/lib/xarray.h"

#define HOST_VECTORS 256u
#define HOST_HANDLES_MAX 1024u
// Orders of the page allocator: 4 KiB << order, up to 1 GiB.
#define PAGE_ORDER_2M 9u
#define PAGE_ORDER_1G 18u
#define PAGE_ORDER_COUNT 19u

// Who owns an allocation; for statistics and validators.
enum mem_owner { MEM_FREE, MEM_KERNEL, MEM_PAGE_TABLE, MEM_GUEST, MEM_USER, MEM_OWNER_COUNT };

// Free blocks per order are linked through the blocks themselves (direct map).
struct page_allocator {
    struct spinlock lock;
    struct list free[PAGE_ORDER_COUNT];
    u32 nonempty_orders; // Bit o: free[o] is not empty.
    u8 *frame_state;     // Per frame of the managed range: order | FREE_HEAD, for merging buddies.
    pfn_t first_pfn, end_pfn;
    u64 free_pages;
    u64 owner_pages[MEM_OWNER_COUNT];
};

#define KMALLOC_CLASSES 9u // 16, 32 .. 4096 bytes
struct heap {
    struct spinlock lock;
    void *free[KMALLOC_CLASSES];
    u64 bytes_in_use;
    u64 objects_in_use;
};

enum handle_kind { HANDLE_FREE, HANDLE_CLOSING, HANDLE_SYSTEM, HANDLE_VM, HANDLE_VCPU };
struct handle {
    u32 kind;          // enum handle_kind
    u32 users;         // 1 while open, and one per call that works on it.
    u32 released_kind; // What a closing handle was.
    void *object;
};

#define FUTEX_BUCKETS 64u

struct host {
    u64 direct_map; // Virtual address of HPA 0.
    u64 tsc_khz;
    u32 cpu_count;
    struct knobs knobs;
    struct cpu *cpus[HW_BOOT_CPUS_MAX];
    vector_fn vectors[HOST_VECTORS];

    struct page_allocator pages __cacheline_aligned;
    struct heap heap __cacheline_aligned;

    struct mutex handles_lock __cacheline_aligned;
    struct handle handles[HOST_HANDLES_MAX];
    struct list vms;     // struct vm, under handles_lock
    struct list threads; // struct thread
    struct spinlock threads_lock;
    u32 next_tid, next_vm_id;

    struct waitqueue futexes[FUTEX_BUCKETS]; // Sleepers of HV_SYS_FUTEX_WAIT by a hash of the word's address.

    struct link_card *link; // NULL: no network card.
    const struct hw_bootinfo *bootinfo;
    void *arch; // hv/x86's part.
    struct hw_vectors hw_vectors;
};

// The entry after reset (hw_boot_entry); exported.
void hv_boot(const struct hw_bootinfo *info);

// Direct map.
static inline void *hpa_to_va(const struct host *host, hpa_t a)
{
    return (void *)(host->direct_map + a.v);
}
static inline hpa_t va_to_hpa(const struct host *host, const void *p)
{
    return hpa((u64)p - host->direct_map);
}
static inline void *pfn_to_va(const struct host *host, pfn_t pfn)
{
    return (void *)(host->direct_map + (pfn << PAGE_SHIFT));
}

// 2^order contiguous frames aligned to their size; PFN_NONE when there are none. Content is undefined. Not
// from interrupts.
#define PFN_NONE UINT64_MAX
pfn_t pages_alloc(struct host *host, unsigned order, enum mem_owner owner);
// The same, zeroed. A guest's blocks of 2 MiB and more that were never used before are zero as they come, at
// no cost.
pfn_t pages_alloc_zeroed(struct host *host, unsigned order, enum mem_owner owner);
// *used_once: the block was in use before, its content is anything; else it is zero.
pfn_t pages_alloc_block(struct host *host, unsigned order, enum mem_owner owner, bool *used_once);
void pages_free(struct host *host, pfn_t pfn, unsigned order, enum mem_owner owner);
// One zeroed 4 KiB page for page tables, by address; NULL: none left.
void *page_alloc_zeroed(struct host *host, enum mem_owner owner);
void page_free(struct host *host, void *page, enum mem_owner owner);
// At boot: frames [first, end) are managed, none is free yet; one zero byte of state per frame. Then what is
// usable.
void pages_init(struct host *host, pfn_t first, pfn_t end, u8 *frame_state_array);
void pages_add_range(struct host *host, pfn_t pfn, pfn_t end);

// Kernel objects, 16-byte aligned (64-byte from 64 bytes on); above 4 KiB whole pages. NULL: no memory.
void *kmalloc(struct host *host, u64 bytes);
void *kzalloc(struct host *host, u64 bytes);
// `bytes` as at allocation. NULL is fine.
void kfree(struct host *host, void *p, u64 bytes);

// Time. The TSC counts at tsc_khz; conversions round down.
u64 ns_to_tsc(const struct host *host, u64 ns);
u64 tsc_to_ns(const struct host *host, u64 tsc);

// Handles (as file descriptors). handle_alloc: >= 0, or -EMFILE.
int handle_alloc(struct host *host, enum handle_kind kind, void *object);
// The object, held until handle_put(); NULL: no such handle, or of another kind (-EBADF).
void *handle_get(struct host *host, s64 handle, enum handle_kind kind);
// What kind it is, HANDLE_FREE if none. Only a hint unless held.
enum handle_kind handle_kind_of(struct host *host, s64 handle);
// The last put of a closed handle releases the object (object_release()).
void handle_put(struct host *host, s64 handle);
// -EBADF unless it is open. The system handle stays open: -EINVAL.
int handle_close(struct host *host, s64 handle);

#endif
