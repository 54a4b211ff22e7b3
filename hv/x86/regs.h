// SPDX-License-Identifier: Apache-2.0
// A guest's registers through the caches of struct x86_vcpu. vCPU loaded.
#ifndef HV_X86_REGS_H
#define HV_X86_REGS_H

#include "hv/x86/vmcs.h"

// The VMCS field behind a cached register.
u64 vcpu_cache_fill(struct x86_vcpu *v, enum x86_cached_reg reg);

static inline u64 vcpu_cached(struct x86_vcpu *v, enum x86_cached_reg reg)
{
    if (likely(v->regs_avail & (1u << reg)))
        return v->cached[reg];
    return vcpu_cache_fill(v, reg);
}
static inline u64 vcpu_rip(struct x86_vcpu *v)
{
    return vcpu_cached(v, CACHED_RIP);
}
static inline u64 vcpu_rsp(struct x86_vcpu *v)
{
    return vcpu_cached(v, CACHED_RSP);
}
static inline u64 vcpu_rflags(struct x86_vcpu *v)
{
    return vcpu_cached(v, CACHED_RFLAGS);
}
// Exit information is read only if a handler wants it.
static inline u64 exit_qualification(struct x86_vcpu *v)
{
    return vcpu_cached(v, CACHED_QUALIFICATION);
}
static inline u32 exit_intr_info(struct x86_vcpu *v)
{
    return (u32)vcpu_cached(v, CACHED_EXIT_INTR_INFO);
}
static inline gpa_t exit_gpa(struct x86_vcpu *v)
{
    return gpa(vcpu_cached(v, CACHED_GPA));
}
static inline void vcpu_set_rip(struct x86_vcpu *v, u64 rip)
{
    v->cached[CACHED_RIP] = rip;
    v->regs_avail |= 1u << CACHED_RIP;
    v->regs_dirty |= 1u << CACHED_RIP;
}
static inline void vcpu_set_rsp(struct x86_vcpu *v, u64 rsp)
{
    v->cached[CACHED_RSP] = rsp;
    v->regs_avail |= 1u << CACHED_RSP;
    v->regs_dirty |= 1u << CACHED_RSP;
}
// Also requests EVENT: IF may have been set (catalogue 004-H; this is the one place that owns that
// obligation).
void vcpu_set_rflags(struct x86_vcpu *v, u64 rflags);
// Where IF stays as it is: no event can have become deliverable.
void vcpu_write_rflags(struct x86_vcpu *v, u64 rflags);
// For skip_instruction() where the VMCS's instruction length is not that of the instruction (SDM 27.2.5:
// undefined after EPT misconfigurations and violations).
static inline void vcpu_set_insn_len(struct x86_vcpu *v, unsigned bytes)
{
    v->cached[CACHED_INSN_LEN] = bytes;
    v->regs_avail |= 1u << CACHED_INSN_LEN;
}
// General register n, 0..15, RSP included.
static inline u64 vcpu_gpr(struct x86_vcpu *v, unsigned n)
{
    return likely(n != GPR_RSP) ? v->gprs.r[n] : vcpu_rsp(v);
}
static inline void vcpu_set_gpr(struct x86_vcpu *v, unsigned n, u64 value)
{
    if (unlikely(n == GPR_RSP))
        vcpu_set_rsp(v, value);
    else
        v->gprs.r[n] = value;
}
static inline u64 vcpu_edx_eax(const struct x86_vcpu *v)
{
    return (v->gprs.r[GPR_RDX] << 32) | (u32)v->gprs.r[GPR_RAX];
}
static inline void vcpu_set_edx_eax(struct x86_vcpu *v, u64 value)
{
    v->gprs.r[GPR_RAX] = (u32)value;
    v->gprs.r[GPR_RDX] = value >> 32;
}

