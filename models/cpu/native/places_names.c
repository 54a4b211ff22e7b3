// SPDX-License-Identifier: Apache-2.0
// Anchors: hooks by function and ordinal, and back.
#include "models/cpu/native/places_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *word;
    unsigned access;
} kinds[] = {
    // The first that fits names a hook.
    {"block", PLACE_BLOCK}, {"atomic", PLACE_ATOMIC}, {"write", PLACE_WRITE},
    {"read", PLACE_READ},   {"any", PLACE_ANY},
};

const char *places_access_word(unsigned access)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].access == access)
            return kinds[i].word;
    return NULL;
}

unsigned places_access(const char *word)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].word, word) == 0)
            return kinds[i].access;
    return 0;
}

// --- A function's places of a kind. ---

// Goes through the hooks of one function that announce one of `access`, in order of the source.
struct walk {
    const struct places *p;
    unsigned access;
    uint32_t next, end; // In p->order
    const struct place *at;
    unsigned ordinal; // Of `at`, from 1
};

static struct walk walk_begin(const struct places *p, uint32_t function, unsigned access)
{
    return (struct walk){.p = p, .access = access, .next = p->first[function], .end = p->first[function + 1]};
}

static bool walk_next(struct walk *w)
{
    while (w->next < w->end) {
        const struct place *at = w->p->order[w->next++];

        if (!(at->access & w->access))
            continue;
        w->ordinal += !w->at || places_compare(w->at, at) != 0;
        w->at = at;
        return true;
    }
    return false;
}

// The function whose code it is in the end: the outermost.
static const char *code_of(const struct places *p, const struct place *at)
{
    const struct place_scope *s = &p->scopes[at->scope];

    while (s->parent != PLACES_NONE)
        s = &p->scopes[s->parent];
    return p->functions[s->function].name;
}

// Is it a copy inlined, over however many functions, into `caller`; or not inlined, and `caller` is its own?
static bool is_in(const struct places *p, const struct place *at, const char *caller)
{
    const struct place_scope *s = &p->scopes[at->scope];

    if (s->parent == PLACES_NONE)
        return strcmp(p->functions[s->function].name, caller) == 0;
    while (s->parent != PLACES_NONE) {
        s = &p->scopes[s->parent];
        if (strcmp(p->functions[s->function].name, caller) == 0)
            return true;
    }
    return false;
}

unsigned places_of_anchor(const struct places *p, const struct places_anchor *a,
                          void (*fn)(void *ctx, uint64_t offset), void *ctx)
{
    uint32_t function = places_function_find(p, a->file, a->function);
    unsigned count = 0;

    if (function == PLACES_NONE)
        return 0;
    for (struct walk w = walk_begin(p, function, a->access); walk_next(&w);) {
        if (w.ordinal != a->ordinal || (*a->caller && !is_in(p, w.at, a->caller)))
            continue;
        fn(ctx, w.at->offset);
        count++;
    }
    return count;
}

// --- Why there is none. ---

#define LISTED_MAX 10u
struct list {
    char *text;
    size_t size, used;
    unsigned count;
};

__attribute__((format(printf, 2, 3))) static void say(struct list *l, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (l->used < l->size)
        l->used += (size_t)vsnprintf(l->text + l->used, l->size - l->used, format, args);
    va_end(args);
}

// Before each item: what stands between it and the one before. False: the list is long enough.
static bool list_next(struct list *l)
{
    if (l->count == LISTED_MAX)
        say(l, ", ...");
    else if (l->count < LISTED_MAX)
        say(l, "%s", l->count ? ", " : "");
    return l->count++ < LISTED_MAX;
}

static void explain_ordinal(const struct places *p, uint32_t function, const struct places_anchor *a,
                            struct list *l)
{
    const char *word = places_access_word(a->access);
    unsigned seen = 0;

    say(l, "`%s` has no #%u of kind %s; it has ", a->function, a->ordinal, word ? word : "?");
    for (struct walk w = walk_begin(p, function, a->access); walk_next(&w);) {
        if (w.ordinal != seen && list_next(l))
            say(l, "#%u on line %u", w.ordinal, w.at->line);
        seen = w.ordinal;
    }
    if (!seen)
        say(l, "none of that kind");
}

// Of the hooks of place #N, the functions that their code belongs to.
static void explain_caller(const struct places *p, uint32_t function, const struct places_anchor *a,
                           struct list *l)
{
    const char *told[LISTED_MAX + 1];
    unsigned count = 0;

