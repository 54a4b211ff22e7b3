// SPDX-License-Identifier: Apache-2.0
// x87, MMX and SSE under VMX: what the differential test (tests/differential) does not see. Faults, areas,
// events.
#include "hv/hw/fpu.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "models/cpu/x86/xsave.h"
#include "tests/shim/shim.h"
#include <string.h>

enum { PML4 = 0x2000, PDPT = 0x3000, PD = 0x4000, CODE = 0x10000, DATA = 0x20000, STACK = 0x30000 };
#define TABLE (X86_PTE_P | X86_PTE_RW | X86_PTE_US | X86_PTE_A)
#define ABSENT 0x200000u // The first address that no table maps
#define NONE 0xffu
#define HOST_AREA 0x40000u

static struct vmx *v;

static void start(void)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    bench_ept();
    bench_set64(BENCH_GUEST + PML4, PDPT | TABLE);
    bench_set64(BENCH_GUEST + PDPT, PD | TABLE);
    bench_set64(BENCH_GUEST + PD, 0 | TABLE | X86_PTE_D | X86_PTE_PS);
    bench_vmwrite(GUEST_CR3, PML4);
    bench_vmwrite(GUEST_RSP, STACK);
    bench_vmwrite(GUEST_IDTR_BASE, 0x1000); // No program's.
    bench_vmwrite(EXCEPTION_BITMAP, UINT32_MAX);
    bench_vmwrite(GUEST_CR4, bench_vmread(GUEST_CR4) | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE);
    v = &bench.cpus[0].x86->vmx;
    bench.cpus[0].x86->xcr0 = XFEATURE_X87 | XFEATURE_SSE | XFEATURE_PKRU;
}

// Runs the bytes and HLT behind them: the vector of the exception in which that ends, or NONE.
static unsigned run(const unsigned char *code, unsigned bytes)
{
    memcpy(bench.memory + BENCH_GUEST + CODE, code, bytes);
    bench.memory[BENCH_GUEST + CODE + bytes] = 0xf4;
    bench_vmwrite(GUEST_RIP, CODE);
    bench_vmwrite(GUEST_INTERRUPTIBILITY_INFO, 0);
    if (bench_run() == EXIT_REASON_EXCEPTION_NMI)
        return bench_vmread(VM_EXIT_INTR_INFO) & INTR_INFO_VECTOR_MASK;
    EXPECT_EQ(bench_vmread(VM_EXIT_REASON), EXIT_REASON_HLT);
    return NONE;
}
#define RUN(...) run((const unsigned char[]){__VA_ARGS__}, sizeof((const unsigned char[]){__VA_ARGS__}))

static unsigned char *data(uint64_t gpa)
{
    return bench.memory + BENCH_GUEST + gpa;
}

static const struct {
    const char *name;
    unsigned char code[4];
    uint64_t cr0_set, cr4_clear;
    bool pending; // An x87 exception
    unsigned vector;
} faults[] = {
    {"addps", {0x0f, 0x58, 0xc1}, 0, 0, true, NONE}, // Not an x87 instruction.
    {"addps", {0x0f, 0x58, 0xc1}, X86_CR0_TS, 0, false, NM_VECTOR},
    {"addps", {0x0f, 0x58, 0xc1}, X86_CR0_EM, 0, false, UD_VECTOR},
    {"addps", {0x0f, 0x58, 0xc1}, 0, X86_CR4_OSFXSR, false, UD_VECTOR},
    {"addps", {0x0f, 0x58, 0xc1}, X86_CR0_TS, X86_CR4_OSFXSR, false, UD_VECTOR},
    {"lock addps", {0xf0, 0x0f, 0x58, 0x06}, 0, 0, false, UD_VECTOR},
    {"paddb mm", {0x0f, 0xfc, 0xc1}, X86_CR0_TS, 0, false, NM_VECTOR},
    {"paddb mm", {0x0f, 0xfc, 0xc1}, X86_CR0_EM, 0, false, UD_VECTOR},
    {"paddb mm", {0x0f, 0xfc, 0xc1}, 0, X86_CR4_OSFXSR, true, MF_VECTOR},
    {"emms", {0x0f, 0x77, 0x90}, X86_CR0_TS, 0, false, NM_VECTOR},
    {"fld1", {0xd9, 0xe8, 0x90}, X86_CR0_TS, 0, false, NM_VECTOR},
    {"fld1", {0xd9, 0xe8, 0x90}, X86_CR0_EM, 0, false, NM_VECTOR},
    {"fld1", {0xd9, 0xe8, 0x90}, 0, 0, true, MF_VECTOR},
    {"fnclex", {0xdb, 0xe2, 0x90}, 0, 0, true, NONE},
    {"fnstsw", {0xdf, 0xe0, 0x90}, 0, 0, true, NONE},
    {"fnstsw", {0xdf, 0xe0, 0x90}, X86_CR0_TS, 0, false, NM_VECTOR},
    {"fwait", {0x9b, 0x90, 0x90}, 0, 0, true, MF_VECTOR},
    {"fwait", {0x9b, 0x90, 0x90}, X86_CR0_TS, 0, false, NONE}, // MP is off.
    {"fwait", {0x9b, 0x90, 0x90}, X86_CR0_TS | X86_CR0_MP, 0, false, NM_VECTOR},
    {"movnti", {0x0f, 0xc3, 0x06}, X86_CR0_TS, X86_CR4_OSFXSR, false, NONE}, // No vector register.
    {"xsave", {0x0f, 0xae, 0x26}, 0, X86_CR4_OSXSAVE, false, UD_VECTOR},
    {"xsave", {0x0f, 0xae, 0x26}, X86_CR0_TS, 0, false, NM_VECTOR},
    {"xsaves", {0x0f, 0xc7, 0x2e}, 0, 0, false, UD_VECTOR},
};

