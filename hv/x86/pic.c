// SPDX-License-Identifier: Apache-2.0
// The virtual 8259A pair. Names of commands as in the data sheet (231468-003): ICW1-4 initialise, OCW1-3
// operate.
#include "hv/x86/pic.h"

#include "hv/hw/trace.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"

#define ICW1_INIT 0x10u
#define ICW1_SINGLE 0x02u
#define ICW1_ICW4 0x01u
#define ICW4_AUTO_EOI 0x02u
#define ICW4_SPECIAL_NESTED 0x10u
#define OCW3_SELECT 0x08u
#define OCW3_POLL 0x04u
#define OCW3_READ_REG 0x02u
#define OCW3_READ_ISR 0x01u
#define OCW3_SPECIAL_MASK 0x40u
#define PIC_CASCADE_PIN 2u

// Priority of the most urgent bit, 0 highest, counted from the rotated lowest; 8: none.
static unsigned priority(const struct hv_pic_state *s, u8 bits)
{
    unsigned p = 0;

    if (bits == 0)
        return 8;
    while ((bits & (1u << ((p + s->priority_add) & 7))) == 0)
        p++;
    return p;
}

// Pin of the request that the chip would signal, or -1.
static int pending_pin(const struct hv_pic_state *s, bool master)
{
    u8 requests = s->irr & (u8)~s->imr, serving = s->isr;
    unsigned p = priority(s, requests);

    if (p == 8)
        return -1;
    if (s->special_mask)
        serving &= (u8)~s->imr;
    // In special fully nested mode the slave may interrupt its own pin's service.
    if (s->special_fully_nested_mode && master)
        serving &= (u8) ~(1u << PIC_CASCADE_PIN);
    return p < priority(s, serving) ? (int)((p + s->priority_add) & 7) : -1;
}

// Returns 0 if an edge found the request pending already.
static int set_pin(struct hv_pic_state *s, unsigned pin, bool level)
{
    u8 bit = (u8)(1u << pin);
    int result = 1;

    if (s->elcr & bit) {
        if (level) {
            result = (s->irr & bit) == 0;
            s->irr |= bit;
            s->last_irr |= bit;
        } else {
            s->irr &= (u8)~bit;
            s->last_irr &= (u8)~bit;
        }
    } else if (level) {
        if ((s->last_irr & bit) == 0) {
            result = (s->irr & bit) == 0;
            s->irr |= bit;
        }
        s->last_irr |= bit;
    } else {
        s->last_irr &= (u8)~bit;
    }
    return s->imr & bit ? -1 : result;
}

// The slave's output drives the master's pin 2; the master's output the processor. Lock held.
static void update(struct pic *pic)
{
    bool slave = pending_pin(&pic->chips[1].s, false) >= 0;

    // The cascade line is an edge for each new request of the slave.
    if (slave) {
        set_pin(&pic->chips[0].s, PIC_CASCADE_PIN, true);
        set_pin(&pic->chips[0].s, PIC_CASCADE_PIN, false);
    }
    u32 output = pending_pin(&pic->chips[0].s, true) >= 0;
    if (output == pic->output)
        return;
    WRITE_ONCE(pic->output, output);
    struct vcpu *vcpu = output ? vm_vcpu_by_index(pic->vm, 0) : NULL;
    if (vcpu != NULL) {
        make_request(REQ_EVENT, vcpu);
        vcpu_kick(vcpu);
    }
}

int pic_set_irq(struct pic *pic, unsigned chip, unsigned pin, unsigned source_id, unsigned level)
{
    if (chip > 1 || pin > 7)
        return -1;
    bool flags = spin_lock_irqsave(&pic->lock);
    u8 *sources = &pic->chips[chip].sources[pin][(source_id & 63) / 8], any = 0;
    u8 bit = (u8)(1u << (source_id & 7));
    if (level)
        *sources |= bit;
    else
        *sources &= (u8)~bit;
    for (unsigned i = 0; i < 8; i++)
        any |= pic->chips[chip].sources[pin][i];
    struct hv_pic_state *s = &pic->chips[chip].s;
    int result = set_pin(s, pin, any != 0);
    hw_trace(TP_KVM_PIC_SET_IRQ, chip, pin, s->elcr, s->imr, result == 0, 0);
    update(pic);
    spin_unlock_irqrestore(&pic->lock, flags);
    return result;
}

