// SPDX-License-Identifier: Apache-2.0
// hvsim explore: searches interleavings of a scenario's variant, shrinks the first failing one to a schedule.
#include "models/check/check.h"
#include "models/cpu/uarch/uarch.h"
#include "sim/explore/explore.h"
#include "sim/machine/guests.h"
#include "sim/rewind/rewind.h"
#include "sim/scenario/quantity.h"
#include "tools/hvsim/command.h"
#include "tools/hvsim/explore_oracle.h"
#include "tools/hvsim/explore_ranks.h"
#include "tools/hvsim/knob_option.h"
#include "tools/hvsim/report.h"
#include <inttypes.h>
#include <signal.h>
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
    OPT_VALIDATE,
    OPT_HV,
    OPT_JOBS,
    OPT_PART,
    OPT_MPI,
    OPT_JSON
};
static const struct option_row options[] = {
    [OPT_VARIANT] = {"--variant", "NAME", "the variant to search (needed if the scenario has several)"},
    [OPT_STRATEGY] =
        {"--strategy", "NAME",
         "reverse, interrupt, pct, random, delay, dfs or jitter (default: the scenario's, else pct)"},
    [OPT_BUDGET] = {"--budget", "N", "executions at most (default: the scenario's)"},
    [OPT_DEPTH] = {"--depth", "N",
                   "pct: orders that the bug needs; delay: delays; reverse, interrupt: at a time (default: "
                   "the scenario's, else 3)"},
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
    [OPT_VALIDATE] = {"--validate", "LIST",
                      "validators that look at every execution: races, heap, locks or all; what they find "
                      "is a failure"},
    [OPT_HV] = {"--hv", "LIB", "another build of the hypervisor core (default: the libhv.so of this build)"},
    [OPT_JOBS] = {"--jobs", "N", "processes that search together (default 1; 0: as many as processors)"},
    [OPT_PART] = {"--part", "P/N",
                  "only part P (from 0) of the search when N parts share it, for batch systems"},
    [OPT_MPI] = {"--mpi", NULL, "under mpirun: each rank makes a part, rank 0 reports"},
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
                "  hvsim explore scenarios/races/make-request.yaml --variant api --jobs 0\n"
                "  hvsim run scenarios/races/make-request.yaml --variant none --schedule lost.sched\n"};

#define PARTS_MAX 65536u

struct arguments {
    const char *path, *variant, *output, *hv;
    enum strategy_kind strategy;
    uint64_t budget, depth, seed;
    enum memory_kind memory; // MEMORY_KIND_COUNT: what the scenario says
    struct knob_options knobs;
    uint64_t from_ns, until_ns;
    uint64_t jobs, part, parts;
    uint32_t validate;
    bool from_given, keep_going, mpi, json;
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

// "0/4": the first of four.
static int take_part(struct arguments *a, const char *value)
{
    char *slash;
    char *end = (char *)(uintptr_t)value;

    a->part = strtoull(value, &slash, 10);
    if (*value >= '0' && *value <= '9' && *slash == '/' && slash[1] >= '0' && slash[1] <= '9')
        a->parts = strtoull(slash + 1, &end, 10);
    if (end == value || *end || a->part >= a->parts || a->parts > PARTS_MAX)
        return complain("--part wants P/N with P of 0 to N - 1 and N of at most %u, got `%s`", PARTS_MAX,
                        value);
    return 0;
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
    case OPT_VALIDATE:
        return validate_option(value, &a->validate);
    case OPT_HV:
        a->hv = value;
        return 0;
    case OPT_JOBS:
        return number_option("--jobs", value, 0, EXPLORE_JOBS_MAX, &a->jobs);
    case OPT_PART:
        return take_part(a, value);
    case OPT_MPI:
        a->mpi = true;
        return 0;
    default:
        a->json = true;
        return 0;
    }
}

// How the search is shared out, when it is known what it is. 0, or STATUS_USAGE after a message. With ranks:
// goes on in a process of its own.
static int share_out(struct arguments *a, struct explore_ranks **ranks)
{
    bool whole = strategy_sharing(a->strategy) == SHARED_NEVER;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    if (a->mpi && a->parts)
        return complain("explore: --mpi says which part each rank makes; leave out --part");
    if (whole && (a->mpi || a->parts > 1))
        return complain("explore: %s is one search of one process; leave out --part and --mpi",
                        strategy_name(a->strategy));
    if (whole && a->jobs != 1)
        fprintf(stderr, "hvsim: %s is one search of one process; --jobs does nothing for it\n",
                strategy_name(a->strategy));
    if (!a->jobs)
        a->jobs = processors > 1 ? (uint64_t)processors : 1;
    if (whole)
        a->jobs = 1;
    if (a->jobs > EXPLORE_JOBS_MAX)
        a->jobs = EXPLORE_JOBS_MAX;
    if (a->mpi)
        *ranks = explore_ranks_begin(&a->part, &a->parts);
    if (!a->parts)
        a->parts = 1;
    return a->mpi && !*ranks ? STATUS_USAGE : 0;
}

