// SPDX-License-Identifier: Apache-2.0
#include "models/mmu/ept.h"

#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "spec/vmx_bits.h"
#include "spec/vmx_controls.h"
#include <assert.h>
#include <string.h>

const char *ept_where_str(enum ept_where where)
{
    static const char *const names[] = {"l1", "l2", "llc", "core", "memory"};

    return names[where];
}

bool ept_pointer_valid(uint64_t eptp, uint64_t caps, unsigned phys_bits)
{
    unsigned type = (unsigned)(eptp & 7);
    unsigned levels = EPTP_LEVELS(eptp);

    if (!(type == 0 && (caps & EPT_CAP_UC)) && !(type == 6 && (caps & EPT_CAP_WB)))
        return false;
    if (!(levels == 4 && (caps & EPT_CAP_WALK_4)) && !(levels == 5 && (caps & EPT_CAP_WALK_5)))
        return false;
    if ((eptp & EPTP_AD) && !(caps & EPT_CAP_AD))
        return false;
    if ((eptp & (1ull << 7)) && !(caps & EPT_CAP_SHADOW_STACK))
        return false;
    return (eptp & 0xf00) == 0 && eptp >> phys_bits == 0;
}

static bool is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || (level <= 3 && (entry & EPT_PS));
}

static uint64_t reserved_bits(uint64_t entry, unsigned level, uint64_t caps, unsigned phys_bits)
{
    uint64_t beyond = EPT_ADDR_MASK & ~((1ull << phys_bits) - 1);

    if (level == 1)
        return beyond;
    if (level == 2 && (entry & EPT_PS))
        return caps & EPT_CAP_2M ? beyond | 0x1ff000ull : beyond | EPT_PS;
    if (level == 3 && (entry & EPT_PS))
        return caps & EPT_CAP_1G ? beyond | 0x3ffff000ull : beyond | EPT_PS;
    // Tables: bits 6:3; bit 7 has no meaning above the page-directory-pointer table.
    return beyond | 0x78 | (level >= 4 ? EPT_PS : 0);
}

bool ept_entry_misconfigured(uint64_t entry, unsigned level, uint64_t caps, unsigned phys_bits,
                             bool mode_based_exec)
{
    bool readable = entry & EPT_READ;
    bool executable = (entry & EPT_EXEC) || (mode_based_exec && (entry & EPT_EXEC_USER));

    if (!readable && (entry & EPT_WRITE))
        return true;
    if (!readable && executable && !(caps & EPT_CAP_EXECUTE_ONLY))
        return true;
    if (entry & reserved_bits(entry, level, caps, phys_bits))
        return true;
    if (is_leaf(entry, level)) {
        unsigned type = (unsigned)(entry >> EPT_MEMTYPE_SHIFT) & 7;

        return type == 2 || type == 3 || type == 7;
    }
    return false;
}

static bool is_present(uint64_t entry, bool mode_based_exec)
{
    return entry & (EPT_READ | EPT_WRITE | EPT_EXEC | (mode_based_exec ? EPT_EXEC_USER : 0));
}

static uint8_t entry_rights(uint64_t entry)
{
    return (uint8_t)((entry & 7) | (entry & EPT_EXEC_USER ? 8 : 0));
}

enum ept_where ept_where_of(const struct uarch *u, uint64_t ticks)
{
    uint64_t cycles = ticks / TICKS_PER_CYCLE;

    if (cycles <= u->l1d.latency_cycles)
        return EPT_WHERE_L1;
    if (cycles <= u->l2.latency_cycles)
        return EPT_WHERE_L2;
    if (cycles <= u->l3.latency_cycles)
        return EPT_WHERE_L3;
    return cycles < u->memory.dram_cycles ? EPT_WHERE_CORE : EPT_WHERE_MEMORY;
}

static uint64_t read_entry(struct pcpu *c, uint64_t address, unsigned level, struct ept_walk *w)
{
    struct ept_step *s = &w->steps[w->step_count++];
    uint64_t begin = c->now_ticks;

    s->address = address;
    s->level = (uint8_t)level;
    s->entry = mem_read64(c, address);
    s->ticks = c->now_ticks - begin;
    s->where = (uint8_t)ept_where_of(c->uarch, s->ticks);
    w->entry_address = address;
    w->level = (uint8_t)level;
    return s->entry;
}

// SDM table 27-7: what was attempted, what the entries allow, and what the address was.
static void fail_violation(const struct uarch *u, const struct ept_request *rq, uint8_t rights,
                           struct ept_walk *w)
{
    uint64_t q = rq->access & 7;

