// SPDX-License-Identifier: Apache-2.0
// Instructions of machine code that the core carries out, against the manual: device memory, strings, faults,
// what follows an instruction. What they compute is test_emulate_host.c's.
#include "hv/x86/tests/emulate_fixture.h"
#include <string.h>

// --- Device memory: each instruction's accesses, in order.

struct mmio_row {
    const char *assembly;
    u8 code[12], count;
    struct device_access accesses[4];
    unsigned access_count;
    u64 rax, device; // Afterwards; the device's first eight bytes.
};

// Before: rax 0x1111111122222222, rcx 4, rdx 3, rdi and rsi the device, which holds 0x8877665544332211.
static const struct mmio_row mmio_rows[] = {
    // clang-format off
    {"mov eax, [rdi]",       {0x8b, 0x07}, 2, {{false, 4, 0, 0x44332211}}, 1, 0x44332211, 0x8877665544332211},
    {"mov [rdi], ax",        {0x66, 0x89, 0x07}, 3, {{true, 2, 0, 0x2222}}, 1, 0x1111111122222222, 0x8877665544332222},
    {"mov [rdi+3], ah",      {0x88, 0x67, 0x03}, 3, {{true, 1, 3, 0x22}}, 1, 0x1111111122222222, 0x8877665522332211},
    {"mov rax, [rdi]",       {0x48, 0x8b, 0x07}, 3, {{false, 8, 0, 0x8877665544332211}}, 1, 0x8877665544332211, 0x8877665544332211},
    {"movsx rax, byte [rdi+7]", {0x48, 0x0f, 0xbe, 0x47, 0x07}, 5, {{false, 1, 7, 0x88}}, 1, 0xffffffffffffff88, 0x8877665544332211},
    {"mov dword [rdi], 7",   {0xc7, 0x07, 7, 0, 0, 0}, 6, {{true, 4, 0, 7}}, 1, 0x1111111122222222, 0x8877665500000007},
    {"movnti [rdi], eax",    {0x0f, 0xc3, 0x07}, 3, {{true, 4, 0, 0x22222222}}, 1, 0x1111111122222222, 0x8877665522222222},
    {"movbe eax, [rdi]",     {0x0f, 0x38, 0xf0, 0x07}, 4, {{false, 4, 0, 0x44332211}}, 1, 0x11223344, 0x8877665544332211},
    {"or dword [rdi], 0x40", {0x83, 0x0f, 0x40}, 3, {{false, 4, 0, 0x44332211}, {true, 4, 0, 0x44332251}}, 2, 0x1111111122222222, 0x8877665544332251},
    {"cmp [rdi], eax",       {0x39, 0x07}, 2, {{false, 4, 0, 0x44332211}}, 1, 0x1111111122222222, 0x8877665544332211},
    {"xchg [rdi], eax",      {0x87, 0x07}, 2, {{false, 4, 0, 0x44332211}, {true, 4, 0, 0x22222222}}, 2, 0x44332211, 0x8877665522222222},
    {"lock xadd [rdi], eax", {0xf0, 0x0f, 0xc1, 0x07}, 4, {{false, 4, 0, 0x44332211}, {true, 4, 0, 0x66554433}}, 2, 0x44332211, 0x8877665566554433},
    {"lock cmpxchg [rdi], edx", {0xf0, 0x0f, 0xb1, 0x17}, 4, {{false, 4, 0, 0x44332211}, {true, 4, 0, 0x44332211}}, 2, 0x44332211, 0x8877665544332211},
    {"neg word [rdi]",       {0x66, 0xf7, 0x1f}, 3, {{false, 2, 0, 0x2211}, {true, 2, 0, 0xddef}}, 2, 0x1111111122222222, 0x887766554433ddef},
    {"bts dword [rdi], 31",  {0x0f, 0xba, 0x2f, 31}, 4, {{false, 4, 0, 0x44332211}, {true, 4, 0, 0xc4332211}}, 2, 0x1111111122222222, 0x88776655c4332211},
    {"sete byte [rdi]",      {0x0f, 0x94, 0x07}, 3, {{true, 1, 0, 0}}, 1, 0x1111111122222222, 0x8877665544332200},
    {"imul eax, [rdi], 2",   {0x6b, 0x07, 2}, 3, {{false, 4, 0, 0x44332211}}, 1, 0x88664422, 0x8877665544332211},
    {"shl byte [rdi], 4",    {0xc0, 0x27, 4}, 3, {{false, 1, 0, 0x11}, {true, 1, 0, 0x10}}, 2, 0x1111111122222222, 0x8877665544332210},
    {"push qword [rdi]",     {0xff, 0x37}, 2, {{false, 8, 0, 0x8877665544332211}}, 1, 0x1111111122222222, 0x8877665544332211},
    {"lodsd",                {0xad}, 1, {{false, 4, 0, 0x44332211}}, 1, 0x44332211, 0x8877665544332211},
    {"cmpxchg8b [rdi]",      {0x0f, 0xc7, 0x0f}, 3, {{false, 8, 0, 0x8877665544332211}, {true, 8, 0, 0x8877665544332211}}, 2, 0x44332211, 0x8877665544332211},
    {"movabs eax, [device]", {0xa1, 0, 0, 0, 8, 0, 0, 0, 0}, 9, {{false, 4, 0, 0x44332211}}, 1, 0x44332211, 0x8877665544332211},
    {"rep stosb",            {0xf3, 0xaa}, 2, {{true, 1, 0, 0x22}}, 1, 0x1111111122222222, 0x8877665544332222},
    {"mov ds, [rdi] (null)", {0x8e, 0x5f, 0x10}, 3, {{false, 2, 16, 0}}, 1, 0x1111111122222222, 0x8877665544332211},
    // clang-format on
};

