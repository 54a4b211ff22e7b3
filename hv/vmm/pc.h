// SPDX-License-Identifier: Apache-2.0
// The devices of the PC that a machine-code guest finds: a table of models, each with its ranges of ports or
// memory and what reads and writes of them do.
//
// One model is one file of hv/vmm (uart.c, fw_cfg.c, ...) and one row of pc_devices.def; its state is its
// own. VMs with VMM_VM_PC have all of them, once. Interrupt controllers are not here: they are the core's, or
// hv/vmm/ioapic.h. Accesses come on the threads of vCPUs; a model's functions are called with its lock held.
#ifndef HV_VMM_PC_H
#define HV_VMM_PC_H

#include "hv/vmm/vmm.h"

#define VMM_PC_RANGES_MAX 8u
#define VMM_PC_SECOND 1000000000ull // ns

struct vmm_pc_device;

struct vmm_pc_range {
    u32 kind;       // enum vmm_device_kind
    u64 base, size; // Ports, or bytes of guest-physical memory; size 0 ends the list.
};

// What a device is. Constant.
struct vmm_pc_model {
    const char *name; // As datasheets say: "16550"
    struct vmm_pc_range ranges[VMM_PC_RANGES_MAX];
    u64 state_bytes;
    // Power-on state, on zeroed bytes; may write guest memory (vmm_write_guest()). NULL: zeroes are it.
    void (*reset)(struct vmm_pc_device *d);
    // An access of 1, 2, 4 (memory: or 8) bytes within a range, at a port or guest-physical address. NULL: it
    // reads as all ones, a write does nothing.
    u64 (*read)(struct vmm_pc_device *d, u64 address, u32 size);
    void (*write)(struct vmm_pc_device *d, u64 address, u32 size, u64 value);
    // What is due by `now_ns` (since boot) happens; when something is due next, 0: nothing is. Called with
    // the lock held on a thread of the device's own, at that time and after vmm_pc_changed(). NULL: it needs
    // none.
    u64 (*expire)(struct vmm_pc_device *d, u64 now_ns);
};

// A device of a VM.
struct vmm_pc_device {
    const struct vmm_pc_model *model;
    struct vmm_vm *vm;
    void *state; // model->state_bytes, 64-byte aligned.
    struct vmm_lock lock;
    u32 changes; // Counts vmm_pc_changed(). A futex.
};

// Of a VM with VMM_VM_PC, after its memory. Panics if the heap is used up.
void vmm_pc_create(struct vmm_vm *vm);
// Upper bound of what vmm_pc_create() takes from the heap, in bytes.
u64 vmm_pc_heap_bytes(void);
// Creates the threads of devices that expire, on host CPU `cpu` or HV_CPU_ANY, before vCPUs start.
void vmm_pc_start(struct vmm_vm *vm, u32 cpu);
// Something is due at another time than model->expire said last.
void vmm_pc_changed(struct vmm_pc_device *d);
// Whole ticks of a clock of `hz` up to 2^24 in `ns` nanoseconds; and how many nanoseconds `ticks` take,
// rounded up, for 2^63 / 10^9 of them.
static inline u64 vmm_pc_ticks(u64 ns, u64 hz)
{
    return ns / VMM_PC_SECOND * hz + ns % VMM_PC_SECOND * hz / VMM_PC_SECOND;
}
static inline u64 vmm_pc_ns(u64 ticks, u64 hz)
{
    return ticks / hz * VMM_PC_SECOND + (ticks % hz * VMM_PC_SECOND + hz - 1) / hz;
}
// An access of a guest. False: no device is there.
bool vmm_pc_access(struct vmm_vm *vm, u32 kind, u64 address, bool write, u8 *data, u32 size);

#endif
