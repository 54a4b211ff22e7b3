// SPDX-License-Identifier: Apache-2.0
//
// Block prices: what each basic block of the natively run hypervisor code costs on a micro-architecture.
//
// libhv.so is compiled with -fsanitize=thread -fsanitize-coverage=trace-pc, so each basic block begins with a
// call of
// __sanitizer_cov_trace_pc. price_open() finds these calls; the code which runs from the return address of
// one until the next such call, without the instrumentation itself, is disassembled and priced when it is
// first asked for. The runtime looks the price up by the hook's return address and charges it. What is and is
// not in a price: docs/timing-model.md, "Block prices". In short: not in it are the hooks and what only
// prepares their arguments; accesses which the hooks announce are priced as L1 hits, so the cache model
// charges only what an access takes longer; an atomic operation
// (__tsan_atomic*) is not in it at all and the runtime charges it; a call of a hw_* function costs only the
// call.
//
// Everything is integer arithmetic on the bytes of the file: same file and micro-architecture, same prices,
// in whatever order they are asked for. A price_table belongs to the caller, is asked by one thread, and
// holds no pointer into the library.

#ifndef MODELS_CPU_NATIVE_PRICE_H
#define MODELS_CPU_NATIVE_PRICE_H

#include "models/cpu/uarch/uarch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What the hot path needs. ticks[pc - text_base] is the price in ticks (1/16 cycle) of what follows the
// trace-pc call that returns to pc; 0 at other addresses; PRICE_TICKS_LONG where the price is not known yet
// or does not fit.
#define PRICE_TICKS_LONG UINT16_MAX
struct price_table;
struct price_map {
    const uint16_t *ticks;
    struct price_table *table;
    uint64_t text_base;
    uint64_t text_bytes;
};

// A priced block. Addresses are of the running process (file address + load bias).
struct price_block {
    uint64_t start;        // the return address of the trace-pc call
    uint64_t end;          // behind the last instruction looked at
    const char *function;  // symbol that holds start, "?" without one
    uint32_t ticks;        // the price: the greatest of the three bounds below, and branch_ticks
    uint32_t instructions; // priced ones, that is without instrumentation
    uint32_t left_out;     // instrumentation instructions
    uint32_t uops;         // fused domain
    uint32_t front_ticks;  // front-end bound
    uint32_t port_ticks;   // port bound
    uint32_t chain_ticks;  // dependency bound; 0 where it does not bind
    uint32_t branch_ticks; // expected mispredictions, added to the greatest of the three
    uint32_t atomics;      // __tsan_atomic* calls, charged by the runtime
    uint32_t calls;        // calls of functions that stay
    bool loop;             // ends in a jump to its own start
};

// Opens the text of the ELF64 x86-64 shared object at `path`, loaded at `load_bias` (dlinfo's l_addr; 0
// where the image sits at its link address), for the micro-architecture `u`, which must outlive the table.
// NULL on failure with one line in `error`: no such file, not such an ELF file, no .text or no symbol table,
// or `u` lacks an instruction class. The file stays mapped until price_close().
struct price_table *price_open(const char *path, uint64_t load_bias, const struct uarch *u, char *error,
                               size_t error_size);

// Frees what price_open() returned; NULL is allowed.
void price_close(struct price_table *t);

// The lookup table; valid until price_close().
const struct price_map *price_map(const struct price_table *t);

// price_ticks() where the table of ticks does not have it.
uint32_t price_ticks_look_up(const struct price_map *m, uint64_t pc);

// Price in ticks at return address `pc`; 0 where pc is not a hook's return address (or not in the library).
static inline uint32_t price_ticks(const struct price_map *m, uint64_t pc)
{
    uint64_t offset = pc - m->text_base;
    if (__builtin_expect(offset >= m->text_bytes, 0))
        return 0;
    uint32_t ticks = m->ticks[offset];
    return __builtin_expect(ticks == PRICE_TICKS_LONG, 0) ? price_ticks_look_up(m, pc) : ticks;
}

// Blocks in the order of their start address. What these return stays where it is.
size_t price_block_count(const struct price_table *t);
const struct price_block *price_block_at(struct price_table *t, size_t index);
// The block whose start is pc, or NULL.
const struct price_block *price_block_find(struct price_table *t, uint64_t pc);

// Writes the priced instructions of a block as Intel syntax assembler text, one in a line, terminated.
// Returns the length which the whole text has, as snprintf does. Branch and call targets and rip-relative
// addresses are rewritten to symbols an assembler accepts, so that the text can be fed to llvm-mca.
size_t price_block_text(struct price_table *t, const struct price_block *b, char *text, size_t size);

// The function symbol that holds pc ("?" without one); *offset (may be NULL) becomes pc - its start.
const char *price_function_of(const struct price_table *t, uint64_t pc, uint64_t *offset);
// Function symbols sorted by address: name, start and size in bytes.
struct price_symbol {
    uint64_t start;
    uint64_t size;
    const char *name;
};
size_t price_symbol_count(const struct price_table *t);
const struct price_symbol *price_symbol_at(const struct price_table *t, size_t index);

// Instructions of the program that are part of no price, alignment aside: the unlikely side of a branch where
// the compiler put no hook (docs/timing-model.md).
size_t price_uncharged_count(struct price_table *t);

// Instructions without a row in price_classes.def, by mnemonic, in alphabetical order. They are priced as the
// class "unknown" of the micro-architecture (a documented, high price).
size_t price_unknown_count(struct price_table *t);
const char *price_unknown_at(struct price_table *t, size_t index);

#endif
