// SPDX-License-Identifier: Apache-2.0
/*
 * From recorded events to the guest program of one vCPU.
 *
 * What an exit needs to be caused again is partly known only later: whether a TSC deadline was reached or
 * overwritten, and what woke a halted vCPU. So the last exits wait in a ring and are written when it is full
 * or at the end (vcpu_write.c). docs/importing.md explains the rules and defaults.
 *
 * Times are ns of the recording host's trace clock. No simulated time.
 */
#ifndef TOOLS_HVSIM_IMPORT_VCPU_H
#define TOOLS_HVSIM_IMPORT_VCPU_H

#include "models/cpu/x86/replay.h"
#include "tools/hvsim/import/event.h"
#include "tools/hvsim/import/stats.h"

#define VCPU_RING 256u        // Exits that wait.
#define VCPU_MMIO_PAGES 32u   // Device pages remembered.
#define VCPU_TEXT_BYTES 8192u // Of a stream, before they go to the sink.

#define IMPORT_MEMORY_BYTES (1ull << 30) // The VM's memory in the scenario.

// Defaults for what the trace does not say (docs/importing.md has the table).
#define DEFAULT_GAP_NS 1000u
#define DEFAULT_WAKE_NS 50000u
#define DEFAULT_WAKE_VECTOR 0xfdu  // Linux: reschedule.
#define DEFAULT_TIMER_VECTOR 0xecu // Linux: local timer.
#define DEFAULT_MMIO_GPA 0xfeb00000u
#define DEFAULT_MSR 0x8bu // IA32_BIOS_SIGN_ID: always exits, changes nothing.
// Simulated handling may take longer than recorded: an event that has to come after an exit is kept this far
// behind.
#define ORDER_SLACK_NS 3000u

enum fate {
    FATE_OPEN,     // Nothing happened yet.
    FATE_IN_HLT,   // Reached while the vCPU was halted.
    FATE_IN_GUEST, // Reached while the guest ran: PREEMPTION_TIMER.
    FATE_AT_ONCE,  // Was in the past when written.
    FATE_LATER,    // Must not be reached before the next write.
};

struct exit_record {
    uint64_t time_ns, handled_ns;
    struct replay_op op; // gap_cycles and a TSC-relative value in ns.
    struct reason_stats *row;
    uint32_t reason;
    bool skipped, defaulted, handled_known;
    uint8_t length; // Of the instruction, from kvm_entry's rip; 0: not known.
    // WRMSR IA32_TSC_DEADLINE of a value other than 0.
    bool is_deadline;
    enum fate fate;
    uint64_t deadline_tsc;
    uint64_t fired_ns;      // FATE_IN_*.
    uint64_t not_before_ns; // FATE_IN_*: the last exit which comes first.
    uint64_t next_write_ns; // 0: unknown.
    uint32_t between_count; // Exits between the write and what decided its fate.
    // HLT.
    bool wake_known, by_device;
    bool wake_guessed; // Nobody was seen waking it.
    uint8_t wake_vector;
    uint64_t wake_ns;
    uint64_t timer_serial; // Deadline (serial) that woke it, or 0.
    unsigned vector_count;
    uint8_t vectors[4]; // Accepted while halted, timer's not among them.
    uint8_t eoi_vector; // EOI_INDUCED.
    // A device signals this vector just before the exit.
    bool signal_before;
    uint8_t signal_vector;
};

// Pairs of trace time and guest TSC, from kvm_wait_lapic_expire.
struct tsc_line {
    bool has_first, has_last;
    unsigned outliers; // In a row.
    uint64_t first_ns, first_tsc, last_ns, last_tsc;
};

struct vcpu;
// Takes text of a vCPU's stream; false on an error, already reported.
typedef bool vcpu_sink(void *context, struct vcpu *vcpu, const char *text, size_t size);

struct vcpu {
    uint32_t tid;
    int32_t id; // -1: not known yet.
    unsigned vm;
    struct stats *stats;
    vcpu_sink *sink;
    void *sink_context;

    struct exit_record ring[VCPU_RING];
    uint64_t first, next; // Serials of the oldest record and of the next; they begin at 1.
    bool exit_open;       // The newest exit has no kvm_entry yet.
    bool in_guest;
    uint64_t entry_ns;
    uint64_t armed;             // Serial of the TSC deadline in force, or 0.
    uint64_t last_write;        // Serial of the last write of the deadline, or 0.
    uint64_t timer_accepted_ns; // In the open exit, or 0.
    uint8_t timer_vector;
    uint64_t fired_tsc; // Deadline that was reached last, until its lateness is seen; 0: none.
    struct tsc_line tsc;
    uint64_t carried_gap_ns;  // Of skipped exits.
    uint64_t default_page;    // For EPT violations of unknown address.
    uint64_t eoi_serial[256]; // Of the last EOI_INDUCED of each vector.
    bool handler_written[256];
    bool timed;

    // Pages of which accesses were EPT_MISCONFIG: devices, in order of appearance.
    uint64_t mmio_pages[VCPU_MMIO_PAGES];
    unsigned mmio_page_count;

    uint64_t exits, entries, lost_entries, lost_exits, nested, gaps_defaulted, gaps_cut, timers_moved, folded,
        ops;
    char text[VCPU_TEXT_BYTES];
    size_t text_size;
    bool failed;  // The sink failed.
    void *output; // The sink's.
};

void vcpu_begin(struct vcpu *vcpu, uint32_t tid, struct stats *stats, vcpu_sink *sink, void *context);
// An event of this vCPU's own thread. `now_ns` is its time, or a made-up one that grows.
void vcpu_event(struct vcpu *vcpu, const struct event *event, uint64_t now_ns);
// An interrupt that any thread signalled for this vCPU.
void vcpu_accept(struct vcpu *vcpu, uint32_t vector, uint64_t now_ns);
// Writes what still waits. False if the sink failed at any time.
bool vcpu_finish(struct vcpu *vcpu, uint64_t end_ns);

static inline struct exit_record *vcpu_record(struct vcpu *vcpu, uint64_t serial)
{
    return &vcpu->ring[serial % VCPU_RING];
}

// vcpu_ops.c: what the guest does to cause an exit, as far as kvm_exit says, and what later events add.
void exit_op_begin(struct vcpu *vcpu, struct exit_record *record, const struct event *event);
void exit_op_detail(struct vcpu *vcpu, struct exit_record *record, const struct event *event);

// vcpu_write.c
void vcpu_write_oldest(struct vcpu *vcpu);
void vcpu_write_text(struct vcpu *vcpu, const char *text, size_t size);
void tsc_line_add(struct tsc_line *line, uint64_t time_ns, uint64_t tsc);
uint64_t tsc_line_khz(const struct tsc_line *line); // 0: not known.
// How long after `time_ns` the TSC reaches `tsc`; negative: before. False if not known.
bool tsc_line_until(const struct tsc_line *line, uint64_t time_ns, uint64_t tsc, int64_t *ns);

#endif
