// SPDX-License-Identifier: Apache-2.0
// Decoder and arithmetic of emulated instructions (SDM vol. 2, 2.1, 2.2, appendix A).
#include "hv/x86/alu.h"
#include "hv/x86/decode.h"
#include "spec/x86_bits.h"
#include "tests/shim/shim.h"

struct row {
    const char *assembly;
    u8 bytes[15], count, op, form, length, mem_bytes, reg_bytes, reg;
    u64 immediate;
};

TEST(Decode, FormsSizesLengths)
{
    static const struct row rows[] = {
        // clang-format off
        {"mov [rdi], eax",          {0x89, 0x07}, 2, INSN_MOV, FORM_MEM_REG, 2, 4, 4, 0, 0},
        {"mov eax, [rdi]",          {0x8b, 0x07}, 2, INSN_MOV, FORM_REG_MEM, 2, 4, 4, 0, 0},
        {"mov [rdi], r9",           {0x4c, 0x89, 0x0f}, 3, INSN_MOV, FORM_MEM_REG, 3, 8, 8, 9, 0},
        {"mov [rdi], ax",           {0x66, 0x89, 0x07}, 3, INSN_MOV, FORM_MEM_REG, 3, 2, 2, 0, 0},
        {"mov [rdi], sil",          {0x40, 0x88, 0x37}, 3, INSN_MOV, FORM_MEM_REG, 3, 1, 1, 6, 0},
        {"mov [rdi+8], eax",        {0x89, 0x47, 0x08}, 3, INSN_MOV, FORM_MEM_REG, 3, 4, 4, 0, 0},
        {"mov [rdi+0x100], eax",    {0x89, 0x87, 0, 1, 0, 0}, 6, INSN_MOV, FORM_MEM_REG, 6, 4, 4, 0, 0},
        {"mov [rip+0x100], eax",    {0x89, 0x05, 0, 1, 0, 0}, 6, INSN_MOV, FORM_MEM_REG, 6, 4, 4, 0, 0},
        {"mov [rsp], eax",          {0x89, 0x04, 0x24}, 3, INSN_MOV, FORM_MEM_REG, 3, 4, 4, 0, 0},
        {"mov [rbx*4+0x10], eax",   {0x89, 0x04, 0x9d, 0x10, 0, 0, 0}, 7, INSN_MOV, FORM_MEM_REG, 7, 4, 4, 0, 0},
        {"mov dword [rdi], -1",     {0xc7, 0x07, 0xff, 0xff, 0xff, 0xff}, 6, INSN_MOV, FORM_MEM_IMM, 6, 4, 4, 0, ~0ull},
        {"mov word [rdi], 0x1234",  {0x66, 0xc7, 0x07, 0x34, 0x12}, 5, INSN_MOV, FORM_MEM_IMM, 5, 2, 2, 0, 0x1234},
        {"mov qword [rdi], -2",     {0x48, 0xc7, 0x07, 0xfe, 0xff, 0xff, 0xff}, 7, INSN_MOV, FORM_MEM_IMM, 7, 8, 8, 0, ~1ull},
        {"mov byte [rdi], 0x7f",    {0xc6, 0x07, 0x7f}, 3, INSN_MOV, FORM_MEM_IMM, 3, 1, 1, 0, 0x7f},
        {"movzx eax, byte [rdi]",   {0x0f, 0xb6, 0x07}, 3, INSN_MOVZX, FORM_REG_MEM, 3, 1, 4, 0, 0},
        {"movzx rax, word [rdi]",   {0x48, 0x0f, 0xb7, 0x07}, 4, INSN_MOVZX, FORM_REG_MEM, 4, 2, 8, 0, 0},
        {"movsx r8, byte [rdi]",    {0x4c, 0x0f, 0xbe, 0x07}, 4, INSN_MOVSX, FORM_REG_MEM, 4, 1, 8, 8, 0},
        {"lock or [rdi], edx",      {0xf0, 0x09, 0x17}, 3, INSN_OR, FORM_MEM_REG, 3, 4, 4, 2, 0},
        {"and ecx, [rdi]",          {0x23, 0x0f}, 2, INSN_AND, FORM_REG_MEM, 2, 4, 4, 1, 0},
        {"cmp dword [rdi], -5",     {0x83, 0x3f, 0xfb}, 3, INSN_CMP, FORM_MEM_IMM, 3, 4, 4, 7, ~4ull},
        {"test dword [rdi], 1",     {0xf7, 0x07, 1, 0, 0, 0}, 6, INSN_TEST, FORM_MEM_IMM, 6, 4, 4, 0, 1},
        {"xchg [rdi], eax",         {0x87, 0x07}, 2, INSN_XCHG, FORM_MEM_REG, 2, 4, 4, 0, 0},
        {"rep stosd",               {0xf3, 0xab}, 2, INSN_STOS, FORM_MEM_ACC, 2, 4, 4, 0, 0},
        {"stosb",                   {0xaa}, 1, INSN_STOS, FORM_MEM_ACC, 1, 1, 1, 0, 0},
        {"mov rax, [moffs64]",      {0x48, 0xa1, 1, 2, 3, 4, 5, 6, 7, 8}, 10, INSN_MOV, FORM_ACC_MEM, 10, 8, 8, 0, 0},
        // clang-format on
    };
    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *r = &rows[i];
        struct decoded d;

        EXPECT_TRUE(decode_insn(r->bytes, r->count, true, &d));
        EXPECT_EQ(d.op, r->op);
        EXPECT_EQ(d.form, r->form);
        EXPECT_EQ(d.length, r->length);
        EXPECT_EQ(d.mem_bytes, r->mem_bytes);
        EXPECT_EQ(d.reg_bytes, r->reg_bytes);
        EXPECT_EQ(d.reg, r->reg);
        EXPECT_EQ(d.immediate, r->immediate);
        // A byte less is no instruction.
        EXPECT_FALSE(decode_insn(r->bytes, r->count - 1u, true, &d));
    }
}

