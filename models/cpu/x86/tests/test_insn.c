// SPDX-License-Identifier: Apache-2.0
// System instructions of machine code: what each checks before it exits, and what an exit tells (SDM 25.1,
// 27.2.1, 27.2.5; the pages of vol. 2).
#include "models/cpu/x86/tests/insn_bench.h"
#include "tests/shim/shim.h"

static const struct insn_operand in_rbx = {.reg = RBX, .size = 8};
static const struct insn_operand in_r9 = {.reg = 9, .size = 8};

// One call of each instruction, without operands that matter.
#define CALL(name, ...)                                                                                      \
    static enum insn_result call_##name(struct pcpu *c)                                                      \
    {                                                                                                        \
        const struct insn_operand data = insn_data();                                                        \
                                                                                                             \
        (void)data;                                                                                          \
        return __VA_ARGS__;                                                                                  \
    }
CALL(rdmsr, insn_rdmsr(c, 2))
CALL(wrmsr, insn_wrmsr(c, 2))
CALL(rdtsc, insn_rdtsc(c, 2))
CALL(rdtscp, insn_rdtscp(c, 3))
CALL(rdpmc, insn_rdpmc(c, 2))
CALL(xgetbv, insn_xgetbv(c, 3))
CALL(xsetbv, insn_xsetbv(c, 3))
CALL(rdpid, insn_rdpid(c, 4, RBX))
CALL(rdpkru, insn_rdpkru(c, 3))
CALL(hlt, insn_hlt(c, 1))
CALL(monitor, insn_monitor(c, 3, &data))
CALL(mwait, insn_mwait(c, 3))
CALL(to_cr0, insn_mov_to_cr(c, 3, 0, RBX))
CALL(to_cr1, insn_mov_to_cr(c, 3, 1, RBX))
CALL(to_cr3, insn_mov_to_cr(c, 3, 3, RBX))
CALL(to_cr8, insn_mov_to_cr(c, 4, 8, RBX))
CALL(from_cr4, insn_mov_from_cr(c, 3, 4, RBX))
CALL(from_cr5, insn_mov_from_cr(c, 3, 5, RBX))
CALL(clts, insn_clts(c, 2))
CALL(lmsw, insn_lmsw(c, 3, &in_rbx))
CALL(smsw, insn_smsw(c, 3, &in_rbx))
CALL(to_dr0, insn_mov_to_dr(c, 3, 0, RBX))
CALL(to_dr4, insn_mov_to_dr(c, 3, 4, RBX))
CALL(to_dr8, insn_mov_to_dr(c, 4, 8, RBX))
CALL(from_dr5, insn_mov_from_dr(c, 3, 5, RBX))
CALL(invlpg, insn_invlpg(c, 3, &data))
CALL(invpcid, insn_invpcid(c, 5, RBX, &data))
CALL(invd, insn_invd(c, 2))
CALL(wbinvd, insn_wbinvd(c, 2))
CALL(lgdt, insn_load_table(c, 4, INSN_GDTR, &data, 8))
CALL(lidt, insn_load_table(c, 4, INSN_IDTR, &data, 8))
CALL(sgdt, insn_store_table(c, 4, INSN_GDTR, &data, 8))
CALL(sidt, insn_store_table(c, 4, INSN_IDTR, &data, 8))
CALL(sldt, insn_store_selector(c, 3, INSN_LDTR, &in_rbx))
CALL(str, insn_store_selector(c, 3, INSN_TR, &in_r9))
CALL(lldt, insn_load_selector(c, 3, INSN_LDTR, &in_rbx))
CALL(ltr, insn_load_selector(c, 3, INSN_TR, &data))
CALL(vmcall, insn_vmcall(c, 3))
CALL(vmlaunch, insn_vmx_plain(c, 3, EXIT_REASON_VMLAUNCH))
CALL(vmptrld, insn_vmx_pointer(c, 4, EXIT_REASON_VMPTRLD, &data))
CALL(invept, insn_vmx_invalidate(c, 5, EXIT_REASON_INVEPT, RDX, &data))
CALL(vmread, insn_vmread(c, 3, RDX, &in_rbx))
CALL(vmread_data, insn_vmread(c, 3, RDX, &data))
CALL(vmwrite, insn_vmwrite(c, 3, RDX, &in_r9))
CALL(vmfunc, insn_vmfunc(c, 3))
CALL(getsec, insn_getsec(c, 2))
CALL(rsm, insn_rsm(c, 2))
CALL(syscall, insn_syscall(c, 2))
CALL(sysret, insn_sysret(c, 3, true))
CALL(sysenter, insn_sysenter(c, 2))
CALL(sysexit, insn_sysexit(c, 2, false))
CALL(swapgs, insn_swapgs(c, 3))
CALL(rdfsbase, insn_rdbase(c, 5, SEG_FS, RBX, 8))
CALL(wrgsbase, insn_wrbase(c, 5, SEG_GS, RBX, 8))
CALL(stac, insn_ac(c, 3, true))
CALL(into, insn_into(c, 1))
CALL(rdrand, insn_rdrand(c, 4, 9, 8))
CALL(rdseed, insn_rdseed(c, 3, RDX, 2))
CALL(in_dx, insn_in(c, 1, 0x3f8, 1, false))
CALL(in_imm, insn_in(c, 2, 0x60, 1, true))
CALL(out_imm, insn_out(c, 2, 0x80, 4, true))
#undef CALL

