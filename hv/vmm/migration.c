// SPDX-License-Identifier: Apache-2.0
// A host's link thread: what comes from the other host, for either side of a migration.
#include "hv/vmm/migration.h"

#include "hv/hw/trace.h"
#include "hv/knobs.h"
#include "hv/lib/string.h"

#define VMM_EINVAL 22
#define VMM_EBUSY 16
#define VMM_EPIPE 32
#define PAGE_BYTES 4096ull

static const char *const reason_names[] = {
#define MIGRATION_REASON(id, name, about) "migration." name,
#include "hv/vmm/migration_reasons.def"
};

// --- Sending.

s64 migration_send(const struct vmm_vm *vm, struct migration_message *m, u32 type,
                   const struct hv_link_iov *iov, u32 iov_count)
{
    const struct hv_link_send send = {
        .header = (u64)m,
        .header_bytes = (u32)(offsetof(struct migration_message, runs) + m->run_count * sizeof m->runs[0]),
        .iov_count = iov_count,
        .iov = (u64)iov};

    m->type = type;
    m->vm = vm->config->number;
    return hv_syscall(HV_SYS_LINK_SEND, (u64)&send, 0, 0, 0);
}

s64 migration_send_block(const struct vmm_vm *vm, struct migration_message *m, u32 type, const void *block,
                         u64 bytes)
{
    const struct hv_link_iov iov = {(u64)block, bytes};

    m->run_count = 0;
    return migration_send(vm, m, type, &iov, 1);
}

static s64 reply(struct vmm_vm *vm, u32 type, u64 arg)
{
    struct migration_message *m = &vm->migration->reply;

    m->run_count = 0;
    m->args[0] = arg;
    return migration_send(vm, m, type, NULL, 0);
}

static s64 place(const struct hv_link_iov *iov, u32 count)
{
    const struct hv_link_place p = {.iov = (u64)iov, .iov_count = count};

    return hv_syscall(HV_SYS_LINK_PLACE, (u64)&p, 0, 0, 0);
}

static s64 place_block(void *block, u64 bytes)
{
    const struct hv_link_iov iov = {(u64)block, bytes};

    return place(&iov, 1);
}

// --- Actions.

void migration_wake(struct vmm_vm *vm)
{
    __atomic_fetch_add(&vm->migration->wakeups, 1, __ATOMIC_RELEASE);
    hv_futex_wake(&vm->migration->wakeups, 1);
}

void migration_end(struct vmm_vm *vm, u32 reason)
{
    struct vmm_migration *m = vm->migration;
    bool gone = reason == MIGRATION_OK;

    hw_trace(TP_MIGRATION_END, vm->config->number, reason, 0, 0, 0, 0);
    hw_trace_count(reason_names[reason], 1);
    if (gone)
        migration_discard(vm);
    __atomic_store_n(&m->phase, MIGRATION_IDLE, __ATOMIC_RELEASE);
}

// A choice of the action, counted from 1; 0: the knob's.
static bool chosen(u64 arg, enum knob k)
{
    return arg ? arg > 1 : hv_syscall(HV_SYS_KNOB, k, 0, 0, 0) != 0;
}

s64 migration_start(struct vmm_vm *vm, const u64 *args)
{
    struct vmm_migration *m = vm->migration;

    if (!m || args[0] >= vm->vmm->config->host_count || args[0] == vm->vmm->config->host)
        return -VMM_EINVAL;
    if (m->phase != MIGRATION_IDLE || m->missing) {
        hw_trace(TP_MIGRATION_END, vm->config->number, MIGRATION_BUSY, 0, 0, 0, 0);
        hw_trace_count(reason_names[MIGRATION_BUSY], 1);
        return -VMM_EBUSY;
    }
    m->phase = MIGRATION_SETUP;
    m->postcopy = chosen(args[1], KNOB_VMM_MIGRATION);
    m->downtime_limit_ns = args[2];
    m->max_bits_per_second = args[3];
    m->auto_converge = chosen(args[4], KNOB_VMM_AUTO_CONVERGE);
    m->verify = args[5] != 0;
    m->cancel = MIGRATION_OK;
    m->lost = 0;
    m->answer_type = MIGRATION_NO_ANSWER;
    m->throttle_percent = m->request_count = 0;
    u32 cpu = vm->config->vmm_pcpu;

    return hv_thread_create(migration_thread, vm, cpu == VMM_CPU_ANY ? HV_CPU_ANY : cpu, HV_PRIO_NORMAL);
}

