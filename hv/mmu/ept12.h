// SPDX-License-Identifier: Apache-2.0
// EPT tables of a guest hypervisor, walked by software in the VM's memory (SDM 28.3.2, 28.3.3).
#ifndef HV_MMU_EPT12_H
#define HV_MMU_EPT12_H

#include "hv/core/vm.h"
#include "hv/mmu/spte.h"

#define EPT12_LEVELS 4u

enum ept12_fault { EPT12_TRANSLATED, EPT12_VIOLATION, EPT12_MISCONFIG };
struct ept12_walk {
    enum ept12_fault fault;
    u8 rights;      // EPT_RWX, ANDed over the entries.
    u8 level;       // Of the leaf.
    gfn_t gfn;      // L1's page of the access, by 4 KiB.
    u64 invept_seq; // shadow_vm's, before the first entry was read.
    gfn_t root;
    gfn_t table[EPT12_LEVELS]; // By level - 1: where the entry was read.
    u8 above[EPT12_LEVELS];    // By level - 1: rights of the entries above that table.
};

// SDM 28.3.3.1. `caps` is the IA32_VMX_EPT_VPID_CAP that L1 sees, `width` its physical-address width.
bool ept12_misconfigured(u64 entry, unsigned level, u64 caps, unsigned width);
// Translates L2's `address` by the tables of `eptp12`. `access`: EPT_READ, EPT_WRITE, EPT_EXEC. srcu read
// section held; may sleep.
void ept12_walk(struct vm *vm, u64 eptp12, u64 caps, unsigned width, gpa_t address, u64 access,
                struct ept12_walk *w);

#endif
