// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/cpuid.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/x86/regs.h"
#include "spec/cpuid.h"

#define KVM_CPUID_LEAF 0x40000000u
#define KVM_CPUID_FEATURES 0x40000001u
// "KVMKVMKVM\0\0\0" in EBX, ECX, EDX.
#define KVM_SIGNATURE_EBX 0x4b4d564bu
#define KVM_SIGNATURE_ECX 0x564b4d56u
#define KVM_SIGNATURE_EDX 0x0000004du
#define XSAVE_LEAF 0xdu
#define XSAVE_LEGACY_BYTES 576u // With the header.
#define XSAVE_ALIGNED 2u        // ECX of a component: to 64 bytes, in the compacted form.

const struct hv_cpuid_entry2 *guest_cpuid_entry(const struct x86_vcpu *v, u32 leaf, u32 subleaf)
{
    for (u32 i = 0; i < v->cpuid_count; i++) {
        const struct hv_cpuid_entry2 *e = &v->cpuid[i];

        if (e->function == leaf && (!(e->flags & HV_CPUID_SIGNIFICANT_INDEX) || e->index == subleaf))
            return e;
    }
    return NULL;
}

bool guest_cpuid_has(const struct x86_vcpu *v, u32 leaf, u32 subleaf, unsigned reg, u32 mask)
{
    const struct hv_cpuid_entry2 *e = guest_cpuid_entry(v, leaf, subleaf);

    if (e == NULL)
        return false;
    const u32 r[4] = {e->eax, e->ebx, e->ecx, e->edx};

    return (r[reg] & mask) == mask;
}

// Intel: a basic leaf beyond the highest answers as the highest basic one. Other ranges answer zeroes.
static const struct hv_cpuid_entry2 *out_of_range(const struct x86_vcpu *v, u32 leaf, u32 subleaf)
{
    const struct hv_cpuid_entry2 *basic = guest_cpuid_entry(v, 0, 0);
    const struct hv_cpuid_entry2 *range = guest_cpuid_entry(v, leaf & 0xc0000000u, 0);

    if (basic == NULL || (range != NULL && range != basic && leaf <= range->eax))
        return NULL;
    if (leaf >= KVM_CPUID_LEAF && leaf < 0x50000000u)
        return NULL; // The hypervisor's own leaves are no processor's.
    return leaf > basic->eax ? guest_cpuid_entry(v, basic->eax, subleaf) : NULL;
}

void guest_cpuid(struct x86_vcpu *v, u32 leaf, u32 subleaf, struct hw_cpuid_regs *out)
{
    const struct hv_cpuid_entry2 *e = guest_cpuid_entry(v, leaf, subleaf);

    if (unlikely(e == NULL))
        e = out_of_range(v, leaf, subleaf);
    if (unlikely(e == NULL)) {
        *out = (struct hw_cpuid_regs){0};
        // Topology leaves name the processor and level whatever the subleaf.
        if (leaf == 0xb && (e = guest_cpuid_entry(v, leaf, 1)) != NULL) {
            out->ecx = subleaf & 0xff;
            out->edx = e->edx;
        }
        return;
    }
    *out = (struct hw_cpuid_regs){e->eax, e->ebx, e->ecx, e->edx};
}

static struct hv_cpuid_entry2 *own_entry(struct x86_vcpu *v, u32 leaf, u32 subleaf)
{
    return (struct hv_cpuid_entry2 *)(u64)guest_cpuid_entry(v, leaf, subleaf);
}

static void show(u32 *reg, u32 bit, bool on)
{
    *reg = on ? *reg | bit : *reg & ~bit;
}

// Bytes of an XSAVE area with what XCR0 enables, in both forms (SDM vol. 1 13.4.2, 13.4.3).
static void show_xsave(struct x86_vcpu *v)
{
    struct hv_cpuid_entry2 *standard = own_entry(v, XSAVE_LEAF, 0), *compacted = own_entry(v, XSAVE_LEAF, 1);
    u32 last = XSAVE_LEGACY_BYTES, sum = XSAVE_LEGACY_BYTES;

    for (u32 i = 2; i < 32; i++) {
        const struct hv_cpuid_entry2 *e = (v->xcr0 >> i) & 1 ? guest_cpuid_entry(v, XSAVE_LEAF, i) : NULL;

        if (e == NULL)
            continue;
        if (e->ebx + e->eax > last)
            last = e->ebx + e->eax;
        sum = (e->ecx & XSAVE_ALIGNED ? (sum + 63) & ~63u : sum) + e->eax;
    }
    if (standard != NULL)
        standard->ebx = last;
    if (compacted != NULL && (compacted->eax & CPUID_XSAVEC))
        compacted->ebx = sum;
}

