// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/guest_access.h"
#include "hv/core/vm.h"
#include "hv/hw/guest.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/alu.h"
#include "hv/x86/guest_walk.h"
#include "hv/x86/regs.h"

enum guest_access_result guest_translate_linear(struct x86_vcpu *v, u64 linear, u32 access, u64 *out)
{
    u32 error_code = access;

    if (hw_guest_is_stream()) {
        if (v->vcpu.mmu->shadowing)
            return GUEST_ACCESS_NO_MEMORY; // An address of L2's, which L1's tables translate.
        if (hw_guest_translate(linear, out))
            return GUEST_ACCESS_DONE;
    } else {
        switch (guest_walk(v, linear, access | (vcpu_cpl(v) == 3 ? PFERR_USER : 0), out, &error_code)) {
        case WALK_DONE:
            return GUEST_ACCESS_DONE;
        case WALK_NESTED:
            return GUEST_ACCESS_NO_MEMORY;
        case WALK_FAULT:
            break;
        }
    }
    queue_page_fault(v, linear, error_code);
    return GUEST_ACCESS_FAULT;
}

// Up to two pages' parts.
static enum guest_access_result translate_parts(struct x86_vcpu *v, u64 linear, unsigned bytes, u32 access,
                                                u64 at[2], unsigned part[2])
{
    part[0] = (unsigned)min_u64(bytes, PAGE_SIZE - (linear & ~PAGE_MASK));
    part[1] = bytes - part[0];
    enum guest_access_result r = guest_translate_linear(v, linear, access, &at[0]);

    if (r != GUEST_ACCESS_DONE || part[1] == 0)
        return r;
    return guest_translate_linear(v, linear + part[0], access, &at[1]);
}

enum guest_access_result guest_read_linear(struct x86_vcpu *v, u64 linear, void *to, unsigned bytes)
{
    unsigned part[2];
    u64 at[2];

    if (hw_guest_is_stream()) { // Its operands are no memory of the VM.
        if (hw_guest_read_operand(linear, to, bytes))
            return GUEST_ACCESS_DONE;
        queue_page_fault(v, linear, 0);
        return GUEST_ACCESS_FAULT;
    }
    enum guest_access_result r = translate_parts(v, linear, bytes, 0, at, part);

    if (r != GUEST_ACCESS_DONE)
        return r;
    if (vm_read_guest(v->vcpu.vm, gpa(at[0]), to, part[0]) != 0 ||
        (part[1] != 0 && vm_read_guest(v->vcpu.vm, gpa(at[1]), (u8 *)to + part[0], part[1]) != 0))
        return GUEST_ACCESS_NO_MEMORY;
    return GUEST_ACCESS_DONE;
}

enum guest_access_result guest_write_linear(struct x86_vcpu *v, u64 linear, const void *from, unsigned bytes)
{
    unsigned part[2];
    u64 at[2];
    enum guest_access_result r = translate_parts(v, linear, bytes, PFERR_WRITE, at, part);

    if (r != GUEST_ACCESS_DONE)
        return r;
    if (vm_write_guest(v->vcpu.vm, gpa(at[0]), from, part[0]) != 0 ||
        (part[1] != 0 && vm_write_guest(v->vcpu.vm, gpa(at[1]), (const u8 *)from + part[0], part[1]) != 0))
        return GUEST_ACCESS_NO_MEMORY;
    return GUEST_ACCESS_DONE;
}

// --- Operands of exits.

u64 guest_operand_linear(struct x86_vcpu *v, u32 info)
{
    enum x86_segment segment = (enum x86_segment)((info & INSN_INFO_SEG_MASK) >> INSN_INFO_SEG_SHIFT);
    u64 address = exit_qualification(v); // Displacement.

    if ((info & INSN_INFO_NO_BASE) == 0)
        address += vcpu_gpr(v, (info & INSN_INFO_BASE_MASK) >> INSN_INFO_BASE_SHIFT);
    if ((info & INSN_INFO_NO_INDEX) == 0)
        address += vcpu_gpr(v, (info & INSN_INFO_INDEX_MASK) >> INSN_INFO_INDEX_SHIFT)
                   << (info & INSN_INFO_SCALE_MASK);
    address &= size_mask(2u << ((info & INSN_INFO_ADDR_SIZE_MASK) >> INSN_INFO_ADDR_SIZE_SHIFT));
    if (!vcpu_64bit(v))
        return (address + vcpu_segment_base(v, segment)) & 0xffffffff;
    // In 64-bit mode only FS and GS have a base (SDM 3.4.4).
    return segment == SEG_FS || segment == SEG_GS ? address + vcpu_segment_base(v, segment) : address;
}

// SDM vol. 1 3.3.7.1.
static bool good_operand(struct x86_vcpu *v, u32 info, u64 linear)
{
    if (!vcpu_64bit(v) || is_canonical(linear))
        return true;
    queue_exception_e(v, (info & INSN_INFO_SEG_MASK) >> INSN_INFO_SEG_SHIFT == SEG_SS ? SS_VECTOR : GP_VECTOR,
                      0);
    return false;
}

// Where no memory is, an operand reads as ones and writes are lost, as on a bus where nobody answers.
bool guest_read_operand(struct x86_vcpu *v, u32 info, void *to, unsigned bytes)
{
    u64 linear = guest_operand_linear(v, info);

    if (!good_operand(v, info, linear))
        return false;
    switch (guest_read_linear(v, linear, to, bytes)) {
    case GUEST_ACCESS_DONE:
        return true;
    case GUEST_ACCESS_FAULT:
        return false;
    case GUEST_ACCESS_NO_MEMORY:
        break;
    }
    for (unsigned i = 0; i < bytes; i++)
        ((u8 *)to)[i] = 0xff;
    return true;
}

bool guest_write_operand(struct x86_vcpu *v, u32 info, const void *from, unsigned bytes)
{
    u64 linear = guest_operand_linear(v, info);

    return good_operand(v, info, linear) && guest_write_linear(v, linear, from, bytes) != GUEST_ACCESS_FAULT;
}
