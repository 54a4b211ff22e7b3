// SPDX-License-Identifier: Apache-2.0
// The user-space VMM's own structures. One process for all VMs of the scenario; every vCPU has a thread, the
// main thread carries out the timed actions. Everything lives in one block of the process' heap.
#ifndef HV_VMM_VMM_H
#define HV_VMM_VMM_H

#include "hv/api.h"
#include "hv/vmm/balloon.h"
#include "hv/vmm/config.h"
#include "hv/vmm/lock.h"
#include "spec/guest_end.h"

#define VMM_SLOTS_MAX 64u
#define VMM_CPUID_MAX 128u

struct vmm;
struct vmm_ioapic;
struct vmm_migration;
struct vmm_pc_device;
struct vmm_vm;

#define VMM_PAUSED_BY_ACTION 1u
#define VMM_PAUSED_ENDED 4u // Its guest shut it down.
#define VMM_PAUSED_THROTTLED 8u
#define VMM_PAUSED_ELSEWHERE 2u // The guest is on another host, or on its way.

struct vmm_vcpu {
    struct vmm_vm *vm;
    u32 index;
    int handle;
    s64 thread;
    struct hv_run *run;
    struct hv_dirty_gfn *ring; // NULL: no dirty ring.
    u32 ring_index;            // Of the next entry to collect.
    u32 running; // Odd while the thread is in RUN: counts calls and returns. A futex while somebody waits.
    u32 paused;  // Reasons why the thread waits before its next RUN (VMM_PAUSED_*). A futex.
    u32 parked;  // 1: its thread waits, nothing is half done. A futex.
    u64 throttle_ns; // How long VMM_PAUSED_THROTTLED lets it sleep.
    s64 result;      // Of its last RUN.
    u32 gone;        // 1: killed, its thread is about to end. A futex.
};

// What the VMM knows of a memory slot: to move and discard its backing.
struct vmm_slot {
    u32 slot, flags; // HV_MEM_* but LOG_DIRTY_PAGES.
    u32 used;
    u64 gpa, address, bytes;
    u64 *dirty;     // Bitmap of its pages: what the log has shown and nobody has asked for yet. NULL: never
                    // logged.
    u64 *own_dirty; // The same of what the VMM has written itself since the last fetch. NULL: nothing ever.
    u64 *marks;     // Of a migration (hv/vmm/migration.h): a bit for each page; NULL: none.
    u32 page_shift;
};

struct vmm_device {
    const struct vmm_device_config *config;
    u64 reads, writes;
    u64 last; // Last value written.
};

struct vmm_vm {
    struct vmm *vmm;
    const struct vmm_vm_config *config;
    u32 index;
    int handle;
    struct vmm_vcpu *vcpus;
    struct hv_cpuid2 *cpuid; // What every vCPU was given; room for VMM_CPUID_MAX.
    struct vmm_device *devices;
    struct vmm_ioapic *ioapic; // NULL: the core has it, or nobody.
    struct vmm_slot slots[VMM_SLOTS_MAX];
    struct vmm_migration *migration; // NULL: the host has no link.
    u32 ring_entries;                // Of each vCPU's dirty ring; 0: none.
    u32 kicking;                     // Somebody waits for vCPUs to leave RUN.
    u32 ring_bytes;                  // Of each vCPU's dirty ring.
    struct vmm_lock dirty_lock;      // Of the slots' dirty bitmaps and of collecting rings.
    struct vmm_balloon balloon;
    struct vmm_lock balloon_lock;
    struct vmm_pc_device *pc; // hv/vmm/pc.h; NULL: without VMM_VM_PC.
    u32 ended;                // vmm_guest_end() was called.
    u32 killed;               // vmm_kill() was: vCPUs' threads end.
    struct vmm_tool *tool;    // hv/vmm/introspect.c; NULL: nobody introspects it.
};

struct vmm {
    const struct vmm_config *config;
    struct vmm_vm *vms;
    u8 *heap;
    u64 heap_used, heap_bytes;
    u32 vcpus_left; // Threads of vCPUs that have not ended.
    // Held by whoever works on the VM as a whole, and by devices that have no locking of their own.
    struct vmm_lock big_lock;
};

// Zeroed memory of the process, 64-byte aligned; never freed. Panics when the block is used up.
void *vmm_alloc(struct vmm *vmm, u64 bytes);
// A tool introspects the VM from now on, on that CPU. The API's result.
s64 vmm_introspect(struct vmm_vm *vm, u32 cpu);
// Ends the VM's threads, whatever they do, and closes its handles. Returns when all of it is gone.
s64 vmm_kill(struct vmm_vm *vm);
// A broken expectation about the core: ends the simulation.
void vmm_check(bool ok, const char *what);
// The same for a call that returned an error number, which stands where the line would.
void vmm_require(s64 result, const char *what);

