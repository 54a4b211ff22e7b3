// SPDX-License-Identifier: Apache-2.0
// Virtual local APIC: creation, reset, modes, state for user space (SDM 10.4).
#include "hv/x86/lapic_state.h"

#include "hv/lib/string.h"
#include "hv/x86/apicv.h"
#include "hv/x86/nested.h"
#include "hv/x86/regs.h"
#include "spec/cpuid.h"

struct apic_reg_row {
    u16 offset;
    u32 reset;
};

// Registers with a place in the page, and what reset leaves in them.
static const struct apic_reg_row reset_rows[] = {
#define APIC_REG(offset, msr, name, xapic, x2apic, bits, reset, section) {offset, reset},
#include "spec/apic_regs.def"
};

// Six LVT entries, version 14H, EOI-broadcast suppression: the I/O APIC here has an EOI register.
#define LAPIC_VERSION (0x14u | (5u << APIC_VERSION_MAX_LVT_SHIFT) | APIC_VERSION_EOI_SUPPRESS)

u32 lapic_id(const struct lapic *a)
{
    u32 id = lapic_reg(a, APIC_ID);
    return a->mode == LAPIC_X2APIC ? id : id >> APIC_ID_SHIFT;
}

int lapic_create(struct x86_vcpu *v)
{
    struct host *host = v->vcpu.vm->host;
    struct lapic *a = kzalloc(host, sizeof *a);

    if (a == NULL)
        return -ENOMEM;
    a->regs = page_alloc_zeroed(host, MEM_KERNEL);
    if (a->regs == NULL) {
        kfree(host, a, sizeof *a);
        return -ENOMEM;
    }
    a->regs_hpa = va_to_hpa(host, a->regs);
    a->v = v;
    v->apic = a;
    if (guest_timer_create(v) < 0 || apicv_create(v) < 0) {
        lapic_free(v);
        return -ENOMEM;
    }
    lapic_reset(v, false);
    return 0;
}

void lapic_free(struct x86_vcpu *v)
{
    struct host *host = v->vcpu.vm->host;
    struct lapic *a = v->apic;

    if (a == NULL)
        return;
    guest_timer_free(v);
    apicv_free(v);
    v->apic = NULL;
    apic_map_rebuild(v->vcpu.vm);
    page_free(host, a->regs, MEM_KERNEL);
    kfree(host, a, sizeof *a);
}

void lapic_online(struct x86_vcpu *v)
{
    if (v->apic != NULL)
        apic_map_rebuild(v->vcpu.vm);
}

static enum lapic_mode mode_of_base(u64 base)
{
    if ((base & APIC_BASE_EN) == 0)
        return LAPIC_DISABLED;
    return base & APIC_BASE_EXTD ? LAPIC_X2APIC : LAPIC_XAPIC;
}

// ID and LDR follow from the vCPU's id (SDM 10.4.6, 10.12.10.2).
static void set_identity(struct lapic *a)
{
    u32 id = a->v->vcpu.id;

    if (a->mode == LAPIC_X2APIC) {
        lapic_set_reg(a, APIC_ID, id);
        lapic_set_reg(a, APIC_LDR, ((id >> 4) << 16) | (1u << (id & 15)));
    } else {
        lapic_set_reg(a, APIC_ID, id << APIC_ID_SHIFT);
    }
}

static void reset_registers(struct lapic *a, bool keep_id)
{
    u32 id = lapic_reg(a, APIC_ID);

    for (u32 i = 0; i < ARRAY_COUNT(reset_rows); i++)
        lapic_set_reg(a, reset_rows[i].offset, reset_rows[i].reset);
    lapic_set_reg(a, APIC_VERSION, LAPIC_VERSION);
    if (keep_id)
        lapic_set_reg(a, APIC_ID, id);
    if (!keep_id || a->mode == LAPIC_X2APIC)
        set_identity(a);
    // Virtual wire mode: the PIC reaches the boot processor before its LAPIC is programmed (SDM 10.5.1,
    // MP 3.6.2.1).
    if (a->v->vcpu.id == 0)
        lapic_set_reg(a, APIC_LVT_LINT0, APIC_DM_EXTINT << APIC_LVT_MODE_SHIFT);
    a->sw_enabled = false;
    a->irr_pending = 0;
    a->esr_next = 0;
}

void lapic_reset(struct x86_vcpu *v, bool init_event)
{
    struct lapic *a = v->apic;

    guest_timer_stop(v);
    if (!init_event) {
        v->apic_base = APIC_BASE_RESET_ADDR | APIC_BASE_EN | (v->vcpu.id == 0 ? APIC_BASE_BSP : 0);
        a->mode = LAPIC_XAPIC;
        a->pending_events = 0;
    }
    reset_registers(a, init_event);
    a->tpr_threshold = 0;
    apicv_reset(v);
    apic_map_rebuild(v->vcpu.vm);
}

