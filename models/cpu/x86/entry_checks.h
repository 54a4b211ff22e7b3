// SPDX-License-Identifier: Apache-2.0
// The checks of VM entry (SDM 26.2, 26.3): one row and one small function per rule.
#ifndef MODELS_CPU_X86_ENTRY_CHECKS_H
#define MODELS_CPU_X86_ENTRY_CHECKS_H

#include "models/cpu/x86/vmx_state.h"

// A segment register of the guest, in the order of the VMCS encodings.
enum entry_seg { ES, CS, SS, DS, FS, GS, LDTR, TR, ENTRY_SEGS };
struct entry_seg_view {
    uint32_t selector, limit, ar;
    uint64_t base;
};

// What the rules look at: read once per entry.
struct entry_view {
    struct pcpu *c;
    const struct vmx *v;
    struct vmx_controls ctl;
    unsigned phys_bits;
    uint64_t cr0, cr4, rflags; // Of the guest
    bool ia32e, v86, unrestricted;
    struct entry_seg_view segs[ENTRY_SEGS]; // Filled for the guest-state rules only
};

typedef bool (*entry_rule_fn)(const struct entry_view *e);

struct entry_rule {
    const char *name;    // Word for word what must hold, short
    const char *section; // SDM
    entry_rule_fn holds;
    uint32_t qualification; // Of the entry failure (guest-state rules), SDM 26.8
};

// Tables end with a row whose `holds` is NULL.
extern const struct entry_rule entry_control_rules[];
extern const struct entry_rule entry_host_rules[];

void entry_view_make(struct pcpu *c, struct entry_view *e);
// First rule that does not hold, NULL: all do.
const struct entry_rule *entry_first_broken(const struct entry_rule *rules, const struct entry_view *e);

// SDM 26.2: VMERR_NONE, ENTRY_BAD_CONTROLS (7) or ENTRY_BAD_HOST_STATE (8). Sets v->failed_rule.
enum vm_error entry_check_controls_and_host(struct pcpu *c);
// SDM 26.3, after the former: NULL if the guest state may be loaded. Sets v->failed_rule.
const struct entry_rule *entry_check_guest(struct pcpu *c);
// Controls as VM entry sees them.
struct vmx_controls entry_controls(const struct vmx *v);

#endif
