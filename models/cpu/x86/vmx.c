// SPDX-License-Identifier: Apache-2.0
// The VMX instructions in root operation (SDM ch. 30): pointers, states and VMfail numbers.
#include "hv/hw/trace.h"
#include "models/cpu/x86/entry_checks.h"
#include "models/cpu/x86/trace_exit.h"
#include "models/cpu/x86/x86_state.h"

#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include <assert.h>

#define LINE_BYTES 64u

static struct pcpu *vmx_instruction(uint64_t cycles)
{
    struct pcpu *c = x86_instruction(cycles, false);

    // hv asked CPUID first: executing these without VMX is a bug of ours.
    assert((c->x86->cr[4] & X86_CR4_VMXE) && "#UD: VMX instruction with CR4.VMXE = 0");
    return c;
}

static enum hw_vmx_status fail_invalid(void)
{
    return HW_VMX_FAIL_INVALID;
}

// VMfail: with a current VMCS the number goes there (SDM 30.2).
static enum hw_vmx_status fail(struct pcpu *c, enum vm_error error)
{
    struct vmx *v = &c->x86->vmx;

    if (v->current.hpa == VMX_NO_POINTER)
        return fail_invalid();
    vmcs_put(v, VM_INSTRUCTION_ERROR, (uint64_t)error);
    return HW_VMX_FAIL_VALID;
}

void vmx_create(struct pcpu *c)
{
    vmcs_layout_make(&c->x86->vmx.layout, c->uarch);
}

void vmx_reset(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    struct vmcs_layout layout = v->layout;
    struct interp *interp = v->interp;
    struct guest_observer *observer = v->observer;

    memset(v, 0, sizeof *v);
    v->cpu = c;
    v->interp = interp;
    v->observer = observer;
    v->layout = layout;
    v->mxcsr = 0x1f80; // SDM vol. 1 10.2.3: all exceptions masked.
    x87_init(&v->x87);
    v->current.hpa = v->shadow.hpa = v->vmxon_pointer = VMX_NO_POINTER;
}

void vmx_destroy(struct vmx *v)
{
    (void)v;
}

uint64_t vmx_cr0_freed(const struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;
    bool unrestricted = v->in_guest && (v->ctl.cpu2 & CPU2_UNRESTRICTED_GUEST);

    return unrestricted ? X86_CR0_PE | X86_CR0_PG : 0;
}

struct vmcs_ref vmcs_ref_at(const struct pcpu *c, uint64_t hpa)
{
    return (struct vmcs_ref){hpa, mem_hpa_to_ptr(c, hpa, VMX_REGION_BYTES)};
}

static bool address_valid(const struct pcpu *c, uint64_t hpa)
{
    return (hpa & 0xfff) == 0 && hpa >> c->uarch->address.physical_bits == 0;
}

// The lines of a region go between memory and the processor's VMCS cache.
static void touch_region(struct pcpu *c, uint64_t hpa, enum mem_access_kind kind)
{
    for (uint32_t at = 0; at < c->x86->vmx.layout.bytes; at += LINE_BYTES)
        mem_access(c, hpa + at, 8, kind);
}

enum hw_vmx_status hw_vmxon(hpa_t region)
{
    struct pcpu *c = vmx_instruction(pcpu_current->uarch->vmx.vmxon_cycles);
    struct vmx *v = &c->x86->vmx;
    struct vmcs_ref r;

    if (v->on)
        return fail(c, VMERR_VMXON_IN_ROOT);
    // #GP(0) by IA32_FEATURE_CONTROL and the fixed bits (SDM 30.3, VMXON): hv's duty to look first.
    assert((MSR_VALUE(c, IA32_FEATURE_CONTROL) & 5) == 5 && "#GP: VMXON without IA32_FEATURE_CONTROL");
    assert((~c->x86->cr[0] & c->uarch->vmx_cap.cr0_fixed0) == 0 && "#GP: VMXON with CR0 unsupported");
    if (!address_valid(c, region.v))
        return fail_invalid();
    mem_store_drain(c);
    r = vmcs_ref_at(c, region.v);
    mem_access(c, region.v, 4, MEM_LOAD);
    if (!r.mem || vmcs_header32(&r, 0) != c->uarch->vmx_cap.revision)
        return fail_invalid(); // Bit 31 set counts as foreign.
    v->on = true;
    v->epoch++;
    v->vmxon_pointer = region.v;
    v->current = (struct vmcs_ref){VMX_NO_POINTER, NULL};
    return HW_VMX_OK;
}

enum hw_vmx_status hw_vmxoff(void)
{
    struct pcpu *c = vmx_instruction(pcpu_current->uarch->vmx.vmxoff_cycles);
    struct vmx *v = &c->x86->vmx;

    assert(v->on && "#UD: VMXOFF outside of VMX operation");
    v->on = false;
    v->current = (struct vmcs_ref){VMX_NO_POINTER, NULL};
    v->vmxon_pointer = VMX_NO_POINTER;
    return HW_VMX_OK;
}

