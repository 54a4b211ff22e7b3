// SPDX-License-Identifier: Apache-2.0
/* Conventions of the command line that hold for every verb: exit statuses, where words go. */
#include "tests/shim/shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char output[1 << 16];

static bool there(void)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/bin/hvsim", test_build_dir());
    return access(path, X_OK) == 0;
}

/* Runs hvsim; `redirect` says which of its streams come back in `output`. */
static int hvsim(const char *arguments, const char *redirect)
{
    char command[1024];
    snprintf(command, sizeof(command), "'%s/bin/hvsim' %s </dev/null %s", test_build_dir(), arguments,
             redirect);
    return test_shell(command, output, sizeof(output));
}

#define ONLY_STDOUT "2>/dev/null"
#define ONLY_STDERR "2>&1 >/dev/null"

TEST(Hvsim, HelpIsOnStandardOutput)
{
    static const char *const verbs[] = {"run", "list", "knobs", "explain", "export", "import"};
    if (!there()) {
        test_skip("there is no hvsim in this build");
    }
    static char general[1 << 16];
    EXPECT_EQ(hvsim("--help", ONLY_STDOUT), 0);
    EXPECT_STRSTR(output, "usage: hvsim");
    memcpy(general, output, sizeof(general));
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        char arguments[64];
        test_row("%s", verbs[i]);
        EXPECT_STRSTR(general, verbs[i]);
        snprintf(arguments, sizeof(arguments), "%s --help", verbs[i]);
        EXPECT_EQ(hvsim(arguments, ONLY_STDOUT), 0);
        EXPECT_STRSTR(output, verbs[i]);
    }
}

TEST(Hvsim, BadUsageExitsTwoWithWordsOnStandardError)
{
    static const char *const bad[] = {
        "dance",
        "run --no-such-option",
        "run /nonexistent.yaml",
        "run",
        "explain",
        "import",
        "import /nonexistent.txt",
        "run --seed many /nonexistent.yaml",
    };
    if (!there()) {
        test_skip("there is no hvsim in this build");
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        test_row("hvsim %s", bad[i]);
        EXPECT_EQ(hvsim(bad[i], ONLY_STDERR), 2);
        EXPECT_GT(strlen(output), 0u);
        EXPECT_EQ(hvsim(bad[i], ONLY_STDOUT), 2);
        EXPECT_STREQ(output, "");
    }
}

TEST(Hvsim, NoColoursWhereThereIsNoTerminal)
{
    if (!there()) {
        test_skip("there is no hvsim in this build");
    }
    EXPECT_EQ(hvsim("knobs", "2>&1"), 0);
    EXPECT_EQ(strchr(output, '\033'), NULL);
    EXPECT_EQ(hvsim("list", "2>&1"), 0);
    EXPECT_EQ(strchr(output, '\033'), NULL);
}
