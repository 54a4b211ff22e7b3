// SPDX-License-Identifier: Apache-2.0
// The envelope of the GDB remote serial protocol: packets "$text#checksum", acknowledgements, Ctrl-C.
//
// Bytes come from a socket and are not trusted: too long a packet, a wrong checksum, noise between packets
// cost a packet, never more. [GDB manual, appendix "Remote Protocol", Overview]
#ifndef TOOLS_HVSIM_GDB_RSP_H
#define TOOLS_HVSIM_GDB_RSP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Of a packet's text, both ways: told to gdb as PacketSize.
#define RSP_TEXT_MAX 16384u

enum rsp_event {
    RSP_NONE,      // More bytes are needed.
    RSP_PACKET,    // text[0 .. length) is one, followed by a 0.
    RSP_BAD,       // A packet was dropped: checksum or length.
    RSP_INTERRUPT, // Ctrl-C
    RSP_RESEND,    // The last packet sent was not understood.
};
struct rsp {
    uint8_t state; // Of rsp_feed()
    uint8_t sum, sent_sum;
    bool escape, too_long;
    size_t length;
    char text[RSP_TEXT_MAX + 1];
};

// Takes one byte.
enum rsp_event rsp_feed(struct rsp *r, uint8_t byte);

// Writes "$text#checksum" at `out`, of at least rsp_encoded_max(length) bytes; returns how many. Bytes that
// mean something to the envelope are escaped.
#define RSP_ENCODED_MAX(length) (2 * (length) + 4)
size_t rsp_encode(char *out, const char *text, size_t length);

// --- Texts of packets. ---

// Hexadecimal digits; -1: none. Reads a number and moves *at behind it; false: no digit there, or more than
// 64 bits.
int rsp_digit(char c);
bool rsp_number(const char **at, uint64_t *value);
// Bytes as digits and back. rsp_bytes: how many were read, up to `max`, of an even number of digits.
void rsp_hex(char *out, const void *bytes, size_t size);
size_t rsp_bytes(const char *text, void *bytes, size_t max);

#endif
