// SPDX-License-Identifier: Apache-2.0
// System instructions of machine code: what they do to registers and memory.
#include "models/cpu/x86/descriptor.h"
#include "models/cpu/x86/tests/insn_bench.h"
#include "models/mem/mem.h"
#include "tests/shim/shim.h"

#define GP RAISED(GP_VECTOR)

// --- Ports. ---

static void put_tss(uint32_t limit, uint16_t map_base)
{
    struct vmx *v = insn_vmx();

    v->seg[SEG_TR] = (struct segment){.base = INSN_TSS, .limit = limit, .ar = 0x8b};
    insn_set(INSN_TSS + 0x60, (uint64_t)map_base << 48);
}

TEST(InsnIo, IoplOrTheBitMapOfTheTss) // SDM vol. 1 19.5; 20.2.8.1
{
    static const struct {
        const char *name;
        enum insn_mode mode;
        unsigned cpl, iopl;
        uint32_t limit;
        uint64_t map; // At ports 0 to 63
        uint16_t port;
        unsigned size;
        uint32_t outcome;
    } rows[] = {
        {"ring 0", MODE_64, 0, 0, 0x67, 0, 8, 1, GONE_ON},
        {"IOPL 3", MODE_64, 3, 3, 0x67, 0, 8, 1, GONE_ON},
        {"IOPL 1, ring 2", MODE_64, 2, 1, 0x67, 0, 8, 1, GP},
        {"no bit map", MODE_64, 3, 0, 0x67, 0, 8, 1, GP},
        {"bit clear", MODE_64, 3, 0, 0x6f, ~0x100ull, 8, 1, GONE_ON},
        {"bit set", MODE_64, 3, 0, 0x6f, 0x100, 8, 1, GP},
        {"second of two set", MODE_64, 3, 0, 0x6f, 0x200, 8, 2, GP},
        {"across a byte", MODE_64, 3, 0, 0x6f, 0x100, 6, 4, GP},
        {"behind the operand", MODE_64, 3, 0, 0x6f, 0x400, 6, 4, GONE_ON},
        {"second byte beyond the limit", MODE_64, 3, 0, 0x69, 0, 8, 1, GP},
        {"V86 ignores IOPL", MODE_V86, 3, 3, 0x6f, 0x100, 8, 1, GP},
        {"V86, bit clear", MODE_V86, 3, 0, 0x6f, 0, 8, 1, GONE_ON},
        {"16-bit TSS has none", MODE_32, 3, 0, 0, 0, 8, 1, GP},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vmx *v;

        test_row("%s", rows[i].name);
        ASSERT_TRUE(insn_start());
        insn_mode(rows[i].mode, rows[i].cpl);
        v = insn_vmx();
        v->rflags |= (uint64_t)rows[i].iopl << X86_RFLAGS_IOPL_SHIFT;
        put_tss(rows[i].limit, 0x68);
        insn_set(INSN_TSS + 0x68, rows[i].map);
        if (!rows[i].limit)
            v->seg[SEG_TR].ar = 0x83;
        EXPECT_EQ(insn_outcome(insn_out(pcpu_current, 1, rows[i].port, rows[i].size, false)),
                  rows[i].outcome);
        bench_end();
    }
    test_row(NULL);
}

