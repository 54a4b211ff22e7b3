// SPDX-License-Identifier: Apache-2.0
// Capstone's numbers of x86 registers (X86_REG_*): which register each is, and how much of it.
#ifndef MODELS_CPU_NATIVE_CS_REGISTER_H
#define MODELS_CPU_NATIVE_CS_REGISTER_H

#include <capstone/capstone.h>
#include <stdint.h>

enum cs_register_kind {
    CS_REGISTER_OTHER, // None of the following
    CS_REGISTER_NONE,  // No register: X86_REG_INVALID, the index that is always zero
    CS_REGISTER_GPR,
    CS_REGISTER_HIGH, // AH, CH, DH, BH: number 0 to 3, that of the register they are in
    CS_REGISTER_IP,
    CS_REGISTER_FLAGS,
    CS_REGISTER_SEGMENT, // By their numbers in ModRM: ES, CS, SS, DS, FS, GS
    CS_REGISTER_CR,
    CS_REGISTER_DR,
    CS_REGISTER_XMM, // 0 to 15
    CS_REGISTER_MMX,
    CS_REGISTER_ST,
    CS_REGISTER_X87_STATUS
};

struct cs_register {
    uint8_t kind;   // enum cs_register_kind
    uint8_t number; // SDM vol. 2 table 2-2
    uint8_t bytes;  // Of general registers
};

extern const struct cs_register cs_registers[X86_REG_ENDING];

static inline struct cs_register cs_register_of(unsigned id)
{
    return id < X86_REG_ENDING ? cs_registers[id] : (struct cs_register){CS_REGISTER_OTHER, 0, 0};
}

#endif
