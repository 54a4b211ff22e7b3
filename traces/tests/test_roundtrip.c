// SPDX-License-Identifier: Apache-2.0
/* Each record comes out of the database as it went in, in whole cycles and with texts and names. */
#include "traces/tests/fixture.h"

#include "hv/hw/trace.h"
#include "spec/exit_reasons.h"

#include <stdio.h>

static const struct trace_where here = {.pcpu = 3, .vm = 1, .vcpu = 2, .level = 1};
static const struct trace_where nobody = {.pcpu = TRACE_NOBODY, .vm = TRACE_NOBODY, .vcpu = TRACE_NOBODY};

static struct trace_exit an_exit(struct trace *t, uint32_t thread, uint64_t begin_cycle)
{
    return (struct trace_exit){
        .where = here,
        .thread = thread,
        .seq = trace_exit_begin(t, thread, begin_cycle * 16),
        .reason = EXIT_REASON_EPT_VIOLATION,
        .arch = TRACE_ARCH_X86,
        .instr = trace_text(t, "mov [rdi], rax"),
        .path = trace_text(t, "kernel"),
        .intr_info = 0x80000b0e,
        .error_code = 2,
        .hw_exit_ticks = 600 * 16,
        .hw_entry_ticks = 500 * 16,
        .exit_tick = begin_cycle * 16,
        .entry_tick = (begin_cycle + 10000) * 16,
        .guest_ticks = 4000 * 16,
        .hv_ticks = 1900 * 16,
        .device_ticks = 3000 * 16,
        .wait_ticks = 2500 * 16,
        .qualification = 0x8000000000000182u,
        .rip = 0xffffffff81234567u,
        .gpa = 0xfee00000u,
        .recorded_ns = 4711,
    };
}

TEST(RoundTrip, ExitHasEveryPart)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));
    struct trace_exit e = an_exit(t, 5, 100000);

    trace_exit(t, &e);
    fixture_end(t, 2000000);
    EXPECT_STREQ(
        fixture_query(
            t, "SELECT run, seq, pcpu, vm, vcpu, level, reason, printf('%x', qualification), rip, instr, "
               "printf('%x', gpa), printf('%x', intr_info), error_code, path FROM exits"),
        "1|1|3|1|2|1|EPT_VIOLATION|8000000000000182|0xffffffff81234567|mov [rdi], "
        "rax|fee00000|80000b0e|2|kernel\n");
    EXPECT_STREQ(fixture_query(
                     t,
                     "SELECT guest_cycles, exit_cycle, entry_cycle, cycles, hw_exit_cycles, hw_entry_cycles, "
                     "hv_cycles, device_cycles, wait_cycles, other_cycles, recorded_ns FROM exits"),
                 "4000|100000|110000|10000|600|500|1900|3000|2500|1500|4711\n");
    trace_close(t, NULL);
}

TEST(RoundTrip, ExitWithoutEntryHasNoCycles)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));
    struct trace_exit e = an_exit(t, 5, 100);

    e.entry_tick = TRACE_NEVER;
    e.recorded_ns = TRACE_NOT_RECORDED;
    e.device_ticks = e.wait_ticks = 0;
    e.instr = e.path = 0;
    trace_exit(t, &e);
    fixture_end(t, 1600);
    EXPECT_STREQ(
        fixture_query(
            t, "SELECT exit_cycle, entry_cycle, cycles, hv_cycles, device_cycles, recorded_ns, instr, path "
               "FROM exits"),
        "100|-|-|-|0|-|-|-\n");
    trace_close(t, NULL);
}

// Exits that overlap keep the numbers of their begins though they are written at their entries.
TEST(RoundTrip, ExitsOfTwoProcessorsOverlap)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));
    struct trace_exit first = an_exit(t, 1, 100), second = an_exit(t, 2, 200), third = an_exit(t, 2, 300);

    trace_exit(t, &second);
    trace_exit(t, &third);
    trace_exit(t, &first);
    fixture_end(t, 1600);
    EXPECT_STREQ(fixture_query(t, "SELECT seq, exit_cycle FROM exits ORDER BY seq"), "1|100\n2|200\n3|300\n");
    trace_close(t, NULL);
}

