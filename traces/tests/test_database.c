// SPDX-License-Identifier: Apache-2.0
/* Databases that are not ours, locked, read-only, damaged, or on a full disk: a message and a hint, and
 * nothing lost. */
#include "traces/tests/fixture.h"

#include "traces/bench/mix.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");

    EXPECT_TRUE(file && fwrite(bytes, 1, size, file) == size);
    fclose(file);
}

static size_t read_file(const char *path, char *bytes, size_t size)
{
    FILE *file = fopen(path, "rb");
    size_t got = file ? fread(bytes, 1, size, file) : 0;

    if (file)
        fclose(file);
    return got;
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db;

    EXPECT_EQ(sqlite3_open(path, &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void a_database(const char *path)
{
    struct trace *t = fixture_begin(path);

    fixture_mix(t, 200);
    trace_close(t, NULL);
}

static void truncate_half(const char *path)
{
    struct stat status;

    EXPECT_EQ(stat(path, &status), 0);
    EXPECT_EQ(truncate(path, status.st_size / 2), 0);
}

// --- Files that may not be touched. ---

static void make_text(const char *path)
{
    static const char text[] =
        "scenario: quickstart\nabout: the wrong file, and longer than a database's header of "
        "a hundred bytes to be sure\n";
    write_file(path, text, sizeof text - 1);
}
static void make_short(const char *path)
{
    write_file(path, "x", 1);
}
static void make_garbage(const char *path)
{
    unsigned char bytes[8192];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 131 + i / 7);
    write_file(path, bytes, sizeof bytes);
}
static void make_magic_only(const char *path)
{
    write_file(path, "SQLite format 3", 16);
}
static void make_foreign(const char *path)
{
    run_sql(path, "CREATE TABLE runs (a); INSERT INTO runs VALUES (1)");
}
static void make_other_version(const char *path)
{
    a_database(path);
    run_sql(path, "PRAGMA user_version=99");
}
static void make_truncated(const char *path)
{
    a_database(path);
    truncate_half(path);
}
static void make_folder(const char *path)
{
    EXPECT_EQ(mkdir(path, 0777), 0);
}
static void make_fifo(const char *path)
{
    EXPECT_EQ(mkfifo(path, 0666), 0);
}

static const struct {
    const char *name;
    void (*make)(const char *path);
    enum trace_status status;
    const char *words;
} refused[] = {
    {"text", make_text, TRACE_NOT_OURS, "nor any SQLite database"},
    {"one byte", make_short, TRACE_NOT_OURS, "nor any SQLite database"},
    {"garbage", make_garbage, TRACE_NOT_OURS, "nor any SQLite database"},
    {"magic alone", make_magic_only, TRACE_NOT_OURS, "nor any SQLite database"},
    {"another program's", make_foreign, TRACE_NOT_OURS, "of another program"},
    {"another version", make_other_version, TRACE_OTHER_VERSION,
     "schema version 99, but this hvsim writes version 6"},
    {"truncated", make_truncated, TRACE_DAMAGED, "truncated"},
    {"a folder", make_folder, TRACE_CANNOT_OPEN, "a directory, not a file"},
    {"a pipe", make_fifo, TRACE_CANNOT_OPEN, "a device, pipe or socket"},
};

TEST(Database, ForeignFilesAreRefusedAndNotTouched)
{
    static char before[1 << 20], after[1 << 20];

    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const char *path = fixture_path(refused[i].name);
        struct trace_options options = trace_options_defaults(path);
        struct trace_error error;
        bool is_file = refused[i].make != make_folder && refused[i].make != make_fifo;

        test_row("%s", refused[i].name);
        refused[i].make(path);
        size_t size = is_file ? read_file(path, before, sizeof before) : 0;

        EXPECT_TRUE(trace_open(&options, &error) == NULL);
        EXPECT_EQ(error.status, refused[i].status);
        EXPECT_STRSTR(error.message, refused[i].words);
        EXPECT_STRSTR(error.message, path);
        EXPECT_GT(strlen(error.hint), 10);
        EXPECT_TRUE(trace_reader_open(path, &error) == NULL);
        EXPECT_EQ(error.status, refused[i].status);
        if (is_file) {
            EXPECT_EQ(read_file(path, after, sizeof after), size);
            EXPECT_MEMEQ(before, after, size);
        }
    }
}

TEST(Database, MissingFolderIsNamed)
{
    const char *path = fixture_path("no/such/a.db");
    struct trace_options options = trace_options_defaults(path);
    struct trace_error error;

    EXPECT_TRUE(trace_open(&options, &error) == NULL);
    EXPECT_EQ(error.status, TRACE_CANNOT_OPEN);
    EXPECT_TRUE(trace_reader_open(path, &error) == NULL);
    EXPECT_EQ(error.status, TRACE_CANNOT_OPEN);
    EXPECT_STRSTR(error.message, "no such file");
}

TEST(Database, EmptyFileIsTakenForWritingOnly)
{
    const char *path = fixture_path("empty.db");
    struct trace_error error;

    write_file(path, "", 0);
    EXPECT_TRUE(trace_reader_open(path, &error) == NULL);
    EXPECT_EQ(error.status, TRACE_NOT_OURS);
    a_database(path);
    EXPECT_STREQ(fixture_plain(path, "SELECT state FROM runs"), "complete\n");
}

// --- Damage within, locks, permissions. ---

TEST(Database, DamagedPagesAreReported)
{
    const char *path = fixture_path("a.db");
    static unsigned char zeros[4096 * 8];
    struct trace_error error;

    a_database(path);
    memset(zeros, 0xa5, sizeof zeros);
    FILE *file = fopen(path, "r+b");

    EXPECT_TRUE(file && fseek(file, 4096, SEEK_SET) == 0 &&
                fwrite(zeros, 1, sizeof zeros, file) == sizeof zeros);
    fclose(file);
    struct trace_options options = trace_options_defaults(path);

    EXPECT_TRUE(trace_open(&options, &error) == NULL);
    EXPECT_EQ(error.status, TRACE_DAMAGED);
    EXPECT_EQ(access(path, F_OK), 0);
}

TEST(Database, LockedByAnotherIsSaidSo)
{
    const char *path = fixture_path("a.db");
    struct trace_options options = trace_options_defaults(path);
    struct trace_error error;
    sqlite3 *db;

    a_database(path);
    EXPECT_EQ(sqlite3_open(path, &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    EXPECT_TRUE(trace_open(&options, &error) == NULL);
    EXPECT_EQ(error.status, TRACE_LOCKED);
    EXPECT_STRSTR(error.hint, "other process");
    EXPECT_TRUE(trace_reader_open(path, &error) == NULL);
    EXPECT_EQ(error.status, TRACE_LOCKED);
    sqlite3_close(db);
    EXPECT_STREQ(fixture_plain(path, "SELECT count(*) FROM runs"), "1\n");
}

// Two hvsim into one new file: the second is told, and the first one's run is whole.
TEST(Database, SecondWriterIsTurnedAway)
{
    const char *path = fixture_path("a.db");
    struct trace_options options = trace_options_defaults(path);
    struct trace *t = fixture_begin(path);
    struct trace_error error;

    EXPECT_TRUE(trace_open(&options, &error) == NULL);
    EXPECT_EQ(error.status, TRACE_LOCKED);
    fixture_mix(t, 100);
    trace_close(t, NULL);
    EXPECT_STREQ(fixture_plain(path, "SELECT state, (SELECT count(*) FROM exits) FROM runs"),
                 "complete|100\n");
}

// As a user without rights (root may write anywhere): 0 if the open failed with READ_ONLY.
static void open_unprivileged(void *path)
{
    struct trace_options options = trace_options_defaults(path);
    struct trace_error error;

    if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
        _exit(3);
    if (trace_open(&options, &error))
        _exit(1);
    _exit(error.status == TRACE_READ_ONLY && error.hint[0] ? 0 : 2);
}

TEST(Database, ReadOnlyFileOrFolderIsSaidSo)
{
    char folder[600], file[700], new_file[700];

    snprintf(folder, sizeof folder, "%s/locked", test_tmpdir());
    snprintf(file, sizeof file, "%s/a.db", folder);
    snprintf(new_file, sizeof new_file, "%s/new.db", folder);
    EXPECT_EQ(chmod(test_tmpdir(), 0755), 0);
    EXPECT_EQ(mkdir(folder, 0755), 0);
    a_database(file);
    EXPECT_EQ(chmod(file, 0444), 0);
    EXPECT_EQ(test_exit_status(open_unprivileged, file, NULL, 0), 0);
    EXPECT_EQ(chmod(file, 0666), 0);
    EXPECT_EQ(chmod(folder, 0555), 0);
    EXPECT_EQ(test_exit_status(open_unprivileged, file, NULL, 0), 0);
    EXPECT_EQ(test_exit_status(open_unprivileged, new_file, NULL, 0), 0);
    EXPECT_EQ(chmod(folder, 0755), 0);
    EXPECT_STREQ(fixture_plain(file, "SELECT state FROM runs"), "complete\n");
}

// --- Full disks. ---

// Runs until the database has no room, then to the end.
static void fill(struct trace *t)
{
    struct trace_digest digest;
    struct trace_error error;
    struct mix mix;

    mix_init(&mix, t);
    for (int i = 0; i < 20000; i++)
        mix_exit(&mix);
    EXPECT_EQ(trace_run_end(t, TRACE_COMPLETE, mix.tick, &digest, &error), TRACE_DISK_FULL);
    EXPECT_STRSTR(error.message, "disk full");
    EXPECT_STRSTR(error.hint, "free some space");
    EXPECT_NE(digest.lo, 0);
}

TEST(Database, FullDiskMarksTheRunIncomplete)
{
    for (int writer = TRACE_WRITER_INLINE; writer <= TRACE_WRITER_THREAD; writer++) {
        const char *path = fixture_path(writer == TRACE_WRITER_THREAD ? "thread.db" : "inline.db");
        struct trace_options options = trace_options_defaults(path);
        struct trace_error error;
        int64_t run;

        options.writer = (enum trace_writer)writer;
        options.max_bytes = 2u << 20;
        struct trace *t = trace_open(&options, &error);

        trace_run_begin(t, &fixture_run, &run, &error);
        fill(t);
        EXPECT_EQ(trace_error(t, &error), TRACE_DISK_FULL);
        EXPECT_EQ(trace_close(t, &error), TRACE_DISK_FULL);
        EXPECT_STREQ(fixture_plain(path, "SELECT state, digest FROM runs"), "incomplete|-\n");
        EXPECT_STREQ(fixture_plain(path, "PRAGMA integrity_check"), "ok\n");
    }
}

TEST(Database, FullDiskKeepsEarlierRuns)
{
    const char *path = fixture_path("a.db");
    struct trace_options options = trace_options_defaults(path);
    struct trace_error error;
    int64_t run;

    a_database(path);
    options.max_bytes = 2u << 20;
    struct trace *t = trace_open(&options, &error);

    trace_run_begin(t, &fixture_run, &run, &error);
    fill(t);
    trace_close(t, NULL);
    EXPECT_STREQ(
        fixture_plain(path,
                      "SELECT run, state, (SELECT count(*) FROM exits e WHERE e.run = r.run) FROM runs r"),
        "1|complete|200\n2|incomplete|0\n");
}

// A real write that fails: the limit of a file's size stands for the disk's.
static void write_over_limit(void *path)
{
    struct rlimit limit = {1u << 20, 1u << 20};
    struct trace_options options = trace_options_defaults(path);
    struct trace_error error;
    int64_t run;

    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit))
        _exit(9);
    struct trace *t = trace_open(&options, &error);

    trace_run_begin(t, &fixture_run, &run, &error);
    fill(t);
    trace_close(t, &error);
    _exit(test_failed() ? 1 : error.status == TRACE_DISK_FULL ? 0 : 2);
}

TEST(Database, FailedWriteMarksTheRunIncomplete)
{
    const char *path = fixture_path("a.db");
    char output[2048] = "", copy[600];

    snprintf(copy, sizeof copy, "%s", path);
    EXPECT_EQ(test_exit_status(write_over_limit, copy, output, sizeof output), 0);
    EXPECT_STREQ(output, "");
    EXPECT_STREQ(fixture_plain(path, "SELECT state FROM runs"), "incomplete\n");
    EXPECT_STREQ(fixture_plain(path, "PRAGMA integrity_check"), "ok\n");
}

// Not even the tables fit: nothing is left behind.
static void no_room_at_all(void *path)
{
    struct rlimit limit = {8192, 8192};
    struct trace_options options = trace_options_defaults(path);
    struct trace_error error;

    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit))
        _exit(9);
    if (trace_open(&options, &error))
        _exit(1);
    _exit(error.status == TRACE_DISK_FULL ? 0 : 2);
}

