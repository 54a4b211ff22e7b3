// SPDX-License-Identifier: Apache-2.0
// A processor's clock and mailbox: how time passes, how others' events arrive, when control changes hands.
#include "models/cpu/pcpu.h"
#include "models/apic/lapic.h"
#include "models/cpu/native/native.h"
#include "models/cpu/native/watch.h"
#include "models/cpu/uarch/uarch.h"
#include "models/cpu/x86/x86.h"
#include "models/mem/core.h"
#include "models/memory/memory.h"
#include "models/timer/tsc.h"
#include <assert.h>
#include <string.h>

struct pcpu *pcpu_current, *pcpu_hooked;

#define PS_PER_MS 1000000000ull // With a clock in kHz: cycles * PS_PER_MS / khz are picoseconds.

void pcpu_set_clock(struct pcpu *c)
{
    uint64_t a = PS_PER_MS, b = c->uarch->clock.core_khz * TICKS_PER_CYCLE;

    c->ps_per_ticks = a;
    c->ticks_per_ps = b;
    while (b) {
        uint64_t rest = a % b;

        a = b;
        b = rest;
    }
    c->ps_per_ticks /= a;
    c->ticks_per_ps /= a;
}

uint64_t pcpu_ticks_to_ps(const struct pcpu *c, uint64_t ticks)
{
    uint64_t scaled;

    if (ticks == TICKS_NEVER)
        return SIM_PS_NEVER;
    if (__builtin_expect(!__builtin_mul_overflow(ticks, c->ps_per_ticks, &scaled), 1))
        return scaled / c->ticks_per_ps;
    return (uint64_t)((unsigned __int128)ticks * c->ps_per_ticks / c->ticks_per_ps);
}

uint64_t pcpu_ps_to_ticks(const struct pcpu *c, uint64_t ps)
{
    uint64_t scaled;

    if (ps == SIM_PS_NEVER)
        return TICKS_NEVER;
    if (__builtin_expect(!__builtin_mul_overflow(ps, c->ticks_per_ps, &scaled) &&
                             !__builtin_add_overflow(scaled, c->ps_per_ticks - 1, &scaled),
                         1))
        return scaled / c->ps_per_ticks;
    unsigned __int128 wide = (unsigned __int128)ps * c->ticks_per_ps;

    return (uint64_t)((wide + c->ps_per_ticks - 1) / c->ps_per_ticks);
}

uint64_t pcpu_tsc(const struct pcpu *c)
{
    const struct uarch_clock *k = &c->uarch->clock;

    return tsc_from_ticks(c->now_ticks, k->core_khz, k->tsc_khz) + x86_tsc_adjust(c);
}

uint64_t pcpu_tsc_to_ticks(const struct pcpu *c, uint64_t tsc)
{
    const struct uarch_clock *k = &c->uarch->clock;
    uint64_t adjust = x86_tsc_adjust(c);

    return tsc < adjust ? 0 : tsc_to_ticks(tsc - adjust, k->core_khz, k->tsc_khz);
}

static void update_next_local(struct pcpu *c)
{
    uint64_t next = c->inbox_count ? c->inbox[0].at_ticks : TICKS_NEVER;

    for (unsigned s = 0; s < PCPU_TIMER_COUNT; s++)
        if (c->timer_at_ticks[s] < next)
            next = c->timer_at_ticks[s];
    c->next_local_ticks = next;
}

static bool host_is_off(const struct pcpu *c)
{
    return (c->machine->hosts_off >> c->host) & 1;
}

void pcpu_update_limit(struct pcpu *c)
{
    uint64_t limit = pcpu_ps_to_ticks(c, sim_horizon_ps());

    if (!c->machine->exact && limit < TICKS_NEVER - c->machine->quantum_ticks)
        limit += c->machine->quantum_ticks;
    if (limit > c->now_ticks + PCPU_LOOK_TICKS)
        limit = c->now_ticks + PCPU_LOOK_TICKS;
    if (limit > c->machine->end_ticks)
        limit = c->machine->end_ticks;
    if (limit <= c->now_ticks) // Others are due at this very tick, but we were told to go on.
        limit = c->now_ticks + 1;
    if (c->next_local_ticks < limit)
        limit = c->next_local_ticks;
    if (mem_hidden_drain_ticks < limit)
        limit = mem_hidden_drain_ticks;
    if ((c->irq_pending && c->irqs_enabled) || (c->nmi_pending && !c->nmi_blocked) || c->machine->stopping ||
        host_is_off(c) || c->mem->stores.mode == MEM_STORES_CHOSEN)
        limit = 0;
    c->due_ticks = limit;
    c->limit_ticks = pcpu_is_watched(c) ? 0 : limit;
}