enum hw_vmx_status hw_vmclear(hpa_t vmcs)
{
    struct pcpu *c = vmx_instruction(pcpu_current->uarch->vmx.vmclear_cycles);
    struct vmx *v = &c->x86->vmx;
    struct vmcs_ref r;

    assert(v->on && "#UD: VMCLEAR outside of VMX operation");
    if (!address_valid(c, vmcs.v))
        return fail(c, VMERR_VMCLEAR_BAD_ADDRESS);
    if (vmcs.v == v->vmxon_pointer)
        return fail(c, VMERR_VMCLEAR_VMXON_POINTER);
    mem_store_drain(c);
    r = vmcs_ref_at(c, vmcs.v);
    if (!r.mem)
        return fail(c, VMERR_VMCLEAR_BAD_ADDRESS);
    touch_region(c, vmcs.v, MEM_STORE);
    vmcs_set_header32(&r, VMCS_LAUNCH_STATE, LAUNCH_CLEAR);
    vmcs_set_header32(&r, VMCS_OWNER, 0);
    if (v->current.hpa == vmcs.v)
        v->current = (struct vmcs_ref){VMX_NO_POINTER, NULL};
    return HW_VMX_OK;
}

enum hw_vmx_status hw_vmptrld(hpa_t vmcs)
{
    struct pcpu *c = vmx_instruction(pcpu_current->uarch->vmx.vmptrld_cycles);
    struct vmx *v = &c->x86->vmx;
    struct vmcs_ref r;
    uint32_t id, owner;

    assert(v->on && "#UD: VMPTRLD outside of VMX operation");
    if (!address_valid(c, vmcs.v))
        return fail(c, VMERR_VMPTRLD_BAD_ADDRESS);
    if (vmcs.v == v->vmxon_pointer)
        return fail(c, VMERR_VMPTRLD_VMXON_POINTER);
    mem_store_drain(c);
    r = vmcs_ref_at(c, vmcs.v);
    if (!r.mem)
        return fail(c, VMERR_VMPTRLD_BAD_ADDRESS);
    id = vmcs_header32(&r, 0);
    if ((id & VMCS_REVISION_MASK) != c->uarch->vmx_cap.revision)
        return fail(c, VMERR_VMPTRLD_BAD_REVISION);
    if ((id & VMCS_SHADOW_INDICATOR) && !(c->uarch->vmx_cap.proc2_allowed1 & CPU2_VMCS_SHADOWING))
        return fail(c, VMERR_VMPTRLD_BAD_REVISION);
    owner = vmcs_header32(&r, VMCS_OWNER);
    // Active on two processors: the manual leaves the behaviour undefined (SDM 24.11.1); a named violation.
    if (owner && owner != c->index + 1)
        trace_vmx_violation(c, "VMCS is active on another processor", vmcs.v, owner - 1);
    if (v->current.hpa != vmcs.v)
        touch_region(c, vmcs.v, MEM_LOAD);
    vmcs_set_header32(&r, VMCS_OWNER, c->index + 1);
    v->current = r;
    return HW_VMX_OK;
}

hpa_t hw_vmptrst(void)
{
    struct pcpu *c = vmx_instruction(pcpu_current->uarch->vmx.vmptrst_cycles);

    assert(c->x86->vmx.on && "#UD: VMPTRST outside of VMX operation");
    return hpa(c->x86->vmx.current.hpa);
}

enum hw_vmx_status hw_vmread(u32 field, u64 *value)
{
    struct pcpu *c = vmx_instruction(pcpu_current->uarch->vmx.vmread_cycles);
    struct vmx *v = &c->x86->vmx;
    enum vm_error error;

    assert(v->on && "#UD: VMREAD outside of VMX operation");
    if (v->current.hpa == VMX_NO_POINTER)
        return fail_invalid();
    error = vmcs_access_read(v, &v->current, field, value);
    return error == VMERR_NONE ? HW_VMX_OK : fail(c, error);
}

enum hw_vmx_status hw_vmwrite(u32 field, u64 value)
{
    struct pcpu *c = vmx_instruction(pcpu_current->uarch->vmx.vmwrite_cycles);
    struct vmx *v = &c->x86->vmx;
    enum vm_error error;

    assert(v->on && "#UD: VMWRITE outside of VMX operation");
    if (v->current.hpa == VMX_NO_POINTER)
        return fail_invalid();
    error = vmcs_access_write(v, &v->current, c->uarch, field, value);
    if (error != VMERR_NONE)
        return fail(c, error);
    hw_trace(TP_VMCS_WRITE, field, value, 0, 0, 0, 0);
    return HW_VMX_OK;
}

// --- VM entries. ---

