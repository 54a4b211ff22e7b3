// SPDX-License-Identifier: Apache-2.0
//
// price_report LIBRARY UARCH.yaml FOLDER [WORST]: what tools/bench/prices.sh runs for each
// micro-architecture.

#include "models/cpu/native/tests/price_mca.h"

#include <stdio.h>
#include <stdlib.h>

static int report(const char *library, const char *uarch, const char *folder, size_t worst)
{
    char error[600];
    struct mca_report r;
    struct uarch *u = uarch_load(uarch, error, sizeof error);
    struct price_table *t = u != NULL ? price_open(library, 0, u, error, sizeof error) : NULL;
    bool done = t != NULL && mca_compare(&r, t, u, folder, error, sizeof error);
    if (done) {
        for (size_t i = 0; i < price_unknown_count(t); i++)
            printf("  no class for %s\n", price_unknown_at(t, i));
        mca_print(&r, t, u, worst);
        mca_report_free(&r);
    } else {
        fprintf(stderr, "price_report: %s\n", error);
    }
    price_close(t);
    uarch_free(u);
    return done ? 0 : 2;
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: price_report LIBRARY UARCH.yaml FOLDER [WORST]\n");
        return 2;
    }
    if (mca_program() == NULL) {
        fprintf(stderr, "price_report: no llvm-mca; it is in Debian's package llvm\n");
        return 2;
    }
    return report(argv[1], argv[2], argv[3], argc == 5 ? strtoul(argv[4], NULL, 10) : 5);
}
