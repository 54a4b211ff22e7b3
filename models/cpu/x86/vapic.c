// SPDX-License-Identifier: Apache-2.0
// APIC virtualization and virtual interrupts (SDM ch. 29): everything that the processor does on the
// virtual-APIC page.
#include "models/cpu/x86/x86_state.h"

#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "spec/apic_bits.h"

// --- The page. ---

static unsigned char *at(struct pcpu *c, uint32_t offset, enum mem_access_kind kind)
{
    const struct vmx *v = &c->x86->vmx;
    unsigned char *page = v->vapic == VMX_NO_POINTER ? NULL : mem_hpa_to_ptr(c, v->vapic, 4096);

    if (page)
        mem_access(c, v->vapic + offset, 4, kind);
    return page ? page + offset : NULL;
}

uint32_t vapic_read(struct pcpu *c, uint32_t offset)
{
    const unsigned char *p = at(c, offset, MEM_LOAD);
    uint32_t value = 0;

    if (p)
        memcpy(&value, p, 4);
    return value;
}

void vapic_write(struct pcpu *c, uint32_t offset, uint32_t value)
{
    unsigned char *p = at(c, offset, MEM_STORE);

    if (p)
        memcpy(p, &value, 4);
}

// Bit `vector` of a 256-bit register: 32 bits in each 16 bytes.
static void put_bit(struct pcpu *c, uint32_t reg, unsigned vector, bool value)
{
    uint32_t offset = reg + vector / 32 * 16;
    uint32_t word = vapic_read(c, offset), bit = 1u << (vector % 32);

    vapic_write(c, offset, value ? word | bit : word & ~bit);
}

static uint8_t highest(struct pcpu *c, uint32_t reg)
{
    for (int i = 7; i >= 0; i--) {
        uint32_t word = vapic_read(c, reg + (uint32_t)i * 16);

        if (word)
            return (uint8_t)(i * 32 + 31 - __builtin_clz(word));
    }
    return 0;
}

// --- Guest interrupt status. ---

static uint8_t rvi(const struct vmx *v)
{
    return (uint8_t)vmcs_get(v, GUEST_INTR_STATUS);
}

static uint8_t svi(const struct vmx *v)
{
    return (uint8_t)(vmcs_get(v, GUEST_INTR_STATUS) >> 8);
}

static void set_status(struct vmx *v, uint8_t new_rvi, uint8_t new_svi)
{
    vmcs_put(v, GUEST_INTR_STATUS, (uint64_t)new_svi << 8 | new_rvi);
}

static bool vid(const struct vmx *v)
{
    return v->ctl.cpu2 & CPU2_VIRTUAL_INTR_DELIVERY;
}

// SDM 29.1.3.
static void ppr_virtualization(struct pcpu *c)
{
    uint32_t tpr = vapic_read(c, APIC_TPR) & 0xff, in_service = svi(&c->x86->vmx);

    vapic_write(c, APIC_PPR, (tpr & 0xf0) >= (in_service & 0xf0) ? tpr : in_service & 0xf0);
}

// SDM 29.2.1.
static void evaluate(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;

    v->virtual_interrupt = (rvi(v) & 0xf0) > (vapic_read(c, APIC_PPR) & 0xf0);
    v->behind |= v->virtual_interrupt;
    v->look_again = v->look_again || v->virtual_interrupt;
}

void vapic_entry(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;

    v->virtual_interrupt = false;
    v->tpr_check =
        (v->ctl.cpu & CPU_USE_TPR_SHADOW) && !vid(v) && (v->ctl.cpu2 & CPU2_VIRTUALIZE_APIC_ACCESSES);
    if (vid(v)) {
        ppr_virtualization(c);
        evaluate(c);
    }
}

bool vapic_deliver(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    uint8_t vector = rvi(v);

    pcpu_charge_cycles(c, c->uarch->vmx.virtual_interrupt_cycles);
    put_bit(c, APIC_ISR0, vector, true);
    vapic_write(c, APIC_PPR, vector & 0xf0);
    put_bit(c, APIC_IRR0, vector, false);
    set_status(v, highest(c, APIC_IRR0), vector);
    v->virtual_interrupt = false;
    return vmx_deliver(c, INTR_INFO_VALID | INTR_TYPE_EXTERNAL | vector, 0, 0);
}

