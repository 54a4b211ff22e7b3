// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/xsave.h"

#include "hv/hw/fpu.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include <assert.h>

#define MXCSR_RESET 0x1f80u
#define MXCSR_DEFINED 0xffffu // MXCSR_MASK (SDM vol. 1 11.6.6)

// --- The FXSAVE area (SDM vol. 1 table 10-2). ---

static void put(unsigned char *area, unsigned at, unsigned size, uint64_t value)
{
    memcpy(area + at, &value, size);
}

static uint64_t get(const unsigned char *area, unsigned at, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, area + at, size);
    return value;
}

void fxsave_image(const struct vmx *v, bool wide, unsigned char *area)
{
    const struct x87 *x = &v->x87;

    memset(area, 0, FXSAVE_BYTES);
    put(area, 0, 2, x->control);
    put(area, 2, 2, x->status);
    put(area, 4, 1, x->valid);
    put(area, 6, 2, x->opcode);
    put(area, 8, wide ? 8 : 4, x->ip);
    put(area, 16, wide ? 8 : 4, x->dp);
    put(area, FX_MXCSR, 4, v->mxcsr);
    put(area, FX_MXCSR + 4, 4, MXCSR_DEFINED);
    for (unsigned i = 0; i < 8; i++)
        memcpy(area + FX_ST + 16 * i, x->st[i], 10);
    memcpy(area + FX_XMM, v->xmm, sizeof v->xmm);
}

void fxsave_load_x87(struct vmx *v, const unsigned char *area, bool wide)
{
    struct x87 *x = &v->x87;

    x->control = (uint16_t)((get(area, 0, 2) & X87_CONTROL_DEFINED) | X87_CONTROL_FIXED);
    x->status = (uint16_t)get(area, 2, 2);
    x->valid = area[4];
    x->opcode = (uint16_t)(get(area, 6, 2) & 0x7ff);
    x->ip = get(area, 8, wide ? 8 : 4);
    x->dp = get(area, 16, wide ? 8 : 4);
    memset(x->st, 0, sizeof x->st);
    for (unsigned i = 0; i < 8; i++)
        memcpy(x->st[i], area + FX_ST + 16 * i, 10);
    x87_summarize(x);
}

void fxsave_load_xmm(struct vmx *v, const unsigned char *area, unsigned count)
{
    memcpy(v->xmm, area + FX_XMM, count * sizeof v->xmm[0]);
}

bool fxsave_mxcsr(const unsigned char *area, uint32_t *mxcsr)
{
    *mxcsr = (uint32_t)get(area, FX_MXCSR, 4);
    return !(*mxcsr & ~MXCSR_DEFINED);
}

// --- Components. ---

void xsave_init_x87(struct vmx *v)
{
    x87_init(&v->x87);
    memset(v->x87.st, 0, sizeof v->x87.st);
}

void xsave_init_xmm(struct vmx *v, unsigned count)
{
    memset(v->xmm, 0, count * sizeof v->xmm[0]);
}

static bool x87_in_use(const struct x87 *x)
{
    static const struct x87 initial = {.control = X87_CONTROL_RESET};

    return x->control != initial.control || x->status || x->opcode || x->valid || x->ip || x->dp ||
           memcmp(x->st, initial.st, sizeof x->st) != 0;
}

uint64_t xsave_in_use(const struct x86_state *s, bool compacted)
{
    static const uint64_t zero[16][2];
    const struct vmx *v = &s->vmx;
    uint64_t in_use = 0;

    if (x87_in_use(&v->x87))
        in_use |= XFEATURE_X87;
    if (memcmp(v->xmm, zero, sizeof zero) != 0 || (compacted && v->mxcsr != MXCSR_RESET))
        in_use |= XFEATURE_SSE;
    if (s->pkru)
        in_use |= XFEATURE_PKRU;
    return in_use;
}

unsigned xsave_offset(const struct pcpu *c, unsigned n, uint64_t present)
{
    const struct uarch_cpuid *row = uarch_cpuid_find(c->uarch, 13, n);
    unsigned at = XSAVE_LEGACY_BYTES;

    if (!row || !row->eax)
        return 0;
    if (!present)
        return row->ebx;
    for (unsigned i = 2; i <= n; i++) {
        row = present >> i & 1 ? uarch_cpuid_find(c->uarch, 13, i) : NULL;
        if (!row)
            continue;
        if (row->ecx & 2) // Begins at a multiple of 64 bytes.
            at = (at + 63) & ~63u;
        if (i < n)
            at += row->eax;
    }
    return at;
}

// --- hv/hw/fpu.h: root mode, all of the modelled state in standard form. ---

// Takes the time of each line's access.
static unsigned char *host_area(struct pcpu *c, uint64_t hpa, enum mem_access_kind kind)
{
    unsigned char *p = mem_hpa_to_ptr(c, hpa, HW_XSAVE_BYTES);

    assert(p && !(hpa & 63));
    for (unsigned at = 0; at < HW_XSAVE_BYTES; at += 64)
        mem_access(c, hpa + at, 8, kind);
    return p;
}

// Where PKRU is; beyond the area on processors that do not have it.
static unsigned pkru_offset(const struct pcpu *c)
{
    unsigned at = xsave_offset(c, PKRU_COMPONENT, 0);

    return at ? at : HW_XSAVE_BYTES;
}

void hw_xsave(hpa_t area)
{
    struct pcpu *c = x86_instruction(pcpu_current->uarch->op.xsave_cycles, false);
    unsigned char *p = host_area(c, area.v, MEM_STORE);

    fxsave_image(&c->x86->vmx, true, p);
    memset(p + XSAVE_HEADER, 0, XSAVE_HEADER_BYTES);
    put(p, XSAVE_HEADER, 8, xsave_in_use(c->x86, false));
    if (pkru_offset(c) + 4 <= HW_XSAVE_BYTES)
        put(p, pkru_offset(c), 4, c->x86->pkru);
}

enum hw_fault hw_xrstor(hpa_t area)
{
    struct pcpu *c = x86_instruction(pcpu_current->uarch->op.xrstor_cycles, false);
    struct vmx *v = &c->x86->vmx;
    const unsigned char *p = host_area(c, area.v, MEM_LOAD);
    uint64_t present = get(p, XSAVE_HEADER, 8);
    uint32_t mxcsr;

    if (!fxsave_mxcsr(p, &mxcsr) || (present & ~XSAVE_MODELLED) || get(p, XSAVE_HEADER + 8, 8) ||
        get(p, XSAVE_HEADER + 16, 8))
        return HW_FAULT_GP;
    v->mxcsr = mxcsr;
    xsave_init_x87(v);
    xsave_init_xmm(v, 16);
    if (present & XFEATURE_X87)
        fxsave_load_x87(v, p, true);
    if (present & XFEATURE_SSE)
        fxsave_load_xmm(v, p, 16);
    c->x86->pkru = 0;
    if ((present & XFEATURE_PKRU) && pkru_offset(c) + 4 <= HW_XSAVE_BYTES)
        c->x86->pkru = (uint32_t)get(p, pkru_offset(c), 4);
    return HW_DONE;
}
