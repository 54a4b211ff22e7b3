// SPDX-License-Identifier: Apache-2.0
// Every check of VM entry, violated once: a valid VMCS with one field changed fails with the manual's error
// and nothing else would have failed it (SDM 26.2, 26.3, 26.8).
#include "models/cpu/x86/check_guest.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"

// A change of the valid VMCS: bits to set and to clear in a field; width is the field's.
struct change {
    uint32_t field;
    uint64_t set, clear;
};

struct row {
    const char *rule; // Name in the rule tables
    struct change changes[4];
};

#define ALL UINT64_MAX
#define SECONDARY(bits)                                                                                      \
    {                                                                                                        \
        SECONDARY_VM_EXEC_CONTROL, bits, 0                                                                   \
    }
#define EPT_ON                                                                                               \
    SECONDARY(CPU2_ENABLE_EPT),                                                                              \
    {                                                                                                        \
        EPT_POINTER, BENCH_EPT | 0x1e, ALL                                                                   \
    }

static const struct row control_rows[] = {
    // clang-format off
    {"pin-based controls are allowed", {{PIN_BASED_VM_EXEC_CONTROL, 0, 2}}},
    {"primary processor-based controls are allowed", {{CPU_BASED_VM_EXEC_CONTROL, 1, 0}}},
    {"secondary processor-based controls are allowed", {SECONDARY(1u << 31)}},
    {"CR3-target count", {{CR3_TARGET_COUNT, 5, 0}}},
    {"I/O-bitmap A address", {{CPU_BASED_VM_EXEC_CONTROL, CPU_USE_IO_BITMAPS, 0}, {IO_BITMAP_A, 0x800, 0}}},
    {"I/O-bitmap B address", {{CPU_BASED_VM_EXEC_CONTROL, CPU_USE_IO_BITMAPS, 0}, {IO_BITMAP_B, 1ull << 52, 0}}},
    {"MSR-bitmap address", {{CPU_BASED_VM_EXEC_CONTROL, CPU_USE_MSR_BITMAPS, 0}, {MSR_BITMAP, 1, 0}}},
    {"virtual-APIC address", {{CPU_BASED_VM_EXEC_CONTROL, CPU_USE_TPR_SHADOW, 0}, {VIRTUAL_APIC_PAGE_ADDR, 8, 0}}},
    {"bits 31:4 of the TPR threshold", {{CPU_BASED_VM_EXEC_CONTROL, CPU_USE_TPR_SHADOW, 0}, {TPR_THRESHOLD, 0x10, 0}}},
    {"TPR threshold is not above VTPR", {{CPU_BASED_VM_EXEC_CONTROL, CPU_USE_TPR_SHADOW, 0}, {TPR_THRESHOLD, 1, 0}}},
    {"virtual NMIs need NMI exiting", {{PIN_BASED_VM_EXEC_CONTROL, PIN_VIRTUAL_NMIS, 0}}},
    {"NMI-window exiting needs virtual NMIs", {{CPU_BASED_VM_EXEC_CONTROL, CPU_NMI_WINDOW_EXITING, 0}}},
    {"APIC-access address", {SECONDARY(CPU2_VIRTUALIZE_APIC_ACCESSES), {APIC_ACCESS_ADDR, 0x10, 0}}},
    {"APIC virtualization needs the TPR shadow", {SECONDARY(CPU2_APIC_REGISTER_VIRT)}},
    {"x2APIC mode excludes APIC accesses",
     {{CPU_BASED_VM_EXEC_CONTROL, CPU_USE_TPR_SHADOW, 0},
      SECONDARY(CPU2_VIRTUALIZE_X2APIC_MODE | CPU2_VIRTUALIZE_APIC_ACCESSES)}},
    {"virtual-interrupt delivery needs external-interrupt exiting",
     {{CPU_BASED_VM_EXEC_CONTROL, CPU_USE_TPR_SHADOW, 0}, SECONDARY(CPU2_VIRTUAL_INTR_DELIVERY)}},
    {"posted interrupts need virtual-interrupt delivery", {{PIN_BASED_VM_EXEC_CONTROL, PIN_POSTED_INTERRUPTS, 0}}},
    {"posted interrupts need acknowledge on exit",
     {{PIN_BASED_VM_EXEC_CONTROL, PIN_POSTED_INTERRUPTS | PIN_EXTERNAL_INTERRUPT_EXITING, 0},
      {CPU_BASED_VM_EXEC_CONTROL, CPU_USE_TPR_SHADOW, 0}, SECONDARY(CPU2_VIRTUAL_INTR_DELIVERY)}},
    {"VPID is not 0", {SECONDARY(CPU2_ENABLE_VPID)}},
    {"EPTP", {SECONDARY(CPU2_ENABLE_EPT), {EPT_POINTER, BENCH_EPT | 0x1f, ALL}}},
    {"PML needs EPT", {SECONDARY(CPU2_ENABLE_PML)}},
    {"PML address", {SECONDARY(CPU2_ENABLE_PML | CPU2_ENABLE_EPT), {EPT_POINTER, BENCH_EPT | 0x1e, ALL}, {PML_ADDRESS, 4, 0}}},
    {"unrestricted guest needs EPT", {SECONDARY(CPU2_UNRESTRICTED_GUEST)}},
    {"VM-function controls", {SECONDARY(CPU2_ENABLE_VM_FUNCTIONS), {VM_FUNCTION_CONTROL, 2, 0}}},
    {"EPTP switching", {SECONDARY(CPU2_ENABLE_VM_FUNCTIONS), {VM_FUNCTION_CONTROL, 1, 0}}},
    {"VMREAD-bitmap address", {SECONDARY(CPU2_VMCS_SHADOWING), {VMREAD_BITMAP, 1, 0}}},
    {"VMWRITE-bitmap address", {SECONDARY(CPU2_VMCS_SHADOWING), {VMWRITE_BITMAP, 1, 0}}},
    {"virtualization-exception information address", {SECONDARY(CPU2_EPT_VIOLATION_VE), {VE_INFORMATION_ADDRESS, 1, 0}}},
    {"TSC multiplier is not 0", {SECONDARY(CPU2_USE_TSC_SCALING), {TSC_MULTIPLIER, 0, ALL}}},
    {"VM-exit controls are allowed", {{VM_EXIT_CONTROLS, 0, 1}}},
    {"saving the preemption timer needs it active", {{VM_EXIT_CONTROLS, EXIT_SAVE_PREEMPTION_TIMER, 0}}},
    {"VM-exit MSR-store area", {{VM_EXIT_MSR_STORE_COUNT, 1, 0}, {VM_EXIT_MSR_STORE_ADDR, 8, 0}}},
    {"VM-exit MSR-load area", {{VM_EXIT_MSR_LOAD_COUNT, 2, 0}, {VM_EXIT_MSR_LOAD_ADDR, (1ull << 46) - 16, 0}}},
    {"VM-entry controls are allowed", {{VM_ENTRY_CONTROLS, 0, 1}}},
    {"event: type", {{VM_ENTRY_INTR_INFO_FIELD, 0x80000120, 0}}},
    {"event: vector fits the type", {{VM_ENTRY_INTR_INFO_FIELD, 0x80000203, 0}}},
    {"event: vector fits the type", {{VM_ENTRY_INTR_INFO_FIELD, 0x80000320, 0}}},
    {"event: error code fits type and vector", {{VM_ENTRY_INTR_INFO_FIELD, 0x8000030d, 0}}},
    {"event: error code fits type and vector", {{VM_ENTRY_INTR_INFO_FIELD, 0x80000820, 0}}},
    {"event: error code fits type and vector", {{VM_ENTRY_INTR_INFO_FIELD, 0x80000b06, 0}}},
    {"event: reserved bits", {{VM_ENTRY_INTR_INFO_FIELD, 0x80001020, 0}}},
    {"event: error code bits 31:16", {{VM_ENTRY_INTR_INFO_FIELD, 0x80000b0d, 0}, {VM_ENTRY_EXCEPTION_ERROR_CODE, 0x10000, 0}}},
    {"event: instruction length", {{VM_ENTRY_INTR_INFO_FIELD, 0x80000480, 0}, {VM_ENTRY_INSTRUCTION_LEN, 16, 0}}},
    {"VM-entry MSR-load area", {{VM_ENTRY_MSR_LOAD_COUNT, 1, 0}, {VM_ENTRY_MSR_LOAD_ADDR, 1, 0}}},
    // clang-format on
};

