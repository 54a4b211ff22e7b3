// SPDX-License-Identifier: Apache-2.0
// An architecture without features, whose behaviour a test sets by function pointers. Zeroed by
// fake_arch_reset().
#ifndef HV_TESTS_FAKE_ARCH_H
#define HV_TESTS_FAKE_ARCH_H

#include "hv/core/arch.h"

struct fake_vcpu {
    struct vcpu vcpu;
    u64 entries, loads, puts, injections, cancels;
    u32 work; // arch_vcpu_has_work()
    bool halted;
};

struct fake_arch {
    // Guest: called with interrupts disabled in place of the world switch.
    enum exit_fastpath (*enter)(struct vcpu *vcpu, bool immediate_exit);
    int (*handle_exit)(struct vcpu *vcpu);
    int (*handle_requests)(struct vcpu *vcpu);
    bool (*accept_events)(struct vcpu *vcpu);
    int (*inject)(struct vcpu *vcpu, bool *immediate_exit);
    s64 (*vcpu_ioctl)(struct vcpu *vcpu, u32 cmd, u64 arg);
    int (*prepare_memslot)(struct vm *vm, const struct memslot *old, struct memslot *new,
                           enum memslot_change change);
    void (*flush_memslot)(struct vm *vm, const struct memslot *slot);
    void (*prepare_tlb_flush)(struct vm *vm); // In the middle of flush_remote_tlbs().
    int (*irqchip_set)(struct vm *vm, unsigned irqchip, unsigned pin, unsigned level);
    u64 flushes, commits, prepares, frees, msis, unmaps;
    u64 msi_address, msi_data;
    u64 vms, vcpus; // Alive.
    bool irq_window_open;
};
extern struct fake_arch fake_arch;
void fake_arch_reset(void);

#endif
