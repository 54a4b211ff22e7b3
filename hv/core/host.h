// SPDX-License-Identifier: Apache-2.0
// One physical host under this hypervisor: everything mutable hangs off it. Memory of the kernel's own.
#ifndef HV_CORE_HOST_H
#define HV_CORE_HOST_H

#include "hv/core/cpu.h"
#include "hv/hw/boot.h"
#include "hv/knobs.h"
#include "hv/lib/mutex.h"
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

enum handle_kind { HANDLE_FREE, HANDLE_SYSTEM, HANDLE_VM, HANDLE_VCPU, HANDLE_EVENT, HANDLE_THREAD };
struct handle {
    enum handle_kind kind;
    void *object;
};

struct host {
    u64 direct_map; // Virtual address of HPA 0.
    u64 tsc_khz;
    u32 cpu_count;
    u32 online_count;
    struct knobs knobs;
    struct cpu *cpus[HW_BOOT_CPUS_MAX];
    vector_fn vectors[HOST_VECTORS];

    struct page_allocator pages __cacheline_aligned;
    struct heap heap __cacheline_aligned;

    struct mutex handles_lock __cacheline_aligned;
    struct handle handles[HOST_HANDLES_MAX];
    struct list vms;     // struct vm
    struct list threads; // struct thread
    struct spinlock threads_lock;
    u32 next_tid, next_vm_id;

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

// 2^order contiguous frames aligned to their size; PFN_NONE when there are none. Content is undefined, except
// that 2 MiB and 1 GiB blocks which were never used are zero. Any context.
#define PFN_NONE UINT64_MAX
pfn_t pages_alloc(struct host *host, unsigned order, enum mem_owner owner);
void pages_free(struct host *host, pfn_t pfn, unsigned order, enum mem_owner owner);
// One zeroed 4 KiB page for page tables, by address; NULL: none left.
void *page_alloc_zeroed(struct host *host, enum mem_owner owner);
void page_free(struct host *host, void *page, enum mem_owner owner);

// Kernel objects, 16-byte aligned (64-byte from 64 bytes on); above 4 KiB whole pages. NULL: no memory.
void *kmalloc(struct host *host, u64 bytes);
void *kzalloc(struct host *host, u64 bytes);
// `bytes` as at allocation. NULL is fine.
void kfree(struct host *host, void *p, u64 bytes);

// Time. The TSC counts at tsc_khz; conversions round down.
u64 ns_to_tsc(const struct host *host, u64 ns);
u64 tsc_to_ns(const struct host *host, u64 tsc);

// Handles (as file descriptors). handle_alloc: >= 0, or -EMFILE. handle_get: NULL and -EBADF unless of that
// kind.
int handle_alloc(struct host *host, enum handle_kind kind, void *object);
void *handle_get(struct host *host, int handle, enum handle_kind kind);
void handle_free(struct host *host, int handle);

#endif