    q |= (uint64_t)(rights & 7) << QUAL_EPT_ALLOWED_SHIFT;
    if (rq->mode_based_exec && (rights & 8))
        q |= QUAL_EPT_USER_EXECUTABLE;
    if (rq->linear_valid)
        q |= QUAL_EPT_LINEAR_VALID;
    if (rq->linear_valid && rq->translates_linear) {
        q |= QUAL_EPT_TRANSLATED;
        if (u->vmx_cap.ept_vpid & EPT_CAP_EXIT_INFO)
            q |= (uint64_t)rq->linear_rights << 9;
    }
    w->fault = EPT_FAULT_VIOLATION;
    w->qualification = q;
}

static bool access_allowed(const struct ept_request *rq, uint8_t rights)
{
    unsigned need = rq->access & (EPT_ACCESS_READ | EPT_ACCESS_WRITE);

    if (rq->access & EPT_ACCESS_FETCH)
        need |= rq->mode_based_exec && rq->user ? 8u : 4u;
    return (rights & need) == need;
}

// SDM 28.3.5: accessed in every entry that was used, dirty in the leaf of a write.
static uint64_t wanted_flags(const struct ept_request *rq, bool leaf)
{
    return EPT_A | (leaf && (rq->access & EPT_ACCESS_WRITE) ? EPT_D : 0);
}

static bool flags_missing(const struct ept_request *rq, const struct ept_walk *w)
{
    for (unsigned i = 0; i < w->step_count; i++)
        if (wanted_flags(rq, i + 1u == w->step_count) & ~w->steps[i].entry)
            return true;
    return false;
}

static void set_flags(struct pcpu *c, const struct ept_request *rq, struct ept_walk *w)
{
    const struct ept_step *last = &w->steps[w->step_count - 1];

    w->dirty = (rq->access & EPT_ACCESS_WRITE) || (last->entry & EPT_D);
    if (!flags_missing(rq, w))
        return;
    if (rq->keep_clean) {
        w->kept_clean = true;
        return;
    }
    for (unsigned i = 0; i < w->step_count; i++) {
        struct ept_step *s = &w->steps[i];
        uint64_t wanted = wanted_flags(rq, s == last);

        if ((s->entry & wanted) == wanted)
            continue;
        if (s == last && (wanted & ~s->entry & EPT_D))
            w->dirty_set = true;
        mem_write64(c, s->address, s->entry | wanted, true);
    }
}

static void finish(struct pcpu *c, const struct ept_request *rq, uint64_t entry, uint8_t rights,
                   struct ept_walk *w)
{
    uint64_t in_page;

    w->rights = rights;
    w->page_bits = (uint8_t)(12 + 9 * (w->level - 1));
    w->memory_type = (uint8_t)((entry >> EPT_MEMTYPE_SHIFT) & 7);
    w->ignore_pat = entry & EPT_IPAT;
    if (!access_allowed(rq, rights)) {
        fail_violation(c->uarch, rq, rights, w);
        return;
    }
    in_page = rq->gpa & ((1ull << w->page_bits) - 1);
    w->hpa = (entry & EPT_ADDR_MASK & ~((1ull << w->page_bits) - 1)) | in_page;
    w->fault = EPT_TRANSLATED;
    if (rq->eptp & EPTP_AD)
        set_flags(c, rq, w);
    else
        w->dirty = true;
}

void ept_walk(struct pcpu *c, const struct ept_request *request, const struct ept_start *start,
              struct ept_walk *w)
{
    const struct uarch *u = c->uarch;
    struct ept_request rq = *request;
    unsigned level = start ? start->level : EPTP_LEVELS(rq.eptp);
    uint64_t table = start ? start->table : EPTP_EP4TA(rq.eptp);
    uint8_t rights = start ? start->rights : 0xf;

    memset(w, 0, offsetof(struct ept_walk, steps));
    // With the flags on, reads of the guest's paging structures count as writes (SDM 28.3.3.2).
    if ((rq.eptp & EPTP_AD) && rq.linear_valid && !rq.translates_linear)
        rq.access |= EPT_ACCESS_WRITE;
    // Bits beyond what the tables translate: as if nothing were present there (SDM 28.3.2).
    if (rq.gpa >> (12 + 9 * EPTP_LEVELS(rq.eptp))) {
        w->level = (uint8_t)level;
        fail_violation(u, &rq, 0, w);
        return;
    }
    for (;;) {
        uint64_t index = (rq.gpa >> (12 + 9 * (level - 1))) & 0x1ff;
        uint64_t entry = read_entry(c, table + index * 8, level, w);

        if (!is_present(entry, rq.mode_based_exec)) {
            fail_violation(u, &rq, 0, w);
            return;
        }
        if (ept_entry_misconfigured(entry, level, u->vmx_cap.ept_vpid, (unsigned)u->address.physical_bits,
                                    rq.mode_based_exec)) {
            w->fault = EPT_FAULT_MISCONFIG;
            return;
        }
        rights &= entry_rights(entry);
        if (is_leaf(entry, level)) {
            finish(c, &rq, entry, rights, w);
            return;
        }
        table = entry & EPT_ADDR_MASK;
        assert(level > 1);
        level--;
    }
}
