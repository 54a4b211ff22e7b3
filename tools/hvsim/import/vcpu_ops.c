// SPDX-License-Identifier: Apache-2.0
// What a guest does to cause each exit. `defaulted` stays set until everything that the op needs was in the
// trace.
#include "tools/hvsim/import/vcpu.h"

#include "spec/exit_reasons.h"
#include "spec/msrs.h"
#include "spec/vmcs.h"

#include <stddef.h>

#define APIC_PAGE 0xfee00000u
#define GPA_MASK ((1ull << 46) - 1)
#define VALID_INTERRUPTION (1u << 31) // SDM 24.9.2.
// Of 140 cycles each: longer than one window of PAUSE-loop exiting (4096), shorter than two.
#define PAUSES_IN_A_LOOP 45

typedef void fill(struct vcpu *vcpu, struct exit_record *r, const struct event *e);

static uint64_t mask_of(uint64_t size_bytes)
{
    return size_bytes >= 8 ? UINT64_MAX : (1ull << (8 * size_bytes)) - 1;
}

// Sizes which no instruction has become 4; an access stays inside of its page.
static void set_access(struct exit_record *r, bool is_write, uint64_t gpa, uint64_t size, uint64_t value)
{
    bool good = size == 1 || size == 2 || size == 4 || size == 8;
    size = good ? size : 4;
    gpa &= GPA_MASK;
    if (gpa % 4096 + size > 4096) {
        gpa &= ~(size - 1);
    }
    r->op.kind = is_write ? REPLAY_WRITE : REPLAY_READ;
    r->op.args[0] = gpa;
    r->op.args[1] = size;
    r->op.args[2] = is_write ? value & mask_of(size) : 0;
}

// Guest memory is smaller than the recorded one; pages beyond it are folded into it. What lies in the hole
// below 4 GiB is a device.
static uint64_t fold(struct vcpu *vcpu, uint64_t gpa)
{
    const uint64_t low = 16u << 20;
    gpa &= GPA_MASK;
    if (gpa < IMPORT_MEMORY_BYTES || (gpa >= 0xc0000000u && gpa <= UINT32_MAX)) {
        return gpa;
    }
    vcpu->folded++;
    return low + (gpa - low) % (IMPORT_MEMORY_BYTES - low);
}

static void set_memory_fault(struct vcpu *vcpu, struct exit_record *r, uint64_t gpa, bool is_write,
                             bool is_fetch)
{
    set_access(r, is_write, fold(vcpu, gpa), 4, 0);
    if (is_fetch) {
        r->op.kind = REPLAY_FETCH;
        r->op.args[1] = 0;
    }
}

static void fill_exception(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    const uint32_t reserved = 1u << 2 | 1u << 9 | 1u << 15 | 0xffc00000u;
    const uint32_t with_error = 1u << 8 | 0x1fu << 10 | 1u << 17 | 1u << 21;
    uint64_t info = e->has_intr_info ? e->intr_info : e->info2;
    uint32_t vector = 32;
    if (e->svm_code >= 0x40 && e->svm_code < 0x60) {
        vector = e->svm_code - 0x40;
    } else if (info & VALID_INTERRUPTION) {
        vector = (uint32_t)info & 0xff;
    }
    r->op.kind = REPLAY_NMI;
    r->defaulted = vector != 2 && e->svm_code != 0x61;
    if (vector < 32 && !(1u << vector & reserved)) {
        r->op.kind = REPLAY_EXCEPTION;
        r->op.args[0] = vector;
        r->op.args[1] = 1u << vector & with_error ? e->error_code & UINT32_MAX : 0;
        r->op.args[2] = vector == 14 ? e->info1 : 0;
        r->defaulted = false;
    }
}

static void fill_interrupt(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    uint64_t info = e->has_intr_info ? e->intr_info : e->info2;
    uint64_t vector = info & 0xff;
    bool known = (info & VALID_INTERRUPTION) != 0 && vector >= 32;
    r->op.args[0] = known ? vector : DEFAULT_WAKE_VECTOR;
    r->defaulted = !known;
}

