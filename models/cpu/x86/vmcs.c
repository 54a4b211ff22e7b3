// SPDX-License-Identifier: Apache-2.0
// Where each field stands in a VMCS region, and VMREAD and VMWRITE of it.
#include "models/cpu/x86/vmx_state.h"

#include "models/cpu/uarch/uarch.h"
#include <assert.h>

enum group { PIN, CPU, CPU2, CPU3, EXIT, ENTRY };

struct presence {
    uint32_t encoding;
    enum group group;
    uint32_t control;
};

static const struct presence presences[] = {
#define FIELD_IF(name, group, control) {name, group, group##_##control},
#include "models/cpu/x86/vmcs_presence.def"
#undef FIELD_IF
};

static const uint32_t encodings[] = {
#define VMCS_FIELD(name, encoding, section) encoding,
#include "spec/vmcs_fields.def"
};

static bool control_allowed(const struct uarch *u, enum group group, uint32_t control)
{
    switch (group) {
    case PIN:
        return u->vmx_cap.pin_allowed1 & control;
    case CPU:
        return u->vmx_cap.proc_allowed1 & control;
    case CPU2:
        return u->vmx_cap.proc2_allowed1 & control;
    case CPU3:
        return u->vmx_cap.proc3_allowed1 & control;
    case EXIT:
        return u->vmx_cap.exit_allowed1 & control;
    case ENTRY:
        return u->vmx_cap.entry_allowed1 & control;
    }
    return false;
}

static bool field_exists(const struct uarch *u, uint32_t encoding)
{
    bool conditional = false;

    for (unsigned i = 0; i < sizeof presences / sizeof *presences; i++) {
        if (presences[i].encoding != encoding)
            continue;
        if (control_allowed(u, presences[i].group, presences[i].control))
            return true;
        conditional = true;
    }
    return !conditional;
}

// Does VM entry check the field? Of those that software and exits change often, the ones here are checked by
// no rule, and RIP by one that is asked each time (entry_checks.c). Others count as checked.
static bool entry_checks_field(uint32_t encoding)
{
    static const uint32_t not [] = {
        GUEST_RIP,         GUEST_RSP,      HOST_RSP, TSC_OFFSET, VMX_PREEMPTION_TIMER_VALUE,
        GUEST_INTR_STATUS, GUEST_PML_INDEX};

    for (unsigned i = 0; i < sizeof not / sizeof *not ; i++)
        if (not [i] == encoding)
            return false;
    return VMCS_ENC_TYPE(encoding) != VMCS_TYPE_READ_ONLY;
}

static unsigned place_fields(struct vmcs_layout *l, const struct uarch *u, bool checked, unsigned at)
{
    static const unsigned sizes[] = {8, 4, 2};

    for (unsigned s = 0; s < 3; s++) {
        for (unsigned i = 0; i < sizeof encodings / sizeof *encodings; i++) {
            uint32_t enc = encodings[i];

            if (VMCS_ENC_BYTES(enc) != sizes[s] || entry_checks_field(enc) != checked ||
                !field_exists(u, enc))
                continue;
            l->offset[VMCS_SLOT(enc)] = (uint16_t)at;
            at += sizes[s];
        }
    }
    return at;
}

void vmcs_layout_make(struct vmcs_layout *l, const struct uarch *u)
{
    memset(l, 0, sizeof *l);
    l->checked_end = (uint16_t)place_fields(l, u, true, VMCS_FIELDS);
    l->bytes = (uint16_t)place_fields(l, u, false, l->checked_end);
    assert(l->bytes <= VMX_REGION_BYTES && l->checked_end <= VMCS_FIELDS + ENTRY_MEMO_BYTES);
}

// The slot holds 6 bits of index: an encoding with more is none of ours.
static bool supported(const struct vmx *v, uint64_t enc)
{
    if (enc >> 32 || (enc & VMCS_ENC_RESERVED) || VMCS_ENC_INDEX(enc) >= VMCS_SLOT_INDEXES)
        return false;
    if (VMCS_ENC_HIGH(enc) && VMCS_ENC_WIDTH(enc) != VMCS_WIDTH_64)
        return false;
    return v->layout.offset[VMCS_SLOT((uint32_t)enc)] != 0;
}

enum vm_error vmcs_access_read(const struct vmx *v, const struct vmcs_ref *r, uint64_t enc, uint64_t *value)
{
    uint64_t full;

    if (!supported(v, enc))
        return VMERR_UNSUPPORTED_COMPONENT;
    full = vmcs_get_ref(v, r, (uint32_t)enc & ~1u);
    *value = VMCS_ENC_HIGH(enc) ? full >> 32 : full;
    return VMERR_NONE;
}

enum vm_error vmcs_access_write(const struct vmx *v, const struct vmcs_ref *r, const struct uarch *u,
                                uint64_t enc, uint64_t value)
{
    uint32_t full = (uint32_t)enc & ~1u;

    if (!supported(v, enc))
        return VMERR_UNSUPPORTED_COMPONENT;
    if (VMCS_ENC_TYPE(enc) == VMCS_TYPE_READ_ONLY && !(u->vmx_cap.misc & VMX_MISC_VMWRITE_ANY))
        return VMERR_VMWRITE_READ_ONLY;
    if (VMCS_ENC_HIGH(enc))
        value = (vmcs_get_ref(v, r, full) & 0xffffffff) | value << 32;
    vmcs_put_ref(v, r, full, value);
    return VMERR_NONE;
}
