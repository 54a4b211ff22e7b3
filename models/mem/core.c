// SPDX-License-Identifier: Apache-2.0
// Latency and coherence: MESI over each core's L1D and L2 by snooping, one last-level cache per socket.
//
// L2 includes L1D (its state is the core's); L3 does not include and is filled by misses and by write-backs.
// A load's extra latency is fully exposed; a store's is hidden by the store buffer (store_buffer.c).
#include "models/mem/core.h"
#include "models/cpu/native/watch.h"
#include "models/cpu/uarch/uarch.h"
#include <assert.h>
#include <stdlib.h>

static struct cache sockets[HW_ARENA_HOSTS_MAX]; // One socket per host.

static uint32_t ticks_beyond(uint64_t cycles, uint64_t base_cycles)
{
    return cycles > base_cycles ? (uint32_t)((cycles - base_cycles) * TICKS_PER_CYCLE) : 0;
}

static struct cache *socket_cache(const struct pcpu *c)
{
    const struct uarch *u = c->uarch;
    struct cache *l3 = &sockets[c->host];

    // The first core of another micro-architecture's machine finds the last machine's cache.
    if (l3->tags && (l3->ways != u->l3.ways || l3->sets != u->l3.size_bytes / u->l3.line_bytes / u->l3.ways))
        cache_destroy(l3);
    if (!l3->tags)
        cache_init(l3, u->l3.size_bytes, (uint32_t)u->l3.ways, (uint32_t)u->l3.line_bytes);
    return l3;
}

struct mem_core *mem_core_create(struct pcpu *c)
{
    const struct uarch *u = c->uarch;
    struct mem_core *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    m->cpu = c;
    m->l3 = socket_cache(c);
    if (!m->l3->tags || u->l1d.line_bytes != 1u << MEM_LINE_SHIFT ||
        l1_init(&m->l1, u->l1d.size_bytes, (uint32_t)u->l1d.ways, (uint32_t)u->l1d.line_bytes) ||
        u->l1i.line_bytes != 1u << MEM_LINE_SHIFT ||
        l1_init(&m->l1i, u->l1i.size_bytes, (uint32_t)u->l1i.ways, (uint32_t)u->l1i.line_bytes) ||
        cache_init(&m->l2, u->l2.size_bytes, (uint32_t)u->l2.ways, (uint32_t)u->l2.line_bytes)) {
        mem_core_destroy(m);
        return NULL;
    }
    uint64_t l1 = u->l1d.latency_cycles;

    m->fetch_l2_extra = ticks_beyond(u->l2.latency_cycles, u->l1i.latency_cycles);
    m->l2_extra = ticks_beyond(u->l2.latency_cycles, l1);
    m->l3_extra = ticks_beyond(u->l3.latency_cycles, l1);
    m->dram_extra = ticks_beyond(u->memory.dram_cycles, l1);
    m->clean_extra = ticks_beyond(u->coherence.clean_cycles, l1);
    m->modified_extra = ticks_beyond(u->coherence.modified_cycles, l1);
    m->upgrade = ticks_beyond(u->coherence.upgrade_cycles, 0);
    m->stlb = ticks_beyond(u->stlb.latency_cycles, 0);
    m->walk_start = ticks_beyond(u->paging_cache.walk_start_cycles, 0);
    m->commit = ticks_beyond(u->buffers.store_commit_cycles, 0);
    m->rmw = ticks_beyond(u->op.rmw_cycles, 0);
    m->stores.capacity =
        (uint32_t)(u->buffers.store_entries < MEM_STORE_ENTRIES_MAX ? u->buffers.store_entries
                                                                    : MEM_STORE_ENTRIES_MAX);
    mem_near_forget(m);
    m->dtlb_first = (uint32_t)u->dtlb.entries_1g;
    m->dtlb_total = m->dtlb_first + (uint32_t)u->stlb.entries_1g;
    if (m->dtlb_total > MEM_DTLB_MAX)
        m->dtlb_total = MEM_DTLB_MAX;
    return m;
}

void mem_core_reset(struct mem_core *m)
{
    l1_reset(&m->l1);
    l1_reset(&m->l1i);
    cache_reset(&m->l2);
    cache_reset(m->l3);
    mem_near_forget(m);
    m->stores.head = m->stores.count = m->stores.claims = 0;
    m->stores.last_drain_ticks = 0;
    m->stores.hidden = false;
    m->stores.kept = 0;
    for (uint32_t i = 0; i < MEM_STORE_ENTRIES_MAX; i++)
        m->stores.entry[i].kept = 0;
    m->monitor = 0;
    memset(m->dtlb, 0, sizeof m->dtlb);
    m->counters = (struct mem_counters){0};
    mem_hidden_drain_ticks = TICKS_NEVER;
}

