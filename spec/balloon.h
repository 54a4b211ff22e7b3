// SPDX-License-Identifier: Apache-2.0
// Registers of the memory balloon: what hv/vmm/balloon.c offers and a guest's driver uses. Feature bits are
// Virtio's (Virtio 1.2, 5.5.3); the queue is a split virtqueue (2.7) in the layout of the legacy interface:
// descriptors, available ring, and the used ring on the next 4 KiB boundary.
#ifndef SPEC_BALLOON_H
#define SPEC_BALLOON_H

#define BALLOON_PORT 0xc0c0u
#define BALLOON_PORTS 32u

enum balloon_register {
    BALLOON_DEVICE_FEATURES = 0, // R
    BALLOON_DRIVER_FEATURES = 4, // W: of those offered
    BALLOON_QUEUE_NUM = 8,       // RW: entries of the queue, a power of two up to BALLOON_QUEUE_MAX
    BALLOON_QUEUE_PFN = 12,      // RW: where it lies, in 4 KiB
    BALLOON_QUEUE_READY = 16,    // W 1: a reporter registers, 0: it leaves; R: 1, 0, or a negative errno
    BALLOON_QUEUE_NOTIFY = 20,   // W
    BALLOON_POISON_VAL = 24,     // RW: what the guest fills free memory with; 0: nothing
};

#define BALLOON_F_PAGE_POISON (1u << 4)
#define BALLOON_F_REPORTING (1u << 5)
#define BALLOON_QUEUE_MAX 128u
// Pages that a reporter collects before it tells (Linux: PAGE_REPORTING_CAPACITY): a smaller queue cannot
// take them at once.
#define BALLOON_CAPACITY 32u

#endif
