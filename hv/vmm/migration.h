// SPDX-License-Identifier: Apache-2.0
// Live migration of a VM to the VMM of another host, over the link.
//
// Each VM that may be migrated exists on both hosts; its guest is on one of them, the vCPU threads of the
// other wait. So a VM can go back the way it came. Threads: the one that a migration is started with sends;
// each host's link thread receives and answers, and never waits for the other host.
//
// Pre-copy: HELLO (is the target fit?), all pages, then rounds of what the dirty log says, until the rest
// fits into the downtime limit; vCPUs stop; the rest, then the state; READY when the target has loaded it,
// COMMIT, and the guest runs there. Until COMMIT the guest belongs to the source: a failure or cancellation
// lets it run on. COMMIT is sent again until RUNNING answers it, so a break of the link in between only makes
// it late. Post-copy: the state first, COMMIT at once; the target asks for each page that its guest misses,
// and the rest comes unasked. After COMMIT it cannot be given up; a break of the link holds the guest up
// until it is back.
#ifndef HV_VMM_MIGRATION_H
#define HV_VMM_MIGRATION_H

#include "hv/vmm/ioapic.h"
#include "hv/vmm/lock.h"
#include "hv/vmm/vmm.h"

enum migration_message_type {
    MIGRATION_HELLO,   // Payload: struct migration_shape.
    MIGRATION_ANSWER,  // arg 0: enum migration_reason.
    MIGRATION_PAGES,   // runs of one slot; payload: the pages.
    MIGRATION_STATE,   // arg 0: vCPU, or MIGRATION_STATE_VM; payload: its structure.
    MIGRATION_LAST,    // The state is complete. args: post-copy, verify, digest of memory, of the state.
    MIGRATION_READY,   // arg 0: enum migration_reason.
    MIGRATION_COMMIT,  // arg 0: 1: what is missing?
    MIGRATION_RUNNING, // The guest runs at the sender.
    MIGRATION_CANCEL,  // arg 0: enum migration_reason.
    MIGRATION_REQUEST, // Post-copy: runs of one slot that a guest waits for.
    MIGRATION_MISSING, // Post-copy, after a break: runs of one slot that have not come; arg 0: 1: no more.
    MIGRATION_ARRIVED, // Post-copy: all pages have.
    MIGRATION_ACTION,  // arg 0: enum vmm_op, 1..: its arguments.
};

enum migration_reason {
#define MIGRATION_REASON(id, name, about) MIGRATION_##id,
#include "hv/vmm/migration_reasons.def"
    MIGRATION_REASON_COUNT
};

// A run of 4 KiB pages, by their number in the slot.
struct migration_run {
    u32 page, count;
};
#define MIGRATION_RUNS_MAX 480u
#define MIGRATION_ARGS 8u

struct migration_message {
    u32 type; // enum migration_message_type
    u32 vm;   // The scenario's number.
    u32 slot, run_count;
    u64 args[MIGRATION_ARGS];
    struct migration_run runs[MIGRATION_RUNS_MAX];
};
_Static_assert(sizeof(struct migration_message) <= HV_LINK_HEADER_MAX, "fits into a header");
#define MIGRATION_HEADER_BYTES(runs)                                                                         \
    (u32)(sizeof(struct migration_message) - (MIGRATION_RUNS_MAX - (runs)) * sizeof(struct migration_run))

#define MIGRATION_MSRS_MAX 256u
#define MIGRATION_DEVICES_MAX 32u
#define MIGRATION_VMX_MSRS 18u // IA32_VMX_BASIC to IA32_VMX_VMFUNC.