// SDM 29.6. The descriptor is read and cleared by locked accesses.
void vapic_posted(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t pid = vmcs_get(v, POSTED_INTR_DESC_ADDR);
    uint8_t top = 0;

    pcpu_charge_cycles(c, c->uarch->vmx.posted_interrupt_cycles);
    mem_write64(c, pid + 32, mem_read64(c, pid + 32) & ~1ull, true);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t requests = mem_read64(c, pid + i * 8);

        if (!requests)
            continue;
        mem_write64(c, pid + i * 8, 0, true);
        for (unsigned half = 0; half < 2; half++) {
            uint32_t word = (uint32_t)(requests >> (32 * half));
            uint32_t offset = APIC_IRR0 + (i * 2 + half) * 16;

            if (word)
                vapic_write(c, offset, vapic_read(c, offset) | word);
        }
        top = (uint8_t)(i * 64 + 63 - (unsigned)__builtin_clzll(requests));
    }
    if (top > rvi(v))
        set_status(v, top, svi(v));
    evaluate(c);
}

// --- Virtualization after writes. ---

// SDM 29.1.2.
bool vapic_write_tpr(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;

    if (vid(v)) {
        ppr_virtualization(c);
        evaluate(c);
        return false;
    }
    if ((vapic_read(c, APIC_TPR) >> 4 & 0xf) >= (vmcs_get32(v, TPR_THRESHOLD) & TPR_THRESHOLD_MASK))
        return false;
    v->tpr_check = v->behind = true; // The exit follows the instruction.
    return false;
}

// SDM 29.1.4.
bool vapic_write_eoi(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    uint8_t vector = svi(v);
    uint64_t bitmap = vmcs_get(v, EOI_EXIT_BITMAP0 + vector / 64 * 2u);

    put_bit(c, APIC_ISR0, vector, false);
    set_status(v, rvi(v), highest(c, APIC_ISR0));
    ppr_virtualization(c);
    if (!((bitmap >> (vector % 64)) & 1)) {
        evaluate(c);
        return false;
    }
    v->trap_exit = EXIT_REASON_EOI_INDUCED;
    v->behind = true;
    v->trap_qualification = vector;
    return false;
}

// SDM 29.1.5.
void vapic_self_ipi(struct pcpu *c, uint8_t vector)
{
    struct vmx *v = &c->x86->vmx;

    put_bit(c, APIC_IRR0, vector, true);
    if (vector > rvi(v))
        set_status(v, vector, svi(v));
    evaluate(c);
}

static void apic_write_exit(struct vmx *v, uint32_t offset)
{
    v->trap_exit = EXIT_REASON_APIC_WRITE;
    v->behind = true;
    v->trap_qualification = offset;
}

// ICR values that make a self-IPI without an exit (SDM 29.4.3.2).
static bool icr_is_self(uint32_t icr)
{
    uint32_t zero = (uint32_t)APIC_ICR_RESERVED_LOW | (uint32_t)APIC_ICR_PENDING | (uint32_t)APIC_ICR_LEVEL |
                    (uint32_t)APIC_ICR_MODE_MASK;

    return (icr & zero) == 0 && (icr & APIC_ICR_SHORTHAND_MASK) == APIC_ICR_SELF && (icr & 0xf0);
}

// --- The APIC-access page (SDM 29.4). ---

// Registers that "APIC-register virtualization" covers, a bit for each 16 bytes (SDM 29.4.2, 29.4.3.1).
static bool in_set(uint64_t set, uint32_t offset)
{
    return offset < 0x400 && ((set >> (offset >> 4)) & 1);
}
#define BIT_OF(offset) (1ull << ((offset) >> 4))
#define LVT_SET                                                                                              \
    (BIT_OF(0x320) | BIT_OF(0x330) | BIT_OF(0x340) | BIT_OF(0x350) | BIT_OF(0x360) | BIT_OF(0x370))
#define WRITE_SET                                                                                            \
    (BIT_OF(0x20) | BIT_OF(0x80) | BIT_OF(0xb0) | BIT_OF(0xd0) | BIT_OF(0xe0) | BIT_OF(0xf0) |               \
     BIT_OF(0x280) | BIT_OF(0x300) | BIT_OF(0x310) | LVT_SET | BIT_OF(0x380) | BIT_OF(0x3e0))
// ISR, TMR and IRR are 24 registers from 100H.
#define READ_SET (WRITE_SET | BIT_OF(0x30) | (0xffffffull << 16))

static bool access_exit(struct pcpu *c, uint32_t offset, unsigned access)
{
    struct vmexit *x = vmx_exit_begin(c, EXIT_REASON_APIC_ACCESS);
    uint64_t type = access & EPT_ACCESS_FETCH   ? QUAL_APIC_LINEAR_FETCH
                    : access & EPT_ACCESS_WRITE ? QUAL_APIC_LINEAR_WRITE
                                                : QUAL_APIC_LINEAR_READ;

    x->qualification = type << QUAL_APIC_TYPE_SHIFT | offset;
    return true;
}

