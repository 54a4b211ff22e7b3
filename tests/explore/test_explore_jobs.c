// SPDX-License-Identifier: Apache-2.0
/*
 * One search by several processes: it is the same search, whoever makes it, and nobody is left behind when it
 * ends early.
 */
#include "tests/cli/cli.h"

#include "sim/rewind/rewind.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Found after what all processes learn together, so in a part of one of them.
static const struct {
    const char *scenario, *variant;
    unsigned seed;
} rows[] = {
    {"rsm-torn-read", "before", 0},
    {"rsm-torn-read", "before", 4},
    {"make-request", "no_entry_mb", 0},
};
enum { ROWS = sizeof rows / sizeof *rows };

static const char *why_not(void)
{
    return cli_can_run() ? rewind_unsupported() : "there is no libhv.so in this build";
}

static const char *path_of(const char *scenario)
{
    static char path[700];

    snprintf(path, sizeof path, "%s/scenarios/races/%s.yaml", test_source_dir(), scenario);
    return path;
}

// A number of --json; -1: it is not there.
static long long number_of(const char *name)
{
    char key[60];
    const char *at;

    snprintf(key, sizeof key, "\"%s\": ", name);
    at = strstr(cli_out, key);
    return at ? strtoll(at + strlen(key), NULL, 10) : -1;
}

static void read_schedule(const char *name, char *text, size_t size)
{
    FILE *f = fopen(cli_path(name), "rb");
    size_t got = f ? fread(text, 1, size - 1, f) : 0;

    text[got] = 0;
    if (f)
        fclose(f);
}

TEST(ExploreJobs, FindTheSameFailureHoweverManyTheyAre)
{
    static char alone[20000], shared[20000];

    if (why_not())
        test_skip(why_not());
    for (unsigned i = 0; i < ROWS; i++) {
        long long execution = -1;

        for (unsigned jobs = 1; jobs <= 3; jobs++) {
            test_row("%s, %s, seed %u, %u processes", rows[i].scenario, rows[i].variant, rows[i].seed, jobs);
            EXPECT_EQ(hvsim("explore '%s' --variant %s --seed %u --budget 2000 --jobs %u --json -o s.sched",
                            path_of(rows[i].scenario), rows[i].variant, rows[i].seed, jobs),
                      1);
            EXPECT_STRSTR(cli_out, "\"reproduced\": true");
            EXPECT_TRUE(number_of("learned") > 0);
            EXPECT_TRUE(number_of("execution") > number_of("learned"));
            read_schedule("s.sched", jobs == 1 ? alone : shared, sizeof alone);
            if (jobs == 1)
                execution = number_of("execution");
            else
                EXPECT_STREQ(shared, alone);
            EXPECT_EQ(number_of("execution"), execution);
        }
    }
}

TEST(ExploreJobs, MakeTheSameExecutionsHoweverManyTheyAre)
{
    static const char *const counts[] = {"executions",   "learned",      "orders",
                                         "access_pairs", "shared_words", "failed"};
    static const char *const strategies[] = {"pct", "random", "delay", "jitter"};

    if (why_not())
        test_skip(why_not());
    for (unsigned s = 0; s < sizeof strategies / sizeof *strategies; s++) {
        long long alone[sizeof counts / sizeof *counts];

        for (unsigned jobs = 1; jobs <= 3; jobs += 2) {
            hvsim("explore '%s' --variant before --strategy %s --budget 250 --keep-going --jobs %u --json "
                  "-o s.sched",
                  path_of("rsm-torn-read"), strategies[s], jobs);
            EXPECT_TRUE(json_fault(cli_out) == NULL);
            for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
                test_row("%s, %u processes: %s", strategies[s], jobs, counts[i]);
                EXPECT_TRUE(number_of(counts[i]) >= 0);
                if (jobs == 1)
                    alone[i] = number_of(counts[i]);
                EXPECT_EQ(number_of(counts[i]), alone[i]);
            }
        }
        EXPECT_EQ(alone[0], 250);
    }
}

TEST(ExploreParts, MakeTheWholeTogether)
{
    long long whole, executions = 0, failed = 0, all_failed;
    long long lowest = INT64_MAX;

    if (why_not())
        test_skip(why_not());
    hvsim("explore '%s' --variant before --memory sc --budget 300 --keep-going --json -o s.sched",
          path_of("rsm-torn-read"));
    whole = number_of("execution");
    all_failed = number_of("failed");
    EXPECT_TRUE(whole >= 0);
    for (unsigned part = 0; part < 3; part++) {
        hvsim("explore '%s' --variant before --memory sc --budget 300 --keep-going --part %u/3 --json -o "
              "s%u.sched",
              path_of("rsm-torn-read"), part, part);
        executions += number_of("executions");
        failed += number_of("failed");
        if (number_of("execution") >= 0 && number_of("execution") < lowest)
            lowest = number_of("execution");
    }
    EXPECT_EQ(executions, 300);
    EXPECT_EQ(failed, all_failed);
    EXPECT_EQ(lowest, whole);
}

