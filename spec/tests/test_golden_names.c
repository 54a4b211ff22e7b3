// SPDX-License-Identifier: Apache-2.0
//
// Words and numbers as recorded traces print them, typed from traces and interface headers.

#include "spec/exit_reasons.h"
#include "spec/tests/rows.h"

#if __has_include(<linux/kvm.h>)
#include <linux/kvm.h>
#define HAVE_KVM_H 1
#else
#define HAVE_KVM_H 0
#endif

struct svm_row {
    const char *kernel, *plugin;
    unsigned code;
    int vmx;
};

// Words seen in traces of AMD hosts; APM volume 2, appendix C for the codes.
TEST(SpecGoldenNames, SvmExits)
{
    static const struct svm_row rows[] = {
#define SVM_EXIT(code, kernel, plugin, vmx) {kernel, plugin, code, EXIT_REASON_##vmx},
#define SVM_EXIT_ONLY(code, kernel, plugin) {kernel, plugin, code, -1},
#include "spec/svm_exit_names.def"
    };
    static const struct svm_row golden[] = {
        {"npf", "EXIT_NPF", 0x400, 48},         {"hypercall", "EXIT_VMMCALL", 0x81, 18},
        {"msr", "EXIT_MSR", 0x7C, 32},          {"io", "EXIT_IOIO", 0x7B, 30},
        {"hlt", "EXIT_HLT", 0x78, 12},          {"interrupt", "EXIT_INTR", 0x60, 1},
        {"cpuid", "EXIT_CPUID", 0x72, 10},      {"vintr", "EXIT_VINTR", 0x64, 7},
        {"pause", "EXIT_PAUSE", 0x77, 40},      {"write_cr0", "EXIT_WRITE_CR0", 0x10, 28},
        {"clgi", "EXIT_CLGI", 0x85, -1},        {"write_dr7", "EXIT_WRITE_DR7", 0x37, 29},
        {"shutdown", "EXIT_SHUTDOWN", 0x7F, 2}, {"wbinvd", "EXIT_WBINVD", 0x89, 54},
    };
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        unsigned found = 0;
        for (size_t j = 0; j < sizeof(rows) / sizeof(rows[0]); j++) {
            found += strcmp(rows[j].kernel, golden[i].kernel) == 0 &&
                     strcmp(rows[j].plugin, golden[i].plugin) == 0 && rows[j].code == golden[i].code &&
                     rows[j].vmx == golden[i].vmx;
        }
        test_row("%s", golden[i].kernel);
        EXPECT_EQ(found, 1);
    }
}

// DDI0487, ESR_ELx.EC; words of the kernel's trace.
TEST(SpecGoldenNames, Arm64Classes)
{
    static const struct row rows[] = {
#define ARM64_EC(number, name) {#name, number},
#include "spec/arm64_ec.def"
    };
    static const struct row golden[] = {
        {"UNKNOWN", 0},  {"WFx", 1},         {"FP_ASIMD", 7},    {"SVC64", 0x15},  {"HVC64", 0x16},
        {"SYS64", 0x18}, {"IABT_LOW", 0x20}, {"DABT_LOW", 0x24}, {"SERROR", 0x2F}, {"BRK64", 0x3C}};
    expect_golden(ROWS(golden), ROWS(rows));
}

enum user_exit {
#define EXIT_USER(number, name) USER_##name = number,
#include "spec/exit_user.def"
};

TEST(SpecGoldenNames, UserExits)
{
    EXPECT_EQ(USER_IO, 2);
    EXPECT_EQ(USER_MMIO, 6);
    EXPECT_EQ(USER_IOAPIC_EOI, 26);
#if HAVE_KVM_H
    EXPECT_EQ(USER_HYPERCALL, KVM_EXIT_HYPERCALL);
    EXPECT_EQ(USER_HLT, KVM_EXIT_HLT);
    EXPECT_EQ(USER_IRQ_WINDOW_OPEN, KVM_EXIT_IRQ_WINDOW_OPEN);
    EXPECT_EQ(USER_SHUTDOWN, KVM_EXIT_SHUTDOWN);
    EXPECT_EQ(USER_FAIL_ENTRY, KVM_EXIT_FAIL_ENTRY);
    EXPECT_EQ(USER_INTR, KVM_EXIT_INTR);
    EXPECT_EQ(USER_INTERNAL_ERROR, KVM_EXIT_INTERNAL_ERROR);
    EXPECT_EQ(USER_SYSTEM_EVENT, KVM_EXIT_SYSTEM_EVENT);
    EXPECT_EQ(USER_IOAPIC_EOI, KVM_EXIT_IOAPIC_EOI);
    EXPECT_EQ(USER_HYPERV, KVM_EXIT_HYPERV);
    EXPECT_EQ(USER_X86_WRMSR, KVM_EXIT_X86_WRMSR);
    EXPECT_EQ(USER_DIRTY_RING_FULL, KVM_EXIT_DIRTY_RING_FULL);
#endif
}

enum tracepoint {
#define TRACEPOINT(id, name, argc, args, category) TP_##id,
#include "spec/tracepoints.def"
    TP_COUNT
};

// The events that recorded traces are full of have a row, so that imported and simulated ones compare by
// name.
TEST(SpecGoldenNames, TracepointsOfRecordedTraces)
{
    static const char *const names[TP_COUNT] = {
#define TRACEPOINT(id, name, argc, args, category) [TP_##id] = #name,
#include "spec/tracepoints.def"
    };
    static const char *const golden[] = {"kvm_entry",
                                         "kvm_apic_accept_irq",
                                         "kvm_apicv_accept_irq",
                                         "kvm_eoi",
                                         "kvm_ack_irq",
                                         "kvm_fast_mmio",
                                         "kvm_halt_poll_ns",
                                         "kvm_hv_timer_state",
                                         "kvm_mmio",
                                         "kvm_msr",
                                         "kvm_ioapic_set_irq",
                                         "kvm_msi_set_irq",
                                         "kvm_pic_set_irq",
                                         "kvm_set_irq",
                                         "kvm_vcpu_wakeup",
                                         "kvm_userspace_exit",
                                         "kvm_wait_lapic_expire",
                                         "kvm_page_fault",
                                         "sched_switch",
                                         "sched_waking"};
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        unsigned found = 0;
        for (size_t j = 0; j < TP_COUNT; j++) {
            found += strcmp(names[j], golden[i]) == 0;
        }
        test_row("%s", golden[i]);
        EXPECT_EQ(found, 1);
    }
}