// Parts are cut to whole cycles, yet they always sum to the whole.
TEST(RoundTrip, PartsOfAnExitSumToItsCycles)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));

    for (uint32_t i = 0; i < 64; i++) {
        struct trace_exit e = an_exit(t, 1, 1000);

        e.exit_tick += i % 7;
        e.hw_exit_ticks += i;
        e.hw_entry_ticks += i % 5;
        e.device_ticks += i % 11;
        e.entry_tick = e.exit_tick + e.hw_exit_ticks + e.hw_entry_ticks + e.device_ticks + e.wait_ticks +
                       e.hv_ticks + i % 3;
        trace_exit(t, &e);
    }
    fixture_end(t, 160000);
    EXPECT_STREQ(
        fixture_query(
            t, "SELECT count(*), count(DISTINCT cycles = hw_exit_cycles + hw_entry_cycles + hv_cycles + "
               "device_cycles + wait_cycles + other_cycles), sum(hv_cycles NOT BETWEEN 1900 AND 1904), "
               "sum(other_cycles <> 0) FROM exits"),
        "64|1|0|0\n");
    trace_close(t, NULL);
}

TEST(RoundTrip, EventsCarryTheirKernelNamesAndArguments)
{
    static const uint64_t args[6] = {1, 0x6e0, UINT64_MAX, 0, 5, 6};
    struct trace *t = fixture_begin(fixture_path("a.db"));

    trace_event(t, here, TP_KVM_MSR, 1600, args, 4);
    trace_event(t, nobody, TP_KVM_FPU, 1615, args, 1);
    trace_event(t, here, TP_KVM_CPUID, 3200, args, 6);
    fixture_end(t, 16000);
    EXPECT_STREQ(
        fixture_query(
            t,
            "SELECT run, seq, cycle, pcpu, vm, vcpu, level, kind, a0, a1, a2, a3, a4, a5, args FROM events"),
        "1|1|100|3|1|2|1|kvm_msr|1|1760|-1|0|-|-|{\"write\":1,\"ecx\":1760,\"data\":-1,\"exception\":0}\n"
        "1|2|100|-|-|-|0|kvm_fpu|1|-|-|-|-|-|{\"load\":1}\n"
        "1|3|200|3|1|2|1|kvm_cpuid|1|1760|-1|0|5|6|"
        "{\"function\":1,\"index\":1760,\"rax\":-1,\"rbx\":0,\"rcx\":5,\"rdx\":6}\n");
    trace_close(t, NULL);
}

// The events of ROUNDS exits, of which each looks like the one four rounds before it, or like none if the
// arguments differ. Gives the sum of their cycles.
enum { ROUNDS = 400, EVENTS_A_ROUND = 11 };

static uint64_t repeat_events(struct trace *t, bool differ)
{
    uint64_t sum = 0, tick = 0;

    for (uint64_t n = 0; n < ROUNDS; n++) {
        struct trace_exit e = an_exit(t, 5, 100);

        tick += 1003;
        for (uint64_t i = 0; i < EVENTS_A_ROUND; i++) {
            const uint64_t args[6] = {i, n % 4, differ ? n : 0, 9, 10, 11};
            // Another pCPU's in the middle; of the other kind as many arguments as there can be.
            struct trace_where where = {.pcpu = i == 5 ? 1 : 3, .vm = 1, .vcpu = i % 2, .level = 1};
            uint64_t at = tick + i * i;

            trace_event(t, where, i % 3 ? TP_KVM_CPUID : TP_KVM_FPU, at, args, i % 3 ? 6 : 1);
            sum += at / 16;
        }
        trace_exit(t, &e);
    }
    return sum;
}

