// SPDX-License-Identifier: Apache-2.0
// Port 0x80 of a PC: shows the power-on self test's progress, and is written by software that wants to lose a
// microsecond. Keeps what was written last.
#include "hv/vmm/pc.h"

#define POST_PORT 0x80u

static u64 read(struct vmm_pc_device *d, u64 address, u32 size)
{
    (void)address, (void)size;
    return *(const u8 *)d->state;
}

static void write(struct vmm_pc_device *d, u64 address, u32 size, u64 value)
{
    (void)address, (void)size;
    *(u8 *)d->state = (u8)value;
}

const struct vmm_pc_model vmm_pc_post = {
    .name = "POST",
    .ranges = {{.kind = VMM_DEVICE_PORT, .base = POST_PORT, .size = 1}},
    .state_bytes = 1,
    .read = read,
    .write = write,
};
