// SPDX-License-Identifier: Apache-2.0
// vCPUs: requests, kicks, the run loop, halting with polling.
#include "hv/core/requests.h"
#include "hv/core/vm.h"
#include "hv/lib/errno.h"
#include "hv/tests/fake_arch.h"
#include "hv/tests/fake_hw.h"
#include "tests/shim/shim.h"

static struct vm *vm;
static struct vcpu *vcpus[4];
static struct completion done;
static s64 run_result[4];

static void run_with(u32 cpus, u64 seed, const struct knobs *knobs, void (*body)(void *))
{
    struct fake_config config = {.cpus = cpus, .seed = seed, .knobs = knobs};
    fake_arch_reset();
    EXPECT_EQ(fake_run(&config, body, NULL), 0);
    EXPECT_STREQ(fake_panic(), "");
    EXPECT_EQ(fake_violations(NULL), 0);
}

static void make_vm(u32 count)
{
    vm = NULL;
    EXPECT_EQ(vm_create(this_host(), current_thread()->mm, 0, &vm), 0);
    for (u32 i = 0; i < count; i++) {
        EXPECT_GT(vm_create_vcpu(vm, i), 0);
        vcpus[i] = vm_vcpu_by_id(vm, i);
    }
    completion_init(&done);
}

static void vcpu_thread(void *arg)
{
    u32 i = (u32)(u64)arg;
    run_result[i] = vcpu_ioctl_run(vcpus[i]);
    complete(&done);
}

static struct thread *start_vcpu(u32 i, u32 cpu)
{
    struct thread_options o = {.name = "vcpu", .prio = THREAD_PRIO_NORMAL, .pinned_cpu = cpu};
    struct thread *t = thread_create(this_host(), &o, vcpu_thread, (void *)(u64)i);
    thread_wake(t);
    return t;
}

// Guests.
static enum exit_fastpath guest_spin(struct vcpu *vcpu, bool immediate_exit)
{
    EXPECT_FALSE(hw_irqs_enabled());
    EXPECT_TRUE(vcpu->mode == IN_GUEST_MODE || vcpu->mode == EXITING_GUEST_MODE);
    EXPECT_TRUE(vcpu->loaded);
    EXPECT_EQ(vcpu->cpu->id, fake_cpu());
    EXPECT_TRUE(running_vcpu() == vcpu && vcpu->cpu->running_vcpu == vcpu);
    if (!immediate_exit)
        (void)fake_guest_time(1000000);
    return EXIT_FASTPATH_NONE;
}
static int exit_loop(struct vcpu *vcpu)
{
    EXPECT_TRUE(hw_irqs_enabled());
    EXPECT_FALSE(in_atomic());
    EXPECT_EQ(vcpu->mode, OUTSIDE_GUEST_MODE);
    return 1;
}

// --- Requests. ---

static void request_bits_body(void *arg)
{
    (void)arg;
    make_vm(1);
    struct vcpu *v = vcpus[0];
    EXPECT_FALSE(request_pending(v));
    make_request(REQ_EVENT, v);
    make_request(REQ_TLB_FLUSH, v);
    make_request(REQ_EVENT, v);
    EXPECT_TRUE(test_request(REQ_EVENT, v));
    EXPECT_TRUE(check_request(REQ_EVENT, v)); // Once, however often it was made.
    EXPECT_FALSE(check_request(REQ_EVENT, v));
    EXPECT_TRUE(request_pending(v));
    clear_request(REQ_TLB_FLUSH, v);
    EXPECT_EQ(v->requests, 0);
    vm_put(vm);
}

TEST(HvRequests, BitsAreTakenOnce)
{
    run_with(1, 0, NULL, request_bits_body);
}

