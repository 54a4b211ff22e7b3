// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/tests/vm_fixture.h"
#include "hv/core/vm.h"
#include "hv/hw/guest.h"
#include "hv/lib/errno.h"
#include <string.h>

struct test_vm t;

static struct {
    struct test_vm_options options;
    void (*body)(void);
    const guest_step *steps;
    u32 step_count, step;
    u64 entries;
    u8 insn[HW_GUEST_INSTRUCTION_MAX];
    u8 operand[16];
    bool has_operand;
    unsigned insn_count;
    bool machine_code;
    u64 xmm[16][2], mmx[8];
} f;

// --- The door to guest-linear memory.

bool hw_guest_is_stream(void)
{
    return !f.machine_code;
}

void hw_guest_read_xmm(unsigned n, u64 value[2])
{
    memcpy(value, f.xmm[n], 16);
}

void hw_guest_write_xmm(unsigned n, const u64 value[2])
{
    memcpy(f.xmm[n], value, 16);
}

bool hw_guest_read_mmx(unsigned n, u64 *value)
{
    *value = f.mmx[n];
    return true;
}

bool hw_guest_write_mmx(unsigned n, u64 value)
{
    f.mmx[n] = value;
    return true;
}

void guest_is_machine_code(void)
{
    f.machine_code = true;
}

unsigned hw_guest_fetch(u8 *bytes, unsigned max)
{
    unsigned n = f.insn_count < max ? f.insn_count : max;

    memcpy(bytes, f.insn, n);
    return n;
}

bool hw_guest_read_operand(u64 linear, void *buf, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        ((u8 *)buf)[i] = f.has_operand ? f.operand[i] : (u8)(linear + i);
    return linear != 0;
}

// Linear address 0 is not mapped; the others are physical ones.
bool hw_guest_translate(u64 linear, u64 *gpa)
{
    if (linear != 0)
        *gpa = linear;
    return linear != 0;
}

void guest_operand(u64 low, u64 high)
{
    memcpy(f.operand, &low, 8);
    memcpy(f.operand + 8, &high, 8);
    f.has_operand = true;
}

void guest_instruction(const u8 *bytes, unsigned count)
{
    memcpy(f.insn, bytes, count);
    f.insn_count = count;
}

// --- Guest.

void guest_exit(u32 reason, u64 qualification, u64 insn_len)
{
    fake_vmcs_write(VM_EXIT_REASON, reason);
    fake_vmcs_write(EXIT_QUALIFICATION, qualification);
    fake_vmcs_write(VM_EXIT_INSTRUCTION_LEN, insn_len);
}

static enum hw_vmx_status scripted(struct hw_gprs *r, bool launch)
{
    (void)launch;
    f.entries++;
    // What the processor does itself: the valid bit goes, exit information starts empty (SDM 27.2).
    fake_vmcs_write(VM_EXIT_INTR_INFO, 0);
    fake_vmcs_write(IDT_VECTORING_INFO_FIELD, 0);
    if (f.step < f.step_count)
        f.steps[f.step++](r);
    else
        guest_exit(EXIT_REASON_TRIPLE_FAULT, 0, 0);
    fake_vmcs_write(VM_ENTRY_INTR_INFO_FIELD, fake_vmcs_read(VM_ENTRY_INTR_INFO_FIELD) & ~INTR_INFO_VALID);
    return HW_VMX_OK;
}

void script_guest(const guest_step *steps, u32 count)
{
    f.steps = steps;
    f.step_count = count;
    f.step = 0;
    fake_set_guest(scripted);
}

u64 guest_entries(void)
{
    return f.entries;
}

s64 run_vm(void)
{
    return hv_ioctl(t.vcpu, HV_RUN, 0);
}

// --- User space.

static void make_vm(void)
{
    struct hv_user_memory_region region = {.memory_size = t.memory_bytes};

    t.vm = (int)hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0);
    ASSERT_GT(t.vm, 0);
    struct hv_enable_cap rings = {.cap = HV_CAP_DIRTY_LOG_RING, .args = {f.options.dirty_ring_bytes}};

    if (f.options.dirty_ring_bytes)
        ASSERT_EQ(hv_ioctl_ptr(t.vm, HV_ENABLE_CAP, &rings), 0);
    if (f.options.irqchip)
        ASSERT_EQ(hv_ioctl(t.vm, HV_CREATE_IRQCHIP, 0), 0);
    t.memory = (u64)hv_mmap(t.memory_bytes, f.options.page_shift, HV_MAP_GUEST);
    region.userspace_addr = t.memory;
    ASSERT_EQ(hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, &region), 0);
    t.vcpu = (int)hv_ioctl(t.vm, HV_CREATE_VCPU, 0);
    ASSERT_GT(t.vcpu, 0);
    t.run = (struct hv_run *)hv_ioctl(t.vcpu, HV_RUN_PAGE, 0);
    t.v = to_x86(handle_get(this_host(), t.vcpu, HANDLE_VCPU));
}

static void in_host(void *arg)
{
    (void)arg;
    make_vm();
    if (t.v != NULL)
        f.body();
    hv_syscall(HV_SYS_CLOSE, (u64)t.vcpu, 0, 0, 0);
    hv_syscall(HV_SYS_CLOSE, (u64)t.vm, 0, 0, 0);
}

int with_vm(const struct test_vm_options *options, void (*body)(void))
{
    struct fake_config config = {.cpus = 1, .knobs = options->knobs};

    memset(&t, 0, sizeof(t));
    memset(&f, 0, sizeof(f));
    f.options = *options;
    f.body = body;
    if (f.options.page_shift == 0)
        f.options.page_shift = 12;
    t.memory_bytes = options->memory_bytes ? options->memory_bytes : 4u << 20;
    config.memory_bytes = t.memory_bytes + (64u << 20);
    return fake_run(&config, in_host, NULL);
}
