// SPDX-License-Identifier: Apache-2.0
// Events of one vCPU in the order of the recording: which exit is open, which deadline is armed, what wakes a
// HLT.
#include "tools/hvsim/import/vcpu.h"

#include "spec/exit_reasons.h"
#include "spec/msrs.h"

#include <assert.h>
#include <string.h>

#define SVM_EXIT_CODE_MSR 0x7cu

void vcpu_begin(struct vcpu *vcpu, uint32_t tid, struct stats *stats, vcpu_sink *sink, void *context)
{
    memset(vcpu, 0, sizeof(*vcpu));
    vcpu->tid = tid;
    vcpu->id = -1;
    vcpu->stats = stats;
    vcpu->sink = sink;
    vcpu->sink_context = context;
    vcpu->first = vcpu->next = 1;
    vcpu->timer_vector = DEFAULT_TIMER_VECTOR;
    vcpu->default_page = 16u << 20;
}

// The newest exit, or NULL before the first.
static struct exit_record *newest(struct vcpu *vcpu)
{
    return vcpu->next > 1 ? vcpu_record(vcpu, vcpu->next - 1) : NULL;
}

// The armed deadline while it still waits in the ring, or NULL.
static struct exit_record *armed(struct vcpu *vcpu)
{
    return vcpu->armed != 0 && vcpu->armed >= vcpu->first ? vcpu_record(vcpu, vcpu->armed) : NULL;
}

static void decide(struct vcpu *vcpu, struct exit_record *deadline, enum fate fate, uint64_t fired_ns)
{
    if (deadline != NULL && deadline->fate == FATE_OPEN) {
        uint64_t serial = vcpu->armed, last = vcpu->next - 1;
        deadline->fate = fate;
        deadline->fired_ns = fired_ns;
        deadline->between_count = last > serial ? (uint32_t)(last - serial - 1) : 0;
        // In a HLT the last exit that comes first is the HLT itself; in the guest it is the one before the
        // timer's.
        uint64_t before = fate == FATE_IN_GUEST && last > serial ? last - 1 : last;
        deadline->not_before_ns = vcpu_record(vcpu, before)->time_ns;
    }
}

// The armed deadline was reached: it is over, whatever its fate is called.
static void fire(struct vcpu *vcpu, enum fate fate, uint64_t now_ns)
{
    struct exit_record *deadline = armed(vcpu);
    decide(vcpu, deadline, fate, now_ns);
    vcpu->fired_tsc = deadline != NULL ? deadline->deadline_tsc : 0;
}

static void close_hlt(struct vcpu *vcpu, struct exit_record *hlt, uint64_t end_ns)
{
    if (hlt->wake_known) {
        return;
    }
    hlt->wake_guessed = true;
    // Nobody was seen: the armed deadline if it fell into the halt, else some other interrupt.
    struct exit_record *deadline = armed(vcpu);
    int64_t until;
    if (deadline != NULL && deadline->fate == FATE_OPEN &&
        tsc_line_until(&vcpu->tsc, hlt->time_ns, deadline->deadline_tsc, &until) && until >= 0 &&
        (uint64_t)until <= end_ns - hlt->time_ns) {
        fire(vcpu, FATE_IN_HLT, hlt->time_ns + (uint64_t)until);
        hlt->timer_serial = vcpu->armed;
        vcpu->armed = 0;
        hlt->wake_known = true;
        return;
    }
    hlt->by_device = true;
    hlt->wake_vector = DEFAULT_WAKE_VECTOR;
    hlt->wake_ns = end_ns > hlt->time_ns ? end_ns : hlt->time_ns + DEFAULT_WAKE_NS;
    hlt->defaulted = true;
}

