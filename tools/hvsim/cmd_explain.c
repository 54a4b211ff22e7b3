// SPDX-License-Identifier: Apache-2.0
// hvsim explain: one VM exit as a story, from the guest's instruction to the next entry; one page walk as a
// table.
#include "tools/hvsim/command.h"
#include "tools/hvsim/explain_instructions.h"
#include "tools/hvsim/explain_migration.h"
#include "tools/hvsim/explain_walk.h"
#include "tools/hvsim/qualification.h"
#include "traces/export.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_EXIT, OPT_WALK, OPT_INSTRUCTIONS, OPT_MIGRATION, OPT_RUN };
static const struct option_row options[] = {
    [OPT_EXIT] = {"--exit", "N", "which exit of the run, from 1"},
    [OPT_WALK] = {"--walk", "N", "which address translation of the run, from 1"},
    [OPT_INSTRUCTIONS] = {"--instructions", "[N..M]",
                          "a listing of machine code with its cycles (default: all that is stored)"},
    [OPT_MIGRATION] = {"--migration", NULL, "the run's live migrations, a bar for each round"},
    [OPT_RUN] = {"--run", "N", "which run of the database (default: the last)"},
};
static const struct usage usage = {
    .synopsis = "explain DB --exit N | --walk N | --instructions [N..M] | --migration [options]",
    .about = "Tells one VM exit as a story: what the guest did, what the processor saved, each hypervisor "
             "function with\n"
             "its cycles, what was written back, and the entry. Or draws one address translation, a row for "
             "each table\n"
             "entry that it read, or lists a guest's instructions, or the rounds of a migration. Sections "
             "are of the Intel SDM (spec/SOURCES.md).",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  hvsim explain quickstart.db --exit 1\n  hvsim explain walk-2d.db --walk 1\n"
                "  hvsim explain guest.db --instructions 1..50\n  hvsim explain precopy.db --migration\n"};

// The columns of one row of `exits`, by position in `columns`.
enum {
    REASON,
    QUALIFICATION,
    RIP,
    INSTR,
    GPA,
    INTR_INFO,
    ERROR_CODE,
    PCPU,
    VM,
    VCPU,
    LEVEL,
    GUEST,
    BEGIN,
    END,
    CYCLES,
    HW_EXIT,
    HW_ENTRY,
    HV,
    DEVICE,
    WAIT,
    OTHER,
    RECORDED,
    PATH,
    COLUMNS
};
static const char columns[] =
    "reason, qualification, rip, instr, gpa, intr_info, error_code, pcpu, vm, vcpu, level, "
    "guest_cycles, exit_cycle, entry_cycle, cycles, hw_exit_cycles, hw_entry_cycles, hv_cycles, "
    "device_cycles, wait_cycles, other_cycles, recorded_ns, path";

struct story {
    bool found;
    char text[COLUMNS][128];
    int64_t value[COLUMNS];
    bool null[COLUMNS];
};

static bool take_exit(void *ctx, const struct trace_row *row)
{
    struct story *s = ctx;

    s->found = true;
    for (int i = 0; i < COLUMNS; i++) {
        s->null[i] = row->values[i].type == TRACE_VALUE_NULL;
        s->value[i] = row->values[i].integer;
        snprintf(s->text[i], sizeof s->text[i], "%s", s->null[i] ? "" : row->values[i].text);
    }
    return true;
}

static void tell_guest(const struct story *s, int64_t number)
{
    int reason = exit_reason_number(s->text[REASON]);

    printf("exit %" PRId64 ": %s on pCPU %s, vCPU %s of VM %s%s, cycle %s\n\n", number, s->text[REASON],
           s->text[PCPU], s->null[VCPU] ? "?" : s->text[VCPU], s->null[VM] ? "?" : s->text[VM],
           s->value[LEVEL] == 2 ? " (its nested guest, L2)" : "", s->text[BEGIN]);
    printf("The guest ran for %s cycles", s->text[GUEST]);
    if (!s->null[INSTR])
        printf(" and came to `%s` at rip %s.\n", s->text[INSTR], s->text[RIP]);
    else
        printf(" up to rip %s, where an event ended its turn.\n", s->text[RIP]);
    if (reason >= 0)
        printf("Why that exits: SDM %s.\n", exit_section((unsigned)reason));
}

