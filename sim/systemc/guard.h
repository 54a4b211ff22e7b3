// SPDX-License-Identifier: Apache-2.0
// C++ only. What every extern "C" entry wraps its work in, so that nothing is thrown into C.
#ifndef HVSIM_SIM_SYSTEMC_GUARD_H
#define HVSIM_SIM_SYSTEMC_GUARD_H

#include "sim/kernel.h"

#include <exception>

// Calls `work` and gives its result; whatever it throws is a bug of a model or of ours (status 70).
template <typename Work> auto guarded(const char *what, Work &&work) -> decltype(work())
{
    try {
        return work();
    } catch (const std::exception &e) {
        sim_bug("%s: %s", what, e.what());
    } catch (...) {
        sim_bug("%s: an exception of unknown type", what);
    }
}

#endif
