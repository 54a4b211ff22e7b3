// SPDX-License-Identifier: Apache-2.0
// One line at a time: what stands before the event, names of exits, payloads.
#include "tests/shim/shim.h"
#include "tools/hvsim/import/event.h"
#include "tools/hvsim/import/lines.h"

#include "spec/exit_reasons.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct span text_span(const char *text)
{
    return span_of(text, strlen(text));
}

static const struct {
    const char *prefix, *task;
    bool has_time, has_tid;
    uint64_t time_ns;
    unsigned digits;
    uint32_t tid;
} prefixes[] = {
    {" comm-150 [019] 16062.953701: ", "comm", true, true, 16062953701000, 6, 150},
    {" CPU 0/KVM-353246 [041] 5473778.770321: ", "CPU 0/KVM", true, true, 5473778770321000, 6, 353246},
    {" repro-1289 [019] d.... 140.314704: ", "repro", true, true, 140314704000, 6, 1289},
    {" a-b-c-12 [000] d..2. 1.000000001: ", "a-b-c", true, true, 1000000001, 9, 12},
    {"kvm-vcpu-0-88776 [001] ...1. 6076.581774: ", "kvm-vcpu-0", true, true, 6076581774000, 6, 88776},
    {"my vm-7 (   42) [001] d... 3.5: ", "my vm", true, true, 3500000000, 1, 7},
    {"my vm-7 (-----) [001] d... 3.5: ", "my vm", true, true, 3500000000, 1, 7},
    {"2021-12-12 16:11:10.214139 <...> 206966 .N.. [017] 15504452.408994: kvm:", "<...>", true, true,
     15504452408994000, 6, 206966},
    {"qemu-system-x86 99 [003] 5.000001:  kvm:", "qemu-system-x86", true, true, 5000001000, 6, 99},
    {"CPU 0/KVM 98/99 [003] 5.000001: kvm:", "CPU 0/KVM", true, true, 5000001000, 6, 99},
    {"qemu 99 5.000001: ", "qemu", true, true, 5000001000, 6, 99},
    {"qemu-99 5.000001: ", "qemu", true, true, 5000001000, 6, 99},
    {"", "", false, false, 0, 0, 0},
    {"   ", "", false, false, 0, 0, 0},
    {"kvm:", "", false, false, 0, 0, 0},
    {"7.25: ", "", true, false, 7250000000, 2, 0},
    {"comm-5 [001] ", "comm", false, true, 0, 0, 5},
    {"comm-99999999999 [001] 1.0: ", "", true, false, 1000000000, 1, 0},
    {"comm-5 [001] 99999999999999.0: ", "comm", false, true, 0, 1, 5}, // No clock shows that.
};

TEST(ImportLines, WhatStandsBeforeTheEvent)
{
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes)[0]; i++) {
        struct event e;
        memset(&e, 0, sizeof(e));
        test_row("prefix '%s'", prefixes[i].prefix);
        event_read_prefix(text_span(prefixes[i].prefix), &e);
        EXPECT_EQ(e.has_time, prefixes[i].has_time);
        EXPECT_EQ(e.has_tid, prefixes[i].has_tid);
        EXPECT_EQ(e.time_ns, prefixes[i].time_ns);
        EXPECT_EQ(e.time_digits, prefixes[i].digits);
        EXPECT_EQ(e.tid, prefixes[i].tid);
        EXPECT_TRUE(span_is(e.task.at == NULL ? span_of("", 0) : e.task, prefixes[i].task));
    }
}

#define NO_SVM UINT32_MAX

