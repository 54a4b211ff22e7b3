// SPDX-License-Identifier: Apache-2.0
// The set-up port: software that brings the machine into its first state takes no simulated time.
//
// The simulator's own, like the tracepoint port: silicon has nothing of the kind. Between begin and end the
// calling thread's basic blocks and memory accesses happen but charge no cycles and touch no caches;
// privileged instructions and interrupts keep their cost. Only the user-space VMM calls it, before any vCPU
// runs, and the run's row in the database says so (runs.setup).
#ifndef HV_HW_SETUP_H
#define HV_HW_SETUP_H

// Begins the phase for the calling thread, wherever it is scheduled. Buffered stores drain first. No nesting.
void hw_setup_begin(void);
// Ends it.
void hw_setup_end(void);

#endif
