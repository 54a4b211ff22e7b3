// SPDX-License-Identifier: Apache-2.0
// Interrupt controllers and timer of a guest, as entry, exits and injection use them.
//
// Contexts: "vCPU" is the vCPU's own thread with the vCPU loaded; "any" is any thread or interrupt.
// With an irqchip in the core vcpu->apic is not NULL; functions of lapic_* need that unless said otherwise.
#ifndef HV_X86_LAPIC_H
#define HV_X86_LAPIC_H

#include "hv/x86/x86.h"

// --- Life. vCPU creation and reset; create: 0 or -ENOMEM. reset: also base, timer, pending INIT and SIPI.
int lapic_create(struct x86_vcpu *v);
void lapic_free(struct x86_vcpu *v); // apic may be NULL.
void lapic_online(
    struct x86_vcpu *v); // arch_vcpu_postcreate(): others can send to it from now on. apic may be NULL.
void lapic_reset(struct x86_vcpu *v, bool init_event);
// HV_GET_LAPIC, HV_SET_LAPIC. set: -EINVAL.
void lapic_get_state(struct x86_vcpu *v, struct hv_lapic_state *out);
int lapic_set_state(struct x86_vcpu *v, const struct hv_lapic_state *in);
// HV_GET_IRQCHIP, HV_SET_IRQCHIP, HV_CREATE_PIT2, HV_CAP_SPLIT_IRQCHIP. -ENXIO without irqchip, -EINVAL,
// -EEXIST, -ENOMEM.
int irqchip_get_state(struct vm *vm, struct hv_irqchip *chip);
int irqchip_set_state(struct vm *vm, const struct hv_irqchip *chip);
int irqchip_create_pit(struct vm *vm, const struct hv_pit_config *config);
int irqchip_create_split(struct vm *vm, u64 pins);
void irqchip_destroy(struct vm *vm); // Of arch_vm_destroy().

// --- Interrupts for the guest.

// Is an external interrupt waiting that the processor may take, were RFLAGS.IF set? LAPIC (priority above
// PPR) or PIC through LVT0 or a disabled LAPIC. Any context; works without LAPIC too (interrupt queued by
// user space is not its concern). With APIC virtualization only what hardware does not deliver itself
// (ExtINT) counts.
bool irqchip_has_injectable(struct x86_vcpu *v);
// The same, hardware-delivered ones included: ends a halt. Any context (may be another CPU's thread).
bool irqchip_has_interrupt(struct x86_vcpu *v);
// Acknowledges the most urgent one: IRR to ISR, PPR, or PIC's INTA cycle. Vector, or -1: none.
int irqchip_get_interrupt(struct x86_vcpu *v);
// LAPIC's own: highest vector above PPR or -1; and its acknowledgement. For nested virtualization.
int lapic_has_interrupt(struct x86_vcpu *v);
void lapic_ack_interrupt(struct x86_vcpu *v, int vector);
// TPR >> 4, and MOV to CR8. vCPU.
u64 lapic_get_cr8(struct x86_vcpu *v);
void lapic_set_cr8(struct x86_vcpu *v, u64 cr8);
// TPR threshold so that lowering the TPR below a waiting interrupt's class exits (SDM 29.1.2); writes
// TPR_THRESHOLD if it changed. Before entry, without virtual-interrupt delivery.
void lapic_update_cr8_intercept(struct x86_vcpu *v);

#define LAPIC_EVENT_INIT 1u
#define LAPIC_EVENT_SIPI 2u
// Pending INIT or SIPI that it does not hold back (any context), and taking them: resets or starts the vCPU,
// mp_state included. In L2 they are exits, which nested_check_events() makes. vCPU.
bool lapic_has_events(struct x86_vcpu *v);
void lapic_accept_events(struct x86_vcpu *v);
// Held back or not.
bool lapic_init_pending(const struct x86_vcpu *v);
// Was LAPIC_EVENT_INIT or LAPIC_EVENT_SIPI pending? It no longer is.
bool lapic_take_event(struct x86_vcpu *v, u32 event);

// --- Registers. vCPU. 0, or 1: #GP.

