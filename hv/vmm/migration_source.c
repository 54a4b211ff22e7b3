// SPDX-License-Identifier: Apache-2.0
// The sending side: one thread for each migration, from the first question to the guest's run on the target.
#include "hv/hw/trace.h"
#include "hv/vmm/migration.h"

#define VMM_EPIPE 32
#define NS_PER_S 1000000000ull
#define PAGE_BYTES 4096ull
// A message while the guest runs here: as much as one may hold. While it runs there and may wait for a page
// behind it: less.
#define CHUNK_PAGES 512u
#define POSTCOPY_CHUNK_PAGES 32u
#define POSTCOPY_AHEAD 2u // Messages that a page which a guest waits for may have to wait behind.
#define SAMPLE_BYTES (1u << 20)
#define RETRY_NS 1000000ull // Between attempts while the link is down.
// Auto-converge, as QEMU's defaults: more than half of what was sent is dirty again, twice in a row; begin
// and step in percent.
#define THROTTLE_TRIGGER_PERCENT 50u
#define THROTTLE_INITIAL 20u
#define THROTTLE_STEP 10u
#define THROTTLE_MAX 99u
#define THROTTLE_SLICE_NS 10000000ull

static void set_phase(struct vmm_vm *vm, u32 phase)
{
    __atomic_store_n(&vm->migration->phase, phase, __ATOMIC_RELEASE);
    hw_trace(TP_MIGRATION_PHASE, vm->config->number, phase, 0, 0, 0, 0);
}

// --- Answers.

// Waits for one, or until the link breaks or somebody cancels. True: *answer is it.
static bool wait_answer(struct vmm_vm *vm, bool may_cancel, u32 *type, u32 *answer)
{
    struct vmm_migration *m = vm->migration;

    for (;;) {
        u32 seen = __atomic_load_n(&m->wakeups, __ATOMIC_ACQUIRE);

        *type = __atomic_exchange_n(&m->answer_type, MIGRATION_NO_ANSWER, __ATOMIC_ACQ_REL);
        if (*type != MIGRATION_NO_ANSWER) {
            *answer = __atomic_load_n(&m->answer, __ATOMIC_RELAXED);
            return true;
        }
        if (__atomic_load_n(&m->lost, __ATOMIC_ACQUIRE) ||
            (may_cancel && __atomic_load_n(&m->cancel, __ATOMIC_ACQUIRE)))
            return false;
        hv_futex_wait(&m->wakeups, seen, 0);
    }
}

// Why the migration must end now; MIGRATION_OK: it need not.
static u32 trouble(const struct vmm_migration *m)
{
    u32 cancel = __atomic_load_n(&m->cancel, __ATOMIC_ACQUIRE);

    return cancel ? cancel : __atomic_load_n(&m->lost, __ATOMIC_ACQUIRE) ? MIGRATION_LINK : MIGRATION_OK;
}

static u32 reason_of(s64 result)
{
    return result >= 0 ? MIGRATION_OK : MIGRATION_LINK;
}

// Asks and waits for `wanted`. The answer's reason, or what came between.
static u32 ask(struct vmm_vm *vm, s64 sent, u32 wanted)
{
    u32 type, answer;

    if (sent < 0)
        return reason_of(sent);
    while (wait_answer(vm, true, &type, &answer))
        if (type == wanted)
            return answer;
    return trouble(vm->migration);
}

// --- Pages.

// Keeps to the bandwidth that the action allows.
static void pace(struct vmm_migration *m, u64 bytes)
{
    u64 now = hv_clock_ns();

    if (m->max_bits_per_second == 0)
        return;
    if (m->next_send_ns < now)
        m->next_send_ns = now;
    m->next_send_ns += bytes * 8 * NS_PER_S / m->max_bits_per_second;
    while (hv_clock_ns() < m->next_send_ns && !trouble(m))
        hv_sleep_until(m->next_send_ns);
}

static s64 send_pages(struct vmm_vm *vm, const struct vmm_slot *s)
{
    struct vmm_migration *m = vm->migration;

    for (u32 i = 0; i < m->out.run_count; i++)
        m->out_iov[i] = (struct hv_link_iov){.address = s->address + m->out.runs[i].page * PAGE_BYTES,
                                             .bytes = m->out.runs[i].count * PAGE_BYTES};
    return migration_send(vm, &m->out, MIGRATION_PAGES, m->out_iov, m->out.run_count);
}

