// SPDX-License-Identifier: Apache-2.0
// The rules of 32-bit, PAE, 4-level and 5-level paging (SDM 4.3 to 4.8): pure functions of entries and
// registers.
//
// Does not model: supervisor protection keys, shadow stacks, HLAT. Layouts: spec/x86_bits.h.
#ifndef MODELS_MMU_PAGING_H
#define MODELS_MMU_PAGING_H

#include <stdbool.h>
#include <stdint.h>

#define PAGING_LEVELS_32 2u  // 32-bit paging: entries of 4 bytes, linear addresses of 32 bits
#define PAGING_LEVELS_PAE 3u // PAE paging: the tables' third level is in the PDPTE registers

struct paging {
    uint64_t cr3;
    uint64_t pdpte[4];     // The PDPTE registers, of PAE paging (SDM 4.4.1)
    uint32_t pkru;         // SDM 4.6.2
    uint8_t levels;        // 2, 3, 4, 5; 0: linear addresses are (guest-)physical ones ...
    bool off;              // ... because CR0.PG is 0: then of 32 bits. False: because nobody asks for paging
    bool wp;               // CR0.WP
    bool nxe;              // IA32_EFER.NXE
    bool pse, pge;         // CR4
    bool smep, smap, pke;  // CR4
    bool pages_1g, pse_36; // CPUID.80000001H:EDX.Page1GB, CPUID.01H:EDX.PSE-36
};

// Whose access it is (SDM 4.6): by CPL and, of supervisors, RFLAGS.AC. The processor's own accesses (GDT,
// LDT, IDT, TSS), whatever CPL and AC are, are of MMU_SUPERVISOR: implicit supervisor-mode accesses.
enum mmu_mode { MMU_SUPERVISOR, MMU_USER, MMU_SUPERVISOR_AC, MMU_MODES };

// The level of the table that CR3 (PAE paging: a PDPTE register) names, and its guest-physical address.
// False: the PDPTE register is not present.
unsigned paging_top(const struct paging *p);
bool paging_root(const struct paging *p, uint64_t linear, uint64_t *gpa);
// Of an entry for `linear` in a table of `level`: its offset in bytes, and the bits of what it maps
// (12, 21 or 22, 30 ..).
uint64_t paging_offset(const struct paging *p, uint64_t linear, unsigned level);
unsigned paging_bits(const struct paging *p, unsigned level);
// The entry at guest-physical address `gpa`, of the eight aligned bytes `bytes` around it; and those bytes
// with `set` in it.
uint64_t paging_entry(const struct paging *p, uint64_t gpa, uint64_t bytes);
uint64_t paging_entry_set(const struct paging *p, uint64_t gpa, uint64_t bytes, uint64_t set);
// Does this entry of `level` map a page? 1 always, 2 and 3 by the PS flag.
bool paging_is_leaf(const struct paging *p, uint64_t entry, unsigned level);
// Where the table or page lies that the entry names.
uint64_t paging_table(const struct paging *p, uint64_t entry);
uint64_t paging_page(const struct paging *p, uint64_t entry, unsigned level);
// A present entry's bits that must be 0 and are not (SDM tables 4-4 to 4-6, 4-9 to 4-11, 4-14 to 4-20).
uint64_t paging_reserved_set(const struct paging *p, uint64_t entry, unsigned level, unsigned phys_bits);
// The same of a PDPTE that is to be loaded (SDM 4.4.1, table 4-8).
uint64_t paging_pdpte_reserved_set(uint64_t entry, unsigned phys_bits);
// Is the address one that paging translates: canonical (SDM 3.3.7.1), or of 32 bits?
bool paging_canonical(uint64_t linear, unsigned levels);
// What the entry takes away from `rights` (enum mmu_right): R/W, U/S, XD.
uint16_t paging_rights(const struct paging *p, uint16_t rights, uint64_t entry);
// The protection key of a page by its entry, in its place in an enum mmu_right.
uint16_t paging_key(const struct paging *p, uint64_t entry);

// What an access demands of the guest's tables (SDM 4.6).
struct paging_demand {
    uint16_t need, forbid; // enum mmu_right
    uint16_t keys;         // Bit k: not of user-mode pages of protection key k
};
// `access`: enum ept_access bits.
struct paging_demand paging_demand(const struct paging *p, unsigned access, enum mmu_mode mode);
// Does the page's key forbid it?
bool paging_key_denies(const struct paging_demand *d, uint16_t rights);
bool paging_allows(const struct paging_demand *d, uint16_t rights);
// Error code of a page fault (SDM 4.7) but P, RSVD and PK.
uint32_t paging_error_code(const struct paging *p, unsigned access, enum mmu_mode mode);

#endif
