// SPDX-License-Identifier: Apache-2.0
// hvsim explore: searches interleavings of a scenario's variant, shrinks the first failing one to a schedule.
#include "models/cpu/uarch/uarch.h"
#include "models/cpu/x86/trace_port.h"
#include "sim/explore/explore.h"
#include "sim/machine/guests.h"
#include "sim/rewind/rewind.h"
#include "sim/scenario/quantity.h"
#include "tools/hvsim/command.h"
#include "tools/hvsim/knob_option.h"
#include "tools/hvsim/report.h"
#include "tools/hvsim/watch.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    OPT_VARIANT,
    OPT_STRATEGY,
    OPT_BUDGET,
    OPT_DEPTH,
    OPT_SEED,
    OPT_FROM,
    OPT_UNTIL,
    OPT_OUTPUT,
    OPT_KNOB,
    OPT_KEEP_GOING,
    OPT_MEMORY,
    OPT_HV,
    OPT_JSON
};
static const struct option_row options[] = {
    [OPT_VARIANT] = {"--variant", "NAME", "the variant to search (needed if the scenario has several)"},
    [OPT_STRATEGY] =
        {"--strategy", "NAME",
         "reverse, interrupt, pct, random, delay, dfs or jitter (default: the scenario's, else pct)"},
    [OPT_BUDGET] = {"--budget", "N", "executions at most (default: the scenario's)"},
    [OPT_DEPTH] = {"--depth", "N",
                   "pct: orders that the bug needs; delay: delays (default: the scenario's, else 3)"},
    [OPT_SEED] = {"--seed", "N", "what random choices start from (default 0)"},
    [OPT_FROM] = {"--from", "TIME",
                  "simulated time from which orders are searched (default: the scenario's)"},
    [OPT_UNTIL] = {"--until", "TIME",
                   "and at which an execution ends and is judged (default: the scenario's)"},
    [OPT_OUTPUT] = {"-o", "FILE", "where the schedule of the failure goes (default SCENARIO-VARIANT.sched)"},
    [OPT_KNOB] = {"--knob", "NAME=VALUE",
                  "a switch of the hypervisor core, on top of the variant's; repeatable"},
    [OPT_KEEP_GOING] = {"--keep-going", NULL, "search on after a failure, and count them"},
    [OPT_MEMORY] = {"--memory", "MODEL", "tso, sc or c11 (default: the scenario's)"},
    [OPT_HV] = {"--hv", "LIB", "another build of the hypervisor core (default: the libhv.so of this build)"},
    [OPT_JSON] = {"--json", NULL, "one JSON object on stdout"},
};
static const struct usage usage = {
    .synopsis = "explore SCENARIO [options]",
    .about =
        "Runs one variant again and again, each time with another order of the processors' accesses, until "
        "what\n"
        "the scenario expects fails, something is violated, or nothing can go on. The failing order is "
        "shrunk\n"
        "and written as a schedule that `hvsim run --schedule` reproduces. Status 1: a failure was found.",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  hvsim explore scenarios/races/make-request.yaml --variant none -o lost.sched\n"
                "  hvsim run scenarios/races/make-request.yaml --variant none --schedule lost.sched\n"};

struct arguments {
    const char *path, *variant, *output, *hv;
    enum strategy_kind strategy;
    uint64_t budget, depth, seed;
    enum memory_kind memory; // MEMORY_KIND_COUNT: what the scenario says
    struct knob_options knobs;
    uint64_t from_ns, until_ns;
    bool from_given, keep_going, json;
};

// --- Arguments. ---

static int take_strategy(struct arguments *a, const char *value)
{
    const char *names[STRATEGY_COUNT];

    for (unsigned i = 0; i < STRATEGY_COUNT; i++) {
        names[i] = strategy_name((enum strategy_kind)i);
        if (strcmp(value, names[i]) == 0) {
            a->strategy = (enum strategy_kind)i;
            return 0;
        }
    }
    const char *near = nearest_word(value, names, STRATEGY_COUNT);

    return complain("--strategy: there is no `%s`; %s%s`%s`", value, near ? "did you mean " : "one is ", "",
                    near ? near : names[0]);
}

static int time_option(const char *option, const char *value, uint64_t *ns)
{
    return quantity_ns(value, ns) ? 0 : complain("%s wants a time such as 2ms, got `%s`", option, value);
}

