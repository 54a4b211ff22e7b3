// SPDX-License-Identifier: Apache-2.0
// Sleeping until something holds: wait queues and completions.
#ifndef HV_LIB_WAIT_H
#define HV_LIB_WAIT_H

#include "hv/lib/list.h"
#include "hv/lib/spinlock.h"

struct waitqueue {
    struct spinlock lock; // Taken with interrupts off.
    struct list waiters;  // struct wait_entry
};
// One waiter, usually on its thread's stack.
struct wait_entry {
    struct list node;
    struct thread *thread;
    bool exclusive;
};

void waitqueue_init(struct waitqueue *wq);
void wait_entry_init(struct wait_entry *e);
// Queues the caller (at the end if exclusive, else at the front) and marks it THREAD_SLEEPING; the condition
// must be looked at after this, and then schedule() called: a wake-up in between is not lost (full barrier
// inside).
void prepare_to_wait(struct waitqueue *wq, struct wait_entry *e, bool exclusive);
// Dequeues and marks the caller running again.
void finish_wait(struct waitqueue *wq, struct wait_entry *e);
// Wakes all non-exclusive waiters and at most `exclusive_max` exclusive ones. The caller's stores before it
// are visible to the woken (full barrier). Returns how many threads were woken. Callable from interrupts.
unsigned wake_up(struct waitqueue *wq, unsigned exclusive_max);
static inline unsigned wake_up_one(struct waitqueue *wq)
{
    return wake_up(wq, 1);
}
static inline unsigned wake_up_all(struct waitqueue *wq)
{
    return wake_up(wq, ~0u);
}
// Is anybody queued? Full barrier first, so that it pairs with prepare_to_wait().
bool waitqueue_active(struct waitqueue *wq);

#define wait_event(wq, condition)                                                                            \
    do {                                                                                                     \
        struct wait_entry wait_entry_;                                                                       \
        wait_entry_init(&wait_entry_);                                                                       \
        for (;;) {                                                                                           \
            prepare_to_wait((wq), &wait_entry_, false);                                                      \
            if (condition)                                                                                   \
                break;                                                                                       \
            schedule();                                                                                      \
        }                                                                                                    \
        finish_wait((wq), &wait_entry_);                                                                     \
    } while (0)

struct completion {
    u32 done; // Waits that may pass; UINT32_MAX: all, for ever.
    struct waitqueue wq;
};
void completion_init(struct completion *c);
void complete(struct completion *c);
void complete_all(struct completion *c);
void wait_for_completion(struct completion *c);

#endif
