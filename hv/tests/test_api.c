// SPDX-License-Identifier: Apache-2.0
// The surface of hv/api.h from user mode: handles, errors, threads, sleeping, futexes.
#include "hv/api.h"
#include "hv/core/host.h"
#include "hv/core/sched.h"
#include "hv/core/vm.h"
#include "hv/lib/errno.h"
#include "hv/tests/fake_arch.h"
#include "hv/tests/fake_hw.h"
#include "tests/shim/shim.h"

static void run(u32 cpus, u64 seed, void (*body)(void *))
{
    struct fake_config config = {
        .cpus = cpus, .seed = seed, .vmm_config = "configuration", .vmm_config_bytes = 14};
    fake_arch_reset();
    EXPECT_EQ(fake_run(&config, body, NULL), 0);
    EXPECT_STREQ(fake_panic(), "");
    EXPECT_EQ(fake_violations(NULL), 0);
}

static void handles_body(void *arg)
{
    (void)arg;
    s64 vm = hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0);
    ASSERT_GT(vm, 0);
    s64 vcpu = hv_ioctl((int)vm, HV_CREATE_VCPU, 3);
    ASSERT_GT(vcpu, vm);
    const struct {
        s64 handle;
        u32 cmd;
        u64 arg;
        s64 want;
    } rows[] = {
        {HV_HANDLE_SYSTEM, HV_CREATE_VM, 7, -EINVAL},
        {HV_HANDLE_SYSTEM, HV_RUN, 0, -ENOTTY},
        {-1, HV_RUN, 0, -EBADF},
        {999, HV_RUN, 0, -EBADF},
        {HOST_HANDLES_MAX, HV_RUN, 0, -EBADF},
        {vm, HV_RUN, 0, -ENOTTY},
        {vm, 0xffff, 0, -ENOTTY},
        {vm, HV_CREATE_VCPU, 3, -EEXIST},
        {vm, HV_CREATE_VCPU, HV_VCPU_IDS_MAX, -EINVAL},
        {vm, HV_CREATE_VCPU, UINT64_MAX, -EINVAL},
        {vm, HV_SET_USER_MEMORY_REGION, 8, -EFAULT},
        {vm, HV_IRQ_LINE, 8, -ENXIO}, // Before the chip is asked for, as the pointer is not even read.
        {vm, HV_SIGNAL_MSI, 8, -EFAULT},
        {vm, HV_SET_GSI_ROUTING, 8, -EFAULT},
        {vm, HV_ENABLE_CAP, 8, -EFAULT},
        {vm, HV_CREATE_IRQCHIP, 0, -EINVAL}, // A vCPU exists.
        {vcpu, HV_RUN, 1, -EINVAL},
        {vcpu, HV_CREATE_VCPU, 0, -ENOTTY},
        {HV_HANDLE_SYSTEM, HV_CHECK_EXTENSION, HV_CAP_NR_MEMSLOTS, 509},
        {vm, HV_CHECK_EXTENSION, HV_CAP_NR_MEMSLOTS, 509},
        {HV_HANDLE_SYSTEM, HV_CHECK_EXTENSION, HV_CAP_GET_TSC_KHZ, FAKE_TSC_KHZ},
        {HV_HANDLE_SYSTEM, HV_CHECK_EXTENSION, 123456, 0}, // Unknown: not an error.
    };
    for (unsigned i = 0; i < ARRAY_COUNT(rows); i++) {
        test_row("row %u", i);
        EXPECT_EQ(hv_ioctl((int)rows[i].handle, (enum hv_ioctl_cmd)rows[i].cmd, rows[i].arg), rows[i].want);
    }
    test_row(NULL);
    EXPECT_EQ(hw_syscall(999, 0, 0, 0, 0), (u64)-ENOSYS);
    // The VM lives as long as a handle of it does.
    EXPECT_EQ(hv_syscall(HV_SYS_CLOSE, (u64)vm, 0, 0, 0), 0);
    EXPECT_EQ(fake_arch.vms, 1);
    EXPECT_EQ(hv_ioctl((int)vm, HV_CHECK_EXTENSION, 0), -EBADF);
    EXPECT_EQ(hv_syscall(HV_SYS_CLOSE, (u64)vm, 0, 0, 0), -EBADF);
    EXPECT_EQ(hv_syscall(HV_SYS_CLOSE, (u64)vcpu, 0, 0, 0), 0);
    EXPECT_EQ(fake_arch.vms, 0);
    EXPECT_EQ(fake_arch.vcpus, 0);
    EXPECT_EQ(hv_syscall(HV_SYS_CLOSE, HV_HANDLE_SYSTEM, 0, 0, 0), -EINVAL);
}