static const struct row host_rows[] = {
    // clang-format off
    {"CR0 fixed bits", {{HOST_CR0, 0, 0x20}}},
    {"CR4 fixed bits", {{HOST_CR4, 0, 0x2000}}},
    {"CR3 within the address width", {{HOST_CR3, 1ull << 46, 0}}},
    {"SYSENTER_ESP is canonical", {{HOST_IA32_SYSENTER_ESP, 1ull << 47, 0}}},
    {"SYSENTER_EIP is canonical", {{HOST_IA32_SYSENTER_EIP, 1ull << 47, 0}}},
    {"IA32_PERF_GLOBAL_CTRL reserved bits", {{VM_EXIT_CONTROLS, EXIT_LOAD_PERF_GLOBAL_CTRL, 0}, {HOST_IA32_PERF_GLOBAL_CTRL, 1ull << 40, 0}}},
    {"IA32_PAT memory types", {{HOST_IA32_PAT, 2, 0xff}}},
    {"IA32_EFER reserved bits", {{HOST_IA32_EFER, 2, 0}}},
    {"IA32_EFER fits the address-space size", {{HOST_IA32_EFER, 0, EFER_LMA}}},
    {"ES: TI and RPL are 0", {{HOST_ES_SELECTOR, 4, 0}}},
    {"CS: TI and RPL are 0", {{HOST_CS_SELECTOR, 3, 0}}},
    {"SS: TI and RPL are 0", {{HOST_SS_SELECTOR, 1, 0}}},
    {"DS: TI and RPL are 0", {{HOST_DS_SELECTOR, 2, 0}}},
    {"FS: TI and RPL are 0", {{HOST_FS_SELECTOR, 4, 0}}},
    {"GS: TI and RPL are 0", {{HOST_GS_SELECTOR, 4, 0}}},
    {"TR: TI and RPL are 0", {{HOST_TR_SELECTOR, 4, 0}}},
    {"CS is not null", {{HOST_CS_SELECTOR, 0, ALL}}},
    {"TR is not null", {{HOST_TR_SELECTOR, 0, ALL}}},
    {"FS base is canonical", {{HOST_FS_BASE, 1ull << 63, 0}}},
    {"GS base is canonical", {{HOST_GS_BASE, 1ull << 63, 0}}},
    {"GDTR base is canonical", {{HOST_GDTR_BASE, 1ull << 63, 0}}},
    {"IDTR base is canonical", {{HOST_IDTR_BASE, 1ull << 63, 0}}},
    {"TR base is canonical", {{HOST_TR_BASE, 1ull << 63, 0}}},
    {"host address-space size in IA-32e mode", {{VM_EXIT_CONTROLS, 0, EXIT_HOST_ADDR_SPACE_SIZE | EXIT_LOAD_EFER}}},
    {"64-bit host has CR4.PAE", {{HOST_CR4, 0, 0x20}}},
    {"RIP fits the address-space size", {{HOST_RIP, 0, 1ull << 63}}},
    // clang-format on
};