// SDM 26.1 and the first lines of VMLAUNCH's operation.
static enum vm_error launch_state_error(const struct pcpu *c, bool launch)
{
    const struct vmx *v = &c->x86->vmx;
    uint32_t state = vmcs_header32(&v->current, VMCS_LAUNCH_STATE);
    uint64_t epoch;

    if (launch)
        return state == LAUNCH_CLEAR ? VMERR_NONE : VMERR_VMLAUNCH_NOT_CLEAR;
    if (state != LAUNCH_LAUNCHED)
        return VMERR_VMRESUME_NOT_LAUNCHED;
    memcpy(&epoch, v->current.mem + VMCS_EPOCH, sizeof epoch);
    return epoch == v->epoch ? VMERR_NONE : VMERR_VMRESUME_AFTER_VMXOFF;
}

static enum hw_vmx_status enter(struct hw_gprs *gprs, bool launch)
{
    struct pcpu *c = vmx_instruction(0);
    struct vmx *v = &c->x86->vmx;
    enum vm_error error;
    uint64_t begin;

    assert(v->on && !v->in_guest && "#UD: VM entry outside of VMX root operation");
    mem_store_drain(c);
    begin = c->now_ticks;
    if (v->current.hpa == VMX_NO_POINTER || (vmcs_header32(&v->current, 0) & VMCS_SHADOW_INDICATOR))
        return fail_invalid();
    error = launch_state_error(c, launch);
    if (error == VMERR_NONE)
        error = entry_check_controls_and_host(c);
    if (error != VMERR_NONE) {
        pcpu_charge_cycles(c, c->uarch->vmx.entry_fail_cycles);
        return fail(c, error);
    }
    pcpu_charge_cycles(c, c->uarch->vmx.entry_cycles + (launch ? c->uarch->vmx.launch_extra_cycles : 0));
    v->gpr = *gprs;
    c->x86->cr[2] = gprs->cr2;
    if (vmx_load_guest(c)) {
        if (launch) {
            vmcs_set_header32(&v->current, VMCS_LAUNCH_STATE, LAUNCH_LAUNCHED);
            memcpy(v->current.mem + VMCS_EPOCH, &v->epoch, sizeof v->epoch);
        }
        trace_vm_entry(c, begin);
        vmx_run_guest(c);
    } else {
        trace_vm_entry_failed(c, begin);
    }
    vmx_do_exit(c);
    v->gpr.r[4] = gprs->r[4]; // RSP is the VMCS's.
    *gprs = v->gpr;
    gprs->cr2 = c->x86->cr[2];
    pcpu_checkpoint(c);
    return HW_VMX_OK;
}

enum hw_vmx_status hw_vmlaunch(struct hw_gprs *gprs)
{
    return enter(gprs, true);
}

enum hw_vmx_status hw_vmresume(struct hw_gprs *gprs)
{
    return enter(gprs, false);
}

// --- INVEPT, INVVPID (SDM 30.3). ---

enum hw_vmx_status hw_invept(u64 type, u64 eptp)
{
    struct pcpu *c = vmx_instruction(pcpu_current->uarch->vmx.invept_cycles);
    uint64_t caps = c->uarch->vmx_cap.ept_vpid;

    mem_store_drain(c);
    if (type == INVEPT_SINGLE && (caps & EPT_CAP_INVEPT_SINGLE)) {
        if (!ept_pointer_valid(eptp, caps, (unsigned)c->uarch->address.physical_bits))
            return fail(c, VMERR_INVEPT_INVVPID_BAD_OPERAND);
        tlb_invept_single(&c->x86->mmu->tlb, EPTP_EP4TA(eptp));
    } else if (type == INVEPT_ALL && (caps & EPT_CAP_INVEPT_ALL)) {
        tlb_invept_all(&c->x86->mmu->tlb);
    } else {
        return fail(c, VMERR_INVEPT_INVVPID_BAD_OPERAND);
    }
    return HW_VMX_OK;
}

enum hw_vmx_status hw_invvpid(u64 type, u16 vpid, u64 linear)
{
    struct pcpu *c = vmx_instruction(pcpu_current->uarch->vmx.invvpid_cycles);
    uint64_t caps = c->uarch->vmx_cap.ept_vpid;

    mem_store_drain(c);
    if (type > INVVPID_SINGLE_RETAIN_GLOBALS || !(caps & (VPID_CAP_ADDRESS << type)) ||
        (type != INVVPID_ALL && vpid == 0) || (type == INVVPID_ADDRESS && !x86_canonical(c, linear)))
        return fail(c, VMERR_INVEPT_INVVPID_BAD_OPERAND);
    if (type == INVVPID_ADDRESS)
        tlb_invvpid_address(&c->x86->mmu->tlb, vpid, linear);
    else if (type == INVVPID_ALL)
        tlb_invvpid_all(&c->x86->mmu->tlb);
    else
        tlb_invvpid_single(&c->x86->mmu->tlb, vpid, type == INVVPID_SINGLE_RETAIN_GLOBALS);
    return HW_VMX_OK;
}
