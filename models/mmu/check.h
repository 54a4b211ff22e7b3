// SPDX-License-Identifier: Apache-2.0
// The TLB checker: is what the caches answer still what the tables say?
//
// Off in timing runs. On, every hit of a TLB, of the nested TLB and of a paging-structure cache is compared
// with an untimed walk of the tables as they are now. It changes nothing that can be seen in simulated time.
//
// Caching what tables said before is lawful until software's duty to invalidate has come due (SDM 4.10.4.4,
// 28.4.3.3). What is reported is a hit that gives other memory than the tables do now, or allows this access
// where they do not, and
// - in the EPT's dimension: no change of the VM's stage 2 is in progress, as the hypervisor told by the
//   tracepoints mmu_change_begin and mmu_change_end, the end says: whatever had to be flushed has been; and
//   the entry is not from before a flush that it has put off (mmu_change_postponed, until
//   mmu_change_settled).
// - in the guest's dimension: since the entry was made its vCPU has executed something that invalidates it
// (on
//   any processor), or the entry was made for another vCPU. A guest that keeps silent is a lazy guest, no
//   bug.
// docs/tlb-checker.md has the reasons.
#ifndef MODELS_MMU_CHECK_H
#define MODELS_MMU_CHECK_H

#include "models/mmu/mmu.h"

// One for all processors of a machine.
struct mmu_check;
// A stale hit; `detail` in words.
typedef void (*mmu_check_report)(struct pcpu *c, const char *kind, uint64_t address, const char *detail);
struct mmu_check *mmu_check_create(mmu_check_report report);
void mmu_check_reset(struct mmu_check *k);
void mmu_check_destroy(struct mmu_check *k);

// The hypervisor begins, ends a change of a VM's stage 2; they nest, also over processors.
void mmu_check_change(struct mmu_check *k, uint32_t vm, bool begin);
// It has put a flush off: what was cached until now may be stale; it has made up for it.
void mmu_check_postpone(struct mmu_check *k, uint32_t vm, bool put_off);

// The processor's vCPU executed something that invalidates, whatever became of it: by itself, or by an exit.
enum mmu_flush {
    MMU_FLUSH_ALL,             // Every PCID, global translations too
    MMU_FLUSH_ALL_BUT_GLOBALS, // Every PCID
    MMU_FLUSH_PCID,            // One PCID, but global translations
    MMU_FLUSH_PAGE,            // One page of one PCID, global translations too
    MMU_FLUSH_PCID_PAGE,       // The same without them
};
void mmu_check_guest_flush(struct mmu *m, enum mmu_flush what, uint16_t pcid, uint64_t linear);

// Called by the unit: a hit for an access; a hit of a paging-structure cache (`ept`: address is
// guest-physical); of the nested TLB; a new entry, to be stamped.
void mmu_check_hit(struct mmu *m, uint64_t linear, unsigned access, enum mmu_mode mode,
                   const struct array_value *v);
void mmu_check_table(struct mmu *m, bool ept, unsigned level, uint64_t address, const struct array_value *v);
void mmu_check_nested(struct mmu *m, uint64_t gpa, const struct array_value *v);
void mmu_check_stamp(const struct mmu *m, struct array_value *v);

#endif