// Starts a search without end by `jobs` processes; then `does` with $P, its process, and $C, its children.
static int while_searching(unsigned jobs, const char *does)
{
    return hvsim(
        "explore '%s' --variant after --budget 1000000000 --jobs %u & P=$!\n"
        "C=; n=0; while [ $(echo $C | wc -w) -lt %u ] && [ $n -lt 300 ]; do\n"
        "sleep 0.1; n=$((n + 1)); C=$(cat /proc/$P/task/$P/children); done\n"
        "%s\n"
        "S=$?; n=0; while kill -0 $C 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done\n"
        "for c in $P $C; do if kill -9 $c 2>/dev/null; then echo $c is left >>stderr; fi; done\n"
        "exit $S",
        path_of("rsm-torn-read"), jobs, jobs, does);
}

TEST(ExploreJobs, EndTogether)
{
    static const struct {
        const char *what, *does, *says;
        int status;
    } ends[] = {
        {"a process dies", "kill -9 ${C%% *}; wait $P", "was ended by signal 9", 2},
        {"Ctrl-C", "kill -INT $P; wait $P", "interrupted", 2},
        {"Ctrl-C, and a process that does not heed it", "kill -STOP ${C%% *}; kill -INT $P; wait $P",
         "was ended by signal 9", 2},
        {"the first process dies", "kill -9 $P; wait $P", "", 137},
    };

    if (why_not())
        test_skip(why_not());
    for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++) {
        test_row("%s", ends[i].what);
        EXPECT_EQ(while_searching(2, ends[i].does), ends[i].status);
        EXPECT_STRSTR(cli_err, ends[i].says);
        EXPECT_TRUE(strstr(cli_err, "is left") == NULL);
        if (strcmp(ends[i].says, "interrupted") == 0)
            EXPECT_STRSTR(cli_out, "found       nothing");
    }
}

TEST(ExploreRanks, FindTheSameFailure)
{
    static char alone[20000], shared[20000], command[3000], out[20000];

    if (why_not())
        test_skip(why_not());
    if (test_shell("command -v mpirun", out, sizeof out) != 0)
        test_skip("there is no mpirun: --mpi is not tested (Debian: openmpi-bin)");
    snprintf(command, sizeof command, "test -x '%s/bin/hvsim-mpi'", test_build_dir());
    if (test_shell(command, out, sizeof out) != 0)
        test_skip("this build has no MPI: --mpi is not tested (Debian: libopenmpi-dev)");
    EXPECT_EQ(hvsim("explore '%s' --variant before --budget 2000 -o alone.sched", path_of("rsm-torn-read")),
              1);
    read_schedule("alone.sched", alone, sizeof alone);
    snprintf(command, sizeof command,
             "cd '%s' && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
             "OMPI_MCA_rmaps_base_oversubscribe=1 && mpirun -n 3 '%s/bin/hvsim' explore '%s' "
             "--variant before --budget 2000 --mpi -o ranks.sched 2>ranks.err",
             test_tmpdir(), test_build_dir(), path_of("rsm-torn-read"));
    EXPECT_EQ(test_shell(command, out, sizeof out), 1);
    EXPECT_STRSTR(out, "seed 0, 3 ranks\n");
    read_schedule("ranks.sched", shared, sizeof shared);
    EXPECT_TRUE(*alone != 0);
    EXPECT_STREQ(shared, alone);
}

TEST(ExploreJobs, SayWhatCannotBeShared)
{
    static const struct {
        const char *words, *says;
    } bad[] = {
        {"--jobs 257", "--jobs wants a number of 0"},
        {"--part 2/2", "--part wants P/N with P of 0 to N - 1"},
        {"--part 1", "--part wants P/N"},
        {"--part -1/2", "--part wants P/N"},
        {"--strategy dfs --part 0/2", "dfs is one search of one process"},
        {"--part 0/2 --mpi", "leave out --part"},
    };

    if (why_not())
        test_skip(why_not());
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        test_row("%s", bad[i].words);
        EXPECT_EQ(hvsim("explore '%s' --variant api %s", path_of("make-request"), bad[i].words), 2);
        EXPECT_STRSTR(cli_err, bad[i].says);
    }
    EXPECT_EQ(hvsim("explore '%s' --variant api --strategy dfs --jobs 2 --budget 5", path_of("make-request")),
              0);
    EXPECT_STRSTR(cli_err, "--jobs does nothing for it");
}
