// SPDX-License-Identifier: Apache-2.0
// Delivery of events through the IDT of a guest that is machine code (SDM 6.8 to 6.14, 20.1.4, 20.3).
#ifndef MODELS_CPU_X86_DELIVER_H
#define MODELS_CPU_X86_DELIVER_H

#include "models/cpu/x86/insn.h"

// `info` as VM_ENTRY_INTR_INFO_FIELD; `length` of the instruction that raised a software event: RIP is pushed
// behind it. INSN_DONE: delivered. INSN_FAULT: another event was instead. INSN_EXIT: v->exit is to be made.
enum insn_result idt_deliver(struct pcpu *c, uint32_t info, uint32_t error, uint32_t length);

#endif
