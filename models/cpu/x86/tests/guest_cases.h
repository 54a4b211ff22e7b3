// SPDX-License-Identifier: Apache-2.0
// What test_native_guest.c and its guest program agree upon.
#ifndef MODELS_CPU_X86_TESTS_GUEST_CASES_H
#define MODELS_CPU_X86_TESTS_GUEST_CASES_H

enum {
    CASE_STRAIGHT,
    CASE_WORK,
    CASE_ACCESSES,
    CASE_INSN,
    CASE_HANDLER,
    CASE_SPIN,
    CASE_LOCKED,
    CASE_SMALL,
    CASE_LOADS,
    CASE_QUIET,
    CASE_FAIL,
    CASE_OPEN,
    CASES
};

// Guest-physical addresses of results, in memory that is mapped.
enum { RESULT_AT = 0x1000, VECTOR_AT = 0x2000, COUNT_AT = 0x2008 };

#endif
