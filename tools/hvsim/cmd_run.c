// SPDX-License-Identifier: Apache-2.0
// hvsim run: simulates scenarios, every variant, and checks what they expect.
#include "models/check/words.h"
#include "models/cpu/uarch/uarch.h"
#include "sim/machine/guests.h"
#include "sim/machine/machine.h"
#include "sim/scenario/schedule_file.h"
#include "tools/hvsim/command.h"
#include "tools/hvsim/knob_option.h"
#include "tools/hvsim/record_option.h"
#include "tools/hvsim/report.h"
#include "tools/hvsim/run_table.h"
#include "tools/hvsim/watch.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    OPT_VARIANT,
    OPT_SCHEDULE,
    OPT_SWEEP_ONLY,
    OPT_KNOB,
    OPT_SEED,
    OPT_DB,
    OPT_TRACE,
    OPT_WINDOW,
    OPT_QUANTUM,
    OPT_HV,
    OPT_VCD,
    OPT_CHECK_TLB,
    OPT_VALIDATE,
    OPT_MEMORY,
    OPT_JSON,
    OPT_RESOLVED
};
static const struct option_row options[] = {
    [OPT_VARIANT] = {"--variant", "NAME", "only this variant (default: every one)"},
    [OPT_SCHEDULE] = {"--schedule", "FILE",
                      "pin the order in FILE, such as `hvsim explore` writes, in place of the variant's own"},
    [OPT_SWEEP_ONLY] =
        {"--sweep-only", "VALUE",
         "of a sweep only the points with this value, or PATH=VALUE, or the `first` (default: every one)"},
    [OPT_KNOB] = {"--knob", "NAME=VALUE",
                  "a switch of the hypervisor core, on top of the variant's; repeatable"},
    [OPT_SEED] = {"--seed", "N", "what random choices start from (default 0)"},
    [OPT_DB] = {"--db", "FILE", "append the runs to this database (default: SCENARIO.db, written anew)"},
    [OPT_TRACE] =
        {"--trace", "LIST",
         "categories to store: exits,events,calls,... or none, or all (the default) but `instructions`"},
    [OPT_WINDOW] = {"--window", "FROM..TO", WINDOW_OPTION_ABOUT},
    [OPT_QUANTUM] = {"--quantum", "CYCLES",
                     "let processors run ahead of each other by this; 0 is exact (default)"},
    [OPT_HV] = {"--hv", "LIB", "another build of the hypervisor core (default: the libhv.so of this build)"},
    [OPT_VCD] = {"--vcd", "FILE", "value changes of processor modes and interrupt lines, for a wave viewer"},
    [OPT_CHECK_TLB] = {"--check-tlb", NULL,
                       "compare every hit of a translation cache with the tables; a stale one fails the run"},
    [OPT_VALIDATE] = {"--validate", "LIST",
                      "validators that look on: races,heap,locks or all; what they find fails the run"},
    [OPT_MEMORY] = {"--memory", "MODEL",
                    "memory of hypervisor code: tso (default), sc, c11 (docs/memory-models.md)"},
    [OPT_JSON] = {"--json", NULL, "one JSON object per scenario on stdout"},
    [OPT_RESOLVED] = {"--print-resolved", NULL, "print the scenario with every default filled in, and stop"},
};
static const struct usage usage = {
    .synopsis = "run SCENARIO... [options]",
    .about =
        "Runs each scenario's variants on the modelled machine, prints where the cycles of its VM exits "
        "went, checks\n"
        "what it expects, and leaves a trace database. Same build, scenario, variant and seed: same digest.",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  hvsim run scenarios/exits/quickstart.yaml\n"
                "  hvsim run scenarios/interrupts/eoi-storm.yaml --variant before --db storm.db\n"
                "  hvsim run scenarios/mmu/tlbs-dirty.yaml --variant before --schedule found.sched\n"
                "  hvsim run s.yaml --knob x86.apicv=off --trace exits,calls\n"};

struct arguments {
    const char *variant, *schedule, *sweep_only, *hv, *vcd;
    struct knob_options knobs;
    struct record_options record;
    uint64_t seed, quantum;
    bool json, resolved, check_tlb;
    uint32_t validate;
    enum memory_kind memory; // MEMORY_KIND_COUNT: what the scenario says
    const char *paths[256];
    unsigned path_count;
};

// --- Arguments. ---