TEST(InsnIo, StringsGoElementByElement) // SDM vol. 2, INS, OUTS
{
    struct insn_string_io io = {.size = 2, .address_size = 8, .rep = true, .segment = SEG_DS};
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    v = insn_vmx();
    v->gpr.r[RCX] = 2;
    v->gpr.r[RDI] = INSN_DATA + 2;
    v->gpr.r[RDX] = 0x5000; // Nobody: all ones.
    v->rflags |= X86_RFLAGS_DF;
    EXPECT_EQ(insn_ins(pcpu_current, 2, &io), INSN_AGAIN);
    EXPECT_EQ(v->gpr.r[RCX], 1);
    EXPECT_EQ(v->gpr.r[RDI], INSN_DATA);
    EXPECT_EQ(insn_get(INSN_DATA), 0xffff0000);
    EXPECT_EQ(insn_ins(pcpu_current, 2, &io), INSN_DONE);
    EXPECT_EQ(v->gpr.r[RCX], 0);
    EXPECT_EQ(insn_get(INSN_DATA), 0xffffffff);
    EXPECT_EQ(insn_ins(pcpu_current, 2, &io), INSN_DONE);
    EXPECT_EQ(v->gpr.r[RDI], INSN_DATA - 2);
    bench_end();
}

TEST(InsnIo, InKeepsTheRestOfRax) // SDM vol. 1 3.4.1.1
{
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    v = insn_vmx();
    v->gpr.r[RAX] = 0x1122334455667788;
    EXPECT_EQ(insn_in(pcpu_current, 2, 0x5000, 1, true), INSN_DONE);
    EXPECT_EQ(v->gpr.r[RAX], 0x11223344556677ff);
    EXPECT_EQ(insn_in(pcpu_current, 1, 0x5000, 4, false), INSN_DONE);
    EXPECT_EQ(v->gpr.r[RAX], 0xffffffff);
    bench_end();
}

// --- The interrupt flag. ---

TEST(InsnFlag, IfOrVifByIoplAndVirtualInterrupts) // SDM vol. 2, CLI table 3-7, STI table 4-19
{
    static const struct {
        const char *name;
        enum insn_mode mode;
        unsigned cpl, iopl;
        uint64_t cr4;
        uint32_t cli, sti, sti_pending; // GONE_ON, VIF or GP
    } rows[] = {
#define VIF 1u
        {"real mode", MODE_REAL, 0, 0, 0, GONE_ON, GONE_ON, GONE_ON},
        {"ring 0", MODE_64, 0, 0, 0, GONE_ON, GONE_ON, GONE_ON},
        {"IOPL 3", MODE_64, 3, 3, X86_CR4_PVI, GONE_ON, GONE_ON, GONE_ON},
        {"IOPL 0", MODE_64, 3, 0, X86_CR4_VME, GP, GP, GP},
        {"PVI", MODE_32, 3, 0, X86_CR4_PVI, VIF, VIF, GP},
        {"PVI, ring 1", MODE_32, 1, 0, X86_CR4_PVI, GP, GP, GP},
        {"V86, IOPL 3", MODE_V86, 3, 3, 0, GONE_ON, GONE_ON, GONE_ON},
        {"V86", MODE_V86, 3, 0, X86_CR4_PVI, GP, GP, GP},
        {"V86, VME", MODE_V86, 3, 2, X86_CR4_VME, VIF, VIF, GP},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vmx *v;

        test_row("%s", rows[i].name);
        ASSERT_TRUE(insn_start());
        insn_mode(rows[i].mode, rows[i].cpl);
        pcpu_current->x86->cr[4] |= rows[i].cr4;
        v = insn_vmx();
        v->rflags |= (uint64_t)rows[i].iopl << X86_RFLAGS_IOPL_SHIFT | X86_RFLAGS_VIF;
        EXPECT_EQ(insn_outcome(insn_cli(pcpu_current, 1)), rows[i].cli == VIF ? GONE_ON : rows[i].cli);
        EXPECT_EQ(!(v->rflags & X86_RFLAGS_IF), rows[i].cli == GONE_ON);
        EXPECT_EQ(!(v->rflags & X86_RFLAGS_VIF), rows[i].cli == VIF);
        EXPECT_EQ(insn_outcome(insn_sti(pcpu_current, 1)), rows[i].sti == VIF ? GONE_ON : rows[i].sti);
        EXPECT_TRUE(v->rflags & X86_RFLAGS_IF);
        EXPECT_TRUE(v->rflags & X86_RFLAGS_VIF);
        EXPECT_EQ(v->blocking, rows[i].sti == GONE_ON ? INTERRUPTIBILITY_STI : 0);
        v->rflags |= X86_RFLAGS_VIP;
        EXPECT_EQ(insn_outcome(insn_sti(pcpu_current, 1)), rows[i].sti_pending);
        bench_end();
    }
    test_row(NULL);
#undef VIF
}

