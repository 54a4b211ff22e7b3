// SPDX-License-Identifier: Apache-2.0
// Port I/O (SDM 27.2.1 table 27-5): to devices in the core, else to user space.
#include "hv/x86/exits_io.h"
#include "hv/core/vm.h"
#include "hv/hw/guest.h"
#include "hv/lib/string.h"
#include "hv/x86/alu.h"
#include "hv/x86/emulate.h"
#include "hv/x86/exits.h"
#include "hv/x86/guest_access.h"
#include "hv/x86/lapic.h"

#define PIO_BATCH_BYTES                                                                                      \
    1024u // What fits behind HV_RUN_IO_DATA_OFFSET is more; KVM's page is the bound there.

static u8 *io_data(struct x86_vcpu *v)
{
    return (u8 *)v->vcpu.run + HV_RUN_IO_DATA_OFFSET;
}

static void trace_pio(struct x86_vcpu *v, const void *data)
{
    u64 value = 0;

    memcpy(&value, data, v->pio_size);
    hw_trace(TP_KVM_PIO, !v->pio_in, v->pio_port, v->pio_size, v->pio_count, value, 0);
}

static bool in_core(struct x86_vcpu *v, void *data)
{
    if (v->apic == NULL)
        return false;
    u8 *p = data;

    for (u32 i = 0; i < v->pio_count; i++)
        if (!irqchip_pio(v, v->pio_port, !v->pio_in, p + i * v->pio_size, v->pio_size))
            return false; // A device answers for a port always or never.
    return true;
}

static int to_user_space(struct x86_vcpu *v, int (*done)(struct x86_vcpu *))
{
    struct hv_run *run = v->vcpu.run;

    run->io.direction = (u8)(v->pio_in ? HV_IO_IN : HV_IO_OUT);
    run->io.size = (u8)v->pio_size;
    run->io.port = v->pio_port;
    run->io.count = v->pio_count;
    run->io.data_offset = HV_RUN_IO_DATA_OFFSET;
    v->complete = done;
    return userspace_exit(v, HV_EXIT_IO);
}

// A 32-bit IN zero-extends into RAX; smaller ones keep the rest.
static void store_in(struct x86_vcpu *v, const void *data)
{
    u64 value = 0, keep = v->pio_size == 4 ? 0 : ~size_mask(v->pio_size);

    memcpy(&value, data, v->pio_size);
    v->gprs.r[GPR_RAX] = (v->gprs.r[GPR_RAX] & keep) | value;
}

static int complete_in(struct x86_vcpu *v)
{
    trace_pio(v, io_data(v));
    store_in(v, io_data(v));
    return skip_instruction(v);
}

static int complete_out(struct x86_vcpu *v)
{
    return skip_instruction(v);
}

int pio_plain(struct x86_vcpu *v, u16 port, unsigned bytes, bool in)
{
    u8 *data = io_data(v);

    v->pio_port = port;
    v->pio_size = bytes;
    v->pio_in = in;
    v->pio_count = 1;
    if (v->pio_in) {
        u64 value = 0;

        if (in_core(v, &value)) {
            trace_pio(v, &value);
            store_in(v, &value);
            return skip_instruction(v);
        }
        return to_user_space(v, complete_in);
    }
    u64 value = v->gprs.r[GPR_RAX] & size_mask(v->pio_size);

    trace_pio(v, &value);
    if (in_core(v, &value))
        return skip_instruction(v);
    memcpy(data, &value, v->pio_size);
    return to_user_space(v, complete_out);
}

// --- INS and OUTS. The string's address register moves by DF; RCX counts if there is a REP prefix.

static void add_masked(u64 *reg, u64 by, u64 mask)
{
    u64 keep = mask == UINT32_MAX ? 0 : ~mask; // 32-bit results zero-extend.

    *reg = (*reg & keep) | ((*reg + by) & mask);
}

static void advance_string(struct x86_vcpu *v, u32 count)
{
    unsigned reg = v->pio_in ? GPR_RDI : GPR_RSI;
    u64 bytes = (u64)count * v->pio_size;

    add_masked(&v->gprs.r[reg], vcpu_rflags(v) & X86_RFLAGS_DF ? -bytes : bytes, v->pio_address_mask);
    if (v->pio_rep)
        add_masked(&v->gprs.r[GPR_RCX], -(u64)count, v->pio_address_mask);
}

// Past the instruction when the count is used up; else it is executed again for the rest.
static int finish_string(struct x86_vcpu *v)
{
    advance_string(v, v->pio_count);
    if (v->pio_rep && (v->gprs.r[GPR_RCX] & v->pio_address_mask) != 0)
        return 1;
    return skip_instruction(v);
}

static void add_fragment(struct x86_vcpu *v, u64 at, const u8 *from, u32 bytes)
{
    struct mmio_fragment *f = &v->mmio[v->mmio_count++];

    *f = (struct mmio_fragment){.gpa = at, .len = bytes};
    memcpy(f->data, from, bytes);
}

// Element by element, as another device's writes may have side effects. One across pages is two writes.
static int store_to_devices(struct x86_vcpu *v)
{
    while (v->pio_stored < v->pio_count) {
        u32 at = v->pio_stored * v->pio_size;
        u64 linear = v->pio_linear + at, where, rest = 0;
        u32 part = (u32)min_u64(v->pio_size, PAGE_SIZE - (linear & ~PAGE_MASK));

        if (guest_translate_linear(v, linear, PFERR_WRITE, &where) != GUEST_ACCESS_DONE ||
            (part < v->pio_size &&
             guest_translate_linear(v, linear + part, PFERR_WRITE, &rest) != GUEST_ACCESS_DONE))
            return 1;
        v->pio_stored++;
        v->mmio_count = v->mmio_done = 0;
        add_fragment(v, where, io_data(v) + at, part);
        if (part < v->pio_size)
            add_fragment(v, rest, io_data(v) + at + part, v->pio_size - part);
        int result = emulate_device_writes(v, store_to_devices);

        if (result != 1)
            return result;
    }
    return finish_string(v);
}

