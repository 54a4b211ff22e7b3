// SPDX-License-Identifier: Apache-2.0
// The set-up port of hv/hw/setup.h: the hooks see no processor while its thread is in the phase.
//
// The phase belongs to the thread: a processor that switches to another one in the meantime times it as ever.
#include "hv/hw/setup.h"
#include "models/cpu/native/native.h"
#include "models/cpu/native/watch.h"
#include "models/mem/mem.h"
#include <assert.h>

static void set_untimed(struct pcpu *c, bool untimed)
{
    assert(c->native->current && c->untimed != untimed && "set-up phases do not nest");
    native_watch_event(c, &(struct native_event){.kind = NATIVE_EVENT_UNTIMED});
    c->native->current->untimed = untimed;
    c->untimed = untimed;
    pcpu_set_current(c);
}

void hw_setup_begin(void)
{
    // The phase's stores go straight to memory: those before them must be there first.
    mem_store_drain(pcpu_current);
    set_untimed(pcpu_current, true);
    mem_arena_dense(true);
}

void hw_setup_end(void)
{
    set_untimed(pcpu_current, false);
    mem_arena_dense(false);
}
