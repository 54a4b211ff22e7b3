// SPDX-License-Identifier: Apache-2.0
// Host physical memory and the caches, coherence and store buffers in front of it.
//
// Data lives once, in the arena (hv/hw/boot.h), where natively compiled code reads and writes it; caches hold
// tags and states only. The store buffer makes x86-TSO true for values as well: a processor's buffered stores
// are in the arena while it runs (it sees its own stores) and are taken out again while others run, until
// they drain. Does not model: prefetchers, DRAM banks, bus contention (docs/timing-model.md).
#ifndef MODELS_MEM_MEM_H
#define MODELS_MEM_MEM_H

#include "models/cpu/pcpu.h"

// --- The arena. ---

// Reserves `bytes` (page multiple, at most HW_ARENA_STRIDE) for host `host`, sparse. 0, or -1 with errno.
int mem_arena_create(unsigned host, uint64_t bytes);
// Makes all arenas read as zero again and gives touched pages back: what a start-over needs. Must cost in
// proportion to the touched pages, not to the size.
void mem_arena_reset(void);
void mem_arena_destroy(void);
// A hint for the machine that simulates, without effect on what is simulated: memory that is touched for the
// first time from now on lies densely (page tables being filled), or may lie far apart again. Dense memory
// comes in large pages, which saves most of the time that bringing gigabytes of it in takes.
void mem_arena_dense(bool dense);
uint64_t mem_arena_bytes(unsigned host);

// Which of up to 512 pages from `hpa` on certainly hold zeros because nobody ever wrote to them: bit i % 64
// of untouched[i / 64]. Spares reading them (64 GiB of a guest that are never touched); says nothing of the
// others.
#define MEM_UNTOUCHED_PAGES_MAX 512u
void mem_arena_untouched(unsigned host, uint64_t hpa, uint32_t pages, uint64_t untouched[8]);

// Pointer for an HPA of the processor's host; NULL if outside of its memory. No cost.
void *mem_hpa_to_ptr(const struct pcpu *c, uint64_t hpa, uint64_t size_bytes);

// --- Accesses with cost. Address in HPA; they never cross a page in one call. ---

// GUEST: the guest's own TLB has translated; hv's is not in the way.
enum mem_access_kind { MEM_LOAD, MEM_STORE, MEM_RMW, MEM_FETCH, MEM_WALK, MEM_GUEST_LOAD, MEM_GUEST_RMW };

struct mem_core *mem_core_create(struct pcpu *c);
void mem_core_reset(struct mem_core *m);
void mem_core_destroy(struct mem_core *m);
// One access through TLB-less physical caches with coherence. Adds the time beyond the L1 hit that the block
// price already contains to c->now_ticks.
void mem_access(struct pcpu *c, uint64_t hpa, unsigned size_bytes, enum mem_access_kind kind);

// Reads and writes by hardware agents of processor `c` (page walker, VMCS, posted-interrupt descriptors):
// value and cost. 8 bytes, aligned. The write is a locked one where `locked`.
uint64_t mem_read64(struct pcpu *c, uint64_t hpa);
void mem_write64(struct pcpu *c, uint64_t hpa, uint64_t value, bool locked);

// --- The line that MONITOR watches (SDM 8.10.2), one of each processor. ---

// Begins to watch the line of `hpa`, which the processor has just loaded, for stores of other processors of
// the host; ~0: for none. The first one ends it and calls `hit` with the tick at which it can be seen.
void mem_monitor_arm(struct pcpu *c, uint64_t hpa, void (*hit)(struct pcpu *c, uint64_t at_ticks));
void mem_monitor_disarm(struct pcpu *c);
bool mem_monitor_armed(const struct pcpu *c);
// The first tick at which a store that is on its way may be seen; TICKS_NEVER: there is none.
uint64_t mem_next_drain_ticks(void);

// --- Store buffer. ---

// Before a guest's plain store of `size_bytes` (at most 16) at `p` in the arena: takes its time and remembers
// the bytes that it will overwrite.
void mem_store_begin(struct pcpu *c, void *p, unsigned size_bytes);
// When a processor's buffered stores become visible to the others. How long anything takes is not a matter of
// the mode, and mem_core_reset() keeps it.
enum mem_store_mode {
    MEM_STORES_BY_TIME, // When they drain: x86-TSO as timed.
    MEM_STORES_AT_ONCE, // When they execute.
    MEM_STORES_CHOSEN, // When somebody says so (mem_store_choose()), at the latest when the buffer is drained
                       // by a fence, a locked operation or the like, or is full: all that x86-TSO allows.
};
// While nothing that others cannot see is buffered.
void mem_store_set_mode(struct pcpu *c, enum mem_store_mode mode);
// MEM_STORES_CHOSEN, at a scheduling point of a processor: asks sim_choose(SIM_SITE_STORE_DRAIN) whether the
// oldest store of some processor becomes visible now, until the answer is 0, none. `all`: until none is left,
// 0 is the first processor that has one.
void mem_store_choose(struct machine *machine, bool all);

// Drains everything, advancing time to the last drain: fences, locked operations, serializing instructions.
void mem_store_drain(struct pcpu *c);

// Somebody decides when a store drains: it stays, and all younger ones behind it, until it is let go.
struct mem_keeper {
    // `c` cannot go on while a store of it is kept: a fence, a locked operation (`all`: none may be left), a
    // full buffer. Lets time pass until one was let go; called again if that was not enough.
    void (*stand)(struct mem_keeper *k, struct pcpu *c, bool all);
};
// Keeps the store that `c` has just buffered, under `number` (1..255, none that is in use).
void mem_store_keep(struct pcpu *c, uint8_t number, struct mem_keeper *k);
// The tick at which it drains: when it could have, but not before `at_ticks`. TICKS_NEVER, and nothing
// happens: it is not kept, or an older one is. Bytes become visible to others as of any store then.
uint64_t mem_store_let_go(struct pcpu *c, uint8_t number, uint64_t at_ticks);
// The same for all of `c`.
void mem_store_let_all_go(struct pcpu *c, uint64_t at_ticks);

// MEM_STORES_CHOSEN: does the processor keep a store back? If so, its oldest can be made visible; `executing`
// is the processor that executes, NULL if none does.
bool mem_store_waits(struct pcpu *c);
void mem_store_show_oldest(struct pcpu *of, struct pcpu *executing);
// The executing processor enters a guest: MEM_STORES_CHOSEN keeps nothing back for that long. No time passes.
void mem_store_before_guest(struct pcpu *c);
// The processor stops or goes on being the one that executes: hides or shows its undrained stores.
void mem_store_hide(struct pcpu *c);
void mem_store_show(struct pcpu *c);

#endif
