// SPDX-License-Identifier: Apache-2.0
#include "hv/lib/wait.h"

#include "hv/core/sched.h"

void waitqueue_init(struct waitqueue *wq)
{
    spin_lock_init(&wq->lock, LOCK_RANK_WAITQUEUE);
    list_init(&wq->waiters);
}

void wait_entry_init(struct wait_entry *e)
{
    list_init(&e->node);
    e->thread = current_thread();
    e->exclusive = false;
}

void prepare_to_wait(struct waitqueue *wq, struct wait_entry *e, bool exclusive)
{
    bool flags = spin_lock_irqsave(&wq->lock);
    if (list_empty(&e->node)) {
        e->exclusive = exclusive;
        if (exclusive)
            list_add_tail(&e->node, &wq->waiters);
        else
            list_add(&e->node, &wq->waiters);
    }
    // Before the lock is released: whoever finds us in the list finds us sleeping.
    set_current_state(THREAD_SLEEPING);
    spin_unlock_irqrestore(&wq->lock, flags);
}

void finish_wait(struct waitqueue *wq, struct wait_entry *e)
{
    set_current_state(THREAD_RUNNING);
    // With the lock even if a waker has dequeued us: it may still be at it, and the entry lies on our stack.
    bool flags = spin_lock_irqsave(&wq->lock);
    list_del(&e->node);
    spin_unlock_irqrestore(&wq->lock, flags);
}

static unsigned wake_up_locked(struct waitqueue *wq, unsigned exclusive_max)
{
    unsigned woken = 0;
    list_for_each_safe(e, &wq->waiters, struct wait_entry, node)
    {
        bool exclusive = e->exclusive;
        if (exclusive && exclusive_max == 0)
            break;
        if (!thread_wake(e->thread))
            continue;
        list_del(&e->node);
        woken++;
        if (exclusive)
            exclusive_max--;
    }
    return woken;
}

unsigned wake_up(struct waitqueue *wq, unsigned exclusive_max)
{
    bool flags = spin_lock_irqsave(&wq->lock);
    unsigned woken = wake_up_locked(wq, exclusive_max);
    spin_unlock_irqrestore(&wq->lock, flags);
    return woken;
}

bool waitqueue_active(struct waitqueue *wq)
{
    smp_mb();
    return READ_ONCE(wq->waiters.next) != &wq->waiters;
}

void completion_init(struct completion *c)
{
    c->done = 0;
    waitqueue_init(&c->wq);
}

// Under one hold of the lock: the completion may lie on the stack of a waiter, who takes it on the way out.
void complete(struct completion *c)
{
    bool flags = spin_lock_irqsave(&c->wq.lock);
    if (c->done != UINT32_MAX)
        WRITE_ONCE(c->done, c->done + 1);
    (void)wake_up_locked(&c->wq, 1);
    spin_unlock_irqrestore(&c->wq.lock, flags);
}

void complete_all(struct completion *c)
{
    bool flags = spin_lock_irqsave(&c->wq.lock);
    WRITE_ONCE(c->done, UINT32_MAX);
    (void)wake_up_locked(&c->wq, ~0u);
    spin_unlock_irqrestore(&c->wq.lock, flags);
}

static bool take_done(struct completion *c)
{
    bool flags = spin_lock_irqsave(&c->wq.lock);
    bool taken = c->done != 0;
    if (taken && c->done != UINT32_MAX)
        WRITE_ONCE(c->done, c->done - 1);
    spin_unlock_irqrestore(&c->wq.lock, flags);
    return taken;
}

void wait_for_completion(struct completion *c)
{
    struct wait_entry e;
    might_sleep();
    wait_entry_init(&e);
    for (;;) {
        prepare_to_wait(&c->wq, &e, true);
        if (take_done(c))
            break;
        schedule();
    }
    finish_wait(&c->wq, &e);
}
