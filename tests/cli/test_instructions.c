// SPDX-License-Identifier: Apache-2.0
/* Instructions of machine-code guests in traces: --trace instructions, --window, hvsim explain. */
#include "tests/cli/cli.h"

#include <stdio.h>
#include <string.h>

#define NEEDS_CORE                                                                                           \
    do {                                                                                                     \
        if (!cli_can_run())                                                                                  \
            test_skip("there is no libhv.so in this build");                                                 \
    } while (0)

/* Real mode at 0x7c00: mov cx, 100; 1: dec cx; jnz 1b; mov al, 0; out 0xf4, al. */
static const unsigned char guest[] = {0xb9, 100, 0, 0x49, 0x75, 0xfd, 0xb0, 0, 0xe6, 0xf4, 0xf4};
enum { ROUNDS = 100, RETIRED = 1 + 2 * ROUNDS + 1 };

static const char scenario[] =
    "scenario: guest\n"
    "about: One loop.\n"
    "source: none\n"
    "machine: { arch: x86, uarch: skylake-sp, cpus: 1, memory: 1GiB }\n"
    "vms: [{ name: g, memory: 16MiB, cpus: 1, program: { image: guest.img, load: 0x7c00 } }]\n";

static void write_guest(void)
{
    cli_write("guest.img", guest, sizeof guest);
    cli_write_text("guest.yaml", scenario);
}

static int64_t ask(const char *db, const char *sql)
{
    return cli_query(cli_path(db), sql);
}

static const char *ask_text(const char *db, const char *sql)
{
    return cli_query_text(cli_path(db), sql);
}

TEST(Instructions, OneRowForEachThatRetires)
{
    NEEDS_CORE;
    write_guest();
    EXPECT_EQ(hvsim("run guest.yaml --trace all,instructions --db i.db"), 0);
    EXPECT_EQ(ask("i.db", "SELECT count(*) FROM instructions"), RETIRED);
    EXPECT_EQ(ask("i.db", "SELECT count(*) FROM instructions WHERE text = 'dec cx' AND rip = '0x7c03'"),
              ROUNDS);
    EXPECT_STREQ(ask_text("i.db", "SELECT text FROM instructions WHERE seq = 1"), "mov cx, 0x64");
    // Rows follow each other without a gap, but for exits and what a fetch cost after one.
    EXPECT_EQ(ask("i.db", "SELECT count(*) FROM instructions a JOIN instructions b ON b.seq = a.seq + 1 "
                          "WHERE b.cycle <> a.cycle + a.cycles"),
              0);
    EXPECT_EQ(ask("i.db", "SELECT count(*) FROM instructions WHERE stall_cycles NOT BETWEEN 0 AND cycles"),
              0);
    // The last round is predicted wrongly, nobody between the first few and it.
    EXPECT_EQ(ask("i.db", "SELECT count(*) FROM instructions WHERE text LIKE 'jne%' AND stall_cycles > 0 "
                          "AND seq BETWEEN 20 AND 200"),
              0);
    EXPECT_EQ(ask("i.db", "SELECT stall_cycles > 0 FROM instructions WHERE seq = 201"), 1);
}

TEST(Instructions, RecordingThemMovesNothing)
{
    char digest[64];

    NEEDS_CORE;
    write_guest();
    EXPECT_EQ(hvsim("run guest.yaml --db plain.db"), 0);
    EXPECT_EQ(ask("plain.db", "SELECT count(*) FROM instructions"), 0);
    snprintf(digest, sizeof digest, "%s", ask_text("plain.db", "SELECT digest || cycles FROM runs"));
    EXPECT_EQ(hvsim("run guest.yaml --trace instructions --db i.db"), 0);
    EXPECT_STREQ(ask_text("i.db", "SELECT digest || cycles FROM runs"), digest);
    EXPECT_EQ(ask("i.db", "SELECT count(*) FROM exits"), 0);
}

