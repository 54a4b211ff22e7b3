// SPDX-License-Identifier: Apache-2.0
/* Folded stacks: every distinct stack is a node of a tree; a node sums the self cycles of its calls. */
#include "traces/chunks.h"
#include "traces/dict.h"
#include "traces/error.h"
#include "traces/memory.h"
#include "traces/reader.h"

#include <stdio.h>
#include <stdlib.h>

struct folded_line {
    char *stack;
    uint64_t cycles;
};

// Node n is key n of the dict: parent node (0 none) << 32 | label. A label is a texts.id, or a thread's
// number with the top bit set.
struct folded {
    struct dict nodes;
    uint64_t *cycles; // by node
    size_t cycle_capacity;
    uint32_t *open; // nodes of the current thread's open calls
    size_t open_capacity;
    int64_t run, thread;
    uint32_t root; // of the current thread: 0, or the node of its number
    bool threads;
};

enum { FOLDED_THREAD = 1u << 31 };

static uint32_t folded_node(struct folded *folded, uint32_t parent, uint32_t label)
{
    uint64_t key = (uint64_t)parent << 32 | label;
    bool is_new;
    uint32_t node = dict_number(&folded->nodes, &key, &is_new);
    void *cycles = folded->cycles;

    memory_fit(&cycles, &folded->cycle_capacity, node, sizeof *folded->cycles);
    folded->cycles = cycles;
    return node;
}

// The node of the open call at depth - 1.
static uint32_t folded_top(const struct folded *folded, size_t depth)
{
    return depth ? folded->open[depth - 1] : folded->root;
}

static void folded_open(struct folded *folded, const struct call_stack *stack, size_t from)
{
    void *open = folded->open;

    memory_fit(&open, &folded->open_capacity, stack->depth, sizeof *folded->open);
    folded->open = open;
    for (size_t i = from; i < stack->depth; i++)
        folded->open[i] = folded_node(folded, folded_top(folded, i), stack->frames[i].function);
}

static void folded_take(struct folded *folded, const struct chunks *chunks, enum call_step step,
                        const struct call_done *done)
{
    const struct call_stack *stack = &chunks->stack;

    if (folded->run != chunks->run || folded->thread != chunks->thread) {
        folded->run = chunks->run;
        folded->thread = chunks->thread;
        folded->root = folded->threads ? folded_node(folded, 0, FOLDED_THREAD | (uint32_t)chunks->thread) : 0;
        folded_open(folded, stack, 0);
    } else if (step == CALL_STEP_BEGAN) {
        folded_open(folded, stack, stack->depth - 1);
    }
    if (step == CALL_STEP_DONE)
        folded->cycles[folded_node(folded, folded_top(folded, done->depth), done->function)] +=
            done->self_cycles;
}

static enum trace_status folded_read(struct trace_reader *reader, int64_t run, struct folded *folded,
                                     struct trace_error *error)
{
    struct chunks chunks;
    struct call_done done;
    int result = chunks_open(&chunks, reader->db, run ? run : -1, -1, 0);
    enum call_step step = CALL_STEP_END_OF_CHUNK;

    while (result == SQLITE_OK || step != CALL_STEP_END_OF_CHUNK) {
        step = chunks_step(&chunks, &done, &result);
        if (step == CALL_STEP_END_OF_CHUNK || step == CALL_STEP_DAMAGED)
            break;
        folded_take(folded, &chunks, step, &done);
    }
    enum trace_status status = TRACE_OK;

    if (step == CALL_STEP_DAMAGED)
        status = error_set(error, TRACE_DAMAGED, "%s: a chunk of calls is damaged", reader->path);
    else if (result != SQLITE_DONE)
        status = error_from_sqlite(error, reader->db, reader->path, "read");
    chunks_close(&chunks);
    return status;
}

// What a label is called: from texts, or a thread's number. The text is valid until the next call.
static const char *folded_name(sqlite3_stmt *find, uint32_t label)
{
    static const char unknown[] = "?";
    static char number[32];

    if (label & FOLDED_THREAD) {
        snprintf(number, sizeof number, "thread %u", label & ~(uint32_t)FOLDED_THREAD);
        return number;
    }
    sqlite3_reset(find);
    sqlite3_bind_int64(find, 1, label);
    const char *text = sqlite3_step(find) == SQLITE_ROW ? (const char *)sqlite3_column_text(find, 0) : NULL;

    return text ? text : unknown;
}

// The stack's text, from the outermost frame; the caller frees it.
static char *folded_text(const struct folded *folded, uint32_t node, sqlite3_stmt *find)
{
    char *text = NULL;

    while (node) {
        uint64_t key = folded->nodes.keys[node - 1];
        const char *name = folded_name(find, (uint32_t)key);
        size_t size = strlen(name) + (text ? strlen(text) : 0) + 2;
        char *longer = memory_zeroed(size, 1);

        snprintf(longer, size, "%s%s%s", name, text ? ";" : "", text ? text : "");
        free(text);
        text = longer;
        node = (uint32_t)(key >> 32);
    }
    return text;
}

static int folded_compare(const void *a, const void *b)
{
    return strcmp(((const struct folded_line *)a)->stack, ((const struct folded_line *)b)->stack);
}

static void folded_write(const struct folded *folded, sqlite3_stmt *find, trace_text_fn *fn, void *context)
{
    struct folded_line *lines = memory_zeroed(folded->nodes.count, sizeof *lines);
    size_t count = 0;
    bool more = true;

    for (uint32_t node = 1; node <= folded->nodes.count; node++)
        if (folded->cycles[node])
            lines[count++] = (struct folded_line){folded_text(folded, node, find), folded->cycles[node]};
    qsort(lines, count, sizeof *lines, folded_compare);
    for (size_t i = 0; i < count; i++) {
        char number[32];
        size_t size = (size_t)snprintf(number, sizeof number, " %llu\n", (unsigned long long)lines[i].cycles);

        more = more && fn(context, lines[i].stack, strlen(lines[i].stack)) && fn(context, number, size);
        free(lines[i].stack);
    }
    free(lines);
}

enum trace_status trace_export_folded(struct trace_reader *reader, int64_t run, bool threads,
                                      trace_text_fn *fn, void *context, struct trace_error *error)
{
    struct folded folded = {.thread = -1, .threads = threads};
    sqlite3_stmt *find = NULL;

    dict_init(&folded.nodes, 1);
    enum trace_status status =
        reader_prepare(reader, "SELECT text FROM main.texts WHERE id = ?", &find, error);

    if (status == TRACE_OK)
        status = folded_read(reader, run, &folded, error);
    if (status == TRACE_OK)
        folded_write(&folded, find, fn, context);
    sqlite3_finalize(find);
    free(folded.cycles);
    free(folded.open);
    dict_free(&folded.nodes);
    return status;
}