static void device_forms(void)
{
    const u64 content = 0x8877665544332211;

    guest_setup(GUEST_LONG);
    for (u32 i = 0; i < sizeof(mmio_rows) / sizeof(mmio_rows[0]); i++) {
        const struct mmio_row *r = &mmio_rows[i];

        memset(m.device, 0, sizeof(m.device));
        memcpy(m.device, &content, 8);
        m.regs->rax = 0x1111111122222222;
        m.regs->rcx = 4;
        m.regs->rdx = 3;
        m.regs->rdi = m.regs->rsi = G_DEVICE;
        m.regs->rip = G_CODE;
        m.regs->rsp = G_STACK;
        m.regs->rflags = X86_RFLAGS_FIXED;
        test_row("%s", r->assembly);
        guest_emulate(r->code, r->count);
        EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
        EXPECT_EQ(m.access_count, r->access_count);
        for (unsigned n = 0; n < r->access_count; n++) {
            EXPECT_EQ(m.accesses[n].write, r->accesses[n].write);
            EXPECT_EQ(m.accesses[n].len, r->accesses[n].len);
            EXPECT_EQ(m.accesses[n].at, r->accesses[n].at);
            EXPECT_EQ(m.accesses[n].value, r->accesses[n].value);
        }
        EXPECT_EQ(m.regs->rax, r->rax);
        EXPECT_EQ(*(u64 *)(void *)m.device, r->device);
    }
}
TEST(Emulate, DeviceAccessesAreTheInstructions)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, device_forms), 0);
}

static void vectors(void)
{
    const u64 content[2] = {0x1111, 0x2222};

    guest_setup(GUEST_LONG);
    memcpy(m.device, content, 16);
    m.regs->rdi = G_DEVICE;
    EMULATE(0x66, 0x44, 0x0f, 0x6f, 0x0f); // movdqa xmm9, [rdi]
    EXPECT_EQ(m.access_count, 2);
    EXPECT_EQ(m.accesses[0].len, 8);
    EXPECT_EQ(m.accesses[1].at, 8);
    m.regs->rdi = G_DEVICE + 0x19;
    EMULATE(0x44, 0x0f, 0x11, 0x0f); // movups [rdi], xmm9
    EXPECT_EQ(m.access_count, 2);
    EXPECT_MEMEQ(m.device + 0x19, content, 16);
    EMULATE(0x44, 0x0f, 0x29, 0x0f); // movaps [rdi], xmm9
    EXPECT_EQ(m.intr_info, INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE | GP_VECTOR);
    m.sregs->cr0 |= X86_CR0_TS;
    EMULATE(0x44, 0x0f, 0x11, 0x0f);
    EXPECT_EQ(m.intr_info, INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | NM_VECTOR);
}
TEST(Emulate, SixteenByteMovesAreTwoAccessesAndKnowAlignment)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, vectors), 0);
}

// --- Two pages.