TEST(Instructions, AWindowIsOfCyclesOrOfTime)
{
    static const struct {
        const char *window;
        const char *wanted; // Of i.db's rows
    } rows[] = {{"%lld..%lld", "cycle >= %lld AND cycle < %lld"},
                {"%lld..", "cycle >= %lld"},
                {"..%2$lld", "cycle < %2$lld"},
                {"0..1s", "1"}};
    char window[64], wanted[64], sql[128];

    NEEDS_CORE;
    write_guest();
    EXPECT_EQ(hvsim("run guest.yaml --trace instructions --db i.db"), 0);
    long long from = ask("i.db", "SELECT cycle FROM instructions WHERE seq = 50");
    long long to = ask("i.db", "SELECT cycle FROM instructions WHERE seq = 100");

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].window);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(window, sizeof window, rows[i].window, from, to);
        snprintf(wanted, sizeof wanted, rows[i].wanted, from, to);
#pragma GCC diagnostic pop
        snprintf(sql, sizeof sql, "SELECT count(*) FROM instructions WHERE %s", wanted);
        EXPECT_EQ(hvsim("run guest.yaml --trace instructions --window %s --db w%zu.db", window, i), 0);
        char db[16];

        snprintf(db, sizeof db, "w%zu.db", i);
        EXPECT_EQ(ask(db, "SELECT count(*) FROM instructions"), ask("i.db", sql));
    }
    EXPECT_EQ(hvsim("run guest.yaml --window 5"), 2);
    EXPECT_STRSTR(cli_err, "--window wants FROM..TO in cycles or times");
    EXPECT_EQ(hvsim("boot guest.img --window a..b"), 2);
    EXPECT_STRSTR(cli_err, "got `a..b`");
}

TEST(Instructions, ExplainListsThemWithTheExitsAmongThem)
{
    NEEDS_CORE;
    write_guest();
    EXPECT_EQ(hvsim("boot guest.img --load 0x7c00 --trace exits,instructions --db i.db"), 0);
    EXPECT_EQ(hvsim("explain i.db --instructions"), 0);
    EXPECT_STRSTR(cli_out, "mov cx, 0x64\n");
    EXPECT_STRSTR(cli_out, "IO_INSTRUCTION of `out 0xf4, al`\n");
    EXPECT_STRSTR(cli_out, "202 instructions in ");
    EXPECT_EQ(hvsim("explain i.db --instructions 2..3"), 0);
    EXPECT_STRSTR(cli_out, "\n         2 ");
    EXPECT_STRSTR(cli_out, "\n         3 ");
    EXPECT_STRSTR(cli_out, "\n2 instructions in ");
    EXPECT_EQ(hvsim("explain i.db --instructions 500.."), 2);
    EXPECT_STRSTR(cli_err, "has instructions 1 to 202");
    EXPECT_EQ(hvsim("explain i.db --instructions=x"), 2);
    EXPECT_STRSTR(cli_err, "--instructions wants N..M");
    EXPECT_EQ(hvsim("boot guest.img --load 0x7c00 --db none.db"), 0);
    EXPECT_EQ(hvsim("explain none.db --instructions"), 2);
    EXPECT_STRSTR(cli_err, "--trace all,instructions");
}

TEST(Instructions, AnExitNamesTheInstructionThatMadeIt)
{
    NEEDS_CORE;
    write_guest();
    EXPECT_EQ(hvsim("run guest.yaml --db e.db"), 0);
    EXPECT_STREQ(ask_text("e.db", "SELECT instr FROM exits WHERE reason = 'IO_INSTRUCTION'"), "out 0xf4, al");
    EXPECT_EQ(ask("e.db", "SELECT count(*) FROM exits WHERE reason = 'PREEMPTION_TIMER' AND instr NOT NULL"),
              0);
    EXPECT_EQ(hvsim("explain e.db --exit %lld",
                    (long long)ask("e.db", "SELECT seq FROM exits WHERE reason = 'IO_INSTRUCTION'")),
              0);
    EXPECT_STRSTR(cli_out, "came to `out 0xf4, al` at rip 0x7c08");
}