#define UD RAISED(UD_VECTOR)
#define GP RAISED(GP_VECTOR)
#define DB RAISED(DB_VECTOR)

struct check_row {
    const char *name;
    enum insn_result (*call)(struct pcpu *c);
    enum insn_mode mode;
    unsigned cpl;
    uint64_t cr4_set;
    struct insn_controls controls;
    uint32_t outcome;
};

static void check(const struct check_row *rows, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct check_row *row = &rows[i];

        test_row("%s", row->name);
        if (!insn_start_with(row->controls))
            return;
        insn_mode(row->mode, row->cpl);
        pcpu_current->x86->cr[4] |= row->cr4_set;
        insn_vmx()->gpr.r[RBX] = pcpu_current->x86->cr[0];
        EXPECT_EQ(insn_outcome(row->call(pcpu_current)), row->outcome);
        bench_end();
    }
    test_row(NULL);
}
#define CHECK(rows) check(rows, sizeof(rows) / sizeof *(rows))

TEST(Insn, LevelIsCheckedBeforeTheExit) // SDM 25.1.1; 5.9
{
    static const struct check_row rows[] = {
        {"RDMSR", call_rdmsr, MODE_64, 3, 0, {0, 0}, GP},
        {"RDMSR, ring 0", call_rdmsr, MODE_64, 0, 0, {0, 0}, EXITED(EXIT_REASON_MSR_READ)},
        {"WRMSR, V86", call_wrmsr, MODE_V86, 3, 0, {0, 0}, GP},
        {"HLT", call_hlt, MODE_64, 3, 0, {CPU_HLT_EXITING, 0}, GP},
        {"HLT, real mode", call_hlt, MODE_REAL, 0, 0, {CPU_HLT_EXITING, 0}, EXITED(EXIT_REASON_HLT)},
        {"XSETBV", call_xsetbv, MODE_64, 3, X86_CR4_OSXSAVE, {0, 0}, GP},
        {"XSETBV without OSXSAVE", call_xsetbv, MODE_64, 3, 0, {0, 0}, UD},
        {"XSETBV, ring 0", call_xsetbv, MODE_64, 0, X86_CR4_OSXSAVE, {0, 0}, EXITED(EXIT_REASON_XSETBV)},
        {"MONITOR", call_monitor, MODE_64, 3, 0, {CPU_MONITOR_EXITING, 0}, UD},
        {"MONITOR, ring 0",
         call_monitor,
         MODE_64,
         0,
         0,
         {CPU_MONITOR_EXITING, 0},
         EXITED(EXIT_REASON_MONITOR_INSTRUCTION)},
        {"MWAIT", call_mwait, MODE_64, 1, 0, {CPU_MWAIT_EXITING, 0}, UD},
        {"MOV to CR0", call_to_cr0, MODE_64, 3, 0, {0, 0}, GP},
        {"MOV to CR1", call_to_cr1, MODE_64, 3, 0, {0, 0}, UD},
        {"MOV to CR3", call_to_cr3, MODE_64, 3, 0, {CPU_CR3_LOAD_EXITING, 0}, GP},
        {"MOV to CR8", call_to_cr8, MODE_64, 2, 0, {CPU_CR8_LOAD_EXITING, 0}, GP},
        {"MOV from CR4", call_from_cr4, MODE_32, 1, 0, {0, 0}, GP},
        {"MOV from CR5", call_from_cr5, MODE_64, 0, 0, {0, 0}, UD},
        {"CLTS", call_clts, MODE_64, 3, 0, {0, 0}, GP},
        {"LMSW", call_lmsw, MODE_32, 3, 0, {0, 0}, GP},
        {"INVLPG", call_invlpg, MODE_64, 3, 0, {CPU_INVLPG_EXITING, 0}, GP},
        {"INVPCID", call_invpcid, MODE_64, 3, 0, {CPU_INVLPG_EXITING, CPU2_ENABLE_INVPCID}, GP},
        {"INVPCID not enabled", call_invpcid, MODE_64, 3, 0, {0, 0}, UD},
        {"INVD", call_invd, MODE_64, 3, 0, {0, 0}, GP},
        {"INVD, ring 0", call_invd, MODE_64, 0, 0, {0, 0}, EXITED(EXIT_REASON_INVD)},
        {"WBINVD", call_wbinvd, MODE_64, 3, 0, {0, CPU2_WBINVD_EXITING}, GP},
        {"LGDT", call_lgdt, MODE_64, 3, 0, {0, CPU2_DESCRIPTOR_TABLE_EXITING}, GP},
        {"LIDT, V86", call_lidt, MODE_V86, 3, 0, {0, 0}, GP},
        {"LLDT", call_lldt, MODE_64, 3, 0, {0, CPU2_DESCRIPTOR_TABLE_EXITING}, GP},
        {"SWAPGS", call_swapgs, MODE_64, 3, 0, {0, 0}, GP},
        {"STAC", call_stac, MODE_64, 3, 0, {0, 0}, UD},
        {"SYSRET", call_sysret, MODE_COMPATIBILITY, 3, 0, {0, 0}, UD},
    };

    CHECK(rows);
}

