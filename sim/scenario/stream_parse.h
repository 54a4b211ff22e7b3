// SPDX-License-Identifier: Apache-2.0
// Inside of the stream parser, shared by its files: lines and sections (stream.c), arguments (stream_args.c),
// labels and loops (stream_link.c). Not for others.
#ifndef SIM_SCENARIO_STREAM_PARSE_H
#define SIM_SCENARIO_STREAM_PARSE_H

#include "sim/scenario/stream.h"
#include "sim/scenario/stream_names.h"

#define NO_LOOP UINT32_MAX
#define HANDLER_INDEX 0x80000000u // Marks an op index as counted from the first op of the section's handlers.

struct op_list {
    struct replay_op *ops;
    uint32_t count, capacity;
};

struct label {
    struct span name;
    uint32_t line;
    uint32_t index; // HANDLER_INDEX is set inside of handlers.
    uint32_t loop;  // Innermost loop around it, or NO_LOOP.
    uint16_t body;  // 0: main part; else 1 + vector of the handler.
    uint16_t section;
};

enum fixup_kind {
    FIXUP_JUMP,   // The argument becomes the op index of a label.
    FIXUP_RIP,    // The argument becomes the rip of a label.
    FIXUP_STREAM, // The argument becomes the IDTR base of a stream.
};

struct fixup {
    struct span name;
    uint32_t line, column;
    uint32_t index;
    uint32_t loop;
    uint16_t body;
    uint8_t section, arg;
    enum fixup_kind kind;
};

struct section {
    struct span name;
    uint32_t line;
    uint64_t initial_rip;
    struct op_list main, handlers;
    uint32_t handler[256]; // Index in handlers, or REPLAY_NO_HANDLER.
    bool has_control;      // LOOP, GOTO or BRANCH occur.
};

struct open_loop {
    uint32_t id, index, line;
};

struct parser {
    const char *file;
    struct stream_target target;
    struct stream_error *error;
    uint32_t line;
    struct span text; // The current line, for columns.

    struct section sections[STREAM_COUNT_MAX];
    unsigned section_count;
    uint32_t ops_count;

    struct open_loop open[STREAM_DEPTH_MAX];
    unsigned depth;
    uint32_t *loop_parent; // By loop id.
    uint32_t loop_count, loop_capacity;
    bool in_handler;
    unsigned vector;       // While in_handler.
    uint32_t handler_line; // While in_handler.

    struct label *labels;
    uint32_t label_count, label_capacity;
    struct fixup *fixups;
    uint32_t fixup_count, fixup_capacity;
};

// Records the error (the first wins) and returns false. `at` points into the current line, or NULL.
bool stream_fail(struct parser *p, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// The same for a place that is not the current line. Line 0: the file as a whole.
bool stream_fail_at(struct parser *p, uint32_t line, uint32_t column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
uint32_t stream_column(const struct parser *p, const char *at);

// Makes room for one more element; false on lack of memory (reported).
bool stream_grow(struct parser *p, void **items, uint32_t count, uint32_t *capacity, size_t item_size);

// A number with an optional unit.
enum unit { UNIT_NONE, UNIT_NS, UNIT_US, UNIT_MS };
struct number {
    uint64_t value;
    enum unit unit;
};
// Decimal or 0x hex, underscores between digits, then ns, us or ms. False without report if it is not one.
bool stream_number(struct span word, struct number *number);

// A gap or other span of time in cycles of `khz` (no unit: cycles already).
bool stream_time(struct parser *p, struct span word, const char *what, uint32_t khz, uint64_t *cycles);
// A span of time in ns; `unit_needed` refuses a bare number, which is ns otherwise.
bool stream_time_ns(struct parser *p, struct span word, const char *what, bool unit_needed, uint64_t *ns);
bool stream_rip(struct parser *p, struct span word, const char *at, uint64_t *rip);
// A vector for intr, msi, exception or a handler.
bool stream_vector(struct parser *p, struct span word, uint64_t *vector);

// Fills op->args from words[0..count); op->kind is set. `end` is the end of the line, for messages.
bool stream_args(struct parser *p, struct replay_op *op, const struct span *words, unsigned count,
                 const char *end);

// Resolves labels, checks jumps and moves the sections into `set`.
bool stream_link(struct parser *p, struct stream_set *set);

#endif
