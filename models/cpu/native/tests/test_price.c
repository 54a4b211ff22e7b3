// SPDX-License-Identifier: Apache-2.0
//
// Block prices: the exact price of hand-assembled blocks (price_blocks.S), what is taken for instrumentation,
// and the lookup. The laws are those of docs/timing-model.md, "Block prices". Ticks are 1/16 cycle.

#include "models/cpu/native/price.h"
#include "tests/shim/shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct uarch *load_uarch(const char *name)
{
    char path[512], error[512];
    snprintf(path, sizeof path, "%s/models/cpu/uarch/%s.yaml", test_source_dir(), name);
    struct uarch *u = uarch_load(path, error, sizeof error);
    if (u == NULL)
        TEST_FAIL("%s", error);
    return u;
}

struct fixture {
    struct uarch *u;
    struct price_table *t;
};

// `library` is a name below the build's lib folder, such as "libprice_blocks.so".
static bool open_fixture(struct fixture *f, const char *uarch, const char *library, uint64_t bias)
{
    char path[512], error[512];
    snprintf(path, sizeof path, "%s/lib/%s", test_build_dir(), library);
    f->u = load_uarch(uarch);
    f->t = f->u != NULL ? price_open(path, bias, f->u, error, sizeof error) : NULL;
    if (f->u != NULL && f->t == NULL)
        TEST_FAIL("%s", error);
    return f->t != NULL;
}

static void close_fixture(struct fixture *f)
{
    price_close(f->t);
    uarch_free(f->u);
}

// Block number `index` of a function, in the order of addresses.
static const struct price_block *block(const struct fixture *f, const char *function, unsigned index)
{
    for (size_t i = 0; i < price_block_count(f->t); i++) {
        const struct price_block *b = price_block_at(f->t, i);
        if (strcmp(b->function, function) == 0 && index-- == 0)
            return b;
    }
    TEST_FAIL("no such block of %s", function);
    return NULL;
}

// Columns: function, block, instructions that count, instrumentation left out (its own hook included),
// Skylake-SP: uops, ticks; Sandy Bridge-EP: uops, ticks.
static const struct {
    const char *function;
    unsigned index;
    unsigned instructions, left_out;
    unsigned skl_uops, skl_ticks;
    unsigned snb_uops, snb_ticks;
} rows[] = {
    // 4 uops on 4 ports; on Sandy Bridge 4 uops on 3 ports take 4/3 cycles, 21.3 ticks.
    {"alu", 0, 4, 1, 4, 16, 4, 22},
    // One uop on ports 0 and 6, or on port 5.
    {"fused_branch", 0, 2, 1, 1, 8, 1, 16},
    {"inc_below", 0, 2, 1, 2, 8, 2, 16},
    {"compare_memory_constant", 0, 2, 1, 2, 8, 2, 16},
    // Port 4 takes one store a cycle, ports 2 and 3 two loads.
    {"stores", 0, 2, 1, 2, 32, 2, 32},
    {"loads", 0, 4, 1, 4, 32, 4, 32},
    // Sandy Bridge has no store address unit on port 7; the load and the address still find ports 2 and 3.
    {"modify", 0, 1, 1, 2, 16, 2, 16},
    {"modify_inc", 0, 1, 1, 3, 16, 3, 16},
    {"indexed_store", 0, 1, 1, 1, 16, 2, 16},
    {"zero_idiom", 0, 1, 1, 1, 4, 1, 4},
    // Skylake eliminates moves; Sandy Bridge runs two on three ports, 10.7 ticks.
    {"moves", 0, 2, 1, 2, 8, 2, 11},
    // The copy of the result exists for the hook behind it. Skylake: issue takes 37 / 4 cycles, the chain of
    // 42 exceeds
    // what the scheduler covers, 97 / 4 cycles, by 17.75: 27 cycles, more than the divider's 24. Sandy
    // Bridge: chain of
    // 40, 54 / 4 cycles covered.
    {"divide", 0, 2, 2, 37, 432, 37, 572},
    {"slow_lea", 0, 2, 1, 2, 32, 2, 32},
    {"calls", 0, 1, 1, 2, 16, 2, 16},
    // The start takes 30 cycles, 64 bytes are 4 units beside it. Without a constant: 8 bytes assumed, one
    // unit.
    {"clear_64", 0, 2, 1, 17, 480, 17, 480},
    {"clear_some", 0, 2, 1, 14, 480, 14, 480},
    // A turn takes the load's 5 cycles.
    {"chase", 0, 3, 1, 2, 80, 2, 80},
    {"count_down", 0, 2, 1, 1, 16, 1, 16},
    {"loop_with_call", 0, 4, 1, 4, 16, 4, 32},
    // Three multiplications on port 1; their chain of 9 cycles is covered.
    {"short_chain", 0, 3, 1, 3, 48, 3, 48},
    {"access", 0, 1, 3, 1, 8, 1, 8},
    {"access_kept", 0, 2, 3, 2, 8, 2, 8},
    {"access_chain", 0, 1, 5, 1, 16, 1, 16},
    {"access_range", 0, 0, 4, 0, 0, 0, 0},
    {"argument_of_both", 0, 2, 3, 3, 16, 3, 16},
    {"atomic_add", 0, 1, 5, 1, 8, 1, 8},
    {"atomic_store", 0, 0, 5, 0, 0, 0, 0},
    {"fence", 0, 0, 3, 0, 0, 0, 0},
    // Its data on the stack keeps the stack pointer moving; the saved register only serves hooks.
    {"enter_and_leave", 0, 4, 5, 5, 20, 5, 20},
    {"leaf_frame", 0, 2, 8, 3, 16, 3, 16},
    {"bare_leaf", 0, 2, 2, 3, 16, 3, 16},
    // push, move, move, call, add, pop and ret: of the frame and the copies, rbx's remain.
    {"half_frame", 0, 7, 4, 9, 36, 9, 36},
    // add, jmp, add, store, ret.
    {"joined", 0, 5, 1, 6, 32, 6, 32},
    {"joined", 1, 3, 1, 4, 16, 4, 16},
    // cmp and je, add, jmp: two branches on port 6 or on port 5. The other side only counts behind its own
    // hook.
    {"forward", 0, 4, 1, 3, 16, 3, 32},
    {"forward", 1, 1, 1, 1, 16, 1, 16},
    {"forward", 2, 1, 1, 1, 4, 1, 6},
    {"backward", 0, 2, 1, 1, 16, 1, 16},
    // sub and jne behind a label of their own, then the return is on the side not followed.
    {"turns", 0, 2, 1, 1, 8, 1, 16},
};

