// SPDX-License-Identifier: Apache-2.0
// Nested VMX: vmcs12 as a cached page, its shadow, and which VMCS is current.
#include "hv/lib/string.h"
#include "hv/x86/nested_state.h"
#include "hv/x86/pml.h"

// Position + 1 by VMCS_SLOT(); 0: the edition defines no such field.
static const u16 index_of_slot[VMCS_SLOTS] = {
#define VMCS_FIELD(name, encoding, section) [VMCS_SLOT(encoding)] = V12_##name + 1,
#include "spec/vmcs_fields.def"
};

struct shadow_field {
    u16 encoding;
    u16 index;
    bool writable;
};
#define RO false
#define RW true
static const struct shadow_field shadow_fields[] = {
#define NESTED_SHADOW(name, access) {name, V12_##name, access},
#include "hv/x86/nested_shadow.def"
};
#undef RO
#undef RW

int vmcs12_index(u32 encoding)
{
    if ((encoding & VMCS_ENC_RESERVED) != 0 || VMCS_ENC_INDEX(encoding) >= VMCS_SLOT_INDEXES)
        return -1;
    // High access exists for 64-bit fields only (SDM 24.11.2).
    if (VMCS_ENC_HIGH(encoding) && VMCS_ENC_WIDTH(encoding) != VMCS_WIDTH_64)
        return -1;
    return (int)index_of_slot[VMCS_SLOT(encoding)] - 1;
}

u32 vmcs12_highest_index(void)
{
    u32 highest = 0;

    for (u32 i = 0; i < VMCS_SLOTS; i++)
        if (index_of_slot[i] != 0 && i % VMCS_SLOT_INDEXES > highest)
            highest = i % VMCS_SLOT_INDEXES;
    return highest;
}

// --- Life.

static bool shadowing_possible(const struct x86_vcpu *v)
{
    u64 cpu2 = 0, misc = 0;

    (void)v;
    // Exit information is copied into the shadow by VMWRITE (IA32_VMX_MISC bit 29).
    return hw_rdmsr(MSR_IA32_VMX_PROCBASED_CTLS2, &cpu2) == HW_DONE &&
           (VMX_CAP_MAY_BE_1(cpu2) & CPU2_VMCS_SHADOWING) != 0 &&
           hw_rdmsr(MSR_IA32_VMX_MISC, &misc) == HW_DONE && (misc & VMX_MISC_VMWRITE_ANY) != 0;
}

static int create_shadow(struct x86_vcpu *v, struct nested *n)
{
    struct host *host = v->vcpu.vm->host;

    n->shadow = page_alloc_zeroed(host, MEM_KERNEL);
    n->vmread_bitmap = page_alloc_zeroed(host, MEM_KERNEL);
    n->vmwrite_bitmap = page_alloc_zeroed(host, MEM_KERNEL);
    if (n->shadow == NULL || n->vmread_bitmap == NULL || n->vmwrite_bitmap == NULL)
        return -ENOMEM;
    *(u32 *)n->shadow = x86_host_of(v)->caps.revision | VMCS_SHADOW_INDICATOR;
    if (hw_vmclear(va_to_hpa(host, n->shadow)) != HW_VMX_OK)
        HV_PANIC("VMCLEAR of a shadow VMCS failed");
    // A bit per encoding: 1 exits (SDM 24.6.15).
    memset(n->vmread_bitmap, 0xff, PAGE_SIZE);
    memset(n->vmwrite_bitmap, 0xff, PAGE_SIZE);
    for (u32 i = 0; i < ARRAY_COUNT(shadow_fields); i++) {
        u32 enc = shadow_fields[i].encoding;
        ((u8 *)n->vmread_bitmap)[enc / 8] &= (u8) ~(1u << (enc & 7));
        if (shadow_fields[i].writable)
            ((u8 *)n->vmwrite_bitmap)[enc / 8] &= (u8) ~(1u << (enc & 7));
    }
    return 0;
}

int nested_create(struct x86_vcpu *v)
{
    struct host *host = v->vcpu.vm->host;
    struct nested *n = kzalloc(host, sizeof *n);

    if (n == NULL)
        return -ENOMEM;
    v->nested = n;
    n->current = gpa(VMCS12_NONE);
    n->vmxon_ptr = gpa(VMCS12_NONE);
    n->vmcs12 = page_alloc_zeroed(host, MEM_KERNEL);
    if (n->vmcs12 == NULL || loaded_vmcs_alloc(host, &n->vmcs02) < 0 ||
        (shadowing_possible(v) && create_shadow(v, n) < 0)) {
        nested_free(v);
        return -ENOMEM;
    }
    return 0;
}

static void free_page(struct host *host, void *page)
{
    if (page != NULL)
        page_free(host, page, MEM_KERNEL);
}

void nested_free(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    struct host *host = v->vcpu.vm->host;

    if (n == NULL)
        return;
    v->nested = NULL;
    v->in_guest_mode = false;
    v->vmcs = &v->vmcs01;
    loaded_vmcs_free(host, &n->vmcs02);
    free_page(host, n->vmcs12);
    free_page(host, n->shadow);
    free_page(host, n->vmread_bitmap);
    free_page(host, n->vmwrite_bitmap);
    kfree(host, n, sizeof *n);
}

