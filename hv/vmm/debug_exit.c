// SPDX-License-Identifier: Apache-2.0
// How a guest without ACPI ends itself: the debug-exit port of emulators, and the "Shutdown" port that Bochs
// brought up.
//
// The first write to 0xf4 ends the guest with the value written as its code, of whatever width. The bytes
// "Shutdown" one after the other at 0x8900 switch it off.
#include "hv/vmm/pc.h"

#define EXIT_PORT 0xf4u
#define EXIT_PORTS 4u
#define SHUTDOWN_PORT 0x8900u

static const char shutdown_word[] = "Shutdown";

struct debug_exit {
    u32 matched; // Letters of the word so far.
};

static void shutdown_byte(struct vmm_pc_device *d, u8 byte)
{
    struct debug_exit *s = d->state;

    if (byte != (u8)shutdown_word[s->matched])
        s->matched = 0; // The word has one capital S: no other start can hide in what was seen.
    if (byte == (u8)shutdown_word[s->matched])
        s->matched++;
    if (shutdown_word[s->matched])
        return;
    s->matched = 0;
    vmm_guest_end(d->vm, GUEST_END_POWER_OFF, 0);
}

static void write(struct vmm_pc_device *d, u64 address, u32 size, u64 value)
{
    (void)size;
    if (address == SHUTDOWN_PORT)
        shutdown_byte(d, (u8)value);
    else
        vmm_guest_end(d->vm, GUEST_END_EXIT, value);
}

const struct vmm_pc_model vmm_pc_debug_exit = {
    .name = "debug exit",
    .ranges = {{.kind = VMM_DEVICE_PORT, .base = EXIT_PORT, .size = EXIT_PORTS},
               {.kind = VMM_DEVICE_PORT, .base = SHUTDOWN_PORT, .size = 1}},
    .state_bytes = sizeof(struct debug_exit),
    .write = write,
};