TEST(Price, HandAssembledBlocks)
{
    for (unsigned snb = 0; snb < 2; snb++) {
        struct fixture f;
        if (!open_fixture(&f, snb ? "sandybridge-ep" : "skylake-sp", "libprice_blocks.so", 0))
            return;
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            test_row("%s block %u of %s", f.u->name, rows[i].index, rows[i].function);
            const struct price_block *b = block(&f, rows[i].function, rows[i].index);
            if (b == NULL)
                continue;
            EXPECT_EQ(b->instructions, rows[i].instructions);
            EXPECT_EQ(b->left_out, rows[i].left_out);
            EXPECT_EQ(b->uops, snb ? rows[i].snb_uops : rows[i].skl_uops);
            EXPECT_EQ(b->ticks, snb ? rows[i].snb_ticks : rows[i].skl_ticks);
        }
        test_row(NULL);
        EXPECT_EQ(price_unknown_count(f.t), 0);
        close_fixture(&f);
    }
}

TEST(Price, TextIsWhatWasPriced)
{
    struct fixture f;
    char text[256], small[8];
    ASSERT_TRUE(open_fixture(&f, "skylake-sp", "libprice_blocks.so", 0));
    size_t length = price_block_text(f.t, block(&f, "access_kept", 0), text, sizeof text);
    EXPECT_STREQ(text, "lea r12, [rbx + 8]\nmov rbp, qword ptr [r12]\n");
    EXPECT_EQ(length, strlen(text));
    EXPECT_EQ(price_block_text(f.t, block(&f, "access_kept", 0), small, sizeof small), length);
    EXPECT_STREQ(small, "lea r12");
    price_block_text(f.t, block(&f, "leaf_frame", 0), text, sizeof text);
    EXPECT_STREQ(text, "lea rax, [rbx + 1]\nret\n");
    price_block_text(f.t, block(&f, "enter_and_leave", 0), text, sizeof text);
    EXPECT_STREQ(text, "sub rsp, 0x10\nmov qword ptr [rsp + 8], rbx\nadd rsp, 0x10\nret\n");
    price_block_text(f.t, block(&f, "calls", 0), text, sizeof text);
    EXPECT_STREQ(text, "call hw_read\n");
    close_fixture(&f);
}