// What must be the same, or be there, on the target.
struct migration_shape {
    u64 memory_bytes; // Of all slots.
    u32 flags, vcpu_count, device_count, slot_count;
    u32 vendor;   // CPUID 0 EBX of the host.
    u32 tsc_khz;  // Of the host; guests' counters share its rate.
    u32 gpa_bits; // Of guest-physical addresses that stage 2 translates.
    u32 physical_bits, cpuid_count;
    struct {
        u64 gpa, bytes;
        u32 slot, flags, page_shift, padding;
    } slots[VMM_SLOTS_MAX];
    struct hv_cpuid_entry2 cpuid[VMM_CPUID_MAX]; // What the guest sees.
    u64 vmx[MIGRATION_VMX_MSRS];                 // The same: IA32_VMX_BASIC and on; zeroes without VMX.
};

#define MIGRATION_STATE_VM UINT32_MAX
struct migration_vcpu_state {
    struct hv_regs regs;
    struct hv_sregs sregs;
    struct hv_debugregs debugregs;
    struct hv_vcpu_events events;
    struct hv_lapic_state lapic;
    struct hv_mp_state mp_state;
    u32 paused; // VMM_PAUSED_* of its thread.
    u32 cpuid_count, msr_count;
    struct hv_cpuid_entry2 cpuid[VMM_CPUID_MAX];
    struct hv_msr_entry msrs[MIGRATION_MSRS_MAX];
    // Of machine code only (migration_vcpu_bytes()).
    struct hv_xcrs xcrs;
    struct hv_xsave xsave;
};
struct migration_vm_state {
    struct hv_irqchip chips[HV_IRQCHIPS];
    struct vmm_ioapic_state ioapic;
    struct {
        u64 reads, writes, last;
    } devices[MIGRATION_DEVICES_MAX];
    struct vmm_balloon balloon;
};

enum migration_phase {
    MIGRATION_IDLE,      // Nothing goes on; or this is the target.
    MIGRATION_SETUP,     // The target is asked.
    MIGRATION_ACTIVE,    // Pages are sent, the guest runs here.
    MIGRATION_STOPPED,   // The guest runs nowhere; it is ours.
    MIGRATION_COMMITTED, // It is the target's.
};

// Pages that a guest on the target waits for.
struct migration_request {
    u32 slot, page, count;
};
#define MIGRATION_REQUESTS_MAX 64u // One for each vCPU at most.

// Of one VM, on either side.
struct vmm_migration {
    u32 phase;       // enum migration_phase
    u32 here;        // 1: the guest is ours. A futex for who waits until that is decided.
    u32 cancel;      // enum migration_reason that ends it; MIGRATION_OK: none.
    u32 wakeups;     // Counts what the sending thread may wait for. A futex.
    u32 answer_type; // enum migration_message_type; MIGRATION_NO_ANSWER: none yet.
    u32 answer;
    u32 lost; // Breaks of the link that the sending thread has not looked at.
    bool postcopy, auto_converge, verify;
    u64 downtime_limit_ns, max_bits_per_second;
    // Of the sending thread.
    u32 to, round, throttle_percent;
    u64 bandwidth; // Bytes on the wire a second, of late.
    u64 next_send_ns;
    bool logs_dirty;
    struct migration_message out;
    struct hv_link_iov out_iov[MIGRATION_RUNS_MAX];
    // Both threads' of a side, under `lock`.
    struct vmm_lock lock;
    u64 pending_pages; // Marked ones.
    struct migration_request requests[MIGRATION_REQUESTS_MAX];
    u32 request_count;
    // Of the link thread.
    u32 incoming; // 1: a HELLO was answered with yes, the guest is on its way.
    u32 loaded;   // 1: its state is in the vCPUs.
    bool missing; // Post-copy: pages are still to come.
    struct migration_message reply;
    struct hv_link_iov in_iov[MIGRATION_RUNS_MAX];
    // State on its way out or in, and buffers for the calls that read it.
    struct migration_vcpu_state *vcpus;
    struct migration_vm_state *vm;
    struct migration_shape *shape;
    struct hv_cpuid2 *cpuid;
    struct hv_msrs *msrs;
    struct hv_msr_list *msr_list;
    u64 vmx[MIGRATION_VMX_MSRS]; // As vCPU 0 had them before it ran.
};
#define MIGRATION_NO_ANSWER UINT32_MAX