TEST(HvRequests, TableHasNoBitTwice)
{
    u64 seen = 0;
#define REQUEST(id, bit, flags, about)                                                                       \
    EXPECT_EQ(seen & 1ull << (bit), 0);                                                                      \
    EXPECT_LT(bit, 64);                                                                                      \
    seen |= 1ull << (bit);
#include "hv/core/requests.def"
#undef REQUEST
    EXPECT_NE(seen, 0);
}

// A flag published with a request is seen by whoever takes it, and never waits for the guest's next exit.
static u32 message, received, stop_after;

static int take_message(struct vcpu *vcpu)
{
    if (check_request(REQ_NMI, vcpu)) {
        EXPECT_EQ(READ_ONCE(message), received + 1);
        received = READ_ONCE(message);
        complete(&done);
    }
    return received == stop_after ? 0 : 1;
}

static void kick_body(void *arg)
{
    (void)arg;
    make_vm(1);
    message = received = 0;
    stop_after = 25;
    fake_arch.enter = guest_spin;
    fake_arch.handle_exit = exit_loop;
    fake_arch.handle_requests = take_message;
    start_vcpu(0, 1);
    for (u32 i = 1; i <= stop_after; i++) {
        u64 start = fake_time();
        WRITE_ONCE(message, i);
        make_request(REQ_NMI, vcpus[0]);
        vcpu_kick(vcpus[0]);
        wait_for_completion(&done);
        EXPECT_LT(fake_time() - start, 60000); // Far below the guest's million.
        fake_pass(i * 13);
    }
    wait_for_completion(&done);
    EXPECT_EQ(run_result[0], 0);
    vm_put(vm);
}

TEST(HvRequests, AKickIsNeverLate)
{
    for (u64 seed = 0; seed < fake_seeds(12); seed++)
        run_with(2, seed, NULL, kick_body);
}

static void quiet_kick_body(void *arg)
{
    (void)arg;
    make_vm(1);
    vcpu_kick(vcpus[0]); // Runs nowhere: nothing is sent.
    EXPECT_FALSE(make_all_cpus_request(vm, REQ_EVENT));
    EXPECT_EQ(fake_delivered(VECTOR_RESCHEDULE), 0);
    EXPECT_TRUE(test_request(REQ_EVENT, vcpus[0]));
    vm_put(vm);
}

TEST(HvRequests, NoInterruptForAVcpuOutsideTheGuest)
{
    run_with(1, 0, NULL, quiet_kick_body);
}

static u32 flushes_of[4], inside[4];

static int take_flush(struct vcpu *vcpu)
{
    if (check_request(REQ_TLB_FLUSH, vcpu))
        WRITE_ONCE(flushes_of[vcpu->id], flushes_of[vcpu->id] + 1);
    return 1;
}

static enum exit_fastpath guest_noted(struct vcpu *vcpu, bool immediate_exit)
{
    WRITE_ONCE(inside[vcpu->id], 1);
    enum exit_fastpath result = guest_spin(vcpu, immediate_exit);
    WRITE_ONCE(inside[vcpu->id], 0);
    return result;
}

static void flush_body(void *arg)
{
    struct thread *threads[2];
    (void)arg;
    make_vm(3);
    for (u32 i = 0; i < 4; i++)
        flushes_of[i] = inside[i] = 0;
    fake_arch.enter = guest_noted;
    fake_arch.handle_exit = exit_loop;
    fake_arch.handle_requests = take_flush;
    for (u32 i = 0; i < 2; i++)
        threads[i] = start_vcpu(i, i + 1);
    for (u32 i = 0; i < 2; i++) {
        while (READ_ONCE(inside[i]) == 0)
            hw_pause();
    }
    EXPECT_TRUE(make_all_cpus_request(vm, REQ_TLB_FLUSH));
    // Whoever is in the guest now has flushed on his way there.
    for (u32 i = 0; i < 2; i++)
        EXPECT_TRUE(READ_ONCE(inside[i]) == 0 || READ_ONCE(flushes_of[i]) == 1);
    flush_remote_tlbs(vm);
    EXPECT_EQ(vm->remote_tlb_flush_count, 1);
    fake_pass(5000);
    EXPECT_GE(flushes_of[0] + flushes_of[1], 2);
    EXPECT_TRUE(test_request(REQ_TLB_FLUSH, vcpus[2])); // Never ran: will see it when it does.
    for (u32 i = 0; i < 2; i++)
        thread_signal(threads[i]);
    wait_for_completion(&done);
    wait_for_completion(&done);
    vm_put(vm);
}

