// SPDX-License-Identifier: Apache-2.0
// Port accesses of a guest, of exits and of the emulator; the instruction length is what vcpu_set_insn_len()
// or the exit says. As exit handlers.
#ifndef HV_X86_EXITS_IO_H
#define HV_X86_EXITS_IO_H

#include "hv/x86/x86.h"

// IN or OUT of `bytes` (1, 2, 4) with rAX.
int pio_plain(struct x86_vcpu *v, u16 port, unsigned bytes, bool in);

struct pio_string {
    u16 port;
    u8 bytes;
    bool in, rep;
    u8 address_bytes; // Of rSI or rDI, and of rCX.
    u64 linear;       // Of the first element.
};
// INS or OUTS: some elements of it, then the guest executes it again for the rest.
int pio_string(struct x86_vcpu *v, const struct pio_string *s);
// One element of OUTS, which was read already; RCX, if it counts, is not 0.
int pio_string_put(struct x86_vcpu *v, const struct pio_string *s, u64 element);

#endif
