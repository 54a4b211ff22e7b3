// SPDX-License-Identifier: Apache-2.0
// Virtual local APIC: which interrupt is next, acknowledging and ending it (SDM 10.8).
#include "hv/lib/bitmap.h"
#include "hv/x86/apicv.h"
#include "hv/x86/ioapic.h"
#include "hv/x86/lapic_state.h"
#include "hv/x86/pic.h"

int lapic_highest(const struct lapic *a, u32 base)
{
    for (int word = 7; word >= 0; word--) {
        u32 bits = READ_ONCE(*lapic_reg_ptr(a, base + (u32)word * 0x10));
        if (bits != 0)
            return word * 32 + 31 - __builtin_clz(bits);
    }
    return -1;
}

void lapic_set_irr(struct lapic *a, u8 vector)
{
    lapic_set_vector(a, APIC_IRR0, vector);
    // After the bit: who clears the hint looks at IRR once more.
    WRITE_ONCE(a->irr_pending, 1);
}

static int highest_irr(const struct lapic *a)
{
    return READ_ONCE(a->irr_pending) ? lapic_highest(a, APIC_IRR0) : -1;
}

static u32 compute_ppr(const struct lapic *a)
{
    u32 tpr = lapic_reg(a, APIC_TPR);
    int isr = lapic_highest(a, APIC_ISR0);
    u32 isrv = isr < 0 ? 0 : (u32)isr;
    return (tpr & 0xf0) >= (isrv & 0xf0) ? tpr & 0xff : isrv & 0xf0;
}

u32 lapic_update_ppr(struct lapic *a)
{
    u32 ppr = compute_ppr(a);
    if (lapic_reg(a, APIC_PPR) != ppr)
        lapic_set_reg(a, APIC_PPR, ppr);
    return ppr;
}

int lapic_has_interrupt(struct x86_vcpu *v)
{
    struct lapic *a = v->apic;
    if (!lapic_enabled(a) || !a->sw_enabled)
        return -1;
    int irr = highest_irr(a);
    if (irr < 0)
        return -1;
    // SDM 10.8.3.1: the class must be above the processor's.
    return ((u32)irr & 0xf0) > (compute_ppr(a) & 0xf0) ? irr : -1;
}

void lapic_ack_interrupt(struct x86_vcpu *v, int vector)
{
    struct lapic *a = v->apic;
    // Hint first: a sender that sets an IRR bit from here on sets it again.
    WRITE_ONCE(a->irr_pending, 0);
    lapic_clear_vector(a, APIC_IRR0, (u8)vector);
    if (lapic_highest(a, APIC_IRR0) >= 0)
        WRITE_ONCE(a->irr_pending, 1);
    *lapic_vector_word(a, APIC_ISR0, (u8)vector) |= 1u << (vector & 31);
    if (v->apicv_active)
        apicv_isr_changed(v);
    lapic_update_ppr(a);
}

// Does LINT0, or a disabled LAPIC, let the PIC's line through? SDM 10.5.1, 10.4.3.
static bool accepts_pic(const struct lapic *a)
{
    u32 lvt0 = lapic_reg(a, APIC_LVT_LINT0);
    if (!lapic_enabled(a))
        return true;
    return (lvt0 & APIC_LVT_MASKED) == 0 &&
           ((lvt0 & APIC_LVT_MODE_MASK) >> APIC_LVT_MODE_SHIFT) == APIC_DM_EXTINT;
}

static bool has_extint(struct x86_vcpu *v)
{
    struct pic *pic = x86_vm_of(v)->pic;
    return pic != NULL && v->vcpu.index == 0 && pic_output(pic) && accepts_pic(v->apic);
}

bool irqchip_has_injectable(struct x86_vcpu *v)
{
    if (v->apic == NULL)
        return false;
    if (has_extint(v))
        return true;
    if (v->apicv_active && !v->in_guest_mode)
        return false; // The processor delivers by itself.
    return lapic_has_interrupt(v) >= 0;
}

bool irqchip_has_interrupt(struct x86_vcpu *v)
{
    if (v->apic == NULL)
        return false;
    return has_extint(v) || lapic_has_interrupt(v) >= 0 || (v->apicv_active && apicv_has_posted(v));
}