#define NOT_64                                                                                               \
    {                                                                                                        \
        VM_ENTRY_CONTROLS, 0, ENTRY_IA32E_MODE_GUEST | ENTRY_LOAD_EFER                                       \
    }
#define EVENT(info)                                                                                          \
    {                                                                                                        \
        VM_ENTRY_INTR_INFO_FIELD, info, 0                                                                    \
    }

static const struct row guest_rows[] = {
    // clang-format off
    {"CR0 fixed bits", {{GUEST_CR0, 0, X86_CR0_NE}}},
    {"CR0.PG needs CR0.PE", {{GUEST_CR0, 0, X86_CR0_PE}, EPT_ON, SECONDARY(CPU2_UNRESTRICTED_GUEST | CPU2_ENABLE_EPT)}},
    {"CR4 fixed bits", {{GUEST_CR4, 0, X86_CR4_VMXE}}},
    {"IA32_DEBUGCTL reserved bits", {{VM_ENTRY_CONTROLS, ENTRY_LOAD_DEBUG_CONTROLS, 0}, {GUEST_IA32_DEBUGCTL, 1u << 16, 0}}},
    {"IA-32e guest has CR0.PG", {{GUEST_CR0, 0, X86_CR0_PG}, EPT_ON, SECONDARY(CPU2_UNRESTRICTED_GUEST | CPU2_ENABLE_EPT)}},
    {"IA-32e guest has CR4.PAE", {{GUEST_CR4, 0, X86_CR4_PAE}}},
    {"CR4.PCIDE needs an IA-32e guest", {NOT_64, {GUEST_CR4, X86_CR4_PCIDE, 0}}},
    {"CR3 within the address width", {{GUEST_CR3, 1ull << 46, 0}}},
    {"DR7 bits 63:32", {{VM_ENTRY_CONTROLS, ENTRY_LOAD_DEBUG_CONTROLS, 0}, {GUEST_DR7, 1ull << 32, 0}}},
    {"SYSENTER_ESP is canonical", {{GUEST_SYSENTER_ESP, 1ull << 47, 0}}},
    {"SYSENTER_EIP is canonical", {{GUEST_SYSENTER_EIP, 1ull << 47, 0}}},
    {"IA32_PERF_GLOBAL_CTRL reserved bits", {{VM_ENTRY_CONTROLS, ENTRY_LOAD_PERF_GLOBAL_CTRL, 0}, {GUEST_IA32_PERF_GLOBAL_CTRL, 1ull << 50, 0}}},
    {"IA32_PAT memory types", {{GUEST_IA32_PAT, 3, 0xff}}},
    {"IA32_EFER reserved bits", {{GUEST_IA32_EFER, 4, 0}}},
    {"IA32_EFER fits mode and paging", {{GUEST_IA32_EFER, 0, EFER_LME}}},
    {"IA32_BNDCFGS", {{VM_ENTRY_CONTROLS, ENTRY_LOAD_BNDCFGS, 0}, {GUEST_BNDCFGS, 4, 0}}},
    {"TR selector: TI", {{GUEST_TR_SELECTOR, 4, 0}}},
    {"LDTR selector: TI", {{GUEST_LDTR_SELECTOR, 4, 0}, {GUEST_LDTR_AR_BYTES, 0x82, ALL}}},
    {"SS and CS selectors: RPL", {{GUEST_SS_SELECTOR, 3, 0}, {GUEST_SS_AR_BYTES, 3 << 5, 0}}},
    {"virtual-8086: bases", {NOT_64, {GUEST_RFLAGS, X86_RFLAGS_VM, 0}}},
    {"TR base is canonical", {{GUEST_TR_BASE, 1ull << 63, 0}}},
    {"FS base is canonical", {{GUEST_FS_BASE, 1ull << 63, 0}}},
    {"GS base is canonical", {{GUEST_GS_BASE, 1ull << 63, 0}}},
    {"LDTR base is canonical", {{GUEST_LDTR_BASE, 1ull << 63, 0}, {GUEST_LDTR_AR_BYTES, 0x82, ALL}}},
    {"CS, SS, DS, ES bases bits 63:32", {{GUEST_CS_BASE, 1ull << 32, 0}}},
    {"CS type", {{GUEST_CS_AR_BYTES, 2, 0xf}}},
    {"SS type", {{GUEST_SS_AR_BYTES, 1, 0xf}}},
    {"DS, ES, FS, GS type", {{GUEST_DS_AR_BYTES, 0xc092, ALL}, {GUEST_DS_LIMIT, 0xffffffff, 0}}},
    {"S flag", {{GUEST_CS_AR_BYTES, 0, 0x10}}},
    {"CS DPL", {{GUEST_CS_AR_BYTES, 3 << 5, 0}}},
    {"SS DPL", {{GUEST_CS_AR_BYTES, 0xf, 0xf}, {GUEST_SS_AR_BYTES, 3 << 5, 0}}},
    {"DS, ES, FS, GS DPL", {{GUEST_ES_AR_BYTES, 0xc093, ALL}, {GUEST_ES_LIMIT, 0xffffffff, 0}, {GUEST_ES_SELECTOR, 3, 0}}},
    {"P flag", {{GUEST_CS_AR_BYTES, 0, 0x80}}},
    {"access rights reserved bits", {{GUEST_CS_AR_BYTES, 0x100, 0}}},
    {"CS D/B in 64-bit mode", {{GUEST_CS_AR_BYTES, 0x4000, 0}}},
    {"G flag fits the limit", {{GUEST_CS_LIMIT, 0, 1}}},
    {"G flag fits the limit", {{GUEST_CS_AR_BYTES, 0, 0x8000}}},
    {"TR type", {{GUEST_TR_AR_BYTES, 3, 0xf}}},
    {"TR access rights", {{GUEST_TR_AR_BYTES, 0x10000, 0}}},
    {"TR access rights", {{GUEST_TR_AR_BYTES, 0, 0x80}}},
    {"LDTR type", {{GUEST_LDTR_AR_BYTES, 0x83, ALL}}},
    {"LDTR access rights", {{GUEST_LDTR_AR_BYTES, 0x92, ALL}}},
    {"GDTR base is canonical", {{GUEST_GDTR_BASE, 1ull << 63, 0}}},
    {"IDTR base is canonical", {{GUEST_IDTR_BASE, 0, 1ull << 63}}},
    {"GDTR limit bits 31:16", {{GUEST_GDTR_LIMIT, 0x10000, 0}}},
    {"IDTR limit bits 31:16", {{GUEST_IDTR_LIMIT, 0x10000, 0}}},
    {"RIP fits the mode", {{GUEST_RIP, 1ull << 63, 0}}},
    {"RFLAGS reserved bits", {{GUEST_RFLAGS, 1u << 15, 0}}},
    {"RFLAGS reserved bits", {{GUEST_RFLAGS, 0, 2}}},
    {"injected interrupt needs RFLAGS.IF", {EVENT(0x80000030), {GUEST_RFLAGS, 0, 0x200}}},
    {"activity state is supported", {{GUEST_ACTIVITY_STATE, 4, 0}}},
    {"active while STI or MOV SS blocks", {{GUEST_ACTIVITY_STATE, 1, 0}, {GUEST_INTERRUPTIBILITY_INFO, 1, 0}}},
    {"event fits the activity state", {{GUEST_ACTIVITY_STATE, 2, 0}, EVENT(0x80000030)}},
    {"interruptibility reserved bits", {{GUEST_INTERRUPTIBILITY_INFO, 0x20, 0}}},
    {"not both STI and MOV SS block", {{GUEST_INTERRUPTIBILITY_INFO, 3, 0}}},
    {"blocking by STI needs RFLAGS.IF", {{GUEST_INTERRUPTIBILITY_INFO, 1, 0}, {GUEST_RFLAGS, 0, 0x200}}},
    {"no blocking of an injected interrupt", {{GUEST_INTERRUPTIBILITY_INFO, 1, 0}, EVENT(0x80000030)}},
    {"no MOV SS blocking of an injected NMI", {{GUEST_INTERRUPTIBILITY_INFO, 2, 0}, EVENT(0x80000202)}},
    {"no STI blocking of an injected NMI", {{GUEST_INTERRUPTIBILITY_INFO, 1, 0}, EVENT(0x80000202)}},
    {"no SMI blocking outside of SMM", {{GUEST_INTERRUPTIBILITY_INFO, 4, 0}}},
    {"no virtual-NMI blocking of an injected NMI",
     {{PIN_BASED_VM_EXEC_CONTROL, PIN_NMI_EXITING | PIN_VIRTUAL_NMIS, 0}, {GUEST_INTERRUPTIBILITY_INFO, 8, 0}, EVENT(0x80000202)}},
    {"no enclave interruption", {{GUEST_INTERRUPTIBILITY_INFO, 0x10, 0}}},
    {"pending debug exceptions reserved bits", {{GUEST_PENDING_DBG_EXCEPTIONS, 0x10, 0}}},
    {"pending single step fits RFLAGS.TF", {{GUEST_INTERRUPTIBILITY_INFO, 2, 0}, {GUEST_RFLAGS, X86_RFLAGS_TF, 0}}},
    {"VMCS link pointer address", {{VMCS_LINK_POINTER, BENCH_VMCS2 | 8, ALL}}},
    {"VMCS link pointer revision and kind", {{VMCS_LINK_POINTER, BENCH_PML, ALL}}},
    // clang-format on
};

