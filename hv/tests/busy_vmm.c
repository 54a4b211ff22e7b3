// SPDX-License-Identifier: Apache-2.0
// A user program in the VMM's place whose threads make the same system calls at the same time, with nothing
// but the core's own locks to order them. Results hardly matter: whoever validates the run looks for what
// races. One thread on each of the processors 1 and 2 does a job; the first one lets them go and waits for
// both.
#include "hv/api.h"
#include "hv/hw/trace.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/vmm/config.h"

#define WORKERS 2u
#define PAGE 4096u
#define AREA_BYTES (2u << 20)
#define MAPS 6u
#define MESSAGES 6u
#define WIDE_AREAS 32u
#define RING_ENTRIES 1024u
#define RING_USED 24u     // By a job
#define LEAD_CYCLES 4000u // From letting them go to their start
#define EXPECT(expr)                                                                                         \
    do {                                                                                                     \
        if (!(expr))                                                                                         \
            hw_trace_violation(#expr, __LINE__, 0);                                                          \
    } while (0)

struct busy;
typedef void (*job_fn)(struct busy *b, u32 worker);

// In the process' heap.
struct busy {
    u32 gate; // Number of the job that is let go
    u32 done; // How many times one was done
    job_fn job;
    u64 start_tsc, shift_cycles;
    s64 vm, vcpus[WORKERS]; // Handles
    u64 areas[WORKERS], shared_area, wide_area, wide_used;
    u32 word, started;
    bool with_rings;
    u32 ring_at; // Where the core goes on to take back
    struct worker {
        struct busy *busy;
        u32 number;
        u64 bitmap[8];
        struct hv_regs regs;
        u64 maps[MAPS];
        u64 page; // Of the process' heap
        struct {
            struct hv_irq_routing head;
            struct hv_irq_routing_entry entry;
        } routing;
    } workers[WORKERS];
};

static s64 ioctl_ptr(s64 handle, enum hv_ioctl_cmd cmd, const void *arg)
{
    return hv_ioctl((int)handle, cmd, (u64)arg);
}

static s64 close(s64 handle)
{
    return hv_syscall(HV_SYS_CLOSE, (u64)handle, 0, 0, 0);
}

static s64 touch(u64 address, u64 how)
{
    return hv_syscall(HV_SYS_TOUCH, address, how, 0, 0);
}

static s64 set_region(s64 vm, u32 slot, u32 flags, u64 gpa, u64 bytes, u64 address)
{
    struct hv_user_memory_region r = {.slot = slot,
                                      .flags = flags,
                                      .guest_phys_addr = gpa,
                                      .memory_size = bytes,
                                      .userspace_addr = address};
    return ioctl_ptr(vm, HV_SET_USER_MEMORY_REGION, &r);
}

static s64 enable(s64 vm, u32 cap, u64 argument)
{
    struct hv_enable_cap c = {.cap = cap, .args = {argument}};
    return ioctl_ptr(vm, HV_ENABLE_CAP, &c);
}

static s64 pre_fault(s64 vcpu, u64 gpa, u64 bytes)
{
    struct hv_pre_fault_memory range = {.gpa = gpa, .size = bytes};
    return ioctl_ptr(vcpu, HV_PRE_FAULT_MEMORY, &range);
}

static void set_route(struct busy *b, u32 worker)
{
    struct worker *w = &b->workers[worker];
    w->routing.head.nr = 1;
    w->routing.entry = (struct hv_irq_routing_entry){
        .gsi = 5, .type = HV_IRQ_ROUTING_IRQCHIP, .u = {.irqchip = {.irqchip = 2, .pin = 5 + worker}}};
    (void)ioctl_ptr(b->vm, HV_SET_GSI_ROUTING, &w->routing);
}

// --- Memory of the process. ---

static void own_areas(struct busy *b, u32 worker)
{
    s64 at = hv_mmap(AREA_BYTES, 12, HV_MAP_GUEST);
    EXPECT(at > 0);
    for (u32 i = 0; i < 4; i++)
        EXPECT(touch((u64)at + i * PAGE, HV_TOUCH_WRITE) > 0);
    EXPECT(hv_syscall(HV_SYS_MADVISE_FREE, (u64)at, PAGE, HV_MADV_DONTNEED, 0) == 0);
    EXPECT(hv_syscall(HV_SYS_MADVISE_FREE, (u64)at + PAGE, PAGE, HV_MADV_FREE, 0) == 0);
    EXPECT(touch((u64)at + PAGE, HV_TOUCH_RESIDENT) > 0);
    EXPECT(hv_syscall(HV_SYS_MUNMAP, (u64)at, AREA_BYTES, 0, 0) == 0);
    (void)b, (void)worker;
}

// One maps while the other unmaps, then the other way round.
static void maps(struct busy *b, u32 worker)
{
    struct worker *w = &b->workers[worker];
    for (u32 i = 0; i < 2 * MAPS; i++) {
        u64 *at = &w->maps[i % MAPS];
        if ((i < MAPS) == (worker == 0)) {
            *at = (u64)hv_mmap(AREA_BYTES, 12, HV_MAP_GUEST);
        } else if (*at != 0) {
            EXPECT(hv_syscall(HV_SYS_MUNMAP, *at, AREA_BYTES, 0, 0) == 0);
            *at = 0;
        }
    }
}

// Of worker 1, on an area without and with pages, while the other one maps.
static void advises(struct busy *b, u32 worker)
{
    struct worker *w = &b->workers[worker];
    for (u32 i = 0; i < MAPS; i++) {
        if (worker == 0) {
            w->maps[i] = w->maps[i] != 0 ? w->maps[i] : (u64)hv_mmap(AREA_BYTES, 12, HV_MAP_GUEST);
        } else {
            if (i % 2 != 0)
                (void)touch(b->areas[1] + i * PAGE, HV_TOUCH_WRITE);
            (void)hv_syscall(HV_SYS_MADVISE_FREE, b->areas[1] + i * PAGE, PAGE,
                             i % 4 < 2 ? HV_MADV_DONTNEED : HV_MADV_FREE, 0);
        }
    }
}

// Tables of the process appear while others walk them without a lock.
static void fresh_pages(struct busy *b, u32 worker)
{
    for (u32 i = 0; i < 8; i++) {
        u64 at = b->wide_area + (b->wide_used + i) * AREA_BYTES;
        if (worker == 0)
            EXPECT(touch(at, HV_TOUCH_WRITE) > 0);
        for (u32 n = 0; worker != 0 && n < 6; n++)
            (void)touch(at, HV_TOUCH_RESIDENT);
    }
}

// Pages that may be taken are taken, as memory is short, and touched again meanwhile.
static void pressure(struct busy *b, u32 worker)
{
    if (worker == 0) {
        u64 bytes = (u64)hv_syscall(HV_SYS_MEMORY_FREE, 0, 0, 0, 0) & ~(u64)(AREA_BYTES - 1);
        s64 at = hv_mmap(bytes, 12, HV_MAP_GUEST);
        for (u64 n = 0; at > 0 && n < bytes; n += PAGE)
            (void)touch((u64)at + n, HV_TOUCH_WRITE);
        for (u32 i = 0; i < 64; i++)
            (void)touch(b->areas[0] + i * PAGE, HV_TOUCH_WRITE);
        if (at > 0)
            (void)hv_syscall(HV_SYS_MUNMAP, (u64)at, bytes, 0, 0);
    } else {
        for (u32 i = 0; i < 3000; i++) {
            (void)touch(b->areas[1] + i % 32 * PAGE, HV_TOUCH_WRITE);
            (void)hv_syscall(HV_SYS_MADVISE_FREE, b->areas[1], 32 * PAGE, HV_MADV_FREE, 0);
        }
    }
}

static void same_pages(struct busy *b, u32 worker)
{
    for (u32 i = 0; i < 6; i++) {
        EXPECT(touch(b->shared_area + i * PAGE, HV_TOUCH_WRITE) > 0);
        (void)touch(b->shared_area + (i ^ 1) * PAGE, HV_TOUCH_RESIDENT);
        if (i % 3 == worker)
            (void)hv_syscall(HV_SYS_MADVISE_FREE, b->shared_area, 4 * PAGE, HV_MADV_DONTNEED, 0);
        (void)hv_syscall(HV_SYS_MADVISE_FREE, b->shared_area, 4 * PAGE, HV_MADV_FREE, 0);
    }
}

static void user_faults(struct busy *b, u32 worker)
{
    u64 area = b->areas[worker];
    EXPECT(hv_syscall(HV_SYS_USERFAULT, area, AREA_BYTES, 1, 0) == 0);
    EXPECT(hv_syscall(HV_SYS_USERFAULT, area, AREA_BYTES, 0, 0) == 0);
    EXPECT(touch(area, HV_TOUCH_READ) > 0);
}

// --- Threads. ---

static void short_thread(void *arg)
{
    struct busy *b = arg;
    __atomic_fetch_add(&b->started, 1, __ATOMIC_RELAXED);
    (void)hv_syscall(HV_SYS_YIELD, 0, 0, 0, 0);
    hv_exit();
}

static void sleeping_thread(void *arg)
{
    struct busy *b = arg;
    __atomic_fetch_add(&b->started, 1, __ATOMIC_RELAXED);
    (void)hv_sleep_until(hv_clock_ns() + 30000);
    hv_exit();
}

static void threads(struct busy *b, u32 worker)
{
    u32 cpu = worker == 0 ? 3 : HV_CPU_ANY;
    s64 sleeper = hv_thread_create(sleeping_thread, b, cpu, HV_PRIO_NORMAL);
    EXPECT(hv_thread_create(short_thread, b, HV_CPU_ANY, HV_PRIO_NORMAL) > 0);
    EXPECT(hv_thread_create(short_thread, b, worker, HV_PRIO_URGENT) > 0);
    EXPECT(hv_sleep_until(hv_clock_ns() + 5000) == 0);
    (void)hv_syscall(worker == 0 ? HV_SYS_THREAD_SIGNAL : HV_SYS_THREAD_KILL, (u64)sleeper, 0, 0, 0);
    EXPECT(hv_sleep_until(hv_clock_ns() + 2000 + 1000 * worker) == 0);
}

static void futexes(struct busy *b, u32 worker)
{
    for (u32 i = 0; i < 6; i++) {
        (void)hv_futex_wait(&b->word, 7, 0); // Another value: back at once.
        (void)hv_futex_wait(&b->word, 0, hv_clock_ns() + (worker == 0 ? 3000 : 2500));
        (void)hv_futex_wake(&b->word, 1);
    }
}

// --- A VM. ---

static void vms(struct busy *b, u32 worker)
{
    s64 vm = hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0);
    EXPECT(vm > 0);
    EXPECT(enable(vm, HV_CAP_VM_NUMBER, 10 + worker) == 0);
    EXPECT(set_region(vm, 0, 0, 0, AREA_BYTES, b->areas[worker]) == 0);
    s64 vcpu = hv_ioctl((int)vm, HV_CREATE_VCPU, 0);
    EXPECT(vcpu > 0);
    EXPECT(close(vcpu) == 0);
    EXPECT(close(vm) == 0);
}

