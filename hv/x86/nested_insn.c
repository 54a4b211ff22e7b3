// SPDX-License-Identifier: Apache-2.0
// Nested VMX: the VMX instructions of L1 (SDM chapter 30), checks in the manual's order.
#include "hv/x86/exits.h"
#include "hv/x86/guest_access.h"
#include "hv/x86/nested_state.h"

#define ARITHMETIC_FLAGS                                                                                     \
    (X86_RFLAGS_CF | X86_RFLAGS_PF | X86_RFLAGS_AF | X86_RFLAGS_ZF | X86_RFLAGS_SF | X86_RFLAGS_OF)

// --- Conventions (SDM 30.2).

static void set_status(struct x86_vcpu *v, u64 flag)
{
    vcpu_set_rflags(v, (vcpu_rflags(v) & ~(u64)ARITHMETIC_FLAGS) | flag);
}

void nested_vmsucceed(struct x86_vcpu *v)
{
    set_status(v, 0);
}

void nested_vmfail_invalid(struct x86_vcpu *v)
{
    set_status(v, X86_RFLAGS_CF);
}

void nested_vmfail_valid(struct x86_vcpu *v, u32 error)
{
    struct nested *n = v->nested;

    if (n->current.v == VMCS12_NONE) {
        nested_vmfail_invalid(v);
        return;
    }
    set_status(v, X86_RFLAGS_ZF);
    V12(n, VM_INSTRUCTION_ERROR) = error;
}

static int succeed(struct x86_vcpu *v)
{
    nested_vmsucceed(v);
    return skip_instruction(v);
}
static int fail_invalid(struct x86_vcpu *v)
{
    nested_vmfail_invalid(v);
    return skip_instruction(v);
}
static int fail(struct x86_vcpu *v, u32 error)
{
    nested_vmfail_valid(v, error);
    return skip_instruction(v);
}
static int fault_gp(struct x86_vcpu *v)
{
    inject_gp(v, 0);
    return 1;
}
static int fault_ud(struct x86_vcpu *v)
{
    inject_ud(v);
    return 1;
}

// --- Operands (SDM 27.2.5).

// The pointer operand of VMXON, VMCLEAR, VMPTRLD.
static bool read_pointer(struct x86_vcpu *v, u64 *pointer)
{
    return guest_read_operand(v, vmcs_read32(VMX_INSTRUCTION_INFO), pointer, 8);
}

static bool good_pointer(const struct x86_vcpu *v, u64 pointer)
{
    return (pointer & (PAGE_SIZE - 1)) == 0 && pointer >> v->maxphyaddr == 0;
}

static bool read_revision(struct x86_vcpu *v, u64 pointer, u32 *revision)
{
    return vm_read_guest(v->vcpu.vm, gpa(pointer), revision, sizeof *revision) == 0;
}

// --- Instructions.

static int handle_vmxon(struct x86_vcpu *v)
{
    u64 cr0 = vcpu_cr0(v), pointer;
    u32 revision;

    if ((vcpu_cr4(v) & X86_CR4_VMXE) == 0 || (cr0 & X86_CR0_PE) == 0 || (vcpu_long_mode(v) && !vcpu_64bit(v)))
        return fault_ud(v);
    if (vcpu_cpl(v) != 0)
        return fault_gp(v);
    if (v->nested != NULL && v->nested->vmxon)
        return fail(v, VMERR_VMXON_IN_ROOT);
    const u64 enabled = FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUTSIDE_SMX;
    if ((v->feature_control & enabled) != enabled)
        return fault_gp(v); // SDM 23.7: firmware has to allow it.
    if ((cr0 & x86_host_of(v)->caps.cr0_fixed0) != x86_host_of(v)->caps.cr0_fixed0)
        return fault_gp(v); // SDM 23.8.
    if (!read_pointer(v, &pointer))
        return 1;
    if (!good_pointer(v, pointer) || !read_revision(v, pointer, &revision) || revision != VMCS12_REVISION)
        return fail_invalid(v);
    if (v->nested == NULL && nested_create(v) < 0)
        return -ENOMEM;
    v->nested->vmxon = true;
    v->nested->vmxon_ptr = gpa(pointer);
    v->nested->current = gpa(VMCS12_NONE);
    return succeed(v);
}

static int handle_vmxoff(struct x86_vcpu *v)
{
    nested_release_vmcs12(v);
    v->nested->vmxon = false;
    make_request(REQ_EVENT, &v->vcpu); // An INIT may have waited for this.
    return succeed(v);
}