TEST(Price, AtomicsAreCountedNotPriced)
{
    struct fixture f;
    ASSERT_TRUE(open_fixture(&f, "skylake-sp", "libprice_blocks.so", 0));
    EXPECT_EQ(block(&f, "atomic_add", 0)->atomics, 1);
    EXPECT_EQ(block(&f, "atomic_store", 0)->atomics, 1);
    EXPECT_EQ(block(&f, "access", 0)->atomics, 0);
    EXPECT_EQ(block(&f, "calls", 0)->calls, 1);
    close_fixture(&f);
}

// The table answers at return addresses of hooks and nowhere else, at the address where the library is
// loaded.
TEST(Price, LookupByReturnAddress)
{
    const uint64_t bias = 0x700000000000;
    struct fixture f;
    ASSERT_TRUE(open_fixture(&f, "skylake-sp", "libprice_blocks.so", bias));
    const struct price_map *m = price_map(f.t);
    uint64_t sum = 0, table = 0;
    for (size_t i = 0; i < price_block_count(f.t); i++) {
        const struct price_block *b = price_block_at(f.t, i);
        EXPECT_GE(b->start, bias);
        EXPECT_EQ(price_ticks(m, b->start), b->ticks);
        EXPECT_TRUE(price_block_find(f.t, b->start) == b);
        EXPECT_TRUE(price_block_find(f.t, b->start + 1) == NULL);
        EXPECT_STREQ(price_function_of(f.t, b->start, NULL), b->function);
        sum += b->ticks;
    }
    for (uint64_t pc = m->text_base - 16; pc < m->text_base + m->text_bytes + 16; pc++)
        table += price_ticks(m, pc);
    EXPECT_EQ(table, sum);
    EXPECT_EQ(price_ticks(m, 0), 0);
    EXPECT_EQ(price_ticks(m, UINT64_MAX), 0);
    close_fixture(&f);
}

static void expect_equal(const struct price_block *x, const struct price_block *y)
{
    struct price_block z = *y;
    EXPECT_STREQ(x->function, y->function);
    z.function = x->function;
    EXPECT_EQ(memcmp(x, &z, sizeof z), 0);
}

// Blocks get their prices as they are asked for: which order that is, and how one asks, changes none of them.
TEST(Price, InWhateverOrder)
{
    static const char *const libraries[] = {"libprice_sample.so", "libprice_blocks.so", "libhv.so"};
    for (size_t l = 0; l < sizeof libraries / sizeof libraries[0]; l++) {
        struct fixture a, b;
        ASSERT_TRUE(open_fixture(&a, "skylake-sp", libraries[l], 0));
        ASSERT_TRUE(open_fixture(&b, "skylake-sp", libraries[l], 0));
        size_t count = price_block_count(a.t);
        size_t uncharged = price_uncharged_count(a.t); // All of them now, from the first.
        ASSERT_EQ(price_block_count(b.t), count);
        for (size_t i = count; i-- > 0;) {
            const struct price_block *x = price_block_at(a.t, i);
            if (i % 2)
                EXPECT_EQ(price_ticks(price_map(b.t), x->start), x->ticks);
            expect_equal(x, price_block_at(b.t, i));
        }
        EXPECT_EQ(price_uncharged_count(b.t), uncharged);
        EXPECT_EQ(price_unknown_count(b.t), price_unknown_count(a.t));
        close_fixture(&a);
        close_fixture(&b);
    }
}

// Prices come from the bytes of the file and the micro-architecture alone, wherever the library is loaded.
TEST(Price, SamePricesEveryTime)
{
    struct fixture a, b;
    ASSERT_TRUE(open_fixture(&a, "skylake-sp", "libprice_sample.so", 0));
    ASSERT_TRUE(open_fixture(&b, "skylake-sp", "libprice_sample.so", 0x7fff00000000));
    ASSERT_EQ(price_block_count(a.t), price_block_count(b.t));
    for (size_t i = 0; i < price_block_count(a.t); i++) {
        const struct price_block *x = price_block_at(a.t, i), *y = price_block_at(b.t, i);
        EXPECT_EQ(x->start + 0x7fff00000000, y->start);
        EXPECT_EQ(x->ticks, y->ticks);
        EXPECT_EQ(x->uops, y->uops);
        EXPECT_STREQ(x->function, y->function);
    }
    close_fixture(&a);
    close_fixture(&b);
}

