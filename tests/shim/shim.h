// SPDX-License-Identifier: Apache-2.0
/*
 * Tests in C, run by GoogleTest.
 *
 *     TEST(Tlb, InvvpidDropsOnlyItsVpid)
 *     {
 *         EXPECT_EQ(tlb_lookup(&tlb, 1, gva), 0);
 *     }
 *
 * A binary made by hvsim_test() has a main() which hands every TEST to GoogleTest, so that --gtest_filter,
 * --gtest_output=xml:FILE and --gtest_repeat work. ctest knows each TEST as <binary>/<suite>.<name>.
 *
 * EXPECT_* record a failure and go on; ASSERT_* record it and return from the test's body. In a helper
 * function use EXPECT_*, or pass `test_failed()` up: ASSERT_* returns only from the function that it stands
 * in. Everything here is for the one thread that runs the test.
 */
#ifndef TESTS_SHIM_SHIM_H
#define TESTS_SHIM_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Exit status of a test binary in which nothing failed and every selected TEST was skipped; ctest knows it.
 */
enum { SHIM_EXIT_SKIPPED = 77 };

enum shim_op { SHIM_EQ, SHIM_NE, SHIM_LT, SHIM_LE, SHIM_GT, SHIM_GE };

struct shim_where {
    const char *file;
    int line;
};

struct shim_int {
    uint64_t bits;
    bool is_signed;
    const char *text; // The expression, as written in the test.
};

/* What a float or double in EXPECT_EQ() becomes, so that it does not compile: it would be cut to an integer.
 */
struct shim_compares_integers_only {
    int nothing;
};

struct shim_test {
    const char *suite, *name;
    struct shim_where where;
    void (*body)(void);
    struct shim_test *next; // Set by shim_register().
};

void shim_register(struct shim_test *test);
bool shim_compare(enum shim_op op, struct shim_int a, struct shim_int b, struct shim_where where);
bool shim_truth(bool wanted, bool got, const char *text, struct shim_where where);
bool shim_streq(const char *a, const char *b, const char *a_text, const char *b_text,
                struct shim_where where);
bool shim_strstr(const char *hay, const char *needle, const char *hay_text, struct shim_where where);
bool shim_memeq(const void *a, const void *b, size_t size_bytes, const char *a_text, const char *b_text,
                struct shim_where where);