static void fill_await(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    (void)e;
    r->op.args[0] = r->reason;
    r->defaulted = false;
}

static void fill_info1(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    r->op.args[0] = e->info1;
    r->defaulted = !e->has_info1;
}

static void fill_task_switch(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    fill_info1(vcpu, r, e);
    r->op.args[0] &= 0xffff;
}

static void fill_nothing(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    (void)e;
    r->defaulted = false;
}

static void fill_pause(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    (void)e;
    r->op.args[0] = PAUSES_IN_A_LOOP;
}

static void fill_vmcall(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    (void)e;
    r->op.args[0] = 1;
}

static void fill_region(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    (void)e;
    r->op.args[0] = 0x10000;
}

static void fill_vmcs_access(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    (void)e;
    r->op.args[0] = GUEST_RIP;
}

static void set_cr(struct exit_record *r, unsigned kind, uint64_t cr, uint64_t msw)
{
    static const enum replay_op_kind kinds[] = {REPLAY_MOVTOCR, REPLAY_MOVFROMCR, REPLAY_CLTS, REPLAY_LMSW};
    static const uint64_t values[9] = {[0] = 0x80050033, [3] = 0x1000, [4] = 0x20};
    r->op.kind = (uint8_t)kinds[kind];
    r->op.args[0] = kind < 2 ? cr : kind == 3 ? msw : 0;
    r->op.args[1] = kind == 0 && cr < 9 ? values[cr] : 0;
    r->skipped = kind < 2 && cr != 0 && cr != 3 && cr != 4 && cr != 8;
    r->defaulted = kind == 0;
}

// Exit qualification: SDM table 27-3. SVM tells the register by the exit code.
static void fill_cr(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    if (e->svm_code < 0x20) {
        set_cr(r, e->svm_code & 0x10 ? 0 : 1, e->svm_code & 0xf, 0);
    } else if (e->svm_code != UINT32_MAX) {
        set_cr(r, 0, e->svm_code >= 0x90 ? e->svm_code & 0xf : 0, 0);
    } else {
        set_cr(r, (unsigned)(e->info1 >> 4 & 3), e->info1 & 0xf, e->info1 >> 16 & 0xffff);
    }
}

// Exit qualification: SDM table 27-4.
static void fill_dr(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    bool svm = e->svm_code != UINT32_MAX;
    bool is_read = svm ? !(e->svm_code & 0x10) : (e->info1 & 0x10) != 0;
    r->op.kind = is_read ? REPLAY_MOVFROMDR : REPLAY_MOVTODR;
    r->op.args[0] = (svm ? e->svm_code : e->info1) & 7;
    r->op.args[1] = is_read ? 0 : r->op.args[0] == 6 ? 0xffff0ff0 : r->op.args[0] == 7 ? 0x400 : 0;
    r->defaulted = !is_read;
}

// Exit qualification: SDM table 27-5; EXITINFO1: APM vol. 2, 15.10.2.
static void fill_io(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    bool svm = e->svm_code != UINT32_MAX;
    bool is_in = (svm ? e->info1 & 1 : e->info1 >> 3 & 1) != 0;
    uint64_t size = svm ? e->info1 >> 4 & 7 : (e->info1 & 7) + 1;
    uint64_t port = e->info1 >> 16 & 0xffff;
    size = size == 1 || size == 2 || size == 4 ? size : 1;
    r->op.kind = is_in ? REPLAY_IN : REPLAY_OUT;
    r->op.args[0] = port + size > 0x10000 ? 0x10000 - size : port;
    r->op.args[1] = size;
    r->defaulted = !e->has_info1 || !is_in;
}

static void fill_msr(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    (void)e;
    r->op.args[0] = DEFAULT_MSR;
}

