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
