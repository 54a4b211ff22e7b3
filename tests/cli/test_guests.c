// SPDX-License-Identifier: Apache-2.0
/* Machine-code guests of scenarios/guests/x86 under the core: what one guest alone cannot show. */
#include "tests/cli/cli.h"

#include <stdio.h>

/* Each guest compares its registers at each turn of a loop that is longer than a time slice. */
TEST(Guests, VectorRegistersBelongToTheirVcpu)
{
    static const char scenario[] =
        "scenario: fpu\n"
        "about: Two guests on one processor, each with its own x87 and SSE registers.\n"
        "source: SDM vol. 1 13\n"
        "machine: { arch: x86, uarch: skylake-sp, cpus: 1, memory: 1GiB }\n"
        "vms:\n"
        "  - name: a\n"
        "    memory: 16MiB\n"
        "    program: { image: %1$s/lib/images/fpu.elf }\n"
        "    vcpus: [{ pcpu: 0 }]\n"
        "  - name: b\n"
        "    memory: 16MiB\n"
        "    program: { image: %1$s/lib/images/fpu.elf }\n"
        "    vcpus: [{ pcpu: 0 }]\n";
    static char text[4096];
    char db[300];

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    snprintf(text, sizeof text, scenario, test_build_dir());
    cli_write_text("fpu.yaml", text);
    snprintf(db, sizeof db, "%s", cli_path("fpu.db"));
    EXPECT_EQ(hvsim("run fpu.yaml --db fpu.db"), 0);
    /* Ended by their own exit, with status 0, after they took turns. */
    EXPECT_EQ(cli_query(db, "SELECT count(*) FROM events WHERE kind = 'guest_end' AND a1 = 1 AND a2 = 0"), 2);
    EXPECT_GE(cli_query(db, "SELECT count(*) FROM events WHERE kind = 'sched_switch'"), 10);
    EXPECT_EQ(cli_query(db, "SELECT count(*) FROM violations"), 0);
}
