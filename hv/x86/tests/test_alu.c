// SPDX-License-Identifier: Apache-2.0
// Arithmetic of emulated instructions against the processor that runs the test, on values around every edge.
// Flags that the manual leaves undefined are not compared (SDM vol. 2, each instruction's "Flags Affected").
#include "hv/x86/alu.h"
#include "spec/x86_bits.h"
#include "tests/shim/shim.h"

#define STATUS (X86_RFLAGS_CF | X86_RFLAGS_PF | X86_RFLAGS_AF | X86_RFLAGS_ZF | X86_RFLAGS_SF | X86_RFLAGS_OF)
#define NO_AF (STATUS & ~X86_RFLAGS_AF)

static const u64 values[] = {
    0,          1,          2,          0x0f,       0x10,          0x7f,   0x80,
    0x81,       0xff,       0x100,      0x7fff,     0x8000,        0xffff, 0x7fffffff,
    0x80000000, 0xffffffff, 0x12345678, 1ull << 63, ~(1ull << 63), ~0ull,  0xdeadbeefcafef00d};
#define VALUES (sizeof(values) / sizeof(values[0]))

// Runs `insn` with a in rAX, b in rDX, c in rCX and the given flags; results in *a and *b.
#define NATIVE(insn)                                                                                         \
    __asm__ volatile("pushq %3\n\tpopfq\n\t" insn "\n\tpushfq\n\tpopq %2"                                    \
                     : "+a"(*a), "+d"(*b), "=&r"(out)                                                        \
                     : "r"(in), "c"(c)                                                                       \
                     : "cc")
#define SIZES(name, b8, b16, b32, b64)                                                                       \
    static u64 host_##name(unsigned bytes, u64 *a, u64 *b, u64 c, u64 in)                                    \
    {                                                                                                        \
        u64 out = 0;                                                                                         \
        if (bytes == 1)                                                                                      \
            NATIVE(b8);                                                                                      \
        else if (bytes == 2)                                                                                 \
            NATIVE(b16);                                                                                     \
        else if (bytes == 4)                                                                                 \
            NATIVE(b32);                                                                                     \
        else                                                                                                 \
            NATIVE(b64);                                                                                     \
        return out & STATUS;                                                                                 \
    }
#define TWO(name, insn)                                                                                      \
    SIZES(name, insn " %%dl, %%al", insn " %%dx, %%ax", insn " %%edx, %%eax", insn " %%rdx, %%rax")
#define ONE(name, insn) SIZES(name, insn " %%al", insn " %%ax", insn " %%eax", insn " %%rax")
#define BY_CL(name, insn)                                                                                    \
    SIZES(name, insn " %%cl, %%al", insn " %%cl, %%ax", insn " %%cl, %%eax", insn " %%cl, %%rax")
TWO(add, "add")
TWO(or, "or")
TWO(adc, "adc")
TWO(sbb, "sbb")
TWO(and, "and")
TWO(sub, "sub")
TWO(xor, "xor")
TWO(cmp, "cmp")
TWO(test, "test")
ONE(inc, "inc")
ONE(dec, "dec")
ONE(neg, "neg")
ONE(not, "not")
BY_CL(rol, "rol")
BY_CL(ror, "ror")
BY_CL(rcl, "rcl")
BY_CL(rcr, "rcr")
BY_CL(shl, "shl")
BY_CL(shr, "shr")
BY_CL(sar, "sar")
SIZES(shld, "nop", "shld %%cl, %%dx, %%ax", "shld %%cl, %%edx, %%eax", "shld %%cl, %%rdx, %%rax")
SIZES(shrd, "nop", "shrd %%cl, %%dx, %%ax", "shrd %%cl, %%edx, %%eax", "shrd %%cl, %%rdx, %%rax")
SIZES(mul, "mul %%cl", "mul %%cx", "mul %%ecx", "mul %%rcx")
SIZES(imul, "imul %%cl", "imul %%cx", "imul %%ecx", "imul %%rcx")
SIZES(div, "div %%cl", "div %%cx", "div %%ecx", "div %%rcx")
SIZES(idiv, "idiv %%cl", "idiv %%cx", "idiv %%ecx", "idiv %%rcx")

typedef u64 (*host_function)(unsigned bytes, u64 *a, u64 *b, u64 c, u64 in);
struct operation {
    const char *name;
    u8 op;
    host_function host;
    u64 care;
};

static const u64 flags_before[] = {X86_RFLAGS_FIXED, X86_RFLAGS_FIXED | STATUS,
                                   X86_RFLAGS_FIXED | X86_RFLAGS_CF};

