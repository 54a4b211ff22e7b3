// SPDX-License-Identifier: Apache-2.0
#include "scenarios/guests/native/guest.h"

enum { PORT, COUNT, PERIOD };

static const struct guest_arg args[] = {
    [PORT] = {"port", "to which it writes a byte", 0x3f8, 0, 0xffff, GUEST_NUMBER},
    [COUNT] = {"count", "how often", 1000, 1, UINT64_MAX, GUEST_NUMBER},
    [PERIOD] = {"period", "from one write to the next", 10000, 0, 1000000000, GUEST_TIME},
};

static void run(const struct guest_env *env, const uint64_t *arg)
{
    uint64_t due = guest_rdtsc();

    (void)env;
    for (uint64_t i = 0; i < arg[COUNT]; i++) {
        guest_out((uint16_t)arg[PORT], 1, (uint32_t)i & 0xff);
        due += arg[PERIOD];
        guest_work_until(due);
    }
}

GUEST_PROGRAM("Writes to a port once per period: an exit each time.", args, run);
