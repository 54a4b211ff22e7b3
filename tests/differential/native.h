// SPDX-License-Identifier: Apache-2.0
// One instruction on the host's own processor, on a given state: the oracle for what does not need privilege.
#ifndef TESTS_DIFFERENTIAL_NATIVE_H
#define TESTS_DIFFERENTIAL_NATIVE_H

#include <stdint.h>

// As native_call() lays it out: a 512-byte FXSAVE64 area first.
struct native_state {
    unsigned char fx[512];
    uint64_t gpr[16]; // Not RSP and R15, which the call keeps for itself
    uint64_t rflags;
    void *code;
    unsigned vector; // Exception in which it ended; NATIVE_NO_VECTOR: none
} __attribute__((aligned(16)));

#define NATIVE_NO_VECTOR 255u

// Maps `bytes` of data at `address`, which the instruction may access there, and installs handlers of
// signals.
void native_open(uint64_t address, uint64_t bytes);
// Runs the instruction `code` of `length` bytes.
void native_run(struct native_state *s, const unsigned char *code, unsigned length);
void native_close(void);

#endif
