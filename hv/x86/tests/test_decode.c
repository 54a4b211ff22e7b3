// SPDX-License-Identifier: Apache-2.0
// Decoder of emulated instructions (SDM vol. 2, 2.1, 2.2, appendix A). The bytes are an assembler's.
#include "hv/x86/decode.h"
#include "hv/x86/x86.h"
#include "tests/shim/shim.h"

struct row {
    const char *assembly;
    enum code_width width;
    u8 bytes[15], count, op;
    struct operand a, b;
    struct decoded_mem mem;
    u64 immediate;
};
#define NO_MEM                                                                                               \
    {                                                                                                        \
        0xff, 0, 0, 0, false, 0                                                                              \
    }
#define RIP_MEM(displacement)                                                                                \
    {                                                                                                        \
        SEG_DS, DECODE_NO_REG, DECODE_NO_REG, 0, true, displacement                                          \
    }

static void expect_operand(const struct operand *got, const struct operand *want)
{
    EXPECT_EQ(got->kind, want->kind);
    EXPECT_EQ(got->reg, want->reg);
    EXPECT_EQ(got->bytes, want->bytes);
}

static void expect_mem(const struct decoded_mem *got, const struct decoded_mem *want)
{
    if (want->segment == 0xff)
        return;
    EXPECT_EQ(got->segment, want->segment);
    EXPECT_EQ(got->base, want->base);
    EXPECT_EQ(got->index, want->index);
    EXPECT_EQ(got->scale, want->scale);
    EXPECT_EQ(got->rip_relative, want->rip_relative);
    EXPECT_EQ(got->displacement, want->displacement);
}

