// SPDX-License-Identifier: Apache-2.0
// hvsim gdb: a run of machine code with gdb attached (docs/gdb.md).
#include "models/cpu/uarch/uarch.h"
#include "sim/scenario/quantity.h"
#include "tools/hvsim/boot_option.h"
#include "tools/hvsim/console.h"
#include "tools/hvsim/gdb/session.h"
#include "tools/hvsim/watch.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_VARIANT = BOOT_OPTIONS, OPT_SOCKET, OPT_PORT };
static const struct option_row options[] = {
    [OPT_SOCKET] = {"--socket", "PATH", "wait for gdb at this Unix socket"},
    [OPT_PORT] = {"--port", "N",
                  "wait for gdb at this TCP port of the local machine (default: any free one)"},
#define BOOT_OPTION(id, name, value, about) [BOOT_##id] = {name, value, about},
#include "tools/hvsim/boot_options.def"
    [OPT_VARIANT] = {"--variant", "NAME", "of a scenario (default: its first)"},
};
static const struct usage usage = {
    .synopsis = "gdb IMAGE|SCENARIO.yaml [options]",
    .about =
        "Boots an image as `hvsim boot` does, or runs a scenario whose VMs boot images, with gdb in control: "
        "it stops "
        "before the\n"
        "guest's first instruction. Breakpoints, watchpoints, steps, all vCPUs as threads, also backwards: "
        "reverse-stepi,\n"
        "reverse-continue. `monitor help` lists what shows the machine around the guest. Cycles and digest "
        "are those of "
        "the\n"
        "run without gdb.\n\n"
        "exit status: as of `hvsim boot`; 1 when gdb kills the run or goes away without detaching.",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  hvsim gdb hello.elf --socket /tmp/hello.gdb &\n"
                "  gdb hello.elf -ex 'target remote /tmp/hello.gdb'\n"};

struct arguments {
    struct boot_arguments common;
    const char *variant, *socket;
    unsigned port;
};

static int take_option(void *ctx, int option, const char *value)
{
    struct arguments *a = ctx;
    uint64_t port;

    switch (option) {
    case OPTION_WORD:
        if (a->common.boot.image)
            return complain("gdb takes one image or scenario; arguments for an image go into --append '%s'",
                            value);
        a->common.boot.image = value;
        return 0;
    case OPT_VARIANT:
        a->variant = value;
        return 0;
    case OPT_SOCKET:
        a->socket = value;
        return *value ? 0 : complain("--socket wants the name of a file, got ``");
    case OPT_PORT:
        if (!quantity_number(value, &port) || port > UINT16_MAX)
            return complain("--port: expected 0 to %u, got `%s`", UINT16_MAX, value);
        a->port = (unsigned)port;
        return 0;
    default:
        return boot_option_take(&a->common, option, value);
    }
}

// --- The run. ---

struct run {
    struct session session;
    struct console console;
    const struct scenario *scenario;
    struct watch watch;
};

static void on_console(void *ctx, uint32_t vm, uint8_t byte)
{
    struct run *r = ctx;

    (void)vm;
    if (session_console(&r->session))
        console_byte(&r->console, byte);
}

static void on_attention(void *ctx, uint64_t cycles)
{
    struct run *r = ctx;

    if (watch_attention)
        watch_look(&r->watch, cycles);
    console_flush(&r->console);
    if (r->console.error)
        machine_interrupt(r->session.machine);
    session_attention(&r->session);
}

static void on_end(void *ctx, enum machine_end end)
{
    struct run *r = ctx;

    (void)end;
    console_flush(&r->console);
    session_end(&r->session);
}

static int finish(struct run *r, struct trace *trace, const struct machine_run *run)
{
    struct outcome o = outcome_of(run, 0);

    if (r->session.killed)
        o = (struct outcome){STATUS_FAILED, "ended by gdb"};
    if (console_close(&r->console))
        return STATUS_USAGE;
    session_exited(&r->session, o.status);
    outcome_print(&o, r->scenario->name, r->watch.clock_khz, run, trace);
    return watch_interrupted() ? complain("interrupted") : o.status;
}