TEST(Database, NoRoomAtAllLeavesNoFile)
{
    char path[600];

    snprintf(path, sizeof path, "%s", fixture_path("a.db"));
    EXPECT_EQ(test_exit_status(no_room_at_all, path, NULL, 0), 0);
    EXPECT_NE(access(path, F_OK), 0);
}

TEST(Database, LimitTooSmallForTheTablesLeavesNoFile)
{
    const char *path = fixture_path("a.db");
    struct trace_options options = trace_options_defaults(path);
    struct trace_error error;

    options.max_bytes = 8192;
    EXPECT_TRUE(trace_open(&options, &error) == NULL);
    EXPECT_EQ(error.status, TRACE_DISK_FULL);
    EXPECT_NE(access(path, F_OK), 0);
}

// --- Interruptions, further runs, forks. ---

TEST(Database, InterruptedRunIsReadable)
{
    const char *path = fixture_path("a.db");
    struct trace *t = fixture_begin(path);
    struct trace_error error;
    struct mix mix;

    mix_init(&mix, t);
    for (int i = 0; i < 5000; i++)
        mix_exit(&mix);
    EXPECT_EQ(trace_mark_interrupted(t, mix.tick, &error), TRACE_OK);
    trace_close(t, NULL);
    EXPECT_STREQ(fixture_plain(path,
                               "SELECT state, cycles > 0, length(digest), (SELECT count(*) FROM exits), "
                               "(SELECT sum(calls) FROM functions) FROM runs"),
                 "interrupted|1|32|5000|100000\n");
}

