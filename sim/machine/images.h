// SPDX-License-Identifier: Apache-2.0
// The machine code of a scenario's VMs: files read and planned, and their bytes in the host's memory, where
// hv/vmm copies them from as a boot loader copies from its disk.
#ifndef SIM_MACHINE_IMAGES_H
#define SIM_MACHINE_IMAGES_H

#include "sim/image/image.h"
#include "sim/machine/terminal.h"
#include "sim/scenario/scenario.h"
#include "traces/trace.h"

struct guest_image {
    bool used; // The VM has a program.
    struct image_request request;
    struct image_plan plan;
    const struct vmm_cpuid_bit *hide; // The scenario's.
    uint32_t hide_count;
    struct trace_digest digest; // Of the bytes of all its files, in the order image, initrd, modules.
};
struct image_set {
    struct guest_image *vms; // By VM of the scenario.
    uint32_t vm_count, image_count;
};

// Reads and plans the program of every VM. -1 with `e`. images_free() in either case.
int images_load(struct image_set *set, const struct scenario *s, struct user_error *e);
void images_free(struct image_set *set);

// Host memory that the images need, whole pages; they are put at its end.
uint64_t images_bytes(const struct image_set *set);
// Size of what images_write() writes into the VMM's configuration for a VM.
uint64_t images_config_bytes(const struct image_set *set, uint32_t vm);
// Writes a struct vmm_program_config, its segments and what it hides at `to`, which is `offset` bytes into
// the configuration, and the bytes that they name into host memory from *at on (an address of the direct
// map), which moves on.
void images_write(const struct image_set *set, uint32_t vm, void *to, uint64_t offset, uint64_t *at);

// What loading puts at a guest-physical address: fills `to`, with zeros between the pieces. False: beyond
// memory.
bool images_read(const struct image_set *set, uint32_t vm, uint64_t gpa, void *to, uint64_t size);

// What the run's row says of them ("untimed load of FILE (multiboot, N bytes, digest D) into VM"). To be
// freed; NULL: there is none.
char *images_text(const struct image_set *set, const struct scenario *s);
// The same with all else that an untimed set-up phase does before the vCPUs start, and what is typed later.
char *images_setup_text(const struct image_set *set, const struct terminal_set *typed,
                        const struct scenario *s);

#endif
