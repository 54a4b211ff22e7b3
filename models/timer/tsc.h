// SPDX-License-Identifier: Apache-2.0
// Arithmetic of the time stamp counter, of TSC deadlines and of the VMX-preemption timer.
//
// Pure functions of integers: no state, no time passes, callable from anywhere. A tick is 1/16 cycle of the
// core clock. Both clocks run from 0 at the start of the run; ratios are rational, products are 128 bits
// wide, so that nothing overflows or rounds twice.
#ifndef MODELS_TIMER_TSC_H
#define MODELS_TIMER_TSC_H

#include <stdint.h>

// TSC cycles that have passed at `ticks`: floor(ticks * tsc_khz / (core_khz * 16)). SDM 17.17.
uint64_t tsc_from_ticks(uint64_t ticks, uint64_t core_khz, uint64_t tsc_khz);

// The first tick at which tsc_from_ticks() is at least `tsc`; UINT64_MAX if no 64-bit tick is.
uint64_t tsc_to_ticks(uint64_t tsc, uint64_t core_khz, uint64_t tsc_khz);

// What RDTSC returns in a guest with TSC scaling and offsetting (SDM 25.3): bits 111:48 of tsc * multiplier,
// plus the offset. `multiplier` is 1 << 48 where scaling is off.
uint64_t tsc_in_guest(uint64_t tsc, uint64_t multiplier, uint64_t offset);

// The VMX-preemption timer counts down by 1 each time bit `shift` of the TSC changes due to an increment (SDM
// 25.5.1). TSC at which a timer that started with `value` when the TSC was `start` reaches zero.
// UINT64_MAX if that lies beyond 64 bits.
uint64_t preemption_expiry_tsc(uint64_t start, unsigned shift, uint32_t value);
// What is left of that timer at `now` (>= start); 0 once it has expired.
uint32_t preemption_left(uint64_t start, uint64_t now, unsigned shift, uint32_t value);

// Ticks of `count` periods of a clock of `khz` (crystal or bus clock of the local APIC timer, SDM 10.5.4),
// rounded up; UINT64_MAX if beyond range.
uint64_t clock_to_ticks(uint64_t count, uint64_t khz, uint64_t core_khz);
// Whole periods of a clock of `khz` in `ticks`.
uint64_t clock_from_ticks(uint64_t ticks, uint64_t khz, uint64_t core_khz);

#endif