// --- Acknowledging and ending.

static void begin_service(struct hv_pic_state *s, unsigned pin)
{
    u8 bit = (u8)(1u << pin);

    if (s->auto_eoi) {
        if (s->rotate_on_auto_eoi)
            s->priority_add = (u8)((pin + 1) & 7);
    } else {
        s->isr |= bit;
    }
    if ((s->elcr & bit) == 0)
        s->irr &= (u8)~bit;
}

// Lock held; drops it around the notifiers.
static void end_service(struct pic *pic, unsigned chip, unsigned pin, bool *flags)
{
    pic->chips[chip].s.isr &= (u8) ~(1u << pin);
    spin_unlock_irqrestore(&pic->lock, *flags);
    hw_trace(TP_KVM_ACK_IRQ, chip, pin, 0, 0, 0, 0);
    notify_acked_irq(pic->vm, chip, pin);
    *flags = spin_lock_irqsave(&pic->lock);
}

int pic_acknowledge(struct pic *pic)
{
    bool flags = spin_lock_irqsave(&pic->lock);
    struct hv_pic_state *master = &pic->chips[0].s, *slave = &pic->chips[1].s;
    int pin = pending_pin(master, true), vector, slave_pin;

    if (pin < 0) {
        vector = master->irq_base + 7; // Spurious: the request went away before INTA.
    } else {
        begin_service(master, (unsigned)pin);
        vector = master->irq_base + pin;
    }
    if (pin == (int)PIC_CASCADE_PIN) {
        slave_pin = pending_pin(slave, false);
        if (slave_pin >= 0)
            begin_service(slave, (unsigned)slave_pin);
        vector = slave->irq_base + (slave_pin < 0 ? 7 : slave_pin);
    }
    update(pic);
    spin_unlock_irqrestore(&pic->lock, flags);
    return vector;
}

// --- Ports.

static void init_command(struct pic *pic, unsigned chip, u8 value)
{
    struct hv_pic_state *s = &pic->chips[chip].s;
    u8 edge_lost = (u8)~s->elcr; // ICW1 clears the edge sense latches.

    s->irr &= (u8)~edge_lost;
    s->last_irr &= s->elcr;
    s->imr = 0;
    s->isr = 0;
    s->priority_add = 0;
    s->read_reg_select = 0;
    s->special_mask = 0;
    s->auto_eoi = 0;
    s->rotate_on_auto_eoi = 0;
    s->special_fully_nested_mode = 0;
    s->poll = 0;
    s->init4 = value & ICW1_ICW4;
    s->init_state = 1;
}

static void operation_command_2(struct pic *pic, unsigned chip, u8 value, bool *flags)
{
    struct hv_pic_state *s = &pic->chips[chip].s;
    unsigned pin = value & 7, p;

    switch (value >> 5) { // R, SL, EOI
    case 0:
    case 4:
        s->rotate_on_auto_eoi = value >> 7;
        break;
    case 1: // Non-specific EOI, and with rotation.
    case 5:
        p = priority(s, s->isr);
        if (p == 8)
            break;
        pin = (p + s->priority_add) & 7;
        if (value >> 5 == 5)
            s->priority_add = (u8)((pin + 1) & 7);
        end_service(pic, chip, pin, flags);
        break;
    case 3:
        end_service(pic, chip, pin, flags);
        break;
    case 6:
        s->priority_add = (u8)((pin + 1) & 7);
        break;
    case 7:
        s->priority_add = (u8)((pin + 1) & 7);
        end_service(pic, chip, pin, flags);
        break;
    default: // 2: no operation.
        break;
    }
}

static void command_port(struct pic *pic, unsigned chip, u8 value, bool *flags)
{
    struct hv_pic_state *s = &pic->chips[chip].s;

    if (value & ICW1_INIT) {
        init_command(pic, chip, value);
    } else if (value & OCW3_SELECT) {
        if (value & OCW3_POLL)
            s->poll = 1;
        if (value & OCW3_READ_REG)
            s->read_reg_select = value & OCW3_READ_ISR;
        if (value & OCW3_SPECIAL_MASK)
            s->special_mask = (value >> 5) & 1;
    } else {
        operation_command_2(pic, chip, value, flags);
    }
}

