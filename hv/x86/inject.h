// SPDX-License-Identifier: Apache-2.0
// Between queued events and the VM-entry interruption information (SDM 24.8.3, 26.6).
#ifndef HV_X86_INJECT_H
#define HV_X86_INJECT_H

#include "hv/x86/regs.h"

// After an exit: what IDT vectoring says was being delivered becomes pending again (SDM 24.9.3, 27.2.4), and
// NMI blocking that an IRET had lifted too early comes back (27.2.3). Interrupts disabled.
void complete_interrupts(struct x86_vcpu *v);
// Exceptions that join into a double fault or shutdown; SDM 6.15 table 6-5. What comes of `second` while
// `first` is being delivered.
enum exception_join { JOIN_SECOND, JOIN_DOUBLE_FAULT, JOIN_SHUTDOWN };
enum exception_join join_exceptions(u8 first, u8 second);
// NMIs that others queued become pending, at most two (REQ_NMI).
void process_nmi(struct x86_vcpu *v);
// Puts an interrupt of user space or the controllers into "being injected" without regard to windows; for
// SET_SREGS and SET_VCPU_EVENTS.
void queue_interrupt(struct x86_vcpu *v, u8 vector, bool soft);
// An interrupt that the guest could take: user space's or the irqchip's.
bool has_injectable_interrupt(struct x86_vcpu *v);

#endif