static void mmx(void)
{
    const u64 content = 0x1122334455667788;

    guest_setup(GUEST_LONG);
    memcpy(m.device, &content, 8);
    m.regs->rdi = G_DEVICE;
    EMULATE(0x0f, 0x6f, 0x2f); // movq mm5, [rdi]
    EXPECT_EQ(m.access_count, 1);
    EXPECT_EQ(m.accesses[0].len, 8);
    m.regs->rdi = G_DEVICE + 0x21;
    EMULATE(0x44, 0x0f, 0x7f, 0x2f); // movq [rdi], mm5: REX.R is ignored
    EXPECT_EQ(m.access_count, 1);
    EXPECT_MEMEQ(m.device + 0x21, &content, 8);
    m.sregs->cr0 |= X86_CR0_EM;
    EMULATE(0x0f, 0x6f, 0x2f);
    EXPECT_EQ(m.intr_info, INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | UD_VECTOR);
}
TEST(Emulate, MovqOfMmxRegistersIsOneAccess)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, mmx), 0);
}

static void crossing(void)
{
    guest_setup(GUEST_LONG);
    guest_map(0x100000, G_DATA | 3);   // Memory,
    guest_map(0x101000, G_DEVICE | 3); // then the device.
    guest_store(G_DATA + 0xffe, (const u8[]){0xaa, 0xbb}, 2);
    memcpy(m.device, (const u8[]){0xcc, 0xdd}, 2);
    m.regs->rdi = 0x100ffe;
    EMULATE(0x8b, 0x07); // mov eax, [rdi]
    EXPECT_EQ(m.access_count, 1);
    EXPECT_EQ(m.accesses[0].len, 2);
    EXPECT_EQ(m.regs->rax, 0xddccbbaa);
    m.regs->rax = 0x44332211;
    EMULATE(0x89, 0x07); // mov [rdi], eax
    EXPECT_EQ(guest_load(G_DATA + 0xffe, 2), 0x2211);
    EXPECT_EQ(m.access_count, 1);
    EXPECT_EQ(m.accesses[0].value, 0x4433);
    guest_map(0x101000, (G_DEVICE + 0x1000) | 3); // Two pages of the device that are not neighbours.
    guest_map(0x100000, G_DEVICE | 3);
    EMULATE(0x83, 0x07, 0x01); // add dword [rdi], 1
    EXPECT_EQ(m.access_count, 4);
    EXPECT_EQ(m.accesses[0].at, 0xffe);
    EXPECT_EQ(m.accesses[1].at, 0x1000);
    EXPECT_TRUE(m.accesses[3].write);
}
TEST(Emulate, PartsOfAnAccessGoWhereTheirPagesAre)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, crossing), 0);
}

// --- Strings.

static void strings(void)
{
    guest_setup(GUEST_LONG);
    for (unsigned i = 0; i < 16; i++)
        m.device[i] = (u8)(i + 1);
    m.regs->rsi = G_DEVICE;
    m.regs->rdi = G_DATA;
    m.regs->rcx = 3;
    EMULATE(0xf3, 0xa5); // rep movsd: from the device all at one go
    EXPECT_EQ(m.access_count, 3);
    EXPECT_EQ(m.regs->rcx, 0);
    EXPECT_EQ(m.regs->rsi, G_DEVICE + 12);
    EXPECT_EQ(m.regs->rip, G_CODE + 2);
    EXPECT_EQ(guest_load(G_DATA, 8), 0x0807060504030201);
    m.regs->rip = G_CODE;
    m.regs->rsi = G_DATA + 3;
    m.regs->rdi = G_DEVICE + 0x100;
    m.regs->rcx = 2;
    m.regs->rflags |= X86_RFLAGS_DF;
    EMULATE(0xf3, 0xa4); // rep movsb: to it one after the other, the guest runs in between
    EXPECT_EQ(m.access_count, 1);
    EXPECT_EQ(m.regs->rcx, 1);
    EXPECT_EQ(m.regs->rsi, G_DATA + 2);
    EXPECT_EQ(m.regs->rdi, G_DEVICE + 0xff);
    EXPECT_EQ(m.regs->rip, G_CODE);
    EXPECT_EQ(m.device[0x100], 4);
    m.regs->rflags = X86_RFLAGS_FIXED;
    m.regs->rdi = G_DATA;
    m.regs->rcx = 100;
    m.regs->rax = 5;
    EMULATE(0xf2, 0xae); // repne scasb
    EXPECT_EQ(m.regs->rcx, 95);
    EXPECT_EQ(m.regs->rdi, G_DATA + 5);
    EXPECT_TRUE(m.regs->rflags & X86_RFLAGS_ZF);
    m.regs->rip = G_CODE;
    m.regs->rcx = 0;
    EMULATE(0xf3, 0xa4); // A count of nothing.
    EXPECT_EQ(m.access_count, 0);
    EXPECT_EQ(m.regs->rip, G_CODE + 2);
}
TEST(Emulate, StringsRepeatAndStop)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, strings), 0);
}

