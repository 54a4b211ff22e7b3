// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/import/recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// vCPU threads of one VM are created one after another, so their ids lie close together.
#define THREADS_OF_A_VM 1000u
#define JOINED_PARTS_MAX 8u

bool recording_begin(struct recording *recording, vcpu_sink *sink, void *context)
{
    memset(recording, 0, sizeof(*recording));
    recording->names = event_names_new();
    recording->sink = sink;
    recording->sink_context = context;
    recording->stats.unit_ns = 1;
    return recording->names != NULL;
}

void recording_end(struct recording *recording)
{
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        free(recording->vcpus[i]);
    }
    recording->vcpu_count = 0;
    stats_free(&recording->stats);
    event_names_free(recording->names);
}

static bool stop(struct recording *recording, const char *why)
{
    if (!recording->stopped) {
        recording->stopped = true;
        (void)snprintf(recording->stop_why, sizeof(recording->stop_why), "%s", why);
    }
    return false;
}

static uint32_t distance(uint32_t a, uint32_t b)
{
    return a > b ? a - b : b - a;
}

// The VM that lacks this vCPU id and whose nearest thread is near enough; else a new one.
static void place(struct recording *recording, struct recorded_vcpu *v)
{
    uint32_t nearest = THREADS_OF_A_VM;
    unsigned vm = recording->vm_count;
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        const struct recorded_vcpu *other = recording->vcpus[i];
        if (other == v || !other->placed || distance(other->vcpu.tid, v->vcpu.tid) >= nearest) {
            continue;
        }
        bool taken = false;
        for (unsigned k = 0; k < recording->vcpu_count && !taken; k++) {
            const struct recorded_vcpu *third = recording->vcpus[k];
            taken = third->placed && third != v && third->vcpu.vm == other->vcpu.vm &&
                    third->vcpu.id == v->vcpu.id;
        }
        if (!taken) {
            nearest = distance(other->vcpu.tid, v->vcpu.tid);
            vm = other->vcpu.vm;
        }
    }
    v->placed = true;
    v->vcpu.vm = vm;
    recording->vm_count += vm == recording->vm_count;
}

static struct recorded_vcpu *new_vcpu(struct recording *recording, uint32_t tid, struct span task)
{
    if (recording->vcpu_count == RECORDING_VCPUS_MAX) {
        stop(recording, "more than 1024 vCPU threads");
        return NULL;
    }
    struct recorded_vcpu *v = calloc(1, sizeof(*v));
    if (v == NULL) {
        stop(recording, "not enough memory");
        return NULL;
    }
    vcpu_begin(&v->vcpu, tid, &recording->stats, recording->sink, recording->sink_context);
    v->vcpu.timed = true;
    size_t size = task.size < TASK_NAME_MAX - 1 ? task.size : TASK_NAME_MAX - 1;
    memcpy(v->task, task.size > 0 ? task.at : "", size);
    recording->vcpus[recording->vcpu_count++] = v;
    return v;
}

static bool fits(const struct recorded_vcpu *v, uint32_t tid, int32_t id)
{
    return v->vcpu.tid == tid && (id < 0 || v->vcpu.id < 0 || v->vcpu.id == id);
}

// The vCPU of this event's thread; `create` makes it on its first exit or entry. NULL if it is no vCPU
// thread.
static struct recorded_vcpu *find_vcpu(struct recording *recording, const struct event *e, bool create)
{
    uint32_t tid = e->has_tid ? e->tid : 0;
    struct recorded_vcpu **recent = &recording->recent[tid % RECORDING_RECENT], *found = NULL;
    if (*recent != NULL && fits(*recent, tid, e->vcpu)) {
        found = *recent;
    }
    // Newest first: a thread that became another vCPU is that one now.
    for (unsigned i = recording->vcpu_count; found == NULL && i-- > 0;) {
        found = fits(recording->vcpus[i], tid, e->vcpu) ? recording->vcpus[i] : NULL;
    }
    if (found == NULL && create) {
        found = new_vcpu(recording, tid, e->task);
    }
    if (found != NULL && found->vcpu.id < 0 && e->vcpu >= 0) {
        found->vcpu.id = e->vcpu;
        place(recording, found);
    }
    if (found != NULL) {
        *recent = found;
    }
    return found;
}