static void tell_hardware_exit(const struct story *s)
{
    int reason = exit_reason_number(s->text[REASON]);
    char words[200];

    qualification_text(reason < 0 ? 0xffff : (unsigned)reason, (uint64_t)s->value[QUALIFICATION], words,
                       sizeof words);
    printf("\nThe processor left it in %s cycles (SDM 27) and saved:\n", s->text[HW_EXIT]);
    printf("  %-28s %d (%s)\n", "VM_EXIT_REASON", reason, s->text[REASON]);
    if (*words || s->value[QUALIFICATION])
        printf("  %-28s 0x%" PRIx64 "  %s\n", "EXIT_QUALIFICATION", (uint64_t)s->value[QUALIFICATION], words);
    printf("  %-28s %s\n", "GUEST_RIP", s->text[RIP]);
    if (!s->null[GPA] && s->value[GPA] && s->value[GPA] != -1)
        printf("  %-28s 0x%" PRIx64 "\n", "GUEST_PHYSICAL_ADDRESS", (uint64_t)s->value[GPA]);
    if (s->value[INTR_INFO])
        printf("  %-28s 0x%" PRIx64 "  vector 0x%02x, type %u (SDM 24.9.2)\n", "VM_EXIT_INTR_INFO",
               (uint64_t)s->value[INTR_INFO], (unsigned)(s->value[INTR_INFO] & 0xff),
               (unsigned)(s->value[INTR_INFO] >> 8 & 7));
    if (s->value[ERROR_CODE])
        printf("  %-28s 0x%" PRIx64 "\n", "VM_EXIT_INTR_ERROR_CODE", (uint64_t)s->value[ERROR_CODE]);
    puts("Host state came from the VMCS's host-state area (SDM 27.5).");
}

struct calls {
    unsigned count;
    int64_t until; // Cycles from the exit to the entry: what lasts longer is the entry itself.
};

// depth, function, cycles, self_cycles, begin relative to the exit
static bool tell_call(void *ctx, const struct trace_row *row)
{
    struct calls *c = ctx;
    int depth = (int)row->values[0].integer;

    c->count++;
    if (c->until && row->values[4].integer + row->values[2].integer > c->until)
        printf("  %8s  %*s%-*s    (goes on into the guest)\n", row->values[4].text, depth * 2, "",
               44 - depth * 2, row->values[1].text);
    else
        printf("  %8s  %*s%-*s %8s %8s\n", row->values[4].text, depth * 2, "", 44 - depth * 2,
               row->values[1].text, row->values[2].text, row->values[3].text);
    return true;
}

static bool tell_event(void *ctx, const struct trace_row *row)
{
    unsigned *count = ctx;

    if ((*count)++ == 0)
        puts("\nWhat was traced and written back meanwhile (cycle after the exit):");
    printf("  %8s  %-24s", row->values[0].text, row->values[1].text);
    // Names and values in turn; addresses and registers read best in hexadecimal.
    for (int i = 2; i + 1 < row->columns && row->values[i].type != TRACE_VALUE_NULL; i += 2) {
        uint64_t value = (uint64_t)row->values[i + 1].integer;

        if (strcmp(row->values[i].text, "field") == 0)
            printf(" %s", vmcs_field_name((unsigned)value));
        else
            printf(value < 10 ? " %s=%" PRIu64 : " %s=0x%" PRIx64, row->values[i].text, value);
    }
    putchar('\n');
    return true;
}

static int tell_hypervisor(struct trace_reader *r, int64_t number, const struct story *s)
{
    struct trace_error error;
    char sql[800];
    struct calls calls = {0, s->null[END] ? 0 : s->value[CYCLES]};
    unsigned events = 0;

    printf("\nThe hypervisor worked for %s cycles%s%s:\n", s->text[HV], s->null[PATH] ? "" : ", by way of ",
           s->null[PATH] ? "" : s->text[PATH]);
    printf("  %8s  %-44s %8s %8s\n", "after", "function", "cycles", "self");
    snprintf(sql, sizeof sql,
             "SELECT depth - (SELECT min(depth) FROM calls WHERE exit_seq = %" PRId64
             "), function, cycles, self_cycles, begin_cycle - %" PRId64
             " FROM calls WHERE exit_seq = %" PRId64 " ORDER BY begin_cycle, depth",
             number, s->value[BEGIN], number);
    if (trace_query(r, sql, tell_call, &calls, &error) != TRACE_OK)
        return complain("%s; %s", error.message, error.hint);
    if (!calls.count)
        puts("  (no calls stored: run with --trace all or exits,calls)");
    if (s->null[END])
        return 0;
    snprintf(sql, sizeof sql,
             "SELECT e.cycle - %" PRId64
             ", e.kind, n0, a0, n1, a1, n2, a2, n3, a3, n4, a4, n5, a5 FROM events e "
             "JOIN event_kinds k ON k.kind = e.kind WHERE e.cycle BETWEEN %" PRId64 " AND %" PRId64
             " AND e.near_cycle BETWEEN %" PRId64 " - 65536 AND %" PRId64 " AND e.pcpu = %" PRId64
             " AND e.kind <> 'kvm_exit' ORDER BY e.seq",
             s->value[BEGIN], s->value[BEGIN], s->value[END], s->value[BEGIN], s->value[END], s->value[PCPU]);
    if (trace_query(r, sql, tell_event, &events, &error) != TRACE_OK)
        return complain("%s; %s", error.message, error.hint);
    return 0;
}