// --- Faults.

#define FAULT(vector) (INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | (vector))
#define FAULT_E(vector) (FAULT(vector) | INTR_INFO_DELIVER_CODE)

static void expect_page_fault(u32 error_code, u64 cr2)
{
    EXPECT_EQ(m.intr_info, FAULT_E(PF_VECTOR));
    EXPECT_EQ(m.error_code, error_code);
    EXPECT_EQ(t.v->gprs.cr2, cr2);
    EXPECT_EQ(m.regs->rip, G_CODE);
}

static void page_faults(void)
{
    guest_setup(GUEST_LONG);
    m.regs->rdi = 0x100000;
    m.regs->rax = 0x55;
    guest_map(0x100000, 0);
    EMULATE(0x8b, 0x07); // mov eax, [rdi]
    expect_page_fault(0, 0x100000);
    EXPECT_EQ(m.regs->rax, 0x55);
    EMULATE(0x01, 0x07); // add [rdi], eax: the write's fault
    expect_page_fault(PFERR_WRITE, 0x100000);
    guest_map(0x100000, G_DATA | X86_PTE_P);
    m.sregs->cr0 |= X86_CR0_WP;
    EMULATE(0x89, 0x07); // mov [rdi], eax
    expect_page_fault(PFERR_P | PFERR_WRITE, 0x100000);
    guest_map(0x100000, G_DATA | X86_PTE_P | 1ull << 51);
    EMULATE(0x8b, 0x07);
    expect_page_fault(PFERR_P | PFERR_RSVD, 0x100000);
    guest_map(0x101000, 0);
    guest_map(0x100000, G_DATA | X86_PTE_P | X86_PTE_RW);
    m.regs->rdi = 0x100ffe;
    EMULATE(0x89, 0x07); // Crosses: nothing is written before the second page is known.
    expect_page_fault(PFERR_WRITE, 0x101000);
    EXPECT_EQ(guest_load(G_DATA + 0xffe, 2), 0);
    m.sregs->cr4 |= X86_CR4_SMAP;
    t.v->cr4_reserved &= ~X86_CR4_SMAP;
    m.regs->rdi = G_DATA; // A user page.
    EMULATE(0x8b, 0x07);
    expect_page_fault(PFERR_P, G_DATA);
    m.regs->rflags |= X86_RFLAGS_AC;
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, 0);
}
TEST(Emulate, PageFaultsTellWhoDidWhat)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, page_faults), 0);
}

static void accessed_dirty(void)
{
    u64 pte = G_TABLES + 0x3000 + (G_DATA >> 12) * 8;

    guest_setup(GUEST_LONG);
    m.regs->rdi = G_DATA;
    EXPECT_EQ(guest_load(pte, 8) & (X86_PTE_A | X86_PTE_D), 0);
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(guest_load(pte, 8) & (X86_PTE_A | X86_PTE_D), X86_PTE_A);
    EXPECT_TRUE(guest_load(G_TABLES, 8) & X86_PTE_A);
    m.regs->rip = G_CODE;
    EMULATE(0x89, 0x07);
    EXPECT_EQ(guest_load(pte, 8) & (X86_PTE_A | X86_PTE_D), X86_PTE_A | X86_PTE_D);
}
TEST(Emulate, WalksSetAccessedAndDirty)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, accessed_dirty), 0);
}

static void other_faults(void)
{
    guest_setup(GUEST_LONG);
    m.regs->rdi = 1ull << 47;
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
    EXPECT_EQ(m.error_code, 0);
    m.regs->rbp = 1ull << 47;
    EMULATE(0x8b, 0x45, 0x00); // mov eax, [rbp]: by SS
    EXPECT_EQ(m.intr_info, FAULT_E(SS_VECTOR));
    m.regs->rdi = G_DATA;
    EMULATE(0xf0, 0x89, 0x07); // lock mov
    EXPECT_EQ(m.intr_info, FAULT(UD_VECTOR));
    EMULATE(0xf7, 0x37); // div dword [rdi] by 0
    EXPECT_EQ(m.intr_info, FAULT(DE_VECTOR));
    EXPECT_EQ(m.regs->rip, G_CODE);
    EMULATE(0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x89, 0x07);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR)); // Sixteen bytes.
}
TEST(Emulate, OtherFaults)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, other_faults), 0);
}

