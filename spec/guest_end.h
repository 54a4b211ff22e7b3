// SPDX-License-Identifier: Apache-2.0
// How a machine-code guest ended: our own numbers, as hv/vmm tells them to the core, the core to the host's
// board, and the trace to its readers (guest_end).
#ifndef SPEC_GUEST_END_H
#define SPEC_GUEST_END_H

enum guest_end {
    GUEST_END_NONE,
    GUEST_END_EXIT,         // It wrote its code to the debug-exit port.
    GUEST_END_POWER_OFF,    // It switched itself off.
    GUEST_END_TRIPLE_FAULT, // Its processor shut down (SDM 25.2).
    GUEST_END_ERROR,        // The core could not go on with it.
    GUEST_END_RESET,        // It asked its board for a reset.
    GUEST_END_COUNT
};

#endif
