// SPDX-License-Identifier: Apache-2.0
// What tests of stage 2 share: faults of the guest, and a look at the entries.
#ifndef HV_MMU_TESTS_MMU_FIXTURE_H
#define HV_MMU_TESTS_MMU_FIXTURE_H

#include "hv/mmu/mmu.h"
#include "hv/x86/tests/vm_fixture.h"

struct vm *vm_of(void);
// The entry that covers gfn, and its level.
u64 spte_at(gfn_t gfn, unsigned *level);
// The guest accesses gpa: QUAL_EPT_*. Runs until user space is needed.
void fault(u64 gpa, u64 qualification);
// The same through an entry that says device memory; of the last address that fault() had, or this one.
void set_fault_gpa(u64 gpa);
void misconfig(struct hw_gprs *r);
// Maps the range ahead by HV_PRE_FAULT_MEMORY, all of it.
void prefault(u64 gpa, u64 bytes);

#endif
