// SPDX-License-Identifier: Apache-2.0
// System instructions of a guest, once for all kinds of guests: each checks what the manual says it checks,
// makes its VM exit if the controls ask for one (SDM 25.1), and else does what it does on the registers of
// struct vmx and struct x86_state. What it costs is charged here, but for the fetch.
//
// The caller has decoded: replay ops (replay_exec*.c) have set up the registers that their instruction reads,
// the interpreter (interp/) has them anyway. `length` is the instruction's in bytes, for the exit. v->rip is
// at the instruction when it is called and stays there but after INSN_BRANCH: the caller moves on after
// INSN_DONE. Registers are named by number (0 RAX .. 15 R15).
//
// A program (v->guest) has no segments and no levels: its instructions are those of 64-bit code in ring 0.
#ifndef MODELS_CPU_X86_INSN_H
#define MODELS_CPU_X86_INSN_H

#include "models/cpu/x86/vmx_state.h"

enum insn_result {
    INSN_DONE,   // Carried out; what follows it is next
    INSN_BRANCH, // Carried out, v->rip is where it goes on
    INSN_EXIT,   // v->exit is to be made; nothing was carried out
    INSN_FAULT,  // An exception was delivered to the guest: v->rip is its handler
    INSN_AGAIN,  // Nothing or a part was carried out: something pending comes first, then it runs again
};

// An operand that is a general register or memory, or always memory.
struct insn_operand {
    bool memory;
    uint8_t reg;                // Register operand
    uint8_t size;               // Bytes of a register operand: 2, 4, 8
    enum segment_name segment;  // Memory operand
    uint64_t offset;            // In its segment, cut to the address size
    uint64_t displacement;      // Exit qualification (SDM 27.2.1); RIP-relative: the whole address
    uint32_t info;              // insn_memory_info()
    const unsigned char *bytes; // Of a program: what stands there. NULL: it is in memory
};

#define INSN_NO_REG 0xffu
// The part of the VMX-instruction information that every memory operand has (SDM 27.2.5, tables 27-9
// to 27-16). base, index: register or INSN_NO_REG; scale: shift 0 to 3; address_size: 2, 4, 8.
static inline uint32_t insn_memory_info(unsigned base, unsigned index, unsigned scale, unsigned address_size,
                                        enum segment_name segment)
{
    uint32_t info = (address_size / 4) << INSN_INFO_ADDR_SIZE_SHIFT | (uint32_t)segment
                                                                          << INSN_INFO_SEG_SHIFT;

    info |= base == INSN_NO_REG ? INSN_INFO_NO_BASE : base << INSN_INFO_BASE_SHIFT;
    info |= index == INSN_NO_REG ? INSN_INFO_NO_INDEX : index << INSN_INFO_INDEX_SHIFT | scale;
    return info;
}

// An exception that the current instruction raises: an exit if the exception bitmap says so, or delivered.
static inline enum insn_result insn_fault(struct pcpu *c, unsigned vector, uint32_t error)
{
    return vmx_exception(c, vector, error, 0) ? INSN_EXIT : INSN_FAULT;
}

// What an access of memory makes of its instruction.
static inline enum insn_result insn_access(enum guest_access result)
{
    switch (result) {
    case GUEST_DONE:
        return INSN_DONE;
    case GUEST_EXIT:
        return INSN_EXIT;
    case GUEST_FAULT:
        break;
    }
    return INSN_FAULT;
}

// --- insn_msr.c: identification, MSRs, time, counters, random numbers. ---

enum insn_result insn_cpuid(struct pcpu *c, unsigned length);
enum insn_result insn_rdmsr(struct pcpu *c, unsigned length);
enum insn_result insn_wrmsr(struct pcpu *c, unsigned length);
enum insn_result insn_rdtsc(struct pcpu *c, unsigned length);
enum insn_result insn_rdtscp(struct pcpu *c, unsigned length);
enum insn_result insn_rdpid(struct pcpu *c, unsigned length, unsigned reg);
enum insn_result insn_rdpmc(struct pcpu *c, unsigned length);
// `size` of the operand: 2, 4, 8.
enum insn_result insn_rdrand(struct pcpu *c, unsigned length, unsigned reg, unsigned size);
enum insn_result insn_rdseed(struct pcpu *c, unsigned length, unsigned reg, unsigned size);
enum insn_result insn_xgetbv(struct pcpu *c, unsigned length);
enum insn_result insn_xsetbv(struct pcpu *c, unsigned length);
enum insn_result insn_rdpkru(struct pcpu *c, unsigned length);
enum insn_result insn_wrpkru(struct pcpu *c, unsigned length);

// --- insn_io.c: ports. ---

// `immediate`: the port is in the instruction, not in DX. The data is in AL, AX or EAX.
enum insn_result insn_in(struct pcpu *c, unsigned length, uint16_t port, unsigned size, bool immediate);
enum insn_result insn_out(struct pcpu *c, unsigned length, uint16_t port, unsigned size, bool immediate);

struct insn_string_io {
    uint8_t size;         // Of an element: 1, 2, 4
    uint8_t address_size; // 2, 4, 8
    bool rep;
    enum segment_name segment;  // OUTS: of the source
    const unsigned char *bytes; // OUTS of a program: an element. NULL: it is in memory
};
// One element of INS or OUTS (port in DX), or nothing if REP has come to its end. INSN_AGAIN: there are more
// elements.
enum insn_result insn_ins(struct pcpu *c, unsigned length, const struct insn_string_io *io);
enum insn_result insn_outs(struct pcpu *c, unsigned length, const struct insn_string_io *io);

// --- insn_idle.c: waiting, the interrupt flag. ---

