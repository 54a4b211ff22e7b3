// SPDX-License-Identifier: Apache-2.0
// The C11 memory model of hypervisor code, as a machine that is executed step by step.
//
// Each atomic location has the history of its stores in modification order; each store carries what its
// writer knew. A load may give any store that coherence, happens-before and the order of seq_cst operations
// permit, and a store may take any place in modification order that they permit: sim_choose(SIM_SITE_READ)
// and sim_choose(SIM_SITE_ORDER) decide, and 0 is the newest, so that without an explorer everything is
// sequentially consistent. What is allowed and what it is compared with: docs/memory-models.md.
//
// Actors are the processors 0..n-1: what one of them executes is in program order, threads and interrupts
// alike; a thread takes what it knows along when it moves. Memory holds the newest store of each location, so
// plain loads read it themselves; plain stores, and whatever changes memory without telling, end the history
// of what they touch. Everything lies in memory taken by memory_create(): no allocation and no clock
// afterwards. Who calls: models/cpu, on the simulator's one OS thread. Does not model: consume (it is
// acquire), spurious failures of the weak compare-and-exchange, accesses of different sizes to one place
// beyond their newest value.
#ifndef MODELS_MEMORY_MEMORY_H
#define MODELS_MEMORY_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct memory;
struct memory_values;

#define MEMORY_CPUS_MAX 64u

// The models that a run can have (--memory, scenario key `memory`).
enum memory_kind {
    MEMORY_TSO, // Store buffers of the modelled processors (models/mem/store_buffer.c)
    MEMORY_SC,  // The same in time, but stores are seen by everybody at once
    MEMORY_C11, // This one
    MEMORY_KIND_COUNT
};
extern const char *const memory_kind_names[MEMORY_KIND_COUNT];

// memory_order as compilers number it.
enum memory_ordering {
    MEMORY_RELAXED,
    MEMORY_CONSUME,
    MEMORY_ACQUIRE,
    MEMORY_RELEASE,
    MEMORY_ACQ_REL,
    MEMORY_SEQ_CST
};

// For `cpus` processors, 1..MEMORY_CPUS_MAX. NULL: out of memory.
struct memory *memory_create(uint32_t cpus);
void memory_destroy(struct memory *m);
// Every location and everything that anybody knows is forgotten: memory is as it is. Costs what was touched.
void memory_reset(struct memory *m);

// --- Operations. `p` is aligned to `size_bytes`: 1, 2, 4 or 8. They do read and write memory. ---

uint64_t memory_load(struct memory *m, uint32_t cpu, const volatile void *p, uint32_t size_bytes, int order);
void memory_store(struct memory *m, uint32_t cpu, volatile void *p, uint32_t size_bytes, uint64_t value,
                  int order);
// A read-modify-write in two steps: the value read; then, with nothing in between, the new one. A
// compare-and-exchange that finds another value than `expected` is a load of order `fail` and has no second
// step.
uint64_t memory_rmw_read(struct memory *m, uint32_t cpu, volatile void *p, uint32_t size_bytes, int order);
bool memory_cas_read(struct memory *m, uint32_t cpu, volatile void *p, uint32_t size_bytes,
                     uint64_t *expected, int ok, int fail);
void memory_rmw_write(struct memory *m, uint64_t value);
void memory_fence(struct memory *m, uint32_t cpu, int order);
// A plain store of up to 16 bytes is about to happen, before anybody else's turn.
void memory_plain_store(struct memory *m, uint32_t cpu, const volatile void *p, uint32_t size_bytes);

// --- Threads and messages. ---

// A processor begins to execute; it knows what `by` knows.
void memory_cpu_starts(struct memory *m, uint32_t cpu, uint32_t by);
// A thread, 0..MEMORY_THREADS_MAX - 1, is created by what `cpu` executes, leaves the processor, or comes to
// it.
#define MEMORY_THREADS_MAX 4096u
void memory_thread_leaves(struct memory *m, uint32_t cpu, uint32_t thread);
void memory_thread_comes(struct memory *m, uint32_t cpu, uint32_t thread);
// An interrupt message is a relaxed store and its delivery an acquiring load: what the sender did before its
// last release or seq_cst fence happens before the handler.
void memory_message_sent(struct memory *m, uint32_t from, uint32_t to);
void memory_message_taken(struct memory *m, uint32_t cpu);

// --- Load buffering: loads of stores that are executed later. ---

// Values that processors have stored at places in earlier executions that did happen. They must survive
// restarts: the owner decides where they lie, zeroed at first.
#define MEMORY_VALUES_MAX 256u
struct memory_values {
    struct memory_value {
        uint64_t address, value;
        uint32_t size_bytes, cpu;
        uint32_t most;    // Times that it was stored in one execution, at most
        uint32_t offered; // So often at most it may be promised to loads.
    } v[MEMORY_VALUES_MAX];
    uint32_t count;
};
// With `values`, a load may also be promised a value that another processor stored there: one that a later
// store of another processor must then justify. NULL (as after memory_create()): none is promised, and no
// load reads from a store that is executed after it. Before the first operation.
void memory_use_values(struct memory *m, struct memory_values *values);
// At the end of an execution: true if every promised value was justified; its values are noted. With false it
// did not happen.
bool memory_justified(struct memory *m);
// Between executions: offers what was noted since the last call. True if there was something: then there are
// executions that could not be chosen before.
bool memory_values_renew(struct memory_values *values);
// True if some promised value will never be justified: nothing after it matters.
bool memory_hopeless(const struct memory *m);

#endif