void vcpu_update_cpuid_runtime(struct x86_vcpu *v)
{
    struct hv_cpuid_entry2 *first = own_entry(v, 1, 0), *features = own_entry(v, 7, 0);

    if (first != NULL) {
        show(&first->ecx, CPUID_OSXSAVE, vcpu_cr4(v) & X86_CR4_OSXSAVE);
        if (v->apic != NULL) // Without a local APIC here there is none to be switched off.
            show(&first->edx, CPUID_APIC, v->apic_base & APIC_BASE_EN);
    }
    if (features != NULL)
        show(&features->ecx, CPUID_OSPKE, vcpu_cr4(v) & X86_CR4_PKE);
    show_xsave(v);
}

void guest_cpuid_set(struct x86_vcpu *v, struct hv_cpuid_entry2 *entries, u32 count)
{
    struct host *host = v->vcpu.vm->host;

    kfree(host, v->cpuid, v->cpuid_count * sizeof(*entries));
    v->cpuid = entries;
    v->cpuid_count = count;
    const struct hv_cpuid_entry2 *e = guest_cpuid_entry(v, 0x80000008, 0);

    v->maxphyaddr = e != NULL ? (u8)(e->eax & 0xff) : 36;
    // Each vCPU answers with its own APIC id, whatever the table was copied from.
    for (u32 i = 0; i < count; i++) {
        if (entries[i].function == 1)
            entries[i].ebx = (entries[i].ebx & ~(u32)CPUID_INITIAL_APIC_ID_MASK) |
                             v->vcpu.id << CPUID_INITIAL_APIC_ID_SHIFT;
        if (entries[i].function == 0xb)
            entries[i].edx = v->vcpu.id;
    }
    v->cr4_reserved = vcpu_cr4_reserved_bits(v);
    u64 owned = X86_CR4_PVI | X86_CR4_DE | X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_PGE |
                X86_CR4_TSD | X86_CR4_FSGSBASE;

    owned &= ~v->cr4_reserved;
    if (owned != v->cr4_guest_owned) {
        (void)vcpu_cr4(v); // What the guest wrote so far is its, whoever owns it from now on.
        v->cr4_guest_owned = owned;
        vmcs_write(CR4_GUEST_HOST_MASK, ~owned);
    }
    vcpu_update_cpuid_runtime(v);
    vmx_update_controls(v);
}

// --- What can be virtualized: the host's, less what the core does not do.

struct cpuid_mask {
    u32 leaf, subleaf, reg, mask;
};
// Features that guests may have if the processor does. What is not named is not offered.
static const struct cpuid_mask offered[] = {
    {1, 0, CPUID_ECX,
     CPUID_SSE3 | CPUID_PCLMULQDQ | CPUID_SSSE3 | CPUID_FMA | CPUID_CX16 | CPUID_PCID | CPUID_SSE4_1 |
         CPUID_SSE4_2 | CPUID_X2APIC | CPUID_MOVBE | CPUID_POPCNT | CPUID_TSC_DEADLINE | CPUID_AES |
         CPUID_XSAVE | CPUID_AVX | CPUID_F16C | CPUID_RDRAND | CPUID_VMX},
    {1, 0, CPUID_EDX,
     CPUID_FPU | CPUID_VME | CPUID_DE | CPUID_PSE | CPUID_TSC | CPUID_MSR | CPUID_PAE | CPUID_MCE |
         CPUID_CX8 | CPUID_APIC | CPUID_SEP | CPUID_MTRR | CPUID_PGE | CPUID_MCA | CPUID_CMOV | CPUID_PAT |
         CPUID_PSE36 | CPUID_CLFSH | CPUID_MMX | CPUID_FXSR | CPUID_SSE | CPUID_SSE2 | CPUID_SS | CPUID_HTT},
    {7, 0, CPUID_EBX,
     CPUID_FSGSBASE | CPUID_TSC_ADJUST | CPUID_BMI1 | CPUID_HLE | CPUID_AVX2 | CPUID_SMEP | CPUID_BMI2 |
         CPUID_ERMS | CPUID_INVPCID | CPUID_RTM | CPUID_AVX512F | CPUID_AVX512DQ | CPUID_RDSEED | CPUID_ADX |
         CPUID_SMAP | CPUID_CLFLUSHOPT | CPUID_CLWB | CPUID_AVX512CD | CPUID_SHA | CPUID_AVX512BW |
         CPUID_AVX512VL},
    {7, 0, CPUID_ECX, CPUID_UMIP | CPUID_PKU | CPUID_LA57},
    {7, 0, CPUID_EDX, CPUID_MD_CLEAR | CPUID_SPEC_CTRL | CPUID_ARCH_CAPABILITIES | CPUID_SSBD},
    {0xd, 1, CPUID_EAX, CPUID_XSAVEOPT | CPUID_XSAVEC | CPUID_XGETBV_ECX1},
    {0x80000001, 0, CPUID_ECX, CPUID_LAHF_LM | CPUID_LZCNT},
    {0x80000001, 0, CPUID_EDX, CPUID_SYSCALL | CPUID_NX | CPUID_PDPE1GB | CPUID_RDTSCP | CPUID_LM},
    {0x80000007, 0, CPUID_EDX, CPUID_INVARIANT_TSC},
};

