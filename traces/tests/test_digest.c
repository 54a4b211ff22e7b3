// SPDX-License-Identifier: Apache-2.0
/* The digest: the published algorithm; equal for equal records whatever is stored, where and how; else
 * different. */
#include "traces/tests/fixture.h"

#include "hv/hw/trace.h"
#include "traces/bench/mix.h"
#include "traces/digest.h"

// The verification that comes with MurmurHash3: hash keys of 0..255 bytes {0, 1, 2, ...} with seed 256 -
// length, then the hashes with seed 0; the first four bytes are 0x6384BA69 for the x64 128-bit variant.
TEST(Digest, IsMurmurHash3)
{
    struct trace_digest hashes[256];
    unsigned char key[256];

    for (uint32_t i = 0; i < 256; i++) {
        key[i] = (unsigned char)i;
        hashes[i] = digest_bytes(key, i, 256 - i);
    }
    EXPECT_EQ((uint32_t)digest_bytes(hashes, sizeof hashes, 0).lo, 0x6384ba69u);
}

// However the words are cut, streaming gives the hash of the whole.
TEST(Digest, StreamingEqualsTheWhole)
{
    uint64_t words[23];

    for (uint64_t i = 0; i < 23; i++)
        words[i] = i * 0x123456789abcdefu;
    for (size_t cut = 0; cut <= 23; cut++)
        for (size_t second = cut; second <= 23; second++) {
            struct digest d;

            digest_init(&d, 0);
            digest_words(&d, words, cut);
            digest_words(&d, words + cut, second - cut);
            digest_words(&d, words + second, 23 - second);
            EXPECT_EQ(digest_value(&d).lo, digest_bytes(words, sizeof words, 0).lo);
            EXPECT_EQ(digest_value(&d).hi, digest_bytes(words, sizeof words, 0).hi);
        }
}

static struct trace_digest mix_digest(const struct trace_options *options, const char *first_text)
{
    struct trace_error error;
    int64_t run;
    struct trace *t = trace_open(options, &error);

    if (!t) {
        TEST_FAIL("%s", error.message);
        return (struct trace_digest){0, 0};
    }
    if (first_text)
        trace_text(t, first_text);
    trace_run_begin(t, &fixture_run, &run, &error);
    struct trace_digest digest;
    struct mix mix;

    mix_init(&mix, t);
    for (int i = 0; i < 3000; i++)
        mix_exit(&mix);
    trace_run_end(t, TRACE_COMPLETE, mix.tick, &digest, &error);
    trace_close(t, NULL);
    return digest;
}

TEST(Digest, DoesNotDependOnWhatIsStoredOrHow)
{
    const struct {
        const char *name;
        struct trace_options options;
        const char *first_text;
    } rows[] = {
        {"everything", {fixture_path("a.db"), TRACE_ALL, false, TRACE_WRITER_INLINE, 0}, NULL},
        {"by a thread", {fixture_path("b.db"), TRACE_ALL, false, TRACE_WRITER_THREAD, 0}, NULL},
        {"into the same again", {fixture_path("b.db"), TRACE_ALL, false, TRACE_WRITER_THREAD, 0}, NULL},
        {"exits alone", {fixture_path("c.db"), TRACE_EXITS, false, TRACE_WRITER_AUTO, 0}, NULL},
        {"calls alone", {"", TRACE_CALLS, false, TRACE_WRITER_AUTO, 0}, NULL},
        {"nothing", {"", 0, false, TRACE_WRITER_AUTO, 0}, NULL},
        {"other text ids", {"", TRACE_ALL, false, TRACE_WRITER_AUTO, 0}, "a text that shifts all ids"},
        {"no database", {NULL, TRACE_ALL, false, TRACE_WRITER_AUTO, 0}, NULL},
        {"no database, a thread", {NULL, 0, false, TRACE_WRITER_THREAD, 0}, NULL},
        {"a disk too small", {fixture_path("d.db"), TRACE_ALL, false, TRACE_WRITER_INLINE, 1u << 19}, NULL},
    };
    struct trace_digest wanted = mix_digest(&(struct trace_options){0}, NULL);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row("%s", rows[i].name);
        struct trace_digest got = mix_digest(&rows[i].options, rows[i].first_text);

        EXPECT_EQ(got.lo, wanted.lo);
        EXPECT_EQ(got.hi, wanted.hi);
    }
}

TEST(Digest, LeavesOutInstructions)
{
    static const struct trace_instruction instruction = {.rip = 0x1000, .tick = 16, .ticks = 32};
    struct trace_digest digests[2];

    for (int i = 0; i < 2; i++) {
        struct trace *t = fixture_begin("");

        if (i)
            trace_instruction(t, &instruction);
        digests[i] = fixture_mix(t, 50);
        trace_close(t, NULL);
    }
    EXPECT_EQ(digests[0].lo, digests[1].lo);
    EXPECT_EQ(digests[0].hi, digests[1].hi);
}

