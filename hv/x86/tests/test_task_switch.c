// SPDX-License-Identifier: Apache-2.0
// Task switches (SDM 7.2, 7.3, 25.4.2): what is saved, loaded, marked and raised, and in which task.
#include "hv/x86/tests/emulate_fixture.h"
#include <string.h>

enum {
    SEL_CODE = 0x08,
    SEL_DATA = 0x10,
    SEL_OLD = 0x20,
    SEL_NEW = 0x28,
    SEL_LDT = 0x30,
    SEL_16 = 0x38,
    SEL_USER = 0x43
};
enum { OLD_TSS = 0x50000, NEW_TSS = 0x51000, TSS_16 = 0x52000, NEW_STACK = 0x60000 };

#define FAULT_E(vector) (INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE | (vector))

static struct {
    unsigned source, length;
    u16 selector;
    u32 vectoring, error_code;
} exit_of;

static void task_switch_exit(struct hw_gprs *r)
{
    (void)r;
    fake_vmcs_write(IDT_VECTORING_INFO_FIELD, exit_of.vectoring);
    fake_vmcs_write(IDT_VECTORING_ERROR_CODE, exit_of.error_code);
    guest_exit(EXIT_REASON_TASK_SWITCH, (u64)exit_of.source << QUAL_TASK_SOURCE_SHIFT | exit_of.selector,
               exit_of.length);
}

static void descriptor(u16 selector, u32 base, u32 limit, u8 access, u8 flags)
{
    u64 d = (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 |
            (u64)(limit >> 16 & 15) << 48 | (u64)flags << 52 | (u64)(base >> 24) << 56;

    guest_store(G_GDT + (selector & ~7u), &d, 8);
}

static void store32(u64 at, u32 value)
{
    guest_store(at, &value, 4);
}

// A runnable task of 32 bits: EIP 0x1234, EFLAGS 0x202, EAX.. 0x100.., flat segments.
static void make_task(void)
{
    store32(NEW_TSS + 0x20, 0x1234);
    store32(NEW_TSS + 0x24, 0x202);
    for (u32 n = 0; n < 8; n++)
        store32(NEW_TSS + 0x28 + 4 * n, n == GPR_RSP ? NEW_STACK : 0x100 + n);
    for (u32 s = 0; s < 6; s++)
        store32(NEW_TSS + 0x48 + 4 * s, s == SEG_CS ? SEL_CODE : SEL_DATA);
    store32(NEW_TSS + 0x60, SEL_LDT);
}

static void setup(unsigned source, u16 selector)
{
    guest_setup(GUEST_PROT32);
    descriptor(SEL_CODE, 0, 0xfffff, 0x9b, 0xc);
    descriptor(SEL_DATA, 0, 0xfffff, 0x93, 0xc);
    descriptor(SEL_OLD, OLD_TSS, 0x67, 0x8b, 0);
    descriptor(SEL_NEW, NEW_TSS, 0x67, 0x89, 0);
    descriptor(SEL_LDT, 0x53000, 0x27, 0x82, 0);
    descriptor(SEL_16, TSS_16, 0x2b, 0x81, 0);
    make_task();
    m.sregs->tr =
        (struct hv_segment){.base = OLD_TSS, .limit = 0x67, .selector = SEL_OLD, .type = 11, .present = 1};
    m.regs->rax = 0xaaaa;
    m.regs->rdi = 0xdddd;
    m.regs->rip = G_CODE;
    m.regs->rflags = 0x46;
    memset(&exit_of, 0, sizeof(exit_of));
    exit_of.source = source;
    exit_of.selector = selector;
    exit_of.length = 7;
}

static bool is_busy(u16 selector)
{
    return (guest_load(G_GDT + selector + 5u, 1) & 2) != 0;
}

static void by_jump(void)
{
    setup(QUAL_TASK_SOURCE_JMP, SEL_NEW);
    guest_one_exit(task_switch_exit);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
    EXPECT_EQ(m.intr_info, 0);
    EXPECT_EQ(m.regs->rip, 0x1234); // The new task's registers,
    EXPECT_EQ(m.regs->rflags, 0x202);
    EXPECT_EQ(m.regs->rax, 0x100);
    EXPECT_EQ(m.regs->rdi, 0x107);
    EXPECT_EQ(m.regs->rsp, NEW_STACK);
    EXPECT_EQ(m.sregs->tr.selector, SEL_NEW);
    EXPECT_EQ(m.sregs->tr.base, NEW_TSS);
    EXPECT_EQ(m.sregs->tr.type, 11);
    EXPECT_EQ(m.sregs->ldt.selector, SEL_LDT);
    EXPECT_EQ(m.sregs->ldt.base, 0x53000);
    EXPECT_EQ(m.sregs->es.selector, SEL_DATA);
    EXPECT_EQ(m.sregs->es.limit, 0xffffffff);
    EXPECT_TRUE(m.sregs->cr0 & X86_CR0_TS);
    EXPECT_EQ(guest_load(OLD_TSS + 0x20, 4), G_CODE + 7); // the old one's in its segment.
    EXPECT_EQ(guest_load(OLD_TSS + 0x24, 4), 0x46);
    EXPECT_EQ(guest_load(OLD_TSS + 0x28, 4), 0xaaaa);
    EXPECT_EQ(guest_load(OLD_TSS + 0x44, 4), 0xdddd);
    EXPECT_EQ(guest_load(OLD_TSS + 0x4c, 2), 8);
    EXPECT_FALSE(is_busy(SEL_OLD));
    EXPECT_TRUE(is_busy(SEL_NEW));
    EXPECT_EQ(guest_load(NEW_TSS, 2), 0); // No link back.
}
TEST(TaskSwitch, JumpSavesLoadsAndMarks)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, by_jump), 0);
}

