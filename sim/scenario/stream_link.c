// SPDX-License-Identifier: Apache-2.0
// Second pass over a stream file: handlers behind the main part, instruction pointers, labels, jumps that
// make sense, and no loop which takes no time.
#include "sim/scenario/stream_parse.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define WORD(span) (int)((span).size < 60 ? (span).size : 60), (span).at

static uint32_t final_index(const struct section *s, uint32_t index)
{
    return index & HANDLER_INDEX ? s->main.count + (index & ~HANDLER_INDEX) : index;
}

// Appends the handlers and one more END to the main part; loops' indexes move with them.
static bool join_parts(struct parser *p, struct section *s)
{
    uint32_t base = s->main.count;
    for (uint32_t i = 0; i < s->handlers.count; i++) {
        struct replay_op *op = &s->handlers.ops[i];
        if (op->kind == REPLAY_LOOP) {
            op->args[1] += base;
        } else if (op->kind == REPLAY_ENDLOOP) {
            op->args[0] += base;
        }
    }
    uint32_t total = base + s->handlers.count + (s->handlers.count > 0 ? 1 : 0);
    struct replay_op *ops = realloc(s->main.ops, total * sizeof(*ops));
    if (ops == NULL) {
        return stream_fail_at(p, 0, 0, "not enough memory for this file");
    }
    s->main.ops = ops;
    if (s->handlers.count > 0) {
        memcpy(ops + base, s->handlers.ops, s->handlers.count * sizeof(*ops));
        ops[total - 1] = (struct replay_op){.kind = REPLAY_END, .line = ops[base - 1].line};
    }
    return true;
}

static uint32_t joined_count(const struct section *s)
{
    return s->main.count + (s->handlers.count > 0 ? s->handlers.count + 1 : 0);
}

// rip of each op: as given, else behind the one before it. A branch begins with a VMREAD of 4 bytes.
static void set_rips(const struct section *s)
{
    uint64_t rip = s->initial_rip;
    for (uint32_t i = 0; i < joined_count(s); i++) {
        struct replay_op *op = &s->main.ops[i];
        if (op->flags & REPLAY_HAS_RIP) {
            rip = op->rip;
        }
        op->rip = rip;
        rip += op->kind == REPLAY_BRANCH ? stream_op_infos[REPLAY_VMREAD].length : op->length;
    }
}

// By name, then section.
static int label_order(const void *a, const void *b)
{
    const struct label *x = a, *y = b;
    size_t shorter = x->name.size < y->name.size ? x->name.size : y->name.size;
    int order = memcmp(x->name.at, y->name.at, shorter);
    if (order == 0) {
        order = (x->name.size > y->name.size) - (x->name.size < y->name.size);
    }
    return order != 0 ? order : (int)x->section - (int)y->section;
}

static bool sort_labels(struct parser *p)
{
    if (p->label_count == 0) {
        return true;
    }
    qsort(p->labels, p->label_count, sizeof(*p->labels), label_order);
    for (uint32_t i = 1; i < p->label_count; i++) {
        const struct label *a = &p->labels[i - 1], *b = &p->labels[i];
        if (label_order(a, b) == 0) {
            uint32_t first = a->line < b->line ? a->line : b->line;
            return stream_fail_at(p, a->line + b->line - first, 1, "label %.*s is here twice; see line %u",
                                  WORD(a->name), first);
        }
    }
    return true;
}

