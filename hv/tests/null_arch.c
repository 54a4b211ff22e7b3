// SPDX-License-Identifier: Apache-2.0
// An architecture without virtualization: what is left of the core is boot, processors, threads, time and
// user memory. For runs of the core on the processor models that need no VM.
#include "hv/core/arch.h"

#include "hv/lib/errno.h"
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
    (void)type;
    return -EOPNOTSUPP;
}
void arch_vm_destroy(struct vm *vm)
{
    (void)vm;
}
s64 arch_vm_check_extension(struct vm *vm, u64 cap)
{
    (void)vm;
    (void)cap;
    return -ENOTTY;
}
int arch_vm_enable_cap(struct vm *vm, const struct hv_enable_cap *cap)
{
    (void)vm;
    (void)cap;
    return 0;
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
s64 arch_vcpu_async_ioctl(struct vcpu *vcpu, u32 cmd, u64 arg)
{
    (void)vcpu;
    (void)cmd;
    (void)arg;
    return -ENOTTY;
}
s64 arch_vcpu_ioctl(struct vcpu *vcpu, u32 cmd, u64 arg)
{
    (void)vcpu;
    (void)cmd;
    (void)arg;
    return -ENOTTY;
}
u64 arch_vcpu_bytes(void)
{
    return sizeof(struct vcpu);
}
int arch_vcpu_precreate(struct vm *vm, u64 id)
{
    (void)vm;
    (void)id;
    return -EOPNOTSUPP;
}
int arch_vcpu_create(struct vcpu *vcpu)
{
    (void)vcpu;
    return -EOPNOTSUPP;
}
void arch_vcpu_postcreate(struct vcpu *vcpu)
{
    (void)vcpu;
}
void arch_vcpu_destroy(struct vcpu *vcpu)
{
    (void)vcpu;
}
void arch_vcpu_reset(struct vcpu *vcpu, bool init_event)
{
    (void)vcpu;
    (void)init_event;
}
void arch_vcpu_load(struct vcpu *vcpu, struct cpu *cpu)
{
    (void)vcpu;
    (void)cpu;
}
void arch_vcpu_put(struct vcpu *vcpu)
{
    (void)vcpu;
}
int arch_vcpu_pre_run(struct vcpu *vcpu)
{
    (void)vcpu;
    return 0;
}
bool arch_vcpu_running(struct vcpu *vcpu)
{
    (void)vcpu;
    return false;
}
bool arch_vcpu_has_work(struct vcpu *vcpu)
{
    (void)vcpu;
    return false;
}
int arch_vcpu_unblocked(struct vcpu *vcpu)
{
    (void)vcpu;
    return 0;
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
    (void)vcpu;
    return 0;
}
bool arch_vcpu_accept_events(struct vcpu *vcpu)
{
    (void)vcpu;
    return true;
}
int arch_vcpu_inject_pending(struct vcpu *vcpu, bool *immediate_exit)
{
    (void)vcpu;
    (void)immediate_exit;
    return 0;
}
int arch_vcpu_mmu_reload(struct vcpu *vcpu)
{
    (void)vcpu;
    return 0;
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
    (void)vcpu;
}
enum exit_fastpath arch_vcpu_enter(struct vcpu *vcpu, bool immediate_exit)
{
    (void)vcpu;
    (void)immediate_exit;
    return EXIT_FASTPATH_NONE;
}
void arch_vcpu_handle_exit_irqoff(struct vcpu *vcpu)
{
    (void)vcpu;
}
int arch_vcpu_handle_exit(struct vcpu *vcpu, enum exit_fastpath fastpath)
{
    (void)vcpu;
    (void)fastpath;
    return -EIO;
}
bool arch_vcpu_irq_window_open(struct vcpu *vcpu)
{
    (void)vcpu;
    return false;
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
    return false;
}
int arch_prepare_memory_region(struct vm *vm, const struct memslot *old, struct memslot *new,
                               enum memslot_change change)
{
    (void)vm;
    (void)old;
    (void)new;
    (void)change;
    return 0;
}
void arch_commit_memory_region(struct vm *vm, const struct memslot *old, struct memslot *new,
                               enum memslot_change change)
{
    (void)vm;
    (void)old;
    (void)new;
    (void)change;
}
void arch_memslots_updated(struct vm *vm, u64 generation)
{
    (void)vm;
    (void)generation;
}
void arch_flush_shadow_memslot(struct vm *vm, const struct memslot *slot)
{
    (void)vm;
    (void)slot;
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
}
void arch_unmap_hva_range(struct vm *vm, hva_t start, hva_t end, bool flush)
{
    (void)flush;
    (void)vm;
    (void)start;
    (void)end;
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
    (void)vm;
}
u64 arch_max_gfn(struct vm *vm)
{
    (void)vm;
    return 1ull << 34;
}
int arch_irqchip_set(struct vm *vm, unsigned source_id, unsigned irqchip, unsigned pin, unsigned level)
{
    (void)vm;
    (void)source_id;
    (void)irqchip;
    (void)pin;
    (void)level;
    return 0;
}
int arch_set_msi(struct vm *vm, u64 address, u32 data)
{
    (void)vm;
    (void)address;
    (void)data;
    return 0;
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
    (void)entries;
    (void)max;
    return 0;
}