// VMs come and go while memory goes that they might have mapped.
static void notifiers(struct busy *b, u32 worker)
{
    for (u32 i = 0; i < 4; i++) {
        if (worker == 0) {
            s64 vm = hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0);
            EXPECT(vm > 0 && set_region(vm, 0, 0, 0, AREA_BYTES, b->areas[0]) == 0);
            (void)close(vm);
        } else {
            (void)touch(b->areas[1], HV_TOUCH_WRITE);
            (void)hv_syscall(HV_SYS_MADVISE_FREE, b->areas[1], PAGE, HV_MADV_DONTNEED, 0);
        }
    }
}

// A number that will be that of a VM, used by who was not told.
static void guesses(struct busy *b, u32 worker)
{
    for (u32 i = 0; i < 3; i++) {
        if (worker == 0) {
            s64 vm = hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0);
            (void)hv_ioctl((int)vm, HV_CHECK_EXTENSION, HV_CAP_NR_VCPUS);
            (void)close(vm);
        } else {
            for (u32 n = 0; n < 30; n++)
                (void)hv_ioctl((int)b->vm, HV_CHECK_EXTENSION, HV_CAP_NR_VCPUS);
        }
    }
}

// A handle that one closes while the other uses it, or closes it as well.
static void closing(struct busy *b, u32 worker)
{
    (void)close(b->vcpus[1]);
    if (worker == 0) {
        (void)close(b->vcpus[0]);
        (void)close(b->vm);
    } else {
        for (u32 i = 0; i < 8; i++) {
            (void)ioctl_ptr(b->vcpus[0], HV_GET_REGS, &b->workers[worker].regs);
            (void)hv_ioctl((int)b->vm, HV_CHECK_EXTENSION, HV_CAP_NR_VCPUS);
        }
    }
}