TEST(Alu, TwoOperandsAreTheProcessors)
{
    static const struct operation ops[] = {
        {"add", INSN_ADD, host_add, STATUS},   {"or", INSN_OR, host_or, NO_AF},
        {"adc", INSN_ADC, host_adc, STATUS},   {"sbb", INSN_SBB, host_sbb, STATUS},
        {"and", INSN_AND, host_and, NO_AF},    {"sub", INSN_SUB, host_sub, STATUS},
        {"xor", INSN_XOR, host_xor, NO_AF},    {"cmp", INSN_CMP, host_cmp, STATUS},
        {"test", INSN_TEST, host_test, NO_AF},
    };
    for (u32 o = 0; o < sizeof(ops) / sizeof(ops[0]); o++)
        for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
            for (u32 i = 0; i < VALUES * VALUES * 3; i++) {
                u64 mask = size_mask(bytes), before = flags_before[i % 3];
                u64 a = values[i / 3 / VALUES] & mask, b = values[i / 3 % VALUES] & mask, x = a, y = b,
                    got = before;
                u64 want = ops[o].host(bytes, &x, &y, 0, before);
                u64 result = alu(ops[o].op, a, b, bytes, &got);

                test_row("%s %u bytes %llx %llx", ops[o].name, bytes, (unsigned long long)a,
                         (unsigned long long)b);
                if (ops[o].op != INSN_CMP && ops[o].op != INSN_TEST)
                    EXPECT_EQ(result, x & mask);
                EXPECT_EQ(got & ops[o].care, want & ops[o].care);
                EXPECT_EQ(got & ~STATUS, before & ~STATUS);
            }
}

TEST(Alu, OneOperandIsTheProcessors)
{
    static const struct operation ops[] = {
        {"inc", INSN_INC, host_inc, STATUS},
        {"dec", INSN_DEC, host_dec, STATUS},
        {"neg", INSN_NEG, host_neg, STATUS},
        {"not", INSN_NOT, host_not, STATUS},
    };
    for (u32 o = 0; o < sizeof(ops) / sizeof(ops[0]); o++)
        for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
            for (u32 i = 0; i < VALUES * 3; i++) {
                u64 mask = size_mask(bytes), before = flags_before[i % 3], got = before;
                u64 a = values[i / 3] & mask, x = a, y = 0, want = ops[o].host(bytes, &x, &y, 0, before);

                test_row("%s %u bytes %llx", ops[o].name, bytes, (unsigned long long)a);
                EXPECT_EQ(alu_unary(ops[o].op, a, bytes, &got), x & mask);
                EXPECT_EQ(got & STATUS, want);
            }
}

// OF is defined for counts of 1 only; AF never; CF of SHL, SHR not beyond the operand.
static u64 shift_care(const struct operation *o, unsigned bytes, unsigned count)
{
    u64 care = o->care;
    unsigned n = count & (bytes == 8 ? 63 : 31);

    if (n == 0)
        return STATUS;
    if (n != 1)
        care &= ~X86_RFLAGS_OF;
    if (n > 8 * bytes && (o->op == INSN_SHL || o->op == INSN_SHR))
        care &= ~X86_RFLAGS_CF;
    return care;
}

TEST(Alu, ShiftsAreTheProcessors)
{
    static const struct operation ops[] = {
        {"rol", INSN_ROL, host_rol, STATUS}, {"ror", INSN_ROR, host_ror, STATUS},
        {"rcl", INSN_RCL, host_rcl, STATUS}, {"rcr", INSN_RCR, host_rcr, STATUS},
        {"shl", INSN_SHL, host_shl, NO_AF},  {"shr", INSN_SHR, host_shr, NO_AF},
        {"sar", INSN_SAR, host_sar, NO_AF},
    };
    for (u32 o = 0; o < sizeof(ops) / sizeof(ops[0]); o++)
        for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
            for (unsigned count = 0; count < 256; count += count < 70 ? 1 : 31)
                for (u32 i = 0; i < VALUES * 2; i++) {
                    u64 mask = size_mask(bytes), before = flags_before[i % 2], got = before;
                    u64 a = values[i / 2] & mask, x = a, y = 0;
                    u64 want = ops[o].host(bytes, &x, &y, count, before),
                        care = shift_care(&ops[o], bytes, count);

                    test_row("%s %u bytes %llx by %u", ops[o].name, bytes, (unsigned long long)a, count);
                    EXPECT_EQ(alu_shift(ops[o].op, a, count, bytes, &got), x & mask);
                    EXPECT_EQ(got & care, want & care);
                }
}