// Ends the open exit at `end_ns`; `by_entry` if its kvm_entry was seen.
static void close_exit(struct vcpu *vcpu, uint64_t end_ns, bool by_entry)
{
    struct exit_record *r = newest(vcpu);
    if (!vcpu->exit_open || r == NULL) {
        return;
    }
    vcpu->exit_open = false;
    if (by_entry && vcpu->timed && end_ns >= r->time_ns) {
        r->handled_ns = end_ns - r->time_ns;
        r->handled_known = true;
        if (r->row != NULL) {
            stats_handled(vcpu->stats, r->row, r->handled_ns);
        }
    }
    if (r->reason == EXIT_REASON_HLT) {
        close_hlt(vcpu, r, end_ns);
    }
    if (vcpu->timer_accepted_ns != 0 && r->reason != EXIT_REASON_HLT && vcpu->armed != 0) {
        // The timer's interrupt arrived while the host handled another exit. Nothing in a guest program can
        // time that, and no exit depends on it: keep it from firing elsewhere.
        fire(vcpu, FATE_LATER, vcpu->timer_accepted_ns);
        vcpu->armed = 0;
        vcpu->timers_moved++;
    }
    vcpu->timer_accepted_ns = 0;
}

static void fix_reason(struct exit_record *r, const struct event *e)
{
    r->reason = e->exit_reason;
    if (e->svm_code == SVM_EXIT_CODE_MSR) {
        r->reason = e->info1 & 1 ? EXIT_REASON_MSR_WRITE : EXIT_REASON_MSR_READ;
    }
}

// In the table a reason has its VMX name, which is what the simulated processor will report.
static struct reason_stats *row_of(struct stats *stats, const struct exit_record *r, const struct event *e)
{
    const struct stream_name *name =
        r->reason < REASON_ARM64 ? stream_name_of(&stream_exit_reasons, r->reason) : NULL;
    if (name != NULL) {
        return stats_row(stats, name->name, name->size, r->reason);
    }
    unsigned size = e->reason_text.size < 64 ? (unsigned)e->reason_text.size : 64;
    return stats_row(stats, e->reason_text.at, size, r->reason);
}

static uint64_t guest_gap(struct vcpu *vcpu, uint64_t now_ns)
{
    if (vcpu->in_guest && vcpu->timed && now_ns >= vcpu->entry_ns) {
        return now_ns - vcpu->entry_ns;
    }
    if (vcpu->exits == 1 && !vcpu->in_guest) {
        return 0; // The recording begins with this exit.
    }
    vcpu->gaps_defaulted++;
    return DEFAULT_GAP_NS;
}

// The preemption timer exits because the armed deadline passed; without one the simulated guest would wait
// for ever.
static void on_preemption_timer(struct vcpu *vcpu, struct exit_record *r, uint64_t now_ns)
{
    if (vcpu->armed == 0) {
        r->skipped = true;
        return;
    }
    fire(vcpu, FATE_IN_GUEST, now_ns);
    vcpu->armed = 0;
}

static bool saw_vector(const struct exit_record *hlt, uint32_t vector)
{
    for (unsigned i = 0; i < hlt->vector_count; i++) {
        if (hlt->vectors[i] == vector) {
            return true;
        }
    }
    return hlt->by_device && hlt->wake_known && hlt->wake_vector == vector;
}

// The HLT after which `vector` was in service: best one that saw it, else one whose waker nobody saw.
static struct exit_record *hlt_for_vector(struct vcpu *vcpu, uint32_t vector)
{
    uint64_t oldest = vcpu->first > vcpu->eoi_serial[vector] ? vcpu->first : vcpu->eoi_serial[vector] + 1;
    struct exit_record *unexplained = NULL;
    for (uint64_t serial = vcpu->next - 1; serial >= oldest && serial > 0; serial--) {
        struct exit_record *r = vcpu_record(vcpu, serial);
        if (r->reason != EXIT_REASON_HLT || r->skipped) {
            continue;
        }
        if (saw_vector(r, vector)) {
            return r;
        }
        if (unexplained == NULL && r->wake_guessed) {
            unexplained = r;
        }
    }
    return unexplained;
}