static void run_of_repeats(struct trace *t)
{
    char expected[160];
    uint64_t sum = repeat_events(t, false);

    fixture_end(t, 16000000);
    snprintf(expected, sizeof expected, "4400|4400|1|4400|%llu|3|0\n", (unsigned long long)sum);
    EXPECT_STREQ(fixture_query(t,
                               "SELECT count(*), count(DISTINCT seq), min(seq), max(seq), sum(cycle), "
                               "count(DISTINCT pcpu * 2 + vcpu), sum(a0 IS NOT (seq - 1) % 11) FROM events "
                               "WHERE kind <> 'kvm_exit' AND run = (SELECT max(run) FROM runs)"),
                 expected);
    EXPECT_STREQ(fixture_query(t, "SELECT seq, cycle, pcpu, vcpu, kind, a0, a1, a5 FROM events WHERE "
                                  "run = (SELECT max(run) FROM runs) AND seq BETWEEN 2205 AND 2207 "
                                  "ORDER BY seq"),
                 "2205|12601|3|0|kvm_cpuid|4|0|11\n2206|12601|1|1|kvm_cpuid|5|0|11\n"
                 "2207|12602|3|0|kvm_fpu|6|-|-\n");
    // A search by near_cycle finds the same, though groups begin before the range.
    EXPECT_STREQ(
        fixture_query(t, "SELECT count(*), sum(near_cycle > cycle), sum(near_cycle < cycle) > 0, "
                         "(SELECT count(*) FROM events WHERE cycle BETWEEN 900 AND 5000 AND "
                         "near_cycle BETWEEN 900 - 65536 AND 5000 AND run = 1 AND kind <> 'kvm_exit') - "
                         "(SELECT count(*) FROM events WHERE cycle BETWEEN 900 AND 5000 AND run = 1 AND "
                         "kind <> 'kvm_exit') FROM events WHERE kind <> 'kvm_exit' AND run = (SELECT "
                         "max(run) FROM runs)"),
        "4400|0|1|0\n");
}

// A group ends where an event would be further from its first than near_cycle may be.
TEST(RoundTrip, GroupsAreShort)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));

    for (uint64_t n = 0; n < 100; n++)
        trace_event(t, here, TP_KVM_FPU, (n / 2 * 200000 + n % 2 * 65535) * 16, (const uint64_t[]){7}, 1);
    fixture_end(t, 16000000000);
    EXPECT_STREQ(fixture_query(t, "SELECT count(*), max(cycle - near_cycle) FROM events"), "100|65535\n");
    EXPECT_STREQ(fixture_query(t, "SELECT count(*) > 40 FROM event_groups_data"), "1\n");
    trace_close(t, NULL);
}

TEST(RoundTrip, EventsThatRepeatAreStoredByShape)
{
    const char *path = fixture_path("a.db");
    struct trace *t = fixture_begin(path);
    struct trace_error error;
    int64_t run;

    // The second run in a store that knows the shapes, the third in one that finds them in the file.
    run_of_repeats(t);
    trace_run_begin(t, &fixture_run, &run, &error);
    run_of_repeats(t);
    trace_close(t, NULL);
    t = fixture_begin(path);
    run_of_repeats(t);
    trace_close(t, NULL);
    // The first of each of the four kinds of rounds is single rows; a round is three groups; two stores, each
    // with its shapes.
    EXPECT_STREQ(
        fixture_plain(
            path, "SELECT count(*), (SELECT count(DISTINCT id >> 3) FROM event_shapes), (SELECT "
                  "count(*) FROM event_groups_data WHERE id >> 32 = 1) FROM events_data WHERE id >> 32 = 1"),
        "44|24|1188\n");
}

TEST(RoundTrip, EventsThatDoNotRepeatAreRows)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));
    uint64_t sum = repeat_events(t, true);
    char expected[64];

    fixture_end(t, 16000000);
    snprintf(expected, sizeof expected, "4400|%llu|400\n", (unsigned long long)sum);
    EXPECT_STREQ(
        fixture_query(t,
                      "SELECT count(*), sum(cycle), count(DISTINCT a2) FROM events WHERE kind <> 'kvm_exit'"),
        expected);
    EXPECT_STREQ(fixture_query(t, "SELECT count(*) > 3000 FROM events_data"), "1\n");
    trace_close(t, NULL);
}

