// SPDX-License-Identifier: Apache-2.0
// Executions a second of two litmus tests through the whole path: hooks, memory model, enumeration, restart.
//
// litmus_rate SOURCE BUILD [EXECUTIONS]: a line for each, `name executions seconds rate`, of the best of five
// rounds in processor time.
#include "tests/litmus/harness.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 5

static double processor_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void measure(const char *name, enum litmus_program program, enum litmus_model model, uint64_t wanted)
{
    double best = 0;
    uint64_t executions = 0;

    for (int i = 0; i < ROUNDS; i++) {
        double begin = processor_seconds(), seconds;

        executions = litmus_repeat(program, model, wanted);
        seconds = processor_seconds() - begin;
        if (i == 0 || seconds < best)
            best = seconds;
    }
    printf("%-16s %10" PRIu64 " executions %8.3f s %10.0f a second\n", name, executions, best,
           (double)executions / best);
}

int main(int argc, char **argv)
{
    char error[512] = "";

    if (argc < 3 || !litmus_open(argv[1], argv[2], error, sizeof error)) {
        fprintf(stderr, "litmus_rate: %s\n", argc < 3 ? "wants the source and build folders" : error);
        return 2;
    }
    uint64_t wanted = argc > 3 ? strtoull(argv[3], NULL, 10) : 200000;

    measure("SB c11", LITMUS_SB, LITMUS_MODEL_C11, wanted);
    measure("MP c11", LITMUS_MP, LITMUS_MODEL_C11, wanted);
    measure("SB tso", LITMUS_SB, LITMUS_MODEL_TSO, wanted);
    measure("MP tso", LITMUS_MP, LITMUS_MODEL_TSO, wanted);
    litmus_close();
    return 0;
}
