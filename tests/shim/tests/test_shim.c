// SPDX-License-Identifier: Apache-2.0
/* The shim must notice what it is there to notice: each false claim below is run in a child and must fail. */
#include "tests/shim/shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char output[16384];

/* Runs this binary on one of the Claim tests, which lie unless the variable is unset. */
static int run_claim(const char *name)
{
    char self[512], command[1024];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = 0;
    snprintf(command, sizeof(command), "SHIM_LIE=1 '%s' --gtest_filter=Claim.%s 2>&1", self, name);
    return test_shell(command, output, sizeof(output));
}

static bool lying(void)
{
    return getenv("SHIM_LIE") != NULL;
}

TEST(Claim, Equal)
{
    uint64_t value = lying() ? 0xfeed : 1;
    EXPECT_EQ(value, 1);
    EXPECT_EQ(value, 1); // Reached: EXPECT goes on.
}

TEST(Claim, AssertReturns)
{
    ASSERT_EQ(lying() ? 2 : 1, 1);
    EXPECT_EQ(lying(), false);
}

TEST(Claim, Less)
{
    EXPECT_LT(lying() ? 7 : -1, 3u);
}

TEST(Claim, Strings)
{
    EXPECT_STREQ(lying() ? "gfn" : "gpa", "gpa");
}

TEST(Claim, Bytes)
{
    unsigned char a[40] = {0}, b[40] = {0};
    b[33] = lying();
    EXPECT_MEMEQ(a, b, sizeof(a));
}

TEST(Claim, Rows)
{
    test_row("row %d", 41);
    EXPECT_TRUE(!lying());
}

TEST(Claim, Skipped)
{
    if (lying()) {
        test_skip("nothing to compare with");
    }
}

TEST(Shim, EveryFalseClaimFailsWithPlaceAndValues)
{
    static const struct {
        const char *name;
        const char *says[3];
    } rows[] = {
        {"Equal", {"test_shim.c:", "value = 65261 (0xfeed)", "Expected: value == 1"}},
        {"Less", {"Expected: lying() ? 7 : -1 < 3u", "= 7 (0x7)", "= 3 (0x3)"}},
        {"Strings", {"\"gfn\"", "\"gpa\"", "Expected equal strings"}},
        {"Bytes", {"offset 33 of 40", "from offset 32", "00 01"}},
        {"Rows", {"in row: row 41", "Expected true: !lying()", "1 FAILED TEST"}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_row("%s", rows[i].name);
        EXPECT_EQ(run_claim(rows[i].name), 1);
        for (int j = 0; j < 3; j++) {
            EXPECT_STRSTR(output, rows[i].says[j]);
        }
    }
}

static int count(const char *hay, const char *needle)
{
    int found = 0;
    while ((hay = strstr(hay, needle)) != NULL) {
        found++;
        hay += strlen(needle);
    }
    return found;
}

TEST(Shim, ExpectGoesOnAndAssertReturns)
{
    run_claim("Equal");
    EXPECT_EQ(count(output, "Failure"), 2);
    run_claim("AssertReturns");
    EXPECT_EQ(count(output, "Failure"), 1);
}

TEST(Shim, SkippedIsNotPassed)
{
    EXPECT_EQ(run_claim("Skipped"), SHIM_EXIT_SKIPPED);
    EXPECT_STRSTR(output, "SKIPPED: nothing to compare with");
    EXPECT_STRSTR(output, "[  SKIPPED ] 1 test");
}

TEST(Shim, ComparesValuesOfAnySignedness)
{
    int64_t minus = -1;
    uint64_t all_ones = UINT64_MAX;
    EXPECT_EQ(minus, all_ones);
    EXPECT_LT(minus, 0u);
    EXPECT_GT(all_ones, minus);
    EXPECT_GE(all_ones, 1);
    EXPECT_LE((uint8_t)3, 3L);
    EXPECT_NE((void *)output, NULL);
}

static void leave(void *status)
{
    fprintf(stderr, "leaving");
    exit(*(int *)status);
}

TEST(Shim, ExitStatusIsTheChilds)
{
    int status = 70;
    EXPECT_EQ(test_exit_status(leave, &status, output, sizeof(output)), 70);
    EXPECT_STREQ(output, "leaving");
    EXPECT_EQ(test_shell("echo out; echo err >&2; exit 2", output, sizeof(output)), 2);
    EXPECT_STREQ(output, "out\nerr\n");
    EXPECT_EQ(test_shell("kill -9 $$", NULL, 0), 128 + 9);
    EXPECT_EQ(test_shell("printf 123456789", output, 5), 0);
    EXPECT_STREQ(output, "1234");
}

/* Writes a file into its folder and names the folder on standard output. */
TEST(Claim, Folder)
{
    char first[256], file[300];
    snprintf(first, sizeof(first), "%s", test_tmpdir());
    EXPECT_STREQ(test_tmpdir(), first);
    snprintf(file, sizeof(file), "%s/file", first);
    FILE *f = fopen(file, "w");
    ASSERT_NE(f, NULL);
    fclose(f);
    printf("folder=%s;\n", first);
    EXPECT_FALSE(lying() && getenv("SHIM_KEEP"));
}

/* Runs Claim.Folder and puts the path of its folder into `path`. */
static bool claimed_folder(char *path, size_t size_bytes)
{
    run_claim("Folder");
    char *from = strstr(output, "folder=");
    char *to = from ? strchr(from, ';') : NULL;
    if (!to) {
        return false;
    }
    *to = 0;
    snprintf(path, size_bytes, "%s", from + strlen("folder="));
    return true;
}

TEST(Shim, FolderIsRemovedAfterAPassOnly)
{
    char path[256], command[300];
    ASSERT_TRUE(claimed_folder(path, sizeof(path)));
    EXPECT_NE(access(path, F_OK), 0);
    setenv("SHIM_KEEP", "1", 1);
    ASSERT_TRUE(claimed_folder(path, sizeof(path)));
    EXPECT_EQ(access(path, F_OK), 0);
    snprintf(command, sizeof(command), "rm -r '%s'", path);
    EXPECT_EQ(test_shell(command, NULL, 0), 0);
}

TEST(Shim, ComparesNoFloats)
{
    static const char *const values[] = {"1", "1.5"};
    for (int i = 0; i < 2; i++) {
        char command[1024];
        snprintf(command, sizeof(command),
                 "printf '%%s\\n' '#include \"tests/shim/shim.h\"' 'TEST(A, B) { EXPECT_EQ(%s, 1); }' | "
                 "gcc -fsyntax-only -I'%s' -x c -",
                 values[i], test_source_dir());
        test_row("%s", values[i]);
        EXPECT_EQ(test_shell(command, output, sizeof(output)) != 0, i == 1);
    }
    EXPECT_STRSTR(output, "shim_compares_integers_only");
}
