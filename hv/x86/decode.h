// SPDX-License-Identifier: Apache-2.0
// Decoder of x86 instructions: what can touch device memory or ports, and what real mode needs (SDM vol. 2,
// chapter 2, appendix A). Bytes in, a description out: no registers, no memory, no mode but the width of
// code.
#ifndef HV_X86_DECODE_H
#define HV_X86_DECODE_H

#include "hv/hw/types.h"

enum insn_op {
    INSN_INVALID, // Rows that the table does not have.
#define INSN(name, function) INSN_##name,
#include "hv/x86/insns.def"
    INSN_OP_COUNT
};

// Default width of code: 16-bit and 32-bit segments, 64-bit mode.
enum code_width { CODE_16 = 2, CODE_32 = 4, CODE_64 = 8 };

enum operand_kind {
    OPD_NONE,
    OPD_REG,  // General register `reg`, low `bytes`.
    OPD_HIGH, // AH, CH, DH, BH: reg 0..3.
    OPD_MEM,  // decoded.mem
    OPD_SI,   // DS:rSI, segment override possible.
    OPD_DI,   // ES:rDI
    OPD_IMM,  // decoded.immediate
    OPD_ONE,  // The constant 1.
    OPD_SEG,  // enum x86_segment
    OPD_CR,
    OPD_DR,
    OPD_VEC, // XMM register.
};
struct operand {
    u8 kind, reg;
    u8 bytes; // 1, 2, 4, 8, 16; memory: 0 where the instruction itself knows.
};

#define DECODE_NO_REG 0xffu
struct decoded_mem {
    u8 segment;            // enum x86_segment, override included.
    u8 base, index, scale; // Shift of the index; DECODE_NO_REG.
    bool rip_relative;
    u64 displacement; // Sign-extended.
};

struct decoded {
    u8 op;     // enum insn_op
    u8 opcode; // Last opcode byte: its low bits are conditions and registers.
    u8 length; // Bytes of the instruction.
    u8 operand_bytes, address_bytes;
    u8 modrm;
    bool lock, rep, repne;  // f0, f3, f2.
    u16 flags;              // OP_*
    struct operand a, b, c; // In the manual's order: destination first.
    struct decoded_mem mem;
    u64 immediate;  // Sign-extended.
    u64 immediate2; // Selector of a far pointer, level of ENTER.
};

// Rows' flags.
enum {
    OP_D64 = 0x01,       // 64-bit mode: operand size 8 without prefix (SDM vol. 2, 2.2.1.7).
    OP_F64 = 0x02,       // 64-bit mode: operand size 8 always.
    OP_I64 = 0x04,       // Not in 64-bit mode.
    OP_LOCK = 0x08,      // LOCK allowed if the destination is memory.
    OP_CPL0 = 0x10,      // #GP(0) with CPL above 0.
    OP_PROT = 0x20,      // #UD in real and virtual-8086 mode.
    OP_STRING = 0x40,    // REP counts by rCX.
    OP_BY_REG = 0x80,    // The operation is op + ModRM.reg.
    OP_VEX_LIKE = 0x100, // Group is by mandatory prefix: none, 66, f3, f2.
    OP_MEM_ONLY = 0x200, // A register operand is #UD.
    OP_Z = 0x400,        // REP ends by ZF too: CMPS, SCAS.
    OP_REG_ONLY = 0x800, // ModRM.mod is taken as 3: MOV CR, DR.
    OP_O64 = 0x1000,     // Only in 64-bit mode.
};

enum decode_result {
    DECODE_OK,
    DECODE_SHORT,   // Bytes are missing: `count` was less than the instruction has.
    DECODE_UNKNOWN, // No such row. Is it an instruction at all? The emulator cannot say.
    DECODE_INVALID, // #UD: LOCK where it may not stand, a register where memory must be, not in this mode.
};
// `count` is 1..15. *out is valid if DECODE_OK.
enum decode_result decode_insn(const u8 *bytes, unsigned count, enum code_width width, struct decoded *out);

#endif
