// SPDX-License-Identifier: Apache-2.0
// The memory-management unit of one processor in non-root operation: from a guest's linear address to memory.
//
// A translation is looked up in the TLBs (models/mmu/tlb.h) and else made by a two-dimensional walk: the
// guest's tables (SDM 4.5), each of whose entries has a guest-physical address that the EPT translates
// (SDM 28.3), and then the EPT for the page itself. n guest levels and m EPT levels are n*m + n + m
// references when nothing is cached: 24, 29, 35. Each goes through the modelled caches and takes its time.
//
// Choices where the manual leaves one:
// - A TLB entry that does not allow an access is walked again before anything faults.
// - Accessed and dirty flags of the guest's tables are set after the last EPT walk, so an access that exits
// sets
//   none of them; paging-structure caches take entries of walks that succeeded only.
// - References of one walk do not overlap, nor do walks.
// Called in the processor's own process; simulated time of the processor advances.
#ifndef MODELS_MMU_MMU_H
#define MODELS_MMU_MMU_H

#include "models/mmu/ept.h"
#include "models/mmu/paging.h"
#include "models/mmu/tlb.h"

// What translates now, by control registers and VMCS.
struct mmu_space {
    struct paging paging;
    struct tlb_tag tag;
    bool ept;
    bool mode_based_exec;
    uint64_t eptp;
};

enum mmu_result {
    MMU_OK,
    MMU_NOT_CANONICAL, // #GP(0), or #SS(0) of a stack access; also beyond the 32 bits of a mode that has
                       // those
    MMU_PAGE_FAULT,    // walk.error_code
    MMU_EPT_VIOLATION, // walk.gpa, walk.qualification
    MMU_EPT_MISCONFIG, // walk.gpa
    MMU_LOG_FULL,      // Page-modification log-full event (SDM 28.3.6)
    MMU_RESULTS
};
const char *mmu_result_str(enum mmu_result result);

#define MMU_STEPS_MAX 35u // 5 * 5 + 5 + 5

struct mmu_step {
    uint64_t address; // HPA of the entry
    uint64_t entry;   // Its value when read
    uint64_t ticks;   // Of the reference
    uint8_t stage;    // 1 the guest's tables, 2 the EPT's
    uint8_t level;    // 5 .. 1
    uint8_t where;    // enum ept_where
};

struct mmu_walk {
    enum mmu_result result;
    uint64_t linear;
    uint64_t gpa; // Of the byte; of what could not be reached after a violation or misconfiguration
    uint64_t qualification;
    uint32_t error_code;
    uint32_t step_count;
    uint64_t begin_ticks, ticks;
    struct array_value value; // The translation, valid if MMU_OK
    struct mmu_step steps[MMU_STEPS_MAX];
};

// Of a run; a hit or miss of a structure each.
struct mmu_counters {
#define MMU_COUNTER(name, about) uint64_t name;
#include "models/mmu/counters.def"
#undef MMU_COUNTER
};

// The page-modification log, which the processor's VMCS holds. NULL functions: there is none.
struct mmu_log {
    bool (*full)(struct pcpu *c); // Logging is on and has no room.
    void (*append)(struct pcpu *c, uint64_t gpa);
};

struct mmu_check; // models/mmu/check.h

// What a translation must allow for an access.
struct mmu_rule {
    // For whoever finds it: the bits of `mask` are to be `need`, then it does. Else demand and ept tell.
    uint16_t mask, need;
    struct paging_demand demand; // Of the guest's tables
    uint16_t ept;                // Of the EPT's, all needed; and the dirty flags
};

// A page of ordinary memory that accesses of a mode found in the first-level TLB, so that the next need no
// search: valid while `stamp` is mmu_near_stamp() and the TLB has the entry still where it was.
#define MMU_NEAR_PAGES 64u
enum { MMU_NEAR_READ, MMU_NEAR_WRITE, MMU_NEAR_FETCH, MMU_NEARS };
struct mmu_near {
    uint64_t page, stamp; // Linear page number
    uint64_t hpa;
    unsigned char *host;
    struct tlb_place place;
};

struct mmu {
    struct pcpu *cpu;
    struct tlb tlb;
    struct mmu_space space;
    struct tlb_numbers numbers;
    struct mmu_rule rules[MMU_MODES][8];    // By access bits
    uint64_t canonical_add, canonical_mask; // (address + add) & mask is 0 if paging translates the address.
    struct mmu_log log;
    struct mmu_counters counters;
    struct mmu_check *check; // The machine's; NULL: hits are not compared with the tables
    enum mmu_mode mode;      // For the caller: whose accesses there are now
    bool ready;              // A space was set since the reset
    bool walked;             // The last mmu_translate() walked: `walk` is of it.
    struct mmu_walk walk;
    uint64_t apart[2];   // Host page numbers that are no ordinary memory for the guest (mmu_set_apart())
    uint64_t near_stamp; // Changes with everything but a context that could make a near page lie
    struct mmu_near near[MMU_MODES][MMU_NEARS][MMU_NEAR_PAGES];
};

struct mmu *mmu_create(struct pcpu *c);
// Empties everything and takes on the sizes of the processor's uarch.
void mmu_reset(struct mmu *m);
void mmu_destroy(struct mmu *m);

// From now on this translates; spaces are compared as bytes, padding is to be 0. Invalidates nothing.
void mmu_set_space(struct mmu *m, const struct mmu_space *s);
// The same space but for PKRU.
void mmu_set_pkru(struct mmu *m, uint32_t pkru);

// Translates the byte at `linear` for an access (enum ept_access bits).
// MMU_OK: *hpa is its address. Else `walk` says what went wrong, and what that event itself invalidates
// (SDM 4.10.4.1, 28.4.3.1) is done.
enum mmu_result mmu_translate(struct mmu *m, uint64_t linear, unsigned access, enum mmu_mode mode,
                              uint64_t *hpa);

