// SPDX-License-Identifier: Apache-2.0
#include "hv/tests/fake_arch.h"

#include "hv/lib/errno.h"
#include "hv/tests/fake_hw.h"

struct fake_arch fake_arch;

void fake_arch_reset(void)
{
    fake_arch = (struct fake_arch){.irq_window_open = false};
}

static struct fake_vcpu *to_fake(struct vcpu *vcpu)
{
    return (struct fake_vcpu *)vcpu;
}

int arch_host_init(struct host *host)
{
    (void)host;
    return 0;
}
void arch_cpu_enable(struct cpu *cpu)
{
    (void)cpu;
}
void arch_host_nmi(struct cpu *cpu)
{
    (void)cpu;
}
u64 arch_vm_bytes(void)
{
    return sizeof(struct vm);
}
int arch_vm_create(struct vm *vm, u64 type)
{
    (void)vm;
    if (type != 0)
        return -EINVAL;
    fake_arch.vms++;
    return 0;
}
void arch_vm_destroy(struct vm *vm)
{
    (void)vm;
    fake_arch.vms--;
}
s64 arch_vm_check_extension(struct vm *vm, u64 cap)
{
    (void)vm;
    (void)cap;
    return 0;
}
int arch_vm_enable_cap(struct vm *vm, const struct hv_enable_cap *cap)
{
    (void)vm;
    (void)cap;
    return -EINVAL;
}
s64 arch_system_ioctl(struct host *host, u32 cmd, u64 arg)
{
    (void)host;
    (void)cmd;
    (void)arg;
    return -ENOTTY;
}
s64 arch_vm_ioctl(struct vm *vm, u32 cmd, u64 arg)
{
    (void)vm;
    (void)cmd;
    (void)arg;
    return -ENOTTY;
}
s64 arch_vcpu_ioctl(struct vcpu *vcpu, u32 cmd, u64 arg)
{
    return fake_arch.vcpu_ioctl != NULL ? fake_arch.vcpu_ioctl(vcpu, cmd, arg) : -ENOTTY;
}
s64 arch_vcpu_async_ioctl(struct vcpu *vcpu, u32 cmd, u64 arg)
{
    (void)arg;
    if (cmd != HV_INTERRUPT)
        return -ENOTTY;
    WRITE_ONCE(to_fake(vcpu)->work, 1);
    make_request(REQ_EVENT, vcpu);
    vcpu_kick(vcpu);
    return 0;
}
u64 arch_vcpu_bytes(void)
{
    return sizeof(struct fake_vcpu);
}
int arch_vcpu_precreate(struct vm *vm, u64 id)
{
    (void)vm;
    (void)id;
    return 0;
}
int arch_vcpu_create(struct vcpu *vcpu)
{
    (void)vcpu;
    fake_arch.vcpus++;
    return 0;
}
void arch_vcpu_postcreate(struct vcpu *vcpu)
{
    (void)vcpu;
}
void arch_vcpu_destroy(struct vcpu *vcpu)
{
    (void)vcpu;
    fake_arch.vcpus--;
}
void arch_vcpu_reset(struct vcpu *vcpu, bool init_event)
{
    (void)vcpu;
    (void)init_event;
}
void arch_vcpu_load(struct vcpu *vcpu, struct cpu *cpu)
{
    (void)cpu;
    to_fake(vcpu)->loads++;
}
void arch_vcpu_put(struct vcpu *vcpu)
{
    to_fake(vcpu)->puts++;
}
int arch_vcpu_pre_run(struct vcpu *vcpu)
{
    (void)vcpu;
    return 1;
}
bool arch_vcpu_running(struct vcpu *vcpu)
{
    return !to_fake(vcpu)->halted;
}
bool arch_vcpu_has_work(struct vcpu *vcpu)
{
    return READ_ONCE(to_fake(vcpu)->work) != 0;
}
int arch_vcpu_unblocked(struct vcpu *vcpu)
{
    if (arch_vcpu_has_work(vcpu)) {
        WRITE_ONCE(to_fake(vcpu)->work, 0);
        to_fake(vcpu)->halted = false;
    }
    return 1;
}
int arch_vcpu_blocking(struct vcpu *vcpu)
{
    (void)vcpu;
    return 0;
}
void arch_vcpu_unblocking(struct vcpu *vcpu)
{
    (void)vcpu;
}
int arch_vcpu_handle_requests(struct vcpu *vcpu)
{
    if (fake_arch.handle_requests != NULL)
        return fake_arch.handle_requests(vcpu);
    // What the core takes itself stays; the others have nothing behind them here. Only bits that were seen
    // are cleared.
    u64 core =
        1ull << REQ_BIT(REQ_EVENT) | 1ull << REQ_BIT(REQ_VM_DEAD) | 1ull << REQ_BIT(REQ_IMMEDIATE_EXIT);
    u64 seen = READ_ONCE(vcpu->requests) & ~core;
    __atomic_fetch_and(&vcpu->requests, ~seen, __ATOMIC_SEQ_CST);
    return 1;
}
bool arch_vcpu_accept_events(struct vcpu *vcpu)
{
    return fake_arch.accept_events == NULL || fake_arch.accept_events(vcpu);
}
int arch_vcpu_inject_pending(struct vcpu *vcpu, bool *immediate_exit)
{
    to_fake(vcpu)->injections++;
    return fake_arch.inject != NULL ? fake_arch.inject(vcpu, immediate_exit) : 1;
}
int arch_vcpu_mmu_reload(struct vcpu *vcpu)
{
    (void)vcpu;
    return 1;
}
void arch_vcpu_prepare_switch(struct vcpu *vcpu)
{
    (void)vcpu;
}
void arch_vcpu_sync_posted(struct vcpu *vcpu)
{
    (void)vcpu;
}
void arch_vcpu_cancel_injection(struct vcpu *vcpu)
{
    to_fake(vcpu)->cancels++;
}
enum exit_fastpath arch_vcpu_enter(struct vcpu *vcpu, bool immediate_exit)
{
    to_fake(vcpu)->entries++;
    return fake_arch.enter(vcpu, immediate_exit);
}
void arch_vcpu_handle_exit_irqoff(struct vcpu *vcpu)
{
    int vector;
    (void)vcpu;
    while ((vector = fake_acknowledge()) >= 0)
        cpu_interrupt((unsigned)vector);
}
int arch_vcpu_handle_exit(struct vcpu *vcpu, enum exit_fastpath fastpath)
{
    return fastpath == EXIT_FASTPATH_NONE ? fake_arch.handle_exit(vcpu) : 1;
}
bool arch_vcpu_irq_window_open(struct vcpu *vcpu)
{
    (void)vcpu;
    return fake_arch.irq_window_open;
}
void arch_vcpu_post_run(struct vcpu *vcpu)
{
    (void)vcpu;
}
unsigned arch_vcpu_address_space(struct vcpu *vcpu)
{
    (void)vcpu;
    return 0;
}
bool arch_vcpu_in_kernel(struct vcpu *vcpu)
{
    (void)vcpu;
    return true;
}
int arch_prepare_memory_region(struct vm *vm, const struct memslot *old, struct memslot *new,
                               enum memslot_change change)
{
    int result = fake_arch.prepare_memslot != NULL ? fake_arch.prepare_memslot(vm, old, new, change) : 0;
    if (result == 0)
        fake_arch.prepares++;
    return result;
}
void arch_commit_memory_region(struct vm *vm, const struct memslot *old, struct memslot *new,
                               enum memslot_change change)
{
    (void)vm;
    (void)old;
    (void)new;
    (void)change;
    fake_arch.commits++;
}
void arch_memslots_updated(struct vm *vm, u64 generation)
{
    (void)vm;
    (void)generation;
}
void arch_flush_shadow_memslot(struct vm *vm, const struct memslot *slot)
{
    fake_arch.flushes++;
    if (fake_arch.flush_memslot != NULL)
        fake_arch.flush_memslot(vm, slot);
}
void arch_flush_shadow_all(struct vm *vm)
{
    (void)vm;
}
void arch_free_memslot(struct vm *vm, struct memslot *slot, const struct memslot *keep)
{
    (void)vm;
    (void)slot;
    (void)keep;
    fake_arch.frees++;
}
void arch_unmap_hva_range(struct vm *vm, hva_t start, hva_t end, bool flush)
{
    (void)flush;
    (void)vm;
    (void)start;
    (void)end;
    fake_arch.unmaps++;
}
void arch_dirty_log_protect(struct vm *vm, const struct memslot *slot, u64 offset, u64 mask)
{
    (void)vm;
    (void)slot;
    (void)offset;
    (void)mask;
}
bool arch_dirty_log_exclusive(struct vm *vm)
{
    (void)vm;
    return false;
}
void arch_dirty_log_sync(struct vm *vm)
{
    (void)vm;
}
u32 arch_cpu_dirty_log_entries(struct host *host)
{
    (void)host;
    return 0;
}
void arch_prepare_tlb_flush(struct vm *vm)
{
    if (fake_arch.prepare_tlb_flush != NULL)
        fake_arch.prepare_tlb_flush(vm);
}
u64 arch_max_gfn(struct vm *vm)
{
    (void)vm;
    return 1ull << 34; // 46 bits of guest-physical address.
}
int arch_irqchip_set(struct vm *vm, unsigned source_id, unsigned irqchip, unsigned pin, unsigned level)
{
    (void)source_id;
    return fake_arch.irqchip_set != NULL ? fake_arch.irqchip_set(vm, irqchip, pin, level) : 1;
}
int arch_set_msi(struct vm *vm, u64 address, u32 data)
{
    (void)vm;
    fake_arch.msis++;
    fake_arch.msi_address = address;
    fake_arch.msi_data = data;
    return 1;
}
void arch_irq_routing_update(struct vm *vm)
{
    (void)vm;
}
int arch_create_irqchip(struct vm *vm)
{
    (void)vm;
    return 0;
}
u32 arch_default_routes(struct vm *vm, struct hv_irq_routing_entry *entries, u32 max)
{
    (void)vm;
    for (u32 i = 0; i < HV_IRQCHIP_PINS && i < max; i++)
        entries[i] =
            (struct hv_irq_routing_entry){.gsi = i, .type = HV_IRQ_ROUTING_IRQCHIP, .u.irqchip = {2, i}};
    return HV_IRQCHIP_PINS;
}
