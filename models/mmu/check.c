// SPDX-License-Identifier: Apache-2.0
#include "models/mmu/check.h"

#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "models/mmu/peek.h"
#include "spec/x86_bits.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPORTS_MAX 64u // Of a run: a stale entry in a loop must not fill the disk.
#define VMS_MAX 64u
#define PAGES_MAX 64u // Single-page invalidations remembered of a vCPU, and PCIDs.

struct page_flush {
    uint64_t page;
    uint32_t when;
    uint16_t pcid;
    bool spares_globals, whole; // whole: every page of the PCID
};

// What a vCPU has invalidated: the last of each.
struct guest {
    uint32_t owner;
    uint32_t all, all_but_globals; // When; 0: never
    struct page_flush pages[PAGES_MAX];
    uint32_t page_count;
};

struct mmu_check {
    mmu_check_report report;
    uint32_t now; // Counts fills and invalidations
    uint32_t reports;
    uint32_t changing[VMS_MAX];
    uint32_t put_off[VMS_MAX]; // When a flush was put off last; 0: none is
    struct guest *guests;
    size_t guest_count;
};

struct mmu_check *mmu_check_create(mmu_check_report report)
{
    struct mmu_check *k = calloc(1, sizeof *k);

    assert(k);
    k->report = report;
    mmu_check_reset(k);
    return k;
}

void mmu_check_reset(struct mmu_check *k)
{
    free(k->guests);
    *k = (struct mmu_check){.report = k->report, .now = 1};
}

void mmu_check_destroy(struct mmu_check *k)
{
    if (k)
        free(k->guests);
    free(k);
}

void mmu_check_change(struct mmu_check *k, uint32_t vm, bool begin)
{
    uint32_t *count = &k->changing[vm % VMS_MAX];

    assert((begin || *count) && "mmu_change_end without its begin");
    *count += begin ? 1u : ~0u;
}

void mmu_check_postpone(struct mmu_check *k, uint32_t vm, bool put_off)
{
    k->put_off[vm % VMS_MAX] = put_off ? ++k->now : 0;
}

// --- Who had to invalidate.

static uint32_t owner_of(const struct mmu *m)
{
    return (m->cpu->note_vm & 0xffff) << 16 | (m->cpu->note_vcpu & 0xffff);
}

void mmu_check_stamp(const struct mmu *m, struct array_value *v)
{
    v->filled = ++m->check->now;
    v->owner = owner_of(m);
}

static struct guest *guest_of(struct mmu_check *k, uint32_t owner)
{
    for (size_t i = 0; i < k->guest_count; i++)
        if (k->guests[i].owner == owner)
            return &k->guests[i];
    k->guests = realloc(k->guests, (k->guest_count + 1) * sizeof *k->guests);
    assert(k->guests);
    k->guests[k->guest_count] = (struct guest){.owner = owner};
    return &k->guests[k->guest_count++];
}

void mmu_check_guest_flush(struct mmu *m, enum mmu_flush what, uint16_t pcid, uint64_t linear)
{
    struct mmu_check *k = m->check;
    struct guest *g;
    struct page_flush *f;

    if (!k)
        return;
    g = guest_of(k, owner_of(m));
    k->now++;
    switch (what) {
    case MMU_FLUSH_ALL:
        g->all = k->now;
        return;
    case MMU_FLUSH_ALL_BUT_GLOBALS:
        g->all_but_globals = k->now;
        return;
    case MMU_FLUSH_PCID:
    case MMU_FLUSH_PAGE:
    case MMU_FLUSH_PCID_PAGE:
        break;
    }
    f = &g->pages[g->page_count++ % PAGES_MAX]; // The oldest is forgotten: some staleness is not seen then.
    *f = (struct page_flush){.page = linear >> 12,
                             .when = k->now,
                             .pcid = pcid,
                             .spares_globals = what != MMU_FLUSH_PAGE,
                             .whole = what == MMU_FLUSH_PCID};
}

// Has the vCPU that runs now executed something that must have ended this entry of `page_bits`?
static bool was_flushed(struct mmu *m, uint64_t linear, const struct array_value *v)
{
    const struct guest *g = guest_of(m->check, owner_of(m));
    bool global = v->rights & MMU_GLOBAL;

    if (v->owner != g->owner || g->all > v->filled || (!global && g->all_but_globals > v->filled))
        return true;
    for (uint32_t i = 0; i < PAGES_MAX && i < g->page_count; i++) {
        const struct page_flush *f = &g->pages[i];

        if (f->when <= v->filled || (global && f->spares_globals) ||
            (!global && f->pcid != m->space.tag.pcid))
            continue;
        // INVLPG ends every piece of a page.
        unsigned bits = !f->spares_globals && v->guest_bits > v->page_bits ? v->guest_bits : v->page_bits;

        if (f->whole || ((f->page ^ linear >> 12) << 12) >> bits == 0)
            return true;
    }
    return false;
}

static bool change_in_progress(const struct mmu *m)
{
    return m->check->changing[m->cpu->note_vm % VMS_MAX] != 0;
}

// May this entry differ from the EPT? Flushes are put off for leaves alone, never for tables.
static bool ept_may_lag(const struct mmu *m, const struct array_value *v)
{
    return change_in_progress(m) || v->filled < m->check->put_off[m->cpu->note_vm % VMS_MAX];
}

// --- Comparing.