static int take_option(void *ctx, int option, const char *value)
{
    struct arguments *a = ctx;

    switch (option) {
    case OPTION_WORD:
        if (a->path)
            return complain("explore: one scenario at a time; `%s` is a second", value);
        a->path = value;
        return 0;
    case OPT_VARIANT:
        a->variant = value;
        return 0;
    case OPT_STRATEGY:
        return take_strategy(a, value);
    case OPT_BUDGET:
        return number_option("--budget", value, 1, UINT64_MAX, &a->budget);
    case OPT_DEPTH:
        return number_option("--depth", value, 1, 16, &a->depth);
    case OPT_SEED:
        return number_option("--seed", value, 0, UINT64_MAX, &a->seed);
    case OPT_FROM:
        a->from_given = true;
        return time_option("--from", value, &a->from_ns);
    case OPT_UNTIL:
        return time_option("--until", value, &a->until_ns);
    case OPT_OUTPUT:
        a->output = value;
        return 0;
    case OPT_KNOB:
        return knob_option(&a->knobs, value);
    case OPT_KEEP_GOING:
        a->keep_going = true;
        return 0;
    case OPT_MEMORY:
        return memory_option(value, &a->memory);
    case OPT_HV:
        a->hv = value;
        return 0;
    default:
        a->json = true;
        return 0;
    }
}

// --- The oracle: what `hvsim run` would say of the execution. ---

struct search {
    const struct arguments *a;
    const struct scenario *scenario;
    const struct scenario_variant *variant;
    struct sim_machine *machine;
    struct machine_run *run;
    struct trace *trace;
    struct explore *explore;
    struct timespec begun, shown;
};

static bool first_violation(void *ctx, const struct trace_row *row)
{
    snprintf(ctx, EXPLORE_REASON_BYTES, "violation: %s (%s)", row->values[0].text ? row->values[0].text : "",
             row->values[1].text ? row->values[1].text : "");
    return false;
}

// True with the reason if the run failed.
static bool failed(struct search *s, enum machine_end end, char *reason)
{
    struct trace_error error;
    struct user_error e;

    *reason = 0;
    trace_port_end((struct machine *)(uintptr_t)machine_hardware(s->machine));
    if (trace_flush(s->trace, &error) != TRACE_OK)
        return snprintf(reason, EXPLORE_REASON_BYTES, "trace: %s", error.message) > 0;
    struct trace_reader *r = trace_reader_of(s->trace, &error);

    if (!r || trace_reader_scope(r, s->run->run_id, &error) != TRACE_OK)
        return snprintf(reason, EXPLORE_REASON_BYTES, "trace: %s", error.message) > 0;
    trace_query(r, "SELECT kind, detail FROM violations ORDER BY cycle LIMIT 1", first_violation, reason,
                &error);
    for (uint32_t i = 0; !*reason && i < s->scenario->expect_count; i++) {
        const struct scenario_expect *x = &s->scenario->expects[i];
        struct judged j;

        if (!report_applies(s->scenario, x, s->variant))
            continue;
        if (report_judge(r, s->scenario, x, &j, &e))
            snprintf(reason, EXPLORE_REASON_BYTES, "%.390s", e.text);
        else if (!j.pass)
            snprintf(reason, EXPLORE_REASON_BYTES, "expected: %.200s", x->about);
    }
    if (!*reason && end == MACHINE_IDLE)
        snprintf(reason, EXPLORE_REASON_BYTES,
                 "nothing can ever happen again although guests are not done: a lost "
                 "wake-up or deadlock");
    trace_reader_close(r);
    return *reason != 0;
}

static void on_end(void *ctx, enum machine_end end)
{
    struct search *s = ctx;
    char reason[EXPLORE_REASON_BYTES];

    if (explore_in_execution(s->explore))
        explore_judged(s->explore, failed(s, end, reason) ? reason : NULL);
}

// Tables that the scenario's queries read are stored; the others would only cost time.
static uint32_t tables_read(const struct scenario *s)
{
    static const struct {
        const char *name;
        uint32_t category;
    } tables[] = {
        {"exits", TRACE_EXITS},       {"events", TRACE_EVENTS},     {"calls", TRACE_CALLS},
        {"spans", TRACE_SPANS},       {"irqs", TRACE_IRQS},         {"walk", TRACE_WALKS},
        {"locks", TRACE_LOCKS},       {"counters", TRACE_COUNTERS}, {"dirty", TRACE_DIRTY},
        {"migrations", TRACE_EVENTS},
    };
    uint32_t store = TRACE_VIOLATIONS;

    for (uint32_t i = 0; i < s->expect_count; i++)
        for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
            if (s->expects[i].sql && strstr(s->expects[i].sql, tables[t].name))
                store |= tables[t].category;
    return store;
}

// --- Telling. ---

static uint64_t milliseconds_since(const struct timespec *then)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)(now.tv_sec - then->tv_sec) * 1000 + (uint64_t)(now.tv_nsec / 1000000) -
           (uint64_t)(then->tv_nsec / 1000000);
}

