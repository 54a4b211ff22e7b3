// SPDX-License-Identifier: Apache-2.0
//
// Rows typed a second time (most from memory of the manual's tables, not from the pinned edition: they catch
// slips of the pen, not a belief that both share), with its numbers and its way of writing them: index in
// binary, number of rows of each table, lists of bits. They hold against spec/*.def, which were typed another
// time.

#include "spec/exit_reasons.h"
#include "spec/tests/rows.h"
#include "spec/vm_errors.h"
#include "spec/vmcs.h"
#include "spec/vmx_bits.h"
#include "spec/vmx_controls.h"

static const struct row fields[] = {
#define VMCS_FIELD(name, encoding, section) {#name, encoding},
#include "spec/vmcs_fields.def"
};

// SDM Appendix B: the column "Encoding".
TEST(SpecGoldenVmcs, Encodings)
{
    static const struct row golden[] = {
        {"VIRTUAL_PROCESSOR_ID", 0x00000000},
        {"POSTED_INTR_NV", 0x00000002},
        {"GUEST_CS_SELECTOR", 0x00000802},
        {"GUEST_TR_SELECTOR", 0x0000080E},
        {"GUEST_INTR_STATUS", 0x00000810},
        {"GUEST_PML_INDEX", 0x00000812},
        {"HOST_TR_SELECTOR", 0x00000C0C}, // No LDTR in the host's table: TR follows GS.
        {"VM_EXIT_MSR_LOAD_ADDR", 0x00002008},
        {"VM_ENTRY_MSR_LOAD_ADDR", 0x0000200A},
        {"EXECUTIVE_VMCS_POINTER", 0x0000200C},
        {"PML_ADDRESS", 0x0000200E},
        {"TSC_OFFSET", 0x00002010},
        {"VIRTUAL_APIC_PAGE_ADDR", 0x00002012},
        {"POSTED_INTR_DESC_ADDR", 0x00002016},
        {"VM_FUNCTION_CONTROL", 0x00002018},
        {"EPT_POINTER", 0x0000201A},
        {"EOI_EXIT_BITMAP0", 0x0000201C},
        {"EOI_EXIT_BITMAP3", 0x00002022},
        {"VMREAD_BITMAP", 0x00002026},
        {"VMWRITE_BITMAP", 0x00002028},
        {"VE_INFORMATION_ADDRESS", 0x0000202A},
        {"TSC_MULTIPLIER", 0x00002032},
        {"GUEST_PHYSICAL_ADDRESS", 0x00002400},
        {"VMCS_LINK_POINTER", 0x00002800},
        {"GUEST_PDPTR2", 0x0000280E},
        {"GUEST_PDPTR3", 0x00002810},
        {"HOST_IA32_PERF_GLOBAL_CTRL", 0x00002C04},
        {"PIN_BASED_VM_EXEC_CONTROL", 0x00004000},
        {"SECONDARY_VM_EXEC_CONTROL", 0x0000401E},
        {"PLE_WINDOW", 0x00004022},
        {"VM_EXIT_REASON", 0x00004402},
        {"VMX_INSTRUCTION_INFO", 0x0000440E},
        {"GUEST_TR_LIMIT", 0x0000480E},
        {"GUEST_GDTR_LIMIT", 0x00004810},
        {"GUEST_ES_AR_BYTES", 0x00004814},
        {"GUEST_INTERRUPTIBILITY_INFO", 0x00004824},
        {"GUEST_SYSENTER_CS", 0x0000482A},
        {"VMX_PREEMPTION_TIMER_VALUE", 0x0000482E}, // 482CH is not there.
        {"HOST_IA32_SYSENTER_CS", 0x00004C00},
        {"CR4_READ_SHADOW", 0x00006006},
        {"CR3_TARGET_VALUE3", 0x0000600E},
        {"EXIT_QUALIFICATION", 0x00006400},
        {"IO_RIP", 0x00006408},
        {"GUEST_LINEAR_ADDRESS", 0x0000640A},
        {"GUEST_CR0", 0x00006800},
        {"GUEST_RIP", 0x0000681E},
        {"GUEST_RFLAGS", 0x00006820},
        {"HOST_FS_BASE", 0x00006C06}, // CR4 is 6C04H: the host has no ES, CS, SS or DS base.
        {"HOST_RSP", 0x00006C14},
        {"HOST_RIP", 0x00006C16},
    };
    expect_golden(ROWS(golden), ROWS(fields));
}

