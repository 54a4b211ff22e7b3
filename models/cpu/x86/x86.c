// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/debug.h"
#include "models/cpu/x86/interp/interp.h"
#include "models/cpu/x86/observer.h"
#include "models/cpu/x86/x86_state.h"

#include "models/apic/lapic.h"
#include "models/cpu/uarch/uarch.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

// What firmware leaves: protected mode with paging, caches on (SDM 2.5).
#define BOOT_CR0 (X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_PG)
#define BOOT_CR3 0x1000u
#define BOOT_CR4                                                                                             \
    (X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT |           \
     X86_CR4_OSXSAVE)

void x86_reset(struct pcpu *c)
{
    struct x86_state *s = c->x86;

    memset(s->cr, 0, sizeof s->cr);
    memset(s->dr, 0, sizeof s->dr);
    s->cr[0] = BOOT_CR0;
    s->cr[3] = BOOT_CR3;
    s->cr[4] = BOOT_CR4 & x86_cr4_allowed(c);
    s->dr[6] = X86_DR6_RESET;
    s->dr[7] = X86_DR7_RESET;
    s->xcr0 = XFEATURE_X87;
    s->pkru = 0;
    memset(s->pdpte, 0, sizeof s->pdpte);
    s->tsc_adjust = 0;
    s->rsp = 0;
    s->rflags = X86_RFLAGS_FIXED;
    msrs_reset(c);
    mmu_reset(s->mmu);
    vmx_reset(c);
    interp_reset(s->vmx.interp);
    debug_update(c);
}

void x86_observe(struct pcpu *c, struct guest_observer *o)
{
    c->x86->vmx.observer = o;
    debug_update(c);
}

struct x86_state *x86_create(struct pcpu *c)
{
    c->x86 = calloc(1, sizeof *c->x86);
    assert(c->x86);
    c->x86->mmu = mmu_create(c);
    guest_mem_create(c);
    msrs_create(c);
    vmx_create(c);
    c->x86->vmx.interp = interp_create(c);
    x86_reset(c);
    return c->x86;
}

void x86_destroy(struct x86_state *s)
{
    if (!s)
        return;
    interp_destroy(s->vmx.interp);
    mmu_destroy(s->mmu);
    msrs_destroy(&s->msrs);
    vmx_destroy(&s->vmx);
    free(s);
}

uint64_t x86_tsc_adjust(const struct pcpu *c)
{
    return c->x86->tsc_adjust;
}

uint64_t x86_cr(const struct pcpu *c, unsigned n)
{
    return n == 8 ? lapic_cr8(c) : c->x86->cr[n];
}

bool x86_init_blocked(const struct pcpu *c)
{
    return c->x86->vmx.on && !c->x86->vmx.in_guest;
}

void x86_init_signal(struct pcpu *c)
{
    uint64_t adjust = c->x86->tsc_adjust;

    x86_reset(c);
    c->x86->tsc_adjust = adjust; // Not changed by INIT (SDM 17.17.3).
    lapic_reset(c);
}

bool x86_canonical(const struct pcpu *c, uint64_t address)
{
    unsigned bits = c->x86->cr[4] & X86_CR4_LA57 ? 57 : 48;
    int64_t shifted = (int64_t)(address << (64 - bits)) >> (64 - bits);

    return (uint64_t)shifted == address;
}

// --- CPUID. ---

// State components of XCR0: end of the last one enabled (SDM vol. 1 13.4.2, standard format).
static uint32_t xsave_bytes(const struct pcpu *c, uint64_t xcr0)
{
    uint32_t size = 576;

    for (uint32_t i = 2; i < 63; i++) {
        const struct uarch_cpuid *row = (xcr0 >> i) & 1 ? uarch_cpuid_find(c->uarch, 13, i) : NULL;

        if (row && row->ebx + row->eax > size)
            size = row->ebx + row->eax;
    }
    return size;
}

static void cpuid_dynamic(const struct pcpu *c, uint32_t leaf, uint32_t subleaf, struct hw_cpuid_regs *out)
{
    const struct x86_state *s = c->x86;

    switch (leaf) {
    case 1:
        out->ebx = (out->ebx & 0x00ffffff) | lapic_id(c) << 24;
        out->ecx = (out->ecx & ~(1u << 27)) | (s->cr[4] & X86_CR4_OSXSAVE ? 1u << 27 : 0);
        if (lapic_mode(c) == LAPIC_DISABLED)
            out->edx &= ~(1u << 9);
        break;
    case 7:
        if (subleaf == 0) // OSPKE, LA57
            out->ecx = (out->ecx & ~(1u << 4 | 1u << 16)) | (s->cr[4] & X86_CR4_PKE ? 1u << 4 : 0) |
                       (c->uarch->address.linear_bits == 57 ? 1u << 16 : 0);
        break;
    case 11:
        out->ecx = (out->ecx & ~0xffu) | (subleaf & 0xff);
        out->edx = lapic_id(c);
        break;
    case 0x80000008:
        out->eax = (uint32_t)(c->uarch->address.linear_bits << 8 | c->uarch->address.physical_bits);
        break;
    case 13:
        if (subleaf <= 1)
            out->ebx = xsave_bytes(c, s->xcr0);
        break;
    default:
        break;
    }
}

