// SPDX-License-Identifier: Apache-2.0
// Machine code in the form in which it is executed: one struct uop for each instruction of a basic block.
//
// Four places: decode.c makes uops of bytes (Capstone reads them, once for each block), operand.h reads and
// writes what they name, exec_*.c are the semantics, cost.c the price.
#ifndef MODELS_CPU_X86_INTERP_UOP_H
#define MODELS_CPU_X86_INTERP_UOP_H

#include "models/cpu/x86/insn.h"
#include "models/cpu/x86/x86_state.h"

#include <capstone/capstone.h>

struct uop;
// Semantics of one instruction. Either it does all that the instruction does and says INSN_DONE or
// INSN_BRANCH, or nothing that software could see and says INSN_EXIT, INSN_FAULT or INSN_AGAIN (a repeated
// string instruction may have done whole elements). v->rip is not valid on entry: who needs it calls
// uop_at(), and every function of operand.h that may fault does.
typedef enum insn_result (*uop_fn)(struct vmx *v, const struct uop *u);

#define REG_NONE 0xff
#define REG_HIGH 0x10 // AH, CH, DH, BH: of general register number - 0x10
enum { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI };

enum uop_kind {
    OPERAND_NONE,
    OPERAND_GPR,
    OPERAND_MEMORY,
    OPERAND_IMM,
    OPERAND_SEGMENT,
    OPERAND_CR,
    OPERAND_DR,
    OPERAND_XMM,
    OPERAND_MMX,
    OPERAND_ST
};

#define UOP_LOCK 0x1u
#define UOP_REP 0x2u
#define UOP_REPNE 0x4u
#define UOP_ENDS 0x8u  // The last of its block
#define UOP_LONG 0x10u // Decoded in 64-bit mode
#define UOP_RIP 0x20u  // disp is the whole effective address (RIP-relative)
#define UOP_STACK                                                                                            \
    0x40u // Its memory operand's faults are #SS (segment SS, or base RSP or RBP without override)

#define UOP_DIRECT 0x80u // A near branch to `imm`

struct uop {
    uop_fn fn;
    uint64_t imm;          // Sign-extended to 64 bits; of direct branches: RIP of the target
    int64_t disp;          // Displacement, or the whole address
    uint64_t address_mask; // Of an effective address
    uint32_t
        ticks;   // Charged when it begins: what the block costs up to its end, less what was charged before
    uint16_t id; // X86_INS_*
    uint16_t offset; // Of the instruction in its block, bytes
    uint8_t length;
    uint8_t size;         // Of the operation: of the first operand, bytes
    uint8_t source_size;  // Of the second, bytes
    uint8_t address_size; // 2, 4, 8
    uint8_t kind[3];      // enum uop_kind of each explicit operand
    uint8_t reg[3];       // Register number of each; REG_HIGH | number
    uint8_t base, index;  // Memory operand: general registers or REG_NONE
    uint8_t scale;        // 0..3: shift
    uint8_t segment;      // enum segment_name
    uint8_t code_size;    // enum code_size
    uint8_t stack_size;   // 2, 4, 8
    uint8_t flags;        // UOP_*
    uint8_t condition;    // Of Jcc, SETcc, CMOVcc
    uint16_t op;          // SSE, MMX: index into simd_ops; x87: opcode byte << 8 | ModRM byte
    uint32_t text;        // trace_text() of it, made when a trace first needs it; 0: not made yet
};

#define BLOCK_UOPS_MAX 32u
#define BLOCK_BYTES_MAX 256u

// A basic block as decoded: what runs from `rip` on without another way in or out.
struct block {
    uint64_t hpa; // Of its first byte
    uint64_t rip;
    uint32_t mode; // block_mode(): everything that decoding depends on
    uint16_t bytes;
    uint16_t bytes_first; // Of these in the first page
    uint64_t hpa_second;  // Where the rest is, if it crosses into another page
    uint64_t last_mask;   // Of the last of these words
    uint8_t words;        // That hold `bytes` within the first page; 0: it crosses, or words would
    uint8_t uop_count;
    bool loops; // Its last instruction is a near branch to its first.
    // As decoded: compared at each entry, so who wrote the page does not matter
    _Alignas(8) unsigned char code[BLOCK_BYTES_MAX];
    struct uop uops[];
};

// --- decode.c ---

// Mnemonics that Capstone 4 does not know (decode.c reads them itself).
enum { UOP_RDPKRU = X86_INS_ENDING, UOP_WRPKRU, UOP_SERIALIZE, UOP_RDPID, UOP_UD1, UOP_UD0, UOP_IDS };

// One row for each mnemonic that is executed. `choose` completes the uop and returns its function, or NULL
// where this form does not exist (#UD). Without it the function is `fn`, and LOCK is not allowed.
struct uop_row {
    uint16_t id;
    uop_fn (*choose)(struct uop *u, const cs_insn *in, const struct uop_row *row);
    uop_fn fn;
};
// The segment of a memory operand: that of a prefix, else `without`.
enum segment_name decode_segment(const struct uop *u, const cs_insn *in, enum segment_name without);

// The first byte of the opcode, behind legacy prefixes and REX.
const uint8_t *decode_opcode(const struct uop *u, const cs_insn *in, uint8_t *rex);

// SSE and MMX (exec_sse.c), x87 (exec_x87.c): found by their opcode bytes, since Capstone shares mnemonics
// between instructions. NULL: the form does not exist; *found says whether the opcode is theirs at all.
uop_fn simd_decode(struct uop *u, const cs_insn *in, bool *found);
uop_fn x87_decode(struct uop *u, const cs_insn *in, bool *found);

// Operand size of a push or pop: in 64-bit mode 8, or 2 with a prefix.
unsigned decode_stack_size(const struct uop *u, const cs_insn *in);

// MOV, PUSH and POP of segment registers (exec_segment.c), MOV of control and debug registers
// (exec_system.c).
uop_fn segment_choose_mov(struct uop *u);
uop_fn segment_choose_stack(struct uop *u, bool pop);
uop_fn system_choose_mov(struct uop *u);

// Lists of rows, each by the file that executes them.
#define UOP_TABLES(X)                                                                                        \
    X(move)                                                                                                  \
    X(alu)                                                                                                   \
    X(shift) X(multiply) X(bits) X(string) X(flags) X(branch) X(far) X(segment) X(system) X(x87) X(xsave)
#define TABLE(name)                                                                                          \
    extern const struct uop_row exec_##name##_rows[];                                                        \
    extern const unsigned exec_##name##_count;
UOP_TABLES(TABLE)
#undef TABLE

#endif
