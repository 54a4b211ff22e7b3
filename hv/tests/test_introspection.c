// SPDX-License-Identifier: Apache-2.0
// Introspection: what waits for the tool, and what ends the wait.
#include "hv/core/introspection.h"
#include "hv/core/sched.h"
#include "hv/lib/errno.h"
#include "hv/tests/fake_arch.h"
#include "hv/tests/fake_hw.h"
#include "tests/shim/shim.h"

enum { MSR = 0x3a, VALUE = 5 };

static struct vm *vm;
static struct vcpu *vcpu;
static struct completion done;
static s64 run_result;
static u32 writes; // MSR writes that were done.

static void run_with(u64 seed, const struct knobs *knobs, void (*body)(void *))
{
    struct fake_config config = {.cpus = 2, .seed = seed, .knobs = knobs};
    fake_arch_reset();
    EXPECT_EQ(fake_run(&config, body, NULL), 0);
    EXPECT_STREQ(fake_panic(), "");
    EXPECT_EQ(fake_violations(NULL), 0);
}

static enum exit_fastpath guest(struct vcpu *v, bool immediate_exit)
{
    (void)v;
    (void)immediate_exit;
    (void)fake_guest_time(100);
    return EXIT_FASTPATH_NONE;
}

// The guest writes an MSR, as its last deed.
static int write_msr(struct vcpu *v)
{
    int told = introspection_event(v, HV_KVMI_EVENT_MSR, MSR, VALUE);
    if (told < 0)
        return told;
    writes++;
    v->run->exit_reason = HV_EXIT_IO;
    return 0;
}

static s64 get_regs(struct vcpu *v, u32 cmd, u64 arg)
{
    EXPECT_TRUE(running_vcpu() == v); // The vCPU's own thread does it.
    return cmd == HV_GET_REGS ? (s64)arg : -ENOTTY;
}

static void vcpu_thread(void *arg)
{
    (void)arg;
    run_result = vcpu_ioctl_run(vcpu);
    complete(&done);
}

static struct thread *begin(void)
{
    struct thread_options o = {.name = "vcpu", .prio = THREAD_PRIO_NORMAL, .pinned_cpu = 1};
    vm = NULL;
    writes = 0;
    EXPECT_EQ(vm_create(this_host(), current_thread()->mm, 0, &vm), 0);
    EXPECT_GT(vm_create_vcpu(vm, 0), 0);
    vcpu = vm_vcpu_by_id(vm, 0);
    completion_init(&done);
    fake_arch.enter = guest;
    fake_arch.handle_exit = write_msr;
    fake_arch.vcpu_ioctl = get_regs;
    EXPECT_EQ(introspection_hook(vm, HV_KVMI_EVENT_MSR), 0);
    struct thread *t = thread_create(this_host(), &o, vcpu_thread, NULL);
    thread_wake(t);
    return t;
}

static void end(s64 result, u32 written)
{
    wait_for_completion(&done);
    EXPECT_EQ(run_result, result);
    EXPECT_EQ(writes, written);
    vm_put(vm);
}

static void reply_body(void *arg)
{
    struct hv_kvmi_event event;
    (void)arg;
    begin();
    EXPECT_EQ(introspection_read(vm, &event), 0);
    EXPECT_EQ(event.vcpu, 0);
    EXPECT_EQ(event.kind, HV_KVMI_EVENT_MSR);
    EXPECT_EQ(event.index, MSR);
    EXPECT_EQ(event.value, VALUE);
    struct hv_kvmi_command c = {.vcpu = 0, .command = HV_GET_REGS, .argument = 77};
    EXPECT_EQ(introspection_command(vm, &c), 77);
    EXPECT_EQ(introspection_command(vm, &c), 77);
    c.command = HV_SET_REGS;
    EXPECT_EQ(introspection_command(vm, &c), -EPERM);
    c = (struct hv_kvmi_command){.vcpu = 1, .command = HV_GET_REGS};
    EXPECT_EQ(introspection_command(vm, &c), -EINVAL);
    EXPECT_EQ(writes, 0); // It has waited all the while.
    EXPECT_EQ(introspection_reply(vm, &(struct hv_kvmi_reply){.seq = event.seq}), 0);
    wait_for_completion(&done);
    c.vcpu = 0;
    EXPECT_EQ(introspection_command(vm, &c), -EAGAIN); // It waits no more.
    complete(&done);
    end(0, 1);
}