// --- An execution. ---

struct search {
    const struct arguments *a;
    const struct scenario *scenario;
    const struct scenario_variant *variant;
    struct sim_machine *machine;
    struct machine_run *run;
    struct trace *trace;
    struct explore *explore;
    struct explore_signs *signs;
    struct explore_ranks *ranks; // NULL without --mpi
    struct oracle *oracle;
    const struct places *places;
    struct timespec begun, shown;
};

static bool validators_found(struct search *s, enum machine_end end, char *reason, size_t size)
{
    return check_judge(s->run->check, end == MACHINE_IDLE, s->places, explore_wanted(s->explore), reason,
                       size);
}

static bool stuck(void *ctx, char *reason, size_t size)
{
    return validators_found(ctx, MACHINE_TIME_LIMIT, reason, size);
}

static void on_end(void *ctx, enum machine_end end)
{
    struct search *s = ctx;
    char found[EXPLORE_REASON_BYTES];

    if (!explore_in_execution(s->explore))
        return;
    const char *reason = oracle_judge(s->oracle, s->machine, s->trace, end);

    if ((!reason || end == MACHINE_IDLE) && validators_found(s, end, found, sizeof found))
        reason = found;
    explore_judged(s->explore, reason);
}

static void before_photograph(void *ctx)
{
    struct search *s = ctx;

    oracle_before_photograph(s->oracle, s->trace);
}

// --- Telling. ---

static uint64_t milliseconds_since(const struct timespec *then)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)(now.tv_sec - then->tv_sec) * 1000 + (uint64_t)(now.tv_nsec / 1000000) -
           (uint64_t)(then->tv_nsec / 1000000);
}

static void progress(void *ctx, const struct explore *x)
{
    struct search *s = ctx;
    struct explore_counts n = explore_counts(x);
    uint64_t ms = milliseconds_since(&s->begun);

    if (!isatty(STDERR_FILENO) || milliseconds_since(&s->shown) < 200)
        return;
    clock_gettime(CLOCK_MONOTONIC, &s->shown);
    fprintf(stderr,
            "\r%" PRIu64 " executions, %" PRIu64 " a second, %" PRIu64
            " orders, %u access pairs, %u shared words ",
            n.executions, ms ? n.executions * 1000 / ms : 0, n.distinct, n.pairs, n.shared);
    fflush(stderr);
}

// Ctrl-C: what was found so far is told. Whatever the handler writes to other memory would be undone.
static struct explore_signs *signs_of_search;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&signs_of_search->stop, true);
}

