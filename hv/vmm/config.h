// SPDX-License-Identifier: Apache-2.0
// What the scenario hands to the user-space VMM: machines to build and things to do at given times.
//
// One block of memory without pointers: offsets are bytes from the start of struct vmm_config. Written by the
// simulator before reset into host memory (hw_bootinfo.vmm_config), read by hv/vmm.
#ifndef HV_VMM_CONFIG_H
#define HV_VMM_CONFIG_H

#include "hv/hw/types.h"

#define VMM_CONFIG_MAGIC 0x31464e4f434d4d56ull // "VMMCONF1"
#define VMM_CONFIG_VERSION 4u
#define VMM_CPU_ANY UINT32_MAX
#define VMM_NAME_BYTES 32u

enum vmm_op {
#define ACTION(id, word, args, about) VMM_##id,
#include "hv/vmm/actions.def"
#undef ACTION
    VMM_OP_COUNT
};

// Initial mode of a vCPU; REAL is the state after reset.
enum vmm_cpu_mode { VMM_MODE_REAL, VMM_MODE_PROTECTED, VMM_MODE_LONG };

struct vmm_vcpu_config {
    u32 pcpu; // Host CPU that its thread is pinned to, or VMM_CPU_ANY.
    u32 mode; // enum vmm_cpu_mode
    u64 rip;
    u64 idtr_base; // For replay guests: names the program.
    u64 cr3;
    u64 rsp;
    u32 wait_for_sipi; // 1: starts in MP state uninitialized.
    u32 apic_id;
};

enum vmm_device_kind { VMM_DEVICE_NONE, VMM_DEVICE_PORT, VMM_DEVICE_MMIO };
// A device model of hv/vmm: answers accesses in its range with `value`, after `work_cycles` of work of its
// own.
struct vmm_device_config {
    u32 kind; // enum vmm_device_kind
    u32 gsi;  // UINT32_MAX: none. A write of ack_value lowers the line.
    u64 base, size;
    u64 value;
    u64 ack_value;
    u64 work_cycles;
    u32 big_lock; // 1: its model runs under the VMM's big lock.
    u32 padding;
    char name[VMM_NAME_BYTES];
};

// Memory slots beyond the main one.
struct vmm_slot_config {
    u32 slot, flags; // HV_MEM_*
    u64 gpa, size;
    u32 page_shift;
    u32 padding;
};

// Machine code: what a boot loader has put into memory, and the registers with which the boot processor
// enters it. The other vCPUs wait for their SIPI.
struct vmm_segment_config {
    u64 gpa, bytes;
    u64 source; // In the host's direct map.
};
// A feature bit of CPUID that this VM's guest is not told of, beyond hv/vmm/cpuid_hidden.def.
struct vmm_cpuid_bit {
    u32 leaf, subleaf;
    u32 reg; // enum cpuid_reg
    u32 mask;
};
struct vmm_program_config {
    u32 mode; // enum vmm_cpu_mode. LONG: paging is on, with the tables of paging_levels.
    u32 segment_count;
    u64 rip; // REAL: linear; at most 0xfffff.
    u64 rax, rbx, rsi, rsp;
    u64 gdt;             // PROTECTED, LONG: guest-physical address of its GDT; code is 0x10, data 0x18.
    u64 segments_offset; // struct vmm_segment_config[]
    u64 hidden_offset;   // struct vmm_cpuid_bit[]
    u32 hidden_count;
    u32 padding;
};
#define VMM_PROGRAM_CODE 0x10u
#define VMM_PROGRAM_DATA 0x18u
#define VMM_PROGRAM_GDT_BYTES 32u

#define VMM_VM_IRQCHIP 0x1u       // PIC, IOAPIC and LAPIC in the core.
#define VMM_VM_SPLIT_IRQCHIP 0x2u // LAPIC in the core, IOAPIC in user space.
#define VMM_VM_PREFAULT 0x4u      // All memory is mapped before the vCPUs start.
#define VMM_VM_NESTED 0x8u        // VMX is exposed to the guest.
// With VMM_VM_PREFAULT: that takes no simulated time (hv/hw/setup.h). Bits from 31 down are the simulator's.
#define VMM_VM_UNTIMED 0x80000000u
#define VMM_VM_PC 0x20u       // With the devices of hv/vmm/pc.h.
#define VMM_VM_INPUT 0x40u    // Somebody types at its console: HV_SYS_CONSOLE_READ.
#define VMM_VM_INCOMING 0x10u // Empty: its guest runs on another host and may be migrated here.
struct vmm_vm_config {
    char name[VMM_NAME_BYTES];
    u64 memory_bytes;
    u32 page_shift;       // Of the backing: 12, 21, 30.
    u32 flags;            // VMM_VM_*
    u32 paging_levels;    // 4 or 5: vCPUs start with tables that map all memory to itself; 0: without.
    u32 guest_page_shift; // Largest page that those tables map: 12, 21, 30.
    u32 vcpu_count, device_count, slot_count;
    u32 number;         // Of the scenario's VMs: the same on every host.
    u32 vmm_pcpu;       // Where the VM's device and action threads run, or VMM_CPU_ANY.
    u32 disabled_exits; // HV_DISABLE_EXITS_*; with MWAIT the guest's CPUID offers MONITOR.
    u64 vcpus_offset;   // struct vmm_vcpu_config[]
    u64 devices_offset; // struct vmm_device_config[]
    u64 slots_offset;   // struct vmm_slot_config[]
    u64 program_offset; // struct vmm_program_config of machine code; 0: vCPUs have streams or native guests.
};

#define VMM_ACTION_ARGS 6u
struct vmm_action {
    u64 at_ns; // Since boot of the VMM.
    u32 op;    // enum vmm_op
    u32 vm;    // Index among the VMs of this configuration.
    u64 args[VMM_ACTION_ARGS];
    u32 line; // In the scenario, for messages.
    u32 padding;
};

struct vmm_config {
    u64 magic;
    u32 version;
    u32 bytes; // Of the whole block.
    u32 vm_count, action_count;
    u32 host, host_count; // This one, and how many are joined by a link.
    u64 vms_offset;       // struct vmm_vm_config[]
    u64 actions_offset;   // struct vmm_action[], by at_ns
    u64 end_ns;           // Stop then if no action did; 0: never.
};

// Guest memory lies as a PC's does: the hole below 4 GiB belongs to devices, the rest follows above.
#define VMM_HOLE (3ull << 30)
#define VMM_ABOVE_HOLE (4ull << 30)

// Where firmware would have put things of the PC (VMM_VM_PC): the ACPI tables begin with their root pointer,
// in memory that the map given to the guest reserves.
#define VMM_ACPI_BASE 0xf0000ull
#define VMM_ACPI_BYTES_MAX 0x8000ull
#define VMM_HPET_BASE 0xfed00000ull
#define VMM_HPET_ID 0x80862201u // Low half of its capabilities.
#define VMM_HPET_MIN_TICKS 100u // Shortest period that software should set: 1 us.

// Page tables for `bytes` of memory in pages of 1 << page_shift and `parts` slots and devices take at most so
// many bytes at the end of guest memory. Each part may need a table of each level of its own, twice.
static inline u64 vmm_guest_tables_max(u64 bytes, u32 page_shift, u32 parts)
{
    u64 tables = 8 + 10ull * (parts + 3);

    for (u32 shift = page_shift + 9; shift < 57; shift += 9)
        tables += bytes >> shift;
    return tables * 4096;
}

static inline const void *vmm_config_at(const struct vmm_config *c, u64 offset)
{
    return (const char *)c + offset;
}

#endif
