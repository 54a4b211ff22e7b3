// SPDX-License-Identifier: Apache-2.0
// SSE, MMX and x87 instructions of the interpreter against the host's own processor: the same bytes from the
// same random state, rounding modes and masks included, must end in the same registers, memory and exception.
#include "models/cpu/x86/interp/simd.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "models/cpu/x86/xsave.h"
#include "tests/differential/native.h"
#include "tests/shim/shim.h"

#include <stdio.h>
#include <string.h>

enum { PML4 = 0x2000, PDPT = 0x3000, PD = 0x4000, CODE = 0x10000, DATA = 0x20000, DATA_BYTES = 0x1000 };
#define TABLE (X86_PTE_P | X86_PTE_RW | X86_PTE_US | X86_PTE_A)
#define TRIES_EACH 300
#define FLAGS 0x8d5u
#define RSI 6
#define OPERAND (DATA + 0x200)

struct state {
    struct native_state s;
    unsigned char data[DATA_BYTES];
};

static uint64_t seed = 7;
static uint64_t random64(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// --- Numbers that find mistakes: zeros, denormals, infinities, NaNs, near overflow and underflow, small
// integers. ---

static uint32_t single(void)
{
    static const uint32_t special[] = {0,          0x80000000, 1,          0x807fffff, 0x00800000,
                                       0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001,
                                       0xffbfffff, 0x3f800000, 0xbf800000, 0x4f000000, 0xcf000000,
                                       0x5f000000, 0x3effffff, 0x00ffffff};
    uint64_t r = random64();

    if (r & 1)
        return special[(r >> 8) % (sizeof special / sizeof *special)];
    if (r & 2) // Of about the same size.
        return (uint32_t)(r >> 32 & 0x807fffff) | (uint32_t)(120 + (r >> 8 & 15)) << 23;
    return (uint32_t)(r >> 32);
}

static uint64_t whole(void)
{
    static const uint64_t special[] = {0,
                                       1ull << 63,
                                       1,
                                       0x800fffffffffffff,
                                       0x0010000000000000,
                                       0x7fefffffffffffff,
                                       0x7ff0000000000000,
                                       0xfff0000000000000,
                                       0x7ff8000000000000,
                                       0x7ff0000000000001,
                                       0x3ff0000000000000,
                                       0xc3e0000000000000,
                                       0x41dfffffffc00000,
                                       0x3810000000000001,
                                       0x47efffffffffffff,
                                       0x36a0000000000000};
    uint64_t r = random64();

    if (r & 1)
        return special[(r >> 8) % (sizeof special / sizeof *special)];
    if (r & 2)
        return (random64() & 0x800fffffffffffff) | (1015 + (r >> 8 & 15)) << 52;
    return random64();
}

static uint64_t lane(void)
{
    uint64_t r = random64();

    return r & 1 ? whole() : r & 2 ? single() | (uint64_t)single() << 32 : r >> 2 & 1 ? random64() : r >> 60;
}

static void extended(unsigned char *p)
{
    uint64_t r = random64(), mantissa = random64() | 1ull << 63;
    uint16_t sign = (uint16_t)(r << 15 & 0x8000), exponent = (uint16_t)(0x3fff - 40 + (r >> 8) % 110);

    switch (r >> 4 & 15) {
    case 0:
        mantissa = 0; // Zero, or an unnormal.
        exponent = r >> 20 & 7 ? 0 : exponent;
        break;
    case 1:
        exponent = 0; // Denormal.
        mantissa >>= 1 + (r >> 20 & 31);
        break;
    case 2:
        exponent = 0x7fff;
        mantissa = 1ull << 63; // Infinity.
        break;
    case 3:
        exponent = 0x7fff; // A NaN.
        break;
    case 4:
        exponent = 1; // Near underflow.
        break;
    case 5:
        exponent = 0x7ffe;
        break;
    case 6:
        mantissa = 1ull << 63; // A power of two.
        break;
    case 7:
        mantissa = random64(); // Anything, unnormal too.
        exponent = (uint16_t)(r >> 40 & 0x7fff);
        break;
    case 8:
        mantissa = 1ull << 63 | (r >> 20 & 0xff) << 55; // A small integer.
        exponent = (uint16_t)(0x3fff + (r >> 30 & 7));
        break;
    default:
        break;
    }
    exponent |= sign;
    memcpy(p, &mantissa, 8);
    memcpy(p + 8, &exponent, 2);
}

// --- States. ---

static void put(unsigned char *p, unsigned at, unsigned size, uint64_t value)
{
    memcpy(p + at, &value, size);
}

static uint64_t get(const unsigned char *p, unsigned at, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, p + at, size);
    return value;
}

