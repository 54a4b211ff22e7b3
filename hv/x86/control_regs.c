// SPDX-License-Identifier: Apache-2.0
// Control registers, EFER, XCR0 and debug registers: architectural checks and what VMX needs of them.
#include "hv/core/tlb_change.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/cpuid.h"
#include "hv/x86/guest_walk.h"
#include "hv/x86/lapic.h"
#include "hv/x86/nested.h"
#include "hv/x86/regs.h"
#include "spec/cpuid.h"

// Fixed bits that unrestricted guests are free of (SDM 26.3.1.1).
#define CR0_UNRESTRICTED (X86_CR0_PE | X86_CR0_PG)
#define DR6_WRITABLE (15ull | X86_DR6_BD | X86_DR6_BS | X86_DR6_BT)

void vcpu_write_cr0(struct x86_vcpu *v, u64 cr0)
{
    const struct vmx_caps *caps = &x86_host_of(v)->caps;
    u64 fixed = caps->unrestricted_guest ? caps->cr0_fixed0 & ~CR0_UNRESTRICTED : caps->cr0_fixed0;
    u64 hardware = (cr0 & ~(X86_CR0_CD | X86_CR0_NW)) | X86_CR0_NE | fixed;

    if ((v->efer & EFER_LME) != 0) {
        bool paging = (cr0 & X86_CR0_PG) != 0;

        if (paging != vcpu_long_mode(v))
            vcpu_write_efer(v, paging ? v->efer | EFER_LMA : v->efer & ~EFER_LMA);
    }
    vmcs_write(CR0_READ_SHADOW, cr0);
    vmcs_write(GUEST_CR0, hardware);
    v->cached[CACHED_CR0] = cr0;
    v->regs_avail |= 1u << CACHED_CR0;
}

void vcpu_write_cr3(struct x86_vcpu *v, u64 cr3)
{
    vmcs_write(GUEST_CR3, cr3);
    v->cached[CACHED_CR3] = cr3;
    v->regs_avail |= 1u << CACHED_CR3;
}

void vcpu_write_cr4(struct x86_vcpu *v, u64 cr4)
{
    u64 hardware = cr4 | X86_CR4_VMXE | (x86_host_of(v)->cr4 & X86_CR4_MCE);

    // Without paging the guest expects no supervisor-mode protection; the hardware would apply it all the
    // same.
    if (!(vcpu_cr0(v) & X86_CR0_PG))
        hardware &= ~(X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE);
    vmcs_write(CR4_READ_SHADOW, cr4);
    vmcs_write(GUEST_CR4, hardware);
    v->cached[CACHED_CR4] = cr4;
    v->regs_avail |= 1u << CACHED_CR4;
}

void vcpu_write_efer(struct x86_vcpu *v, u64 efer)
{
    const struct x86_host *h = x86_host_of(v);

    v->efer = efer;
    if (efer & EFER_LMA)
        entry_controls_setbit(v, ENTRY_IA32E_MODE_GUEST);
    else
        entry_controls_clearbit(v, ENTRY_IA32E_MODE_GUEST);
    // Loading it costs on every switch: only when guest and host differ.
    if (efer == h->efer) {
        entry_controls_clearbit(v, ENTRY_LOAD_EFER);
        exit_controls_clearbit(v, EXIT_LOAD_EFER);
        return;
    }
    vmcs_write(GUEST_IA32_EFER, efer);
    entry_controls_setbit(v, ENTRY_LOAD_EFER);
    exit_controls_setbit(v, EXIT_LOAD_EFER);
}

// PAE paging with these registers: its PDPTEs are loaded with the register (SDM 4.4.1). False: #GP.
static bool load_pdptrs(struct x86_vcpu *v, u64 cr0, u64 cr3, u64 cr4)
{
    if (!(cr0 & X86_CR0_PG) || !(cr4 & X86_CR4_PAE) || (v->efer & EFER_LME))
        return true;
    return guest_load_pdptrs(v, cr3);
}