TEST(Price, SymbolsAreSortedAndFound)
{
    struct fixture f;
    uint64_t offset = 99;
    ASSERT_TRUE(open_fixture(&f, "skylake-sp", "libprice_blocks.so", 4096));
    ASSERT_GT(price_symbol_count(f.t), 10);
    for (size_t i = 0; i < price_symbol_count(f.t); i++) {
        const struct price_symbol *s = price_symbol_at(f.t, i);
        if (i > 0)
            EXPECT_LT(price_symbol_at(f.t, i - 1)->start, s->start);
        EXPECT_STREQ(price_function_of(f.t, s->start, &offset), s->name);
        EXPECT_EQ(offset, 0);
        EXPECT_STREQ(price_function_of(f.t, s->start + s->size - 1, &offset), s->name);
        EXPECT_EQ(offset, s->size - 1);
    }
    EXPECT_STREQ(price_function_of(f.t, 1, NULL), "?");
    EXPECT_TRUE(price_symbol_at(f.t, price_symbol_count(f.t)) == NULL);
    close_fixture(&f);
}

TEST(Price, UnknownInstructionsAreNamedAndDear)
{
    struct fixture f;
    ASSERT_TRUE(open_fixture(&f, "skylake-sp", "libprice_unknown.so", 0));
    ASSERT_EQ(price_unknown_count(f.t), 2);
    EXPECT_STREQ(price_unknown_at(f.t, 0), "aesenc");
    EXPECT_STREQ(price_unknown_at(f.t, 1), "rdrand");
    EXPECT_TRUE(price_unknown_at(f.t, 2) == NULL);
    const struct price_block *b = block(&f, "strange", 0);
    ASSERT_TRUE(b != NULL);
    EXPECT_EQ(b->uops, 10);
    EXPECT_EQ(b->ticks, 40); // Ten uops at four a cycle; a chain of 20 cycles is covered.
    close_fixture(&f);
}

TEST(Price, RefusesWhatIsNoLibrary)
{
    struct uarch *u = load_uarch("skylake-sp");
    char path[512], error[512];
    ASSERT_TRUE(u != NULL);
    EXPECT_TRUE(price_open("/nonexistent.so", 0, u, error, sizeof error) == NULL);
    EXPECT_STRSTR(error, "/nonexistent.so");
    EXPECT_TRUE(price_open(test_tmpdir(), 0, u, error, sizeof error) == NULL);
    EXPECT_STRSTR(error, "expected a shared object");
    EXPECT_TRUE(price_open(u->path, 0, u, error, sizeof error) == NULL);
    EXPECT_STRSTR(error, "ELF64 x86-64");
    snprintf(path, sizeof path, "%s/empty.so", test_tmpdir());
    FILE *f = fopen(path, "wb");
    ASSERT_TRUE(f != NULL);
    fclose(f);
    EXPECT_TRUE(price_open(path, 0, u, error, sizeof error) == NULL);
    EXPECT_STRSTR(error, "empty.so");
    uarch_free(u);
}

// Every prefix of a library, and the library with bytes of its headers and tables spoilt: refused or priced,
// never worse.
TEST(Price, SurvivesSpoiltLibraries)
{
    struct uarch *u = load_uarch("skylake-sp");
    char path[512], error[512];
    snprintf(path, sizeof path, "%s/lib/libprice_unknown.so", test_build_dir());
    FILE *in = fopen(path, "rb");
    ASSERT_TRUE(u != NULL && in != NULL);
    unsigned char *bytes = malloc(1 << 20);
    ASSERT_TRUE(bytes != NULL);
    size_t size = fread(bytes, 1, 1 << 20, in);
    fclose(in);
    snprintf(path, sizeof path, "%s/spoilt.so", test_tmpdir());
    uint64_t random = 1;
    for (unsigned round = 0; round < 400; round++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t cut = round < 200 ? (size_t)(random >> 33) % size : size;
        size_t at = (size_t)(random >> 20) % size;
        unsigned char kept = bytes[at];
        if (round >= 200)
            bytes[at] ^= (unsigned char)(1u << (round & 7));
        FILE *out = fopen(path, "wb");
        ASSERT_TRUE(out != NULL);
        fwrite(bytes, 1, cut, out);
        fclose(out);
        bytes[at] = kept;
        price_close(price_open(path, 0, u, error, sizeof error));
    }
    free(bytes);
    uarch_free(u);
}

// -------------------------------------------------------------------------------------------------------------------
// The sample with hooks against the same sample without.