// --- Events. ---

void pcpu_timer_arm(struct pcpu *c, enum pcpu_timer_slot slot, uint64_t at_ticks, pcpu_timer_fn fn)
{
    c->timer_at_ticks[slot] = at_ticks;
    c->timer_fn[slot] = fn;
    update_next_local(c);
    if (c == pcpu_current)
        pcpu_update_limit(c);
}

void pcpu_timer_disarm(struct pcpu *c, enum pcpu_timer_slot slot)
{
    pcpu_timer_arm(c, slot, TICKS_NEVER, NULL);
}

// Equal ones become one, the earliest, as bits of IRR do: then there is room for each that differs.
static void merge_messages(struct pcpu *c)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < c->inbox_count; i++) {
        const struct pcpu_message *m = &c->inbox[i];
        uint32_t k = 0;

        while (k < kept && (c->inbox[k].kind != m->kind || c->inbox[k].vector != m->vector))
            k++;
        if (k == kept)
            c->inbox[kept++] = *m;
    }
    c->inbox_count = kept;
}

void pcpu_send(struct pcpu *to, enum pcpu_message_kind kind, uint8_t vector, bool level, uint64_t at_ticks)
{
    if (host_is_off(to))
        return;
    native_watch_event(pcpu_current, &(struct native_event){.kind = NATIVE_EVENT_SEND, .cpu = to->index});
    if (to->mode == PCPU_OFF) { // It waits for SIPI since reset (SDM 8.4.3) and takes nothing else.
        if (kind == PCPU_MSG_SIPI)
            native_start_ap(to, at_ticks);
        if (pcpu_current) // Somebody else is due from now on.
            pcpu_update_limit(pcpu_current);
        return;
    }
    if (to->machine->memory && pcpu_current)
        memory_message_sent(to->machine->memory, pcpu_current->index, to->index);
    if (to->inbox_count == PCPU_MESSAGES_MAX)
        merge_messages(to);
    assert(to->inbox_count < PCPU_MESSAGES_MAX);
    uint32_t at = to->inbox_count++;

    for (; at > 0 && to->inbox[at - 1].at_ticks > at_ticks; at--)
        to->inbox[at] = to->inbox[at - 1];
    to->inbox[at] = (struct pcpu_message){
        .at_ticks = at_ticks, .kind = (uint8_t)kind, .vector = vector, .level = level, .sequence = 0};
    update_next_local(to);
    if (to->sleeps) {
        uint64_t ps = pcpu_ticks_to_ps(to, at_ticks), now = sim_now_ps();

        sim_event_notify_at(to->wake, ps > now ? ps : now);
    }
    if (pcpu_current)
        pcpu_update_limit(pcpu_current);
}

static void deliver_message(struct pcpu *c, const struct pcpu_message *m)
{
    if (c->machine->memory)
        memory_message_taken(c->machine->memory, c->index);
    switch ((enum pcpu_message_kind)m->kind) {
    case PCPU_MSG_FIXED:
        lapic_accept(c, m->vector, m->level);
        break;
    case PCPU_MSG_NMI:
        c->nmi_pending = true;
        break;
    case PCPU_MSG_INIT: // Blocked in VMX root operation, an exit in non-root (SDM 25.2); models/cpu/x86
                        // looks.
        c->init_pending = true;
        break;
    case PCPU_MSG_SIPI: // An OFF processor was started at the sending; otherwise only a guest may wait for
                        // it.
        c->sipi_pending = c->mode == PCPU_GUEST;
        c->sipi_vector = m->vector;
        break;
    case PCPU_MSG_SMI: // No SMM: the chip set's SMIs are not modelled.
        break;
    }
}

