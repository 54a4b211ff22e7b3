// SPDX-License-Identifier: Apache-2.0
/*
 * The text form of replay guests (`.stream` files): parser and writer. docs/replay-streams.md is the user's
 * view.
 *
 * One file holds the programs of one vCPU: its own ("main", stream 0) and those of its nested guests (1..15).
 * Parsing is a pure function of text and target: no simulated time passes, nothing global is touched, so any
 * thread may call it. All errors are user errors, told as FILE:LINE:COLUMN with what was expected and a hint.
 *
 * What the ops of a parsed program look like, beside models/cpu/x86/replay.h:
 *  - the guest's own ops come first and end with REPLAY_END; then the handlers' ops, each ending with
 * REPLAY_IRET; the last op is always REPLAY_END;
 *  - LOOP: args[0] count (0: for ever), args[1] index of its ENDLOOP, args[2] nesting depth 0..7;
 *    ENDLOOP: args[0] index of its LOOP, args[1] depth. Jumps never enter a loop from outside, but may leave
 * loops, so iteration counters belong to (program, depth) and are set at LOOP;
 *  - GOTO: args[0] index; BRANCH: args[3] index;
 *  - every op has its `rip`: as the file gave it (REPLAY_HAS_RIP), else behind the op before it in the array;
 *  - READ and WRITE without a size have size 4;
 *  - no cycle of ops is free of guest time: each passes through an instruction or a gap.
 */
#ifndef SIM_SCENARIO_STREAM_H
#define SIM_SCENARIO_STREAM_H

#include "models/cpu/x86/replay.h"

#include <stdio.h>

#define STREAM_OPS_MAX (16u << 20)       // Ops in one file.
#define STREAM_COUNT_MAX 16u             // Programs in one file: the vCPU's own and 15 nested guests'.
#define STREAM_DEPTH_MAX 8u              // Nested loops.
#define STREAM_LINE_MAX 4096u            // Bytes in one line.
#define STREAM_FILE_MAX (4ull << 30)     // Bytes in one file.
#define STREAM_GAP_MAX (1ull << 48)      // Cycles (or ns) in one gap: more than a day.
#define STREAM_RIP 0xffffffff81000000ull // Where a program starts that does not say.

// Whom a stream is for; it sets the meaning of times and of stream:NAME.
struct stream_target {
    uint32_t clock_khz; // Core clock of the pCPU, 1..100 GHz.
    uint32_t tsc_khz;   // The guest's TSC, 1..100 GHz.
    unsigned vm;        // < 256
    unsigned vcpu;      // < 256
    uint32_t ops_max;   // 0: STREAM_OPS_MAX.
    bool linear;        // Addresses of the first program's memory accesses are linear, not guest-physical.
};

struct stream_error {
    uint32_t line, column; // 1-based; 0: the file as a whole.
    char text[640];        // The whole message, with file and place.
};

// Programs of one vCPU; programs[n] is stream n of replay_idtr_base().
struct stream_set {
    struct replay_program *programs;
    unsigned count;
};

// Parses `text` (not zero-terminated). `file` is only for messages. True and a set for stream_free(), or
// false, an empty set and *error.
bool stream_parse(const char *file, const char *text, size_t size_bytes, const struct stream_target *target,
                  struct stream_set *set, struct stream_error *error);

// The same for a file on disk. A file that cannot be read, is too big or is not text is an error like others.
bool stream_load(const char *path, const struct stream_target *target, struct stream_set *set,
                 struct stream_error *error);

void stream_free(struct stream_set *set);

// Units in which stream_format_op() understands gap_cycles and the value of a TSC-relative WRMSR.
enum stream_unit {
    STREAM_CYCLES, // As in a parsed program.
    STREAM_NS,     // Nanoseconds: for a writer that does not know the clock (the importer).
};

#define STREAM_OP_TEXT_MAX 512

// One op as a line of text without newline, zero-terminated: "3us wrmsr IA32_TSC_DEADLINE tsc+100us". Labels
// are written as L<index>. Returns its length. `out` has room for STREAM_OP_TEXT_MAX bytes.
size_t stream_format_op(char out[STREAM_OP_TEXT_MAX], const struct replay_op *op, enum stream_unit unit);

// Writes all programs, so that parsing the text again for the same target gives equal programs (names, ops
// but for `line`, handlers, rip). Returns false if writing failed.
bool stream_write(FILE *to, const struct stream_set *set);

// First line of every file.
#define STREAM_MAGIC "hvsim-stream 1"

#endif