static void use_chips(struct busy *b)
{
    struct hv_irq_level level = {.irq = 5, .level = 1};
    struct hv_msi msi = {.address_lo = 0xfee00000, .data = 0x40};
    (void)ioctl_ptr(b->vm, HV_IRQ_LINE, &level);
    (void)ioctl_ptr(b->vm, HV_SIGNAL_MSI, &msi);
}

static void chips(struct busy *b, u32 worker)
{
    s64 first = hv_ioctl((int)b->vm, HV_CREATE_IRQCHIP, 0);
    EXPECT(first == 0 || first == -EEXIST || first == -EINVAL);
    use_chips(b);
    (void)worker;
}

// They are used by who did not make them.
static void early_chips(struct busy *b, u32 worker)
{
    if (worker == 0)
        (void)hv_ioctl((int)b->vm, HV_CREATE_IRQCHIP, 0);
    for (u32 i = 0; worker != 0 && i < 80; i++)
        use_chips(b);
}

// The timer wants to be told of acknowledged interrupts, while routes change.
static void timers(struct busy *b, u32 worker)
{
    struct hv_pit_config pit = {.flags = 0};
    struct hv_irq_level level = {.irq = 0, .level = 1};
    struct hv_irqchip chip = {.chip_id = worker};
    set_route(b, worker);
    if (worker == 0)
        (void)ioctl_ptr(b->vm, HV_CREATE_PIT2, &pit);
    for (u32 i = 0; i < 4; i++) {
        level.level = i & 1;
        (void)ioctl_ptr(b->vm, HV_IRQ_LINE, &level);
        set_route(b, worker);
        (void)ioctl_ptr(b->vm, HV_GET_IRQCHIP, &chip);
    }
}

