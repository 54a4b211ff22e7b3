// SPDX-License-Identifier: Apache-2.0
// A guest's x87, SSE and PKRU registers (KVM: fpu_load, fpu_put). Neither VM entry nor VM exit touches them
// and the core computes nothing with them, so they belong to the vCPU's thread as general registers do: saved
// when it leaves a processor, loaded when it comes back, wherever in the core or in user space it is.
//
// Only vCPUs that user space has given such registers (HV_SET_XSAVE) have them; the others cost nothing.
#ifndef HV_X86_FPU_H
#define HV_X86_FPU_H

#include "hv/x86/x86.h"

// HV_GET_XSAVE and HV_SET_XSAVE, `arg` the address of a struct hv_xsave in user space. vcpu->mutex held.
// -ENOMEM, -EFAULT, -EINVAL (reserved bits; or none were ever set), -EBUSY (an access that user space carried
// out is to be finished first).
s64 fpu_get(struct x86_vcpu *v, u64 arg);
s64 fpu_set(struct x86_vcpu *v, u64 arg);
void fpu_free(struct x86_vcpu *v);
// HV_GET_XCRS, HV_SET_XCRS: XCR0. -EINVAL: not one that the guest could write.
void fpu_get_xcrs(struct x86_vcpu *v, struct hv_xcrs *out);
int fpu_set_xcrs(struct x86_vcpu *v, const struct hv_xcrs *in);

#endif
