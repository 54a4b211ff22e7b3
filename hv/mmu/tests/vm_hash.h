// SPDX-License-Identifier: Apache-2.0
// A hash over what a VM's calls may change: slots, dirty bitmaps and rings, stage-2 tables, modes of logging.
#ifndef HV_MMU_TESTS_VM_HASH_H
#define HV_MMU_TESTS_VM_HASH_H

#include "hv/core/vm.h"

u64 vm_hash(struct vm *vm);

#endif