static void first_vcpus(struct busy *b, u32 worker)
{
    if (b->with_rings)
        (void)enable(b->vm, HV_CAP_DIRTY_LOG_RING, RING_ENTRIES * sizeof(struct hv_dirty_gfn));
    (void)enable(b->vm, HV_CAP_X86_DISABLE_EXITS, HV_DISABLE_EXITS_PAUSE);
    (void)enable(b->vm, HV_CAP_MANUAL_DIRTY_LOG_PROTECT2, 0);
    b->vcpus[worker] = hv_ioctl((int)b->vm, HV_CREATE_VCPU, worker);
    EXPECT(b->vcpus[worker] > 0);
    (void)hv_ioctl((int)b->vm, HV_CREATE_VCPU, 0);
}

// Some come while others are looked through.
static void more_vcpus(struct busy *b, u32 worker)
{
    for (u32 i = 1; i < 4; i++) {
        s64 vcpu = hv_ioctl((int)b->vm, HV_CREATE_VCPU, i * WORKERS + worker);
        u64 gpa = (u64)(4 + worker) << 30;
        EXPECT(set_region(b->vm, 3 + worker, 0, gpa, AREA_BYTES, b->areas[worker]) == 0);
        EXPECT(set_region(b->vm, 3 + worker, 0, gpa, 0, 0) == 0);
        (void)close(vcpu);
    }
}

