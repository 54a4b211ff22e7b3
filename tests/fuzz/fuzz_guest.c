// SPDX-License-Identifier: Apache-2.0
// Any bytes as a guest: code, descriptor tables, page tables, control registers and segments, on the
// processor's model alone. It ends in an exit that nobody answers, in its triple fault, or at the limit of
// its time; it changes no byte that is not its own.
//
// Input: mode, flags, number of patches, then the patches (area, offset, value), then code.
#include "models/apic/lapic.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// --- What the bench needs of the test shim: a bench that cannot be set up is a bug. ---

const char *test_source_dir(void)
{
    return HVSIM_SOURCE_DIR;
}

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "fuzz_guest: %s\n", what);
    abort();
}

bool shim_compare(enum shim_op op, struct shim_int a, struct shim_int b, struct shim_where where)
{
    (void)op, (void)where;
    must(a.bits == b.bits, a.text);
    return true;
}

void shim_fail(struct shim_where where, const char *format, ...)
{
    (void)where;
    must(false, format);
}

// --- The guest's memory: gPA and linear address are the same in the first 2 MiB. ---

enum {
    GDT = 0x1000,
    TSS = 0x2000,
    LDT = 0x3000,
    IDT = 0x4000,
    PML4 = 0x5000,
    PDPT = 0x6000,
    PD = 0x7000,
    PD32 = 0x8000,
    PT = 0x9000,
    HANDLER = 0xf000,
    CODE = 0x10000,
    DATA = 0x20000,
    STACK = 0x30000,
    CODE_BYTES = 0x2000,
    GUEST_BYTES = 0x200000,
    PAGE = 4096
};
enum { EXITS_MAX = 12, TIMER_VALUE = 12 }; // 32 TSC cycles each
#define TABLE (X86_PTE_P | X86_PTE_RW | X86_PTE_US | X86_PTE_A)

static const uint64_t descriptors[] = {
    0,
    0x00cf9b000000ffff, // 08: code, 32-bit
    0x00af9b000000ffff, // 10: code, 64-bit
    0x00cf93000000ffff, // 18: data
    0x00008b0020000067,
    0,                  // 20: TSS
    0x00affb000000ffff, // 30: code, 64-bit, ring 3
    0x00cff3000000ffff, // 38: data, ring 3
    0x000082003000007f,
    0, // 40: LDT
    0x0000ec000010f000,
    0,                  // 50: call gate to HANDLER by 10
    0x0000ec000008f000, // 60: call gate to HANDLER by 08
    0x00008900b0000067, // 68: another TSS, 32-bit
    0x0000e50000680000, // 70: task gate
    0x00009b010000ffff, // 78: code, 16-bit
};

static unsigned char *at(uint32_t gpa)
{
    return bench.memory + BENCH_GUEST + gpa;
}

static void put(uint32_t gpa, uint64_t value)
{
    memcpy(at(gpa), &value, 8);
}

// pop of an error code, perhaps; IRET.
static const unsigned char handler[] = {0x50, 0x58, 0x48, 0xcf, 0xcf, 0xf4};

static void fill_memory(bool long_mode)
{
    memcpy(at(GDT), descriptors, sizeof descriptors);
    memcpy(at(LDT), descriptors, sizeof descriptors);
    memcpy(at(HANDLER), handler, sizeof handler);
    for (unsigned v = 0; v < 256; v++)
        if (long_mode)
            put(IDT + v * 16, 0x8e00001000000000ull >> 16 << 16 | (HANDLER & 0xffff) | 0x10 << 16);
        else if (v < 128)
            put(IDT + v * 8, 0x00008e0000080000ull | (HANDLER & 0xffff));
    put(TSS + 4, STACK + 0x1000);
    put(TSS + 8, 0x18);
    put(PML4, PDPT | TABLE);
    for (unsigned i = 0; i < 4; i++)
        put(PDPT + 8 * i, PD | X86_PTE_P);
    put(PDPT, PD | TABLE);
    put(PD, X86_PTE_PS | X86_PTE_D | TABLE);
    put(PD + 8, PT | TABLE);
    for (unsigned i = 0; i < 8; i++)
        put(PT + 8 * i, (DATA + PAGE * i) | TABLE);
    for (unsigned i = 0; i < 4; i += 2)
        put(PD32 + 4 * i, (X86_PTE_PS | X86_PTE_D | TABLE) | (uint64_t)(PT | TABLE) << 32);
}

