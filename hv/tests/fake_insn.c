// SPDX-License-Identifier: Apache-2.0
// The fake's instructions: MSRs, the x2APIC's command register, VMX, and the tracepoint port.
#include "hv/hw/fpu.h"
#include "hv/hw/note.h"
#include "hv/hw/setup.h"
#include "hv/tests/fake_state.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MSR_TSC 0x10u
#define MSR_APIC_BASE 0x1bu
#define MSR_FEATURE_CONTROL 0x3au
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC_ID 0x802u
#define MSR_X2APIC_ICR 0x830u
#define MSR_X2APIC_FIRST 0x800u
#define MSR_X2APIC_LAST 0x83fu

#define VMCS_EXIT_REASON 0x4402u
#define EXIT_HLT 12u

// --- MSRs. ---

static u64 *find_msr(struct fake_cpu *c, u32 msr)
{
    for (u32 i = 0; i < c->msr_count; i++) {
        if (c->msrs[i].msr == msr)
            return &c->msrs[i].value;
    }
    return NULL;
}

static void set_msr(struct fake_cpu *c, u32 msr, u64 value)
{
    u64 *at = find_msr(c, msr);
    if (at == NULL) {
        assert(c->msr_count < FAKE_MSRS_MAX);
        c->msrs[c->msr_count].msr = msr;
        at = &c->msrs[c->msr_count++].value;
    }
    *at = value;
}

// Capabilities of a processor of Skylake's kind (SDM appendix A): must-be-1 bits low, may-be-1 bits high.
static void vmx_capabilities(struct fake_cpu *c)
{
    static const struct {
        u32 msr;
        u64 value;
    } rows[] = {
        {0x480, 0x00da040000000004}, {0x481, 0x000000ff00000016}, {0x482, 0xfff9fffe0401e172},
        {0x483, 0x01ffffff00036dff}, {0x484, 0x0003ffff000011ff}, {0x485, 0x00000000300481e5},
        {0x486, 0x0000000080000021}, {0x487, 0x00000000ffffffff}, {0x488, 0x0000000000002000},
        {0x489, 0x00000000003767ff}, {0x48b, 0x021fffff00000000}, {0x48c, 0x00000f01067341c1},
        {0x48d, 0x000000ff00000016}, {0x48e, 0xfff9fffe04006172}, {0x48f, 0x01ffffff00036dfb},
        {0x490, 0x0003ffff000011fb},
    };
    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        set_msr(c, rows[i].msr, rows[i].value);
}

