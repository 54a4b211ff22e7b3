// SPDX-License-Identifier: Apache-2.0
// State ioctls: what comes back, what is refused and with which error, and that refusals change nothing.
#include "hv/lib/errno.h"
#include "hv/x86/cpuid.h"
#include "hv/x86/msr.h"
#include "hv/x86/tests/vm_fixture.h"
#include "spec/cpuid.h"
#include "spec/msrs.h"
#include <string.h>

static void *user_page(void)
{
    return (void *)hv_mmap(16384, 12, HV_MAP_DIRECT);
}

static void registers(void)
{
    struct hv_regs *r = user_page(), *back = user_page();

    for (u32 i = 0; i < sizeof(*r) / 8; i++)
        ((u64 *)(void *)r)[i] = 0x1000 + i;
    r->rflags = X86_RFLAGS_FIXED | X86_RFLAGS_IF | X86_RFLAGS_RESERVED_0;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_REGS, r), 0);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_REGS, back), 0);
    r->rflags = X86_RFLAGS_FIXED | X86_RFLAGS_IF;
    EXPECT_MEMEQ(r, back, sizeof(*r));
    EXPECT_EQ(hv_ioctl(t.vcpu, HV_GET_REGS, 8), -EFAULT);
}
TEST(State, RegistersComeBack)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, registers), 0);
}

struct sregs_row {
    const char *why;
    void (*spoil)(struct hv_sregs *s);
};
#define SPOIL(name, statement)                                                                               \
    static void spoil_##name(struct hv_sregs *s)                                                             \
    {                                                                                                        \
        statement;                                                                                           \
    }
SPOIL(long_without_pae, (s->efer |= EFER_LME | EFER_LMA, s->cr0 |= X86_CR0_PG | X86_CR0_PE))
SPOIL(long_without_lma, (s->efer |= EFER_LME, s->cr0 |= X86_CR0_PG | X86_CR0_PE, s->cr4 |= X86_CR4_PAE))
SPOIL(lma_without_paging, s->efer |= EFER_LMA)
SPOIL(cs_l_outside, s->cs.l = 1)
SPOIL(cr0_high, s->cr0 |= 1ull << 40)
SPOIL(nw_without_cd, (s->cr0 |= X86_CR0_NW, s->cr0 &= ~X86_CR0_CD))
SPOIL(paging_in_real_mode, (s->cr0 |= X86_CR0_PG, s->cr0 &= ~X86_CR0_PE))
SPOIL(cr4_reserved, s->cr4 |= 1ull << 50)
SPOIL(cr8_high, s->cr8 = 16)
SPOIL(efer_reserved, s->efer |= 1ull << 60)
SPOIL(two_interrupts, (s->interrupt_bitmap[0] = 1ull << 40, s->interrupt_bitmap[2] = 1))

static void sregs(void)
{
    static const struct sregs_row rows[] = {
        {"long mode without PAE", spoil_long_without_pae},
        {"LME and PG without LMA", spoil_long_without_lma},
        {"LMA without paging", spoil_lma_without_paging},
        {"CS.L outside of long mode", spoil_cs_l_outside},
        {"CR0 bits 63:32", spoil_cr0_high},
        {"NW without CD", spoil_nw_without_cd},
        {"paging in real mode", spoil_paging_in_real_mode},
        {"reserved CR4", spoil_cr4_reserved},
        {"CR8 of five bits", spoil_cr8_high},
        {"reserved EFER", spoil_efer_reserved},
        {"two interrupts at once", spoil_two_interrupts},
    };
    struct hv_sregs *before = user_page(), *s = user_page();

    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_SREGS, before), 0);
    EXPECT_EQ(before->cr0, 0x60000010); // SDM 9.1.1, table 9-1.
    EXPECT_EQ(before->cs.base, 0xffff0000);
    EXPECT_EQ(before->cs.selector, 0xf000);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_SREGS, before), 0);
    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        *s = *before;
        s->cr3 = 0x77000;
        rows[i].spoil(s);
        EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_SREGS, s), -EINVAL);
        EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_SREGS, s), 0);
        EXPECT_MEMEQ(s, before, sizeof(*s));
    }
}
TEST(State, ImpossibleSpecialRegistersAreRefusedWhole)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, sregs), 0);
}

static void events(void)
{
    struct hv_vcpu_events *e = user_page();

    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_VCPU_EVENTS, e), 0);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_VCPU_EVENTS, e), 0);
    e->flags = 0x80;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_VCPU_EVENTS, e), -EINVAL);
    e->flags = 0;
    e->exception.injected = 1;
    e->exception.nr = 2; // NMI is no exception here.
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_VCPU_EVENTS, e), -EINVAL);
    e->exception.nr = 32;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_VCPU_EVENTS, e), -EINVAL);
    e->exception.nr = 14;
    e->interrupt.shadow = 4;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_VCPU_EVENTS, e), -EINVAL);
}
TEST(State, EventsAreChecked)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, events), 0);
}

