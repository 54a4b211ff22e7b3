// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/guest_walk.h"
#include "hv/core/vm.h"
#include "hv/mmu/ept12.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/nested_state.h"
#include "hv/x86/regs.h"

#define PDPTE_RESERVED_LOW 0x1e6ull // Bits 8:5 and 2:1 (SDM 4.4.1, table 4-8).
#define PDE32_HIGH_SHIFT 13         // PSE-36: bits 20:13 are address bits 39:32.
#define PDE32_HIGH_MASK 0x1fe000ull
#define PDE32_RESERVED (1ull << 21)
#define PAE_ENTRY_ADDR_BITS 52

struct walk {
    struct x86_vcpu *v;
    u64 linear;
    u32 access;
    u64 cr0, cr4;
    u8 levels, entry_bytes;
    bool nx;                 // XD counts.
    bool user, writable, xd; // Of all entries so far.
    u32 error;
};

static enum walk_result fault(struct walk *w, u32 why)
{
    bool fetch = w->nx || (w->cr4 & X86_CR4_SMEP);

    w->error = (w->access & (PFERR_WRITE | PFERR_USER)) | why | (fetch ? w->access & PFERR_FETCH : 0);
    return WALK_FAULT;
}

// Addresses in L2's tables are L2's guest-physical ones.
static bool to_l1(struct x86_vcpu *v, u64 access, u64 *gpa_of_table)
{
    struct ept12_walk w;

    if (likely(!v->vcpu.mmu->shadowing))
        return true;
    ept12_walk(v->vcpu.vm, v->vcpu.mmu->shadow_eptp12, nested_ept_caps(v), v->maxphyaddr, gpa(*gpa_of_table),
               access, &w);
    if (w.fault != EPT12_TRANSLATED)
        return false;
    *gpa_of_table = w.gfn << PAGE_SHIFT | (*gpa_of_table & ~PAGE_MASK);
    return true;
}

static bool maps_page(const struct walk *w, u64 entry, unsigned level)
{
    if (level == 1)
        return true;
    if (!(entry & X86_PTE_PS))
        return false;
    if (w->entry_bytes == 4)
        return level == 2 && (w->cr4 & X86_CR4_PSE);
    return level <= 3 && !(w->levels == 3 && level == 3);
}

static unsigned level_shift(const struct walk *w, unsigned level)
{
    return PAGE_SHIFT + (w->entry_bytes == 4 ? 10 : 9) * (level - 1);
}

static bool is_reserved(const struct walk *w, u64 entry, unsigned level)
{
    u64 high = ((1ull << PAE_ENTRY_ADDR_BITS) - 1) & ~((1ull << w->v->maxphyaddr) - 1);

    if (w->entry_bytes == 4)
        return level == 2 && maps_page(w, entry, level) && (entry & PDE32_RESERVED);
    if (w->levels == 3 && level < 3) // PAE: up to bit 62.
        high |= 0x7ffull << PAE_ENTRY_ADDR_BITS;
    if (entry & high)
        return true;
    if ((entry & X86_PTE_XD) && !w->nx)
        return true;
    if (level >= 4 && (entry & X86_PTE_PS))
        return true;
    if (level > 1 && maps_page(w, entry, level))
        return (entry & ((1ull << level_shift(w, level)) - 1) & X86_PTE_ADDR_MASK & ~X86_PTE_PAT_LARGE) != 0;
    return false;
}

// SDM 4.6.1.
static bool allowed(const struct walk *w)
{
    bool fetch = (w->access & PFERR_FETCH) != 0, write = (w->access & PFERR_WRITE) != 0;

    if (w->access & PFERR_USER)
        return w->user && (!write || w->writable) && !(fetch && w->xd);
    if (write && !w->writable && (w->cr0 & X86_CR0_WP))
        return false;
    if (fetch)
        return !w->xd && !(w->user && (w->cr4 & X86_CR4_SMEP));
    bool consent = !(w->access & WALK_IMPLICIT) && (vcpu_rflags(w->v) & X86_RFLAGS_AC);

    return !(w->user && (w->cr4 & X86_CR4_SMAP) && !consent);
}

static void setup(struct walk *w)
{
    struct x86_vcpu *v = w->v;

    w->cr0 = vcpu_cr0(v);
    w->cr4 = vcpu_cr4(v);
    w->user = w->writable = true;
    w->nx = (v->efer & EFER_NXE) && (w->cr4 & X86_CR4_PAE);
    w->entry_bytes = w->cr4 & X86_CR4_PAE ? 8 : 4;
    if (vcpu_long_mode(v))
        w->levels = w->cr4 & X86_CR4_LA57 ? 5 : 4;
    else
        w->levels = w->cr4 & X86_CR4_PAE ? 3 : 2;
}