// Instructions that are a guest's only if a control of VMX gives them to it.
static u32 needs_control(const struct vmx_caps *caps, const struct hv_cpuid_entry2 *e)
{
    if (e->function == 7 && e->index == 0 && !caps->invpcid)
        return CPUID_INVPCID; // EBX
    if (e->function == 0x80000001 && !caps->rdtscp)
        return CPUID_RDTSCP; // EDX
    return 0;
}

static void apply_offered(const struct vmx_caps *caps, struct hv_cpuid_entry2 *e)
{
    u32 *const r[4] = {&e->eax, &e->ebx, &e->ecx, &e->edx};

    for (unsigned i = 0; i < ARRAY_COUNT(offered); i++) {
        const struct cpuid_mask *m = &offered[i];

        if (m->leaf == e->function && m->subleaf == e->index)
            *r[m->reg] &= m->mask;
    }
    *(e->function == 7 ? &e->ebx : &e->edx) &= ~needs_control(caps, e);
    if (e->function == 1) // The core's own: a hypervisor, an x2APIC whatever the processor has.
        e->ecx |= CPUID_HYPERVISOR | CPUID_X2APIC | CPUID_TSC_DEADLINE;
    if (e->function == 0xa || e->function == 0x14)
        e->eax = e->ebx = e->ecx = e->edx = 0; // No performance counters, no trace.
    if (e->function == 6)
        *e = (struct hv_cpuid_entry2){.function = 6, .eax = CPUID_ARAT};
    if (e->function == 5)
        e->eax = e->ebx = e->ecx = e->edx = 0; // MONITOR and MWAIT are not offered.
}

struct cpuid_fill {
    const struct vmx_caps *caps;
    struct hv_cpuid_entry2 *entries;
    u32 max, count;
};

static void add(struct cpuid_fill *f, const struct hv_cpuid_entry2 *e)
{
    if (f->count < f->max)
        f->entries[f->count] = *e;
    f->count++;
}

static struct hv_cpuid_entry2 add_host(struct cpuid_fill *f, u32 leaf, u32 subleaf, bool indexed)
{
    struct hw_cpuid_regs r;

    hw_cpuid(leaf, subleaf, &r);
    struct hv_cpuid_entry2 e = {.function = leaf,
                                .index = subleaf,
                                .flags = indexed ? HV_CPUID_SIGNIFICANT_INDEX : 0,
                                .eax = r.eax,
                                .ebx = r.ebx,
                                .ecx = r.ecx,
                                .edx = r.edx};

    apply_offered(f->caps, &e);
    add(f, &e);
    return e;
}

// Leaves whose subleaves differ, and when their lists end.
static void add_leaf(struct cpuid_fill *f, u32 leaf)
{
    const u32 subleaves_max = 64;

    switch (leaf) {
    case 4: // Until the cache type is 0.
        for (u32 i = 0; i < subleaves_max && (add_host(f, leaf, i, true).eax & 0x1f) != 0; i++) {
        }
        return;
    case 7:
        (void)add_host(f, leaf, 0, true);
        return;
    case 0xb: // Until the level type is 0.
        for (u32 i = 0; i < subleaves_max && (add_host(f, leaf, i, true).ecx & 0xff00) != 0; i++) {
        }
        return;
    case 0xd: {
        u32 components = add_host(f, leaf, 0, true).eax;

        (void)add_host(f, leaf, 1, true);
        for (u32 i = 2; i < 32; i++)
            if ((components >> i) & 1)
                (void)add_host(f, leaf, i, true);
        return;
    }
    default:
        (void)add_host(f, leaf, 0, false);
    }
}

u32 supported_cpuid(struct host *host, struct hv_cpuid_entry2 *entries, u32 max)
{
    struct cpuid_fill f = {.caps = &x86_host(host)->caps, .entries = entries, .max = max};
    u32 highest = add_host(&f, 0, 0, false).eax;

    for (u32 leaf = 1; leaf <= highest && leaf < 0x40; leaf++)
        add_leaf(&f, leaf);
    u32 extended = add_host(&f, 0x80000000, 0, false).eax;

    for (u32 leaf = 0x80000001; leaf <= extended && leaf < 0x80000040; leaf++)
        add_leaf(&f, leaf);
    add(&f, &(struct hv_cpuid_entry2){.function = KVM_CPUID_LEAF,
                                      .eax = KVM_CPUID_FEATURES,
                                      .ebx = KVM_SIGNATURE_EBX,
                                      .ecx = KVM_SIGNATURE_ECX,
                                      .edx = KVM_SIGNATURE_EDX});
    add(&f, &(struct hv_cpuid_entry2){.function = KVM_CPUID_FEATURES,
                                      .eax = CPUID_KVM_CLOCKSOURCE | CPUID_KVM_NOP_IO_DELAY |
                                             CPUID_KVM_CLOCKSOURCE2 | CPUID_KVM_PV_UNHALT |
                                             CPUID_KVM_PV_SEND_IPI | CPUID_KVM_POLL_CONTROL |
                                             CPUID_KVM_PV_SCHED_YIELD | CPUID_KVM_CLOCKSOURCE_STABLE});
    return f.count;
}
