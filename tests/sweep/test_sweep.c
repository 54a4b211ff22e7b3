// SPDX-License-Identifier: Apache-2.0
/* Scenarios with a sweep, at all of their points. */
#include "tests/shim/shim.h"

#include <stdio.h>

static char output[1 << 20];

TEST(Sweep, LogStartHoldsAtEverySizeUpToTwoTebibytes)
{
    char command[2048];

    snprintf(command, sizeof command,
             "cd '%s' && '%s/bin/hvsim' run '%s/scenarios/dirty/log-start.yaml' --hv '%s' 2>&1",
             test_tmpdir(), test_build_dir(), test_source_dir(), test_hv_lib());
    EXPECT_EQ(test_shell(command, output, sizeof output), 0);
    EXPECT_STRSTR(output, "verdict: pass");
}
