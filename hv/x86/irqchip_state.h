// SPDX-License-Identifier: Apache-2.0
// What struct hv_irqchip.state holds for each chip (HV_GET_IRQCHIP, HV_SET_IRQCHIP); layouts as KVM's.
#ifndef HV_X86_IRQCHIP_STATE_H
#define HV_X86_IRQCHIP_STATE_H

#include "hv/hw/types.h"

struct hv_pic_state {
    u8 last_irr, irr, imr, isr;
    u8 priority_add, irq_base, read_reg_select, poll;
    u8 special_mask, init_state, auto_eoi, rotate_on_auto_eoi;
    u8 special_fully_nested_mode, init4, elcr, elcr_mask;
};
_Static_assert(sizeof(struct hv_pic_state) == 16, "layout of the API");

struct hv_ioapic_state {
    u64 base_address;
    u32 ioregsel, id, irr, pad;
    u64 redirtbl[24];
};
_Static_assert(sizeof(struct hv_ioapic_state) == 216, "layout of the API");

#endif
