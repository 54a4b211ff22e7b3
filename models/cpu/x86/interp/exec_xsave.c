// SPDX-License-Identifier: Apache-2.0
// Saving and restoring x87, SSE and other state; MXCSR; EMMS (SDM vol. 1 10.5, 13).
#include "models/cpu/x86/insn_common.h"
#include "models/cpu/x86/interp/operand.h"
#include "models/cpu/x86/interp/simd.h"
#include "models/cpu/x86/xsave.h"

#define FX_ALIGN 16u
#define XSAVE_ALIGN 64u

// XMM registers that the mode has.
static unsigned registers(const struct uop *u)
{
    return u->code_size == CODE_64 ? 16 : 8;
}

// Stores bytes `at` to `end` of an area.
static enum insn_result store_part(struct vmx *v, const struct uop *u, const unsigned char *area, unsigned at,
                                   unsigned end)
{
    return memory_store_bytes_at(v, u, at, end - at, 1, area + at);
}

// The area as a whole is checked for its alignment.
static enum insn_result check_alignment(struct vmx *v, const struct uop *u, unsigned align, unsigned access)
{
    uint64_t linear;
    enum insn_result r =
        operand_linear(v, u, (enum segment_name)u->segment, effective_address(v, u), 1, access, &linear);

    return r == INSN_DONE && (linear & (align - 1)) ? uop_fault(v, u, GP_VECTOR, 0) : r;
}

static enum insn_result fx_check(struct vmx *v, const struct uop *u, unsigned access)
{
    if (v->cpu->x86->cr[0] & (X86_CR0_EM | X86_CR0_TS))
        return uop_fault(v, u, NM_VECTOR, 0);
    return check_alignment(v, u, FX_ALIGN, access);
}

// --- FXSAVE, FXRSTOR. ---

static enum insn_result store_x87(struct vmx *v, const struct uop *u, const unsigned char *area)
{
    enum insn_result r = store_part(v, u, area, 0, FX_X87_HEAD_BYTES);

    return r == INSN_DONE ? store_part(v, u, area, FX_ST, FX_ST + FX_ST_BYTES) : r;
}

static enum insn_result store_xmm(struct vmx *v, const struct uop *u, const unsigned char *area)
{
    return store_part(v, u, area, FX_XMM, FX_XMM + registers(u) * FX_XMM_BYTES);
}

static enum insn_result fxsave(struct vmx *v, const struct uop *u)
{
    unsigned char area[FXSAVE_BYTES];
    enum insn_result r = fx_check(v, u, EPT_ACCESS_WRITE);

    if (r != INSN_DONE)
        return r;
    fxsave_image(v, u->size == 8, area);
    r = store_x87(v, u, area);
    if (r == INSN_DONE)
        r = store_part(v, u, area, FX_MXCSR, FX_MXCSR + FX_MXCSR_BYTES);
    return r == INSN_DONE ? store_xmm(v, u, area) : r;
}

static enum insn_result fxrstor(struct vmx *v, const struct uop *u)
{
    unsigned char area[FXSAVE_BYTES];
    uint32_t mxcsr;
    enum insn_result r = fx_check(v, u, EPT_ACCESS_READ);

    if (r == INSN_DONE)
        r = memory_load_bytes(v, u, FXSAVE_BYTES, 1, area);
    if (r != INSN_DONE)
        return r;
    if (!fxsave_mxcsr(area, &mxcsr))
        return uop_fault(v, u, GP_VECTOR, 0);
    fxsave_load_x87(v, area, u->size == 8);
    fxsave_load_xmm(v, area, registers(u));
    v->mxcsr = mxcsr;
    return INSN_DONE;
}

// --- XSAVE, XSAVEOPT, XSAVEC. ---

static enum insn_result xsave_check(struct vmx *v, const struct uop *u, unsigned access)
{
    const struct x86_state *s = v->cpu->x86;

    if (!(s->cr[4] & X86_CR4_OSXSAVE))
        return uop_fault(v, u, UD_VECTOR, 0);
    if (s->cr[0] & X86_CR0_TS)
        return uop_fault(v, u, NM_VECTOR, 0);
    return check_alignment(v, u, XSAVE_ALIGN, access);
}

// Requested-feature bitmap (SDM vol. 1 13.5 to 13.7).
static uint64_t requested(const struct vmx *v)
{
    return v->cpu->x86->xcr0 & ((uint64_t)(uint32_t)v->gpr.r[REG_RDX] << 32 | (uint32_t)v->gpr.r[REG_RAX]);
}

