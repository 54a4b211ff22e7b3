// SPDX-License-Identifier: Apache-2.0
// The privileged programmer's model of one x86 logical processor: one C function per instruction.
//
// Every function acts on the processor that executes it, costs that instruction's cycles (uarch file) and is
// a scheduling point. Memory is not here: hv reads and writes it with plain C, atomics and C11 fences, which
// the processor model carries out. Called from hv/ only, on an hv thread or in an interrupt handler.
#ifndef HV_HW_CPU_H
#define HV_HW_CPU_H

#include "hv/hw/types.h"

// What an instruction did: completed, or raised the fault named (SDM vol. 2, "Exceptions" of each page).
// A hypervisor needs the fault as a value (KVM's exception-table idiom), hence no vector call for these.
enum hw_fault { HW_DONE = 0, HW_FAULT_UD = 6, HW_FAULT_GP = 13 };

// --- Model-specific registers (SDM vol. 2 RDMSR, WRMSR; vol. 4). The local APIC in x2APIC mode, the TSC
// deadline and the VMX capabilities are reached here, as on silicon. #GP: unknown MSR, reserved bits,
// read-only.
enum hw_fault hw_rdmsr(u32 msr, u64 *value);
enum hw_fault hw_wrmsr(u32 msr, u64 value);

struct hw_cpuid_regs {
    u32 eax, ebx, ecx, edx;
};
// CPUID (SDM vol. 2). Serializing.
void hw_cpuid(u32 leaf, u32 subleaf, struct hw_cpuid_regs *out);

// RDTSC: cycles of the TSC clock since reset (SDM 17.17). hw_rdtsc_ordered is LFENCE;RDTSC.
u64 hw_rdtsc(void);
u64 hw_rdtsc_ordered(void);

// Control registers 0, 2, 3, 4, 8 and debug registers 0-3, 6, 7. #GP on reserved bits.
u64 hw_read_cr(unsigned n);
enum hw_fault hw_write_cr(unsigned n, u64 value);
u64 hw_read_dr(unsigned n);
enum hw_fault hw_write_dr(unsigned n, u64 value);
enum hw_fault hw_xsetbv(u32 index, u64 value);

// --- Interrupt flag (SDM 6.8.1). hw_irqs_enabled() is PUSHF and a test of RFLAGS.IF.
void hw_sti(void);
void hw_cli(void);
bool hw_irqs_enabled(void);
// IRET to the next instruction: ends the blocking of NMIs (SDM 6.7.1) after software itself called its NMI
// handler for one that arrived as a VM exit. The interrupt flag stays.
void hw_iret(void);
// STI;HLT: enables interrupts and halts until one arrives; none can slip in between (one-instruction shadow).
// Returns after the handler returned. With `cli` before it this is the idle loop's instruction pair.
void hw_sti_hlt(void);
void hw_pause(void);

// --- Per-CPU base (RDGSBASE, WRGSBASE): hv keeps its per-CPU pointer there.
u64 hw_rdgsbase(void);
void hw_wrgsbase(u64 value);

// --- Port I/O of the host (IN, OUT); size 1, 2 or 4 bytes.
u32 hw_in(u16 port, unsigned size_bytes);
void hw_out(u16 port, unsigned size_bytes, u32 value);

// Full barrier behind a LOCKed operation of the caller's: no instruction, as that was one already
// (SDM 8.2.3.9). A model of C11's weaker atomics carries a fence out here.
void hw_mb_after_locked(void);

// --- Cache and TLB control.
void hw_invlpg(u64 linear);
void hw_wbinvd(void);
void hw_clflush(const void *p);

// --- Ring transitions. SYSCALL from user mode to the handler given to hw_set_vectors() and SYSRET back;
// charges both and switches the processor's mode meanwhile. hw_user_enter() is the SYSRET that first starts
// user mode on the calling thread; `fn` returns never or through the handler's thread exit.
u64 hw_syscall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3);
void hw_user_enter(void (*fn)(void *arg), void *arg);

// What the IDT, LSTAR and the AP start-up page hold. One call per processor; the table must stay valid.
struct hw_vectors {
    // External interrupt or IPI `vector` (32..255), interrupts disabled, on the interrupted thread's stack.
    // The handler acknowledges with EOI; returning is IRET. SDM 6.12.
    void (*interrupt)(unsigned vector);
    // Non-maskable interrupt; further NMIs are blocked until it returns. SDM 6.7.
    void (*nmi)(void);
    u64 (*syscall)(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3);
    // First code of an application processor after INIT, SIPI (SDM 8.4.4), on a boot stack, interrupts off:
    // gets `ap_argument`, which start-up code on silicon loads from its start-up page. Those of the boot
    // processor count.
    void (*ap_entry)(u64 ap_argument);
    u64 ap_argument;
};
void hw_set_vectors(const struct hw_vectors *vectors);

#endif
