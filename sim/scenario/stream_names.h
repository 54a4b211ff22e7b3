// SPDX-License-Identifier: Apache-2.0
// Names that stream files use (op words, MSRs, VMCS fields, exit reasons), from spec/*.def and
// replay_ops.def, and the nearest word for a message. Pure functions; no simulated time.
#ifndef SIM_SCENARIO_STREAM_NAMES_H
#define SIM_SCENARIO_STREAM_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// A piece of text that is not zero-terminated.
struct span {
    const char *at;
    size_t size;
};

struct stream_name {
    const char *name;
    uint32_t size; // Bytes of name.
    uint32_t value;
};

struct stream_names {
    const struct stream_name *rows;
    unsigned count;
};

extern const struct stream_names stream_op_words;     // value: enum replay_op_kind
extern const struct stream_names stream_msrs;         // value: MSR number
extern const struct stream_names stream_vmcs_fields;  // value: encoding
extern const struct stream_names stream_exit_reasons; // value: basic exit reason

// A row of replay_ops.def, without its name.
struct stream_op_info {
    const char *word, *args, *section;
    uint8_t min, max, length;
};
extern const struct stream_op_info stream_op_infos[]; // By enum replay_op_kind.

// The row of that name, or NULL. Letters count as written.
const struct stream_name *stream_name_find(const struct stream_names *names, struct span word);
// The first row with that value, or NULL.
const struct stream_name *stream_name_of(const struct stream_names *names, uint32_t value);

// Search for the candidate with the least edit distance to `word`; letter case does not count.
struct stream_nearest {
    struct span word;
    struct span best;  // Of size 0 while nothing was near enough.
    unsigned distance; // Of best; at the start the limit.
};

void stream_nearest_begin(struct stream_nearest *nearest, struct span word);
void stream_nearest_offer(struct stream_nearest *nearest, struct span candidate);
void stream_nearest_offer_all(struct stream_nearest *nearest, const struct stream_names *names);

static inline struct span span_of(const char *text, size_t size)
{
    return (struct span){text, size};
}
// Inline, so that the size of a literal is a constant: the importer compares many words.
static inline bool span_is(struct span a, const char *text)
{
    size_t size = strlen(text);
    return a.size == size && memcmp(a.at, text, size) == 0;
}
static inline bool span_equal(struct span a, struct span b)
{
    return a.size == b.size && memcmp(a.at, b.at, a.size) == 0;
}

#endif
