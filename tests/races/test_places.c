// SPDX-License-Identifier: Apache-2.0
// Names of places in the real core: each hook has one, and it means that hook.
#include "models/cpu/native/places.h"
#include "sim/machine/machine.h"
#include "tests/shim/shim.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench {
    struct scenario *scenario;
    struct sim_machine *machine;
    struct places *places;
    const struct native_image *image;
};

static bool set_up(struct bench *b)
{
    char path[700], uarch[700], error[300] = "";
    struct user_error e = {""};

    snprintf(path, sizeof path, "%s/scenarios/exits/quickstart.yaml", test_source_dir());
    snprintf(uarch, sizeof uarch, "%s/models/cpu/uarch", test_source_dir());
    *b = (struct bench){.scenario = scenario_load(path, &e)};
    const struct machine_options o = {.hv_path = test_hv_lib(), .uarch_folder = uarch};

    if (b->scenario)
        b->machine = machine_create(b->scenario, &o, &e);
    if (b->machine) {
        b->image = machine_image(b->machine);
        b->places = places_open(b->image, error, sizeof error);
    }
    if (!b->places)
        TEST_FAIL("%s%s", e.text, error);
    return b->places != NULL;
}

static void tear_down(struct bench *b)
{
    places_close(b->places);
    machine_destroy(b->machine);
    scenario_free(b->scenario);
}

struct hooks {
    uint64_t *at;
    size_t count;
};

static void add(void *ctx, uint64_t offset)
{
    struct hooks *h = ctx;

    h->at = realloc(h->at, (h->count + 1) * sizeof *h->at);
    h->at[h->count++] = offset;
}

// Every hook of the core, as places_of_line() knows them.
static struct hooks all_hooks(const struct bench *b)
{
    struct hooks h = {NULL, 0};

    places_each(b->places, add, &h);
    return h;
}

static const char *symbol_of(const struct bench *b, uint64_t offset)
{
    uint16_t at = b->image->function_at[offset];

    return at ? price_symbol_at(b->image->prices, at - 1u)->name : "";
}

// The anchor that a step with this name has.
static struct places_anchor read_back(const struct place_name *n, char *text)
{
    struct places_anchor a = {.caller = "", .access = places_access(n->word)};
    char *colon, *sharp, *at;

    snprintf(text, PLACES_TEXT_BYTES, "%s", n->text);
    colon = strchr(text, ':');
    sharp = strchr(text, '#');
    at = strchr(text, '@');
    *colon = *sharp = 0;
    a.file = text;
    a.function = colon + 1;
    if (at)
        *at = 0;
    a.ordinal = (unsigned)strtoul(sharp + 1, NULL, 10);
    a.caller = at ? at + 1 : "";
    return a;
}

struct named {
    struct place_name name;
    uint64_t offset;
};

static int compare_named(const void *a, const void *b)
{
    const struct place_name *i = &((const struct named *)a)->name, *j = &((const struct named *)b)->name;
    int order = strcmp(i->frames[0].function, j->frames[0].function);

    if (!order)
        order = strcmp(i->frames[0].file, j->frames[0].file);
    if (!order)
        order = (i->line > j->line) - (i->line < j->line);
    if (!order)
        order = (i->column > j->column) - (i->column < j->column);
    return order;
}

static bool is_in(const struct place_name *n, const char *caller)
{
    if (n->frame_count == 1)
        return strcmp(n->frames[0].function, caller) == 0;
    for (uint32_t f = 1; f < n->frame_count; f++)
        if (strcmp(n->frames[f].function, caller) == 0)
            return true;
    return false;
}

// How many hooks of the line and column (rows first..end) have the kind, and are in the caller's code.
static size_t count_alike(const struct named *rows, size_t first, size_t end, const struct places_anchor *a)
{
    size_t count = 0;

    for (size_t i = first; i < end; i++)
        count += (rows[i].name.access & a->access) && (!*a->caller || is_in(&rows[i].name, a->caller));
    return count;
}

static void check_name(const struct bench *b, const struct named *row, const struct places_anchor *a,
                       size_t expected)
{
    struct hooks meant = {NULL, 0};
    bool itself = false;

    EXPECT_EQ(places_of_anchor(b->places, a, add, &meant), expected);
    for (size_t i = 0; i < meant.count; i++) {
        struct place_name other;
        uint64_t pc = b->image->map.text_base + meant.at[i] + 1;

        itself |= meant.at[i] == row->offset;
        ASSERT_TRUE(places_means(b->places, &row->name, pc) && places_name(b->places, pc, &other));
        ASSERT_TRUE(other.line == row->name.line && other.column == row->name.column);
        ASSERT_STREQ(other.frames[0].function, row->name.frames[0].function);
    }
    EXPECT_TRUE(itself);
    free(meant.at);
}

TEST(Places, TheNameOfEachHookMeansAllHooksOfItsPlaceAndNoOther)
{
    char text[PLACES_TEXT_BYTES];
    size_t count = 0, end = 0, callers = 0, longest = 0;
    struct bench b;

    ASSERT_TRUE(set_up(&b));
    struct hooks all = all_hooks(&b);
    struct named *rows = calloc(all.count, sizeof *rows);

    EXPECT_GT(all.count, 10000);
    for (size_t i = 0; i < all.count; i++) {
        rows[count].offset = all.at[i];
        if (places_name(b.places, b.image->map.text_base + all.at[i] + 1, &rows[count].name))
            count++;
        else // The compiler's own constructors are in no source.
            EXPECT_STRSTR(symbol_of(&b, all.at[i]), "_sub_I_");
    }
    qsort(rows, count, sizeof *rows, compare_named);
    for (size_t first = 0; first < count; first = end) {
        for (end = first + 1; end < count && compare_named(&rows[first], &rows[end]) == 0; end++)
            ;
        for (size_t i = first; i < end; i++) {
            struct places_anchor a = read_back(&rows[i].name, text);

            test_row("%s %s", rows[i].name.text, rows[i].name.word);
            check_name(&b, &rows[i], &a, count_alike(rows, first, end, &a));
            callers += *a.caller != 0;
            longest = a.ordinal > longest ? a.ordinal : longest;
        }
    }
    // Helpers are told apart by whom they are inlined into, and functions of some length are counted through.
    EXPECT_GT(callers, 1000);
    EXPECT_GT(longest, 20);
    free(rows);
    free(all.at);
    tear_down(&b);
}
