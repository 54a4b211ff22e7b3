// SPDX-License-Identifier: Apache-2.0
// Counts and handling times for each exit reason, in bounded memory.
#ifndef TOOLS_HVSIM_IMPORT_STATS_H
#define TOOLS_HVSIM_IMPORT_STATS_H

#include <stdbool.h>
#include <stdint.h>

// Histogram of units with 1024 steps for each power of two: exact below 2048 units, else within 0.1 %.
#define HISTOGRAM_STEP_BITS 10u
#define HISTOGRAM_BUCKETS ((65u - HISTOGRAM_STEP_BITS) << HISTOGRAM_STEP_BITS)

struct histogram {
    uint32_t *buckets; // From the first value on.
    uint64_t count;
};

bool histogram_add(struct histogram *histogram, uint64_t value); // False without memory.
// The least value which at least `percent` of the values do not exceed; 0 without values.
uint64_t histogram_percentile(const struct histogram *histogram, unsigned percent);
void histogram_free(struct histogram *histogram);

#define STATS_REASON_NAME_MAX 40
#define STATS_REASONS_MAX 160

struct reason_stats {
    char name[STATS_REASON_NAME_MAX];
    uint32_t reason; // Basic exit reason, or REASON_* of event.h.
    uint64_t count, defaulted, skipped;
    struct histogram handled; // In units of stats.unit_ns.
};

struct stats {
    struct reason_stats rows[STATS_REASONS_MAX];
    unsigned row_count;
    uint64_t unit_ns;  // Resolution of the trace's times.
    uint64_t overflow; // Exits whose name found no row any more.
};

// The row of that name, made on first use. NULL when there are too many (counted in overflow).
struct reason_stats *stats_row(struct stats *stats, const char *name, unsigned size, uint32_t reason);
void stats_handled(struct stats *stats, struct reason_stats *row, uint64_t ns);
uint64_t stats_percentile_ns(const struct stats *stats, const struct reason_stats *row, unsigned percent);
// By count, most first; equal counts by name.
void stats_sort(struct stats *stats);
void stats_free(struct stats *stats);

#endif
