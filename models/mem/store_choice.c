// SPDX-License-Identifier: Apache-2.0
// x86-TSO without time: which processor's oldest store becomes visible next.
#include "models/mem/core.h"

#define CHOICES_MAX 64u // Processors whose stores can be chosen among

void mem_store_choose(struct machine *machine, bool all)
{
    for (;;) {
        struct pcpu *with[CHOICES_MAX];
        uint32_t count = 0;

        for (uint32_t i = 0; i < machine->cpu_count && count < CHOICES_MAX; i++)
            if (mem_store_waits(machine->cpus[i]))
                with[count++] = machine->cpus[i];
        if (!count)
            return;
        uint32_t choice = sim_choose(SIM_SITE_STORE_DRAIN, all ? count : count + 1);

        if (!all && choice-- == 0)
            return;
        mem_store_show_oldest(with[choice], pcpu_current);
    }
}
