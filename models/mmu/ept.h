// SPDX-License-Identifier: Apache-2.0
// The extended page table walker: guest-physical to host-physical addresses over tables in host memory.
//
// What the block is: SDM 28.3. Tables of 4 or 5 levels with 4-KByte, 2-MByte and 1-GByte pages; permissions,
// mode-based execute control, accessed and dirty flags, misconfigurations. Every table entry is read through
// the modelled caches, so a walk takes the time that its references take. Layouts of entries:
// spec/vmx_bits.h. Does not model: sub-page write permissions, EPTP switching, virtualization exceptions,
// supervisor shadow stacks. Called by the processor model in non-root operation; simulated time of `c`
// advances.
//
#ifndef MODELS_MMU_EPT_H
#define MODELS_MMU_EPT_H

#include "models/cpu/pcpu.h"
#include "spec/vmx_bits.h"
#include <stdbool.h>
#include <stdint.h>

// Levels of the table that an EPTP names (SDM 24.6.11).
#define EPTP_LEVELS(eptp) ((unsigned)(((eptp) >> 3) & 7u) + 1u)
// What tags cached translations: bits 51:12 of the EPTP (SDM 28.4.1).
#define EPTP_EP4TA(eptp) ((eptp)&EPT_ADDR_MASK)

enum ept_access { EPT_ACCESS_READ = 1, EPT_ACCESS_WRITE = 2, EPT_ACCESS_FETCH = 4 };
enum ept_fault { EPT_TRANSLATED, EPT_FAULT_VIOLATION, EPT_FAULT_MISCONFIG };
// Where a table entry was found; CORE: in another core's cache.
enum ept_where { EPT_WHERE_L1, EPT_WHERE_L2, EPT_WHERE_L3, EPT_WHERE_CORE, EPT_WHERE_MEMORY, EPT_WHERES };

#define EPT_LEVELS_MAX 5u

struct ept_request {
    uint64_t eptp;
    uint64_t gpa;
    unsigned access;        // enum ept_access bits; a read-modify-write sets READ and WRITE
    bool linear_valid;      // The access has a guest-linear address ...
    bool translates_linear; // ... and is to its translation, not to a paging-structure entry of the guest.
    bool user;              // The linear address is a user-mode one: for mode-based execute control.
    bool mode_based_exec;   // That control of the VMCS.
    bool keep_clean;        // No accessed or dirty flag may be set now: the PML log is full (SDM 28.3.6).
    // Rights of the linear address by the guest's tables: bits 11:9 of the qualification, where the processor
    // has advanced exit information and translates_linear is set; 0: no guest tables.
    uint8_t linear_rights; // enum ept_linear
};
enum ept_linear { EPT_LINEAR_USER = 1, EPT_LINEAR_WRITABLE = 2, EPT_LINEAR_XD = 4 };

struct ept_step {
    uint64_t address; // HPA of the entry
    uint64_t entry;   // Its value when read
    uint64_t ticks;   // Of the reference
    uint8_t level;    // 5 or 4 .. 1
    uint8_t where;    // enum ept_where
};

struct ept_walk {
    enum ept_fault fault;
    uint64_t hpa;           // Of the byte, valid if translated
    uint64_t qualification; // Exit qualification of a violation, bits 11:0 (SDM table 27-7)
    uint64_t entry_address; // The entry that ended the walk
    uint8_t level;          // Its level
    uint8_t page_bits;      // 12, 21 or 30, valid if translated
    uint8_t rights;         // R, W, X as bits 2:0, ANDed over the walk; bit 3: user execute
    uint8_t memory_type;    // Of the leaf, bits 5:3
    bool ignore_pat;
    bool dirty_set;  // This access turned the dirty flag from 0 to 1: to be logged where PML is on
    bool kept_clean; // A flag would have been set, but for `keep_clean`: the access has not happened
    bool dirty;      // The leaf's dirty flag is set (or flags are off)
    uint8_t step_count;
    struct ept_step steps[EPT_LEVELS_MAX];
};

// Where a walk may start instead of the root: contents of a paging-structure cache (SDM 28.4.1).
struct ept_start {
    uint8_t level;  // Of the table at `table`: 3, 2 or 1 (4 with 5-level tables)
    uint8_t rights; // ANDed over the levels above
    uint64_t table; // HPA
};

// Walks. `start` NULL: from the root. Sets accessed and dirty flags by locked writes if EPTP bit 6 is 1 and
// the access is permitted. Takes the time of its references, nothing else.
void ept_walk(struct pcpu *c, const struct ept_request *request, const struct ept_start *start,
              struct ept_walk *w);

// SDM 28.3.3.1: is this entry, found at `level`, misconfigured? `caps` is IA32_VMX_EPT_VPID_CAP, `phys_bits`
// MAXPHYADDR.
bool ept_entry_misconfigured(uint64_t entry, unsigned level, uint64_t caps, unsigned phys_bits,
                             bool mode_based_exec);

// SDM 26.2.1.1 on the EPTP: memory type, levels, flags, reserved bits.
bool ept_pointer_valid(uint64_t eptp, uint64_t caps, unsigned phys_bits);

// Where a reference that took `ticks` was found.
enum ept_where ept_where_of(const struct uarch *u, uint64_t ticks);
const char *ept_where_str(enum ept_where where);

#endif