static void segments(void)
{
    guest_setup(GUEST_PROT32);
    m.sregs->ds.g = 0;
    m.sregs->ds.limit = 0xffff;
    m.sregs->ds.base = G_DATA;
    guest_store(G_DATA + 0xfffc, "\x78\x56\x34\x12", 4);
    m.regs->rdi = 0xfffc;
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.regs->rax, 0x12345678);
    m.regs->rip = G_CODE;
    m.regs->rdi = 0xfffd;
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
    EMULATE(0x2e, 0x89, 0x07); // mov cs:[edi], eax: code is never written
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
    m.sregs->ds.type = X86_SEG_ACCESSED; // Read-only.
    m.regs->rdi = 0;
    EMULATE(0x89, 0x07);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, 0);
    m.regs->rip = G_CODE;
    m.sregs->ds.type = X86_SEG_ACCESSED | X86_SEG_WRITABLE | X86_SEG_EXPAND_DOWN; // Above the limit.
    m.regs->rdi = 0x10000;
    m.sregs->ds.base = 0x20000;
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, 0);
    m.regs->rip = G_CODE;
    m.regs->rdi = 0xffff;
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
    m.sregs->ds = (struct hv_segment){.unusable = 1};
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
}
TEST(Emulate, SegmentsLimitWhatIsReached)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, segments), 0);
}

// --- After the instruction.

static void traps(void)
{
    guest_setup(GUEST_LONG);
    m.regs->rdi = G_DATA;
    m.regs->rflags |= X86_RFLAGS_TF;
    EMULATE(0x89, 0x07);
    EXPECT_EQ(m.intr_info, FAULT(DB_VECTOR));
    EXPECT_EQ(t.v->dr6 & X86_DR6_BS, X86_DR6_BS);
    EXPECT_EQ(m.regs->rip, G_CODE + 2);
    m.regs->rcx = 5;
    m.regs->rsi = G_DATA + 0x100;
    m.regs->rip = G_CODE;
    EMULATE(0xf3, 0xa4); // rep movsb: a trap after each
    EXPECT_EQ(m.intr_info, FAULT(DB_VECTOR));
    EXPECT_EQ(m.regs->rcx, 4);
    EXPECT_EQ(m.regs->rip, G_CODE);
}
TEST(Emulate, SingleStepsTrapAfterTheInstruction)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, traps), 0);
}

static void shadow(void)
{
    guest_setup(GUEST_PROT32);
    u64 descriptor = 0x00cf93000000ffff; // Flat, writable data at 0x10.

    guest_store(G_GDT + 0x10, &descriptor, 8);
    m.regs->rax = 0x10;
    m.regs->rflags |= X86_RFLAGS_TF;
    EMULATE(0x8e, 0xd0);       // mov ss, ax
    EXPECT_EQ(m.intr_info, 0); // Held back.
    EXPECT_EQ(fake_vmcs_read(GUEST_INTERRUPTIBILITY_INFO), INTERRUPTIBILITY_MOV_SS);
    m.regs->rip = G_CODE;
    m.regs->rflags = X86_RFLAGS_FIXED;
    EMULATE(0xfb); // sti
    EXPECT_EQ(fake_vmcs_read(GUEST_INTERRUPTIBILITY_INFO), INTERRUPTIBILITY_STI);
    EXPECT_TRUE(m.regs->rflags & X86_RFLAGS_IF);
    EMULATE(0x90); // nop
    EXPECT_EQ(fake_vmcs_read(GUEST_INTERRUPTIBILITY_INFO), 0);
}
TEST(Emulate, StiAndMovSsHoldInterruptsBackForOneInstruction)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, shadow), 0);
}