TEST(Fpu, WhoMayUseIt) // SDM 2.5, 13.1; vol. 1 8.6, 9.5
{
    start();
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++) {
        uint64_t cr0 = bench_vmread(GUEST_CR0), cr4 = bench_vmread(GUEST_CR4);
        unsigned char code[4];

        test_row("%s", faults[i].name);
        x87_init(&v->x87);
        if (faults[i].pending) {
            v->x87.control &= (uint16_t)~1u;
            v->x87.status = 1;
            x87_summarize(&v->x87);
        }
        bench_vmwrite(GUEST_CR0, (cr0 & ~(X86_CR0_MP | X86_CR0_TS | X86_CR0_EM)) | faults[i].cr0_set);
        bench_vmwrite(GUEST_CR4, cr4 & ~faults[i].cr4_clear);
        bench_gprs.r[6] = DATA;
        memcpy(code, faults[i].code, sizeof code);
        if (!code[3])
            code[3] = 0x90; // nop
        EXPECT_EQ(run(code, sizeof code), faults[i].vector);
        bench_vmwrite(GUEST_CR0, cr0);
        bench_vmwrite(GUEST_CR4, cr4);
    }
    bench_end();
}

TEST(Fpu, SixteenBytesMustBeAlignedButForMovups) // SDM vol. 1 10.4.1.1
{
    start();
    bench_gprs.r[6] = DATA + 8;
    EXPECT_EQ(RUN(0x0f, 0x28, 0x06), GP_VECTOR); // movaps xmm0, [rsi]
    EXPECT_EQ(RUN(0x0f, 0x29, 0x06), GP_VECTOR);
    EXPECT_EQ(RUN(0x0f, 0x58, 0x06), GP_VECTOR); // addps xmm0, [rsi]
    EXPECT_EQ(RUN(0x66, 0x0f, 0xe7, 0x06), GP_VECTOR);
    EXPECT_EQ(RUN(0x0f, 0x10, 0x06), NONE);                // movups
    EXPECT_EQ(RUN(0xf3, 0x0f, 0x58, 0x06), NONE);          // addss
    EXPECT_EQ(RUN(0x66, 0x0f, 0x3a, 0x63, 0x06, 0), NONE); // pcmpistri
    EXPECT_EQ(RUN(0x0f, 0xae, 0x06), GP_VECTOR);           // fxsave
    EXPECT_EQ(RUN(0x0f, 0xae, 0x26), GP_VECTOR);           // xsave
    bench_gprs.r[6] = DATA + 16;
    EXPECT_EQ(RUN(0x0f, 0xae, 0x06), NONE);
    EXPECT_EQ(RUN(0x0f, 0xae, 0x26), GP_VECTOR); // 64 bytes.
    bench_end();
}

