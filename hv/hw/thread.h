// SPDX-License-Identifier: Apache-2.0
// Contexts: a stack and a saved register file. Policy (who runs) is hv's; this is only the switch.
//
// On silicon these few instructions are software (push, swap RSP, pop). They stand at the door because a
// context of natively compiled code is a coroutine of the simulator. Costs: the switch of the uarch file.
#ifndef HV_HW_THREAD_H
#define HV_HW_THREAD_H

#include "hv/hw/types.h"

// Lives in hv's memory; `id` is meaningful to the processor model only. 0: none.
struct hw_context {
    u64 id;
};

// Prepares a context that will run entry(arg) with interrupts disabled when first switched to. `stack_bytes`
// 16 KiB..1 MiB. `name` (for traces) is copied. Never fails: memory for stacks is the model's.
void hw_context_create(struct hw_context *ctx, const char *name, u64 stack_bytes, void (*entry)(void *arg),
                       void *arg);
// Adopts the code that calls it (boot code of a processor) as a context.
void hw_context_adopt(struct hw_context *ctx, const char *name);
// Saves the caller in `prev` and continues `next` on this processor, which must not be running elsewhere.
// Interrupts must be disabled. Returns when somebody switches back to `prev`, perhaps on another processor.
void hw_switch_to(struct hw_context *prev, struct hw_context *next);
// As hw_switch_to, but the caller's context ends and is released. Does not return.
void hw_switch_to_and_exit(struct hw_context *prev, struct hw_context *next);

#endif
