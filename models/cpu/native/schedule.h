// SPDX-License-Identifier: Apache-2.0
// A pinned order: named places of hypervisor code that processors pass one after the other, as written down.
//
// Each step names a processor and a place, a source line and a kind of access. A processor that comes to the
// place of its next step stands still there, before the access, until all earlier steps were passed;
// meanwhile the others go on and its interrupts wait. Nothing else is restricted. Time passes while it
// stands, so a pinned run is a legal run of the machine in which that processor was slow. docs/schedules.md.
#ifndef MODELS_CPU_NATIVE_SCHEDULE_H
#define MODELS_CPU_NATIVE_SCHEDULE_H

#include "models/cpu/native/places.h"
#include "models/cpu/pcpu.h"

#define SCHEDULE_NAME_BYTES 96u
enum schedule_kind {
    SCHEDULE_ACCESS,    // The processor carries out the access.
    SCHEDULE_DRAIN,     // The store that was made there leaves its store buffer.
    SCHEDULE_INTERRUPT, // It stands there until an interrupt or NMI comes, and takes it.
    SCHEDULE_IDLE,      // It has carried out the access, and then halts or lets a guest's time pass.
};
struct schedule_step {
    uint32_t cpu;                       // Index of the processor.
    char file[SCHEDULE_NAME_BYTES];     // A path's tail of whole names.
    char function[SCHEDULE_NAME_BYTES]; // Empty: `line` counts from the top of the file, else from the
                                        // function's.
    char caller[SCHEDULE_NAME_BYTES];   // As in struct places_anchor.
    uint32_t line;
    uint32_t ordinal; // As in struct places_anchor; 0: it is told by `line`.
    uint32_t access;  // enum place_access bits
    uint32_t count;   // The how-manieth time it comes there after its step before, from 1; of a drain 0: its
                      // store is the one that an earlier step makes, else the first.
    uint32_t older; // Under --memory c11: of the values that a load may give, so many older than the newest;
                    // a store takes its place so many stores before the newest.
    enum schedule_kind kind;
    bool optional; // Never coming there is no violation.
};

// Reads a step as people write it: "cpu1 hv/mmu/tdp.c:tdp_map#2 write x2 ?  # remark". False with one line in
// `error`.
bool schedule_parse(const char *text, struct schedule_step *out, char *error, size_t error_size);
// Writes it that way; cut where it does not fit.
void schedule_step_text(const struct schedule_step *step, char *text, size_t size);

#define SCHEDULE_STEPS_MAX 255u
// How long a processor stands before the order counts as impossible: simulated time.
#define SCHEDULE_HOLD_PS (20ull * 1000 * 1000 * 1000)

struct schedule;

// Finds the places of all steps in the image. NULL with one line in `error` and the step's index in *bad: no
// such file, function, no code on that line, no such processor. `steps` must outlive it.
struct schedule *schedule_create(const struct schedule_step *steps, uint32_t count,
                                 const struct places *places, const struct machine *machine, uint32_t *bad,
                                 char *error, size_t error_size);
void schedule_destroy(struct schedule *s);
// Nothing counts that happens before this simulated time. 0, from the start, if never called.
void schedule_from(struct schedule *s, uint64_t from_ps);
// Before a run: no step was passed. NULL: none is pinned. After a run, before its trace ends: steps that were
// not passed become violations.
void schedule_begin(struct schedule *s, struct machine *machine);
void schedule_end(struct schedule *s, struct machine *machine);

uint32_t schedule_count(const struct schedule *s);
// How many steps, from the first, the run passed in their order.
uint32_t schedule_passed(const struct schedule *s);

#endif