static void change(const struct change *changes)
{
    for (unsigned i = 0; i < 4 && changes[i].field; i++)
        bench_vmwrite(changes[i].field,
                      (bench_vmread(changes[i].field) & ~changes[i].clear) | changes[i].set);
}

static const struct replay_op one_hlt[] = {{.kind = REPLAY_HLT, .length = 1}, {.kind = REPLAY_END}};

// Field number 0 (VPID) cannot head a change; rows that need it use the default 0.
static void fresh(const char *uarch)
{
    ASSERT_TRUE(bench_load(uarch));
    bench.uarch.vmx_cap.proc2_allowed1 |=
        CPU2_EPT_VIOLATION_VE | CPU2_USE_TSC_SCALING | CPU2_ENABLE_VM_FUNCTIONS | CPU2_VMCS_SHADOWING |
        CPU2_VIRTUAL_INTR_DELIVERY | CPU2_APIC_REGISTER_VIRT | CPU2_ENABLE_PML;
    bench.uarch.vmx_cap.pin_allowed1 |= PIN_POSTED_INTERRUPTS;
    bench_start(1);
    bench_vmx();
    BENCH_PROGRAM(one_hlt);
}

static void check_rows(const struct row *rows, unsigned count, enum vm_error error)
{
    for (unsigned i = 0; i < count; i++) {
        const struct entry_rule *failed;

        test_row("%s (row %u)", rows[i].rule, i);
        fresh("skylake-sp");
        change(rows[i].changes);
        EXPECT_EQ(hw_vmlaunch(&bench_gprs), HW_VMX_FAIL_VALID);
        EXPECT_EQ(bench_vmread(VM_INSTRUCTION_ERROR), error);
        failed = pcpu_current->x86->vmx.failed_rule;
        EXPECT_STREQ(failed ? failed->name : "none", rows[i].rule);
        bench_end();
    }
}

