// SPDX-License-Identifier: Apache-2.0
// Programs back to text. The importer writes millions of lines through stream_format_op(), so numbers are
// written by hand.
#include "sim/scenario/stream.h"

#include "sim/scenario/stream_parse.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct writer {
    char *at, *end;
};

static void put(struct writer *w, const char *text, size_t size)
{
    if (size > (size_t)(w->end - w->at)) {
        size = (size_t)(w->end - w->at);
    }
    memcpy(w->at, text, size);
    w->at += size;
}

static void put_text(struct writer *w, const char *text)
{
    put(w, text, strlen(text));
}

static void put_decimal(struct writer *w, uint64_t value)
{
    char digits[20];
    unsigned at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    put(w, digits + at, sizeof(digits) - at);
}

static void put_hex(struct writer *w, uint64_t value)
{
    char digits[18];
    unsigned at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value != 0);
    digits[--at] = 'x';
    digits[--at] = '0';
    put(w, digits + at, sizeof(digits) - at);
}

static void put_number(struct writer *w, uint64_t value)
{
    if (value < 1000) {
        put_decimal(w, value);
    } else {
        put_hex(w, value);
    }
}

// The shortest exact form.
static void put_ns(struct writer *w, uint64_t ns)
{
    if (ns % 1000 == 0 && ns != 0) {
        put_decimal(w, ns / 1000);
        put_text(w, "us");
    } else {
        put_decimal(w, ns);
        put_text(w, "ns");
    }
}

static void put_named(struct writer *w, const struct stream_names *names, uint64_t value)
{
    const struct stream_name *row = value <= UINT32_MAX ? stream_name_of(names, (uint32_t)value) : NULL;
    if (row != NULL) {
        put(w, row->name, row->size);
    } else {
        put_hex(w, value);
    }
}

static void put_label(struct writer *w, uint64_t index)
{
    put_text(w, "L");
    put_decimal(w, index);
}

static void put_arg(struct writer *w, const struct replay_op *op, unsigned i, enum stream_unit unit)
{
    uint64_t value = op->args[i];
    switch (stream_op_infos[op->kind].args[i]) {
    case 'm':
        put_named(w, &stream_msrs, value);
        return;
    case 'f':
        put_named(w, &stream_vmcs_fields, value);
        return;
    case 'r':
        put_named(w, &stream_exit_reasons, value);
        return;
    case 'c':
        put_text(w, "cr");
        put_decimal(w, value);
        return;
    case 'l':
        put_label(w, value);
        return;
    default:
        break;
    }
    if (op->kind == REPLAY_MSI && i == 1) {
        put_ns(w, value);
    } else if (op->kind == REPLAY_WRMSR && (op->flags & REPLAY_ARG1_TSC_RELATIVE)) {
        put_text(w, "tsc+");
        if (unit == STREAM_NS) {
            put_ns(w, value);
        } else {
            put_decimal(w, value);
        }
    } else {
        put_number(w, value);
    }
}

// How many arguments must be written: trailing zeros that may be left out are left out.
static unsigned args_needed(const struct replay_op *op)
{
    const struct stream_op_info *info = &stream_op_infos[op->kind];
    if (op->kind == REPLAY_LOOP) {
        return op->args[0] != 0 ? 1 : 0; // The other arguments are the parser's.
    }
    unsigned count = info->max;
    while (count > info->min && op->args[count - 1] == 0) {
        count--;
    }
    return count;
}

size_t stream_format_op(char out[STREAM_OP_TEXT_MAX], const struct replay_op *op, enum stream_unit unit)
{
    const struct stream_op_info *info = &stream_op_infos[op->kind];
    struct writer w = {out, out + STREAM_OP_TEXT_MAX - 1};
    if (op->gap_cycles != 0) {
        if (unit == STREAM_NS) {
            put_ns(&w, op->gap_cycles);
        } else {
            put_decimal(&w, op->gap_cycles);
        }
        put_text(&w, " ");
    }
    put_text(&w, info->word);
    unsigned count = args_needed(op);
    for (unsigned i = 0; i < count; i++) {
        put_text(&w, " ");
        put_arg(&w, op, i, unit);
    }
    if (op->flags & REPLAY_HAS_RIP) {
        put_text(&w, " rip=");
        put_hex(&w, op->rip);
    }
    if (op->length != info->length) {
        put_text(&w, " len=");
        put_decimal(&w, op->length);
    }
    if (op->flags & REPLAY_HAS_RECORDED) {
        put_text(&w, " rec=");
        put_ns(&w, op->recorded_ns);
    }
    if (op->kind == REPLAY_LOOP) {
        put_text(&w, " {");
    }
    *w.at = 0;
    return (size_t)(w.at - out);
}

// Marks the ops that jumps go to.
static void mark_targets(const struct replay_program *program, bool *target)
{
    for (uint32_t i = 0; i < program->op_count; i++) {
        const struct replay_op *op = &program->ops[i];
        if (op->kind == REPLAY_GOTO) {
            target[op->args[0]] = true;
        } else if (op->kind == REPLAY_BRANCH) {
            target[op->args[3]] = true;
        }
    }
}

static void write_op(FILE *to, const struct replay_program *program, uint32_t i, const bool *target)
{
    char text[STREAM_OP_TEXT_MAX];
    if (target[i]) {
        (void)fprintf(to, "L%" PRIu32 ":\n", i);
    }
    (void)stream_format_op(text, &program->ops[i], STREAM_CYCLES);
    (void)fprintf(to, "    %s\n", text);
}

static int vector_starting_at(const struct replay_program *program, uint32_t i)
{
    for (unsigned v = 0; v < 256; v++) {
        if (program->handler[v] == i) {
            return (int)v;
        }
    }
    return -1;
}

static bool write_program(FILE *to, const struct replay_program *program)
{
    bool *target = calloc(program->op_count, sizeof(*target));
    if (target == NULL) {
        return false;
    }
    mark_targets(program, target);
    uint32_t main_count = program->op_count;
    for (unsigned v = 0; v < 256; v++) {
        if (program->handler[v] < main_count) {
            main_count = program->handler[v];
        }
    }
    bool has_handlers = main_count < program->op_count;
    (void)fprintf(to, "stream %s rip=0x%" PRIx64 "\n", program->name, program->initial_rip);
    for (uint32_t i = 0; i + 1 < main_count; i++) {
        write_op(to, program, i, target);
    }
    if (target[main_count - 1]) { // The END that the parser adds.
        (void)fprintf(to, "L%" PRIu32 ":\n", main_count - 1);
    }
    bool inside = false;
    for (uint32_t i = main_count; has_handlers && i + 1 < program->op_count; i++) {
        if (!inside) {
            (void)fprintf(to, "on %d:\n", vector_starting_at(program, i));
        }
        write_op(to, program, i, target);
        inside = program->ops[i].kind != REPLAY_IRET;
    }
    free(target);
    return !ferror(to);
}

bool stream_write(FILE *to, const struct stream_set *set)
{
    (void)fprintf(to, STREAM_MAGIC "\n");
    for (unsigned i = 0; i < set->count; i++) {
        if (!write_program(to, &set->programs[i])) {
            return false;
        }
    }
    return fflush(to) == 0 && !ferror(to);
}