// An EOI exits only if its vector is in service, so something must have signalled it.
static void on_eoi_induced(struct vcpu *vcpu, struct exit_record *r, uint32_t vector)
{
    r->eoi_vector = (uint8_t)vector;
    struct exit_record *hlt = hlt_for_vector(vcpu, vector);
    if (hlt != NULL) {
        if (hlt->timer_serial >= vcpu->first && hlt->timer_serial != 0) {
            // The device wakes the vCPU in the timer's place; both at once could not be ordered.
            vcpu_record(vcpu, hlt->timer_serial)->fate = FATE_LATER;
            hlt->wake_ns = vcpu_record(vcpu, hlt->timer_serial)->fired_ns;
            vcpu->timers_moved++;
        }
        hlt->timer_serial = 0;
        hlt->by_device = hlt->wake_known = true;
        hlt->defaulted = hlt->wake_guessed = false;
        hlt->wake_vector = (uint8_t)vector;
    } else if (vcpu->next - 2 >= vcpu->first && vcpu->next > 2) {
        struct exit_record *before = vcpu_record(vcpu, vcpu->next - 2);
        before->signal_before = true;
        before->signal_vector = (uint8_t)vector;
        r->defaulted = true;
    } else {
        r->defaulted = true;
    }
    vcpu->eoi_serial[vector] = vcpu->next - 1;
}

static void on_exit_event(struct vcpu *vcpu, const struct event *e, uint64_t now_ns)
{
    if (vcpu->exit_open) {
        vcpu->lost_entries++;
        close_exit(vcpu, now_ns, false);
    }
    if (vcpu->next - vcpu->first == VCPU_RING) {
        vcpu_write_oldest(vcpu);
    }
    struct exit_record *r = vcpu_record(vcpu, vcpu->next++);
    memset(r, 0, sizeof(*r));
    vcpu->exits++;
    r->time_ns = now_ns;
    r->op.gap_cycles = guest_gap(vcpu, now_ns);
    fix_reason(r, e);
    r->row = row_of(vcpu->stats, r, e);
    if (r->row != NULL) {
        r->row->count++;
    }
    if (e->has_rip && (e->rip >> 56 == 0 || e->rip >> 56 == 0xff)) {
        r->op.flags |= REPLAY_HAS_RIP;
        r->op.rip = e->rip;
    }
    exit_op_begin(vcpu, r, e);
    vcpu->exit_open = true;
    vcpu->in_guest = false;
    vcpu->timer_accepted_ns = 0;
    if (r->reason == EXIT_REASON_PREEMPTION_TIMER) {
        on_preemption_timer(vcpu, r, now_ns);
    } else if (r->reason == EXIT_REASON_EOI_INDUCED) {
        on_eoi_induced(vcpu, r, (uint32_t)e->info1 & 0xff);
    }
}

static void on_entry(struct vcpu *vcpu, const struct event *e, uint64_t now_ns)
{
    vcpu->entries++;
    if (!vcpu->exit_open && vcpu->entries > 1 && vcpu->in_guest) {
        vcpu->lost_exits++;
    }
    struct exit_record *r = newest(vcpu);
    if (vcpu->exit_open && r != NULL && e->has_rip && (r->op.flags & REPLAY_HAS_RIP)) {
        uint64_t moved = e->rip - r->op.rip;
        if (moved >= 1 && moved <= 15) {
            r->length = (uint8_t)moved;
        }
    }
    close_exit(vcpu, now_ns, true);
    vcpu->in_guest = true;
    vcpu->entry_ns = now_ns;
}

// A write of the deadline replaces the one before it; 0 disarms (SDM 10.5.4.1).
static void on_deadline_write(struct vcpu *vcpu, struct exit_record *r, uint64_t value)
{
    struct exit_record *before = armed(vcpu);
    if (vcpu->timer_accepted_ns != 0 && value != 0) {
        r->fate = FATE_AT_ONCE;
        vcpu->fired_tsc = value;
        vcpu->timer_accepted_ns = 0;
    }
    if (before != NULL && before != r) {
        decide(vcpu, before, FATE_LATER, 0);
    }
    // The last write before this one may have fired long ago: its value may still be moved up to here.
    if (vcpu->last_write != 0 && vcpu->last_write >= vcpu->first) {
        vcpu_record(vcpu, vcpu->last_write)->next_write_ns = r->time_ns;
    }
    vcpu->last_write = vcpu->next - 1;
    r->is_deadline = value != 0;
    r->deadline_tsc = value;
    vcpu->armed = value != 0 && r->fate == FATE_OPEN ? vcpu->next - 1 : 0;
}