static void tell_entry(const struct story *s)
{
    if (s->value[DEVICE])
        printf("\nThe user-space VMM and its devices took %s cycles.\n", s->text[DEVICE]);
    if (s->value[WAIT])
        printf("The vCPU waited, halted or blocked, for %s cycles.\n", s->text[WAIT]);
    if (s->value[OTHER])
        printf("Others had the processor for %s cycles.\n", s->text[OTHER]);
    if (s->null[END]) {
        puts("\nNo entry followed: the run ended first.");
        return;
    }
    printf("\nThe processor entered the guest again in %s cycles (SDM 26), at cycle %s.\n"
           "From exit to entry: %s cycles.",
           s->text[HW_ENTRY], s->text[END], s->text[CYCLES]);
    if (!s->null[RECORDED])
        printf(" On the recorded host it took %s ns.", s->text[RECORDED]);
    putchar('\n');
}

// Why there is nothing to tell.
static int no_exit(struct trace_reader *r, const char *db, int64_t run, int64_t number)
{
    struct trace_error error;
    struct trace_value runs, exits;
    char sql[160], text[40];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM runs WHERE run = %" PRId64, run);
    if (trace_query_value(r, sql, &runs, text, sizeof text, &error) != TRACE_OK ||
        trace_query_value(r, "SELECT count(*) FROM exits", &exits, text, sizeof text, &error) != TRACE_OK)
        return complain("%s; %s", error.message, error.hint);
    if (!runs.integer)
        return complain("%s: has no run %" PRId64 "; `hvsim run SCENARIO --db %s` adds one", db, run, db);
    if (!exits.integer)
        return complain("run %" PRId64 " of %s has no exits; were they stored (--trace exits or all)?", run,
                        db);
    return complain("run %" PRId64 " of %s has no exit %" PRId64 "; it has 1 to %" PRId64, run, db, number,
                    exits.integer);
}

static int explain_exit(struct trace_reader *r, int64_t run, const char *db, int64_t number)
{
    struct trace_error error;
    struct story *s = calloc(1, sizeof *s);
    char sql[600];
    int status = STATUS_USAGE;

    if (!s)
        abort();
    snprintf(sql, sizeof sql, "SELECT %s FROM exits WHERE seq = %" PRId64, columns, number);
    if (trace_query(r, sql, take_exit, s, &error) != TRACE_OK) {
        complain("%s; %s", error.message, error.hint);
    } else if (!s->found) {
        no_exit(r, db, run, number);
    } else {
        tell_guest(s, number);
        tell_hardware_exit(s);
        status = tell_hypervisor(r, number, s);
        tell_entry(s);
    }
    free(s);
    return status;
}

static int explain(const char *db, int64_t run, int64_t exit_number, int64_t walk_number,
                   const struct instruction_range *range)
{
    struct trace_error error;
    struct trace_reader *r = trace_reader_open(db, &error);
    int status = STATUS_OK;

    if (!r)
        return complain("%s; %s", error.message, error.hint);
    run = run ? run : trace_reader_last_run(r);
    if (trace_reader_scope(r, run, &error) != TRACE_OK)
        status = complain("%s; %s", error.message, error.hint);
    if (status == STATUS_OK && exit_number)
        status = explain_exit(r, run, db, exit_number);
    if (status == STATUS_OK && walk_number)
        status = explain_walk(r, run, db, walk_number);
    if (status == STATUS_OK && range)
        status = explain_instructions(r, run, db, range);
    trace_reader_close(r);
    return status;
}

static bool parse_number(const char *text, int64_t *out)
{
    char *end;

    *out = strtoll(text, &end, 10);
    return *end == 0 && *out > 0;
}

struct arguments {
    const char *db;
    int64_t exit, walk, run;
    struct instruction_range range;
    bool migration, instructions;
};

static int take_option(void *ctx, int option, const char *value)
{
    struct arguments *a = ctx;
    int64_t *const numbers[] = {[OPT_EXIT] = &a->exit, [OPT_WALK] = &a->walk, [OPT_RUN] = &a->run};

    switch (option) {
    case OPTION_WORD:
        if (a->db)
            return complain("explain: one database at a time");
        a->db = value;
        return 0;
    case OPT_MIGRATION:
        a->migration = true;
        return 0;
    case OPT_INSTRUCTIONS:
        a->instructions = true;
        return instruction_range(value, &a->range)
                   ? 0
                   : complain("--instructions wants N..M, numbers from 1, got `%s`", value);
    default:
        return parse_number(value, numbers[option])
                   ? 0
                   : complain("%s wants a number from 1, got `%s`", options[option].name, value);
    }
}

int explain_main(int argc, char **argv)
{
    struct arguments a = {.db = NULL};
    int status;

    if (!usage_take(&usage, argc, argv, take_option, &a, &status))
        return status;
    if (a.db && a.migration)
        return explain_migration(a.db, a.run);
    if (!a.db || !(a.exit || a.walk || a.instructions))
        return complain("explain: name a database and an exit, a walk or instructions, such as `hvsim "
                        "explain quickstart.db "
                        "--exit 1`");
    return explain(a.db, a.run, a.exit, a.walk, a.instructions ? &a.range : NULL);
}
