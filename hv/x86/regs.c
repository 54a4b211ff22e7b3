// SPDX-License-Identifier: Apache-2.0
// Caches of VMCS fields, segments, and going past an instruction.
#include "hv/x86/regs.h"
#include "hv/lib/assert.h"

// Field behind each cache entry; control registers are more than one field.
static const u16 cache_field[CACHED_REGS] = {
    [CACHED_RIP] = GUEST_RIP,
    [CACHED_RSP] = GUEST_RSP,
    [CACHED_RFLAGS] = GUEST_RFLAGS,
    [CACHED_CR0] = GUEST_CR0,
    [CACHED_CR3] = GUEST_CR3,
    [CACHED_CR4] = GUEST_CR4,
    [CACHED_QUALIFICATION] = EXIT_QUALIFICATION,
    [CACHED_EXIT_INTR_INFO] = VM_EXIT_INTR_INFO,
    [CACHED_INSN_LEN] = VM_EXIT_INSTRUCTION_LEN,
    [CACHED_GPA] = GUEST_PHYSICAL_ADDRESS,
};

u64 vcpu_cache_fill(struct x86_vcpu *v, enum x86_cached_reg reg)
{
    u64 value = vmcs_read(cache_field[reg]);

    // Only the bits which the guest writes without an exit can differ from what is known.
    if (reg == CACHED_CR0)
        value = (v->cached[reg] & ~v->cr0_guest_owned) | (value & v->cr0_guest_owned);
    else if (reg == CACHED_CR4)
        value = (v->cached[reg] & ~v->cr4_guest_owned) | (value & v->cr4_guest_owned);
    v->cached[reg] = value;
    v->regs_avail |= 1u << reg;
    return value;
}

u64 vcpu_cr0(struct x86_vcpu *v)
{
    return vcpu_cached(v, CACHED_CR0);
}

u64 vcpu_cr4(struct x86_vcpu *v)
{
    return vcpu_cached(v, CACHED_CR4);
}

void vcpu_write_rflags(struct x86_vcpu *v, u64 rflags)
{
    v->cached[CACHED_RFLAGS] = rflags;
    v->regs_avail |= 1u << CACHED_RFLAGS;
    vmcs_write(GUEST_RFLAGS, rflags);
}

void vcpu_set_rflags(struct x86_vcpu *v, u64 rflags)
{
    vcpu_write_rflags(v, rflags);
    make_request(REQ_EVENT, &v->vcpu);
}

u32 vcpu_interrupt_shadow(struct x86_vcpu *v)
{
    (void)v;
    return vmcs_read32(GUEST_INTERRUPTIBILITY_INFO) & (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS);
}

void vcpu_set_interrupt_shadow(struct x86_vcpu *v, u32 mask)
{
    u32 old = vmcs_read32(GUEST_INTERRUPTIBILITY_INFO);
    u32 value = (old & ~(u32)(INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)) | mask;

    (void)v;
    if (value != old)
        vmcs_write(GUEST_INTERRUPTIBILITY_INFO, value);
}

void vcpu_complete_instruction(struct x86_vcpu *v, u64 rip, u64 rflags_before, u32 shadow)
{
    vcpu_set_rip(v, rip);
    vcpu_set_interrupt_shadow(v, shadow);
    // MOV SS and POP SS hold the trap back until after the next instruction (SDM 6.8.3).
    if (unlikely(rflags_before & X86_RFLAGS_TF) && !(shadow & INTERRUPTIBILITY_MOV_SS))
        queue_exception_p(v, DB_VECTOR, X86_DR6_BS);
}

void vcpu_pass_instruction(struct x86_vcpu *v, u64 rflags_before)
{
    u64 rip = vcpu_rip(v);
    u64 next = rip + vcpu_cached(v, CACHED_INSN_LEN);

    // Outside of 64-bit mode the instruction pointer has 32 bits; only a carry into bit 32 can matter.
    if (unlikely(((next ^ rip) >> 31) == 3) && !vcpu_64bit(v))
        next = (u32)next;
    vcpu_complete_instruction(v, next, rflags_before, 0);
}

int skip_instruction(struct x86_vcpu *v)
{
    vcpu_pass_instruction(v, vcpu_rflags(v));
    return 1;
}

// --- Segments (SDM 24.4.1). Encodings of one field are 2 apart in the order of enum x86_segment.