TEST(Database, UnfinishedRunIsIncomplete)
{
    const char *path = fixture_path("a.db");
    struct trace *t = fixture_begin(path);

    trace_close(t, NULL);
    EXPECT_STREQ(fixture_plain(path, "SELECT state, cycles FROM runs"), "incomplete|-\n");
}

static void killed(void *path)
{
    struct trace *t = fixture_begin(path);
    struct mix mix;

    mix_init(&mix, t);
    for (int i = 0; i < 1000; i++)
        mix_exit(&mix);
    trace_flush(t, NULL);
    for (int i = 0; i < 200000; i++)
        mix_exit(&mix);
    raise(SIGKILL);
}

// A killed simulator leaves the journal of an open transaction: the next reader undoes it and sees what was
// flushed; the next writer says that the run is incomplete.
TEST(Database, KilledRunIsReadableAndThenIncomplete)
{
    const char *path = fixture_path("a.db");
    struct trace_error error;
    char copy[600];

    snprintf(copy, sizeof copy, "%s", path);
    EXPECT_EQ(test_exit_status(killed, copy, NULL, 0), 128 + SIGKILL);
    struct trace_reader *reader = trace_reader_open(copy, &error);

    ASSERT_TRUE(reader != NULL);
    EXPECT_STREQ(fixture_read(reader, "SELECT state, (SELECT count(*) >= 1000 FROM exits) FROM runs"),
                 "running|1\n");
    trace_reader_close(reader);
    a_database(copy);
    EXPECT_STREQ(fixture_plain(copy, "SELECT state FROM runs"), "incomplete\ncomplete\n");
    EXPECT_STREQ(fixture_plain(copy, "PRAGMA integrity_check"), "ok\n");
}

