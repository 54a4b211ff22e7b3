// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/native/cs_register.h"

// clang-format off
#define ONE(name, kind, number, bytes) [X86_REG_##name] = {CS_REGISTER_##kind, number, bytes},
#define GPR(number, r64, r32, r16, r8) \
    ONE(r64, GPR, number, 8) ONE(r32, GPR, number, 4) ONE(r16, GPR, number, 2) ONE(r8, GPR, number, 1)
#define LOW(kind, name) \
    ONE(name##0, kind, 0, 0) ONE(name##1, kind, 1, 0) ONE(name##2, kind, 2, 0) ONE(name##3, kind, 3, 0) \
    ONE(name##4, kind, 4, 0) ONE(name##5, kind, 5, 0) ONE(name##6, kind, 6, 0) ONE(name##7, kind, 7, 0)
#define ALL(kind, name) \
    LOW(kind, name) \
    ONE(name##8, kind, 8, 0)   ONE(name##9, kind, 9, 0)   ONE(name##10, kind, 10, 0) ONE(name##11, kind, 11, 0) \
    ONE(name##12, kind, 12, 0) ONE(name##13, kind, 13, 0) ONE(name##14, kind, 14, 0) ONE(name##15, kind, 15, 0)

const struct cs_register cs_registers[X86_REG_ENDING] = {
    GPR(0, RAX, EAX, AX, AL)        GPR(1, RCX, ECX, CX, CL)
    GPR(2, RDX, EDX, DX, DL)        GPR(3, RBX, EBX, BX, BL)
    GPR(4, RSP, ESP, SP, SPL)       GPR(5, RBP, EBP, BP, BPL)
    GPR(6, RSI, ESI, SI, SIL)       GPR(7, RDI, EDI, DI, DIL)
    GPR(8, R8, R8D, R8W, R8B)       GPR(9, R9, R9D, R9W, R9B)
    GPR(10, R10, R10D, R10W, R10B)  GPR(11, R11, R11D, R11W, R11B)
    GPR(12, R12, R12D, R12W, R12B)  GPR(13, R13, R13D, R13W, R13B)
    GPR(14, R14, R14D, R14W, R14B)  GPR(15, R15, R15D, R15W, R15B)
    ONE(AH, HIGH, 0, 1) ONE(CH, HIGH, 1, 1) ONE(DH, HIGH, 2, 1) ONE(BH, HIGH, 3, 1)
    ONE(INVALID, NONE, 0, 0) ONE(EIZ, NONE, 0, 0) ONE(RIZ, NONE, 0, 0)
    ONE(RIP, IP, 0, 8) ONE(EIP, IP, 0, 4)
    ONE(EFLAGS, FLAGS, 0, 0) ONE(FPSW, X87_STATUS, 0, 0)
    ONE(ES, SEGMENT, 0, 0) ONE(CS, SEGMENT, 1, 0) ONE(SS, SEGMENT, 2, 0)
    ONE(DS, SEGMENT, 3, 0) ONE(FS, SEGMENT, 4, 0) ONE(GS, SEGMENT, 5, 0)
    ALL(CR, CR) ALL(DR, DR) ALL(XMM, XMM) LOW(MMX, MM) LOW(ST, ST)
};
#undef ONE
#undef GPR
#undef LOW
#undef ALL
// clang-format on