void fake_default_msrs(struct fake_cpu *c)
{
    vmx_capabilities(c);
    static const u32 zero[] = {MSR_TSC_DEADLINE,
                               0x3b,
                               0x48,
                               0x174,
                               0x175,
                               0x176,
                               0x1a0,
                               0x1d9,
                               0x277,
                               0xda0,
                               0xc0000080,
                               0xc0000081,
                               0xc0000082,
                               0xc0000083,
                               0xc0000084,
                               0xc0000100,
                               0xc0000101,
                               0xc0000102,
                               0xc0000103};
    for (u32 i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
        set_msr(c, zero[i], 0);
    for (u32 msr = MSR_X2APIC_FIRST; msr <= MSR_X2APIC_LAST; msr++)
        set_msr(c, msr, 0);
    set_msr(c, MSR_APIC_BASE, 0xfee00800u | (c->id == 0 ? 0x100u : 0));
    set_msr(c, MSR_FEATURE_CONTROL, 5);
    set_msr(c, MSR_X2APIC_ID, c->id);
}

void fake_set_msr(u32 cpu, u32 msr, u64 value)
{
    set_msr(&fake.cpus[cpu], msr, value);
}

u64 fake_get_msr(u32 cpu, u32 msr)
{
    const u64 *at = find_msr(&fake.cpus[cpu], msr);
    return at == NULL ? 0 : *at;
}

static void count_write(u32 msr)
{
    if (fake.quiet)
        return;
    for (u32 i = 0; i < FAKE_MSRS_MAX; i++) {
        if (fake.msr_writes[i].count != 0 && fake.msr_writes[i].msr != msr)
            continue;
        fake.msr_writes[i].msr = msr;
        fake.msr_writes[i].count++;
        return;
    }
}

u64 fake_msr_writes(u32 msr)
{
    for (u32 i = 0; i < FAKE_MSRS_MAX; i++) {
        if (fake.msr_writes[i].count != 0 && fake.msr_writes[i].msr == msr)
            return fake.msr_writes[i].count;
    }
    return 0;
}

enum hw_fault hw_rdmsr(u32 msr, u64 *value)
{
    fake_point(1);
    const u64 *at = find_msr(fake.cpu, msr);
    if (msr == MSR_TSC)
        *value = fake.time;
    else if (at != NULL)
        *value = msr == MSR_TSC_DEADLINE ? fake.cpu->deadline : *at;
    else
        return HW_FAULT_GP;
    return HW_DONE;
}

// SDM 10.12.9: delivery mode in bits 10:8, destination in 63:32.
static void send_ipi(u64 icr)
{
    u32 to = (u32)(icr >> 32), vector = (u32)icr & 0xff;
    if (to >= fake.config.cpus)
        return;
    switch (((u32)icr >> 8) & 7) {
    case 0:
        fake_raise(to, vector);
        break;
    case 4:
        fake.cpus[to].nmi = true;
        break;
    case 6:
        fake_start_ap(to);
        break;
    default: // INIT: a processor that waits for SIPI anyway.
        break;
    }
}

enum hw_fault hw_wrmsr(u32 msr, u64 value)
{
    count_write(msr);
    if (find_msr(fake.cpu, msr) == NULL) {
        fake_point(1);
        return HW_FAULT_GP;
    }
    set_msr(fake.cpu, msr, value);
    if (msr == MSR_X2APIC_ICR)
        send_ipi(value);
    if (msr == MSR_TSC_DEADLINE) {
        fake.cpu->deadline = value;
        if (value != 0 && value < fake.next_deadline)
            fake.next_deadline = value;
    }
    fake_point(1);
    return HW_DONE;
}

// --- The rest of the processor. ---

void hw_cpuid(u32 leaf, u32 subleaf, struct hw_cpuid_regs *out)
{
    fake_point(1);
    *out = (struct hw_cpuid_regs){0, 0, 0, 0};
    if (leaf == 0x0b)
        out->edx = fake.cpu->id;
    if (leaf == 0)
        out->eax = 0xd;
    if (leaf == 0x80000000)
        out->eax = 0x80000008;
    if (leaf == 0x80000008)
        out->eax = 46 | 48 << 8; // Physical and linear address bits.
    if (leaf == 0x80000001)
        out->edx = 1u << 11 | 1u << 20 | 1u << 26 | 1u << 27 | 1u << 29; // SYSCALL, NX, 1G, RDTSCP, LM
    if (leaf == 1)
        out->ecx = 1u << 5 | 1u << 21 | 1u << 24 | 1u << 26; // VMX, x2APIC, TSC deadline, XSAVE
    if (leaf == 7 && subleaf == 0)
        out->ecx = 1u << 3; // PKU
    if (leaf == 0xd && subleaf == 0)
        *out = (struct hw_cpuid_regs){.eax = 0x207, .ebx = 576, .ecx = 2696};
    if (leaf == 0xd && subleaf == 1)
        out->eax = 2; // XSAVEC
    if (leaf == 0xd && subleaf == 2)
        *out = (struct hw_cpuid_regs){.eax = 256, .ebx = 576};
    if (leaf == 0xd && subleaf == 9)
        *out = (struct hw_cpuid_regs){.eax = 8, .ebx = 2688};
}
u64 hw_rdtsc(void)
{
    fake_point(1);
    return fake.time;
}
u64 hw_rdtsc_ordered(void)
{
    return hw_rdtsc();
}
u64 hw_read_cr(unsigned n)
{
    return fake.cpu->cr[n];
}
enum hw_fault hw_write_cr(unsigned n, u64 value)
{
    fake.cpu->cr[n] = value;
    return HW_DONE;
}
u64 hw_read_dr(unsigned n)
{
    (void)n;
    return 0;
}
enum hw_fault hw_write_dr(unsigned n, u64 value)
{
    (void)n;
    (void)value;
    return HW_DONE;
}
enum hw_fault hw_xsetbv(u32 index, u64 value)
{
    if (index != 0 || !(fake.cpu->cr[4] & 1u << 18)) // OSXSAVE
        return HW_FAULT_UD;
    fake.cpu->xcr0 = value;
    return HW_DONE;
}
u64 fake_xcr0(void)
{
    return fake.cpu->xcr0;
}
void hw_xsave(hpa_t area)
{
    (void)area;
    fake_point(1);
}
enum hw_fault hw_xrstor(hpa_t area)
{
    (void)area;
    fake_point(1);
    return HW_DONE;
}
void hw_iret(void)
{
    fake_point(1); // NMIs are never blocked here.
}

void hw_sti(void)
{
    fake.cpu->irqs = true;
    fake_point(1);
}
void hw_cli(void)
{
    fake.cpu->irqs = false;
    fake_point(1);
}
bool hw_irqs_enabled(void)
{
    fake_point(1);
    return fake.cpu->irqs;
}
void hw_mb_after_locked(void) {}
void hw_pause(void)
{
    fake_point(10);
}
u64 hw_rdgsbase(void)
{
    // The point first: what is returned must be true when it is returned.
    fake_point(1);
    return fake.cpu->gs_base;
}
void hw_wrgsbase(u64 value)
{
    fake.cpu->gs_base = value;
}
u32 hw_in(u16 port, unsigned size_bytes)
{
    (void)port;
    return size_bytes == 1 ? 0xff : size_bytes == 2 ? 0xffff : 0xffffffff;
}
void hw_out(u16 port, unsigned size_bytes, u32 value)
{
    (void)port;
    (void)size_bytes;
    (void)value;
}
void hw_invlpg(u64 linear)
{
    (void)linear;
}
void hw_wbinvd(void) {}
void hw_clflush(const void *p)
{
    (void)p;
}
u64 hw_syscall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
    fake_point(1);
    fake.cpu->user = false;
    fake.cpu->irqs = false;
    u64 result = fake.cpu->vectors->syscall(nr, a0, a1, a2, a3);
    fake.cpu->user = true;
    fake.cpu->irqs = true;
    return result;
}
void hw_user_enter(void (*fn)(void *arg), void *arg)
{
    fake.cpu->user = true;
    fake.cpu->irqs = true;
    fn(arg);
}
void hw_set_vectors(const struct hw_vectors *vectors)
{
    fake.cpu->vectors = vectors;
}