static void cancel(struct vmm_vm *vm, u32 reason)
{
    __atomic_store_n(&vm->migration->cancel, reason, __ATOMIC_RELEASE);
    migration_wake(vm);
}

s64 migration_cancel(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;
    u32 phase = m ? __atomic_load_n(&m->phase, __ATOMIC_ACQUIRE) : MIGRATION_IDLE;

    if (phase == MIGRATION_IDLE || phase == MIGRATION_COMMITTED)
        return -VMM_EINVAL;
    cancel(vm, MIGRATION_CANCELLED);
    return 0;
}

bool migration_is_here(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;

    // Between stopping and the answer to COMMIT the guest is nobody's: what is meant for it waits.
    for (;;) {
        u32 phase = __atomic_load_n(&m->phase, __ATOMIC_ACQUIRE);
        bool here = __atomic_load_n(&m->here, __ATOMIC_ACQUIRE);

        if (!here || phase < MIGRATION_STOPPED)
            return here;
        hv_sleep_until(hv_clock_ns() + 10000);
    }
}

s64 migration_forward(struct vmm_vm *vm, const struct vmm_action *action)
{
    struct migration_message m = {.args = {action->op}};

    for (u32 i = 0; i < VMM_ACTION_ARGS; i++)
        m.args[i + 1] = action->args[i];
    return migration_send(vm, &m, MIGRATION_ACTION, NULL, 0);
}
_Static_assert(VMM_ACTION_ARGS < MIGRATION_ARGS, "an action fits into a message");

// --- The target's side.

void migration_discard(struct vmm_vm *vm)
{
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++) {
        const struct vmm_slot *s = &vm->slots[i];
        u64 page = 1ull << s->page_shift;

        if (s->used)
            hv_syscall(HV_SYS_MADVISE_FREE, s->address, (s->bytes + page - 1) & ~(page - 1), 0, 0);
    }
}

static void set_userfault(struct vmm_vm *vm, bool on)
{
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++) {
        const struct vmm_slot *s = &vm->slots[i];
        u64 page = 1ull << s->page_shift;

        if (s->used)
            vmm_require(hv_syscall(HV_SYS_USERFAULT, s->address, (s->bytes + page - 1) & ~(page - 1), on, 0),
                        "USERFAULT");
    }
}

static void forget_incoming(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;

    if (!m->incoming)
        return;
    m->incoming = m->loaded = 0;
    if (m->missing)
        set_userfault(vm, false);
    m->missing = false;
    vmm_lock(&m->lock);
    migration_unmark(vm);
    vmm_unlock(&m->lock);
    migration_discard(vm);
}

static void on_hello(struct vmm_vm *vm, const struct migration_message *in)
{
    struct vmm_migration *m = vm->migration;

    (void)in;
    if (place_block(m->shape, sizeof *m->shape) < 0)
        return;
    forget_incoming(vm); // Of an attempt whose end got lost.
    u32 reason = migration_check(vm, m->shape);

    m->incoming = reason == MIGRATION_OK;
    reply(vm, MIGRATION_ANSWER, reason);
}

static void all_arrived(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;

    m->missing = false;
    set_userfault(vm, false);
    vmm_lock(&m->lock);
    migration_unmark(vm);
    vmm_unlock(&m->lock);
    reply(vm, MIGRATION_ARRIVED, 0);
}

// Pages of a post-copy that are here may have been changed by the guest: they come once.
static u64 target_address(const struct vmm_migration *m, const struct vmm_slot *s, u32 page)
{
    return m->missing && !migration_is_marked(s, page) ? 0 : s->address + page * PAGE_BYTES;
}

