// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/debug.h"
#include "models/cpu/x86/observer.h"

#define BREAKPOINTS 4u
enum { RW_EXECUTE, RW_WRITE, RW_IO, RW_READ_WRITE };

static bool enabled(uint64_t dr7, unsigned n)
{
    return dr7 & (X86_DR7_L(n) | X86_DR7_G(n));
}

static unsigned kind(uint64_t dr7, unsigned n)
{
    return dr7 >> X86_DR7_RW_SHIFT(n) & 3;
}

// Low bits of an address that the length does not cover are ignored (SDM 17.2.5).
static bool overlaps(const struct x86_state *s, unsigned n, uint64_t at, unsigned size)
{
    static const uint8_t bytes[4] = {1, 2, 8, 4};
    uint64_t length = bytes[s->dr[7] >> X86_DR7_LEN_SHIFT(n) & 3], from = s->dr[n] & ~(length - 1);

    return at < from + length && from < at + size;
}

static void note(struct vmx *v, unsigned n)
{
    v->pending_debug |= DEBUG_INFO_B(n) | DEBUG_INFO_ENABLED_BREAKPOINT;
    v->behind = true;
}

void debug_data(struct pcpu *c, uint64_t linear, unsigned size, bool write)
{
    struct x86_state *s = c->x86;
    struct guest_observer *o = s->vmx.observer;

    if (o)
        o->access(o, c, linear, size, write);
    for (unsigned n = 0; n < BREAKPOINTS; n++) {
        unsigned k = kind(s->dr[7], n);

        if (enabled(s->dr[7], n) && (k == RW_READ_WRITE || (k == RW_WRITE && write)) &&
            overlaps(s, n, linear, size))
            note(&s->vmx, n);
    }
}

void debug_io(struct pcpu *c, uint16_t port, unsigned size)
{
    struct x86_state *s = c->x86;

    if (s->vmx.guest || !debug_armed(c) || !(s->cr[4] & X86_CR4_DE))
        return;
    for (unsigned n = 0; n < BREAKPOINTS; n++)
        if (enabled(s->dr[7], n) && kind(s->dr[7], n) == RW_IO && overlaps(s, n, port, size))
            note(&s->vmx, n);
}

bool debug_instruction(struct pcpu *c)
{
    const struct x86_state *s = c->x86;
    const struct vmx *v = &s->vmx;
    uint64_t linear, hits = 0;

    // Behind MOV SS and POP SS there is none either (SDM 17.3.1.1).
    if (!debug_armed(c) || (v->rflags & X86_RFLAGS_RF) || (v->blocking & INTERRUPTIBILITY_MOV_SS))
        return false;
    linear = segment_code_size(v) == CODE_64 ? v->rip : (uint32_t)(v->seg[SEG_CS].base + v->rip);
    for (unsigned n = 0; n < BREAKPOINTS; n++)
        if (enabled(s->dr[7], n) && kind(s->dr[7], n) == RW_EXECUTE && s->dr[n] == linear)
            hits |= DEBUG_INFO_B(n);
    return hits && vmx_exception(c, DB_VECTOR, 0, hits);
}

void debug_delivered(struct pcpu *c, uint64_t info)
{
    struct x86_state *s = c->x86;
    const uint64_t shown = X86_DR6_BD | X86_DR6_BS | X86_DR6_BT | X86_DR6_BREAKPOINTS;

    s->dr[6] = (s->dr[6] & ~X86_DR6_BREAKPOINTS) | (info & shown);
    s->dr[7] &= ~X86_DR7_GD;
    MSR_VALUE(c, IA32_DEBUGCTL) &= ~(DEBUGCTL_LBR | DEBUGCTL_BTF);
}
