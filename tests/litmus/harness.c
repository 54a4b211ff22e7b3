// SPDX-License-Identifier: Apache-2.0
#include "tests/litmus/harness.h"
#include "models/cpu/native/tests/fixture.h"
#include "models/cpu/native/watch.h"
#include "models/mem/core.h"
#include "sim/explore/enumerate.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct litmus *const litmus = (struct litmus *)(HW_ARENA_BASE + LITMUS_HPA);

static struct {
    struct fixture f;
    struct memory *c11;
    struct memory_values values;
    struct enumerate enumerate;
    struct native_watch watch;
    struct sim_process *thread[LITMUS_CPUS], *driver;
    uint32_t count; // Threads
    uint32_t left;  // Bit set: not through yet
    bool granted;   // The thread that was switched to makes an access without another choice.
    bool running;
    // What the driver does.
    const struct litmus_test *test;
    struct litmus_outcomes *outcomes;
    uint64_t executions, until;
} h;

// --- Who goes on. ---

static void run_thread(uint32_t i)
{
    h.granted = true;
    sim_process_hand_over(h.thread[i]);
}

// One of the threads that are not through; `first` is the one that 0 stands for, if it is one of them.
static uint32_t choose_thread(uint32_t first)
{
    uint32_t list[LITMUS_CPUS], count = 0;

    if (h.left >> first & 1)
        list[count++] = first;
    for (uint32_t i = 0; i < h.count; i++)
        if (i != first && (h.left >> i & 1))
            list[count++] = i;
    return list[count > 1 ? sim_choose(SIM_SITE_PREEMPT, count) : 0];
}

static void switch_from(struct pcpu *c, uint32_t to)
{
    mem_store_hide(c);
    run_thread(to);
    pcpu_set_current(c);
    mem_store_show(c);
}

static void point(struct native_watch *w, const struct native_access *a)
{
    struct pcpu *c = pcpu_current;
    bool variable = (uint64_t)(uintptr_t)a->p - (uint64_t)(uintptr_t)litmus->var < sizeof litmus->var;

    (void)w;
    if (!(a->access & PLACE_ATOMIC) && !variable)
        return;
    if (h.f.machine.memory && memory_hopeless(h.c11))
        enumerate_cut(&h.enumerate);
    if (!h.granted) {
        uint32_t next = choose_thread(c->index);

        if (next == c->index)
            return;
        switch_from(c, next);
    }
    h.granted = false;
}

// The door: the thread is through with its program, or has not had one yet; it returns with the next.
void hw_test_next(u32 cpu);

void hw_test_next(u32 cpu)
{
    struct pcpu *c = pcpu_current;

    if (!h.thread[cpu]) {
        h.thread[cpu] = sim_process_self();
        mem_store_hide(c);
        sim_process_park();
    } else {
        h.left &= ~(1u << cpu);
        h.granted = false;
        if (c->mem->stores.mode == MEM_STORES_CHOSEN)
            mem_store_choose(&h.f.machine, h.left == 0);
        mem_store_hide(c);
        if (h.left)
            run_thread(choose_thread(cpu));
        else
            sim_process_hand_over(h.driver);
    }
    pcpu_set_current(c);
    mem_store_show(c);
    if (!h.running)
        native_unwind(c);
    pcpu_update_limit(c);
}

// --- Executions. ---

static void begin_execution(void)
{
    for (uint32_t i = 0; i < LITMUS_VARS; i++)
        litmus->var[i].value = 0;
    memset(litmus->reg, 0, sizeof litmus->reg);
    if (h.f.machine.memory) {
        memory_reset(h.c11);
        for (uint32_t i = 1; i < h.count; i++)
            memory_cpu_starts(h.c11, i, 0);
    }
    h.left = (1u << h.count) - 1;
}

static void add_outcome(const struct litmus_test *t, struct litmus_outcomes *o)
{
    char text[8] = "";
    uint32_t at = 0;

    for (uint32_t i = 0; i < t->observed_count; i++) {
        uint32_t what = t->observed[i];
        u64 value = what < LITMUS_REGS ? litmus->reg[what] : litmus->var[what - LITMUS_REGS].value;

        text[i] = (char)('0' + value % 10);
    }
    while (at < o->count && strcmp(o->text[at], text) < 0)
        at++;
    if (at < o->count && strcmp(o->text[at], text) == 0)
        return;
    if (o->count == sizeof o->text / sizeof *o->text)
        abort();
    memmove(o->text[at + 1], o->text[at], (o->count++ - at) * sizeof *o->text);
    memcpy(o->text[at], text, sizeof text);
}

static void execute(void)
{
    begin_execution();
    pcpu_set_current(NULL);
    run_thread(choose_thread(0));
    h.executions++;
}

static void drive_all(void *arg)
{
    (void)arg;
    h.driver = sim_process_self();
    do {
        execute();
        if (h.outcomes && (!h.f.machine.memory || memory_justified(h.c11)))
            add_outcome(h.test, h.outcomes);
        else if (h.outcomes)
            h.outcomes->discarded++;
    } while (enumerate_next(&h.enumerate));
    pcpu_set_current(NULL);
}