int lapic_set_base(struct x86_vcpu *v, u64 value, bool host_initiated)
{
    struct lapic *a = v->apic;
    enum lapic_mode old = mode_of_base(v->apic_base), new = mode_of_base(value);
    u64 reserved = ~((v->maxphyaddr ? (1ull << v->maxphyaddr) - 1 : APIC_BASE_ADDR_MASK | 0xfff)) | 0x2ff;

    if (!host_initiated) {
        if (!guest_cpuid_has(v, 1, 0, CPUID_ECX, CPUID_X2APIC))
            reserved |= APIC_BASE_EXTD;
        // SDM 10.12.1, 10.12.5: EXTD without EN, x2APIC to xAPIC, disabled straight to x2APIC.
        if ((value & reserved) != 0 || (value & (APIC_BASE_EN | APIC_BASE_EXTD)) == APIC_BASE_EXTD ||
            (old == LAPIC_X2APIC && new == LAPIC_XAPIC) || (old == LAPIC_DISABLED && new == LAPIC_X2APIC))
            return 1;
    } else if ((value & (APIC_BASE_EN | APIC_BASE_EXTD)) == APIC_BASE_EXTD) {
        return 1;
    }
    v->apic_base = value;
    if (a == NULL)
        return 0;
    a->mode = new;
    if (old == new)
        return 0;
    if (new == LAPIC_DISABLED) {
        guest_timer_stop(v);
        reset_registers(a, false); // SDM 10.4.3: state is lost.
    } else if (new == LAPIC_X2APIC || old == LAPIC_DISABLED) {
        set_identity(a);
    }
    vcpu_update_cpuid_runtime(v);
    apic_map_rebuild(v->vcpu.vm);
    apicv_mode_changed(v);
    return 0;
}

void lapic_get_state(struct x86_vcpu *v, struct hv_lapic_state *out)
{
    memcpy(out->regs, v->apic->regs, sizeof out->regs);
    *(u32 *)(void *)(out->regs + APIC_TIMER_CURRENT) = guest_timer_current_count(v);
}

int lapic_set_state(struct x86_vcpu *v, const struct hv_lapic_state *in)
{
    struct lapic *a = v->apic;
    u32 id = *(const u32 *)(const void *)(in->regs + APIC_ID);

    // In x2APIC mode ID and LDR cannot be chosen (SDM 10.12.10.2).
    if (a->mode == LAPIC_X2APIC && id != v->vcpu.id)
        return -EINVAL;
    guest_timer_stop(v);
    memcpy(a->regs, in->regs, sizeof in->regs);
    lapic_set_reg(a, APIC_VERSION, LAPIC_VERSION);
    if (a->mode == LAPIC_X2APIC)
        set_identity(a);
    a->sw_enabled = (lapic_reg(a, APIC_SVR) & APIC_SVR_ENABLE) != 0;
    a->irr_pending = 1;
    lapic_update_ppr(a);
    guest_timer_restore(v, lapic_reg(a, APIC_TIMER_CURRENT));
    apic_map_rebuild(v->vcpu.vm);
    apicv_state_changed(v);
    make_request(REQ_SCAN_IOAPIC, &v->vcpu);
    make_request(REQ_EVENT, &v->vcpu);
    return 0;
}

bool lapic_has_events(struct x86_vcpu *v)
{
    u32 events = v->apic != NULL ? READ_ONCE(v->apic->pending_events) : 0;

    if (likely(events == 0))
        return false;
    return (nested_blocks_init(v) ? events & ~LAPIC_EVENT_INIT : events) != 0;
}

bool lapic_init_pending(const struct x86_vcpu *v)
{
    return v->apic != NULL && (READ_ONCE(v->apic->pending_events) & LAPIC_EVENT_INIT) != 0;
}

bool lapic_take_event(struct x86_vcpu *v, u32 event)
{
    return v->apic != NULL &&
           (__atomic_fetch_and(&v->apic->pending_events, ~event, __ATOMIC_SEQ_CST) & event) != 0;
}

void lapic_accept_events(struct x86_vcpu *v)
{
    struct lapic *a = v->apic;

    if (!lapic_has_events(v))
        return;
    if (unlikely(v->in_guest_mode)) // Exits of L2, if anything: nested_check_events().
        return;
    if (unlikely(nested_blocks_init(v))) { // SDM 23.8: INIT waits for VMXOFF, a SIPI is lost.
        (void)lapic_take_event(v, LAPIC_EVENT_SIPI);
        return;
    }
    u32 events = __atomic_exchange_n(&a->pending_events, 0, __ATOMIC_SEQ_CST);
    if (events & LAPIC_EVENT_INIT) {
        arch_vcpu_reset(&v->vcpu, true);
        // SDM 8.4.2, 10.4.7.3: the boot processor starts over, others wait for SIPI.
        v->vcpu.mp_state = v->apic_base & APIC_BASE_BSP ? MP_STATE_RUNNABLE : MP_STATE_INIT_RECEIVED;
    }
    // SDM 10.6.1: a SIPI is taken only while waiting for one.
    if ((events & LAPIC_EVENT_SIPI) && v->vcpu.mp_state == MP_STATE_INIT_RECEIVED) {
        vcpu_deliver_sipi(v, READ_ONCE(a->sipi_vector));
        v->vcpu.mp_state = MP_STATE_RUNNABLE;
    }
}
