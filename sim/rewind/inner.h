// SPDX-License-Identifier: Apache-2.0
// Inside sim/rewind: the rewinder's state. All of it is in one private mapping that is not restored, so that
// a forked child has a copy of its own.
#ifndef HVSIM_SIM_REWIND_INNER_H
#define HVSIM_SIM_REWIND_INNER_H

#include "sim/rewind/rewind.h"

#include <signal.h>

enum {
    PAGE_BYTES = 4096,
    CHUNK_PAGES = 512, // Pages of a chunk: 2 MiB.
    CHUNK_SLOTS = 1 << 16,
    RANGES_MAX = 1 << 17, // More than the kernel's limit of mappings (65530) allows.
    PAGES_MAX = 1 << 23,  // 32 GiB.
    MAPS_TEXT_BYTES = 1 << 24,
    EXPLORER_STACK_BYTES = 8 << 20,
    SIGNAL_STACK_BYTES = 256 << 10,
    SIGNALS = 65,
    KERNEL_BYTES = 32, // Of struct rseq.
};

// A range of addresses, page-aligned, `end` exclusive.
struct rewind_range {
    uintptr_t begin, end;
    int prot;       // PROT_* of mmap(2).
    bool is_shared; // MAP_SHARED.
};

// A page that is not protected, with its content in the photograph.
struct rewind_page {
    char *live;
    char *saved;       // Equals the rewinder's zero_page if it is all zeros.
    uint32_t quiet;    // Restarts in a row at which it did not differ.
    uint32_t patience; // That many, and it is protected again.
};

// What is known of the pages of 2 MiB.
struct rewind_chunk {
    uintptr_t number;                // Address / 2 MiB; 0: a free place of the hash table.
    uint64_t open[CHUNK_PAGES / 64]; // Which ones are not protected.
    uint8_t given_up[CHUNK_PAGES];   // How often each was protected again.
};

struct rewinder {
    void *explorer_sp, *photograph_sp, *nobody_sp; // Of who does not run; nobody's is never gone back to.
    void (*explorer)(void *arg);
    void *arg;
    bool in_execution;
    struct rewind_stats stats;

    uint32_t range_count, mapped_count, now_count, page_count, chunk_count, slot_count;
    uint32_t run_count;  // Maximal runs of open pages: two mappings of the kernel's each, at most.
    uint32_t block_size; // What a fault opens.
    char *free_slot;     // Singly linked through their first bytes.
    uintptr_t brk;       // The end of the heap, in the photograph.
    uint64_t vm_pages;   // Size of the address space.
    uint32_t check_in, check_interval; // Restarts until the next look at it.
    uint64_t faults_seen;              // At the last look.
    char *kernel_live, *kernel_saved;  // The bytes that the kernel writes on its own (rseq); NULL: none.

    stack_t old_signal_stack;
    struct sigaction old_segv;
    bool moved_to_signal_stack[SIGNALS];

    struct rewind_range ranges[RANGES_MAX]; // Restored memory.
    struct rewind_range mapped[RANGES_MAX]; // Everything that was mapped in the photograph, joined.
    struct rewind_range now[RANGES_MAX];    // Likewise at the last look.
    struct rewind_page pages[PAGES_MAX + 1];
    struct rewind_chunk chunks[CHUNK_SLOTS];
    char maps_text[MAPS_TEXT_BYTES];
    _Alignas(PAGE_BYTES) char zero_page[PAGE_BYTES];
    char signal_stack[SIGNAL_STACK_BYTES];
    char guard[PAGE_BYTES];
    char explorer_stack[EXPLORER_STACK_BYTES];
    char slots[PAGES_MAX][PAGE_BYTES];
};

// --- context.c: from stack to stack. ---

// Puts the caller's registers on its stack and that stack's pointer into *from; goes on with what was left at
// `to`, where the call that left it returns `value`. Registers that a call may change are not kept, the
// rounding modes of both floating-point units are.
int rewind_switch(void **from, void *to, int value);
// A `to` for rewind_switch() that calls entry() on the stack below `top`; it must not return.
void *rewind_new_stack(char *top, void (*entry)(void));

// --- maps.c: what is mapped. ---

// Ends the program with status 70 by a raw write(2); usable in a signal handler.
_Noreturn void rewind_die(const char *message);
// mprotect(2) and brk(2) without the C library, for they are called where nothing of it may be written to.
bool rewind_protect(uintptr_t begin, uintptr_t end, int prot);
void rewind_set_brk(uintptr_t end);
// Fills in ranges and mapped, leaving out the rewinder's own memory.
void rewind_maps_learn(struct rewinder *r);
// Takes away what was mapped since. True if there was something.
bool rewind_maps_undo(struct rewinder *r);
// The mapping of the main stack.
struct rewind_range rewind_maps_main_stack(struct rewinder *r);
// Size of the address space in pages.
uint64_t rewind_maps_vm_pages(void);
unsigned rewind_maps_threads(void);
// The range that has `address`; NULL if it is not in restored memory.
const struct rewind_range *rewind_maps_find(const struct rewinder *r, uintptr_t address);

// --- pages.c: what differs. ---

// Opens the page at `address`, which is in `range`: keeps its content and takes its protection away, together
// with that of its surroundings if there are too many separate pages already. False if it is open.
bool rewind_pages_open(struct rewinder *r, const struct rewind_range *range, uintptr_t address);
// Opens the page of the KERNEL_BYTES at `live` for good and never restores those bytes. Before any other is
// open.
void rewind_pages_keep_open(struct rewinder *r, char *live);
void rewind_pages_put_back(struct rewinder *r);

// --- copy.c ---

// Makes the page at `live` equal that at `saved`, both page-aligned. True if it differed.
extern bool (*rewind_copy)(char *restrict live, const char *restrict saved);
// Chooses the fastest that this processor can do.
void rewind_copy_choose(void);

// --- signals.c: who catches the first write to each page. ---

void rewind_signals_install(struct rewinder *r);
void rewind_signals_restore(struct rewinder *r);

// --- rewind.c ---

extern struct rewinder *rewinder; // NULL when no exploration is under way.
// The mapping of rewind_alloc(), empty if there is none.
struct rewind_range rewind_heap_range(void);

#endif
