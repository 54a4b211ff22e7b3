// SPDX-License-Identifier: Apache-2.0
// Data structures of hv/lib against simple models: every operation's result is compared with an array's.
#include "hv/core/host.h"
#include "hv/knobs.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/list.h"
#include "hv/lib/math.h"
#include "hv/lib/rbtree.h"
#include "hv/lib/string.h"
#include "hv/lib/xarray.h"
#include "hv/tests/fake_hw.h"
#include "tests/shim/shim.h"

static u64 next_random(u64 *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

// --- String: against the obvious loops, for every alignment. ---

TEST(HvString, CopiesAndFillsEveryAlignmentAndLength)
{
    u8 from[80], to[80];
    for (unsigned i = 0; i < sizeof(from); i++)
        from[i] = (u8)(i * 7 + 1);
    for (unsigned a = 0; a < 9; a++) {
        for (unsigned b = 0; b < 9; b++) {
            for (unsigned n = 0; n < 40; n++) {
                for (unsigned i = 0; i < sizeof(to); i++)
                    to[i] = 0xee;
                memcpy(to + a, from + b, n);
                bool good = true;
                for (unsigned i = 0; i < sizeof(to); i++)
                    good &= to[i] == (i >= a && i < a + n ? from[b + i - a] : 0xee);
                memset(to + a, 0x5a, n);
                for (unsigned i = 0; i < sizeof(to); i++)
                    good &= to[i] == (i >= a && i < a + n ? 0x5a : 0xee);
                test_row("to+%u from+%u n=%u", a, b, n);
                EXPECT_TRUE(good);
            }
        }
    }
}

TEST(HvString, MovesOverlappingBytesBothWays)
{
    for (int shift = -9; shift <= 9; shift++) {
        u8 bytes[64], want[64];
        for (unsigned i = 0; i < 64; i++)
            bytes[i] = want[i] = (u8)i;
        for (int i = 0; i < 24; i++)
            want[20 + shift + i] = (u8)(20 + i);
        memmove(bytes + 20 + shift, bytes + 20, 24);
        test_row("shift %d", shift);
        EXPECT_MEMEQ(bytes, want, 64);
    }
}

TEST(HvString, ComparesAndMeasures)
{
    char small[4];
    EXPECT_EQ(memcmp("abc", "abd", 2), 0);
    EXPECT_LT(memcmp("abc", "abd", 3), 0);
    EXPECT_EQ(strlen("four"), 4);
    EXPECT_EQ(strcmp("same", "same"), 0);
    EXPECT_GT(strcmp("b", "a"), 0);
    str_copy(small, "long text", sizeof(small));
    EXPECT_STREQ(small, "lon");
}

// --- Bitmap. ---

TEST(HvBitmap, SearchesRangesAndWeightMatchAModel)
{
    u64 map[4] = {0}, state = 5;
    bool model[200] = {false};
    for (unsigned round = 0; round < 300; round++) {
        u64 first = next_random(&state) % 200, count = next_random(&state) % (200 - first + 1);
        bool set = (next_random(&state) & 1) != 0;
        if (set)
            bitmap_fill_range(map, first, count);
        else
            bitmap_clear_range(map, first, count);
        u64 weight = 0, last = 200;
        for (u64 i = 0; i < 200; i++) {
            if (i >= first && i < first + count)
                model[i] = set;
            weight += model[i];
            if (model[i])
                last = i;
        }
        u64 from = next_random(&state) % 200, found = from, clear = from;
        while (found < 200 && !model[found])
            found++;
        while (clear < 200 && model[clear])
            clear++;
        test_row("round %u", round);
        EXPECT_EQ(bitmap_weight(map, 200), weight);
        EXPECT_EQ(bitmap_find_set(map, 200, from), found);
        EXPECT_EQ(bitmap_find_clear(map, 200, from), clear);
        EXPECT_EQ(bitmap_find_last(map, 200), last);
    }
    EXPECT_EQ(ffs64(0x8000), 15);
    EXPECT_EQ(fls64(0x8001), 15);
    EXPECT_EQ(hweight64(0xf0f0f0f0f0f0f0f0ull), 32);
}

// --- Lists. ---

struct item {
    int value;
    struct list node;
};

TEST(HvList, KeepsOrderThroughMovesAndSplices)
{
    struct list a, b;
    struct item items[6];
    int want[] = {3, 4, 5, 0, 2, 1}, n = 0;
    list_init(&a);
    list_init(&b);
    for (int i = 0; i < 6; i++) {
        items[i].value = i;
        list_add_tail(&items[i].node, i < 3 ? &a : &b);
    }
    list_move_tail(&items[1].node, &a);
    list_splice(&b, &a);
    EXPECT_TRUE(list_empty(&b));
    list_for_each(i, &a, struct item, node) EXPECT_EQ(i->value, want[n++]);
    EXPECT_EQ(n, 6);
    list_for_each_safe(i, &a, struct item, node) list_del(&i->node);
    EXPECT_TRUE(list_empty(&a));
    EXPECT_TRUE(list_empty(&items[2].node));
}

TEST(HvHlist, HoldsAndForgets)
{
    struct hitem {
        int value;
        struct hlist_node node;
    } items[3] = {{1, {0}}, {2, {0}}, {3, {0}}};
    struct hlist head = {NULL};
    int sum = 0;
    for (int i = 0; i < 3; i++)
        hlist_add(&items[i].node, &head);
    hlist_del(&items[1].node);
    EXPECT_TRUE(hlist_unhashed(&items[1].node));
    hlist_for_each(i, &head, struct hitem, node) sum = sum * 10 + i->value;
    EXPECT_EQ(sum, 31);
}

// --- Red-black tree. ---

struct key {
    u64 value;
    bool in;
    struct rb_node node;
};

static bool key_less(const struct rb_node *a, const struct rb_node *b)
{
    return rb_entry(a, const struct key, node)->value < rb_entry(b, const struct key, node)->value;
}

// Black height, or -1 when a law is broken.
static int check_tree(const struct rb_node *n, const struct rb_node *parent)
{
    if (n == NULL)
        return 1;
    bool red = (n->parent_color & 1) == 0;
    if ((const struct rb_node *)(n->parent_color & ~1ull) != parent)
        return -1;
    if (red && parent != NULL && (parent->parent_color & 1) == 0)
        return -1;
    int left = check_tree(n->left, n), right = check_tree(n->right, n);
    return left < 0 || left != right ? -1 : left + !red;
}

TEST(HvRbtree, KeepsItsLawsAndOrder)
{
    static struct key keys[200];
    struct rb_root root = {NULL, NULL};
    u64 state = 7;
    for (unsigned round = 0; round < 4000; round++) {
        struct key *k = &keys[next_random(&state) % 200];
        if (k->in) {
            rb_erase(&root, &k->node);
        } else {
            k->value = next_random(&state) % 64; // Many equals.
            rb_insert(&root, &k->node, key_less);
        }
        k->in = !k->in;
        test_row("round %u", round);
        ASSERT_GE(check_tree(root.node, NULL), 1);
        unsigned count = 0, model = 0;
        u64 last = 0;
        for (struct rb_node *n = rb_first(&root); n != NULL; n = rb_next(n), count++) {
            ASSERT_GE(rb_entry(n, struct key, node)->value, last);
            last = rb_entry(n, struct key, node)->value;
            ASSERT_TRUE(rb_next(n) == NULL ? rb_last(&root) == n : rb_prev(rb_next(n)) == n);
        }
        for (unsigned i = 0; i < 200; i++)
            model += keys[i].in;
        ASSERT_EQ(count, model);
    }
}

TEST(HvRbtree, EqualsKeepTheOrderOfInsertion)
{
    struct key keys[5] = {{5, true, {0}}, {5, true, {0}}, {1, true, {0}}, {5, true, {0}}, {9, true, {0}}};
    struct rb_root root = {NULL, NULL};
    const int want[] = {2, 0, 1, 3, 4};
    for (int i = 0; i < 5; i++)
        rb_insert(&root, &keys[i].node, key_less);
    int i = 0;
    for (struct rb_node *n = rb_first(&root); n != NULL; n = rb_next(n))
        EXPECT_EQ(rb_entry(n, struct key, node) - keys, want[i++]);
}

// --- Arithmetic. ---

TEST(HvMath, WideProductsAreExact)
{
    EXPECT_EQ(mul_u64_u64_shr(UINT64_MAX, UINT64_MAX, 64), UINT64_MAX - 1);
    EXPECT_EQ(mul_u64_u64_shr(1ull << 40, 1ull << 40, 60), 1ull << 20);
    EXPECT_EQ(mul_u64_u64_div_u64(1ull << 62, 1000, 4000), 1ull << 60);
    EXPECT_EQ(mul_u64_u64_div_u64(10, 10, 7), 14);
    EXPECT_EQ(mul_u64_u64_div_u64(UINT64_MAX, 2, 1), UINT64_MAX); // Saturates.
}

// --- Xarray (needs a heap). ---

static void xarray_body(void *arg)
{
    struct host *host = this_host();
    struct xarray xa;
    static const u64 indexes[] = {0, 1, 63, 64, 4095, 4096, 1ull << 18, 1ull << 40, UINT64_MAX};
    u64 before = host->heap.objects_in_use;
    (void)arg;
    xa_init(&xa, host);
    EXPECT_TRUE(xa_load(&xa, 0) == NULL);
    for (unsigned i = 0; i < ARRAY_COUNT(indexes); i++)
        EXPECT_EQ(xa_store(&xa, indexes[i], (void *)(u64)(indexes + i)), 0);
    for (unsigned i = 0; i < ARRAY_COUNT(indexes); i++) {
        EXPECT_EQ((u64)xa_load(&xa, indexes[i]), (u64)(indexes + i));
        EXPECT_TRUE(xa_load(&xa, indexes[i] ^ 2) == NULL);
    }
    u64 at = 0;
    for (unsigned i = 0; i < ARRAY_COUNT(indexes); i++) {
        EXPECT_EQ((u64)xa_find(&xa, &at), (u64)(indexes + i));
        EXPECT_EQ(at, indexes[i]);
        at++;
    }
    EXPECT_EQ(xa_store(&xa, 64, NULL), 0);
    at = 64;
    EXPECT_EQ((u64)xa_find(&xa, &at), (u64)(indexes + 4));
    xa_destroy(&xa);
    EXPECT_EQ(host->heap.objects_in_use, before);
}

TEST(HvXarray, SparseIndexesUpToTheLast)
{
    struct fake_config config = {.cpus = 1};
    EXPECT_EQ(fake_run(&config, xarray_body, NULL), 0);
    EXPECT_STREQ(fake_panic(), "");
}

static void xarray_model_body(void *arg)
{
    static void *model[1500];
    struct xarray xa;
    u64 state = 3;
    (void)arg;
    xa_init(&xa, this_host());
    for (unsigned round = 0; round < 2000; round++) {
        u64 i = next_random(&state) % 1500;
        model[i] = next_random(&state) % 3 == 0 ? NULL : &model[i];
        EXPECT_EQ(xa_store(&xa, i, model[i]), 0);
        u64 at = next_random(&state) % 1500, want = at;
        while (want < 1500 && model[want] == NULL)
            want++;
        void *found = xa_find(&xa, &at);
        if (want == 1500)
            EXPECT_TRUE(found == NULL);
        else
            EXPECT_EQ(at, want);
    }
    for (u64 i = 0; i < 1500; i++)
        EXPECT_TRUE(xa_load(&xa, i) == model[i]);
}

TEST(HvXarray, MatchesAnArray)
{
    struct fake_config config = {.cpus = 1};
    EXPECT_EQ(fake_run(&config, xarray_model_body, NULL), 0);
}

// --- Knobs: the table is in order. ---

TEST(HvKnobs, DefaultsAreInRange)
{
    struct knobs k;
    knobs_defaults(&k);
    EXPECT_EQ(knob(&k, KNOB_HALT_POLL_NS), 200000);
    EXPECT_EQ(knob(&k, KNOB_MEMSLOT_DELETE_MODE), MEMSLOT_DELETE_MODE_TWO_PHASE);
#define KNOB(id, name, type, values, def, about, source) {KNOB_##id, type, values, def},
    static const struct {
        unsigned id;
        enum knob_type type;
        const char *values;
        u64 def;
    } rows[] = {
#include "hv/knobs.def"
    };
#undef KNOB
    for (unsigned i = 0; i < ARRAY_COUNT(rows); i++) {
        u64 words = 1;
        for (const char *c = rows[i].values; *c != 0; c++)
            words += *c == '|';
        test_row("knob %u", i);
        EXPECT_EQ(rows[i].id, i);
        if (rows[i].type != KNOB_INT)
            EXPECT_LT(rows[i].def, words);
        EXPECT_EQ(knob(&k, (enum knob)i), rows[i].def);
    }
}
