// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/gdb/tests/fake_target.h"

static const struct gdb_regs *regs(void *ctx, unsigned thread)
{
    static struct gdb_regs r[2];

    (void)ctx;
    r[thread - 1].gpr[0] = thread;
    return &r[thread - 1];
}

static size_t read_bytes(void *ctx, unsigned thread, uint64_t address, void *to, size_t size)
{
    size_t done = 0;

    (void)ctx;
    (void)thread;
    for (; done < size && address + done >= 0x1000 && address + done < 0x2000; done++)
        ((uint8_t *)to)[done] = (uint8_t)(address + done);
    return done;
}

static void describe(void *ctx, unsigned thread, char *text, size_t size)
{
    (void)ctx;
    snprintf(text, size, "fake %u", thread);
}

static void monitor(void *ctx, unsigned thread, const char *command, FILE *out)
{
    (void)ctx;
    fprintf(out, "%u: %s\n", thread, command);
}

struct gdb_target fake_target(void)
{
    return (struct gdb_target){
        .threads = 2, .regs = regs, .read = read_bytes, .describe = describe, .monitor = monitor};
}