static void rights_text(uint16_t rights, char text[8])
{
    snprintf(text, 8, "%c%c%c%c%c%c%c", rights & MMU_R ? 'r' : '-', rights & MMU_W ? 'w' : '-',
             rights & (MMU_X | MMU_XU) ? 'x' : '-', rights & MMU_DIRTY ? 'd' : '-',
             rights & MMU_GW ? 'W' : '-', rights & MMU_GX ? 'X' : '-', rights & MMU_GU ? 'U' : '-');
}

static void report(struct mmu *m, const char *kind, uint64_t address, const struct array_value *cached,
                   const struct array_value *tables)
{
    struct mmu_check *k = m->check;
    char detail[200], was[8], is[8] = "nothing";

    if (k->reports++ >= REPORTS_MAX)
        return;
    rights_text(cached->rights, was);
    if (tables)
        rights_text(tables->rights, is);
    snprintf(detail, sizeof detail,
             "address %#" PRIx64 ": cached gpa %#" PRIx64 " hpa %#" PRIx64 " %s; tables gpa %#" PRIx64
             " hpa %#" PRIx64 " %s",
             address, cached->gpa, cached->hpa, was, tables ? tables->gpa : 0, tables ? tables->hpa : 0, is);
    k->report(m->cpu, kind, address, detail);
}

// The 4-KByte piece of a page that `address` lies in.
static struct array_value piece_of(const struct array_value *v, uint64_t address)
{
    struct array_value p = *v;
    uint64_t offset = address & ((1ull << v->page_bits) - 1) & ~0xfffull;

    p.hpa += offset;
    p.gpa += offset;
    return p;
}

void mmu_check_hit(struct mmu *m, uint64_t linear, unsigned access, enum mmu_mode mode,
                   const struct array_value *v)
{
    const struct mmu_rule *r = &m->rules[mode][access];
    uint16_t need = r->ept;
    struct array_value cached = piece_of(v, linear), guest, ept;
    enum mmu_peeked found;
    bool mapped;

    if (!mmu_allows(m, v->rights, access, mode))
        return; // Not used: the tables are walked.
    found = mmu_peek_guest(m->cpu, &m->space, linear, 1, &guest, NULL);
    if (found == MMU_PEEK_NOTHING ||
        (found == MMU_PEEK_FOUND && (guest.gpa != cached.gpa || !paging_allows(&r->demand, guest.rights) ||
                                     (need & MMU_GDIRTY & ~guest.rights)))) {
        if (was_flushed(m, linear, v) && !change_in_progress(m))
            report(m, "stale tlb hit, guest tables", linear, &cached,
                   found == MMU_PEEK_FOUND ? &guest : NULL);
        return;
    }
    mapped = mmu_peek_ept(m->cpu, &m->space, cached.gpa, 1, &ept, NULL);
    // A right to execute was resolved for the mode of the address when the entry was made.
    need &= m->space.mode_based_exec ? (uint16_t) ~(MMU_X | MMU_XU) : (uint16_t)~MMU_XU;
    need &= (uint16_t)~MMU_GDIRTY;
    if (mapped && ept.hpa == cached.hpa && (ept.rights & need) == need)
        return;
    if (!ept_may_lag(m, v))
        report(m, "stale tlb hit", linear, &cached, mapped ? &ept : NULL);
}

void mmu_check_nested(struct mmu *m, uint64_t gpa, const struct array_value *v)
{
    struct array_value cached = piece_of(v, gpa), ept;
    uint16_t need = m->space.eptp & EPTP_AD ? MMU_R | MMU_W | MMU_DIRTY : MMU_R;
    bool mapped = mmu_peek_ept(m->cpu, &m->space, gpa, 1, &ept, NULL);

    if (mapped && ept.hpa == cached.hpa && (ept.rights & need) == need)
        return;
    if (!ept_may_lag(m, v))
        report(m, "stale nested tlb hit", gpa, &cached, mapped ? &ept : NULL);
}

// Cached rights must not exceed those of the tables; dirty of a guest's table counts with flags on.
void mmu_check_table(struct mmu *m, bool ept, unsigned level, uint64_t address, const struct array_value *v)
{
    struct array_value tables, page;
    enum mmu_peeked found;
    bool mapped;

    if (ept) {
        mapped = mmu_peek_ept(m->cpu, &m->space, address, level + 1, &tables, NULL);
        if (!(mapped && tables.hpa == v->hpa && !(v->rights & ~tables.rights & MMU_EPT_RIGHTS)) &&
            !change_in_progress(m))
            report(m, "stale ept paging-structure-cache hit", address, v, mapped ? &tables : NULL);
        return;
    }
    found = mmu_peek_guest(m->cpu, &m->space, address, level + 1, &tables, NULL);
    if (found == MMU_PEEK_NOTHING ||
        (found == MMU_PEEK_FOUND &&
         (tables.gpa != v->gpa || (v->rights & ~tables.rights & (MMU_GW | MMU_GU | MMU_GX))))) {
        if (was_flushed(m, address, v) && !change_in_progress(m))
            report(m, "stale paging-structure-cache hit, guest tables", address, v,
                   found == MMU_PEEK_FOUND ? &tables : NULL);
        return;
    }
    mapped = mmu_peek_ept(m->cpu, &m->space, v->gpa, 1, &page, NULL);
    if (!(mapped && page.hpa == v->hpa &&
          (!(m->space.eptp & EPTP_AD) || (page.rights & (MMU_W | MMU_DIRTY)) == (MMU_W | MMU_DIRTY))) &&
        !ept_may_lag(m, v))
        report(m, "stale paging-structure-cache hit", address, v, mapped ? &page : NULL);
}