TEST(Insn, VmxInstructionsExitWhateverTheLevel) // SDM 25.1.2, 30.3
{
    static const struct check_row rows[] = {
        {"VMCALL, ring 3", call_vmcall, MODE_64, 3, 0, {0, 0}, EXITED(EXIT_REASON_VMCALL)},
        {"VMCALL, real mode", call_vmcall, MODE_REAL, 0, 0, {0, 0}, EXITED(EXIT_REASON_VMCALL)},
        {"VMLAUNCH, ring 3", call_vmlaunch, MODE_64, 3, 0, {0, 0}, EXITED(EXIT_REASON_VMLAUNCH)},
        {"VMLAUNCH, real mode", call_vmlaunch, MODE_REAL, 0, 0, {0, 0}, UD},
        {"VMLAUNCH, V86", call_vmlaunch, MODE_V86, 3, 0, {0, 0}, UD},
        {"VMLAUNCH, compatibility", call_vmlaunch, MODE_COMPATIBILITY, 0, 0, {0, 0}, UD},
        {"VMLAUNCH, 32-bit", call_vmlaunch, MODE_32, 0, 0, {0, 0}, EXITED(EXIT_REASON_VMLAUNCH)},
        {"VMPTRLD, ring 3", call_vmptrld, MODE_64, 3, 0, {0, 0}, EXITED(EXIT_REASON_VMPTRLD)},
        {"VMPTRLD, compatibility", call_vmptrld, MODE_COMPATIBILITY, 0, 0, {0, 0}, UD},
        {"INVEPT, real mode", call_invept, MODE_REAL, 0, 0, {0, 0}, UD},
        {"VMREAD, ring 3", call_vmread, MODE_64, 3, 0, {0, 0}, EXITED(EXIT_REASON_VMREAD)},
        {"VMREAD, shadowing", call_vmread, MODE_64, 3, 0, {0, CPU2_VMCS_SHADOWING}, GP},
        {"VMWRITE, V86", call_vmwrite, MODE_V86, 3, 0, {0, 0}, UD},
        {"VMFUNC not enabled", call_vmfunc, MODE_64, 0, 0, {0, 0}, UD},
        {"VMFUNC 0 not enabled",
         call_vmfunc,
         MODE_64,
         3,
         0,
         {0, CPU2_ENABLE_VM_FUNCTIONS},
         EXITED(EXIT_REASON_VMFUNC)},
        {"GETSEC", call_getsec, MODE_64, 3, X86_CR4_SMXE, {0, 0}, EXITED(EXIT_REASON_GETSEC)},
        {"GETSEC without SMX", call_getsec, MODE_64, 0, 0, {0, 0}, UD},
        {"RSM", call_rsm, MODE_64, 0, 0, {0, 0}, UD},
    };

    CHECK(rows);
}