TEST(Database, SameScenarioTwiceIsTwoRuns)
{
    const char *path = fixture_path("a.db");

    a_database(path);
    a_database(path);
    EXPECT_STREQ(
        fixture_plain(
            path,
            "SELECT run, scenario, state, length(digest), (SELECT count(*) FROM exits e WHERE e.run = r.run) "
            "FROM runs r"),
        "1|a test|complete|32|200\n2|a test|complete|32|200\n");
    EXPECT_STREQ(fixture_plain(path, "SELECT count(DISTINCT digest) FROM runs"), "1\n");
    EXPECT_STREQ(fixture_plain(path, "SELECT count(*), count(DISTINCT text) FROM texts"),
                 fixture_plain(path, "SELECT count(DISTINCT text), count(*) FROM texts"));
}

TEST(Database, OnlyAskedForCategoriesAreStored)
{
    const char *path = fixture_path("a.db");
    struct trace_options options = trace_options_defaults(path);
    struct trace_error error;
    int64_t run;

    options.store = TRACE_EXITS | TRACE_IRQS;
    struct trace *t = trace_open(&options, &error);

    trace_run_begin(t, &fixture_run, &run, &error);
    fixture_mix(t, 100);
    trace_close(t, NULL);
    EXPECT_STREQ(
        fixture_plain(path, "SELECT stored, (SELECT count(*) FROM exits), (SELECT count(*) > 0 FROM irqs), "
                            "(SELECT count(*) FROM events_data) + (SELECT count(*) FROM event_groups_data) + "
                            "(SELECT count(*) FROM event_shapes) + (SELECT count(*) FROM spans) + "
                            "(SELECT count(*) FROM call_chunks) + (SELECT count(*) FROM functions) + "
                            "(SELECT count(*) FROM walks) + (SELECT count(*) FROM locks) FROM runs"),
        "exits,irqs|100|1|0\n");
}