// Builds VM `index`: handle, irqchip, memory, vCPUs with their initial state (hv/vmm/setup.c).
void vmm_vm_setup(struct vmm *vmm, u32 index);
// Backing for `bytes` and a slot for it. The API's result.
s64 vmm_add_slot(struct vmm_vm *vm, u32 slot, u32 flags, u64 gpa, u64 bytes, unsigned page_shift);
struct vmm_slot *vmm_find_slot(struct vmm_vm *vm, u32 slot);
// Writes page tables of config->paging_levels into guest memory; returns the top one's guest-physical
// address. `pages_1g`: the guest may use 1-GiB pages (hv/vmm/guest_tables.c).
u64 vmm_guest_tables(struct vmm_vm *vm, bool pages_1g);
// A segment of base 0 and limit 4 GiB - 1, present, of privilege level 0.
struct hv_segment vmm_flat_segment(u16 selector, u8 type, bool code64);
// Machine code (hv/vmm/program.c): copies it into guest memory in no simulated time; then gives a vCPU the
// registers that the loader's protocol wants, or what it has after reset. `root`: page tables of LONG mode.
void vmm_program_load(struct vmm_vm *vm);
void vmm_program_enter(const struct vmm_vcpu *vcpu, u64 root);
const struct vmm_program_config *vmm_program_of(const struct vmm_vm *vm); // NULL: the VM has none.
// What of the processor a machine-code guest sees: clears the rest in `c` (hv/vmm/guest_cpuid.c).
void vmm_guest_cpuid(struct hv_cpuid2 *c, u32 vcpu_count, const struct vmm_cpuid_bit *bits, u32 bit_count);
// Copies into the guest's memory: 0, or -EFAULT if part of the range is none (what is before it is written).
s64 vmm_write_guest(struct vmm_vm *vm, u64 gpa, const void *from, u64 bytes);
// Deletes the slot and gives its memory back. The API's result.
s64 vmm_remove_slot(struct vmm_vm *vm, u32 slot);
// A memory module at gpa, in the lowest slot that is free of those that the core says it has. -ENOSPC: none
// is.
s64 vmm_plug_memory(struct vmm_vm *vm, u64 gpa, u64 bytes);

// Dirty logging in the way that knob vmm.dirty_log says (hv/vmm/dirty.c). All return the API's error or what
// they say.
void vmm_dirty_setup(struct vmm_vm *vm); // After the VM, before its vCPUs.
s64 vmm_dirty_start(struct vmm_vm *vm, u32 slot);
s64 vmm_dirty_stop(struct vmm_vm *vm, u32 slot);
// How many pages were written since the last time; vmm_dirty_clear() lets those of a range (bytes 0: to the
// slot's end) count again where the core leaves that to us.
s64 vmm_dirty_get(struct vmm_vm *vm, u32 slot);
s64 vmm_dirty_clear(struct vmm_vm *vm, u32 slot, u64 offset, u64 bytes);
// The VMM itself has changed this range of the slot: the next fetch shows it. Nothing if the slot
// never logged.
void vmm_dirty_mark(struct vmm_vm *vm, u32 slot, u64 offset, u64 bytes);
// For who looks at the pages itself: brings s->dirty up to date; under vm->dirty_lock, what was taken from it
// is then forgotten.
s64 vmm_dirty_fetch(struct vmm_vm *vm, struct vmm_slot *s);
void vmm_dirty_forget(struct vmm_vm *vm, struct vmm_slot *s);
// Makes each vCPU leave RUN once and waits for that: what its processor has logged is then in the core's log.
void vmm_kick_all(struct vmm_vm *vm);
// Collects all rings of the VM and gives their entries back.
s64 vmm_dirty_collect(struct vmm_vm *vm);

// The big lock. A vCPU's thread that waits for it is in span vcpu.stall meanwhile.
void vmm_big_lock(struct vmm *vmm);
void vmm_big_unlock(struct vmm *vmm);

// The guest of a VM with VMM_VM_PC has ended: it is told to the host's board, no vCPU of it runs again, and
// the host switches itself off if nobody else runs (then this does not return). Only the first call counts.
// On a thread of one of its vCPUs, which stops when it comes back to its loop.
void vmm_guest_end(struct vmm_vm *vm, enum guest_end how, u64 code);

// Body of a vCPU's thread.
void vmm_vcpu_thread(void *arg);
// Port and memory I/O of a guest (hv/vmm/devices.c); `data` holds `size` bytes.
void vmm_port_io(struct vmm_vm *vm, u16 port, bool write, u8 *data, u32 size);
void vmm_mmio(struct vmm_vm *vm, u64 gpa, bool write, u8 *data, u32 size);
// Drives a GSI to level 0 or 1, in the I/O APIC here or in the core. 0, or the API's error: -EINVAL for
// another level or a GSI that leads nowhere.
s64 vmm_irq_line(struct vmm_vm *vm, u32 gsi, u32 level);

// Carries out one action; its result is traced, not fatal.
s64 vmm_do(struct vmm *vmm, const struct vmm_action *action);

#endif