TEST(Insn, Cr4KeepsUsersOut) // SDM 2.5
{
    static const struct check_row rows[] = {
        {"RDTSC, TSD", call_rdtsc, MODE_64, 3, X86_CR4_TSD, {CPU_RDTSC_EXITING, 0}, GP},
        {"RDTSC, TSD, ring 0", call_rdtsc, MODE_64, 0, X86_CR4_TSD, {0, 0}, GONE_ON},
        {"RDTSC, TSD, V86", call_rdtsc, MODE_V86, 3, X86_CR4_TSD, {0, 0}, GP},
        {"RDTSC, ring 3", call_rdtsc, MODE_64, 3, 0, {0, 0}, GONE_ON},
        {"RDTSCP, TSD", call_rdtscp, MODE_64, 3, X86_CR4_TSD, {0, CPU2_ENABLE_RDTSCP}, GP},
        {"RDTSCP not enabled", call_rdtscp, MODE_64, 3, X86_CR4_TSD, {0, 0}, UD},
        {"RDPMC", call_rdpmc, MODE_64, 3, 0, {CPU_RDPMC_EXITING, 0}, GP},
        {"RDPMC, PCE",
         call_rdpmc,
         MODE_64,
         3,
         X86_CR4_PCE,
         {CPU_RDPMC_EXITING, 0},
         EXITED(EXIT_REASON_RDPMC)},
        {"SMSW, UMIP", call_smsw, MODE_64, 3, X86_CR4_UMIP, {0, 0}, GP},
        {"SMSW", call_smsw, MODE_64, 3, 0, {0, 0}, GONE_ON},
        {"SGDT, UMIP", call_sgdt, MODE_64, 3, X86_CR4_UMIP, {0, CPU2_DESCRIPTOR_TABLE_EXITING}, GP},
        {"SIDT, ring 3", call_sidt, MODE_64, 3, 0, {0, 0}, GONE_ON},
        {"SLDT, UMIP", call_sldt, MODE_64, 1, X86_CR4_UMIP, {0, 0}, GP},
        {"STR, UMIP, ring 0", call_str, MODE_64, 0, X86_CR4_UMIP, {0, 0}, GONE_ON},
        {"STR, V86", call_str, MODE_V86, 3, 0, {0, 0}, UD},
        {"SLDT, real mode", call_sldt, MODE_REAL, 0, 0, {0, CPU2_DESCRIPTOR_TABLE_EXITING}, UD},
        {"XGETBV without OSXSAVE", call_xgetbv, MODE_64, 3, 0, {0, 0}, UD},
        {"XGETBV", call_xgetbv, MODE_64, 3, X86_CR4_OSXSAVE, {0, 0}, GONE_ON},
        {"RDPKRU without PKE", call_rdpkru, MODE_64, 3, 0, {0, 0}, UD},
        {"RDPID, not on this core", call_rdpid, MODE_64, 0, 0, {0, CPU2_ENABLE_RDTSCP}, UD},
        {"RDFSBASE without FSGSBASE", call_rdfsbase, MODE_64, 3, 0, {0, 0}, UD},
        {"RDFSBASE", call_rdfsbase, MODE_64, 3, X86_CR4_FSGSBASE, {0, 0}, GONE_ON},
        {"WRGSBASE, 32-bit", call_wrgsbase, MODE_32, 0, X86_CR4_FSGSBASE, {0, 0}, UD},
    };

    CHECK(rows);
}