int irqchip_get_interrupt(struct x86_vcpu *v)
{
    if (v->apic == NULL)
        return -1;
    if (has_extint(v))
        return pic_acknowledge(x86_vm_of(v)->pic);
    int vector = lapic_has_interrupt(v);
    if (vector >= 0)
        lapic_ack_interrupt(v, vector);
    return vector;
}

void lapic_eoi_broadcast(struct lapic *a, u8 vector)
{
    struct x86_vm *vm = x86_vm_of(a->v);

    if (!bitmap_test(a->v->eoi_exit_bitmap, vector))
        return; // No level pin of an I/O APIC, nobody who wants to hear of it.
    if (vm->irqchip_mode == IRQCHIP_SPLIT) {
        a->eoi_user_vector = vector;
        make_request(REQ_IOAPIC_EOI_EXIT, &a->v->vcpu);
        return;
    }
    bool level = lapic_test_vector(a, APIC_TMR0, vector);
    // SDM 10.8.5: software may keep the broadcast from level interrupts, and write the I/O APIC's EOI
    // register.
    if (level && (lapic_reg(a, APIC_SVR) & APIC_SVR_EOI_BROADCAST_SUPPRESS) != 0)
        return;
    if (vm->ioapic != NULL)
        ioapic_eoi(vm->ioapic, vector, level);
}

int lapic_eoi(struct lapic *a)
{
    int vector = lapic_highest(a, APIC_ISR0);

    hw_trace(TP_KVM_EOI, lapic_id(a), (u64)(vector < 0 ? 0 : vector), 0, 0, 0, 0);
    if (vector < 0)
        return -1;
    *lapic_vector_word(a, APIC_ISR0, (u8)vector) &= ~(1u << (vector & 31));
    if (a->v->apicv_active)
        apicv_isr_changed(a->v);
    lapic_update_ppr(a);
    lapic_eoi_broadcast(a, (u8)vector);
    make_request(REQ_EVENT, &a->v->vcpu);
    return vector;
}

int lapic_handle_eoi_induced(struct x86_vcpu *v, u8 vector)
{
    // The processor has cleared ISR and PPR (SDM 29.1.4); only the world has to hear of it.
    hw_trace(TP_KVM_EOI, lapic_id(v->apic), vector, 0, 0, 0, 0);
    lapic_eoi_broadcast(v->apic, vector);
    make_request(REQ_EVENT, &v->vcpu);
    return 1;
}

int lapic_eoi_user_exit(struct x86_vcpu *v)
{
    v->vcpu.run->exit_reason = HV_EXIT_IOAPIC_EOI;
    v->vcpu.run->eoi.vector = v->apic->eoi_user_vector;
    return 0;
}

u64 lapic_get_cr8(struct x86_vcpu *v)
{
    return (lapic_reg(v->apic, APIC_TPR) & 0xf0) >> 4;
}

void lapic_set_cr8(struct x86_vcpu *v, u64 cr8)
{
    lapic_set_reg(v->apic, APIC_TPR, (u32)(cr8 & 0xf) << 4);
    lapic_update_ppr(v->apic);
    make_request(REQ_EVENT, &v->vcpu);
}

void lapic_update_cr8_intercept(struct x86_vcpu *v)
{
    struct lapic *a = v->apic;
    if (a == NULL || v->apicv_active || v->in_guest_mode) // L2's CR8 accesses exit.
        return;
    int irr = lapic_enabled(a) && a->sw_enabled ? highest_irr(a) : -1;
    u32 tpr_class = (lapic_reg(a, APIC_TPR) & 0xf0) >> 4;
    u32 irr_class = irr < 0 ? 0 : (u32)irr >> 4;
    // Only an interrupt that the TPR holds back needs to hear of its lowering; the threshold may not be above
    // the TPR's class at entry (SDM 26.2.1.1), and an interrupt of a class above is injected anyway.
    u32 threshold = irr_class != 0 && irr_class <= tpr_class ? irr_class : 0;
    if (threshold == a->tpr_threshold)
        return;
    a->tpr_threshold = threshold;
    hw_vmwrite(TPR_THRESHOLD, threshold);
}