    say(l, "`%s#%u` is not inlined into `%s`; it is in ", a->function, a->ordinal, a->caller);
    for (struct walk w = walk_begin(p, function, a->access); walk_next(&w);) {
        if (w.ordinal != a->ordinal || count > LISTED_MAX)
            continue;
        told[count] = code_of(p, w.at);
        for (unsigned i = 0; i <= count; i++)
            if (i == count) {
                if (list_next(l))
                    say(l, "%s", told[i]);
                count++;
                break;
            } else if (strcmp(told[i], told[count]) == 0) {
                break;
            }
    }
}

void places_explain_anchor(const struct places *p, const struct places_anchor *a, char *text, size_t size)
{
    uint32_t function = places_function_find(p, a->file, a->function);
    struct list l = {text, size, 0, 0};
    bool found = false;

    *text = 0;
    if (function == PLACES_NONE) {
        say(&l, "%s has no function `%s`", a->file, a->function);
        return;
    }
    for (struct walk w = walk_begin(p, function, a->access); walk_next(&w);)
        found |= w.ordinal == a->ordinal;
    if (found)
        explain_caller(p, function, a, &l);
    else
        explain_ordinal(p, function, a, &l);
}

// --- From a hook to its name. ---

static const struct place *find(const struct places *p, uint64_t pc)
{
    size_t at = places_row(p, pc - 1 - p->text_base);

    return at < p->count && p->rows[at].offset == pc - 1 - p->text_base && p->rows[at].scope != PLACES_NONE
               ? &p->rows[at]
               : NULL;
}

static bool means(const struct places *p, const struct place_name *name, const struct place *at)
{
    return (at->access & name->kind) && places_compare(name->place, at) == 0 &&
           (!name->caller || is_in(p, at, name->caller));
}

// Do all hooks that the name means belong to the code of one function?
static bool is_in_one(const struct places *p, const struct place_name *name)
{
    const char *code = NULL;

    for (struct walk w = walk_begin(p, name->place->function, name->kind); walk_next(&w);) {
        if (!means(p, name, w.at))
            continue;
        if (code && strcmp(code, code_of(p, w.at)) != 0)
            return false;
        code = code_of(p, w.at);
    }
    return true;
}

// The nearest caller that tells the copy from those in other functions' code; the outermost if none does.
static void choose_caller(const struct places *p, struct place_name *name)
{
    const struct place_scope *s = &p->scopes[name->place->scope];

    if (is_in_one(p, name))
        return;
    do {
        if (s->parent != PLACES_NONE)
            s = &p->scopes[s->parent];
        name->caller = p->functions[s->function].name;
    } while (!is_in_one(p, name) && s->parent != PLACES_NONE);
}

static void add_frames(const struct places *p, struct place_name *name)
{
    const struct place_scope *s = &p->scopes[name->place->scope];
    unsigned line = name->line;

    for (;;) {
        const struct place_function *f = &p->functions[s->function];

        name->frames[name->frame_count++] = (struct place_frame){f->name, f->file, line};
        if (s->parent == PLACES_NONE || name->frame_count == PLACES_FRAMES_MAX)
            return;
        line = s->call_line;
        s = &p->scopes[s->parent];
    }
}

bool places_name(const struct places *p, uint64_t pc, struct place_name *out)
{
    const struct place *at = find(p, pc);
    unsigned kind = 0;

    if (!at)
        return false;
    while (!(at->access & kinds[kind].access))
        kind++;
    *out = (struct place_name){.word = kinds[kind].word,
                               .kind = kinds[kind].access,
                               .access = at->access,
                               .line = at->line,
                               .column = at->column,
                               .place = at};
    choose_caller(p, out);
    add_frames(p, out);
    struct walk w = walk_begin(p, at->function, out->kind);

    while (walk_next(&w) && places_compare(w.at, at) != 0)
        ;
    int used = snprintf(out->text, sizeof out->text, "%s:%s#%u%s%s", p->functions[at->function].file,
                        p->functions[at->function].name, w.ordinal, out->caller ? "@" : "",
                        out->caller ? out->caller : "");

    return used > 0 && (size_t)used < sizeof out->text;
}

bool places_means(const struct places *p, const struct place_name *name, uint64_t pc)
{
    const struct place *at = find(p, pc);

    return at && means(p, name, at);
}

void places_each(const struct places *p, void (*fn)(void *ctx, uint64_t offset), void *ctx)
{
    for (size_t i = 0; i < p->count; i++)
        fn(ctx, p->rows[i].offset);
}