TEST(Insn, MovDrExitsBeforeItLooksAtLevelAndDe) // SDM 25.1.3
{
    static const struct check_row rows[] = {
        {"ring 3, exiting",
         call_to_dr0,
         MODE_64,
         3,
         0,
         {CPU_MOV_DR_EXITING, 0},
         EXITED(EXIT_REASON_DR_ACCESS)},
        {"ring 3", call_to_dr0, MODE_64, 3, 0, {0, 0}, GP},
        {"DR4, DE, exiting",
         call_to_dr4,
         MODE_64,
         0,
         X86_CR4_DE,
         {CPU_MOV_DR_EXITING, 0},
         EXITED(EXIT_REASON_DR_ACCESS)},
        {"DR4, DE", call_to_dr4, MODE_64, 0, X86_CR4_DE, {0, 0}, UD},
        {"DR5, DE", call_from_dr5, MODE_64, 0, X86_CR4_DE, {0, 0}, UD},
        {"DR5", call_from_dr5, MODE_64, 0, 0, {0, 0}, GONE_ON},
        {"DR8", call_to_dr8, MODE_64, 0, 0, {CPU_MOV_DR_EXITING, 0}, UD},
    };

    CHECK(rows);
}

TEST(Insn, SystemCallsNeedTheirMode) // SDM vol. 2: SYSCALL, SYSENTER, SYSEXIT, INTO
{
    static const struct check_row rows[] = {
        {"SYSCALL, ring 3", call_syscall, MODE_64, 3, 0, {0, 0}, GONE_ON},
        {"SYSCALL, compatibility", call_syscall, MODE_COMPATIBILITY, 3, 0, {0, 0}, UD},
        {"SYSENTER, IA32_SYSENTER_CS 0", call_sysenter, MODE_64, 3, 0, {0, 0}, GP},
        {"SYSENTER, real mode", call_sysenter, MODE_REAL, 0, 0, {0, 0}, GP},
        {"SYSEXIT, IA32_SYSENTER_CS 0", call_sysexit, MODE_64, 0, 0, {0, 0}, GP},
        {"SWAPGS, 32-bit", call_swapgs, MODE_32, 0, 0, {0, 0}, UD},
        {"INTO, 64-bit", call_into, MODE_64, 3, 0, {0, 0}, UD},
        {"INTO without overflow", call_into, MODE_32, 3, 0, {0, 0}, GONE_ON},
    };

    CHECK(rows);
}

// --- What exits tell. ---

struct exit_row {
    const char *name;
    enum insn_result (*call)(struct pcpu *c);
    struct insn_controls controls;
    uint32_t reason, length, info;
    uint64_t qualification;
};

