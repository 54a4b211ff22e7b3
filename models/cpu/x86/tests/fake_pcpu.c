// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/tests/fake_pcpu.h"

#include "models/apic/lapic.h"
#include "models/cpu/native/native.h"
#include "models/cpu/x86/trace_port.h"
#include "models/mem/core.h"
#include "models/mem/mem.h"
#include "models/timer/tsc.h"
#include "tests/shim/shim.h"
#include "traces/trace.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench bench;
struct pcpu *pcpu_current, *pcpu_hooked;
uint64_t bench_access_ticks;
static struct mem_core cores[4]; // Empty first-level caches, for guest_fast.h
unsigned bench_violations;
char bench_violation[64];
struct hw_gprs bench_gprs;

static struct uarch *loaded;
static uint32_t sequence;

// --- Fakes of pcpu.h. ---

static void update_next(struct pcpu *c)
{
    uint64_t next = c->inbox_count ? c->inbox[0].at_ticks : TICKS_NEVER;

    for (unsigned s = 0; s < PCPU_TIMER_COUNT; s++)
        if (c->timer_at_ticks[s] < next)
            next = c->timer_at_ticks[s];
    c->next_local_ticks = next;
}

void pcpu_update_limit(struct pcpu *c)
{
    c->limit_ticks = c->next_local_ticks;
}

void pcpu_show(struct pcpu *c)
{
    (void)c;
}

void pcpu_timer_arm(struct pcpu *c, enum pcpu_timer_slot slot, uint64_t at_ticks, pcpu_timer_fn fn)
{
    c->timer_at_ticks[slot] = at_ticks;
    c->timer_fn[slot] = fn;
    update_next(c);
    pcpu_update_limit(c);
}

void pcpu_timer_disarm(struct pcpu *c, enum pcpu_timer_slot slot)
{
    pcpu_timer_arm(c, slot, TICKS_NEVER, NULL);
}

void pcpu_send(struct pcpu *to, enum pcpu_message_kind kind, uint8_t vector, bool level, uint64_t at_ticks)
{
    uint32_t at = to->inbox_count++;

    for (; at > 0 && to->inbox[at - 1].at_ticks > at_ticks; at--)
        to->inbox[at] = to->inbox[at - 1];
    to->inbox[at] = (struct pcpu_message){at_ticks, (uint8_t)kind, vector, level, ++sequence};
    update_next(to);
    pcpu_update_limit(to);
}

static void deliver(struct pcpu *c, struct pcpu_message m)
{
    if (m.kind == PCPU_MSG_FIXED) {
        lapic_accept(c, m.vector, m.level);
    } else if (m.kind == PCPU_MSG_NMI) {
        c->nmi_pending = true;
    } else if (m.kind == PCPU_MSG_INIT) {
        c->init_pending = true;
    } else if (m.kind == PCPU_MSG_SIPI && c->mode == PCPU_GUEST) {
        c->sipi_pending = true;
        c->sipi_vector = m.vector;
    }
}

static bool deliver_due(struct pcpu *c)
{
    if (c->next_local_ticks > c->now_ticks)
        return false;
    if (c->inbox_count && c->inbox[0].at_ticks == c->next_local_ticks) {
        struct pcpu_message m = c->inbox[0];

        memmove(c->inbox, c->inbox + 1, --c->inbox_count * sizeof m);
        update_next(c);
        deliver(c, m);
        return true;
    }
    for (unsigned s = 0; s < PCPU_TIMER_COUNT; s++) {
        pcpu_timer_fn fn = c->timer_fn[s];

        if (c->timer_at_ticks[s] != c->next_local_ticks)
            continue;
        c->timer_at_ticks[s] = TICKS_NEVER;
        update_next(c);
        fn(c);
        return true;
    }
    return false;
}

void pcpu_slow_path(struct pcpu *c, bool take_interrupts)
{
    (void)take_interrupts;
    while (deliver_due(c))
        ;
    pcpu_update_limit(c);
}

