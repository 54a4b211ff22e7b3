// SPDX-License-Identifier: Apache-2.0
// Integer instructions of the interpreter against the host's own processor, in 64-bit mode: registers, flags
// (but undefined ones), memory, exceptions. What needs RSP or R15 is left to the test against Unicorn.
#include "tests/differential/forms.h"
#include "tests/differential/native.h"
#include "tests/shim/shim.h"

#include <stdio.h>
#include <string.h>

#define KEPT (1u << 4 | 1u << 15) // By the call itself

static void run_host(struct state *s, const unsigned char *code, unsigned length)
{
    struct native_state n = {.rflags = s->rflags};

    n.fx[0] = 0x7f; // FCW 37fh, MXCSR 1f80h
    n.fx[1] = 3;
    n.fx[24] = 0x80;
    n.fx[25] = 0x1f;
    memcpy(n.gpr, s->gpr, sizeof n.gpr);
    memcpy((void *)(uintptr_t)DATA, s->data, DATA_BYTES);
    native_run(&n, code, length);
    memcpy(s->data, (void *)(uintptr_t)DATA, DATA_BYTES);
    for (unsigned i = 0; i < 16; i++)
        if (!(KEPT >> i & 1))
            s->gpr[i] = n.gpr[i];
    s->rflags = n.rflags;
    s->vector = n.vector;
}

static bool can_run(const struct form *f)
{
    if (!strchr(f->sizes, 'H'))
        return true;
    if (!strcmp(f->name, "popcnt"))
        return __builtin_cpu_supports("popcnt");
    if (!strncmp(f->name, "movbe", 5)) // Not asked for by that builtin; every processor with BMI2 has it.
        return __builtin_cpu_supports("bmi2");
    return __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

// True: it was carried out by both, without an exception.
static bool try_one(const struct form *f, unsigned *done)
{
    static struct state before, ours, theirs;
    unsigned char code[CODE_BYTES_MAX];
    unsigned length = form_make(f, code, &before);

    if (!length || form_uses(code, length, KEPT))
        return false;
    ours = theirs = before;
    run_ours(&ours, code, length);
    run_host(&theirs, code, length);
    ++*done;
    if (!state_equal(&ours, &theirs, f->undefined))
        state_report(f, "the host", code, length, &before, &ours, &theirs);
    return theirs.vector == NATIVE_NO_VECTOR;
}

TEST(Differential, IntegerInstructionsOnTheHostsProcessor)
{
    unsigned done = 0, rows = 0;

    form_open(true);
    native_open(DATA, DATA_BYTES);
    for (unsigned i = 0; i < form_count; i++) {
        if (!form_exists(&forms[i]) || !can_run(&forms[i]))
            continue;
        rows++;
        unsigned carried_out = 0, before = done;

        for (unsigned try = 0; try < TRIES_EACH; try++)
            carried_out += try_one(&forms[i], &done);
        test_row("%s", forms[i].name);
        EXPECT_TRUE(carried_out || done == before); // Not a row of exceptions, but where all use RSP.
    }
    printf("%u instructions of %u forms\n", done, rows);
    EXPECT_GT(done, rows * TRIES_EACH / 2);
    native_close();
    form_close();
}