// --- Modes. ---

struct mode {
    uint64_t cr0, cr4, cr3, efer;
    uint32_t cs_ar, ss_ar, data_ar, limit;
    uint64_t rflags;
};
#define PE_NE (X86_CR0_PE | X86_CR0_NE | X86_CR0_ET)
#define PAGED (PE_NE | X86_CR0_PG | X86_CR0_WP)
#define VMXE X86_CR4_VMXE
static const struct mode modes[] = {
    {X86_CR0_NE | X86_CR0_ET, VMXE, 0, 0, 0x9b, 0x93, 0x93, 0xffff, 0},              // Real
    {PE_NE, VMXE, 0, 0, 0x9b, 0x93, 0x93, 0xffff, 0},                                // 16-bit
    {PE_NE, VMXE, 0, 0, 0xc09b, 0xc093, 0xc093, UINT32_MAX, 0},                      // 32-bit
    {PAGED, VMXE | X86_CR4_PSE, PD32, 0, 0xc09b, 0xc093, 0xc093, UINT32_MAX, 0},     // and paging
    {PAGED, VMXE | X86_CR4_PAE, PDPT, 0, 0xc0fb, 0xc0f3, 0xc0f3, UINT32_MAX, 0},     // PAE, ring 3
    {PAGED, VMXE | X86_CR4_PAE, PML4, 0x500, 0xc09b, 0xc093, 0xc093, UINT32_MAX, 0}, // Compatibility
    {PAGED, VMXE | X86_CR4_PAE, PML4, 0xd01, 0xa09b, 0xc093, 0xc093, UINT32_MAX, 0}, // 64-bit
    {PAGED, VMXE | X86_CR4_PAE, PML4, 0xd01, 0xa0fb, 0xc0f3, 0xc0f3, UINT32_MAX, 0}, // Ring 3
    {PE_NE, VMXE, 0, 0, 0xf3, 0xf3, 0xf3, 0xffff, X86_RFLAGS_VM | X86_RFLAGS_IOPL},  // Virtual-8086
};

// What patches may change of the VMCS, by exclusive or.
static const uint32_t fields[] = {
    GUEST_CR0,
    GUEST_CR3,
    GUEST_CR4,
    GUEST_IA32_EFER,
    GUEST_DR7,
    GUEST_RFLAGS,
    GUEST_RSP,
    GUEST_RIP,
    GUEST_CS_AR_BYTES,
    GUEST_CS_BASE,
    GUEST_CS_LIMIT,
    GUEST_SS_AR_BYTES,
    GUEST_SS_BASE,
    GUEST_SS_LIMIT,
    GUEST_DS_AR_BYTES,
    GUEST_DS_BASE,
    GUEST_DS_LIMIT,
    GUEST_ES_AR_BYTES,
    GUEST_ES_LIMIT,
    GUEST_FS_BASE,
    GUEST_GS_BASE,
    GUEST_TR_AR_BYTES,
    GUEST_TR_LIMIT,
    GUEST_TR_BASE,
    GUEST_LDTR_AR_BYTES,
    GUEST_LDTR_LIMIT,
    GUEST_GDTR_LIMIT,
    GUEST_IDTR_LIMIT,
    GUEST_IDTR_BASE,
    GUEST_GDTR_BASE,
    EXCEPTION_BITMAP,
    GUEST_INTERRUPTIBILITY_INFO,
    GUEST_PENDING_DBG_EXCEPTIONS,
    CR0_GUEST_HOST_MASK,
    CR4_GUEST_HOST_MASK,
    CPU_BASED_VM_EXEC_CONTROL,
    VM_ENTRY_INTR_INFO_FIELD,
    VM_ENTRY_INSTRUCTION_LEN,
};
static const uint32_t areas[] = {GDT, IDT, TSS, LDT, PML4, PDPT, PD, PD32, PT, DATA, STACK, HANDLER};
enum { FIELD_COUNT = sizeof fields / sizeof *fields, AREA_COUNT = sizeof areas / sizeof *areas };

