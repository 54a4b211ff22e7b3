// SPDX-License-Identifier: Apache-2.0
// Machine code under VMX: the first instructions, exits in their place, memory through both dimensions.
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"
#include <string.h>

// Guest-physical, below 2 MiB, which the EPT maps by one page to BENCH_GUEST; linear addresses are the same.
enum { PML4 = 0x2000, PDPT = 0x3000, PD = 0x4000, CODE = 0x10000, DATA = 0x20000, STACK = 0x30000 };
#define TABLE (X86_PTE_P | X86_PTE_RW | X86_PTE_US | X86_PTE_A)

static void guest_set(uint64_t gpa, uint64_t value)
{
    bench_set64(BENCH_GUEST + gpa, value);
}

static void start(const unsigned char *code, size_t bytes)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    bench_ept();
    guest_set(PML4, PDPT | TABLE);
    guest_set(PDPT, PD | TABLE);
    guest_set(PD, 0 | TABLE | X86_PTE_D | X86_PTE_PS);
    memcpy(bench.memory + BENCH_GUEST + CODE, code, bytes);
    bench_vmwrite(GUEST_CR3, PML4);
    bench_vmwrite(GUEST_RIP, CODE);
    bench_vmwrite(GUEST_RSP, STACK);
    bench_vmwrite(GUEST_IDTR_BASE, 0x1000); // No program's.
}

TEST(Interp, CodeRunsUntilItHalts)
{
    static const unsigned char code[] = {
        0x31, 0xc0,                                     // xor eax, eax
        0xb9, 0x64, 0x00, 0x00, 0x00,                   // mov ecx, 100
        0x01, 0xc8,                                     // 1: add eax, ecx
        0xff, 0xc9,                                     // dec ecx
        0x75, 0xfa,                                     // jnz 1b
        0x48, 0x89, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00, // mov [DATA], rax
        0x48, 0x8b, 0x1c, 0x25, 0x00, 0x00, 0x02, 0x00, // mov rbx, [DATA]
        0xf4,                                           // hlt
    };

    start(code, sizeof code);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_gprs.r[0], 5050);
    EXPECT_EQ(bench_gprs.r[3], 5050);
    EXPECT_EQ(bench_get64(BENCH_GUEST + DATA), 5050);
    EXPECT_EQ(bench_vmread(GUEST_RIP), CODE + sizeof code - 1);
    EXPECT_EQ(bench_vmread(VM_EXIT_INSTRUCTION_LEN), 1);
    bench_end();
}

TEST(Interp, CodeThatTheGuestWritesIsExecutedAsWritten) // SDM 11.6
{
    static const unsigned char code[] = {
        0xc6, 0x04, 0x25, 0x09, 0x00, 0x01, 0x00, 0x07, // mov byte [CODE + 9], 7
        0xb8, 0x01, 0x00, 0x00, 0x00,                   // mov eax, 1: becomes 7
        0xf4,                                           // hlt
    };

    start(code, sizeof code);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_gprs.r[0], 7);
    bench_end();
}

TEST(Interp, AccumulatorsWidenByTheOperandSizeOf16BitCodeToo) // SDM vol. 2, CBW, CWD
{
    // In 16-bit code: cbw; cwd; mov bx, dx; 66 cwde; 66 cdq; stc; salc; hlt
    static const unsigned char code[] = {0x98, 0x99, 0x89, 0xd3, 0x66, 0x98, 0x66, 0x99, 0xf9, 0xd6, 0xf4};

    start(code, sizeof code);
    bench_vmwrite(GUEST_CS_AR_BYTES, bench_vmread(GUEST_CS_AR_BYTES) & ~(uint64_t)(AR_L | AR_DB));
    bench_gprs.r[0] = 0x11110080;
    bench_gprs.r[2] = 0x22222222;
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_gprs.r[0], 0xffffffff); // FF80H, sign-extended; then AL of carry.
    EXPECT_EQ(bench_gprs.r[2], 0xffffffff);
    EXPECT_EQ(bench_gprs.r[3] & 0xffff, 0xffff);
    bench_end();
}

TEST(Interp, HintsOfTheOpcodeMapDoNothing) // SDM vol. 2 appendix A, table A-3: 0F 18 to 0F 1F
{
    static const unsigned char code[] = {
        0xf3, 0x0f, 0x1e, 0xfa,                         // ENDBR64
        0xf3, 0x48, 0x0f, 0x1e, 0xc8,                   // RDSSPQ rax, where there are no shadow stacks
        0x0f, 0x19, 0x04, 0x25, 0xff, 0xff, 0xff, 0x7f, // With SIB and displacement, not mapped
        0x66, 0x67, 0x0f, 0x1c, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00, // Prefixes
        0x0f, 0x1d, 0x05, 0xf4, 0xf4, 0xf4, 0xf4,                   // RIP-relative
        0x0f, 0x1b, 0x40, 0xf4,                                     // 8 bits of displacement
        0xf4,                                                       // hlt
    };

    start(code, sizeof code);
    bench_gprs.r[0] = 1;
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_gprs.r[0], 1);
    EXPECT_EQ(bench_vmread(GUEST_RIP), CODE + sizeof code - 1);
    bench_end();
}
