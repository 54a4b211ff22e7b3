// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/report.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void report_json_text(const char *text)
{
    putchar('"');
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\')
            printf("\\%c", *p);
        else if (*p < 0x20)
            printf("\\u%04x", *p);
        else
            putchar(*p);
    }
    putchar('"');
}

// --- Exits. ---

struct table {
    bool json;
    unsigned rows;
    uint64_t clock_khz;
    struct trace_exit_row sum;
    struct trace_exit_row kept[128]; // Recorded is compared with simulated once the first table is out.
    unsigned kept_count;
};

static void print_json_row(const struct trace_exit_row *r, bool first)
{
    printf("%s\n      {\"reason\": \"%s\", \"count\": %" PRIu64 ", \"median_cycles\": %" PRIu64
           ", \"p99_cycles\": %" PRIu64 ", \"total_cycles\": %" PRIu64 ", \"hw_exit_cycles\": %" PRIu64
           ", \"hw_entry_cycles\": %" PRIu64 ", \"hv_cycles\": %" PRIu64 ", \"device_cycles\": %" PRIu64
           ", \"wait_cycles\": %" PRIu64 ", \"other_cycles\": %" PRIu64 "}",
           first ? "" : ",", r->reason, r->count, r->median_cycles, r->p99_cycles, r->total_cycles,
           r->hw_exit_cycles, r->hw_entry_cycles, r->hv_cycles, r->device_cycles, r->wait_cycles,
           r->other_cycles);
}

static bool exit_row(void *ctx, const struct trace_exit_row *r)
{
    struct table *t = ctx;

    if (t->json)
        print_json_row(r, t->rows == 0);
    else
        printf("  %-22s %8" PRIu64 " %9" PRIu64 " %9" PRIu64 " %12" PRIu64 "  | %10" PRIu64 " %11" PRIu64
               " %10" PRIu64 " %12" PRIu64 "\n",
               r->reason, r->count, r->median_cycles, r->p99_cycles, r->total_cycles,
               r->hw_exit_cycles + r->hw_entry_cycles, r->hv_cycles, r->device_cycles,
               r->wait_cycles + r->other_cycles);
    t->rows++;
    t->sum.count += r->count;
    t->sum.total_cycles += r->total_cycles;
    t->sum.hw_exit_cycles += r->hw_exit_cycles + r->hw_entry_cycles;
    t->sum.hv_cycles += r->hv_cycles;
    t->sum.device_cycles += r->device_cycles;
    t->sum.wait_cycles += r->wait_cycles + r->other_cycles;
    if (t->kept_count < sizeof t->kept / sizeof *t->kept)
        t->kept[t->kept_count++] = *r;
    return true;
}

static uint64_t cycles_to_ns(uint64_t cycles, uint64_t clock_khz)
{
    return (uint64_t)((unsigned __int128)cycles * 1000000 / clock_khz);
}

// What the recording says of a reason, or NULL.
static const struct scenario_recorded *recorded_of(const struct scenario *s, const char *reason)
{
    for (uint32_t i = 0; i < s->recorded_count; i++)
        if (strcmp(s->recorded[i].reason, reason) == 0)
            return &s->recorded[i];
    return NULL;
}

// Exits that the stream causes one by one carry their own recorded time; of those that arrive (interrupts,
// timers) the recording's median is known.
static void print_pair(const struct trace_exit_row *r, const struct scenario_recorded *recorded,
                       uint64_t clock_khz)
{
    bool own = r->recorded_count > 0;
    uint64_t median_ns = own ? r->recorded_median_ns : recorded->p50_ns;
    uint64_t median_cycles = own ? r->recorded_sim_median_cycles : r->median_cycles;

    printf("  %-22s %8" PRIu64 " %8" PRIu64 " | %9" PRIu64 " ns %9" PRIu64 " ns |", r->reason,
           recorded ? recorded->count : 0, r->count, median_ns, cycles_to_ns(median_cycles, clock_khz));
    if (own)
        printf(" %11" PRIu64 " us %11" PRIu64 " us\n", r->recorded_total_ns / 1000,
               cycles_to_ns(r->recorded_sim_cycles, clock_khz) / 1000);
    else
        printf(" %14s %14s\n", "-", "-");
}