// An interrupt goes to the vCPU with that APIC id: of the same VM if a vCPU sent it, else of the nearest
// threads'.
static void accept_irq(struct recording *recording, const struct event *e, uint64_t now_ns)
{
    struct recorded_vcpu *best = NULL;
    uint32_t best_distance = UINT32_MAX;
    uint32_t tid = e->has_tid ? e->tid : 0;
    struct recorded_vcpu *own = recording->recent[tid % RECORDING_RECENT];
    if (own != NULL && own->vcpu.tid == tid && (uint64_t)own->vcpu.id == e->args[0]) {
        vcpu_accept(&own->vcpu, e->vector, now_ns);
        return;
    }
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        struct recorded_vcpu *v = recording->vcpus[i];
        bool unnamed = v->vcpu.id < 0 && v->vcpu.tid == tid;
        if ((unnamed || (uint64_t)v->vcpu.id == e->args[0]) && distance(v->vcpu.tid, tid) < best_distance) {
            best = v;
            best_distance = distance(v->vcpu.tid, tid);
        }
    }
    if (best != NULL) {
        vcpu_accept(&best->vcpu, e->vector, now_ns);
    }
}

// The event's time. Events without one come one microsecond after the other.
static uint64_t time_of(struct recording *recording, const struct event *e)
{
    if (!e->has_time) {
        recording->untimed++;
        recording->last_ns += 1000;
        return recording->last_ns;
    }
    if (!recording->has_time) {
        recording->has_time = true;
        recording->first_ns = e->time_ns;
        recording->time_digits = e->time_digits;
        recording->stats.unit_ns = e->time_digits >= 9 ? 1 : e->time_digits >= 6 ? 1000 : 1000000;
        if (e->time_digits > 6 && e->time_digits < 9) {
            recording->stats.unit_ns = 1;
        }
    }
    recording->last_ns = e->time_ns > recording->last_ns ? e->time_ns : recording->last_ns;
    return e->time_ns;
}

static bool bad_line(struct recording *recording, uint64_t line, const char *why)
{
    recording->bad_lines++;
    if (recording->complain != NULL && (recording->strict || recording->bad_lines <= RECORDING_BAD_SHOWN)) {
        recording->complain(recording->complain_context, line, why);
    }
    return !recording->strict || stop(recording, "--strict stops at the first line that cannot be read");
}

static bool use_event(struct recording *recording, const struct event *e, uint64_t line)
{
    bool is_run = e->kind == EVENT_exit || e->kind == EVENT_entry;
    uint64_t now = time_of(recording, e);
    if (e->kind == EVENT_apic_accept_irq) {
        accept_irq(recording, e, now);
        return true;
    }
    struct recorded_vcpu *v = find_vcpu(recording, e, is_run);
    if (v == NULL) {
        return !recording->stopped;
    }
    v->vcpu.timed = v->vcpu.timed && e->has_time;
    vcpu_event(&v->vcpu, e, now);
    if (v->vcpu.failed) {
        return stop(recording, "the stream cannot be written");
    }
    if (e->kind == EVENT_exit) {
        recording->exits++;
        recording->arm64_exits += e->exit_reason == REASON_ARM64;
        const struct exit_record *r = vcpu_record(&v->vcpu, v->vcpu.next - 1);
        if (recording->strict && r->skipped && e->exit_reason != REASON_ARM64) {
            return bad_line(recording, line, "no replay guest can cause this exit");
        }
    }
    return true;
}

static void hold(struct recording *recording, struct span text, bool header)
{
    recording->held_size = text.size;
    recording->held_line = recording->line;
    recording->held_parts = 1;
    recording->held_header = header;
    memcpy(recording->held, text.at, text.size);
}

// The held line gets no more parts.
static bool release(struct recording *recording)
{
    struct span text = span_of(recording->held, recording->held_size);
    const char *at = event_find(text), *why = "";
    recording->held_size = 0;
    if (at == NULL) {
        return true;
    }
    struct event event;
    recording->kvm_lines++;
    if (event_read(recording->names, text, at, &event, &why) != EVENT_OK) {
        return bad_line(recording, recording->held_line, why);
    }
    return use_event(recording, &event, recording->held_line);
}

