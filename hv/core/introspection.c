// SPDX-License-Identifier: Apache-2.0
#include "hv/core/introspection.h"

#include "hv/core/arch.h"
#include "hv/hw/trace.h"
#include "hv/lib/errno.h"

// A command for a vCPU that waits, on the stack of who gave it.
struct job {
    struct list node;
    u32 command;
    u64 argument;
    s64 result;
    struct completion done;
};

// What a vCPU waits for. Under the channel's lock; `replied` and `jobs` are also looked at without.
struct waiter {
    struct waitqueue wq;
    struct hv_kvmi_event event;
    struct list jobs;
    u32 waiting; // From telling until going on.
    u32 told;    // The tool has read the event.
    u32 replied;
};

struct introspection {
    struct spinlock lock;
    u32 closed;
    u32 untold; // Events that the tool has not read.
    u32 events; // HV_KVMI_EVENT_*
    u32 count;  // vCPUs that existed when the tool came; others it is not told of.
    u64 seq;
    struct waitqueue readers;
    struct waiter waiters[];
};

static u64 bytes_for(u32 count)
{
    return sizeof(struct introspection) + count * sizeof(struct waiter);
}

// --- Coming and going. One tool in a VM's life, as vCPUs look at its channel without a lock.

int introspection_hook(struct vm *vm, u64 events)
{
    u32 count = load_acquire(&vm->online_vcpus);
    if (events == 0 || (events & ~(u64)HV_KVMI_EVENTS) != 0)
        return -EINVAL;
    struct introspection *k = kzalloc(vm->host, bytes_for(count));
    if (k == NULL)
        return -ENOMEM;
    spin_lock_init(&k->lock, LOCK_RANK_INTROSPECTION);
    waitqueue_init(&k->readers);
    k->events = (u32)events;
    k->count = count;
    for (u32 i = 0; i < count; i++) {
        waitqueue_init(&k->waiters[i].wq);
        list_init(&k->waiters[i].jobs);
    }
    mutex_lock(&vm->lock);
    bool taken = vm->introspection != NULL;
    if (!taken)
        store_release(&vm->introspection, k);
    mutex_unlock(&vm->lock);
    if (taken)
        kfree(vm->host, k, bytes_for(count));
    return taken ? -EEXIST : 0;
}

static void close_channel(struct introspection *k)
{
    WRITE_ONCE(k->closed, 1);
    (void)wake_up_all(&k->readers);
    for (u32 i = 0; i < k->count; i++)
        (void)wake_up_all(&k->waiters[i].wq);
}

// NULL: no channel, or it is closed.
static struct introspection *open_channel(const struct vm *vm)
{
    struct introspection *k = load_acquire(&vm->introspection);
    return k != NULL && READ_ONCE(k->closed) == 0 ? k : NULL;
}

int introspection_unhook(struct vm *vm)
{
    struct introspection *k = open_channel(vm);
    if (k == NULL)
        return -ENOENT;
    close_channel(k);
    return 0;
}

void introspection_destroy(struct vm *vm)
{
    if (vm->introspection != NULL)
        kfree(vm->host, vm->introspection, bytes_for(vm->introspection->count));
}

// --- The tool's side.

static bool take_event(struct introspection *k, struct hv_kvmi_event *out)
{
    bool found = false;
    spin_lock(&k->lock);
    for (u32 i = 0; i < k->count && !found; i++) {
        struct waiter *w = &k->waiters[i];
        if (w->waiting == 0 || w->told != 0)
            continue;
        *out = w->event;
        w->told = 1;
        WRITE_ONCE(k->untold, k->untold - 1);
        found = true;
    }
    spin_unlock(&k->lock);
    return found;
}

int introspection_read(struct vm *vm, struct hv_kvmi_event *out)
{
    struct thread *self = current_thread();
    struct introspection *k = open_channel(vm);
    if (k == NULL)
        return -EPIPE;
    while (!take_event(k, out)) {
        wait_event(&k->readers, READ_ONCE(k->untold) != 0 || READ_ONCE(k->closed) != 0 ||
                                    READ_ONCE(self->signal_pending) != 0);
        if (READ_ONCE(k->closed) != 0)
            return -EPIPE;
        if (READ_ONCE(self->signal_pending) != 0)
            return -EINTR;
    }
    return 0;
}

int introspection_reply(struct vm *vm, const struct hv_kvmi_reply *reply)
{
    struct introspection *k = open_channel(vm);
    if (k == NULL)
        return -EPIPE;
    int result = -EINVAL;
    spin_lock(&k->lock);
    struct waiter *w = reply->vcpu < k->count ? &k->waiters[reply->vcpu] : NULL;
    if (w != NULL && w->waiting != 0 && w->replied == 0 && w->event.seq == reply->seq) {
        WRITE_ONCE(w->replied, 1);
        result = 0;
    }
    spin_unlock(&k->lock);
    hw_trace(TP_KVMI_REPLY, reply->vcpu, reply->seq, (u64)-result, 0, 0, 0);
    if (result == 0)
        (void)wake_up_one(&w->wq);
    else
        close_channel(k); // Tool and vCPUs do not agree about what was said: nothing can be trusted any more.
    return result;
}

