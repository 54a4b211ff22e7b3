// SPDX-License-Identifier: Apache-2.0
// MONITOR's line: told of by the requests for ownership that stores of other cores make (core.c,
// store_buffer.c).
#include "models/mem/core.h"

void mem_monitor_arm(struct pcpu *c, uint64_t hpa, void (*hit)(struct pcpu *c, uint64_t at_ticks))
{
    c->mem->monitor = (hpa >> MEM_LINE_SHIFT) + 1;
    c->mem->monitor_hit = hit;
}

void mem_monitor_disarm(struct pcpu *c)
{
    c->mem->monitor = 0;
}

bool mem_monitor_armed(const struct pcpu *c)
{
    return c->mem->monitor != 0;
}

void mem_line_stored(struct mem_core *m, uint64_t line, uint64_t at_ticks)
{
    const struct machine *machine = m->cpu->machine;

    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        struct pcpu *other = machine->cpus[i];

        if (other->mem->monitor != line + 1 || other == m->cpu || other->host != m->cpu->host)
            continue;
        other->mem->monitor = 0;
        other->mem->monitor_hit(other, at_ticks);
    }
}