void nested_reset(struct x86_vcpu *v)
{
    struct nested *n = v->nested;

    if (n == NULL)
        return;
    if (v->in_guest_mode) {
        v->in_guest_mode = false;
        nested_ept_leave(v);
        v->tsc_offset = n->l1_tsc_offset;
        v->cr0_guest_owned = n->l1_cr0_owned;
        v->cr4_guest_owned = n->l1_cr4_owned;
        nested_switch_vmcs(v, &v->vmcs01);
        pml_update(v);
        apicv_leave_l2(v);
    }
    if (n->shadow_on)
        nested_shadow_enable(v, false);
    n->vmxon = false;
    n->run_pending = n->enters_halt = false;
    n->current = gpa(VMCS12_NONE);
}

u32 nested_shadow_controls(const struct x86_vcpu *v)
{
    return v->nested != NULL && v->nested->shadow_on ? CPU2_VMCS_SHADOWING : 0;
}

bool nested_vmx_on(const struct x86_vcpu *v)
{
    return v->nested != NULL && v->nested->vmxon;
}

bool nested_blocks_init(const struct x86_vcpu *v)
{
    return nested_vmx_on(v) && !v->in_guest_mode;
}

// --- Which VMCS is current.

void nested_switch_vmcs(struct x86_vcpu *v, struct loaded_vmcs *l)
{
    u32 dirty = v->regs_dirty;

    v->regs_dirty = 0;
    if (dirty & (1u << CACHED_RSP))
        vmcs_write(GUEST_RSP, v->cached[CACHED_RSP]);
    if (dirty & (1u << CACHED_RIP))
        vmcs_write(GUEST_RIP, v->cached[CACHED_RIP]);
    preempt_disable();
    v->vmcs = l;
    arch_vcpu_load(&v->vcpu, this_cpu());
    preempt_enable();
    v->regs_avail = 0;
    v->segs.avail = 0;
}

// --- The shadow VMCS. It is made current for the copy: VMREAD and VMWRITE know only the current one.

static void with_shadow(struct x86_vcpu *v, struct nested *n, bool store)
{
    bool flags = irq_save(); // A preempted vCPU would find the wrong VMCS current.
    hpa_t shadow = va_to_hpa(v->vcpu.vm->host, n->shadow);

    if (hw_vmptrld(shadow) != HW_VMX_OK)
        HV_PANIC("VMPTRLD of a shadow VMCS failed");
    for (u32 i = 0; i < ARRAY_COUNT(shadow_fields); i++) {
        const struct shadow_field *f = &shadow_fields[i];
        if (!store)
            vmcs_write(f->encoding, n->vmcs12->field[f->index]);
        else if (f->writable)
            n->vmcs12->field[f->index] = vmcs_read(f->encoding);
    }
    // Its data must be in memory when the processor reads it as a shadow (SDM 24.10, 24.11.1).
    if (hw_vmclear(shadow) != HW_VMX_OK || hw_vmptrld(v->vmcs->hpa) != HW_VMX_OK)
        HV_PANIC("back from a shadow VMCS");
    irq_restore(flags);
}

void nested_shadow_load(struct x86_vcpu *v)
{
    if (v->nested->shadow_on)
        with_shadow(v, v->nested, false);
}

void nested_shadow_store(struct x86_vcpu *v)
{
    if (v->nested->shadow_on)
        with_shadow(v, v->nested, true);
}

void nested_shadow_enable(struct x86_vcpu *v, bool on)
{
    struct nested *n = v->nested;
    struct host *host = v->vcpu.vm->host;

    if (n->shadow == NULL || n->shadow_on == on)
        return;
    n->shadow_on = on;
    if (on) {
        vmcs_write(VMREAD_BITMAP, va_to_hpa(host, n->vmread_bitmap).v);
        vmcs_write(VMWRITE_BITMAP, va_to_hpa(host, n->vmwrite_bitmap).v);
        vmcs_write(VMCS_LINK_POINTER, va_to_hpa(host, n->shadow).v);
        cpu2_controls_setbit(v, CPU2_VMCS_SHADOWING);
    } else {
        cpu2_controls_clearbit(v, CPU2_VMCS_SHADOWING);
        vmcs_write(VMCS_LINK_POINTER, ~0ull);
    }
}

// --- vmcs12 and memory.

#define COMMON 0
#define RARE 1
void nested_sync_rare(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    bool from_01 = v->vmcs != &n->vmcs02;

    if (!n->rare_in_02)
        return;
    n->rare_in_02 = false;
    if (from_01)
        nested_switch_vmcs(v, &n->vmcs02);
#define NESTED_GUEST(name, class)                                                                            \
    if (class)                                                                                               \
        V12(n, name) = vmcs_read(name);
#include "hv/x86/nested_guest_fields.def"
    if (from_01)
        nested_switch_vmcs(v, &v->vmcs01);
}
#undef COMMON
#undef RARE

void nested_release_vmcs12(struct x86_vcpu *v)
{
    struct nested *n = v->nested;

    if (n->current.v == VMCS12_NONE)
        return;
    nested_shadow_store(v);
    nested_shadow_enable(v, false);
    nested_sync_rare(v);
    // A region that L1 has unmapped meanwhile is L1's loss.
    (void)vm_write_guest(v->vcpu.vm, n->current, n->vmcs12, sizeof *n->vmcs12);
    n->current = gpa(VMCS12_NONE);
}