// Exit qualification: SDM table 27-7. EXITINFO1, 2 of SVM's nested page fault: error code and address.
static void fill_ept_violation(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    if (e->svm_code != UINT32_MAX && e->has_info2) {
        set_memory_fault(vcpu, r, e->info2, (e->info1 & 2) != 0, (e->info1 & 16) != 0);
        r->defaulted = false;
        return;
    }
    set_memory_fault(vcpu, r, vcpu->default_page, (e->info1 & 2) != 0, (e->info1 & 4) != 0);
    vcpu->default_page += 4096;
    if (vcpu->default_page >= IMPORT_MEMORY_BYTES) {
        vcpu->default_page = 16u << 20;
    }
}

static void fill_mmio(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    (void)e;
    set_access(r, true, DEFAULT_MMIO_GPA, 4, 0);
}

// SDM table 27-6 and 29.4.3.3; EXITINFO1 of AVIC's exits: APM vol. 2, 15.29.9.
static void fill_apic(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    bool is_write = r->reason == EXIT_REASON_APIC_WRITE || (e->info1 >> 12 & 15) == 1;
    uint64_t offset = e->info1 & 0xff0;
    if (e->svm_code == 0x401) {
        offset = 0x300;
    } else if (e->svm_code != UINT32_MAX) {
        is_write = (e->info1 >> 32 & 1) != 0;
    }
    set_access(r, is_write, APIC_PAGE + offset, 4, e->svm_code == 0x401 ? e->info1 & UINT32_MAX : 0);
    r->defaulted = is_write && e->svm_code != 0x401;
}

static void fill_lgdt(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    (void)e;
    r->op.args[0] = 0xfffffe0000001000ull;
    r->op.args[1] = 0x7f;
}

static void fill_all_contexts(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    (void)e;
    r->op.args[0] = 2; // INVEPT, INVVPID, INVPCID: all contexts.
}

static void fill_xsetbv(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    (void)e;
    r->op.args[1] = 7; // x87, SSE and AVX state.
}