// Of a thread that may be moved to another processor.
static void anywhere(struct busy *b)
{
    for (u32 i = 0; i < WORKERS; i++) {
        (void)ioctl_ptr(b->vcpus[i], HV_GET_REGS, &b->workers[i].regs);
        (void)pre_fault(b->vcpus[i], 0, 4 * PAGE);
        (void)hv_syscall(HV_SYS_MADVISE_FREE, b->shared_area, 4 * PAGE, HV_MADV_DONTNEED, 0);
        (void)hv_ioctl((int)b->vcpus[i], HV_NMI, 0);
    }
}

static void slots(struct busy *b, u32 worker)
{
    u64 gpa = (u64)(1 + worker) << 30;
    EXPECT(set_region(b->vm, 1 + worker, HV_MEM_LOG_DIRTY_PAGES, gpa, AREA_BYTES, b->areas[worker]) == 0);
    (void)pre_fault(b->vcpus[worker], gpa, 4 * PAGE);
    (void)pre_fault(b->vcpus[worker], 0, 4 * PAGE);
    EXPECT(set_region(b->vm, 1 + worker, 0, gpa, 0, 0) == 0);
}

static void logs(struct busy *b, u32 worker)
{
    struct hv_dirty_log log = {.slot = 0, .bitmap = (u64)b->workers[worker].bitmap};
    struct hv_clear_dirty_log clear = {.slot = 0, .num_pages = 64, .bitmap = (u64)b->workers[worker].bitmap};
    (void)pre_fault(b->vcpus[worker], 0, 8 * PAGE);
    (void)ioctl_ptr(b->vm, HV_GET_DIRTY_LOG, &log);
    (void)ioctl_ptr(b->vm, HV_CLEAR_DIRTY_LOG, &clear);
    (void)hv_ioctl((int)b->vm, HV_RESET_DIRTY_RINGS, 0);
}

// Every page is dirty, and stays so until it is cleared.
static void clears(struct busy *b, u32 worker)
{
    struct worker *w = &b->workers[worker];
    struct hv_clear_dirty_log clear = {.slot = 0, .num_pages = 64, .bitmap = (u64)w->bitmap};
    for (u32 i = 0; i < 4; i++) {
        w->bitmap[0] = 0xfull << 4 * i;
        (void)pre_fault(b->vcpus[worker], i * 4 * PAGE, 4 * PAGE);
        if (worker == 0)
            (void)ioctl_ptr(b->vm, HV_CLEAR_DIRTY_LOG, &clear);
        else
            (void)hv_syscall(HV_SYS_MADVISE_FREE, b->shared_area, 16 * PAGE, HV_MADV_DONTNEED, 0);
    }
}

// Entries of a vCPU's ring, as if the core had told of pages and they had been collected, are given back by
// the thread that did so, and by the other one.
static void rings(struct busy *b, u32 worker)
{
    struct hv_dirty_gfn *ring = (struct hv_dirty_gfn *)hv_ioctl((int)b->vcpus[worker], HV_DIRTY_RING_PAGE, 0);
    (void)pre_fault(b->vcpus[worker], 0, 16 * PAGE);
    for (u32 i = 0; i < RING_USED && (s64)ring > 0; i++) {
        struct hv_dirty_gfn *e = &ring[(b->ring_at + i) % RING_ENTRIES];
        if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != 0)
            break;
        e->slot = 0;
        e->offset = (3 * i + 80 * worker) % 200;
        __atomic_store_n(&e->flags, HV_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        if (i % 3 == worker)
            (void)hv_ioctl((int)b->vm, HV_RESET_DIRTY_RINGS, 0);
        if (i % 8 == 0)
            (void)hv_syscall(HV_SYS_MADVISE_FREE, b->shared_area, 16 * PAGE, HV_MADV_DONTNEED, 0);
    }
    for (u32 i = 0; i < RING_USED && (s64)ring > 0; i++) {
        struct hv_dirty_gfn *e = &ring[(b->ring_at + i) % RING_ENTRIES];
        if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) == 0)
            e->offset = 0; // The core has read it.
    }
    (void)hv_ioctl((int)b->vm, HV_RESET_DIRTY_RINGS, 0);
}