// Control registers as the guest sees them.
u64 vcpu_cr0(struct x86_vcpu *v);
u64 vcpu_cr4(struct x86_vcpu *v);
static inline u64 vcpu_cr3(struct x86_vcpu *v)
{
    return vcpu_cached(v, CACHED_CR3);
}
// Architectural checks of MOV to CR (SDM vol. 2); 0, or 1: #GP, nothing changed.
int vcpu_set_cr0(struct x86_vcpu *v, u64 cr0);
// CR0 after LMSW of `source`: PE, MP, EM, TS; it cannot clear PE (SDM vol. 2 LMSW).
static inline u64 vcpu_lmsw(struct x86_vcpu *v, u64 source)
{
    return (vcpu_cr0(v) & ~(X86_CR0_MP | X86_CR0_EM | X86_CR0_TS)) | (source & 0xf);
}
int vcpu_set_cr3(struct x86_vcpu *v, u64 cr3);
int vcpu_set_cr4(struct x86_vcpu *v, u64 cr4);
u64 vcpu_cr8(struct x86_vcpu *v);
int vcpu_set_cr8(struct x86_vcpu *v, u64 cr8);
int vcpu_set_efer(struct x86_vcpu *v, u64 efer, bool host_initiated);
int vcpu_set_xcr0(struct x86_vcpu *v, u64 xcr0);
// Writing through, without checks: VMCS fields, shadows and controls that follow from the value.
void vcpu_write_cr0(struct x86_vcpu *v, u64 cr0);
void vcpu_write_cr3(struct x86_vcpu *v, u64 cr3);
void vcpu_write_cr4(struct x86_vcpu *v, u64 cr4);
void vcpu_write_efer(struct x86_vcpu *v, u64 efer);
// CR4 bits that the guest's CPUID does not offer.
u64 vcpu_cr4_reserved_bits(struct x86_vcpu *v);
// What of CPUID follows from the vCPU's state: OSXSAVE and OSPKE from CR4, APIC from IA32_APIC_BASE
// (SDM 10.4.3), sizes of XSAVE areas from XCR0.
void vcpu_update_cpuid_runtime(struct x86_vcpu *v);
int vcpu_set_dr(struct x86_vcpu *v, unsigned n, u64 value); // 0, or 1: #GP.
u64 vcpu_get_dr(struct x86_vcpu *v, unsigned n);

// Segments.
void vcpu_get_segment(struct x86_vcpu *v, enum x86_segment s, struct hv_segment *out);
void vcpu_set_segment(struct x86_vcpu *v, enum x86_segment s, const struct hv_segment *in);
u64 vcpu_segment_base(struct x86_vcpu *v, enum x86_segment s);
u32 vcpu_segment_ar(struct x86_vcpu *v, enum x86_segment s);
u32 vcpu_segment_limit(struct x86_vcpu *v, enum x86_segment s);
u16 vcpu_segment_selector(struct x86_vcpu *v, enum x86_segment s);
unsigned vcpu_cpl(struct x86_vcpu *v);
static inline bool vcpu_long_mode(const struct x86_vcpu *v)
{
    return (v->efer & EFER_LMA) != 0;
}
bool vcpu_64bit(struct x86_vcpu *v); // 64-bit code segment in long mode.
// CPL must be 0, else #GP is queued and false returned.
bool vcpu_require_cpl0(struct x86_vcpu *v);

// Past the instruction that exited: RIP by the instruction length, STI and MOV SS blocking ends, #DB if TF. 1
// for handlers to return, 0 if user space must know (never at present).
int skip_instruction(struct x86_vcpu *v);
// The same of an instruction that began with these RFLAGS.
void vcpu_pass_instruction(struct x86_vcpu *v, u64 rflags_before);
// The same where RIP and the interrupt shadow after the instruction are known: `shadow` INTERRUPTIBILITY_*.
void vcpu_complete_instruction(struct x86_vcpu *v, u64 rip, u64 rflags_before, u32 shadow);
u32 vcpu_interrupt_shadow(struct x86_vcpu *v); // INTERRUPTIBILITY_STI, _MOV_SS
void vcpu_set_interrupt_shadow(struct x86_vcpu *v, u32 mask);

static inline bool is_canonical(u64 address)
{
    return (u64)((s64)(address << 16) >> 16) == address;
}
// What kvm_entry and kvm_page_fault show: RIP as the core knows it, else as the VMCS has it.
static inline u64 trace_rip(const struct x86_vcpu *v)
{
    return v->regs_avail & (1u << CACHED_RIP) ? v->cached[CACHED_RIP] : HW_TRACE_GUEST_RIP;
}

// Reset state of SDM 9.1.1, table 9-1; INIT keeps some of it.
void vcpu_reset_registers(struct x86_vcpu *v, bool init_event);

// ioctls (state.c).
void vcpu_get_regs(struct x86_vcpu *v, struct hv_regs *out);
int vcpu_set_regs(struct x86_vcpu *v, const struct hv_regs *in);
void vcpu_get_sregs(struct x86_vcpu *v, struct hv_sregs *out);
int vcpu_set_sregs(struct x86_vcpu *v, const struct hv_sregs *in);

#endif