static int take_path(struct arguments *a, const char *path)
{
    if (a->path_count == sizeof a->paths / sizeof *a->paths)
        return complain("more than 256 scenarios");
    a->paths[a->path_count++] = path;
    return 0;
}

static int take_option(void *ctx, int option, const char *value)
{
    struct arguments *a = ctx;

    switch (option) {
    case OPTION_WORD:
        return take_path(a, value);
    case OPT_VARIANT:
        a->variant = value;
        return 0;
    case OPT_SCHEDULE:
        a->schedule = value;
        return 0;
    case OPT_SWEEP_ONLY:
        a->sweep_only = value;
        return 0;
    case OPT_KNOB:
        return knob_option(&a->knobs, value);
    case OPT_SEED:
        return number_option("--seed", value, 0, UINT64_MAX, &a->seed);
    case OPT_DB:
        return record_option_db(&a->record, value);
    case OPT_TRACE:
        return record_option_trace(&a->record, value);
    case OPT_WINDOW:
        return record_option_window(&a->record, value);
    case OPT_QUANTUM:
        return number_option("--quantum", value, 0, UINT64_MAX, &a->quantum);
    case OPT_HV:
        a->hv = value;
        return 0;
    case OPT_VCD:
        a->vcd = value;
        return 0;
    case OPT_CHECK_TLB:
        a->check_tlb = true;
        return 0;
    case OPT_VALIDATE:
        return validate_option(value, &a->validate);
    case OPT_MEMORY:
        return memory_option(value, &a->memory);
    case OPT_JSON:
        a->json = true;
        return 0;
    default:
        a->resolved = true;
        return 0;
    }
}

// --- Running. ---

static void print_head(const struct arguments *a, const struct scenario *s, const struct ran *ran,
                       uint64_t clock_khz)
{
    char digest[TRACE_DIGEST_TEXT];

    trace_digest_text(ran->digest, digest);
    if (a->json) {
        printf("    \"variant\": ");
        report_json_text(ran->variant->name);
        for (uint32_t i = 0; i < s->swept_count; i++) {
            printf(i ? ", " : ", \"sweep\": {");
            report_json_text(s->swept[i].path);
            printf(": ");
            report_json_text(s->swept[i].value);
        }
        printf("%s, \"run\": %" PRId64 ", \"digest\": \"%s\", \"cycles\": %" PRIu64
               ", \"end\": \"%s\", \"steps\": %" PRIu32 ", \"steps_passed\": %" PRIu32 ",\n",
               s->swept_count ? "}" : "", ran->run_id, digest, ran->cycles, machine_end_str(ran->end),
               ran->steps, ran->steps_passed);
        return;
    }
    char point[128];

    run_table_point(s, point, sizeof point);
    printf("\n%s%s%s, variant %s: %" PRIu64 " cycles (%" PRIu64 ".%03" PRIu64 " ms), %s\n", s->name,
           *point ? " at " : "", point, ran->variant->name, ran->cycles, ran->cycles / clock_khz,
           ran->cycles * 1000 / clock_khz % 1000, machine_end_str(ran->end));
    if (*ran->variant->about)
        printf("  %s\n", ran->variant->about);
    if (ran->steps)
        printf("  order pinned: %" PRIu32 " of %" PRIu32 " steps passed\n", ran->steps_passed, ran->steps);
}

// One scenario being run: what holds for all points of its sweep and all variants.
struct session {
    const struct arguments *a;
    struct trace *trace;
    struct run_table table;
    unsigned runs, failed, checked;
    int64_t first_run, last_run;
};

// The report of one variant. Its verdict goes into the database. -1 with `e`.
static int report(struct session *session, const struct scenario *s, struct ran *ran, uint64_t clock_khz,
                  struct user_error *e)
{
    const struct arguments *a = session->a;
    struct trace *trace = session->trace;
    struct trace_error error;
    struct trace_reader *r = trace_reader_of(trace, &error);
    char digest[TRACE_DIGEST_TEXT];

    if (!r || trace_reader_scope(r, ran->run_id, &error) != TRACE_OK) {
        trace_reader_close(r);
        return user_error_at(e, "database", 0, NULL, "%s; %s", error.message, error.hint);
    }
    print_head(a, s, ran, clock_khz);
    report_exits(trace, s, clock_khz, a->json);
    unsigned violations = report_violations(r, ran, a->json);
    int result = 0;