// Reasons without a row cannot be caused by a replay guest.
static const struct {
    uint32_t reason;
    enum replay_op_kind kind;
    fill *fill;
} exit_ops[] = {
    {EXIT_REASON_EXCEPTION_NMI, REPLAY_NMI, fill_exception},
    {EXIT_REASON_EXTERNAL_INTERRUPT, REPLAY_INTR, fill_interrupt},
    {EXIT_REASON_TRIPLE_FAULT, REPLAY_TRIPLE, fill_nothing},
    {EXIT_REASON_INTERRUPT_WINDOW, REPLAY_AWAIT, fill_await},
    {EXIT_REASON_NMI_WINDOW, REPLAY_AWAIT, fill_await},
    {EXIT_REASON_TASK_SWITCH, REPLAY_TASKSWITCH, fill_task_switch},
    {EXIT_REASON_CPUID, REPLAY_CPUID, NULL},
    {EXIT_REASON_HLT, REPLAY_HLT, fill_nothing},
    {EXIT_REASON_INVD, REPLAY_INVD, fill_nothing},
    {EXIT_REASON_INVLPG, REPLAY_INVLPG, fill_info1},
    {EXIT_REASON_RDPMC, REPLAY_RDPMC, NULL},
    {EXIT_REASON_RDTSC, REPLAY_RDTSC, fill_nothing},
    {EXIT_REASON_VMCALL, REPLAY_VMCALL, fill_vmcall},
    {EXIT_REASON_VMCLEAR, REPLAY_VMCLEAR, fill_region},
    {EXIT_REASON_VMLAUNCH, REPLAY_VMLAUNCH, fill_nothing},
    {EXIT_REASON_VMPTRLD, REPLAY_VMPTRLD, fill_region},
    {EXIT_REASON_VMREAD, REPLAY_VMREAD, fill_vmcs_access},
    {EXIT_REASON_VMRESUME, REPLAY_VMRESUME, fill_nothing},
    {EXIT_REASON_VMWRITE, REPLAY_VMWRITE, fill_vmcs_access},
    {EXIT_REASON_VMOFF, REPLAY_VMXOFF, fill_nothing},
    {EXIT_REASON_VMON, REPLAY_VMXON, fill_region},
    {EXIT_REASON_CR_ACCESS, REPLAY_MOVTOCR, fill_cr},
    {EXIT_REASON_DR_ACCESS, REPLAY_MOVTODR, fill_dr},
    {EXIT_REASON_IO_INSTRUCTION, REPLAY_OUT, fill_io},
    {EXIT_REASON_MSR_READ, REPLAY_RDMSR, fill_msr},
    {EXIT_REASON_MSR_WRITE, REPLAY_WRMSR, fill_msr},
    {EXIT_REASON_MWAIT_INSTRUCTION, REPLAY_MWAIT, fill_nothing},
    {EXIT_REASON_MONITOR_TRAP_FLAG, REPLAY_AWAIT, fill_await},
    {EXIT_REASON_MONITOR_INSTRUCTION, REPLAY_MONITOR, fill_nothing},
    {EXIT_REASON_PAUSE_INSTRUCTION, REPLAY_PAUSE, fill_pause},
    {EXIT_REASON_TPR_BELOW_THRESHOLD, REPLAY_AWAIT, fill_await},
    {EXIT_REASON_APIC_ACCESS, REPLAY_WRITE, fill_apic},
    {EXIT_REASON_EOI_INDUCED, REPLAY_EOI, fill_nothing},
    {EXIT_REASON_GDTR_IDTR, REPLAY_LGDT, fill_lgdt},
    {EXIT_REASON_LDTR_TR, REPLAY_SLDT, fill_nothing},
    {EXIT_REASON_EPT_VIOLATION, REPLAY_READ, fill_ept_violation},
    {EXIT_REASON_EPT_MISCONFIG, REPLAY_WRITE, fill_mmio},
    {EXIT_REASON_INVEPT, REPLAY_INVEPT, fill_all_contexts},
    {EXIT_REASON_RDTSCP, REPLAY_RDTSCP, fill_nothing},
    {EXIT_REASON_PREEMPTION_TIMER, REPLAY_AWAIT, fill_await},
    {EXIT_REASON_INVVPID, REPLAY_INVVPID, fill_all_contexts},
    {EXIT_REASON_WBINVD, REPLAY_WBINVD, fill_nothing},
    {EXIT_REASON_XSETBV, REPLAY_XSETBV, fill_xsetbv},
    {EXIT_REASON_APIC_WRITE, REPLAY_WRITE, fill_apic},
    {EXIT_REASON_RDRAND, REPLAY_RDRAND, fill_nothing},
    {EXIT_REASON_INVPCID, REPLAY_INVPCID, fill_all_contexts},
    {EXIT_REASON_RDSEED, REPLAY_RDSEED, fill_nothing},
    {EXIT_REASON_PML_FULL, REPLAY_AWAIT, fill_await},
    {EXIT_REASON_BUS_LOCK, REPLAY_AWAIT, fill_await},
    {EXIT_REASON_NOTIFY, REPLAY_AWAIT, fill_await},
};

void exit_op_begin(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    r->skipped = true;
    for (size_t i = 0; i < sizeof(exit_ops) / sizeof(exit_ops)[0]; i++) {
        if (exit_ops[i].reason == r->reason) {
            r->skipped = false;
            r->defaulted = true;
            r->op.kind = (uint8_t)exit_ops[i].kind;
            if (exit_ops[i].fill != NULL) {
                exit_ops[i].fill(vcpu, r, e);
            }
            return;
        }
    }
}