// --- VMX: VMCSs are tables of fields; the guest is a function. ---

enum hw_vmx_status hw_vmxon(hpa_t region)
{
    (void)region;
    fake.cpu->vmx = true;
    return HW_VMX_OK;
}
enum hw_vmx_status hw_vmxoff(void)
{
    fake.cpu->vmx = false;
    return HW_VMX_OK;
}

static struct fake_vmcs *vmcs_at(u64 at)
{
    struct fake_vmcs *free_one = NULL;
    for (u32 i = 0; i < FAKE_VMCS_MAX; i++) {
        struct fake_vmcs *v = &fake.vmcs[i];
        if (v->hpa == at)
            return v;
        if (v->hpa == 0 && free_one == NULL)
            free_one = v;
    }
    assert(free_one != NULL);
    free_one->hpa = at;
    free_one->fields = calloc(1u << 15, sizeof(u64));
    return free_one;
}

enum hw_vmx_status hw_vmclear(hpa_t vmcs)
{
    struct fake_vmcs *v = vmcs_at(vmcs.v);
    v->launched = false;
    for (u32 i = 0; i < fake.config.cpus; i++) {
        if (fake.cpus[i].vmcs == v) {
            assert(&fake.cpus[i] == fake.cpu && "VMCLEAR of a VMCS that is current on another processor");
            fake.cpus[i].vmcs = NULL;
        }
    }
    fake_point(1);
    return HW_VMX_OK;
}
enum hw_vmx_status hw_vmptrld(hpa_t vmcs)
{
    struct fake_vmcs *v = vmcs_at(vmcs.v);
    for (u32 i = 0; i < fake.config.cpus; i++)
        assert((fake.cpus[i].vmcs != v || &fake.cpus[i] == fake.cpu) &&
               "a VMCS is current on two processors");
    fake.cpu->vmcs = v;
    fake_point(1);
    return HW_VMX_OK;
}
hpa_t hw_vmptrst(void)
{
    return hpa(fake.cpu->vmcs == NULL ? UINT64_MAX : fake.cpu->vmcs->hpa);
}
enum hw_vmx_status hw_vmread(u32 field, u64 *value)
{
    fake_point(1);
    if (fake.cpu->vmcs == NULL || field >= 1u << 15)
        return HW_VMX_FAIL_INVALID;
    *value = fake.cpu->vmcs->fields[field];
    return HW_VMX_OK;
}
enum hw_vmx_status hw_vmwrite(u32 field, u64 value)
{
    fake_point(1);
    if (fake.cpu->vmcs == NULL || field >= 1u << 15)
        return HW_VMX_FAIL_INVALID;
    fake.cpu->vmcs->fields[field] = value;
    return HW_VMX_OK;
}
u64 fake_vmcs_read(u32 field)
{
    return fake.cpu->vmcs->fields[field];
}
void fake_vmcs_write(u32 field, u64 value)
{
    fake.cpu->vmcs->fields[field] = value;
}
void fake_set_guest(fake_guest_fn fn)
{
    fake.guest = fn;
}