int vcpu_set_cr0(struct x86_vcpu *v, u64 cr0)
{
    u64 old = vcpu_cr0(v);
    const u64 translation = X86_CR0_PG | X86_CR0_WP;

    cr0 |= X86_CR0_ET;
    if (cr0 >> 32)
        return 1;
    cr0 &= X86_CR0_DEFINED;
    if ((cr0 & X86_CR0_NW) && !(cr0 & X86_CR0_CD))
        return 1;
    if ((cr0 & X86_CR0_PG) && !(cr0 & X86_CR0_PE))
        return 1;
    if (!(old & X86_CR0_PG) && (cr0 & X86_CR0_PG) && (v->efer & EFER_LME)) {
        if (!(vcpu_cr4(v) & X86_CR4_PAE) || (vcpu_segment_ar(v, SEG_CS) & AR_L))
            return 1;
    }
    if (unlikely(nested_vmx_on(v)) &&
        (cr0 & x86_host_of(v)->caps.cr0_fixed0) != x86_host_of(v)->caps.cr0_fixed0)
        return 1; // SDM 23.8.
    if (!(cr0 & X86_CR0_PG) && ((vcpu_cr4(v) & X86_CR4_PCIDE) || vcpu_64bit(v)))
        return 1;
    if (((old ^ cr0) & (X86_CR0_PG | X86_CR0_CD | X86_CR0_NW)) &&
        !load_pdptrs(v, cr0, vcpu_cr3(v), vcpu_cr4(v)))
        return 1;
    vcpu_write_cr0(v, cr0);
    if ((old ^ cr0) & X86_CR0_PG)
        vcpu_write_cr4(v, vcpu_cr4(v)); // SMEP and SMAP come and go with paging.
    if ((old ^ cr0) & translation)
        make_request(REQ_TLB_FLUSH_GUEST, &v->vcpu);
    return 0;
}

int vcpu_set_cr3(struct x86_vcpu *v, u64 cr3)
{
    bool no_flush = (vcpu_cr4(v) & X86_CR4_PCIDE) && (cr3 & X86_CR3_NO_FLUSH);

    if (no_flush)
        cr3 &= ~X86_CR3_NO_FLUSH;
    if (vcpu_long_mode(v) && cr3 >> v->maxphyaddr)
        return 1;
    if (!load_pdptrs(v, vcpu_cr0(v), cr3, vcpu_cr4(v)))
        return 1;
    if (!no_flush)
        make_request(REQ_TLB_FLUSH_GUEST, &v->vcpu);
    if (cr3 != vcpu_cr3(v))
        vcpu_write_cr3(v, cr3);
    return 0;
}

u64 vcpu_cr4_reserved_bits(struct x86_vcpu *v)
{
    static const struct {
        u32 leaf, reg, mask;
        u64 cr4;
    } rows[] = {
        {1, CPUID_EDX, CPUID_VME, X86_CR4_VME | X86_CR4_PVI},
        {1, CPUID_EDX, CPUID_DE, X86_CR4_DE},
        {1, CPUID_EDX, CPUID_PSE, X86_CR4_PSE},
        {1, CPUID_EDX, CPUID_PGE, X86_CR4_PGE},
        {1, CPUID_ECX, CPUID_XSAVE, X86_CR4_OSXSAVE},
        {1, CPUID_ECX, CPUID_PCID, X86_CR4_PCIDE},
        {1, CPUID_ECX, CPUID_VMX, X86_CR4_VMXE},
        {7, CPUID_EBX, CPUID_FSGSBASE, X86_CR4_FSGSBASE},
        {7, CPUID_EBX, CPUID_SMEP, X86_CR4_SMEP},
        {7, CPUID_EBX, CPUID_SMAP, X86_CR4_SMAP},
        {7, CPUID_ECX, CPUID_PKU, X86_CR4_PKE},
        {7, CPUID_ECX, CPUID_UMIP, X86_CR4_UMIP},
        {7, CPUID_ECX, CPUID_LA57, X86_CR4_LA57},
    };
    u64 reserved = ~X86_CR4_DEFINED | X86_CR4_SMXE | X86_CR4_KL | X86_CR4_CET | X86_CR4_PKS;

    for (unsigned i = 0; i < ARRAY_COUNT(rows); i++)
        if (!guest_cpuid_has(v, rows[i].leaf, 0, rows[i].reg, rows[i].mask))
            reserved |= rows[i].cr4;
    return reserved;
}

