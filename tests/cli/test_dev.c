// SPDX-License-Identifier: Apache-2.0
/*
 * ./dev on machines that this one is not: a copy of the script in an empty tree, with commands of the test's
 * own first in PATH. So nothing is installed, built or tested for real.
 */
#include "tests/shim/shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char output[1 << 16];

/* Makes command NAME in the test's own PATH; its standard input and output are the test's. */
static void fake(const char *name, const char *script)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/bin/%s", test_tmpdir(), name);
    FILE *f = fopen(path, "w");
    ASSERT_NE(f, NULL);
    fprintf(f, "#!/bin/sh\n%s\n", script);
    fclose(f);
    EXPECT_EQ(chmod(path, 0755), 0);
}

/* A tree with ./dev and a machine on which nothing is installed and the user is `uid`. */
static void new_machine(const char *uid)
{
    char command[1024];
    snprintf(command, sizeof(command),
             "cd '%s' && rm -rf bin tree log && mkdir bin tree && cp '%s/dev' tree/", test_tmpdir(),
             test_source_dir());
    ASSERT_EQ(test_shell(command, NULL, 0), 0);
    snprintf(command, sizeof(command), "echo %s", uid);
    fake("id", command);
    fake("sudo", "exit 1");
    fake("dpkg-query", "exit 1");
    fake("apt-get", "echo \"$@\" >>\"$LOG\"");
    fake("cmake", "exit 0");
    fake("ninja", "echo ninja \"$@\" >>\"$LOG\"");
    fake("ctest", "exit 1");
}

/* Runs ./dev from another folder; gives its exit status, its words in `output`. */
static int dev(const char *arguments)
{
    char command[1024];
    snprintf(command, sizeof(command), "cd / && LOG='%s/log' PATH='%s/bin':$PATH '%s/tree/dev' %s </dev/null",
             test_tmpdir(), test_tmpdir(), test_tmpdir(), arguments);
    return test_shell(command, output, sizeof(output));
}

static void read_log(void)
{
    char command[512];
    snprintf(command, sizeof(command), "cat '%s/log'", test_tmpdir());
    test_shell(command, output, sizeof(output));
}

TEST(Dev, PrintsTheOneAptLineWhereItMayNotInstall)
{
    new_machine("1000");
    EXPECT_EQ(dev("run"), 2);
    EXPECT_STRSTR(output,
                  "\nsudo apt-get install --no-install-recommends -y cmake ninja-build gcc g++ pkg-config "
                  "libsystemc-dev libcapstone-dev libdw-dev libsqlite3-dev libcyaml-dev libyaml-dev\n");
    EXPECT_FALSE(strstr(output, "libgtest-dev")); // Only tests need it.
    EXPECT_EQ(dev("test"), 2);
    EXPECT_STRSTR(output, " libgtest-dev ");
}

TEST(Dev, InstallsAsRootWithoutAskingAnything)
{
    new_machine("0");
    EXPECT_EQ(dev("build"), 0);
    EXPECT_STRSTR(output, "dev: installing cmake ninja-build");
    read_log();
    EXPECT_STRSTR(output,
                  "-q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends cmake ninja-build gcc");
}

TEST(Dev, FetchesPackageListsWhenAPackageIsNotFound)
{
    new_machine("0");
    // Fails until the lists were fetched.
    fake("apt-get", "echo \"$@\" >>\"$LOG\"; [ \"$5\" = update ] || grep -q 'update$' \"$LOG\"");
    EXPECT_EQ(dev("build"), 0);
    read_log();
    EXPECT_STRSTR(output, "=300 update\n-q -y");
    fake("apt-get", "echo no network; exit 100");
    EXPECT_EQ(dev("build"), 2);
    EXPECT_STRSTR(output, "no network\ndev: apt-get could not install: cmake");
}

TEST(Dev, UsesSudoWhereItAsksNoPassword)
{
    new_machine("1000");
    fake("sudo", "[ \"$1\" = -n ] || { echo sudo \"$@\" >>\"$LOG\"; \"$@\"; }");
    EXPECT_EQ(dev("build"), 0);
    read_log();
    EXPECT_STRSTR(output, "sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o");
}

