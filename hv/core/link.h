// SPDX-License-Identifier: Apache-2.0
// Driver of the network card (hv/hw/link.h) and its system calls: messages with a header and pages.
#ifndef HV_CORE_LINK_H
#define HV_CORE_LINK_H

#include "hv/core/host.h"

struct link_card;

// At boot, on the boot processor, which gets the card's interrupts. Without a card nothing happens.
void link_init(struct host *host);
// Bodies of HV_SYS_LINK_*: `arg` is a user pointer. -ENODEV: the host has no card. -EPIPE: the link broke.
// -EINTR.
s64 link_send(struct host *host, u64 arg);
s64 link_receive(struct host *host, u64 page);
s64 link_place(struct host *host, u64 arg);
// Waits until the peer has all but `max` of the messages from here.
s64 link_drain(struct host *host, u64 max);
// Bytes on the wire since power-on, framing included.
s64 link_bytes(struct host *host);
s64 link_control(struct host *host, u64 up);

#endif
