// SPDX-License-Identifier: Apache-2.0
// Comparing before copying: most of a dirtied page is as it was, and lines that are only read are not written
// back to memory. docs/rewind.md has the figures.
#include "sim/rewind/inner.h"

bool (*rewind_copy)(char *restrict live, const char *restrict saved);

// Bytes compared at a time, and copied if they differ.
enum { STEP_BYTES = 256 };

typedef long long vector16 __attribute__((vector_size(16)));
typedef long long vector32 __attribute__((vector_size(32)));

static bool copy_by_16(char *restrict live, const char *restrict saved)
{
    bool differs = false;

    for (size_t at = 0; at < PAGE_BYTES; at += STEP_BYTES) {
        vector16 *to = (vector16 *)(live + at), difference = {0};
        const vector16 *from = (const vector16 *)(saved + at);

        for (size_t i = 0; i < STEP_BYTES / sizeof *to; i++) {
            difference |= to[i] ^ from[i];
        }
        if (difference[0] | difference[1]) {
            differs = true;
            for (size_t i = 0; i < STEP_BYTES / sizeof *to; i++) {
                to[i] = from[i];
            }
        }
    }
    return differs;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static bool copy_by_32(char *restrict live, const char *restrict saved)
{
    bool differs = false;

    for (size_t at = 0; at < PAGE_BYTES; at += STEP_BYTES) {
        vector32 *to = (vector32 *)(live + at), difference = {0};
        const vector32 *from = (const vector32 *)(saved + at);

        for (size_t i = 0; i < STEP_BYTES / sizeof *to; i++) {
            difference |= to[i] ^ from[i];
        }
        if (difference[0] | difference[1] | difference[2] | difference[3]) {
            differs = true;
            for (size_t i = 0; i < STEP_BYTES / sizeof *to; i++) {
                to[i] = from[i];
            }
        }
    }
    return differs;
}
#endif

void rewind_copy_choose(void)
{
    rewind_copy = copy_by_16;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        rewind_copy = copy_by_32;
    }
#endif
}
