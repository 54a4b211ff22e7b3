// SPDX-License-Identifier: Apache-2.0
// What litmus_hv.c and tests/litmus share: the programs of a litmus test, in the arena.
#ifndef HV_TESTS_LITMUS_HV_H
#define HV_TESTS_LITMUS_HV_H

#include "hv/hw/types.h"

enum litmus_op_kind {
#define LITMUS_OP(id, fn, text) LITMUS_##id,
#include "hv/tests/litmus_ops.def"
#undef LITMUS_OP
};

#define LITMUS_CPUS 4u
#define LITMUS_OPS_MAX 6u
#define LITMUS_VARS 3u
#define LITMUS_REGS 8u // 1..; 0: the result is not kept
#define LITMUS_HPA (1u << 20)

enum litmus_program { LITMUS_TABLE, LITMUS_SB, LITMUS_MP };

struct litmus_op {
    u32 op; // enum litmus_op_kind
    u32 var, reg;
    u32 from; // Register whose value it takes; 0: `value`
    u64 value;
};

struct litmus_thread {
    u32 count;
    struct litmus_op op[LITMUS_OPS_MAX];
};

struct litmus {
    struct {
        _Atomic u64 value; // On a line of its own
        u64 padding[7];
    } var[LITMUS_VARS];
    u64 reg[LITMUS_REGS];
    u32 program; // enum litmus_program
    struct litmus_thread thread[LITMUS_CPUS];
};

#endif