TEST(EntryChecks, ControlsOneByOneGiveError7) // SDM 26.2.1, 30.4
{
    check_rows(control_rows, sizeof control_rows / sizeof *control_rows, VMERR_ENTRY_BAD_CONTROLS);
}

TEST(EntryChecks, HostStateOneByOneGivesError8) // SDM 26.2.2 to 26.2.4
{
    check_rows(host_rows, sizeof host_rows / sizeof *host_rows, VMERR_ENTRY_BAD_HOST_STATE);
}

TEST(EntryChecks, GuestStateOneByOneGivesExit33) // SDM 26.3.1, 26.8
{
    for (unsigned i = 0; i < sizeof guest_rows / sizeof *guest_rows; i++) {
        const struct entry_rule *failed;

        test_row("%s (row %u)", guest_rows[i].rule, i);
        fresh("skylake-sp");
        change(guest_rows[i].changes);
        bench_gprs.r[5] = 77;
        EXPECT_EQ(bench_run(), 33u | 1u << 31);
        failed = pcpu_current->x86->vmx.failed_rule;
        EXPECT_STREQ(failed ? failed->name : "none", guest_rows[i].rule);
        EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), failed ? failed->qualification : 99);
        EXPECT_EQ(bench_gprs.r[5], 77);
        // The VMCS stays clear: VMLAUNCH would be right again.
        EXPECT_EQ(vmcs_header32(&pcpu_current->x86->vmx.current, VMCS_LAUNCH_STATE), LAUNCH_CLEAR);
        bench_end();
    }
}

