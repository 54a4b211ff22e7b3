// SPDX-License-Identifier: Apache-2.0
// How long an x86 instruction is and where its parts lie (SDM vol. 2 chapter 2 and appendix A), without
// saying what it does: a hundredth of the time that Capstone takes for all of it. For finding the branches of
// a text, and for finding out that an instruction has been decoded before.
#ifndef MODELS_CPU_NATIVE_INSN_LAYOUT_H
#define MODELS_CPU_NATIVE_INSN_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#define INSN_BYTES_MAX 15u

enum insn_mode { INSN_16, INSN_32, INSN_64 }; // The code segment's default size

struct insn_layout {
    uint8_t length;              // Bytes
    uint8_t opcode_at;           // Behind all prefixes; 0FH where the opcode begins with it
    uint8_t address_bytes;       // 2, 4 or 8
    uint8_t disp_at, disp_bytes; // The memory operand's displacement
    uint8_t imm_at, imm_bytes;   // All immediates together
    bool relative;               // The immediate is a branch's, from the end of the instruction
    bool rip;                    // The displacement is from the end of the instruction
};

// False: the bytes end before the instruction does, it has more than 15 bytes, or it is VEX, EVEX, XOP,
// 3DNow!, UD0, UD1 or another form that is not known here. That it is an instruction at all is not checked.
bool insn_layout(struct insn_layout *l, const uint8_t *bytes, unsigned count, enum insn_mode mode);

// Sign-extended value of 1, 2 or 4 bytes; 0 for none.
int64_t insn_layout_value(const uint8_t *bytes, unsigned count);

// What two instructions have in common that are decoded alike, but for a displacement in memory or of a
// branch. Keys differ where anything else does.
struct insn_key {
    uint64_t low, high;
};
// *varies: a displacement is not in the key. `context` is 0 or 1, what else the caller's decoding depends on.
// False: the instruction has no key, because what it says depends on its address in another way than that it
// adds the displacement to that of its end.
bool insn_key_of(struct insn_key *key, const struct insn_layout *l, const uint8_t *bytes, enum insn_mode mode,
                 unsigned context, bool *varies);

static inline bool insn_key_equal(const struct insn_key *a, const struct insn_key *b)
{
    return a->low == b->low && a->high == b->high;
}
// A number below 2^bits, bits 1 to 32.
static inline uint32_t insn_key_slot(const struct insn_key *k, unsigned bits)
{
    uint64_t mixed = (k->low ^ k->high * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;

    return (uint32_t)(mixed >> (64 - bits));
}

#endif
