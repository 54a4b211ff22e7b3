// SPDX-License-Identifier: Apache-2.0
// Checks for bugs of our own; never for input of a guest or user. On in every build.
#ifndef HV_LIB_ASSERT_H
#define HV_LIB_ASSERT_H

#include "hv/hw/trace.h"
#include "hv/lib/compiler.h"

#define HV_ASSERT(expr)                                                                                      \
    do {                                                                                                     \
        if (unlikely(!(expr)))                                                                               \
            hw_panic(#expr, __FILE__, __LINE__);                                                             \
    } while (0)
#define HV_PANIC(what)                                                                                       \
    do {                                                                                                     \
        hw_panic(what, __FILE__, __LINE__);                                                                  \
        __builtin_unreachable();                                                                             \
    } while (0)

#endif
