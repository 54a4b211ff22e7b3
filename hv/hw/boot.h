// SPDX-License-Identifier: Apache-2.0
// What firmware hands to the hypervisor, and the address constants of the modelled host.
#ifndef HV_HW_BOOT_H
#define HV_HW_BOOT_H

#include "hv/hw/types.h"

// Host physical memory of host h is visible (direct map) at HW_ARENA_BASE + h * HW_ARENA_STRIDE. Both lie
// outside every region that the C library, the loader or AddressSanitizer's shadow use on x86-64.
#define HW_ARENA_BASE 0x300000000000ull
#define HW_ARENA_STRIDE 0x080000000000ull
#define HW_ARENA_HOSTS_MAX 4u
// libhv.so's link address, and the host physical addresses its text and constants, and stacks, stand at.
#define HW_IMAGE_BASE 0x200000000000ull
#define HW_IMAGE_HPA 0x07f000000000ull
#define HW_STACK_HPA 0x07e000000000ull

#define HW_BOOT_RANGES_MAX 8u
#define HW_BOOT_CPUS_MAX 256u

// Devices of the board that are there (ACPI's tables on silicon).
#define HW_BOOT_LINK 0x1ull // hv/hw/link.h

struct hw_boot_range {
    u64 start, size; // Bytes, page aligned: usable host memory.
};

// Passed to hv_boot() on the boot processor, in host memory. Everything in it was placed there before reset.
struct hw_bootinfo {
    u64 direct_map_base;
    u64 tsc_khz;
    u32 cpu_count;
    u32 range_count;
    struct hw_boot_range ranges[HW_BOOT_RANGES_MAX];
    u64 devices; // HW_BOOT_*
    // The "kernel command line" and "init program's files": knob values and what the VMM is to do. Structures
    // of hv/knobs.h and hv/vmm/config.h; their size in bytes for a check.
    u64 knobs, knobs_bytes;
    u64 vmm_config, vmm_config_bytes;
};

// Exported by libhv.so: entry of the boot processor after reset, interrupts disabled, on a boot stack. Never
// returns (ends in the idle loop).
typedef void (*hw_boot_entry)(const struct hw_bootinfo *info);
#define HW_BOOT_ENTRY_NAME "hv_boot"

#endif
