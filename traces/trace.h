// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_TRACE_H
#define HVSIM_TRACES_TRACE_H

/*
 * What happened in a run, written down: the producer's side of traces/.
 *
 * Models and sim call the record functions below in simulated order, all on one OS thread, inside a process
 * or between processes; none of them advances simulated time or can fail. A record is copied into a ring; a
 * consumer (a writer thread where there is a spare core, else the caller when the ring is full) feeds it to
 * the run's digest and, if its category is stored, to the SQLite database of docs/trace-schema.md.
 *
 * Times go in as ticks (1/16 cycle of the pCPU's core clock) and come out of the database as whole cycles.
 * Text goes in as ids of trace_text(); the digest sees the text, never the id, so the order of interning does
 * not matter.
 *
 * The digest covers every record of every category, stored or not, and nothing else: neither file names nor
 * the host. Instructions alone are not in it: they are recorded only when they are to be stored.
 *
 * Does not model anything, and never influences a run: a full disk shows in trace_error(), not in simulated
 * time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { TRACE_TICKS_PER_CYCLE = 16 };

// --- Categories. ---

// What `--trace` chooses from. The names of trace_category_parse() are these in lower case.
enum trace_category {
    TRACE_EXITS = 1u << 0,
    TRACE_EVENTS = 1u << 1,
    TRACE_CALLS = 1u << 2,
    TRACE_SPANS = 1u << 3,
    TRACE_IRQS = 1u << 4,
    TRACE_WALKS = 1u << 5,
    TRACE_LOCKS = 1u << 6,
    TRACE_VIOLATIONS = 1u << 7,
    TRACE_COUNTERS = 1u << 8,
    TRACE_DIRTY = 1u << 9,
    TRACE_INSTRUCTIONS = 1u << 10,
    TRACE_ALL =
        (1u << 10) - 1, // But instructions: a million rows a second of wall time are asked for by name.
    TRACE_EVERY = (1u << 11) - 1,
};

// Parses "exits,calls", "all" or "none" into *mask. On an unknown name returns false and writes the name, the
// nearest category and the list of all into message.
bool trace_category_parse(const char *text, uint32_t *mask, char *message, size_t message_size);

// --- Errors. ---

enum trace_status {
    TRACE_OK = 0,
    TRACE_NOT_OURS,      // a file, but not a database of hvsim
    TRACE_OTHER_VERSION, // a database of hvsim with another schema version
    TRACE_LOCKED,        // another process holds it
    TRACE_READ_ONLY,     // file or directory cannot be written
    TRACE_DISK_FULL,     // no space, or a limit of file size
    TRACE_DAMAGED,       // SQLite finds it malformed
    TRACE_CANNOT_OPEN,   // no such file or directory, or not a regular file
    TRACE_BAD_QUERY,     // the SQL of an expectation or export does not work
    TRACE_IO,            // any other failure of the disk or of SQLite
};

// A message for the user (what happened, to which file) and a hint (what to do); both one line, no trailing
// stop.
struct trace_error {
    enum trace_status status;
    char message[320];
    char hint[256];
};

const char *trace_status_str(enum trace_status status);

// --- Life of a database and of a run. ---

struct trace; // starts with struct trace_ring

enum trace_writer { TRACE_WRITER_AUTO, TRACE_WRITER_INLINE, TRACE_WRITER_THREAD };

struct trace_options {
    // NULL: digest only, no database. "": a private temporary database, gone after trace_close().
    const char *db_path;
    uint32_t store;           // categories stored in the database
    bool silent;              // record nothing at all: no digest, no rows (explorers)
    enum trace_writer writer; // AUTO: a thread if the host has a second core and there is a database
    uint64_t max_bytes;       // limit of the database's size, 0: none
};

// Options for everything stored in db_path.
struct trace_options trace_options_defaults(const char *db_path);

// Opens or creates the database; an existing one of the same version gets further runs. Never touches a file
// that is not ours. Returns NULL and fills *error (all statuses but BAD_QUERY). The caller owns the result:
// trace_close().
struct trace *trace_open(const struct trace_options *options, struct trace_error *error);

enum trace_arch { TRACE_ARCH_X86 = 1, TRACE_ARCH_ARM64 = 2, TRACE_ARCH_S390 = 3 };

// One value that a sweep gave the run.
struct trace_swept {
    const char *path;  // of the scenario's field
    const char *value; // as written
    bool is_number;
    uint64_t number; // bytes, nanoseconds or a plain number
};
// Host-independent facts of a run, copied. Text may be NULL (stored as NULL). No paths of this machine in
// here.
struct trace_run_info {
    const char *scenario;
    const char *variant;
    uint64_t seed;
    const char *knobs; // "name=value" lines of every knob that is not at its default
    const char *uarch;
    const char *hv_build_id; // hexadecimal, of libhv.so
    uint64_t quantum_cycles; // 0: exact order
    const char *memory;      // model of hypervisor code's memory; one that is not NULL changes the digest
    uint64_t clock_khz;      // of the pCPUs' core clock: turns cycles into time
    const char *resolved;    // the scenario with every default filled in
    const char *setup;       // what was set up without taking simulated time; NULL: nothing
    const struct trace_swept *swept;
    uint32_t swept_count;
};

struct trace_digest {
    uint64_t lo, hi;
};
enum { TRACE_DIGEST_TEXT = 33 };
void trace_digest_text(struct trace_digest digest, char text[TRACE_DIGEST_TEXT]);

enum trace_run_state { TRACE_RUNNING, TRACE_COMPLETE, TRACE_INTERRUPTED, TRACE_INCOMPLETE };

// Starts a run: a row in `runs` in state 'running' (committed at once, so that a killed simulator leaves a
// trace of it), an empty digest. *run_id is 1, 2, ... within the database (0 without one). Between
// trace_open() and the first trace_run_begin(), and between runs, records are dropped.
enum trace_status trace_run_begin(struct trace *t, const struct trace_run_info *info, int64_t *run_id,
                                  struct trace_error *error);

// Ends the run: everything is flushed and committed, indexes are made, digest and cycles are stored. tick is
// the time at which the simulation ended, TRACE_NEVER if that is unknown. *digest is valid even when the
// database failed.
enum trace_status trace_run_end(struct trace *t, enum trace_run_state state, uint64_t tick,
                                struct trace_digest *digest, struct trace_error *error);

// All exits of one reason; times in cycles. Percentiles by nearest rank, over exits that an entry followed.
struct trace_exit_row {
    const char *reason;
    uint64_t count; // with unfinished ones
    uint64_t unfinished;
    uint64_t median_cycles, p99_cycles, min_cycles, max_cycles;
    uint64_t total_cycles, hw_exit_cycles, hw_entry_cycles, hv_cycles, device_cycles, wait_cycles,
        other_cycles;
    uint64_t guest_cycles;
    uint64_t recorded_count;                                  // exits with a recorded time
    uint64_t recorded_total_ns, recorded_median_ns;           // over those
    uint64_t recorded_sim_cycles, recorded_sim_median_cycles; // simulated cycles of the same exits
};
typedef bool trace_exit_row_fn(void *context, const struct trace_exit_row *row);

// The exits of the last run, stored or not: one row per reason, most total cycles first (then by name). After
// trace_run_end() and before the next run; nothing where nothing is recorded (silent).
void trace_exit_summary(struct trace *t, trace_exit_row_fn *fn, void *context);

// From the main loop after Ctrl-C (not from a signal handler): commits what there is and ends the run as
// 'interrupted'.
enum trace_status trace_mark_interrupted(struct trace *t, uint64_t tick, struct trace_error *error);

// After trace_run_end(): the run's verdict ("pass", "fail", "error") and one row per expectation.
enum trace_status trace_run_verdict(struct trace *t, int64_t run_id, const char *verdict,
                                    struct trace_error *error);
struct trace_expectation {
    const char *about, *sql, *expected, *got, *verdict;
};
enum trace_status trace_expectation(struct trace *t, int64_t run_id,
                                    const struct trace_expectation *expectation, struct trace_error *error);

// Hands everything recorded so far to the database, waits for it and commits. After it, until the next
// record, no other thread is active in traces/, so that the process may fork.
enum trace_status trace_flush(struct trace *t, struct trace_error *error);

// In a forked child: forget database and writer (the parent keeps them); records go to the digest only.
void trace_after_fork(struct trace *t);

// Categories that are stored; 0 without a database.
uint32_t trace_stored(const struct trace *t);

// The first error of the database since trace_open(); TRACE_OK if none. Cheap: a main loop may ask often.
enum trace_status trace_error(const struct trace *t, struct trace_error *error);

// Rows handed to SQLite and bytes of the database, for `./dev bench`.
struct trace_statistics {
    uint64_t records, rows, calls, bytes;
};
struct trace_statistics trace_statistics(struct trace *t);

// Ends an open run as 'incomplete' and closes. After a database error the open run is marked incomplete; a
// database that was created by this trace_open() and does not even hold that is removed. t may be NULL.
enum trace_status trace_close(struct trace *t, struct trace_error *error);

// The id of a text (function, instruction, path, lock, span or counter name): the same text gives the same id
// until trace_close(). 0 is "none". Slow (hash of the text): callers keep the id. Ids below 2^24.
uint32_t trace_text(struct trace *t, const char *text);

// --- Records. ---

enum { TRACE_NOBODY = 0xffff };      // pcpu, vm or vcpu does not apply
#define TRACE_NEVER UINT64_MAX       // a time that did not come
#define TRACE_NOT_RECORDED INT64_MIN // recorded_ns of an exit that was not imported

// The digest sees every byte of a record, and bytes without a name are not zeroed by every compiler.
#pragma GCC diagnostic push
#pragma GCC diagnostic error "-Wpadded"

// Who it happened to. level: 0 hypervisor or nobody, 1 = L1, 2 = L2.
struct trace_where {
    uint16_t pcpu, vm, vcpu;
    uint8_t level, reserved; // reserved is 0
};

// One VM exit with the VM entry that ended it. thread is the hv thread that ran the vCPU. The parts hw_exit,
// hw_entry, hv, device (user-space VMM) and wait (halted or blocked: not handling) are disjoint; what is left
// of exit..entry was spent by others on this pCPU and becomes other_cycles.
struct trace_exit {
    struct trace_where where;
    uint32_t thread;
    uint32_t seq;    // of trace_exit_begin()
    uint16_t reason; // basic exit reason [SDM appendix C]
    uint8_t arch;    // enum trace_arch
    uint8_t reserved;
    uint32_t instr; // text of the guest instruction ("cpuid", "wrmsr 0x6e0"), 0 none
    uint32_t path;  // text: how it was handled ("fastpath", "kernel", "user"), 0 none
    uint32_t intr_info, error_code;
    uint32_t hw_exit_ticks, hw_entry_ticks;
    uint32_t reserved_too; // 0
    uint64_t exit_tick;    // when the exit began
    uint64_t entry_tick;   // when the next VM entry completed; TRACE_NEVER if the run ended before
    uint64_t guest_ticks;  // in non-root mode before the exit
    uint64_t hv_ticks, device_ticks, wait_ticks;
    uint64_t qualification, rip, gpa;
    int64_t recorded_ns; // exit to entry in an imported trace, or TRACE_NOT_RECORDED
};

// An event of up to 6 arguments. kind is the tracepoint's row in spec/tracepoints.def.
enum { TRACE_EVENT_ARGS = 6 };

struct trace_span {
    struct trace_where where;
    uint32_t name, reserved; // text; 0
    uint64_t begin_tick, end_tick;
};

// One interrupt's life; times that did not come are TRACE_NEVER. route: text ("ipi", "ioapic", "msi",
// "timer", ...).
struct trace_irq {
    struct trace_where where; // the target
    uint32_t vector, route;
    uint64_t raised_tick, injected_tick, delivered_tick, eoi_tick;
};

// One acquisition of a lock, written at its release. holder: the thread that held it when waiting began.
struct trace_lock {
    struct trace_where where;
    uint32_t thread, holder; // holder: TRACE_NO_THREAD if nobody
    uint32_t name, kind;     // texts: "vm->mmu_lock"; "spin", "read", "write", "mutex", "srcu"
    uint64_t address;        // of the lock, as hv/ knows it
    uint64_t wait_tick, acquired_tick, released_tick;
};

// kind: text ("data race", "lock order", "sleep in atomic", ...). detail: text, one line.
struct trace_violation {
    struct trace_where where;
    uint32_t thread, other_thread;
    uint32_t kind, detail;
    uint64_t address, tick;
};

// A page of a slot whose writes are logged was marked dirty and was not before. method: text ("write_fault",
// "pml", ...). round: of the VM's migration, or TRACE_NO_ROUND. ring: 1 the mark is a ring's entry, else 0.
struct trace_dirty_page {
    struct trace_where where;
    uint32_t method, slot, round, ring;
    uint64_t gfn, tick;
};
#define TRACE_NO_ROUND UINT32_MAX

// One instruction of machine code was carried out, or a part of one that goes on later (a repeated string
// instruction that lets an interrupt in). Not in the digest.
struct trace_instruction {
    struct trace_where where;
    uint32_t text, reserved; // "mov eax, dword ptr [rbx]"; 0
    uint64_t rip, tick;      // tick: when it began
    uint32_t ticks;          // How long it took
    uint32_t stall_ticks;    // Of these beyond its static price: caches, translation, a wrong prediction
};

// One address translation; its steps are the table entries read. result: text ("ok", "ept violation", ...).
struct trace_walk {
    struct trace_where where;
    uint32_t result;
    uint16_t step_count;    // at most TRACE_WALK_STEPS
    uint8_t dimension;      // 1 one-dimensional, 2 nested
    uint8_t access;         // bit 0 read, 1 write, 2 execute
    uint64_t gva, gpa, hpa; // UINT64_MAX where there is none
    uint64_t tick, ticks;   // begin and length
};
enum { TRACE_WALK_STEPS = 64 };
struct trace_walk_step {
    uint64_t address, entry; // host physical address of the entry; its value
    uint32_t ticks;
    uint32_t hit;  // text: where it was found ("l1", "l2", "llc", "memory", "pwc")
    uint8_t stage; // 1 the guest's table, 2 the hypervisor's
    uint8_t level; // 4..1 (5 with LA57)
    uint8_t reserved[6];
};

#pragma GCC diagnostic pop

// --- The ring (private to the inline functions). ---

enum trace_type {
    TRACE_REC_CALL_BEGIN = 1,
    TRACE_REC_CALL_END,
    TRACE_REC_SWITCH,
    TRACE_REC_EXIT_BEGIN,
    TRACE_REC_EXIT,
    TRACE_REC_EVENT,
    TRACE_REC_SPAN,
    TRACE_REC_IRQ,
    TRACE_REC_LOCK,
    TRACE_REC_VIOLATION,
    TRACE_REC_WALK,
    TRACE_REC_COUNTER,
    TRACE_REC_DIRTY_PAGE,
    TRACE_REC_INSTRUCTION,
};

struct trace_ring {
    unsigned char *pos, *end; // the block being filled; equal when nothing is recorded
    bool recording;
    uint32_t exit_seq; // of the last trace_exit_begin()
};

// Hands the full block over and starts another; true if there is room for size bytes now (size <=
// TRACE_RECORD_MAX).
bool trace_ring_next(struct trace *t, size_t size);
enum { TRACE_RECORD_MAX = 4096 };

// Records are whole 8-byte words; the first is type in bits 7:0, and bits 31:8 and 63:32 by type.
static inline uint64_t *trace_reserve(struct trace *t, size_t size)
{
    struct trace_ring *ring = (struct trace_ring *)t;

    if ((size_t)(ring->end - ring->pos) < size && !trace_ring_next(t, size))
        return NULL;
    uint64_t *record = (uint64_t *)(void *)ring->pos;

    ring->pos += size;
    return record;
}

static inline uint64_t trace_head(enum trace_type type, uint32_t low24, uint32_t high)
{
    return (uint64_t)type | (uint64_t)(low24 & 0xffffffu) << 8 | (uint64_t)high << 32;
}

static inline void trace_two(struct trace *t, uint64_t head, uint64_t word)
{
    uint64_t *record = trace_reserve(t, 16);

    if (record) {
        record[0] = head;
        record[1] = word;
    }
}

static inline void trace_copy(struct trace *t, uint64_t head, const void *body, size_t size)
{
    uint64_t *record = trace_reserve(t, 8 + size);

    if (record) {
        record[0] = head;
        memcpy(record + 1, body, size);
    }
}

// --- The record functions. ---

// An instrumented hypervisor function is entered or left by thread (below 2^24) at tick. function is a
// trace_text(). Ends must match begins per thread; a run may end with open calls.
static inline void trace_call_begin(struct trace *t, uint32_t thread, uint32_t function, uint64_t tick)
{
    trace_two(t, trace_head(TRACE_REC_CALL_BEGIN, thread, function), tick);
}

static inline void trace_call_end(struct trace *t, uint32_t thread, uint64_t tick)
{
    trace_two(t, trace_head(TRACE_REC_CALL_END, thread, 0), tick);
}

// pcpu leaves thread prev and runs thread next from tick on. Needed once per pCPU before its first call, with
// prev = TRACE_NO_THREAD; a thread's time between being left and being run again is not charged to its
// functions.
enum { TRACE_NO_THREAD = 0xffffff };
static inline void trace_switch(struct trace *t, uint16_t pcpu, uint32_t prev, uint32_t next, uint64_t tick)
{
    uint64_t *record = trace_reserve(t, 24);

    if (record) {
        record[0] = trace_head(TRACE_REC_SWITCH, prev, next);
        record[1] = tick;
        record[2] = pcpu;
    }
}

// A VM exit begins: calls of thread from here to its trace_exit() belong to it. Returns the exit's number in
// the run, 1, 2, ..., to be put into trace_exit.seq.
static inline uint32_t trace_exit_begin(struct trace *t, uint32_t thread, uint64_t tick)
{
    uint32_t seq = ++((struct trace_ring *)t)->exit_seq;

    trace_two(t, trace_head(TRACE_REC_EXIT_BEGIN, thread, seq), tick);
    return seq;
}

static inline void trace_exit(struct trace *t, const struct trace_exit *e)
{
    trace_copy(t, trace_head(TRACE_REC_EXIT, 0, 0), e, sizeof *e);
}

// argc <= TRACE_EVENT_ARGS.
static inline void trace_event(struct trace *t, struct trace_where where, uint16_t kind, uint64_t tick,
                               const uint64_t *args, uint32_t argc)
{
    uint64_t *record = trace_reserve(t, 24 + 8 * (size_t)argc);

    if (record) {
        record[0] = trace_head(TRACE_REC_EVENT, kind, argc);
        record[1] = tick;
        memcpy(record + 2, &where, 8);
        for (uint32_t i = 0; i < argc; i++)
            record[3 + i] = args[i];
    }
}

static inline void trace_span(struct trace *t, const struct trace_span *span)
{
    trace_copy(t, trace_head(TRACE_REC_SPAN, 0, 0), span, sizeof *span);
}

static inline void trace_irq(struct trace *t, const struct trace_irq *irq)
{
    trace_copy(t, trace_head(TRACE_REC_IRQ, 0, 0), irq, sizeof *irq);
}

static inline void trace_lock(struct trace *t, const struct trace_lock *lock)
{
    trace_copy(t, trace_head(TRACE_REC_LOCK, 0, 0), lock, sizeof *lock);
}

static inline void trace_violation(struct trace *t, const struct trace_violation *violation)
{
    trace_copy(t, trace_head(TRACE_REC_VIOLATION, 0, 0), violation, sizeof *violation);
}

static inline void trace_dirty_page(struct trace *t, const struct trace_dirty_page *page)
{
    trace_copy(t, trace_head(TRACE_REC_DIRTY_PAGE, 0, 0), page, sizeof *page);
}

static inline void trace_instruction(struct trace *t, const struct trace_instruction *instruction)
{
    trace_copy(t, trace_head(TRACE_REC_INSTRUCTION, 0, 0), instruction, sizeof *instruction);
}

static inline void trace_counter(struct trace *t, uint32_t name, uint64_t value)
{
    trace_two(t, trace_head(TRACE_REC_COUNTER, 0, name), value);
}

static inline void trace_walk(struct trace *t, const struct trace_walk *walk,
                              const struct trace_walk_step *steps)
{
    size_t steps_size = walk->step_count * sizeof *steps;
    uint64_t *record = trace_reserve(t, 8 + sizeof *walk + steps_size);

    if (record) {
        record[0] = trace_head(TRACE_REC_WALK, 0, 0);
        memcpy(record + 1, walk, sizeof *walk);
        memcpy((unsigned char *)(record + 1) + sizeof *walk, steps, steps_size);
    }
}

_Static_assert(sizeof(struct trace_where) == 8 && sizeof(struct trace_exit) % 8 == 0 &&
                   sizeof(struct trace_span) % 8 == 0 && sizeof(struct trace_irq) % 8 == 0 &&
                   sizeof(struct trace_lock) % 8 == 0 && sizeof(struct trace_violation) % 8 == 0 &&
                   sizeof(struct trace_dirty_page) % 8 == 0 && sizeof(struct trace_walk) % 8 == 0 &&
                   sizeof(struct trace_walk_step) % 8 == 0,
               "records are whole words without padding");

#endif
