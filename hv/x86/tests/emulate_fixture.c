// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/tests/emulate_fixture.h"
#include "hv/core/memslots.h"
#include <string.h>

struct emulated m;

static struct {
    enum guest_mode mode;
} f;

void guest_store(u64 at, const void *bytes, unsigned count)
{
    EXPECT_EQ(vm_write_guest(t.v->vcpu.vm, gpa(at), bytes, count), 0);
}

u64 guest_load(u64 at, unsigned bytes)
{
    u64 value = 0;

    EXPECT_EQ(vm_read_guest(t.v->vcpu.vm, gpa(at), &value, bytes), 0);
    return value;
}

static void store64(u64 at, u64 value)
{
    guest_store(at, &value, 8);
}

void guest_map(u64 linear, u64 pte)
{
    store64(G_TABLES + 0x3000 + (linear >> 12) * 8, pte);
}

static void make_tables(void)
{
    const u64 rw = X86_PTE_P | X86_PTE_RW | X86_PTE_US;

    store64(G_TABLES, (G_TABLES + 0x1000) | rw);
    store64(G_TABLES + 0x1000, (G_TABLES + 0x2000) | rw);
    store64(G_TABLES + 0x2000, (G_TABLES + 0x3000) | rw);
    for (u64 i = 1; i < 512; i++)
        store64(G_TABLES + 0x2000 + 8 * i, i << 21 | rw | X86_PTE_PS);
    for (u64 i = 0; i < 512; i++)
        guest_map(i << 12, i << 12 | rw);
}

static struct hv_segment flat(u8 type)
{
    return (struct hv_segment){.limit = 0xffffffff,
                               .selector = type & X86_SEG_CODE ? 8 : 16,
                               .type = type,
                               .present = 1,
                               .s = 1,
                               .db = 1,
                               .g = 1};
}

static void set_mode(struct hv_sregs *s)
{
    struct hv_segment code = flat(X86_SEG_CODE | X86_SEG_READABLE | X86_SEG_ACCESSED);
    struct hv_segment data = flat(X86_SEG_WRITABLE | X86_SEG_ACCESSED);

    if (f.mode == GUEST_REAL) {
        code = data = (struct hv_segment){.limit = 0xffff, .type = 3, .present = 1, .s = 1};
        code.type = 0xb;
        code.selector = G_CODE >> 4;
        code.base = G_CODE;
    } else {
        s->cr0 |= X86_CR0_PE;
    }
    if (f.mode == GUEST_LONG) {
        code.db = 0;
        code.l = 1;
        s->cr0 |= X86_CR0_PG;
        s->cr3 = G_TABLES;
        s->cr4 |= X86_CR4_PAE | X86_CR4_OSFXSR;
        s->efer = EFER_LME | EFER_LMA;
    }
    s->cs = code;
    s->ds = s->es = s->ss = s->fs = s->gs = data;
    if (f.mode == GUEST_REAL) {
        s->ss.base = G_STACK - 0x10000;
        s->ss.selector = (u16)(s->ss.base >> 4);
    }
    s->gdt = (struct hv_dtable){.base = G_GDT, .limit = 0xffff};
    s->idt = (struct hv_dtable){.base = 0, .limit = 0x3ff};
}

void guest_setup(enum guest_mode mode)
{
    memset(&m, 0, sizeof(m));
    f.mode = mode;
    guest_is_machine_code();
    make_tables();
    m.regs = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);
    m.sregs = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_SREGS, m.sregs), 0);
    set_mode(m.sregs);
    m.regs->rip = mode == GUEST_REAL ? 0 : G_CODE;
    m.regs->rsp = mode == GUEST_REAL ? 0xfffe : G_STACK;
    m.regs->rflags = X86_RFLAGS_FIXED;
}

// --- Running.

static void touches_device(struct hw_gprs *r)
{
    (void)r;
    fake_vmcs_write(GUEST_PHYSICAL_ADDRESS, 0x3fffff000);
    guest_exit(EXIT_REASON_EPT_VIOLATION, QUAL_EPT_READ, 0);
}

static void look(struct hw_gprs *r)
{
    (void)r;
    m.intr_info = (u32)fake_vmcs_read(VM_ENTRY_INTR_INFO_FIELD);
    m.error_code = (u32)fake_vmcs_read(VM_ENTRY_EXCEPTION_ERROR_CODE);
    if (!(m.intr_info & INTR_INFO_VALID))
        m.intr_info = 0;
    guest_exit(EXIT_REASON_TRIPLE_FAULT, 0, 0);
}

static void answer_device(void)
{
    u64 at = t.run->mmio.phys_addr - G_DEVICE;
    struct device_access *a = &m.accesses[m.access_count];

    if (at >= sizeof(m.device) - 8 || m.access_count == sizeof(m.accesses) / sizeof(m.accesses[0])) {
        memset(t.run->mmio.data, 0xff, sizeof(t.run->mmio.data)); // Nobody there.
        return;
    }
    m.access_count++;
    *a = (struct device_access){.write = t.run->mmio.is_write, .len = t.run->mmio.len, .at = at};
    if (a->write)
        memcpy(m.device + at, t.run->mmio.data, a->len);
    else
        memcpy(t.run->mmio.data, m.device + at, a->len);
    memcpy(&a->value, m.device + at, a->len);
}

void guest_one_exit(guest_step exit)
{
    guest_step steps[] = {exit, look};

    m.access_count = 0;
    m.intr_info = m.error_code = 0;
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_SREGS, m.sregs), 0);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_REGS, m.regs), 0);
    script_guest(steps, 2);
    do {
        EXPECT_EQ(run_vm(), 0);
        if (t.run->exit_reason == HV_EXIT_MMIO)
            answer_device();
    } while (t.run->exit_reason == HV_EXIT_MMIO);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_REGS, m.regs), 0);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_SREGS, m.sregs), 0);
}

void guest_emulate(const u8 *code, unsigned count)
{
    guest_store(m.regs->rip + m.sregs->cs.base, code, count);
    guest_one_exit(touches_device);
}