TEST(HvApi, RefusesWithTheRightErrno)
{
    run(1, 0, handles_body);
}

static void irqchip_body(void *arg)
{
    struct hv_irq_level irq = {.irq = 4, .level = 1};
    struct hv_msi msi = {.address_lo = 0xfee00000, .data = 0x41};
    (void)arg;
    int vm = (int)hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0);
    EXPECT_EQ(hv_ioctl_ptr(vm, HV_SIGNAL_MSI, &msi), -EINVAL); // No chip yet.
    EXPECT_EQ(hv_ioctl(vm, HV_CREATE_IRQCHIP, 0), 0);
    EXPECT_EQ(hv_ioctl(vm, HV_CREATE_IRQCHIP, 0), -EEXIST);
    EXPECT_EQ(hv_ioctl_ptr(vm, HV_IRQ_LINE, &irq), 0);
    EXPECT_EQ(irq.irq, 1); // Delivered to one.
    irq = (struct hv_irq_level){.irq = 24, .level = 1};
    EXPECT_EQ(hv_ioctl_ptr(vm, HV_IRQ_LINE, &irq), -EINVAL);
    irq = (struct hv_irq_level){.irq = 4, .level = 9};
    EXPECT_EQ(hv_ioctl_ptr(vm, HV_IRQ_LINE, &irq), -EINVAL);
    EXPECT_EQ(hv_ioctl_ptr(vm, HV_SIGNAL_MSI, &msi), 1);
    EXPECT_EQ(fake_arch.msi_address, 0xfee00000);
    msi.flags = 1;
    EXPECT_EQ(hv_ioctl_ptr(vm, HV_SIGNAL_MSI, &msi), -EINVAL);
    EXPECT_EQ(hv_syscall(HV_SYS_CLOSE, (u64)vm, 0, 0, 0), 0);
}

TEST(HvApi, InterruptsNeedTheChip)
{
    run(1, 0, irqchip_body);
}

static void many_vcpus_body(void *arg)
{
    u32 made = 0;
    (void)arg;
    int vm = (int)hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0);
    while (hv_ioctl(vm, HV_CREATE_VCPU, made) > 0)
        made++;
    EXPECT_EQ(made, VM_VCPUS_MAX);
    EXPECT_EQ(hv_ioctl(vm, HV_CREATE_VCPU, made), -EINVAL);
}

TEST(HvApi, VcpusAreCounted)
{
    run(1, 0, many_vcpus_body);
}

static void many_handles_body(void *arg)
{
    u32 made = 0;
    s64 last;
    (void)arg;
    while ((last = hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0)) > 0)
        made++;
    EXPECT_TRUE(last == -EMFILE || last == -ENOMEM);
    EXPECT_GT(made, 20);
    EXPECT_EQ(fake_arch.vms, made); // What failed left nothing behind.
    EXPECT_EQ(hv_syscall(HV_SYS_CLOSE, 1, 0, 0, 0), 0);
    EXPECT_GT(hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0), 0);
}

TEST(HvApi, HandlesOrMemoryRunOutCleanly)
{
    run(1, 0, many_handles_body);
}

// --- Threads and time. ---

static u32 word, child_cpu, finished;

static void child(void *arg)
{
    child_cpu = fake_cpu();
    EXPECT_EQ((u64)arg, 42);
    WRITE_ONCE(word, 1);
    hv_futex_wake(&word, 1);
    __atomic_fetch_add(&finished, 1, __ATOMIC_RELAXED);
    hv_exit();
}

static void thread_body(void *arg)
{
    (void)arg;
    word = child_cpu = finished = 0;
    s64 tid = hv_thread_create(child, (void *)42, 1, THREAD_PRIO_NORMAL);
    EXPECT_GT(tid, 0);
    while (READ_ONCE(word) == 0) {
        s64 r = hv_futex_wait(&word, 0, 0);
        EXPECT_TRUE(r == 0 || r == -EAGAIN);
    }
    while (READ_ONCE(finished) == 0) // Its wake-up must not be taken for a later one.
        (void)hv_syscall(HV_SYS_YIELD, 0, 0, 0, 0);
    EXPECT_EQ(child_cpu, 1);
    EXPECT_EQ(hv_futex_wait(&word, 0, 0), -EAGAIN);
    u64 now = hv_clock_ns();
    EXPECT_EQ(hv_futex_wait(&word, 1, now + 40000), -ETIMEDOUT);
    EXPECT_GE(hv_clock_ns(), now + 40000);
    EXPECT_EQ(hv_futex_wait((u32 *)(void *)((u64)&word + 1), 1, 0), -EINVAL);
    EXPECT_EQ(hv_futex_wait((u32 *)8, 1, 0), -EFAULT);
    now = hv_clock_ns();
    EXPECT_EQ(hv_sleep_until(now + 50000), 0);
    EXPECT_GE(hv_clock_ns(), now + 50000);
    EXPECT_EQ(hv_thread_create(NULL, NULL, 0, THREAD_PRIO_NORMAL), -EINVAL);
    EXPECT_EQ(hv_thread_create(child, NULL, 2, THREAD_PRIO_NORMAL), -EINVAL);
    EXPECT_EQ(hv_thread_create(child, NULL, 0, THREAD_PRIO_IDLE), -EINVAL);
    EXPECT_EQ(hv_thread_create(child, NULL, 0, THREAD_PRIO_COUNT), -EINVAL);
    EXPECT_EQ(hv_syscall(HV_SYS_THREAD_SIGNAL, 99999, 0, 0, 0), -ESRCH);
    EXPECT_EQ(finished, 1);
}

