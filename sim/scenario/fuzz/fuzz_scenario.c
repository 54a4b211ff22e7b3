// SPDX-License-Identifier: Apache-2.0
// A hostile scenario file: loading it never crashes, and what loads also prints and loads again.
#include "sim/scenario/scenario.h"
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[] = "/tmp/fuzz-scenario-XXXXXX";
    int fd = mkstemp(path);
    struct user_error e;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
    struct scenario *s = scenario_load(path, &e);

    if (s) {
        FILE *out = fopen("/dev/null", "w");

        scenario_print_resolved(s, out);
        fclose(out);
    }
    scenario_free(s);
    unlink(path);
    return 0;
}
