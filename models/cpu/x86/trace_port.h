// SPDX-License-Identifier: Apache-2.0
// The recorder's side of hv/hw/trace.h: the life of a run.
#ifndef MODELS_CPU_X86_TRACE_PORT_H
#define MODELS_CPU_X86_TRACE_PORT_H

#include "models/cpu/pcpu.h"

// Before a run: forgets spans, counters and exits of the run before. m->trace is the new run's.
void trace_port_begin(struct machine *m);
// After a run, before trace_run_end(): writes counters, and the rows of exits that no entry followed.
void trace_port_end(struct machine *m);
void trace_port_destroy(struct machine *m);

#endif
