// SPDX-License-Identifier: Apache-2.0
/* hvsim-lint finds what it is there to find, and is content with this tree. */
#include "tests/shim/shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SPDX "// SPDX-License-Identifier: Apache-2.0\n"

static char output[1 << 20];

/* Writes `text` to a path in the test's folder, making the folders on the way. */
static void write_sample(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof(full), "%s/%s", test_tmpdir(), path);
    for (char *slash = strchr(full + strlen(test_tmpdir()) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(full, 0777);
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    ASSERT_NE(f, NULL);
    EXPECT_EQ(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
}

/* Runs the program on a tree with this project's tables; its words are in `output`. */
static int lint(const char *tree)
{
    char command[1024];
    snprintf(command, sizeof(command), "'%s/bin/hvsim-lint' '%s' '%s/tools/lint'", test_build_dir(), tree,
             test_source_dir());
    return test_shell(command, output, sizeof(output));
}

/* A tree that gives no reason to complain; samples are added to it. */
static void write_good_tree(void)
{
    write_sample("spec/SOURCES.md", "SDM: 325462-077US\n");
    write_sample("spec/CMakeLists.txt", "# SPDX-License-Identifier: Apache-2.0\n");
    write_sample("hv/hw/cpu.h", SPDX "#include <stdint.h>\nuint64_t hw_rdmsr(uint32_t index); // SDM 4.1\n");
    write_sample("hv/core/run.c", SPDX "#include \"hv/hw/cpu.h\"\nint run_time(void);\n");
    write_sample("hv/CMakeLists.txt",
                 "# SPDX-License-Identifier: Apache-2.0\nhvsim_hv_library(hv SRCS core/run.c)\n");
    write_sample("sim/sim.h", SPDX "typedef unsigned long sim_ps_t;\n");
    write_sample("models/mem/cache.c", SPDX "#include \"sim/sim.h\"\n#include <string.h>\n");
    write_sample("models/mem/CMakeLists.txt",
                 "# SPDX-License-Identifier: Apache-2.0\nhvsim_module(mem SRCS ${SOURCES} cache.c)\n");
}

TEST(Lint, IsContentWithAGoodTree)
{
    write_good_tree();
    EXPECT_EQ(lint(test_tmpdir()), 0);
    EXPECT_STRSTR(output, "no complaint");
}

static const struct {
    const char *path, *text; // Added to the good tree.
    const char *complaint;   // NULL: none.
} samples[] = {
    // Walls.
    {"hv/core/run.c", SPDX "#include \"hv/hw/cpu.h\"\n#include \"sim/sim.h\"\n",
     "hv/core/run.c:3: layers: hv/* may not include sim/sim.h"},
    {"hv/core/run.c", SPDX "#include \"hv/hw/cpu.h\"\n# include <stdio.h>\n", "may not include <stdio.h>"},
    {"hv/core/run.c", SPDX "#include \"hv/hw/cpu.h\"\n/*\n#include <stdio.h>\n*/\n", NULL},
    {"models/mem/cache.c", SPDX "#include \"sim/sim.h\"\n#include <systemc>\n", "may not include <systemc>"},
    {"models/mem/cache.c", SPDX "#include \"sim/sim.h\"\n#include \"cache.h\"\n",
     "\"cache.h\" is not a file of the sources"},
    {"garage/car.h", SPDX, "garage/car.h: layers: this folder has no row"},
    // Words.
    {"models/mem/cache.c", SPDX "#include \"sim/sim.h\"\nlong now(void) { return time(0); }\n",
     "models/mem/cache.c:3: words: 'time(' here; take time from sim/sim.h"},
    {"models/mem/cache.c",
     SPDX "#include \"sim/sim.h\"\nlong now(void) { return p->time(0) + uptime(1); } // time()\n", NULL},
    {"models/mem/cache.c", SPDX "#include \"sim/sim.h\"\ndouble ratio;\n", "words: 'double' here"},
    {"models/mem/tests/test_cache.c", SPDX "double ratio;\n", NULL},
    {"models/mem/cache.c", SPDX "#include \"sim/sim.h\"\n// Todo: evict.\n", "cache.c:3: words: 'TODO' here"},
    {"models/mem/cache.c", SPDX "#include \"sim/sim.h\"\nchar t[] = \"/tmp/XXXXXX\";\n", NULL},
    {"hv/core/run.c", SPDX "#include \"hv/hw/cpu.h\"\nfloat f;\n", "words: 'float' here"},
    // Headers.
    {"sim/sim.h", SPDX "uint64_t sim_now(void);\n",
     "sim/sim.h: headers: does not compile alone: unknown type name"},
    // Dead files.
    {"models/mem/tlb.c", SPDX, "models/mem/tlb.c: dead: no CMakeLists.txt names this file"},
    {"models/mem/tlb.h", SPDX, "models/mem/tlb.h: dead: nothing includes this file"},
    {"models/mem/CMakeLists.txt",
     "# SPDX-License-Identifier: Apache-2.0\nfile(GLOB all *.c) # cache.c\nhvsim_module(mem SRCS ${all})\n",
     NULL},
    {"models/mem/CMakeLists.txt",
     "# SPDX-License-Identifier: Apache-2.0\nhvsim_module(mem SRCS ${all}) # cache.c\n",
     "models/mem/cache.c: dead"},
    // Licence.
    {"hv/core/run.c", "#include \"hv/hw/cpu.h\"\n" SPDX, "hv/core/run.c:1: licence: the first line"},
    {"tools/x.sh", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n", NULL},
    {"tools/x.sh", "#!/bin/sh\necho\n", "tools/x.sh:1: licence"},
    // Citations.
    {"hv/hw/cpu.h", SPDX "// IHI0069 H 12.9.4\n", "hv/hw/cpu.h:2: citations: cites IHI0069"},
    {"spec/SOURCES.md", "SDM\nDDI0487 I.a\nIHI0069 H\n", NULL},
    {"spec/b.c", SPDX "// DDI0487 D17.2.37\n", "spec/b.c:2: citations: cites DDI0487, which"},
    {"hv/hw/cpu.h", SPDX "// 325462-080US\n", "citations: cites 325462-080US"},
    {"hv/hw/cpu.h", SPDX "// APM 15.25.3\n", "citations: cites APM"},
    {"hv/hw/cpu.h", SPDX "// SDM 26.2.1.1, 325462-077US; ITSAPM 2 is no manual.\n", NULL},
    // Exceptions.
    {"tools/lint/allow.txt", "file-lines | models/mem/cache.c | 700 | Was large once.\n",
     "tools/lint/allow.txt:1: exceptions: 'file-lines | models/mem/cache.c' is no longer needed"},
    {"tools/lint/allow.txt", "file-lines | models/mem/cache.c | 700\n", "exceptions: want four columns"},
};

TEST(Lint, FindsEachBadSample)
{
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        char command[600];
        test_row("%zu: %s: %s", i, samples[i].path,
                 samples[i].complaint ? samples[i].complaint : "no complaint");
        snprintf(command, sizeof(command), "rm -rf '%s'/*", test_tmpdir());
        ASSERT_EQ(test_shell(command, NULL, 0), 0);
        write_good_tree();
        // A test in a room is named by the room's list.
        write_sample("models/mem/tests/CMakeLists.txt",
                     "# SPDX-License-Identifier: Apache-2.0\nhvsim_test(cache SRCS test_${x}.c)\n");
        write_sample(samples[i].path, samples[i].text);
        const int status = lint(test_tmpdir());
        if (samples[i].complaint) {
            EXPECT_EQ(status, 1);
            EXPECT_STRSTR(output, samples[i].complaint);
        } else {
            EXPECT_EQ(status, 0);
            EXPECT_STRSTR(output, "no complaint");
        }
    }
}

/* A function whose body has that many lines, in a file of `lines + 4`. */
static void write_function(int lines)
{
    static char text[16384];
    char *to = text + snprintf(text, sizeof(text), SPDX "#include \"sim/sim.h\"\nint longest(int a)\n{\n");
    for (int i = 0; i < lines; i++) {
        to += snprintf(to, sizeof(text) - (size_t)(to - text), "    a++;\n");
    }
    snprintf(to, sizeof(text) - (size_t)(to - text), "}\n");
    write_sample("models/mem/cache.c", text);
}

TEST(Lint, FunctionBudgetIsExactlySeventyLines)
{
    write_good_tree();
    write_function(70);
    EXPECT_EQ(lint(test_tmpdir()), 0);
    write_function(71);
    EXPECT_EQ(lint(test_tmpdir()), 1);
    EXPECT_STRSTR(output, "models/mem/cache.c:4: function-lines: longest has 71 lines; the budget is 70");
}

TEST(Lint, FileBudgetIsExactlySixHundredLines)
{
    write_good_tree();
    write_sample("tools/lint/allow.txt",
                 "function-lines | models/mem/cache.c:longest | 599 | Long by design.\n");
    write_function(600 - 5);
    EXPECT_EQ(lint(test_tmpdir()), 0);
    write_function(600 - 4);
    EXPECT_EQ(lint(test_tmpdir()), 1);
    EXPECT_STRSTR(output, "models/mem/cache.c: file-lines: 601 lines; the budget is 600");
}

TEST(Lint, AnExceptionHoldsUpToItsLimit)
{
    write_good_tree();
    write_sample("tools/lint/allow.txt", "function-lines | models/mem/cache.c:longest | 80 | A test.\n");
    write_function(80);
    EXPECT_EQ(lint(test_tmpdir()), 0);
    write_function(81);
    EXPECT_EQ(lint(test_tmpdir()), 1);
    EXPECT_STRSTR(output, "function-lines");
}

TEST(Lint, BadUsageExitsTwo)
{
    char command[512];
    EXPECT_EQ(lint("/nonexistent"), 2);
    snprintf(command, sizeof(command), "'%s/bin/hvsim-lint'", test_build_dir());
    EXPECT_EQ(test_shell(command, output, sizeof(output)), 2);
    EXPECT_STRSTR(output, "usage:");
}

TEST(Lint, IsContentWithThisTree)
{
    EXPECT_EQ(lint(test_source_dir()), 0);
    if (test_failed()) {
        fputs(output, stderr);
    }
}
