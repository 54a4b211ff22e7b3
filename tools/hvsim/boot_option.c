// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/boot_option.h"

#include <inttypes.h>
#include <stdio.h>

#define STATUS_CODE_MAX 255u

static int add_module(struct boot_options *o, const char *path)
{
    if (o->module_count == SCENARIO_MODULES_MAX)
        return complain("more than %u --module options", SCENARIO_MODULES_MAX);
    o->modules[o->module_count++] = path;
    return 0;
}

int boot_option_take(struct boot_arguments *a, int option, const char *value)
{
    const char **const texts[BOOT_OPTIONS] = {[BOOT_APPEND] = &a->boot.append,
                                              [BOOT_CPUS] = &a->boot.cpus,
                                              [BOOT_MEMORY] = &a->boot.memory,
                                              [BOOT_LOAD] = &a->boot.load,
                                              [BOOT_UARCH] = &a->boot.uarch,
                                              [BOOT_UNTIL] = &a->boot.until,
                                              [BOOT_HIDE] = &a->boot.hide,
                                              [BOOT_DISABLE] = &a->boot.disable_exits,
                                              [BOOT_INITRD] = &a->boot.initrd,
                                              [BOOT_INPUT] = &a->boot.input,
                                              [BOOT_SCRIPT] = &a->boot.script,
                                              [BOOT_CONSOLE] = &a->console,
                                              [BOOT_HV] = &a->hv};

    if (option == BOOT_MODULE)
        return add_module(&a->boot, value);
    if (option == BOOT_KNOB)
        return knob_option(&a->knobs, value);
    if (option == BOOT_NESTED)
        a->boot.nested = true;
    else
        *texts[option] = value;
    return 0;
}

struct outcome outcome_of(const struct machine_run *run, unsigned violations)
{
    const struct machine_guest_end *end = &run->guest_ends[0];
    struct outcome o = {STATUS_FAILED, ""};

    if (end->how == GUEST_END_EXIT) {
        o.status = end->code < STATUS_CODE_MAX ? (int)end->code : (int)STATUS_CODE_MAX;
        snprintf(o.text, sizeof o.text, "exit with code %" PRIu32 "%s", end->code,
                 end->code == UINT16_MAX ? " or more" : "");
    } else if (end->how == GUEST_END_POWER_OFF) {
        o.status = STATUS_OK;
        snprintf(o.text, sizeof o.text, "power off");
    } else if (end->how == GUEST_END_TRIPLE_FAULT) {
        snprintf(o.text, sizeof o.text, "triple fault");
    } else if (end->how == GUEST_END_RESET) {
        o.status = STATUS_OK;
        snprintf(o.text, sizeof o.text, "reset");
    } else if (end->how == GUEST_END_ERROR) {
        snprintf(o.text, sizeof o.text, "the core could not go on with it");
    } else if (run->end == MACHINE_TIME_LIMIT) {
        o.status = STATUS_TIME_LIMIT;
        snprintf(o.text, sizeof o.text, "time limit");
    } else if (run->end == MACHINE_IDLE) {
        snprintf(o.text, sizeof o.text, "halted for ever: nothing can wake any of its processors");
    } else {
        snprintf(o.text, sizeof o.text, "%s", machine_end_str(run->end));
    }
    if (violations && o.status == STATUS_OK)
        o.status = STATUS_FAILED;
    return o;
}

static bool add_exits(void *ctx, const struct trace_exit_row *r)
{
    *(uint64_t *)ctx += r->count;
    return true;
}

void outcome_print(const struct outcome *o, const char *name, uint64_t clock_khz,
                   const struct machine_run *run, struct trace *trace)
{
    char digest[TRACE_DIGEST_TEXT];
    uint64_t exits = 0;

    trace_exit_summary(trace, add_exits, &exits);
    trace_digest_text(run->digest, digest);
    fprintf(stderr,
            "hvsim: %s: %s; %" PRIu64 " cycles (%" PRIu64 ".%03" PRIu64 " ms), %" PRIu64
            " exits, digest %s\n",
            name, o->text, run->cycles, run->cycles / clock_khz, run->cycles * 1000 / clock_khz % 1000, exits,
            digest);
}