static const u16 segment_field[SEGF_COUNT] = {GUEST_ES_SELECTOR, GUEST_ES_BASE, GUEST_ES_LIMIT,
                                              GUEST_ES_AR_BYTES};

static u64 segment_read(struct x86_vcpu *v, enum x86_segment s, enum x86_segment_field f)
{
    u32 bit = 1u << (s * SEGF_COUNT + f);
    struct segment_cache *c = &v->segs;

    if (!(c->avail & bit)) {
        u64 value = vmcs_read((u32)segment_field[f] + 2u * s);

        c->avail |= bit;
        switch (f) {
        case SEGF_SELECTOR:
            c->selector[s] = (u16)value;
            break;
        case SEGF_BASE:
            c->base[s] = value;
            break;
        case SEGF_LIMIT:
            c->limit[s] = (u32)value;
            break;
        case SEGF_AR:
            c->ar[s] = (u32)value;
            break;
        case SEGF_COUNT:
            HV_PANIC("no such segment field");
        }
        return value;
    }
    switch (f) {
    case SEGF_SELECTOR:
        return c->selector[s];
    case SEGF_BASE:
        return c->base[s];
    case SEGF_LIMIT:
        return c->limit[s];
    case SEGF_AR:
        return c->ar[s];
    case SEGF_COUNT:
        break;
    }
    HV_PANIC("no such segment field");
    return 0;
}

u64 vcpu_segment_base(struct x86_vcpu *v, enum x86_segment s)
{
    return segment_read(v, s, SEGF_BASE);
}

u32 vcpu_segment_limit(struct x86_vcpu *v, enum x86_segment s)
{
    return (u32)segment_read(v, s, SEGF_LIMIT);
}

u16 vcpu_segment_selector(struct x86_vcpu *v, enum x86_segment s)
{
    return (u16)segment_read(v, s, SEGF_SELECTOR);
}

u32 vcpu_segment_ar(struct x86_vcpu *v, enum x86_segment s)
{
    return (u32)segment_read(v, s, SEGF_AR);
}

void vcpu_get_segment(struct x86_vcpu *v, enum x86_segment s, struct hv_segment *out)
{
    u32 ar = vcpu_segment_ar(v, s);

    *out = (struct hv_segment){
        .base = segment_read(v, s, SEGF_BASE),
        .limit = (u32)segment_read(v, s, SEGF_LIMIT),
        .selector = (u16)segment_read(v, s, SEGF_SELECTOR),
        .type = ar & AR_TYPE_MASK,
        .s = (ar & AR_S) != 0,
        .dpl = (u8)((ar & AR_DPL_MASK) >> AR_DPL_SHIFT),
        .unusable = (ar & AR_UNUSABLE) != 0,
        // VMX reports unusable segments as not present only by the bit of its own.
        .present = (ar & (AR_P | AR_UNUSABLE)) == AR_P,
        .avl = (ar & AR_AVL) != 0,
        .l = (ar & AR_L) != 0,
        .db = (ar & AR_DB) != 0,
        .g = (ar & AR_G) != 0,
    };
}

static u32 segment_ar_of(const struct hv_segment *s)
{
    if (s->unusable || !s->present)
        return AR_UNUSABLE;
    return (u32)(s->type & 15u) | (s->s ? AR_S : 0) | (u32)(s->dpl & 3u) << AR_DPL_SHIFT | AR_P |
           (s->avl ? AR_AVL : 0) | (s->l ? AR_L : 0) | (s->db ? AR_DB : 0) | (s->g ? AR_G : 0);
}

void vcpu_set_segment(struct x86_vcpu *v, enum x86_segment s, const struct hv_segment *in)
{
    u32 ar = segment_ar_of(in);

    // Unrestricted guest: a usable code or data segment must be accessed (SDM 26.3.1.2).
    if (s != SEG_LDTR && s != SEG_TR && !(ar & AR_UNUSABLE))
        ar |= X86_SEG_ACCESSED;
    v->segs.avail &= ~(((1u << SEGF_COUNT) - 1) << (s * SEGF_COUNT));
    vmcs_write(GUEST_ES_BASE + 2u * s, in->base);
    vmcs_write(GUEST_ES_LIMIT + 2u * s, in->limit);
    vmcs_write(GUEST_ES_SELECTOR + 2u * s, in->selector);
    vmcs_write(GUEST_ES_AR_BYTES + 2u * s, ar);
}