static void data_port(struct hv_pic_state *s, u8 value)
{
    switch (s->init_state) {
    case 1: // ICW2
        s->irq_base = value & 0xf8;
        s->init_state = 2;
        break;
    case 2: // ICW3: how the pair is wired is fixed.
        s->init_state = s->init4 ? 3 : 0;
        break;
    case 3: // ICW4
        s->special_fully_nested_mode = (value & ICW4_SPECIAL_NESTED) != 0;
        s->auto_eoi = (value & ICW4_AUTO_EOI) != 0;
        s->init_state = 0;
        break;
    default: // OCW1
        s->imr = value;
        break;
    }
}

static u8 poll_read(struct pic *pic, unsigned chip)
{
    struct hv_pic_state *s = &pic->chips[chip].s;
    int pin = pending_pin(s, chip == 0);

    s->poll = 0;
    if (pin < 0)
        return 7;
    begin_service(s, (unsigned)pin);
    return (u8)(0x80 | pin);
}

static u8 read_port(struct pic *pic, unsigned chip, unsigned reg)
{
    struct hv_pic_state *s = &pic->chips[chip].s;

    if (s->poll)
        return poll_read(pic, chip);
    if (reg == 1)
        return s->imr;
    return s->read_reg_select ? s->isr : s->irr;
}

bool pic_pio(struct pic *pic, u16 port, bool write, void *data, unsigned size)
{
    bool is_elcr = port == 0x4d0 || port == 0x4d1;
    unsigned chip = is_elcr ? port & 1u : port >> 7;
    u8 *byte = data;

    if (!is_elcr && port != 0x20 && port != 0x21 && port != 0xa0 && port != 0xa1)
        return false;
    if (size != 1)
        return true; // Wider accesses reach no register of an 8-bit device here.
    bool flags = spin_lock_irqsave(&pic->lock);
    struct hv_pic_state *s = &pic->chips[chip].s;
    if (is_elcr && write)
        s->elcr = *byte & s->elcr_mask;
    else if (is_elcr)
        *byte = s->elcr;
    else if (!write)
        *byte = read_port(pic, chip, port & 1);
    else if ((port & 1) == 0)
        command_port(pic, chip, *byte, &flags);
    else
        data_port(s, *byte);
    update(pic);
    spin_unlock_irqrestore(&pic->lock, flags);
    return true;
}

// --- Life and state.

int pic_create(struct vm *vm)
{
    struct pic *pic = kzalloc(vm->host, sizeof *pic);

    if (pic == NULL)
        return -ENOMEM;
    spin_lock_init(&pic->lock, LOCK_RANK_PIC);
    pic->vm = vm;
    // Timer, keyboard and cascade, and on the slave RTC and FPU error, are edge for ever.
    pic->chips[0].s.elcr_mask = 0xf8;
    pic->chips[1].s.elcr_mask = 0xde;
    to_x86_vm(vm)->pic = pic;
    return 0;
}

void pic_destroy(struct vm *vm)
{
    struct x86_vm *x = to_x86_vm(vm);

    if (x->pic != NULL)
        kfree(vm->host, x->pic, sizeof *x->pic);
    x->pic = NULL;
}

void pic_get_state(struct pic *pic, unsigned chip, u8 *state)
{
    bool flags = spin_lock_irqsave(&pic->lock);
    memcpy(state, &pic->chips[chip].s, sizeof pic->chips[chip].s);
    spin_unlock_irqrestore(&pic->lock, flags);
}

void pic_set_state(struct pic *pic, unsigned chip, const u8 *state)
{
    bool flags = spin_lock_irqsave(&pic->lock);
    u8 mask = pic->chips[chip].s.elcr_mask;
    memcpy(&pic->chips[chip].s, state, sizeof pic->chips[chip].s);
    pic->chips[chip].s.elcr_mask = mask;
    update(pic);
    spin_unlock_irqrestore(&pic->lock, flags);
}