    if (ran->end == MACHINE_IDLE) {
        if (!a->json)
            puts("  FAIL nothing can ever happen again although guests are not done: a lost wake-up or "
                 "deadlock");
        ran->failed++;
    }
    if (ran->end != MACHINE_INTERRUPTED)
        result = report_expectations(trace, r, s, ran, a->json, e);
    if (!result)
        result = run_table_add(&session->table, r, s, ran, e);
    ran->failed += violations;
    trace_digest_text(ran->digest, digest);
    if (!a->json)
        printf("  digest %s\n", digest);
    trace_reader_close(r);
    if (!result && trace_run_verdict(trace, ran->run_id, ran->failed ? "fail" : "pass", &error) != TRACE_OK)
        result = user_error_at(e, "database", 0, NULL, "%s; %s", error.message, error.hint);
    return result;
}

static int run_variant(struct session *session, struct sim_machine *m, const struct scenario *s,
                       const char *resolved, struct ran *ran, struct user_error *e)
{
    const struct arguments *a = session->a;
    struct watch watch = {.machine = m,
                          .trace = session->trace,
                          .scenario = s,
                          .variant = ran->variant,
                          .clock_khz = machine_uarch(m)->clock.core_khz};
    struct machine_run run = {.variant = ran->variant,
                              .knobs = a->knobs.knobs,
                              .knob_count = a->knobs.count,
                              .seed = a->seed,
                              .trace = session->trace,
                              .resolved = resolved,
                              .attention = &watch_attention,
                              .on_attention = watch_look,
                              .ctx = &watch};

    record_window_cycles(&a->record, watch.clock_khz, &run.instructions_from, &run.instructions_to);
    watch_start();
    int result = machine_run(m, &run, e);

    watch_stop();
    if (watch.shown)
        fprintf(stderr, "\r%*s\r", 79, "");
    ran->run_id = run.run_id;
    ran->end = run.end;
    ran->cycles = run.cycles;
    ran->digest = run.digest;
    ran->steps = run.steps;
    ran->steps_passed = run.steps_passed;
    if (result)
        return -1;
    session->first_run = session->first_run ? session->first_run : ran->run_id;
    session->last_run = ran->run_id;
    return report(session, s, ran, watch.clock_khz, e);
}

static int compare_variants(const struct arguments *a, struct trace *trace, const struct scenario *s,
                            const struct ran *ran, unsigned count, struct user_error *e)
{
    struct trace_error error;
    struct trace_reader *r = trace_reader_of(trace, &error);
    int failed = r ? report_comparisons(r, s, ran, count, a->json, e)
                   : user_error_at(e, "database", 0, NULL, "%s; %s", error.message, error.hint);

    trace_reader_close(r);
    return failed;
}

static struct sim_machine *create_machine(const struct arguments *a, const struct scenario *s,
                                          struct user_error *e)
{
    const struct machine_options o = {.hv_path = a->hv,
                                      .vcd_path = a->vcd,
                                      .quantum_cycles = a->quantum,
                                      .check_tlb = a->check_tlb,
                                      .validate = a->validate};

    return machine_create(s, &o, e);
}

// Every chosen variant at one point. 0, or -1 with `e`.
static int run_variants(struct session *session, struct sim_machine *m, const struct scenario *s,
                        struct user_error *e)
{
    const struct arguments *a = session->a;
    struct ran ran[SCENARIO_VARIANTS_MAX];
    char *resolved = scenario_resolved_text(s);
    unsigned count = 0;
    int result = 0;

    for (uint32_t i = 0; i < s->variant_count && !result && !watch_interrupted(); i++) {
        if (a->variant && strcmp(a->variant, s->variants[i].name) != 0)
            continue;
        ran[count] = (struct ran){.variant = &s->variants[i]};
        if (a->json)
            printf("%s\n  {\n", session->runs ? "," : "");
        result = run_variant(session, m, s, resolved, &ran[count], e);
        if (a->json && !result)
            printf(", \"checked\": %u, \"failed\": %u }", ran[count].checked, ran[count].failed);
        session->runs++;
        session->failed += ran[count].failed;
        session->checked += ran[count++].checked;
    }
    free(resolved);
    if (result || watch_interrupted())
        return result;
    int comparisons = compare_variants(a, session->trace, s, ran, count, e);