TEST(HvRequests, FlushReturnsAfterEverybodyLeftTheGuest)
{
    for (u64 seed = 0; seed < fake_seeds(10); seed++)
        run_with(3, seed, NULL, flush_body);
}

// --- The run loop. ---

static int exit_to_user(struct vcpu *vcpu)
{
    vcpu->run->exit_reason = HV_EXIT_IO;
    return 0;
}
static int exit_error(struct vcpu *vcpu)
{
    (void)vcpu;
    return -EINVAL;
}
static enum exit_fastpath guest_short(struct vcpu *vcpu, bool immediate_exit)
{
    (void)vcpu;
    (void)immediate_exit;
    (void)fake_guest_time(100);
    return EXIT_FASTPATH_NONE;
}

static void results_body(void *arg)
{
    (void)arg;
    make_vm(1);
    struct vcpu *v = vcpus[0];
    fake_arch.enter = guest_short;
    fake_arch.handle_exit = exit_to_user;
    EXPECT_EQ(vcpu_ioctl_run(v), 0);
    EXPECT_EQ(v->run->exit_reason, HV_EXIT_IO);
    EXPECT_EQ(((struct fake_vcpu *)v)->entries, 1);
    EXPECT_EQ(((struct fake_vcpu *)v)->loads, ((struct fake_vcpu *)v)->puts);
    fake_arch.handle_exit = exit_error;
    EXPECT_EQ(vcpu_ioctl_run(v), -EINVAL);
    v->run->immediate_exit = 1;
    u64 entries = ((struct fake_vcpu *)v)->entries;
    EXPECT_EQ(vcpu_ioctl_run(v), -EINTR);
    EXPECT_EQ(v->run->exit_reason, HV_EXIT_INTR);
    EXPECT_EQ(((struct fake_vcpu *)v)->entries, entries); // Not entered.
    v->run->immediate_exit = 0;
    v->run->request_interrupt_window = 1;
    fake_arch.irq_window_open = true;
    fake_arch.handle_exit = exit_loop;
    EXPECT_EQ(vcpu_ioctl_run(v), 0);
    EXPECT_EQ(v->run->exit_reason, HV_EXIT_IRQ_WINDOW_OPEN);
    EXPECT_EQ(((struct fake_vcpu *)v)->injections, 1); // Asked for because of the window.
    vm_mark_dead(vm);
    EXPECT_EQ(vcpu_ioctl_run(v), -EIO);
    EXPECT_TRUE(running_vcpu() == NULL);
    EXPECT_EQ(handle_close(this_host(), v->handle), 0);
    EXPECT_EQ(fake_arch.vcpus, 1); // The VM is still ours.
    vm_put(vm);
    EXPECT_EQ(fake_arch.vcpus, 0);
}

TEST(HvRun, ReturnsWhatTheArchAndTheUserAskFor)
{
    run_with(1, 0, NULL, results_body);
}

static void busy_body(void *arg)
{
    (void)arg;
    make_vm(1);
    fake_arch.enter = guest_spin;
    fake_arch.handle_exit = exit_loop;
    struct thread *t = start_vcpu(0, 1);
    while (READ_ONCE(vcpus[0]->mode) != IN_GUEST_MODE)
        hw_pause();
    EXPECT_EQ(vcpu_ioctl_run(vcpus[0]), -EBUSY);
    thread_signal(t);
    wait_for_completion(&done);
    EXPECT_EQ(run_result[0], -EINTR);
    EXPECT_EQ(vcpus[0]->run->exit_reason, HV_EXIT_INTR);
    EXPECT_EQ(vcpus[0]->stat.signal_exits, 1);
    vm_put(vm);
}