void vcpu_accept(struct vcpu *vcpu, uint32_t vector, uint64_t now_ns)
{
    struct exit_record *r = newest(vcpu);
    if (!vcpu->exit_open || r == NULL) {
        return; // The guest runs, or is about to: no exit of this program depends on it.
    }
    if (r->reason == EXIT_REASON_PREEMPTION_TIMER) {
        vcpu->timer_vector = (uint8_t)vector;
        return;
    }
    bool is_timer = vector == vcpu->timer_vector;
    if (r->reason != EXIT_REASON_HLT) {
        if (is_timer && r->is_deadline && vcpu->armed == vcpu->next - 1) {
            fire(vcpu, FATE_AT_ONCE, now_ns);
            vcpu->armed = 0;
        } else if (is_timer) {
            vcpu->timer_accepted_ns = now_ns;
        }
        return;
    }
    if (!is_timer && r->vector_count < sizeof(r->vectors)) {
        r->vectors[r->vector_count++] = (uint8_t)vector;
    }
    if (r->wake_known) {
        if (is_timer && vcpu->armed != 0) { // A device was first.
            fire(vcpu, FATE_LATER, now_ns);
            vcpu->armed = 0;
            vcpu->timers_moved++;
        }
        return;
    }
    r->wake_known = true;
    r->wake_ns = now_ns;
    r->wake_vector = (uint8_t)vector;
    r->by_device = !is_timer || vcpu->armed == 0;
    if (!r->by_device) {
        r->timer_serial = vcpu->armed;
        fire(vcpu, FATE_IN_HLT, now_ns);
        vcpu->armed = 0;
    } else if (is_timer) {
        r->defaulted =
            true; // Armed before the recording began, or by a lost write: a device stands in for it.
    }
}

static void on_detail(struct vcpu *vcpu, const struct event *e)
{
    struct exit_record *r = newest(vcpu);
    if (!vcpu->exit_open || r == NULL) {
        return;
    }
    exit_op_detail(vcpu, r, e);
    if (e->kind == EVENT_msr && r->reason == EXIT_REASON_MSR_WRITE && e->is_write &&
        e->address == MSR_IA32_TSC_DEADLINE) {
        on_deadline_write(vcpu, r, e->value);
    }
}

void vcpu_event(struct vcpu *vcpu, const struct event *e, uint64_t now_ns)
{
    switch (e->kind) {
    case EVENT_exit:
        on_exit_event(vcpu, e, now_ns);
        break;
    case EVENT_entry:
        on_entry(vcpu, e, now_ns);
        break;
    case EVENT_nested_vmexit:
        vcpu->nested += vcpu->exit_open ? 1 : 0;
        break;
    case EVENT_wait_lapic_expire:
        if (vcpu->fired_tsc != 0 && vcpu->timed) {
            tsc_line_add(&vcpu->tsc, now_ns, vcpu->fired_tsc + e->value);
        }
        vcpu->fired_tsc = 0;
        break;
    case EVENT_msr:
    case EVENT_mmio:
    case EVENT_fast_mmio:
    case EVENT_pio:
    case EVENT_cpuid:
    case EVENT_cr:
    case EVENT_hypercall:
    case EVENT_page_fault:
    case EVENT_apic:
        on_detail(vcpu, e);
        break;
    case EVENT_NONE:
    case EVENT_eoi:
    case EVENT_apic_accept_irq: // vcpu_accept()
    case EVENT_vcpu_wakeup:
    case EVENT_OTHER:
        break;
    }
}

bool vcpu_finish(struct vcpu *vcpu, uint64_t end_ns)
{
    close_exit(vcpu, end_ns, false);
    while (vcpu->first < vcpu->next) {
        vcpu_write_oldest(vcpu);
    }
    if (vcpu->text_size > 0 && !vcpu->failed) {
        vcpu->failed = !vcpu->sink(vcpu->sink_context, vcpu, vcpu->text, vcpu->text_size);
        vcpu->text_size = 0;
    }
    return !vcpu->failed;
}
