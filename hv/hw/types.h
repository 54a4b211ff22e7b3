// SPDX-License-Identifier: Apache-2.0
// Types that both sides of the door speak: fixed-width integers and distinct address spaces.
#ifndef HV_HW_TYPES_H
#define HV_HW_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef int8_t s8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

// Host physical, guest physical and guest virtual addresses in bytes. One-member structs, so that the
// compiler refuses to mix them; conversions go through the member and are visible.
typedef struct {
    u64 v;
} hpa_t;
typedef struct {
    u64 v;
} gpa_t;
typedef struct {
    u64 v;
} gva_t;

// Frame numbers (address >> 12).
typedef u64 gfn_t;
typedef u64 pfn_t;

static inline hpa_t hpa(u64 v)
{
    return (hpa_t){v};
}
static inline gpa_t gpa(u64 v)
{
    return (gpa_t){v};
}
static inline gva_t gva(u64 v)
{
    return (gva_t){v};
}

#endif