void mem_core_destroy(struct mem_core *m)
{
    if (!m)
        return;
    l1_destroy(&m->l1);
    l1_destroy(&m->l1i);
    cache_destroy(&m->l2);
    free(m);
}

void mem_near_forget(struct mem_core *m)
{
    m->near_generation += MEM_NEAR_GENERATION;
    if (m->near_generation)
        return;
    memset(m->near_load, 0, sizeof m->near_load); // Old generations would come back.
    memset(m->near_store, 0, sizeof m->near_store);
    m->near_generation = MEM_NEAR_GENERATION;
}

void mem_near_learn(struct mem_core *m, struct mem_near *table, const void *p, uint64_t hpa)
{
    uint64_t line = (uint64_t)(uintptr_t)p >> MEM_LINE_SHIFT;
    struct l1_way *w = m->l1.last;

    if (!w || !cache_holds(w->tag, hpa >> MEM_LINE_SHIFT) || !m->dtlb_first)
        return;
    assert(table == m->near_load || (w->tag & 3) == CACHE_M);
    table[line % MEM_NEAR_LINES] =
        (struct mem_near){.key = line + m->near_generation, .tag = w->tag, .way = w};
}

// Puts a line into L2. What that evicts leaves L1 as well, and goes to L3.
static void l2_fill(struct mem_core *m, uint64_t line, enum cache_state state)
{
    uint64_t victim = cache_fill(&m->l2, line, state);

    if (victim) {
        l1_drop(&m->l1, victim >> 2);
        if (!cache_touch(m->l3, victim >> 2))
            cache_fill(m->l3, victim >> 2, CACHE_S);
    }
}

static void core_fill(struct mem_core *m, uint64_t line, enum cache_state state)
{
    l2_fill(m, line, state);
    l1_fill(&m->l1, line, state);
}

enum snoop { SNOOP_LOOK, SNOOP_SHARE, SNOOP_INVALIDATE };

// Looks for the line in every other core of the host. The strongest state found, before `what` was done to
// it.
static enum cache_state snoop(struct mem_core *m, uint64_t line, enum snoop what)
{
    const struct machine *machine = m->cpu->machine;
    enum cache_state found = CACHE_I;

    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        struct pcpu *other = machine->cpus[i];

        if (other == m->cpu || other->host != m->cpu->host)
            continue;
        uint64_t *l2 = cache_probe(&other->mem->l2, line);

        // Who watches a line is its holder, so that a store cannot go unseen by a silent E to M.
        if (other->mem->monitor == line + 1 && found == CACHE_I)
            found = CACHE_S;
        if (!l2)
            continue;
        if ((*l2 & 3) > found)
            found = (enum cache_state)(*l2 & 3);
        if (what == SNOOP_LOOK)
            continue;
        struct l1_way *l1 = l1_probe(&other->mem->l1, line);
        uint64_t tag = what == SNOOP_INVALIDATE ? 0 : line << 2 | CACHE_S;

        *l2 = tag;
        if (l1)
            l1->tag = tag;
    }
    if (found == CACHE_M && !cache_touch(m->l3, line))
        cache_fill(m->l3, line, CACHE_S);
    if (what == SNOOP_INVALIDATE)
        mem_line_stored(m, line, m->cpu->now_ticks);
    return found;
}

// Latency of a line that no core's state explains: last-level cache or memory.
static uint32_t from_socket(struct mem_core *m, uint64_t line)
{
    if (cache_touch(m->l3, line))
        return m->l3_extra;
    m->counters.l3_misses++;
    cache_fill(m->l3, line, CACHE_S);
    return m->dram_extra;
}

static uint32_t transfer_extra(struct mem_core *m, uint64_t line, enum cache_state found)
{
    switch (found) {
    case CACHE_M:
        m->counters.transfers++;
        return m->modified_extra;
    case CACHE_E:
        m->counters.transfers++;
        return m->clean_extra;
    case CACHE_S:
    case CACHE_I:
        break;
    }
    return from_socket(m, line);
}

uint32_t mem_line_load_miss(struct mem_core *m, uint64_t line)
{
    m->counters.l1_misses++;
    uint64_t *l2 = cache_touch(&m->l2, line);

    if (l2) {
        l1_fill(&m->l1, line, (enum cache_state)(*l2 & 3));
        return m->l2_extra;
    }
    m->counters.l2_misses++;
    enum cache_state found = snoop(m, line, SNOOP_SHARE);
    uint32_t extra = transfer_extra(m, line, found);

    core_fill(m, line, found == CACHE_I ? CACHE_E : CACHE_S);
    return extra;
}

