// SPDX-License-Identifier: Apache-2.0
// Inside of the core, shared by the files of models/cpu/x86 only.
#ifndef MODELS_CPU_X86_X86_STATE_H
#define MODELS_CPU_X86_X86_STATE_H

#include "models/cpu/x86/msrs.h"
#include "models/cpu/x86/vmx_state.h"
#include "models/cpu/x86/x86.h"
#include "models/mmu/mmu.h"
#include "spec/cpuid.h"
#include "spec/x86_bits.h"

struct x86_state {
    uint64_t cr[9]; // 0, 2, 3, 4; CR8 is the local APIC's
    uint64_t dr[8]; // 0-3, 6, 7. Whoever writes DR7 calls debug_update()
    bool watched;   // debug_watched()
    uint64_t xcr0;
    uint64_t pdpte[4]; // Of PAE paging: what MOV to CR or VM entry loaded (SDM 4.4.1)
    uint32_t pkru;     // Whoever writes it calls guest_space_pkru()
    uint64_t tsc_adjust;
    uint64_t rsp, rflags; // Of root mode, as VM exits load them
    struct msr_file msrs;
    struct mmu *mmu;
    bool pages_1g, pse_36; // CPUID says that guests may have 1-GByte pages, 4-MByte pages beyond 4 GiB
    struct vmx vmx;
};

// Is this in a page whose accesses are guest_access()'s to carry out: the APIC-access page, the local APIC's?
static inline bool guest_apart(const struct pcpu *c, uint64_t hpa)
{
    const struct mmu *m = c->x86->mmu;

    return hpa >> 12 == m->apart[0] || hpa >> 12 == m->apart[1];
}

// guest_translate() for the usual case alone: a hit in the first-level TLB that allows the access takes no
// time. False: nothing happened, guest_translate() has to be asked.
static inline bool guest_translate_fast(struct pcpu *c, uint64_t address, unsigned access, uint64_t *hpa)
{
    struct mmu *m = c->x86->mmu;

    return mmu_hit(m, address, access, m->mode, hpa);
}

// What changes often, for nothing: CPL (0..3) and RFLAGS.AC of the guest. After every change of either;
// guest_space_cpl() wants RFLAGS to be the new ones, as does guest_space_ac().
static inline void guest_space_cpl(struct pcpu *c, unsigned cpl)
{
    bool ac = c->x86->vmx.rflags & X86_RFLAGS_AC;

    c->x86->vmx.alignment = cpl == 3 && ac && (c->x86->cr[0] & X86_CR0_AM);
    c->x86->mmu->mode = cpl == 3 ? MMU_USER : ac ? MMU_SUPERVISOR_AC : MMU_SUPERVISOR;
}
static inline void guest_space_ac(struct pcpu *c)
{
    guest_space_cpl(c, c->x86->mmu->mode == MMU_USER ? 3 : 0);
}
// After a write of c->x86->pkru.
static inline void guest_space_pkru(struct pcpu *c)
{
    mmu_set_pkru(c->x86->mmu, c->x86->pkru);
}

// Prologue of an instruction of root mode: drains (if serializing), charges, is a scheduling point. Returns
// the processor on which the effect takes place: the thread may have moved meanwhile.
struct pcpu *x86_instruction(uint64_t cycles, bool serializing);

// What CPUID returns on this processor now (no cost).
void x86_cpuid(const struct pcpu *c, uint32_t leaf, uint32_t subleaf, struct hw_cpuid_regs *out);

// A bit of what CPUID enumerates for this micro-architecture.
bool x86_has(const struct pcpu *c, uint32_t leaf, uint32_t subleaf, enum cpuid_reg reg, unsigned bit);

// Writes with the checks of MOV to CR and DR, XSETBV; the mode's own registers, no cost.
enum hw_fault x86_write_cr(struct pcpu *c, unsigned n, uint64_t value);
// The two halves of it, for CR0, CR3 and CR4: may it be written now (SDM 2.5, 4.1.1, 4.1.2, 9.8.5, 23.8; vol.
// 2 MOV: else #GP(0)), and the write, which moves IA32_EFER.LMA along with CR0.PG.
bool x86_cr_legal(const struct pcpu *c, unsigned n, uint64_t value);
void x86_set_cr(struct pcpu *c, unsigned n, uint64_t value);
enum hw_fault x86_write_dr(struct pcpu *c, unsigned n, uint64_t value);
enum hw_fault x86_write_xcr(struct pcpu *c, uint32_t index, uint64_t value);
// Bits of CR4 that this processor lets software set.
uint64_t x86_cr4_allowed(const struct pcpu *c);
// Is the address canonical for 48 (or 57, by CR4.LA57) bits?
bool x86_canonical(const struct pcpu *c, uint64_t address);

// Ports of the board, no cost. Nobody there: reads are all ones, writes are dropped.
uint32_t x86_port_in(struct pcpu *c, uint16_t port, unsigned size);
void x86_port_out(struct pcpu *c, uint16_t port, unsigned size, uint32_t value);

#endif
