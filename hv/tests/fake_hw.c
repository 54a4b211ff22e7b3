// SPDX-License-Identifier: Apache-2.0
#include "hv/tests/fake_hw.h"

#include "hv/tests/fake_state.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct fake fake;

#define ARENA_BYTES (8ull << 30)
#define STACK_BYTES_MIN (256u << 10)
#define POINTS_MAX 200000000ull
#define BOOTINFO_HPA 0x1000u
#define KNOBS_HPA 0x2000u
#define CONFIG_HPA 0x10000u
#define MEMORY_HPA 0x100000u

static u64 random_u64(void)
{
    // xorshift64*
    fake.random ^= fake.random >> 12;
    fake.random ^= fake.random << 25;
    fake.random ^= fake.random >> 27;
    return fake.random * 0x2545f4914f6cdd1dull;
}

// --- Contexts. ---

static struct fake_context *new_context(const char *name)
{
    assert(fake.context_count < FAKE_CONTEXTS_MAX);
    struct fake_context *x = calloc(1, sizeof(*x));
    fake.contexts[fake.context_count++] = x;
    x->id = fake.context_count;
    x->live = true;
    snprintf(x->name, sizeof(x->name), "%s", name);
    return x;
}

static void context_main(void)
{
    struct fake_context *x = fake.cpu->current;
    x->entry(x->arg);
    fake_stop("a context's entry function returned");
}

static struct fake_context *make_context(const char *name, u64 stack_bytes, void (*entry)(void *), void *arg)
{
    struct fake_context *x = new_context(name);
    x->entry = entry;
    x->arg = arg;
    x->stack_bytes = stack_bytes < STACK_BYTES_MIN ? STACK_BYTES_MIN : stack_bytes;
    x->stack = malloc(x->stack_bytes);
    getcontext(&x->uc);
    x->uc.uc_stack.ss_sp = x->stack;
    x->uc.uc_stack.ss_size = x->stack_bytes;
    x->uc.uc_link = NULL;
    makecontext(&x->uc, context_main, 0);
    return x;
}

void fake_stop(const char *why)
{
    if (why != NULL)
        snprintf(fake.panic, sizeof(fake.panic), "%s", why);
    fake.inside = false;
    setcontext(&fake.main_uc);
    abort();
}

// Another processor goes on; returns when this one's turn has come again (its context then may be on another
// one).
static void give_turn_to(struct fake_cpu *next)
{
    struct fake_context *from = fake.cpu->current;
    if (next == fake.cpu)
        return;
    fake.cpu = next;
    fake.turn_left = fake.config.turn_points;
    swapcontext(&from->uc, &next->current->uc);
}

void hw_context_create(struct hw_context *ctx, const char *name, u64 stack_bytes, void (*entry)(void *arg),
                       void *arg)
{
    ctx->id = make_context(name, stack_bytes, entry, arg)->id;
    fake_point(1);
}

void hw_context_adopt(struct hw_context *ctx, const char *name)
{
    snprintf(fake.cpu->current->name, sizeof(fake.cpu->current->name), "%s", name);
    ctx->id = fake.cpu->current->id;
}

static struct fake_context *context_of(const struct hw_context *ctx)
{
    assert(ctx->id >= 1 && ctx->id <= fake.context_count && fake.contexts[ctx->id - 1]->live);
    return fake.contexts[ctx->id - 1];
}

void hw_switch_to(struct hw_context *prev, struct hw_context *next)
{
    struct fake_context *from = context_of(prev), *to = context_of(next);
    assert(!fake.cpu->irqs && fake.cpu->current == from);
    for (u32 i = 0; i < fake.config.cpus; i++)
        assert(fake.cpus[i].current != to && "a context runs on two processors");
    fake.cpu->current = to;
    swapcontext(&from->uc, &to->uc);
    fake_point(1);
}

void hw_switch_to_and_exit(struct hw_context *prev, struct hw_context *next)
{
    struct fake_context *from = context_of(prev), *to = context_of(next);
    assert(!fake.cpu->irqs && fake.cpu->current == from);
    from->live = false; // Its stack is still ours: freed at the end of the run.
    fake.cpu->current = to;
    setcontext(&to->uc);
    abort();
}

// --- Points: where time passes, interrupts come, and processors take turns. ---