void x86_cpuid(const struct pcpu *c, uint32_t leaf, uint32_t subleaf, struct hw_cpuid_regs *out)
{
    const struct uarch_cpuid *max = uarch_cpuid_find(c->uarch, leaf & 0x80000000, 0);
    const struct uarch_cpuid *row;
    uint32_t basic_max;

    memset(out, 0, sizeof *out);
    // Beyond the maximum: the data of the highest basic leaf (SDM vol. 2, CPUID).
    if (!max || leaf > max->eax) {
        row = uarch_cpuid_find(c->uarch, 0, 0);
        basic_max = row ? row->eax : 0;
        leaf = basic_max;
    }
    row = uarch_cpuid_find(c->uarch, leaf, subleaf);
    if (row)
        *out = (struct hw_cpuid_regs){row->eax, row->ebx, row->ecx, row->edx};
    cpuid_dynamic(c, leaf, subleaf, out);
}

// --- Control and debug registers. ---

bool x86_has(const struct pcpu *c, uint32_t leaf, uint32_t subleaf, enum cpuid_reg reg, unsigned bit)
{
    const struct uarch_cpuid *row = uarch_cpuid_find(c->uarch, leaf, subleaf);
    uint32_t value;

    if (!row)
        return false;
    value = reg == CPUID_EAX   ? row->eax
            : reg == CPUID_EBX ? row->ebx
            : reg == CPUID_ECX ? row->ecx
                               : row->edx;
    return (value >> bit) & 1;
}

uint64_t x86_cr4_allowed(const struct pcpu *c)
{
    // CR4 bits by the CPUID bit that enumerates them (SDM 2.5).
    static const struct {
        uint64_t cr4;
        uint32_t leaf;
        uint8_t reg, bit;
    } rows[] = {
        {X86_CR4_VMXE, 1, CPUID_ECX, 5},     {X86_CR4_SMXE, 1, CPUID_ECX, 6},
        {X86_CR4_PCIDE, 1, CPUID_ECX, 17},   {X86_CR4_OSXSAVE, 1, CPUID_ECX, 26},
        {X86_CR4_FSGSBASE, 7, CPUID_EBX, 0}, {X86_CR4_SMEP, 7, CPUID_EBX, 7},
        {X86_CR4_SMAP, 7, CPUID_EBX, 20},    {X86_CR4_UMIP, 7, CPUID_ECX, 2},
        {X86_CR4_PKE, 7, CPUID_ECX, 3},      {X86_CR4_CET, 7, CPUID_ECX, 7},
    };
    uint64_t allowed = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE |
                       X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
        if (x86_has(c, rows[i].leaf, 0, (enum cpuid_reg)rows[i].reg, rows[i].bit))
            allowed |= rows[i].cr4;
    if (c->uarch->address.linear_bits == 57)
        allowed |= X86_CR4_LA57;
    return allowed;
}

// CS and TR of the guest that executes: programs have those of the VMCS.
static uint32_t access_rights(const struct vmx *v, enum segment_name name)
{
    return v->guest ? vmcs_get32(v, GUEST_ES_AR_BYTES + 2u * name) : v->seg[name].ar;
}

static bool code_is_64(const struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;

    return !v->in_guest || (access_rights(v, SEG_CS) & AR_L);
}

static bool task_is_16(const struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;
    // Available and busy 16-bit TSSs: types 1 and 3 (SDM table 3-2).
    return v->in_guest && (access_rights(v, SEG_TR) & AR_TYPE_MASK & ~2u) == 1;
}

// SDM 4.1.2, 9.8.5: what CR0.PG turns on and off.
static bool paging_legal(const struct pcpu *c, bool on)
{
    const struct x86_state *s = c->x86;
    uint64_t efer = MSR_VALUE(c, IA32_EFER);

    if (on == !!(s->cr[0] & X86_CR0_PG))
        return true;
    if (!on)
        return !(s->cr[4] & X86_CR4_PCIDE) && !((efer & EFER_LMA) && code_is_64(c));
    if (!(efer & EFER_LME))
        return true;
    return (s->cr[4] & X86_CR4_PAE) && !code_is_64(c) && !task_is_16(c);
}

static bool cr0_legal(const struct pcpu *c, uint64_t value)
{
    const struct x86_state *s = c->x86;

    if (value >> 32)
        return false;
    if (((value & X86_CR0_PG) && !(value & X86_CR0_PE)) || ((value & X86_CR0_NW) && !(value & X86_CR0_CD)))
        return false;
    if (!paging_legal(c, value & X86_CR0_PG))
        return false;
    if (!(value & X86_CR0_WP) && (s->cr[4] & X86_CR4_CET))
        return false;
    // In VMX operation the fixed bits (SDM 23.8).
    return !s->vmx.on || !(~value & c->uarch->vmx_cap.cr0_fixed0 & ~vmx_cr0_freed(c));
}

