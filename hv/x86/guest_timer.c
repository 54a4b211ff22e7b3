// SPDX-License-Identifier: Apache-2.0
// The timer of a virtual local APIC (SDM 10.5.4): one-shot, periodic, TSC deadline.
//
// While the vCPU runs, its deadline stands in the VMX-preemption timer if that can hold it, and expires as a
// cheap VM exit on the vCPU's own thread. While the vCPU blocks, and where there is no such timer, it is an
// hrtimer, whose callback (interrupt context) only notes the expiry and kicks; the thread then delivers the
// vector.
#include "hv/core/hrtimer.h"
#include "hv/x86/apicv.h"
#include "hv/x86/lapic_state.h"

// The count goes down once per nanosecond and divisor: a bus clock of 1 GHz, as KVM's.
#define APIC_BUS_NS 1u

struct guest_timer {
    struct hrtimer hrtimer;
    struct x86_vcpu *v;
    u64 guest_deadline; // IA32_TSC_DEADLINE: guest TSC, 0 disarmed.
    u64 expires_tsc;    // Host TSC; 0: nothing is armed.
    u64 period_tsc;     // Of periodic mode, else 0.
    u32 pending;        // Fired by the hrtimer, not delivered yet.
    bool hv_armed;      // Stands in the preemption timer.
    bool blocked;       // The vCPU sleeps: no preemption timer.
};

static u32 timer_mode(const struct lapic *a)
{
    return lapic_reg(a, APIC_LVT_TIMER) & APIC_LVT_TIMER_MASK;
}

// SDM 10.5.4 figure 10-10: bits 3, 1, 0 are the logarithm minus one, 7 divides by 1.
static u32 divisor(const struct lapic *a)
{
    u32 r = lapic_reg(a, APIC_TIMER_DIVIDE), code = (r & 3) | ((r & 8) >> 1);
    return 1u << ((code + 1) & 7);
}

static u64 count_to_tsc(const struct lapic *a, u32 count)
{
    return ns_to_tsc(a->v->vcpu.vm->host, (u64)count * divisor(a) * APIC_BUS_NS);
}

static bool hrtimer_fired(struct hrtimer *t)
{
    struct guest_timer *g = container_of(t, struct guest_timer, hrtimer);

    __atomic_fetch_add(&g->pending, 1, __ATOMIC_RELEASE);
    make_request(REQ_EVENT, &g->v->vcpu);
    vcpu_kick(&g->v->vcpu);
    if (g->period_tsc == 0)
        return false;
    hrtimer_forward(t, hw_rdtsc(), g->period_tsc);
    WRITE_ONCE(g->expires_tsc, t->expires_tsc);
    return true;
}

int guest_timer_create(struct x86_vcpu *v)
{
    struct guest_timer *g = kzalloc(v->vcpu.vm->host, sizeof *g);

    if (g == NULL)
        return -ENOMEM;
    g->v = v;
    hrtimer_init(&g->hrtimer, hrtimer_fired);
    v->timer = g;
    return 0;
}

void guest_timer_free(struct x86_vcpu *v)
{
    if (v->timer == NULL)
        return;
    hrtimer_cancel(&v->timer->hrtimer);
    kfree(v->vcpu.vm->host, v->timer, sizeof *v->timer);
    v->timer = NULL;
}

static void trace_state(const struct guest_timer *g)
{
    hw_trace(TP_KVM_HV_TIMER_STATE, g->v->vcpu.id, g->hv_armed, 0, 0, 0, 0);
}

static void disarm_hv(struct guest_timer *g)
{
    if (!g->hv_armed)
        return;
    vmx_set_hv_timer(g->v, ~0ull);
    g->hv_armed = false;
}

// Takes the expiry out of whatever timer holds it. An expiry that was noted but not delivered is forgotten
// too.
static void disarm(struct guest_timer *g)
{
    if (hrtimer_active(&g->hrtimer))
        hrtimer_cancel(&g->hrtimer);
    disarm_hv(g);
    WRITE_ONCE(g->expires_tsc, 0);
    WRITE_ONCE(g->pending, 0);
}

static bool hv_usable(const struct guest_timer *g)
{
    return !g->blocked && g->v->vcpu.loaded && knob(knobs_of(g->v), KNOB_X86_PREEMPTION_TIMER) != 0 &&
           x86_host_of(g->v)->caps.preemption_timer;
}

