// SPDX-License-Identifier: Apache-2.0
// A guest hypervisor (L1) on the fake hardware: VMX offered, its instructions, and an L2 that touches memory.
#ifndef HV_X86_TESTS_NESTED_FIXTURE_H
#define HV_X86_TESTS_NESTED_FIXTURE_H

#include "hv/x86/nested_state.h"
#include "hv/x86/tests/vm_fixture.h"

#define OK 0
#define FAIL_INVALID 1000 // CF.
#define FAULT 2000        // #UD or #GP.

struct vmx_insn {
    u32 reason;
    u64 operand; // Pointer, or field in RDX.
    u64 value;   // VMWRITE.
    int expect;  // OK, FAIL_INVALID, FAULT or a VM-instruction error.
};
// What the instruction did. vCPU loaded.
int run_vmx_insn(const struct vmx_insn *row);
void put_revision(u64 at, u32 revision);
// Capability MSRs and CPUID with VMX, 64-bit mode, revisions at 0x1000, 0x2000 and a wrong one at 0x3000.
// Loads the vCPU.
void offer_vmx(void);

// L1 with a VMCS for an L2 in 64-bit mode; eptp12 0: without EPT. Not loaded afterwards.
void nested_start(u64 eptp12);
// L1 enters L2, which touches `gpa` (QUAL_EPT_*), as an exit of EPT02 shows it; then both are over. HV_RUN's
// result. V12(VM_EXIT_REASON) is what L1 saw last: TRIPLE_FAULT if L2's access was not L1's to see.
s64 l2_access(u64 gpa, u64 qualification);

#endif
