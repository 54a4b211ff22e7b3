// SPDX-License-Identifier: Apache-2.0
// Sleepable read-copy-update: readers count themselves per CPU in one of two epochs; a writer flips the epoch
// and waits until the old one's count of readers is zero.
#ifndef HV_LIB_SRCU_H
#define HV_LIB_SRCU_H

#include "hv/hw/cpu.h"
#include "hv/lib/mutex.h"

struct srcu_counts {
    u64 lock[2], unlock[2];
} __cacheline_aligned;

struct srcu {
    u32 index; // Epoch of new readers in bit 0.
    u32 cpu_count;
    struct srcu_counts *counts; // Per CPU.
    struct mutex mutex;
};

struct host;
// 0 or -ENOMEM.
int srcu_init(struct srcu *s, struct host *host);
// No readers may be left.
void srcu_destroy(struct srcu *s, struct host *host);
// Begins a read section; may sleep inside, may nest. The value returned goes to the unlock.
u32 srcu_read_lock(struct srcu *s);
void srcu_read_unlock(struct srcu *s, u32 index);
// A full barrier by itself on x86, where the count is a LOCK-prefixed operation; not by C11's rules.
static inline void smp_mb_after_srcu_read_unlock(void)
{
    hw_mb_after_locked();
}
// Returns after every section that began before the call has ended; sleeps. What the caller stored before is
// seen by sections that begin after it.
void synchronize_srcu(struct srcu *s);
// Does the calling thread hold a section of any srcu? For assertions.
bool srcu_read_lock_held(void);

// Publishing and reading a pointer that such sections protect.
#define srcu_assign_pointer(p, v) store_release(&(p), (v))
#define srcu_dereference(p) load_acquire(&(p))

#endif