unsigned vcpu_cpl(struct x86_vcpu *v)
{
    if (!(vcpu_cr0(v) & X86_CR0_PE))
        return 0;
    if (!vcpu_long_mode(v) && (vcpu_rflags(v) & X86_RFLAGS_VM))
        return 3;
    return (vcpu_segment_ar(v, SEG_SS) & AR_DPL_MASK) >> AR_DPL_SHIFT;
}

bool vcpu_64bit(struct x86_vcpu *v)
{
    return vcpu_long_mode(v) && (vcpu_segment_ar(v, SEG_CS) & AR_L);
}

bool vcpu_require_cpl0(struct x86_vcpu *v)
{
    if (likely(vcpu_cpl(v) == 0))
        return true;
    inject_gp(v, 0);
    return false;
}

// --- Reset (SDM 9.1.1, table 9-1).

static void reset_segments(struct x86_vcpu *v)
{
    struct hv_segment data = {.limit = 0xffff, .type = 3, .s = 1, .present = 1};
    struct hv_segment code = data;

    code.type = 0xb;
    code.selector = 0xf000;
    code.base = 0xffff0000;
    vcpu_set_segment(v, SEG_CS, &code);
    for (enum x86_segment s = SEG_ES; s <= SEG_GS; s++)
        if (s != SEG_CS)
            vcpu_set_segment(v, s, &data);
    vcpu_set_segment(v, SEG_TR,
                     &(struct hv_segment){.limit = 0xffff, .type = X86_SYS_TSS_BUSY, .present = 1});
    vcpu_set_segment(v, SEG_LDTR, &(struct hv_segment){.limit = 0xffff, .type = X86_SYS_LDT, .present = 1});
    vmcs_write(GUEST_GDTR_BASE, 0);
    vmcs_write(GUEST_GDTR_LIMIT, 0xffff);
    vmcs_write(GUEST_IDTR_BASE, 0);
    vmcs_write(GUEST_IDTR_LIMIT, 0xffff);
}

static void reset_vmcs_state(struct x86_vcpu *v)
{
    vmcs_write(GUEST_SYSENTER_CS, 0);
    vmcs_write(GUEST_SYSENTER_ESP, 0);
    vmcs_write(GUEST_SYSENTER_EIP, 0);
    vmcs_write(GUEST_IA32_DEBUGCTL, 0);
    vmcs_write(GUEST_ACTIVITY_STATE, ACTIVITY_ACTIVE);
    vmcs_write(GUEST_INTERRUPTIBILITY_INFO, 0);
    vmcs_write(GUEST_PENDING_DBG_EXCEPTIONS, 0);
    vmcs_write(VM_ENTRY_INTR_INFO_FIELD, 0);
    vmcs_write(GUEST_DR7, X86_DR7_RESET);
    v->vmcs->nmi_known_unmasked = true;
}

void vcpu_reset_registers(struct x86_vcpu *v, bool init_event)
{
    u64 old_cr0 = v->cached[CACHED_CR0];

    for (unsigned i = 0; i < 16; i++)
        v->gprs.r[i] = 0;
    v->gprs.r[GPR_RDX] = 0x600; // Family 6 in EDX after reset.
    v->gprs.cr2 = 0;
    v->regs_avail = 0;
    v->regs_dirty = 0;
    v->segs.avail = 0;
    reset_segments(v);
    reset_vmcs_state(v);
    vcpu_set_rsp(v, 0);
    vcpu_set_rip(v, 0xfff0);
    vcpu_set_rflags(v, X86_RFLAGS_FIXED);
    for (unsigned i = 0; i < 4; i++)
        v->db[i] = 0;
    v->dr6 = X86_DR6_RESET;
    v->dr7 = X86_DR7_RESET;
    v->cr8 = 0;
    vcpu_write_cr3(v, 0);
    vcpu_write_efer(v, 0);
    // INIT leaves the cache mode bits as they are.
    vcpu_write_cr0(v, init_event ? X86_CR0_ET | (old_cr0 & (X86_CR0_CD | X86_CR0_NW)) : X86_CR0_RESET);
    vcpu_write_cr4(v, 0);
    if (!init_event)
        v->xcr0 = XFEATURE_X87;
}

void vcpu_deliver_sipi(struct x86_vcpu *v, u8 vector)
{
    struct hv_segment cs;

    vcpu_get_segment(v, SEG_CS, &cs);
    cs.selector = (u16)(vector << 8);
    cs.base = (u64)vector << 12;
    vcpu_set_segment(v, SEG_CS, &cs);
    vcpu_set_rip(v, 0);
}
