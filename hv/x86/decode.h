// SPDX-License-Identifier: Apache-2.0
// Decoder of the instructions that guests use on device memory: one memory operand, the rest registers or
// immediates. 64-bit, 32-bit and 16-bit operands; addresses are not computed (the exit tells the physical
// one), but their encoding is, for the length.
#ifndef HV_X86_DECODE_H
#define HV_X86_DECODE_H

#include "hv/hw/types.h"

enum insn_op {
    INSN_MOV,
    INSN_MOVZX,
    INSN_MOVSX,
    INSN_ADD,
    INSN_OR,
    INSN_AND,
    INSN_SUB,
    INSN_XOR,
    INSN_CMP,
    INSN_TEST,
    INSN_XCHG,
    INSN_STOS,
    INSN_LODS,
    INSN_OP_COUNT
};
// Which operand is in memory, and what the other one is.
enum insn_form {
    FORM_MEM_REG, // Destination memory, source register.
    FORM_REG_MEM,
    FORM_MEM_IMM,
    FORM_MEM_ACC, // STOS, MOV moffs: memory and RAX.
    FORM_ACC_MEM,
};

struct decoded {
    u8 op, form;
    u8 length;      // Bytes of the instruction.
    u8 mem_bytes;   // Size of the memory operand: 1, 2, 4, 8.
    u8 reg_bytes;   // Of the register; differs for MOVZX, MOVSX.
    u8 reg;         // 0..15
    bool high_byte; // reg 4..7 without REX are AH, CH, DH, BH.
    bool rep, string, address32;
    u64 immediate; // Sign-extended.
};

// Decodes `count` bytes (0..15) in 64-bit (`wide`) or 32-bit code. False: not one of these instructions, no
// memory operand, or bytes are missing; *out is then undefined.
bool decode_insn(const u8 *bytes, unsigned count, bool wide, struct decoded *out);

#endif