static void on_pages(struct vmm_vm *vm, const struct migration_message *in)
{
    struct vmm_migration *m = vm->migration;
    struct vmm_slot *s = vmm_find_slot(vm, in->slot);

    if (!s || !(m->incoming || m->missing))
        return;
    for (u32 i = 0; i < in->run_count; i++) {
        if (in->runs[i].page + (u64)in->runs[i].count > s->bytes >> 12)
            return;
        m->in_iov[i] = (struct hv_link_iov){.address = target_address(m, s, in->runs[i].page),
                                            .bytes = in->runs[i].count * PAGE_BYTES};
    }
    if (place(m->in_iov, in->run_count) < 0) {
        forget_incoming(vm);
        reply(vm, MIGRATION_CANCEL, MIGRATION_NO_MEMORY);
        return;
    }
    if (!m->missing)
        return;
    vmm_lock(&m->lock);
    for (u32 i = 0; i < in->run_count; i++)
        migration_mark(vm, s, in->runs[i].page, in->runs[i].count, false);
    bool all = m->pending_pages == 0;

    vmm_unlock(&m->lock);
    if (all)
        all_arrived(vm);
}

static void on_state(struct vmm_vm *vm, const struct migration_message *in)
{
    struct vmm_migration *m = vm->migration;

    if (!m->incoming)
        return;
    if (in->args[0] == MIGRATION_STATE_VM)
        place_block(m->vm, sizeof *m->vm);
    else if (in->args[0] < vm->config->vcpu_count)
        place_block(&m->vcpus[in->args[0]], migration_vcpu_bytes(vm));
}

static u32 load(struct vmm_vm *vm, const struct migration_message *in)
{
    struct vmm_migration *m = vm->migration;

    if (in->args[0]) {
        if (migration_mark_all(vm) < 0)
            return MIGRATION_NO_MEMORY;
        migration_discard(vm);
        m->missing = true;
        set_userfault(vm, true);
    }
    if (migration_load_state(vm) < 0)
        return MIGRATION_STATE_REJECTED;
    u64 memory = in->args[1] ? migration_memory_digest(vm) : 0, state = migration_save_state(vm);

    hw_trace(TP_MIGRATION_DIGEST, vm->config->number, 1, memory, state, 0, 0);
    return memory == in->args[2] && state == in->args[3] ? MIGRATION_OK : MIGRATION_DIGEST;
}

static void on_last(struct vmm_vm *vm, const struct migration_message *in)
{
    struct vmm_migration *m = vm->migration;

    if (!m->incoming)
        return;
    u32 reason = load(vm, in);

    m->loaded = reason == MIGRATION_OK;
    if (reason != MIGRATION_OK)
        forget_incoming(vm);
    reply(vm, MIGRATION_READY, reason);
}

static u32 living_vcpus(const struct vmm_vm *vm)
{
    u32 count = 0;

    for (u32 i = 0; i < vm->config->vcpu_count; i++)
        count += !(__atomic_load_n(&vm->vcpus[i].paused, __ATOMIC_RELAXED) & VMM_PAUSED_ENDED);
    return count;
}

// After a break of the link: what has not come, in as many messages as it takes.
static void send_missing(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;
    u64 page, count;

    for (u32 i = 0; m->missing && i < VMM_SLOTS_MAX; i++) {
        for (page = 0;;) {
            vmm_lock(&m->lock);
            count = migration_collect(vm, &vm->slots[i], &page, UINT64_MAX, &m->reply);
            // They stay marked.
            for (u32 r = 0; r < m->reply.run_count; r++)
                migration_mark(vm, &vm->slots[i], m->reply.runs[r].page, m->reply.runs[r].count, true);
            vmm_unlock(&m->lock);
            if (count == 0)
                break;
            m->reply.args[0] = 0;
            migration_send(vm, &m->reply, MIGRATION_MISSING, NULL, 0);
        }
    }
    reply(vm, MIGRATION_MISSING, 1);
    if (!m->missing)
        reply(vm, MIGRATION_ARRIVED, 0);
}

static void on_commit(struct vmm_vm *vm, const struct migration_message *in)
{
    struct vmm_migration *m = vm->migration;

    if (m->loaded && !m->here) {
        m->incoming = m->loaded = 0;
        __atomic_fetch_add(&vm->vmm->vcpus_left, living_vcpus(vm), __ATOMIC_ACQ_REL);
        __atomic_store_n(&m->here, 1, __ATOMIC_RELEASE);
        migration_resume_vcpus(vm);
        hw_trace(TP_MIGRATION_RUNNING, vm->config->number, 1, 0, 0, 0, 0);
    }
    if (!m->here)
        return;
    if (in->args[0])
        send_missing(vm);
    else
        reply(vm, MIGRATION_RUNNING, 0);
}