// What the port gave goes into the guest's memory, or to devices (a read-only slot is one). Streams have no
// devices there: user space must know.
static int complete_string_in(struct x86_vcpu *v)
{
    trace_pio(v, io_data(v));
    switch (guest_write_linear(v, v->pio_linear, io_data(v), v->pio_count * v->pio_size)) {
    case GUEST_ACCESS_DONE:
        return finish_string(v);
    case GUEST_ACCESS_FAULT:
        return 1;
    case GUEST_ACCESS_NO_MEMORY:
        break;
    }
    if (hw_guest_is_stream())
        return internal_error(v, HV_INTERNAL_ERROR_EMULATION, 2, v->pio_linear, v->pio_count, 0);
    v->pio_stored = 0;
    return store_to_devices(v);
}

// The destination is looked for before the port is read: an instruction that faults has no side effects. Up
// to the end of the page as many elements are fetched as fit, as nothing can happen in between.
static int string_in(struct x86_vcpu *v, u64 count, bool down)
{
    u64 room = min_u64(PIO_BATCH_BYTES, PAGE_SIZE - (v->pio_linear & ~PAGE_MASK)) / v->pio_size;
    u64 ignored;

    switch (guest_translate_linear(v, v->pio_linear, PFERR_WRITE, &ignored)) {
    case GUEST_ACCESS_DONE:
        break;
    case GUEST_ACCESS_FAULT:
        return 1; // The guest executes the instruction again.
    case GUEST_ACCESS_NO_MEMORY:
        return handle_not_modelled(v);
    }
    v->pio_count = down || room == 0 ? 1 : (u32)min_u64(count, room);
    if (in_core(v, io_data(v)))
        return complete_string_in(v);
    return to_user_space(v, complete_string_in);
}

// The element is where user space finds it.
static int put_element(struct x86_vcpu *v)
{
    trace_pio(v, io_data(v));
    if (in_core(v, io_data(v)))
        return finish_string(v);
    return to_user_space(v, finish_string);
}

static int string_out(struct x86_vcpu *v)
{
    switch (guest_read_linear(v, v->pio_linear, io_data(v), v->pio_size)) {
    case GUEST_ACCESS_DONE:
        return put_element(v);
    case GUEST_ACCESS_FAULT:
        return 1;
    case GUEST_ACCESS_NO_MEMORY:
        break;
    }
    if (hw_guest_is_stream())
        return internal_error(v, HV_INTERNAL_ERROR_EMULATION, 2, v->pio_linear, v->pio_count, 0);
    return emulate_instruction(v); // A device's memory: whose read may be user space's.
}

static void set_string(struct x86_vcpu *v, const struct pio_string *s)
{
    v->pio_port = s->port;
    v->pio_size = s->bytes;
    v->pio_in = s->in;
    v->pio_rep = s->rep;
    v->pio_linear = s->linear;
    v->pio_address_mask = size_mask(s->address_bytes);
    v->pio_count = 1; // Of OUTS always: each write may have side effects.
}

int pio_string_put(struct x86_vcpu *v, const struct pio_string *s, u64 element)
{
    set_string(v, s);
    memcpy(io_data(v), &element, s->bytes);
    return put_element(v);
}

int pio_string(struct x86_vcpu *v, const struct pio_string *s)
{
    set_string(v, s);
    u64 count = s->rep ? v->gprs.r[GPR_RCX] & v->pio_address_mask : 1;

    if (count == 0)
        return skip_instruction(v);
    return s->in ? string_in(v, count, (vcpu_rflags(v) & X86_RFLAGS_DF) != 0) : string_out(v);
}

// Address size, which the exit tells where the processor says so (SDM 27.2.5, table 27-8, A.1); else that of
// the code segment: an address-size prefix before INS or OUTS is then not seen.
static u8 address_bytes(struct x86_vcpu *v)
{
    if (x86_host_of(v)->caps.basic & VMX_BASIC_INS_OUTS) {
        u32 info = vmcs_read32(VMX_INSTRUCTION_INFO);

        return (u8)(2u << ((info & INSN_INFO_ADDR_SIZE_MASK) >> INSN_INFO_ADDR_SIZE_SHIFT));
    }
    return vcpu_64bit(v) ? 8 : vcpu_segment_ar(v, SEG_CS) & AR_DB ? 4 : 2;
}

int handle_io_instruction(struct x86_vcpu *v)
{
    u64 q = exit_qualification(v);
    u8 bytes = (u8)((q & QUAL_IO_SIZE_MASK) + 1);
    u16 port = (u16)((q & QUAL_IO_PORT_MASK) >> QUAL_IO_PORT_SHIFT);
    bool in = (q & QUAL_IO_IN) != 0;

    if (likely(!(q & QUAL_IO_STRING)))
        return pio_plain(v, port, bytes, in);
    return pio_string(v, &(struct pio_string){.port = port,
                                              .bytes = bytes,
                                              .in = in,
                                              .rep = (q & QUAL_IO_REP) != 0,
                                              .address_bytes = address_bytes(v),
                                              .linear = vmcs_read(GUEST_LINEAR_ADDRESS)});
}