// SDM Appendix B: the column "Index", in binary.
TEST(SpecGoldenVmcs, Indexes)
{
    EXPECT_EQ(VMCS_ENC_INDEX(EOI_EXIT_BITMAP2), 0x10);        // 000010000B
    EXPECT_EQ(VMCS_ENC_INDEX(VE_INFORMATION_ADDRESS), 0x15);  // 000010101B
    EXPECT_EQ(VMCS_ENC_INDEX(XSS_EXIT_BITMAP), 0x16);         // 000010110B
    EXPECT_EQ(VMCS_ENC_INDEX(GUEST_PDPTR3), 0x8);             // 000001000B
    EXPECT_EQ(VMCS_ENC_INDEX(HOST_IA32_PERF_GLOBAL_CTRL), 2); // 000000010B
    EXPECT_EQ(VMCS_ENC_HIGH_OF(EPT_POINTER), 0x201B);
    EXPECT_EQ(VMCS_ENC_HIGH_OF(GUEST_PDPTR2), 0x280F);
}

// SDM tables B-1 to B-15: how many rows each has (the high halves of B-4 to B-7 not counted).
TEST(SpecGoldenVmcs, RowsOfEachTable)
{
    static const struct {
        enum vmcs_width width;
        enum vmcs_type type;
        unsigned rows;
    } tables[] = {
        {VMCS_WIDTH_16, VMCS_TYPE_CONTROL, 5},      {VMCS_WIDTH_16, VMCS_TYPE_READ_ONLY, 0},
        {VMCS_WIDTH_16, VMCS_TYPE_GUEST, 10},       {VMCS_WIDTH_16, VMCS_TYPE_HOST, 7},
        {VMCS_WIDTH_64, VMCS_TYPE_CONTROL, 34},     {VMCS_WIDTH_64, VMCS_TYPE_READ_ONLY, 1},
        {VMCS_WIDTH_64, VMCS_TYPE_GUEST, 13},       {VMCS_WIDTH_64, VMCS_TYPE_HOST, 4},
        {VMCS_WIDTH_32, VMCS_TYPE_CONTROL, 19},     {VMCS_WIDTH_32, VMCS_TYPE_READ_ONLY, 8},
        {VMCS_WIDTH_32, VMCS_TYPE_GUEST, 23},       {VMCS_WIDTH_32, VMCS_TYPE_HOST, 1},
        {VMCS_WIDTH_NATURAL, VMCS_TYPE_CONTROL, 8}, {VMCS_WIDTH_NATURAL, VMCS_TYPE_READ_ONLY, 6},
        {VMCS_WIDTH_NATURAL, VMCS_TYPE_GUEST, 23},  {VMCS_WIDTH_NATURAL, VMCS_TYPE_HOST, 15},
    };
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        unsigned rows = 0;
        for (size_t j = 0; j < sizeof(fields) / sizeof(fields[0]); j++) {
            rows += VMCS_ENC_WIDTH(fields[j].value) == tables[i].width &&
                    VMCS_ENC_TYPE(fields[j].value) == tables[i].type;
        }
        test_row("width %d type %d", tables[i].width, tables[i].type);
        EXPECT_EQ(rows, tables[i].rows);
    }
}

