// SPDX-License-Identifier: Apache-2.0
#include "traces/summary.h"

#include "traces/kinds.h"
#include "traces/memory.h"

#include <stdlib.h>

// --- Values. ---

static size_t values_slot(const struct summary_values *values, uint64_t value)
{
    size_t i = (size_t)(value * 0x9e3779b97f4a7c15u >> 32) & (values->capacity - 1);

    while (values->slots[i].count && values->slots[i].value != value)
        i = (i + 1) & (values->capacity - 1);
    return i;
}

static void values_grow(struct summary_values *values)
{
    struct summary_values grown = {.capacity = values->capacity ? 4 * values->capacity : 64,
                                   .used = values->used,
                                   .count = values->count};

    grown.slots = memory_zeroed(grown.capacity, sizeof *grown.slots);
    for (size_t i = 0; i < values->capacity; i++)
        if (values->slots[i].count)
            grown.slots[values_slot(&grown, values->slots[i].value)] = values->slots[i];
    free(values->slots);
    *values = grown;
}

static void values_add(struct summary_values *values, uint64_t value)
{
    if (2 * values->used >= values->capacity)
        values_grow(values);
    size_t i = values_slot(values, value);

    values->used += values->slots[i].count == 0;
    values->slots[i].value = value;
    values->slots[i].count++;
    values->count++;
}

static void values_clear(struct summary_values *values)
{
    if (values->used)
        memset(values->slots, 0, values->capacity * sizeof *values->slots);
    values->used = 0;
    values->count = 0;
}

static int values_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

// Nearest rank: the smallest value that at least `percent` of all do not exceed; percent 0: the smallest.
// `sorted`: pairs of value and count in the order of the values.
static uint64_t values_percentile(const struct summary_values *values, const uint64_t (*sorted)[2],
                                  uint64_t percent)
{
    uint64_t rank = (values->count * percent + 99) / 100, seen = 0;

    for (size_t i = 0; i < values->used; i++) {
        seen += sorted[i][1];
        if (seen >= rank)
            return sorted[i][0];
    }
    return 0;
}

// The percentiles asked for, into *out[].
static void values_percentiles(const struct summary_values *values, const uint64_t *percents,
                               uint64_t *const *out, size_t count)
{
    uint64_t(*sorted)[2] = memory_zeroed(values->used, sizeof *sorted);
    size_t n = 0;

    for (size_t i = 0; i < values->capacity; i++)
        if (values->slots[i].count) {
            sorted[n][0] = values->slots[i].value;
            sorted[n++][1] = values->slots[i].count;
        }
    if (n)
        qsort(sorted, n, sizeof *sorted, values_compare);
    for (size_t i = 0; i < count; i++)
        *out[i] = values_percentile(values, (const uint64_t(*)[2])sorted, percents[i]);
    free(sorted);
}

// --- Reasons. ---

static const char *reason_name(uint32_t key)
{
    for (uint32_t i = 0; i < exit_kind_count; i++)
        if ((uint32_t)(exit_kinds[i].arch << 16 | exit_kinds[i].number) == key)
            return exit_kinds[i].name;
    return "(unknown)";
}

static struct summary_reason *summary_reason(struct summary *summary, uint32_t key)
{
    for (size_t i = 0; i < summary->count; i++)
        if (summary->reasons[i].key == key)
            return &summary->reasons[i];
    void *reasons = summary->reasons;

    memory_fit(&reasons, &summary->capacity, summary->count, sizeof *summary->reasons);
    summary->reasons = reasons;
    struct summary_reason *reason = &summary->reasons[summary->count++];

    reason->key = key;
    reason->row.reason = reason_name(key);
    return reason;
}

void summary_begin(struct summary *summary)
{
    for (size_t i = 0; i < summary->count; i++) {
        struct summary_reason *reason = &summary->reasons[i];

        reason->row = (struct trace_exit_row){.reason = reason->row.reason};
        values_clear(&reason->cycles);
        values_clear(&reason->recorded_ns);
        values_clear(&reason->recorded_cycles);
    }
}