void shim_skip(const char *reason, struct shim_where where);
void shim_fail(struct shim_where where, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define SHIM_HERE ((struct shim_where){__FILE__, __LINE__})
// clang-format off
#define SHIM_IS_SIGNED(x)                                                                                    \
    _Generic((x), signed char: true, short: true, int: true, long: true, long long: true,                    \
             char: (char)-1 < 0, default: false,                                                             \
             float: (struct shim_compares_integers_only){0}, double: (struct shim_compares_integers_only){0})
// clang-format on
#define SHIM_INT(x) ((struct shim_int){(uint64_t)(x), SHIM_IS_SIGNED(x), #x})
#define SHIM_COMPARE(op, a, b) shim_compare(op, SHIM_INT(a), SHIM_INT(b), SHIM_HERE)
#define SHIM_ASSERT(check)                                                                                   \
    do {                                                                                                     \
        if (!(check)) {                                                                                      \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)

/* Defines a test. Suite and name are CamelCase without underscores; the name is the law that it proves. */
#define TEST(suite_, name_)                                                                                  \
    static void suite_##_##name_##_body(void);                                                               \
    static struct shim_test suite_##_##name_##_test = {                                                      \
        #suite_, #name_, {__FILE__, __LINE__}, suite_##_##name_##_body, NULL};                               \
    __attribute__((constructor)) static void suite_##_##name_##_enlist(void)                                 \
    {                                                                                                        \
        shim_register(&suite_##_##name_##_test);                                                             \
    }                                                                                                        \
    static void suite_##_##name_##_body(void)

/*
 * Integers of up to 64 bits, enums and pointers. EQ and NE compare the 64 bits after C's own widening (so -1
 * equals UINT64_MAX); the ordering ones compare values (-1 is less than any unsigned number).
 */
#define EXPECT_EQ(a, b) ((void)SHIM_COMPARE(SHIM_EQ, a, b))
#define EXPECT_NE(a, b) ((void)SHIM_COMPARE(SHIM_NE, a, b))
#define EXPECT_LT(a, b) ((void)SHIM_COMPARE(SHIM_LT, a, b))
#define EXPECT_LE(a, b) ((void)SHIM_COMPARE(SHIM_LE, a, b))
#define EXPECT_GT(a, b) ((void)SHIM_COMPARE(SHIM_GT, a, b))
#define EXPECT_GE(a, b) ((void)SHIM_COMPARE(SHIM_GE, a, b))
#define EXPECT_TRUE(x) ((void)shim_truth(true, (x) ? true : false, #x, SHIM_HERE))
#define EXPECT_FALSE(x) ((void)shim_truth(false, (x) ? true : false, #x, SHIM_HERE))
#define EXPECT_STREQ(a, b) ((void)shim_streq(a, b, #a, #b, SHIM_HERE))
/* The string hay contains needle. */
#define EXPECT_STRSTR(hay, needle) ((void)shim_strstr(hay, needle, #hay, SHIM_HERE))
#define EXPECT_MEMEQ(a, b, size_bytes) ((void)shim_memeq(a, b, size_bytes, #a, #b, SHIM_HERE))

#define ASSERT_EQ(a, b) SHIM_ASSERT(SHIM_COMPARE(SHIM_EQ, a, b))
#define ASSERT_NE(a, b) SHIM_ASSERT(SHIM_COMPARE(SHIM_NE, a, b))
#define ASSERT_LT(a, b) SHIM_ASSERT(SHIM_COMPARE(SHIM_LT, a, b))
#define ASSERT_LE(a, b) SHIM_ASSERT(SHIM_COMPARE(SHIM_LE, a, b))
#define ASSERT_GT(a, b) SHIM_ASSERT(SHIM_COMPARE(SHIM_GT, a, b))
#define ASSERT_GE(a, b) SHIM_ASSERT(SHIM_COMPARE(SHIM_GE, a, b))
#define ASSERT_TRUE(x) SHIM_ASSERT(shim_truth(true, (x) ? true : false, #x, SHIM_HERE))
#define ASSERT_FALSE(x) SHIM_ASSERT(shim_truth(false, (x) ? true : false, #x, SHIM_HERE))
#define ASSERT_STREQ(a, b) SHIM_ASSERT(shim_streq(a, b, #a, #b, SHIM_HERE))
#define ASSERT_STRSTR(hay, needle) SHIM_ASSERT(shim_strstr(hay, needle, #hay, SHIM_HERE))
#define ASSERT_MEMEQ(a, b, size_bytes) SHIM_ASSERT(shim_memeq(a, b, size_bytes, #a, #b, SHIM_HERE))

/* A failure in words, printf style. */
#define TEST_FAIL(...) shim_fail(SHIM_HERE, __VA_ARGS__)

/* Leaves the test's body; the reason is printed and the run counts the test as skipped, never as passed. */
#define test_skip(reason)                                                                                    \
    do {                                                                                                     \
        shim_skip(reason, SHIM_HERE);                                                                        \
        return;                                                                                              \
    } while (0)

/*
 * Names the row of a table that is being checked: every later failure of this test prints it. The next call
 * replaces it; NULL or the end of the test clears it.
 */
void test_row(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Did a check of the running test fail so far? */
bool test_failed(void);

/*
 * A fresh empty folder for the running test, the same one on each call within it. It is removed after the
 * test if the test passed; else its path is printed.
 */
const char *test_tmpdir(void);

/* Folder of the sources and of the build. Environment HVSIM_SOURCE_DIR and HVSIM_BUILD_DIR win. */
const char *test_source_dir(void);
const char *test_build_dir(void);

/* The libhv.so to test with: environment HVSIM_HV_LIB, the CMake option of that name, or the build's own. */
const char *test_hv_lib(void);

/*
 * Runs a shell command, gives its exit status (128 + n if signal n ended it). Its standard output and error,
 * merged, are copied to `output`, cut off at size_bytes - 1 and ended with a zero byte; output may be NULL.
 */
int test_shell(const char *command, char *output, size_t size_bytes);

/*
 * Calls fn(argument) in a forked child and gives the child's exit status as test_shell() does; 0 if fn
 * returns. For laws about assertions (70) and user errors (2).
 */
int test_exit_status(void (*fn)(void *), void *argument, char *output, size_t size_bytes);

#ifdef __cplusplus
}
#endif

#endif
