// SPDX-License-Identifier: Apache-2.0
// The layout of instructions against Capstone's decoding, on random bytes.
#include "models/cpu/native/insn_layout.h"

#include "tests/shim/shim.h"

#include <capstone/capstone.h>
#include <stdio.h>
#include <string.h>

enum { TRIES = 100000 };

static uint64_t seed;
static uint64_t random64(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    return z ^ (z >> 31);
}

// Prefixes more often than by chance.
static void random_bytes(uint8_t bytes[INSN_BYTES_MAX])
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x64, 0x48, 0x41, 0x0f, 0x0f};

    for (unsigned i = 0; i < INSN_BYTES_MAX; i++)
        bytes[i] = (uint8_t)(random64() >> 24);
    for (unsigned i = 0; i < 3 && random64() % 3 == 0; i++)
        bytes[i] = prefixes[random64() % sizeof prefixes];
}

// Capstone 4 drops an operand-size prefix beside REP or REPNE, and takes one before REX.W for RET's.
static bool capstone_errs(const struct insn_layout *l, const cs_insn *in, const uint8_t *bytes)
{
    bool repeat = memchr(bytes, 0xf2, l->opcode_at) || memchr(bytes, 0xf3, l->opcode_at);

    return memchr(bytes, 0x66, l->opcode_at) && (repeat || in->id == X86_INS_RET);
}

static void compare(enum insn_mode mode, const cs_insn *in, const uint8_t *bytes)
{
    const cs_x86 *x = &in->detail->x86;
    struct insn_layout l;
    char text[64] = "";
    unsigned n = 0;

    if (!insn_layout(&l, bytes, INSN_BYTES_MAX, mode) || capstone_errs(&l, in, bytes))
        return;
    for (unsigned i = 0; i < INSN_BYTES_MAX; i++)
        n += (unsigned)snprintf(text + n, sizeof text - n, "%02x ", bytes[i]);
    if (l.length != in->size)
        TEST_FAIL("mode %d, %s %s: %slayout has %u bytes, Capstone %u", mode, in->mnemonic, in->op_str, text,
                  l.length, in->size);
    for (unsigned i = 0; mode == INSN_64 && i < x->op_count; i++) {
        if (x->operands[i].type == X86_OP_MEM && l.disp_bytes &&
            x->operands[i].mem.disp != insn_layout_value(bytes + l.disp_at, l.disp_bytes))
            TEST_FAIL("%s %s: %sdisplacement", in->mnemonic, in->op_str, text);
        if (x->operands[i].type == X86_OP_IMM && l.relative && l.address_bytes == 8 &&
            x->operands[i].imm !=
                (int64_t)(in->address + l.length) + insn_layout_value(bytes + l.imm_at, l.imm_bytes))
            TEST_FAIL("%s %s: %starget", in->mnemonic, in->op_str, text);
        if (x->operands[i].type == X86_OP_MEM && l.disp_bytes == 4 &&
            l.rip != (x->operands[i].mem.base == X86_REG_RIP || x->operands[i].mem.base == X86_REG_EIP))
            TEST_FAIL("%s %s: %srelative to RIP", in->mnemonic, in->op_str, text);
    }
}

TEST(InsnLayout, AgreesWithCapstone)
{
    static const cs_mode modes[] = {CS_MODE_16, CS_MODE_32, CS_MODE_64};

    for (unsigned m = 0; m < 3; m++) {
        unsigned decoded = 0, known = 0;
        csh handle;

        ASSERT_EQ(cs_open(CS_ARCH_X86, modes[m], &handle), CS_ERR_OK);
        cs_option(handle, CS_OPT_DETAIL, CS_OPT_ON);
        cs_insn *in = cs_malloc(handle);

        seed = m;
        for (unsigned i = 0; i < TRIES && !test_failed(); i++) {
            uint8_t bytes[INSN_BYTES_MAX];
            const uint8_t *p = bytes;
            size_t left = sizeof bytes;
            uint64_t address = 0x400000;
            struct insn_layout l;

            random_bytes(bytes);
            if (!cs_disasm_iter(handle, &p, &left, &address, in))
                continue;
            decoded++;
            known += insn_layout(&l, bytes, sizeof bytes, (enum insn_mode)m);
            compare((enum insn_mode)m, in, bytes);
        }
        EXPECT_GT(known * 100, decoded * 90); // The rest: VEX and its like.
        cs_free(in, 1);
        cs_close(&handle);
    }
}

