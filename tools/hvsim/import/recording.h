// SPDX-License-Identifier: Apache-2.0
// A whole recording: lines in, vCPUs of one or more VMs out. Lines which mail wrapped are joined here.
#ifndef TOOLS_HVSIM_IMPORT_RECORDING_H
#define TOOLS_HVSIM_IMPORT_RECORDING_H

#include "tools/hvsim/import/vcpu.h"

#define RECORDING_VCPUS_MAX 1024u
#define RECORDING_JOINED_MAX 4096u // Bytes of a line put together from wrapped ones.
#define RECORDING_BAD_SHOWN 10u
#define RECORDING_RECENT 256u
#define TASK_NAME_MAX 32u

struct recorded_vcpu {
    struct vcpu vcpu;
    char task[TASK_NAME_MAX];
    bool placed; // vcpu.vm is set.
};

struct recording {
    // Set by recording_begin().
    struct event_names *names;
    vcpu_sink *sink;
    void *sink_context;
    bool strict;
    void (*complain)(void *context, uint64_t line, const char *why); // For bad lines; may be NULL.
    void *complain_context;

    struct stats stats;
    struct recorded_vcpu *vcpus[RECORDING_VCPUS_MAX];
    unsigned vcpu_count, vm_count;
    struct recorded_vcpu *recent[RECORDING_RECENT]; // By thread id: the vCPU that the thread was last.

    uint64_t line; // Number of the line at hand.
    uint64_t bad_lines, kvm_lines, exits, arm64_exits, untimed;
    bool has_time;
    uint64_t first_ns, last_ns;
    unsigned time_digits;
    bool stopped; // Strict, or too many vCPUs, or the sink failed; `stop_why` says which.
    char stop_why[160];

    // A line that may go on in the next one.
    char held[RECORDING_JOINED_MAX];
    size_t held_size;
    uint64_t held_line;
    unsigned held_parts;
    bool held_header;
};

bool recording_begin(struct recording *recording, vcpu_sink *sink, void *context);
// One line, without its end. False when there is no use in more lines (stopped).
bool recording_line(struct recording *recording, struct span line);
// All lines were given: places every vCPU into a VM, gives ids, sorts by them, writes what waits. False if
// stopped.
bool recording_finish(struct recording *recording);
void recording_end(struct recording *recording);

#endif