    session->failed += comparisons > 0 ? (unsigned)comparisons : 0;
    return comparisons < 0 ? -1 : 0;
}

// What ends the report of a scenario: the table, and what is expected of the whole sweep if all of it ran.
static int finish_sweep(struct session *session, const struct scenario *s, struct user_error *e)
{
    const struct arguments *a = session->a;
    struct trace_error error;
    unsigned checked = 0;
    int failed = 0;

    if (!a->json)
        run_table_print(&session->table, s);
    if (!s->axis_count || a->sweep_only || a->variant)
        return 0;
    struct trace_reader *r = trace_reader_of(session->trace, &error);

    if (!r)
        return user_error_at(e, "database", 0, NULL, "%s; %s", error.message, error.hint);
    printf(a->json ? "\n], \"sweep\": [" : "");
    failed = report_sweep(r, s, session->first_run, session->last_run, a->json, &checked, e);
    trace_reader_close(r);
    session->checked += checked;
    session->failed += failed > 0 ? (unsigned)failed : 0;
    return failed < 0 ? -1 : 0;
}

// Every chosen point; the machine of the first is there already. Returns an exit status.
static int run_points(struct session *session, struct sim_machine **m, struct scenario *const *points,
                      unsigned count, const struct scenario *s)
{
    const struct arguments *a = session->a;
    struct user_error e = {""};
    int result = 0;

    if (a->json) {
        printf("{\"scenario\": ");
        report_json_text(s->name);
        printf(", \"runs\": [");
    }
    for (unsigned i = 0; i < count && !result && !watch_interrupted(); i++) {
        if (i) {
            machine_destroy(*m);
            *m = create_machine(a, points[i], &e);
        }
        result = *m ? run_variants(session, *m, points[i], &e) : -1;
    }
    if (!result && !watch_interrupted())
        result = finish_sweep(session, s, &e);
    unsigned failed = session->failed;

    if (a->json)
        printf("\n], \"verdict\": \"%s\"}\n", result ? "error" : failed ? "fail" : "pass");
    if (result)
        return complain("%s%s", e.text,
                        a->record.store == TRACE_ALL ? "" : " (--trace left some categories out)");
    if (watch_interrupted())
        return complain("interrupted; the database says so and holds what was recorded");
    if (!a->json)
        printf("verdict: %s\n", failed ? "FAIL" : session->checked ? "pass" : "pass (nothing expected)");
    return failed ? STATUS_FAILED : STATUS_OK;
}

// The default database is ours to write anew, but only if it is a database of ours.
static int clear_default(const char *path)
{
    struct trace_error error;

    if (access(path, F_OK) != 0)
        return 0;
    struct trace_reader *r = trace_reader_open(path, &error);

    trace_reader_close(r);
    if (!r && error.status != TRACE_OTHER_VERSION)
        return complain("%s; %s (or name another with --db)", error.message, error.hint);
    return unlink(path) ? complain("%s: %s", path, strerror(errno)) : 0;
}

static int with_database(const struct arguments *a, struct sim_machine **m, struct scenario *const *points,
                         unsigned count, const struct scenario *s)
{
    char path[300];
    const char *db = a->record.db ? a->record.db : path;

    snprintf(path, sizeof path, "%s.db", s->name);
    for (char *p = path; *p; p++)
        if (*p == '/')
            *p = '-';
    if (!a->record.db && clear_default(path))
        return STATUS_USAGE;
    struct trace *trace = record_open(db, a->record.store);

    if (!trace)
        return STATUS_USAGE;
    struct session session = {.a = a, .trace = trace};
    int status = run_points(&session, m, points, count, s);

    run_table_free(&session.table);
    if (record_close(trace))
        return STATUS_USAGE;
    if (!a->json)
        printf("database: %s   (hvsim explain %s --exit 1 tells an exit's story)\n", db, db);
    return status;
}

static int check_variant(const struct arguments *a, const struct scenario *s)
{
    const char *names[SCENARIO_VARIANTS_MAX];

    if (!a->variant || scenario_variant_find(s, a->variant))
        return 0;
    for (uint32_t i = 0; i < s->variant_count; i++)
        names[i] = s->variants[i].name;
    const char *near = nearest_word(a->variant, names, s->variant_count);

    return complain("%s has no variant `%s`; %s `%s`", s->path, a->variant,
                    near ? "did you mean" : "its first is", near ? near : names[0]);
}