s64 introspection_command(struct vm *vm, const struct hv_kvmi_command *command)
{
    struct introspection *k = open_channel(vm);
    struct job job = {.command = command->command, .argument = command->argument, .result = -EAGAIN};
    if (k == NULL)
        return -EPIPE;
    if (command->vcpu >= k->count)
        return -EINVAL;
    if (command->command != HV_GET_REGS && command->command != HV_GET_SREGS)
        return -EPERM;
    struct waiter *w = &k->waiters[command->vcpu];
    completion_init(&job.done);
    spin_lock(&k->lock);
    bool waits = w->waiting != 0 && w->replied == 0;
    if (waits)
        list_add_tail(&job.node, &w->jobs);
    spin_unlock(&k->lock);
    if (!waits)
        return -EAGAIN;
    (void)wake_up_one(&w->wq);
    wait_for_completion(&job.done); // The vCPU does it, or fails it when it goes on.
    return job.result;
}

// --- The vCPU's side.

static struct job *take_job(struct introspection *k, struct waiter *w)
{
    struct job *job = NULL;
    spin_lock(&k->lock);
    if (!list_empty(&w->jobs)) {
        job = list_first(&w->jobs, struct job, node);
        list_del(&job->node);
    }
    spin_unlock(&k->lock);
    return job;
}

static void run_jobs(struct vcpu *vcpu, struct introspection *k, struct waiter *w)
{
    struct job *job;
    while ((job = take_job(k, w)) != NULL) {
        job->result = arch_vcpu_ioctl(vcpu, job->command, job->argument);
        complete(&job->done);
    }
}

static bool may_be_killed(const struct vcpu *vcpu)
{
    return knob(&vcpu->vm->host->knobs, KNOB_KVMI_WAIT) == KVMI_WAIT_KILLABLE;
}

static bool must_go_on(const struct vcpu *vcpu, const struct introspection *k, const struct waiter *w)
{
    return READ_ONCE(w->replied) != 0 || READ_ONCE(k->closed) != 0 ||
           (may_be_killed(vcpu) && thread_killed());
}

static bool must_look(const struct vcpu *vcpu, const struct introspection *k, const struct waiter *w)
{
    return must_go_on(vcpu, k, w) || READ_ONCE(w->jobs.next) != &w->jobs;
}

static void sleep_for_reply(const struct vcpu *vcpu, const struct introspection *k, struct waiter *w)
{
    bool look_first = knob(&vcpu->vm->host->knobs, KNOB_WAIT_WAKEUP) == WAIT_WAKEUP_CHECK_THEN_SLEEP;
    struct wait_entry e;
    wait_entry_init(&e);
    if (unlikely(look_first)) {
        // The wrong way round: a reply that comes after the look finds nobody in the queue.
        if (!must_look(vcpu, k, w)) {
            prepare_to_wait(&w->wq, &e, true);
            schedule();
        }
    } else {
        prepare_to_wait(&w->wq, &e, true);
        if (!must_look(vcpu, k, w))
            schedule();
    }
    finish_wait(&w->wq, &e);
}

static int wait_for_reply(struct vcpu *vcpu, struct introspection *k, struct waiter *w)
{
    for (;;) {
        run_jobs(vcpu, k, w);
        if (must_go_on(vcpu, k, w))
            break;
        sleep_for_reply(vcpu, k, w);
    }
    return READ_ONCE(w->replied) != 0 || READ_ONCE(k->closed) != 0 ? 0 : -EINTR;
}

static void begin_wait(struct introspection *k, struct waiter *w, const struct hv_kvmi_event *event)
{
    spin_lock(&k->lock);
    w->event = *event;
    w->event.seq = ++k->seq;
    w->told = 0;
    w->replied = 0;
    w->waiting = 1;
    WRITE_ONCE(k->untold, k->untold + 1);
    spin_unlock(&k->lock);
    hw_trace(TP_KVMI_EVENT, event->vcpu, w->event.seq, event->kind, event->index, event->value, 0);
    (void)wake_up_one(&k->readers);
}

static void end_wait(struct introspection *k, struct waiter *w)
{
    struct list left;
    list_init(&left);
    spin_lock(&k->lock);
    w->waiting = 0;
    if (w->told == 0)
        WRITE_ONCE(k->untold, k->untold - 1);
    list_splice(&w->jobs, &left);
    spin_unlock(&k->lock);
    while (!list_empty(&left)) {
        struct job *job = list_first(&left, struct job, node);
        list_del(&job->node);
        complete(&job->done); // With -EAGAIN.
    }
}

int introspection_tell(struct vcpu *vcpu, u32 kind, u64 index, u64 value)
{
    struct introspection *k = open_channel(vcpu->vm);
    const struct hv_kvmi_event event = {.vcpu = vcpu->index, .kind = kind, .index = index, .value = value};
    if (k == NULL || (k->events & kind) == 0 || vcpu->index >= k->count)
        return 0;
    struct waiter *w = &k->waiters[vcpu->index];
    begin_wait(k, w, &event);
    // Writers of memory slots must not wait for the tool.
    srcu_read_unlock(&vcpu->vm->srcu, vcpu->srcu_index);
    int result = wait_for_reply(vcpu, k, w);
    vcpu->srcu_index = srcu_read_lock(&vcpu->vm->srcu);
    end_wait(k, w);
    hw_trace(TP_KVMI_RESUME, vcpu->index, w->event.seq, (u64)-result, 0, 0, 0);
    return result;
}
