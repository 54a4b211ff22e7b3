// SPDX-License-Identifier: Apache-2.0
/*
 * Guests with page tables of their own, from the scenario's keys to the drawn walk; and the TLB checker: each
 * invalidation that the core leaves out (knob mmu.skip_flush) is found.
 */
#include "tests/cli/cli.h"

#include <stdio.h>
#include <string.h>

static const char *scenario(const char *name)
{
    static char path[700];

    snprintf(path, sizeof path, "%s/scenarios/%s", test_source_dir(), name);
    return path;
}

static const char *digest(void)
{
    static char text[33];
    const char *at = strstr(cli_out, "digest ");

    snprintf(text, sizeof text, "%.32s", at ? at + 7 : "none");
    return text;
}

// --- The checker.

TEST(TlbChecker, FindsPagesThatAreReleasedBeforeTheFlush)
{
    if (!cli_can_run())
        return;
    EXPECT_EQ(hvsim("run %s --variant before --check-tlb --db r.db", scenario("mmu/free-page-release.yaml")),
              1);
    EXPECT_STREQ(cli_query_text(cli_path("r.db"), "SELECT group_concat(DISTINCT kind) FROM violations WHERE "
                                                  "cycle < (SELECT max(cycle) FROM events WHERE kind = "
                                                  "'balloon_report')"),
                 "stale tlb hit");
    EXPECT_EQ(hvsim("run %s --variant after --check-tlb --db a.db", scenario("mmu/free-page-release.yaml")),
              0);
}

TEST(TlbChecker, FindsEachFlushThatIsLeftOut)
{
    static const struct {
        const char *skipped, *scenario, *variant, *kind;
    } rows[] = {
        {"zap", "mmu/tlb-flush.yaml", "default", "stale tlb hit"},
        {"collapse", "mmu/tlb-flush.yaml", "default", "stale ept paging-structure-cache hit"},
        {"start_log", "mmu/remote-flush.yaml", "after", "stale tlb hit"},
        {"get_log", "mmu/remote-flush.yaml", "after", "stale tlb hit"},
        {"get_log", "dirty/methods.yaml", "pml", "stale tlb hit"},
        {"clear_log", "dirty/methods.yaml", "manual", "stale tlb hit"},
        {"reset_rings", "dirty/methods.yaml", "ring", "stale tlb hit"},
        {"vcpu_move", "mmu/tlb-flush.yaml", "default", "stale tlb hit"},
        {"request", "mmu/tlb-flush.yaml", "default", "stale tlb hit"},
        {"guest_request", "mmu/tlb-flush.yaml", "default", "stale tlb hit, guest tables"},
        {"cr4", "mmu/tlb-flush.yaml", "default", "stale tlb hit, guest tables"},
    };

    if (!cli_can_run())
        return;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s, %s", rows[i].skipped, rows[i].scenario);
        char db[32];

        snprintf(db, sizeof db, "%u.db", i);
        EXPECT_EQ(hvsim("run %s --variant %s --check-tlb --knob mmu.skip_flush=%s --db %s",
                        scenario(rows[i].scenario), rows[i].variant, rows[i].skipped, db),
                  1);
        EXPECT_STREQ(cli_query_text(cli_path(db), "SELECT group_concat(DISTINCT kind) FROM violations"),
                     rows[i].kind);
        // Without the checker nothing tells: the guest just goes on.
        snprintf(db, sizeof db, "%uu.db", i);
        hvsim("run %s --variant %s --knob mmu.skip_flush=%s --db %s", scenario(rows[i].scenario),
              rows[i].variant, rows[i].skipped, db);
        EXPECT_EQ(cli_query(cli_path(db), "SELECT count(*) FROM violations"), 0);
    }
    // A value of the knob without a row here would be a flush that nobody looks for.
    EXPECT_EQ(hvsim("run %s --knob mmu.skip_flush=x", scenario("mmu/tlb-flush.yaml")), 2);
    EXPECT_TRUE(strstr(cli_err, "expected "
                                "none|zap|collapse|start_log|get_log|clear_log|reset_rings|vcpu_move|request|"
                                "guest_request|cr4") != NULL);
}

