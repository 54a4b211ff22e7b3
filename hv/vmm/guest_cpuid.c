// SPDX-License-Identifier: Apache-2.0
// CPUID of machine-code guests: what the interpreter does not model is not there, and the topology is that of
// the VM's own processors.
#include "hv/vmm/vmm.h"
#include "spec/cpuid.h"

// XCR0 (SDM vol.1 13.3): x87, SSE and protection keys. The first two live in the legacy region and the header
// behind it.
#define XSTATE_X87_SSE 0x3u
#define XSTATE_PKRU 0x200u
#define XSAVE_LEGACY_BYTES 576u
#define XSAVE_LEAF 0xdu

static const struct vmm_cpuid_bit hidden[] = {
#define HIDDEN(leaf, subleaf, reg, name) {leaf, subleaf, CPUID_##reg, CPUID_##name},
#include "hv/vmm/cpuid_hidden.def"
#undef HIDDEN
};

static void hide(struct hv_cpuid_entry2 *e, const struct vmm_cpuid_bit *bits, u32 count)
{
    u32 *const r[4] = {&e->eax, &e->ebx, &e->ecx, &e->edx};

    for (u32 i = 0; i < count; i++)
        if (bits[i].leaf == e->function && bits[i].subleaf == e->index && bits[i].reg < 4)
            *r[bits[i].reg] &= ~bits[i].mask;
}

// Bytes of an XSAVE area for the components that are left.
static u32 xsave_bytes(const struct hv_cpuid2 *c)
{
    u32 bytes = XSAVE_LEGACY_BYTES;

    for (u32 i = 0; i < c->nent; i++) {
        const struct hv_cpuid_entry2 *e = &c->entries[i];

        // EAX: its size, EBX: its offset in the standard format.
        if (e->function == XSAVE_LEAF && e->index >= 2 && e->index < 32 &&
            (1u << e->index & XSTATE_PKRU) != 0 && e->ebx + e->eax > bytes)
            bytes = e->ebx + e->eax;
    }
    return bytes;
}

static void limit_xsave(struct hv_cpuid_entry2 *e, u32 bytes)
{
    if (e->index == 0) {
        e->eax &= XSTATE_X87_SSE | XSTATE_PKRU;
        e->ebx = XSAVE_LEGACY_BYTES; // Of what is enabled after reset.
        e->ecx = bytes;
        e->edx = 0;
    } else if (e->index == 1) {
        e->ebx = XSAVE_LEGACY_BYTES;
        e->ecx = e->edx = 0; // No supervisor states.
    } else if (e->index >= 32 || (1u << e->index & XSTATE_PKRU) == 0) {
        e->eax = e->ebx = e->ecx = e->edx = 0;
    }
}

static u32 bits_for(u32 count)
{
    u32 bits = 0;

    while (1u << bits < count)
        bits++;
    return bits;
}

// One package of so many cores of one thread each (SDM vol.2 CPUID, leaves 1, 4 and 0xb).
static void set_topology(struct hv_cpuid_entry2 *e, u32 vcpus)
{
    u32 bits = bits_for(vcpus);

    if (e->function == 1) {
        e->ebx = (e->ebx & ~0xff0000u) | (1u << bits & 0xff) << 16;
        e->edx = vcpus > 1 ? e->edx | CPUID_HTT : e->edx & ~(u32)CPUID_HTT;
    } else if (e->function == 4) {
        // Caches up to the second level are a core's own, the last one is everybody's.
        u32 sharing = (e->eax >> 5 & 7) >= 3 ? (1u << bits) - 1 : 0;

        e->eax = (e->eax & 0x3fffu) | sharing << 14 | ((1u << bits) - 1) << 26;
    } else if (e->function == 0xb && e->index == 0) {
        e->eax = 0;
        e->ebx = 1;
    } else if (e->function == 0xb && e->index == 1) {
        e->eax = bits;
        e->ebx = vcpus;
    }
}

void vmm_guest_cpuid(struct hv_cpuid2 *c, u32 vcpu_count, const struct vmm_cpuid_bit *bits, u32 bit_count)
{
    u32 bytes = xsave_bytes(c);

    for (u32 i = 0; i < c->nent; i++) {
        hide(&c->entries[i], hidden, sizeof hidden / sizeof *hidden);
        if (c->entries[i].function == XSAVE_LEAF)
            limit_xsave(&c->entries[i], bytes);
        set_topology(&c->entries[i], vcpu_count);
        hide(&c->entries[i], bits, bit_count);
    }
}
