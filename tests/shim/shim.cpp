// SPDX-License-Identifier: Apache-2.0
/* The GoogleTest side of shim.h, and main() of every test binary. */
#include "tests/shim/shim.h"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ftw.h>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace
{

// Filled by constructors, which may run before any C++ object of this file is built: so plain C data.
struct shim_test *tests_first;
struct shim_test **tests_end = &tests_first;

std::string current_row;
std::string current_tmpdir;

void record(testing::TestPartResult::Type type, shim_where where, const std::string &message)
{
    std::string text = message;
    if (!current_row.empty() && type != testing::TestPartResult::kSkip) {
        text += "\n  in row: " + current_row;
    }
    testing::internal::AssertHelper(type, where.file, where.line, text.c_str()) = testing::Message();
}

bool fail(shim_where where, const std::string &message)
{
    record(testing::TestPartResult::kNonFatalFailure, where, message);
    return false;
}

int remove_entry(const char *path, const struct stat *, int, struct FTW *)
{
    return remove(path);
}

class CTest : public testing::Test
{
  public:
    explicit CTest(void (*body)()) : body_(body) {}
    void TestBody() override { body_(); }

  protected:
    void SetUp() override { current_row.clear(); }
    void TearDown() override
    {
        current_row.clear();
        if (!current_tmpdir.empty()) {
            if (HasFailure()) {
                fprintf(stderr, "kept for a look: %s\n", current_tmpdir.c_str());
            } else {
                nftw(current_tmpdir.c_str(), remove_entry, 16, FTW_DEPTH | FTW_PHYS);
            }
            current_tmpdir.clear();
        }
    }

  private:
    void (*body_)();
};

// Sign of a - b by value, whatever their signedness.
int order(shim_int a, shim_int b)
{
    const bool a_negative = a.is_signed && static_cast<int64_t>(a.bits) < 0;
    const bool b_negative = b.is_signed && static_cast<int64_t>(b.bits) < 0;
    if (a_negative != b_negative) {
        return a_negative ? -1 : 1;
    }
    return a.bits == b.bits ? 0 : (a.bits < b.bits ? -1 : 1);
}

bool holds(shim_op op, shim_int a, shim_int b)
{
    switch (op) {
    case SHIM_EQ:
        return a.bits == b.bits;
    case SHIM_NE:
        return a.bits != b.bits;
    case SHIM_LT:
        return order(a, b) < 0;
    case SHIM_LE:
        return order(a, b) <= 0;
    case SHIM_GT:
        return order(a, b) > 0;
    case SHIM_GE:
        return order(a, b) >= 0;
    }
    return false;
}

std::string show(shim_int x)
{
    char line[128];
    if (x.is_signed) {
        snprintf(line, sizeof(line), "%lld (0x%llx)", static_cast<long long>(x.bits),
                 static_cast<unsigned long long>(x.bits));
    } else {
        snprintf(line, sizeof(line), "%llu (0x%llx)", static_cast<unsigned long long>(x.bits),
                 static_cast<unsigned long long>(x.bits));
    }
    return std::string("  ") + x.text + " = " + line;
}

std::string hex_row(const unsigned char *bytes, size_t from, size_t to)
{
    std::string row;
    char cell[8];
    for (size_t i = from; i < to; i++) {
        snprintf(cell, sizeof(cell), " %02x", bytes[i]);
        row += cell;
    }
    return row;
}

std::string quoted(const char *s)
{
    return s ? '"' + std::string(s) + '"' : "NULL";
}

const char *from_environment(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

// Reads fd to its end, keeping what fits.
void drain(int fd, char *output, size_t size_bytes)
{
    char chunk[4096];
    size_t kept = 0;
    ssize_t got;
    while ((got = read(fd, chunk, sizeof(chunk))) > 0 || (got < 0 && errno == EINTR)) {
        if (got > 0 && output && kept + 1 < size_bytes) {
            const size_t room = size_bytes - 1 - kept;
            const size_t taken = static_cast<size_t>(got) < room ? static_cast<size_t>(got) : room;
            memcpy(output + kept, chunk, taken);
            kept += taken;
        }
    }
    if (output && size_bytes > 0) {
        output[kept] = 0;
    }
}

int status_of_child(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void run_shell(void *command)
{
    execl("/bin/sh", "sh", "-c", static_cast<const char *>(command), nullptr);
    _exit(127);
}

std::string format_text(const char *format, va_list args)
{
    char text[1024];
    vsnprintf(text, sizeof(text), format, args);
    return text;
}

} // namespace

void shim_register(struct shim_test *test)
{
    *tests_end = test;
    tests_end = &test->next;
}

bool shim_compare(enum shim_op op, struct shim_int a, struct shim_int b, struct shim_where where)
{
    static const char *const names[] = {"==", "!=", "<", "<=", ">", ">="};
    if (holds(op, a, b)) {
        return true;
    }
    return fail(where, std::string("Expected: ") + a.text + ' ' + names[op] + ' ' + b.text + '\n' + show(a) +
                           '\n' + show(b));
}

bool shim_truth(bool wanted, bool got, const char *text, struct shim_where where)
{
    if (wanted == got) {
        return true;
    }
    return fail(where, std::string("Expected ") + (wanted ? "true: " : "false: ") + text);
}

bool shim_streq(const char *a, const char *b, const char *a_text, const char *b_text, struct shim_where where)
{
    if (a == b || (a && b && strcmp(a, b) == 0)) {
        return true;
    }
    return fail(where, std::string("Expected equal strings\n  ") + a_text + " = " + quoted(a) + "\n  " +
                           b_text + " = " + quoted(b));
}

bool shim_strstr(const char *hay, const char *needle, const char *hay_text, struct shim_where where)
{
    if (hay && needle && strstr(hay, needle)) {
        return true;
    }
    return fail(where, std::string("Expected ") + hay_text + " to contain " + quoted(needle) + "\n  it is " +
                           quoted(hay));
}

bool shim_memeq(const void *a, const void *b, size_t size_bytes, const char *a_text, const char *b_text,
                struct shim_where where)
{
    if (size_bytes == 0 || memcmp(a, b, size_bytes) == 0) {
        return true;
    }
    const auto *left = static_cast<const unsigned char *>(a);
    const auto *right = static_cast<const unsigned char *>(b);
    size_t at = 0;
    while (left[at] == right[at]) {
        at++;
    }
    const size_t from = at & ~static_cast<size_t>(15);
    const size_t to = from + 16 < size_bytes ? from + 16 : size_bytes;
    return fail(where, std::string("Expected equal bytes; the first difference is at offset ") +
                           std::to_string(at) + " of " + std::to_string(size_bytes) + "; from offset " +
                           std::to_string(from) + "\n " + hex_row(left, from, to) + "  " + a_text + "\n " +
                           hex_row(right, from, to) + "  " + b_text);
}

void shim_skip(const char *reason, struct shim_where where)
{
    fprintf(stderr, "SKIPPED: %s\n", reason);
    record(testing::TestPartResult::kSkip, where, reason);
}

void shim_fail(struct shim_where where, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const std::string text = format_text(format, args);
    va_end(args);
    fail(where, text);
}

void test_row(const char *format, ...)
{
    current_row.clear();
    if (format) {
        va_list args;
        va_start(args, format);
        current_row = format_text(format, args);
        va_end(args);
    }
}

bool test_failed(void)
{
    return testing::Test::HasFailure();
}

const char *test_tmpdir(void)
{
    if (current_tmpdir.empty()) {
        std::string path = std::string(from_environment("TMPDIR", "/tmp")) + "/hvsim-test-XXXXXX";
        if (!mkdtemp(path.data())) {
            fprintf(stderr, "cannot make %s: %s\n", path.c_str(), strerror(errno));
            abort();
        }
        current_tmpdir = path;
    }
    return current_tmpdir.c_str();
}

const char *test_source_dir(void)
{
    return from_environment("HVSIM_SOURCE_DIR", HVSIM_SOURCE_DIR);
}

const char *test_build_dir(void)
{
    return from_environment("HVSIM_BUILD_DIR", HVSIM_BUILD_DIR);
}

const char *test_hv_lib(void)
{
    static const std::string built = std::string(test_build_dir()) + "/lib/libhv.so";
    return from_environment("HVSIM_HV_LIB", *HVSIM_HV_LIB ? HVSIM_HV_LIB : built.c_str());
}

int test_exit_status(void (*fn)(void *), void *argument, char *output, size_t size_bytes)
{
    int ends[2];
    fflush(nullptr);
    if (pipe(ends) != 0) {
        return -1;
    }
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        fn(argument);
        fflush(nullptr);
        _exit(0);
    }
    close(ends[1]);
    drain(ends[0], output, size_bytes);
    close(ends[0]);
    return child < 0 ? -1 : status_of_child(child);
}

int test_shell(const char *command, char *output, size_t size_bytes)
{
    return test_exit_status(run_shell, const_cast<char *>(command), output, size_bytes);
}

int main(int argc, char **argv)
{
    testing::InitGoogleTest(&argc, argv);
    for (const shim_test *test = tests_first; test; test = test->next) {
        void (*body)() = test->body;
        testing::RegisterTest(test->suite, test->name, nullptr, nullptr, test->where.file, test->where.line,
                              [body]() -> CTest * { return new CTest(body); });
    }
    const int status = RUN_ALL_TESTS();
    const auto *unit = testing::UnitTest::GetInstance();
    const bool only_skipped = unit->skipped_test_count() > 0 && unit->successful_test_count() == 0;
    return status == 0 && only_skipped ? SHIM_EXIT_SKIPPED : status;
}
