// SPDX-License-Identifier: Apache-2.0
// The virtual 8254 interval timer (Intel 231164-005): ports 40H-43H, and of port 61H the gate of channel 2.
//
// Channel 0 drives GSI 0: each rising edge of its output is one pulse of the line. Ticks that find the last
// one still pending are lost, as they are with the part itself (KVM_REINJECT_CONTROL off). Channel 1
// refreshes nothing, channel 2 sounds nothing; both count. A count written while modes 2 and 3 run begins a
// new period at once.
#ifndef HV_X86_PIT_H
#define HV_X86_PIT_H

#include "hv/core/hrtimer.h"
#include "hv/x86/x86.h"

#define PIT_HZ 1193182u
#define PIT_CHANNELS 3u

struct pit_channel {
    u32 count; // 1..65536 (10000 in BCD); 0: none was written since the control word.
    u8 mode;   // 0..5
    u8 rw;     // enum pit_rw
    bool bcd;  // Reads and writes are of four decimal digits.
    bool gate;
    bool counting;              // Modes 1 and 5: was triggered. Else: has a count.
    bool write_high, read_high; // Of 16 bits the second byte is next.
    u8 write_low;               // First byte of 16 bits.
    bool count_latched, status_latched;
    u16 latched_count;
    u8 latched_status;
    u64 start_tsc;  // When it began to count.
    u64 held_ticks; // While the gate holds the count: how far it was.
};

struct pit {
    struct spinlock lock; // Interrupts off.
    struct vm *vm;
    struct pit_channel channels[PIT_CHANNELS];
    bool speaker_port;    // Port 61H is ours.
    bool speaker_data;    // Bit 1 of port 61H.
    struct hrtimer timer; // Started and stopped under the lock.
    u64 edge_tick;        // Of channel 0 since start_tsc: when its output rises next; 0: never.
};

// HV_CREATE_PIT2, under vm->lock: 0, -ENOMEM, -EEXIST; sets x86_vm.pit.
int pit_create(struct vm *vm, u32 flags);
void pit_destroy(struct vm *vm); // x86_vm.pit may be NULL.
// As irqchip_pio().
bool pit_pio(struct pit *pit, u16 port, bool write, void *data, unsigned size);

#endif
