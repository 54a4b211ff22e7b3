// SPDX-License-Identifier: Apache-2.0
// System calls: a table by number, one small function each.
#include "hv/core/api.h"
#include "hv/core/arch.h"
#include "hv/core/hostmm.h"
#include "hv/core/link.h"
#include "hv/core/sched.h"
#include "hv/hw/board.h"
#include "hv/lib/errno.h"
#include "hv/lib/lock_rank.h"

struct syscall_args {
    u64 a[4];
};
typedef s64 (*syscall_fn)(struct host *host, const struct syscall_args *args);

static s64 sys_IOCTL(struct host *host, const struct syscall_args *args)
{
    return api_ioctl(host, (s64)args->a[0], (u32)args->a[1], args->a[2]);
}

static s64 sys_CLOSE(struct host *host, const struct syscall_args *args)
{
    return handle_close(host, (s64)args->a[0]);
}

static s64 sys_MMAP(struct host *host, const struct syscall_args *args)
{
    (void)host;
    if (args->a[1] > 63)
        return -EINVAL;
    return hostmm_mmap(current_thread()->mm, args->a[0], (unsigned)args->a[1], args->a[2]);
}

static s64 sys_MUNMAP(struct host *host, const struct syscall_args *args)
{
    (void)host;
    return hostmm_munmap(current_thread()->mm, args->a[0], args->a[1]);
}

static s64 sys_MADVISE_FREE(struct host *host, const struct syscall_args *args)
{
    (void)host;
    if (args->a[2] > HV_MADV_FREE)
        return -EINVAL;
    return hostmm_discard(current_thread()->mm, args->a[0], args->a[1], args->a[2] == HV_MADV_FREE);
}

static s64 sys_RESIDENT(struct host *host, const struct syscall_args *args)
{
    (void)host, (void)args;
    return (s64)(READ_ONCE(current_thread()->mm->resident_pages) << PAGE_SHIFT);
}

static s64 sys_TOUCH(struct host *host, const struct syscall_args *args)
{
    struct user_page page;
    if (args->a[1] > HV_TOUCH_RESIDENT)
        return -EINVAL;
    if (args->a[1] == HV_TOUCH_RESIDENT &&
        !get_user_page_fast(current_thread()->mm, args->a[0], false, &page))
        return -ENOENT;
    int result = get_user_page(current_thread()->mm, args->a[0], args->a[1] == HV_TOUCH_WRITE, &page);
    if (result != 0)
        return result;
    return (s64)((u64)pfn_to_va(host, page.pfn) + (args->a[0] & ~PAGE_MASK));
}

static s64 sys_THREAD_CREATE(struct host *host, const struct syscall_args *args)
{
    struct thread_options options = {.name = "user",
                                     .prio = (enum thread_prio)args->a[3],
                                     .pinned_cpu = (u32)args->a[2],
                                     .mm = current_thread()->mm,
                                     .user = true};
    if (args->a[0] == 0 || args->a[3] <= THREAD_PRIO_IDLE || args->a[3] >= THREAD_PRIO_COUNT)
        return -EINVAL;
    if (args->a[2] != HV_CPU_ANY && args->a[2] >= host->cpu_count)
        return -EINVAL;
    struct thread *t = thread_create(host, &options, (void (*)(void *))args->a[0], (void *)args->a[1]);
    if (t == NULL)
        return -ENOMEM;
    u32 tid = t->tid;
    thread_wake(t);
    return tid;
}

static s64 sys_THREAD_SIGNAL(struct host *host, const struct syscall_args *args)
{
    return args->a[0] > UINT32_MAX ? -ESRCH : thread_signal_tid(host, (u32)args->a[0]);
}

static s64 sys_THREAD_KILL(struct host *host, const struct syscall_args *args)
{
    return args->a[0] > UINT32_MAX ? -ESRCH : thread_kill_tid(host, (u32)args->a[0]);
}

static s64 sys_EXIT(struct host *host, const struct syscall_args *args)
{
    (void)host;
    (void)args;
    thread_exit();
}

static s64 sys_YIELD(struct host *host, const struct syscall_args *args)
{
    (void)host;
    (void)args;
    sched_yield_thread();
    return 0;
}

static s64 sys_SLEEP_UNTIL(struct host *host, const struct syscall_args *args)
{
    return sleep_until_tsc(ns_to_tsc(host, args->a[0]));
}

static s64 sys_CLOCK(struct host *host, const struct syscall_args *args)
{
    (void)args;
    return (s64)tsc_to_ns(host, hw_rdtsc());
}