// --- Control registers, tables. ---

TEST(InsnCr, OutsideOf64BitModeOperandsHave32Bits) // SDM vol. 2, MOV-Control Registers
{
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    insn_mode(MODE_32, 0);
    v = insn_vmx();
    v->gpr.r[RBX] = 0xffffffff00005000;
    EXPECT_EQ(insn_mov_to_cr(pcpu_current, 3, 2, RBX), INSN_DONE);
    EXPECT_EQ(pcpu_current->x86->cr[2], 0x5000);
    v->gpr.r[9] = UINT64_MAX;
    EXPECT_EQ(insn_mov_from_cr(pcpu_current, 3, 2, 9), INSN_DONE);
    EXPECT_EQ(v->gpr.r[9], 0x5000);
    bench_end();
}

TEST(InsnCr, ReservedBitsAreRefused) // SDM 2.5, 10.8.6, 17.2.4
{
    static const struct {
        const char *name;
        bool debug;
        unsigned reg;
        uint64_t value;
        uint32_t outcome;
    } rows[] = {
        {"CR0, upper half", false, 0, 1ull << 32 | 0x80050033, GP},
        {"CR0, PG without PE", false, 0, 0x80050032, GP},
        {"CR4, reserved", false, 4, 1ull << 15 | 0x20a0, GP},
        {"CR4, PAE off in IA-32e mode", false, 4, 0x2080, GP},
        {"CR8, above TPR", false, 8, 0x10, GP},
        {"CR3, beyond the address width", false, 3, 1ull << 60, GP},
        {"DR6, upper half", true, 6, 1ull << 32, GP},
        {"DR7, upper half", true, 7, 1ull << 32, GP},
        {"DR0 takes all", true, 0, UINT64_MAX, GONE_ON},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum insn_result r;

        test_row("%s", rows[i].name);
        ASSERT_TRUE(insn_start());
        insn_vmx()->gpr.r[RBX] = rows[i].value;
        r = rows[i].debug ? insn_mov_to_dr(pcpu_current, 3, rows[i].reg, RBX)
                          : insn_mov_to_cr(pcpu_current, 3, rows[i].reg, RBX);
        EXPECT_EQ(insn_outcome(r), rows[i].outcome);
        bench_end();
    }
    test_row(NULL);
}

TEST(InsnCr, LmswSetsPeButDoesNotClearIt) // SDM vol. 2, LMSW
{
    const struct insn_operand rbx = {.reg = RBX, .size = 2};
    struct x86_state *s;

    ASSERT_TRUE(insn_start());
    s = pcpu_current->x86;
    insn_vmx()->gpr.r[RBX] = 0xfff8; // Only TS of bits 3:0.
    EXPECT_EQ(insn_lmsw(pcpu_current, 3, &rbx), INSN_DONE);
    EXPECT_EQ(s->cr[0], 0x80050039);
    EXPECT_EQ(insn_clts(pcpu_current, 2), INSN_DONE);
    EXPECT_EQ(s->cr[0], 0x80050031);
    insn_vmx()->gpr.r[RBX] = UINT64_MAX;
    EXPECT_EQ(insn_smsw(pcpu_current, 3, &rbx), INSN_DONE);
    EXPECT_EQ(insn_vmx()->gpr.r[RBX], 0xffffffffffff0031);
    bench_end();
}

