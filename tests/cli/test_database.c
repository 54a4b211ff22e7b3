// SPDX-License-Identifier: Apache-2.0
/* Databases that cannot be written or read: exit status 2, a reason, a way out, and nothing of anyone's lost.
 */
#include "tests/cli/cli.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEEDS_CORE                                                                                           \
    do {                                                                                                     \
        if (!cli_can_run())                                                                                  \
            test_skip("there is no libhv.so in this build");                                                 \
    } while (0)

static void sql(const char *db, const char *statement)
{
    sqlite3 *connection = NULL;

    EXPECT_EQ(sqlite3_open(db, &connection), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(connection, statement, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(connection);
}

static size_t read_all(const char *path, char *bytes, size_t size)
{
    FILE *f = fopen(path, "rb");
    size_t got = f ? fread(bytes, 1, size, f) : 0;

    if (f)
        fclose(f);
    return got;
}

TEST(Database, OfSomeoneElseIsLeftAlone)
{
    static const struct {
        const char *name, *message;
    } rows[] = {{"notes.txt", "notes.txt: not a database of hvsim"},
                {"other.db", "other.db: an SQLite database of another"}};
    static char before[65536], after[65536];

    NEEDS_CORE;
    cli_scenario("s", 1);
    cli_write_text("notes.txt", "my notes\n");
    sql(cli_path("other.db"), "CREATE TABLE t (x); INSERT INTO t VALUES (1)");
    for (size_t i = 0; i < 2; i++) {
        test_row("%s", rows[i].name);
        size_t size = read_all(cli_path(rows[i].name), before, sizeof before);

        EXPECT_EQ(hvsim("run s.yaml --db %s", rows[i].name), 2);
        EXPECT_STRSTR(cli_err, rows[i].message);
        EXPECT_STRSTR(cli_err, "give --db the name of a new file");
        EXPECT_EQ(hvsim("export %s", rows[i].name), 2);
        EXPECT_STRSTR(cli_err, rows[i].message);
        EXPECT_EQ(hvsim("explain %s --exit 1", rows[i].name), 2);
        EXPECT_STRSTR(cli_err, rows[i].message);
        EXPECT_EQ(read_all(cli_path(rows[i].name), after, sizeof after), size);
        EXPECT_MEMEQ(after, before, size);
    }
    // Not even by the default name, which is otherwise written anew.
    cli_write_text("s.db", "my notes\n");
    EXPECT_EQ(hvsim("run s.yaml"), 2);
    EXPECT_STRSTR(cli_err, "--db");
    EXPECT_EQ(read_all(cli_path("s.db"), after, sizeof after), 9);
}

TEST(Database, LockedByAnotherIsTold)
{
    sqlite3 *other = NULL;

    NEEDS_CORE;
    cli_scenario("s", 1);
    EXPECT_EQ(hvsim("run s.yaml --db a.db"), 0);
    ASSERT_EQ(sqlite3_open(cli_path("a.db"), &other), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    EXPECT_EQ(hvsim("run s.yaml --db a.db"), 2);
    EXPECT_STRSTR(cli_err, "a.db: ");
    EXPECT_STRSTR(cli_err, "locked");
    EXPECT_STRSTR(cli_err, "wait for the other process");
    EXPECT_EQ(hvsim("export a.db"), 2);
    EXPECT_STRSTR(cli_err, "locked");
    sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(other);
    EXPECT_EQ(cli_query(cli_path("a.db"), "SELECT count(*) FROM runs"), 1);
    EXPECT_EQ(hvsim("run s.yaml --db a.db"), 0);
    EXPECT_EQ(cli_query(cli_path("a.db"), "SELECT count(*) FROM runs"), 2);
}

TEST(Database, ThatCannotBeWrittenIsTold)
{
    static const struct {
        const char *db, *message;
    } rows[] = {{"nowhere/a.db", "there is no folder"},
                {".", "a directory, not a file"},
                {"/dev/full", "not a file"}};

    NEEDS_CORE;
    cli_scenario("s", 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].db);
        EXPECT_EQ(hvsim("run s.yaml --db %s", rows[i].db), 2);
        EXPECT_STRSTR(cli_err, rows[i].message);
    }
}

/* A limit on the size of files fails writes as a full disk does. */
TEST(Database, AFullDiskIsToldAndLeavesNothingHalfDone)
{
    NEEDS_CORE;
    cli_scenario("small", 1);
    cli_scenario("large", 100000);
    // Nothing fits: no database is left.
    EXPECT_EQ(hvsim_under("ulimit -f 16", "run large.yaml --db new.db"), 2);
    EXPECT_STRSTR(cli_err, "disk full");
    EXPECT_STRSTR(cli_err, "store fewer categories (--trace exits)");
    if (access(cli_path("new.db"), F_OK) == 0)
        EXPECT_EQ(cli_query(cli_path("new.db"), "SELECT count(*) FROM runs WHERE state != 'incomplete'"), 0);
    // An earlier run stays; the new one is marked.
    EXPECT_EQ(hvsim("run small.yaml --db kept.db"), 0);
    EXPECT_EQ(hvsim_under("ulimit -f 1024", "run large.yaml --db kept.db"), 2);
    EXPECT_STRSTR(cli_err, "disk full");
    EXPECT_STREQ(cli_query_text(cli_path("kept.db"), "SELECT state FROM runs WHERE run = 1"), "complete");
    EXPECT_EQ(cli_query(cli_path("kept.db"), "SELECT count(*) FROM exits WHERE run = 1 AND reason = 'CPUID'"),
              1);
    EXPECT_EQ(
        cli_query(cli_path("kept.db"), "SELECT count(*) FROM runs WHERE run > 1 AND state != 'incomplete'"),
        0);
    // Fewer categories fit.
    EXPECT_EQ(hvsim_under("ulimit -f 1024", "run large.yaml --db few.db --trace none"), 1);
    EXPECT_EQ(cli_query(cli_path("few.db"), "SELECT count(*) FROM runs WHERE state = 'complete'"), 1);
}

TEST(Database, ADamagedOneIsTold)
{
    static char bytes[1 << 20];

    NEEDS_CORE;
    cli_scenario("s", 100);
    EXPECT_EQ(hvsim("run s.yaml --db a.db"), 0);
    size_t size = read_all(cli_path("a.db"), bytes, sizeof bytes);

    ASSERT_GT(size, 8192);
    cli_write("short.db", bytes, 8192);
    EXPECT_EQ(hvsim("export short.db"), 2);
    EXPECT_STRSTR(cli_err, "truncated: 8192 of ");
    memset(bytes + 4096, 0x5a, size - 4096);
    cli_write("hit.db", bytes, size);
    EXPECT_EQ(hvsim("export hit.db"), 2);
    EXPECT_STRSTR(cli_err, "hit.db: ");
    EXPECT_EQ(hvsim("run s.yaml --db hit.db"), 2);
    EXPECT_STRSTR(cli_err, "hit.db: ");
}

TEST(Database, QueriesThatDoNotWorkAreTold)
{
    static const struct {
        const char *words, *message;
    } rows[] = {
        {"export a.db --table exit", "exit"},
        {"export a.db --sql 'SELEC 1'", "syntax error"},
        {"export a.db --sql 'DELETE FROM runs'", "only reads"},
        {"export a.db --run 99", "has no run 99"},
        {"explain a.db --exit 99999", "run 1 of a.db has no exit 99999; it has 1 to 3"},
        {"explain a.db --exit 1 --run 99", "a.db: has no run 99"},
        {"explain none.db --exit 1",
         "run 1 of none.db has no exits; were they stored (--trace exits or all)?"},
        {"export a.db >/dev/full", "hvsim: standard output: cannot write: No space left on device"},
    };

    NEEDS_CORE;
    cli_scenario("s", 3);
    EXPECT_EQ(hvsim("run s.yaml --db a.db"), 0);
    hvsim("run s.yaml --db none.db --trace none"); // What it expects is not there.
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].words);
        EXPECT_EQ(hvsim("%s", rows[i].words), 2);
        EXPECT_STRSTR(cli_err, rows[i].message);
        EXPECT_EQ(strchr(cli_err, '\n'), cli_err + strlen(cli_err) - 1);
    }
    // Who reads no further is no error to speak of.
    char command[1200], output[4096];

    snprintf(command, sizeof command, "cd '%s' && '%s/bin/hvsim' export a.db --table events 2>&1 | true",
             test_tmpdir(), test_build_dir());
    EXPECT_EQ(test_shell(command, output, sizeof output), 0);
    EXPECT_STREQ(output, "");
    EXPECT_EQ(cli_query(cli_path("a.db"), "SELECT count(*) FROM runs"), 1);
}

