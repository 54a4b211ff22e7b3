// SPDX-License-Identifier: Apache-2.0
/* Ctrl-C ends a long run at once and leaves a database that can be read and says what happened. */
#include "tests/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t start(const char *scenario, const char *db)
{
    char program[600];

    snprintf(program, sizeof program, "%s/bin/hvsim", test_build_dir());
    fflush(NULL);
    pid_t child = fork();

    if (child != 0)
        return child;
    // GoogleTest's own descriptors and signals are not the child's.
    int out = open(cli_path("stdout"), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    int err = open(cli_path("stderr"), O_WRONLY | O_CREAT | O_TRUNC, 0644);

    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    if (chdir(test_tmpdir()) == 0)
        execl(program, "hvsim", "run", scenario, "--db", db, (char *)NULL);
    _exit(127);
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

/* The exit status as a shell tells it, or -1 if the process is still there after ten seconds. */
static int end_of(pid_t child)
{
    for (int i = 0; i < 1000; i++) {
        int status;

        if (waitpid(child, &status, WNOHANG) == child)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        pause_ms(10);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return -1;
}

static void interrupt_with(int number)
{
    cli_scenario("endless", 1000000000);
    pid_t child = start("endless.yaml", "a.db");

    ASSERT_GT(child, 0);
    pause_ms(1500);
    ASSERT_EQ(kill(child, number), 0);
    EXPECT_EQ(end_of(child), 2);
    FILE *f = fopen(cli_path("stderr"), "r");

    ASSERT_TRUE(f != NULL);
    cli_err[fread(cli_err, 1, sizeof cli_err - 1, f)] = 0;
    fclose(f);
    EXPECT_STRSTR(cli_err, "interrupted; the database says so");
    EXPECT_STREQ(cli_query_text(cli_path("a.db"), "SELECT state FROM runs"), "interrupted");
    EXPECT_STREQ(cli_query_text(cli_path("a.db"), "PRAGMA integrity_check"), "ok");
    EXPECT_GT(cli_query(cli_path("a.db"), "SELECT count(*) FROM exits WHERE reason = 'CPUID'"), 1000);
    EXPECT_GT(cli_query(cli_path("a.db"), "SELECT cycles FROM runs"), 0);
    EXPECT_EQ(hvsim("export a.db --csv --sql 'SELECT count(*) FROM exits'"), 0);
    EXPECT_EQ(hvsim("explain a.db --exit 1"), 0);
    // The next run goes into the same file.
    cli_scenario("s", 1);
    EXPECT_EQ(hvsim("run s.yaml --db a.db"), 0);
    EXPECT_EQ(cli_query(cli_path("a.db"), "SELECT count(*) FROM runs"), 2);
}

TEST(Interrupt, CtrlCLeavesAReadableDatabase)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    interrupt_with(SIGINT);
}

TEST(Interrupt, TerminationToo)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    interrupt_with(SIGTERM);
}

/* Killed outright, a run cannot say anything; the next one that opens the file says it. */
TEST(Interrupt, AKilledRunIsMarkedByTheNext)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    cli_scenario("endless", 1000000000);
    cli_scenario("s", 1);
    EXPECT_EQ(hvsim("run s.yaml --db a.db"), 0);
    pid_t child = start("endless.yaml", "a.db");

    ASSERT_GT(child, 0);
    pause_ms(1000);
    kill(child, SIGKILL);
    EXPECT_EQ(end_of(child), 128 + SIGKILL);
    EXPECT_EQ(hvsim("run s.yaml --db a.db"), 0);
    EXPECT_STREQ(cli_query_text(cli_path("a.db"),
                                "SELECT group_concat(state) FROM (SELECT state FROM runs ORDER BY run)"),
                 "complete,incomplete,complete");
}