static const struct {
    const char *payload;
    enum event_status status;
    int32_t vcpu;
    uint32_t reason, svm_code;
    uint64_t rip, info1, info2, intr_info, error_code;
} exits[] = {
    {"reason MSR_WRITE rip 0xffffffff00000010 info 0 0", EVENT_OK, -1, 32, NO_SVM, 0xffffffff00000010, 0, 0,
     0, 0},
    {"vcpu 1 reason EPT_VIOLATION rip 0x1 info1 0x181 info2 0x80000301 intr_info 0x0 error_code 0x4",
     EVENT_OK, 1, 48, NO_SVM, 1, 0x181, 0x80000301, 0, 4},
    {"rip fffff80200000169 reason EPT_VIOLATION info1 181 info2 7 int_info 80000b0e int_info_err 2", EVENT_OK,
     -1, 48, NO_SVM, 0xfffff80200000169, 0x181, 7, 0x80000b0e, 2},
    {"vcpu 1 reason npf rip 0xfd11d info 100000014 fd000", EVENT_OK, 1, 48, 0x400, 0xfd11d, 0x100000014,
     0xfd000, 0, 0},
    {"reason EXIT_NPF rip 0xfb info 200000006 1ab000", EVENT_OK, -1, 48, 0x400, 0xfb, 0x200000006, 0x1ab000,
     0, 0},
    {"reason PF excp rip 0xfb info 2 1ab000", EVENT_OK, -1, 0, 0x4e, 0xfb, 2, 0x1ab000, 0, 0},
    {"reason interrupt rip 0xfb info 0 0", EVENT_OK, -1, 1, 0x60, 0xfb, 0, 0, 0, 0},
    {"reason PENDING_INTERRUPT rip 0xfb info 0 0", EVENT_OK, -1, 7, NO_SVM, 0xfb, 0, 0, 0, 0},
    {"reason INVALID_STATE FAILED_VMENTRY rip 0xfb info 0 0", EVENT_OK, -1, 33, NO_SVM, 0xfb, 0, 0, 0, 0},
    {"reason 0x4a rip 0xfb info 0 0", EVENT_OK, -1, 0x4a, NO_SVM, 0xfb, 0, 0, 0, 0},
    {"reason SOMETHING_NEW rip 0xfb info 0 0", EVENT_OK, -1, REASON_UNKNOWN, NO_SVM, 0xfb, 0, 0, 0, 0},
    {"reason HLT rip 0xfb info 0 0 requests 0x0", EVENT_OK, -1, 12, NO_SVM, 0xfb, 0, 0, 0, 0},
    {"TRAP: HSR_EC: 0x0018 (SYS64), PC: 0x0000000080528a6c", EVENT_OK, -1, REASON_ARM64, NO_SVM, 0x80528a6c,
     0x18, 0, 0, 0},
    {"IRQ: HSR_EC: 0x0000 (UNKNOWN), PC: 0x0000000000401ec4", EVENT_OK, -1, REASON_ARM64, NO_SVM, 0x401ec4, 0,
     0, 0, 0},
    {"reason HLT", EVENT_SHORT, -1, 12, NO_SVM, 0, 0, 0, 0, 0},
    {"reason HLT rip", EVENT_SHORT, -1, 12, NO_SVM, 0, 0, 0, 0, 0},
    {"reason HLT rip 0x1 info 0", EVENT_SHORT, -1, 12, NO_SVM, 1, 0, 0, 0, 0},
    {"", EVENT_SHORT, -1, REASON_UNKNOWN, NO_SVM, 0, 0, 0, 0, 0},
    {"reason HLT rip 0xzz info 0 0", EVENT_BAD, -1, 12, NO_SVM, 0, 0, 0, 0, 0},
    {"vcpu x reason HLT rip 0x1 info 0 0", EVENT_BAD, -1, REASON_UNKNOWN, NO_SVM, 0, 0, 0, 0, 0},
    {"reason HLT rip 0x11112222333344445 info 0 0", EVENT_BAD, -1, 12, NO_SVM, 0, 0, 0, 0, 0},
};

TEST(ImportLines, EveryFormOfExit)
{
    struct event_names *names = event_names_new();
    for (size_t i = 0; i < sizeof(exits) / sizeof(exits)[0]; i++) {
        char line[300];
        struct event e;
        const char *why = "";
        (void)snprintf(line, sizeof(line), " vm-5 [001] 7.000001: kvm_exit: %s", exits[i].payload);
        test_row("payload '%s'", exits[i].payload);
        const char *at = event_find(text_span(line));
        ASSERT_TRUE(at != NULL);
        enum event_status status = event_read(names, text_span(line), at, &e, &why);
        EXPECT_EQ(status, exits[i].status);
        EXPECT_EQ(why[0] == 0, status == EVENT_OK);
        EXPECT_EQ(e.exit_reason, exits[i].reason);
        EXPECT_EQ(e.vcpu, exits[i].vcpu);
        EXPECT_EQ(e.svm_code, exits[i].svm_code);
        EXPECT_EQ(e.rip, exits[i].rip);
        EXPECT_EQ(e.info1, exits[i].info1);
        EXPECT_EQ(e.info2, exits[i].info2);
        EXPECT_EQ(e.intr_info, exits[i].intr_info);
        EXPECT_EQ(e.error_code, exits[i].error_code);
        EXPECT_EQ(e.tid, 5);
    }
    event_names_free(names);
}