/* Every entry is traced with the guest's RIP, whether or not the core had read it. */
TEST(Database, EntriesTellWhereTheGuestGoesOn)
{
    NEEDS_CORE;
    cli_write_text("a.stream",
                   "hvsim-stream 1\nsti\nwrmsr IA32_TSC_DEADLINE tsc+20us\nawait PREEMPTION_TIMER\n"
                   "100 read 0x1000\nin 0x60 2 3000 0xff1\nout 0x60 1 7 20\ncpuid 0\nend\n");
    cli_write_text("s.yaml", "scenario: s\nvms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n"
                             "      - { stream: a.stream }\n    devices:\n"
                             "      - { name: d, port: 0x60, size: 2, value: 7 }\n");
    EXPECT_EQ(hvsim("run s.yaml --db a.db"), 0);
    EXPECT_GT(cli_query(cli_path("a.db"), "SELECT count(*) FROM events WHERE kind = 'kvm_entry'"), 20);
    EXPECT_EQ(cli_query(cli_path("a.db"), "SELECT count(*) FROM events WHERE kind IN ('kvm_entry', "
                                          "'kvm_page_fault') AND (a1 = 0 OR a1 = 1 << 63)"),
              0);
    // String instructions: a page's rest at a time into memory, one element at a time out of it.
    EXPECT_EQ(cli_query(cli_path("a.db"), "SELECT count(*) FROM exits WHERE reason = 'IO_INSTRUCTION'"),
              9 + 20);
}

