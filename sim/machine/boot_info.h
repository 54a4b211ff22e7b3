// SPDX-License-Identifier: Apache-2.0
// What the firmware of a modelled host leaves in its memory: boot information, knobs, the VMM's
// configuration.
#ifndef SIM_MACHINE_BOOT_INFO_H
#define SIM_MACHINE_BOOT_INFO_H

#include "hv/hw/boot.h"
#include "hv/knobs.h"
#include "sim/machine/images.h"
#include "sim/scenario/scenario.h"
#include "sim/scenario/stream.h"

#define BOOT_RESERVED_BYTES (16ull << 20) // Memory below is not given to the page allocator.

struct boot_host {
    const struct scenario *scenario;
    uint32_t host;                    // Index in the scenario.
    const struct stream_set *streams; // Programs of every vCPU, in the order of VMs and vCPUs.
    const struct image_set *images;   // Of every VM.
};

// Writes everything below BOOT_RESERVED_BYTES of the host's arena, and images at its end. `knobs` are those
// of the run; the host's own go on top. Returns the boot information's address; NULL if it does not fit
// (`e`).
const struct hw_bootinfo *boot_info_write(const struct boot_host *h, const struct knobs *knobs,
                                          uint64_t tsc_khz, struct user_error *e);

#endif