// SDM vol. 2 2.3.11: no instruction is longer than 15 bytes; and none ends behind the bytes that there are.
TEST(InsnLayout, ShortBytesAreNotRead)
{
    static const uint8_t mov[] = {0x48, 0xc7, 0x84, 0xc8, 1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t long_one[16];
    struct insn_layout l;

    for (unsigned count = 0; count < sizeof mov; count++)
        EXPECT_FALSE(insn_layout(&l, mov, count, INSN_64));
    ASSERT_TRUE(insn_layout(&l, mov, sizeof mov, INSN_64));
    EXPECT_EQ(l.length, 12);
    EXPECT_EQ(l.opcode_at, 1);
    EXPECT_EQ(l.disp_at, 4);
    EXPECT_EQ(l.disp_bytes, 4);
    EXPECT_EQ(l.imm_at, 8);
    EXPECT_EQ(l.imm_bytes, 4);
    memset(long_one, 0x2e, sizeof long_one);
    long_one[14] = 0x90;
    EXPECT_TRUE(insn_layout(&l, long_one, sizeof long_one, INSN_64));
    long_one[14] = 0x2e;
    long_one[15] = 0x90;
    EXPECT_FALSE(insn_layout(&l, long_one, sizeof long_one, INSN_64));
}

// Only displacements are left out of a key, and a displacement of 0 is not one of them: it makes LEA cheaper.
TEST(InsnLayout, KeysTellInstructionsApart)
{
    static const struct {
        uint8_t a[8], b[8];
        enum insn_mode mode;
        bool equal;
    } rows[] = {
        {{0xe8, 1, 0, 0, 0}, {0xe8, 9, 9, 0, 0}, INSN_64, true},              // CALL
        {{0xe8, 1, 0, 0, 0}, {0xe9, 1, 0, 0, 0}, INSN_64, false},             // JMP
        {{0x48, 0x8b, 0x43, 8}, {0x48, 0x8b, 0x43, 0xf0}, INSN_64, true},     // MOV RAX, [RBX + 8]
        {{0x48, 0x8b, 0x43, 8}, {0x48, 0x8b, 0x43, 0}, INSN_64, false},       //
        {{0x48, 0x8b, 0x43, 8}, {0x48, 0x8b, 0x03}, INSN_64, false},          //
        {{0x48, 0x8b, 0x43, 8}, {0x48, 0x8b, 0x4b, 8}, INSN_64, false},       // RCX
        {{0x48, 0x83, 0x43, 8, 1}, {0x48, 0x83, 0x43, 9, 2}, INSN_64, false}, // ADD [], 1
        {{0x48, 0x83, 0x43, 8, 1}, {0x48, 0x83, 0x43, 9, 1}, INSN_64, true},  //
        {{0x67, 0x8b, 0x43, 8}, {0x67, 0x8b, 0x43, 9}, INSN_64, false},       // [EBX + 8]
        {{0xb8, 1, 0, 0, 0}, {0xb8, 2, 0, 0, 0}, INSN_64, false},             // MOV EAX, 1
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct insn_layout a, b;
        bool varies;

        test_row("row %u", i);
        ASSERT_TRUE(insn_layout(&a, rows[i].a, 8, rows[i].mode));
        ASSERT_TRUE(insn_layout(&b, rows[i].b, 8, rows[i].mode));
        struct insn_key x, y;
        ASSERT_TRUE(insn_key_of(&x, &a, rows[i].a, rows[i].mode, 0, &varies));
        ASSERT_TRUE(insn_key_of(&y, &b, rows[i].b, rows[i].mode, 0, &varies));

        EXPECT_EQ(insn_key_equal(&x, &y), rows[i].equal);
        ASSERT_TRUE(insn_key_of(&y, &b, rows[i].b, rows[i].mode, 1, &varies));
        EXPECT_FALSE(insn_key_equal(&x, &y));
    }
}

// Targets that are cut to the width of the code, and those that Capstone cuts, are nobody else's.
TEST(InsnLayout, NoKeyWhereTheAddressCounts)
{
    static const struct {
        uint8_t bytes[8];
        enum insn_mode mode;
    } rows[] = {{{0xe8, 1, 0, 0, 0}, INSN_32},           // CALL
                {{0xeb, 1}, INSN_16},                    // JMP
                {{0x67, 0xeb, 1}, INSN_64},              //
                {{0x67, 0x8b, 5, 1, 0, 0, 0}, INSN_64}}; // MOV EAX, [EIP + 1]

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct insn_layout l;
        struct insn_key key;
        bool varies;

        test_row("row %u", i);
        ASSERT_TRUE(insn_layout(&l, rows[i].bytes, 8, rows[i].mode));
        EXPECT_FALSE(insn_key_of(&key, &l, rows[i].bytes, rows[i].mode, 0, &varies));
    }
}
