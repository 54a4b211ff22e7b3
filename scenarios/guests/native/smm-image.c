// SPDX-License-Identifier: Apache-2.0
#include "scenarios/guests/native/guest.h"

enum { SMBASE, CHANGE };

static const struct guest_arg args[] = {
    [SMBASE] = {"smbase", "where the image is, less 0xfe00", 0x200000, 0x100000, UINT64_MAX, GUEST_BYTES},
    [CHANGE] = {"change", "when its CR4 and CR3 become others, from the program's start", 50000, 0,
                1000000000, GUEST_TIME},
};

// Of the 64-bit image, from SMBASE on: AMD APM vol. 2, table 10-1.
enum {
    SEGMENTS = 0xfe00,
    CS = 1,
    SS = 2,
    TR = 9,
    EFER = 0xfed0,
    CR4 = 0xff48,
    CR3 = 0xff50,
    CR0 = 0xff58,
    RFLAGS = 0xff70
};

static void run(const struct guest_env *env, const uint64_t *arg)
{
    uint64_t start = guest_rdtsc();
    uint32_t regs[4];
    char *image = (char *)(uintptr_t)arg[SMBASE];
    // Selector, attributes and limit: 64-bit code, data, a busy TSS.
    static const struct {
        uint32_t at;
        uint64_t value;
    } old[] = {
        {SEGMENTS + 16 * CS, 0xffffffff0a9b0010},
        {SEGMENTS + 16 * SS, 0xffffffff0c930018},
        {SEGMENTS + 16 * TR, 0x00000067008b0040},
        {EFER, 0x500},
        {CR4, 0x20},
        {CR3, 0x1000},
        {CR0, 0x80050033},
        {RFLAGS, 2},
    };

    (void)env;
    for (unsigned i = 0; i < sizeof old / sizeof *old; i++)
        guest_store((guest_u64 *)(image + old[i].at), old[i].value);
    guest_work_until(start + arg[CHANGE]);
    // First CR4: the new CR3 and the old CR4 are never in memory together.
    guest_store((guest_u64 *)(image + CR4), 0xa0);
    guest_store((guest_u64 *)(image + CR3), 0x2000);
    guest_cpuid(0, 0, regs);
    guest_work(arg[CHANGE]);
}

GUEST_PROGRAM(
    "Writes the image of a processor in system-management mode, changes it, and leaves the guest once.", args,
    run);
