// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/import/stats.h"

#include <stdlib.h>
#include <string.h>

static unsigned bucket_of(uint64_t value)
{
    if (value >> HISTOGRAM_STEP_BITS == 0) {
        return (unsigned)value;
    }
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    return (shift << HISTOGRAM_STEP_BITS) + (unsigned)(value >> shift);
}

// The least value of a bucket.
static uint64_t bucket_value(unsigned bucket)
{
    if (bucket >> HISTOGRAM_STEP_BITS == 0) {
        return bucket;
    }
    unsigned shift = (bucket >> HISTOGRAM_STEP_BITS) - 1;
    return (uint64_t)(bucket - (shift << HISTOGRAM_STEP_BITS)) << shift;
}

bool histogram_add(struct histogram *histogram, uint64_t value)
{
    if (histogram->buckets == NULL) {
        histogram->buckets = calloc(HISTOGRAM_BUCKETS, sizeof(*histogram->buckets));
        if (histogram->buckets == NULL) {
            return false;
        }
    }
    uint32_t *bucket = &histogram->buckets[bucket_of(value)];
    *bucket += *bucket != UINT32_MAX;
    histogram->count++;
    return true;
}

uint64_t histogram_percentile(const struct histogram *histogram, unsigned percent)
{
    uint64_t rank = (histogram->count * percent + 99) / 100, seen = 0;
    for (unsigned i = 0; histogram->count > 0 && i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= rank) {
            return bucket_value(i);
        }
    }
    return 0;
}

void histogram_free(struct histogram *histogram)
{
    free(histogram->buckets);
    *histogram = (struct histogram){0};
}

struct reason_stats *stats_row(struct stats *stats, const char *name, unsigned size, uint32_t reason)
{
    size = size < STATS_REASON_NAME_MAX ? size : STATS_REASON_NAME_MAX - 1;
    for (unsigned i = 0; i < stats->row_count; i++) {
        struct reason_stats *row = &stats->rows[i];
        if (row->reason == reason && strncmp(row->name, name, size) == 0 && row->name[size] == 0) {
            return row;
        }
    }
    if (stats->row_count == STATS_REASONS_MAX) {
        stats->overflow++;
        return NULL;
    }
    struct reason_stats *row = &stats->rows[stats->row_count++];
    memcpy(row->name, name, size);
    for (unsigned i = 0; i < size; i++) { // The name goes to a terminal and into YAML.
        char c = row->name[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                    c == '-';
        row->name[i] = good ? c : c == 0 ? '?' : c == ' ' ? '_' : '?';
    }
    row->reason = reason;
    return row;
}

void stats_handled(struct stats *stats, struct reason_stats *row, uint64_t ns)
{
    (void)histogram_add(&row->handled, ns / stats->unit_ns);
}

uint64_t stats_percentile_ns(const struct stats *stats, const struct reason_stats *row, unsigned percent)
{
    return histogram_percentile(&row->handled, percent) * stats->unit_ns;
}

static int row_order(const void *a, const void *b)
{
    const struct reason_stats *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1) : strcmp(x->name, y->name);
}

void stats_sort(struct stats *stats)
{
    qsort(stats->rows, stats->row_count, sizeof(stats->rows[0]), row_order);
}

void stats_free(struct stats *stats)
{
    for (unsigned i = 0; i < stats->row_count; i++) {
        histogram_free(&stats->rows[i].handled);
    }
}