static enum hw_vmx_status enter(struct hw_gprs *gprs, bool launch)
{
    struct fake_vmcs *v = fake.cpu->vmcs;
    assert(!fake.cpu->irqs && "VM entry with interrupts enabled");
    if (v == NULL)
        return HW_VMX_FAIL_INVALID;
    if (v->launched == launch)
        return HW_VMX_FAIL_VALID;
    if (fake.guest != NULL) {
        enum hw_vmx_status status = fake.guest(gprs, launch);
        // An entry that fails, even late, leaves the launch state as it was (SDM 26.8).
        if (status == HW_VMX_OK && !(v->fields[VMCS_EXIT_REASON] >> 31 & 1))
            v->launched = true;
        return status;
    }
    v->launched = true;
    v->fields[VMCS_EXIT_REASON] = EXIT_HLT;
    return HW_VMX_OK;
}
enum hw_vmx_status hw_vmlaunch(struct hw_gprs *gprs)
{
    return enter(gprs, true);
}
enum hw_vmx_status hw_vmresume(struct hw_gprs *gprs)
{
    return enter(gprs, false);
}
enum hw_vmx_status hw_invept(u64 type, u64 eptp)
{
    (void)type;
    (void)eptp;
    fake_point(1);
    return HW_VMX_OK;
}
enum hw_vmx_status hw_invvpid(u64 type, u16 vpid, u64 linear)
{
    (void)type;
    (void)vpid;
    (void)linear;
    fake_point(1);
    return HW_VMX_OK;
}

// --- The tracepoint port. ---

