// SPDX-License-Identifier: Apache-2.0
// VM instructions in non-root operation, GETSEC and RSM (SDM 25.1.2, 25.1.3, 25.5.6, 30.3; vol. 2, GETSEC).
#include "models/cpu/x86/insn_common.h"

#include "models/cpu/uarch/uarch.h"
#include "models/cpu/x86/interp/flags.h"
#include "models/mem/mem.h"
#include "models/mmu/tlb.h"

#define VMFUNC_EPTP_SWITCHING 0u
#define EPTP_LIST_ENTRIES 512u

// The first lines of their operation (SDM 30.3). Privilege level is looked at after the exit.
static bool undefined(const struct vmx *v)
{
    return !insn_protected(v) || (!v->guest && guest_long(v) && !insn_64(v));
}

enum insn_result insn_vmcall(struct pcpu *c, unsigned length)
{
    pcpu_charge_cycles(c, c->uarch->vmx.vmcall_cycles);
    return insn_exit(c, EXIT_REASON_VMCALL, length);
}

enum insn_result insn_vmx_plain(struct pcpu *c, unsigned length, uint32_t reason)
{
    if (undefined(&c->x86->vmx))
        return insn_fault(c, UD_VECTOR, 0);
    return insn_exit(c, reason, length);
}

enum insn_result insn_vmx_pointer(struct pcpu *c, unsigned length, uint32_t reason,
                                  const struct insn_operand *o)
{
    if (undefined(&c->x86->vmx))
        return insn_fault(c, UD_VECTOR, 0);
    return insn_operand_exit(c, reason, length, o, 0);
}

enum insn_result insn_vmx_invalidate(struct pcpu *c, unsigned length, uint32_t reason, unsigned reg,
                                     const struct insn_operand *o)
{
    if (undefined(&c->x86->vmx))
        return insn_fault(c, UD_VECTOR, 0);
    return insn_operand_exit(c, reason, length, o, reg << INSN_INFO_REG2_SHIFT);
}

// --- VMREAD and VMWRITE of the shadow VMCS. ---

// SDM 25.1.3: without shadowing, for encodings above 14 bits and for set bits of the bitmap.
static bool access_exits(struct pcpu *c, uint64_t field, uint32_t bitmap)
{
    const struct vmx *v = &c->x86->vmx;
    uint64_t bit = field & 0x7fff;

    if (!(v->ctl.cpu2 & CPU2_VMCS_SHADOWING) || field >> 15)
        return true;
    return (mem_read64(c, vmcs_get(v, bitmap) + bit / 64 * 8) >> (bit % 64)) & 1;
}

// VMfail of a shadow access: in the shadow VMCS, as the guest sees it (SDM 30.2).
static void shadow_flags(struct vmx *v, enum vm_error error)
{
    uint64_t flags = 0;

    if (v->shadow.mem == NULL)
        flags = X86_RFLAGS_CF;
    else if (error != VMERR_NONE)
        flags = X86_RFLAGS_ZF;
    flags_set(v, FLAGS_ARITHMETIC, flags);
    if (v->shadow.mem && error != VMERR_NONE)
        vmcs_put_ref(v, &v->shadow, VM_INSTRUCTION_ERROR, (uint64_t)error);
}

static unsigned operand_bytes(const struct vmx *v)
{
    return insn_64(v) ? 8 : 4;
}

enum insn_result insn_vmread(struct pcpu *c, unsigned length, unsigned field, const struct insn_operand *o)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t encoding = insn_mode_reg(v, field), value = 0;
    enum vm_error error = VMERR_NONE;
    enum insn_result r = INSN_DONE;

    if (undefined(v))
        return insn_fault(c, UD_VECTOR, 0);
    if (access_exits(c, encoding, VMREAD_BITMAP))
        return insn_operand_exit(c, EXIT_REASON_VMREAD, length, o, field << INSN_INFO_REG2_SHIFT);
    if (insn_cpl(v))
        return insn_gp(c);
    pcpu_charge_cycles(c, c->uarch->vmx.vmread_cycles);
    if (v->shadow.mem)
        error = vmcs_access_read(v, &v->shadow, encoding, &value);
    if (v->shadow.mem && error == VMERR_NONE)
        r = insn_store(c, length, o, operand_bytes(v), value);
    if (r == INSN_DONE)
        shadow_flags(v, error);
    return r;
}

enum insn_result insn_vmwrite(struct pcpu *c, unsigned length, unsigned field, const struct insn_operand *o)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t encoding = insn_mode_reg(v, field), value = 0;
    enum vm_error error = VMERR_NONE;
    enum insn_result r = INSN_DONE;

    if (undefined(v))
        return insn_fault(c, UD_VECTOR, 0);
    if (access_exits(c, encoding, VMWRITE_BITMAP))
        return insn_operand_exit(c, EXIT_REASON_VMWRITE, length, o, field << INSN_INFO_REG2_SHIFT);
    if (insn_cpl(v))
        return insn_gp(c);
    if (o->memory)
        r = insn_load(c, length, o, 0, operand_bytes(v), &value);
    else
        value = insn_reg(v, o->reg, operand_bytes(v));
    if (r != INSN_DONE)
        return r;
    pcpu_charge_cycles(c, c->uarch->vmx.vmwrite_cycles);
    if (v->shadow.mem)
        error = vmcs_access_write(v, &v->shadow, c->uarch, encoding, value);
    shadow_flags(v, error);
    return r;
}

// --- VMFUNC (SDM 25.5.6). ---

// EPTP switching (SDM 25.5.6.3). False: it makes an exit.
static bool switch_eptp(struct pcpu *c, uint32_t index)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t eptp;

    if (index >= EPTP_LIST_ENTRIES)
        return false;
    eptp = mem_read64(c, vmcs_get(v, EPTP_LIST_ADDRESS) + 8ull * index);
    if (!ept_pointer_valid(eptp, c->uarch->vmx_cap.ept_vpid, (unsigned)c->uarch->address.physical_bits))
        return false;
    vmcs_put(v, EPT_POINTER, eptp);
    guest_space_load(c);
    return true;
}

enum insn_result insn_vmfunc(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;
    uint32_t function = (uint32_t)v->gpr.r[RAX];

    if (!(v->ctl.cpu2 & CPU2_ENABLE_VM_FUNCTIONS) || function > 63)
        return insn_fault(c, UD_VECTOR, 0);
    if (!(vmcs_get(v, VM_FUNCTION_CONTROL) >> function & 1) || function != VMFUNC_EPTP_SWITCHING)
        return insn_exit(c, EXIT_REASON_VMFUNC, length);
    pcpu_charge_cycles(c, c->uarch->vmx.vmfunc_cycles);
    return switch_eptp(c, (uint32_t)v->gpr.r[RCX]) ? INSN_DONE : insn_exit(c, EXIT_REASON_VMFUNC, length);
}

// --- SMX and SMM. ---

enum insn_result insn_getsec(struct pcpu *c, unsigned length)
{
    if (!(c->x86->cr[4] & X86_CR4_SMXE))
        return insn_fault(c, UD_VECTOR, 0);
    return insn_exit(c, EXIT_REASON_GETSEC, length);
}

// There is no system-management mode (SDM vol. 2, RSM).
enum insn_result insn_rsm(struct pcpu *c, unsigned length)
{
    (void)length;
    return insn_fault(c, UD_VECTOR, 0);
}