static void random_state(struct state *t)
{
    uint64_t r = random64();
    unsigned char *fx = t->s.fx;

    memset(t, 0, sizeof *t);
    for (unsigned i = 0; i < 32; i++)
        put(fx, 160 + 8 * i, 8, lane());
    for (unsigned i = 0; i < 8; i++)
        extended(fx + 32 + 16 * i);
    // Rounding, DAZ and FTZ; masks are all set in most states.
    put(fx, 24, 4, (r & 0xe040) | (r >> 16 & 0x3f & (r >> 22)) | (r >> 30 & 3 ? 0x1f80 : r >> 32 & 0x1f80));
    r = random64();
    put(fx, 0, 2, 0x40 | (r & 0xf00) | (r >> 12 & 3 ? 0x3f : r >> 16 & 0x3f));
    put(fx, 2, 2, (r >> 24 & 0x4700) | (r >> 40 & 7) << 11 | (r >> 44 & 7 ? 0 : r >> 48 & 0x3f));
    put(fx, 4, 1, r >> 47 & 3 ? 0xff : r >> 56);
    for (unsigned i = 0; i < 16; i++)
        t->s.gpr[i] = random64() & 1 ? random64() : random64() >> 58;
    t->s.gpr[RSI] = OPERAND;
    t->s.gpr[7] = OPERAND;
    for (unsigned i = 0x1c0; i < 0x240; i += 8)
        put(t->data, i, 8, lane());
    if (random64() & 1)
        extended(t->data + 0x200);
    t->s.rflags = X86_RFLAGS_FIXED | (random64() & FLAGS);
}

static void open_bench(void)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    bench_ept();
    bench_set64(BENCH_GUEST + PML4, PDPT | TABLE);
    bench_set64(BENCH_GUEST + PDPT, PD | TABLE);
    bench_set64(BENCH_GUEST + PD, 0 | TABLE | X86_PTE_D | X86_PTE_PS);
    bench_vmwrite(GUEST_CR3, PML4);
    bench_vmwrite(GUEST_CR4, bench_vmread(GUEST_CR4) | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT);
    bench_vmwrite(GUEST_IDTR_BASE, 0x1000);
    bench_vmwrite(EXCEPTION_BITMAP, UINT32_MAX);
    native_open(DATA, DATA_BYTES);
}

static void close_bench(void)
{
    native_close();
    bench_end();
}

static void run_ours(struct state *t, const unsigned char *code, unsigned length)
{
    struct vmx *v = &bench.cpus[0].x86->vmx;
    unsigned char *memory = bench.memory + BENCH_GUEST;
    uint32_t reason;

    memcpy(memory + CODE, code, length);
    memory[CODE + length] = 0xf4;
    memcpy(memory + DATA, t->data, DATA_BYTES);
    memcpy(bench_gprs.r, t->s.gpr, sizeof t->s.gpr);
    fxsave_load_x87(v, t->s.fx, true);
    fxsave_load_xmm(v, t->s.fx, 16);
    fxsave_mxcsr(t->s.fx, &v->mxcsr);
    bench_vmwrite(GUEST_RIP, CODE);
    bench_vmwrite(GUEST_RSP, DATA + 0x800);
    bench_vmwrite(GUEST_RFLAGS, t->s.rflags);
    bench_vmwrite(GUEST_INTERRUPTIBILITY_INFO, 0);
    reason = bench_run();
    t->s.vector = NATIVE_NO_VECTOR;
    if (reason == EXIT_REASON_EXCEPTION_NMI)
        t->s.vector = bench_vmread(VM_EXIT_INTR_INFO) & INTR_INFO_VECTOR_MASK;
    else
        EXPECT_EQ(reason, EXIT_REASON_HLT);
    memcpy(t->s.gpr, bench_gprs.r, sizeof t->s.gpr);
    t->s.rflags = bench_vmread(GUEST_RFLAGS);
    fxsave_image(v, true, t->s.fx);
    memcpy(t->data, memory + DATA, DATA_BYTES);
}