static void on_action(struct vmm_vm *vm, const struct migration_message *in)
{
    struct vmm_action action = {.op = (u32)in->args[0], .vm = vm->index};

    for (u32 i = 0; i < VMM_ACTION_ARGS; i++)
        action.args[i] = in->args[i + 1];
    if (vm->migration->here && action.op < VMM_OP_COUNT)
        vmm_do(vm->vmm, &action);
}

// --- The source's side.

static void on_answer(struct vmm_vm *vm, const struct migration_message *in)
{
    struct vmm_migration *m = vm->migration;

    // The guest has gone before its thread hears of it: actions follow it from now on.
    if (in->type == MIGRATION_RUNNING && m->here) {
        __atomic_fetch_sub(&vm->vmm->vcpus_left, living_vcpus(vm), __ATOMIC_ACQ_REL);
        __atomic_store_n(&m->here, 0, __ATOMIC_RELEASE);
    }
    // The answer before was read before its sender was asked again: over the wire, which no fence sees.
    __atomic_store_n(&m->answer, (u32)in->args[0], __ATOMIC_RELAXED);
    __atomic_store_n(&m->answer_type, in->type, __ATOMIC_RELEASE);
    migration_wake(vm);
}

static void on_request(struct vmm_vm *vm, const struct migration_message *in)
{
    struct vmm_migration *m = vm->migration;

    vmm_lock(&m->lock);
    if (m->request_count < MIGRATION_REQUESTS_MAX)
        m->requests[m->request_count++] =
            (struct migration_request){in->slot, in->runs[0].page, in->runs[0].count};
    vmm_unlock(&m->lock);
    migration_wake(vm);
}

static void on_missing(struct vmm_vm *vm, const struct migration_message *in)
{
    struct vmm_migration *m = vm->migration;
    struct vmm_slot *s = vmm_find_slot(vm, in->slot);

    vmm_lock(&m->lock);
    for (u32 i = 0; s && i < in->run_count; i++)
        migration_mark(vm, s, in->runs[i].page, in->runs[i].count, true);
    vmm_unlock(&m->lock);
    if (in->args[0])
        on_answer(vm, in);
}

// Of the source: the target gives up what is on its way. Of the target: the source must end it.
static void on_cancel(struct vmm_vm *vm, const struct migration_message *in)
{
    if (vm->migration->here)
        cancel(vm, in->args[0] < MIGRATION_REASON_COUNT ? (u32)in->args[0] : MIGRATION_CANCELLED);
    else
        forget_incoming(vm);
}

// --- Threads.

static void (*const handlers[])(struct vmm_vm *vm, const struct migration_message *in) = {
    [MIGRATION_HELLO] = on_hello,     [MIGRATION_ANSWER] = on_answer,   [MIGRATION_PAGES] = on_pages,
    [MIGRATION_STATE] = on_state,     [MIGRATION_LAST] = on_last,       [MIGRATION_READY] = on_answer,
    [MIGRATION_COMMIT] = on_commit,   [MIGRATION_RUNNING] = on_answer,  [MIGRATION_CANCEL] = on_cancel,
    [MIGRATION_REQUEST] = on_request, [MIGRATION_MISSING] = on_missing, [MIGRATION_ARRIVED] = on_answer,
    [MIGRATION_ACTION] = on_action,
};

static struct vmm_vm *vm_of(struct vmm *vmm, u32 number)
{
    for (u32 i = 0; i < vmm->config->vm_count; i++)
        if (vmm->vms[i].config->number == number)
            return &vmm->vms[i];
    return NULL;
}

static void on_link_lost(struct vmm_vm *vm)
{
    struct vmm_migration *m = vm->migration;

    // Without a COMMIT the guest is the source's, which runs on and may ask again.
    if (m->incoming && !m->loaded)
        forget_incoming(vm);
    __atomic_store_n(&m->lost, 1, __ATOMIC_RELEASE);
    migration_wake(vm);
}