TEST(Alu, DoubleShiftsAreTheProcessors)
{
    static const struct operation ops[] = {
        {"shld", INSN_SHLD, host_shld, NO_AF},
        {"shrd", INSN_SHRD, host_shrd, NO_AF},
    };
    for (u32 o = 0; o < 2; o++)
        for (unsigned bytes = 2; bytes <= 8; bytes *= 2)
            for (unsigned count = 0; count < 64; count++)
                for (u32 i = 0; i < VALUES * VALUES; i++) {
                    u64 mask = size_mask(bytes), got = X86_RFLAGS_FIXED;
                    u64 a = values[i / VALUES] & mask, b = values[i % VALUES] & mask, x = a, y = b;
                    unsigned n = count & (bytes == 8 ? 63 : 31);
                    u64 want = ops[o].host(bytes, &x, &y, count, got), care = NO_AF;

                    if (n > 8 * bytes) // Undefined as a whole.
                        continue;
                    if (n != 1)
                        care &= ~X86_RFLAGS_OF;
                    test_row("%s %u bytes %llx %llx by %u", ops[o].name, bytes, (unsigned long long)a,
                             (unsigned long long)b, count);
                    EXPECT_EQ(alu_double_shift(ops[o].op, a, b, count, bytes, &got), x & mask);
                    if (n != 0)
                        EXPECT_EQ(got & care, want & care);
                }
}

TEST(Alu, ProductsAreTheProcessors)
{
    for (unsigned is_signed = 0; is_signed < 2; is_signed++)
        for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
            for (u32 i = 0; i < VALUES * VALUES; i++) {
                u64 mask = size_mask(bytes), got = X86_RFLAGS_FIXED, low, high;
                u64 a = values[i / VALUES] & mask, b = values[i % VALUES] & mask, x = a, y = 0;
                u64 want = (is_signed ? host_imul : host_mul)(bytes, &x, &y, b, got);

                alu_multiply(is_signed, a, b, bytes, &low, &high, &got);
                test_row("%u bytes %llx * %llx", bytes, (unsigned long long)a, (unsigned long long)b);
                EXPECT_EQ(low, x & mask);
                EXPECT_EQ(high, (bytes == 1 ? x >> 8 : y) & mask);
                EXPECT_EQ(got & (X86_RFLAGS_CF | X86_RFLAGS_OF), want & (X86_RFLAGS_CF | X86_RFLAGS_OF));
            }
}

// Where the quotient fits the host divides too; where it does not, that is checked by multiplying back.
TEST(Alu, QuotientsAreTheProcessorsAndTheRestRaises)
{
    u64 divided = 0, raised = 0;

    for (unsigned is_signed = 0; is_signed < 2; is_signed++)
        for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
            for (u32 i = 0; i < VALUES * VALUES * VALUES; i++) {
                u64 mask = size_mask(bytes), high = values[i / VALUES / VALUES] & mask, quotient, rest;
                u64 low = values[i / VALUES % VALUES] & mask, divisor = values[i % VALUES] & mask, x, y;

                if (!alu_divide(is_signed, high, low, divisor, bytes, &quotient, &rest)) {
                    raised++;
                    continue;
                }
                divided++;
                x = bytes == 1 ? high << 8 | low : low;
                y = high;
                (void)(is_signed ? host_idiv : host_div)(bytes, &x, &y, divisor, X86_RFLAGS_FIXED);
                test_row("%u bytes %llx:%llx / %llx", bytes, (unsigned long long)high,
                         (unsigned long long)low, (unsigned long long)divisor);
                EXPECT_EQ(quotient, x & mask);
                EXPECT_EQ(rest, (bytes == 1 ? x >> 8 : y) & mask);
            }
    EXPECT_GT(divided, 5000);
    EXPECT_GT(raised, 5000);
}

TEST(Alu, DivisionsThatOverflow)
{
    static const struct {
        bool is_signed;
        u64 high, low, divisor;
        unsigned bytes;
        bool fits;
    } rows[] = {
        {false, 0, 1, 0, 4, false},
        {false, 5, 0, 5, 4, false},
        {false, 4, 0xffffffff, 5, 4, true},
        {true, 0xff, 0x80, 0xff, 1, false}, // -128 / -1
        {true, 0xff, 0x80, 1, 1, true},
        {true, 0x00, 0x80, 1, 1, false}, // 128
        {true, 0xff, 0x7f, 1, 1, false}, // -129
        {true, ~0ull, 1ull << 63, ~0ull, 8, false},
    };
    u64 quotient, rest;

    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_row("row %u", i);
        EXPECT_EQ(alu_divide(rows[i].is_signed, rows[i].high, rows[i].low, rows[i].divisor, rows[i].bytes,
                             &quotient, &rest),
                  rows[i].fits);
    }
}