TEST(HvRun, OneThreadAtATimeAndSignalsEndIt)
{
    for (u64 seed = 0; seed < fake_seeds(8); seed++)
        run_with(2, seed, NULL, busy_body);
}

// An INIT that is left behind with its request after the look for INITs is found by the next look: so the
// request must have been taken before. And a vCPU that takes one does not enter.
static u32 looks;
static bool take_init(struct vcpu *vcpu)
{
    EXPECT_FALSE(test_request(REQ_EVENT, vcpu));
    return ++looks != 1;
}
static void init_body(void *arg)
{
    (void)arg;
    make_vm(1);
    looks = 0;
    fake_arch.enter = guest_short;
    fake_arch.handle_exit = exit_to_user;
    fake_arch.accept_events = take_init;
    make_request(REQ_EVENT, vcpus[0]);
    EXPECT_EQ(vcpu_ioctl_run(vcpus[0]), 0); // As the fake one runs all the same, at the second try.
    EXPECT_EQ(looks, 1);
    EXPECT_EQ(((struct fake_vcpu *)vcpus[0])->injections, 0);
    vm_put(vm);
}

TEST(HvRun, InitIsLookedForAfterItsRequestWasTaken)
{
    run_with(1, 0, NULL, init_body);
}

static void dead_body(void *arg)
{
    (void)arg;
    make_vm(1);
    fake_arch.enter = guest_spin;
    fake_arch.handle_exit = exit_loop;
    start_vcpu(0, 1);
    while (READ_ONCE(vcpus[0]->mode) != IN_GUEST_MODE)
        hw_pause();
    vm_mark_dead(vm);
    wait_for_completion(&done);
    EXPECT_EQ(run_result[0], -EIO);
    vm_put(vm);
}

TEST(HvRun, ABrokenVmStopsEveryVcpu)
{
    for (u64 seed = 0; seed < fake_seeds(8); seed++)
        run_with(2, seed, NULL, dead_body);
}

// Two vCPUs on one processor, both never exiting by themselves: slices share it, through the notifiers.
static void share_body(void *arg)
{
    struct thread *t[2];
    (void)arg;
    make_vm(2);
    fake_arch.enter = guest_spin;
    fake_arch.handle_exit = exit_loop;
    for (u32 i = 0; i < 2; i++)
        t[i] = start_vcpu(i, 1);
    EXPECT_EQ(sleep_until_tsc(hw_rdtsc() + 30000000), 0);
    for (u32 i = 0; i < 2; i++) {
        struct fake_vcpu *v = (struct fake_vcpu *)vcpus[i];
        EXPECT_GE(v->vcpu.stat.preemptions, 3);
        EXPECT_GE(v->loads, 3);
        thread_signal(t[i]);
    }
    wait_for_completion(&done);
    wait_for_completion(&done);
    EXPECT_EQ(((struct fake_vcpu *)vcpus[0])->loads, ((struct fake_vcpu *)vcpus[0])->puts);
    EXPECT_TRUE(this_host()->cpus[1]->running_vcpu == NULL);
    vm_put(vm);
}

TEST(HvRun, VcpusShareAProcessor)
{
    run_with(2, 0, NULL, share_body);
}

// A fast path enters again without the loop, but not past a request.
static u32 reentries;
static enum exit_fastpath guest_fast(struct vcpu *vcpu, bool immediate_exit)
{
    (void)immediate_exit;
    (void)fake_guest_time(50);
    if (++reentries == 5)
        make_request(REQ_EVENT, vcpu);
    return reentries < 10 ? EXIT_FASTPATH_REENTER_GUEST : EXIT_FASTPATH_NONE;
}