TEST(TlbChecker, FindsTheFlushThatNobodyAskedTheArchitectureFor) // Catalogue 004-D
{
    if (!cli_can_run())
        return;
    hvsim("run %s --variant before --check-tlb --db b.db", scenario("mmu/remote-flush.yaml"));
    EXPECT_GE(cli_query(cli_path("b.db"), "SELECT count(*) FROM violations WHERE kind = 'stale tlb hit'"), 1);
    EXPECT_EQ(hvsim("run %s --variant after --check-tlb --db a.db", scenario("mmu/remote-flush.yaml")), 0);
}

TEST(TlbChecker, FindsNothingWhereNothingIsLeftOutAndChangesNoCycle)
{
    static const char *const names[] = {"mmu/tlb-flush.yaml", "mmu/walk-2d.yaml", "exits/quickstart.yaml",
                                        "interrupts/ipi-pingpong.yaml", "mmu/native-tour.yaml"};

    if (!cli_can_run())
        return;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        char unchecked[33];

        test_row("%s", names[i]);
        EXPECT_EQ(hvsim("run %s --db a.db", scenario(names[i])), 0);
        snprintf(unchecked, sizeof unchecked, "%s", digest());
        EXPECT_EQ(hvsim("run %s --check-tlb --db b.db", scenario(names[i])), 0);
        EXPECT_STREQ(digest(), unchecked);
    }
}

// --- A walk, drawn.

TEST(ExplainWalk, ShowsEachReferenceOnceAndTheTotals)
{
    unsigned rows = 0;

    if (!cli_can_run())
        return;
    EXPECT_EQ(hvsim("run %s --db w.db", scenario("mmu/walk-2d.yaml")), 0);
    EXPECT_EQ(hvsim("explain w.db --walk 1"), 0);
    for (const char *line = cli_out; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        unsigned number;

        if (sscanf(line, "  %u %*[guestEPT ]", &number) == 1 && line[4] == ' ') {
            rows++;
            EXPECT_EQ(number, rows);
        }
    }
    EXPECT_EQ(rows, 24);
    EXPECT_TRUE(strstr(cli_out, "24 references: 4 of the guest's tables, 20 of the EPT's") != NULL);
    EXPECT_TRUE(strstr(cli_out, "A native walk would read the guest's 4 alone") != NULL);
    EXPECT_EQ(hvsim("explain w.db --run 5 --walk 3"), 0);
    EXPECT_TRUE(strstr(cli_out, "the guest's upper 3 levels are cached") != NULL);
    EXPECT_TRUE(strstr(cli_out, "2 references: 1 of the guest's tables, 1 of the EPT's") != NULL);
    EXPECT_EQ(hvsim("explain w.db --walk 100000"), 2);
    EXPECT_TRUE(strstr(cli_err, "has no walk 100000") != NULL);
}

// --- Scenario keys.

static const char *write_scenario(const char *keys, const char *stream)
{
    char text[1500];

    cli_write_text("s.stream", stream);
    snprintf(
        text, sizeof text,
        "scenario: s\nmachine: { cpus: 1, memory: 4GiB }\nvms:\n  - name: a\n    memory: 64MiB\n    page: "
        "2MiB\n    prefault: on\n    vcpus: [{ stream: s.stream, pcpu: 0 }]\n    devices:\n      - { name: "
        "card, mmio: 0xfe000000, size: 4KiB, value: 7 }\n%s",
        keys);
    return cli_write_text("s.yaml", text);
}