TEST(Insn, ExitsNameTheRealOperand) // SDM tables 27-3 to 27-5, 27-9 to 27-16
{
    // [rbx + rsi * 4 + 0x18], 64-bit address, DS.
    const uint32_t memory = 2u | 2u << 7 | 3u << 15 | 6u << 18 | 3u << 23;
    const uint32_t tables = CPU2_DESCRIPTOR_TABLE_EXITING;
    const struct exit_row rows[] = {
        {"MOV CR3, RBX", call_to_cr3, {CPU_CR3_LOAD_EXITING, 0}, EXIT_REASON_CR_ACCESS, 3, 0, 0x303},
        {"MOV CR8, RBX", call_to_cr8, {CPU_CR8_LOAD_EXITING, 0}, EXIT_REASON_CR_ACCESS, 4, 0, 0x308},
        {"MOV DR0, RBX", call_to_dr0, {CPU_MOV_DR_EXITING, 0}, EXIT_REASON_DR_ACCESS, 3, 0, 0x300},
        {"MOV RBX, DR5", call_from_dr5, {CPU_MOV_DR_EXITING, 0}, EXIT_REASON_DR_ACCESS, 3, 0, 0x315},
        {"INVLPG", call_invlpg, {CPU_INVLPG_EXITING, 0}, EXIT_REASON_INVLPG, 3, 0, INSN_DATA},
        {"INVPCID RBX",
         call_invpcid,
         {CPU_INVLPG_EXITING, CPU2_ENABLE_INVPCID},
         EXIT_REASON_INVPCID,
         5,
         memory | 3u << 28,
         0x18},
        {"LGDT", call_lgdt, {0, tables}, EXIT_REASON_GDTR_IDTR, 4, memory | 2u << 28, 0x18},
        {"LIDT", call_lidt, {0, tables}, EXIT_REASON_GDTR_IDTR, 4, memory | 3u << 28, 0x18},
        {"SGDT", call_sgdt, {0, tables}, EXIT_REASON_GDTR_IDTR, 4, memory, 0x18},
        {"SIDT", call_sidt, {0, tables}, EXIT_REASON_GDTR_IDTR, 4, memory | 1u << 28, 0x18},
        {"SLDT RBX", call_sldt, {0, tables}, EXIT_REASON_LDTR_TR, 3, 1u << 10 | 3u << 3, 0},
        {"STR R9", call_str, {0, tables}, EXIT_REASON_LDTR_TR, 3, 1u << 10 | 9u << 3 | 1u << 28, 0},
        {"LLDT RBX", call_lldt, {0, tables}, EXIT_REASON_LDTR_TR, 3, 1u << 10 | 3u << 3 | 2u << 28, 0},
        {"LTR", call_ltr, {0, tables}, EXIT_REASON_LDTR_TR, 3, memory | 3u << 28, 0x18},
        {"VMPTRLD", call_vmptrld, {0, 0}, EXIT_REASON_VMPTRLD, 4, memory, 0x18},
        {"INVEPT RDX", call_invept, {0, 0}, EXIT_REASON_INVEPT, 5, memory | 2u << 28, 0x18},
        {"VMREAD RBX, RDX", call_vmread, {0, 0}, EXIT_REASON_VMREAD, 3, 1u << 10 | 3u << 3 | 2u << 28, 0},
        {"VMREAD memory, RDX", call_vmread_data, {0, 0}, EXIT_REASON_VMREAD, 3, memory | 2u << 28, 0x18},
        {"VMWRITE RDX, R9", call_vmwrite, {0, 0}, EXIT_REASON_VMWRITE, 3, 1u << 10 | 9u << 3 | 2u << 28, 0},
        {"RDRAND R9", call_rdrand, {0, CPU2_RDRAND_EXITING}, EXIT_REASON_RDRAND, 4, 9u << 3 | 2u << 11, 0},
        {"RDSEED DX", call_rdseed, {0, CPU2_RDSEED_EXITING}, EXIT_REASON_RDSEED, 3, 2u << 3, 0},
        {"IN AL, DX",
         call_in_dx,
         {CPU_UNCONDITIONAL_IO_EXITING, 0},
         EXIT_REASON_IO_INSTRUCTION,
         1,
         0,
         0x03f80008},
        {"IN AL, 60H",
         call_in_imm,
         {CPU_UNCONDITIONAL_IO_EXITING, 0},
         EXIT_REASON_IO_INSTRUCTION,
         2,
         0,
         0x00600048},
        {"OUT 80H, EAX",
         call_out_imm,
         {CPU_UNCONDITIONAL_IO_EXITING, 0},
         EXIT_REASON_IO_INSTRUCTION,
         2,
         0,
         0x00800043},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct vmexit *x;

        test_row("%s", rows[i].name);
        ASSERT_TRUE(insn_start_with(rows[i].controls));
        EXPECT_EQ(insn_outcome(rows[i].call(pcpu_current)), EXITED(rows[i].reason));
        x = &insn_vmx()->exit;
        EXPECT_EQ(x->insn_length, rows[i].length);
        EXPECT_EQ(x->insn_info, rows[i].info);
        EXPECT_EQ(x->qualification, rows[i].qualification);
        bench_end();
    }
    test_row(NULL);
}

