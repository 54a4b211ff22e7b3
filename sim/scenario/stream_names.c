// SPDX-License-Identifier: Apache-2.0
#include "sim/scenario/stream_names.h"

#include "models/cpu/x86/replay.h"

#include <string.h>

#define COUNT_OF(rows) (sizeof(rows) / sizeof(rows)[0])
#define ROW(text, number)                                                                                    \
    {                                                                                                        \
        text, sizeof(text) - 1, number                                                                       \
    }

// clang-format off
const struct stream_op_info stream_op_infos[REPLAY_OP_COUNT] = {
#define REPLAY_OP(name, word_, args_, min_, max_, length_, section_) \
    [REPLAY_##name] = {.word = word_, .args = args_, .section = section_, .min = min_, .max = max_, .length = length_},
#include "models/cpu/x86/replay_ops.def"
#undef REPLAY_OP
};
// clang-format on

// clang-format off
static const struct stream_name op_words[] = {
#define REPLAY_OP(name, word, args, min, max, length, section) ROW(word, REPLAY_##name),
#include "models/cpu/x86/replay_ops.def"
#undef REPLAY_OP
};

static const struct stream_name msrs[] = {
#define MSR(number, name, section) ROW(#name, number),
#define PV(number, name, origin) ROW(#name, number),
#include "spec/msrs.def"
#undef MSR
#undef PV
};

static const struct stream_name vmcs_fields[] = {
#define VMCS_FIELD(name, encoding, section) ROW(#name, encoding),
#include "spec/vmcs_fields.def"
#undef VMCS_FIELD
};

static const struct stream_name exit_reasons[] = {
#define EXIT_REASON(number, name, qualification, section) ROW(#name, number),
#include "spec/exit_reasons.def"
#undef EXIT_REASON
};
// clang-format on

const struct stream_names stream_op_words = {op_words, COUNT_OF(op_words)};
const struct stream_names stream_msrs = {msrs, COUNT_OF(msrs)};
const struct stream_names stream_vmcs_fields = {vmcs_fields, COUNT_OF(vmcs_fields)};
const struct stream_names stream_exit_reasons = {exit_reasons, COUNT_OF(exit_reasons)};

const struct stream_name *stream_name_find(const struct stream_names *names, struct span word)
{
    for (unsigned i = 0; i < names->count; i++) {
        const struct stream_name *row = &names->rows[i];
        if (row->size == word.size && memcmp(row->name, word.at, word.size) == 0) {
            return row;
        }
    }
    return NULL;
}

const struct stream_name *stream_name_of(const struct stream_names *names, uint32_t value)
{
    for (unsigned i = 0; i < names->count; i++) {
        if (names->rows[i].value == value) {
            return &names->rows[i];
        }
    }
    return NULL;
}

#define NEAREST_WORD_MAX 48u // Longer words have no near name; this also bounds the work on hostile input.

static unsigned lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned)(c - 'A' + 'a') : (unsigned char)c;
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

// Levenshtein distance with one row kept.
static unsigned edit_distance(struct span a, struct span b)
{
    unsigned row[NEAREST_WORD_MAX + 1];
    for (unsigned j = 0; j <= b.size; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; i <= a.size; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.size; j++) {
            unsigned change = diagonal + (lower(a.at[i - 1]) != lower(b.at[j - 1]));
            diagonal = row[j];
            row[j] = least(change, row[j] + 1, row[j - 1] + 1);
        }
    }
    return row[b.size];
}

void stream_nearest_begin(struct stream_nearest *nearest, struct span word)
{
    *nearest =
        (struct stream_nearest){.word = word, .distance = (unsigned)(word.size < 6 ? 2 : word.size / 3) + 1};
    if (word.size > NEAREST_WORD_MAX) {
        nearest->distance = 0;
    }
}

void stream_nearest_offer(struct stream_nearest *nearest, struct span candidate)
{
    size_t longer = nearest->word.size > candidate.size ? nearest->word.size : candidate.size;
    size_t shorter = nearest->word.size + candidate.size - longer;
    if (candidate.size == 0 || longer > NEAREST_WORD_MAX || longer - shorter >= nearest->distance) {
        return;
    }
    unsigned distance = edit_distance(nearest->word, candidate);
    if (distance < nearest->distance && distance < longer) {
        nearest->distance = distance;
        nearest->best = candidate;
    }
}

void stream_nearest_offer_all(struct stream_nearest *nearest, const struct stream_names *names)
{
    for (unsigned i = 0; i < names->count; i++) {
        stream_nearest_offer(nearest, span_of(names->rows[i].name, names->rows[i].size));
    }
}