static s64 sys_FUTEX_WAIT(struct host *host, const struct syscall_args *args)
{
    u64 deadline = args->a[2] == 0 ? 0 : max_u64(ns_to_tsc(host, args->a[2]), 1);
    return futex_wait(host, args->a[0], (u32)args->a[1], deadline);
}

static s64 sys_FUTEX_WAKE(struct host *host, const struct syscall_args *args)
{
    return futex_wake(host, args->a[0], (u32)args->a[1]);
}

static s64 sys_KNOB(struct host *host, const struct syscall_args *args)
{
    return args->a[0] < KNOB_COUNT ? (s64)host->knobs.v[args->a[0]] : -EINVAL;
}

static s64 sys_CONFIG(struct host *host, const struct syscall_args *args)
{
    (void)args;
    return (s64)host->bootinfo->vmm_config;
}

// ACPI's PM1a control block of the board, with SLP_EN and S5's SLP_TYP: the host stops here.
static s64 sys_POWER_OFF(struct host *host, const struct syscall_args *args)
{
    (void)host, (void)args;
    hw_out(BOARD_PORT_POWER, 2, BOARD_POWER_SLP_EN);
    return 0;
}

static s64 sys_LINK_SEND(struct host *host, const struct syscall_args *args)
{
    return link_send(host, args->a[0]);
}

static s64 sys_LINK_RECEIVE(struct host *host, const struct syscall_args *args)
{
    return link_receive(host, args->a[0]);
}

static s64 sys_LINK_PLACE(struct host *host, const struct syscall_args *args)
{
    return link_place(host, args->a[0]);
}

static s64 sys_LINK_CONTROL(struct host *host, const struct syscall_args *args)
{
    return link_control(host, args->a[0]);
}

static s64 sys_LINK_BYTES(struct host *host, const struct syscall_args *args)
{
    (void)args;
    return link_bytes(host);
}

static s64 sys_LINK_DRAIN(struct host *host, const struct syscall_args *args)
{
    return link_drain(host, args->a[0]);
}

static s64 sys_MEMORY_FREE(struct host *host, const struct syscall_args *args)
{
    (void)args;
    return (s64)(READ_ONCE(host->pages.free_pages) << PAGE_SHIFT);
}

static s64 sys_USERFAULT(struct host *host, const struct syscall_args *args)
{
    (void)host;
    return args->a[2] > 1 ? -EINVAL
                          : userfault_register(current_thread()->mm, args->a[0], args->a[1], args->a[2] != 0);
}

static s64 sys_USERFAULT_READ(struct host *host, const struct syscall_args *args)
{
    u64 address;
    (void)host;
    int result = userfault_read(current_thread()->mm, &address);
    return result != 0 ? result : copy_to_user(current_thread()->mm, args->a[0], &address, sizeof(address));
}

static s64 sys_CONSOLE(struct host *host, const struct syscall_args *args)
{
    (void)host;
    hw_out(BOARD_PORT_CONSOLE, 4, board_console((u32)args->a[0], (u8)args->a[1]));
    return 0;
}

static s64 sys_CONSOLE_READ(struct host *host, const struct syscall_args *args)
{
    (void)host;
    if (args->a[0] >= BOARD_INPUT_VMS)
        return -EINVAL;
    return (s64)hw_in((u16)(BOARD_PORT_INPUT + 4 * args->a[0]), 4);
}

static s64 sys_GUEST_END(struct host *host, const struct syscall_args *args)
{
    (void)host;
    if (args->a[1] == GUEST_END_NONE || args->a[1] >= GUEST_END_COUNT)
        return -EINVAL;
    hw_out(BOARD_PORT_END, 4, board_end((u32)args->a[0], (enum guest_end)args->a[1], args->a[2]));
    return 0;
}

static const syscall_fn syscalls[] = {
#define SYSCALL(name, number, about) [number] = sys_##name,
#include "hv/api_cmds.def"
};

u64 syscall_entry(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
    const struct syscall_args args = {{a0, a1, a2, a3}};
    struct thread *t = current_thread();
    if (nr >= ARRAY_COUNT(syscalls) || syscalls[nr] == NULL)
        return (u64)-ENOSYS;
    hw_sti();
    s64 result = syscalls[nr](t->host, &args);
    // The signal has done its work, as a handler that runs on the way out would have.
    if (result == -EINTR)
        WRITE_ONCE(t->signal_pending, 0);
    validate_user_return(t);
    cond_resched();
    return (u64)result;
}