TEST(InsnTable, StoredTablesCanBeLoadedAgain) // SDM vol. 2, LGDT, SGDT
{
    const struct insn_operand data = {.memory = true, .segment = SEG_DS, .offset = INSN_DATA};
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    v = insn_vmx();
    v->gdtr = (struct descriptor_table){0xffff800012345678, 0x7f};
    EXPECT_EQ(insn_store_table(pcpu_current, 3, INSN_GDTR, &data, 8), INSN_DONE);
    EXPECT_EQ(insn_get(INSN_DATA), 0x800012345678007f);
    EXPECT_EQ(insn_load_table(pcpu_current, 3, INSN_IDTR, &data, 8), INSN_DONE);
    EXPECT_EQ(v->idtr.base, 0xffff800012345678);
    EXPECT_EQ(v->idtr.limit, 0x7f);
    insn_set(INSN_DATA, 0x800012345678007f);
    insn_set(INSN_DATA + 8, 0x1234);
    EXPECT_EQ(insn_outcome(insn_load_table(pcpu_current, 3, INSN_IDTR, &data, 8)), GP);
    insn_mode(MODE_32, 0);
    EXPECT_EQ(insn_load_table(pcpu_current, 3, INSN_GDTR, &data, 2), INSN_DONE);
    EXPECT_EQ(v->gdtr.base, 0x345678);
    EXPECT_EQ(insn_load_table(pcpu_current, 3, INSN_GDTR, &data, 4), INSN_DONE);
    EXPECT_EQ(v->gdtr.base, 0x12345678);
    bench_end();
}

TEST(InsnTable, InvpcidRefusesWhatItsDescriptorReserves) // SDM vol. 2, INVPCID
{
    static const struct {
        const char *name;
        uint64_t type, pcid, linear;
        bool pcide;
        uint32_t outcome;
    } rows[] = {
        {"one address", 0, 0, 0x1000, false, GONE_ON},
        {"not canonical", 0, 0, 1ull << 47, false, GP},
        {"address of no matter", 1, 0, 1ull << 47, false, GONE_ON},
        {"PCID without PCIDE", 1, 5, 0, false, GP},
        {"PCID", 1, 5, 0, true, GONE_ON},
        {"reserved", 2, 0x1000, 0, true, GP},
        {"type", 4, 0, 0, true, GP},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct insn_operand data = {.memory = true, .segment = SEG_DS, .offset = INSN_DATA};

        test_row("%s", rows[i].name);
        ASSERT_TRUE(insn_start_with((struct insn_controls){0, CPU2_ENABLE_INVPCID}));
        pcpu_current->x86->cr[4] |= rows[i].pcide ? X86_CR4_PCIDE : 0;
        insn_vmx()->gpr.r[RBX] = rows[i].type;
        insn_set(INSN_DATA, rows[i].pcid);
        insn_set(INSN_DATA + 8, rows[i].linear);
        EXPECT_EQ(insn_outcome(insn_invpcid(pcpu_current, 5, RBX, &data)), rows[i].outcome);
        bench_end();
    }
    test_row(NULL);
}

// --- MSRs, random numbers, VMCS shadowing, VM functions. ---

TEST(Segments, ReturnsOutwardsTakeSelectorsAwayAndLeaveBases) // SDM vol. 2, IRET, "RETURN-TO-OUTER-..."
{
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    insn_mode(MODE_64, 3);
    v = insn_vmx();
    v->seg[SEG_GS] = (struct segment){.selector = 0x10, .ar = 0xc093, .limit = ~0u};
    v->seg[SEG_FS] = (struct segment){.selector = 0x23, .ar = 0xc0f3, .limit = ~0u};
    segment_set_base(v, SEG_GS, 0x12345000);
    segments_check_outer(v);
    EXPECT_TRUE(v->seg[SEG_GS].ar & AR_UNUSABLE);
    EXPECT_EQ(v->seg[SEG_GS].selector, 0);
    EXPECT_EQ(segment_base(v, SEG_GS), 0x12345000);
    EXPECT_EQ(v->seg[SEG_FS].selector, 0x23); // Its DPL is 3.
    bench_end();
}