static void start_hrtimer(struct guest_timer *g)
{
    disarm_hv(g);
    hrtimer_start(&g->hrtimer, g->expires_tsc);
    trace_state(g);
}

static void deliver(struct guest_timer *g)
{
    struct lapic *a = g->v->apic;

    lapic_local_deliver(a, APIC_LVT_TIMER);
    if (timer_mode(a) == APIC_LVT_TIMER_TSC_DEADLINE)
        g->guest_deadline = 0; // SDM 10.5.4.1: firing disarms.
}

// The deadline was reached on the vCPU's own thread.
static void expire_now(struct guest_timer *g)
{
    disarm_hv(g);
    deliver(g);
    if (g->period_tsc == 0) {
        g->expires_tsc = 0;
        return;
    }
    u64 now = hw_rdtsc();
    while (g->expires_tsc <= now)
        g->expires_tsc += g->period_tsc * ((now - g->expires_tsc) / g->period_tsc + 1);
}

// Puts expires_tsc into the best timer there is.
static void arm(struct guest_timer *g)
{
    if (hrtimer_active(&g->hrtimer))
        hrtimer_cancel(&g->hrtimer);
    if (g->expires_tsc <= hw_rdtsc()) {
        expire_now(g);
        if (g->expires_tsc == 0)
            return;
    }
    if (hv_usable(g) && vmx_set_hv_timer(g->v, g->expires_tsc)) {
        g->hv_armed = true;
        trace_state(g);
        return;
    }
    start_hrtimer(g);
}

// --- Registers.

void guest_timer_stop(struct x86_vcpu *v)
{
    struct guest_timer *g = v->timer;

    disarm(g);
    g->guest_deadline = 0;
    g->period_tsc = 0;
}

static void start_count(struct guest_timer *g, u32 count)
{
    struct lapic *a = g->v->apic;

    disarm(g);
    g->period_tsc = 0;
    if (lapic_reg(a, APIC_TIMER_INITIAL) == 0 || count == 0)
        return;
    if (timer_mode(a) == APIC_LVT_TIMER_PERIODIC)
        g->period_tsc = max_u64(1, count_to_tsc(a, lapic_reg(a, APIC_TIMER_INITIAL)));
    g->expires_tsc = hw_rdtsc() + count_to_tsc(a, count);
    arm(g);
}

void guest_timer_initial_count(struct x86_vcpu *v)
{
    start_count(v->timer, lapic_reg(v->apic, APIC_TIMER_INITIAL));
}

u32 guest_timer_current_count(struct x86_vcpu *v)
{
    struct lapic *a = v->apic;
    u64 expires = READ_ONCE(v->timer->expires_tsc), now = hw_rdtsc();

    if (timer_mode(a) == APIC_LVT_TIMER_TSC_DEADLINE || expires <= now)
        return 0; // SDM 10.5.4.1: reads 0 in TSC-deadline mode.
    return (u32)(tsc_to_ns(v->vcpu.vm->host, expires - now) / ((u64)divisor(a) * APIC_BUS_NS));
}

void guest_timer_divide_changed(struct x86_vcpu *v, u32 old_current)
{
    if (timer_mode(v->apic) != APIC_LVT_TIMER_TSC_DEADLINE && v->timer->expires_tsc != 0)
        start_count(v->timer, old_current);
}

void guest_timer_lvt_changed(struct x86_vcpu *v, u32 old)
{
    struct guest_timer *g = v->timer;
    u32 old_mode = old & APIC_LVT_TIMER_MASK, mode = timer_mode(v->apic);

    if (old_mode == mode)
        return;
    if (old_mode == APIC_LVT_TIMER_TSC_DEADLINE || mode == APIC_LVT_TIMER_TSC_DEADLINE) {
        guest_timer_stop(v);
        lapic_set_reg(v->apic, APIC_TIMER_INITIAL, 0);
        return;
    }
    // One-shot to periodic and back: the running count ends as the new mode says.
    g->period_tsc =
        mode == APIC_LVT_TIMER_PERIODIC ? count_to_tsc(v->apic, lapic_reg(v->apic, APIC_TIMER_INITIAL)) : 0;
}