static void fastpath_body(void *arg)
{
    (void)arg;
    make_vm(1);
    reentries = 0;
    fake_arch.enter = guest_fast;
    fake_arch.handle_exit = exit_to_user;
    EXPECT_EQ(vcpu_ioctl_run(vcpus[0]), 0);
    EXPECT_EQ(reentries, 10);
    EXPECT_EQ(vcpus[0]->stat.exits, 2); // Left the inner loop for the request, and at the end.
    EXPECT_EQ(((struct fake_vcpu *)vcpus[0])->injections, 1);
    vm_put(vm);
}

TEST(HvRun, FastPathStopsForRequests)
{
    run_with(1, 0, NULL, fastpath_body);
}

// --- Immediate exit: what cannot be injected now is tried again. ---

static u32 immediate_entries;
static enum exit_fastpath guest_immediate(struct vcpu *vcpu, bool immediate_exit)
{
    (void)vcpu;
    immediate_entries += immediate_exit;
    return EXIT_FASTPATH_NONE;
}
static int inject_later(struct vcpu *vcpu, bool *immediate_exit)
{
    *immediate_exit = ((struct fake_vcpu *)vcpu)->injections == 1;
    return 1;
}
static int exit_after_three(struct vcpu *vcpu)
{
    return ((struct fake_vcpu *)vcpu)->entries < 3 ? 1 : 0;
}

static void immediate_body(void *arg)
{
    (void)arg;
    make_vm(1);
    immediate_entries = 0;
    fake_arch.enter = guest_immediate;
    fake_arch.inject = inject_later;
    fake_arch.handle_exit = exit_after_three;
    make_request(REQ_EVENT, vcpus[0]);
    EXPECT_EQ(vcpu_ioctl_run(vcpus[0]), 0);
    EXPECT_EQ(immediate_entries, 1);
    EXPECT_EQ(((struct fake_vcpu *)vcpus[0])->injections, 2); // The second look needs no request of others.
    vm_put(vm);
}

TEST(HvRun, ImmediateExitLooksAgain)
{
    run_with(1, 0, NULL, immediate_body);
}

// --- Halting. ---

static u64 wake_after;

static bool wake_fn(struct hrtimer *t)
{
    (void)t;
    WRITE_ONCE(((struct fake_vcpu *)vcpus[0])->work, 1);
    vcpu_kick(vcpus[0]);
    return false;
}

// One halt that something ends after `ns`; returns the polling time afterwards.
static u64 halt_for(u64 ns)
{
    struct hrtimer t;
    struct fake_vcpu *v = (struct fake_vcpu *)vcpus[0];
    hrtimer_init(&t, wake_fn);
    WRITE_ONCE(v->work, 0);
    wake_after = ns;
    hrtimer_start(&t, hw_rdtsc() + ns_to_tsc(this_host(), ns));
    vcpu_block(vcpus[0]);
    hrtimer_cancel(&t);
    return vcpus[0]->halt_poll_ns;
}

