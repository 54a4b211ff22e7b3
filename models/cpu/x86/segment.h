// SPDX-License-Identifier: Apache-2.0
// Segment and descriptor-table registers of a guest that is machine code (SDM 3.4.2, 3.4.3, 2.4).
//
// Access rights are as the VMCS has them (SDM 24.4.1): type, S, DPL, P, AVL, L, D/B, G, unusable. The bases
// of FS and GS are MSRs; segment_base() is how to read any.
#ifndef MODELS_CPU_X86_SEGMENT_H
#define MODELS_CPU_X86_SEGMENT_H

#include "spec/vmx_bits.h"
#include "spec/x86_bits.h"
#include <stdbool.h>
#include <stdint.h>

struct pcpu;
struct vmx;

// In the order of their encoding, and of the VMCS's fields.
enum segment_name { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEGMENTS };

struct segment {
    uint16_t selector;
    // Data accesses of all of the 32-bit address space need no check: base 0, limit 4 GiB - 1, not
    // expand-down, present.
    bool flat_read, flat_write;
    // An access of up to 16 bytes at an offset below these is allowed, and its linear address is the offset
    // (segments_plain()). 0: each access is to be looked at.
    uint64_t plain_read, plain_write;
    uint32_t ar;    // AR_* of spec/vmx_bits.h
    uint32_t limit; // Of the last byte
    uint64_t base;  // Not of FS and GS
};

struct descriptor_table {
    uint64_t base;
    uint16_t limit;
};

// How code is read: the operand sizes that CS gives (SDM 3.5.2, vol. 1 3.6).
enum code_size { CODE_16, CODE_32, CODE_64 };

// From the current VMCS, and back.
void segments_load(struct pcpu *c);
void segments_save(struct pcpu *c);
// After any change of seg[name] but its selector: flat_read and flat_write, and no access of it is plain.
void segment_changed(struct vmx *v, enum segment_name name);
// Code of this kind is going to run: says which accesses are plain, none where `none`. To be repeated when
// the kind changes or v->plain_stale says that a segment has.
void segments_plain(struct vmx *v, enum code_size size, bool none);

uint64_t segment_base(const struct vmx *v, enum segment_name name);
void segment_set_base(struct vmx *v, enum segment_name name, uint64_t base);
// CPL (SDM 5.5): SS.DPL while not in virtual-8086 mode, where it is 3 too.
unsigned segment_cpl(const struct vmx *v);
enum code_size segment_code_size(const struct vmx *v);
static inline enum code_size segment_code_size_of(uint32_t cs_ar, uint64_t efer)
{
    if ((cs_ar & AR_L) && (efer & EFER_LMA))
        return CODE_64;
    return cs_ar & AR_DB ? CODE_32 : CODE_16;
}
// Width of the stack pointer in bytes: 2, 4 or 8.
unsigned segment_stack_size(const struct vmx *v);

// Checks an access of `size` bytes at offset `offset` of a segment (SDM 5.3, 5.4; vol. 1 3.3.4) outside of
// 64-bit mode, and forms the linear address in any mode. False: it is not allowed; *linear is then undefined
// and the fault is #SS(0) for SS, #GP(0) for others. Canonical addresses are the MMU's to check.
bool segment_linear(const struct vmx *v, enum segment_name name, uint64_t offset, unsigned size, bool write,
                    uint64_t *linear);

#endif