// First label of that name in any section: the array is sorted by name.
static const struct label *labels_named(const struct parser *p, struct span name)
{
    struct label key = {.name = name};
    uint32_t low = 0, high = p->label_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (label_order(&p->labels[middle], &key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < p->label_count && span_equal(p->labels[low].name, name) ? &p->labels[low] : NULL;
}

static bool unknown_label(struct parser *p, const struct fixup *f)
{
    struct stream_nearest nearest;
    stream_nearest_begin(&nearest, f->name);
    for (uint32_t i = 0; i < p->label_count && i < 100000; i++) {
        stream_nearest_offer(&nearest, p->labels[i].name);
    }
    if (nearest.best.size > 0) {
        return stream_fail_at(p, f->line, f->column, "unknown label '%.*s'; did you mean %.*s?",
                              WORD(f->name), WORD(nearest.best));
    }
    return stream_fail_at(p, f->line, f->column,
                          "unknown label '%.*s'; expected a line '%.*s:' in this stream", WORD(f->name),
                          WORD(f->name));
}

// The label of this stream; for label:NAME also the only one of that name in the others.
static const struct label *find_label(struct parser *p, const struct fixup *f)
{
    const struct label *first = labels_named(p, f->name), *only = NULL;
    unsigned others = 0;
    for (const struct label *l = first;
         l != NULL && l < p->labels + p->label_count && span_equal(l->name, f->name); l++) {
        if (l->section == f->section) {
            return l;
        }
        only = l;
        others++;
    }
    if (f->kind == FIXUP_RIP && others == 1) {
        return only;
    }
    if (f->kind == FIXUP_RIP && others > 1) {
        stream_fail_at(p, f->line, f->column, "label %.*s is in %u other streams; give it a name of its own",
                       WORD(f->name), others);
    } else {
        unknown_label(p, f);
    }
    return NULL;
}

static bool loop_encloses(const struct parser *p, uint32_t outer, uint32_t inner)
{
    while (inner != outer && inner != NO_LOOP) {
        inner = p->loop_parent[inner];
    }
    return inner == outer;
}

static bool resolve_jump(struct parser *p, const struct fixup *f, const struct label *l, uint64_t *arg)
{
    if (l->body != f->body) {
        return stream_fail_at(
            p, f->line, f->column,
            "label %.*s (line %u) is outside of this %s; a jump stays in the main part or in one "
            "handler",
            WORD(f->name), l->line, f->body == 0 ? "main part" : "handler");
    }
    if (!loop_encloses(p, l->loop, f->loop)) {
        return stream_fail_at(p, f->line, f->column,
                              "label %.*s (line %u) is inside of a loop; a jump may leave loops, "
                              "not enter one",
                              WORD(f->name), l->line);
    }
    *arg = final_index(&p->sections[l->section], l->index);
    return true;
}

static bool resolve_stream(struct parser *p, const struct fixup *f, uint64_t *arg)
{
    struct stream_nearest nearest;
    stream_nearest_begin(&nearest, f->name);
    for (unsigned i = 0; i < p->section_count; i++) {
        if (span_equal(p->sections[i].name, f->name)) {
            *arg = replay_idtr_base(p->target.vm, p->target.vcpu, i);
            return true;
        }
        stream_nearest_offer(&nearest, p->sections[i].name);
    }
    if (nearest.best.size > 0) {
        return stream_fail_at(p, f->line, f->column, "unknown stream '%.*s'; did you mean %.*s?",
                              WORD(f->name), WORD(nearest.best));
    }
    return stream_fail_at(p, f->line, f->column,
                          "unknown stream '%.*s'; expected a line 'stream %.*s' in this file", WORD(f->name),
                          WORD(f->name));
}

static bool resolve(struct parser *p, const struct fixup *f)
{
    struct section *s = &p->sections[f->section];
    uint64_t *arg = &s->main.ops[final_index(s, f->index)].args[f->arg];
    if (f->kind == FIXUP_STREAM) {
        return resolve_stream(p, f, arg);
    }
    const struct label *l = find_label(p, f);
    if (l == NULL) {
        return false;
    }
    if (f->kind == FIXUP_JUMP) {
        return resolve_jump(p, f, l, arg);
    }
    const struct section *of = &p->sections[l->section];
    *arg = of->main.ops[final_index(of, l->index)].rip;
    return true;
}

static bool takes_no_time(const struct replay_op *op)
{
    return op->gap_cycles == 0 &&
           (op->kind == REPLAY_LOOP || op->kind == REPLAY_ENDLOOP || op->kind == REPLAY_GOTO ||
            op->kind == REPLAY_BRANCH || op->kind == REPLAY_MSI);
}

// Successor number `which` (0, 1) of a timeless op, or UINT32_MAX. (A branch takes the time of its VMREAD.)
static uint32_t successor(const struct replay_op *ops, uint32_t i, unsigned which)
{
    const struct replay_op *op = &ops[i];
    if (op->kind == REPLAY_GOTO) {
        return which == 0 ? (uint32_t)op->args[0] : UINT32_MAX;
    }
    if (which == 0) {
        return i + 1;
    }
    return op->kind == REPLAY_ENDLOOP ? (uint32_t)op->args[0] + 1 : UINT32_MAX;
}

enum { UNSEEN = 0, FIRST_NEXT = 1, SECOND_NEXT = 2, LEAVING = 3, DONE = 4 };

// Depth-first search through timeless ops from `start`. state[] of an op on the path says what to try next.
// Returns the op that closes a cycle, or UINT32_MAX.
static uint32_t search_cycle(const struct replay_op *ops, uint32_t start, uint8_t *state, uint32_t *stack)
{
    uint32_t depth = 0;
    stack[depth++] = start;
    state[start] = FIRST_NEXT;
    while (depth > 0) {
        uint32_t i = stack[depth - 1];
        if (state[i] == LEAVING) {
            state[i] = DONE;
            depth--;
            continue;
        }
        uint32_t next = successor(ops, i, state[i] - FIRST_NEXT);
        state[i]++;
        if (next == UINT32_MAX || !takes_no_time(&ops[next]) || state[next] == DONE) {
            continue;
        }
        if (state[next] != UNSEEN) {
            return i;
        }
        state[next] = FIRST_NEXT;
        stack[depth++] = next;
    }
    return UINT32_MAX;
}

// A cycle of ops that take no guest time would stop simulated time for ever.
static bool check_time_passes(struct parser *p, const struct section *s)
{
    uint32_t count = joined_count(s), closing = UINT32_MAX;
    uint8_t *state = calloc(count, 1);
    uint32_t *stack = malloc(count * sizeof(*stack));
    bool good = state != NULL && stack != NULL;
    for (uint32_t i = 0; good && i < count && closing == UINT32_MAX; i++) {
        if (state[i] == UNSEEN && takes_no_time(&s->main.ops[i])) {
            closing = search_cycle(s->main.ops, i, state, stack);
        }
    }
    free(state);
    free(stack);
    if (!good) {
        return stream_fail_at(p, 0, 0, "not enough memory for this file");
    }
    return closing == UINT32_MAX ||
           stream_fail_at(
               p, s->main.ops[closing].line, 0,
               "going round here takes no guest time; expected an instruction or a gap in the loop");
}

static bool export_section(struct parser *p, struct section *s, struct replay_program *program)
{
    program->name = strndup(s->name.at, s->name.size);
    if (program->name == NULL) {
        return stream_fail_at(p, 0, 0, "not enough memory for this file");
    }
    program->op_count = joined_count(s);
    program->ops = s->main.ops;
    program->initial_rip = s->initial_rip;
    for (unsigned v = 0; v < 256; v++) {
        program->handler[v] =
            s->handler[v] == REPLAY_NO_HANDLER ? REPLAY_NO_HANDLER : s->main.count + s->handler[v];
    }
    s->main.ops = NULL; // The set owns it now.
    assert(program->ops[program->op_count - 1].kind == REPLAY_END);
    return true;
}

bool stream_link(struct parser *p, struct stream_set *set)
{
    for (unsigned i = 0; i < p->section_count; i++) {
        if (!join_parts(p, &p->sections[i])) {
            return false;
        }
        set_rips(&p->sections[i]);
    }
    if (!sort_labels(p)) {
        return false;
    }
    for (uint32_t i = 0; i < p->fixup_count; i++) {
        if (!resolve(p, &p->fixups[i])) {
            return false;
        }
    }
    for (unsigned i = 0; i < p->section_count; i++) {
        if (p->sections[i].has_control && !check_time_passes(p, &p->sections[i])) {
            return false;
        }
    }
    set->programs = calloc(p->section_count, sizeof(*set->programs));
    if (set->programs == NULL) {
        return stream_fail_at(p, 0, 0, "not enough memory for this file");
    }
    for (; set->count < p->section_count; set->count++) {
        if (!export_section(p, &p->sections[set->count], &set->programs[set->count])) {
            return false;
        }
    }
    return true;
}
