// SPDX-License-Identifier: Apache-2.0
// Integer instructions in all their forms, on random states: made here, executed by the model here, and by
// somebody else in the test.
#ifndef TESTS_DIFFERENTIAL_FORMS_H
#define TESTS_DIFFERENTIAL_FORMS_H

#include <stdbool.h>
#include <stdint.h>

enum { CODE = 0x10000, DATA = 0x20000, DATA_BYTES = 0x2000 };
#define NO_VECTOR 255
#define TRIES_EACH 400

#define CODE_BYTES_MAX 24u

struct state {
    uint64_t gpr[16], rflags;
    unsigned char data[DATA_BYTES];
    unsigned vector; // Of the exception in which it ended
};

// One row of cases.def.
struct form {
    const char *name;
    unsigned char bytes[4];
    unsigned byte_count;
    const char *operands;
    unsigned ext;
    int immediate;
    uint64_t undefined;
    const char *sizes;
};
extern const struct form forms[];
extern const unsigned form_count;
extern bool mode_64; // Else compatibility mode, 32-bit code

// The model in that mode. After it the functions below.
void form_open(bool mode);
void form_close(void);

uint64_t random64(void);
// In this mode?
bool form_exists(const struct form *f);
// A random member of the form, and a state for it in which its memory operands lie in the data; the length,
// 0: it cannot be.
unsigned form_make(const struct form *f, unsigned char code[CODE_BYTES_MAX], struct state *s);
// Does the instruction name, or use without naming, a register of these numbers, or RIP?
bool form_uses(const unsigned char *code, unsigned length, uint32_t registers);

void run_ours(struct state *s, const unsigned char *code, unsigned length);
bool state_equal(const struct state *a, const struct state *b, uint64_t undefined);
// Fails the test with what differs from `other`.
void state_report(const struct form *f, const char *other, const unsigned char *code, unsigned length,
                  const struct state *before, const struct state *ours, const struct state *theirs);

#endif