TEST(HvApi, ThreadsSleepAndWake)
{
    for (u64 seed = 0; seed < fake_seeds(8); seed++)
        run(2, seed, thread_body);
}

static s64 sleeper_result;
static void sleeper(void *arg)
{
    (void)arg;
    sleeper_result = hv_futex_wait(&word, 0, 0);
    // The signal is spent: the next call sleeps its time out.
    EXPECT_EQ(hv_sleep_until(hv_clock_ns() + 1000), 0);
    WRITE_ONCE(finished, 1);
    hv_futex_wake(&finished, 1);
    hv_exit();
}

static void signal_body(void *arg)
{
    (void)arg;
    word = finished = 0;
    s64 tid = hv_thread_create(sleeper, NULL, 1, THREAD_PRIO_NORMAL);
    fake_pass(4000);
    EXPECT_EQ(hv_syscall(HV_SYS_THREAD_SIGNAL, (u64)tid, 0, 0, 0), 0);
    while (READ_ONCE(finished) == 0)
        (void)hv_futex_wait(&finished, 0, 0);
    EXPECT_EQ(sleeper_result, -EINTR);
}

TEST(HvApi, ASignalEndsOneCall)
{
    for (u64 seed = 0; seed < fake_seeds(8); seed++)
        run(2, seed, signal_body);
}

static void environment_body(void *arg)
{
    (void)arg;
    EXPECT_STREQ((const char *)hv_syscall(HV_SYS_CONFIG, 0, 0, 0, 0), "configuration");
    EXPECT_EQ(hv_syscall(HV_SYS_KNOB, KNOB_HALT_POLL_NS, 0, 0, 0), 200000);
    EXPECT_EQ(hv_syscall(HV_SYS_KNOB, KNOB_COUNT, 0, 0, 0), -EINVAL);
    s64 at = hv_mmap(8192, 12, HV_MAP_GUEST);
    ASSERT_GT(at, 0);
    u64 *p = (u64 *)hv_syscall(HV_SYS_TOUCH, (u64)at + 4096 + 8, 1, 0, 0);
    *p = 5;
    EXPECT_EQ((u64)p & 4095, 8);
    EXPECT_EQ(hv_syscall(HV_SYS_TOUCH, (u64)at + 4096 + 8, 0, 0, 0), (s64)(u64)p);
    s64 resident = hv_syscall(HV_SYS_RESIDENT, 0, 0, 0, 0);
    EXPECT_EQ(hv_syscall(HV_SYS_MADVISE_FREE, (u64)at, 8192, 0, 0), 0);
    EXPECT_EQ(hv_syscall(HV_SYS_RESIDENT, 0, 0, 0, 0), resident - 4096); // One of the two was touched.
    EXPECT_EQ(*(u64 *)hv_syscall(HV_SYS_TOUCH, (u64)at + 4096 + 8, 0, 0, 0), 0);
    EXPECT_EQ(hv_syscall(HV_SYS_TOUCH, (u64)at + 8192, 0, 0, 0), -EFAULT);
    EXPECT_EQ(hv_syscall(HV_SYS_MUNMAP, (u64)at, 4096, 0, 0), -EINVAL);
    EXPECT_EQ(hv_syscall(HV_SYS_MUNMAP, (u64)at, 8192, 0, 0), 0);
    EXPECT_EQ(hv_mmap(4096, 200, 0), -EINVAL);
}

TEST(HvApi, MemoryAndConfiguration)
{
    run(1, 0, environment_body);
}

TEST(HvApi, CommandNumbersAreUnique)
{
    static const u32 numbers[] = {
#define IOCTL(name, number, scope, type, direction, about) number,
#include "hv/api_cmds.def"
    };
    for (unsigned i = 0; i < ARRAY_COUNT(numbers); i++) {
        for (unsigned k = 0; k < i; k++)
            EXPECT_NE(numbers[i], numbers[k]);
    }
}
