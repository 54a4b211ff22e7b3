// SPDX-License-Identifier: Apache-2.0
#include "tests/cli/cli.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

char cli_out[1 << 20], cli_err[1 << 20];

static void slurp(const char *name, char *text, size_t size)
{
    FILE *f = fopen(cli_path(name), "rb");
    size_t got = f ? fread(text, 1, size - 1, f) : 0;

    text[got] = 0;
    if (f)
        fclose(f);
}

static int run(const char *setting, const char *words)
{
    char command[6000];

    snprintf(command, sizeof command, "cd '%s' && %s\n</dev/null >stdout 2>stderr '%s/bin/hvsim' %s",
             test_tmpdir(), setting, test_build_dir(), words);
    int status = test_shell(command, NULL, 0);

    slurp("stdout", cli_out, sizeof cli_out);
    slurp("stderr", cli_err, sizeof cli_err);
    return status;
}

int hvsim(const char *format, ...)
{
    char words[4096];
    va_list args;

    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return run(":", words);
}

int hvsim_under(const char *setting, const char *format, ...)
{
    char words[4096];
    va_list args;

    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return run(setting, words);
}

bool cli_can_run(void)
{
    char path[600];

    snprintf(path, sizeof path, "%s/lib/libhv.so", test_build_dir());
    return access(path, R_OK) == 0;
}

const char *cli_path(const char *name)
{
    static char paths[8][700];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof paths[0], "%s/%s", test_tmpdir(), name);
    return path;
}

const char *cli_write(const char *name, const void *bytes, size_t size)
{
    const char *path = cli_path(name);
    FILE *f = fopen(path, "wb");

    EXPECT_TRUE(f != NULL);
    if (f) {
        EXPECT_EQ(fwrite(bytes, 1, size, f), size);
        EXPECT_EQ(fclose(f), 0);
    }
    return path;
}

const char *cli_write_text(const char *name, const char *text)
{
    return cli_write(name, text, strlen(text));
}

const char *cli_scenario(const char *name, unsigned exits)
{
    char file[100], text[500];

    snprintf(file, sizeof file, "%s.stream", name);
    snprintf(text, sizeof text, "hvsim-stream 1\nloop %u {\n500 cpuid 0\n}\nend\n", exits);
    cli_write_text(file, text);
    snprintf(text, sizeof text,
             "scenario: %s\nvms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n      - { stream: %s.stream }\n"
             "expect:\n  - { about: all exits, sql: SELECT count(*) FROM exits WHERE reason = 'CPUID', "
             "equals: %u }\n",
             name, name, exits);
    snprintf(file, sizeof file, "%s.yaml", name);
    return cli_write_text(file, text);
}

static char answer[1 << 16];

static bool query(const char *db, const char *sql)
{
    sqlite3 *connection = NULL;
    sqlite3_stmt *statement = NULL;
    bool done = sqlite3_open_v2(db, &connection, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
                sqlite3_prepare_v2(connection, sql, -1, &statement, NULL) == SQLITE_OK &&
                sqlite3_step(statement) == SQLITE_ROW;
    const unsigned char *text = done ? sqlite3_column_text(statement, 0) : NULL;

    snprintf(answer, sizeof answer, "%s", text ? (const char *)text : "");
    if (!done)
        TEST_FAIL("%s: %s: %s", db, sql, connection ? sqlite3_errmsg(connection) : "no memory");
    sqlite3_finalize(statement);
    sqlite3_close(connection);
    return done;
}

int64_t cli_query(const char *db, const char *sql)
{
    long long value;

    return query(db, sql) && sscanf(answer, "%lld", &value) == 1 ? value : INT64_MIN;
}

const char *cli_query_text(const char *db, const char *sql)
{
    query(db, sql);
    return answer;
}
