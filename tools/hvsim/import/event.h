// SPDX-License-Identifier: Apache-2.0
// One line of a KVM trace as a record: trace-cmd report, perf script, ftrace and what mail makes of them.
// Pure functions over text; nothing is kept. docs/importing.md lists the forms.
#ifndef TOOLS_HVSIM_IMPORT_EVENT_H
#define TOOLS_HVSIM_IMPORT_EVENT_H

#include "sim/scenario/stream_names.h"

#include <stdbool.h>
#include <stdint.h>

// Tracepoints that the importer reads, in kvm_events.def; any other kvm_* event is EVENT_OTHER.
enum event_kind {
    EVENT_NONE, // No kvm_* event in this line.
#define KVM_EVENT(name, reader) EVENT_##name,
#include "tools/hvsim/import/kvm_events.def"
#undef KVM_EVENT
    EVENT_OTHER,
};

#define REASON_UNKNOWN UINT32_MAX // exit_reason of a name that no table has.
#define REASON_ARM64 (UINT32_MAX - 1)

struct event {
    enum event_kind kind;
    // What stands before the event's name; each may be missing.
    bool has_time, has_tid;
    unsigned time_digits; // After the point: 6 is microseconds.
    uint64_t time_ns;
    uint32_t tid;
    struct span task;
    // Payload; vcpu is -1 if the line does not say.
    int32_t vcpu;
    bool unfinished; // Readable, but more fields usually follow: perhaps in the next line.
    bool has_rip, has_info1, has_info2, has_intr_info, has_error_code;
    uint64_t rip, info1, info2, intr_info, error_code;
    struct span reason_text; // kvm_exit: the name as recorded.
    uint32_t exit_reason;    // Basic VMX exit reason (spec/exit_reasons.def), or REASON_*.
    uint32_t svm_code;       // EXITCODE if the name was SVM's; else UINT32_MAX.
    // Details: meaning by kind, see the readers in event_read.c.
    bool is_write, has_value;
    uint64_t address, value, size, args[5];
    uint32_t vector;
};

enum event_status {
    EVENT_OK,
    EVENT_SHORT, // Something is missing at the end: a wrapped line goes on in the next one.
    EVENT_BAD,
};

struct event_names; // Exit reason names of both vendors, hashed.
struct event_names *event_names_new(void);
void event_names_free(struct event_names *names);
// Finds "MSR_WRITE", "npf", "EXIT_NPF"... False if no table has it.
bool event_names_find(const struct event_names *names, struct span name, uint32_t *reason,
                      uint32_t *svm_code);

// Removes quotation marks of mail ("> ", ">> ", "| ") and blanks at both ends.
struct span event_unquote(struct span line);
// The place of "kvm_NAME:" in the line (its first byte), or NULL. Fast: most lines have none.
const char *event_find(struct span line);
// True if the line ends behind "[cpu]" or a time stamp and its colon: mail broke it before the event's name.
bool event_is_header_only(struct span line);
// True if the line looks like the beginning of a trace line of its own: it holds a time stamp and "name:".
bool event_begins_line(struct span line);

// Reads a whole line; `at` is from event_find(). *why explains EVENT_SHORT and EVENT_BAD.
enum event_status event_read(const struct event_names *names, struct span line, const char *at,
                             struct event *event, const char **why);

// Prefix alone: fills time, tid, task. For tests and for event_read().
void event_read_prefix(struct span prefix, struct event *event);
// Payload alone, of event->kind.
enum event_status event_read_payload(const struct event_names *names, struct span payload,
                                     struct event *event, const char **why);

#endif