// Fires the earliest own timer or message if it is due. True if there was one.
static bool deliver_due(struct pcpu *c)
{
    if (c->next_local_ticks > c->now_ticks)
        return false;
    if (c->inbox_count && c->inbox[0].at_ticks == c->next_local_ticks) {
        struct pcpu_message m = c->inbox[0];

        memmove(c->inbox, c->inbox + 1, --c->inbox_count * sizeof m);
        update_next_local(c);
        deliver_message(c, &m);
        return true;
    }
    for (unsigned s = 0; s < PCPU_TIMER_COUNT; s++) {
        if (c->timer_at_ticks[s] != c->next_local_ticks)
            continue;
        pcpu_timer_fn fn = c->timer_fn[s];

        c->timer_at_ticks[s] = TICKS_NEVER;
        update_next_local(c);
        fn(c);
        return true;
    }
    assert(!"next_local_ticks names nothing");
    return false;
}

// Watching must not change what happens: where others are due at or before this processor's time nobody gives
// way for it, and the signals change when control comes back.
void pcpu_show(struct pcpu *c)
{
    if (!c->vcd_mode || !sim_vcd_is_open())
        return;
    uint64_t ps = pcpu_ticks_to_ps(c, c->now_ticks);

    c->vcd_late = sim_process_self() && ps > sim_now_ps() && (c != pcpu_current || ps >= sim_horizon_ps());
    if (c->vcd_late)
        return;
    if (sim_process_self() && ps > sim_now_ps())
        sim_wait_until(ps); // Nothing is due before: the clock moves, nothing else does.
    sim_signal_set(c->vcd_mode, (uint64_t)c->mode);
    sim_signal_set(c->vcd_irq, c->irq_pending);
}

// --- Passing control. ---

// Gives way to whoever is earlier, and comes back at this processor's own time.
static void give_way(struct pcpu *c)
{
    mem_store_hide(c);
    sim_wait_until(pcpu_ticks_to_ps(c, c->now_ticks));
    pcpu_set_current(c);
    mem_store_show(c);
}

static bool may_go_on(const struct pcpu *c)
{
    uint64_t ps = pcpu_ticks_to_ps(c, c->now_ticks);

    if (!c->machine->exact) {
        uint64_t quantum_ps = pcpu_ticks_to_ps(c, c->machine->quantum_ticks);

        ps = ps > quantum_ps ? ps - quantum_ps : 0;
    }
    return ps <= sim_now_ps() ? sim_may_continue(sim_now_ps(), c->index) : sim_may_continue(ps, c->index);
}

void machine_stop_now(struct machine *machine)
{
    machine->stopping = true;
    sim_stop();
    if (pcpu_current)
        pcpu_update_limit(pcpu_current);
}

void machine_host_off(struct machine *machine, uint32_t host)
{
    machine->hosts_off |= 1u << host;
    if (pcpu_current)
        pcpu_update_limit(pcpu_current);
}

// A processor without power: nothing reaches it until the run ends.
_Noreturn static void stay_off(struct pcpu *c)
{
    mem_store_drain(c);
    pcpu_set_mode(c, PCPU_OFF);
    while (!c->machine->stopping) {
        mem_store_hide(c);
        c->sleeps = true;
        sim_wait_event_until(c->wake, SIM_PS_NEVER);
        c->sleeps = false;
        pcpu_current = c;
        mem_store_show(c);
    }
    native_unwind(c);
}

// What does not depend on simulated events: the end of the run, and whoever waits outside of it.
static void look_up(struct pcpu *c)
{
    struct machine *m = c->machine;

    if (m->attention && *m->attention && !m->stopping)
        m->on_attention(m, c->now_ticks);
    if (c->now_ticks >= m->end_ticks && !m->stopping)
        machine_stop_now(m);
    if (m->stopping)
        native_unwind(c);
    if (host_is_off(c))
        stay_off(c);
}

void pcpu_slow_path(struct pcpu *c, bool take_interrupts)
{
    for (;;) {
        look_up(c);
        if (mem_hidden_drain_ticks <= c->now_ticks)
            mem_commit_due(c);
        if (!may_go_on(c)) {
            give_way(c);
            continue;
        }
        if (deliver_due(c))
            continue;
        if (take_interrupts && c->nmi_pending && !c->nmi_blocked) {
            native_take_nmi(c);
            c = pcpu_current; // The thread may have moved meanwhile.
            continue;
        }
        if (take_interrupts && c->irq_pending && c->irqs_enabled) {
            native_take_interrupt(c);
            c = pcpu_current;
            continue;
        }
        break;
    }
    if (__builtin_expect(c->vcd_late, 0))
        pcpu_show(c);
    pcpu_update_limit(c);
}