static bool virtualizes(const struct vmx *v, uint32_t offset, unsigned size, unsigned access)
{
    uint64_t set = BIT_OF(0x80);

    if (!(v->ctl.cpu & CPU_USE_TPR_SHADOW) || (access & EPT_ACCESS_FETCH))
        return false;
    // Within the low 4 bytes of an aligned 16-byte region.
    if (size > 4 || (offset & 0xf) + size > 4)
        return false;
    if (v->ctl.cpu2 & CPU2_APIC_REGISTER_VIRT)
        set = access & EPT_ACCESS_WRITE ? WRITE_SET : READ_SET;
    else if (vid(v) && (access & EPT_ACCESS_WRITE))
        set |= BIT_OF(0xb0) | BIT_OF(0x300);
    return in_set(set, offset);
}

// What follows a virtualized write (SDM 29.4.3.2).
static bool after_write(struct pcpu *c, uint32_t offset)
{
    struct vmx *v = &c->x86->vmx;
    uint32_t icr;

    switch (offset & 0xff0) {
    case APIC_TPR:
        vapic_write(c, APIC_TPR, vapic_read(c, APIC_TPR) & 0xff);
        return vapic_write_tpr(c);
    case APIC_EOI:
        vapic_write(c, APIC_EOI, 0);
        if (vid(v))
            return vapic_write_eoi(c);
        apic_write_exit(v, offset);
        return false;
    case APIC_ICR:
        icr = vapic_read(c, APIC_ICR);
        if (vid(v) && icr_is_self(icr))
            vapic_self_ipi(c, (uint8_t)icr);
        else
            apic_write_exit(v, offset);
        return false;
    case APIC_ICR2:
        vapic_write(c, APIC_ICR2, vapic_read(c, APIC_ICR2) & 0xff000000);
        return false;
    default:
        apic_write_exit(v, offset);
        return false;
    }
}

bool vapic_page_access(struct pcpu *c, uint32_t offset, unsigned size, unsigned access, uint64_t *value)
{
    struct vmx *v = &c->x86->vmx;
    unsigned char *p;

    if (!virtualizes(v, offset, size, access))
        return access_exit(c, offset, access);
    p = at(c, offset, access & EPT_ACCESS_WRITE ? MEM_STORE : MEM_LOAD);
    if (!p)
        return access_exit(c, offset, access);
    if (access & EPT_ACCESS_WRITE) {
        memcpy(p, value, size);
        return after_write(c, offset);
    }
    *value = 0;
    memcpy(value, p, size);
    return false;
}

// --- x2APIC mode (SDM 29.5). ---

bool vapic_read_msr(struct pcpu *c, uint32_t msr, uint64_t *value, bool *handled)
{
    const struct vmx *v = &c->x86->vmx;
    uint32_t offset = (msr & 0xff) << 4;

    *handled = false;
    if (!(v->ctl.cpu2 & CPU2_VIRTUALIZE_X2APIC_MODE))
        return false;
    if (!(v->ctl.cpu2 & CPU2_APIC_REGISTER_VIRT) && offset != APIC_TPR)
        return false;
    *value = vapic_read(c, offset) | (uint64_t)vapic_read(c, offset + 4) << 32;
    *handled = true;
    return false;
}

bool vapic_write_msr(struct pcpu *c, uint32_t msr, uint64_t value, bool *handled)
{
    struct vmx *v = &c->x86->vmx;
    uint32_t offset = (msr & 0xff) << 4;
    bool interrupts = offset == APIC_EOI || offset == APIC_SELF_IPI;

    *handled = false;
    if (!(v->ctl.cpu2 & CPU2_VIRTUALIZE_X2APIC_MODE))
        return false;
    if (offset != APIC_TPR && !(interrupts && vid(v)))
        return false;
    *handled = true;
    if ((offset == APIC_EOI && value) || value >> 8)
        return vmx_exception(c, GP_VECTOR, 0, 0);
    vapic_write(c, offset, (uint32_t)value);
    vapic_write(c, offset + 4, 0);
    if (offset == APIC_TPR)
        return vapic_write_tpr(c);
    if (offset == APIC_EOI)
        return vapic_write_eoi(c);
    if (value & 0xf0)
        vapic_self_ipi(c, (uint8_t)value);
    else
        apic_write_exit(v, offset);
    return false;
}