TEST(Fpu, AStoreThatFaultsInItsSecondPageWritesNothing)
{
    start();
    memset(data(ABSENT - 16), 0x55, 16);
    memset(v->xmm, 0xaa, sizeof v->xmm);
    bench_gprs.r[6] = ABSENT - 8;
    EXPECT_EQ(RUN(0x0f, 0x11, 0x06), PF_VECTOR); // movups [rsi], xmm0
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), ABSENT);
    EXPECT_EQ(data(ABSENT - 8)[0], 0x55);
    EXPECT_EQ(RUN(0x0f, 0x10, 0x0e), PF_VECTOR); // movups xmm1, [rsi]
    EXPECT_EQ(v->xmm[1][0], 0xaaaaaaaaaaaaaaaaull);
    EXPECT_EQ(RUN(0xdb, 0x3e), PF_VECTOR); // fstp tbyte [rsi]: the register stays
    bench_gprs.r[6] = ABSENT - 16;
    EXPECT_EQ(RUN(0x0f, 0x11, 0x06), NONE);
    EXPECT_EQ(data(ABSENT - 1)[0], 0xaa);
    bench_end();
}

TEST(Fpu, AnUnmaskedExceptionLeavesTheDestination) // SDM vol. 1 11.5.2
{
    start();
    v->xmm[0][0] = 0x3ff0000000000000;
    v->xmm[1][0] = 0;
    v->mxcsr = 0x1f80 & ~0x200u;
    EXPECT_EQ(RUN(0xf2, 0x0f, 0x5e, 0xc1), XM_VECTOR); // divsd xmm0, xmm1
    EXPECT_EQ(v->xmm[0][0], 0x3ff0000000000000);
    EXPECT_EQ(v->mxcsr, 0x1d84); // ZE
    bench_vmwrite(GUEST_CR4, bench_vmread(GUEST_CR4) & ~X86_CR4_OSXMMEXCPT);
    EXPECT_EQ(RUN(0xf2, 0x0f, 0x5e, 0xc1), UD_VECTOR);
    v->mxcsr = 0x1f80;
    EXPECT_EQ(RUN(0xf2, 0x0f, 0x5e, 0xc1), NONE);
    EXPECT_EQ(v->xmm[0][0], 0x7ff0000000000000);
    bench_gprs.r[6] = DATA;
    bench_set64(BENCH_GUEST + DATA, 0x11f80);
    EXPECT_EQ(RUN(0x0f, 0xae, 0x16), GP_VECTOR); // ldmxcsr of a reserved bit
    bench_end();
}

TEST(Fpu, AnX87ExceptionWaitsForTheNextInstruction) // SDM vol. 1 8.7
{
    start();
    // fldcw [rsi] (ZE unmasked); fld1; fldz; fdivp: nothing yet.
    bench_gprs.r[6] = DATA;
    bench_set64(BENCH_GUEST + DATA, 0x37b);
    EXPECT_EQ(RUN(0xd9, 0x2e, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9), NONE);
    EXPECT_EQ(v->x87.status & 0x80, 0x80);
    EXPECT_EQ(v->x87.ip, CODE + 6);
    EXPECT_EQ(v->x87.opcode, 0x6f9);
    EXPECT_EQ(RUN(0xd9, 0xe8), MF_VECTOR);
    EXPECT_EQ(RUN(0xdb, 0xe2, 0xd9, 0xe8), NONE); // fnclex; fld1
    // Masks taken off afterwards count, too.
    EXPECT_EQ(RUN(0xdb, 0xe3, 0xd9, 0xee, 0xd9, 0xe8, 0xde, 0xf1), NONE); // fninit, 1 / 0: ZE, masked
    EXPECT_EQ(RUN(0xd9, 0x2e, 0x9b), MF_VECTOR);
    bench_end();
}

TEST(Fpu, EnvironmentsAreOfTheOperandSize) // SDM vol. 1 8.1.10
{
    start();
    bench_gprs.r[6] = DATA;
    memset(data(DATA), 0, 128);
    EXPECT_EQ(RUN(0xdb, 0xe3, 0xd9, 0xe8, 0xd9, 0xee, 0xd9, 0x36), NONE); // fninit fld1 fldz fnstenv [rsi]
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA), 0xffff3000ffff037f);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA + 8),
              (uint64_t)(CODE + 4) << 32 | 0xffff1fff); // 6: zero, 7: valid
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA + 24), 0xffff0000);
    memset(data(DATA), 0, 128);
    EXPECT_EQ(RUN(0x66, 0xd9, 0x36), NONE);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA), 0x00041fff3000037f);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA + 16), 0);
    // fnsave initializes, frstor brings it back.
    EXPECT_EQ(RUN(0xdd, 0x36), NONE);
    EXPECT_EQ(v->x87.valid, 0);
    EXPECT_EQ(RUN(0xdd, 0x26), NONE);
    EXPECT_EQ(v->x87.valid, 0xc0);
    EXPECT_EQ(v->x87.st[1][1], 0x3fff);
    bench_end();
}

// --- FXSAVE and XSAVE. ---