TEST(Decode, RefusesWhatItDoesNotKnow)
{
    static const struct {
        const char *assembly;
        u8 bytes[15], count;
    } rows[] = {
        {"mov eax, ebx (no memory operand)", {0x89, 0xd8}, 2},
        {"movups [rdi], xmm0", {0x0f, 0x11, 0x07}, 3},
        {"inc dword [rdi]", {0xff, 0x07}, 2},
        {"adc [rdi], eax", {0x11, 0x07}, 2},
        {"adc dword [rdi], 1", {0x83, 0x17, 1}, 3},
        {"nop", {0x90}, 1},
        {"ud2", {0x0f, 0x0b}, 2},
    };
    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct decoded d;

        EXPECT_FALSE(decode_insn(rows[i].bytes, rows[i].count, true, &d));
    }
}

TEST(Decode, HighByteRegistersOnlyWithoutRex)
{
    struct decoded d;

    EXPECT_TRUE(decode_insn((const u8[]){0x88, 0x27}, 2, true, &d)); // mov [rdi], ah
    EXPECT_TRUE(d.high_byte);
    EXPECT_TRUE(decode_insn((const u8[]){0x40, 0x88, 0x27}, 3, true, &d)); // mov [rdi], spl
    EXPECT_FALSE(d.high_byte);
}

TEST(Decode, In32BitCodeFortyToFortyFIsNoPrefix)
{
    struct decoded d;

    EXPECT_FALSE(decode_insn((const u8[]){0x48, 0x89, 0x07}, 3, false, &d)); // dec eax
    EXPECT_TRUE(decode_insn((const u8[]){0x89, 0x07}, 2, false, &d));
    EXPECT_TRUE(decode_insn((const u8[]){0x67, 0x89, 0x06, 0x34, 0x12}, 5, false, &d)); // mov [0x1234], eax
    EXPECT_EQ(d.length, 5);
}

// --- Arithmetic against the processor that runs the test.

#define STATUS (0x8d5ull)

static u64 host(u8 op, u64 a, u64 b, unsigned bytes, u64 *flags)
{
    u64 f = 0;
#define RUN(insn, type, constraint)                                                                          \
    do {                                                                                                     \
        type x = (type)a, y = (type)b;                                                                       \
        __asm__(insn " %2, %0\n\tpushfq\n\tpop %1" : "+" constraint(x), "=&r"(f) : constraint(y) : "cc");    \
        a = x;                                                                                               \
    } while (0)
#define SIZES(name)                                                                                          \
    do {                                                                                                     \
        if (bytes == 1)                                                                                      \
            RUN(name "b", u8, "q");                                                                          \
        else if (bytes == 2)                                                                                 \
            RUN(name "w", u16, "r");                                                                         \
        else if (bytes == 4)                                                                                 \
            RUN(name "l", u32, "r");                                                                         \
        else                                                                                                 \
            RUN(name "q", u64, "r");                                                                         \
    } while (0)
    if (op == INSN_ADD)
        SIZES("add");
    else if (op == INSN_SUB)
        SIZES("sub");
    else if (op == INSN_AND)
        SIZES("and");
    else if (op == INSN_OR)
        SIZES("or");
    else
        SIZES("xor");
    *flags = f & STATUS;
    return a;
}

TEST(Alu, ResultsAndFlagsAreTheProcessors)
{
    static const u8 ops[] = {INSN_ADD, INSN_SUB, INSN_AND, INSN_OR, INSN_XOR};
    static const u64 values[] = {0,          1,
                                 2,          0x0f,
                                 0x10,       0x7f,
                                 0x80,       0xff,
                                 0x100,      0x7fff,
                                 0x8000,     0xffff,
                                 0x7fffffff, 0x80000000,
                                 0xffffffff, 0x12345678,
                                 1ull << 63, ~(1ull << 63),
                                 ~0ull,      0xdeadbeefcafef00d};
    const u32 n = sizeof(values) / sizeof(values[0]);

    for (u32 o = 0; o < sizeof(ops); o++)
        for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
            for (u32 i = 0; i < n * n; i++) {
                u64 mask = bytes == 8 ? ~0ull : (1ull << (8 * bytes)) - 1;
                u64 a = values[i / n] & mask, b = values[i % n] & mask, want, got = ~0ull;
                u64 result = host(ops[o], a, b, bytes, &want);

                // AF of logical operations is undefined (SDM vol. 2).
                u64 care = ops[o] == INSN_ADD || ops[o] == INSN_SUB ? STATUS : STATUS & ~X86_RFLAGS_AF;

                EXPECT_EQ(alu(ops[o], a, b, bytes, &got), result);
                EXPECT_EQ(got & care, want & care);
                EXPECT_EQ(got & ~STATUS, ~STATUS);
            }
}