int vcpu_set_cr4(struct x86_vcpu *v, u64 cr4)
{
    u64 old = vcpu_cr4(v);
    const u64 global = X86_CR4_PGE | X86_CR4_PAE | X86_CR4_PSE | X86_CR4_SMEP | X86_CR4_SMAP;

    if (cr4 & v->cr4_reserved)
        return 1;
    if (vcpu_long_mode(v)) {
        if (!(cr4 & X86_CR4_PAE) || ((cr4 ^ old) & X86_CR4_LA57))
            return 1;
    }
    if ((cr4 & X86_CR4_PCIDE) && !(old & X86_CR4_PCIDE)) {
        if (!vcpu_long_mode(v) || (vcpu_cr3(v) & X86_CR3_PCID_MASK))
            return 1;
    }
    if (!(cr4 & X86_CR4_VMXE) && nested_vmx_on(v))
        return 1; // SDM 23.8.
    if (((cr4 ^ old) & global) && !load_pdptrs(v, vcpu_cr0(v), vcpu_cr3(v), cr4))
        return 1;
    vcpu_write_cr4(v, cr4);
    if ((cr4 ^ old) & (X86_CR4_OSXSAVE | X86_CR4_PKE))
        vcpu_update_cpuid_runtime(v);
    if ((((cr4 ^ old) & global) || (!(cr4 & X86_CR4_PCIDE) && (old & X86_CR4_PCIDE))) &&
        !tlb_flush_left_out(v->vcpu.vm, MMU_SKIP_FLUSH_CR4))
        make_request(REQ_TLB_FLUSH_GUEST, &v->vcpu);
    return 0;
}

u64 vcpu_cr8(struct x86_vcpu *v)
{
    return v->apic != NULL ? lapic_get_cr8(v) : v->cr8;
}

int vcpu_set_cr8(struct x86_vcpu *v, u64 cr8)
{
    if (cr8 & ~X86_CR8_TPR_MASK)
        return 1;
    if (v->apic != NULL)
        lapic_set_cr8(v, cr8);
    else
        v->cr8 = cr8;
    return 0;
}

int vcpu_set_efer(struct x86_vcpu *v, u64 efer, bool host_initiated)
{
    u64 allowed = EFER_SCE;

    if (guest_cpuid_has(v, 0x80000001, 0, CPUID_EDX, CPUID_LM))
        allowed |= EFER_LME | EFER_LMA;
    if (guest_cpuid_has(v, 0x80000001, 0, CPUID_EDX, CPUID_NX))
        allowed |= EFER_NXE;
    if (host_initiated)
        allowed = EFER_DEFINED;
    if (efer & ~allowed)
        return 1;
    if (!host_initiated) {
        // LME cannot change while paging is on; LMA is the processor's.
        if ((vcpu_cr0(v) & X86_CR0_PG) && ((efer ^ v->efer) & EFER_LME))
            return 1;
        efer = (efer & ~EFER_LMA) | (v->efer & EFER_LMA);
    }
    vcpu_write_efer(v, efer);
    return 0;
}

// What the host has and CPUID tells the guest of.
static u64 guest_supported_xcr0(struct x86_vcpu *v)
{
    const struct hv_cpuid_entry2 *e = guest_cpuid_entry(v, 0xd, 0);

    return x86_host_of(v)->xcr0_supported & (e != NULL ? e->eax | (u64)e->edx << 32 : 0);
}

int vcpu_set_xcr0(struct x86_vcpu *v, u64 xcr0)
{
    if (!(xcr0 & XFEATURE_X87) || (xcr0 & ~guest_supported_xcr0(v)))
        return 1;
    if ((xcr0 & XFEATURE_AVX) && !(xcr0 & XFEATURE_SSE))
        return 1;
    if (!!(xcr0 & XFEATURE_BNDREGS) != !!(xcr0 & XFEATURE_BNDCSR))
        return 1;
    const u64 avx512 = XFEATURE_OPMASK | XFEATURE_ZMM_HI256 | XFEATURE_HI16_ZMM;

    if ((xcr0 & avx512) && ((xcr0 & avx512) != avx512 || !(xcr0 & XFEATURE_AVX)))
        return 1;
    v->xcr0 = xcr0;
    vcpu_update_cpuid_runtime(v);
    return 0;
}

// --- Debug registers (SDM 17.2).

int vcpu_set_dr(struct x86_vcpu *v, unsigned n, u64 value)
{
    switch (n) {
    case 0:
    case 1:
    case 2:
    case 3:
        v->db[n] = value;
        return 0;
    case 4:
    case 6:
        if (value >> 32)
            return 1;
        v->dr6 = (value & DR6_WRITABLE) | X86_DR6_RESET;
        return 0;
    default:
        if (value >> 32)
            return 1;
        v->dr7 = (value & ~X86_DR7_FIXED_0) | X86_DR7_FIXED_1;
        vmcs_write(GUEST_DR7, v->dr7);
        return 0;
    }
}

u64 vcpu_get_dr(struct x86_vcpu *v, unsigned n)
{
    if (n < 4)
        return v->db[n];
    return n == 4 || n == 6 ? v->dr6 : v->dr7;
}
