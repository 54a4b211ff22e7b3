// SPDX-License-Identifier: Apache-2.0
// Host driver of the assigned device (hv/hw/assigned.h): its messages become interrupts of guests.
#ifndef HV_X86_ASSIGNED_H
#define HV_X86_ASSIGNED_H

struct host;

// Registers the device's vector. 0 or -EBUSY.
int assigned_init(struct host *host);

#endif