// A change after an entry that succeeded is noticed like any other, and so is its end: what the processor
// remembers of an entry spares it work, never a check.
static void check_rows_after_entry(const struct row *rows, unsigned count, bool vmfail)
{
    for (unsigned i = 0; i < count; i++) {
        const struct entry_rule *failed;
        uint64_t before[4] = {0};

        test_row("%s (row %u)", rows[i].rule, i);
        fresh("skylake-sp");
        // Twice: CR4 and EFER of the host are those of the VMCS from the first exit on.
        for (unsigned n = 0; n < 2; n++) {
            EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
            bench_vmwrite(GUEST_RIP, bench_vmread(GUEST_RIP) - 1);
        }
        for (unsigned n = 0; n < 4 && rows[i].changes[n].field; n++)
            before[n] = bench_vmread(rows[i].changes[n].field);
        change(rows[i].changes);
        if (vmfail)
            EXPECT_EQ(hw_vmresume(&bench_gprs), HW_VMX_FAIL_VALID);
        else
            EXPECT_EQ(bench_run(), 33u | 1u << 31);
        failed = pcpu_current->x86->vmx.failed_rule;
        EXPECT_STREQ(failed ? failed->name : "none", rows[i].rule);
        for (unsigned n = 4; n-- > 0;)
            if (rows[i].changes[n].field)
                bench_vmwrite(rows[i].changes[n].field, before[n]);
        EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
        bench_end();
    }
}