static bool cr4_legal(const struct pcpu *c, uint64_t value)
{
    const struct x86_state *s = c->x86;
    uint64_t changed = value ^ s->cr[4];
    bool ia32e = MSR_VALUE(c, IA32_EFER) & EFER_LMA;

    if (value & ~x86_cr4_allowed(c))
        return false;
    if (ia32e && (!(value & X86_CR4_PAE) || (changed & X86_CR4_LA57)))
        return false;
    if ((changed & value & X86_CR4_PCIDE) && (!ia32e || (s->cr[3] & X86_CR3_PCID_MASK)))
        return false;
    if ((value & X86_CR4_CET) && !(s->cr[0] & X86_CR0_WP))
        return false;
    return !s->vmx.on ||
           (!(~value & c->uarch->vmx_cap.cr4_fixed0) && !(value & ~c->uarch->vmx_cap.cr4_fixed1));
}

// Without "do not flush", which is not kept.
static uint64_t cr3_kept(const struct pcpu *c, uint64_t value)
{
    return c->x86->cr[4] & X86_CR4_PCIDE ? value & ~X86_CR3_NO_FLUSH : value;
}

bool x86_cr_legal(const struct pcpu *c, unsigned n, uint64_t value)
{
    if (n == 0)
        return cr0_legal(c, value);
    if (n == 3)
        return cr3_kept(c, value) >> c->uarch->address.physical_bits == 0;
    return cr4_legal(c, value);
}

void x86_set_cr(struct pcpu *c, unsigned n, uint64_t value)
{
    uint64_t efer = MSR_VALUE(c, IA32_EFER);

    if (n == 0) {
        value = (value & X86_CR0_DEFINED) | X86_CR0_ET;
        // SDM 9.8.5: IA-32e mode is active while paging and LME are on.
        efer &= ~EFER_LMA;
        if ((value & X86_CR0_PG) && (efer & EFER_LME))
            efer |= EFER_LMA;
        MSR_VALUE(c, IA32_EFER) = efer;
    }
    c->x86->cr[n] = n == 3 ? cr3_kept(c, value) : value;
}

enum hw_fault x86_write_cr(struct pcpu *c, unsigned n, uint64_t value)
{
    struct x86_state *s = c->x86;

    switch (n) {
    case 0:
    case 3:
    case 4:
        if (!x86_cr_legal(c, n, value))
            return HW_FAULT_GP;
        x86_set_cr(c, n, value);
        return HW_DONE;
    case 2:
        s->cr[2] = value;
        return HW_DONE;
    case 8:
        if (value & ~0xfull)
            return HW_FAULT_GP;
        lapic_set_cr8(c, (uint8_t)value);
        return HW_DONE;
    default:
        return HW_FAULT_UD;
    }
}

enum hw_fault x86_write_dr(struct pcpu *c, unsigned n, uint64_t value)
{
    struct x86_state *s = c->x86;

    if (n == 4 || n == 5) {
        if (s->cr[4] & X86_CR4_DE)
            return HW_FAULT_UD;
        n += 2; // Aliases of DR6 and DR7 (SDM 17.2.2).
    }
    if (n > 7)
        return HW_FAULT_UD;
    if (n >= 6 && value >> 32)
        return HW_FAULT_GP;
    if (n == 6)
        value = (value & 0x1e00f) | 0xfffe0ff0u; // SDM 17.2.3; no RTM.
    if (n == 7)
        value = (value & 0xffff2bffu) | X86_DR7_RESET;
    s->dr[n] = value;
    debug_update(c);
    return HW_DONE;
}

enum hw_fault x86_write_xcr(struct pcpu *c, uint32_t index, uint64_t value)
{
    const struct uarch_cpuid *row = uarch_cpuid_find(c->uarch, 13, 0);
    uint64_t supported = row ? row->eax | (uint64_t)row->edx << 32 : 0;

    if (!(c->x86->cr[4] & X86_CR4_OSXSAVE))
        return HW_FAULT_UD;
    // SDM vol. 2, XSETBV: x87 always, AVX needs SSE, the three of AVX-512 together and with AVX, BND*
    // together.
    if (index != 0 || (value & ~supported) || !(value & 1))
        return HW_FAULT_GP;
    if ((value & 4) && !(value & 2))
        return HW_FAULT_GP;
    if ((value & 0xe0) && ((value & 0xe0) != 0xe0 || !(value & 4)))
        return HW_FAULT_GP;
    if ((value & 0x18) && (value & 0x18) != 0x18)
        return HW_FAULT_GP;
    c->x86->xcr0 = value;
    return HW_DONE;
}