static void segments(const struct mode *m)
{
    bool virtual_8086 = m->rflags & X86_RFLAGS_VM;

    for (unsigned s = 0; s < 6; s++) { // ES, CS, SS, DS, FS, GS
        uint32_t ar = s == 1 ? m->cs_ar : s == 2 ? m->ss_ar : m->data_ar;

        bench_vmwrite(GUEST_ES_SELECTOR + 2 * s, virtual_8086 ? 0 : (s == 1 ? 8 : 0x18) | (ar >> 5 & 3));
        bench_vmwrite(GUEST_ES_AR_BYTES + 2 * s, ar);
        bench_vmwrite(GUEST_ES_LIMIT + 2 * s, m->limit);
        bench_vmwrite(GUEST_ES_BASE + 2 * s, 0);
    }
    bench_vmwrite(GUEST_TR_SELECTOR, 0x20);
    bench_vmwrite(GUEST_TR_BASE, TSS);
    bench_vmwrite(GUEST_LDTR_SELECTOR, 0x40);
    bench_vmwrite(GUEST_LDTR_AR_BYTES, 0x82);
    bench_vmwrite(GUEST_LDTR_BASE, LDT);
    bench_vmwrite(GUEST_LDTR_LIMIT, 0x7f);
    bench_vmwrite(GUEST_GDTR_BASE, GDT);
    bench_vmwrite(GUEST_IDTR_BASE, IDT);
}

static void set_up(uint8_t mode, uint8_t flags)
{
    const struct mode *m = &modes[mode % (sizeof modes / sizeof *modes)];
    bool low = m->limit == 0xffff;

    bench_vmx();
    bench_ept();
    fill_memory(m->efer);
    segments(m);
    bench_vmwrite(GUEST_CR0, m->cr0);
    bench_vmwrite(GUEST_CR3, m->cr3);
    bench_vmwrite(GUEST_CR4, m->cr4);
    bench_vmwrite(GUEST_IA32_EFER, m->efer);
    bench_vmwrite(GUEST_RFLAGS, X86_RFLAGS_FIXED | m->rflags);
    bench_vmwrite(GUEST_RIP, low ? HANDLER + 0x800 : CODE);
    bench_vmwrite(GUEST_RSP, low ? 0xe000 : STACK);
    bench_vmwrite(EXCEPTION_BITMAP, flags & 1 ? UINT32_MAX : 0);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_PREEMPTION_TIMER | PIN_NMI_EXITING, 0);
    bench_control(SECONDARY_VM_EXEC_CONTROL,
                  CPU2_UNRESTRICTED_GUEST | CPU2_ENABLE_RDTSCP | CPU2_ENABLE_INVPCID, 0);
    bench_control(VM_ENTRY_CONTROLS, m->efer & EFER_LMA ? ENTRY_IA32E_MODE_GUEST : 0,
                  m->efer & EFER_LMA ? 0 : ENTRY_IA32E_MODE_GUEST);
    for (unsigned i = 0; i < 16; i++)
        bench_gprs.r[i] = i & 1 ? DATA + 0x40 * i : i;
}

static uint64_t take(const uint8_t **p, size_t *left, unsigned bytes)
{
    uint64_t value = 0;

    if (*left < bytes)
        bytes = (unsigned)*left;
    memcpy(&value, *p, bytes);
    *p += bytes;
    *left -= bytes;
    return value;
}

static void patch(const uint8_t **p, size_t *left)
{
    unsigned what = (unsigned)take(p, left, 1) % (FIELD_COUNT + AREA_COUNT + 1);
    uint32_t offset;

    if (what < FIELD_COUNT) {
        bench_vmwrite(fields[what], bench_vmread(fields[what]) ^ take(p, left, 8));
    } else if (what < FIELD_COUNT + AREA_COUNT) {
        offset = (uint32_t)take(p, left, 2) % (PAGE - 8);
        put(areas[what - FIELD_COUNT] + offset, take(p, left, 8));
    } else {
        bench_gprs.r[take(p, left, 1) & 15] = take(p, left, 8);
    }
}