TEST(Segments, StackAddressesThatAreNotCanonicalAreStackFaults) // SDM 6.15, interrupt 12
{
    uint64_t linear;

    ASSERT_TRUE(insn_start());
    EXPECT_TRUE(segment_linear(insn_vmx(), SEG_SS, (1ull << 47) - 8, 8, true, &linear));
    EXPECT_FALSE(segment_linear(insn_vmx(), SEG_SS, (1ull << 47) - 7, 8, true, &linear));
    EXPECT_FALSE(segment_linear(insn_vmx(), SEG_SS, 1ull << 47, 8, false, &linear));
    EXPECT_TRUE(segment_linear(insn_vmx(), SEG_DS, 1ull << 47, 8, false, &linear)); // #GP, of the walk.
    bench_end();
}

TEST(InsnMsr, FsBaseIsTheSegments) // SDM 3.4.4.1
{
    struct vmx *v;

    ASSERT_TRUE(insn_start_with((struct insn_controls){CPU_USE_MSR_BITMAPS, 0}));
    insn_mode(MODE_64, 0);
    v = insn_vmx();
    v->seg[SEG_FS] = v->seg[SEG_DS];
    segment_changed(v, SEG_FS);
    EXPECT_TRUE(v->seg[SEG_FS].flat_read);
    v->gpr.r[RCX] = MSR_IA32_FS_BASE;
    v->gpr.r[RAX] = 0x1000;
    v->gpr.r[RDX] = 0;
    EXPECT_EQ(insn_wrmsr(pcpu_current, 2), INSN_DONE);
    EXPECT_EQ(segment_base(v, SEG_FS), 0x1000);
    EXPECT_FALSE(v->seg[SEG_FS].flat_read);
    bench_end();
}

TEST(InsnMsr, RandomNumbersFillTheirOperandAndSetCarryAlone) // SDM vol. 2, RDRAND
{
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    v = insn_vmx();
    v->gpr.r[9] = UINT64_MAX;
    v->rflags |= X86_RFLAGS_ZF | X86_RFLAGS_OF;
    EXPECT_EQ(insn_rdrand(pcpu_current, 4, 9, 2), INSN_DONE);
    EXPECT_EQ(v->gpr.r[9] >> 16, 0xffffffffffff);
    EXPECT_NE(v->gpr.r[9] & 0xffff, 0xffff);
    EXPECT_EQ(v->rflags, 0x203);
    EXPECT_EQ(insn_rdseed(pcpu_current, 4, 9, 4), INSN_DONE);
    EXPECT_EQ(v->gpr.r[9] >> 32, 0);
    EXPECT_EQ(insn_rdrand(pcpu_current, 4, 9, 8), INSN_DONE);
    EXPECT_NE(v->gpr.r[9] >> 32, 0);
    bench_end();
}

TEST(InsnVmx, ShadowVmcsIsReadIntoMemory) // SDM 25.1.3, 30.3
{
    const struct insn_operand data = {.memory = true, .segment = SEG_DS, .offset = INSN_DATA};
    struct vmx *v;

    ASSERT_TRUE(insn_start_with((struct insn_controls){0, CPU2_VMCS_SHADOWING}));
    v = insn_vmx();
    v->gpr.r[RDX] = GUEST_RIP;
    EXPECT_EQ(insn_vmread(pcpu_current, 3, RDX, &data), INSN_DONE);
    EXPECT_EQ(v->rflags & 0x8d5, X86_RFLAGS_CF); // No shadow VMCS: VMfailInvalid.
    v->shadow = vmcs_ref_at(pcpu_current, BENCH_VMCS2);
    v->gpr.r[RBX] = 0x123456789a;
    {
        const struct insn_operand rbx = {.reg = RBX, .size = 8};

        EXPECT_EQ(insn_vmwrite(pcpu_current, 3, RDX, &rbx), INSN_DONE);
    }
    EXPECT_EQ(insn_vmread(pcpu_current, 3, RDX, &data), INSN_DONE);
    EXPECT_EQ(v->rflags & 0x8d5, 0);
    EXPECT_EQ(insn_get(INSN_DATA), 0x123456789a);
    v->gpr.r[RDX] = 0x7ffe; // No such field.
    insn_set(INSN_DATA, 7);
    EXPECT_EQ(insn_vmread(pcpu_current, 3, RDX, &data), INSN_DONE);
    EXPECT_EQ(v->rflags & 0x8d5, X86_RFLAGS_ZF);
    EXPECT_EQ(insn_get(INSN_DATA), 7);
    bench_end();
}

