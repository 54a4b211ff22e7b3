// SPDX-License-Identifier: Apache-2.0
// hvsim boot: runs a machine-code image as a guest, its console as this command's output and its exit status
// as this command's own.
#include "models/cpu/uarch/uarch.h"
#include "tools/hvsim/boot_option.h"
#include "tools/hvsim/command.h"
#include "tools/hvsim/console.h"
#include "tools/hvsim/record_option.h"
#include "tools/hvsim/report.h"
#include "tools/hvsim/watch.h"
#include "traces/export.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { OPT_DB = BOOT_OPTIONS, OPT_TRACE, OPT_WINDOW, OPT_JSON, OPT_RESOLVED };
static const struct option_row options[] = {
#define BOOT_OPTION(id, name, value, about) [BOOT_##id] = {name, value, about},
#include "tools/hvsim/boot_options.def"
    [OPT_DB] = {"--db", "FILE", "append the run to this trace database (default: none is kept)"},
    [OPT_TRACE] = {"--trace", "LIST",
                   "categories to store with --db: exits,events,calls,spans,... (default exits,events)"},
    [OPT_WINDOW] = {"--window", "FROM..TO", WINDOW_OPTION_ABOUT},
    [OPT_JSON] = {"--json", NULL,
                  "one JSON object on standard output; the console, if no --console, goes to standard error"},
    [OPT_RESOLVED] = {"--print-resolved", NULL, "print the scenario that this is, for `hvsim run`, and stop"},
};
static const struct usage usage = {
    .synopsis = "boot IMAGE [options]",
    .about = "Runs real machine code as a guest of the hypervisor core on the modelled machine: a multiboot "
             "image (1 or 2), a\n"
             "Linux bzImage, an ELF file (with a PVH entry, or plain), or flat code with --load. What it "
             "writes to its\n"
             "serial port appears on standard output, a summary on standard error.\n\n"
             "exit status: the code that the guest writes to the debug-exit port 0xf4 (255: that or more); 0 "
             "also when\n"
             "it switches itself off; 1 after a triple fault, when it halts for ever, or on a violation; 124 "
             "at --until;\n"
             "2 bad usage or image. The summary says which.",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  hvsim boot vmexit.flat --append cpuid\n"
                "  hvsim boot smptest.flat --cpus 4 --knob x86.apicv=off --db smp.db\n"
                "  echo reboot | hvsim boot firmware.elf --input -\n"
                "  hvsim boot bzImage --initrd initramfs.cpio --append 'console=ttyS0' --memory 512MiB\n"};

struct arguments {
    struct boot_arguments common;
    struct record_options record;
    bool json, resolved;
};

// --- Arguments. ---

static int take_option(void *ctx, int option, const char *value)
{
    struct arguments *a = ctx;

    switch (option) {
    case OPTION_WORD:
        if (a->common.boot.image)
            return complain("boot takes one image; arguments for it go into --append '%s'", value);
        a->common.boot.image = value;
        return 0;
    case OPT_JSON:
        a->json = true;
        return 0;
    case OPT_RESOLVED:
        a->resolved = true;
        return 0;
    case OPT_TRACE:
        return record_option_trace(&a->record, value);
    case OPT_WINDOW:
        return record_option_window(&a->record, value);
    case OPT_DB:
        return record_option_db(&a->record, value);
    default:
        return boot_option_take(&a->common, option, value);
    }
}

// --- The run. ---

struct session {
    struct watch watch; // First: watch_look() gets this address.
    struct console console;
};

static void on_console(void *ctx, uint32_t vm, uint8_t byte)
{
    struct session *s = ctx;

    (void)vm;
    console_byte(&s->console, byte);
}

static void on_attention(void *ctx, uint64_t cycles)
{
    struct session *s = ctx;

    console_flush(&s->console);
    watch_look(&s->watch, cycles);
    if (s->console.error)
        machine_interrupt(s->watch.machine);
}

static bool print_violation(void *ctx, const struct trace_row *row)
{
    unsigned *count = ctx;

    if (*count < 20)
        fprintf(stderr, "hvsim: violation: %s (%s), %s times\n", row->values[0].text,
                row->values[1].text ? row->values[1].text : "", row->values[2].text);
    ++*count;
    return true;
}

static int count_violations(struct trace *trace, unsigned *count)
{
    struct trace_error error;
    struct trace_reader *r = trace_reader_of(trace, &error);
    int64_t last = r ? trace_reader_last_run(r) : 0;
    bool good = r && trace_reader_scope(r, last, &error) == TRACE_OK &&
                trace_query(r,
                            "SELECT kind, detail, count(*) FROM violations GROUP BY kind, detail ORDER BY "
                            "min(cycle)",
                            print_violation, count, &error) == TRACE_OK;

    trace_reader_close(r);
    return good ? 0 : complain("%s; %s", error.message, error.hint);
}