void guest_timer_restore(struct x86_vcpu *v, u32 current)
{
    if (timer_mode(v->apic) != APIC_LVT_TIMER_TSC_DEADLINE)
        start_count(v->timer, current);
}

u64 lapic_get_tsc_deadline(struct x86_vcpu *v)
{
    if (v->apic == NULL || timer_mode(v->apic) != APIC_LVT_TIMER_TSC_DEADLINE)
        return 0;
    return v->timer->guest_deadline;
}

void lapic_set_tsc_deadline(struct x86_vcpu *v, u64 value)
{
    struct guest_timer *g = v->timer;

    if (v->apic == NULL || timer_mode(v->apic) != APIC_LVT_TIMER_TSC_DEADLINE)
        return; // SDM 10.5.4.1: ignored in the other modes.
    disarm(g);
    g->guest_deadline = value;
    if (value == 0)
        return;
    g->expires_tsc = host_tsc_of_guest(v, value);
    // A deadline so far in the past that the offset wraps it is still the past.
    if (value < guest_tsc(v, hw_rdtsc()))
        g->expires_tsc = 1;
    arm(g);
}

bool lapic_fast_tsc_deadline(struct x86_vcpu *v, u64 value)
{
    struct guest_timer *g = v->timer;

    if (v->apic == NULL || timer_mode(v->apic) != APIC_LVT_TIMER_TSC_DEADLINE || !hv_usable(g) ||
        hrtimer_active(&g->hrtimer) || READ_ONCE(g->pending) != 0)
        return false;
    // Too far for the preemption timer: the slow path would arm an hrtimer, which it may do with interrupts
    // off too.
    lapic_set_tsc_deadline(v, value);
    return true;
}

// --- The run loop.

void guest_timer_hv_expired(struct x86_vcpu *v)
{
    struct guest_timer *g = v->timer;

    if (!g->hv_armed)
        return; // The exit was for somebody else (immediate exit), or the deadline moved away.
    if (g->expires_tsc > hw_rdtsc()) {
        // The timer counts in units of TSC >> shift and may round down.
        if (!vmx_set_hv_timer(v, g->expires_tsc))
            start_hrtimer(g);
        return;
    }
    expire_now(g);
    if (g->expires_tsc != 0)
        arm(g);
}

bool guest_timer_has_pending(struct x86_vcpu *v)
{
    return v->timer != NULL && READ_ONCE(v->timer->pending) != 0;
}

void guest_timer_inject_pending(struct x86_vcpu *v)
{
    struct guest_timer *g = v->timer;

    if (g == NULL || READ_ONCE(g->pending) == 0)
        return;
    __atomic_store_n(&g->pending, 0, __ATOMIC_RELAXED);
    if (g->period_tsc == 0)
        WRITE_ONCE(g->expires_tsc, 0);
    deliver(g);
}

void guest_timer_load(struct x86_vcpu *v, struct cpu *cpu)
{
    struct guest_timer *g = v->timer;

    if (g == NULL)
        return;
    if (g->hrtimer.cpu != cpu && hrtimer_active(&g->hrtimer))
        hrtimer_migrate(&g->hrtimer);
}

void guest_timer_blocking(struct x86_vcpu *v)
{
    struct guest_timer *g = v->timer;

    if (g == NULL)
        return;
    g->blocked = true;
    if (g->hv_armed)
        start_hrtimer(g); // A deadline in the past fires at once.
}

void guest_timer_unblocking(struct x86_vcpu *v)
{
    struct guest_timer *g = v->timer;

    if (g == NULL)
        return;
    g->blocked = false;
    // An hrtimer that has not fired goes back to where expiry is cheap.
    if (hrtimer_active(&g->hrtimer) && hv_usable(g) && hrtimer_try_cancel(&g->hrtimer)) {
        if (READ_ONCE(g->pending) == 0 && vmx_set_hv_timer(v, g->expires_tsc)) {
            g->hv_armed = true;
            trace_state(g);
        } else {
            hrtimer_start(&g->hrtimer, g->expires_tsc);
        }
    }
}

void guest_timer_wait_expire(struct x86_vcpu *v)
{
    // Timers are not armed early (KVM's lapic_timer_advance), so there is no lead to spin off.
    (void)v;
}