// Instructions of each function that count, alignment aside, as priced in the library with hooks.
static uint32_t priced_instructions(const struct fixture *f, const char *function)
{
    uint32_t count = 0;
    char text[16384];
    char *rest = NULL;
    for (size_t i = 0; i < price_block_count(f->t); i++) {
        const struct price_block *b = price_block_at(f->t, i);
        if (strcmp(b->function, function) != 0)
            continue;
        price_block_text(f->t, b, text, sizeof text);
        for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
            count += strcmp(line, "nop") != 0;
    }
    return count;
}

// The same from objdump's listing of the library without hooks.
static uint32_t plain_instructions(const char *function)
{
    static char listing[1 << 16];
    char command[1024];
    snprintf(command, sizeof command,
             "objdump -d --no-show-raw-insn --disassemble=%s %s/lib/libprice_sample_plain.so | grep -P '^ "
             "+[0-9a-f]+:' | "
             "grep -vcP '\\t(cs |data16 )*(nop|xchg +%%ax,%%ax)'",
             function, test_build_dir());
    if (test_shell(command, listing, sizeof listing) != 0)
        TEST_FAIL("%s: %s", command, listing);
    return (uint32_t)strtoul(listing, NULL, 10);
}

// What remains when the hooks are taken out is about what the compiler writes without them. Not exactly:
// around hooks, as around calls, values must be moved to callee-saved registers. docs/timing-model.md gives
// the figure.
TEST(Price, WithoutHooksRemainsThePlainFunction)
{
    static const char *const functions[] = {
        "leaf_sum",  "leaf_list_length", "leaf_field",   "leaf_highest",   "leaf_hash",  "leaf_write_protect",
        "leaf_bits", "leaf_copy",        "leaf_compare", "leaf_walk",      "format_hex", "dispatch",
        "run",       "tree_insert",      "translate",    "format_decimal",
    };
    uint64_t priced_sum = 0, plain_sum = 0;
    struct fixture f;
    ASSERT_TRUE(open_fixture(&f, "skylake-sp", "libprice_sample.so", 0));
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        uint32_t priced = priced_instructions(&f, functions[i]), plain = plain_instructions(functions[i]);
        printf("%-20s %3u instructions priced, %3u in the plain build\n", functions[i], priced, plain);
        test_row("%s", functions[i]);
        EXPECT_GT(plain, 0);
        EXPECT_LE(priced * 2, plain * 3 + 16);
        EXPECT_GE(priced * 4, plain * 2);
        priced_sum += priced;
        plain_sum += plain;
    }
    test_row(NULL);
    EXPECT_LE(priced_sum * 100, plain_sum * 120);
    EXPECT_GE(priced_sum * 100, plain_sum * 90);
    close_fixture(&f);
}

// Code that no price holds is rare, and every instruction of compiled code has a class.
static void check_library(const char *path, const char *uarch)
{
    char error[512];
    struct uarch *u = load_uarch(uarch);
    struct price_table *t = u != NULL ? price_open(path, 0, u, error, sizeof error) : NULL;
    if (u != NULL && t == NULL)
        TEST_FAIL("%s", error);
    for (size_t i = 0; t != NULL && i < price_unknown_count(t); i++)
        TEST_FAIL("%s: no class for %s", path, price_unknown_at(t, i));
    uint64_t instructions = 0;
    for (size_t i = 0; t != NULL && i < price_block_count(t); i++)
        instructions += price_block_at(t, i)->instructions;
    if (t != NULL) {
        printf("%s, %s: %zu blocks, %llu instructions, %zu in no price\n", path, uarch, price_block_count(t),
               (unsigned long long)instructions, price_uncharged_count(t));
        EXPECT_GT(price_block_count(t), 0);
        EXPECT_LE(price_uncharged_count(t) * 100, instructions * 8);
    }
    price_close(t);
    uarch_free(u);
}

TEST(Price, SampleIsKnownWhole)
{
    char path[512];
    snprintf(path, sizeof path, "%s/lib/libprice_sample.so", test_build_dir());
    check_library(path, "skylake-sp");
    check_library(path, "sandybridge-ep");
}

TEST(Price, LibhvIsKnownWhole)
{
    FILE *f = fopen(test_hv_lib(), "rb");
    if (f == NULL)
        test_skip("this build makes no libhv.so");
    fclose(f);
    check_library(test_hv_lib(), "skylake-sp");
    check_library(test_hv_lib(), "sandybridge-ep");
}