static void polling_body(void *arg)
{
    (void)arg;
    make_vm(1);
    struct vcpu *v = vcpus[0];
    // Grows from nothing to the start value, then by doubling, while halts end shortly after the polling
    // time.
    EXPECT_EQ(halt_for(50000), 10000);
    EXPECT_EQ(halt_for(50000), 20000);
    EXPECT_EQ(halt_for(50000), 40000);
    EXPECT_EQ(halt_for(50000), 80000);
    EXPECT_EQ(v->stat.halt_successful_poll, 0);
    EXPECT_EQ(v->stat.halt_wakeup, 4);
    // Long enough now: the wake-up comes while polling, and the time stays.
    EXPECT_EQ(halt_for(50000), 80000);
    EXPECT_EQ(v->stat.halt_successful_poll, 1);
    EXPECT_EQ(v->stat.halt_wakeup, 4);
    EXPECT_EQ(halt_for(150000), 160000);
    EXPECT_EQ(halt_for(190000), 200000); // Bounded by the knob.
    EXPECT_EQ(halt_for(190000), 200000);
    // A halt longer than any polling makes it useless: shrinks, by the default to nothing.
    EXPECT_EQ(halt_for(900000), 0);
    EXPECT_EQ(halt_for(900000), 0);
    const struct fake_event *first = fake_trace(TP_KVM_HALT_POLL_NS, 0);
    ASSERT_TRUE(first != NULL);
    EXPECT_EQ(first->a[0], 1);
    EXPECT_EQ(first->a[2], 10000);
    EXPECT_EQ(first->a[3], 0);
    const struct fake_event *wakeup = fake_trace(TP_KVM_VCPU_WAKEUP, 4);
    ASSERT_TRUE(wakeup != NULL);
    EXPECT_EQ(wakeup->a[1], 0); // Did not wait: polled.
    EXPECT_EQ(wakeup->a[2], 1);
    EXPECT_GE(wakeup->a[0], 50000);
    vm_put(vm);
}

TEST(HvHaltPoll, GrowsAndShrinksAsTheWakeupsTell)
{
    run_with(1, 0, NULL, polling_body);
}

static void shrink_body(void *arg)
{
    (void)arg;
    make_vm(1);
    vcpus[0]->halt_poll_ns = 80000;
    EXPECT_EQ(halt_for(400000), 40000); // Divided.
    EXPECT_EQ(halt_for(400000), 20000);
    EXPECT_EQ(halt_for(400000), 10000);
    EXPECT_EQ(halt_for(400000), 0); // Below the start value.
    vm->max_halt_poll_ns = 15000;   // The VM's own limit counts.
    EXPECT_EQ(halt_for(12000), 10000);
    EXPECT_EQ(halt_for(14000), 15000);
    vm->max_halt_poll_ns = 0;
    u64 attempts = vcpus[0]->stat.halt_attempted_poll;
    EXPECT_EQ(halt_for(14000), 0);
    EXPECT_EQ(vcpus[0]->stat.halt_attempted_poll, attempts);
    vm_put(vm);
}

TEST(HvHaltPoll, DivisorAndLimitOfTheVm)
{
    struct knobs knobs;
    knobs_defaults(&knobs);
    knobs.v[KNOB_HALT_POLL_SHRINK] = 2;
    run_with(1, 0, &knobs, shrink_body);
}

static int halt_then_exit(struct vcpu *vcpu)
{
    struct fake_vcpu *v = (struct fake_vcpu *)vcpu;
    if (v->entries == 2)
        return 0;
    v->halted = true;
    return 1;
}

static void wake_body(void *arg)
{
    (void)arg;
    make_vm(1);
    fake_arch.enter = guest_short;
    fake_arch.handle_exit = halt_then_exit;
    (void)start_vcpu(0, 1);
    fake_pass(30000);
    WRITE_ONCE(((struct fake_vcpu *)vcpus[0])->work, 1);
    make_request(REQ_EVENT, vcpus[0]);
    vcpu_kick(vcpus[0]);
    wait_for_completion(&done);
    EXPECT_EQ(run_result[0], 0);
    EXPECT_EQ(((struct fake_vcpu *)vcpus[0])->entries, 2);
    // And a signal ends a halt too.
    ((struct fake_vcpu *)vcpus[0])->halted = true;
    struct thread *t = start_vcpu(0, 1);
    fake_pass(3000);
    thread_signal(t);
    wait_for_completion(&done);
    EXPECT_EQ(run_result[0], -EINTR);
    vm_put(vm);
}

TEST(HvHaltPoll, WorkAndSignalsEndAHalt)
{
    for (u64 seed = 0; seed < fake_seeds(12); seed++)
        run_with(2, seed, NULL, wake_body);
}