static void link_thread(void *arg)
{
    struct vmm *vmm = arg;
    struct hv_link_message *page = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);

    for (;;) {
        s64 result = hv_syscall(HV_SYS_LINK_RECEIVE, (u64)page, 0, 0, 0);
        const struct migration_message *in = (const void *)page->header;

        if (result == -VMM_EPIPE)
            for (u32 i = 0; i < vmm->config->vm_count; i++)
                on_link_lost(&vmm->vms[i]);
        if (result < 0)
            continue;
        struct vmm_vm *vm = vm_of(vmm, in->vm);

        vmm_check(vm && in->type < sizeof handlers / sizeof handlers[0], "a message that no migration sends");
        handlers[in->type](vm, in);
    }
}

static struct vmm_slot *slot_of(struct vmm *vmm, u64 address, struct vmm_vm **vm)
{
    for (u32 i = 0; i < vmm->config->vm_count; i++) {
        *vm = &vmm->vms[i];
        for (u32 n = 0; n < VMM_SLOTS_MAX; n++)
            if ((*vm)->slots[n].used && address - (*vm)->slots[n].address < (*vm)->slots[n].bytes)
                return &(*vm)->slots[n];
    }
    return NULL;
}

// Asks the source for what guests wait for.
static void fault_thread(void *arg)
{
    struct vmm *vmm = arg;
    u64 *address = vmm_alloc(vmm, sizeof *address);
    struct migration_message *m = vmm_alloc(vmm, sizeof *m);

    while (hv_syscall(HV_SYS_USERFAULT_READ, (u64)address, 0, 0, 0) == 0) {
        struct vmm_vm *vm;
        const struct vmm_slot *s = slot_of(vmm, *address, &vm);

        if (!s)
            continue;
        u32 page = (u32)((*address - s->address) / PAGE_BYTES);

        hw_trace(TP_MIGRATION_REQUEST, vm->config->number, s->slot, page, 0, 0, 0);
        m->slot = s->slot;
        m->runs[0] = (struct migration_run){page, 1u << (s->page_shift - 12)};
        m->run_count = 1;
        migration_send(vm, m, MIGRATION_REQUEST, NULL, 0);
    }
    hv_exit();
}

void migration_start_threads(struct vmm *vmm)
{
    vmm_check(hv_thread_create(link_thread, vmm, HV_CPU_ANY, HV_PRIO_NORMAL) >= 0 &&
                  hv_thread_create(fault_thread, vmm, HV_CPU_ANY, HV_PRIO_NORMAL) >= 0,
              "the link's threads could not be created");
}

u64 migration_heap_bytes(const struct vmm_vm_config *config)
{
    return sizeof(struct vmm_migration) + config->vcpu_count * sizeof(struct migration_vcpu_state) +
           sizeof(struct migration_vm_state) + sizeof(struct migration_shape) +
           sizeof(struct migration_message) + sizeof(struct hv_cpuid2) +
           VMM_CPUID_MAX * sizeof(struct hv_cpuid_entry2) + sizeof(struct hv_msrs) +
           sizeof(struct hv_msr_entry) + sizeof(struct hv_msr_list) + MIGRATION_MSRS_MAX * sizeof(u32) + 1024;
}

void migration_init(struct vmm_vm *vm)
{
    struct vmm *vmm = vm->vmm;
    struct vmm_migration *m = vmm_alloc(vmm, sizeof *m);

    vm->migration = m;
    m->here = !(vm->config->flags & VMM_VM_INCOMING);
    m->answer_type = MIGRATION_NO_ANSWER;
    m->vcpus = vmm_alloc(vmm, vm->config->vcpu_count * sizeof *m->vcpus);
    m->vm = vmm_alloc(vmm, sizeof *m->vm);
    m->shape = vmm_alloc(vmm, sizeof *m->shape);
    m->cpuid = vmm_alloc(vmm, sizeof *m->cpuid + VMM_CPUID_MAX * sizeof m->cpuid->entries[0]);
    m->msrs = vmm_alloc(vmm, sizeof *m->msrs + sizeof m->msrs->entries[0]);
    m->msr_list = vmm_alloc(vmm, sizeof *m->msr_list + MIGRATION_MSRS_MAX * sizeof m->msr_list->indices[0]);
    if (vm->config->flags & VMM_VM_NESTED)
        migration_read_vmx(vm);
}