static void small_ones(void)
{
    struct hv_mp_state *m = user_page();
    struct hv_debugregs *d = user_page();
    struct hv_msrs *msrs = user_page();
    struct hv_cpuid2 *cpuid = user_page();

    m->mp_state = 3; // Nobody could end a halt without a local APIC.
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_MP_STATE, m), -EINVAL);
    m->mp_state = 5;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_MP_STATE, m), -EINVAL);
    m->mp_state = 0;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_MP_STATE, m), 0);

    memset(d, 0, sizeof(*d));
    d->dr6 = 1ull << 32;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_DEBUGREGS, d), -EINVAL);
    d->dr6 = 0;
    d->flags = 1;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_DEBUGREGS, d), -EINVAL);

    // MSRs: how many were done before the first that could not be.
    msrs->nmsrs = 3;
    msrs->entries[0] = (struct hv_msr_entry){.index = 0xc0000081, .data = 0x123};
    msrs->entries[1] = (struct hv_msr_entry){.index = 0x12345678};
    msrs->entries[2] = (struct hv_msr_entry){.index = 0xc0000082, .data = 0x456};
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_MSRS, msrs), 1);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_MSRS, msrs), 1);
    msrs->nmsrs = HV_MSRS_MAX + 1;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_MSRS, msrs), -E2BIG);

    // A guest without the feature has not its command either.
    EXPECT_EQ(msr_write(t.v, MSR_IA32_FLUSH_CMD, FLUSH_CMD_L1D, false), 1);
    EXPECT_EQ(msr_write(t.v, MSR_IA32_FLUSH_CMD, FLUSH_CMD_L1D, true), 0);

    cpuid->nent = 1;
    EXPECT_EQ(hv_ioctl_ptr(HV_HANDLE_SYSTEM, HV_GET_SUPPORTED_CPUID, cpuid), -E2BIG);
    EXPECT_GT(cpuid->nent, 5);
    cpuid->nent = HV_CPUID_ENTRIES_MAX + 1;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_CPUID2, cpuid), -E2BIG);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_LAPIC, m), -EINVAL); // None in the core.
    EXPECT_EQ(hv_ioctl(t.vcpu, (enum hv_ioctl_cmd)0xee, 0), -ENOTTY);
}
TEST(State, ErrnosAreKvms)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, small_ones), 0);
}

// --- XCR0 and what CPUID shows of it.

static u64 xcr0_in_guest;

static void xsetbv(struct hw_gprs *r)
{
    r->r[GPR_RCX] = 0xabcd00000000; // The upper half is ignored.
    r->r[GPR_RDX] = 0;
    r->r[GPR_RAX] = XFEATURE_X87 | XFEATURE_SSE | XFEATURE_PKRU;
    guest_exit(EXIT_REASON_XSETBV, 0, 3);
}
static void behind_xsetbv(struct hw_gprs *r)
{
    (void)r;
    xcr0_in_guest = fake_xcr0();
    guest_exit(EXIT_REASON_TRIPLE_FAULT, 0, 0);
}

static void extended_state(void)
{
    static const guest_step steps[] = {xsetbv, behind_xsetbv};
    const struct hv_cpuid_entry2 *e;
    struct hv_cpuid2 *c = user_page();

    c->nent = HV_CPUID_ENTRIES_MAX;
    EXPECT_EQ(hv_ioctl_ptr(HV_HANDLE_SYSTEM, HV_GET_SUPPORTED_CPUID, c), 0);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_CPUID2, c), 0);
    vcpu_load(&t.v->vcpu);
    EXPECT_EQ(guest_cpuid_entry(t.v, 0xd, 0)->ebx, 576);
    EXPECT_FALSE(guest_cpuid_has(t.v, 7, 0, CPUID_ECX, CPUID_OSPKE));
    EXPECT_EQ(vcpu_set_cr4(t.v, X86_CR4_OSXSAVE | X86_CR4_PKE), 0);
    EXPECT_TRUE(guest_cpuid_has(t.v, 1, 0, CPUID_ECX, CPUID_OSXSAVE));
    EXPECT_TRUE(guest_cpuid_has(t.v, 7, 0, CPUID_ECX, CPUID_OSPKE));
    vcpu_put(&t.v->vcpu);
    script_guest(steps, 2);
    (void)run_vm();
    EXPECT_EQ(xcr0_in_guest, XFEATURE_X87 | XFEATURE_SSE | XFEATURE_PKRU);
    EXPECT_EQ(fake_xcr0(), XFEATURE_X87 | XFEATURE_SSE | XFEATURE_AVX | XFEATURE_PKRU); // The host's.
    e = guest_cpuid_entry(t.v, 0xd, 0);
    EXPECT_EQ(e->ebx, 2696); // Where PKRU ends.
    EXPECT_EQ(guest_cpuid_entry(t.v, 0xd, 1)->ebx, 576 + 8);
}
// SDM vol. 1 13.3 to 13.4.3.
TEST(State, GuestsHaveTheirOwnXcr0WhichCpuidShows)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, extended_state), 0);
}
