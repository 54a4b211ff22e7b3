// SPDX-License-Identifier: Apache-2.0
#include "hv/vmm/tests/pc_fixture.h"
#include "hv/hw/trace.h"
#include "spec/console_input.h"
#include <stddef.h>
#include <string.h>

u8 memory[2 * MIB] __attribute__((aligned(4096)));
struct pc_core core;
struct vmm_vm vm;

static u8 heap[MIB] __attribute__((aligned(64)));
static struct vmm vmm;
static struct vmm_vm_config config;
static struct {
    struct vmm_config head;
    struct vmm_vcpu_config vcpus[PC_VCPUS];
} block;

u64 hw_syscall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
    (void)a3;
    if (nr == HV_SYS_CLOCK)
        return core.now_ns;
    if (nr == HV_SYS_CONSOLE) {
        core.console[core.console_length++] = (char)a1;
        core.console_vm = (u32)a0;
    }
    if (nr == HV_SYS_CONSOLE_READ)
        return core.typed[core.typed_next] ? core.typed[core.typed_next++] : CONSOLE_INPUT_NONE;
    if (nr == HV_SYS_TOUCH)
        return a0;
    if (nr == HV_SYS_MADVISE_FREE) {
        core.freed = a0;
        memset((void *)a0, 0, a1);
    }
    if (nr == HV_SYS_IOCTL && a1 == HV_SIGNAL_MSI) {
        core.msi = *(const struct hv_msi *)a2;
        core.msis++;
    }
    core.wakes += nr == HV_SYS_FUTEX_WAKE;
    return 0;
}
void hw_trace(enum hw_tracepoint tp, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)
{
    (void)a0, (void)a1, (void)a3, (void)a4, (void)a5;
    core.not_modelled += tp == TP_NOT_MODELLED;
    core.inputs += tp == TP_GUEST_INPUT;
    core.lost += tp == TP_GUEST_INPUT && a2;
}
void *vmm_alloc(struct vmm *of, u64 bytes)
{
    u64 at = (of->heap_used + 63) & ~63ull;

    of->heap_used = at + bytes;
    return of->heap + at;
}
void vmm_check(bool ok, const char *what)
{
    (void)what;
    EXPECT_TRUE(ok);
}
void vmm_require(s64 result, const char *what)
{
    (void)what;
    EXPECT_GE(result, 0);
}
void vmm_dirty_mark(struct vmm_vm *of, u32 slot, u64 offset, u64 bytes)
{
    (void)of, (void)slot, (void)offset, (void)bytes;
}
s64 vmm_irq_line(struct vmm_vm *of, u32 gsi, u32 level)
{
    (void)of;
    core.raised[gsi] += level > core.line[gsi];
    core.line[gsi] = (u8)level;
    core.line_changes++;
    return 0;
}
void vmm_guest_end(struct vmm_vm *of, enum guest_end how, u64 code)
{
    (void)of;
    core.ends++;
    core.how = how;
    core.code = code;
}

void out(u16 port, u64 value, u32 size)
{
    EXPECT_TRUE(vmm_pc_access(&vm, VMM_DEVICE_PORT, port, true, (u8 *)&value, size));
}
u64 in(u16 port, u32 size)
{
    u64 value = 0;

    EXPECT_TRUE(vmm_pc_access(&vm, VMM_DEVICE_PORT, port, false, (u8 *)&value, size));
    return value;
}
void store(u64 gpa, u64 value, u32 size)
{
    EXPECT_TRUE(vmm_pc_access(&vm, VMM_DEVICE_MMIO, gpa, true, (u8 *)&value, size));
}
u64 load(u64 gpa, u32 size)
{
    u64 value = 0;

    EXPECT_TRUE(vmm_pc_access(&vm, VMM_DEVICE_MMIO, gpa, false, (u8 *)&value, size));
    return value;
}

#define PC_DEVICE(model) +1
static const u32 device_count = 0
#include "hv/vmm/pc_devices.def"
    ;
#undef PC_DEVICE

void pass_until(u64 ns)
{
    for (;;) {
        u64 next = ns;

        for (u32 i = 0; i < device_count; i++) {
            u64 due = vm.pc[i].model->expire ? vm.pc[i].model->expire(&vm.pc[i], core.now_ns) : 0;

            if (due == 0)
                continue;
            EXPECT_GT(due, core.now_ns); // Else its thread would spin.
            next = due < next ? due : next;
        }
        if (core.now_ns >= ns)
            return;
        core.now_ns = next;
    }
}

void make_typed(const u32 *words, u32 count)
{
    memset(&core, 0, sizeof core);
    if (count)
        memcpy(core.typed, words, count * sizeof *words);
    memset(heap, 0, sizeof heap);
    for (u32 i = 0; i < PC_VCPUS; i++)
        block.vcpus[i].apic_id = 2 * i;
    vmm = (struct vmm){.heap = heap, .heap_bytes = sizeof heap, .config = &block.head};
    config = (struct vmm_vm_config){.number = 5,
                                    .flags = VMM_VM_PC | (count ? VMM_VM_INPUT : 0),
                                    .vcpu_count = PC_VCPUS,
                                    .memory_bytes = 0x123456789000,
                                    .vcpus_offset = (u64)((char *)block.vcpus - (char *)&block)};
    vm = (struct vmm_vm){.vmm = &vmm, .config = &config};
    vm.slots[0] =
        (struct vmm_slot){.used = 1, .page_shift = 12, .address = (u64)memory, .bytes = sizeof memory};
    vmm_pc_create(&vm);
    EXPECT_LE(vmm.heap_used, vmm_pc_heap_bytes());
}

void make(void)
{
    make_typed(NULL, 0);
}
