// SPDX-License-Identifier: Apache-2.0
// Bugs of hypervisor code after which it cannot go on: they end the run, not the simulator, so that what was
// traced until then is kept and an explorer can go on with the next order.
#include "models/cpu/native/native.h"

#include "hv/hw/trace.h"
#include "models/cpu/pcpu.h"
#include "traces/trace.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define STATUS_BUG 70

const char *native_function_name(const struct native_image *image, uint64_t pc)
{
    uint64_t offset = pc - image->map.text_base;

    if (offset >= image->map.text_bytes || !image->function_at[offset])
        return "?";
    return price_symbol_at(image->prices, image->function_at[offset] - 1)->name;
}

_Noreturn void native_core_bug(struct pcpu *c, const char *kind, uint64_t address, const char *detail)
{
    if (!c || !c->native->current || !c->trace) {
        fprintf(stderr, "hvsim: bug in the hypervisor core: %s: %s\n", kind, detail);
        exit(STATUS_BUG);
    }
    trace_violation(c->trace, &(struct trace_violation){.where = {(uint16_t)c->index, (uint16_t)c->note_vm,
                                                                  (uint16_t)c->note_vcpu, 0, 0},
                                                        .thread = native_context_thread(c),
                                                        .kind = trace_text(c->trace, kind),
                                                        .detail = trace_text(c->trace, detail),
                                                        .address = address,
                                                        .tick = c->now_ticks});
    machine_stop_now(c->machine);
    native_unwind(c);
}

void hw_panic(const char *what, const char *file, u32 line)
{
    char detail[300];

    snprintf(detail, sizeof detail, "%s:%u: %s", file, (unsigned)line, what);
    native_core_bug(pcpu_current, "panic", 0, detail);
}
