// SPDX-License-Identifier: Apache-2.0
// Loading device models, each time in an OS process that has not run yet.
#include "sim/sim_mmio.h"
#include "tests/shim/shim.h"

#include <stdio.h>
#include <stdlib.h>

static char path[1024];

static const char *device_path(void)
{
    snprintf(path, sizeof path, "%s/lib/timer_device.so", test_build_dir());
    return path;
}

static void load(void *arg)
{
    if (sim_init() != 0) {
        exit(8);
    }
    exit(sim_mmio_load(arg) == 0 ? 0 : 9);
}

static void load_twice(void *arg)
{
    if (sim_init() == 0 && sim_mmio_load(arg) == 0) {
        load(arg);
    }
}

static void load_late(void *arg)
{
    if (sim_init() == 0) {
        sim_run(10);
        load(arg);
    }
}

TEST(MmioLoad, TellsWhatIsWrong)
{
    const struct {
        void (*fn)(void *);
        const char *path;
        int status;
        const char *says;
    } rows[] = {
        {load, device_path(), 0, ""},
        {load, "/no/such.so", 9, "hvsim: device model /no/such.so: "},
        {load, "libm.so.6", 9, "hvsim: device model libm.so.6: does not define hvsim_models()"},
        {load_twice, device_path(), 70, "two device models are named timer"},
        {load_late, device_path(), 70, "are loaded after the first sim_run()"},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[1024];
        test_row("row %u", i);
        EXPECT_EQ(test_exit_status(rows[i].fn, (void *)(uintptr_t)rows[i].path, out, sizeof out),
                  rows[i].status);
        EXPECT_STRSTR(out, rows[i].says);
    }
}