// SDM vol. 2, the pseudocode's own examples and the edges of each instruction (they do not run in 64-bit
// mode).
TEST(Alu, DecimalAdjustment)
{
    static const struct {
        const char *name;
        u8 op, base;
        u16 ax;
        u64 before;
        u16 want;
        u64 flags, care;
    } rows[] = {
        // clang-format off
        {"daa 79+35", INSN_DAA, 0, 0x00ae, 0, 0x0014, X86_RFLAGS_CF | X86_RFLAGS_AF, X86_RFLAGS_CF | X86_RFLAGS_AF},
        {"daa 2e",    INSN_DAA, 0, 0x002e, 0, 0x0034, X86_RFLAGS_AF, X86_RFLAGS_CF | X86_RFLAGS_AF},
        {"daa 99",    INSN_DAA, 0, 0x0099, 0, 0x0099, 0, X86_RFLAGS_CF | X86_RFLAGS_AF},
        {"das 35-47", INSN_DAS, 0, 0x00ee, X86_RFLAGS_CF | X86_RFLAGS_AF, 0x0088, X86_RFLAGS_CF | X86_RFLAGS_AF, X86_RFLAGS_CF | X86_RFLAGS_AF},
        {"das 05, AF", INSN_DAS, 0, 0x0005, X86_RFLAGS_AF, 0x00ff, X86_RFLAGS_CF | X86_RFLAGS_AF, X86_RFLAGS_CF | X86_RFLAGS_AF},
        {"aaa 0f",    INSN_AAA, 0, 0x000f, 0, 0x0105, X86_RFLAGS_CF | X86_RFLAGS_AF, X86_RFLAGS_CF | X86_RFLAGS_AF},
        {"aaa 09",    INSN_AAA, 0, 0x0019, 0, 0x0009, 0, X86_RFLAGS_CF | X86_RFLAGS_AF},
        {"aas 0f",    INSN_AAS, 0, 0x020f, 0, 0x0109, X86_RFLAGS_CF | X86_RFLAGS_AF, X86_RFLAGS_CF | X86_RFLAGS_AF},
        {"aam 10",    INSN_AAM, 10, 0x0045, 0, 0x0609, X86_RFLAGS_PF, X86_RFLAGS_ZF | X86_RFLAGS_SF | X86_RFLAGS_PF},
        {"aad 10",    INSN_AAD, 10, 0x0609, 0, 0x0045, 0, X86_RFLAGS_ZF | X86_RFLAGS_SF | X86_RFLAGS_PF},
        // clang-format on
    };
    u16 ax = 5;
    u64 flags = 0;

    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ax = rows[i].ax;
        flags = rows[i].before;
        test_row("%s", rows[i].name);
        EXPECT_TRUE(alu_bcd(rows[i].op, &ax, rows[i].base, &flags));
        EXPECT_EQ(ax, rows[i].want);
        EXPECT_EQ(flags & rows[i].care, rows[i].flags);
    }
    EXPECT_FALSE(alu_bcd(INSN_AAM, &ax, 0, &flags));
}

TEST(Alu, ConditionsAreTheProcessors)
{
    for (u64 i = 0; i < 64; i++) {
        u64 in = X86_RFLAGS_FIXED | (i & 1 ? X86_RFLAGS_CF : 0) | (i & 2 ? X86_RFLAGS_PF : 0) |
                 (i & 4 ? X86_RFLAGS_ZF : 0) | (i & 8 ? X86_RFLAGS_SF : 0) | (i & 16 ? X86_RFLAGS_OF : 0);
        u8 r[16];

#define CONDITION(n, cc) __asm__ volatile("pushq %1\n\tpopfq\n\tset" cc " %0" : "=q"(r[n]) : "r"(in) : "cc")
        CONDITION(0, "o");
        CONDITION(1, "no");
        CONDITION(2, "b");
        CONDITION(3, "ae");
        CONDITION(4, "e");
        CONDITION(5, "ne");
        CONDITION(6, "be");
        CONDITION(7, "a");
        CONDITION(8, "s");
        CONDITION(9, "ns");
        CONDITION(10, "p");
        CONDITION(11, "np");
        CONDITION(12, "l");
        CONDITION(13, "ge");
        CONDITION(14, "le");
        CONDITION(15, "g");
        for (unsigned c = 0; c < 16; c++)
            EXPECT_EQ(alu_condition(c, in), r[c]);
    }
}