static uint64_t whole_cycles(uint64_t ticks)
{
    return ticks / TRACE_TICKS_PER_CYCLE;
}

void summary_take(struct summary *summary, const struct trace_exit *e)
{
    struct summary_reason *reason = summary_reason(summary, (uint32_t)e->arch << 16 | e->reason);
    struct trace_exit_row *row = &reason->row;

    row->count++;
    row->guest_cycles += whole_cycles(e->guest_ticks);
    if (e->entry_tick == TRACE_NEVER) {
        row->unfinished++;
        return;
    }
    // As the view `exits` has them: what is not another's is the core's.
    uint64_t cycles = whole_cycles(e->entry_tick) - whole_cycles(e->exit_tick);
    uint64_t hw_exit = whole_cycles(e->hw_exit_ticks), hw_entry = whole_cycles(e->hw_entry_ticks);
    uint64_t device = whole_cycles(e->device_ticks), wait = whole_cycles(e->wait_ticks);
    uint64_t parts =
        (uint64_t)e->hw_exit_ticks + e->hw_entry_ticks + e->hv_ticks + e->device_ticks + e->wait_ticks;
    uint64_t other = whole_cycles(e->entry_tick - e->exit_tick - parts);

    values_add(&reason->cycles, cycles);
    row->total_cycles += cycles;
    row->hw_exit_cycles += hw_exit;
    row->hw_entry_cycles += hw_entry;
    row->hv_cycles += cycles - hw_exit - hw_entry - device - wait - other;
    row->device_cycles += device;
    row->wait_cycles += wait;
    row->other_cycles += other;
    if (e->recorded_ns == TRACE_NOT_RECORDED)
        return;
    values_add(&reason->recorded_ns, (uint64_t)e->recorded_ns);
    values_add(&reason->recorded_cycles, cycles);
    row->recorded_count++;
    row->recorded_total_ns += (uint64_t)e->recorded_ns;
    row->recorded_sim_cycles += cycles;
}

static void summary_finish(struct summary_reason *reason)
{
    static const uint64_t percents[] = {0, 50, 99, 100};
    struct trace_exit_row *row = &reason->row;

    values_percentiles(
        &reason->cycles, percents,
        (uint64_t *const[]){&row->min_cycles, &row->median_cycles, &row->p99_cycles, &row->max_cycles}, 4);
    values_percentiles(&reason->recorded_ns, percents + 1, (uint64_t *const[]){&row->recorded_median_ns}, 1);
    values_percentiles(&reason->recorded_cycles, percents + 1,
                       (uint64_t *const[]){&row->recorded_sim_median_cycles}, 1);
}

static int summary_compare(const void *a, const void *b)
{
    const struct trace_exit_row *x = &((const struct summary_reason *)a)->row,
                                *y = &((const struct summary_reason *)b)->row;

    if (x->total_cycles != y->total_cycles)
        return x->total_cycles < y->total_cycles ? 1 : -1;
    return strcmp(x->reason, y->reason);
}

void summary_rows(struct summary *summary, trace_exit_row_fn *fn, void *context)
{
    for (size_t i = 0; i < summary->count; i++)
        summary_finish(&summary->reasons[i]);
    if (summary->count)
        qsort(summary->reasons, summary->count, sizeof *summary->reasons, summary_compare);
    for (size_t i = 0; i < summary->count; i++)
        if (summary->reasons[i].row.count && !fn(context, &summary->reasons[i].row))
            return;
}

void summary_free(struct summary *summary)
{
    for (size_t i = 0; i < summary->count; i++) {
        free(summary->reasons[i].cycles.slots);
        free(summary->reasons[i].recorded_ns.slots);
        free(summary->reasons[i].recorded_cycles.slots);
    }
    free(summary->reasons);
}