// Sends every marked page; the target has them when this returns, so a round's time is that of its pages.
// *pages counts them.
static u32 send_marked(struct vmm_vm *vm, u64 *pages)
{
    struct vmm_migration *m = vm->migration;

    *pages = 0;
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++) {
        u64 page = 0, count;

        for (;;) {
            vmm_lock(&m->lock);
            count = migration_collect(vm, &vm->slots[i], &page, CHUNK_PAGES, &m->out);
            vmm_unlock(&m->lock);
            if (count == 0)
                break;
            s64 result = send_pages(vm, &vm->slots[i]);

            if (result < 0)
                return reason_of(result);
            *pages += count;
            pace(m, count * PAGE_BYTES);
            if (trouble(m))
                return trouble(m);
        }
    }
    hv_syscall(HV_SYS_LINK_DRAIN, 0, 0, 0, 0);
    return trouble(m);
}

// --- Pre-copy.

struct round {
    u64 begin_ns, begin_bytes, pages, bytes, dirtied, dirty_rate, downtime_ns;
};

// What the round tells: how fast pages go and come back, and how long the guest would stand still for the
// rest.
static void estimate(struct vmm_vm *vm, struct round *r)
{
    struct vmm_migration *m = vm->migration;
    u64 ns = hv_clock_ns() - r->begin_ns + 1;

    r->bytes = (u64)hv_syscall(HV_SYS_LINK_BYTES, 0, 0, 0, 0) - r->begin_bytes;
    if (r->bytes >= SAMPLE_BYTES || m->bandwidth == 0) // A short round says little: its bytes wait in queues.
        m->bandwidth = r->bytes * 1000 / (ns / 1000000 + 1);
    r->dirty_rate = r->dirtied * PAGE_BYTES * 1000 / (ns / 1000000 + 1);
    r->downtime_ns =
        m->bandwidth ? m->pending_pages * PAGE_BYTES * 1000 / (m->bandwidth / 1000000 + 1) : UINT64_MAX;
    hw_trace(TP_MIGRATION_ROUND, vm->config->number, m->round, r->pages, r->bytes, r->dirtied,
             m->throttle_percent);
    hw_trace(TP_MIGRATION_ESTIMATE, vm->config->number, m->round, m->bandwidth, r->dirty_rate,
             m->pending_pages, r->downtime_ns);
}

// Slows the guest down when it dirties memory faster than the link takes it away.
static void converge(struct vmm_migration *m, const struct round *r, u32 *rounds_behind)
{
    if (!m->auto_converge || r->dirtied * 100 <= r->pages * THROTTLE_TRIGGER_PERCENT) {
        *rounds_behind = 0;
        return;
    }
    if (++*rounds_behind < 2)
        return;
    *rounds_behind = 0;
    u32 percent = m->throttle_percent ? m->throttle_percent + THROTTLE_STEP : THROTTLE_INITIAL;

    __atomic_store_n(&m->throttle_percent, percent < THROTTLE_MAX ? percent : THROTTLE_MAX, __ATOMIC_RELEASE);
}

// Makes each vCPU sleep for its share of every period, as QEMU's cpu_throttle does it: 10 ms of work, then
// the rest.
static void throttle_thread(void *arg)
{
    struct vmm_vm *vm = arg;
    struct vmm_migration *m = vm->migration;

    while (__atomic_load_n(&m->phase, __ATOMIC_ACQUIRE) == MIGRATION_ACTIVE) {
        u32 percent = __atomic_load_n(&m->throttle_percent, __ATOMIC_ACQUIRE);

        for (u32 i = 0; percent && i < vm->config->vcpu_count; i++) {
            __atomic_store_n(&vm->vcpus[i].throttle_ns, THROTTLE_SLICE_NS * percent / (100 - percent),
                             __ATOMIC_RELAXED);
            __atomic_fetch_or(&vm->vcpus[i].paused, VMM_PAUSED_THROTTLED, __ATOMIC_RELEASE);
            hv_syscall(HV_SYS_THREAD_SIGNAL, (u64)vm->vcpus[i].thread, 0, 0, 0);
        }
        hv_sleep_until(hv_clock_ns() + THROTTLE_SLICE_NS * 100 / (100 - percent));
    }
    for (u32 i = 0; i < vm->config->vcpu_count; i++)
        __atomic_fetch_and(&vm->vcpus[i].paused, ~VMM_PAUSED_THROTTLED, __ATOMIC_RELAXED);
    hv_exit();
}