void hw_trace(enum hw_tracepoint tp, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)
{
    if (fake.quiet)
        return;
    if (fake.event_count == fake.event_room) {
        fake.event_room = fake.event_room == 0 ? 1024 : fake.event_room * 2;
        fake.events = realloc(fake.events, fake.event_room * sizeof(*fake.events));
    }
    fake.events[fake.event_count++] =
        (struct fake_event){.time = fake.time, .cpu = fake.cpu->id, .tp = tp, .a = {a0, a1, a2, a3, a4, a5}};
}
void hw_trace_dirty_page(u32 vm, u32 vcpu, u32 slot, u64 gfn, enum hw_dirty_method method, bool ring)
{
    hw_trace(FAKE_DIRTY_PAGE, vm, vcpu, slot, gfn, method, ring);
}
void hw_trace_vcpu(u32 vm, u32 vcpu, u32 level, hpa_t vmcs)
{
    (void)vm;
    (void)vcpu;
    (void)level;
    (void)vmcs;
}
void hw_trace_span_begin(u32 span)
{
    hw_trace(TP_SPAN_BEGIN, span, 0, 0, 0, 0, 0);
}
void hw_trace_span_end(u32 span)
{
    hw_trace(TP_SPAN_END, span, 0, 0, 0, 0, 0);
}
// The fake validates nothing by notes.
void hw_note_alloc(const void *p, u64 bytes, u64 room_bytes)
{
    (void)p, (void)bytes, (void)room_bytes;
}
void hw_note_free(const void *p, u64 room_bytes)
{
    (void)p, (void)room_bytes;
}
void hw_note_pages(const void *p, u64 bytes, u32 owner, bool content)
{
    (void)p, (void)bytes, (void)owner, (void)content;
}
void hw_note_lock(const void *lock, enum hw_note_lock what, enum hw_note_mode mode, const u8 *rank)
{
    (void)lock, (void)what, (void)mode, (void)rank;
}
void hw_note_srcu(const void *srcu, enum hw_note_srcu what, u32 index)
{
    (void)srcu, (void)what, (void)index;
}
void hw_note_user_return(const u32 *preempt_count, const u32 *srcu_depth)
{
    (void)preempt_count, (void)srcu_depth;
}
void hw_note_this_cpu(const u32 *preempt_count, const u32 *pinned)
{
    (void)preempt_count, (void)pinned;
}
void hw_trace_count(const char *name, u64 n)
{
    u32 i = 0;
    while (i < fake.counter_names && strcmp(fake.counters[i].name, name) != 0)
        i++;
    assert(i < FAKE_COUNTERS_MAX);
    if (i == fake.counter_names)
        fake.counters[fake.counter_names++].name = name;
    fake.counters[i].count += n;
}
void hw_setup_begin(void) {}
void hw_setup_end(void) {}

void hw_trace_violation(const char *name, u64 a0, u64 a1)
{
    u32 i = 0;
    (void)a0;
    (void)a1;
    while (i < fake.violation_names && strcmp(fake.violations[i].name, name) != 0)
        i++;
    assert(i < FAKE_COUNTERS_MAX);
    if (i == fake.violation_names)
        fake.violations[fake.violation_names++].name = name;
    fake.violations[i].count++;
}
void hw_panic(const char *what, const char *file, u32 line)
{
    char text[256];
    snprintf(text, sizeof(text), "%s (%s:%u)", what, file, line);
    fake_stop(text);
}

u64 fake_violations(const char *name)
{
    u64 n = 0;
    for (u32 i = 0; i < fake.violation_names; i++) {
        if (name == NULL || strcmp(fake.violations[i].name, name) == 0)
            n += fake.violations[i].count;
    }
    return n;
}
u64 fake_counter(const char *name)
{
    for (u32 i = 0; i < fake.counter_names; i++) {
        if (strcmp(fake.counters[i].name, name) == 0)
            return fake.counters[i].count;
    }
    return 0;
}
const struct fake_event *fake_trace(enum hw_tracepoint tp, u64 n)
{
    for (u64 i = 0; i < fake.event_count; i++) {
        if (fake.events[i].tp == tp && n-- == 0)
            return &fake.events[i];
    }
    return NULL;
}
u64 fake_trace_count(enum hw_tracepoint tp)
{
    u64 n = 0;
    for (u64 i = 0; i < fake.event_count; i++)
        n += fake.events[i].tp == tp;
    return n;
}
