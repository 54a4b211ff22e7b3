// SPDX-License-Identifier: Apache-2.0
//
// The stranger's check: over all blocks, the ratio of our price to llvm-mca's has a median between 0.8
// and 1.25, and every block that differs by half or more has a known reason (price_mca.c). What is compared:
// price_mca.h.

#include "models/cpu/native/tests/price_mca.h"
#include "tests/shim/shim.h"

#include <stdio.h>

static void check(const char *library, const char *uarch)
{
    char path[512], error[600];
    struct mca_report r;
    snprintf(path, sizeof path, "%s/models/cpu/uarch/%s.yaml", test_source_dir(), uarch);
    struct uarch *u = uarch_load(path, error, sizeof error);
    struct price_table *t = u != NULL ? price_open(library, 0, u, error, sizeof error) : NULL;
    if (t == NULL || !mca_compare(&r, t, u, test_tmpdir(), error, sizeof error)) {
        TEST_FAIL("%s", error);
    } else {
        mca_print(&r, t, u, 3);
        EXPECT_GE(r.count * 10, price_block_count(t) * 9);
        EXPECT_GE(r.median, 800);
        EXPECT_LE(r.median, 1250);
        EXPECT_LE(r.unexplained * 100, r.count);
        mca_report_free(&r);
    }
    price_close(t);
    uarch_free(u);
}

TEST(PriceMca, SampleOnSkylake)
{
    char path[512];
    if (mca_program() == NULL)
        test_skip("no llvm-mca: install Debian's package llvm");
    snprintf(path, sizeof path, "%s/lib/libprice_sample.so", test_build_dir());
    check(path, "skylake-sp");
}

TEST(PriceMca, SampleOnSandyBridge)
{
    char path[512];
    if (mca_program() == NULL)
        test_skip("no llvm-mca: install Debian's package llvm");
    snprintf(path, sizeof path, "%s/lib/libprice_sample.so", test_build_dir());
    check(path, "sandybridge-ep");
}

TEST(PriceMca, Libhv)
{
    FILE *f = fopen(test_hv_lib(), "rb");
    if (mca_program() == NULL || f == NULL) {
        if (f != NULL)
            fclose(f);
        test_skip(f == NULL ? "this build makes no libhv.so" : "no llvm-mca: install Debian's package llvm");
    }
    fclose(f);
    check(test_hv_lib(), "skylake-sp");
    check(test_hv_lib(), "sandybridge-ep");
}