static bool progress(void *ctx, const struct explore *x)
{
    struct search *s = ctx;
    struct explore_counts n = explore_counts(x);
    uint64_t ms = milliseconds_since(&s->begun);

    if (n.executions % 64 == 0 && isatty(STDERR_FILENO) && milliseconds_since(&s->shown) > 200) {
        clock_gettime(CLOCK_MONOTONIC, &s->shown);
        fprintf(stderr,
                "\r%" PRIu64 " executions, %" PRIu64 " a second, %" PRIu64
                " orders, %u access pairs, %u shared words ",
                n.executions, ms ? n.executions * 1000 / ms : 0, n.distinct, n.pairs, n.shared);
        fflush(stderr);
    }
    return !watch_interrupted();
}

static int write_schedule(struct search *s, const char *path)
{
    bool reproduced;
    uint32_t count = explore_steps(s->explore, &reproduced);
    FILE *out = fopen(path, "w");

    if (!out)
        return complain("%s: cannot be written: %m", path);
    fprintf(out, "# %s\n", explore_failure(s->explore));
    fprintf(out, "scenario: %s\nvariant: %s\nmemory: %s\nfrom %" PRIu64 "ns\n", s->scenario->name,
            s->variant->name, memory_kind_names[s->scenario->memory], s->a->from_ns);
    for (uint32_t i = 0; i < count; i++)
        fprintf(out, "%s\n", explore_step(s->explore, i));
    if (fclose(out))
        return complain("%s: cannot be written: %m", path);
    return STATUS_OK;
}

static void tell_json(const struct search *s, uint64_t ms, const char *path)
{
    struct explore_counts n = explore_counts(s->explore);
    char established[300];
    bool reproduced;
    uint32_t steps = explore_steps(s->explore, &reproduced);

    explore_established(s->explore, established, sizeof established);
    printf("{\"scenario\": ");
    report_json_text(s->scenario->name);
    printf(", \"variant\": ");
    report_json_text(s->variant->name);
    printf(", \"strategy\": \"%s\", \"seed\": %" PRIu64 ", \"memory\": \"%s\",\n \"executions\": %" PRIu64
           ", \"shrinking\": %" PRIu64 ", \"milliseconds\": %" PRIu64 ", \"orders\": %" PRIu64
           ", \"shared_words\": %u, \"access_pairs\": %u, \"failed\": %" PRIu64 ",\n \"bound\": ",
           strategy_name(s->a->strategy), s->a->seed, memory_kind_names[s->scenario->memory], n.executions,
           n.shrinking, ms, n.distinct, n.shared, n.pairs, n.failed);
    report_json_text(established);
    if (explore_failure(s->explore)) {
        printf(",\n \"found\": ");
        report_json_text(explore_failure(s->explore));
        printf(", \"schedule\": ");
        report_json_text(path);
        printf(", \"reproduced\": %s, \"steps\": [", reproduced ? "true" : "false");
        for (uint32_t i = 0; i < steps; i++) {
            printf(i ? ", " : "");
            report_json_text(explore_step(s->explore, i));
        }
        printf("]");
    }
    printf("}\n");
}

static void tell(struct search *s, uint64_t ms, const char *path)
{
    struct explore_counts n = explore_counts(s->explore);
    char established[300];
    bool reproduced;

    if (s->a->json) {
        tell_json(s, ms, path);
        return;
    }
    explore_established(s->explore, established, sizeof established);
    printf("%s, variant %s, strategy %s, seed %" PRIu64 "\n", s->scenario->name, s->variant->name,
           strategy_name(s->a->strategy), s->a->seed);
    printf("  executions  %" PRIu64 " in %" PRIu64 ".%03" PRIu64 " s (%" PRIu64 " a second), %" PRIu64
           " to shrink\n",
           n.executions, ms / 1000, ms % 1000, ms ? (n.executions + n.shrinking) * 1000 / ms : 0,
           n.shrinking);
    printf("  covered     %" PRIu64 " different orders; %u words shared; %u ordered pairs of accesses\n",
           n.distinct, n.shared, n.pairs);
    printf("  bound       %s\n", established);
    if (!explore_failure(s->explore)) {
        puts("  found       nothing");
        return;
    }
    printf("  found       %s (%" PRIu64 " of the executions)\n", explore_failure(s->explore), n.failed);
    uint32_t steps = explore_steps(s->explore, &reproduced);

    for (uint32_t i = 0; i < steps; i++)
        printf("    %s\n", explore_step(s->explore, i));
    printf("  schedule    %s%s\n", path,
           reproduced ? "" : " (its steps alone do NOT reproduce the failure: too many orders matter)");
}

// --- Running. ---