void pcpu_pass_time(struct pcpu *c, uint64_t until_ticks)
{
    if (until_ticks == TICKS_NEVER && c->next_local_ticks == TICKS_NEVER) {
        fprintf(stderr, "bench: the guest waits and nothing can ever come\n");
        abort();
    }
    if (c->now_ticks < until_ticks)
        c->now_ticks = c->next_local_ticks < until_ticks
                           ? (c->next_local_ticks > c->now_ticks ? c->next_local_ticks : c->now_ticks)
                           : until_ticks;
    deliver_due(c);
    pcpu_update_limit(c);
}

void pcpu_halt(struct pcpu *c)
{
    while (!c->irq_pending && c->next_local_ticks != TICKS_NEVER)
        pcpu_pass_time(c, TICKS_NEVER);
}

void pcpu_set_mode(struct pcpu *c, enum pcpu_mode mode)
{
    c->mode = mode;
}

uint64_t pcpu_ticks_to_ps(const struct pcpu *c, uint64_t ticks)
{
    return clock_from_ticks(ticks, 1000000000, c->uarch->clock.core_khz);
}

uint64_t pcpu_ps_to_ticks(const struct pcpu *c, uint64_t ps)
{
    return clock_to_ticks(ps, 1000000000, c->uarch->clock.core_khz);
}

uint64_t pcpu_tsc(const struct pcpu *c)
{
    return tsc_from_ticks(c->now_ticks, c->uarch->clock.core_khz, c->uarch->clock.tsc_khz) +
           x86_tsc_adjust(c);
}

uint64_t pcpu_tsc_to_ticks(const struct pcpu *c, uint64_t tsc)
{
    uint64_t adjust = x86_tsc_adjust(c);

    return tsc_to_ticks(tsc > adjust ? tsc - adjust : 0, c->uarch->clock.core_khz, c->uarch->clock.tsc_khz);
}

void pcpu_wake(struct pcpu *c, uint64_t at_ticks)
{
    (void)c, (void)at_ticks;
}

// --- Fakes of mem.h. ---

void *mem_hpa_to_ptr(const struct pcpu *c, uint64_t hpa, uint64_t size_bytes)
{
    (void)c;
    return hpa < BENCH_MEMORY_BYTES && size_bytes <= BENCH_MEMORY_BYTES - hpa ? bench.memory + hpa : NULL;
}

uint64_t mem_arena_bytes(unsigned host)
{
    return host == 0 ? BENCH_MEMORY_BYTES : 0;
}

void mem_arena_untouched(unsigned host, uint64_t hpa, uint32_t pages, uint64_t untouched[8])
{
    (void)host, (void)hpa, (void)pages;
    memset(untouched, 0, 64);
}

uint64_t native_pointer_hpa(struct pcpu *c, const void *p)
{
    (void)c;
    return (uint64_t)((const unsigned char *)p - bench.memory);
}

void mem_access(struct pcpu *c, uint64_t hpa, unsigned size_bytes, enum mem_access_kind kind)
{
    (void)hpa, (void)size_bytes, (void)kind;
    c->now_ticks += bench_access_ticks;
}

uint64_t mem_read64(struct pcpu *c, uint64_t hpa)
{
    mem_access(c, hpa, 8, MEM_WALK);
    return bench_get64(hpa);
}

void mem_write64(struct pcpu *c, uint64_t hpa, uint64_t value, bool locked)
{
    (void)locked;
    mem_access(c, hpa, 8, MEM_RMW);
    bench_set64(hpa, value);
}

void mem_store_begin(struct pcpu *c, void *p, unsigned size_bytes)
{
    (void)p, (void)size_bytes;
    c->now_ticks += bench_access_ticks;
}

void mem_store_drain(struct pcpu *c)
{
    (void)c;
}

void mem_store_before_guest(struct pcpu *c)
{
    (void)c;
}

uint64_t mem_next_drain_ticks(void)
{
    return TICKS_NEVER;
}

// --- Fakes of models/mem/core.h: what accesses call that do not hit the first-level cache. ---

uint32_t mem_line_load_miss(struct mem_core *m, uint64_t line)
{
    (void)m, (void)line;
    return (uint32_t)bench_access_ticks;
}

uint32_t mem_fetch_miss(struct mem_core *m, uint64_t line)
{
    (void)m, (void)line;
    return 0;
}

uint64_t mem_time_guest_store(struct pcpu *c, uint64_t hpa, unsigned size_bytes)
{
    (void)hpa, (void)size_bytes;
    return c->now_ticks;
}

