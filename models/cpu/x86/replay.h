// SPDX-License-Identifier: Apache-2.0
// Replay guests: a guest program as a list of {guest cycles, what the guest does}, in place of machine code.
//
// The processor finds the program by the guest's IDTR base, as it finds a guest's handlers on silicon: each
// vCPU's program (and each nested guest's) has an interrupt table of its own at replay_idtr_base(). VMX
// non-root mode executes from the program's cursor whenever GUEST_IDTR_BASE (or, before a VM, IDTR) is that
// base; the cursor belongs to the program, so a vCPU may move between processors. Delivering vector v through
// the IDT continues at the program's handler for v, if it has one (until `iret`); a vector without handler is
// accepted and, with no time spent, ended with EOI. Addresses of memory accesses are guest-physical ones, as
// if paging were off, or linear ones, as the program says. Does not model: registers' data flow; where the
// instructions lie in memory.
#ifndef MODELS_CPU_X86_REPLAY_H
#define MODELS_CPU_X86_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum replay_op_kind {
#define REPLAY_OP(name, word, args, min, max, length, section) REPLAY_##name,
#include "models/cpu/x86/replay_ops.def"
#undef REPLAY_OP
    REPLAY_OP_COUNT
};

// Flag bits of an op.
#define REPLAY_ARG1_TSC_RELATIVE                                                                             \
    0x1                    // args[1] is added to the guest's TSC when executed ("tsc+N", N in TSC cycles)
#define REPLAY_HAS_RIP 0x2 // `rip` is given; otherwise it follows from the previous op
#define REPLAY_HAS_RECORDED 0x4 // `recorded_ns` holds the handling time on the recorded host

struct replay_op {
    uint8_t kind;        // enum replay_op_kind
    uint8_t length;      // Instruction length in bytes.
    uint16_t flags;      // REPLAY_*.
    uint32_t line;       // In the stream file, 1-based, for messages.
    uint64_t gap_cycles; // Guest cycles (pCPU clock) spent before this op.
    uint64_t rip;
    uint64_t recorded_ns;
    uint64_t args[5]; // Labels and stream names are resolved: op index, IDTR base.
                      // LOOP: count (0: for ever), index of its ENDLOOP, depth 0..7; ENDLOOP: index of its
                      // LOOP, depth.
};

#define REPLAY_NO_HANDLER UINT32_MAX
struct replay_program {
    const char *name;      // "vcpu0", "l2"
    struct replay_op *ops; // Ends with REPLAY_END.
    uint32_t op_count;
    uint32_t handler[256]; // Op index of the handler of each vector, or REPLAY_NO_HANDLER.
    uint64_t initial_rip;
    bool linear; // Addresses go through the guest's page tables; else they are guest-physical.
};

#define REPLAY_IDTR_BASE 0xfffffe0000000000ull
// IDTR base of stream `stream` (0: the vCPU's own, 1..: nested guests') of a vCPU. vm < 256, vcpu < 256,
// stream < 16.
static inline uint64_t replay_idtr_base(unsigned vm, unsigned vcpu, unsigned stream)
{
    return REPLAY_IDTR_BASE + ((((uint64_t)vm * 256 + vcpu) * 16 + stream) << 12);
}

#endif
