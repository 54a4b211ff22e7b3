// SPDX-License-Identifier: Apache-2.0
// VMX instructions (SDM ch. 30), one C function each. Processors without VMX: #UD is an assertion of the
// model, hv must look at CPUID first.
#ifndef HV_HW_VMX_H
#define HV_HW_VMX_H

#include "hv/hw/types.h"

// SDM 30.2, conventions: VMsucceed, VMfailInvalid (CF), VMfailValid (ZF; number in VM_INSTRUCTION_ERROR).
enum hw_vmx_status { HW_VMX_OK, HW_VMX_FAIL_INVALID, HW_VMX_FAIL_VALID };

// The registers that VM entry and exit leave to software (SDM 26.3.2, 27.3): index is the x86 encoding
// (0 RAX, 1 RCX, 2 RDX, 3 RBX, 4 unused (RSP is in the VMCS), 5 RBP, 6 RSI, 7 RDI, 8..15), and CR2.
struct hw_gprs {
    u64 r[16];
    u64 cr2;
};

enum hw_vmx_status hw_vmxon(hpa_t region);
enum hw_vmx_status hw_vmxoff(void);
enum hw_vmx_status hw_vmclear(hpa_t vmcs);
enum hw_vmx_status hw_vmptrld(hpa_t vmcs);
hpa_t hw_vmptrst(void);
// `field` is the encoding of SDM appendix B (spec/vmcs_fields.def).
enum hw_vmx_status hw_vmread(u32 field, u64 *value);
enum hw_vmx_status hw_vmwrite(u32 field, u64 value);

// VMLAUNCH / VMRESUME. HW_VMX_OK: the guest ran and a VM exit (or an entry failure exit, bit 31 of
// VM_EXIT_REASON) brought the processor to HOST_RIP, which is where the call returns; host state is as
// SDM 27.5 leaves it, interrupts disabled. `gprs` are loaded by the caller's entry code before and saved by
// it after: the processor's part here. Otherwise nothing of the guest ran.
enum hw_vmx_status hw_vmlaunch(struct hw_gprs *gprs);
enum hw_vmx_status hw_vmresume(struct hw_gprs *gprs);

// INVEPT type 1 single-context (EPTP), 2 all-context. INVVPID type 0 address, 1 single-context, 2 all,
// 3 single-context retaining globals. SDM 30.3, 28.4.3.1.
enum hw_vmx_status hw_invept(u64 type, u64 eptp);
enum hw_vmx_status hw_invvpid(u64 type, u16 vpid, u64 linear);

#endif
