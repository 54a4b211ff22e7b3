// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/deliver.h"
#include "models/cpu/x86/trace_exit.h"
#include "models/cpu/x86/x86_state.h"

bool idt_deliver(struct pcpu *c, uint32_t info, uint32_t error, uint32_t length)
{
    (void)error, (void)length;
    trace_vmx_violation(c, "not modelled: delivery through the IDT", info, c->x86->vmx.rip);
    vmx_exit_begin(c, EXIT_REASON_TRIPLE_FAULT);
    return false;
}
