// SPDX-License-Identifier: Apache-2.0
// The assigned device behind `msi` ops of replay guests: hv/hw/assigned.h is its register manual.
//
// One FIFO per host. An entry becomes visible when its message arrives, not when it is sent.
#ifndef MODELS_APIC_ASSIGNED_MSI_H
#define MODELS_APIC_ASSIGNED_MSI_H

#include "models/cpu/pcpu.h"

struct assigned_msi *assigned_msi_create(void);
void assigned_msi_reset(struct assigned_msi *d);
void assigned_msi_destroy(struct assigned_msi *d);

// The slot of `function` fires for guest vector `vector`: the message reaches `c` at tick `at_ticks`.
void assigned_msi_send(struct pcpu *c, uint32_t function, uint8_t vector, uint64_t at_ticks);

// Is this port of the device? Then reads it (writes are dropped).
bool assigned_msi_port(uint16_t port);
uint32_t assigned_msi_in(struct pcpu *c, uint16_t port);

#endif