// At start, for each VM of a host with a link; and the host's threads for it.
void migration_init(struct vmm_vm *vm);
void migration_start_threads(struct vmm *vmm);
// Upper bound of what migration_init() takes from the heap, in bytes.
u64 migration_heap_bytes(const struct vmm_vm_config *config);
// Actions. 0, or an error of the API.
s64 migration_start(struct vmm_vm *vm, const u64 *args);
s64 migration_cancel(struct vmm_vm *vm);
// Does the VM's guest run here? Waits while that is being decided.
bool migration_is_here(struct vmm_vm *vm);
// Post-copy: pages of the guest, which runs here, are still to come. Who discards one now loses it: the
// source has sent it, or will not send it again.
static inline bool migration_is_missing_pages(const struct vmm_vm *vm)
{
    return vm->migration && __atomic_load_n(&vm->migration->missing, __ATOMIC_ACQUIRE);
}
// Has the host that has the guest carry it out.
s64 migration_forward(struct vmm_vm *vm, const struct vmm_action *action);

// --- Between the files of the migration.

// Bytes of a vCPU's state that are sent: streams have no x87 and SSE registers.
u64 migration_vcpu_bytes(const struct vmm_vm *vm);

// Sends `m` with its runs. 0, or the API's error.
s64 migration_send(const struct vmm_vm *vm, struct migration_message *m, u32 type,
                   const struct hv_link_iov *iov, u32 iov_count);
// Memory of this process as a payload.
s64 migration_send_block(const struct vmm_vm *vm, struct migration_message *m, u32 type, const void *block,
                         u64 bytes);
void migration_wake(struct vmm_vm *vm);
// Records how it ended.
void migration_end(struct vmm_vm *vm, u32 reason);
// Gives the memory of a guest that is not here back.
void migration_discard(struct vmm_vm *vm);
// Body of the thread that a migration is started with.
void migration_thread(void *vm);

// The guest stops, and every vCPU thread is out of the core with nothing half done; and on again.
void migration_stop_vcpus(struct vmm_vm *vm);
void migration_resume_vcpus(struct vmm_vm *vm);
// State out of and into the core. Saving returns a digest of it.
u64 migration_save_state(struct vmm_vm *vm);
s64 migration_load_state(struct vmm_vm *vm);
u64 migration_memory_digest(struct vmm_vm *vm);
// What nested guests will find, while vCPU 0 can still be asked.
void migration_read_vmx(struct vmm_vm *vm);
void migration_describe(struct vmm_vm *vm, struct migration_shape *shape);
u32 migration_check(struct vmm_vm *vm, const struct migration_shape *shape);

// Marks: a bit for each page of every slot. All set (-ENOMEM), none. Under `lock` where both threads may
// come.
s64 migration_mark_all(struct vmm_vm *vm);
void migration_unmark(struct vmm_vm *vm);
// Sets or clears a run; how many changed.
u64 migration_mark(struct vmm_vm *vm, struct vmm_slot *s, u64 page, u64 count, bool set);
bool migration_is_marked(const struct vmm_slot *s, u64 page);
// Moves marked pages of the slot from *page on, at most pages_max, from the marks into m's runs. Returns how
// many pages; *page is then where to go on.
u64 migration_collect(struct vmm_vm *vm, struct vmm_slot *s, u64 *page, u64 pages_max,
                      struct migration_message *m);
// The core's dirty log of all slots: switched, and what it holds added to the marks (*dirtied pages).
s64 migration_log(struct vmm_vm *vm, bool on);
// Does the log say what is written? Not if the VMM was told to do without (knob vmm.dirty_log).
bool migration_is_logged(const struct vmm_vm *vm);
s64 migration_sync(struct vmm_vm *vm, u64 *dirtied);

#endif