static void there_and_back(void)
{
    setup(QUAL_TASK_SOURCE_CALL, SEL_NEW);
    guest_one_exit(task_switch_exit);
    EXPECT_EQ(m.regs->rip, 0x1234);
    EXPECT_EQ(m.regs->rflags, 0x202 | X86_RFLAGS_NT);
    EXPECT_EQ(guest_load(NEW_TSS, 2), SEL_OLD);
    EXPECT_TRUE(is_busy(SEL_OLD)); // It is to come back.
    EXPECT_TRUE(is_busy(SEL_NEW));
    exit_of.source = QUAL_TASK_SOURCE_IRET;
    exit_of.selector = SEL_OLD;
    exit_of.length = 1;
    for (u32 s = 0; s < 6; s++) // The first save was of flat segments whose selectors the table has too.
        store32(OLD_TSS + 0x48 + 4 * s, s == SEG_CS ? SEL_CODE : SEL_DATA);
    guest_one_exit(task_switch_exit);
    EXPECT_EQ(m.intr_info, 0);
    EXPECT_EQ(m.regs->rip, G_CODE + 7);
    EXPECT_EQ(m.regs->rax, 0xaaaa);
    EXPECT_EQ(m.regs->rflags, 0x46);
    EXPECT_EQ(guest_load(NEW_TSS + 0x24, 4), 0x202); // NT is clear in what IRET saves.
    EXPECT_EQ(guest_load(NEW_TSS + 0x20, 4), 0x1235);
    EXPECT_TRUE(is_busy(SEL_OLD));
    EXPECT_FALSE(is_busy(SEL_NEW));
}
TEST(TaskSwitch, CallLinksBackAndIretReturns)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, there_and_back), 0);
}

static void by_gate(void)
{
    setup(QUAL_TASK_SOURCE_GATE, SEL_NEW);
    exit_of.vectoring = FAULT_E(GP_VECTOR);
    exit_of.error_code = 0x5678;
    guest_one_exit(task_switch_exit);
    EXPECT_EQ(m.intr_info, 0);                        // The switch was its delivery.
    EXPECT_EQ(guest_load(OLD_TSS + 0x20, 4), G_CODE); // A fault's own instruction.
    EXPECT_EQ(m.regs->rsp, NEW_STACK - 4);
    EXPECT_EQ(guest_load(NEW_STACK - 4, 4), 0x5678);
    EXPECT_TRUE(m.regs->rflags & X86_RFLAGS_NT);
    setup(QUAL_TASK_SOURCE_GATE, SEL_NEW);
    exit_of.vectoring = INTR_INFO_VALID | INTR_TYPE_SOFT_INTERRUPT | 0x40;
    exit_of.length = 2;
    guest_one_exit(task_switch_exit);
    EXPECT_EQ(guest_load(OLD_TSS + 0x20, 4), G_CODE + 2); // INT n: the next one.
    EXPECT_EQ(m.regs->rsp, NEW_STACK);
    setup(QUAL_TASK_SOURCE_GATE, SEL_NEW);
    exit_of.vectoring = INTR_INFO_VALID | INTR_TYPE_NMI | NMI_VECTOR;
    guest_one_exit(task_switch_exit);
    EXPECT_EQ(m.intr_info, 0);
    EXPECT_TRUE(fake_vmcs_read(GUEST_INTERRUPTIBILITY_INFO) & INTERRUPTIBILITY_NMI);
}
TEST(TaskSwitch, GatesTakeTheEventAlongAndPushItsErrorCode)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, by_gate), 0);
}

static void sixteen_bits(void)
{
    setup(QUAL_TASK_SOURCE_JMP, SEL_16);
    static const u16 tss[22] = {0,     0,        0,        0,        0,        0,    0,    0x1234,
                                0x202, 0x10,     0x11,     0x12,     0x13,     0x14, 0x15, 0x16,
                                0x17,  SEL_DATA, SEL_CODE, SEL_DATA, SEL_DATA, 0};

    guest_store(TSS_16, tss, sizeof(tss));
    m.regs->rax = 0x99990000;
    guest_one_exit(task_switch_exit);
    EXPECT_EQ(m.intr_info, 0);
    EXPECT_EQ(m.regs->rip, 0x1234);
    EXPECT_EQ(m.regs->rax & 0xffff, 0x10);
    EXPECT_EQ(m.regs->rsp & 0xffff, 0x14);
    EXPECT_EQ(m.sregs->ds.selector, SEL_DATA);
    EXPECT_TRUE(m.sregs->fs.unusable); // It has no FS and GS.
    EXPECT_EQ(m.sregs->tr.type, 3);
}
TEST(TaskSwitch, SixteenBitTasksHaveTheirOwnSegment)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, sixteen_bits), 0);
}