TEST(InsnVmx, VmfuncSwitchesTheEptPointer) // SDM 25.5.6.3
{
    struct vmx *v;
    uint64_t eptp;

    ASSERT_TRUE(insn_start_with((struct insn_controls){0, CPU2_ENABLE_VM_FUNCTIONS}));
    v = insn_vmx();
    insn_mode(MODE_64, 3);
    eptp = vmcs_get(v, EPT_POINTER) + 0x10000;
    vmcs_put(v, VM_FUNCTION_CONTROL, 1);
    vmcs_put(v, EPTP_LIST_ADDRESS, BENCH_LISTS);
    bench_set64(BENCH_LISTS + 8, eptp);
    bench_set64(BENCH_LISTS + 16, eptp | 1);
    bench_set64(BENCH_LISTS + 4096, eptp); // Not of the list any more.
    v->gpr.r[RAX] = 0;
    v->gpr.r[RCX] = 2; // A memory type that does not exist.
    EXPECT_EQ(insn_outcome(insn_vmfunc(pcpu_current, 3)), EXITED(EXIT_REASON_VMFUNC));
    v->gpr.r[RCX] = 512;
    EXPECT_EQ(insn_outcome(insn_vmfunc(pcpu_current, 3)), EXITED(EXIT_REASON_VMFUNC));
    v->gpr.r[RCX] = 1;
    EXPECT_EQ(insn_vmfunc(pcpu_current, 3), INSN_DONE);
    EXPECT_EQ(vmcs_get(v, EPT_POINTER), eptp);
    EXPECT_EQ(pcpu_current->x86->mmu->space.eptp, eptp);
    v->gpr.r[RAX] = 64;
    EXPECT_EQ(insn_outcome(insn_vmfunc(pcpu_current, 3)), RAISED(UD_VECTOR));
    bench_end();
}

// --- System calls. ---

static void expect_segments(uint16_t cs, uint32_t cs_ar, uint16_t ss, uint32_t ss_ar)
{
    const struct vmx *v = insn_vmx();

    EXPECT_EQ(v->seg[SEG_CS].selector, cs);
    EXPECT_EQ(v->seg[SEG_CS].ar, cs_ar);
    EXPECT_EQ(v->seg[SEG_SS].selector, ss);
    EXPECT_EQ(v->seg[SEG_SS].ar, ss_ar);
    EXPECT_EQ(v->seg[SEG_CS].base, 0);
    EXPECT_EQ(v->seg[SEG_SS].limit, UINT32_MAX);
}