TEST(Paging, GuestPagesAreOfTheSizeThatTheScenarioSays)
{
    static const struct {
        const char *keys;
        int64_t levels, references;
    } rows[] = {
        {"    paging: 4\n    guest_page: 4KiB\n", 4, 4},
        {"    paging: 4\n    guest_page: 2MiB\n", 4, 3},
        // 64 MiB hold no page of 1 GiB: the largest that fit.
        {"    paging: 4\n    guest_page: 1GiB\n", 4, 3},
        {"    paging: 5\nuarch: { address.linear_bits: 57, vmx_cap.cr4_fixed1: 0x3737ff }\n", 5, 5},
        {"    paging: off\n", 0, 0},
    };

    if (!cli_can_run())
        return;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("row %u", i);
        EXPECT_EQ(hvsim("run %s --check-tlb --db g.db",
                        write_scenario(rows[i].keys, "hvsim-stream 1\n1us read 0x1234000 8\n")),
                  0);
        EXPECT_EQ(cli_query(cli_path("g.db"), "SELECT ifnull(max(level), 0) FROM walk_steps WHERE stage = 1"),
                  rows[i].levels);
        EXPECT_EQ(cli_query(cli_path("g.db"), "SELECT sum(stage = 1) FROM walk_steps WHERE walk = 1"),
                  rows[i].references);
        EXPECT_EQ(cli_query(cli_path("g.db"), "SELECT gpa FROM walks WHERE walk = 1"), 0x1234000);
        remove(cli_path("g.db"));
    }
}

TEST(Paging, FaultsAreTheGuestsOwnAndDevicesAreMapped)
{
    // The first access faults (#PF, not present, write); the handler makes the PML4E, which faults again at
    // the PDPT that it names, and so on: here it gives a whole PDPT, the one of low memory, and returns.
    static const char stream[] = "hvsim-stream 1\n"
                                 "on 14:\n"
                                 "    write 0x3fff020 8 0x3ffe027\n" // PML4E 4 = that of address 0
                                 "    iret\n"
                                 "1us read 0xfe000004 4\n"
                                 "1us write 0x20001234567 1 0x5a\n"
                                 "1us read 0x1234567 1\n"
                                 "1us read 0x800000000000 8\n"; // Not canonical: #GP(0), fixed up

    if (!cli_can_run())
        return;
    EXPECT_EQ(hvsim("run %s --db f.db", write_scenario("    paging: 4\n", stream)), 0);
    EXPECT_EQ(cli_query(cli_path("f.db"), "SELECT count(*) FROM walks WHERE result = 'page fault'"), 1);
    EXPECT_EQ(cli_query(cli_path("f.db"),
                        "SELECT count(*) FROM exits WHERE reason = 'EPT_MISCONFIG' OR (reason = "
                        "'EPT_VIOLATION' AND gpa >= 0xfe000000)"),
              1);
    EXPECT_EQ(cli_query(cli_path("f.db"), "SELECT count(DISTINCT hpa) FROM walks WHERE gpa = 0x1234567"), 1);
    EXPECT_EQ(cli_query(cli_path("f.db"), "SELECT count(*) FROM walks WHERE gpa = 0x1234567"), 2);
}

TEST(Paging, FiveLevelsNeedAProcessorThatHasThem)
{
    EXPECT_EQ(hvsim("run %s", write_scenario("    paging: 5\n", "hvsim-stream 1\n1us read 0x1000 8\n")), 2);
    EXPECT_TRUE(strstr(cli_err, "5 levels need 57 linear address bits") != NULL);
    EXPECT_EQ(hvsim("run %s", write_scenario("    paging: 3\n", "hvsim-stream 1\n1us read 0x1000 8\n")), 2);
    EXPECT_TRUE(strstr(cli_err, "vms[0].paging: ") != NULL);
}

TEST(Paging, WhatAScenarioMayReplaceOfTheProcessor)
{
    static const struct {
        const char *keys, *words;
    } rows[] = {
        {"uarch: { paging_cache.pd_entris: 1 }\n", "did you mean `paging_cache.pd_entries`"},
        {"uarch: { l2.ways: 8 }\n", "unknown"}, // Went into the shape of the caches already
        {"uarch: { stlb.entries: 70000 }\n", "out of range"},
        {"uarch: { stlb.ways: 7 }\n", "are no whole number of sets"},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].keys);
        EXPECT_EQ(hvsim("run %s", write_scenario(rows[i].keys, "hvsim-stream 1\n1us read 0x1000 8\n")), 2);
        if (!strstr(cli_err, rows[i].words))
            TEST_FAIL("%s", cli_err);
    }
}