static void fill(void)
{
    for (unsigned i = 0; i < 32; i++)
        v->xmm[i / 2][i % 2] = 0x0101010101010101ull * (i + 1);
    v->mxcsr = 0x9fc0;
    x87_init(&v->x87);
    v->x87.valid = 0x80;
    x87_set_top(&v->x87, 7);
    v->x87.st[0][0] = 1ull << 63;
    v->x87.st[0][1] = 0x4000;
    bench.cpus[0].x86->pkru = 0x55555554;
}

static void clear(void)
{
    memset(v->xmm, 0, sizeof v->xmm);
    v->mxcsr = 0x1f80;
    xsave_init_x87(v);
    bench.cpus[0].x86->pkru = 0;
}

static void expect_filled(void)
{
    EXPECT_EQ(v->xmm[15][1], 0x2020202020202020ull);
    EXPECT_EQ(v->mxcsr, 0x9fc0);
    EXPECT_EQ(v->x87.st[0][1], 0x4000);
    EXPECT_EQ(v->x87.valid, 0x80);
}

TEST(Fpu, FxsaveAndFxrstor) // SDM vol. 1 10.5
{
    start();
    bench_gprs.r[6] = DATA;
    memset(data(DATA), 0xee, 512);
    fill();
    EXPECT_EQ(RUN(0x48, 0x0f, 0xae, 0x06), NONE);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA), 0x803800037full);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA + 24), 0xffff00009fc0);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA + 464), 0xeeeeeeeeeeeeeeeeull); // Software's.
    clear();
    EXPECT_EQ(RUN(0x48, 0x0f, 0xae, 0x0e), NONE);
    expect_filled();
    data(DATA)[27] = 1;
    EXPECT_EQ(RUN(0x48, 0x0f, 0xae, 0x0e), GP_VECTOR);
    expect_filled();
    bench_end();
}

TEST(Fpu, XsaveWritesWhatIsAskedForAndSaysWhatIsInUse) // SDM vol. 1 13.7, 13.8
{
    start();
    bench_gprs.r[6] = DATA;
    memset(data(DATA), 0, 4096);
    fill();
    bench_gprs.r[0] = XFEATURE_SSE | XFEATURE_PKRU;
    bench_gprs.r[2] = 0;
    EXPECT_EQ(RUN(0x48, 0x0f, 0xae, 0x26), NONE);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA), 0); // No x87.
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA + 160), 0x0101010101010101ull);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA + 512), XFEATURE_SSE | XFEATURE_PKRU);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA + 0xa80), 0x55555554);
    // What is not there is initialized, what is not asked for stays.
    bench_gprs.r[0] = XFEATURE_X87 | XFEATURE_PKRU;
    EXPECT_EQ(RUN(0x48, 0x0f, 0xae, 0x2e), NONE);
    EXPECT_EQ(v->x87.valid, 0);
    EXPECT_EQ(v->xmm[0][0], 0x0101010101010101ull);
    EXPECT_EQ(bench.cpus[0].x86->pkru, 0x55555554);
    // XSAVEOPT leaves out what is in its initial configuration.
    bench_set64(BENCH_GUEST + DATA, 0x1234);
    EXPECT_EQ(RUN(0x48, 0x0f, 0xae, 0x36), NONE);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA), 0x1234);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA + 512), XFEATURE_SSE | XFEATURE_PKRU);
    bench_end();
}

TEST(Fpu, XgetbvTellsWhatIsInUse) // SDM vol. 1 13.6
{
    start();
    clear();
    v->xmm[3][1] = 1;
    bench_gprs.r[1] = 1;
    EXPECT_EQ(RUN(0x0f, 0x01, 0xd0), NONE);
    EXPECT_EQ(bench_gprs.r[0], XFEATURE_SSE);
    bench_gprs.r[1] = 0;
    EXPECT_EQ(RUN(0x0f, 0x01, 0xd0), NONE);
    EXPECT_EQ(bench_gprs.r[0], XFEATURE_X87 | XFEATURE_SSE | XFEATURE_PKRU);
    bench_end();
}

TEST(Fpu, XsavecPutsComponentsTogether) // SDM vol. 1 13.4.3, 13.10
{
    start();
    bench_gprs.r[6] = DATA;
    memset(data(DATA), 0, 4096);
    fill();
    bench_gprs.r[0] = UINT32_MAX;
    bench_gprs.r[2] = UINT32_MAX;
    EXPECT_EQ(RUN(0x48, 0x0f, 0xc7, 0x26), NONE);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA + 512), 0x203);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA + 520), 1ull << 63 | 0x203);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA + 576), 0x55555554);
    clear();
    EXPECT_EQ(RUN(0x48, 0x0f, 0xae, 0x2e), NONE);
    expect_filled();
    EXPECT_EQ(bench.cpus[0].x86->pkru, 0x55555554);
    bench_end();
}