// L2 does not include L1I, and nobody's stores take a line out of it: it has no states, only lines.
uint32_t mem_fetch_miss(struct mem_core *m, uint64_t line)
{
    enum cache_state found;
    uint32_t extra;

    if (l1_touch(&m->l1i, line))
        return 0;
    m->counters.l1i_misses++;
    l1_fill(&m->l1i, line, CACHE_S);
    if (cache_touch(&m->l2, line))
        return m->fetch_l2_extra;
    m->counters.l2_misses++;
    found = snoop(m, line, SNOOP_SHARE);
    extra = transfer_extra(m, line, found);
    l2_fill(m, line, found == CACHE_I ? CACHE_E : CACHE_S);
    return extra;
}

void mem_line_claim(struct mem_core *m, uint64_t claim)
{
    snoop(m, claim - 1, SNOOP_INVALIDATE);
}

// Makes the line ours: now, or (a request is on its way, the store waits in the buffer) when the store
// drains.
static enum cache_state claim_line(struct mem_core *m, uint64_t line, uint64_t *claim)
{
    enum cache_state found = snoop(m, line, claim ? SNOOP_LOOK : SNOOP_INVALIDATE);

    if (claim && found != CACHE_I)
        *claim = line + 1;
    return found;
}

uint32_t mem_line_store_miss(struct mem_core *m, uint64_t line, struct l1_way *l1, uint64_t *claim)
{
    uint64_t *l2 = cache_touch(&m->l2, line);
    uint64_t modified = line << 2 | CACHE_M;

    if (l2) {
        uint32_t extra = l1 ? 0 : m->l2_extra;

        if ((*l2 & 3) == CACHE_S) {
            m->counters.upgrades++;
            claim_line(m, line, claim);
            extra += m->upgrade;
        }
        *l2 = modified;
        if (l1)
            l1->tag = modified;
        else {
            m->counters.l1_misses++;
            l1_fill(&m->l1, line, CACHE_M);
        }
        return extra;
    }
    m->counters.l1_misses++;
    m->counters.l2_misses++;
    enum cache_state found = claim_line(m, line, claim);
    uint32_t extra = transfer_extra(m, line, found);

    core_fill(m, line, CACHE_M);
    return extra;
}

// hv runs with large pages: the direct map's tables are one PDPT, whose entries are cached like other memory.
uint32_t mem_dtlb_miss(struct mem_core *m, uint64_t page)
{
    uint32_t at = m->dtlb_first, extra = m->stlb;

    while (at < m->dtlb_total && m->dtlb[at] != page)
        at++;

    if (at == m->dtlb_total) {
        at--;
        m->counters.dtlb_misses++;
        extra += m->walk_start + mem_line_load(m, (HW_STACK_HPA - 4096 + page * 8) >> MEM_LINE_SHIFT);
    }
    mem_near_forget(m);
    for (; at > 0; at--)
        m->dtlb[at] = m->dtlb[at - 1];
    m->dtlb[0] = page;
    return extra;
}

void mem_access(struct pcpu *c, uint64_t hpa, unsigned size_bytes, enum mem_access_kind kind)
{
    assert(size_bytes > 0 && size_bytes <= 64);
    switch (kind) {
    case MEM_STORE:
        mem_time_store(c, hpa, size_bytes);
        mem_store_forget(c); // Nothing of it waits in the buffer.
        break;
    case MEM_RMW:
    case MEM_GUEST_RMW:
        mem_store_drain(c);
        c->mem->counters.rmws++;
        if (kind == MEM_RMW)
            c->now_ticks += mem_dtlb(c->mem, hpa);
        c->now_ticks += mem_line_store(c->mem, hpa >> MEM_LINE_SHIFT, NULL) + c->mem->rmw;
        break;
    case MEM_WALK: // By physical address: no TLB in front.
        c->now_ticks += mem_line_load(c->mem, hpa >> MEM_LINE_SHIFT);
        break;
    case MEM_LOAD:
    case MEM_FETCH:
        mem_time_load(c, hpa, size_bytes);
        break;
    case MEM_GUEST_LOAD:
        mem_time_guest_load(c, hpa, size_bytes);
        break;
    }
}

uint64_t mem_read64(struct pcpu *c, uint64_t hpa)
{
    const uint64_t *p = mem_hpa_to_ptr(c, hpa, 8);

    assert(p && hpa % 8 == 0);
    native_watch_walks(c, p, false);
    mem_access(c, hpa, 8, MEM_WALK);
    c->now_ticks += c->uarch->l1d.latency_cycles * TICKS_PER_CYCLE;
    return *p;
}

void mem_write64(struct pcpu *c, uint64_t hpa, uint64_t value, bool locked)
{
    uint64_t *p = mem_hpa_to_ptr(c, hpa, 8);

    assert(p && hpa % 8 == 0);
    native_watch_walks(c, p, true);
    if (locked) {
        mem_access(c, hpa, 8, MEM_RMW);
        *p = value;
        return;
    }
    mem_store_before(c);
    uint64_t drain = mem_time_store(c, hpa, 8);

    mem_store_push(c, p, 8, drain);
    *p = value;
}