TEST(EntryChecks, HoldAfterAnEntryThatSucceeded)
{
    check_rows_after_entry(control_rows, sizeof control_rows / sizeof *control_rows, true);
    check_rows_after_entry(host_rows, sizeof host_rows / sizeof *host_rows, true);
    check_rows_after_entry(guest_rows, sizeof guest_rows / sizeof *guest_rows, false);
}

// Rows of the tables that no test row names: rules of capabilities that no modelled processor has.
static const char *const elsewhere[] = {
    "tertiary processor-based controls are allowed",
    "posted-interrupt notification vector",
    "posted-interrupt descriptor address",
    "mode-based execute control needs EPT",
    "no SMM controls outside of SMM",
    "event: pending MTF is supported",
    "SS is not null in a 32-bit host",
    "IA-32e guest needs a 64-bit host",
    "32-bit host has no CR4.PCIDE",
    "CR4.CET needs CR0.WP",
    "virtual-8086: limits",
    "virtual-8086: access rights",
    "RFLAGS.VM fits the mode",
    "HLT state needs CPL 0",
    "PDPTE reserved bits",
};

static bool named(const char *rule)
{
    const struct {
        const struct row *rows;
        size_t count;
    } tables[] = {{control_rows, sizeof control_rows / sizeof *control_rows},
                  {host_rows, sizeof host_rows / sizeof *host_rows},
                  {guest_rows, sizeof guest_rows / sizeof *guest_rows}};

    for (unsigned t = 0; t < 3; t++)
        for (size_t i = 0; i < tables[t].count; i++)
            if (!strcmp(tables[t].rows[i].rule, rule))
                return true;
    for (unsigned i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (!strcmp(elsewhere[i], rule))
            return true;
    return false;
}

TEST(EntryChecks, EveryRuleOfTheTablesIsTested)
{
    const struct entry_rule *const tables[] = {entry_control_rules, entry_host_rules, guest_register_rules,
                                               guest_segment_rules, guest_other_rules};

    for (unsigned t = 0; t < 5; t++)
        for (const struct entry_rule *r = tables[t]; r->holds; r++) {
            test_row("%s", r->name);
            EXPECT_TRUE(named(r->name));
        }
}

TEST(EntryChecks, PostedInterruptFields) // SDM 26.2.1.1
{
    static const struct change bad[] = {{POSTED_INTR_NV, 0x100, 0}, {POSTED_INTR_DESC_ADDR, 0x20, 0}};

    for (unsigned i = 0; i < 2; i++) {
        fresh("skylake-sp");
        bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_POSTED_INTERRUPTS | PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_USE_TPR_SHADOW, 0);
        bench_control(SECONDARY_VM_EXEC_CONTROL, CPU2_VIRTUAL_INTR_DELIVERY, 0);
        bench_control(VM_EXIT_CONTROLS, EXIT_ACK_INTERRUPT_ON_EXIT, 0);
        bench_vmwrite(bad[i].field, bench_vmread(bad[i].field) | bad[i].set);
        EXPECT_EQ(hw_vmlaunch(&bench_gprs), HW_VMX_FAIL_VALID);
        EXPECT_EQ(bench_vmread(VM_INSTRUCTION_ERROR), VMERR_ENTRY_BAD_CONTROLS);
        bench_end();
    }
}

