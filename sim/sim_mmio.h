// SPDX-License-Identifier: Apache-2.0
// Device models of the user's own, in SystemC with a TLM-2.0 target socket, seen from C: ranges of physical
// addresses whose reads and writes become generic-payload transactions, and an interrupt line each.
//
// The C++ side is systemc/tlm_bridge.h. Does not model: DMI, the debug transport, the non-blocking transport.
#ifndef HVSIM_SIM_SIM_MMIO_H
#define HVSIM_SIM_SIM_MMIO_H

#include "sim/sim.h"

#ifdef __cplusplus
extern "C" {
#endif

// Loads the shared object `path` and calls its hvsim_models(), which builds the models and names them. After
// sim_init(), before the first sim_run(). Returns 0, or -1 with a message that names path and reason.
int sim_mmio_load(const char *path);

// Puts the model of that name at [base, base + bytes), bytes >= 1, in the address space `space` (such as a
// VM's number or a host's). Returns 0, or -1 with a message: no such model, no such range, or one that
// overlaps another of the same space. A model may have several ranges; transactions carry the offset in
// theirs.
int sim_mmio_attach(unsigned space, uint64_t base, uint64_t bytes, const char *model);
// Takes all ranges away.
void sim_mmio_detach_all(void);

enum sim_mmio_result {
    SIM_MMIO_OK,
    SIM_MMIO_NONE,    // No range there, or the access goes beyond its end.
    SIM_MMIO_REFUSED, // The model answered with a TLM error: what the bus makes of that is the caller's.
};
// One access of 1, 2, 4 or 8 bytes (any number up to 8 is passed on), in the calling process at sim_now_ps():
// who ran ahead waits for its own time first. Values are little-endian. If the model waits in its transport,
// the process waits with it. `latency_ps` is the delay that the model annotated, beyond what it waited: the
// caller adds it to its own time.
enum sim_mmio_result sim_mmio_read(unsigned space, uint64_t addr, unsigned bytes, uint64_t *value,
                                   sim_ps_t *latency_ps);
enum sim_mmio_result sim_mmio_write(unsigned space, uint64_t addr, unsigned bytes, uint64_t value,
                                    sim_ps_t *latency_ps);

// Has `fn(ctx, level)` called, at the kernel's current time, whenever the model changes its interrupt line.
// It may notify events; it must not wait. Returns 0, or -1 with a message if there is no such model.
int sim_mmio_on_interrupt(const char *model, void (*fn)(void *ctx, bool level), void *ctx);

#ifdef __cplusplus
}
#endif
#endif