static void routes(struct busy *b, u32 worker)
{
    for (u32 i = 0; i < 3; i++) {
        struct hv_irq_level level = {.irq = 5, .level = i & 1};
        if (worker == 0 || i == 0)
            set_route(b, worker);
        (void)ioctl_ptr(b->vm, HV_IRQ_LINE, &level);
    }
}

// Memory goes while it is mapped for a guest.
static void discards(struct busy *b, u32 worker)
{
    for (u32 i = 0; i < 3; i++) {
        if (worker == 0)
            (void)hv_syscall(HV_SYS_MADVISE_FREE, b->shared_area, 4 * PAGE, HV_MADV_DONTNEED, 0);
        else
            (void)pre_fault(b->vcpus[1], 0, 4 * PAGE);
    }
}

static void hooks(struct busy *b, u32 worker)
{
    struct hv_kvmi_reply reply = {.seq = 1};
    struct hv_kvmi_command command = {.command = HV_GET_REGS, .argument = (u64)&b->workers[worker].regs};
    (void)hv_ioctl((int)b->vm, HV_KVMI_HOOK, HV_KVMI_EVENT_MSR);
    (void)ioctl_ptr(b->vm, HV_KVMI_COMMAND, &command);
    (void)ioctl_ptr(b->vm, HV_KVMI_REPLY, &reply);
    (void)hv_ioctl((int)b->vm, HV_KVMI_UNHOOK, 0);
}

static void same_vcpu(struct busy *b, u32 worker)
{
    struct hv_run *run = (struct hv_run *)hv_ioctl((int)b->vcpus[0], HV_RUN_PAGE, 0);
    __atomic_store_n(&run->immediate_exit, 1, __ATOMIC_RELAXED);
    for (u32 i = 0; i < 12; i++) {
        for (u32 n = 0; n < i * worker; n++)
            hw_pause();
        s64 result = hv_ioctl((int)b->vcpus[0], HV_RUN, 0);
        EXPECT(result == -EINTR || result == -EBUSY);
        (void)ioctl_ptr(b->vcpus[0], HV_GET_REGS, &b->workers[worker].regs);
        (void)hv_ioctl((int)b->vcpus[0], HV_NMI, 0);
    }
}

// --- A card to another host, whose threads do the same. ---

static void links(struct busy *b, u32 worker)
{
    u64 header[4] = {worker}, message = b->workers[worker].page;
    struct hv_link_send send = {.header = (u64)header, .header_bytes = sizeof(header)};
    for (u32 i = 0; i < MESSAGES; i++) {
        EXPECT(hv_syscall(HV_SYS_LINK_SEND, (u64)&send, 0, 0, 0) == 0);
        EXPECT(hv_syscall(HV_SYS_LINK_BYTES, 0, 0, 0, 0) > 0);
        EXPECT(hv_syscall(HV_SYS_LINK_RECEIVE, message, 0, 0, 0) == 0);
    }
    EXPECT(hv_syscall(HV_SYS_LINK_DRAIN, MESSAGES, 0, 0, 0) == 0);
}

// --- The order of the day. ---

static void work(void *arg)
{
    struct worker *w = arg;
    struct busy *b = w->busy;
    for (u32 number = 1;; number++) {
        while (__atomic_load_n(&b->gate, __ATOMIC_ACQUIRE) != number)
            hw_pause();
        if (b->job == NULL)
            break;
        while (hw_rdtsc() < b->start_tsc + b->shift_cycles * w->number)
            hw_pause();
        b->job(b, w->number);
        __atomic_fetch_add(&b->done, 1, __ATOMIC_RELEASE);
    }
    hv_exit();
}

static void let_go(struct busy *b, job_fn job, u64 shift_cycles)
{
    u32 number = b->gate + 1;
    b->job = job;
    b->shift_cycles = shift_cycles;
    b->start_tsc = hw_rdtsc() + LEAD_CYCLES;
    __atomic_store_n(&b->gate, number, __ATOMIC_RELEASE);
    // Asleep: it may be on a worker's processor by now.
    while (job != NULL && __atomic_load_n(&b->done, __ATOMIC_ACQUIRE) != number * WORKERS)
        (void)hv_sleep_until(hv_clock_ns() + 3000);
}