// SDM Appendix C, table C-1.
TEST(SpecGoldenExitReasons, Numbers)
{
    static const struct row reasons[] = {
#define EXIT_REASON(number, name, qualification, section) {#name, number},
#include "spec/exit_reasons.def"
    };
    static const struct row golden[] = {
        {"EXCEPTION_NMI", 0},
        {"EXTERNAL_INTERRUPT", 1},
        {"TRIPLE_FAULT", 2},
        {"INTERRUPT_WINDOW", 7},
        {"NMI_WINDOW", 8},
        {"TASK_SWITCH", 9},
        {"CPUID", 10},
        {"GETSEC", 11},
        {"HLT", 12},
        {"RSM", 17},
        {"VMCALL", 18},
        {"VMCLEAR", 19},
        {"VMLAUNCH", 20},
        {"VMPTRLD", 21},
        {"VMPTRST", 22},
        {"VMREAD", 23},
        {"VMRESUME", 24},
        {"VMWRITE", 25},
        {"VMOFF", 26},
        {"VMON", 27},
        {"CR_ACCESS", 28},
        {"DR_ACCESS", 29},
        {"IO_INSTRUCTION", 30},
        {"MSR_READ", 31},
        {"MSR_WRITE", 32},
        {"INVALID_STATE", 33},
        {"MSR_LOAD_FAIL", 34},
        {"MWAIT_INSTRUCTION", 36},
        {"MONITOR_TRAP_FLAG", 37},
        {"MONITOR_INSTRUCTION", 39},
        {"PAUSE_INSTRUCTION", 40},
        {"MCE_DURING_VMENTRY", 41},
        {"TPR_BELOW_THRESHOLD", 43},
        {"APIC_ACCESS", 44},
        {"EOI_INDUCED", 45},
        {"GDTR_IDTR", 46},
        {"LDTR_TR", 47},
        {"EPT_VIOLATION", 48},
        {"EPT_MISCONFIG", 49},
        {"INVEPT", 50},
        {"RDTSCP", 51},
        {"PREEMPTION_TIMER", 52},
        {"INVVPID", 53},
        {"WBINVD", 54},
        {"XSETBV", 55},
        {"APIC_WRITE", 56},
        {"RDRAND", 57},
        {"INVPCID", 58},
        {"VMFUNC", 59},
        {"PML_FULL", 62},
        {"XRSTORS", 64},
        {"BUS_LOCK", 74},
    };
    expect_golden(ROWS(golden), ROWS(reasons));
}

// SDM 30.4, table 30-1, which skips 14, 21 and 27.
TEST(SpecGoldenVmErrors, Numbers)
{
    EXPECT_EQ(VMERR_VMCALL_IN_ROOT, 1);
    EXPECT_EQ(VMERR_VMLAUNCH_NOT_CLEAR, 4);
    EXPECT_EQ(VMERR_VMRESUME_NOT_LAUNCHED, 5);
    EXPECT_EQ(VMERR_ENTRY_BAD_CONTROLS, 7);
    EXPECT_EQ(VMERR_ENTRY_BAD_HOST_STATE, 8);
    EXPECT_EQ(VMERR_VMPTRLD_BAD_REVISION, 11);
    EXPECT_EQ(VMERR_UNSUPPORTED_COMPONENT, 12);
    EXPECT_EQ(VMERR_VMWRITE_READ_ONLY, 13);
    EXPECT_EQ(VMERR_VMXON_IN_ROOT, 15);
    EXPECT_EQ(VMERR_ENTRY_EXEC_NOT_VMXON, 18);
    EXPECT_EQ(VMERR_VMCALL_BAD_MSEG_REVISION, 22);
    EXPECT_EQ(VMERR_ENTRY_MOV_SS_BLOCKING, 26);
    EXPECT_EQ(VMERR_INVEPT_INVVPID_BAD_OPERAND, 28);
}

// SDM 24.6.1, 24.6.2, 24.7.1, 24.8.1: column "Bit position(s)".
TEST(SpecGoldenControls, BitPositions)
{
    EXPECT_EQ(PIN_VIRTUAL_NMIS, 0x20);
    EXPECT_EQ(PIN_POSTED_INTERRUPTS, 0x80);
    EXPECT_EQ(CPU_HLT_EXITING, 0x80);
    EXPECT_EQ(CPU_CR3_LOAD_EXITING, 0x8000);
    EXPECT_EQ(CPU_USE_TPR_SHADOW, 0x200000);
    EXPECT_EQ(CPU_USE_MSR_BITMAPS, 0x10000000);
    EXPECT_EQ(CPU_ACTIVATE_SECONDARY_CONTROLS, 0x80000000);
    EXPECT_EQ(CPU2_ENABLE_EPT, 0x2);
    EXPECT_EQ(CPU2_ENABLE_VPID, 0x20);
    EXPECT_EQ(CPU2_UNRESTRICTED_GUEST, 0x80);
    EXPECT_EQ(CPU2_ENABLE_PML, 0x20000);
    EXPECT_EQ(CPU2_USE_TSC_SCALING, 0x2000000);
    EXPECT_EQ(CPU3_IPI_VIRTUALIZATION, 0x10);
    EXPECT_EQ(EXIT_HOST_ADDR_SPACE_SIZE, 0x200);
    EXPECT_EQ(EXIT_ACK_INTERRUPT_ON_EXIT, 0x8000);
    EXPECT_EQ(EXIT_SAVE_PREEMPTION_TIMER, 0x400000);
    EXPECT_EQ(ENTRY_IA32E_MODE_GUEST, 0x200);
    EXPECT_EQ(ENTRY_LOAD_EFER, 0x8000);
}