TEST(RoundTrip, ExitsAreAlsoKvmExitEvents)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));
    struct trace_exit e = an_exit(t, 5, 100);

    trace_exit(t, &e);
    fixture_end(t, 1600);
    EXPECT_STREQ(
        fixture_query(t,
                      "SELECT cycle, kind, a0, printf('%x', json_extract(args, '$.guest_rip')) FROM events"),
        "100|kvm_exit|48|ffffffff81234567\n");
    trace_close(t, NULL);
}

TEST(RoundTrip, SpansIrqsLocksViolationsCounters)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));
    const struct trace_span span = {here, trace_text(t, "vcpu.stall"), 0, 1600, 16000};
    const struct trace_irq irq = {here, 0x31, trace_text(t, "ioapic"), 160, 320, 480, TRACE_NEVER};
    const struct trace_lock lock = {
        nobody, 9, TRACE_NO_THREAD, trace_text(t, "vm->lock"), trace_text(t, "mutex"), 0x7000, 160, 320, 960};
    const struct trace_lock held = {nobody, 9, 4, 0, 0, 0x7000, 160, 320, TRACE_NEVER};
    const struct trace_violation violation = {here, 9, 0, trace_text(t, "data race"), trace_text(t, "spte"),
                                              0x10, 32};

    trace_span(t, &span);
    trace_irq(t, &irq);
    trace_lock(t, &lock);
    trace_lock(t, &held);
    trace_violation(t, &violation);
    trace_counter(t, trace_text(t, "halt_poll_success"), 12);
    trace_counter(t, trace_text(t, "halt_poll_success"), 13);
    fixture_end(t, 16000);
    EXPECT_STREQ(fixture_query(t, "SELECT * FROM spans"), "1|3|1|2|vcpu.stall|100|1000|900\n");
    EXPECT_STREQ(fixture_query(t, "SELECT * FROM irqs"), "1|3|1|2|1|49|ioapic|10|20|30|-|20\n");
    EXPECT_STREQ(fixture_query(t, "SELECT * FROM locks"), "1|-|-|-|vm->lock|mutex|28672|9|-|20|10|40\n"
                                                          "1|-|-|-|-|-|28672|9|4|20|10|-\n");
    EXPECT_STREQ(fixture_query(t, "SELECT * FROM violations"), "1|2|3|1|2|data race|spte|9|0|16\n");
    EXPECT_STREQ(fixture_query(t, "SELECT * FROM counters"), "1|halt_poll_success|13\n");
    trace_close(t, NULL);
}

TEST(RoundTrip, DirtyPages)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));
    const struct trace_where vmm = {1, 2, TRACE_NOBODY, 0, 0};
    const struct trace_dirty_page first = {here, trace_text(t, "pml"), 0x10005, 3, 1, 1ull << 40, 320};
    const struct trace_dirty_page second = {vmm, trace_text(t, "vmm"), 0, TRACE_NO_ROUND, 0, 7, 336};

    trace_dirty_page(t, &first);
    trace_dirty_page(t, &second);
    fixture_end(t, 16000);
    EXPECT_STREQ(fixture_query(t, "SELECT * FROM dirty_pages"), "1|20|1|2|3|65541|1099511627776|pml|1|3\n"
                                                                "1|21|2|-|1|0|7|vmm|0|-\n");
    trace_close(t, NULL);
}

TEST(RoundTrip, WalksAndTheirSteps)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));
    const struct trace_walk walk = {here, trace_text(t, "ok"), 2, 2, 5, 0x1000, UINT64_MAX, 0x3000, 160, 320};
    const struct trace_walk_step steps[2] = {{0x100, 0x107, 80, trace_text(t, "l1"), 2, 4, {0}},
                                             {0x200, 0xfff0000000000007u, 240, 0, 1, 3, {0}}};

    trace_walk(t, &walk, steps);
    trace_walk(t, &walk, steps);
    fixture_end(t, 16000);
    EXPECT_STREQ(fixture_query(t, "SELECT * FROM walks"), "1|1|3|1|2|1|2|5|4096|-|12288|ok|10|20\n"
                                                          "1|2|3|1|2|1|2|5|4096|-|12288|ok|10|20\n");
    EXPECT_STREQ(
        fixture_query(
            t, "SELECT walk, step, stage, level, address, printf('%x', entry), hit, cycles FROM walk_steps"),
        "1|1|2|4|256|107|l1|5\n1|2|1|3|512|fff0000000000007|-|15\n"
        "2|3|2|4|256|107|l1|5\n2|4|1|3|512|fff0000000000007|-|15\n");
    trace_close(t, NULL);
}

