// SPDX-License-Identifier: Apache-2.0
// A guest can only hurt itself: whatever it does, hvsim ends the run in good order, and the same way each time.
//
// HVSIM_WILD_SEED=N makes the tests begin with (or, with HVSIM_WILD_SECONDS=0, run only) the guest of that seed; the
// files of a guest that failed stay in the test's folder.
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

// Violations which guests and streams of random words bring upon themselves: an instruction that cannot be emulated, a
// physical interrupt that nobody in the host expects (the op `intr`), a nested hypervisor that enters its guest nowhere.
static const char *const self_inflicted[] = {
    "\"internal error\"",
    "\"unexpected_interrupt\"",
    "\"guest handlers are nested too deeply\"",
    "\"guest program loops without an event\"",
    "\"no guest program at this IDTR base\"",
    "\"await never satisfied\"",
    "\"guest RIP is outside of its program\"",
};

// Is there no other violation in the report? Such a run ends with status 1, as does one whose guests sleep for ever.
static bool only_self_inflicted(const char *output)
{
    static const char head[] = "\"violations\": [";
    const char *at = strstr(output, head);
    bool known = at != NULL;

    for (at = known ? at + strlen(head) : ""; known && *at != ']'; at += strspn(at, ", ")) {
        known = false;
        for (size_t i = 0; i < sizeof self_inflicted / sizeof *self_inflicted && !known; i++)
            if (strncmp(at, self_inflicted[i], strlen(self_inflicted[i])) == 0) {
                at += strlen(self_inflicted[i]);
                known = true;
            }
    }
    return known;
}

static void run_once(uint64_t seed, char output[OUTPUT_BYTES])
{
    char command[3000];

    snprintf(command, sizeof command,
             "cd '%s' && timeout -s KILL %d '%s/bin/hvsim' run wild.yaml --hv '%s' --json --trace none", test_tmpdir(),
             WALL_LIMIT_S, test_build_dir(), test_hv_lib());
    int status = test_shell(command, output, OUTPUT_BYTES);

    if (status != 0 && (status != 1 || !only_self_inflicted(output)))
        TEST_FAIL("seed %llu: exit status %d (137: it hangs)\n%s", (unsigned long long)seed, status, output);
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