static void summarize(const struct arguments *a, const struct session *session, struct trace *trace,
                      const struct machine_run *run, const struct outcome *o, unsigned violations)
{
    uint64_t khz = session->watch.clock_khz;
    char digest[TRACE_DIGEST_TEXT], left[200];

    if (machine_typing_left(session->watch.machine, 0, left, sizeof left))
        fprintf(stderr, "hvsim: input: %s\n", left);
    if (!a->json) {
        outcome_print(o, session->watch.scenario->name, khz, run, trace);
        return;
    }
    trace_digest_text(run->digest, digest);
    printf("{\"image\": ");
    report_json_text(session->watch.scenario->name);
    printf(", \"end\": ");
    report_json_text(o->text);
    printf(", \"status\": %d, \"cycles\": %" PRIu64 ", \"digest\": \"%s\", \"violations\": %u,\n", o->status,
           run->cycles, digest, violations);
    report_exits(trace, session->watch.scenario, khz, true);
    puts("}");
}

static int report(const struct arguments *a, struct session *session, struct trace *trace,
                  const struct machine_run *run)
{
    struct trace_error error;
    unsigned violations = 0;
    int status = count_violations(trace, &violations);

    if (status)
        return status;
    const struct outcome o = outcome_of(run, violations);

    if (trace_run_verdict(trace, run->run_id, o.status == STATUS_OK ? "pass" : "fail", &error) != TRACE_OK)
        return complain("%s; %s", error.message, error.hint);
    summarize(a, session, trace, run, &o, violations);
    return watch_interrupted() ? complain("interrupted") : o.status;
}

static int simulate(const struct arguments *a, struct session *session, struct trace *trace)
{
    char *resolved = scenario_resolved_text(session->watch.scenario);
    struct machine_run run = {.variant = session->watch.variant,
                              .knobs = a->common.knobs.knobs,
                              .knob_count = a->common.knobs.count,
                              .trace = trace,
                              .resolved = resolved,
                              .attention = &watch_attention,
                              .on_attention = on_attention,
                              .on_console = on_console,
                              .ctx = session};
    struct user_error e = {""};

    session->watch.trace = trace;
    record_window_cycles(&a->record, session->watch.clock_khz, &run.instructions_from, &run.instructions_to);
    watch_start();
    int result = machine_run(session->watch.machine, &run, &e);

    watch_stop();
    console_flush(&session->console);
    result = result ? complain("%s", e.text) : report(a, session, trace, &run);
    free(resolved);
    return result;
}

static int with_database(const struct arguments *a, struct session *session)
{
    const char *db = a->record.db;
    struct trace *trace = record_open(db ? db : "", db ? a->record.store : 0);

    if (!trace)
        return STATUS_USAGE;
    int status = simulate(a, session, trace);

    if (record_close(trace))
        return STATUS_USAGE;
    if (db && !a->json)
        fprintf(stderr, "database: %s   (hvsim explain %s --exit 1 tells an exit's story)\n", db, db);
    return status;
}

static int with_machine(const struct arguments *a, const struct scenario *s)
{
    const struct machine_options o = {.hv_path = a->common.hv};
    struct user_error e = {""};
    struct sim_machine *m = machine_create(s, &o, &e);
    struct session session;
    int status = STATUS_USAGE;

    if (!m)
        return complain("%s", e.text);
    session.watch = (struct watch){.machine = m,
                                   .scenario = s,
                                   .variant = s->variants,
                                   .clock_khz = machine_uarch(m)->clock.core_khz,
                                   .quiet = !a->common.console};
    if (!console_open(&session.console, a->common.console, a->json ? stderr : stdout)) {
        status = with_database(a, &session);
        if (console_close(&session.console))
            status = STATUS_USAGE;
    }
    machine_destroy(m);
    return status;
}

int boot_main(int argc, char **argv)
{
    struct arguments a = {.record.store = TRACE_EXITS | TRACE_EVENTS};
    struct user_error e = {""};
    int status;

    if (!usage_take(&usage, argc, argv, take_option, &a, &status))
        return status;
    if (!a.common.boot.image)
        return complain("boot: name an image, such as a kvm-unit-tests .flat or a Linux bzImage");
    struct scenario *s = boot_scenario(&a.common.boot, &e);

    if (!s)
        return complain("%s", e.text);
    if (a.resolved)
        scenario_print_resolved(s, stdout);
    else
        status = with_machine(&a, s);
    scenario_free(s);
    return status;
}