// Lets the guest go on after an exit, as a hypervisor would; false: nobody would.
static bool answer(uint32_t reason)
{
    uint32_t info;

    bench_vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0);
    switch (reason) {
    case EXIT_REASON_PREEMPTION_TIMER:
    case EXIT_REASON_TRIPLE_FAULT:
    case EXIT_REASON_TASK_SWITCH:
    case EXIT_REASON_EPT_MISCONFIG:
        return false;
    case EXIT_REASON_EXCEPTION_NMI:
        info = (uint32_t)bench_vmread(VM_EXIT_INTR_INFO);
        bench_vmwrite(EXCEPTION_BITMAP, 0);
        bench_vmwrite(VM_ENTRY_INTR_INFO_FIELD, info & ~INTR_INFO_UNBLOCK_NMI);
        bench_vmwrite(VM_ENTRY_EXCEPTION_ERROR_CODE, bench_vmread(VM_EXIT_INTR_ERROR_CODE));
        bench_vmwrite(VM_ENTRY_INSTRUCTION_LEN, bench_vmread(VM_EXIT_INSTRUCTION_LEN));
        return true;
    case EXIT_REASON_EPT_VIOLATION:
        bench_vmwrite(GUEST_RIP, bench_vmread(GUEST_RIP) + 1);
        return true;
    default:
        bench_skip();
        return true;
    }
}

static void run(void)
{
    for (unsigned i = 0; i < EXITS_MAX; i++) {
        uint32_t reason;

        bench_vmwrite(VMX_PREEMPTION_TIMER_VALUE, TIMER_VALUE);
        reason = bench_run();
        if (reason == UINT32_MAX || (reason & EXIT_REASON_ENTRY_FAILURE) || !answer(reason & 0xffff))
            return;
    }
}

// The processor as after reset, memory as after power on.
static void power_on(void)
{
    static bool loaded;

    if (!loaded) {
        must(bench_load("skylake-sp"), "no micro-architecture");
        bench_start(1);
        loaded = true;
    }
    struct pcpu *c = &bench.cpus[0];

    bench_access_ticks = 4 * TICKS_PER_CYCLE;
    memset(bench.memory, 0, 0x200000); // The bench's own: VMCS, EPT
    memset(bench.memory + BENCH_GUEST - PAGE, 0, GUEST_BYTES + 2 * PAGE);
    memset(&bench_gprs, 0, sizeof bench_gprs);
    c->now_ticks = 0;
    c->inbox_count = 0;
    c->mode = PCPU_KERNEL;
    c->irqs_enabled = c->irq_pending = c->nmi_pending = c->nmi_blocked = c->init_pending = c->sipi_pending =
        false;
    for (unsigned s = 0; s < PCPU_TIMER_COUNT; s++)
        c->timer_at_ticks[s] = TICKS_NEVER;
    c->next_local_ticks = TICKS_NEVER;
    lapic_reset(c);
    x86_reset(c);
    pcpu_update_limit(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned char zero[PAGE];
    uint8_t mode = (uint8_t)take(&data, &size, 1), flags = (uint8_t)take(&data, &size, 1);
    unsigned patches = (unsigned)take(&data, &size, 1) & 15;
    bool low = modes[mode % (sizeof modes / sizeof *modes)].limit == 0xffff;

    power_on();
    set_up(mode, flags);
    while (patches-- > 0)
        patch(&data, &size);
    memcpy(at(low ? HANDLER + 0x800 : CODE), data,
           size < (low ? 0x800 : CODE_BYTES) ? size : (low ? 0x800 : CODE_BYTES));
    run();
    must(!memcmp(at(0) - PAGE, zero, PAGE) && !memcmp(at(GUEST_BYTES), zero, PAGE),
         "the guest wrote where it has no memory");
    return 0;
}