static u32 precopy(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;
    u32 reason = MIGRATION_OK, rounds_behind = 0;
    bool converged = false;

    set_phase(vm, MIGRATION_ACTIVE);
    if (m->auto_converge)
        vmm_require(hv_thread_create(throttle_thread, vm, HV_CPU_ANY, HV_PRIO_NORMAL),
                    "the throttle's thread could not be created");
    if (migration_log(vm, true) < 0 || migration_mark_all(vm) < 0)
        return MIGRATION_NO_MEMORY;
    if (!migration_is_logged(
            vm)) // Nobody could tell what changes: everything is sent while the guest stands still.
        return MIGRATION_OK;
    for (m->round = 0; reason == MIGRATION_OK && !converged; m->round++) {
        struct round r = {.begin_ns = hv_clock_ns(),
                          .begin_bytes = (u64)hv_syscall(HV_SYS_LINK_BYTES, 0, 0, 0, 0)};

        hw_trace(TP_MIGRATION_ROUND_BEGIN, vm->config->number, m->round, m->pending_pages, 0, 0, 0);
        reason = send_marked(vm, &r.pages);
        if (migration_sync(vm, &r.dirtied) < 0)
            return reason ? reason : MIGRATION_NO_MEMORY;
        estimate(vm, &r);
        converged = r.downtime_ns <= m->downtime_limit_ns;
        converge(m, &r, &rounds_behind);
    }
    return reason;
}

// --- Switching over.

static s64 send_state(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;
    s64 result = 0;

    for (u32 i = 0; i < vm->config->vcpu_count && result >= 0; i++) {
        m->out.args[0] = i;
        result = migration_send_block(vm, &m->out, MIGRATION_STATE, &m->vcpus[i], migration_vcpu_bytes(vm));
    }
    m->out.args[0] = MIGRATION_STATE_VM;
    return result < 0 ? result : migration_send_block(vm, &m->out, MIGRATION_STATE, m->vm, sizeof *m->vm);
}

// The rest of memory and the state; the target has all of it when this returns MIGRATION_OK.
static u32 hand_over(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;
    u64 pages = 0, dirtied, memory = 0;
    u32 reason = MIGRATION_OK;

    if (!m->postcopy) {
        hw_trace(TP_MIGRATION_ROUND_BEGIN, vm->config->number, m->round, m->pending_pages, 0, 0, 0);
        struct round r = {.begin_ns = hv_clock_ns(),
                          .begin_bytes = (u64)hv_syscall(HV_SYS_LINK_BYTES, 0, 0, 0, 0)};

        if (migration_sync(vm, &dirtied) < 0)
            return MIGRATION_NO_MEMORY;
        reason = send_marked(vm, &pages);
        r.pages = pages;
        estimate(vm, &r);
    }
    u64 state = migration_save_state(vm);

    if (m->verify && !m->postcopy)
        memory = migration_memory_digest(vm);
    hw_trace(TP_MIGRATION_DIGEST, vm->config->number, 0, memory, state, 0, 0);
    if (reason == MIGRATION_OK)
        reason = reason_of(send_state(vm));
    if (reason != MIGRATION_OK)
        return reason;
    m->out.args[0] = m->postcopy;
    m->out.args[1] = m->verify && !m->postcopy;
    m->out.args[2] = memory;
    m->out.args[3] = state;
    m->out.run_count = 0;
    return ask(vm, migration_send(vm, &m->out, MIGRATION_LAST, NULL, 0), MIGRATION_READY);
}

// From here on the guest is the target's, which may not know yet: the link must not let it down.
static void commit(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;
    u32 type, answer;

    set_phase(vm, MIGRATION_COMMITTED);
    for (;;) {
        __atomic_store_n(&m->lost, 0, __ATOMIC_RELEASE);
        m->out.args[0] = 0;
        m->out.run_count = 0;
        s64 result = migration_send(vm, &m->out, MIGRATION_COMMIT, NULL, 0);

        while (result >= 0 && wait_answer(vm, false, &type, &answer))
            if (type == MIGRATION_RUNNING)
                return;
        hv_sleep_until(hv_clock_ns() + RETRY_NS);
    }
}

// --- Post-copy: the guest runs on the target.

static bool next_request(struct vmm_migration *m, struct migration_request *r)
{
    bool found;

    vmm_lock(&m->lock);
    found = m->request_count != 0;
    if (found) {
        *r = m->requests[0];
        m->request_count--;
        for (u32 i = 0; i < m->request_count; i++)
            m->requests[i] = m->requests[i + 1];
    }
    vmm_unlock(&m->lock);
    return found;
}

// Where the push stands; it goes on behind the page that was asked for last.
struct push {
    u32 slot;
    u64 page;
};

