// SPDX-License-Identifier: Apache-2.0
// What the files of the virtual local APIC share: its state, its register page, destinations.
//
// The registers are one host page in the layout of SDM 10.4.1, which is also the virtual-APIC page of
// SDM 29.1: with APIC virtualization the processor reads and writes it while the guest runs. IRR and TMR are
// written by senders on other processors (atomic), everything else by the vCPU's own thread or by hardware
// for it.
#ifndef HV_X86_LAPIC_STATE_H
#define HV_X86_LAPIC_STATE_H

#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/x86/lapic.h"
#include "spec/apic_bits.h"
#include "spec/msrs.h"

// In order of rising capability; IA32_APIC_BASE's EN and EXTD.
enum lapic_mode { LAPIC_DISABLED, LAPIC_XAPIC, LAPIC_X2APIC };

// Bits of lapic.deferred: writes to vmcs01 that wait until L2 has exited to L1.
#define LAPIC_DEFER_UPDATE 1u
#define LAPIC_DEFER_EOI_MAP 2u

struct lapic {
    u8 *regs; // Page.
    hpa_t regs_hpa;
    struct x86_vcpu *v;
    enum lapic_mode mode;
    bool sw_enabled;    // SVR bit 8.
    u32 irr_pending;    // 0: IRR is empty. Set by senders after the IRR bit.
    u32 pending_events; // LAPIC_EVENT_*, atomic.
    u32 esr_next;       // Errors since ESR was written last; atomic.
    u8 sipi_vector;     // Of LAPIC_EVENT_SIPI, written before the bit.
    u8 eoi_user_vector; // Of REQ_IOAPIC_EOI_EXIT.
    u32 tpr_threshold;  // Last written to the VMCS.
    u32 deferred;       // LAPIC_DEFER_*
};

// --- Registers.

static inline u32 *lapic_reg_ptr(const struct lapic *a, u32 offset)
{
    return (u32 *)(void *)(a->regs + offset);
}
static inline u32 lapic_reg(const struct lapic *a, u32 offset)
{
    return READ_ONCE(*lapic_reg_ptr(a, offset));
}
static inline void lapic_set_reg(struct lapic *a, u32 offset, u32 value)
{
    WRITE_ONCE(*lapic_reg_ptr(a, offset), value);
}
// A 256-bit register (ISR, TMR, IRR): word of a vector, 16 bytes apart.
static inline u32 *lapic_vector_word(const struct lapic *a, u32 base, u8 vector)
{
    return lapic_reg_ptr(a, base + (u32)(vector >> 5) * 0x10);
}
static inline bool lapic_test_vector(const struct lapic *a, u32 base, u8 vector)
{
    return (READ_ONCE(*lapic_vector_word(a, base, vector)) >> (vector & 31)) & 1;
}
// Atomic, fully ordered; the old bit.
static inline bool lapic_set_vector(struct lapic *a, u32 base, u8 vector)
{
    u32 bit = 1u << (vector & 31);
    return (__atomic_fetch_or(lapic_vector_word(a, base, vector), bit, __ATOMIC_SEQ_CST) & bit) != 0;
}
static inline bool lapic_clear_vector(struct lapic *a, u32 base, u8 vector)
{
    u32 bit = 1u << (vector & 31);
    return (__atomic_fetch_and(lapic_vector_word(a, base, vector), ~bit, __ATOMIC_SEQ_CST) & bit) != 0;
}
// Highest vector set, or -1.
int lapic_highest(const struct lapic *a, u32 base);

// Physical destination: 32-bit ID in x2APIC mode, 8 bits else.
u32 lapic_id(const struct lapic *a);
static inline bool lapic_enabled(const struct lapic *a)
{
    return a->mode != LAPIC_DISABLED;
}

// An access to the register page in xAPIC mode; false: not there.
bool lapic_mmio(struct x86_vcpu *v, u64 gpa, bool write, void *data, unsigned len);

// --- Priorities (lapic_prio.c).