/* An expectation whose SQL does not work is the scenario's mistake, and says where. */
TEST(Database, AnExpectationThatDoesNotWorkIsTold)
{
    NEEDS_CORE;
    cli_write_text("a.stream", "hvsim-stream 1\ncpuid 0\nend\n");
    cli_write_text(
        "s.yaml",
        "scenario: s\nvms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n      - { stream: a.stream }\n"
        "expect:\n  - { about: x, sql: SELECT count(*) FROM exit_s, equals: 1 }\n");
    EXPECT_EQ(hvsim("run s.yaml"), 2);
    EXPECT_STRSTR(cli_err, "s.yaml:8: expect[0]");
    EXPECT_STRSTR(cli_err, "no such table: exit_s");
}

TEST(Database, ReadOnlyIsTold)
{
    char command[1600], output[4096];

    NEEDS_CORE;
    cli_scenario("s", 1);
    EXPECT_EQ(hvsim("run s.yaml --db a.db"), 0);
    EXPECT_EQ(chmod(cli_path("a.db"), 0444), 0);
    // Root may write whatever the mode says; without its capabilities it is a user like others.
    snprintf(command, sizeof command, "cd '%s' && %s '%s/bin/hvsim' run s.yaml --db a.db", test_tmpdir(),
             geteuid() ? "" : "chown 12345 a.db && setpriv --bounding-set=-all --inh-caps=-all",
             test_build_dir());
    EXPECT_EQ(test_shell(command, output, sizeof output), 2);
    EXPECT_STRSTR(output, "a.db: read-only; make the file and its folder writable");
    EXPECT_EQ(cli_query(cli_path("a.db"), "SELECT count(*) FROM runs"), 1);
    // And where only the folder forbids it.
    EXPECT_EQ(chmod(cli_path("a.db"), 0644), 0);
    snprintf(command, sizeof command,
             "cd '%s' && mkdir closed && chmod 0555 closed && %s '%s/bin/hvsim' run s.yaml --db closed/b.db",
             test_tmpdir(),
             geteuid() ? "" : "chown 12345 closed && setpriv --bounding-set=-all --inh-caps=-all",
             test_build_dir());
    EXPECT_EQ(test_shell(command, output, sizeof output), 2);
    EXPECT_STRSTR(output, "cannot be written; make the file and its folder writable");
}