static void fire_timers(void)
{
    if (fake.time < fake.next_deadline)
        return;
    fake.next_deadline = UINT64_MAX;
    for (u32 i = 0; i < fake.config.cpus; i++) {
        struct fake_cpu *c = &fake.cpus[i];
        if (c->deadline == 0)
            continue;
        if (c->deadline <= fake.time) {
            c->deadline = 0;
            fake_raise(i, (unsigned)fake_get_msr(i, FAKE_LVT_TIMER) & 0xff);
        } else if (c->deadline < fake.next_deadline) {
            fake.next_deadline = c->deadline;
        }
    }
}

bool fake_irq_pending(const struct fake_cpu *c)
{
    return (c->irr[0] | c->irr[1] | c->irr[2] | c->irr[3]) != 0;
}

static bool runnable(const struct fake_cpu *c)
{
    return c->started && (!c->halted || c->nmi || fake_irq_pending(c));
}

static struct fake_cpu *other_runnable(bool at_random)
{
    u32 start = fake.cpu->id + 1 + (at_random ? (u32)(random_u64() % fake.config.cpus) : 0);
    for (u32 i = 0; i < fake.config.cpus; i++) {
        struct fake_cpu *c = &fake.cpus[(start + i) % fake.config.cpus];
        if (c != fake.cpu && runnable(c))
            return c;
    }
    return NULL;
}

static void maybe_turn(void)
{
    bool now = fake.config.seed != 0 ? (random_u64() & 15) == 0 : --fake.turn_left == 0;
    if (!now)
        return;
    fake.turn_left = fake.config.turn_points;
    struct fake_cpu *next = other_runnable(fake.config.seed != 0);
    if (next != NULL)
        give_turn_to(next);
}

static void deliver(void)
{
    struct fake_cpu *c = fake.cpu;
    if (c->nmi && !c->in_nmi) {
        bool irqs = c->irqs;
        c->nmi = false;
        c->in_nmi = true;
        c->irqs = false;
        c->vectors->nmi();
        fake.cpu->in_nmi = false;
        fake.cpu->irqs = irqs;
    }
    while (fake.cpu->irqs && fake_irq_pending(fake.cpu)) {
        unsigned vector = (unsigned)fake_acknowledge();
        fake.cpu->irqs = false;
        fake.cpu->vectors->interrupt(vector);
        fake.cpu->irqs = true; // IRET, perhaps on another processor.
    }
}

void fake_quiet(bool quiet)
{
    fake.quiet = quiet;
}

void fake_point(u64 points)
{
    if (!fake.inside || fake.quiet)
        return;
    fake.time += points;
    if (++fake.points > fake.config.points_max)
        fake_stop("the run does not end");
    fire_timers();
    maybe_turn();
    deliver();
}

void fake_pass(u64 points)
{
    for (u64 i = 0; i < points; i++)
        fake_point(1);
}

bool fake_guest_time(u64 points)
{
    for (u64 i = 0; i < points; i++) {
        if (fake_irq_pending(fake.cpu) || fake.cpu->nmi)
            return true;
        fake.time++;
        if (++fake.points > fake.config.points_max)
            fake_stop("the run does not end");
        fire_timers();
        maybe_turn();
    }
    return fake_irq_pending(fake.cpu) || fake.cpu->nmi;
}

// The hook of -fsanitize-coverage=trace-pc.
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
    fake_point(1);
}

void hw_sti_hlt(void)
{
    fake.cpu->irqs = true;
    while (!fake_irq_pending(fake.cpu) && !fake.cpu->nmi) {
        fake.cpu->halted = true;
        struct fake_cpu *next = other_runnable(fake.config.seed != 0);
        if (next != NULL) {
            give_turn_to(next);
        } else {
            // All sleep: time jumps to the next timer.
            if (fake.next_deadline == UINT64_MAX)
                fake_stop("deadlock: all processors are halted and no timer is armed");
            fake.time = fake.next_deadline > fake.time ? fake.next_deadline : fake.time;
            fire_timers();
        }
    }
    fake.cpu->halted = false;
    deliver();
}

void fake_raise(u32 cpu, unsigned vector)
{
    fake.cpus[cpu].irr[vector / 64] |= 1ull << (vector % 64);
}

int fake_acknowledge(void)
{
    for (int i = 3; i >= 0; i--) {
        u64 *word = &fake.cpu->irr[i];
        if (*word == 0)
            continue;
        unsigned vector = (unsigned)i * 64 + 63 - (unsigned)__builtin_clzll(*word);
        *word &= ~(1ull << (vector % 64));
        fake.delivered[vector]++;
        return (int)vector;
    }
    return -1;
}

// --- A run. ---

static void boot_body(void *arg)
{
    hv_boot_entry(arg);
    fake_stop("hv_boot() returned");
}

static void ap_body(void *arg)
{
    fake.cpu->vectors->ap_entry((u64)arg);
    fake_stop("ap_entry() returned");
}