// A of every entry used, D of the leaf of a write (SDM 4.8).
static bool set_accessed(struct walk *w, u64 at, u64 *entry, bool leaf)
{
    u64 want = X86_PTE_A | (leaf && (w->access & PFERR_WRITE) ? X86_PTE_D : 0);

    if ((*entry & want) == want)
        return true;
    if (vm_cmpxchg_guest(w->v->vcpu.vm, gpa(at), entry, *entry | want, w->entry_bytes) == -1)
        return false; // It changed meanwhile.
    *entry |= want;
    return true;
}

static u64 leaf_address(const struct walk *w, u64 entry, unsigned level)
{
    u64 offset = w->linear & ((1ull << level_shift(w, level)) - 1);

    if (w->entry_bytes == 8)
        return (entry & X86_PTE_ADDR_MASK & ~((1ull << level_shift(w, level)) - 1)) | offset;
    u64 page = entry & 0xfffff000ull;

    if (level == 2)
        page = (page & 0xffc00000ull) | (entry & PDE32_HIGH_MASK) << (32 - PDE32_HIGH_SHIFT);
    return page | offset;
}

// One entry. WALK_DONE: *table is the next table, or if `*leaf` the address wanted.
static enum walk_result step(struct walk *w, unsigned level, u64 *table, bool *leaf)
{
    unsigned index_bits = w->entry_bytes == 4 ? 10 : 9;
    u64 index = w->linear >> level_shift(w, level) & ((1ull << index_bits) - 1);
    u64 at = *table + index * w->entry_bytes, entry = 0;

    if (!to_l1(w->v, EPT_READ, &at))
        return WALK_NESTED;
    do {
        entry = 0;
        if (vm_read_guest(w->v->vcpu.vm, gpa(at), &entry, w->entry_bytes) != 0)
            return fault(w, 0); // Tables where no memory is read as nothing.
        if (!(entry & X86_PTE_P))
            return fault(w, 0);
        if (is_reserved(w, entry, level))
            return fault(w, PFERR_P | PFERR_RSVD);
        *leaf = maps_page(w, entry, level);
        if (!(w->levels == 3 && level == 3)) { // PDPTEs of PAE paging have no rights.
            w->user = w->user && (entry & X86_PTE_US);
            w->writable = w->writable && (entry & X86_PTE_RW);
            w->xd = w->xd || (w->nx && (entry & X86_PTE_XD));
            if (*leaf && !allowed(w))
                return fault(w, PFERR_P);
        }
    } while (!(w->levels == 3 && level == 3) && !set_accessed(w, at, &entry, *leaf));
    *table = *leaf ? leaf_address(w, entry, level)
                   : entry & (w->entry_bytes == 4 ? 0xfffff000ull : X86_PTE_ADDR_MASK);
    return WALK_DONE;
}

enum walk_result guest_walk(struct x86_vcpu *v, u64 linear, u32 access, u64 *out, u32 *error_code)
{
    struct walk w = {.v = v, .linear = linear, .access = access};
    bool leaf = false;
    u64 at = linear;

    setup(&w);
    if (w.cr0 & X86_CR0_PG) {
        u64 cr3 = vcpu_cr3(v);

        at = cr3 & (w.levels == 3   ? X86_CR3_PAE_ADDR_MASK
                    : w.levels == 2 ? 0xfffff000ull
                                    : X86_CR3_ADDR_MASK);
        if (w.levels == 3)
            w.linear = (u32)linear;
        for (unsigned level = w.levels; level > 0 && !leaf; level--) {
            enum walk_result r = step(&w, level, &at, &leaf);

            if (r != WALK_DONE) {
                *error_code = w.error;
                return r;
            }
        }
    }
    if (!to_l1(v, access & PFERR_WRITE ? EPT_WRITE : access & PFERR_FETCH ? EPT_EXEC : EPT_READ, &at))
        return WALK_NESTED;
    *out = at;
    return WALK_DONE;
}

bool guest_load_pdptrs(struct x86_vcpu *v, u64 cr3)
{
    u64 pdpte[4], reserved = PDPTE_RESERVED_LOW | ~((1ull << v->maxphyaddr) - 1);

    u64 at = cr3 & X86_CR3_PAE_ADDR_MASK;

    if (!to_l1(v, EPT_READ, &at) || vm_read_guest(v->vcpu.vm, gpa(at), pdpte, sizeof(pdpte)) != 0)
        return false;
    for (unsigned i = 0; i < 4; i++)
        if ((pdpte[i] & X86_PTE_P) && (pdpte[i] & reserved))
            return false;
    for (unsigned i = 0; i < 4; i++)
        vmcs_write(GUEST_PDPTR0 + 2u * i, pdpte[i]);
    return true;
}