// The manual lists the default1 class of each field in words: "bits 1, 2, and 4" and so on
// (SDM 24.6.1, 24.6.2, 24.7.1, 24.8.1).
TEST(SpecGoldenControls, Default1Classes)
{
    static const signed char pin[] = {1, 2, 4, -1};
    static const signed char cpu[] = {1, 4, 5, 6, 8, 13, 14, 15, 16, 26, -1};
    static const signed char exit[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 14, 16, 17, -1};
    static const signed char entry[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 12, -1};
    static const struct {
        const signed char *bits;
        unsigned mask;
    } golden[] = {{pin, PIN_DEFAULT1}, {cpu, CPU_DEFAULT1}, {exit, EXIT_DEFAULT1}, {entry, ENTRY_DEFAULT1}};
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        unsigned mask = 0;
        for (const signed char *bit = golden[i].bits; *bit >= 0; bit++) {
            mask |= 1u << *bit;
        }
        EXPECT_EQ(golden[i].mask, mask);
    }
}

// Whole values, worked out by hand from the manual's layouts.
TEST(SpecGoldenLayouts, WholeValues)
{
    // A #PF with error code, as VM exits report it (24.9.2): 80000B0EH. External interrupt 236: 800000ECH.
    EXPECT_EQ(INTR_INFO_VALID | INTR_INFO_DELIVER_CODE | INTR_TYPE_HARD_EXCEPTION | 14, 0x80000B0E);
    EXPECT_EQ(INTR_INFO_VALID | INTR_TYPE_EXTERNAL | 236, 0x800000EC);
    EXPECT_EQ(INTR_INFO_VALID | INTR_TYPE_NMI | 2, 0x80000202);
    // Access rights of a 64-bit code segment (24.4.1): accessed, readable code, S, present, L, G: A09BH.
    EXPECT_EQ(11 | AR_S | AR_P | AR_L | AR_G, 0xA09B);
    EXPECT_EQ(AR_UNUSABLE, 0x10000);
    // OUT 80H, AL with an immediate port (27.2.1): 00800040H. IN EAX, DX from 1F0H: 01F0000BH.
    EXPECT_EQ((0x80u << QUAL_IO_PORT_SHIFT) | QUAL_IO_IMMEDIATE, 0x00800040);
    EXPECT_EQ((0x1F0u << QUAL_IO_PORT_SHIFT) | QUAL_IO_IN | 3, 0x01F0000B);
    // MOV RBX, CR8: CR 8, MOV from CR, GPR 3: 318H. MOV DR7, RAX: 7. MOV RCX, DR6: 116H.
    EXPECT_EQ(8 | (QUAL_CR_MOV_FROM << QUAL_CR_TYPE_SHIFT) | (3 << QUAL_CR_GPR_SHIFT), 0x318);
    EXPECT_EQ(6 | QUAL_DR_FROM | (1 << QUAL_DR_GPR_SHIFT), 0x116);
    // A data write to an unmapped page by way of its linear address (table 27-7): 182H. Read: 181H.
    EXPECT_EQ(QUAL_EPT_WRITE | QUAL_EPT_LINEAR_VALID | QUAL_EPT_TRANSLATED, 0x182);
    EXPECT_EQ(QUAL_EPT_READ | QUAL_EPT_LINEAR_VALID | QUAL_EPT_TRANSLATED, 0x181);
    // A 4-level write-back EPTP with accessed and dirty flags (24.6.11): low bits 5EH; without them 1EH.
    EXPECT_EQ(6 | EPTP_WALK_4 | EPTP_AD, 0x5E);
    EXPECT_EQ(6 | EPTP_WALK_4, 0x1E);
    // A writable, executable write-back 2 MiB EPT leaf with A and D (28.3.2): low bits 3B7H.
    EXPECT_EQ(EPT_RWX | (6 << EPT_MEMTYPE_SHIFT) | EPT_PS | EPT_A | EPT_D, 0x3B7);
    // A failed VM entry due to invalid guest state (26.8): exit reason 80000021H.
    EXPECT_EQ(EXIT_REASON_ENTRY_FAILURE | EXIT_REASON_INVALID_STATE, 0x80000021);
}