// Only the digest is recorded: there is no database that copies of the process could share.
static int simulate(const struct arguments *a, struct run *r, const struct scenario_variant *variant)
{
    static const volatile int always = 1;
    const struct trace_options o = {.db_path = NULL, .writer = TRACE_WRITER_INLINE};
    struct trace_error error;
    struct trace *trace = trace_open(&o, &error);
    struct machine_run run = {.variant = variant,
                              .knobs = a->common.knobs.knobs,
                              .knob_count = a->common.knobs.count,
                              .trace = trace,
                              .attention = &always,
                              .on_attention = on_attention,
                              .on_console = on_console,
                              .ctx = r,
                              .observer = &r->session.observer,
                              .on_end = on_end};
    struct user_error e = {""};

    if (!trace)
        return complain("%s; %s", error.message, error.hint);
    watch_start();
    int status = machine_run(r->session.machine, &run, &e);

    watch_stop();
    status = status ? complain("%s", e.text) : finish(r, trace, &run);
    trace_close(trace, &error);
    return status;
}

static int with_machine(const struct arguments *a, struct run *r, const struct scenario_variant *variant)
{
    const struct machine_options o = {.hv_path = a->common.hv};
    struct user_error e = {""};
    struct sim_machine *m = machine_create(r->scenario, &o, &e);
    int status;

    if (!m)
        return complain("%s", e.text);
    r->watch = (struct watch){.machine = m,
                              .scenario = r->scenario,
                              .variant = variant,
                              .clock_khz = machine_uarch(m)->clock.core_khz,
                              .quiet = true};
    if (console_open(&r->console, a->common.console, stdout))
        status = STATUS_USAGE;
    else if (!session_open(&r->session, m, r->scenario))
        status = complain("%s: no VM boots an image: gdb sees machine code only", r->scenario->name);
    else
        status = simulate(a, r, variant);
    session_close(&r->session);
    machine_destroy(m);
    return status;
}

// From here on there are two processes: the one that simulates, and one that waits for its end
// (gdb/history.h).
static int serve(const struct arguments *a, const struct scenario *s, const struct scenario_variant *variant)
{
    static struct run r;
    char why[300];

    r.scenario = s;
    if (history_begin(&r.session.history))
        return complain("no process, memory or pipe to be had: %s", strerror(errno));
    int status = STATUS_USAGE;

    if (server_open(&r.session.server, a->socket, a->port, why, sizeof why))
        complain("cannot wait for gdb at %s", why);
    else
        status = with_machine(a, &r, variant);
    history_exit(&r.session.history, status);
}

static const struct scenario_variant *find_variant(const struct scenario *s, const char *name)
{
    for (uint32_t i = 0; i < s->variant_count; i++)
        if (!name || strcmp(s->variants[i].name, name) == 0)
            return &s->variants[i];
    complain("%s has no variant `%s`; `hvsim list` shows what there is", s->name, name);
    return NULL;
}

static bool is_scenario(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

int gdb_main(int argc, char **argv)
{
    struct arguments a = {.port = 0};
    struct user_error e = {""};
    int status;

    if (!usage_take(&usage, argc, argv, take_option, &a, &status))
        return status;
    const char *path = a.common.boot.image;

    if (!path)
        return complain("gdb: name an image, or a scenario whose VMs boot images");
    struct scenario *s = is_scenario(path) ? scenario_load(path, &e) : boot_scenario(&a.common.boot, &e);

    if (!s)
        return complain("%s", e.text);
    const struct scenario_variant *variant = find_variant(s, a.variant);

    status = variant ? serve(&a, s, variant) : STATUS_USAGE;
    scenario_free(s);
    return status;
}