// Faults of the old task: at its instruction, nothing has changed.
static void old_faults(void)
{
    static const struct {
        const char *what;
        unsigned source;
        u16 selector;
        u8 access;
        u32 limit, intr_info, error_code;
    } rows[] = {
        {"busy", QUAL_TASK_SOURCE_JMP, SEL_NEW, 0x8b, 0x67, FAULT_E(GP_VECTOR), SEL_NEW},
        {"available, IRET", QUAL_TASK_SOURCE_IRET, SEL_NEW, 0x89, 0x67, FAULT_E(TS_VECTOR), SEL_NEW},
        {"not present", QUAL_TASK_SOURCE_CALL, SEL_NEW, 0x09, 0x67, FAULT_E(NP_VECTOR), SEL_NEW},
        {"limit", QUAL_TASK_SOURCE_CALL, SEL_NEW, 0x89, 0x66, FAULT_E(TS_VECTOR), SEL_NEW},
        {"privilege", QUAL_TASK_SOURCE_CALL, SEL_NEW | 1, 0x89, 0x67, FAULT_E(GP_VECTOR), SEL_NEW},
        {"local table", QUAL_TASK_SOURCE_JMP, SEL_NEW | 4, 0x89, 0x67, FAULT_E(GP_VECTOR), SEL_NEW | 4},
        {"no task", QUAL_TASK_SOURCE_JMP, SEL_NEW, 0x82, 0x67, FAULT_E(GP_VECTOR), SEL_NEW},
    };
    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_row("%s", rows[i].what);
        setup(rows[i].source, rows[i].selector);
        descriptor(SEL_NEW, NEW_TSS, rows[i].limit, rows[i].access, 0);
        guest_one_exit(task_switch_exit);
        EXPECT_EQ(m.intr_info, rows[i].intr_info);
        EXPECT_EQ(m.error_code, rows[i].error_code);
        EXPECT_EQ(m.regs->rip, G_CODE);
        EXPECT_EQ(m.regs->rax, 0xaaaa);
        EXPECT_EQ(m.sregs->tr.selector, SEL_OLD);
        EXPECT_TRUE(is_busy(SEL_OLD));
    }
}
TEST(TaskSwitch, FaultsBeforeTheSwitchAreTheOldTasks)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, old_faults), 0);
}

static void new_faults(void)
{
    static const struct {
        const char *what;
        u32 field, value, intr_info, error_code;
    } rows[] = {
        {"SS is code", 0x50, SEL_CODE, FAULT_E(TS_VECTOR), SEL_CODE},
        {"SS is null", 0x50, 0, FAULT_E(TS_VECTOR), 0},
        {"CS is data", 0x4c, SEL_DATA, FAULT_E(TS_VECTOR), SEL_DATA},
        {"DS beyond the table", 0x54, 0xfff8, FAULT_E(TS_VECTOR), 0xfff8},
        {"LDT is no LDT", 0x60, SEL_DATA, FAULT_E(TS_VECTOR), SEL_DATA},
        {"FS not present", 0x58, SEL_USER, FAULT_E(NP_VECTOR), SEL_USER & ~3u},
    };
    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_row("%s", rows[i].what);
        setup(QUAL_TASK_SOURCE_JMP, SEL_NEW);
        descriptor(SEL_USER, 0, 0xfffff, 0x73, 0xc); // DPL 3, not present.
        m.sregs->gdt.limit = 0x7f;
        store32(NEW_TSS + rows[i].field, rows[i].value);
        guest_one_exit(task_switch_exit);
        EXPECT_EQ(m.intr_info, rows[i].intr_info);
        EXPECT_EQ(m.error_code, rows[i].error_code);
        EXPECT_EQ(m.regs->rip, 0x1234); // It is the new task that faults.
        EXPECT_EQ(m.sregs->tr.selector, SEL_NEW);
    }
}
TEST(TaskSwitch, FaultsAfterTheSwitchAreTheNewTasks)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, new_faults), 0);
}

static void debug_trap(void)
{
    setup(QUAL_TASK_SOURCE_JMP, SEL_NEW);
    store32(NEW_TSS + 0x64, 1); // T
    guest_one_exit(task_switch_exit);
    EXPECT_EQ(m.intr_info, INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | DB_VECTOR);
    EXPECT_TRUE(t.v->dr6 & X86_DR6_BT);
    EXPECT_EQ(m.regs->rip, 0x1234);
}
TEST(TaskSwitch, TheTBitTrapsInTheNewTask)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, debug_trap), 0);
}
