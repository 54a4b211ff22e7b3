// SPDX-License-Identifier: Apache-2.0
// The contract between hv/core and an architecture (hv/x86): who calls what, in which context.
//
// Structures: the arch's struct vm and struct vcpu begin with the core's (x86_vcpu { struct vcpu vcpu; ...
// }), the core allocates them, zeroed, by the sizes that the arch gives. Return value 1 of run-path hooks: go
// on; 0: leave to user space, run->exit_reason is set; negative: errno of RUN.
#ifndef HV_CORE_ARCH_H
#define HV_CORE_ARCH_H

#include "hv/core/requests.h"
#include "hv/core/vm.h"

// --- Host. ---

// On the boot processor, after memory, before other processors run: capabilities, vectors, host->arch. 0 or
// -errno.
int arch_host_init(struct host *host);
// On each processor, interrupts disabled, per-CPU data valid: CR4.VMXE, VMXON (SDM 23.7). Panics without VMX.
void arch_cpu_enable(struct cpu *cpu);
// An NMI that arrived in root mode. No locks.
void arch_host_nmi(struct cpu *cpu);

// --- VM. ---

u64 arch_vm_bytes(void);
int arch_vm_create(struct vm *vm, u64 type);
void arch_vm_destroy(struct vm *vm);                 // No vCPU is left.
s64 arch_vm_check_extension(struct vm *vm, u64 cap); // vm may be NULL. 0: unknown.
int arch_vm_enable_cap(struct vm *vm, const struct hv_enable_cap *cap);
// Commands that the core does not know itself; -ENOTTY: neither. `arg` is the user's.
s64 arch_system_ioctl(struct host *host, u32 cmd, u64 arg);
s64 arch_vm_ioctl(struct vm *vm, u32 cmd, u64 arg);
// Commands that must not wait for a running vCPU (INTERRUPT, as in KVM): no mutex, not loaded; -ENOTTY: not
// such a one.
s64 arch_vcpu_async_ioctl(struct vcpu *vcpu, u32 cmd, u64 arg);
// Under vcpu->mutex, vCPU loaded (vcpu_load()).
s64 arch_vcpu_ioctl(struct vcpu *vcpu, u32 cmd, u64 arg);

// --- vCPU. ---

u64 arch_vcpu_bytes(void);
// May refuse before anything is built: -EINVAL for an id beyond what the irqchip can address.
int arch_vcpu_precreate(struct vm *vm, u64 id);
int arch_vcpu_create(
    struct vcpu *vcpu); // Reset state included; first vCPU runnable, others wait for INIT with irqchip.
void arch_vcpu_postcreate(struct vcpu *vcpu); // After it is in vm->vcpus.
void arch_vcpu_destroy(struct vcpu *vcpu);
void arch_vcpu_reset(struct vcpu *vcpu, bool init_event);
// Preemption disabled, interrupts enabled (sched_in as well). vcpu->cpu still names the previous CPU, or
// NULL. A VMCS that is live elsewhere must be cleared there first (cpu_call()). HOST_GS_BASE must be
// hw_rdgsbase(): it names the thread.
void arch_vcpu_load(struct vcpu *vcpu, struct cpu *cpu);
// Preemption disabled; interrupts disabled when it is scheduled out.
void arch_vcpu_put(struct vcpu *vcpu);

// --- Run path, in order of call; srcu read section held unless said otherwise. ---