TEST(Dev, InstallsNothingWhereNothingIsMissing)
{
    new_machine("0");
    fake("dpkg-query", "printf installed");
    EXPECT_EQ(dev("build"), 0);
    EXPECT_FALSE(strstr(output, "installing"));
    read_log();
    EXPECT_STRSTR(output, "ninja -C");
    EXPECT_FALSE(strstr(output, "install --no"));
}

/* ctest with a JUnit file of these counts and this exit status. */
static void fake_ctest(int tests, int failures, int skipped, int status)
{
    char script[1024];
    snprintf(script, sizeof(script),
             "while [ \"$1\" != --output-junit ]; do shift; done\n"
             "printf '<testsuite "
             "name=\"(empty)\"\\n\\ttests=\"%d\"\\n\\tfailures=\"%d\"\\n\\tdisabled=\"0\"\\n\\tskipped=\"%d\""
             "\\n\\t>\\n<testcase name=\"x\"><system-out> tests=\"7\" "
             "failures=\"7\"</system-out></testcase>' >\"$2\"\n"
             "exit %d",
             tests, failures, skipped, status);
    fake("ctest", script);
}

TEST(Dev, TestEndsWithTheCounts)
{
    static const struct {
        int tests, failures, skipped, ctest_status;
        const char *closing;
        int status;
    } rows[] = {
        {14, 0, 0, 0, "\n14 passed, 0 failed\n", 0},
        {14, 2, 0, 8, "\n12 passed, 2 failed\n", 1},
        {14, 0, 3, 0, "\n11 passed, 0 failed, 3 skipped\n", 0},
        {14, 1, 3, 8, "\n10 passed, 1 failed, 3 skipped\n", 1},
        // ctest itself failed, or there was nothing to run: never a success.
        {14, 0, 0, 1, "\n14 passed, 1 failed\n", 1},
        {0, 0, 0, 0, "\n0 passed, 1 failed\n", 1},
    };
    new_machine("0");
    fake("dpkg-query", "printf installed");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_row("%zu", i);
        fake_ctest(rows[i].tests, rows[i].failures, rows[i].skipped, rows[i].ctest_status);
        EXPECT_EQ(dev("test"), rows[i].status);
        const size_t length = strlen(output), tail = strlen(rows[i].closing);
        ASSERT_GT(length, tail);
        EXPECT_STREQ(output + length - tail, rows[i].closing);
    }
    fake("ctest", "exit 8");
    EXPECT_EQ(dev("test"), 1);
    EXPECT_STRSTR(output, "\n0 passed, 1 failed\n");
}

TEST(Dev, AFailedBuildFails)
{
    new_machine("0");
    fake("dpkg-query", "printf installed");
    fake("ninja", "echo an error; exit 1");
    EXPECT_EQ(dev("test"), 1);
    EXPECT_STRSTR(output, "dev: the build failed\n0 passed, 1 failed\n");
    fake("cmake", "echo no such compiler; exit 1");
    EXPECT_EQ(dev("build"), 2);
    EXPECT_STRSTR(output, "no such compiler");
    EXPECT_EQ(dev("test"), 1);
    EXPECT_STRSTR(output, "\n0 passed, 1 failed\n");
}

TEST(Dev, RefusesWhatItDoesNotKnow)
{
    new_machine("0");
    fake("dpkg-query", "printf installed");
    EXPECT_EQ(dev("dance"), 2);
    EXPECT_STRSTR(output, "usage: ./dev COMMAND");
    EXPECT_STRSTR(output, "unknown command 'dance'");
    EXPECT_EQ(dev("build fast"), 2);
    EXPECT_STRSTR(output, "unknown preset 'fast'");
    EXPECT_EQ(dev("bench speed"), 2);
    EXPECT_EQ(dev("fuzz forever"), 2);
    EXPECT_EQ(dev("lint --loudly"), 2);
    EXPECT_EQ(dev("help"), 0);
    EXPECT_EQ(dev(""), 0);
}
