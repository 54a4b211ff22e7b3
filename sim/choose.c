// SPDX-License-Identifier: Apache-2.0
#include "sim/kernel.h"

static sim_choose_fn choose_fn;
static void *choose_ctx;

void sim_choose_install(sim_choose_fn fn, void *ctx)
{
    choose_fn = fn;
    choose_ctx = fn ? ctx : NULL;
}

bool choose_is_installed(void)
{
    return choose_fn != NULL;
}

unsigned sim_choose(enum sim_site site, unsigned n)
{
    SIM_CHECK(n >= 1, "a choice among nothing (site %d)", (int)site);
    if (n == 1 || !choose_fn) {
        return 0;
    }
    unsigned choice = choose_fn(choose_ctx, site, n);
    SIM_CHECK(choice < n, "the chooser took %u of %u (site %d)", choice, n, (int)site);
    return choice;
}