// The digest of one synthetic run on any host, compiler and optimisation level. A change of the records'
// layout, of the digest or of bench/mix.c changes it, and nothing else may.
TEST(Digest, OfTheMixIsTheSameEverywhere)
{
    char text[TRACE_DIGEST_TEXT];

    trace_digest_text(mix_digest(&(struct trace_options){0}, NULL), text);
    EXPECT_STREQ(text, "a2b54cdbac922349a26bf7fb887dfeaf");
}

TEST(Digest, StartsAnewWithEachRun)
{
    struct trace *t = fixture_begin("");
    struct trace_digest first = fixture_mix(t, 500);
    struct trace_error error;
    int64_t run;

    for (int i = 0; i < 3; i++) {
        trace_run_begin(t, &fixture_run, &run, &error);
        struct trace_digest again = fixture_mix(t, 500);

        EXPECT_EQ(again.lo, first.lo);
        EXPECT_EQ(again.hi, first.hi);
    }
    trace_close(t, NULL);
}

// Each variation changes one thing in one record.
enum { VARIATIONS = 30 };

static void record_variation(struct trace *t, int v)
{
#define VARY(n, a, b) (v == (n) ? (b) : (a))
    struct trace_where where = {.pcpu = 1, .vm = VARY(1, 1, 2), .vcpu = 0, .level = VARY(2, 1, 2)};
    struct trace_exit e = {.where = where,
                           .thread = 1,
                           .reason = VARY(3, 10, 12),
                           .instr = trace_text(t, VARY(4, "cpuid", "hlt")),
                           .path = trace_text(t, VARY(5, "kernel", "user")),
                           .entry_tick = VARY(6, 1000, 1001),
                           .rip = VARY(7, 1, 2),
                           .recorded_ns = TRACE_NOT_RECORDED};
    struct trace_irq irq = {
        .where = where, .vector = VARY(8, 1, 2), .route = trace_text(t, VARY(9, "msi", "ipi"))};
    struct trace_lock lock = {
        .where = where, .name = trace_text(t, VARY(10, "a", "b")), .address = VARY(11, 1, 2)};
    struct trace_violation violation = {
        .where = where, .kind = trace_text(t, VARY(12, "a", "b")), .tick = VARY(13, 1, 2)};
    struct trace_walk walk = {
        .where = where, .result = trace_text(t, VARY(14, "ok", "fault")), .step_count = 1};
    struct trace_walk_step step = {.entry = VARY(15, 1, 2), .hit = trace_text(t, VARY(16, "l1", "l2"))};
    struct trace_span span = {
        .where = where, .name = trace_text(t, VARY(17, "a", "b")), .end_tick = VARY(18, 1, 2)};
    uint64_t argument = VARY(19, 1, 2);
    struct trace_dirty_page dirty = {.where = where,
                                     .method = trace_text(t, VARY(24, "pml", "vmm")),
                                     .slot = VARY(25, 0, 1),
                                     .round = VARY(26, 0, 1),
                                     .ring = VARY(27, 0, 1),
                                     .gfn = VARY(28, 1, 2),
                                     .tick = VARY(29, 1, 2)};

    trace_switch(t, 1, TRACE_NO_THREAD, 1, 0);
    e.seq = trace_exit_begin(t, 1, 0);
    trace_call_begin(t, 1, trace_text(t, VARY(20, "vmx_handle_exit", "handle_cpuid")), 160);
    trace_call_end(t, 1, VARY(21, 320, 321));
    trace_exit(t, &e);
    trace_irq(t, &irq);
    trace_lock(t, &lock);
    trace_violation(t, &violation);
    trace_walk(t, &walk, &step);
    trace_span(t, &span);
    trace_event(t, where, VARY(22, TP_KVM_FPU, TP_KVM_NMI), 5, &argument, 1);
    trace_counter(t, trace_text(t, "n"), VARY(23, 1, 2));
    trace_dirty_page(t, &dirty);
#undef VARY
}

TEST(Digest, SeesEveryChange)
{
    struct trace_digest digests[VARIATIONS];

    for (int v = 0; v < VARIATIONS; v++) {
        struct trace *t = fixture_begin("");

        record_variation(t, v);
        digests[v] = fixture_end(t, 16000);
        trace_close(t, NULL);
        for (int u = 0; u < v; u++) {
            test_row("variations %d and %d", u, v);
            EXPECT_NE(digests[v].lo, digests[u].lo);
            EXPECT_NE(digests[v].hi, digests[u].hi);
        }
    }
}

TEST(Digest, SilentTraceRecordsNothing)
{
    struct trace_options options = {.silent = true};
    struct trace_error error;
    int64_t run;
    struct trace *t = trace_open(&options, &error);

    trace_run_begin(t, &fixture_run, &run, &error);
    record_variation(t, 0);
    EXPECT_EQ(trace_statistics(t).records, 0);
    fixture_end(t, 1);
    trace_close(t, NULL);
}

TEST(Digest, RecordsOutsideARunAreDropped)
{
    struct trace_options options = {0};
    struct trace_error error;
    struct trace *t = trace_open(&options, &error);

    trace_call_end(t, 1, 5);
    EXPECT_EQ(trace_statistics(t).records, 0);
    trace_close(t, NULL);
}