static void detail_msr(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    bool is_write = r->op.kind == REPLAY_WRMSR;
    if (is_write == e->is_write && e->address <= UINT32_MAX) {
        r->op.args[0] = e->address;
        r->op.args[1] = is_write ? e->value : 0;
        r->defaulted = false;
    }
}

// The first access of an instruction counts; the kernel may trace one access in several parts.
static void detail_mmio(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    if (r->defaulted) {
        set_access(r, e->is_write, e->address, e->kind == EVENT_fast_mmio ? 2 : e->size, e->value);
        r->defaulted = false;
    }
}

static void detail_pio(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    uint64_t size = e->size == 1 || e->size == 2 || e->size == 4 ? e->size : 1;
    bool rep = e->args[0] > 1 && e->args[0] <= UINT32_MAX;
    r->op.kind = e->is_write ? REPLAY_OUT : REPLAY_IN;
    r->op.args[0] = e->address + size > 0x10000 ? 0x10000 - size : e->address;
    r->op.args[1] = size;
    r->op.args[2] = e->is_write ? e->value & mask_of(size) : rep ? e->args[0] : 0;
    r->op.args[3] = e->is_write && rep ? e->args[0] : 0;
    r->defaulted = false;
}

static void detail_cpuid(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    r->op.args[0] = e->args[0] & UINT32_MAX;
    r->op.args[1] = e->args[1] & UINT32_MAX;
    r->defaulted = false;
}

static void detail_cr(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    if (r->op.kind == REPLAY_MOVTOCR && e->is_write && e->address == r->op.args[0]) {
        r->op.args[1] = e->address == 8 ? e->value & 15 : e->value;
        r->defaulted = false;
    }
}

static void detail_hypercall(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    for (unsigned i = 0; i < 5; i++) {
        r->op.args[i] = e->args[i];
    }
    r->defaulted = false;
}

// Error code as in x86 page faults: bit 1 write, bit 4 fetch.
static void detail_page_fault(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    set_memory_fault(vcpu, r, e->address, (e->error_code & 2) != 0, (e->error_code & 16) != 0);
    r->defaulted = false;
}

static void detail_apic(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    (void)vcpu;
    if (r->op.kind == REPLAY_WRITE && e->is_write) {
        r->op.args[2] = e->value & UINT32_MAX;
        r->defaulted = false;
    }
}

static const struct {
    enum event_kind event;
    uint32_t reason;
    fill *fill;
} details[] = {
    {EVENT_msr, EXIT_REASON_MSR_READ, detail_msr},
    {EVENT_msr, EXIT_REASON_MSR_WRITE, detail_msr},
    {EVENT_mmio, EXIT_REASON_EPT_MISCONFIG, detail_mmio},
    {EVENT_mmio, EXIT_REASON_EPT_VIOLATION, detail_mmio},
    {EVENT_fast_mmio, EXIT_REASON_EPT_MISCONFIG, detail_mmio},
    {EVENT_fast_mmio, EXIT_REASON_EPT_VIOLATION, detail_mmio},
    {EVENT_pio, EXIT_REASON_IO_INSTRUCTION, detail_pio},
    {EVENT_cpuid, EXIT_REASON_CPUID, detail_cpuid},
    {EVENT_cr, EXIT_REASON_CR_ACCESS, detail_cr},
    {EVENT_hypercall, EXIT_REASON_VMCALL, detail_hypercall},
    {EVENT_page_fault, EXIT_REASON_EPT_VIOLATION, detail_page_fault},
    {EVENT_apic, EXIT_REASON_APIC_ACCESS, detail_apic},
    {EVENT_apic, EXIT_REASON_APIC_WRITE, detail_apic},
};

void exit_op_detail(struct vcpu *vcpu, struct exit_record *r, const struct event *e)
{
    for (size_t i = 0; i < sizeof(details) / sizeof(details)[0]; i++) {
        if (details[i].event == e->kind && details[i].reason == r->reason) {
            details[i].fill(vcpu, r, e);
            return;
        }
    }
}
