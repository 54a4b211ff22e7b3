// SPDX-License-Identifier: Apache-2.0
// Port I/O (SDM 27.2.1 table 27-5): to devices in the core, else to user space.
#include "hv/core/vm.h"
#include "hv/hw/guest.h"
#include "hv/lib/string.h"
#include "hv/x86/emulate.h"
#include "hv/x86/exits.h"
#include "hv/x86/lapic.h"

#define PIO_BATCH_BYTES                                                                                      \
    1024u // What fits behind HV_RUN_IO_DATA_OFFSET is more; KVM's page is the bound there.

static u8 *io_data(struct x86_vcpu *v)
{
    return (u8 *)v->vcpu.run + HV_RUN_IO_DATA_OFFSET;
}

static u64 size_mask(unsigned bytes)
{
    return bytes >= 8 ? ~0ull : (1ull << (8 * bytes)) - 1;
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

static int plain_io(struct x86_vcpu *v)
{
    u8 *data = io_data(v);

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

static void advance_string(struct x86_vcpu *v, u32 count)
{
    unsigned reg = v->pio_in ? GPR_RDI : GPR_RSI;
    u64 bytes = (u64)count * v->pio_size;

    v->gprs.r[reg] += vcpu_rflags(v) & X86_RFLAGS_DF ? -bytes : bytes;
    if (v->pio_rep)
        v->gprs.r[GPR_RCX] -= count;
}

// Past the instruction when the count is used up; else it is executed again for the rest.
static int finish_string(struct x86_vcpu *v)
{
    advance_string(v, v->pio_count);
    if (v->pio_rep && v->gprs.r[GPR_RCX] != 0)
        return 1;
    return skip_instruction(v);
}

// What the device gave goes into the guest's memory. Where none is there (a device, a read-only slot) the
// core cannot carry the instruction out: user space must know.
static int complete_string_in(struct x86_vcpu *v)
{
    u64 bytes = (u64)v->pio_count * v->pio_size, part = min_u64(bytes, PAGE_SIZE - (v->pio_gpa & ~PAGE_MASK));
    u64 next = 0;

    trace_pio(v, io_data(v));
    // One element may lie on two pages.
    if (part < bytes && !hw_guest_translate(v->pio_linear + part, &next)) {
        queue_page_fault(v, v->pio_linear + part, PFERR_WRITE);
        return 1;
    }
    if (vm_write_guest(v->vcpu.vm, (gpa_t){v->pio_gpa}, io_data(v), part) != 0 ||
        (part < bytes && vm_write_guest(v->vcpu.vm, (gpa_t){next}, io_data(v) + part, bytes - part) != 0))
        return internal_error(v, HV_INTERNAL_ERROR_EMULATION, 2, v->pio_linear, v->pio_gpa, 0);
    return finish_string(v);
}

// The destination is looked for before the port is read: an instruction that faults has no side effects. Up
// to the end of the page as many elements are fetched as fit, as nothing can happen in between.
static int string_in(struct x86_vcpu *v, u64 count, bool down)
{
    if (v->vcpu.mmu->shadowing)
        return handle_not_modelled(v); // Its destination is an address of L2's, which L1's tables translate.
    if (!hw_guest_translate(v->pio_linear, &v->pio_gpa)) {
        queue_page_fault(v, v->pio_linear, PFERR_WRITE);
        return 1; // The guest executes the instruction again.
    }
    u64 room = min_u64(PIO_BATCH_BYTES, PAGE_SIZE - (v->pio_gpa & ~PAGE_MASK)) / v->pio_size;

    v->pio_count = down || room == 0 ? 1 : (u32)min_u64(count, room);
    if (in_core(v, io_data(v)))
        return complete_string_in(v);
    return to_user_space(v, complete_string_in);
}

static int string_out(struct x86_vcpu *v)
{
    u8 *data = io_data(v);

    for (u32 i = 0; i < v->pio_count; i++)
        if (!hw_guest_read_operand(v->pio_linear + (u64)i * v->pio_size, data + i * v->pio_size,
                                   v->pio_size)) {
            queue_page_fault(v, v->pio_linear + (u64)i * v->pio_size, 0);
            return 1;
        }
    trace_pio(v, data);
    if (in_core(v, data))
        return finish_string(v);
    return to_user_space(v, finish_string);
}

static int string_io(struct x86_vcpu *v, bool rep)
{
    u64 count = rep ? v->gprs.r[GPR_RCX] : 1;
    bool down = (vcpu_rflags(v) & X86_RFLAGS_DF) != 0;

    v->pio_rep = rep;
    if (count == 0)
        return skip_instruction(v);
    v->pio_linear = vmcs_read(GUEST_LINEAR_ADDRESS);
    if (v->pio_in)
        return string_in(v, count, down);
    v->pio_count = 1; // Each write may have side effects.
    return string_out(v);
}

int handle_io_instruction(struct x86_vcpu *v)
{
    u64 q = exit_qualification(v);

    v->pio_size = (u32)(q & QUAL_IO_SIZE_MASK) + 1;
    v->pio_port = (u16)((q & QUAL_IO_PORT_MASK) >> QUAL_IO_PORT_SHIFT);
    v->pio_in = (q & QUAL_IO_IN) != 0;
    if (unlikely(q & QUAL_IO_STRING))
        return string_io(v, (q & QUAL_IO_REP) != 0);
    return plain_io(v);
}
