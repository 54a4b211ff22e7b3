// SPDX-License-Identifier: Apache-2.0
// Sleeping on a word of user memory until somebody changed and woke it.
#include "hv/core/api.h"
#include "hv/core/hostmm.h"
#include "hv/core/hrtimer.h"
#include "hv/lib/errno.h"
#include "hv/lib/wait.h"

struct futex_sleeper {
    struct list node; // In its bucket; an empty list when woken.
    u64 word;
    struct thread *thread;
    struct hrtimer timer;
    u32 expired; // Set before the timer's wake-up.
};

void futex_init(struct host *host)
{
    for (u32 i = 0; i < FUTEX_BUCKETS; i++)
        waitqueue_init(&host->futexes[i]);
}

static struct waitqueue *bucket_of(struct host *host, u64 word)
{
    return &host->futexes[(word * 0x9e3779b97f4a7c15ull) >> 58];
}
_Static_assert(FUTEX_BUCKETS == 64, "the hash gives six bits");

static bool deadline_passed(struct hrtimer *timer)
{
    struct futex_sleeper *s = container_of(timer, struct futex_sleeper, timer);
    WRITE_ONCE(s->expired, 1);
    (void)thread_wake(s->thread);
    return false;
}

static int sleep_on(struct waitqueue *bucket, struct futex_sleeper *s)
{
    int result = 0;
    for (;;) {
        set_current_state(THREAD_SLEEPING);
        bool flags = spin_lock_irqsave(&bucket->lock);
        bool woken = list_empty(&s->node);
        spin_unlock_irqrestore(&bucket->lock, flags);
        if (woken)
            break;
        if (READ_ONCE(s->thread->signal_pending) != 0)
            result = -EINTR;
        else if (READ_ONCE(s->expired) != 0)
            result = -ETIMEDOUT;
        if (result != 0)
            break;
        schedule();
    }
    set_current_state(THREAD_RUNNING);
    return result;
}

s64 futex_wait(struct host *host, u64 word, u32 expected, u64 deadline_tsc)
{
    struct futex_sleeper s = {.word = word, .thread = current_thread()};
    struct waitqueue *bucket = bucket_of(host, word);
    u32 value;
    if ((word & 3) != 0)
        return -EINVAL;
    if (!user_access_ok(s.thread->mm, word, sizeof(value)))
        return -EFAULT;
    list_init(&s.node);
    hrtimer_init(&s.timer, deadline_passed);
    bool flags = spin_lock_irqsave(&bucket->lock);
    // Under the bucket's lock, as wakers take it after their store.
    value = __atomic_load_n((u32 *)word, __ATOMIC_SEQ_CST);
    if (value == expected)
        list_add_tail(&s.node, &bucket->waiters);
    spin_unlock_irqrestore(&bucket->lock, flags);
    if (value != expected)
        return -EAGAIN;
    if (deadline_tsc != 0)
        hrtimer_start(&s.timer, deadline_tsc);
    int result = sleep_on(bucket, &s);
    (void)hrtimer_cancel(&s.timer);
    flags = spin_lock_irqsave(&bucket->lock);
    list_del(&s.node);
    spin_unlock_irqrestore(&bucket->lock, flags);
    return result;
}

s64 futex_wake(struct host *host, u64 word, u32 count)
{
    struct waitqueue *bucket = bucket_of(host, word);
    s64 woken = 0;
    bool flags = spin_lock_irqsave(&bucket->lock);
    list_for_each_safe(s, &bucket->waiters, struct futex_sleeper, node)
    {
        if (woken == (s64)count)
            break;
        if (s->word != word)
            continue;
        struct thread *thread = s->thread;
        list_del(&s->node);
        (void)thread_wake(thread);
        woken++;
    }
    spin_unlock_irqrestore(&bucket->lock, flags);
    return woken;
}