TEST(EntryChecks, Virtual8086GuestIsHeldToItsSegments) // SDM 26.3.1.2, 26.3.1.4
{
    fresh("skylake-sp");
    bench_control(VM_ENTRY_CONTROLS, 0, ENTRY_IA32E_MODE_GUEST | ENTRY_LOAD_EFER);
    bench_vmwrite(GUEST_RFLAGS, 0x20202);
    for (uint32_t s = 0; s < 6; s++) {
        bench_vmwrite(GUEST_ES_BASE + 2 * s, bench_vmread(GUEST_ES_SELECTOR + 2 * s) << 4);
        bench_vmwrite(GUEST_ES_LIMIT + 2 * s, 0xffff);
        bench_vmwrite(GUEST_ES_AR_BYTES + 2 * s, 0xf3);
    }
    bench_vmwrite(GUEST_GS_LIMIT, 0xfffff);
    EXPECT_EQ(bench_run(), 33u | 1u << 31);
    EXPECT_STREQ(pcpu_current->x86->vmx.failed_rule->name, "virtual-8086: limits");
    bench_vmwrite(GUEST_GS_LIMIT, 0xffff);
    bench_vmwrite(GUEST_GS_AR_BYTES, 0x93);
    EXPECT_EQ(bench_run(), 33u | 1u << 31);
    EXPECT_STREQ(pcpu_current->x86->vmx.failed_rule->name, "virtual-8086: access rights");
    bench_vmwrite(GUEST_GS_AR_BYTES, 0xf3);
    bench_control(VM_ENTRY_CONTROLS, ENTRY_IA32E_MODE_GUEST, 0);
    EXPECT_EQ(bench_run(), 33u | 1u << 31);
    EXPECT_STREQ(pcpu_current->x86->vmx.failed_rule->name, "RFLAGS.VM fits the mode");
    bench_control(VM_ENTRY_CONTROLS, 0, ENTRY_IA32E_MODE_GUEST);
    bench_vmwrite(GUEST_CR4, bench_vmread(GUEST_CR4) & ~X86_CR4_PAE);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    bench_end();
}

TEST(EntryChecks, PdptesOfPaePaging) // SDM 26.3.1.6
{
    fresh("skylake-sp");
    bench_ept();
    bench_control(VM_ENTRY_CONTROLS, 0, ENTRY_IA32E_MODE_GUEST | ENTRY_LOAD_EFER);
    bench_vmwrite(GUEST_CS_AR_BYTES, 0xc09b);
    bench_vmwrite(GUEST_PDPTR2, 1 | 1 << 5);
    EXPECT_EQ(bench_run(), 33u | 1u << 31);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 2);
    bench_vmwrite(GUEST_PDPTR2, 1 << 5); // Not present: bits do not matter.
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    bench_end();
}

TEST(EntryChecks, HltStateNeedsRingZero) // SDM 26.3.1.5
{
    fresh("skylake-sp");
    bench_vmwrite(GUEST_ACTIVITY_STATE, ACTIVITY_HLT);
    bench_vmwrite(GUEST_CS_SELECTOR, 0x13);
    bench_vmwrite(GUEST_SS_SELECTOR, 0x1b);
    bench_vmwrite(GUEST_CS_AR_BYTES, 0xa0fb);
    bench_vmwrite(GUEST_SS_AR_BYTES, 0xc0f3);
    EXPECT_EQ(bench_run(), 33u | 1u << 31);
    EXPECT_STREQ(pcpu_current->x86->vmx.failed_rule->name, "HLT state needs CPL 0");
    bench_vmwrite(GUEST_ACTIVITY_STATE, ACTIVITY_ACTIVE);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    bench_end();
}