static void run_host(struct state *t, const unsigned char *code, unsigned length)
{
    memcpy((void *)DATA, t->data, DATA_BYTES);
    native_run(&t->s, code, length);
    memcpy(t->data, (void *)DATA, DATA_BYTES);
}

// Pointers are the model's own (last instruction, last operand): bytes 6 to 23. Registers of an x87 stack
// that are empty have no value.
static bool equal(const struct state *a, const struct state *b)
{
    const unsigned char *x = a->s.fx, *y = b->s.fx;

    if (a->s.vector != b->s.vector || memcmp(x, y, 5) || memcmp(x + 24, y + 24, 4) ||
        memcmp(x + 160, y + 160, 256))
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(x + 32 + 16 * i, y + 32 + 16 * i, 10))
            return false;
    if (a->s.vector != NATIVE_NO_VECTOR)
        return true;
    for (unsigned i = 0; i < 15; i++)
        if (i != 4 && a->s.gpr[i] != b->s.gpr[i])
            return false;
    return !((a->s.rflags ^ b->s.rflags) & FLAGS) && !memcmp(a->data, b->data, DATA_BYTES);
}

static int show(char *text, size_t size, const char *name, const unsigned char *before,
                const unsigned char *ours, const unsigned char *host, unsigned count)
{
    int n = 0;

    if (!memcmp(ours, host, count))
        return 0;
    n += snprintf(text, size, "; %s ", name);
    for (unsigned i = 0; i < count; i++)
        n += snprintf(text + n, size - (size_t)n, "%02x", before[count - 1 - i]);
    n += snprintf(text + n, size - (size_t)n, " to ");
    for (unsigned i = 0; i < count; i++)
        n += snprintf(text + n, size - (size_t)n, "%02x", ours[count - 1 - i]);
    n += snprintf(text + n, size - (size_t)n, " host ");
    for (unsigned i = 0; i < count; i++)
        n += snprintf(text + n, size - (size_t)n, "%02x", host[count - 1 - i]);
    return n;
}

