// SPDX-License-Identifier: Apache-2.0
// A network link between two hosts and the card at each end (hv/hw/link.h is what software sees).
//
// Time: a message is serialized at the link's bandwidth, packet by packet with the framing of Ethernet and
// the cards' own time for each, and arrives whole after the latency. Both directions work at once. Each end
// has a bounded send queue and a bounded receive queue; a sender starts a message when the receiver is known
// to have room, which it hears of a latency after the release. Placement takes the bus's time. Does not
// model: contention of DMA with the processors for memory, DMA in the caches (neither fetched nor dropped
// lines), loss, congestion.
//
// There is no process: what happens at a known time is computed when its cause happens, and told by
// interrupts of that time. Called from the processors' port instructions.
#ifndef MODELS_DEV_LINK_H
#define MODELS_DEV_LINK_H

#include "models/cpu/pcpu.h"

struct link_config {
    uint64_t bits_per_second;
    uint64_t latency_ps;
    uint64_t packet_ps;
    uint64_t queue_bytes; // Of each queue. One message always fits into an empty one.
    uint32_t mtu_bytes;
};

struct link;

// Joins host 0 and host 1. Outside of simulated time.
struct link *link_create(const struct link_config *config);
void link_destroy(struct link *link); // NULL is fine.
// As after power-on: carrier, empty queues.
void link_reset(struct link *link);

bool link_port(uint16_t port);
// Registers at the processor's time; 4 bytes.
uint32_t link_in(struct pcpu *c, uint16_t port);
void link_out(struct pcpu *c, uint16_t port, uint32_t value);

// Picoseconds that a message occupies the link for: `bytes` of header and payload that cross it.
uint64_t link_serialize_ps(const struct link_config *config, uint64_t bytes);

#endif
