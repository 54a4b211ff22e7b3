// SPDX-License-Identifier: Apache-2.0
// The network card of a host, on a point-to-point link to the card of another host.
//
// A message is a header, copied at once, and up to LINK_PAYLOAD_MAX bytes of payload that the card gathers
// from host memory by DMA. Messages arrive whole and in order. The receiver takes a message's header first,
// decides where the payload belongs, and has the card place it there: header split and direct data placement,
// as storage and RDMA cards do it. A message holds a place in the receiver's queue until it is released (at
// take if it has no payload, else when its payload is placed); a full queue holds the sender back. Until then
// the sender's pages may still be read: what is placed is what they hold at that time. Pages of zeros,
// aligned in the payload, cross the link as one bit each; the card finds them while it reads (zero detection
// of a DMA engine).
//
// Registers are ports. Structures lie in host memory, physically contiguous; OUT drains the store buffer, so
// the card sees them. LINK_VECTOR is raised at the processor that enabled the card whenever a register
// changed its value by itself; the next one comes only after any register was read.
#ifndef HV_HW_LINK_H
#define HV_HW_LINK_H

#include "hv/hw/types.h"

#define LINK_VECTOR 0xd1u
#define LINK_PORT_STATUS 0xce0u // In: LINK_STATUS_*.
#define LINK_PORT_PENDING                                                                                    \
    0xce4u // In: how many messages from here the peer has not released, as is known here.
#define LINK_PORT_PLACED 0xce8u // In: how many placements have ended, modulo 2^32.
#define LINK_PORT_SEND 0xcecu   // Out: frame number of a struct link_send. Needs LINK_STATUS_SPACE.
#define LINK_PORT_TAKE 0xcf0u   // Out: frame number of a struct link_message for the oldest message's header.
#define LINK_PORT_PLACE 0xcf4u  // Out: frame number of a struct link_place; 0: the payload is dropped.
#define LINK_PORT_CONTROL 0xcf8u // Out: LINK_CONTROL_*.
#define LINK_PORT_CARRIER 0xcfcu // In: how often the carrier was lost, modulo 2^32.
#define LINK_PORT_BYTES_LOW                                                                                  \
    0xd00u // In: bytes that this card has put on the wire, framing included, bits 31:0.
#define LINK_PORT_BYTES_HIGH 0xd04u // In: bits 63:32, as of the last read of the low half.
#define LINK_PORT_LAST 0xd07u

#define LINK_STATUS_UP 0x1u
#define LINK_STATUS_MESSAGE 0x2u // One has arrived and was not taken.
#define LINK_STATUS_SPACE 0x4u   // The send queue accepts a message.

#define LINK_CONTROL_ENABLE 0x1u // Interrupts to this processor from now on.
#define LINK_CONTROL_DOWN 0x2u   // Ends the carrier on both sides: messages on their way are lost.
#define LINK_CONTROL_UP 0x4u

#define LINK_PAGE_BYTES 4096u
#define LINK_PAYLOAD_MAX (2u << 20)
#define LINK_SEGMENTS_MAX 512u
#define LINK_HEADER_MAX 4016u
#define LINK_ADDRESS_NONE UINT64_MAX // Of a segment to place: these bytes are dropped.

// Payload pieces; whole pages, except that the last one may end anywhere.
struct link_segment {
    u64 hpa, bytes;
};
struct link_send {
    u32 header_bytes, segment_count;
    u64 padding[9];
    u8 header[LINK_HEADER_MAX];
    struct link_segment segments[LINK_SEGMENTS_MAX];
};
struct link_message {
    u32 header_bytes, payload_bytes;
    u64 zero[8]; // Bit i % 64 of zero[i / 64]: page i of the payload is zeros.
    u8 header[LINK_HEADER_MAX];
};
struct link_place {
    u32 segment_count, padding;
    struct link_segment segments[LINK_SEGMENTS_MAX];
};
_Static_assert(sizeof(struct link_message) <= LINK_PAGE_BYTES, "one page");
_Static_assert(LINK_PAYLOAD_MAX / LINK_PAGE_BYTES == LINK_SEGMENTS_MAX, "a bit of zero[] for each page");

#endif