// Translates a guest-physical address that the processor reads without a linear one (PDPTEs that MOV to CR
// loads, SDM 4.4.1): by the nested TLB, else by the EPT. MMU_OK: *hpa. Else `walk` says what went wrong.
enum mmu_result mmu_translate_physical(struct mmu *m, uint64_t gpa, uint64_t *hpa);

static inline bool mmu_canonical(const struct mmu *m, uint64_t linear)
{
    return ((linear + m->canonical_add) & m->canonical_mask) == 0;
}

// The same for the usual case alone, a hit in the first level that allows the access: takes no time. False:
// nothing happened, mmu_translate() has to be asked.
static inline bool mmu_hit(struct mmu *m, uint64_t linear, unsigned access, enum mmu_mode mode, uint64_t *hpa)
{
    const struct mmu_rule *rule = &m->rules[mode][access];
    bool fetch = access & EPT_ACCESS_FETCH;
    const struct array_value *v;

    if (__builtin_expect(m->numbers.epoch != m->tlb.contexts.epoch || m->check != NULL, 0) ||
        __builtin_expect(!mmu_canonical(m, linear), 0))
        return false;
    v = tlb_find_first(&m->tlb, &m->numbers, linear, fetch);
    if (!v || (v->rights & rule->mask) != rule->need)
        return false;
    *hpa = v->hpa | (linear & ((1ull << v->page_bits) - 1));
    if (fetch)
        m->counters.itlb_hits++;
    else
        m->counters.dtlb_hits++;
    return true;
}

// A hit in either level that allows the access, with its time. False: nothing happened.
bool mmu_find(struct mmu *m, uint64_t linear, unsigned access, enum mmu_mode mode, uint64_t *hpa);
// Host pages whose accesses are not to be carried out as those of memory: page numbers, or UINT64_MAX.
void mmu_set_apart(struct mmu *m, uint64_t first, uint64_t second);

// Images lie at round addresses: pages 4 MiB or 256 KiB apart are used together and must not share a place.
static inline unsigned mmu_near_index(uint64_t linear)
{
    return (unsigned)(linear >> 12 ^ linear >> 18) & (MMU_NEAR_PAGES - 1);
}

static inline struct mmu_near *mmu_near_of(struct mmu *m, uint64_t linear, unsigned access)
{
    unsigned kind = access & EPT_ACCESS_FETCH   ? MMU_NEAR_FETCH
                    : access & EPT_ACCESS_WRITE ? MMU_NEAR_WRITE
                                                : MMU_NEAR_READ;

    return &m->near[m->mode][kind][mmu_near_index(linear)];
}

// Where the caller may carry out an access (READ, WRITE or both; FETCH) of `size` bytes in m->mode: the
// bytes' place in the simulating machine's memory, and *hpa. It was a hit of a TLB, which is counted and
// timed. NULL: it is not, or crosses pages, or is not of ordinary memory; nothing happened.
unsigned char *mmu_ordinary_search(struct mmu *m, uint64_t linear, unsigned access, uint64_t *hpa);
// Both parts only grow: the sum is another one when either is.
static inline uint64_t mmu_near_stamp(const struct mmu *m)
{
    return m->near_stamp + m->tlb.contexts.epoch;
}

// The same without a search: NULL where the page is not near. The caller, if it carries the access out, uses
// the page.
static inline __attribute__((always_inline)) struct mmu_near *mmu_near_find(struct mmu *m, uint64_t linear,
                                                                            unsigned size, unsigned access)
{
    struct mmu_near *n = mmu_near_of(m, linear, access);

    if (__builtin_expect(n->page != linear >> 12 || n->stamp != mmu_near_stamp(m) ||
                             *n->place.key_at != n->place.key || ((unsigned)linear & 0xfff) + size > 0x1000,
                         0))
        return NULL;
    return n;
}
static inline __attribute__((always_inline)) void mmu_near_use(struct mmu *m, const struct mmu_near *n,
                                                               unsigned access)
{
    *n->place.used = ++*n->place.clock;
    if (access & EPT_ACCESS_FETCH)
        m->counters.itlb_hits++;
    else
        m->counters.dtlb_hits++;
}

static inline unsigned char *mmu_ordinary(struct mmu *m, uint64_t linear, unsigned size, unsigned access,
                                          uint64_t *hpa)
{
    const struct mmu_near *n = mmu_near_find(m, linear, size, access);
    unsigned offset = (unsigned)linear & 0xfff;

    if (__builtin_expect(!n, 0))
        return offset + size > 0x1000 ? NULL : mmu_ordinary_search(m, linear, access, hpa);
    mmu_near_use(m, n, access);
    *hpa = n->hpa + offset;
    return n->host + offset;
}

// Does a translation allow an access?
static inline bool mmu_allows(const struct mmu *m, uint16_t rights, unsigned access, enum mmu_mode mode)
{
    const struct mmu_rule *r = &m->rules[mode][access];

    return (rights & r->ept) == r->ept && paging_allows(&r->demand, rights);
}

// Takes on the numbers of contexts that changed.
void mmu_refresh(struct mmu *m);
// walk.c: makes the translation from the tables; fills m->walk. Caches what it found.
enum mmu_result mmu_walk_tables(struct mmu *m, uint64_t linear, unsigned access, enum mmu_mode mode);

void mmu_counters_add(struct mmu_counters *to, const struct mmu_counters *k);
// Calls `fn` for every counter of the unit, by its name ("dtlb_hits").
void mmu_counters_each(const struct mmu_counters *k, void (*fn)(void *ctx, const char *name, uint64_t value),
                       void *ctx);

#endif