static const struct {
    const char *text;
    enum event_kind kind;
    enum event_status status;
    bool is_write;
    uint64_t address, value, size;
    uint32_t vector;
    uint64_t arg0, arg1;
} details[] = {
    {"kvm_msr: msr_write 6e0 = 0x4dcf", EVENT_msr, EVENT_OK, true, 0x6e0, 0x4dcf, 0, 0, 0, 0},
    {"kvm_msr: msr_read c0000080 = 0xd01 (#GP)", EVENT_msr, EVENT_OK, false, 0xc0000080, 0xd01, 0, 0, 0, 0},
    {"kvm_msr: msr_write 6e0 =", EVENT_msr, EVENT_SHORT, true, 0x6e0, 0, 0, 0, 0, 0},
    {"kvm_msr: msr_poke 6e0 = 1", EVENT_msr, EVENT_BAD, false, 0, 0, 0, 0, 0, 0},
    {"kvm_mmio: mmio write len 4 gpa 0xfec00000 val 0x26", EVENT_mmio, EVENT_OK, true, 0xfec00000, 0x26, 4, 0,
     0, 0},
    {"kvm_mmio: mmio unsatisfied-read len 8 gpa 0xfe val 0x0", EVENT_mmio, EVENT_OK, false, 0xfe, 0, 8, 0, 0,
     0},
    {"kvm_fast_mmio: fast mmio at gpa 0x800007004", EVENT_fast_mmio, EVENT_OK, true, 0x800007004, 0, 0, 0, 0,
     0},
    {"kvm_pio: pio_write at 0x3f8 size 1 count 3 val 0x41", EVENT_pio, EVENT_OK, true, 0x3f8, 0x41, 1, 0, 3,
     0},
    {"kvm_pio: pio_read at 0x71 size 2 count 1", EVENT_pio, EVENT_OK, false, 0x71, 0, 2, 0, 1, 0},
    {"kvm_cpuid: func b idx 1 rax 1 rbx 2 rcx 3 rdx 4", EVENT_cpuid, EVENT_OK, false, 0, 0, 0, 0, 0xb, 1},
    {"kvm_cr: cr_write 0 = 0x80050033", EVENT_cr, EVENT_OK, true, 0, 0x80050033, 0, 0, 0, 0},
    {"kvm_hypercall: nr 0x9 a0 0x8 a1 0x0 a2 0x0 a3 0x0", EVENT_hypercall, EVENT_OK, false, 0, 0, 0, 0, 9, 8},
    {"kvm_page_fault: vcpu 1 rip 0x1 address 0x00000001170aaff8 error_code 0x683", EVENT_page_fault, EVENT_OK,
     false, 0x1170aaff8, 0, 0, 0, 0, 0},
    {"kvm_page_fault: address 1170 error_code 6", EVENT_page_fault, EVENT_OK, false, 0x1170, 0, 0, 0, 0, 0},
    {"kvm_page_fault: address 1170", EVENT_page_fault, EVENT_SHORT, false, 0x1170, 0, 0, 0, 0, 0},
    {"kvm_apic: apic_write APIC_TMICT = 0x7d0", EVENT_apic, EVENT_OK, true, 0, 0x7d0, 0, 0, 0, 0},
    {"kvm_eoi: apicid 3 vector 43", EVENT_eoi, EVENT_OK, false, 0, 0, 0, 43, 3, 0},
    {"kvm_apic_accept_irq: apicid a vec 236 (Fixed|edge)", EVENT_apic_accept_irq, EVENT_OK, false, 0, 0, 0,
     236, 10, 0},
    {"kvm_apic_accept_irq: apicid a vec 300 (Fixed|edge)", EVENT_apic_accept_irq, EVENT_SHORT, false, 0, 0, 0,
     300, 10, 0},
    {"kvm_wait_lapic_expire: vcpu 0: delta 12280 (late)", EVENT_wait_lapic_expire, EVENT_OK, false, 0, 12280,
     0, 0, 0, 0},
    {"kvm_wait_lapic_expire: vcpu 0: delta -582 (early)", EVENT_wait_lapic_expire, EVENT_OK, false, 0,
     (uint64_t)-582, 0, 0, 0, 0},
    {"kvm_set_irq: gsi 11 level 1 source 0", EVENT_OTHER, EVENT_OK, false, 0, 0, 0, 0, 0, 0},
};