static bool is_chosen(const struct arguments *a, const struct scenario *point, uint32_t index)
{
    if (!a->sweep_only || (index == 0 && strcmp(a->sweep_only, "first") == 0))
        return true;
    return scenario_is_at(point, a->sweep_only);
}

static void apply_memory(const struct arguments *a, struct scenario *s)
{
    if (a->memory != MEMORY_KIND_COUNT)
        s->memory = a->memory;
}

// Loads every chosen point of the scenario's sweep, so that a mistake in one is told before any is run. Their
// number, or -1.
static int load_points(const struct arguments *a, const struct scenario *s,
                       const struct schedule_file *schedule, struct scenario **points)
{
    struct user_error e = {""};
    int count = 0;

    for (uint32_t i = 0; i < scenario_point_count(s); i++) {
        struct scenario *point = scenario_load_point(s->path, i, &e);

        if (!point) {
            complain("%s", e.text);
            count = -1;
            break;
        }
        if (schedule)
            schedule_file_apply(schedule, point, a->variant);
        apply_memory(a, point);
        if (!is_chosen(a, point, i))
            scenario_free(point);
        else
            points[count++] = point;
    }
    if (count == 0) {
        complain("%s has no point `%s` in its sweep; its `sweep:` lists them", s->path, a->sweep_only);
        count = -1;
    }
    return count;
}

static int run_loaded(const struct arguments *a, const struct scenario *s,
                      const struct schedule_file *schedule)
{
    struct scenario *points[SCENARIO_POINTS_MAX] = {NULL};
    struct user_error e = {""};
    int status = STATUS_OK;

    if (a->resolved) {
        scenario_print_resolved(s, stdout);
        return STATUS_OK;
    }
    int count = check_variant(a, s) ? -1 : load_points(a, s, schedule, points);

    if (count > 0) {
        struct sim_machine *m = create_machine(a, points[0], &e);

        status = m ? with_database(a, &m, points, (unsigned)count, s) : complain("%s", e.text);
        machine_destroy(m);
    } else {
        status = STATUS_USAGE;
    }
    for (unsigned i = 0; i < SCENARIO_POINTS_MAX; i++)
        scenario_free(points[i]);
    return status;
}

// The order is pinned in `s` from now on, and its variant the only one.
static int pin(struct arguments *a, struct scenario *s, const struct schedule_file *f, struct user_error *e)
{
    const struct scenario_variant *v = schedule_file_variant(f, s, a->variant, e);

    if (!v)
        return -1;
    if (f->memory && strcmp(f->memory, memory_kind_names[s->memory]) != 0)
        return user_error_at(
            e, f->path, f->memory_line, "memory",
            "this order was found under another memory model than the run's, which is %s; give "
            "--memory %s",
            memory_kind_names[s->memory], f->memory);
    a->validate |= f->validators;
    a->variant = v->name;
    schedule_file_apply(f, s, v->name);
    return 0;
}

static int run_scenario(const struct arguments *given, const char *path)
{
    struct arguments a = *given;
    struct user_error e = {""};
    struct scenario *s = scenario_load(path, &e);
    struct schedule_file *schedule = NULL;
    bool good = s && guests_resolve(s, &e) == 0;

    if (good)
        apply_memory(&a, s);
    if (good && a.schedule)
        good = (schedule = schedule_file_load(a.schedule, &e)) != NULL && pin(&a, s, schedule, &e) == 0;
    int status = good ? run_loaded(&a, s, schedule) : complain("%s", e.text);

    schedule_file_free(schedule);
    scenario_free(s);
    return status;
}

int run_main(int argc, char **argv)
{
    struct arguments a = {.record.store = TRACE_ALL, .memory = MEMORY_KIND_COUNT};
    int status;

    if (!usage_take(&usage, argc, argv, take_option, &a, &status))
        return status;
    if (!a.path_count)
        return complain(
            "run: name a scenario, such as scenarios/exits/quickstart.yaml; `hvsim list` shows them");
    if (a.schedule && a.path_count > 1)
        return complain("--schedule is for one scenario, got %u", a.path_count);
    for (unsigned i = 0; i < a.path_count && !watch_interrupted(); i++) {
        int one = run_scenario(&a, a.paths[i]);

        status = one > status ? one : status;
    }
    return status;
}
