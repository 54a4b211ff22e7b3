// SPDX-License-Identifier: Apache-2.0
// A vCPU's dirty ring: which pages it wrote, in order, in memory that user space reads
// (HV_CAP_DIRTY_LOG_RING).
//
// Three indexes that only grow: the vCPU's thread pushes at dirty_index; user space collects in between, in
// the entries' flags alone; HV_RESET_DIRTY_RINGS takes back at reset_index. An entry's state is its flags: 0
// free, DIRTY written by the core, RESET collected by user space.
#ifndef HV_CORE_DIRTY_RING_H
#define HV_CORE_DIRTY_RING_H

#include "hv/api.h"
#include "hv/lib/compiler.h"

struct host;
struct vcpu;
struct vm;

// Beyond what a processor logs for itself: what the core may add between two looks at the ring (KVM's
// number).
#define DIRTY_RING_RESERVED_ENTRIES 64u

struct dirty_ring {
    struct hv_dirty_gfn *entries; // NULL: this VM has bitmaps.
    u32 entry_count;              // Power of two.
    u32 soft_limit;               // From here on the vCPU leaves to user space.
    u32 dirty_index;              // The vCPU's thread alone.
    u32 reset_index;              // Under slots_lock.
};

// 0, or -ENOMEM. vm->dirty_ring_bytes is not 0.
int dirty_ring_alloc(struct vm *vm, struct dirty_ring *ring);
void dirty_ring_free(struct vm *vm, struct dirty_ring *ring);
bool dirty_ring_soft_full(const struct dirty_ring *ring);
// By the vCPU's own thread, inside vm->srcu. Requests DIRTY_RING_FULL from the soft limit on.
void dirty_ring_push(struct vcpu *vcpu, u32 slot, u64 offset);
// Request DIRTY_RING_FULL was seen: true if the ring still is, and the vCPU has to leave to user space; the
// request then stands again.
bool dirty_ring_must_exit(struct vcpu *vcpu);

// HV_CAP_DIRTY_LOG_RING: -EINVAL for a size that is no power of two, below a page or what has to be kept in
// reserve, or when the size is set already or a vCPU exists; -E2BIG.
int dirty_rings_enable(struct vm *vm, u64 bytes);
// HV_RESET_DIRTY_RINGS: entries taken back, their pages protected again; or -EINVAL.
s64 dirty_rings_reset(struct vm *vm);

#endif