enum insn_result insn_hlt(struct pcpu *c, unsigned length);
enum insn_result insn_pause(struct pcpu *c, unsigned length);
// `o`: memory, the byte at rAX.
enum insn_result insn_monitor(struct pcpu *c, unsigned length, const struct insn_operand *o);
// Waits if MONITOR is armed: until another processor stores into the line, or for what ends HLT. Hints are
// taken for C1. (SDM 8.10, 25.3)
enum insn_result insn_mwait(struct pcpu *c, unsigned length);
enum insn_result insn_sti(struct pcpu *c, unsigned length);
enum insn_result insn_cli(struct pcpu *c, unsigned length);

// --- insn_cr.c: control and debug registers. ---

enum insn_result insn_mov_to_cr(struct pcpu *c, unsigned length, unsigned cr, unsigned reg);
enum insn_result insn_mov_from_cr(struct pcpu *c, unsigned length, unsigned cr, unsigned reg);
enum insn_result insn_clts(struct pcpu *c, unsigned length);
enum insn_result insn_lmsw(struct pcpu *c, unsigned length, const struct insn_operand *o);
enum insn_result insn_smsw(struct pcpu *c, unsigned length, const struct insn_operand *o);
enum insn_result insn_mov_to_dr(struct pcpu *c, unsigned length, unsigned dr, unsigned reg);
enum insn_result insn_mov_from_dr(struct pcpu *c, unsigned length, unsigned dr, unsigned reg);

// --- insn_table.c: translation and other caches, descriptor tables. ---

enum insn_result insn_invlpg(struct pcpu *c, unsigned length, const struct insn_operand *o);
// `reg` has the type, `o` is the descriptor.
enum insn_result insn_invpcid(struct pcpu *c, unsigned length, unsigned reg, const struct insn_operand *o);
enum insn_result insn_invd(struct pcpu *c, unsigned length);
enum insn_result insn_wbinvd(struct pcpu *c, unsigned length); // And WBNOINVD
// CLFLUSH, CLFLUSHOPT, CLWB: as a load of the byte; where lines are is the model's, and they stay.
enum insn_result insn_clflush(struct pcpu *c, unsigned length, const struct insn_operand *o);
enum insn_result insn_serialize(struct pcpu *c, unsigned length);

enum insn_table { INSN_GDTR, INSN_IDTR };
// `operand_size`: 2, 4; 8 in 64-bit mode.
enum insn_result insn_load_table(struct pcpu *c, unsigned length, enum insn_table which,
                                 const struct insn_operand *o, unsigned operand_size);
enum insn_result insn_store_table(struct pcpu *c, unsigned length, enum insn_table which,
                                  const struct insn_operand *o, unsigned operand_size);
enum insn_selector { INSN_LDTR, INSN_TR };
enum insn_result insn_load_selector(struct pcpu *c, unsigned length, enum insn_selector which,
                                    const struct insn_operand *o);
enum insn_result insn_store_selector(struct pcpu *c, unsigned length, enum insn_selector which,
                                     const struct insn_operand *o);

// --- insn_vmx.c: VM instructions, SMX, SMM. ---

enum insn_result insn_vmcall(struct pcpu *c, unsigned length);
// VMLAUNCH, VMRESUME, VMXOFF, by the reason of their exit.
enum insn_result insn_vmx_plain(struct pcpu *c, unsigned length, uint32_t reason);
// VMCLEAR, VMPTRLD, VMPTRST, VMXON.
enum insn_result insn_vmx_pointer(struct pcpu *c, unsigned length, uint32_t reason,
                                  const struct insn_operand *o);
// INVEPT, INVVPID; `reg` has the type.
enum insn_result insn_vmx_invalidate(struct pcpu *c, unsigned length, uint32_t reason, unsigned reg,
                                     const struct insn_operand *o);
// `field`: the register that has the encoding; `o`: where the data comes from or goes.
enum insn_result insn_vmread(struct pcpu *c, unsigned length, unsigned field, const struct insn_operand *o);
enum insn_result insn_vmwrite(struct pcpu *c, unsigned length, unsigned field, const struct insn_operand *o);
enum insn_result insn_vmfunc(struct pcpu *c, unsigned length);
enum insn_result insn_getsec(struct pcpu *c, unsigned length);
enum insn_result insn_rsm(struct pcpu *c, unsigned length);

// --- insn_syscall.c: system calls, FS and GS bases, RFLAGS.AC. ---

enum insn_result insn_syscall(struct pcpu *c, unsigned length);
enum insn_result insn_sysret(struct pcpu *c, unsigned length, bool rex_w);
enum insn_result insn_sysenter(struct pcpu *c, unsigned length);
enum insn_result insn_sysexit(struct pcpu *c, unsigned length, bool rex_w);
enum insn_result insn_swapgs(struct pcpu *c, unsigned length);
// RD/WRFSBASE, RD/WRGSBASE: `name` SEG_FS or SEG_GS, `size` 4 or 8.
enum insn_result insn_rdbase(struct pcpu *c, unsigned length, enum segment_name name, unsigned reg,
                             unsigned size);
enum insn_result insn_wrbase(struct pcpu *c, unsigned length, enum segment_name name, unsigned reg,
                             unsigned size);
// CLAC, STAC.
enum insn_result insn_ac(struct pcpu *c, unsigned length, bool set);

// --- insn_int.c: instructions that raise events. INSN_FAULT: delivered. ---

enum insn_result insn_int(struct pcpu *c, unsigned length, unsigned vector);
enum insn_result insn_int3(struct pcpu *c, unsigned length);
enum insn_result insn_int1(struct pcpu *c, unsigned length);
enum insn_result insn_into(struct pcpu *c, unsigned length);
enum insn_result insn_bound_fault(struct pcpu *c, unsigned length);
enum insn_result insn_ud(struct pcpu *c, unsigned length);

#endif