TEST(InsnSyscall, ThereAndBack) // SDM 5.8.8; vol. 2, SYSCALL, SYSRET
{
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    insn_mode(MODE_64, 3);
    v = insn_vmx();
    MSR_VALUE(pcpu_current, IA32_STAR) = 0x0023001000000000;
    MSR_VALUE(pcpu_current, IA32_LSTAR) = 0xffffffff81000000;
    MSR_VALUE(pcpu_current, IA32_FMASK) = 0x47700;
    v->rflags = 0x50346; // RF, AC too
    EXPECT_EQ(insn_syscall(pcpu_current, 2), INSN_BRANCH);
    EXPECT_EQ(v->rip, 0xffffffff81000000);
    EXPECT_EQ(v->gpr.r[RCX], INSN_CODE + 2);
    EXPECT_EQ(v->gpr.r[R11], 0x50346);
    EXPECT_EQ(v->rflags, 0x46 | X86_RFLAGS_FIXED);
    EXPECT_EQ(segment_cpl(v), 0);
    EXPECT_EQ(pcpu_current->x86->mmu->mode, MMU_SUPERVISOR);
    expect_segments(0x10, 0xa09b, 0x18, 0xc093);
    EXPECT_EQ(insn_sysret(pcpu_current, 3, true), INSN_BRANCH);
    EXPECT_EQ(v->rip, INSN_CODE + 2);
    EXPECT_EQ(v->rflags, 0x40346);
    EXPECT_EQ(segment_cpl(v), 3);
    EXPECT_EQ(pcpu_current->x86->mmu->mode, MMU_USER);
    expect_segments(0x33, 0xa0fb, 0x2b, 0xc0f3);
    insn_mode(MODE_64, 0);
    v->gpr.r[RCX] = 0xffff800000001000;
    EXPECT_EQ(insn_sysret(pcpu_current, 2, false), INSN_BRANCH);
    EXPECT_EQ(v->rip, 0x1000);
    expect_segments(0x23, 0xc0fb, 0x2b, 0xc0f3);
    bench_end();
}

TEST(InsnSyscall, SysretChecksItsTarget) // SDM vol. 2, SYSRET: in ring 0 still
{
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    v = insn_vmx();
    v->gpr.r[RCX] = 1ull << 47;
    EXPECT_EQ(insn_outcome(insn_sysret(pcpu_current, 3, true)), GP);
    EXPECT_EQ(segment_cpl(v), 0);
    bench_end();
}

TEST(InsnSyscall, SysenterAndSysexit) // SDM 5.8.7; vol. 2
{
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    insn_mode(MODE_COMPATIBILITY, 3);
    v = insn_vmx();
    MSR_VALUE(pcpu_current, IA32_SYSENTER_CS) = 0x13;
    MSR_VALUE(pcpu_current, IA32_SYSENTER_EIP) = 0xffff800000001000;
    MSR_VALUE(pcpu_current, IA32_SYSENTER_ESP) = 0xffff800000002000;
    EXPECT_EQ(insn_sysenter(pcpu_current, 2), INSN_BRANCH);
    EXPECT_EQ(v->rip, 0xffff800000001000);
    EXPECT_EQ(v->gpr.r[RSP], 0xffff800000002000);
    EXPECT_EQ(v->rflags & X86_RFLAGS_IF, 0);
    expect_segments(0x10, 0xa09b, 0x18, 0xc093);
    v->gpr.r[RCX] = 0x700000003000;
    v->gpr.r[RDX] = 0x700000004000;
    EXPECT_EQ(insn_sysexit(pcpu_current, 2, false), INSN_BRANCH);
    EXPECT_EQ(v->rip, 0x4000);
    EXPECT_EQ(v->gpr.r[RSP], 0x3000);
    expect_segments(0x23, 0xc0fb, 0x2b, 0xc0f3);
    EXPECT_EQ(insn_outcome(insn_sysexit(pcpu_current, 2, false)), GP);
    insn_mode(MODE_64, 0);
    EXPECT_EQ(insn_sysexit(pcpu_current, 3, true), INSN_BRANCH);
    EXPECT_EQ(v->rip, 0x700000004000);
    expect_segments(0x33, 0xa0fb, 0x3b, 0xc0f3);
    insn_mode(MODE_32, 3);
    EXPECT_EQ(insn_sysenter(pcpu_current, 2), INSN_BRANCH);
    EXPECT_EQ(v->rip, 0x1000);
    expect_segments(0x10, 0xc09b, 0x18, 0xc093);
    bench_end();
}

