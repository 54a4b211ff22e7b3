// SPDX-License-Identifier: Apache-2.0
// The virtual pair of 8259A interrupt controllers (Intel 231468-003): ports 20H, 21H, A0H, A1H; ELCR 4D0H,
// 4D1H.
//
// Its output reaches vCPU 0 as ExtINT, if LINT0 of its LAPIC lets it through or the LAPIC is disabled. Not
// modelled: MCS-80 mode, buffered mode, more than one slave.
#ifndef HV_X86_PIC_H
#define HV_X86_PIC_H

#include "hv/lib/spinlock.h"
#include "hv/x86/irqchip_state.h"
#include "hv/x86/lapic.h"

struct pic_chip {
    struct hv_pic_state s;
    u8 sources[8][8]; // Per pin who drives it: a bit each of 64.
};

struct pic {
    struct spinlock lock; // Interrupts off.
    struct vm *vm;
    struct pic_chip chips[2]; // Master, slave on its pin 2.
    u32 output;               // INT pin of the master; read without the lock.
};

int pic_create(struct vm *vm); // 0 or -ENOMEM; sets x86_vm.pic.
void pic_destroy(struct vm *vm);
// Pin 0..7 of chip 0 or 1. As ioapic_set_irq().
int pic_set_irq(struct pic *pic, unsigned chip, unsigned pin, unsigned source_id, unsigned level);
static inline bool pic_output(const struct pic *pic)
{
    return READ_ONCE(pic->output) != 0;
}
// The INTA cycle: vector of the most urgent request, or the spurious IRQ 7.
int pic_acknowledge(struct pic *pic);
bool pic_pio(struct pic *pic, u16 port, bool write, void *data, unsigned size);
void pic_get_state(struct pic *pic, unsigned chip, u8 *state);
void pic_set_state(struct pic *pic, unsigned chip, const u8 *state);

#endif
