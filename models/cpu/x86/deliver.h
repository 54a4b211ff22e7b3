// SPDX-License-Identifier: Apache-2.0
// Delivery of events through the IDT of a guest that is machine code (SDM 6.8 to 6.14, 20.1.4).
#ifndef MODELS_CPU_X86_DELIVER_H
#define MODELS_CPU_X86_DELIVER_H

#include <stdbool.h>
#include <stdint.h>

struct pcpu;

// `info` as VM_ENTRY_INTR_INFO_FIELD; `length` of the instruction that raised a software event: RIP is pushed
// behind it. False: v->exit is to be made instead.
bool idt_deliver(struct pcpu *c, uint32_t info, uint32_t error, uint32_t length);

#endif
