// SPDX-License-Identifier: Apache-2.0
#include "hv/lib/srcu.h"

#include "hv/core/host.h"
#include "hv/hw/trace.h"
#include "hv/lib/errno.h"
#include "hv/lib/spans.h"

// Readers are mostly gone within one exit's handling: poll that long before sleeping.
#define SYNC_SPIN_US 5u
#define SYNC_SLEEP_US 20u

int srcu_init(struct srcu *s, struct host *host)
{
    s->index = 0;
    s->cpu_count = host->cpu_count;
    s->counts = kzalloc(host, sizeof(*s->counts) * host->cpu_count);
    if (s->counts == NULL)
        return -ENOMEM;
    mutex_init(&s->mutex, LOCK_RANK_SRCU);
    return 0;
}

void srcu_destroy(struct srcu *s, struct host *host)
{
    kfree(host, s->counts, sizeof(*s->counts) * s->cpu_count);
    s->counts = NULL;
}

// A count may be bumped on a CPU that the thread has just left, or by an interrupt in between: hence atomic,
// only the sum matters. The full barrier behind it keeps the section's accesses inside: either the writer
// sees the count, or the section sees what the writer published before it looked.
u32 srcu_read_lock(struct srcu *s)
{
    struct thread *t = current_thread();
    u32 index = READ_ONCE(s->index) & 1;
    __atomic_fetch_add(&s->counts[t->cpu->id].lock[index], 1, __ATOMIC_SEQ_CST);
    hw_mb_after_locked();
    hw_note_srcu(s, HW_NOTE_SRCU_BEGIN, index);
    t->srcu_depth++;
    return index;
}

void srcu_read_unlock(struct srcu *s, u32 index)
{
    struct thread *t = current_thread();
    hw_note_srcu(s, HW_NOTE_SRCU_END, index);
    t->srcu_depth--;
    __atomic_fetch_add(&s->counts[t->cpu->id].unlock[index], 1, __ATOMIC_SEQ_CST);
}

bool srcu_read_lock_held(void)
{
    return current_thread()->srcu_depth != 0;
}

// Unlocks are summed first: a section seen as ended was also seen as begun.
static bool no_readers(const struct srcu *s, u32 index)
{
    u64 unlocks = 0, locks = 0;
    for (u32 i = 0; i < s->cpu_count; i++)
        unlocks += READ_ONCE(s->counts[i].unlock[index]);
    smp_mb();
    for (u32 i = 0; i < s->cpu_count; i++)
        locks += READ_ONCE(s->counts[i].lock[index]);
    return locks == unlocks;
}

static void wait_for_readers(struct srcu *s, u32 index)
{
    struct host *host = this_host();
    u64 spin_end = hw_rdtsc() + ns_to_tsc(host, SYNC_SPIN_US * 1000);
    u64 step = ns_to_tsc(host, SYNC_SLEEP_US * 1000);
    while (!no_readers(s, index)) {
        u64 now = hw_rdtsc();
        if (now < spin_end) {
            hw_pause();
            cond_resched();
        } else {
            sleep_uninterruptible_until_tsc(now + step);
        }
    }
}

void synchronize_srcu(struct srcu *s)
{
    might_sleep();
    hw_note_srcu(s, HW_NOTE_SRCU_SYNC, 0);
    hw_trace_span_begin(SPAN_SRCU_SYNC);
    mutex_lock(&s->mutex);
    smp_mb();
    u32 index = s->index & 1;
    // Readers that fetched the other epoch's number before the last flip may still be counting themselves in
    // it.
    wait_for_readers(s, index ^ 1);
    WRITE_ONCE(s->index, s->index + 1);
    smp_mb();
    wait_for_readers(s, index);
    smp_mb();
    mutex_unlock(&s->mutex);
    hw_trace_span_end(SPAN_SRCU_SYNC);
}
