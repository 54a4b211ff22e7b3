// SPDX-License-Identifier: Apache-2.0
#include "traces/export.h"

#include "traces/memory.h"

#include <stdio.h>
#include <stdlib.h>

struct summary_list {
    uint64_t *values;
    size_t count, capacity;
};

struct summary_reason {
    char *name;
    struct trace_exit_row row;
    struct summary_list cycles, recorded_ns, recorded_cycles;
};

struct summary {
    struct summary_reason *reasons;
    size_t count, capacity;
};

static void list_add(struct summary_list *list, uint64_t value)
{
    void *values = list->values;

    memory_fit(&values, &list->capacity, list->count, sizeof *list->values);
    list->values = values;
    list->values[list->count++] = value;
}

static int list_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

// Nearest rank: the smallest value that at least percent of the values do not exceed. The list is sorted.
static uint64_t list_percentile(const struct summary_list *list, uint64_t percent)
{
    return list->count ? list->values[(list->count * percent + 99) / 100 - 1] : 0;
}

static struct summary_reason *summary_reason(struct summary *summary, const char *name)
{
    for (size_t i = 0; i < summary->count; i++)
        if (!strcmp(summary->reasons[i].name, name))
            return &summary->reasons[i];
    void *reasons = summary->reasons;

    memory_fit(&reasons, &summary->capacity, summary->count, sizeof *summary->reasons);
    summary->reasons = reasons;
    summary->reasons[summary->count].name = strdup(name);
    return &summary->reasons[summary->count++];
}

enum summary_column {
    COLUMN_REASON,
    COLUMN_CYCLES,
    COLUMN_GUEST,
    COLUMN_HW_EXIT,
    COLUMN_HW_ENTRY,
    COLUMN_HV,
    COLUMN_DEVICE,
    COLUMN_WAIT,
    COLUMN_OTHER,
    COLUMN_RECORDED,
};

static bool summary_take(void *context, const struct trace_row *from)
{
    const struct trace_value *values = from->values;
    const char *name = values[COLUMN_REASON].text;
    struct summary_reason *reason = summary_reason(context, name ? name : "(unknown)");
    struct trace_exit_row *row = &reason->row;

    row->count++;
    row->guest_cycles += (uint64_t)values[COLUMN_GUEST].integer;
    if (values[COLUMN_CYCLES].type == TRACE_VALUE_NULL) {
        row->unfinished++;
        return true;
    }
    uint64_t cycles = (uint64_t)values[COLUMN_CYCLES].integer;

    list_add(&reason->cycles, cycles);
    row->total_cycles += cycles;
    row->hw_exit_cycles += (uint64_t)values[COLUMN_HW_EXIT].integer;
    row->hw_entry_cycles += (uint64_t)values[COLUMN_HW_ENTRY].integer;
    row->hv_cycles += (uint64_t)values[COLUMN_HV].integer;
    row->device_cycles += (uint64_t)values[COLUMN_DEVICE].integer;
    row->wait_cycles += (uint64_t)values[COLUMN_WAIT].integer;
    row->other_cycles += (uint64_t)values[COLUMN_OTHER].integer;
    if (values[COLUMN_RECORDED].type != TRACE_VALUE_NULL) {
        list_add(&reason->recorded_ns, (uint64_t)values[COLUMN_RECORDED].integer);
        list_add(&reason->recorded_cycles, cycles);
        row->recorded_total_ns += (uint64_t)values[COLUMN_RECORDED].integer;
        row->recorded_sim_cycles += cycles;
    }
    return true;
}

static void list_sort(struct summary_list *list)
{
    if (list->count)
        qsort(list->values, list->count, sizeof *list->values, list_compare);
}

static void summary_finish(struct summary_reason *reason)
{
    struct trace_exit_row *row = &reason->row;

    list_sort(&reason->cycles);
    list_sort(&reason->recorded_ns);
    list_sort(&reason->recorded_cycles);
    row->reason = reason->name;
    row->median_cycles = list_percentile(&reason->cycles, 50);
    row->p99_cycles = list_percentile(&reason->cycles, 99);
    row->min_cycles = reason->cycles.count ? reason->cycles.values[0] : 0;
    row->max_cycles = list_percentile(&reason->cycles, 100);
    row->recorded_count = reason->recorded_ns.count;
    row->recorded_median_ns = list_percentile(&reason->recorded_ns, 50);
    row->recorded_sim_median_cycles = list_percentile(&reason->recorded_cycles, 50);
}

static int summary_compare(const void *a, const void *b)
{
    const struct trace_exit_row *x = &((const struct summary_reason *)a)->row,
                                *y = &((const struct summary_reason *)b)->row;

    if (x->total_cycles != y->total_cycles)
        return x->total_cycles < y->total_cycles ? 1 : -1;
    return strcmp(x->reason, y->reason);
}

enum trace_status trace_exit_summary(struct trace_reader *reader, int64_t run, int level,
                                     trace_exit_row_fn *fn, void *context, struct trace_error *error)
{
    struct summary summary = {0};
    char sql[320];
    bool more = true;

    snprintf(sql, sizeof sql,
             "SELECT reason, cycles, guest_cycles, hw_exit_cycles, hw_entry_cycles, hv_cycles, "
             "device_cycles, wait_cycles, "
             "other_cycles, recorded_ns FROM main.exits WHERE run = %lld AND (%d = 0 OR level = %d)",
             (long long)run, level, level);
    enum trace_status status = trace_query(reader, sql, summary_take, &summary, error);

    for (size_t i = 0; i < summary.count; i++)
        summary_finish(&summary.reasons[i]);
    if (status == TRACE_OK && summary.count)
        qsort(summary.reasons, summary.count, sizeof *summary.reasons, summary_compare);
    for (size_t i = 0; i < summary.count; i++) {
        struct summary_reason *reason = &summary.reasons[i];

        more = status == TRACE_OK && more && fn(context, &reason->row);
        free(reason->cycles.values);
        free(reason->recorded_ns.values);
        free(reason->recorded_cycles.values);
        free(reason->name);
    }
    free(summary.reasons);
    return status;
}