static void segment_loads(void)
{
    static const struct {
        const char *what;
        u64 descriptor;
        u8 code[2];
        u32 intr_info, error_code;
    } rows[] = {
        {"data", 0x00cf92000000ffff, {0x8e, 0xd8}, 0, 0},
        {"readable code", 0x00cf9a000000ffff, {0x8e, 0xd8}, 0, 0},
        {"execute-only code", 0x00cf98000000ffff, {0x8e, 0xd8}, FAULT_E(GP_VECTOR), 0x18},
        {"not present", 0x00cf12000000ffff, {0x8e, 0xd8}, FAULT_E(NP_VECTOR), 0x18},
        {"a TSS", 0x00008900100000ff, {0x8e, 0xd8}, FAULT_E(GP_VECTOR), 0x18},
        {"SS not present", 0x00cf12000000ffff, {0x8e, 0xd0}, FAULT_E(SS_VECTOR), 0x18},
        {"SS read-only", 0x00cf90000000ffff, {0x8e, 0xd0}, FAULT_E(GP_VECTOR), 0x18},
        {"SS of DPL 3", 0x00cff2000000ffff, {0x8e, 0xd0}, FAULT_E(GP_VECTOR), 0x18},
    };
    guest_setup(GUEST_PROT32);
    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hv_segment before = m.sregs->ds;

        test_row("%s", rows[i].what);
        guest_store(G_GDT + 0x18, &rows[i].descriptor, 8);
        m.regs->rax = 0x18;
        m.regs->rip = G_CODE;
        guest_emulate(rows[i].code, 2);
        EXPECT_EQ(m.intr_info, rows[i].intr_info);
        EXPECT_EQ(m.error_code, rows[i].intr_info ? rows[i].error_code : m.error_code);
        if (rows[i].intr_info == 0) {
            EXPECT_EQ(m.sregs->ds.selector, 0x18);
            EXPECT_EQ(m.sregs->ds.limit, 0xffffffff);
            EXPECT_EQ(guest_load(G_GDT + 0x1d, 1) & X86_SEG_ACCESSED, X86_SEG_ACCESSED);
        } else {
            EXPECT_EQ(m.sregs->ds.selector, before.selector);
        }
    }
    m.sregs->gdt.limit = 0x1e;
    m.regs->rax = 0x18;
    EMULATE(0x8e, 0xd8);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
    EXPECT_EQ(m.error_code, 0x18);
}
TEST(Emulate, SegmentLoadsCheckTheDescriptor)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, segment_loads), 0);
}

// --- Whatever the bytes, registers and mode: an end that user space knows, and a machine that goes on.

static u64 next_random(u64 *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state ^ *state >> 29;
}

static u64 random_address(u64 *seed)
{
    static const u64 near[] = {
        0, G_GDT, G_TABLES, G_CODE, G_DATA + 0xffc, G_DEVICE, G_DEVICE + 0xffa, 1ull << 47, 0xfffc};
    u64 n = next_random(seed);

    return n % 4 ? near[n / 4 % (sizeof(near) / sizeof(near[0]))] + n / 64 % 16 : n;
}

static void random_code(enum guest_mode mode)
{
    u64 seed = 4711 + mode, counts[64] = {0};
    struct hv_sregs sregs;

    guest_setup(mode);
    sregs = *m.sregs;
    for (u32 i = 0; i < 3000; i++) {
        u8 code[15];
        u64 *r = &m.regs->rax;

        for (u32 n = 0; n < sizeof(code); n++)
            code[n] = (u8)(next_random(&seed) >> 13);
        if (i % 3)
            code[0] = 0x0f;
        for (u32 n = 0; n < 16; n++)
            r[n] = random_address(&seed);
        *m.sregs = sregs;
        m.regs->rip = mode == GUEST_REAL ? 0 : G_CODE;
        m.regs->rflags = X86_RFLAGS_FIXED | (next_random(&seed) & 0xcd5);
        test_row("mode %u, round %u", (unsigned)mode, i);
        guest_emulate(code, sizeof(code));
        ASSERT_LT(t.run->exit_reason, 64);
        counts[t.run->exit_reason]++;
    }
    // Most of it is done or faults; the rest leaves to user space.
    EXPECT_GT(counts[HV_EXIT_SHUTDOWN], 1000);
    EXPECT_GT(counts[HV_EXIT_INTERNAL_ERROR], 100);
}
static void random_real(void)
{
    random_code(GUEST_REAL);
}
static void random_prot32(void)
{
    random_code(GUEST_PROT32);
}
static void random_long(void)
{
    random_code(GUEST_LONG);
}
TEST(Emulate, RandomCodeHurtsOnlyItself)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, random_real), 0);
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, random_prot32), 0);
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, random_long), 0);
}