static int handle_vmclear(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    u64 pointer;
    u32 clear = 0;

    if (!read_pointer(v, &pointer))
        return 1;
    if (!good_pointer(v, pointer))
        return fail(v, VMERR_VMCLEAR_BAD_ADDRESS);
    if (pointer == n->vmxon_ptr.v)
        return fail(v, VMERR_VMCLEAR_VMXON_POINTER);
    if (pointer == n->current.v)
        nested_release_vmcs12(v);
    (void)vm_write_guest(v->vcpu.vm, gpa(pointer + offsetof(struct vmcs12, launched)), &clear, sizeof clear);
    return succeed(v);
}

static int handle_vmptrld(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    u64 pointer;
    u32 revision;

    if (!read_pointer(v, &pointer))
        return 1;
    if (!good_pointer(v, pointer))
        return fail(v, VMERR_VMPTRLD_BAD_ADDRESS);
    if (pointer == n->vmxon_ptr.v)
        return fail(v, VMERR_VMPTRLD_VMXON_POINTER);
    if (pointer == n->current.v)
        return succeed(v);
    // Memory of nobody reads as ones, which is no revision of ours; a shadow VMCS is not offered.
    if (!read_revision(v, pointer, &revision) || revision != VMCS12_REVISION)
        return fail(v, VMERR_VMPTRLD_BAD_REVISION);
    nested_release_vmcs12(v);
    if (vm_read_guest(v->vcpu.vm, gpa(pointer), n->vmcs12, sizeof *n->vmcs12) != 0)
        return fail(v, VMERR_VMPTRLD_BAD_REVISION);
    n->current = gpa(pointer);
    n->dirty = n->controls_dirty = true;
    n->rare_in_02 = false;
    nested_shadow_enable(v, true);
    nested_shadow_load(v);
    return succeed(v);
}

static int handle_vmptrst(struct x86_vcpu *v)
{
    u64 pointer = v->nested->current.v; // All ones without a current VMCS, as VMCS12_NONE is.

    if (!guest_write_operand(v, vmcs_read32(VMX_INSTRUCTION_INFO), &pointer, sizeof pointer))
        return 1;
    return succeed(v);
}

static bool is_rare(int index)
{
    // VMREADs of what only vmcs02 knows by now. Exit information and COMMON fields are in vmcs12 after every
    // exit.
    static const u8 rare[V12_COUNT] = {
#define COMMON 0
#define RARE 1
#define NESTED_GUEST(name, class) [V12_##name] = class,
#include "hv/x86/nested_guest_fields.def"
#undef COMMON
#undef RARE
    };
    return rare[index] != 0;
}

static u64 operand_mask(struct x86_vcpu *v)
{
    return vcpu_64bit(v) ? ~0ull : 0xffffffffull;
}

static int handle_vmread(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    u32 info = vmcs_read32(VMX_INSTRUCTION_INFO);
    u64 mask = operand_mask(v),
        field = vcpu_gpr(v, (info & INSN_INFO_REG2_MASK) >> INSN_INFO_REG2_SHIFT) & mask;

    if (n->current.v == VMCS12_NONE)
        return fail_invalid(v);
    int index = field >> 32 ? -1 : vmcs12_index((u32)field);
    if (index < 0)
        return fail(v, VMERR_UNSUPPORTED_COMPONENT);
    if (n->rare_in_02 && is_rare(index))
        nested_sync_rare(v);
    u64 value = n->vmcs12->field[index];
    if (VMCS_ENC_HIGH(field))
        value >>= 32;
    value &= mask;
    if (info & INSN_INFO_IS_REG)
        vcpu_set_gpr(v, (info & INSN_INFO_REG1_MASK) >> INSN_INFO_REG1_SHIFT, value);
    else if (!guest_write_operand(v, info, &value, vcpu_64bit(v) ? 8 : 4))
        return 1;
    return succeed(v);
}

// A value as the field's width and kind of access keep it.
static u64 merge_field(u64 old, u32 encoding, u64 value)
{
    if (VMCS_ENC_HIGH(encoding))
        return (old & 0xffffffff) | value << 32;
    switch ((enum vmcs_width)VMCS_ENC_WIDTH(encoding)) {
    case VMCS_WIDTH_16:
        return value & 0xffff;
    case VMCS_WIDTH_32:
        return value & 0xffffffff;
    case VMCS_WIDTH_64:
    case VMCS_WIDTH_NATURAL:
        break;
    }
    return value;
}