TEST(Insn, StringIoExitsNameAddressAndSegment) // SDM tables 27-5 and 27-9
{
    struct insn_string_io io = {.size = 2, .address_size = 4, .rep = true, .segment = SEG_FS};
    struct vmx *v;

    ASSERT_TRUE(insn_start_with((struct insn_controls){CPU_UNCONDITIONAL_IO_EXITING, 0}));
    v = insn_vmx();
    MSR_VALUE(pcpu_current, IA32_FS_BASE) = 0x1000;
    v->gpr.r[RDX] = 0xabc0070;
    v->gpr.r[RCX] = 3;
    v->gpr.r[RSI] = 0xf00000123;
    EXPECT_EQ(insn_outcome(insn_outs(pcpu_current, 3, &io)), EXITED(EXIT_REASON_IO_INSTRUCTION));
    EXPECT_EQ(v->exit.qualification, 0x00700031);
    EXPECT_EQ(v->exit.insn_info, 1u << 7 | 4u << 15);
    EXPECT_EQ(v->exit.linear, 0x1123);
    EXPECT_EQ(v->gpr.r[RCX], 3);
    io.rep = false;
    v->gpr.r[RDI] = 0x55;
    EXPECT_EQ(insn_outcome(insn_ins(pcpu_current, 1, &io)), EXITED(EXIT_REASON_IO_INSTRUCTION));
    EXPECT_EQ(v->exit.qualification, 0x00700019);
    EXPECT_EQ(v->exit.linear, 0x55);
    io.rep = true;
    v->gpr.r[RCX] = 0xf00000000; // ECX is 0: nothing happens.
    EXPECT_EQ(insn_outcome(insn_ins(pcpu_current, 2, &io)), GONE_ON);
    bench_end();
}

TEST(Insn, LmswInMemoryTellsItsAddress) // SDM 27.2.1, table 27-3
{
    const struct insn_operand data = {.memory = true, .segment = SEG_DS, .offset = INSN_DATA};
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    v = insn_vmx();
    vmcs_put(v, CR0_GUEST_HOST_MASK, X86_CR0_TS);
    insn_set(INSN_DATA, 0x9);
    EXPECT_EQ(insn_outcome(insn_lmsw(pcpu_current, 4, &data)), EXITED(EXIT_REASON_CR_ACCESS));
    EXPECT_EQ(v->exit.qualification, 0x90070);
    EXPECT_TRUE(v->exit.has_linear);
    EXPECT_EQ(v->exit.linear, INSN_DATA);
    bench_end();
}