void mem_store_push(struct pcpu *c, void *p, unsigned size_bytes, uint64_t drain_ticks)
{
    (void)c, (void)p, (void)size_bytes, (void)drain_ticks;
}

// --- Fakes of native.h and traces. ---

uint32_t native_context_thread(const struct pcpu *c)
{
    (void)c;
    return 1;
}

void native_context_times(struct pcpu *c, uint64_t *kernel, uint64_t *user, uint64_t *off)
{
    *kernel = c->now_ticks;
    *user = *off = 0;
}

// Records go nowhere; a violation's texts are seen on their way.
bool trace_ring_next(struct trace *t, size_t size)
{
    struct trace_ring *ring = (struct trace_ring *)t;
    static uint64_t block[TRACE_RECORD_MAX / 8];

    ring->pos = (unsigned char *)block;
    ring->end = ring->pos + sizeof block;
    return size <= sizeof block;
}

uint32_t trace_text(struct trace *t, const char *text)
{
    static const char *const known[] = {"await never satisfied",
                                        "VMCS is active on another processor",
                                        "VMX abort",
                                        "guest RIP is outside of its program",
                                        "guest program loops without an event",
                                        "guest handlers are nested too deeply",
                                        "guest program: on purpose",
                                        "no guest program at this IDTR base"};

    (void)t;
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(text, known[i]) || (i == 0 && !strncmp(text, "not modelled: ", 14))) {
            bench_violations++;
            snprintf(bench_violation, sizeof bench_violation, "%s", text);
        }
    return 1;
}

// --- The bench. ---

static struct trace_ring fake_trace;

bool bench_load(const char *uarch)
{
    char path[512], error[512] = "";

    snprintf(path, sizeof path, "%s/models/cpu/uarch/%s.yaml", test_source_dir(), uarch);
    uarch_free(loaded);
    loaded = uarch_load(path, error, sizeof error);
    if (!loaded) {
        TEST_FAIL("%s", error);
        return false;
    }
    bench.uarch = *loaded;
    return true;
}

void bench_start(unsigned count)
{
    struct uarch uarch = bench.uarch;

    memset(&bench, 0, sizeof bench);
    bench.uarch = uarch;
    bench.memory = calloc(1, BENCH_MEMORY_BYTES);
    bench.machine.cpus = bench.cpu_list;
    bench.machine.cpu_count = count;
    bench.machine.uarch = &bench.uarch;
    memset(&fake_trace, 0, sizeof fake_trace);
    for (unsigned i = 0; i < count; i++) {
        struct pcpu *c = bench.cpu_list[i] = &bench.cpus[i];

        c->index = i;
        c->mode = PCPU_KERNEL;
        c->machine = &bench.machine;
        c->uarch = &bench.uarch;
        c->trace = (struct trace *)&fake_trace;
        c->mem = &cores[i];
        EXPECT_EQ(l1_init(&cores[i].l1, 4096, 4, 64), 0);
        for (unsigned s = 0; s < PCPU_TIMER_COUNT; s++)
            c->timer_at_ticks[s] = TICKS_NEVER;
        update_next(c);
        lapic_create(c);
        x86_create(c);
        pcpu_update_limit(c);
    }
    pcpu_set_current(&bench.cpus[0]);
    bench_access_ticks = 0;
    bench_violations = 0;
    bench_violation[0] = 0;
    memset(&bench_gprs, 0, sizeof bench_gprs);
}

void bench_end(void)
{
    for (unsigned i = 0; i < bench.machine.cpu_count; i++) {
        x86_destroy(bench.cpus[i].x86);
        lapic_destroy(bench.cpus[i].lapic);
        l1_destroy(&cores[i].l1);
    }
    replay_forget(&bench.machine);
    trace_port_destroy(&bench.machine);
    free(bench.memory);
    bench.memory = NULL;
    pcpu_set_current(NULL);
    uarch_free(loaded);
    loaded = NULL;
}

uint64_t bench_get64(uint64_t hpa)
{
    uint64_t value;

    memcpy(&value, bench.memory + hpa, 8);
    return value;
}

void bench_set64(uint64_t hpa, uint64_t value)
{
    memcpy(bench.memory + hpa, &value, 8);
}
