// SPDX-License-Identifier: Apache-2.0
// Boot: from the firmware's description to idle loops and the first user thread.
#include "hv/core/host.h"

#include "hv/core/api.h"
#include "hv/core/hostmm.h"
#include "hv/core/link.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/math.h"
#include "hv/lib/string.h"

u64 ns_to_tsc(const struct host *host, u64 ns)
{
    return mul_u64_u64_div_u64(ns, host->tsc_khz, 1000000);
}

u64 tsc_to_ns(const struct host *host, u64 tsc)
{
    return mul_u64_u64_div_u64(tsc, 1000000, host->tsc_khz);
}

// Memory of the first range before there is an allocator: zero as it came, never freed.
struct early_memory {
    u64 at, end; // Host physical.
    u64 direct_map;
};

static void *early_alloc(struct early_memory *early, u64 bytes)
{
    early->at = align_up(early->at, PAGE_SIZE);
    if (bytes > early->end - early->at)
        HV_PANIC("the first range of memory is too small for the page allocator");
    void *p = (void *)(early->direct_map + early->at);
    early->at += bytes;
    return p;
}

static bool in_ranges(const struct hw_bootinfo *info, u64 va)
{
    u64 at = va - info->direct_map_base;
    for (u32 i = 0; i < info->range_count; i++) {
        if (at - info->ranges[i].start < info->ranges[i].size)
            return true;
    }
    return false;
}

static void check_bootinfo(const struct hw_bootinfo *info)
{
    HV_ASSERT(info->cpu_count >= 1 && info->cpu_count <= HW_BOOT_CPUS_MAX);
    HV_ASSERT(info->range_count >= 1 && info->range_count <= HW_BOOT_RANGES_MAX && info->tsc_khz != 0);
    HV_ASSERT(info->knobs_bytes == sizeof(struct knobs));
    // What firmware placed must not be handed out by the page allocator.
    HV_ASSERT(!in_ranges(info, (u64)info) && !in_ranges(info, info->knobs) &&
              !in_ranges(info, info->vmm_config));
}

static struct host *init_memory(const struct hw_bootinfo *info)
{
    struct early_memory early = {info->ranges[0].start, info->ranges[0].start + info->ranges[0].size,
                                 info->direct_map_base};
    u64 first = UINT64_MAX, end = 0;
    for (u32 i = 0; i < info->range_count; i++) {
        first = min_u64(first, info->ranges[i].start);
        end = max_u64(end, info->ranges[i].start + info->ranges[i].size);
    }
    struct host *host = early_alloc(&early, sizeof(*host));
    host->direct_map = info->direct_map_base;
    host->tsc_khz = info->tsc_khz;
    host->cpu_count = info->cpu_count;
    host->bootinfo = info;
    memcpy(&host->knobs, (const void *)info->knobs, sizeof(host->knobs));
    // A CPU for the boot code: locks need a current thread.
    struct cpu *cpu = early_alloc(&early, sizeof(*cpu));
    cpu->host = host;
    thread_adopt(&cpu->boot_thread, cpu, "boot");

    // Aligned down, so that buddies of every order can be looked up.
    first = align_down(first >> PAGE_SHIFT, 1ull << (PAGE_ORDER_COUNT - 1));
    end >>= PAGE_SHIFT;
    u8 *frames = early_alloc(&early, end - first);
    pages_init(host, first, end, frames);
    spin_lock_init(&host->heap.lock, LOCK_RANK_HEAP);
    for (u32 i = 0; i < info->range_count; i++) {
        u64 start = i == 0 ? align_up(early.at, PAGE_SIZE) : info->ranges[i].start;
        pages_add_range(host, start >> PAGE_SHIFT,
                        (info->ranges[i].start + info->ranges[i].size) >> PAGE_SHIFT);
    }
    return host;
}

// APIC ids of a host's processors are consecutive, from the boot processor's (it comes first).
static void init_cpus(struct host *host)
{
    struct hw_cpuid_regs regs;
    hw_cpuid(0x0b, 0, &regs);
    for (u32 id = 0; id < host->cpu_count; id++)
        (void)cpu_create(host, id, regs.edx + id);
}

static void start_init_process(struct host *host)
{
    struct hostmm *mm = hostmm_create(host);
    struct thread_options options = {
        .name = "vmm", .prio = THREAD_PRIO_NORMAL, .pinned_cpu = CPU_ANY, .mm = mm, .user = true};
    struct thread *t =
        mm == NULL ? NULL : thread_create(host, &options, vmm_main, (void *)host->bootinfo->vmm_config);
    if (t == NULL)
        HV_PANIC("no memory for the first process");
    hostmm_put(mm);
    thread_wake(t);
}

__attribute__((visibility("default"))) void hv_boot(const struct hw_bootinfo *info)
{
    check_bootinfo(info);
    struct host *host = init_memory(info);
    mutex_init(&host->handles_lock, LOCK_RANK_API_HANDLES);
    spin_lock_init(&host->threads_lock, LOCK_RANK_THREADS);
    list_init(&host->vms);
    list_init(&host->threads);
    host->handles[HV_HANDLE_SYSTEM] = (struct handle){HANDLE_SYSTEM, 1, HANDLE_FREE, host};
    futex_init(host);
    init_cpus(host);
    struct cpu *cpu = host->cpus[0];
    cpu->boot_thread = *current_thread();
    list_init(&cpu->boot_thread.notifiers);
    cpu->boot_thread.cpu = cpu;
    str_copy(cpu->boot_thread.name, "idle", sizeof(cpu->boot_thread.name));
    hw_wrgsbase((u64)&cpu->boot_thread);
    cpu_init_this(cpu);
    cpu_boot_others(host);
    link_init(host);
    start_init_process(host);
    cpu_idle_loop();
}
