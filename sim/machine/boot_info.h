// SPDX-License-Identifier: Apache-2.0
// What the firmware of a modelled host leaves in its memory: boot information, knobs, the VMM's
// configuration.
#ifndef SIM_MACHINE_BOOT_INFO_H
#define SIM_MACHINE_BOOT_INFO_H

#include "hv/hw/boot.h"
#include "hv/knobs.h"
#include "sim/scenario/scenario.h"
#include "sim/scenario/stream.h"

#define BOOT_RESERVED_BYTES (16ull << 20) // Memory below is not given to the page allocator.

// Writes everything below BOOT_RESERVED_BYTES of host 0's arena. `streams` are the programs of every vCPU, in
// the order of VMs and vCPUs. Returns the boot information's address; NULL if it does not fit (`e`).
const struct hw_bootinfo *boot_info_write(const struct scenario *s, const struct knobs *knobs,
                                          uint64_t tsc_khz, const struct stream_set *streams,
                                          struct user_error *e);

#endif