TEST(Fpu, XrstorRefusesHeadersItDoesNotUnderstand) // SDM vol. 1 13.8
{
    static const struct {
        const char *name;
        uint64_t header[3];
    } rows[] = {
        {"a component that XCR0 does not have", {XFEATURE_AVX, 0, 0}},
        {"reserved word, standard form", {0, 0, 1}},
        {"XCOMP_BV without bit 63", {0, 1, 0}},
        {"present, but not in the compacted area", {3, 1ull << 63 | 1, 0}},
        {"compacted component that XCR0 does not have", {0, 1ull << 63 | 4, 0}},
    };

    start();
    bench_gprs.r[6] = DATA;
    bench_gprs.r[0] = bench_gprs.r[2] = UINT32_MAX;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].name);
        memset(data(DATA), 0, 4096);
        bench_set64(BENCH_GUEST + DATA + 24, 0x1f80);
        EXPECT_EQ(RUN(0x48, 0x0f, 0xae, 0x2e), NONE);
        for (unsigned n = 0; n < 3; n++)
            bench_set64(BENCH_GUEST + DATA + 512 + 8 * n, rows[i].header[n]);
        fill();
        EXPECT_EQ(RUN(0x48, 0x0f, 0xae, 0x2e), GP_VECTOR);
        expect_filled();
    }
    bench_end();
}

TEST(Fpu, RootModeSavesAndLoadsAllOfIt)
{
    start();
    fill();
    memset(bench.memory + HOST_AREA, 0, 4096);
    hw_xsave(hpa(HOST_AREA));
    EXPECT_EQ(bench_get64(HOST_AREA + HW_XSAVE_HEADER), 0x203);
    clear();
    EXPECT_EQ(hw_xrstor(hpa(HOST_AREA)), HW_DONE);
    expect_filled();
    EXPECT_EQ(bench.cpus[0].x86->pkru, 0x55555554);
    bench_set64(HOST_AREA + HW_XSAVE_HEADER + 8, 1);
    EXPECT_EQ(hw_xrstor(hpa(HOST_AREA)), HW_FAULT_GP);
    bench_end();
}

// --- What is not there. ---

TEST(Fpu, WhatIsNotModelledSaysSoOnce)
{
    start();
    EXPECT_EQ(RUN(0xd9, 0xfe), UD_VECTOR); // fsin
    EXPECT_EQ(bench_violations, 1);
    EXPECT_STREQ(bench_violation, "not modelled: instruction fsin");
    EXPECT_EQ(RUN(0xd9, 0xfe), UD_VECTOR);
    EXPECT_EQ(bench_violations, 1);
    EXPECT_EQ(RUN(0xc5, 0xf0, 0x58, 0xc2), UD_VECTOR); // vaddps: CPUID says that there is none.
    EXPECT_EQ(RUN(0x0f, 0x0b), UD_VECTOR);             // ud2
    EXPECT_EQ(bench_violations, 1);
    bench_end();
}

TEST(Fpu, EstimatesAreTheExactValueRoundedToTwelveBits)
{
    static const struct {
        unsigned char opcode;
        uint32_t from, to;
    } rows[] = {
        {0x53, 0x3f800000, 0x3f800000}, // 1
        {0x53, 0x40000000, 0x3f000000}, // 2
        {0x53, 0x40400000, 0x3eaaa800}, // 3: 0.010101010101|01..
        {0x53, 0x00000001, 0x7f800000}, // Denormal ones are zero.
        {0x53, 0xff800000, 0x80000000}, {0x53, 0x7f800001, 0x7fc00001},
        {0x53, 0x7f000000, 0x00000000}, // 2^127: tiny
        {0x52, 0x40800000, 0x3f000000}, // 4
        {0x52, 0x40000000, 0x3f350800}, // 2: 1.011010100000|10..
        {0x52, 0xbf800000, 0xffc00000}, {0x52, 0x80000000, 0xff800000},
        {0x52, 0x7f800000, 0x00000000},
    };

    start();
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        v->xmm[1][0] = rows[i].from;
        EXPECT_EQ(RUN(0xf3, 0x0f, rows[i].opcode, 0xc1), NONE);
        EXPECT_EQ((uint32_t)v->xmm[0][0], rows[i].to);
    }
    bench_end();
}
