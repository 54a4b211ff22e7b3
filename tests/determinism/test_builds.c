// SPDX-License-Identifier: Apache-2.0
/* Simulators built by gcc -O0, gcc -O2 and clang give the same digests with one and the same libhv.so. */
#include "tests/shim/shim.h"

#include <stdio.h>
#include <string.h>

TEST(Builds, ThreeCompilationsOfTheSimulatorAgree)
{
    static char output[1 << 18];
    char command[1500];

    if (test_shell("command -v clang >/dev/null", NULL, 0) != 0)
        test_skip("there is no clang here");
    snprintf(command, sizeof command, "HVSIM_BUILD_DIR='%s' '%s/tools/bench/determinism.sh' --builds",
             test_build_dir(), test_source_dir());
    EXPECT_EQ(test_shell(command, output, sizeof output), 0);
    EXPECT_STRSTR(output, "simulator built by O0");
    EXPECT_STRSTR(output, "simulator built by clang");
    EXPECT_EQ(strstr(output, "DIFFERENT"), NULL);
    EXPECT_EQ(strstr(output, "not built"), NULL);
    if (test_failed())
        printf("%s", output);
}