static const struct row encodings[] = {
    // clang-format off
    {"mov [rdi], eax", CODE_64, {0x89, 0x07}, 2, INSN_MOV, {OPD_MEM, 0, 4}, {OPD_REG, 0, 4}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"mov [rdi+8], r9", CODE_64, {0x4c, 0x89, 0x4f, 0x08}, 4, INSN_MOV, {OPD_MEM, 0, 8}, {OPD_REG, 9, 8}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x8ull}, 0},
    {"mov ax, [rsp-2]", CODE_64, {0x66, 0x8b, 0x44, 0x24, 0xfe}, 5, INSN_MOV, {OPD_REG, 0, 2}, {OPD_MEM, 0, 2}, {SEG_SS, 4, DECODE_NO_REG, 0, false, -2ull}, 0},
    {"mov [r12], sil", CODE_64, {0x41, 0x88, 0x34, 0x24}, 4, INSN_MOV, {OPD_MEM, 0, 1}, {OPD_REG, 6, 1}, {SEG_DS, 12, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"mov [rdi], ah", CODE_64, {0x88, 0x27}, 2, INSN_MOV, {OPD_MEM, 0, 1}, {OPD_HIGH, 0, 1}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"mov [rdi], bh", CODE_64, {0x88, 0x3f}, 2, INSN_MOV, {OPD_MEM, 0, 1}, {OPD_HIGH, 3, 1}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"mov eax, [rbx+r14*4+0x100]", CODE_64, {0x42, 0x8b, 0x84, 0xb3, 0x00, 0x01, 0x00, 0x00}, 8, INSN_MOV, {OPD_REG, 0, 4}, {OPD_MEM, 0, 4}, {SEG_DS, 3, 14, 2, false, 0x100ull}, 0},
    {"mov eax, [rbp+rax*8]", CODE_64, {0x8b, 0x44, 0xc5, 0x00}, 4, INSN_MOV, {OPD_REG, 0, 4}, {OPD_MEM, 0, 4}, {SEG_SS, 5, 0, 3, false, 0x0ull}, 0},
    {"mov eax, [rcx*2+0x10]", CODE_64, {0x8b, 0x04, 0x4d, 0x10, 0x00, 0x00, 0x00}, 7, INSN_MOV, {OPD_REG, 0, 4}, {OPD_MEM, 0, 4}, {SEG_DS, DECODE_NO_REG, 1, 1, false, 0x10ull}, 0},
    {"mov eax, [0x7fffffff]", CODE_64, {0x8b, 0x04, 0x25, 0xff, 0xff, 0xff, 0x7f}, 7, INSN_MOV, {OPD_REG, 0, 4}, {OPD_MEM, 0, 4}, {SEG_DS, DECODE_NO_REG, DECODE_NO_REG, 0, false, 0x7fffffffull}, 0},
    {"mov eax, fs:[rdi]", CODE_64, {0x64, 0x8b, 0x07}, 3, INSN_MOV, {OPD_REG, 0, 4}, {OPD_MEM, 0, 4}, {SEG_FS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"mov eax, [edi]", CODE_64, {0x67, 0x8b, 0x07}, 3, INSN_MOV, {OPD_REG, 0, 4}, {OPD_MEM, 0, 4}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"movabs rax, [0x8877665544332211]", CODE_64, {0x48, 0xa1, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88}, 10, INSN_MOV, {OPD_REG, 0, 8}, {OPD_MEM, 0, 8}, {SEG_DS, DECODE_NO_REG, DECODE_NO_REG, 0, false, 0x8877665544332211ull}, 0},
    {"movabs r10, 0x8877665544332211", CODE_64, {0x49, 0xba, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88}, 10, INSN_MOV, {OPD_REG, 10, 8}, {OPD_IMM, 0, 8}, NO_MEM, 0x8877665544332211ull},
    {"mov qword ptr [rdi], -2", CODE_64, {0x48, 0xc7, 0x07, 0xfe, 0xff, 0xff, 0xff}, 7, INSN_MOV, {OPD_MEM, 0, 8}, {OPD_IMM, 0, 8}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, -2ull},
    {"mov word ptr [rdi], 0x1234", CODE_64, {0x66, 0xc7, 0x07, 0x34, 0x12}, 5, INSN_MOV, {OPD_MEM, 0, 2}, {OPD_IMM, 0, 2}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0x1234ull},
    {"mov byte ptr [rdi], 0x7f", CODE_64, {0xc6, 0x07, 0x7f}, 3, INSN_MOV, {OPD_MEM, 0, 1}, {OPD_IMM, 0, 1}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0x7full},
    {"movzx eax, byte ptr [rdi]", CODE_64, {0x0f, 0xb6, 0x07}, 3, INSN_MOVZX, {OPD_REG, 0, 4}, {OPD_MEM, 0, 1}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"movzx rax, word ptr [rdi]", CODE_64, {0x48, 0x0f, 0xb7, 0x07}, 4, INSN_MOVZX, {OPD_REG, 0, 8}, {OPD_MEM, 0, 2}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"movsx r8, byte ptr [rdi]", CODE_64, {0x4c, 0x0f, 0xbe, 0x07}, 4, INSN_MOVSX, {OPD_REG, 8, 8}, {OPD_MEM, 0, 1}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"movsxd rax, dword ptr [rdi]", CODE_64, {0x48, 0x63, 0x07}, 3, INSN_MOVSX, {OPD_REG, 0, 8}, {OPD_MEM, 0, 4}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"movbe eax, [rdi]", CODE_64, {0x0f, 0x38, 0xf0, 0x07}, 4, INSN_MOVBE, {OPD_REG, 0, 4}, {OPD_MEM, 0, 4}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"movnti [rdi], rax", CODE_64, {0x48, 0x0f, 0xc3, 0x07}, 4, INSN_MOV, {OPD_MEM, 0, 8}, {OPD_REG, 0, 8}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"lock or [rdi], edx", CODE_64, {0xf0, 0x09, 0x17}, 3, INSN_OR, {OPD_MEM, 0, 4}, {OPD_REG, 2, 4}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"and ecx, [rdi]", CODE_64, {0x23, 0x0f}, 2, INSN_AND, {OPD_REG, 1, 4}, {OPD_MEM, 0, 4}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"adc dword ptr [rdi], 1", CODE_64, {0x83, 0x17, 0x01}, 3, INSN_ADC, {OPD_MEM, 0, 4}, {OPD_IMM, 0, 4}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0x1ull},
    {"cmp dword ptr [rdi], -5", CODE_64, {0x83, 0x3f, 0xfb}, 3, INSN_CMP, {OPD_MEM, 0, 4}, {OPD_IMM, 0, 4}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, -5ull},
    {"sub rax, 0x12345678", CODE_64, {0x48, 0x2d, 0x78, 0x56, 0x34, 0x12}, 6, INSN_SUB, {OPD_REG, 0, 8}, {OPD_IMM, 0, 8}, NO_MEM, 0x12345678ull},
    {"test dword ptr [rdi], 1", CODE_64, {0xf7, 0x07, 0x01, 0x00, 0x00, 0x00}, 6, INSN_TEST, {OPD_MEM, 0, 4}, {OPD_IMM, 0, 4}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0x1ull},
    {"test byte ptr [rdi], 0x80", CODE_64, {0xf6, 0x07, 0x80}, 3, INSN_TEST, {OPD_MEM, 0, 1}, {OPD_IMM, 0, 1}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, -128ull},
    {"not word ptr [rdi]", CODE_64, {0x66, 0xf7, 0x17}, 3, INSN_NOT, {OPD_MEM, 0, 2}, {OPD_NONE, 0, 0}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"idiv qword ptr [rdi]", CODE_64, {0x48, 0xf7, 0x3f}, 3, INSN_IDIV, {OPD_MEM, 0, 8}, {OPD_NONE, 0, 0}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"lock inc dword ptr [rdi]", CODE_64, {0xf0, 0xff, 0x07}, 3, INSN_INC, {OPD_MEM, 0, 4}, {OPD_NONE, 0, 0}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"sar dword ptr [rdi], 3", CODE_64, {0xc1, 0x3f, 0x03}, 3, INSN_SAR, {OPD_MEM, 0, 4}, {OPD_IMM, 0, 1}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0x3ull},
    {"rcl byte ptr [rdi], 1", CODE_64, {0xd0, 0x17}, 2, INSN_RCL, {OPD_MEM, 0, 1}, {OPD_ONE, 0, 1}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"shld [rdi], rax, cl", CODE_64, {0x48, 0x0f, 0xa5, 0x07}, 4, INSN_SHLD, {OPD_MEM, 0, 8}, {OPD_REG, 0, 8}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"bts [rdi], ecx", CODE_64, {0x0f, 0xab, 0x0f}, 3, INSN_BTS, {OPD_MEM, 0, 4}, {OPD_REG, 1, 4}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"btc dword ptr [rdi], 9", CODE_64, {0x0f, 0xba, 0x3f, 0x09}, 4, INSN_BTC, {OPD_MEM, 0, 4}, {OPD_IMM, 0, 1}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0x9ull},
    {"imul eax, [rdi], 100000", CODE_64, {0x69, 0x07, 0xa0, 0x86, 0x01, 0x00}, 6, INSN_IMUL_2, {OPD_REG, 0, 4}, {OPD_MEM, 0, 4}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0x186a0ull},
    {"xchg [rdi], eax", CODE_64, {0x87, 0x07}, 2, INSN_XCHG, {OPD_MEM, 0, 4}, {OPD_REG, 0, 4}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"lock xadd [rdi], rdx", CODE_64, {0xf0, 0x48, 0x0f, 0xc1, 0x17}, 5, INSN_XADD, {OPD_MEM, 0, 8}, {OPD_REG, 2, 8}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"lock cmpxchg16b [rdi]", CODE_64, {0xf0, 0x48, 0x0f, 0xc7, 0x0f}, 5, INSN_CMPXCHG8B, {OPD_MEM, 0, 16}, {OPD_NONE, 0, 0}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"setne byte ptr [rdi]", CODE_64, {0x0f, 0x95, 0x07}, 3, INSN_SETCC, {OPD_MEM, 0, 1}, {OPD_NONE, 0, 0}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"cmovb rax, [rdi]", CODE_64, {0x48, 0x0f, 0x42, 0x07}, 4, INSN_CMOVCC, {OPD_REG, 0, 8}, {OPD_MEM, 0, 8}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"movups [rdi], xmm9", CODE_64, {0x44, 0x0f, 0x11, 0x0f}, 4, INSN_MOVVEC, {OPD_MEM, 0, 16}, {OPD_VEC, 9, 16}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"movdqa xmm1, [rdi]", CODE_64, {0x66, 0x0f, 0x6f, 0x0f}, 4, INSN_MOVVEC_A, {OPD_VEC, 1, 16}, {OPD_MEM, 0, 16}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"push [rdi]", CODE_64, {0xff, 0x37}, 2, INSN_PUSH, {OPD_MEM, 0, 8}, {OPD_NONE, 0, 0}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"push -1", CODE_64, {0x6a, 0xff}, 2, INSN_PUSH, {OPD_IMM, 0, 8}, {OPD_NONE, 0, 0}, NO_MEM, -1ull},
    {"pop rax", CODE_64, {0x58}, 1, INSN_POP, {OPD_REG, 0, 8}, {OPD_NONE, 0, 0}, NO_MEM, 0},
    {"call [rdi]", CODE_64, {0xff, 0x17}, 2, INSN_CALL, {OPD_MEM, 0, 8}, {OPD_NONE, 0, 0}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"rep movsq", CODE_64, {0xf3, 0x48, 0xa5}, 3, INSN_MOVS, {OPD_DI, 0, 8}, {OPD_SI, 0, 8}, NO_MEM, 0},
    {"rep stosd", CODE_64, {0xf3, 0xab}, 2, INSN_STOS, {OPD_DI, 0, 4}, {OPD_REG, 0, 4}, NO_MEM, 0},
    {"repne scasb", CODE_64, {0xf2, 0xae}, 2, INSN_SCAS, {OPD_REG, 0, 1}, {OPD_DI, 0, 1}, NO_MEM, 0},
    {"rep insw", CODE_64, {0x66, 0xf3, 0x6d}, 3, INSN_INS, {OPD_DI, 0, 2}, {OPD_REG, 2, 2}, NO_MEM, 0},
    {"in al, 0x60", CODE_64, {0xe4, 0x60}, 2, INSN_IN, {OPD_REG, 0, 1}, {OPD_IMM, 0, 1}, NO_MEM, 0x60ull},
    {"out dx, eax", CODE_64, {0xef}, 1, INSN_OUT, {OPD_REG, 2, 2}, {OPD_REG, 0, 4}, NO_MEM, 0},
    {"mov ds, [rdi]", CODE_64, {0x8e, 0x1f}, 2, INSN_MOV_SREG, {OPD_SEG, 3, 2}, {OPD_MEM, 0, 2}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"lgdt [rdi]", CODE_64, {0x0f, 0x01, 0x17}, 3, INSN_LGDT, {OPD_MEM, 0, 0}, {OPD_NONE, 0, 0}, {SEG_DS, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"mov cr8, rax", CODE_64, {0x44, 0x0f, 0x22, 0xc0}, 4, INSN_MOV_CR, {OPD_CR, 8, 8}, {OPD_REG, 0, 8}, NO_MEM, 0},
    {"lea rax, [rip+0x10]", CODE_64, {0x48, 0x8d, 0x05, 0x10, 0x00, 0x00, 0x00}, 7, INSN_LEA, {OPD_REG, 0, 8}, {OPD_MEM, 0, 0}, RIP_MEM(0x10), 0},
    {"mov [bx+si], al", CODE_16, {0x88, 0x00}, 2, INSN_MOV, {OPD_MEM, 0, 1}, {OPD_REG, 0, 1}, {SEG_DS, 3, 6, 0, false, 0x0ull}, 0},
    {"mov [bp+di+2], ax", CODE_16, {0x89, 0x43, 0x02}, 3, INSN_MOV, {OPD_MEM, 0, 2}, {OPD_REG, 0, 2}, {SEG_SS, 5, 7, 0, false, 0x2ull}, 0},
    {"mov [bp-1], eax", CODE_16, {0x66, 0x89, 0x46, 0xff}, 4, INSN_MOV, {OPD_MEM, 0, 4}, {OPD_REG, 0, 4}, {SEG_SS, 5, DECODE_NO_REG, 0, false, -1ull}, 0},
    {"mov ax, [0x1234]", CODE_16, {0xa1, 0x34, 0x12}, 3, INSN_MOV, {OPD_REG, 0, 2}, {OPD_MEM, 0, 2}, {SEG_DS, DECODE_NO_REG, DECODE_NO_REG, 0, false, 0x1234ull}, 0},
    {"mov cx, [0x1234]", CODE_16, {0x8b, 0x0e, 0x34, 0x12}, 4, INSN_MOV, {OPD_REG, 1, 2}, {OPD_MEM, 0, 2}, {SEG_DS, DECODE_NO_REG, DECODE_NO_REG, 0, false, 0x1234ull}, 0},
    {"mov ax, es:[di]", CODE_16, {0x26, 0x8b, 0x05}, 3, INSN_MOV, {OPD_REG, 0, 2}, {OPD_MEM, 0, 2}, {SEG_ES, 7, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"mov ax, [esp+eax*4]", CODE_16, {0x67, 0x8b, 0x04, 0x84}, 4, INSN_MOV, {OPD_REG, 0, 2}, {OPD_MEM, 0, 2}, {SEG_SS, 4, 0, 2, false, 0x0ull}, 0},
    {"push 0x1234", CODE_16, {0x68, 0x34, 0x12}, 3, INSN_PUSH, {OPD_IMM, 0, 2}, {OPD_NONE, 0, 0}, NO_MEM, 0x1234ull},
    {"pusha", CODE_16, {0x60}, 1, INSN_PUSHA, {OPD_NONE, 0, 0}, {OPD_NONE, 0, 0}, NO_MEM, 0},
    {"retf 4", CODE_16, {0xca, 0x04, 0x00}, 3, INSN_RET_FAR, {OPD_IMM, 0, 2}, {OPD_NONE, 0, 0}, NO_MEM, 0x4ull},
    {"lds si, [bx]", CODE_16, {0xc5, 0x37}, 2, INSN_LDS, {OPD_REG, 6, 2}, {OPD_MEM, 0, 2}, {SEG_DS, 3, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"int 0x10", CODE_16, {0xcd, 0x10}, 2, INSN_INT, {OPD_IMM, 0, 1}, {OPD_NONE, 0, 0}, NO_MEM, 0x10ull},
    {"aam", CODE_16, {0xd4, 0x0a}, 2, INSN_AAM, {OPD_IMM, 0, 1}, {OPD_NONE, 0, 0}, NO_MEM, 0xaull},
    {"inc ax", CODE_16, {0x40}, 1, INSN_INC, {OPD_REG, 0, 2}, {OPD_NONE, 0, 0}, NO_MEM, 0},
    {"lmsw ax", CODE_16, {0x0f, 0x01, 0xf0}, 3, INSN_LMSW, {OPD_REG, 0, 2}, {OPD_NONE, 0, 0}, NO_MEM, 0},
    {"dec eax", CODE_32, {0x48}, 1, INSN_DEC, {OPD_REG, 0, 4}, {OPD_NONE, 0, 0}, NO_MEM, 0},
    {"mov eax, [0x12345678]", CODE_32, {0xa1, 0x78, 0x56, 0x34, 0x12}, 5, INSN_MOV, {OPD_REG, 0, 4}, {OPD_MEM, 0, 4}, {SEG_DS, DECODE_NO_REG, DECODE_NO_REG, 0, false, 0x12345678ull}, 0},
    {"mov eax, [ebp]", CODE_32, {0x8b, 0x45, 0x00}, 3, INSN_MOV, {OPD_REG, 0, 4}, {OPD_MEM, 0, 4}, {SEG_SS, 5, DECODE_NO_REG, 0, false, 0x0ull}, 0},
    {"push es", CODE_32, {0x06}, 1, INSN_PUSH_SREG, {OPD_SEG, 0, 2}, {OPD_NONE, 0, 0}, NO_MEM, 0},
    {"popf", CODE_32, {0x9d}, 1, INSN_POPF, {OPD_NONE, 0, 0}, {OPD_NONE, 0, 0}, NO_MEM, 0},
    {"mov cr0, eax", CODE_32, {0x0f, 0x22, 0xc0}, 3, INSN_MOV_CR, {OPD_CR, 0, 4}, {OPD_REG, 0, 4}, NO_MEM, 0},
    // clang-format on
};

TEST(Decode, OperandsSizesLengths)
{
    for (u32 i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++) {
        const struct row *r = &encodings[i];
        struct decoded d;

        test_row("%s", r->assembly);
        EXPECT_EQ(decode_insn(r->bytes, r->count, r->width, &d), DECODE_OK);
        EXPECT_EQ(d.op, r->op);
        EXPECT_EQ(d.length, r->count);
        expect_operand(&d.a, &r->a);
        expect_operand(&d.b, &r->b);
        expect_mem(&d.mem, &r->mem);
        EXPECT_EQ(d.immediate, r->immediate);
        for (unsigned n = 0; n < r->count; n++) // A byte less is no instruction, nor is any beginning.
            EXPECT_EQ(decode_insn(r->bytes, n, r->width, &d), DECODE_SHORT);
    }
}

TEST(Decode, SaysWhatIsNoInstructionAndWhatItDoesNotKnow)
{
    static const struct {
        const char *assembly;
        enum code_width width;
        enum decode_result result;
        u8 bytes[15], count;
    } rows[] = {
        // clang-format off
        {"addps xmm0, [rdi]",                CODE_64, DECODE_UNKNOWN, {0x0f, 0x58, 0x07}, 3},
        {"fld dword [rdi]",                  CODE_64, DECODE_UNKNOWN, {0xd9, 0x07}, 2},
        {"ud2",                              CODE_64, DECODE_UNKNOWN, {0x0f, 0x0b}, 2},
        {"paddb mm0, [rdi]",                 CODE_64, DECODE_UNKNOWN, {0x0f, 0xfc, 0x07}, 3},
        {"group 11, reg 1",                  CODE_64, DECODE_UNKNOWN, {0xc7, 0x0f, 0, 0, 0, 0}, 6},
        {"lock mov [rdi], eax",              CODE_64, DECODE_INVALID, {0xf0, 0x89, 0x07}, 3},
        {"lock add eax, [rdi]",              CODE_64, DECODE_INVALID, {0xf0, 0x03, 0x07}, 3},
        {"lock add eax, ebx",                CODE_64, DECODE_INVALID, {0xf0, 0x01, 0xd8}, 3},
        {"lock cmp dword [rdi], 1",          CODE_64, DECODE_INVALID, {0xf0, 0x83, 0x3f, 0x01}, 4},
        {"lock test dword [rdi], 1",         CODE_64, DECODE_INVALID, {0xf0, 0xf7, 0x07, 1, 0, 0, 0}, 7},
        {"lock mul dword [rdi]",             CODE_64, DECODE_INVALID, {0xf0, 0xf7, 0x27}, 3},
        {"lea eax, ebx",                     CODE_64, DECODE_INVALID, {0x8d, 0xc3}, 2},
        {"lgdt of a register",               CODE_64, DECODE_INVALID, {0x0f, 0x01, 0xd7}, 3},
        {"mov cs, ax",                       CODE_64, DECODE_INVALID, {0x8e, 0xc8}, 2},
        {"mov segment register 6, ax",       CODE_64, DECODE_INVALID, {0x8e, 0xf0}, 2},
        {"push es, not in 64-bit mode",      CODE_64, DECODE_INVALID, {0x06}, 1},
        {"pusha, not in 64-bit mode",        CODE_64, DECODE_INVALID, {0x60}, 1},
        {"movsxd, only there",               CODE_32, DECODE_INVALID, {0x63, 0x07}, 2},
        // clang-format on
    };
    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct decoded d;

        test_row("%s", rows[i].assembly);
        EXPECT_EQ(decode_insn(rows[i].bytes, rows[i].count, rows[i].width, &d), rows[i].result);
    }
}

TEST(Decode, RexCountsOnlyBeforeTheOpcode)
{
    struct decoded d;

    EXPECT_EQ(decode_insn((const u8[]){0x48, 0x66, 0x89, 0x07}, 4, CODE_64, &d), DECODE_OK);
    EXPECT_EQ(d.a.bytes, 2); // The 66 after it has the last word.
    EXPECT_EQ(decode_insn((const u8[]){0x66, 0x48, 0x89, 0x07}, 4, CODE_64, &d), DECODE_OK);
    EXPECT_EQ(d.a.bytes, 8);
    EXPECT_EQ(decode_insn((const u8[]){0x40, 0x88, 0x27}, 3, CODE_64, &d), DECODE_OK); // mov [rdi], spl
    EXPECT_EQ(d.b.kind, OPD_REG);
}

TEST(Decode, In64BitModeFourSegmentOverridesMeanNothing)
{
    struct decoded d;

    EXPECT_EQ(decode_insn((const u8[]){0x2e, 0x89, 0x07}, 3, CODE_64, &d), DECODE_OK);
    EXPECT_EQ(d.mem.segment, SEG_DS);
    EXPECT_EQ(decode_insn((const u8[]){0x2e, 0x89, 0x07}, 3, CODE_32, &d), DECODE_OK);
    EXPECT_EQ(d.mem.segment, SEG_CS);
}

TEST(Decode, NearBranchesHave64BitsWhateverThePrefix)
{
    struct decoded d;

    EXPECT_EQ(decode_insn((const u8[]){0xe8, 1, 0, 0, 0}, 5, CODE_64, &d), DECODE_OK);
    EXPECT_EQ(d.operand_bytes, 8);
    EXPECT_EQ(decode_insn((const u8[]){0x50}, 1, CODE_64, &d), DECODE_OK); // push rax
    EXPECT_EQ(d.operand_bytes, 8);
    EXPECT_EQ(decode_insn((const u8[]){0x66, 0x50}, 2, CODE_64, &d), DECODE_OK); // push ax
    EXPECT_EQ(d.operand_bytes, 2);
}

// Whatever the bytes, no more than 15 are looked at and the answer is one of four.
TEST(Decode, AllOpcodesWithAllModRmBytesEnd)
{
    static const enum code_width widths[] = {CODE_16, CODE_32, CODE_64};
    u64 known = 0;

    for (u32 w = 0; w < 3; w++)
        for (u32 map = 0; map < 3; map++)
            for (u32 n = 0; n < 0x10000; n++) {
                u8 bytes[15] = {0};
                u32 at = 0;
                struct decoded d;

                if (map > 0)
                    bytes[at++] = 0x0f;
                if (map == 2)
                    bytes[at++] = 0x38;
                bytes[at] = (u8)(n >> 8);
                bytes[at + 1] = (u8)n;
                enum decode_result r = decode_insn(bytes, 15, widths[w], &d);

                if (r != DECODE_OK)
                    continue;
                known++;
                if (d.length == 0 || d.length > 15 || d.op == INSN_INVALID || d.op >= INSN_OP_COUNT) {
                    test_row("width %u map %u bytes %04x", (unsigned)widths[w], map, n);
                    EXPECT_TRUE(false);
                }
            }
    EXPECT_GT(known, 100000);
}