TEST(RoundTrip, RunsAndExpectations)
{
    const struct trace_expectation expectations[] = {{"it is quick", "SELECT 1", "1", "1", "pass"},
                                                     {"it's \"small\"", "SELECT 2", "[5, 6]", NULL, "error"}};
    struct trace *t = fixture_begin(fixture_path("a.db"));
    struct trace_error error;

    fixture_end(t, 160);
    for (int i = 0; i < 2; i++)
        EXPECT_EQ(trace_expectation(t, 1, &expectations[i], &error), TRACE_OK);
    EXPECT_EQ(trace_run_verdict(t, 1, "fail", &error), TRACE_OK);
    EXPECT_STREQ(
        fixture_query(
            t,
            "SELECT run, scenario, variant, seed, knobs, uarch, hv_build, quantum_cycles, clock_khz, state, "
            "length(digest), cycles, verdict FROM runs"),
        "1|a test|-|7|-|skylake-sp|0123abcd|0|2100000|complete|32|10|fail\n");
    EXPECT_STREQ(fixture_query(t, "SELECT stored FROM runs"),
                 "exits,events,calls,spans,irqs,walks,locks,violations,counters,dirty,instructions\n");
    EXPECT_STREQ(fixture_query(t, "SELECT * FROM expectations"),
                 "1|1|it is quick|SELECT 1|1|1|pass\n1|2|it's \"small\"|SELECT 2|[5, 6]|-|error\n");
    trace_close(t, NULL);
}

// More rows than a batch holds, in two runs of one database: numbers go on within a run and start anew in the
// next.
TEST(RoundTrip, ManyRowsKeepTheirNumbers)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));
    struct trace_error error;
    int64_t run;

    for (int i = 0; i < 2; i++) {
        for (uint64_t n = 1; n <= 10000; n++)
            trace_event(t, here, TP_KVM_FPU, n * 16, &n, 1);
        fixture_end(t, 160000);
        if (i == 0)
            trace_run_begin(t, &fixture_run, &run, &error);
    }
    EXPECT_STREQ(
        fixture_query(
            t,
            "SELECT run, count(*), min(seq), max(seq), sum(seq = a0 AND cycle = a0) FROM events GROUP BY 1"),
        "1|10000|1|10000|10000\n2|10000|1|10000|10000\n");
    trace_close(t, NULL);
}

TEST(RoundTrip, PlainSqliteShowsReasonNames)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));
    struct trace_exit e = an_exit(t, 5, 100);

    trace_exit(t, &e);
    e.reason = EXIT_REASON_CPUID;
    trace_exit(t, &e);
    trace_exit(t, &e);
    fixture_end(t, 1600);
    trace_close(t, NULL);
    EXPECT_STREQ(
        fixture_plain(fixture_path("a.db"), "select reason, count(*), sum(cycles) from exits group by 1"),
        "CPUID|2|20000\nEPT_VIOLATION|1|10000\n");
}

TEST(RoundTrip, Instructions)
{
    struct trace *t = fixture_begin(fixture_path("a.db"));
    const struct trace_instruction one = {here, trace_text(t, "pause"), 0, 0xffff800000001000, 327, 2288,
                                          2256};

    trace_instruction(t, &one);
    fixture_end(t, 16000);
    EXPECT_STREQ(fixture_query(t, "SELECT * FROM instructions"),
                 "1|1|20|3|1|2|1|0xffff800000001000|pause|143|141\n");
    trace_close(t, NULL);
}