// Stores the components `which`; `present` as xsave_offset() takes it.
static enum insn_result store_components(struct vmx *v, const struct uop *u, uint64_t which, uint64_t present)
{
    unsigned char area[FXSAVE_BYTES];
    unsigned pkru_at = xsave_offset(v->cpu, PKRU_COMPONENT, present);
    uint64_t pkru = v->cpu->x86->pkru;
    enum insn_result r = INSN_DONE;

    fxsave_image(v, u->size == 8, area);
    if (which & XFEATURE_X87)
        r = store_x87(v, u, area);
    if (r == INSN_DONE && (which & XFEATURE_SSE))
        r = store_xmm(v, u, area);
    if (r == INSN_DONE && (which & XFEATURE_PKRU) && pkru_at)
        r = memory_store_bytes_at(v, u, pkru_at, 8, 1, &pkru);
    return r;
}

static enum insn_result store_mxcsr(struct vmx *v, const struct uop *u)
{
    const uint32_t bytes[2] = {v->mxcsr, MXCSR_DEFINED};

    return memory_store_bytes_at(v, u, FX_MXCSR, sizeof bytes, 1, bytes);
}

// `optimized`: components in their initial configuration are not written.
static enum insn_result save_standard(struct vmx *v, const struct uop *u, bool optimized)
{
    uint64_t rfbm = requested(v), in_use, present;
    enum insn_result r = xsave_check(v, u, EPT_ACCESS_WRITE);

    if (r == INSN_DONE)
        r = memory_load_bytes_at(v, u, XSAVE_HEADER, 8, 1, &present);
    if (r != INSN_DONE)
        return r;
    in_use = xsave_in_use(v->cpu->x86, false);
    if (rfbm & (XFEATURE_SSE | XFEATURE_AVX))
        r = store_mxcsr(v, u);
    if (r == INSN_DONE)
        r = store_components(v, u, optimized ? rfbm & in_use : rfbm, 0);
    present = (present & ~rfbm) | (in_use & rfbm);
    return r == INSN_DONE ? memory_store_bytes_at(v, u, XSAVE_HEADER, 8, 1, &present) : r;
}

static enum insn_result xsave(struct vmx *v, const struct uop *u)
{
    return save_standard(v, u, false);
}

static enum insn_result xsaveopt(struct vmx *v, const struct uop *u)
{
    if (!x86_has(v->cpu, 13, 1, CPUID_EAX, CPUID_BITNR_XSAVEOPT))
        return uop_fault(v, u, UD_VECTOR, 0);
    return save_standard(v, u, true);
}

static enum insn_result xsavec(struct vmx *v, const struct uop *u)
{
    uint64_t rfbm = requested(v), which, header[2];
    enum insn_result r = xsave_check(v, u, EPT_ACCESS_WRITE);

    if (!x86_has(v->cpu, 13, 1, CPUID_EAX, CPUID_BITNR_XSAVEC))
        return uop_fault(v, u, UD_VECTOR, 0);
    if (r != INSN_DONE)
        return r;
    which = rfbm & xsave_in_use(v->cpu->x86, true);
    header[0] = which;
    header[1] = rfbm | XSAVE_COMPACTED;
    if (which & XFEATURE_SSE)
        r = store_mxcsr(v, u);
    if (r == INSN_DONE)
        r = store_components(v, u, which, header[1]);
    return r == INSN_DONE ? memory_store_bytes_at(v, u, XSAVE_HEADER, sizeof header, 1, header) : r;
}

// --- XRSTOR. ---

struct header {
    uint64_t present, compacted, reserved[6];
};

static bool header_ok(const struct pcpu *c, const struct header *h)
{
    uint64_t reserved = h->reserved[0], xcr0 = c->x86->xcr0;

    if (!(h->compacted & XSAVE_COMPACTED))
        return !h->compacted && !reserved && !(h->present & ~xcr0);
    for (unsigned i = 1; i < 6; i++)
        reserved |= h->reserved[i];
    return x86_has(c, 13, 1, CPUID_EAX, CPUID_BITNR_XSAVEC) && !reserved &&
           !(h->compacted & ~(xcr0 | XSAVE_COMPACTED)) && !(h->present & ~h->compacted);
}

// Loads what of the modelled components is to be read; the rest of `rfbm` goes to its initial configuration.
static void restore(struct vmx *v, const struct uop *u, uint64_t rfbm, uint64_t load,
                    const unsigned char *area, uint32_t pkru)
{
    if (load & XFEATURE_X87)
        fxsave_load_x87(v, area, u->size == 8);
    else if (rfbm & XFEATURE_X87)
        xsave_init_x87(v);
    if (load & XFEATURE_SSE)
        fxsave_load_xmm(v, area, registers(u));
    else if (rfbm & XFEATURE_SSE)
        xsave_init_xmm(v, registers(u));
    if (rfbm & XFEATURE_PKRU) {
        v->cpu->x86->pkru = load & XFEATURE_PKRU ? pkru : 0;
        guest_space_load(v->cpu);
    }
}

