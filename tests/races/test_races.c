// SPDX-License-Identifier: Apache-2.0
/*
 * Races whose orders are pinned (docs/schedules.md): each bug shows in its order, the fix holds in the same
 * one, and it is the order that shows it.
 */
#include "tests/cli/cli.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *scenario, *fixed; // The knob as it should be.
    bool only_pinned;             // Without the order the bug does not show.
} rows[] = {
    {"mmu/tlbs-dirty", "tlb.dirty_reset=cmpxchg", true},
    {"mmu/request-order", "tlb.request_order=request_first", true},
    {"mmu/memslot-delete", "memslot.delete_mode=two_phase", true},
    {"mmu/rmap-copylock", "mmu.rmaps=lazy", true},
    {"mmu/rmap-lockleak", "mmu.rmaps=lazy", false}, // Its two vCPUs do the same at the same time.
    {"dirty/lost-write", "mmu.pw_track=possible",
     false}, // Any lock-less fault before the log starts will do.
    {"dirty/order-fetch", "dirty.get_order=fetch_protect_flush", true},
    {"dirty/order-flush", "dirty.get_order=fetch_protect_flush", true},
    {"mmu/free-page-release", "mm.release_order=flush_first", true},
};
enum { ROWS = sizeof rows / sizeof *rows };

static const char *path_of(unsigned row)
{
    static char path[700];

    snprintf(path, sizeof path, "%s/scenarios/%s.yaml", test_source_dir(), rows[row].scenario);
    return path;
}

TEST(Races, ShowInTheirOrderAndAreFixedInIt)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (unsigned i = 0; i < ROWS; i++) {
        test_row("%s", rows[i].scenario);
        EXPECT_EQ(hvsim("run '%s' --db %u.db", path_of(i), i), 0);
        EXPECT_STRSTR(cli_out, "verdict: pass");
    }
}

TEST(Races, WithoutTheMistakeNothingOfItShows)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (unsigned i = 0; i < ROWS; i++) {
        test_row("%s, %s", rows[i].scenario, rows[i].fixed);
        EXPECT_EQ(hvsim("run '%s' --variant before --knob %s --db %u.db", path_of(i), rows[i].fixed, i), 1);
        EXPECT_STRSTR(cli_out, "FAIL");
    }
}

// The scenario as it is resolved, but for its orders; its streams lie beside it.
static void write_unpinned(unsigned row)
{
    static char text[20000];
    size_t used = 0;

    EXPECT_EQ(hvsim("run '%s' --print-resolved", path_of(row)), 0);
    for (const char *line = cli_out, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        next += *next == '\n';
        size_t bytes = (size_t)(next - line);

        if (strncmp(line, "    schedule:", 13) == 0 || strncmp(line, "      - \"cpu", 12) == 0)
            continue;
        ASSERT_TRUE(used + bytes < sizeof text);
        memcpy(text + used, line, bytes);
        used += bytes;
    }
    text[used] = 0;
    cli_write_text("unpinned.yaml", text);
}

TEST(Races, ItIsTheOrderThatShowsThem)
{
    char copy[1500];

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (unsigned i = 0; i < ROWS; i++) {
        if (!rows[i].only_pinned)
            continue;
        test_row("%s", rows[i].scenario);
        write_unpinned(i);
        snprintf(copy, sizeof copy, "cp '%s'/scenarios/mmu/*.stream '%s'/scenarios/dirty/*.stream .",
                 test_source_dir(), test_source_dir());
        EXPECT_EQ(hvsim_under(copy, "run unpinned.yaml --variant before --db u%u.db", i), 1);
        EXPECT_STRSTR(cli_out, "FAIL");
    }
}

// --- Orders from files. ---

static int run_scheduled(const char *text, const char *options)
{
    cli_write_text("order.sched", text);
    return hvsim("run '%s' --schedule order.sched --db order.db %s", path_of(0), options);
}

static void digest_of(char *digest, size_t size)
{
    const char *at = strstr(cli_out, "  digest ");

    snprintf(digest, size, "%.*s", at ? (int)strcspn(at, "\n") : 0, at ? at : "");
}