TEST(Database, TemporaryOneLeavesNoFile)
{
    struct trace *t = fixture_begin("");

    fixture_mix(t, 10);
    EXPECT_STREQ(fixture_query(t, "SELECT count(*) FROM exits"), "10\n");
    trace_close(t, NULL);
}

// A forked child goes on recording for its digest, and the parent's database is not its business.
TEST(Database, ForkedChildLeavesItAlone)
{
    const char *path = fixture_path("a.db");
    struct trace *t = fixture_begin(path);
    struct trace_error error;
    struct mix mix;

    mix_init(&mix, t);
    for (int i = 0; i < 1000; i++)
        mix_exit(&mix);
    EXPECT_EQ(trace_flush(t, &error), TRACE_OK);
    pid_t child = fork();

    if (!child) {
        struct trace_digest digest;

        trace_after_fork(t);
        for (int i = 0; i < 5000; i++)
            mix_exit(&mix);
        trace_run_end(t, TRACE_COMPLETE, mix.tick, &digest, &error);
        trace_close(t, NULL);
        _exit(digest.lo ? 0 : 1);
    }
    int status;

    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    for (int i = 0; i < 1000; i++)
        mix_exit(&mix);
    fixture_end(t, mix.tick);
    trace_close(t, NULL);
    EXPECT_STREQ(fixture_plain(path, "SELECT state, (SELECT count(*) FROM exits) FROM runs"),
                 "complete|2000\n");
}

TEST(Database, CategoriesByName)
{
    static const struct {
        const char *text;
        bool ok;
        uint32_t mask;
        const char *words;
    } categories[] = {
        {"exits", true, TRACE_EXITS, ""},
        {"exits,calls", true, TRACE_EXITS | TRACE_CALLS, ""},
        {"all", true, TRACE_ALL, ""},
        {"all,instructions", true, TRACE_EVERY, ""},
        {"none", true, 0, ""},
        {"exit", false, 0, "nearest is 'exits'"},
        {"exits,wlaks", false, 0, "nearest is 'walks'"},
        {"", false, 0, "unknown trace category ''"},
        {"exits,", false, 0, "unknown trace category ''"},
        {"a-name-that-is-much-longer-than-any-category-could-ever-be", false, 0, "unknown"},
    };

    for (size_t i = 0; i < sizeof categories / sizeof categories[0]; i++) {
        char message[300] = "";
        uint32_t mask = 0;

        test_row("'%s'", categories[i].text);
        EXPECT_EQ(trace_category_parse(categories[i].text, &mask, message, sizeof message), categories[i].ok);
        if (categories[i].ok)
            EXPECT_EQ(mask, categories[i].mask);
        EXPECT_STRSTR(message, categories[i].words);
    }
}
