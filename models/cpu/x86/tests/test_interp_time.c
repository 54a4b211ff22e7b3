// SPDX-License-Identifier: Apache-2.0
// What machine code costs, to the cycle: docs/timing-model.md, "Machine code of guests". Memory takes no time
// here (models/mem/tests has the caches).
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"
#include <string.h>

enum { PML4 = 0x2000, PDPT = 0x3000, PD = 0x4000, CODE = 0x10000, ALIAS = 0x210000, STACK = 0x30000 };
#define TABLE (X86_PTE_P | X86_PTE_RW | X86_PTE_US | X86_PTE_A)

static void start(const unsigned char *code, size_t bytes)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    bench_ept();
    bench_set64(BENCH_GUEST + PML4, PDPT | TABLE);
    bench_set64(BENCH_GUEST + PDPT, PD | TABLE);
    bench_set64(BENCH_GUEST + PD, 0 | TABLE | X86_PTE_D | X86_PTE_PS);
    bench_set64(BENCH_GUEST + PD + 8, 0 | TABLE | X86_PTE_D | X86_PTE_PS); // The same memory once more
    memcpy(bench.memory + BENCH_GUEST + CODE, code, bytes);
    bench_vmwrite(GUEST_CR3, PML4);
    bench_vmwrite(GUEST_RIP, CODE);
    bench_vmwrite(GUEST_RSP, STACK);
    bench_vmwrite(GUEST_IDTR_BASE, 0x1000); // No program's.
}

// Ticks of a run up to its HLT, with so many turns in ECX.
static uint64_t run_ticks(const unsigned char *code, size_t bytes, uint64_t turns, uint64_t rdx)
{
    uint64_t begin, ticks;

    start(code, bytes);
    bench_gprs.r[1] = turns;
    bench_gprs.r[2] = rdx;
    begin = pcpu_current->now_ticks;
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    ticks = pcpu_current->now_ticks - begin;
    bench_end();
    return ticks;
}

// Of one turn in the long run.
static uint64_t turn_ticks(const unsigned char *code, size_t bytes, uint64_t rdx)
{
    uint64_t more = run_ticks(code, bytes, 1200, rdx) - run_ticks(code, bytes, 200, rdx);

    EXPECT_EQ(more % 1000, 0);
    return more / 1000;
}

TEST(InterpTime, TurnsOfALoopTakeWhatTheirInstructionsDo)
{
    static const struct {
        const char *name;
        unsigned char code[24];
        unsigned bytes;
        uint64_t cycles;
    } rows[] = {
        {"dec, jnz: one fused uop, a taken branch a cycle", {0xff, 0xc9, 0x75, 0xfc, 0xf4}, 5, 1},
        {"imul rax, rax: latency 3", {0x48, 0x0f, 0xaf, 0xc0, 0xff, 0xc9, 0x75, 0xf8, 0xf4}, 9, 3},
        {"two of them, one behind the other",
         {0x48, 0x0f, 0xaf, 0xc0, 0x48, 0x0f, 0xaf, 0xc0, 0xff, 0xc9, 0x75, 0xf4, 0xf4},
         13,
         6},
        {"two that have nothing to do with each other: one port",
         {0x48, 0x0f, 0xaf, 0xf6, 0x48, 0x0f, 0xaf, 0xff, 0xff, 0xc9, 0x75, 0xf4, 0xf4},
         13,
         3},
        {"seven nops and dec, jnz: eight slots, four a cycle",
         {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xc9, 0x75, 0xf5, 0xf4},
         12,
         2},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].name);
        EXPECT_EQ(turn_ticks(rows[i].code, rows[i].bytes, 0), rows[i].cycles * TICKS_PER_CYCLE);
    }
}

TEST(InterpTime, ABranchThatAlternatesIsMispredictedEverySecondTime)
{
    // 1: xor eax, edx; jz 2f; nop; 2: dec ecx; jnz 1b; hlt. EAX is 0: with EDX 0 the branch is taken always.
    static const unsigned char code[] = {0x31, 0xd0, 0x74, 0x01, 0x90, 0xff, 0xc9, 0x75, 0xf7, 0xf4};
    // The same with jnz, never taken where EDX is 0.
    static const unsigned char never[] = {0x31, 0xd0, 0x75, 0x01, 0x90, 0xff, 0xc9, 0x75, 0xf7, 0xf4};
    uint64_t taken = turn_ticks(code, sizeof code, 0), not_taken = turn_ticks(never, sizeof never, 0);
    uint64_t mispredicted = bench.uarch.branch.mispredict_cycles * TICKS_PER_CYCLE;
    uint64_t two = 2 * turn_ticks(code, sizeof code, 1);

    EXPECT_EQ(mispredicted, 16 * TICKS_PER_CYCLE);
    EXPECT_EQ(two, taken + not_taken + mispredicted); // Its counter stays on one side.
}

TEST(InterpTime, ReturnsArePredictedByTheirCalls)
{
    // jmp 1f; f: add [rsp], rdx; ret; 1: call f; nop; dec ecx; jnz 1b; hlt. With EDX 1 it returns behind the
    // nop.
    static const unsigned char code[] = {0xeb, 0x05, 0x48, 0x01, 0x14, 0x24, 0xc3, 0xe8, 0xf6,
                                         0xff, 0xff, 0xff, 0x90, 0xff, 0xc9, 0x75, 0xf6, 0xf4};
    uint64_t to_its_call = turn_ticks(code, sizeof code, 0), elsewhere = turn_ticks(code, sizeof code, 1);

    EXPECT_LT(to_its_call, 16 * TICKS_PER_CYCLE);             // Nothing is mispredicted.
    EXPECT_EQ(elsewhere, to_its_call + 16 * TICKS_PER_CYCLE); // The nop takes a slot that is free.
}

TEST(InterpTime, CodeWrittenThroughAnotherAddressIsExecutedAsWrittenWhenItIsEnteredAgain) // SDM 8.1.3
{
    // 1: mov eax, 1; mov byte [ALIAS + 1], 7; dec ecx; jnz 1b; hlt
    static const unsigned char code[] = {0xb8, 0x01, 0x00, 0x00, 0x00, 0xc6, 0x04, 0x25, 0x01,
                                         0x00, 0x21, 0x00, 0x07, 0xff, 0xc9, 0x75, 0xef, 0xf4};

    start(code, sizeof code);
    bench_gprs.r[1] = 2;
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_gprs.r[0], 7);
    bench_end();
}