static void print_recorded(const struct table *t, const struct scenario *s)
{
    bool any = false;

    for (unsigned i = 0; i < t->kept_count; i++) {
        const struct scenario_recorded *recorded = recorded_of(s, t->kept[i].reason);

        if (!recorded && !t->kept[i].recorded_count)
            continue;
        if (!any)
            printf("\n  recorded on the real host against simulated, exit to entry:\n"
                   "  %-22s %8s %8s | %12s %12s | %14s %14s\n",
                   "reason", "exits", "replayed", "recorded p50", "simulated p50", "recorded total",
                   "simulated total");
        any = true;
        print_pair(&t->kept[i], recorded, t->clock_khz);
    }
}

void report_exits(struct trace *trace, const struct scenario *s, uint64_t clock_khz, bool json)
{
    struct table *t = calloc(1, sizeof *t);

    if (!t)
        abort();
    t->json = json;
    t->clock_khz = clock_khz;
    if (json)
        printf("    \"exits\": [");
    else
        printf("  %-22s %8s %9s %9s %12s  | %10s %11s %10s %12s\n", "exit reason", "count", "median", "p99",
               "total", "hardware", "hypervisor", "device", "waiting");
    trace_exit_summary(trace, exit_row, t);
    if (json)
        printf("\n    ]");
    else
        printf("  %-22s %8" PRIu64 " %9s %9s %12" PRIu64 "  | %10" PRIu64 " %11" PRIu64 " %10" PRIu64
               " %12" PRIu64 "   (cycles at %" PRIu64 ".%02" PRIu64 " GHz)\n",
               "all", t->sum.count, "", "", t->sum.total_cycles, t->sum.hw_exit_cycles, t->sum.hv_cycles,
               t->sum.device_cycles, t->sum.wait_cycles, clock_khz / 1000000, clock_khz % 1000000 / 10000);
    if (!json)
        print_recorded(t, s);
    free(t);
}

// --- Violations. ---

struct violations {
    unsigned count, expected_count;
    const char *expected; // Kind that the variant is there to show, or NULL.
    bool json;
};

static bool violation_row(void *ctx, const struct trace_row *row)
{
    struct violations *v = ctx;

    if (v->expected && row->values[0].text && strcmp(row->values[0].text, v->expected) == 0) {
        v->expected_count++;
        if (!v->json)
            printf("  pass violation %s (%s) at cycle %s, %s times\n", v->expected,
                   row->values[1].text ? row->values[1].text : "", row->values[2].text, row->values[3].text);
        return true;
    }
    if (v->json) {
        printf("%s", v->count ? ", " : "");
        report_json_text(row->values[0].text ? row->values[0].text : "");
    } else if (v->count < 10) {
        printf("  violation: %s (%s) at cycle %s, %s times\n", row->values[0].text,
               row->values[1].text ? row->values[1].text : "", row->values[2].text, row->values[3].text);
    }
    v->count++;
    return true;
}

unsigned report_violations(struct trace_reader *r, const struct ran *ran, bool json)
{
    struct violations v = {.json = json, .expected = ran->variant->violation};
    struct trace_error error;

    if (json)
        printf(",\n    \"violations\": [");
    if (trace_query(
            r, "SELECT kind, detail, min(cycle), count(*) FROM violations GROUP BY kind, detail ORDER BY 3",
            violation_row, &v, &error) != TRACE_OK)
        fprintf(stderr, "hvsim: %s\n", error.message);
    if (json)
        printf("]");
    bool missed = v.expected && v.expected_count == 0;

    if (missed && !json)
        printf("  FAIL violation %s: it did not happen\n", v.expected);
    return v.count + missed;
}

// --- Expectations. ---

static bool number(const char *text, double *out)
{
    char *end;

    *out = strtod(text, &end);
    return end != text && *end == 0;
}