int lapic_set_base(struct x86_vcpu *v, u64 value, bool host_initiated);
int lapic_msr_read(struct x86_vcpu *v, u32 msr, u64 *value); // 0x800..0x8ff
int lapic_msr_write(struct x86_vcpu *v, u32 msr, u64 value);
u64 lapic_get_tsc_deadline(struct x86_vcpu *v);
void lapic_set_tsc_deadline(struct x86_vcpu *v, u64 value);
// WRMSR fast paths, interrupts disabled. True: done completely; false: the slow path has to do it, nothing
// happened.
bool lapic_fast_icr(struct x86_vcpu *v, u64 icr); // Fixed, physical, one target, x2APIC.
bool lapic_fast_tsc_deadline(struct x86_vcpu *v, u64 value);
// Any context: KVM_HC_SEND_IPI. Count of targets, or -KVM_EINVAL-like negative number.
s64 lapic_pv_send_ipi(struct vm *vm, u64 bitmap_low, u64 bitmap_high, u64 min_apic_id, u64 icr, bool wide);
// MSI to the VM as arch_set_msi(), and one interrupt straight to a vCPU's LAPIC: edge, fixed.
void lapic_post_vector(struct x86_vcpu *v, u8 vector);

// Accesses of in-core devices. True: it was one, `data` is written or filled in.
bool irqchip_mmio(struct x86_vcpu *v, u64 gpa, bool write, void *data, unsigned len);
bool irqchip_pio(struct x86_vcpu *v, u16 port, bool write, void *data, unsigned size);

// --- Exits. vCPU. As exit handlers: 1 go on, 0 to user space with run filled in.

int lapic_handle_apic_write(struct x86_vcpu *v, u32 offset); // APIC_WRITE, bytes in the page
int lapic_handle_eoi_induced(struct x86_vcpu *v, u8 vector); // EOI_INDUCED
int lapic_eoi_user_exit(struct x86_vcpu *v); // REQ_IOAPIC_EOI_EXIT was taken: 0, run is filled in.
int lapic_handle_apic_access(struct x86_vcpu *v,
                             u64 qualification); // APIC_ACCESS; -1: emulate the instruction
void guest_timer_hv_expired(struct x86_vcpu *v); // PREEMPTION_TIMER; also the fast path
// WRMSR-driven requests. SCAN_IOAPIC fills eoi_exit_bitmap and user exits; LOAD_EOI_EXITMAP writes it to the
// VMCS.
void ioapic_scan(struct x86_vcpu *v);
void apicv_load_eoi_exitmap(struct x86_vcpu *v);

// --- APIC virtualization and posted interrupts.

// Bits that stay set (of those in caps) in vmcs01: reads apicv_active and the LAPIC's mode.
void apicv_adjust_controls(struct x86_vcpu *v, u32 *pin, u32 *cpu, u32 *cpu2);
// VMCS fields of a new vCPU: virtual-APIC page, posted-interrupt descriptor and vector, EOI-exit bitmaps.
void apicv_vmcs_setup(struct x86_vcpu *v);
void apicv_update(struct x86_vcpu *v);                // REQ_APICV_UPDATE
void apicv_update_msr_bitmap(struct x86_vcpu *v);     // LAPIC mode changed.
void apicv_sync_pir_to_irr(struct x86_vcpu *v);       // Before entry: PIR to IRR, RVI.
void apicv_load(struct x86_vcpu *v, struct cpu *cpu); // NDST, SN.
void apicv_put(struct x86_vcpu *v);
int apicv_blocking(struct x86_vcpu *v); // Nonzero: an interrupt is posted, do not sleep.
void apicv_unblocking(struct x86_vcpu *v);
void apicv_host_init(struct host *host); // Registers the posted-interrupt vectors.

// --- Timer.

void guest_timer_load(struct x86_vcpu *v, struct cpu *cpu); // vcpu_load: TSC offset and CPU may have changed.
void guest_timer_blocking(struct x86_vcpu *v);              // From the preemption timer to a host timer.
void guest_timer_unblocking(struct x86_vcpu *v);
bool guest_timer_has_pending(struct x86_vcpu *v);    // Any context.
void guest_timer_inject_pending(struct x86_vcpu *v); // Fired: LVT timer's interrupt. Before injection.
void guest_timer_wait_expire(struct x86_vcpu *v);    // Just before entry: spins off the timer's lead.

#endif
