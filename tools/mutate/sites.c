// SPDX-License-Identifier: Apache-2.0
/* Where the core's text has a fence, a lock or an ordering. */
#include "tools/lint/lint.h"
#include "tools/mutate/mutate.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct operator
{
    const char *kind, *begins, *ends, *instead_begins, *instead_ends;
};

static const struct operator operators[] = {
#define MUTATE_CALL(kind, function, instead) {#kind, #function, NULL, instead, NULL},
#define MUTATE_PAIR(kind, begins, ends, instead_begins, instead_ends)                                        \
    {#kind, #begins, #ends, instead_begins, instead_ends},
#define MUTATE_OPEN(file, function, begins, hold)
#include "tools/mutate/operators.def"
#undef MUTATE_CALL
#undef MUTATE_PAIR
#undef MUTATE_OPEN
};
enum { OPERATORS = sizeof operators / sizeof *operators };

static const struct {
    const char *file, *function, *begins, *hold;
} open_functions[] = {
#define MUTATE_CALL(kind, function, instead)
#define MUTATE_PAIR(kind, begins, ends, instead_begins, instead_ends)
#define MUTATE_OPEN(file, function, begins, hold) {file, #function, #begins, #hold},
#include "tools/mutate/operators.def"
#undef MUTATE_CALL
#undef MUTATE_PAIR
#undef MUTATE_OPEN
};
enum { OPENS = sizeof open_functions / sizeof *open_functions };

/* A call of an operator's function. */
struct call {
    const struct operator* op;
    bool ends;
    size_t start, open, end; // Its name, its parenthesis, behind it
    const char *function;
    unsigned ordinal, line;
    const char *hold; // Of several functions
};

struct reader {
    struct mutate_sites *sites;
    unsigned first; // Of this file's places
    const char *file, *text;
    char *code; // The text with blanks for comments and strings
    char *function;
    char **functions; // All names given out, which calls point to
    unsigned function_count;
    struct call *calls, *open_calls; // Of the function at hand; those of open holds in the whole file
    unsigned call_count, open_count;
};

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static size_t word_end(const char *code, size_t at)
{
    while (is_word(code[at]))
        at++;
    return at;
}

/* Where the parenthesis at `open` closes; the place behind it. */
static size_t behind_parentheses(const char *code, size_t open)
{
    int depth = 0;
    for (size_t i = open; code[i]; i++) {
        depth += (code[i] == '(') - (code[i] == ')');
        if (depth == 0)
            return i + 1;
    }
    return strlen(code);
}

/* The parenthesis that is open at `at`, not before `from`. */
static bool enclosing(const char *code, size_t from, size_t at, size_t *open)
{
    int depth = 0;
    while (at-- > from) {
        depth += (code[at] == ')') - (code[at] == '(');
        if (depth < 0) {
            *open = at;
            return true;
        }
    }
    return false;
}

static size_t word_before(const char *code, size_t at, size_t *end)
{
    while (at > 0 && isspace((unsigned char)code[at - 1]))
        at--;
    *end = at;
    while (at > 0 && is_word(code[at - 1]))
        at--;
    return at;
}

static unsigned line_of(const char *text, size_t at)
{
    unsigned line = 1;
    for (size_t i = 0; i < at; i++)
        line += text[i] == '\n';
    return line;
}

static bool word_is(const char *code, size_t start, size_t end, const char *word)
{
    return strlen(word) == end - start && memcmp(code + start, word, end - start) == 0;
}

// --- What stands instead. ---

/* Length of the first of the arguments of a call. */
static size_t first_argument(const char *args, size_t length)
{
    int depth = 0;
    for (size_t i = 0; i < length; i++) {
        depth += (args[i] == '(') - (args[i] == ')');
        if (depth == 0 && args[i] == ',')
            return i;
    }
    return length;
}

static char *instead_of(const struct reader *r, const struct call *c)
{
    const char *args = r->text + c->open + 1;
    size_t length = c->end - c->open - 2, first = first_argument(r->code + c->open + 1, length);
    char *text = mutate_printf("%s", "");
    for (const char *p = c->ends ? c->op->instead_ends : c->op->instead_begins; *p; p++) {
        char *longer;
        if (*p == '%' && p[1] == '1')
            longer = mutate_printf("%s%.*s", text, (int)first, args);
        else if (*p == '%')
            longer = mutate_printf("%s%.*s", text, (int)length, args);
        else
            longer = mutate_printf("%s%c", text, *p);
        p += *p == '%' && p[1] == '1';
        free(text);
        text = longer;
    }
    return text;
}

static struct mutate_site *new_site(struct reader *r, const char *kind, const char *word,
                                    const char *function, unsigned ordinal, unsigned line)
{
    struct mutate_sites *s = r->sites;
    s->rows = realloc(s->rows, (s->count + 1) * sizeof *s->rows);
    if (!s->rows)
        abort();
    struct mutate_site *site = &s->rows[s->count++];
    *site = (struct mutate_site){.kind = kind,
                                 .file = mutate_printf("%s", r->file),
                                 .function = mutate_printf("%s", function),
                                 .line = line};
    site->name = mutate_printf("%s:%s %s %s#%u", r->file, function, kind, word, ordinal);
    return site;
}

static void add_edit(struct mutate_site *site, size_t start, size_t end, char *instead)
{
    site->edits = realloc(site->edits, (site->edit_count + 1) * sizeof *site->edits);
    if (!site->edits)
        abort();
    site->edits[site->edit_count++] = (struct mutate_edit){start, end, instead};
}

static void site_of_calls(struct reader *r, const struct call *calls, const unsigned *members, unsigned count)
{
    const struct call *named = NULL;
    for (unsigned i = 0; i < count && !named; i++)
        named = calls[members[i]].ends ? NULL : &calls[members[i]];
    if (!named)
        return;
    struct mutate_site *site =
        new_site(r, named->op->kind, named->op->begins, named->function, named->ordinal, named->line);
    for (unsigned i = 0; i < count; i++) {
        const struct call *c = &calls[members[i]];
        add_edit(site, c->start, c->end, instead_of(r, c));
    }
}

// --- Holds of a function. ---

static bool is_lock_word(const char *function)
{
    for (size_t i = 0; i < OPERATORS; i++)
        if (operators[i].ends &&
            (strcmp(function, operators[i].begins) == 0 || strcmp(function, operators[i].ends) == 0))
            return true;
    return false;
}

/* The hold that goes beyond the function, NULL if it does not. */
static const char *open_hold(const struct reader *r, const char *begins)
{
    for (size_t i = 0; i < OPENS; i++)
        if (strcmp(r->file, open_functions[i].file) == 0 &&
            strcmp(r->function, open_functions[i].function) == 0 &&
            strcmp(begins, open_functions[i].begins) == 0)
            return open_functions[i].hold;
    return NULL;
}

static bool same_argument(const struct reader *r, const struct call *a, const struct call *b)
{
    const char *x = r->code + a->open + 1, *y = r->code + b->open + 1;
    size_t n = first_argument(x, a->end - a->open - 2), m = first_argument(y, b->end - b->open - 2);
    bool lockless = strcmp(a->op->kind, "irq") == 0 && strcmp(a->op->begins, "spin_lock_irqsave") != 0;
    return lockless || (n == m && memcmp(x, y, n) == 0);
}

/* The calls of one hold, or of several that follow each other, of one lock in one function. */
static void close_group(struct reader *r, const unsigned *members, unsigned count)
{
    unsigned begins = 0;
    bool alternate = true;
    for (unsigned i = 0; i < count; i++) {
        begins += !r->calls[members[i]].ends;
        alternate &= r->calls[members[i]].ends == (i % 2 == 1);
    }
    bool inverse = r->calls[members[0]].ends && !r->calls[members[count - 1]].ends;
    const char *hold = open_hold(r, r->calls[members[0]].op->begins);
    if (!hold && is_lock_word(r->function) && 2 * begins != count)
        hold = "";
    if (hold) {
        for (unsigned i = 0; i < count; i++) {
            r->open_calls = realloc(r->open_calls, (r->open_count + 1) * sizeof *r->open_calls);
            if (!r->open_calls)
                abort();
            r->calls[members[i]].hold = hold;
            r->open_calls[r->open_count++] = r->calls[members[i]];
        }
    } else if (alternate && count % 2 == 0) {
        for (unsigned i = 0; i < count; i += 2)
            site_of_calls(r, r->calls, members + i, 2);
    } else if (!inverse) {
        site_of_calls(r, r->calls, members, count);
    }
}

static void end_function(struct reader *r)
{
    bool *done = mutate_alloc(r->call_count * sizeof *done);
    unsigned *members = mutate_alloc(r->call_count * sizeof *members);
    for (unsigned i = 0; i < r->call_count; i++) {
        const struct call *c = &r->calls[i];
        unsigned count = 0;
        if (done[i])
            continue;
        if (!c->op->ends) {
            site_of_calls(r, r->calls, &i, 1);
            continue;
        }
        for (unsigned j = i; j < r->call_count; j++)
            if (r->calls[j].op == c->op && same_argument(r, c, &r->calls[j])) {
                members[count++] = j;
                done[j] = true;
            }
        close_group(r, members, count);
    }
    r->call_count = 0;
    free(done);
    free(members);
}

/* Holds that begin in one function of a file and end in others. */
static void end_file(struct reader *r)
{
    unsigned *members = mutate_alloc(r->open_count * sizeof *members);
    for (unsigned i = 0; i < r->open_count; i++) {
        const struct call *c = &r->open_calls[i];
        unsigned count = 0;
        for (unsigned j = i; c->hold && j < r->open_count; j++) {
            struct call *other = &r->open_calls[j];
            if (other->op != c->op || !other->hold || strcmp(other->hold, c->hold) != 0)
                continue;
            members[count++] = j;
            if (j != i)
                other->hold = NULL;
        }
        site_of_calls(r, r->open_calls, members, count);
    }
    free(members);
}

// --- Reading. ---

static void note_call(struct reader *r, size_t start, size_t end)
{
    for (size_t i = 0; i < OPERATORS; i++) {
        bool ends = operators[i].ends && word_is(r->code, start, end, operators[i].ends);
        if (!ends && !word_is(r->code, start, end, operators[i].begins))
            continue;
        unsigned ordinal = 1;
        for (unsigned j = 0; j < r->call_count; j++)
            ordinal += r->calls[j].op == &operators[i] && r->calls[j].ends == ends;
        r->calls = realloc(r->calls, (r->call_count + 1) * sizeof *r->calls);
        if (!r->calls)
            abort();
        r->calls[r->call_count++] = (struct call){.op = &operators[i],
                                                  .ends = ends,
                                                  .start = start,
                                                  .open = end,
                                                  .end = behind_parentheses(r->code, end),
                                                  .function = r->function,
                                                  .ordinal = ordinal,
                                                  .line = line_of(r->text, start)};
    }
}

/* A fence or an ordering with a name. */
static bool is_call_word(const char *code, size_t start, size_t end)
{
    for (size_t i = 0; i < OPERATORS; i++)
        if (!operators[i].ends && strcmp(operators[i].kind, "srcu") != 0 &&
            word_is(code, start, end, operators[i].begins))
            return true;
    return false;
}

static const char *order_kind(const char *code, size_t start, size_t end)
{
    static const char *const orders[][2] = {{"__ATOMIC_ACQUIRE", "acquire"},
                                            {"__ATOMIC_RELEASE", "release"},
                                            {"__ATOMIC_ACQ_REL", "acq_rel"},
                                            {"__ATOMIC_SEQ_CST", "seq_cst"}};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (word_is(code, start, end, orders[i][0]))
            return orders[i][1];
    return NULL;
}

/* An order stronger than relaxed at `start`: all those of the same call are one place. */
static void note_order(struct reader *r, const char *kind, size_t start, size_t end, size_t from)
{
    size_t open, word, word_stop;
    if (!enclosing(r->code, from, start, &open))
        return;
    word = word_before(r->code, open, &word_stop);
    if (is_call_word(r->code, word, word_stop))
        return;
    struct mutate_site *last = r->sites->count > r->first ? &r->sites->rows[r->sites->count - 1] : NULL;
    if (!last || strcmp(last->function, r->function) != 0 || last->edits[0].start < open) {
        char *name = mutate_printf("%.*s", (int)(word_stop - word), r->code + word);
        char *prefix = mutate_printf("%s:%s %s %s#", r->file, r->function, kind, name);
        unsigned ordinal = 1;
        for (unsigned i = r->first; i < r->sites->count; i++)
            ordinal += strncmp(r->sites->rows[i].name, prefix, strlen(prefix)) == 0;
        last = new_site(r, kind, name, r->function, ordinal, line_of(r->text, start));
        free(prefix);
        free(name);
    }
    add_edit(last, start, end, mutate_printf("__ATOMIC_RELAXED"));
}

static void read_function(struct reader *r, size_t name, size_t name_stop, size_t from, size_t to)
{
    if (is_call_word(r->code, name, name_stop))
        return; // A definition of what counts wherever it is used.
    r->function = mutate_printf("%.*s", (int)(name_stop - name), r->code + name);
    r->functions = realloc(r->functions, (r->function_count + 1) * sizeof *r->functions);
    if (!r->functions)
        abort();
    r->functions[r->function_count++] = r->function;
    for (size_t at = from; at < to;) {
        if (!is_word(r->code[at])) {
            at++;
            continue;
        }
        size_t end = word_end(r->code, at);
        const char *kind = order_kind(r->code, at, end);
        if (kind)
            note_order(r, kind, at, end, from);
        else if (r->code[end] == '(')
            note_call(r, at, end);
        at = end;
    }
    end_function(r);
}

/* A macro of several lines or one: its body is read as a function's. Returns the place behind it. */
static size_t read_macro(struct reader *r, size_t at)
{
    size_t name = at + strlen("#define "), end = at;
    do
        end += strcspn(r->code + end, "\n") + 1;
    while (r->code[end - 1] && r->code[end - 2] == '\\');
    size_t stop = word_end(r->code, name);
    if (r->code[stop] == '(')
        read_function(r, name, stop, behind_parentheses(r->code, stop), end);
    return end;
}

static int by_place(const void *a, const void *b)
{
    const struct mutate_site *x = a, *y = b;
    if (x->edits[0].start != y->edits[0].start)
        return x->edits[0].start < y->edits[0].start ? -1 : 1;
    return strcmp(x->kind, y->kind);
}

void mutate_find(struct mutate_sites *sites, const char *file, const char *text)
{
    struct reader r = {.sites = sites, .first = sites->count, .file = file, .text = text};
    r.code = mutate_printf("%s", text);
    lint_blank_literals(r.code);
    size_t length = strlen(r.code);
    for (size_t at = 0; at < length;) {
        size_t close, name, name_stop, next = at + strcspn(r.code + at, "\n") + 1;
        if (strncmp(r.code + at, "#define ", 8) == 0) {
            at = read_macro(&r, at);
            continue;
        }
        if (r.code[at] == '{' && word_before(r.code, at, &close) == close && close > 0 &&
            r.code[close - 1] == ')' && enclosing(r.code, 0, close - 1, &name)) {
            const char *stop = strstr(r.code + at, "\n}");
            name = word_before(r.code, name, &name_stop);
            next = stop ? (size_t)(stop - r.code) + 1 : length;
            read_function(&r, name, name_stop, at, next);
        }
        at = next;
    }
    end_file(&r);
    qsort(sites->rows + r.first, sites->count - r.first, sizeof *sites->rows, by_place);
    for (unsigned i = 0; i < r.function_count; i++)
        free(r.functions[i]);
    free(r.functions);
    free(r.calls);
    free(r.open_calls);
    free(r.code);
}

char *mutate_apply(const struct mutate_site *site, const char *text)
{
    char *result = mutate_printf("%s", "");
    size_t at = 0;
    for (unsigned i = 0; i < site->edit_count; i++) {
        const struct mutate_edit *e = &site->edits[i];
        char *longer = mutate_printf("%s%.*s%s", result, (int)(e->start - at), text + at, e->instead);
        free(result);
        result = longer;
        at = e->end;
    }
    char *whole = mutate_printf("%s%s", result, text + at);
    free(result);
    return whole;
}

void mutate_free(struct mutate_sites *sites)
{
    for (unsigned i = 0; i < sites->count; i++) {
        struct mutate_site *s = &sites->rows[i];
        for (unsigned j = 0; j < s->edit_count; j++)
            free(s->edits[j].instead);
        free(s->edits);
        free(s->file);
        free(s->function);
        free(s->name);
    }
    free(sites->rows);
}