// Is `got` within the expectation's bounds? Numbers compare as numbers, text only for equality.
static bool within(const struct scenario_expect *x, const char *got, double value, bool is_number)
{
    double low = 0, high = 0;

    if (x->kind == EXPECT_TRUE_VALUE)
        return is_number && (value > 0 || value < 0);
    if (x->kind == EXPECT_EQUALS && !(is_number && number(x->low, &low)))
        return strcmp(got, x->low) == 0;
    if (!is_number || (x->low && !number(x->low, &low)) || (x->high && !number(x->high, &high)))
        return false;
    switch (x->kind) {
    case EXPECT_EQUALS:
        return value <= low && value >= low;
    case EXPECT_AT_LEAST:
        return value >= low;
    case EXPECT_AT_MOST:
        return value <= high;
    case EXPECT_BETWEEN:
        return value >= low && value <= high;
    case EXPECT_TRUE_VALUE:
        break;
    }
    return false;
}

static void describe(const struct scenario_expect *x, char *text, size_t size)
{
    switch (x->kind) {
    case EXPECT_TRUE_VALUE:
        snprintf(text, size, "not 0");
        break;
    case EXPECT_EQUALS:
        snprintf(text, size, "%s", x->low);
        break;
    case EXPECT_AT_LEAST:
        snprintf(text, size, "at least %s", x->low);
        break;
    case EXPECT_AT_MOST:
        snprintf(text, size, "at most %s", x->high);
        break;
    case EXPECT_BETWEEN:
        snprintf(text, size, "between %s and %s", x->low, x->high);
        break;
    }
}

static void print_verdict(const struct scenario *s, const struct scenario_expect *x, bool pass,
                          const char *expected, const char *got)
{
    printf("  %s %s: %s (expected %s)\n", pass ? "pass" : "FAIL", x->about, got, expected);
    if (!pass)
        printf("       %s:%u: %s\n", s->path, x->line, x->sql);
}

static void print_json_verdict(const struct scenario_expect *x, bool pass, const char *expected,
                               const char *got, bool first)
{
    printf("%s\n      {\"about\": ", first ? "" : ",");
    report_json_text(x->about);
    printf(", \"line\": %u, \"verdict\": \"%s\", \"expected\": ", x->line, pass ? "pass" : "fail");
    report_json_text(expected);
    printf(", \"got\": ");
    report_json_text(got);
    printf("}");
}

static const char *expect_field(const struct scenario *s, const struct scenario_expect *x, char *field,
                                size_t size)
{
    snprintf(field, size, "expect[%d]", (int)(x - s->expects));
    return field;
}

// The value of an expectation's query in the reader's scope.
static int value_of(struct trace_reader *r, const struct scenario *s, const struct scenario_expect *x,
                    char *got, size_t size, double *value, bool *is_number, struct user_error *e)
{
    char field[40];
    struct trace_value v;
    struct trace_error error;

    if (trace_query_value(r, x->sql, &v, got, size, &error) != TRACE_OK)
        return user_error_at(e, s->path, x->line, expect_field(s, x, field, sizeof field), "%s; %s",
                             error.message, error.hint);
    if (v.type == TRACE_VALUE_NULL)
        snprintf(got, size, "nothing");
    *is_number = v.type == TRACE_VALUE_INTEGER || v.type == TRACE_VALUE_REAL;
    *value = *is_number ? v.real : 0;
    return 0;
}

// Is it judged at this point of a sweep?
static bool applies(const struct scenario *s, const struct scenario_expect *x)
{
    return !x->whole && (!x->at || scenario_is_at(s, x->at));
}

bool report_applies(const struct scenario *s, const struct scenario_expect *x,
                    const struct scenario_variant *variant)
{
    return !x->numerator && applies(s, x) && (!x->variant || strcmp(x->variant, variant->name) == 0);
}

int report_judge(struct trace_reader *r, const struct scenario *s, const struct scenario_expect *x,
                 struct judged *out, struct user_error *e)
{
    double value = 0;
    bool is_number = false;

    if (value_of(r, s, x, out->got, sizeof out->got, &value, &is_number, e))
        return -1;
    out->pass = within(x, out->got, value, is_number);
    describe(x, out->expected, sizeof out->expected);
    return 0;
}