static void heed_signals(struct explore_signs *signs)
{
    const struct sigaction action = {.sa_handler = on_signal,
                                     .sa_flags = (int)SA_RESETHAND}; // A second one ends it.

    signs_of_search = signs;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int write_schedule(struct search *s, const char *path)
{
    const struct explore_result *r = explore_result(s->explore);
    FILE *out = fopen(path, "w");

    if (!out)
        return complain("%s: cannot be written: %m", path);
    fprintf(out, "# %s\n", r->failure);
    fprintf(out, "scenario: %s\nvariant: %s\nmemory: %s\n", s->scenario->name, s->variant->name,
            memory_kind_names[s->scenario->memory]);
    if (s->scenario->validate) {
        char list[CHECK_LIST_BYTES];

        check_list(s->scenario->validate, list);
        fprintf(out, "validate: %s\n", list);
    }
    fprintf(out, "from %" PRIu64 "ns\n", s->a->from_ns);
    for (uint32_t i = 0; i < r->step_count; i++)
        fprintf(out, "%s\n", r->steps[i]);
    if (fclose(out))
        return complain("%s: cannot be written: %m", path);
    return STATUS_OK;
}

static void established(const struct search *s, char *text, size_t size)
{
    bool part = s->a->parts > 1 && !s->a->mpi;

    if (part)
        snprintf(text, size, "of this part alone: ");
    explore_established(s->explore, text + (part ? strlen(text) : 0), size - (part ? strlen(text) : 0));
}

static void tell_json(const struct search *s, uint64_t ms, const char *path)
{
    const struct explore_result *r = explore_result(s->explore);
    const struct explore_counts *n = &r->counts;
    char bound[340];

    established(s, bound, sizeof bound);
    printf("{\"scenario\": ");
    report_json_text(s->scenario->name);
    printf(", \"variant\": ");
    report_json_text(s->variant->name);
    printf(", \"strategy\": \"%s\", \"seed\": %" PRIu64 ", \"memory\": \"%s\",\n"
           " \"part\": %" PRIu64 ", \"parts\": %" PRIu64 ", \"jobs\": %" PRIu64 ", \"interrupted\": %s,\n"
           " \"executions\": %" PRIu64 ", \"learned\": %u, \"shrinking\": %" PRIu64
           ", \"milliseconds\": %" PRIu64 ", \"orders\": %" PRIu64
           ", \"shared_words\": %u, \"access_pairs\": %u, \"failed\": %" PRIu64 ",\n \"bound\": ",
           strategy_name(s->a->strategy), s->a->seed, memory_kind_names[s->scenario->memory], s->a->part,
           s->a->parts, s->a->jobs, atomic_load(&s->signs->stop) ? "true" : "false", n->executions,
           n->learned, n->shrinking, ms, n->distinct, n->shared, n->pairs, n->failed);
    report_json_text(bound);
    if (r->found != EXPLORE_NONE) {
        printf(",\n \"found\": ");
        report_json_text(r->failure);
        printf(", \"execution\": %" PRIu64 ", \"schedule\": ", r->found);
        report_json_text(path);
        printf(", \"reproduced\": %s, \"steps\": [", r->reproduced ? "true" : "false");
        for (uint32_t i = 0; i < r->step_count; i++) {
            printf(i ? ", " : "");
            report_json_text(r->steps[i]);
        }
        printf("]");
    }
    printf("}\n");
}

static void tell_sharing(const struct arguments *a)
{
    if (a->parts > 1 && !a->mpi)
        printf(", part %" PRIu64 "/%" PRIu64, a->part, a->parts);
    if (a->mpi)
        printf(", %" PRIu64 " ranks", a->parts);
    if (a->jobs > 1)
        printf(", %" PRIu64 " processes%s", a->jobs, a->mpi ? " each" : "");
}

static void tell(struct search *s, uint64_t ms, const char *path)
{
    const struct explore_result *r = explore_result(s->explore);
    const struct explore_counts *n = &r->counts;
    const char *at_most = s->a->mpi ? "at most " : ""; // Ranks do not see each other's.
    char bound[340];

    if (s->a->json) {
        tell_json(s, ms, path);
        return;
    }
    established(s, bound, sizeof bound);
    printf("%s, variant %s, strategy %s, seed %" PRIu64, s->scenario->name, s->variant->name,
           strategy_name(s->a->strategy), s->a->seed);
    tell_sharing(s->a);
    printf("\n  executions  %" PRIu64 " in %" PRIu64 ".%03" PRIu64 " s (%" PRIu64 " a second), %" PRIu64
           " to shrink\n",
           n->executions, ms / 1000, ms % 1000, ms ? (n->executions + n->shrinking) * 1000 / ms : 0,
           n->shrinking);
    printf("  covered     %s%" PRIu64 " different orders; %u words shared; %s%u ordered pairs of accesses\n",
           at_most, n->distinct, n->shared, s->a->mpi ? "at least " : "", n->pairs);
    printf("  bound       %s\n", bound);
    if (r->found == EXPLORE_NONE) {
        puts("  found       nothing");
        return;
    }
    printf("  found       %s (%" PRIu64 " of the executions; this is number %" PRIu64 ")\n", r->failure,
           n->failed, r->found);
    for (uint32_t i = 0; i < r->step_count; i++)
        printf("    %s\n", r->steps[i]);
    printf("  schedule    %s%s\n", path,
           r->reproduced ? "" : " (its steps alone do NOT reproduce the failure: too many orders matter)");
}

// --- Running. ---

static void agree(void *ctx, struct explore_result *result, bool lost)
{
    const struct search *s = ctx;

    explore_ranks_agree(s->ranks, result, lost);
}

static int explore_with(struct search *s, struct user_error *e)
{
    const struct arguments *a = s->a;
    char error[300];
    struct places *places = places_open(machine_image(s->machine), error, sizeof error);

    if (!places)
        return complain("%s", error);
    const struct explore_options o = {.strategy = {.kind = a->strategy,
                                                   .seed = a->seed,
                                                   .depth = (uint32_t)a->depth,
                                                   .part = (uint32_t)a->part,
                                                   .parts = (uint32_t)a->parts},
                                      .budget = a->budget,
                                      .jobs = (uint32_t)a->jobs,
                                      .from_ps = a->from_ns * 1000,
                                      .places = places,
                                      .store_buffers = s->scenario->memory == MEMORY_TSO,
                                      .keep_going = a->keep_going,
                                      .signs = s->signs,
                                      .before_photograph = before_photograph,
                                      .progress = progress,
                                      .stuck = stuck,
                                      .agree = a->mpi ? agree : NULL,
                                      .ctx = s};

    s->places = places;
    s->explore = explore_create(&o, (struct machine *)(uintptr_t)machine_hardware(s->machine));
    s->run->explore = s->explore;
    clock_gettime(CLOCK_MONOTONIC, &s->begun);
    s->shown = s->begun;
    int result = machine_run(s->machine, s->run, e);

    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%*s\r", 79, "");
    places_close(places);
    const char *lost = explore_lost(s->explore) ? explore_lost(s->explore) : explore_ranks_lost(s->ranks);

    if (lost)
        return complain("explore: %s; nothing is reported", lost);
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
    s->validate |= a->validate;
    if (a->strategy == STRATEGY_COUNT)
        a->strategy = (enum strategy_kind)s->explore.strategy;
    a->budget = a->budget ? a->budget : s->explore.budget;
    a->depth = a->depth ? a->depth : s->explore.depth;
    a->until_ns = a->until_ns ? a->until_ns : s->explore.until_ns;
    a->from_ns = a->from_given ? a->from_ns : s->explore.from_ns;
}

// With the machine built: traces in memory, the search, the report.
static int search(const struct arguments *a, const struct scenario *s, const struct scenario_variant *variant,
                  struct sim_machine *m, struct explore_ranks *ranks)
{
    char path[300];
    struct trace_error error;
    struct user_error e = {""};
    struct oracle *oracle = oracle_create(s, variant);
    struct trace_options to = {.db_path = "", .store = oracle_stored(oracle), .writer = TRACE_WRITER_INLINE};
    struct trace *trace = trace_open(&to, &error);

    if (!trace)
        return complain("%s; %s", error.message, error.hint);
    struct search search = {
        .a = a, .scenario = s, .variant = variant, .machine = m, .trace = trace, .oracle = oracle};
    struct machine_run run = {.variant = variant,
                              .knobs = a->knobs.knobs,
                              .knob_count = a->knobs.count,
                              .seed = a->seed,
                              .until_ns = a->until_ns,
                              .trace = trace,
                              .on_end = on_end,
                              .ctx = &search};

    search.run = &run;
    search.ranks = ranks;
    search.signs = ranks ? explore_ranks_signs(ranks) : explore_signs_create();
    heed_signals(search.signs);
    if (a->output)
        snprintf(path, sizeof path, "%s", a->output);
    else
        snprintf(path, sizeof path, "%s-%s.sched", s->name, variant->name);
    int status = explore_with(&search, &e);
    uint64_t ms = milliseconds_since(&search.begun);

    if (status == STATUS_OK && explore_result(search.explore)->found != EXPLORE_NONE)
        status = write_schedule(&search, path) ? STATUS_USAGE : STATUS_FAILED;
    if (status != STATUS_USAGE)
        tell(&search, ms, path);
    if (status == STATUS_OK && atomic_load(&search.signs->stop))
        status = complain("interrupted; what is told was made until then");
    oracle_destroy(oracle);
    explore_destroy(search.explore);
    trace_close(trace, &error);
    return status;
}

int explore_main(int argc, char **argv)
{
    struct arguments a = {.strategy = STRATEGY_COUNT, .memory = MEMORY_KIND_COUNT, .jobs = 1};
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
    struct explore_ranks *ranks = NULL;
    bool ready = variant && share_out(&a, &ranks) == 0;
    struct sim_machine *m = ready ? machine_create(s, &o, &e) : NULL;

    status = m ? search(&a, s, variant, m, ranks) : ready ? complain("%s", e.text) : STATUS_USAGE;
    machine_destroy(m);
    scenario_free(s);
    return status;
}