TEST(Schedules, AFileTakesThePlaceOfTheScenariosOwnOrder)
{
    // As the scenario has it, by lines; and by ordinals, which edits above in the same function do not move
    // either.
    static const char *const orders[] = {
        "# mmu/tlbs-dirty\n"
        "scenario: tlbs-dirty\n"
        "variant: before  # set to zero\n"
        "memory: tso\n\n"
        "from 100us\n"
        "cpu0 hv/mmu/shadow_sync.c:drop+10 atomic\n"
        "cpu2 hv/core/requests.c:flush_remote_tlbs+3 read x2   # this is why: x1 is its start\n"
        "cpu2 hv/core/requests.c:flush_remote_tlbs+10\n"
        "cpu0 hv/mmu/shadow_sync.c:drop+10 atomic\n"
        "cpu2 hv/core/requests.c:flush_remote_tlbs+11\n",
        "from: 0.1ms\r\n"
        "variant: before\r\n"
        "cpu0 hv/mmu/shadow_sync.c:drop#1 atomic\r\n"
        "cpu2 hv/core/requests.c:flush_remote_tlbs#1 read x2\r\n"
        "cpu2 hv/core/requests.c:flush_remote_tlbs+10\r\n"
        "cpu0 hv/mmu/shadow_sync.c:drop#1 atomic\r\n"
        "cpu2 hv/core/requests.c:flush_remote_tlbs+11\r\n",
    };
    char own[80], other[80];

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    EXPECT_EQ(hvsim("run '%s' --variant before --db own.db", path_of(0)), 0);
    digest_of(own, sizeof own);
    EXPECT_STRSTR(own, "digest");
    for (unsigned i = 0; i < 2; i++) {
        test_row("order %u", i);
        EXPECT_EQ(run_scheduled(orders[i], ""), 0);
        EXPECT_STRSTR(cli_out, "order pinned: 5 of 5 steps passed");
        digest_of(other, sizeof other);
        EXPECT_STREQ(other, own);
    }
    // Another order, and the violation that the scenario wants does not come.
    EXPECT_EQ(run_scheduled("cpu0 hv/mmu/shadow_sync.c:drop#1 atomic\n", "--variant before"), 1);
    EXPECT_STRSTR(cli_out, "order pinned: 1 of 1 steps passed");
    // It is what the run's record says.
    EXPECT_EQ(
        run_scheduled("from 1us\ncpu0 shadow_sync.c:drop#1 atomic\n", "--variant before --print-resolved"),
        0);
    EXPECT_STRSTR(cli_out, "      - \"from 1us\"\n      - \"cpu0 shadow_sync.c:drop#1 atomic\"\n");
}

TEST(Schedules, MistakesInAFileAreNamedWithTheirLine)
{
    static const struct {
        const char *text, *options, *says;
    } mistakes[] = {
        {"", "", "order.sched: has no step; expected lines such as"},
        {"# nothing\n\n", "", "order.sched: has no step"},
        {"scenario: other\ncpu0 tdp.c:tdp_map\n", "",
         "order.sched:1: scenario: this order is of `other`, and"},
        {"\nvariant: after\ncpu0 tdp.c:tdp_map\n", "--variant before",
         "order.sched:2: variant: this order is of variant `after`, and --variant says `before`"},
        {"variant: later\ncpu0 tdp.c:tdp_map\n", "", "has no variant `later`; its first is `before`"},
        {"cpu0 tdp.c:tdp_map\n", "", "does not say for which variant of"},
        {"cpu0 tdp.c:tdp_map\n", "--variant nobody", "has no variant `nobody`"},
        {"memory: weak\ncpu0 tdp.c:tdp_map\n", "",
         "order.sched:1: memory: `weak` is no memory model; expected"},
        {"memory: c11\ncpu0 tdp.c:tdp_map\n", "--variant before",
         "order.sched:1: memory: this order was found under another memory model than the run's, which is "
         "tso"},
        {"validate: races,locsk\ncpu0 tdp.c:tdp_map\n", "",
         "order.sched:1: validate: `locsk` is no validator; expected"},
        {"memory: tso\nmemory: tso\ncpu0 tdp.c:tdp_map\n", "", "order.sched:2: memory: is said twice"},
        {"memory:\ncpu0 tdp.c:tdp_map\n", "", "order.sched:1: memory: has no value"},
        {"colour: red\ncpu0 tdp.c:tdp_map\n", "",
         "order.sched:1: colour: is not known here; expected scenario,"},
        {"# 1\ncpu0 tdp.c:tdp_mop\n", "--variant before",
         "order.sched:2: schedule: `cpu0 tdp.c:tdp_mop`: tdp.c has no function `tdp_mop`"},
        {"cpu0 shadow_sync.c:drop#2 atomic\n", "--variant before",
         "`drop` has no #2 of kind atomic; it has #1 on line"},
        {"cpu7 tdp.c:tdp_map\n", "--variant before", "there is no cpu7; this machine has 3"},
        {"from soon\ncpu0 tdp.c:tdp_map\n", "--variant before",
         "order.sched:1: schedule: `from soon`: expected a time, such as `from 2ms`"},
        {"cpu0 tdp.c:tdp_map\nfrom 2ms\n", "--variant before",
         "order.sched:2: schedule: `from 2ms`: stands once, before all steps"},
    };

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        test_row("row %zu: %s", i, mistakes[i].says);
        EXPECT_EQ(run_scheduled(mistakes[i].text, mistakes[i].options), 2);
        EXPECT_STRSTR(cli_err, mistakes[i].says);
    }
    EXPECT_EQ(hvsim("run '%s' --schedule nowhere.sched", path_of(0)), 2);
    EXPECT_STRSTR(cli_err, "nowhere.sched: No such file or directory; name a file of steps");
    EXPECT_EQ(hvsim("run '%s' '%s' --schedule order.sched", path_of(0), path_of(0)), 2);
    EXPECT_STRSTR(cli_err, "--schedule is for one scenario, got 2");
}
