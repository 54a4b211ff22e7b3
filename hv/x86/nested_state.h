// SPDX-License-Identifier: Apache-2.0
// What the files of nested VMX share: vmcs12 and the state of one vCPU's nesting.
//
// L1 is the guest that uses VMX, L2 its guest. vmcs01 runs L1; vmcs12 is the VMCS as L1 wrote it, cached here
// while it is current; vmcs02 runs L2 and merges both. Without EPT in
// vmcs12, L2 uses L1's tree: its guest-physical addresses are the VM's. With EPT it has shadow pages
// (nested_ept.c).
#ifndef HV_X86_NESTED_STATE_H
#define HV_X86_NESTED_STATE_H

#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/x86/apicv.h"
#include "hv/x86/inject.h"
#include "hv/x86/nested.h"
#include "spec/msrs.h"
#include "spec/vm_errors.h"

// Position of each field in vmcs12.
enum vmcs12_field {
#define VMCS_FIELD(name, encoding, section) V12_##name,
#include "spec/vmcs_fields.def"
    V12_COUNT
};

#define VMCS12_REVISION 0x11e57ed1u // Ours: tells L1's VMCS regions from the processor's.
#define VMCS12_NONE UINT64_MAX

// The region in L1's memory. Its format is the implementation's (SDM 24.2), but for the first 8 bytes.
struct vmcs12 {
    u32 revision;
    u32 abort;
    u32 launched; // Launch state (SDM 24.11.3).
    u32 reserved;
    u64 field[V12_COUNT];
};
_Static_assert(sizeof(struct vmcs12) <= 4096, "SDM A.1: a VMCS has at most 4 KiB");

#define V12(n, name) ((n)->vmcs12->field[V12_##name])

// An entry of an MSR area (SDM 24.7.2, table 24-12).
struct msr_entry {
    u32 msr, reserved;
    u64 value;
};
_Static_assert(sizeof(struct msr_entry) == MSR_AREA_ENTRY_BYTES, "SDM 24.7.2");

struct nested {
    bool vmxon;
    bool run_pending; // VMLAUNCH or VMRESUME was executed, L2 not yet entered.
    bool enters_halt; // L1 starts L2 in the activity state HLT, and no exit has told whether it stays there.
    bool dirty;       // RARE guest fields of vmcs12 were written: vmcs02's have to follow.
    bool controls_dirty; // Others without a shadow were.
    bool rare_in_02;     // vmcs02's RARE guest fields are newer than vmcs12's.
    bool set_up;         // vmcs02 holds its constants.
    gpa_t vmxon_ptr;
    gpa_t current;         // Current-VMCS pointer; VMCS12_NONE.
    struct vmcs12 *vmcs12; // Page: cache of the current one.
    struct loaded_vmcs vmcs02;

    // VMCS shadowing (SDM 24.10); NULL without it.
    void *shadow, *vmread_bitmap, *vmwrite_bitmap;
    bool shadow_on;

    // Where vmcs02 has the processor store its time-stamp counter, if L1 wants it stored: at the exit, not
    // thousands of cycles later.
    struct msr_entry exit_tsc __attribute__((aligned(16)));
    bool stores_tsc;

    // L1's while L2 runs.
    u64 l1_tsc_offset, l1_cr0_owned, l1_cr4_owned;

    // Throttle of immediate exits.
    u64 throttle_rip, throttle_count;
};

// --- nested_vmcs.c
int nested_create(struct x86_vcpu *v); // 0 or -ENOMEM.
// Index of an encoding (its full form), or -1: no such field.
int vmcs12_index(u32 encoding);
u32 vmcs12_highest_index(void);               // Of all fields' encodings, bits 9:1 (SDM A.9).
void nested_shadow_load(struct x86_vcpu *v);  // vmcs12 to shadow. vmcs01 current before and after.
void nested_shadow_store(struct x86_vcpu *v); // And back, the writable ones.
void nested_shadow_enable(struct x86_vcpu *v, bool on);
// Brings RARE fields from vmcs02 into vmcs12.
void nested_sync_rare(struct x86_vcpu *v);
// Writes vmcs12 to L1's memory and forgets it.
void nested_release_vmcs12(struct x86_vcpu *v);
// Makes `l` the vCPU's current VMCS: dirty registers are written to the old one, caches are dropped.
void nested_switch_vmcs(struct x86_vcpu *v, struct loaded_vmcs *l);

// --- nested_insn.c
void nested_vmsucceed(struct x86_vcpu *v);
void nested_vmfail_invalid(struct x86_vcpu *v);
void nested_vmfail_valid(struct x86_vcpu *v, u32 error); // VMfail: valid if there is a current VMCS.

// --- nested_checks.c: SDM 26.2, 26.3. 0, or the number of VM_INSTRUCTION_ERROR; guest: true if it is good.
u32 nested_check_controls(const struct x86_vcpu *v, const struct vmcs12 *c);
u32 nested_check_host(const struct x86_vcpu *v, const struct vmcs12 *c);
bool nested_check_guest(const struct x86_vcpu *v, const struct vmcs12 *c, u64 *qualification);

// --- nested_entry.c
int nested_run(struct x86_vcpu *v, bool launch);
// The five control words of vmcs02 from those of vmcs01 (as vmx_update_controls() makes them) and L1's.
struct vmcs_controls nested_merge_controls(struct vmcs_controls l0, const struct vmcs12 *c,
                                           const struct vmx_caps *caps);

// --- nested_ept.c
// Bits of IA32_VMX_EPT_VPID_CAP that concern EPT, as L1 sees them.
u64 nested_ept_caps(const struct x86_vcpu *v);
bool nested_ept_good_pointer(const struct x86_vcpu *v, u64 eptp);
bool nested_ept12(const struct nested *n); // Does vmcs12 enable it?
// vmcs02 is current. False: vmcs12 enables no EPT, L2 runs on L1's tree.
bool nested_ept_enter(struct x86_vcpu *v);
void nested_ept_leave(struct x86_vcpu *v); // No more in L2.
// INVEPT: VMERR_NONE or the error of a wrong operand.
u32 nested_ept_invalidate(struct x86_vcpu *v, u64 type, u64 eptp);

// --- nested_msrs.c
// L1's VM-entry and VM-exit MSR-load areas, VM-exit MSR-store area: `count` entries at guest-physical `area`.
// 0, or the number (from 1) of the entry that failed; those before it took effect.
u32 nested_msrs_load(struct x86_vcpu *v, u64 area, u64 count);
u32 nested_msrs_store(struct x86_vcpu *v, u64 area, u64 count);
// vmcs02's own area. At entry; it is current.
void nested_msrs_enter(struct x86_vcpu *v);
// VMX abort (SDM 27.7): L1's processor shuts down.
void nested_abort(struct x86_vcpu *v, u32 indicator);

// --- nested_exit.c
void nested_vmexit(struct x86_vcpu *v, u32 reason, u32 intr_info, u64 qualification);
void nested_load_host_state(struct x86_vcpu *v);
// Has the level whose VMCS is current PAE paging with PDPTEs (SDM 4.4.1)?
bool nested_pae_paging(struct x86_vcpu *v);
// CPUID follows CR4 from one level to the other; `old`: as it was before.
void nested_cr4_changed(struct x86_vcpu *v, u64 old);

#endif