// Waits in the kernel of time until `at_ticks` (TICKS_NEVER: open), or until a message reaches the processor.
static void sleep_until(struct pcpu *c, uint64_t at_ticks)
{
    uint64_t due = pcpu_ticks_to_ps(c, at_ticks), now = sim_now_ps();

    mem_store_hide(c);
    c->sleeps = true;
    sim_wait_event_until(c->wake, due > now ? due : now);
    c->sleeps = false;
    pcpu_set_current(c);
    mem_store_show(c);
    now = pcpu_ps_to_ticks(c, sim_now_ps());
    if (now > c->now_ticks)
        c->now_ticks = now;
    // What it waited for is due now; rounding to picoseconds may fall short of its tick.
    if (c->next_local_ticks < at_ticks)
        at_ticks = c->next_local_ticks;
    if (at_ticks != TICKS_NEVER && at_ticks > c->now_ticks && pcpu_ticks_to_ps(c, at_ticks) <= sim_now_ps())
        c->now_ticks = at_ticks;
}

void pcpu_hold(struct pcpu *c, uint64_t until_ticks)
{
    c->held = true;
    sleep_until(c, until_ticks);
    c->held = false;
    look_up(c);
}

static void notify(struct pcpu *c, uint64_t at_ticks)
{
    uint64_t ps = pcpu_ticks_to_ps(c, at_ticks), now = sim_now_ps();

    sim_event_notify_at(c->wake, ps > now ? ps : now);
    if (pcpu_current)
        pcpu_update_limit(pcpu_current);
}

void pcpu_release(struct pcpu *held, uint64_t at_ticks)
{
    if (held->held)
        notify(held, at_ticks);
}

void pcpu_wake(struct pcpu *c, uint64_t at_ticks)
{
    c->woken = true;
    if (c->sleeps && !c->held)
        notify(c, at_ticks);
}

// Guest time has no scheduling points of its own: it goes on to where something happens, at once if nobody
// else is due before, else after them.
void pcpu_pass_time(struct pcpu *c, uint64_t until_ticks)
{
    c->woken = false;
    native_watch_idle(c, true);
    while (c->now_ticks < until_ticks) {
        look_up(c);
        uint64_t next = until_ticks, look = c->now_ticks + PCPU_LOOK_TICKS;

        if (c->next_local_ticks < next)
            next = c->next_local_ticks;
        if (next > look)
            next = look;
        if (next > c->now_ticks) {
            if (pcpu_ps_to_ticks(c, sim_horizon_ps()) > next)
                c->now_ticks = next;
            else
                sleep_until(c, next);
        }
        if (mem_hidden_drain_ticks <= c->now_ticks)
            mem_commit_due(c);
        if (!may_go_on(c))
            give_way(c);
        if (deliver_due(c) || c->woken)
            break;
    }
    native_watch_idle(c, false);
    if (__builtin_expect(c->vcd_late, 0))
        pcpu_show(c);
    pcpu_update_limit(c);
}

void pcpu_halt(struct pcpu *c)
{
    enum pcpu_mode mode = c->mode;

    c->now_ticks += c->uarch->op.hlt_enter_cycles * TICKS_PER_CYCLE;
    mem_store_drain(c);
    pcpu_set_mode(c, PCPU_HALTED);
    bool slept = false;

    native_watch_idle(c, true);
    while (!c->irq_pending && !(c->nmi_pending && !c->nmi_blocked) && !c->init_pending) {
        look_up(c);
        if (deliver_due(c))
            continue;
        slept = true;
        sleep_until(c, c->next_local_ticks);
    }
    native_watch_idle(c, false);
    pcpu_set_mode(c, mode);
    if (slept)
        c->now_ticks += c->uarch->op.hlt_wake_cycles * TICKS_PER_CYCLE;
    pcpu_slow_path(c, true);
}

void pcpu_set_mode(struct pcpu *c, enum pcpu_mode mode)
{
    native_settle(c);
    c->mode = mode;
    if (c->machine->watch) { // Whether each access is looked at depends on the mode.
        if (c->limit_ticks && c->limit_ticks < c->due_ticks)
            c->due_ticks = c->limit_ticks;
        c->limit_ticks = pcpu_is_watched(c) ? 0 : c->due_ticks;
    }
    pcpu_show(c);
}
