// SPDX-License-Identifier: Apache-2.0
// For device models of the user's own. A shared object with such models looks like this:
//
//     #include "sim/systemc/tlm_bridge.h"
//     extern "C" void hvsim_models()
//     {
//         auto *d = new my_device("my_device");   // An sc_module with a TLM-2.0 target socket.
//         hvsim_tlm_model("my_device", d->socket);
//     }
//
// and is loaded by sim_mmio_load(). The module may have processes of its own and wait in b_transport(). Its
// time is SystemC's: picoseconds, in step with the simulation. It must not call sc_start(), sc_stop() or
// sc_pause(), nor end or reset processes that it did not make.
#ifndef HVSIM_SIM_SYSTEMC_TLM_BRIDGE_H
#define HVSIM_SIM_SYSTEMC_TLM_BRIDGE_H

#include <systemc>
#include <tlm>

// What a shared object of models defines.
extern "C" void hvsim_models();

// Makes the model known to sim_mmio_attach() under `name`, which must be new, and binds its socket.
void hvsim_tlm_model(const char *name, tlm::tlm_target_socket<> &socket);

// Sets the level of the model's interrupt line, which is low at first.
void hvsim_tlm_interrupt(const char *name, bool level);

#endif