static bool continues_held(const struct recording *recording, struct span text)
{
    if (text.size == 0 || recording->held_parts == JOINED_PARTS_MAX ||
        recording->held_size + 1 + text.size > RECORDING_JOINED_MAX) {
        return false;
    }
    if (recording->held_header) {
        return (text.at[0] >= '0' && text.at[0] <= '9') || (text.size > 3 && memcmp(text.at, "kvm", 3) == 0);
    }
    return !event_begins_line(text) && !event_is_header_only(text);
}

// Adds a part to the held line; goes on holding while it still looks unfinished.
static bool join(struct recording *recording, struct span text)
{
    recording->held[recording->held_size++] = ' ';
    memcpy(recording->held + recording->held_size, text.at, text.size);
    recording->held_size += text.size;
    recording->held_parts++;
    struct span whole = span_of(recording->held, recording->held_size);
    const char *at = event_find(whole), *why = "";
    struct event event;
    recording->held_header = at == NULL;
    if (at == NULL) {
        return true;
    }
    enum event_status status = event_read(recording->names, whole, at, &event, &why);
    if (status == EVENT_SHORT || (status == EVENT_OK && event.unfinished)) {
        return true;
    }
    return release(recording);
}

static bool read_new(struct recording *recording, struct span text, const char *at)
{
    struct event event;
    const char *why = "";
    enum event_status status = event_read(recording->names, text, at, &event, &why);
    bool more = status == EVENT_SHORT || (status == EVENT_OK && event.unfinished);
    if (more && text.size < RECORDING_JOINED_MAX) {
        hold(recording, text, false);
        return true;
    }
    recording->kvm_lines++;
    if (status != EVENT_OK) {
        return bad_line(recording, recording->line, why);
    }
    return event.kind == EVENT_OTHER || use_event(recording, &event, recording->line);
}

bool recording_line(struct recording *recording, struct span line)
{
    recording->line++;
    if (recording->stopped) {
        return false;
    }
    char last = line.size > 0 ? line.at[line.size - 1] : 0;
    if (recording->held_size > 0) {
        struct span text = event_unquote(line);
        if (continues_held(recording, text)) {
            return join(recording, text);
        }
        if (!release(recording)) {
            return false;
        }
    }
    const char *at = event_find(line);
    if (at != NULL) {
        struct span text = event_unquote(line);
        return read_new(recording, text, at);
    }
    if (last == ':' || last == ']' || last == ' ') {
        struct span text = event_unquote(line);
        if (text.size < RECORDING_JOINED_MAX && event_is_header_only(text)) {
            hold(recording, text, true);
        }
    }
    return true;
}

static int32_t free_id(const struct recording *recording, unsigned vm)
{
    for (int32_t id = 0;; id++) {
        bool taken = false;
        for (unsigned i = 0; i < recording->vcpu_count && !taken; i++) {
            const struct recorded_vcpu *v = recording->vcpus[i];
            taken = v->placed && v->vcpu.vm == vm && v->vcpu.id == id;
        }
        if (!taken) {
            return id;
        }
    }
}

// By VM, then vCPU.
static int vcpu_order(const void *a, const void *b)
{
    const struct vcpu *x = &(*(struct recorded_vcpu *const *)a)->vcpu,
                      *y = &(*(struct recorded_vcpu *const *)b)->vcpu;
    return x->vm != y->vm ? (x->vm < y->vm ? -1 : 1) : (x->id > y->id) - (x->id < y->id);
}

bool recording_finish(struct recording *recording)
{
    if (recording->held_size > 0 && !recording->stopped) {
        (void)release(recording);
    }
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        struct recorded_vcpu *v = recording->vcpus[i];
        if (!v->placed) {
            place(recording, v); // Its id is -1 here, which nobody else has once placed.
            v->placed = false;
            v->vcpu.id = free_id(recording, v->vcpu.vm);
            v->placed = true;
        }
        if (!recording->stopped && !vcpu_finish(&v->vcpu, recording->last_ns)) {
            stop(recording, "the stream cannot be written");
        }
    }
    if (recording->vcpu_count > 0) {
        qsort(recording->vcpus, recording->vcpu_count, sizeof(recording->vcpus[0]), vcpu_order);
    }
    return !recording->stopped;
}
