// SPDX-License-Identifier: Apache-2.0
// Decoding of guest code: what is kept of instructions seen before.
#include "models/cpu/x86/interp/block.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"

#include <stdlib.h>
#include <string.h>

enum { TRIES = 1500, BYTES = 15 };

static uint64_t seed;
static uint64_t random64(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    return z ^ (z >> 31);
}

static const struct {
    uint32_t mode; // block_mode()
    uint64_t rip;
} modes[] = {
    {CODE_64 | 8u << 4, 0xffffffff81000000}, {CODE_64 | 8u << 4, 0x400000}, {CODE_32 | 4u << 4, 0x100000},
    {CODE_32 | 2u << 4, 0xfffffff0},         {CODE_16 | 2u << 4, 0x7c00},   {CODE_16 | 4u << 4, 0xfff0}};

static void equal_to_fresh(const struct cost *k, struct decoder *used, const unsigned char *bytes, unsigned m)
{
    struct decoder *fresh = decoder_create();
    struct uop a, b;
    struct price_insn p, q;
    uint64_t rip = modes[m].rip + (m == 1 ? random64() & 0xffff : 0);

    ASSERT_TRUE(fresh != NULL);
    memset(&p, 0, sizeof p);
    memset(&q, 0, sizeof q);
    EXPECT_EQ(decode_one(used, &k->classes, &a, &p, bytes, BYTES, rip, modes[m].mode),
              decode_one(fresh, &k->classes, &b, &q, bytes, BYTES, rip, modes[m].mode));
    if (a.kind[0] == OPERAND_XMM) // simd_decode()'s immediate, where there is none.
        a.imm = b.imm;
    EXPECT_EQ(memcmp(&a, &b, sizeof a), 0);
    EXPECT_EQ(memcmp(&p, &q, sizeof p), 0);
    decoder_destroy(fresh);
}

// Each instruction comes three times: with other displacements, and elsewhere.
TEST(Decode, WhatWasSeenBeforeIsDecodedAsIfItWereNew)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    struct cost *k = calloc(1, sizeof *k);
    struct decoder *used = decoder_create();

    ASSERT_TRUE(k != NULL && used != NULL && cost_open(k, pcpu_current));
    seed = 7;
    for (unsigned i = 0; i < TRIES && !test_failed(); i++) {
        unsigned char bytes[BYTES];
        unsigned m = (unsigned)(random64() % (sizeof modes / sizeof *modes)),
                 kept = 2 + (unsigned)(random64() & 3);

        for (unsigned b = 0; b < BYTES; b++)
            bytes[b] = (unsigned char)(random64() >> 24);
        if (random64() & 1)
            bytes[0] = 0x48;
        for (unsigned again = 0; again < 3; again++) {
            test_row("try %u, mode %u: %02x %02x %02x %02x %02x %02x", i, m, bytes[0], bytes[1], bytes[2],
                     bytes[3], bytes[4], bytes[5]);
            equal_to_fresh(k, used, bytes, m);
            for (unsigned b = kept; b < BYTES; b++)
                bytes[b] = (unsigned char)(again ? 0 : random64() >> 24);
        }
    }
    decoder_destroy(used);
    free(k);
    bench_end();
}
