// SPDX-License-Identifier: Apache-2.0
// What a run prints: the table of exits, recorded against simulated, verdicts of expectations.
#ifndef TOOLS_HVSIM_REPORT_H
#define TOOLS_HVSIM_REPORT_H

#include "sim/machine/machine.h"
#include "traces/export.h"

// One variant that was run.
struct ran {
    const struct scenario_variant *variant;
    int64_t run_id;
    enum machine_end end;
    uint64_t cycles;
    struct trace_digest digest;
    uint32_t steps, steps_passed; // Of the pinned order.
    unsigned failed, checked;     // Expectations.
};

// The exits of a run as a table (or members of a JSON object). `clock_khz` turns cycles into time.
void report_exits(struct trace *trace, const struct scenario *s, uint64_t clock_khz, bool json);
// Broken invariants that the run noticed; returns how many, but for the one that the variant is there to
// show: that one counts if it is missing.
unsigned report_violations(struct trace_reader *r, const struct ran *ran, bool json);
// One expectation: is it judged in a run of this variant at this point of the sweep, and what of it? -1 with
// `e`: its SQL does not work.
struct judged {
    bool pass;
    char got[200], expected[200];
};
bool report_applies(const struct scenario *s, const struct scenario_expect *x,
                    const struct scenario_variant *variant);
int report_judge(struct trace_reader *r, const struct scenario *s, const struct scenario_expect *x,
                 struct judged *out, struct user_error *e);
// Checks what the scenario expects of this variant; prints failures with query, expected and got. Stores
// verdicts. -1 with `e`: an expectation's SQL does not work.
int report_expectations(struct trace *t, struct trace_reader *r, const struct scenario *s, struct ran *ran,
                        bool json, struct user_error *e);
// Checks comparisons between variants, after all of them ran; those whose variants were not run are skipped.
// Returns how many failed, or -1 with `e`.
int report_comparisons(struct trace_reader *r, const struct scenario *s, const struct ran *ran,
                       unsigned ran_count, bool json, struct user_error *e);
// Checks what the scenario expects of its whole sweep, over the runs `first` to `last`. Returns how many
// failed, or -1 with `e`; *checked counts.
int report_sweep(struct trace_reader *r, const struct scenario *s, int64_t first, int64_t last, bool json,
                 unsigned *checked, struct user_error *e);
// A JSON string with quotes.
void report_json_text(const char *text);

#endif