int report_expectations(struct trace *t, struct trace_reader *r, const struct scenario *s, struct ran *ran,
                        bool json, struct user_error *e)
{
    if (json)
        printf(",\n    \"expectations\": [");
    for (uint32_t i = 0; i < s->expect_count; i++) {
        const struct scenario_expect *x = &s->expects[i];
        struct judged j;

        if (!report_applies(s, x, ran->variant))
            continue;
        if (report_judge(r, s, x, &j, e))
            return -1;
        struct trace_expectation row = {x->about, x->sql, j.expected, j.got, j.pass ? "pass" : "fail"};
        struct trace_error error;

        if (json)
            print_json_verdict(x, j.pass, j.expected, j.got, ran->checked == 0);
        else
            print_verdict(s, x, j.pass, j.expected, j.got);
        ran->checked++;
        ran->failed += !j.pass;
        if (trace_expectation(t, ran->run_id, &row, &error) != TRACE_OK)
            return user_error_at(e, "database", 0, NULL, "%s; %s", error.message, error.hint);
    }
    if (json)
        printf("\n    ]");
    return 0;
}

static const struct ran *find_ran(const struct ran *ran, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(ran[i].variant->name, name) == 0)
            return &ran[i];
    return NULL;
}

static int compare(struct trace_reader *r, const struct scenario *s, const struct scenario_expect *x,
                   const struct ran *a, const struct ran *b, bool json, struct user_error *e)
{
    const struct ran *side[] = {a, b};
    double value[2];
    char text[2][100], got[300], expected[200];

    for (int i = 0; i < 2; i++) {
        struct trace_error error;
        bool is_number = false;

        if (trace_reader_scope(r, side[i]->run_id, &error) != TRACE_OK)
            return user_error_at(e, s->path, x->line, "expect", "%s", error.message);
        if (value_of(r, s, x, text[i], sizeof text[i], &value[i], &is_number, e))
            return -1;
        if (!is_number)
            return user_error_at(e, s->path, x->line, "expect",
                                 "`compare` needs a number, got %s for variant %s", text[i],
                                 side[i]->variant->name);
    }
    double ratio = value[1] > 0 || value[1] < 0 ? value[0] / value[1] : 0;
    bool pass = (value[1] > 0 || value[1] < 0) && within(x, "", ratio, true);

    snprintf(got, sizeof got, "%.4g, from %s / %s", ratio, text[0], text[1]);
    describe(x, expected, sizeof expected);
    if (!json)
        print_verdict(s, x, pass, expected, got);
    return !pass;
}

int report_comparisons(struct trace_reader *r, const struct scenario *s, const struct ran *ran,
                       unsigned ran_count, bool json, struct user_error *e)
{
    int failed = 0;

    for (uint32_t i = 0; i < s->expect_count; i++) {
        const struct scenario_expect *x = &s->expects[i];

        if (!x->numerator || !applies(s, x))
            continue;
        const struct ran *a = find_ran(ran, ran_count, x->numerator),
                         *b = find_ran(ran, ran_count, x->denominator);

        if (!a || !b)
            continue;
        int result = compare(r, s, x, a, b, json, e);

        if (result < 0)
            return -1;
        failed += result;
    }
    return failed;
}

int report_sweep(struct trace_reader *r, const struct scenario *s, int64_t first, int64_t last, bool json,
                 unsigned *checked, struct user_error *e)
{
    struct trace_error error;
    int failed = 0;

    if (trace_reader_scope_runs(r, first, last, &error) != TRACE_OK)
        return user_error_at(e, s->path, 0, "sweep", "%s", error.message);
    for (uint32_t i = 0; i < s->expect_count; i++) {
        const struct scenario_expect *x = &s->expects[i];
        char got[200], expected[200];
        double value;
        bool is_number;

        if (!x->whole)
            continue;
        if (value_of(r, s, x, got, sizeof got, &value, &is_number, e))
            return -1;
        bool pass = within(x, got, value, is_number);

        describe(x, expected, sizeof expected);
        if (json)
            print_json_verdict(x, pass, expected, got, *checked == 0);
        else
            print_verdict(s, x, pass, expected, got);
        ++*checked;
        failed += !pass;
    }
    return failed;
}