TEST(HvIntrospection, AVcpuWaitsForItsReplyAndDoesCommandsMeanwhile)
{
    for (u64 seed = 0; seed < fake_seeds(16); seed++)
        run_with(seed, NULL, reply_body);
}

static void kill_body(void *arg)
{
    struct hv_kvmi_event event;
    (void)arg;
    struct thread *t = begin();
    EXPECT_EQ(introspection_read(vm, &event), 0);
    thread_signal(t);
    for (u32 i = 0; i < 200; i++)
        sched_yield_thread();
    EXPECT_EQ(t->killed, 0);
    struct hv_kvmi_command c = {.vcpu = 0, .command = HV_GET_REGS, .argument = 1};
    EXPECT_EQ(introspection_command(vm, &c), 1); // An ordinary signal has not ended the wait.
    EXPECT_EQ(thread_kill_tid(this_host(), t->tid), 0);
    end(-EINTR, 0);
}

TEST(HvIntrospection, OnlyAFatalSignalEndsTheWait)
{
    for (u64 seed = 0; seed < fake_seeds(16); seed++)
        run_with(seed, NULL, kill_body);
}

static void stubborn_body(void *arg)
{
    struct hv_kvmi_event event;
    (void)arg;
    struct thread *t = begin();
    EXPECT_EQ(introspection_read(vm, &event), 0);
    EXPECT_EQ(thread_kill_tid(this_host(), t->tid), 0);
    struct hv_kvmi_command c = {.vcpu = 0, .command = HV_GET_REGS, .argument = 1};
    EXPECT_EQ(introspection_command(vm, &c), 1); // It waits on.
    EXPECT_EQ(introspection_unhook(vm), 0);
    EXPECT_EQ(introspection_unhook(vm), -ENOENT);
    end(0, 1);
}

TEST(HvIntrospection, UninterruptiblyItWaitsOn)
{
    struct knobs knobs;
    knobs_defaults(&knobs);
    knobs.v[KNOB_KVMI_WAIT] = KVMI_WAIT_UNINTERRUPTIBLE;
    for (u64 seed = 0; seed < fake_seeds(8); seed++)
        run_with(seed, &knobs, stubborn_body);
}

static void mistakes_body(void *arg)
{
    struct hv_kvmi_event event;
    (void)arg;
    begin();
    EXPECT_EQ(introspection_hook(vm, HV_KVMI_EVENT_MSR), -EEXIST);
    EXPECT_EQ(introspection_hook(vm, HV_KVMI_EVENT_MSR << 1), -EINVAL);
    EXPECT_EQ(introspection_hook(vm, 0), -EINVAL);
    EXPECT_EQ(introspection_read(vm, &event), 0);
    // A reply to something else: the channel is closed, and the vCPU goes on without.
    EXPECT_EQ(introspection_reply(vm, &(struct hv_kvmi_reply){.seq = event.seq + 1}), -EINVAL);
    EXPECT_EQ(introspection_read(vm, &event), -EPIPE);
    EXPECT_EQ(introspection_reply(vm, &(struct hv_kvmi_reply){.seq = event.seq}), -EPIPE);
    end(0, 1);
}

TEST(HvIntrospection, AWrongSequenceNumberClosesTheChannel)
{
    for (u64 seed = 0; seed < fake_seeds(8); seed++)
        run_with(seed, NULL, mistakes_body);
}