static void report(const char *name, const unsigned char *code, unsigned length, const struct state *before,
                   const struct state *ours, const struct state *host)
{
    static char text[8192];
    int n = snprintf(text, sizeof text, "%s:", name);
    char part[24];

#define SHOW(label, field, count)                                                                            \
    n += show(text + n, sizeof text - (size_t)n, label, (const unsigned char *)&before->field,               \
              (const unsigned char *)&ours->field, (const unsigned char *)&host->field, count)
    for (unsigned i = 0; i < length; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %02x", code[i]);
    n += snprintf(text + n, sizeof text - (size_t)n, "; vector %u host %u; mxcsr %x fcw %x fsw %x",
                  ours->s.vector, host->s.vector, (unsigned)get(before->s.fx, 24, 4),
                  (unsigned)get(before->s.fx, 0, 2), (unsigned)get(before->s.fx, 2, 2));
    SHOW("fcw", s.fx[0], 2);
    SHOW("fsw", s.fx[2], 2);
    SHOW("ftw", s.fx[4], 1);
    SHOW("mxcsr", s.fx[24], 4);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(part, sizeof part, "st%u", i);
        SHOW(part, s.fx[32 + 16 * i], 10);
    }
    for (unsigned i = 0; i < 16; i++) {
        snprintf(part, sizeof part, "xmm%u", i);
        SHOW(part, s.fx[160 + 16 * i], 16);
    }
    for (unsigned i = 0; i < 15; i++) {
        snprintf(part, sizeof part, "r%u", i);
        if (i != 4)
            SHOW(part, s.gpr[i], 8);
    }
    SHOW("rflags", s.rflags, 2);
    SHOW("memory", data[0x200], 16);
    n += snprintf(text + n, sizeof text - (size_t)n, "; st0 %016llx %04llx st1 %016llx %04llx memory",
                  (unsigned long long)get(before->s.fx, 32, 8), (unsigned long long)get(before->s.fx, 40, 2),
                  (unsigned long long)get(before->s.fx, 48, 8), (unsigned long long)get(before->s.fx, 56, 2));
    for (unsigned i = 0; i < 16; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %02x", before->data[0x200 + i]);
    TEST_FAIL("%s", text);
#undef SHOW
}

static unsigned done, failed;

static void try_one(const char *name, const unsigned char *code, unsigned length,
                    void (*prepare)(struct state *t),
                    bool (*excused)(const struct state *before, const struct state *ours, struct state *host))
{
    static struct state before, ours, host;

    random_state(&before);
    if (prepare)
        prepare(&before);
    ours = host = before;
    run_ours(&ours, code, length);
    run_host(&host, code, length);
    done++;
    if (equal(&ours, &host) || (excused && excused(&before, &ours, &host)))
        return;
    if (failed++ < 40)
        report(name, code, length, &before, &ours, &host);
}

// --- SSE and MMX. ---

// Bytes of an instruction with random registers. `sides`: SIMD_MEMORY, SIMD_REGISTER.
static unsigned assemble(unsigned char *code, unsigned prefix, unsigned map, unsigned opcode, unsigned sides,
                         bool immediate)
{
    static const unsigned char prefixes[] = {0, 0x66, 0xf3, 0xf2};
    uint64_t r = random64();
    bool memory = sides == SIMD_MEMORY || (sides == 3 && (r & 1));
    unsigned reg = (unsigned)(r >> 8) & 7, rm = (unsigned)(r >> 12) & 7,
             rex = r >> 16 & 1 ? 0x40 | (r >> 20 & 13) : 0;
    unsigned n = 0;

    if (reg == 4 &&
        !(map == 0 && opcode >= 0x71 &&
          opcode <=
              0x73)) // A general register of this number would be the stack pointer; R15 is the oracle's.
        reg = 3;
    if (rm == 4 || rm == 7)
        rm = 2;
    if (reg == 7 && rex & 4)
        reg = 1;
    if (prefixes[prefix])
        code[n++] = prefixes[prefix];
    if (memory)
        rex &= ~1u;
    if (rex)
        code[n++] = (unsigned char)rex;
    code[n++] = 0x0f;
    if (map)
        code[n++] = map == 1 ? 0x38 : 0x3a;
    code[n++] = (unsigned char)opcode;
    code[n++] = (unsigned char)(memory ? reg << 3 | RSI : 0xc0 | reg << 3 | rm);
    if (immediate)
        code[n++] = (unsigned char)(r >> 40);
    return n;
}

// The operand off its alignment, now and then.
static void misalign(struct state *t)
{
    if (!(random64() & 15))
        t->s.gpr[RSI] += random64() & 15;
}

TEST(DifferentialSimd, OperationsOfTheTable)
{
    unsigned char code[16];

    done = failed = 0;
    open_bench();
    for (unsigned i = 0; i < simd_op_count; i++) {
        const struct simd_op *op = &simd_ops[i];
        bool immediate = op->form == SIMD_XXI || op->form == SIMD_MMI || op->form == SIMD_STRING;

        for (unsigned try = 0; try < TRIES_EACH; try++) {
            unsigned n = assemble(code, op->prefix, op->map, op->opcode, 3, immediate);

            try_one(op->name, code, n, misalign, NULL);
        }
    }
    printf("%u instructions\n", done);
    EXPECT_EQ(failed, 0u);
    EXPECT_EQ(done, simd_op_count * TRIES_EACH);
    close_bench();
}

static void try_rows(const struct simd_row *rows, unsigned count)
{
    unsigned char code[16];
    char name[32];

    for (unsigned i = 0; i < count; i++)
        for (unsigned prefix = 0; prefix < 4; prefix++) {
            const struct simd_row *row = &rows[i];
            bool estimate = row->map == 0 && (row->opcode == 0x52 || row->opcode == 0x53),
                 shift = row->map == 0 && row->opcode >= 0x71 && row->opcode <= 0x73,
                 immediate = row->map == 2 || shift || (row->map == 0 && (row->opcode & 0xfe) == 0xc4);

            if (!(row->prefix >> prefix & 1) || estimate)
                continue;
            snprintf(name, sizeof name, "prefix %u map %u opcode %02x", prefix, row->map, row->opcode);
            for (unsigned try = 0; try < TRIES_EACH; try++) {
                unsigned n = assemble(code, prefix, row->map, row->opcode, row->operands, immediate);

                if (shift && (random64() & 3)) // Counts that leave something.
                    code[n - 1] &= 31;
                try_one(name, code, n, misalign, NULL);
            }
        }
}

TEST(DifferentialSimd, MovesAndTheRest)
{
    done = failed = 0;
    open_bench();
    try_rows(exec_sse_move_rows, exec_sse_move_count);
    try_rows(exec_mmx_rows, exec_mmx_count);
    printf("%u instructions\n", done);
    EXPECT_EQ(failed, 0u);
    close_bench();
}

// Both are within 1.5 * 2^-12 of the truth: 12288 units in the last place apart at most.
static bool close_enough(const struct state *before, const struct state *ours, struct state *host)
{
    (void)before;
    for (unsigned i = 0; i < 64; i++) {
        uint32_t a = (uint32_t)get(ours->s.fx, 160 + 4 * i, 4), b = (uint32_t)get(host->s.fx, 160 + 4 * i, 4);
        uint32_t distance = a > b ? a - b : b - a;
        // A tiny result may be flushed or not.
        bool tiny = (a << 1) < (2u << 24) && (b << 1) < (2u << 24);

        if ((distance > 12288 && !tiny) || (a ^ b) >> 31)
            return false;
        put(host->s.fx, 160 + 4 * i, 4, a);
    }
    return equal(ours, host);
}

TEST(DifferentialSimd, EstimatesAreWithinTheManualsBound)
{
    unsigned char code[16];

    done = failed = 0;
    open_bench();
    for (unsigned opcode = 0x52; opcode <= 0x53; opcode++)
        for (unsigned try = 0; try < 10 * TRIES_EACH; try++) {
            unsigned n = assemble(code, try & 1 ? PF3 : NP, 0, opcode, 3, false);

            try_one("estimate", code, n, misalign, close_enough);
        }
    EXPECT_EQ(failed, 0u);
    close_bench();
}

// --- x87. ---

// A partial remainder (C2) takes as much of the quotient off as the processor likes.
static bool partial_remainder(const struct state *before, const struct state *ours, struct state *host)
{
    (void)before;
    if (!(get(ours->s.fx, 2, 2) & get(host->s.fx, 2, 2) & X87_STATUS_C2))
        return false;
    memcpy(host->s.fx + 32, ours->s.fx + 32, 10);
    return equal(ours, host);
}

TEST(DifferentialX87, RegisterAndMemoryForms)
{
    unsigned char code[2];
    char name[32];

    done = failed = 0;
    open_bench();
    for (unsigned opcode = 0xd8; opcode <= 0xdf; opcode++)
        for (unsigned modrm = 0; modrm < 256; modrm++) {
            struct uop u;
            cs_insn in = {.size = 2, .bytes = {(uint8_t)opcode, (uint8_t)modrm}};
            bool found;

            if (modrm < 0xc0 && (modrm & 0xc7) != RSI)
                continue;
            memset(&u, 0, sizeof u);
            u.code_size = CODE_64;
            if (!x87_decode(&u, &in, &found) || !found)
                continue;
            code[0] = (unsigned char)opcode;
            code[1] = (unsigned char)modrm;
            // Environments hold pointers, which are the model's own.
            if (modrm < 0xc0 && ((opcode == 0xd9 && (modrm >> 3 == 4 || modrm >> 3 == 6)) ||
                                 (opcode == 0xdd && (modrm >> 3 == 4 || modrm >> 3 == 6))))
                continue;
            snprintf(name, sizeof name, "%02x %02x", opcode, modrm);
            for (unsigned try = 0; try < TRIES_EACH / 2; try++)
                try_one(name, code, 2, NULL,
                        opcode == 0xd9 && (modrm == 0xf5 || modrm == 0xf8) ? partial_remainder : NULL);
        }
    printf("%u instructions\n", done);
    EXPECT_EQ(failed, 0u);
    EXPECT_GT(done, 40000u);
    close_bench();
}
