// SPDX-License-Identifier: Apache-2.0
// x87 instructions that compute, load and store: the host's own do it, on the guest's registers and with its
// control word, so that results, flags and condition codes are exact. What the manual leaves open is decided
// here: undefined condition codes stay, a partial remainder reduces by 63 bits.
//
// Not modelled: F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS, whose last bits differ between
// processors.
#include "models/cpu/x86/interp/exec_x87.h"
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"
#include "models/cpu/x86/interp/x87_host.h"

// --- What there is. ---

#define S 0x80 // The operand is stored
// Bytes of the memory operand by opcode - D8 and ModRM.reg. 0: no such instruction, or one of exec_x87_env.c.
static const uint8_t memory_bytes[8][8] = {
    {4, 4, 4, 4, 4, 4, 4, 4}, {4, 0, S | 4, S | 4, 0, 0, 0, 0},
    {4, 4, 4, 4, 4, 4, 4, 4}, {4, S | 4, S | 4, S | 4, 0, 10, 0, S | 10},
    {8, 8, 8, 8, 8, 8, 8, 8}, {8, S | 8, S | 8, S | 8, 0, 0, 0, 0},
    {2, 2, 2, 2, 2, 2, 2, 2}, {2, S | 2, S | 2, S | 2, 10, 8, S | 10, S | 8},
};
// Register forms that are carried out: bit ModRM.rm, by opcode - D8 and ModRM.reg.
static const uint8_t register_forms[8][8] = {
    {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, // FADD FMUL FCOM FCOMP FSUB FSUBR FDIV FDIVR
    {0xff, 0xff, 0x01, 0x00, 0x33, 0x7f, 0xf0, 0x35}, // FLD FXCH FNOP - FCHS.. FLD1.. FXTRACT.. FPREM..
    {0xff, 0xff, 0xff, 0xff, 0x00, 0x02, 0x00, 0x00}, // FCMOVB E BE U - FUCOMPP
    {0xff, 0xff, 0xff, 0xff, 0x00, 0xff, 0xff, 0x00}, // FCMOVNB NE NBE NU - FUCOMI FCOMI
    {0xff, 0xff, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff}, // FADD FMUL - - FSUBR FSUB FDIVR FDIV
    {0xff, 0x00, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00}, // FFREE - FST FSTP FUCOM FUCOMP
    {0xff, 0xff, 0x00, 0x02, 0xff, 0xff, 0xff, 0xff}, // FADDP FMULP - FCOMPP FSUBRP FSUBP FDIVRP FDIVP
    {0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00}, // FFREEP - - - - FUCOMIP FCOMIP
};
// Of those, and of memory forms: who defines C0, C2 and C3. The others leave them.
static const uint8_t register_conditions[8][8] = {
    {0, 0, 0xff, 0xff, 0, 0, 0, 0},
    {0, 0, 0, 0, 0x30, 0, 0x20, 0x01},
    {0, 0, 0, 0, 0, 0x02, 0, 0},
    {0},
    {0},
    {0, 0, 0, 0, 0xff, 0xff, 0, 0},
    {0, 0, 0, 0x02, 0, 0, 0, 0},
    {0},
};

#define OPCODE(u) ((u)->op >> 8)
#define ROW(u) ((u)->op >> 8 & 7)
#define MODRM(u) ((u)->op & 0xff)
#define REG(u) ((u)->op >> 3 & 7)
#define RM(u) ((u)->op & 7)
#define FPREM1 0xd9f5
#define FPREM 0xd9f8

static bool conditions_defined(const struct uop *u)
{
    if (MODRM(u) < 0xc0)
        return !(ROW(u) & 1) && (REG(u) & 6) == 2; // FCOM, FICOM
    return register_conditions[ROW(u)][REG(u)] >> RM(u) & 1;
}

// --- Faults (SDM vol. 1 8.6, vol. 3 2.5). ---

enum insn_result x87_available(struct vmx *v, const struct uop *u)
{
    return v->cpu->x86->cr[0] & (X86_CR0_EM | X86_CR0_TS) ? uop_fault(v, u, NM_VECTOR, 0) : INSN_DONE;
}

// CR0.NE is 1 wherever VMX operation is (SDM 23.8): pending exceptions are #MF, FERR# does not exist.
enum insn_result x87_check(struct vmx *v, const struct uop *u)
{
    enum insn_result r = x87_available(v, u);

    if (r == INSN_DONE && (v->x87.status & X87_STATUS_ES))
        r = uop_fault(v, u, MF_VECTOR, 0);
    return r;
}

// --- Partial remainders. ---

#define EXPONENT 0x7fffu
#define PARTIAL_BITS 63

// Exponent of a number that has one, its mantissa shifted up to its first bit. False: it has none.
static bool normal(const uint64_t *st, uint64_t *mantissa, int *exponent)
{
    *mantissa = st[0];
    *exponent = (int)(st[1] & EXPONENT);
    if (*exponent == EXPONENT || !st[0] || (*exponent && !(st[0] >> 63)))
        return false;
    if (!*exponent)
        *exponent = 1;
    while (!(*mantissa >> 63)) {
        *mantissa <<= 1;
        --*exponent;
    }
    return true;
}

// FPREM and FPREM1 of numbers whose exponents differ by 64 and more take a part of the quotient off; how much
// is the processor's choice, from 32 to 63 bits. A divisor scaled up makes that a whole remainder. Returns
// whether it is so.
static bool scale_divisor(struct x87 *x)
{
    uint64_t a, b;
    int ea, eb;

    if (!(x->valid >> x87_physical(x, 0) & x->valid >> x87_physical(x, 1) & 1) ||
        !normal(x->st[0], &a, &ea) || !normal(x->st[1], &b, &eb) || ea - eb < 64)
        return false;
    x->st[1][0] = b;
    x->st[1][1] = (x->st[1][1] & ~(uint64_t)EXPONENT) | (uint64_t)(ea - PARTIAL_BITS);
    return true;
}

static void remainder_partial(struct x87 *x, const struct uop *u, uint64_t *rflags)
{
    uint64_t divisor[2];
    bool denormal = !(x->st[1][1] & EXPONENT);

    memcpy(divisor, x->st[1], sizeof divisor);
    // Both take the truncated quotient here.
    if (!scale_divisor(x)) {
        x87_host_run(x, (uint8_t)OPCODE(u), (uint8_t)MODRM(u), NULL, rflags);
        return;
    }
    if (denormal) {
        x->status |= X87_DENORMAL;
        x87_summarize(x);
    }
    if (x->status & X87_STATUS_ES) {
        x->status &= (uint16_t)~X87_STATUS_C2;
    } else {
        x87_host_run(x, FPREM >> 8, FPREM & 0xff, NULL, rflags);
        x->status = (uint16_t)((x->status & ~(X87_STATUS_C023 | X87_STATUS_C1)) | X87_STATUS_C2);
    }
    memcpy(x->st[1], divisor, sizeof divisor);
}

// --- Execution. ---

static void pointers(struct vmx *v, const struct uop *u, struct x87 *x)
{
    bool unmasked = x->status & X87_STATUS_ES;

    x->ip = v->rip;
    if (u->kind[0] == OPERAND_MEMORY &&
        (unmasked || !x86_has(v->cpu, 7, 0, CPUID_EBX, CPUID_BITNR_FDP_EXCPTN_ONLY)))
        x->dp = effective_address(v, u);
    if (unmasked)
        x->opcode = u->op & 0x7ff;
}

static enum insn_result compute(struct vmx *v, const struct uop *u)
{
    struct x87 x;
    unsigned char memory[16] = {0};
    unsigned bytes = u->size & ~S;
    enum insn_result r = x87_check(v, u);

    if (r == INSN_DONE && bytes && !(u->size & S))
        r = memory_load_bytes(v, u, bytes, 1, memory);
    if (r != INSN_DONE)
        return r;
    flags_settle(v);
    x = v->x87;
    if (u->op == FPREM || u->op == FPREM1)
        remainder_partial(&x, u, &v->rflags);
    else
        x87_host_run(&x, (uint8_t)OPCODE(u), (uint8_t)MODRM(u), memory, &v->rflags);
    if (!conditions_defined(u))
        x.status = (uint16_t)((x.status & ~X87_STATUS_C023) | (v->x87.status & X87_STATUS_C023));
    // Nothing was pending: what is unmasked now is new. All but a rounded result prevents the store.
    if ((u->size & S) && !(x.status & ~x.control & X87_EXCEPTIONS & ~X87_PRECISION))
        r = memory_store_bytes(v, u, bytes, 1, memory);
    if (r != INSN_DONE)
        return r;
    uop_at(v, u);
    pointers(v, u, &x);
    v->x87 = x;
    return INSN_DONE;
}

// FWAIT heeds CR0.MP (SDM 2.5).
static enum insn_result fwait(struct vmx *v, const struct uop *u)
{
    uint64_t cr0 = v->cpu->x86->cr[0];

    if ((cr0 & X86_CR0_MP) && (cr0 & X86_CR0_TS))
        return uop_fault(v, u, NM_VECTOR, 0);
    return v->x87.status & X87_STATUS_ES ? uop_fault(v, u, MF_VECTOR, 0) : INSN_DONE;
}

// --- Decoding. ---

uop_fn x87_decode(struct uop *u, const cs_insn *in, bool *found)
{
    uint8_t rex;
    const uint8_t *p = decode_opcode(u, in, &rex);
    uop_fn fn = NULL;

    *found = false;
    if (in->bytes + in->size - p < 2 || (*p & 0xf8) != 0xd8)
        return NULL;
    u->op = (uint16_t)(p[0] << 8 | p[1]);
    if (MODRM(u) < 0xc0) {
        u->kind[0] = OPERAND_MEMORY;
        u->size = memory_bytes[ROW(u)][REG(u)];
        fn = u->size ? compute : x87_choose_memory(u, in);
    } else {
        u->kind[0] = OPERAND_NONE;
        u->size = 0;
        fn = register_forms[ROW(u)][REG(u)] >> RM(u) & 1 ? compute : x87_choose_register(u);
    }
    *found = fn != NULL;
    return u->flags & UOP_LOCK ? NULL : fn;
}

const struct uop_row exec_x87_rows[] = {
    {X86_INS_WAIT, NULL, fwait},
};
const unsigned exec_x87_count = sizeof exec_x87_rows / sizeof *exec_x87_rows;
