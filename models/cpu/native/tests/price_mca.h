// SPDX-License-Identifier: Apache-2.0
//
// Block prices against llvm-mca (LLVM 14), a stranger's model of the same cores. What is compared with what:
//   - a block which is no loop: our price against llvm-mca's "Block RThroughput", the cycles a block takes
//   when its
//     resources are the only limit. Our price is of that kind, but for chains longer than the scheduler
//     covers.
//   - a loop: our price against llvm-mca's total cycles for 100 turns, divided by 100; there both follow what
//   one turn
//     hands to the next.
// Ratios are ours to theirs in thousandths; cycles are in hundredths.

#ifndef MODELS_CPU_NATIVE_TESTS_PRICE_MCA_H
#define MODELS_CPU_NATIVE_TESTS_PRICE_MCA_H

#include "models/cpu/native/price.h"

struct mca_block {
    const struct price_block *block;
    uint32_t ours;
    uint32_t theirs;
    uint32_t ratio;
    const char *class; // why they differ, NULL if they do not by half or more
};

struct mca_report {
    struct mca_block *blocks; // sorted by ratio, then address
    size_t count;
    size_t empty; // blocks without priced instructions or which llvm-mca holds for free
    size_t outliers;
    size_t unexplained;
    uint32_t tenth, median, ninetieth;
};

// The llvm-mca to use, or NULL if there is none.
const char *mca_program(void);
// llvm-mca's name for a micro-architecture of ours, or NULL.
const char *mca_cpu(const char *uarch);
// Compares every block of t; files go to `folder`. False with a message on failure. mca_report_free() the
// report.
bool mca_compare(struct mca_report *report, struct price_table *t, const struct uarch *u, const char *folder,
                 char *error, size_t error_size);
void mca_report_free(struct mca_report *report);
// Prints percentiles, the classes of the outliers with their counts, and the `worst` outliers on both sides.
void mca_print(const struct mca_report *report, struct price_table *t, const struct uarch *u, size_t worst);

#endif
