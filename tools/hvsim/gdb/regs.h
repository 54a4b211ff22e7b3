// SPDX-License-Identifier: Apache-2.0
// A vCPU's registers as gdb sees them.
#ifndef TOOLS_HVSIM_GDB_REGS_H
#define TOOLS_HVSIM_GDB_REGS_H

#include "models/cpu/pcpu.h"
#include "models/cpu/x86/segment.h"
#include "models/mmu/mmu.h"

struct gdb_regs {
    uint64_t gpr[16]; // As encoded: RAX, RCX, RDX, RBX, ...
    uint64_t rip, rflags;
    uint64_t cr[9], dr[8], efer, kernel_gs_base;
    uint64_t base[SEGMENTS], gdtr_base, idtr_base;
    uint32_t selector[SEGMENTS], ar[SEGMENTS], limit[SEGMENTS], gdtr_limit, idtr_limit;
    uint64_t xmm[16][2];
    uint32_t mxcsr;
    uint8_t st[8][10]; // ST(0) first
    uint32_t fpu[8];   // Control, status, tags, and where the last x87 instruction and its operand were
    uint64_t pc;       // Linear address of the instruction: gdb's RIP, as it compares that with breakpoints
    uint64_t vmcs_hpa; // The current VMCS
    struct mmu_space space; // What translates
};

unsigned gdb_reg_count(void);
// Bytes of register `n` and how many; n < gdb_reg_count().
const void *gdb_reg(const struct gdb_regs *r, unsigned n, size_t *size);

// The target description (target.xml); constant.
const char *gdb_regs_xml(void);

#endif