// With a log of its memory; in every other round by hand, and with all pages dirty from the start.
static void new_vm(struct busy *b)
{
    b->vm = hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0);
    EXPECT(b->vm > 0);
    if (!b->with_rings && (b->gate & 1) != 0)
        EXPECT(enable(b->vm, HV_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                      HV_DIRTY_LOG_MANUAL_PROTECT_ENABLE | HV_DIRTY_LOG_INITIALLY_SET) == 0);
}

static void give_memory(struct busy *b)
{
    EXPECT(set_region(b->vm, 0, HV_MEM_LOG_DIRTY_PAGES, 0, AREA_BYTES, b->shared_area) == 0);
}

static void one_round(struct busy *b, u64 shift_cycles)
{
    static const job_fn alone[] = {own_areas,  maps,        maps,    advises, fresh_pages, notifiers,
                                   same_pages, user_faults, threads, futexes, vms,         guesses};
    static const job_fn of_vm[] = {chips,  first_vcpus, more_vcpus, slots,     logs,   clears,
                                   routes, discards,    hooks,      same_vcpu, closing};
    for (u32 i = 0; i < sizeof(alone) / sizeof(*alone); i++)
        let_go(b, alone[i], shift_cycles);
    b->wide_used += 8;
    b->with_rings = false;
    new_vm(b);
    give_memory(b);
    for (u32 i = 0; i < sizeof(of_vm) / sizeof(*of_vm); i++) {
        let_go(b, of_vm[i], shift_cycles);
        if (of_vm[i] == slots)
            anywhere(b);
    }
    new_vm(b);
    let_go(b, early_chips, shift_cycles);
    let_go(b, timers, shift_cycles);
    (void)close(b->vm);
    b->with_rings = true;
    new_vm(b);
    let_go(b, first_vcpus, shift_cycles);
    give_memory(b); // From now on, as a log that begins without rings is a bitmap.
    b->ring_at = 0;
    for (u32 i = 0; i < 3; i++) {
        let_go(b, rings, shift_cycles);
        b->ring_at += RING_USED;
    }
    let_go(b, closing, shift_cycles);
}

void vmm_main(void *config)
{
    static const u64 shifts[] = {0, 700, 3000};
    const struct vmm_config *c = config;
    const struct vmm_vm_config *vm = vmm_config_at(c, c->vms_offset);
    struct busy *b = (struct busy *)hv_mmap((sizeof(*b) + PAGE - 1) & ~(u64)(PAGE - 1), 12, HV_MAP_DIRECT);
    b->wide_area = (u64)hv_mmap(WIDE_AREAS * AREA_BYTES, 12, HV_MAP_GUEST);
    b->shared_area = (u64)hv_mmap(AREA_BYTES, 12, HV_MAP_GUEST);
    for (u32 i = 0; i < WORKERS; i++) {
        b->areas[i] = (u64)hv_mmap(AREA_BYTES, 12, HV_MAP_GUEST);
        b->workers[i].busy = b;
        b->workers[i].number = i;
        b->workers[i].page = (u64)hv_mmap(PAGE, 12, HV_MAP_DIRECT);
        EXPECT(hv_thread_create(work, &b->workers[i], 1 + i, HV_PRIO_NORMAL) > 0);
    }
    if (strcmp(vm->name, "pressure") == 0) {
        let_go(b, pressure, 0);
    } else if (memcmp(vm->name, "link", 4) == 0) {
        EXPECT(hv_syscall(HV_SYS_LINK_CONTROL, 1, 0, 0, 0) == 0);
        let_go(b, links, 0);
        let_go(b, links, 500);
    } else {
        for (u32 i = 0; i < sizeof(shifts) / sizeof(*shifts); i++)
            one_round(b, shifts[i]);
    }
    hw_trace_count("busy.jobs", b->gate);
    let_go(b, NULL, 0);
    (void)hv_syscall(HV_SYS_POWER_OFF, 0, 0, 0, 0);
}