TEST(ImportLines, DetailsOfExits)
{
    struct event_names *names = event_names_new();
    for (size_t i = 0; i < sizeof(details) / sizeof(details)[0]; i++) {
        struct event e;
        const char *why = "", *at = event_find(text_span(details[i].text));
        test_row("%s", details[i].text);
        ASSERT_TRUE(at == details[i].text);
        EXPECT_EQ(event_read(names, text_span(details[i].text), at, &e, &why), details[i].status);
        EXPECT_EQ(e.kind, details[i].kind);
        EXPECT_EQ(e.is_write, details[i].is_write);
        EXPECT_EQ(e.address, details[i].address);
        EXPECT_EQ(e.value, details[i].value);
        EXPECT_EQ(e.size, details[i].size);
        EXPECT_EQ(e.vector, details[i].vector);
        EXPECT_EQ(e.args[0], details[i].arg0);
        EXPECT_EQ(e.args[1], details[i].arg1);
    }
    event_names_free(names);
}

TEST(ImportLines, OtherLinesHoldNoEvent)
{
    static const char *const lines[] = {
        "",
        "cpus=20",
        "# tracer: nop",
        " vm-5 [001] 7.0: sched_waking: comm=kvm_exit pid=5",
        " vm-5 [001] 7.0: hrtimer_start: function=kvm_timer/0x0",
        " vm-5 [001] 7.0: my_kvm_exit: reason HLT",
        "kvm_exit",
        "kvm_: x",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines)[0]; i++) {
        test_row("%s", lines[i]);
        EXPECT_TRUE(event_find(text_span(lines[i])) == NULL);
    }
}

TEST(ImportLines, MailIsUnquotedAndItsBreaksAreSeen)
{
    struct span line = event_unquote(text_span("> >>  | kvm_exit: x  "));
    EXPECT_TRUE(span_is(line, "kvm_exit: x"));
    EXPECT_TRUE(event_is_header_only(text_span("vm-5 [001] 7.000001:")));
    EXPECT_TRUE(event_is_header_only(text_span("vm-5 .N.. [001]")));
    EXPECT_FALSE(event_is_header_only(text_span("see list:")));
    EXPECT_FALSE(event_is_header_only(text_span("it was [x]")));
    EXPECT_TRUE(event_begins_line(text_span("vm-5 [001] 7.000001: sched_switch: a")));
    EXPECT_FALSE(event_begins_line(text_span("info 0 800000fd")));
}

// Lines through a pipe of which the reader sees small pieces.
static struct lines lines_of(const char *text, size_t size, int *write_end)
{
    int ends[2];
    struct lines lines;
    EXPECT_EQ(pipe(ends), 0);
    EXPECT_EQ(write(ends[1], text, size), (ssize_t)size);
    (void)close(ends[1]);
    *write_end = ends[0];
    EXPECT_TRUE(lines_begin(&lines, ends[0]));
    return lines;
}

TEST(ImportLines, LineEndsOfAllKinds)
{
    int fd;
    struct lines lines = lines_of("a\r\n\nbc\n\rd", 9, &fd);
    static const char *const want[] = {"a", "", "bc", "\rd"};
    struct span line;
    for (size_t i = 0; i < 4; i++) {
        ASSERT_TRUE(lines_next(&lines, &line));
        EXPECT_TRUE(span_is(line, want[i]));
    }
    EXPECT_FALSE(lines_next(&lines, &line));
    EXPECT_EQ(lines.count, 4);
    EXPECT_EQ(lines.bytes, 9);
    lines_end(&lines);
    (void)close(fd);
}

TEST(ImportLines, EndlessLinesAreCutAndReadPast)
{
    static char text[5u << 20];
    static const char end[] = {'\n', 'e', 'n', 'd', '\n'};
    const size_t size = sizeof(text);
    char path[300];
    memset(text, 'x', size);
    text[LINES_LINE_MAX] = '\n';     // Just fits.
    memcpy(text + size - 5, end, 5); // Behind a line of almost 5 MiB.
    (void)snprintf(path, sizeof(path), "%s/long", test_tmpdir());
    FILE *file = fopen(path, "w+b");
    ASSERT_TRUE(file != NULL);
    EXPECT_EQ(fwrite(text, 1, size, file), size);
    rewind(file);
    struct lines lines;
    struct span line;
    EXPECT_TRUE(lines_begin(&lines, fileno(file)));
    ASSERT_TRUE(lines_next(&lines, &line));
    EXPECT_EQ(line.size, LINES_LINE_MAX);
    EXPECT_EQ(lines.cut_count, 0);
    ASSERT_TRUE(lines_next(&lines, &line));
    EXPECT_EQ(line.size, LINES_LINE_MAX);
    EXPECT_EQ(lines.cut_count, 1);
    ASSERT_TRUE(lines_next(&lines, &line));
    EXPECT_TRUE(span_is(line, "end"));
    EXPECT_FALSE(lines_next(&lines, &line));
    EXPECT_EQ(lines.bytes, size);
    lines_end(&lines);
    (void)fclose(file);
}
