// SPDX-License-Identifier: Apache-2.0
// The rules of 4-level and 5-level paging (SDM 4.5 to 4.8): pure functions of entries and registers.
//
// Does not model: 32-bit and PAE paging, protection keys, shadow stacks, HLAT. Layouts: spec/x86_bits.h.
#ifndef MODELS_MMU_PAGING_H
#define MODELS_MMU_PAGING_H

#include <stdbool.h>
#include <stdint.h>

struct paging {
    uint64_t cr3;
    uint8_t levels;       // 4, 5; 0: linear addresses are (guest-)physical ones
    bool wp;              // CR0.WP
    bool nxe;             // IA32_EFER.NXE
    bool pge, smep, smap; // CR4
    bool pages_1g;        // CPUID.80000001H:EDX.Page1GB
    bool ac;              // RFLAGS.AC: supervisor data accesses may touch user pages in spite of SMAP
};

// Does this entry of `level` map a page? 1 always, 2 and 3 by the PS flag.
bool paging_is_leaf(uint64_t entry, unsigned level);
// A present entry's bits that must be 0 and are not (SDM 4.5.4, tables 4-14 to 4-20).
uint64_t paging_reserved_set(const struct paging *p, uint64_t entry, unsigned level, unsigned phys_bits);
// Is the address canonical (SDM 3.3.7.1)?
bool paging_canonical(uint64_t linear, unsigned levels);
// What the entry takes away from `rights` (enum mmu_right): R/W, U/S, XD.
uint16_t paging_rights(const struct paging *p, uint16_t rights, uint64_t entry);
// Rights that an access (enum ept_access bits) needs, and must not meet, of the guest's tables (SDM 4.6).
void paging_demands(const struct paging *p, unsigned access, bool user, uint16_t *need, uint16_t *forbid);
// Error code of a page fault (SDM 4.7) but P and RSVD.
uint32_t paging_error_code(const struct paging *p, unsigned access, bool user);

#endif
