// SPDX-License-Identifier: Apache-2.0
//
// VMCS field encodings (SDM 24.11.2, Appendix B).
//
//  31           15 14  13 12 11  10 9                 1   0
// +---------------+------+--+------+-------------------+---+
// |   reserved 0  | width| 0| type |       index       | H |
// +---------------+------+--+------+-------------------+---+
//   width  0 = 16 bits, 1 = 64 bits, 2 = 32 bits, 3 = natural width
//   type   0 = control, 1 = read-only data (VM-exit information), 2 = guest state, 3 = host state
//   H      0 = full access, 1 = high access: bits 63:32 of a 64-bit field; only 64-bit fields have it

#ifndef SPEC_VMCS_H
#define SPEC_VMCS_H

enum vmcs_field {
#define VMCS_FIELD(name, encoding, section) name = encoding,
#include "spec/vmcs_fields.def"
};

enum vmcs_width { VMCS_WIDTH_16 = 0, VMCS_WIDTH_64 = 1, VMCS_WIDTH_32 = 2, VMCS_WIDTH_NATURAL = 3 };

enum vmcs_type { VMCS_TYPE_CONTROL = 0, VMCS_TYPE_READ_ONLY = 1, VMCS_TYPE_GUEST = 2, VMCS_TYPE_HOST = 3 };

// Parts of an encoding.
#define VMCS_ENC_HIGH(enc) ((unsigned)(enc)&1u)
#define VMCS_ENC_INDEX(enc) (((unsigned)(enc) >> 1) & 0x1ffu)
#define VMCS_ENC_TYPE(enc) (((unsigned)(enc) >> 10) & 3u)
#define VMCS_ENC_WIDTH(enc) (((unsigned)(enc) >> 13) & 3u)

// Bits that must be zero in a 32-bit encoding: 12 and 31:15.
#define VMCS_ENC_RESERVED 0xffff9000u

// Size of a field on a processor with Intel 64, where natural width is 64 bits.
#define VMCS_ENC_BYTES(enc)                                                                                  \
    (VMCS_ENC_WIDTH(enc) == VMCS_WIDTH_16 ? 2u : VMCS_ENC_WIDTH(enc) == VMCS_WIDTH_32 ? 4u : 8u)

// Builds the full-access encoding from its parts.
#define VMCS_ENC(width, type, index)                                                                         \
    (((unsigned)(width) << 13) | ((unsigned)(type) << 10) | ((unsigned)(index) << 1))

// Encoding of bits 63:32 of a 64-bit field.
#define VMCS_ENC_HIGH_OF(enc) ((unsigned)(enc) | 1u)

// A slot for each full-access encoding, from its width, type and low 6 bits of index (a test keeps every
// index below VMCS_SLOT_INDEXES). Handy for storing a VMCS as an array.
#define VMCS_SLOT_INDEXES 64u
#define VMCS_SLOTS (16u * VMCS_SLOT_INDEXES)
#define VMCS_SLOT(enc)                                                                                       \
    ((VMCS_ENC_WIDTH(enc) * 4u + VMCS_ENC_TYPE(enc)) * VMCS_SLOT_INDEXES + (VMCS_ENC_INDEX(enc) & 63u))

#endif