// RUN begins: finishes port or memory I/O that user space carried out, takes over run->cr8. Values as above.
int arch_vcpu_pre_run(struct vcpu *vcpu);
// mp_state runnable and nothing that stops entries.
bool arch_vcpu_running(struct vcpu *vcpu);
// Would something let a halted vCPU go on? Any context, may be another CPU's; no locks that sleep.
bool arch_vcpu_has_work(struct vcpu *vcpu);
// Halted and has_work: HALTED -> RUNNABLE. INIT and SIPI: takes them. 1 or -EINTR-like errors.
int arch_vcpu_unblocked(struct vcpu *vcpu);
// Blocking begins and ends: timers move to where they wake it, posted interrupts to their wake-up vector. A
// nonzero result of `blocking` says: do not sleep.
int arch_vcpu_blocking(struct vcpu *vcpu);
void arch_vcpu_unblocking(struct vcpu *vcpu);
// vcpu->requests is not zero; the core has taken VM_DEAD and UNBLOCK.
int arch_vcpu_handle_requests(struct vcpu *vcpu);
// Request EVENT was taken (looked at earlier, what is about to be left there with the request would be
// missed): takes INIT and SIPI. False: the vCPU does not run any more.
bool arch_vcpu_accept_events(struct vcpu *vcpu);
// Request EVENT was taken or user space wants an interrupt window: puts the most urgent event into the entry,
// arms windows for the rest. *immediate_exit: enter, and leave at once. May set requests. 1, 0, or -errno.
int arch_vcpu_inject_pending(struct vcpu *vcpu, bool *immediate_exit);
// Root of stage 2 is valid and loaded. 1 or -errno.
int arch_vcpu_mmu_reload(struct vcpu *vcpu);
// Preemption disabled: host state to be restored at exit is put into place.
void arch_vcpu_prepare_switch(struct vcpu *vcpu);
// Interrupts disabled, mode is IN_GUEST_MODE, section released: takes posted interrupts over (PIR to IRR).
void arch_vcpu_sync_posted(struct vcpu *vcpu);
// The entry was called off after inject_pending: what was put in goes back to pending.
void arch_vcpu_cancel_injection(struct vcpu *vcpu);
enum exit_fastpath {
    EXIT_FASTPATH_NONE,          // Call handle_exit.
    EXIT_FASTPATH_EXIT_HANDLED,  // Handled with interrupts disabled: loop.
    EXIT_FASTPATH_REENTER_GUEST, // Handled: enter again at once if nothing is pending.
};
// VM entry and exit. Interrupts disabled before and after.
enum exit_fastpath arch_vcpu_enter(struct vcpu *vcpu, bool immediate_exit);
// Interrupts disabled, after mode is OUTSIDE_GUEST_MODE: hands an acknowledged interrupt to cpu_interrupt(),
// NMI to its handler.
void arch_vcpu_handle_exit_irqoff(struct vcpu *vcpu);
// Interrupts and preemption enabled. Values as above. After the two handled fast paths only what every exit
// needs is left to do.
int arch_vcpu_handle_exit(struct vcpu *vcpu, enum exit_fastpath fastpath);
// User space asked for an interrupt window (run->request_interrupt_window) and it is open.
bool arch_vcpu_irq_window_open(struct vcpu *vcpu);
// RUN ends: fills if_flag, cr8, apic_base, ready_for_interrupt_injection of vcpu->run.
void arch_vcpu_post_run(struct vcpu *vcpu);
// Address space (0, 1) that the vCPU's accesses go to now.
unsigned arch_vcpu_address_space(struct vcpu *vcpu);
// Was it preempted in kernel mode of the guest? For directed yield.
bool arch_vcpu_in_kernel(struct vcpu *vcpu);

// --- Memory slots (slots_lock held). ---

// Allocates what the new slot needs and does not have yet: arrays by gfn on CREATE and MOVE (else `new` has
// old's pointers). Errors undo themselves and stop the update: -ENOMEM, -EINVAL. Called again for a MOVE when
// the slot was retired: what the architecture keeps in slots may have changed meanwhile (slots_arch_lock).
int arch_prepare_memory_region(struct vm *vm, const struct memslot *old, struct memslot *new,
                               enum memslot_change change);
// The new version is published.
void arch_commit_memory_region(struct vm *vm, const struct memslot *old, struct memslot *new,
                               enum memslot_change change);
// Before the final version's generation is visible: MMIO caches may have to be dropped when it wraps.
void arch_memslots_updated(struct vm *vm, u64 generation);
// Zaps all of the slot's translations and flushes; nobody uses them when it returns.
void arch_flush_shadow_memslot(struct vm *vm, const struct memslot *slot);
void arch_flush_shadow_all(struct vm *vm);
// Frees what prepare allocated for `slot` and `keep` (may be NULL) does not point to as well.
void arch_free_memslot(struct vm *vm, struct memslot *slot, const struct memslot *keep);
// The host takes the pages of [start, end) back: zap and flush, then return. mmu_invalidate_* already set.
// Without `flush` the caller does that (knob mm.release_order).
void arch_unmap_hva_range(struct vm *vm, hva_t start, hva_t end, bool flush);
// Pages of the slot were taken out of its dirty log: the bits of `mask` count from page `offset` (a multiple
// of 64). Their next write must be noticed again. mmu_lock held, for writing if arch_dirty_log_exclusive()
// says so while it is held; the caller flushes afterwards.
bool arch_dirty_log_exclusive(struct vm *vm);
void arch_dirty_log_protect(struct vm *vm, const struct memslot *slot, u64 offset, u64 mask);
// What processors have logged for themselves is on its way into the slots' logs.
void arch_dirty_log_sync(struct vm *vm);
// How many pages a processor logs at most before it tells (page-modification log); 0: it has no such log.
u32 arch_cpu_dirty_log_entries(struct host *host);
// Stage-2 entries have changed and REQ_TLB_FLUSH is about to be made on every vCPU: what the architecture
// needs so that the request drops what is cached now.
void arch_prepare_tlb_flush(struct vm *vm);
u64 arch_max_gfn(struct vm *vm); // First gfn beyond the guest-physical width.

// --- Interrupts (thread or interrupt context, no srcu section held). ---

// Sets a pin of chip 0, 1 (PIC) or 2 (IOAPIC). > 0 CPUs it went to, 0 coalesced, -1 masked.
int arch_irqchip_set(struct vm *vm, unsigned source_id, unsigned irqchip, unsigned pin, unsigned level);
int arch_set_msi(struct vm *vm, u64 address, u32 data);
// The routing table changed: EOI-exit bitmaps have to be computed again.
void arch_irq_routing_update(struct vm *vm);
// HV_CREATE_IRQCHIP, under vm->lock. 0 or -errno; vm->irqchip_in_kernel is set by the core.
int arch_create_irqchip(struct vm *vm);
// The default routes that the chips come with. Fills at most `max`, returns the count.
u32 arch_default_routes(struct vm *vm, struct hv_irq_routing_entry *entries, u32 max);

#endif
