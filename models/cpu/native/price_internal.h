// SPDX-License-Identifier: Apache-2.0
//
// Shared by the files of block pricing: the ELF image, decoded instructions, bounds.

#ifndef MODELS_CPU_NATIVE_PRICE_INTERNAL_H
#define MODELS_CPU_NATIVE_PRICE_INTERNAL_H

#include "models/cpu/native/price.h"

#include <capstone/capstone.h>
#include <stdbool.h>

// ---- price_elf.c: the file, mapped, and the few tables of it that matter. Addresses are those of the file.
struct price_import {
    uint64_t address; // of an entry of .plt, .plt.sec or .plt.got
    const char *name; // the symbol that it jumps to
};

struct price_elf {
    const uint8_t *data;
    size_t size;
    const uint8_t *text;
    uint64_t text_address;
    uint64_t text_bytes;
    struct price_symbol *symbols; // functions, sorted by start, without doubles
    size_t symbol_count;
    struct price_import *imports; // sorted by address
    size_t import_count;
};

bool price_elf_open(struct price_elf *elf, const char *path, char *error, size_t error_size);
void price_elf_close(struct price_elf *elf);
// The symbol behind a call or jump to `address`: that of a linkage table entry or of a function that starts
// there, or NULL.
const char *price_elf_target(const struct price_elf *elf, uint64_t address);
// The function symbol that holds `address`, or NULL.
const struct price_symbol *price_elf_function(const struct price_elf *elf, uint64_t address);

// ---- price_decode.c: instructions.
// Registers as bits: 0-15 general registers by their number, 16 the flags, 17 anything else (never dead).
// What of the latter are vector registers: bits of their own, 0-15 XMM registers, 16 all of x87 and MMX as
// one.
#define PRICE_FLAGS (1u << 16)
#define PRICE_OTHER (1u << 17)
#define PRICE_X87 (1u << 16)
#define PRICE_VECTORS 17
#define PRICE_RSP (1u << 4)
#define PRICE_RCX (1u << 1)

// A call or jump to instrumentation.
enum price_hook {
    PRICE_HOOK_NONE,
    PRICE_HOOK_BLOCK,  // __sanitizer_cov_trace_pc
    PRICE_HOOK_ACCESS, // __tsan_read*, __tsan_write*, __tsan_func_entry, hw_note_*, ...: all of it is left out
    PRICE_HOOK_ATOMIC, // __tsan_atomic*: the runtime charges the instruction which it stands for
    PRICE_HOOK_RETURN, // a jump to __tsan_func_exit: left out but for the return
};

struct price_insn {
    uint64_t address;
    uint64_t target;        // of a direct jump or call, else 0
    int64_t immediate;      // of MOV reg, imm
    uint32_t reads;         // registers, PRICE_* bits
    uint32_t writes;        // registers
    uint32_t address_reads; // registers of the memory operand
    uint32_t vector_reads, vector_writes;
    uint16_t id; // X86_INS_*
    uint8_t size;
    uint8_t condition;               // of Jcc: its 4-bit condition code
    const struct uarch_class *class; // uops beside the memory operand; NULL: none
    uint8_t element_bytes;           // of a string instruction
    enum price_hook hook;
    uint32_t hook_arguments;   // registers which only the hook reads
    uint32_t hook_values;      // registers with values of the program (of an atomic operation)
    bool load, store, indexed; // the memory operand
    uint8_t extra_fused;       // slots on top of micro-fusion's rule
    bool start;                // REP: + class string_start, and class counts by the bytes moved
    bool locked;
    bool jump, conditional, call, ends;     // ends: nothing falls through
    bool fuse_all, fuse_compare, fuse_step; // may be the first half of a macro-fused pair
    bool foreign;                           // Names a register that is none of these
    bool unknown;
    bool left_out;    // instrumentation, set by price_slice()
    bool constant;    // MOV reg, imm (then `immediate` is valid) or a zero idiom
    bool copy;        // MOV reg, reg
    bool moves_stack; // ADD or SUB of rsp and a constant
    uint32_t saved;   // the register of PUSH reg or POP reg
    bool leader;      // starts a machine basic block
};

enum price_class_id {
#define CLASS(name) PRICE_CLASS_##name,
#include "models/cpu/native/price_classes.def"
#undef CLASS
    PRICE_CLASS_COUNT
};

struct price_classes {
    const struct uarch *u;
    const struct uarch_class *by_id[PRICE_CLASS_COUNT];
};

bool price_classes_open(struct price_classes *c, const struct uarch *u, char *error, size_t error_size);

// A register: its bit of those above.
struct price_reg {
    uint32_t bit;
    bool narrow;     // 8 or 16 bits: a write keeps the rest
    uint32_t vector; // Its vector bit; 0: none
};
struct price_reg price_reg_of(unsigned id);
// An operand; one of type X86_OP_INVALID that the instruction does not have.
const cs_x86_op *price_operand(const cs_insn *in, unsigned index);
static inline bool price_is_reg(const cs_x86_op *o)
{
    return o->type == X86_OP_REG;
}

// ---- price_vector.c: rules of price_classes.def for SSE, MMX and x87.
typedef void price_rule(struct price_insn *p, const cs_insn *in, const struct price_classes *c);
price_rule classify_vector, classify_vector_give, classify_vector_move, classify_vector_shift, classify_x87,
    classify_x87_store, classify_x87_state;

// One instruction, decoded with details, of whatever code: what price_bound() needs of it.
void price_insn_decode(struct price_insn *p, csh handle, const cs_insn *in, const struct price_classes *c);

// Decodes all of the text. The caller frees *out.
bool price_decode(const struct price_elf *elf, const struct price_classes *c, struct price_insn **out,
                  size_t *count, char *error, size_t error_size);

// Writes one instruction as a line of Intel syntax assembler text that an assembler accepts on its own; the
// length.
int price_insn_text(csh handle, const struct price_elf *elf, const struct price_insn *p, char *line,
                    size_t size);

// ---- price_slice.c: marks the instrumentation of one machine basic block (left_out).
void price_slice(struct price_insn *insns, size_t count);

// ---- price_frame.c: marks what a function saves only for the sake of hooks. After price_slice() of all its
// blocks.
void price_frame(struct price_insn *insns, size_t count);

// ---- price_bound.c: what a run of instructions costs.
struct price_bound {
    uint32_t instructions;
    uint32_t left_out;
    uint32_t uops;
    uint32_t front_ticks;
    uint32_t port_ticks;
    uint32_t chain_ticks;
    uint32_t branch_ticks;
    uint32_t atomics;
    uint32_t calls;
};

#define PRICE_MASKS_MAX 24
#define PRICE_SETS_MAX 512
// The port sets which can limit anything: the unions of masks that the price table uses.
struct price_ports {
    uint32_t mask[PRICE_MASKS_MAX];
    uint32_t mask_count;
    struct {
        uint32_t masks; // bit i: mask[i] lies within the set
        uint32_t size;  // ports in it
    } set[PRICE_SETS_MAX];
    uint32_t set_count;
};

void price_ports_open(struct price_ports *p, const struct uarch *u);
// `insns` are pointers in the order of execution. `loop`: the run jumps back to its own start.
void price_bound(struct price_bound *out, const struct price_classes *c, const struct price_ports *ports,
                 const struct price_insn *const *insns, size_t count, bool loop);
// Can a and b, neighbours, become one uop?
bool price_macro_fused(const struct uarch *u, const struct price_insn *a, const struct price_insn *b);

#endif
