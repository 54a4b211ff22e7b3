// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/kvmclock.h"

#include "hv/core/vm.h"
#include "hv/lib/math.h"

#define NS_PER_SECOND 1000000000ull
#define NS_PER_MS 1000000ull

// Host TSC at the VM's creation, the clock's zero.
static u64 base_tsc(struct x86_vcpu *v)
{
    return -x86_vm_of(v)->tsc_offset;
}

// Whoever reads meanwhile finds an odd version and tries again. Structures begin with their version. False:
// an address is no memory.
static bool write_versioned(struct vm *vm, u64 address, void *structure, u64 bytes)
{
    u32 *version = structure;

    if (vm_read_guest(vm, gpa(address), version, sizeof(*version)))
        return false;
    *version = (*version | 1) + (*version & 1 ? 2 : 0); // The next odd one.
    if (vm_write_guest(vm, gpa(address), version, sizeof(*version)))
        return false;
    smp_wmb();
    if (vm_write_guest(vm, gpa(address), structure, bytes))
        return false;
    smp_wmb();
    ++*version;
    return vm_write_guest(vm, gpa(address), version, sizeof(*version)) == 0;
}

static void write_structure(struct x86_vcpu *v, u64 address, void *structure, u64 bytes)
{
    struct vm *vm = v->vcpu.vm;
    u32 index = srcu_read_lock(&vm->srcu); // User space's writes of MSRs come without.

    (void)write_versioned(vm, address, structure, bytes); // Else it is the guest's own fault.
    srcu_read_unlock(&vm->srcu, index);
}

void kvmclock_write_wall_clock(struct x86_vcpu *v, u64 address)
{
    u64 ns = HV_BOOT_SECONDS * NS_PER_SECOND + tsc_to_ns(v->vcpu.vm->host, base_tsc(v));
    struct pvclock_wall_clock wall = {.sec = (u32)(ns / NS_PER_SECOND), .nsec = (u32)(ns % NS_PER_SECOND)};

    write_structure(v, address, &wall, sizeof(wall));
}

// Nanoseconds per TSC cycle as a fraction of 32 bits with its highest bit set, and a shift.
static void set_rate(struct pvclock_vcpu_time_info *t, u64 tsc_khz)
{
    u64 mul = (NS_PER_MS << 32) / tsc_khz;
    s8 shift = 0;

    for (; mul > UINT32_MAX; mul >>= 1)
        shift++;
    while ((mul & 1ull << 31) == 0) {
        shift--;
        mul = mul_u64_u64_div_u64(NS_PER_MS << 32, 1ull << -shift, tsc_khz);
    }
    t->tsc_to_system_mul = (u32)mul;
    t->tsc_shift = shift;
}

void kvmclock_update(struct x86_vcpu *v)
{
    struct pvclock_vcpu_time_info t = {.tsc_timestamp = guest_tsc(v, base_tsc(v)),
                                       .flags = PVCLOCK_TSC_STABLE};

    if ((v->pv_system_time & KVMCLOCK_ENABLE) == 0)
        return;
    set_rate(&t, v->vcpu.vm->host->tsc_khz);
    write_structure(v, v->pv_system_time & ~(u64)KVMCLOCK_ENABLE, &t, sizeof(t));
}