static s64 push_some(struct vmm_vm *vm, struct push *at)
{
    struct vmm_migration *m = vm->migration;
    struct migration_request r;
    u64 count = 0, max = POSTCOPY_CHUNK_PAGES;

    if (next_request(m, &r) && vmm_find_slot(vm, r.slot)) {
        at->slot = (u32)(vmm_find_slot(vm, r.slot) - vm->slots);
        at->page = r.page;
        max = r.count;
    }
    for (u32 tried = 0; count == 0 && tried <= VMM_SLOTS_MAX; tried++) {
        const struct vmm_slot *s = &vm->slots[at->slot];
        u64 host_page = s->used ? 1ull << (s->page_shift - 12) : 1;

        at->page &= ~(host_page - 1); // A page of the target's host comes whole.
        vmm_lock(&m->lock);
        count = migration_collect(vm, &vm->slots[at->slot], &at->page, max > host_page ? max : host_page,
                                  &m->out);
        vmm_unlock(&m->lock);
        if (count == 0)
            *at = (struct push){(at->slot + 1) % VMM_SLOTS_MAX, 0};
    }
    s64 result = count ? send_pages(vm, &vm->slots[at->slot]) : 0;

    return result < 0 ? result : hv_syscall(HV_SYS_LINK_DRAIN, POSTCOPY_AHEAD, 0, 0, 0);
}

// After a break: what the target says is missing is sent again.
static void recover(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;
    u32 type, answer;

    for (;;) {
        hv_sleep_until(hv_clock_ns() + RETRY_NS);
        __atomic_store_n(&m->lost, 0, __ATOMIC_RELEASE);
        m->out.args[0] = 1;
        m->out.run_count = 0;
        s64 result = migration_send(vm, &m->out, MIGRATION_COMMIT, NULL, 0);

        while (result >= 0 && wait_answer(vm, false, &type, &answer))
            if (type == MIGRATION_MISSING)
                return;
    }
}

static void push_all(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;
    struct push at = {0};
    u32 type, answer;

    for (;;) {
        while (__atomic_load_n(&m->pending_pages, __ATOMIC_RELAXED) != 0 &&
               !__atomic_load_n(&m->lost, __ATOMIC_ACQUIRE) && push_some(vm, &at) >= 0)
            pace(m, POSTCOPY_CHUNK_PAGES * PAGE_BYTES);
        while (!__atomic_load_n(&m->lost, __ATOMIC_ACQUIRE) &&
               __atomic_load_n(&m->pending_pages, __ATOMIC_RELAXED) == 0 &&
               wait_answer(vm, false, &type, &answer))
            if (type == MIGRATION_ARRIVED)
                return;
        recover(vm);
    }
}

// --- The whole.

static u32 outgoing(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;
    u32 reason;

    set_phase(vm, MIGRATION_SETUP);
    migration_describe(vm, m->shape);
    reason = ask(vm, migration_send_block(vm, &m->out, MIGRATION_HELLO, m->shape, sizeof *m->shape),
                 MIGRATION_ANSWER);
    if (reason == MIGRATION_OK)
        reason =
            m->postcopy ? (migration_mark_all(vm) < 0 ? MIGRATION_NO_MEMORY : MIGRATION_OK) : precopy(vm);
    if (reason != MIGRATION_OK)
        return reason;
    set_phase(vm, MIGRATION_STOPPED);
    migration_stop_vcpus(vm);
    reason = hand_over(vm);
    if (reason != MIGRATION_OK) {
        migration_resume_vcpus(vm);
        hw_trace(TP_MIGRATION_RUNNING, vm->config->number, 0, 0, 0, 0, 0);
        return reason;
    }
    commit(vm);
    if (m->postcopy)
        push_all(vm);
    return MIGRATION_OK;
}

void migration_thread(void *arg)
{
    struct vmm_vm *vm = arg;
    struct vmm_migration *m = vm->migration;
    u32 reason = outgoing(vm);

    __atomic_store_n(&m->throttle_percent, 0, __ATOMIC_RELEASE);
    if (m->logs_dirty)
        vmm_require(migration_log(vm, false), "the dirty log could not be switched off");
    vmm_lock(&m->lock);
    migration_unmark(vm);
    vmm_unlock(&m->lock);
    if (reason != MIGRATION_OK && reason != MIGRATION_LINK) {
        m->out.args[0] = reason;
        m->out.run_count = 0;
        migration_send(vm, &m->out, MIGRATION_CANCEL, NULL, 0);
    }
    migration_end(vm, reason);
    hv_exit();
}