static void set_model(enum litmus_model model)
{
    static const enum mem_store_mode modes[LITMUS_MODEL_COUNT] = {
        [LITMUS_MODEL_TSO] = MEM_STORES_CHOSEN,
        [LITMUS_MODEL_SC] = MEM_STORES_AT_ONCE,
        [LITMUS_MODEL_C11] = MEM_STORES_AT_ONCE,
        [LITMUS_MODEL_C11_LB] = MEM_STORES_AT_ONCE,
    };

    for (uint32_t i = 0; i < LITMUS_CPUS; i++)
        mem_store_set_mode(&h.f.cpu[i], modes[model]);
    h.f.machine.memory = model >= LITMUS_MODEL_C11 ? h.c11 : NULL;
    memory_use_values(h.c11, model == LITMUS_MODEL_C11_LB ? &h.values : NULL);
}

static void enumerate_all(void)
{
    enumerate_begin(&h.enumerate);
    sim_process_start("litmus", LITMUS_CPUS, 64u << 10, drive_all, NULL);
    sim_run(SIM_PS_NEVER);
    enumerate_end();
}

void litmus_run(const struct litmus_test *t, enum litmus_model model, struct litmus_outcomes *o)
{
    memset(o, 0, sizeof *o);
    set_model(model);
    h.test = t;
    h.outcomes = o;
    h.count = t->threads;
    h.executions = 0;
    litmus->program = LITMUS_TABLE;
    memcpy(litmus->thread, t->thread, sizeof t->thread);
    memset(&h.values, 0, sizeof h.values);
    do
        enumerate_all();
    while (model == LITMUS_MODEL_C11_LB && memory_values_renew(&h.values));
    o->executions = h.executions;
}

uint64_t litmus_repeat(enum litmus_program program, enum litmus_model model, uint64_t executions)
{
    set_model(model);
    h.outcomes = NULL;
    h.count = 2;
    h.executions = 0;
    litmus->program = program;
    while (h.executions < executions)
        enumerate_all();
    return h.executions;
}

// --- Beginning and end. ---

bool litmus_open(const char *source, const char *build, char *error, size_t size)
{
    memset(&h, 0, sizeof h);
    h.c11 = memory_create(LITMUS_CPUS);
    if (!h.c11 || !fixture_open(&h.f, source, build, "liblitmus_hv.so", LITMUS_CPUS, error, size))
        return false;
    fixture_reset(&h.f);
    native_boot(&h.f.cpu[0], NULL);
    sim_run(SIM_PS_NEVER); // Until all have parked.
    pcpu_set_current(NULL);
    h.running = true;
    h.watch = (struct native_watch){.rank = NATIVE_WATCH_DECIDES, .point = point};
    native_watch_add(&h.f.machine, &h.watch);
    for (uint32_t i = 0; i < LITMUS_CPUS; i++)
        if (!h.thread[i])
            return false;
    return true;
}

void litmus_close(void)
{
    native_watch_remove(&h.f.machine, &h.watch);
    h.f.machine.memory = NULL;
    h.running = false;
    for (uint32_t i = 0; i < LITMUS_CPUS; i++)
        sim_process_wake(h.thread[i]);
    sim_run(SIM_PS_NEVER);
    pcpu_set_current(NULL);
    native_reset();
    sim_start_over();
    fixture_close(&h.f);
    memory_destroy(h.c11);
}

// --- Text. ---

static const char *const names[] = {
#define LITMUS_OP(id, fn, text) text,
#include "hv/tests/litmus_ops.def"
#undef LITMUS_OP
};

static bool parse_op(char *text, struct litmus_op *o)
{
    char *rest = text, *word = strsep(&rest, " ");
    uint32_t op = 0;

    memset(o, 0, sizeof *o);
    while (op < sizeof names / sizeof *names && strcmp(word, names[op]) != 0)
        op++;
    if (op == sizeof names / sizeof *names)
        return false;
    o->op = op;
    while (rest) {
        word = strsep(&rest, " ");
        bool reads = names[op][0] != 'W';

        if (*word >= 'x' && *word <= 'z' && !word[1])
            o->var = (uint32_t)(*word - 'x');
        else if (*word == 'r' && word[1] >= '1' && word[1] < '0' + (int)LITMUS_REGS && !word[2])
            *(reads ? &o->reg : &o->from) = (uint32_t)(word[1] - '0');
        else if (*word >= '0' && *word <= '9' && !word[1])
            o->value = (u64)(*word - '0');
        else if (*word)
            return false;
    }
    return true;
}

bool litmus_parse(const char *program, const char *observed, struct litmus_test *t, char *error, size_t size)
{
    char text[512], *rest = text, *thread;

    memset(t, 0, sizeof *t);
    snprintf(text, sizeof text, "%s", program);
    while ((thread = strsep(&rest, "|"))) {
        if (!*thread)
            continue;
        struct litmus_thread *to = &t->thread[t->threads++];
        char *op;

        while ((op = strsep(&thread, ";"))) {
            char *end = op + strlen(op);

            while (*op == ' ')
                op++;
            while (end > op && end[-1] == ' ')
                *--end = 0;
            if (t->threads > LITMUS_CPUS || to->count == LITMUS_OPS_MAX ||
                !parse_op(op, &to->op[to->count++])) {
                snprintf(error, size, "`%s` is no operation, or too many", op);
                return false;
            }
        }
    }
    for (; *observed; observed++)
        if (*observed >= 'x' && *observed <= 'z')
            t->observed[t->observed_count++] = LITMUS_REGS + (uint32_t)(*observed - 'x');
        else if (*observed >= '1' && *observed <= '9')
            t->observed[t->observed_count++] = (uint32_t)(*observed - '0');
    return true;
}
