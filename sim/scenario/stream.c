// SPDX-License-Identifier: Apache-2.0
// Lines, sections, loops and handlers of stream files.
#include "sim/scenario/stream.h"

#include "sim/scenario/stream_parse.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define WORD(span) (int)((span).size < 60 ? (span).size : 60), (span).at
#define WORDS_MAX 16u // More words than any line can use; the next one is reported.
#define NAME_MAX_BYTES 63u

static void report(struct parser *p, uint32_t line, uint32_t column, const char *format, va_list list)
{
    if (p->error->text[0] != 0) {
        return;
    }
    p->error->line = line;
    p->error->column = column;
    char *text = p->error->text;
    size_t size = sizeof(p->error->text);
    int used = line == 0     ? snprintf(text, size, "%.200s: ", p->file)
               : column == 0 ? snprintf(text, size, "%.200s:%u: ", p->file, line)
                             : snprintf(text, size, "%.200s:%u:%u: ", p->file, line, column);
    char *message = text + used;
    (void)vsnprintf(message, size - (size_t)used, format, list);
    // What a hostile file put into a message must not drive the terminal.
    for (char *c = message; *c != 0; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
}

uint32_t stream_column(const struct parser *p, const char *at)
{
    return at == NULL ? 0 : (uint32_t)(at - p->text.at) + 1;
}

bool stream_fail(struct parser *p, const char *at, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    report(p, p->line, stream_column(p, at), format, list);
    va_end(list);
    return false;
}

bool stream_fail_at(struct parser *p, uint32_t line, uint32_t column, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    report(p, line, column, format, list);
    va_end(list);
    return false;
}

bool stream_grow(struct parser *p, void **items, uint32_t count, uint32_t *capacity, size_t item_size)
{
    if (count < *capacity) {
        return true;
    }
    uint32_t more = *capacity == 0 ? 16 : *capacity * 2;
    void *grown = realloc(*items, (size_t)more * item_size);
    if (grown == NULL) {
        return stream_fail(p, NULL, "not enough memory for this file");
    }
    *items = grown;
    *capacity = more;
    return true;
}

static struct section *current(struct parser *p)
{
    return &p->sections[p->section_count - 1];
}

static bool push_op(struct parser *p, const struct replay_op *op)
{
    uint32_t ops_max = p->target.ops_max != 0 ? p->target.ops_max : STREAM_OPS_MAX;
    if (p->ops_count >= ops_max) {
        return stream_fail(p, NULL, "more than %u ops in one file; split the recording or write loops",
                           ops_max);
    }
    struct op_list *list = p->in_handler ? &current(p)->handlers : &current(p)->main;
    if (!stream_grow(p, (void **)&list->ops, list->count, &list->capacity, sizeof(*list->ops))) {
        return false;
    }
    list->ops[list->count++] = *op;
    p->ops_count++;
    return true;
}

static bool valid_name(struct span name)
{
    bool good = name.size > 0 && name.size <= NAME_MAX_BYTES;
    for (size_t i = 0; good && i < name.size; i++) {
        char c = name.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        good = letter || (i > 0 && ((c >= '0' && c <= '9') || c == '-'));
    }
    return good;
}

static bool check_name(struct parser *p, struct span name, const char *what)
{
    return valid_name(name) ||
           stream_fail(p, name.at,
                       "'%.*s' is no name for a %s; expected letters, digits, _ and -, at most %u",
                       WORD(name), what, NAME_MAX_BYTES);
}

static bool begin_section(struct parser *p, struct span name, uint64_t rip)
{
    if (p->section_count == STREAM_COUNT_MAX) {
        return stream_fail(p, name.at, "more than %u streams in one file", STREAM_COUNT_MAX);
    }
    for (unsigned i = 0; i < p->section_count; i++) {
        if (span_equal(p->sections[i].name, name)) {
            return stream_fail(p, name.at, "stream %.*s is here twice; it began in line %u", WORD(name),
                               p->sections[i].line);
        }
    }
    struct section *s = &p->sections[p->section_count++];
    s->name = name;
    s->line = p->line;
    s->initial_rip = rip;
    for (unsigned v = 0; v < 256; v++) {
        s->handler[v] = REPLAY_NO_HANDLER;
    }
    return true;
}

// The stream main may go without its line.
static bool need_section(struct parser *p)
{
    return p->section_count > 0 || begin_section(p, span_of("main", 4), STREAM_RIP);
}

static bool end_section(struct parser *p)
{
    if (p->depth > 0) {
        return stream_fail_at(p, p->open[p->depth - 1].line, 0,
                              "this loop has no end; expected a line with } after it");
    }
    if (p->in_handler) {
        return stream_fail_at(p, p->handler_line, 0, "the handler of vector %u does not end; expected iret",
                              p->vector);
    }
    if (p->section_count == 0) {
        return true;
    }
    struct section *s = current(p);
    if (s->main.count == 0) {
        return stream_fail_at(p, s->line, 0,
                              "stream %.*s is empty; expected at least one op outside of handlers",
                              WORD(s->name));
    }
    struct replay_op end = {.kind = REPLAY_END, .line = p->line};
    return push_op(p, &end);
}

static bool line_stream(struct parser *p, const struct span *words, unsigned count, const char *end)
{
    if (count < 2) {
        return stream_fail(p, end, "stream needs a name here, such as stream l2");
    }
    uint64_t rip = STREAM_RIP;
    if (count > 2) {
        struct span word = words[2];
        if (count > 3 || word.size < 4 || memcmp(word.at, "rip=", 4) != 0) {
            return stream_fail(
                p, word.at, "'%.*s' is not expected; after the name only rip=ADDRESS may stand", WORD(word));
        }
        if (!stream_rip(p, span_of(word.at + 4, word.size - 4), word.at, &rip)) {
            return false;
        }
    }
    if (p->section_count == 0 && !span_is(words[1], "main")) {
        return stream_fail(p, words[1].at,
                           "the first stream must be main, the vCPU's own; nested guests' follow it");
    }
    return check_name(p, words[1], "stream") && end_section(p) && begin_section(p, words[1], rip);
}

static bool line_on(struct parser *p, const struct span *words, unsigned count, const char *end)
{
    struct span word = count > 1 ? words[1] : span_of(end, 0);
    if (word.size > 0 && word.at[word.size - 1] == ':') {
        word.size--;
    } else {
        return stream_fail(p, word.at, "expected a vector and a colon, such as on 236:");
    }
    uint64_t vector;
    if (count > 2) {
        return stream_fail(p, words[2].at,
                           "'%.*s' is not expected; the handler's ops follow on lines of their own",
                           WORD(words[2]));
    }
    if (!stream_vector(p, word, &vector)) {
        return false;
    }
    if (p->in_handler) {
        return stream_fail(p, words[0].at, "the handler of vector %u (line %u) has no iret yet", p->vector,
                           p->handler_line);
    }
    if (p->depth > 0) {
        return stream_fail(p, words[0].at, "a handler cannot stand inside of a loop (line %u)",
                           p->open[p->depth - 1].line);
    }
    struct section *s = current(p);
    if (s->handler[vector] != REPLAY_NO_HANDLER) {
        return stream_fail(p, word.at, "vector %llu has a handler already, in line %u",
                           (unsigned long long)vector, s->handlers.ops[s->handler[vector]].line);
    }
    s->handler[vector] = s->handlers.count;
    p->in_handler = true;
    p->vector = (unsigned)vector;
    p->handler_line = p->line;
    return true;
}

static bool line_label(struct parser *p, struct span name)
{
    if (!check_name(p, name, "label") ||
        !stream_grow(p, (void **)&p->labels, p->label_count, &p->label_capacity, sizeof(*p->labels))) {
        return false;
    }
    const struct section *s = current(p);
    p->labels[p->label_count++] = (struct label){
        .name = name,
        .line = p->line,
        .index = p->in_handler ? s->handlers.count | HANDLER_INDEX : s->main.count,
        .loop = p->depth > 0 ? p->open[p->depth - 1].id : NO_LOOP,
        .body = (uint16_t)(p->in_handler ? p->vector + 1 : 0),
        .section = (uint16_t)(p->section_count - 1),
    };
    return true;
}

static bool open_loop(struct parser *p, struct replay_op *op, const char *at)
{
    if (p->depth == STREAM_DEPTH_MAX) {
        return stream_fail(p, at, "loops are nested deeper than %u", STREAM_DEPTH_MAX);
    }
    if (!stream_grow(p, (void **)&p->loop_parent, p->loop_count, &p->loop_capacity,
                     sizeof(*p->loop_parent))) {
        return false;
    }
    const struct section *s = current(p);
    p->loop_parent[p->loop_count] = p->depth > 0 ? p->open[p->depth - 1].id : NO_LOOP;
    p->open[p->depth] = (struct open_loop){
        .id = p->loop_count++,
        .index = p->in_handler ? s->handlers.count : s->main.count,
        .line = p->line,
    };
    op->args[2] = p->depth++;
    return true;
}

static bool close_loop(struct parser *p, struct replay_op *op, const char *at)
{
    if (p->depth == 0) {
        return stream_fail(p, at, "this } closes no loop");
    }
    struct open_loop loop = p->open[--p->depth];
    struct op_list *list = p->in_handler ? &current(p)->handlers : &current(p)->main;
    if (list->count == loop.index + 1) {
        return stream_fail(p, at, "the loop of line %u is empty", loop.line);
    }
    // Both indexes are moved when handlers follow the main part (stream_link.c).
    list->ops[loop.index].args[1] = list->count;
    op->args[0] = loop.index;
    op->args[1] = p->depth;
    return true;
}

static bool option_len(struct parser *p, struct replay_op *op, struct span word, struct span value)
{
    struct number n;
    if (!stream_number(value, &n) || n.unit != UNIT_NONE || n.value < 1 || n.value > 15) {
        return stream_fail(p, word.at, "'%.*s': an instruction has 1 to 15 bytes", WORD(word));
    }
    if (stream_op_infos[op->kind].length == 0) {
        return stream_fail(p, word.at, "%s is no instruction and has no length",
                           stream_op_infos[op->kind].word);
    }
    op->length = (uint8_t)n.value;
    return true;
}

// rip=, len= and rec= after the arguments.
static bool read_option(struct parser *p, struct replay_op *op, struct span word)
{
    const char *equals = memchr(word.at, '=', word.size);
    struct span key = span_of(word.at, (size_t)(equals - word.at));
    struct span value = span_of(equals + 1, word.size - key.size - 1);
    if (span_is(key, "rip")) {
        op->flags |= REPLAY_HAS_RIP;
        return stream_rip(p, value, word.at, &op->rip);
    }
    if (span_is(key, "rec")) {
        op->flags |= REPLAY_HAS_RECORDED;
        return stream_time_ns(p, value, "recorded time", true, &op->recorded_ns);
    }
    if (span_is(key, "len")) {
        return option_len(p, op, word, value);
    }
    return stream_fail(p, word.at, "unknown option '%.*s'; expected rip=, len= or rec=", WORD(key));
}

static bool unknown_word(struct parser *p, struct span word)
{
    static const char *const others[] = {"stream", "on"};
    struct stream_nearest nearest;
    stream_nearest_begin(&nearest, word);
    stream_nearest_offer_all(&nearest, &stream_op_words);
    for (size_t i = 0; i < sizeof(others) / sizeof(others)[0]; i++) {
        stream_nearest_offer(&nearest, span_of(others[i], strlen(others[i])));
    }
    if (nearest.best.size > 0) {
        return stream_fail(p, word.at, "unknown word '%.*s'; did you mean %.*s?", WORD(word),
                           WORD(nearest.best));
    }
    return stream_fail(p, word.at, "unknown word '%.*s'; expected an op such as hlt, wrmsr or out",
                       WORD(word));
}

// Where an iret, loop or } may stand, and what it changes.
static bool control(struct parser *p, struct replay_op *op, struct span word)
{
    struct section *s = current(p);
    switch ((int)op->kind) {
    case REPLAY_LOOP:
        s->has_control = true;
        return open_loop(p, op, word.at);
    case REPLAY_ENDLOOP:
        return close_loop(p, op, word.at);
    case REPLAY_GOTO:
    case REPLAY_BRANCH:
        s->has_control = true;
        return true;
    case REPLAY_IRET:
        if (!p->in_handler) {
            return stream_fail(p, word.at,
                               "iret outside of a handler; a handler begins with a line such as on 236:");
        }
        return p->depth == 0 ||
               stream_fail(p, word.at, "iret inside of a loop (line %u); close the loop first",
                           p->open[p->depth - 1].line);
    default:
        return true;
    }
}

static bool line_op(struct parser *p, const struct span *words, unsigned count, const char *end)
{
    struct replay_op op = {.line = p->line};
    unsigned at = 0;
    bool has_gap = words[0].at[0] >= '0' && words[0].at[0] <= '9';
    if (has_gap && !stream_time(p, words[at++], "gap", p->target.clock_khz, &op.gap_cycles)) {
        return false;
    }
    if (at == count) {
        return stream_fail(p, end, "expected what the guest does after this gap, such as hlt");
    }
    struct span word = words[at++];
    const struct stream_name *row = stream_name_find(&stream_op_words, word);
    if (row == NULL) {
        return unknown_word(p, word);
    }
    op.kind = (uint8_t)row->value;
    op.length = stream_op_infos[op.kind].length;
    if (op.kind == REPLAY_LOOP) {
        if (!span_is(words[count - 1], "{") || count - at < 1) {
            return stream_fail(p, end, "expected { at the end of a loop's line, such as loop 10 {");
        }
        count--;
    }
    unsigned args = 0;
    while (at + args < count && memchr(words[at + args].at, '=', words[at + args].size) == NULL) {
        args++;
    }
    struct span last = words[at + args - 1];
    if (!control(p, &op, word) || !stream_args(p, &op, words + at, args, last.at + last.size)) {
        return false;
    }
    for (at += args; at < count; at++) {
        if (memchr(words[at].at, '=', words[at].size) == NULL) {
            return stream_fail(p, words[at].at, "argument '%.*s' stands after an option; options come last",
                               WORD(words[at]));
        }
        if (!read_option(p, &op, words[at])) {
            return false;
        }
    }
    if (!push_op(p, &op)) {
        return false;
    }
    p->in_handler = p->in_handler && op.kind != REPLAY_IRET;
    return true;
}

// Splits a line at blanks, up to a comment. Returns the number of words, or WORDS_MAX + 1.
static unsigned split(struct span line, struct span *words)
{
    unsigned count = 0;
    const char *at = line.at, *end = line.at + line.size;
    while (at < end) {
        if (*at == ' ' || *at == '\t') {
            at++;
            continue;
        }
        if (*at == '#') {
            break;
        }
        const char *first = at;
        while (at < end && *at != ' ' && *at != '\t') {
            at++;
        }
        if (count == WORDS_MAX) {
            return WORDS_MAX + 1;
        }
        words[count++] = span_of(first, (size_t)(at - first));
    }
    return count;
}

static bool parse_line(struct parser *p, bool *magic_seen)
{
    struct span words[WORDS_MAX];
    if (p->text.size > STREAM_LINE_MAX) {
        return stream_fail(p, NULL, "the line has more than %u bytes", STREAM_LINE_MAX);
    }
    if (memchr(p->text.at, 0, p->text.size) != NULL) {
        return stream_fail(p, NULL, "the line holds a zero byte: this is not a text file");
    }
    unsigned count = split(p->text, words);
    if (count == 0) {
        return true;
    }
    if (count > WORDS_MAX) {
        return stream_fail(p, NULL, "the line has more than %u words; one op stands on each line", WORDS_MAX);
    }
    const char *end = words[count - 1].at + words[count - 1].size;
    if (!*magic_seen) {
        *magic_seen = true;
        if (count == 2 && span_is(words[0], "hvsim-stream") && span_is(words[1], "1")) {
            return true;
        }
        if (span_is(words[0], "hvsim-stream")) {
            return stream_fail(p, words[0].at,
                               "this version of the format is not known; expected " STREAM_MAGIC);
        }
        return stream_fail(p, words[0].at,
                           "expected the line " STREAM_MAGIC " first: is this a stream file?");
    }
    if (span_is(words[0], "stream")) {
        return line_stream(p, words, count, end);
    }
    if (!need_section(p)) {
        return false;
    }
    if (span_is(words[0], "on")) {
        return line_on(p, words, count, end);
    }
    if (words[0].size > 1 && words[0].at[words[0].size - 1] == ':') {
        if (count > 1) {
            return stream_fail(p, words[1].at,
                               "expected nothing after a label; the op goes on the next line");
        }
        return line_label(p, span_of(words[0].at, words[0].size - 1));
    }
    return line_op(p, words, count, end);
}

static bool parse_lines(struct parser *p, const char *text, size_t size)
{
    const char *at = text, *end = text + size;
    bool magic_seen = false;
    if (size >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) {
        at += 3;
    }
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *next = newline == NULL ? end : newline + 1;
        size_t line_size = (size_t)((newline == NULL ? end : newline) - at);
        if (line_size > 0 && at[line_size - 1] == '\r') {
            line_size--;
        }
        p->line++;
        p->text = span_of(at, line_size);
        if (!parse_line(p, &magic_seen)) {
            return false;
        }
        at = next;
    }
    if (!magic_seen || p->section_count == 0) {
        return stream_fail_at(p, 0, 0,
                              "the file holds no ops; expected " STREAM_MAGIC " and then one op a line");
    }
    return end_section(p);
}

bool stream_parse(const char *file, const char *text, size_t size_bytes, const struct stream_target *target,
                  struct stream_set *set, struct stream_error *error)
{
    assert(target->clock_khz > 0 && target->clock_khz <= 100000000);
    assert(target->tsc_khz > 0 && target->tsc_khz <= 100000000);
    *set = (struct stream_set){0};
    *error = (struct stream_error){0};
    struct parser *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        (void)snprintf(error->text, sizeof(error->text), "%.200s: not enough memory", file);
        return false;
    }
    p->file = file;
    p->target = *target;
    p->error = error;
    bool good = parse_lines(p, text, size_bytes) && stream_link(p, set);
    for (unsigned i = 0; i < STREAM_COUNT_MAX; i++) {
        free(p->sections[i].main.ops);
        free(p->sections[i].handlers.ops);
    }
    free(p->loop_parent);
    free(p->labels);
    free(p->fixups);
    free(p);
    if (!good) {
        stream_free(set);
    }
    return good;
}

void stream_free(struct stream_set *set)
{
    for (unsigned i = 0; i < set->count; i++) {
        free((void *)(uintptr_t)set->programs[i].name);
        free(set->programs[i].ops);
    }
    free(set->programs);
    *set = (struct stream_set){0};
}
