// SPDX-License-Identifier: Apache-2.0
// A guest can only hurt itself: whatever it does, hvsim ends the run in good order, and the same way each
// time.
//
// HVSIM_WILD_SEED=N makes the tests begin with (or, with HVSIM_WILD_SECONDS=0, run only) the guest of that
// seed; the files of a guest that failed stay in the test's folder.
#include "tests/shim/shim.h"
#include "tests/wild/wild.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WALL_LIMIT_S = 60, OUTPUT_BYTES = 1 << 16 };

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 0) : otherwise;
}

// Violations which guests and streams of random words bring upon themselves; any other is the core's or the
// model's.
static const struct {
    const char *kind, *detail; // The detail begins so.
} self_inflicted[] = {
    // HV_INTERNAL_ERROR_EMULATION: an instruction that cannot be emulated on device memory.
    {"internal error", "0x1, "},
    // HV_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: a task switch, which the core does not model.
    {"internal error", "0x4, 0x9"},
    // The op `intr`: a physical interrupt that nobody in the host expects.
    {"unexpected_interrupt", ""},
    // Handlers of faults that fault themselves.
    {"guest handlers are nested too deeply", ""},
    // The op `await`, for an exit that does not come.
    {"await never satisfied", ""},
    // A hypervisor as a guest whose VMCS lacks GUEST_IDTR_BASE, GUEST_RIP or HOST_RIP.
    {"no guest program at this IDTR base", ""},
    {"guest RIP is outside of its program", ""},
};

static bool known(const char *row)
{
    for (size_t i = 0; i < sizeof self_inflicted / sizeof *self_inflicted; i++) {
        size_t kind = strlen(self_inflicted[i].kind);

        if (strncmp(row, self_inflicted[i].kind, kind) == 0 && row[kind] == ':' &&
            strncmp(row + kind + 1, self_inflicted[i].detail, strlen(self_inflicted[i].detail)) == 0)
            return true;
    }
    return false;
}

// Is there no other violation in the run's database? Such a run ends with status 1, as does one whose guests
// sleep for ever. `output` gets the ones that are there.
static bool only_self_inflicted(char *output, size_t size)
{
    char command[3000];
    bool all_known = true;

    snprintf(
        command, sizeof command,
        "cd '%s' && '%s/bin/hvsim' export wild.db --csv --sql \"SELECT kind || ':' || detail FROM violations "
        "GROUP BY 1\" | tail -n +2 | tr -d '\"\\r'",
        test_tmpdir(), test_build_dir());
    if (test_shell(command, output, size) != 0)
        return false;
    for (const char *row = output; *row; row += strcspn(row, "\n"), row += *row == '\n')
        all_known = all_known && known(row);
    return all_known;
}

static void run_once(uint64_t seed, char output[OUTPUT_BYTES])
{
    char command[3000];

    snprintf(command, sizeof command,
             "cd '%s' && timeout -s KILL %d '%s/bin/hvsim' run wild.yaml --hv '%s' --json --trace none",
             test_tmpdir(), WALL_LIMIT_S, test_build_dir(), test_hv_lib());
    int status = test_shell(command, output, OUTPUT_BYTES);

    static char violations[OUTPUT_BYTES];

    violations[0] = 0;
    if (status != 0 && (status != 1 || !only_self_inflicted(violations, sizeof violations)))
        TEST_FAIL("seed %llu: exit status %d (137: it hangs)\n%s\n%s", (unsigned long long)seed, status,
                  output, violations);
}

// Fails, and leaves the files, unless this guest's run ends well and its twin ends equally.
static void one_guest(uint64_t seed)
{
    static char first[OUTPUT_BYTES], second[OUTPUT_BYTES];

    if (!wild_scenario(seed, test_tmpdir())) {
        TEST_FAIL("cannot write in %s", test_tmpdir());
        return;
    }
    run_once(seed, first);
    if (test_failed())
        return;
    run_once(seed, second);
    if (strcmp(first, second) != 0)
        TEST_FAIL("seed %llu: two runs differ\n%s\n%s", (unsigned long long)seed, first, second);
    EXPECT_STRSTR(first, "\"digest\"");
}

void wild_guests_for(uint64_t seed, uint64_t seconds)
{
    if (access(test_hv_lib(), R_OK) != 0)
        test_skip("no libhv.so");
    seed = from_environment("HVSIM_WILD_SEED", seed);
    seconds = from_environment("HVSIM_WILD_SECONDS", seconds);
    time_t end = time(NULL) + (time_t)seconds;

    do {
        one_guest(seed++);
    } while (!test_failed() && time(NULL) < end);
}

// --- Machine code. ---

// Whatever it exits with is its own affair; that there is an end, in good order, is ours.
static void boot_once(uint64_t seed, const char *options, char output[OUTPUT_BYTES])
{
    char command[3000];

    snprintf(
        command, sizeof command,
        "cd '%s' && timeout -s KILL %d '%s/bin/hvsim' boot wild.img %s --hv '%s' --until 1ms --json 2>err",
        test_tmpdir(), WALL_LIMIT_S, test_build_dir(), options, test_hv_lib());
    int status = test_shell(command, output, OUTPUT_BYTES);

    if (!strstr(output, "\"digest\""))
        TEST_FAIL("image of seed %llu (%s): status %d (137: it hangs), no report\n%s",
                  (unsigned long long)seed, options, status, output);
}

static void one_image(uint64_t seed)
{
    static char first[OUTPUT_BYTES], second[OUTPUT_BYTES];
    struct wild w = {seed};
    enum wild_image kind = (enum wild_image)wild_below(&w, 3);
    char path[2048], options[64];
    FILE *to;

    snprintf(path, sizeof path, "%s/wild.img", test_tmpdir());
    to = fopen(path, "we");
    if (!to) {
        TEST_FAIL("cannot write in %s", test_tmpdir());
        return;
    }
    wild_image(&w, kind, to);
    fclose(to);
    snprintf(options, sizeof options, "%s --cpus %d%s", kind == WILD_REAL ? "--load 0x7c00" : "",
             1 + (int)wild_below(&w, 3), wild_chance(&w, 25) ? " --knob vmx.unrestricted_guest=off" : "");
    boot_once(seed, options, first);
    if (!test_failed())
        boot_once(seed, options, second);
    if (!test_failed() && strcmp(first, second) != 0)
        TEST_FAIL("image of seed %llu (%s): two runs differ\n%s\n%s", (unsigned long long)seed, options,
                  first, second);
}

void wild_images_for(uint64_t seed, uint64_t seconds)
{
    if (access(test_hv_lib(), R_OK) != 0)
        test_skip("no libhv.so");
    seed = from_environment("HVSIM_WILD_SEED", seed);
    seconds = from_environment("HVSIM_WILD_SECONDS", seconds);
    time_t end = time(NULL) + (time_t)seconds;

    do {
        one_image(seed++);
    } while (!test_failed() && time(NULL) < end);
}
