// SPDX-License-Identifier: Apache-2.0
// x87 instructions by the host's own: loads a state, runs one instruction, reads the state back.
#ifndef MODELS_CPU_X86_INTERP_X87_HOST_H
#define MODELS_CPU_X86_INTERP_X87_HOST_H

#include "models/cpu/x86/x87.h"

// Runs opcode `opcode` (D8 to DF) with ModRM byte `modrm`, whose operand is `memory` if it has one (80 bytes
// at most), on *x and the arithmetic flags of `rflags`. Control words are not masked: an unmasked exception
// shows as ES in the status and as the results that it leaves. FIP, FDP, FOP are left to the caller.
// Which instructions make sense is the caller's to know: transcendental ones differ between hosts.
void x87_host_run(struct x87 *x, uint8_t opcode, uint8_t modrm, void *memory, uint64_t *rflags);

#endif
