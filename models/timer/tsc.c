// SPDX-License-Identifier: Apache-2.0
#include "models/timer/tsc.h"

#include <assert.h>

#define TICKS 16u

typedef unsigned __int128 u128;

uint64_t clock_from_ticks(uint64_t ticks, uint64_t khz, uint64_t core_khz)
{
    assert(core_khz && khz);
    return (uint64_t)((u128)ticks * khz / ((u128)core_khz * TICKS));
}

uint64_t clock_to_ticks(uint64_t count, uint64_t khz, uint64_t core_khz)
{
    assert(core_khz && khz);
    u128 wanted = (u128)count * core_khz;

    // count < 2^64 and core_khz < 2^24 leave room for the factor of 16.
    u128 ticks = (wanted * TICKS + khz - 1) / khz;

    return ticks > UINT64_MAX ? UINT64_MAX : (uint64_t)ticks;
}

uint64_t tsc_from_ticks(uint64_t ticks, uint64_t core_khz, uint64_t tsc_khz)
{
    return clock_from_ticks(ticks, tsc_khz, core_khz);
}

uint64_t tsc_to_ticks(uint64_t tsc, uint64_t core_khz, uint64_t tsc_khz)
{
    return clock_to_ticks(tsc, tsc_khz, core_khz);
}

uint64_t tsc_in_guest(uint64_t tsc, uint64_t multiplier, uint64_t offset)
{
    return (uint64_t)(((u128)tsc * multiplier) >> 48) + offset;
}

uint64_t preemption_expiry_tsc(uint64_t start, unsigned shift, uint32_t value)
{
    assert(shift < 32);
    // With the value 0 there is nothing to wait for, wherever the TSC stands in its period.
    if (value == 0)
        return start;
    u128 expiry = ((u128)(start >> shift) + value) << shift;

    return expiry > UINT64_MAX ? UINT64_MAX : (uint64_t)expiry;
}

uint32_t preemption_left(uint64_t start, uint64_t now, unsigned shift, uint32_t value)
{
    assert(now >= start);
    uint64_t counted = (now >> shift) - (start >> shift);

    return counted >= value ? 0 : (uint32_t)(value - counted);
}
