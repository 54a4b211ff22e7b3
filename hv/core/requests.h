// SPDX-License-Identifier: Apache-2.0
// Requests and kicks: how others get the attention of a vCPU.
//
// Two orders matter. Message passing: what the maker stored before make_request() is seen by whoever saw
// check_request() true (release with acquire). And the kick: the maker sets the bit, then reads vcpu->mode;
// the vCPU stores IN_GUEST_MODE, then reads the bits. Both have a full barrier in between, so at least one
// sees the other.
#ifndef HV_CORE_REQUESTS_H
#define HV_CORE_REQUESTS_H

#include "hv/core/vcpu.h"
#include "hv/core/vm.h"

#define REQ_WAIT 0x100u
#define REQ_NO_WAKEUP 0x200u
#define REQ_BIT(req) ((unsigned)(req)&63u)

// REQ_EVENT ...: bit number and flags.
enum vcpu_request {
#define REQUEST(id, bit, flags, about) REQ_##id = (bit) | (flags),
#include "hv/core/requests.def"
#undef REQUEST
};

// Sets the bit; no kick: one locked OR. Not only a release: the kick's look at the mode comes after it for
// everybody (its failed compare-and-exchange is only a load, and C11 would let that pass a release).
static inline void make_request(enum vcpu_request req, struct vcpu *vcpu)
{
    __atomic_fetch_or(&vcpu->requests, 1ull << REQ_BIT(req), __ATOMIC_SEQ_CST);
}
// The same for whoever has left data for the vCPU to find, with the order between the two as knob req.wmb
// says.
void make_request_for_data(enum vcpu_request req, struct vcpu *vcpu);
static inline bool request_pending(struct vcpu *vcpu)
{
    return READ_ONCE(vcpu->requests) != 0;
}
static inline bool test_request(enum vcpu_request req, struct vcpu *vcpu)
{
    return (READ_ONCE(vcpu->requests) >> REQ_BIT(req)) & 1;
}
static inline void clear_request(enum vcpu_request req, struct vcpu *vcpu)
{
    __atomic_fetch_and(&vcpu->requests, ~(1ull << REQ_BIT(req)), __ATOMIC_RELAXED);
}
// True once per request made, and cleared. Costs a plain load when the bit is clear.
static inline bool check_request(enum vcpu_request req, struct vcpu *vcpu)
{
    if (likely(!test_request(req, vcpu)))
        return false;
    __atomic_fetch_and(&vcpu->requests, ~(1ull << REQ_BIT(req)), __ATOMIC_SEQ_CST);
    return true;
}

// Wakes the vCPU's thread if it is blocked. True: it was.
bool vcpu_wake_up(struct vcpu *vcpu);
// Wakes it if blocked, else makes it leave guest mode by a reschedule IPI if it is in there. Full barrier
// before it looks at the mode. Any context.
void vcpu_kick(struct vcpu *vcpu);
// IN_GUEST_MODE -> EXITING_GUEST_MODE; returns the mode before. For kicks that send their own IPI.
u32 vcpu_exiting_guest_mode(struct vcpu *vcpu);
// Request on every vCPU of the VM, then IPIs to those in the guest. With REQ_WAIT returns after they left it.
// Returns true if any IPI was needed. Preemption may be enabled.
bool make_all_cpus_request(struct vm *vm, enum vcpu_request req);
// Stage-2 entries were made less permissive: no vCPU of the VM uses the old ones when this returns.
void flush_remote_tlbs(struct vm *vm);
// Are there entries whose pages or rights went away without a flush (hv/mmu/shadow_sync.c)? Whoever is about
// to rely on nobody using what went away must flush then, even if it took nothing away itself. mmu_lock held,
// as it was when they were counted.
static inline bool tlb_flush_is_postponed(const struct vm *vm)
{
    return READ_ONCE(vm->tlbs_dirty) != 0;
}

#endif
