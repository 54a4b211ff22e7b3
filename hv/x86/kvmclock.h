// SPDX-License-Identifier: Apache-2.0
// KVM's paravirtual clock: two structures in guest memory that say what time it is (the kernel's
// Documentation/virt/kvm/x86/msr.rst, MSR_KVM_WALL_CLOCK_NEW and MSR_KVM_SYSTEM_TIME_NEW).
//
// All vCPUs of a VM count from the VM's creation at one rate, so their clocks never disagree, and the
// structures change only when a guest moves its TSC.
#ifndef HV_X86_KVMCLOCK_H
#define HV_X86_KVMCLOCK_H

#include "hv/x86/x86.h"

// Layout as in the document; all fields little-endian.
struct pvclock_vcpu_time_info {
    u32 version; // Odd while it is written.
    u32 padding;
    u64 tsc_timestamp; // Guest TSC at which the clock showed system_time, in ns.
    u64 system_time;
    u32 tsc_to_system_mul; // ns = ((TSC - tsc_timestamp) shifted left by tsc_shift) * mul >> 32
    s8 tsc_shift;          // Negative: shifted right.
    u8 flags;
    u8 padding2[2];
};
_Static_assert(sizeof(struct pvclock_vcpu_time_info) == 32, "as guests know it");
#define PVCLOCK_TSC_STABLE 0x1u // All vCPUs' clocks agree.

struct pvclock_wall_clock {
    u32 version;
    u32 sec, nsec; // Of the time since 1970 at which the clock showed 0.
};

#define KVMCLOCK_ENABLE 0x1u // Bit 0 of the system time MSR.

// The wall clock MSR was written by the guest: fills the structure in at its address. An address that is no
// memory is the guest's own fault; nothing happens.
void kvmclock_write_wall_clock(struct x86_vcpu *v, u64 address);
// v->pv_system_time or the TSC's offset has changed: writes the vCPU's structure if the former enables it.
void kvmclock_update(struct x86_vcpu *v);

#endif