// Recomputes PPR (SDM 10.8.3.1) and writes it to the page. Returns it.
u32 lapic_update_ppr(struct lapic *a);
// IRR of a vector that somebody sent, after all else was decided; the caller kicks.
void lapic_set_irr(struct lapic *a, u8 vector);
// EOI as written by software; the vector that ended, or -1.
int lapic_eoi(struct lapic *a);
// What EOI of `vector` means to the I/O APICs: also after EOI virtualization did the rest.
void lapic_eoi_broadcast(struct lapic *a, u8 vector);
// Is this number, of MSR_X2APIC_BASE on, that of a register that RDMSR reads in x2APIC mode?
bool lapic_msr_readable(u32 msr);
// An error of SDM 10.5.3 happened.
void lapic_error(struct lapic *a, u32 esr_bit);

// --- Sending (lapic_ipi.c).

struct apic_interrupt {
    u32 dest;
    u8 vector;
    u8 mode; // enum apic_delivery_mode
    bool logical;
    bool level;
    bool assert;
    bool lowest_hint; // MSI redirection hint.
    bool wide_dest;   // `dest` has 32 bits with broadcast FFFFFFFFH, not 8 (x2APIC IPI).
    u32 shorthand;    // APIC_ICR_SELF, _ALL, _OTHERS or 0.
};

#define APIC_MAP_IDS 256u
#define APIC_MAP_CLUSTERS 16u
// Who answers to which destination, rebuilt whenever an ID or a mode changes. Elements are read without a
// lock: a sender that races with the rebuilding meets an old or a new element, as messages on a bus would.
struct apic_map {
    struct spinlock lock; // One rebuild at a time.
    struct lapic *by_id[APIC_MAP_IDS];
    // x2APIC: [cluster][bit of 16]; xAPIC cluster model: [cluster][bit of 4]; flat: [0][bit of 8].
    struct lapic *logical[APIC_MAP_CLUSTERS][16];
    u32 logical_mode;   // enum apic_logical_mode
    u32 ids_incomplete; // Some LAPICs share an ID, which is then not in the table, or have one beyond it.
};
enum apic_logical_mode {
    APIC_LOGICAL_NONE,
    APIC_LOGICAL_FLAT,
    APIC_LOGICAL_CLUSTER,
    APIC_LOGICAL_X2APIC,
    APIC_LOGICAL_MIXED
};

void apic_map_rebuild(struct vm *vm);
// Delivers to every LAPIC that `irq` names. Returns to how many, or -1: none accepted.
int apic_deliver(struct vm *vm, struct lapic *source, const struct apic_interrupt *irq);
// One LAPIC takes it: 1, or 0 (disabled or an illegal vector).
int lapic_accept(struct lapic *a, const struct apic_interrupt *irq);
// LVT entry at `offset` fires: 1 if it was delivered, 0 if masked.
int lapic_local_deliver(struct lapic *a, u32 offset);
void lapic_write_icr(struct lapic *a, u32 low, u32 dest);
// Could `a` be meant by an IOAPIC entry or MSI like this? For the EOI-exit bitmap.
bool lapic_matches(const struct lapic *a, const struct apic_interrupt *irq);
void apic_interrupt_from_msi(u64 address, u32 data, struct apic_interrupt *out);

// --- Timer (guest_timer.c): writes of the LAPIC's timer registers, already in the page.

int guest_timer_create(struct x86_vcpu *v);
void guest_timer_free(struct x86_vcpu *v);
void guest_timer_stop(struct x86_vcpu *v);
// LVT_TIMER was `old`. Changing between one-shot or periodic and TSC-deadline mode disarms (SDM 10.5.4.1).
void guest_timer_lvt_changed(struct x86_vcpu *v, u32 old);
void guest_timer_initial_count(struct x86_vcpu *v);
void guest_timer_divide_changed(struct x86_vcpu *v, u32 old_current);
u32 guest_timer_current_count(struct x86_vcpu *v);
// After HV_SET_LAPIC: count down from the current count given.
void guest_timer_restore(struct x86_vcpu *v, u32 current);

#endif