TEST(InsnSyscall, BasesOfFsAndGs) // SDM vol. 2, SWAPGS, WRFSBASE
{
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    v = insn_vmx();
    pcpu_current->x86->cr[4] |= X86_CR4_FSGSBASE;
    MSR_VALUE(pcpu_current, IA32_KERNEL_GS_BASE) = 0x5000;
    v->gpr.r[RBX] = 0xffff900000006000;
    EXPECT_EQ(insn_wrbase(pcpu_current, 5, SEG_GS, RBX, 8), INSN_DONE);
    EXPECT_EQ(insn_swapgs(pcpu_current, 3), INSN_DONE);
    EXPECT_EQ(segment_base(v, SEG_GS), 0x5000);
    EXPECT_EQ(MSR_VALUE(pcpu_current, IA32_KERNEL_GS_BASE), 0xffff900000006000);
    EXPECT_EQ(insn_wrbase(pcpu_current, 4, SEG_FS, RBX, 4), INSN_DONE);
    EXPECT_EQ(segment_base(v, SEG_FS), 0x6000);
    v->gpr.r[RBX] = 1ull << 47;
    EXPECT_EQ(insn_outcome(insn_wrbase(pcpu_current, 5, SEG_GS, RBX, 8)), GP);
    bench_end();
}

TEST(InsnSyscall, StacLetsSupervisorsIn) // SDM 4.6; vol. 2, STAC
{
    ASSERT_TRUE(insn_start());
    EXPECT_EQ(insn_ac(pcpu_current, 3, true), INSN_DONE);
    EXPECT_TRUE(insn_vmx()->rflags & X86_RFLAGS_AC);
    EXPECT_EQ(pcpu_current->x86->mmu->mode, MMU_SUPERVISOR_AC);
    EXPECT_EQ(insn_ac(pcpu_current, 3, false), INSN_DONE);
    EXPECT_EQ(pcpu_current->x86->mmu->mode, MMU_SUPERVISOR);
    bench_end();
}

TEST(InsnIdle, MonitorChecksItsAddressAndEcx) // SDM vol. 2, MONITOR, MWAIT
{
    struct insn_operand data = {.memory = true, .segment = SEG_DS, .offset = INSN_DATA};
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    v = insn_vmx();
    v->gpr.r[RCX] = 1;
    EXPECT_EQ(insn_outcome(insn_monitor(pcpu_current, 3, &data)), GP);
    v->gpr.r[RCX] = 0;
    data.offset = 1ull << 47;
    EXPECT_EQ(insn_outcome(insn_monitor(pcpu_current, 3, &data)), GP);
    data.offset = 0x40000000; // Not mapped.
    EXPECT_EQ(insn_outcome(insn_monitor(pcpu_current, 3, &data)), RAISED(PF_VECTOR));
    EXPECT_FALSE(mem_monitor_armed(pcpu_current));
    data.offset = INSN_DATA;
    EXPECT_EQ(insn_monitor(pcpu_current, 3, &data), INSN_DONE);
    EXPECT_TRUE(mem_monitor_armed(pcpu_current));
    v->gpr.r[RCX] = 2;
    EXPECT_EQ(insn_outcome(insn_mwait(pcpu_current, 3)), GP);
    v->gpr.r[RCX] = 0;
    EXPECT_EQ(insn_mwait(pcpu_current, 3), INSN_DONE);
    EXPECT_TRUE(v->mwait);
    EXPECT_EQ(v->activity, ACTIVITY_ACTIVE); // It never shows (SDM 24.4.2).
    vmx_mwait_end(pcpu_current);
    EXPECT_EQ(insn_mwait(pcpu_current, 3), INSN_DONE); // Not armed any more.
    EXPECT_FALSE(v->mwait);
    bench_end();
}