static enum insn_result xrstor(struct vmx *v, const struct uop *u)
{
    unsigned char area[FXSAVE_BYTES];
    struct header h;
    uint64_t rfbm = requested(v), load, pkru = 0;
    uint32_t mxcsr = MXCSR_RESET;
    bool compacted, heeds_mxcsr;
    unsigned pkru_at;
    enum insn_result r = xsave_check(v, u, EPT_ACCESS_READ);

    if (r == INSN_DONE)
        r = memory_load_bytes_at(v, u, XSAVE_HEADER, sizeof h, 1, &h);
    if (r != INSN_DONE)
        return r;
    if (!header_ok(v->cpu, &h))
        return uop_fault(v, u, GP_VECTOR, 0);
    load = rfbm & h.present;
    compacted = h.compacted & XSAVE_COMPACTED;
    pkru_at = xsave_offset(v->cpu, PKRU_COMPONENT, h.compacted);
    r = memory_load_bytes(v, u, FXSAVE_BYTES, 1, area);
    if (r == INSN_DONE && (load & XFEATURE_PKRU) && pkru_at)
        r = memory_load_bytes_at(v, u, pkru_at, 4, 1, &pkru);
    if (r != INSN_DONE)
        return r;
    // The standard form has MXCSR even where XMM are in their initial configuration (SDM vol. 1 13.8.1).
    heeds_mxcsr = compacted ? load & XFEATURE_SSE : rfbm & (XFEATURE_SSE | XFEATURE_AVX);
    if (heeds_mxcsr && !fxsave_mxcsr(area, &mxcsr))
        return uop_fault(v, u, GP_VECTOR, 0);
    if (heeds_mxcsr || (rfbm & XFEATURE_SSE))
        v->mxcsr = mxcsr;
    restore(v, u, rfbm, load, area, (uint32_t)pkru);
    return INSN_DONE;
}

// --- MXCSR, EMMS. ---

static enum insn_result ldmxcsr(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r = sse_check(v, u);

    if (r == INSN_DONE)
        r = memory_load(v, u, 4, &value);
    if (r != INSN_DONE)
        return r;
    if (value & ~(uint64_t)MXCSR_DEFINED)
        return uop_fault(v, u, GP_VECTOR, 0);
    v->mxcsr = (uint32_t)value;
    return INSN_DONE;
}

static enum insn_result stmxcsr(struct vmx *v, const struct uop *u)
{
    enum insn_result r = sse_check(v, u);

    return r == INSN_DONE ? memory_store(v, u, 4, v->mxcsr) : r;
}

static enum insn_result emms(struct vmx *v, const struct uop *u)
{
    enum insn_result r = mmx_check(v, u);

    if (r == INSN_DONE)
        v->x87.valid = 0;
    return r;
}

// Execution control "enable XSAVES/XRSTORS" is 0 (SDM 25.3).
static enum insn_result xsaves(struct vmx *v, const struct uop *u)
{
    return uop_fault(v, u, UD_VECTOR, 0);
}

// Capstone gives the area different sizes; REX.W is what counts.
static uop_fn choose_area(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    uint8_t rex;

    decode_opcode(u, in, &rex);
    u->size = rex & 8 ? 8 : 4;
    return u->flags & UOP_LOCK ? NULL : row->fn;
}

#define AREA(name, function)                                                                                 \
    {                                                                                                        \
        X86_INS_##name, choose_area, function                                                                \
    }
const struct uop_row exec_xsave_rows[] = {
    AREA(FXSAVE, fxsave),
    AREA(FXSAVE64, fxsave),
    AREA(FXRSTOR, fxrstor),
    AREA(FXRSTOR64, fxrstor),
    AREA(XSAVE, xsave),
    AREA(XSAVE64, xsave),
    AREA(XSAVEOPT, xsaveopt),
    AREA(XSAVEOPT64, xsaveopt),
    AREA(XSAVEC, xsavec),
    AREA(XSAVEC64, xsavec),
    AREA(XRSTOR, xrstor),
    AREA(XRSTOR64, xrstor),
    AREA(XSAVES, xsaves),
    AREA(XSAVES64, xsaves),
    AREA(XRSTORS, xsaves),
    AREA(XRSTORS64, xsaves),
    {X86_INS_LDMXCSR, NULL, ldmxcsr},
    {X86_INS_STMXCSR, NULL, stmxcsr},
    {X86_INS_EMMS, NULL, emms},
};
const unsigned exec_xsave_count = sizeof exec_xsave_rows / sizeof *exec_xsave_rows;