void fake_start_ap(u32 cpu)
{
    struct fake_cpu *c = &fake.cpus[cpu];
    if (c->started)
        return;
    c->vectors = fake.cpus[0].vectors;
    c->current = make_context("ap", STACK_BYTES_MIN, ap_body, (void *)c->vectors->ap_argument);
    c->irqs = false;
    c->halted = false;
    c->started = true;
}

static void map_arena(void)
{
    if (fake.arena_mapped) {
        madvise((void *)HW_ARENA_BASE, ARENA_BYTES, MADV_DONTNEED);
        return;
    }
    void *p = mmap((void *)HW_ARENA_BASE, ARENA_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (p != (void *)HW_ARENA_BASE) {
        perror("the arena's address range is taken");
        abort();
    }
    fake.arena_mapped = true;
}

static const struct hw_bootinfo *write_bootinfo(void)
{
    struct hw_bootinfo *info = (void *)(HW_ARENA_BASE + BOOTINFO_HPA);
    struct knobs *knobs = (void *)(HW_ARENA_BASE + KNOBS_HPA);
    info->direct_map_base = HW_ARENA_BASE;
    info->tsc_khz = FAKE_TSC_KHZ;
    info->cpu_count = fake.config.cpus;
    info->range_count = 1;
    info->ranges[0].start = MEMORY_HPA;
    info->ranges[0].size = fake.config.memory_bytes;
    knobs_defaults(knobs);
    if (fake.config.knobs != NULL)
        *knobs = *fake.config.knobs;
    info->knobs = (u64)knobs;
    info->knobs_bytes = sizeof(*knobs);
    info->vmm_config = HW_ARENA_BASE + CONFIG_HPA;
    info->vmm_config_bytes = fake.config.vmm_config_bytes;
    if (fake.config.vmm_config != NULL)
        memcpy((void *)info->vmm_config, fake.config.vmm_config, fake.config.vmm_config_bytes);
    return info;
}

static void reset(const struct fake_config *config)
{
    bool mapped = fake.arena_mapped;
    free(fake.events);
    memset(&fake, 0, sizeof(fake));
    fake.arena_mapped = mapped;
    fake.config = *config;
    if (fake.config.memory_bytes == 0)
        fake.config.memory_bytes = 64ull << 20;
    if (fake.config.turn_points == 0)
        fake.config.turn_points = 50;
    if (fake.config.points_max == 0)
        fake.config.points_max = POINTS_MAX;
    assert(fake.config.cpus >= 1 && fake.config.cpus <= FAKE_CPUS_MAX);
    assert(fake.config.memory_bytes + MEMORY_HPA <= ARENA_BYTES);
    fake.random = config->seed * 2 + 1;
    fake.turn_left = fake.config.turn_points;
    fake.next_deadline = UINT64_MAX;
    fake.time = 1000;
    for (u32 i = 0; i < FAKE_CPUS_MAX; i++) {
        fake.cpus[i].id = i;
        fake_default_msrs(&fake.cpus[i]);
    }
    map_arena();
}

// The init thread's code, in place of hv/vmm's.
void vmm_main(void *config);
void vmm_main(void *config)
{
    (void)config;
    fake.body(fake.body_arg);
    fake_stop(NULL);
}

int fake_run(const struct fake_config *config, void (*body)(void *), void *arg)
{
    volatile bool again = false;
    reset(config);
    fake.body = body;
    fake.body_arg = arg;
    getcontext(&fake.main_uc);
    if (!again) {
        again = true;
        struct fake_cpu *boot = &fake.cpus[0];
        boot->current = make_context("boot", STACK_BYTES_MIN, boot_body, (void *)(u64)write_bootinfo());
        boot->started = true;
        fake.cpu = boot;
        fake.inside = true;
        setcontext(&boot->current->uc);
    }
    for (u32 i = 0; i < fake.context_count; i++) {
        free(fake.contexts[i]->stack);
        free(fake.contexts[i]);
    }
    fake.context_count = 0;
    return fake.panic[0] == 0 ? 0 : 70;
}

u64 fake_seeds(u64 usual)
{
    const char *text = getenv("HVSIM_TEST_SEEDS");
    return text == NULL ? usual : strtoull(text, NULL, 10);
}

const char *fake_panic(void)
{
    return fake.panic;
}
u64 fake_time(void)
{
    return fake.time;
}
u32 fake_cpu(void)
{
    return fake.cpu->id;
}
u64 fake_delivered(unsigned vector)
{
    return fake.delivered[vector];
}