static int explore_with(struct search *s, struct user_error *e)
{
    const struct arguments *a = s->a;
    char error[300];
    struct places *places = places_open(machine_image(s->machine), error, sizeof error);

    if (!places)
        return complain("%s", error);
    const struct explore_options o = {
        .strategy = {.kind = a->strategy, .seed = a->seed, .depth = (uint32_t)a->depth, .parts = 1},
        .budget = a->budget,
        .from_ps = a->from_ns * 1000,
        .places = places,
        .keep_going = a->keep_going,
        .progress = progress,
        .ctx = s};

    s->explore = explore_create(&o, (struct machine *)(uintptr_t)machine_hardware(s->machine));
    s->run->explore = s->explore;
    clock_gettime(CLOCK_MONOTONIC, &s->begun);
    s->shown = s->begun;
    int result = machine_run(s->machine, s->run, e);

    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%*s\r", 79, "");
    places_close(places);
    return result ? complain("%s", e->text) : STATUS_OK;
}

static const struct scenario_variant *choose_variant(const struct arguments *a, const struct scenario *s)
{
    const char *names[SCENARIO_VARIANTS_MAX];

    if (a->variant && scenario_variant_find(s, a->variant))
        return scenario_variant_find(s, a->variant);
    for (uint32_t i = 0; i < s->variant_count; i++)
        names[i] = s->variants[i].name;
    if (!a->variant && s->variant_count == 1)
        return &s->variants[0];
    const char *near = a->variant ? nearest_word(a->variant, names, s->variant_count) : NULL;

    complain(a->variant ? "%s has no variant `%s`; %s `%s`"
                        : "%s has several variants%.0s; name one with --variant, %s `%s`",
             s->path, a->variant ? a->variant : "", near ? "did you mean" : "such as",
             near ? near : names[0]);
    return NULL;
}

// What the options leave open, the scenario says.
static void fill_in(struct arguments *a, struct scenario *s)
{
    if (a->memory != MEMORY_KIND_COUNT)
        s->memory = a->memory;
    if (a->strategy == STRATEGY_COUNT)
        a->strategy = (enum strategy_kind)s->explore.strategy;
    a->budget = a->budget ? a->budget : s->explore.budget;
    a->depth = a->depth ? a->depth : s->explore.depth;
    a->until_ns = a->until_ns ? a->until_ns : s->explore.until_ns;
    a->from_ns = a->from_given ? a->from_ns : s->explore.from_ns;
}

// With the machine built: traces in memory, the search, the report.
static int search(const struct arguments *a, const struct scenario *s, const struct scenario_variant *variant,
                  struct sim_machine *m)
{
    char path[300];
    struct trace_error error;
    struct user_error e = {""};
    struct trace_options to = {.db_path = "", .store = tables_read(s), .writer = TRACE_WRITER_INLINE};
    struct trace *trace = trace_open(&to, &error);

    if (!trace)
        return complain("%s; %s", error.message, error.hint);
    struct search search = {.a = a, .scenario = s, .variant = variant, .machine = m, .trace = trace};
    struct machine_run run = {.variant = variant,
                              .knobs = a->knobs.knobs,
                              .knob_count = a->knobs.count,
                              .seed = a->seed,
                              .until_ns = a->until_ns,
                              .trace = trace,
                              .on_end = on_end,
                              .ctx = &search};

    search.run = &run;
    if (a->output)
        snprintf(path, sizeof path, "%s", a->output);
    else
        snprintf(path, sizeof path, "%s-%s.sched", s->name, variant->name);
    int status = explore_with(&search, &e);
    uint64_t ms = milliseconds_since(&search.begun);

    if (status == STATUS_OK && explore_failure(search.explore))
        status = write_schedule(&search, path) ? STATUS_USAGE : STATUS_FAILED;
    if (status != STATUS_USAGE)
        tell(&search, ms, path);
    explore_destroy(search.explore);
    trace_close(trace, &error);
    return status;
}

int explore_main(int argc, char **argv)
{
    struct arguments a = {.strategy = STRATEGY_COUNT, .memory = MEMORY_KIND_COUNT};
    struct user_error e = {""};
    int status;

    if (!usage_take(&usage, argc, argv, take_option, &a, &status))
        return status;
    if (!a.path)
        return complain("explore: name a scenario, such as scenarios/races/make-request.yaml");
    if (rewind_unsupported())
        return complain("explore: %s", rewind_unsupported());
    rewind_prepare();
    struct scenario *s = scenario_load(a.path, &e);

    if (!s || guests_resolve(s, &e)) {
        scenario_free(s);
        return complain("%s", e.text);
    }
    fill_in(&a, s);
    const struct scenario_variant *variant = choose_variant(&a, s);
    const struct machine_options o = {.hv_path = a.hv};
    struct sim_machine *m = variant ? machine_create(s, &o, &e) : NULL;

    status = m ? search(&a, s, variant, m) : variant ? complain("%s", e.text) : STATUS_USAGE;
    machine_destroy(m);
    scenario_free(s);
    return status;
}