static int handle_vmwrite(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    u32 info = vmcs_read32(VMX_INSTRUCTION_INFO);
    u64 mask = operand_mask(v),
        field = vcpu_gpr(v, (info & INSN_INFO_REG2_MASK) >> INSN_INFO_REG2_SHIFT) & mask;
    u64 value = 0;

    if (n->current.v == VMCS12_NONE)
        return fail_invalid(v);
    if (info & INSN_INFO_IS_REG)
        value = vcpu_gpr(v, (info & INSN_INFO_REG1_MASK) >> INSN_INFO_REG1_SHIFT);
    else if (!guest_read_operand(v, info, &value, vcpu_64bit(v) ? 8 : 4))
        return 1;
    int index = field >> 32 ? -1 : vmcs12_index((u32)field);
    if (index < 0)
        return fail(v, VMERR_UNSUPPORTED_COMPONENT);
    if (VMCS_ENC_TYPE(field) == VMCS_TYPE_READ_ONLY)
        return fail(v, VMERR_VMWRITE_READ_ONLY);
    if (is_rare(index)) {
        nested_sync_rare(v); // Or the old value would come back over the new one.
        n->dirty = true;
    } else {
        n->controls_dirty = true;
    }
    n->vmcs12->field[index] = merge_field(n->vmcs12->field[index], (u32)field, value & mask);
    return succeed(v);
}

static u64 invalidation_type(struct x86_vcpu *v, u32 info)
{
    return vcpu_gpr(v, (info & INSN_INFO_REG2_MASK) >> INSN_INFO_REG2_SHIFT) & operand_mask(v);
}

static int handle_invept(struct x86_vcpu *v)
{
    u32 info = vmcs_read32(VMX_INSTRUCTION_INFO);
    u64 type = invalidation_type(v, info);
    struct {
        u64 eptp, reserved;
    } descriptor;

    if (type != INVEPT_SINGLE && type != INVEPT_ALL)
        return fail(v, VMERR_INVEPT_INVVPID_BAD_OPERAND);
    if (!guest_read_operand(v, info, &descriptor, sizeof descriptor))
        return 1;
    u32 error = nested_ept_invalidate(v, type, descriptor.eptp);

    return error == VMERR_NONE ? succeed(v) : fail(v, error);
}

static int handle_invvpid(struct x86_vcpu *v)
{
    u32 info = vmcs_read32(VMX_INSTRUCTION_INFO);
    u64 type = invalidation_type(v, info);
    struct {
        u64 vpid, linear;
    } descriptor;

    if (type > INVVPID_SINGLE_RETAIN_GLOBALS)
        return fail(v, VMERR_INVEPT_INVVPID_BAD_OPERAND);
    if (!guest_read_operand(v, info, &descriptor, sizeof descriptor))
        return 1;
    if (descriptor.vpid >> 16 || (type != INVVPID_ALL && descriptor.vpid == 0) ||
        (type == INVVPID_ADDRESS && !is_canonical(descriptor.linear)))
        return fail(v, VMERR_INVEPT_INVVPID_BAD_OPERAND);
    // L1 and its guests share one tag here, which every nested entry and exit flushes; so this has to flush
    // no more.
    make_request(REQ_TLB_FLUSH_GUEST, &v->vcpu);
    return succeed(v);
}

int nested_handle_insn(struct x86_vcpu *v, u32 reason)
{
    if (reason == EXIT_REASON_VMON)
        return handle_vmxon(v);
    // SDM 30.3: outside of VMX operation none of them exists; before privilege.
    if (!nested_vmx_on(v) || (vcpu_cr0(v) & X86_CR0_PE) == 0 || (vcpu_long_mode(v) && !vcpu_64bit(v)))
        return fault_ud(v);
    if (vcpu_cpl(v) != 0)
        return fault_gp(v);
    switch (reason) {
    case EXIT_REASON_VMOFF:
        return handle_vmxoff(v);
    case EXIT_REASON_VMCLEAR:
        return handle_vmclear(v);
    case EXIT_REASON_VMPTRLD:
        return handle_vmptrld(v);
    case EXIT_REASON_VMPTRST:
        return handle_vmptrst(v);
    case EXIT_REASON_VMREAD:
        return handle_vmread(v);
    case EXIT_REASON_VMWRITE:
        return handle_vmwrite(v);
    case EXIT_REASON_VMLAUNCH:
        return nested_run(v, true);
    case EXIT_REASON_VMRESUME:
        return nested_run(v, false);
    case EXIT_REASON_INVEPT:
        return handle_invept(v);
    case EXIT_REASON_INVVPID:
        return handle_invvpid(v);
    default:
        return handle_not_modelled(v);
    }
}
