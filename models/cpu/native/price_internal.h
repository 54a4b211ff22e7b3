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

#define PRICE_BLOCK_HOOKS_MAX 8
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
    uint64_t block_hooks[PRICE_BLOCK_HOOKS_MAX]; // Where calls of __sanitizer_cov_trace_pc go
    size_t block_hook_count;
};

bool price_elf_open(struct price_elf *elf, const char *path, char *error, size_t error_size);
void price_elf_close(struct price_elf *elf);
// The symbol behind a call or jump to `address`: that of a linkage table entry or of a function that starts
// there, or NULL.
const char *price_elf_target(const struct price_elf *elf, uint64_t address);
// Is a call of `address` the hook of a block?
bool price_elf_is_block_hook(const struct price_elf *elf, uint64_t address);
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
    PRICE_HOOK_ACCESS, // __tsan_read*, __tsan_write*, __tsan_func_entry, hw_note_*, ...: all of it is left
                       // out
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
    bool charged;     // part of some price
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

// What p->hook is, for a call or jump to instrumentation, and what comes of that.
void price_insn_hook(struct price_insn *p, const struct price_elf *elf, const struct price_classes *c);
bool price_name_is_block_hook(const char *name);

// Writes one instruction as a line of Intel syntax assembler text that an assembler accepts on its own; the
// length.
int price_insn_text(csh handle, const struct price_elf *elf, const struct price_insn *p, char *line,
                    size_t size);

// ---- price_code.c: the text.
#define PRICE_NONE UINT32_MAX

// A machine basic block: instructions first .. first + count - 1 of its region.
struct price_machine {
    uint32_t first;
    uint32_t count;
    uint32_t first_hook; // index of the first trace-pc call, or PRICE_NONE
    uint32_t hooks;
};

struct price_region {
    uint64_t start, end;
    struct price_insn *insns; // NULL: not decoded yet
    struct price_machine *machine;
    uint32_t count, machine_count;
    bool function; // starts with a function symbol
};

struct price_known;
struct price_code {
    const struct price_elf *elf;
    const struct price_classes *classes;
    csh handle;
    cs_insn *insn;
    struct price_known *known; // instructions by their bytes
    uint8_t *jumped_to;        // a bit for each byte of the text: the target of a direct jump
    struct price_region *regions;
    size_t region_count;
    uint64_t *starts; // return addresses of trace-pc calls, in their order
    size_t start_count;
};

// `elf` and `classes` outlive it.
bool price_code_open(struct price_code *c, const struct price_elf *elf, const struct price_classes *classes,
                     char *error, size_t error_size);
void price_code_close(struct price_code *c);
// The region that holds `address`, decoded, instrumentation marked; NULL outside of the text.
struct price_region *price_code_region(struct price_code *c, uint64_t address);
// Index of the instruction at `address`, or PRICE_NONE. Index of the machine block that holds it.
uint32_t price_region_insn(const struct price_region *r, uint64_t address);
uint32_t price_region_machine(const struct price_region *r, uint32_t insn);

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
// The port sets which can limit anything: unions of the masks that the price table uses.
struct price_ports {
    uint32_t mask[PRICE_MASKS_MAX];
    uint32_t mask_count;
    uint32_t set_count;
    uint32_t size[PRICE_SETS_MAX]; // Ports in the set
    struct {
        uint32_t count;
        uint16_t set[PRICE_SETS_MAX];
    } around[PRICE_MASKS_MAX]; // The sets that mask i lies within
};

void price_ports_open(struct price_ports *p, const struct uarch *u);

#define PRICE_REGISTERS (18 + PRICE_VECTORS) // PRICE_* bits, then vector registers

// A run that grows by an instruction at a time; the first of the three functions empties it.
struct price_run {
    const struct price_classes *classes;
    const struct price_ports *ports;
    const struct price_insn *last;
    int32_t uops[PRICE_SETS_MAX]; // That no port outside of set s can execute
    struct price_bounds {
        uint32_t port_ticks, fused_uops;
    } now, before; // With and without the last instruction: it may still be fused with the next
    uint32_t ready[PRICE_REGISTERS];
    uint32_t chain;
    uint64_t string_count; // Of a REP instruction that came next
    uint32_t instructions, branches, calls;
};

void price_run_begin(struct price_run *r, const struct price_classes *c, const struct price_ports *ports);
void price_run_add(struct price_run *r, const struct price_insn *p);
// What the run costs so far. `turn`: its instructions, if it jumps back to its own start; else NULL.
void price_run_bound(const struct price_run *r, struct price_bound *out,
                     const struct price_insn *const *turn);
// The greatest of the three bounds, in ticks.
static inline uint32_t price_bound_ticks(const struct price_bound *b)
{
    uint32_t ticks = b->front_ticks > b->port_ticks ? b->front_ticks : b->port_ticks;

    return b->chain_ticks > ticks ? b->chain_ticks : ticks;
}
// Can a and b, neighbours, become one uop?
bool price_macro_fused(const struct uarch *u, const struct price_insn *a, const struct price_insn *b);

#endif
