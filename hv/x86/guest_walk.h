// SPDX-License-Identifier: Apache-2.0
// A guest's own page tables, walked by software (SDM 4.3 to 4.7): 32-bit, PAE, four and five levels.
//
// Not modelled: protection keys (no guest is offered them), shadow stacks.
#ifndef HV_X86_GUEST_WALK_H
#define HV_X86_GUEST_WALK_H

#include "hv/x86/x86.h"

// `access`: PFERR_WRITE, PFERR_USER, PFERR_FETCH as in a page fault's error code, and:
#define WALK_IMPLICIT                                                                                        \
    (1u << 16) // The processor's own access to a system structure: SMAP without AC's consent.

enum walk_result {
    WALK_DONE,
    WALK_FAULT,  // #PF, *error_code.
    WALK_NESTED, // L1's EPT does not translate an address of L2's tables.
};
// Sets A and D bits as the processor does. *gpa is L1's where the guest is nested.
enum walk_result guest_walk(struct x86_vcpu *v, u64 linear, u32 access, u64 *gpa, u32 *error_code);

// PDPTEs of PAE paging into the VMCS, as MOV to CR3, CR0, CR4 loads them (SDM 4.4.1). False: #GP.
bool guest_load_pdptrs(struct x86_vcpu *v, u64 cr3);

#endif
