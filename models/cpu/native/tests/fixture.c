// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/native/tests/fixture.h"
#include "models/apic/lapic.h"
#include "models/cpu/x86/x86.h"
#include "models/mem/core.h"
#include <stdio.h>
#include <string.h>

void lapic_accept(struct pcpu *c, uint8_t vector, bool level)
{
    (void)level;
    c->lapic = (struct lapic *)(uintptr_t)vector;
    c->irq_pending = true;
}

uint8_t lapic_ack(struct pcpu *c)
{
    c->irq_pending = false;
    return (uint8_t)(uintptr_t)c->lapic;
}

uint64_t x86_tsc_adjust(const struct pcpu *c)
{
    (void)c;
    return 0;
}

// --- Doors. ---

void hw_test_start_ap(u32 cpu);

void hw_test_start_ap(u32 cpu)
{
    pcpu_send(pcpu_current->machine->cpus[cpu], PCPU_MSG_SIPI, 0, false, pcpu_current->now_ticks);
}

void hw_cli(void)
{
    pcpu_current->irqs_enabled = false;
}

void hw_sti(void)
{
    pcpu_current->irqs_enabled = true;
    pcpu_update_limit(pcpu_current);
    pcpu_checkpoint(pcpu_current);
}

void hw_sti_hlt(void)
{
    pcpu_current->irqs_enabled = true;
    pcpu_halt(pcpu_current);
}

// --- The machine. ---

bool fixture_open(struct fixture *f, const char *source, const char *build, const char *library,
                  uint32_t cpus, char *error, size_t size)
{
    char path[512];

    memset(f, 0, sizeof *f);
    snprintf(path, sizeof path, "%s/models/cpu/uarch/skylake-sp.yaml", source);
    f->uarch = uarch_load(path, error, size);
    snprintf(path, sizeof path, "%s/lib/%s", build, library);
    f->image = f->uarch ? native_image_open(path, f->uarch, error, size) : NULL;
    if (!f->image || sim_init() || mem_arena_create(0, 64 << 20))
        return false;
    f->machine = (struct machine){.cpus = f->cpus,
                                  .cpu_count = cpus,
                                  .host_count = 1,
                                  .uarch = f->uarch,
                                  .image = f->image,
                                  .exact = true,
                                  .end_ticks = TICKS_NEVER};
    for (uint32_t i = 0; i < cpus; i++) {
        struct pcpu *c = f->cpus[i] = &f->cpu[i];

        c->index = i;
        c->machine = &f->machine;
        c->uarch = f->uarch;
        pcpu_set_clock(c);
        c->wake = sim_event_create("wake");
        c->mem = mem_core_create(c);
        c->native = native_state_create(c);
    }
    return true;
}

void fixture_close(struct fixture *f)
{
    for (uint32_t i = 0; i < f->machine.cpu_count; i++) {
        sim_event_destroy(f->cpu[i].wake);
        mem_core_destroy(f->cpu[i].mem);
        native_state_destroy(f->cpu[i].native);
    }
    native_image_close(f->image);
    uarch_free(f->uarch);
    mem_arena_destroy();
}

void fixture_reset(struct fixture *f)
{
    for (uint32_t i = 0; i < f->machine.cpu_count; i++) {
        struct pcpu *c = &f->cpu[i];

        c->now_ticks = c->limit_ticks = c->mode_since_ticks = 0;
        c->mode = PCPU_OFF;
        c->irqs_enabled = c->irq_pending = false;
        c->vectors = NULL;
        c->inbox_count = 0;
        c->next_local_ticks = TICKS_NEVER;
        for (unsigned s = 0; s < PCPU_TIMER_COUNT; s++)
            c->timer_at_ticks[s] = TICKS_NEVER;
        c->native->current = NULL;
        mem_core_reset(c->mem);
    }
    mem_arena_reset();
    f->machine.stopping = false;
}
