// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/explain_walk.h"

#include "spec/vmx_bits.h"
#include "spec/x86_bits.h"
#include "tools/hvsim/command.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STEPS_MAX 64u

struct step {
    unsigned stage, level;
    uint64_t address, entry, cycles;
    char hit[16];
};

struct walk {
    bool found;
    char pcpu[24], vm[24], vcpu[24], result[48];
    unsigned dimension, access;
    uint64_t gva, gpa, hpa, cycle, cycles;
    bool has_gpa, has_hpa;
    unsigned guest_levels, ept_levels; // The most that the VM's walks read in this run
    struct step steps[STEPS_MAX];
    unsigned step_count;
};

static void copy(char *to, size_t size, const struct trace_value *v)
{
    snprintf(to, size, "%s", v->type == TRACE_VALUE_NULL ? "?" : v->text);
}

static bool take_walk(void *ctx, const struct trace_row *row)
{
    struct walk *w = ctx;
    const struct trace_value *v = row->values;

    w->found = true;
    copy(w->pcpu, sizeof w->pcpu, &v[0]);
    copy(w->vm, sizeof w->vm, &v[1]);
    copy(w->vcpu, sizeof w->vcpu, &v[2]);
    w->dimension = (unsigned)v[3].integer;
    w->access = (unsigned)v[4].integer;
    w->gva = (uint64_t)v[5].integer;
    w->gpa = (uint64_t)v[6].integer;
    w->has_gpa = v[6].type != TRACE_VALUE_NULL;
    w->hpa = (uint64_t)v[7].integer;
    w->has_hpa = v[7].type != TRACE_VALUE_NULL;
    copy(w->result, sizeof w->result, &v[8]);
    w->cycle = (uint64_t)v[9].integer;
    w->cycles = (uint64_t)v[10].integer;
    w->guest_levels = (unsigned)v[11].integer;
    w->ept_levels = (unsigned)v[12].integer;
    return true;
}

static bool take_step(void *ctx, const struct trace_row *row)
{
    struct walk *w = ctx;
    const struct trace_value *v = row->values;

    if (w->step_count < STEPS_MAX) {
        struct step *s = &w->steps[w->step_count++];

        s->stage = (unsigned)v[0].integer;
        s->level = (unsigned)v[1].integer;
        s->address = (uint64_t)v[2].integer;
        s->entry = (uint64_t)v[3].integer;
        copy(s->hit, sizeof s->hit, &v[4]);
        s->cycles = (uint64_t)v[5].integer;
    }
    return true;
}

// --- Names.

static const char *entry_name(unsigned level)
{
    static const char *const names[] = {"?", "PTE", "PDE", "PDPTE", "PML4E", "PML5E"};

    return names[level < 6 ? level : 0];
}

static bool is_leaf(const struct step *s)
{
    return s->level == 1 || (s->level <= 3 && (s->entry & X86_PTE_PS)); // EPT_PS is the same bit.
}

static const char *page_name(const struct step *s)
{
    return s->level == 1 ? "4-KiB page" : s->level == 2 ? "2-MiB page" : "1-GiB page";
}

static const char *found_name(const char *hit)
{
    static const char *const rows[][2] = {{"l1", "L1D"},
                                          {"l2", "L2"},
                                          {"llc", "last-level cache"},
                                          {"core", "another core"},
                                          {"memory", "memory"}};

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i][0], hit) == 0)
            return rows[i][1];
    return hit;
}

static void print_rights(const struct step *s)
{
    if (s->stage == 2)
        printf("%c%c%c%s%s", s->entry & EPT_READ ? 'r' : '-', s->entry & EPT_WRITE ? 'w' : '-',
               s->entry & EPT_EXEC ? 'x' : '-', s->entry & EPT_A ? " A" : "",
               is_leaf(s) && (s->entry & EPT_D) ? " D" : "");
    else
        printf("%c%c%c%c%s%s%s", s->entry & X86_PTE_P ? 'p' : '-', s->entry & X86_PTE_RW ? 'w' : '-',
               s->entry & X86_PTE_US ? 'u' : '-', s->entry & X86_PTE_XD ? '-' : 'x',
               s->entry & X86_PTE_A ? " A" : "", is_leaf(s) && (s->entry & X86_PTE_D) ? " D" : "",
               is_leaf(s) && (s->entry & X86_PTE_G) ? " G" : "");
}

// --- The drawing.

// What a run of EPT references from `at` on translates: the guest's entry behind it, or the page.
static const struct step *guest_behind(const struct walk *w, unsigned at)
{
    while (at < w->step_count && w->steps[at].stage == 2)
        at++;
    return at < w->step_count ? &w->steps[at] : NULL;
}

// gPA of a guest's entry: its table's page by the entry above it, else by the indexes of a full EPT walk.
static bool entry_gpa(const struct walk *w, unsigned ept_at, const struct step *guest, uint64_t *gpa)
{
    uint64_t offset = guest->address & 0xfff, page = 0;

    for (unsigned i = ept_at; i-- > 0;)
        if (w->steps[i].stage == 1) {
            *gpa = (w->steps[i].entry & X86_PTE_ADDR_MASK) | offset;
            return true;
        }
    if (w->steps[ept_at].level != w->ept_levels)
        return false;
    for (unsigned i = ept_at; i < w->step_count && w->steps[i].stage == 2; i++) {
        const struct step *s = &w->steps[i];
        unsigned shift = 12 + 9 * (s->level - 1);

        page |= (s->address & 0xfff) / 8 << shift;
        if (is_leaf(s) && s->level > 1)
            page |= guest->address & ((1ull << shift) - 1) & ~0xfffull; // The page is as aligned in memory.
    }
    *gpa = page | offset;
    return true;
}

static void print_group(const struct walk *w, unsigned at)
{
    const struct step *guest = guest_behind(w, at), *first = &w->steps[at];
    uint64_t gpa = 0;

    if (guest && entry_gpa(w, at, guest, &gpa))
        printf("      where the guest's %s lies: gPA 0x%" PRIx64, entry_name(guest->level), gpa);
    else if (guest)
        printf("      where the guest's %s lies", entry_name(guest->level));
    else if (w->has_gpa)
        printf("      the address itself: gPA 0x%" PRIx64, w->gpa);
    else
        printf("      the address itself");
    if (first->level < w->ept_levels)
        printf(" (the EPT's upper %u level%s cached)", w->ept_levels - first->level,
               w->ept_levels - first->level > 1 ? "s are" : " is");
    putchar('\n');
}

static void print_step(const struct walk *w, unsigned at)
{
    const struct step *s = &w->steps[at];
    char what[40];

    snprintf(what, sizeof what, "%s %s%s%s%s", s->stage == 2 ? "  EPT" : "guest", entry_name(s->level),
             is_leaf(s) && s->level > 1 ? ", " : "", is_leaf(s) && s->level > 1 ? page_name(s) : "", "");
    printf("  %2u  %-24s 0x%012" PRIx64 "  0x%016" PRIx64 "  %-17s %5" PRIu64 "  ", at + 1, what, s->address,
           s->entry, found_name(s->hit), s->cycles);
    print_rights(s);
    putchar('\n');
}

static void draw(const struct walk *w)
{
    unsigned previous = 2, first_guest = 0;

    printf("\n   #  %-24s %-14s  %-18s  %-17s %5s  rights and flags\n", "entry", "at", "value", "found in",
           "cycles");
    for (unsigned i = 0; i < w->step_count && !first_guest; i++)
        first_guest = w->steps[i].stage == 1 ? w->steps[i].level : 0;
    if (first_guest && first_guest < w->guest_levels)
        printf("      (the guest's upper %u level%s cached: the walk begins at a table in memory)\n",
               w->guest_levels - first_guest, w->guest_levels - first_guest > 1 ? "s are" : " is");
    for (unsigned i = 0; i < w->step_count; i++) {
        const struct step *s = &w->steps[i];

        if (s->stage == 2 && (i == 0 || previous == 1))
            print_group(w, i);
        else if (s->stage == 1 && i && previous == 1)
            puts("      (where it lies was in the nested TLB)");
        print_step(w, i);
        previous = s->stage;
    }
}

static void total(const struct walk *w)
{
    static const char *const hits[] = {"l1", "l2", "llc", "core", "memory"};
    uint64_t sum = 0, guest_sum = 0;
    unsigned guest = 0;
    const char *comma = "";

    for (unsigned i = 0; i < w->step_count; i++) {
        sum += w->steps[i].cycles;
        if (w->steps[i].stage == 1) {
            guest++;
            guest_sum += w->steps[i].cycles;
        }
    }
    printf("\n%u references: %u of the guest's tables, %u of the EPT's (", w->step_count, guest,
           w->step_count - guest);
    for (unsigned h = 0; h < sizeof hits / sizeof *hits; h++) {
        unsigned count = 0;

        for (unsigned i = 0; i < w->step_count; i++)
            count += strcmp(w->steps[i].hit, hits[h]) == 0;
        if (count) {
            printf("%s%u in %s", comma, count, found_name(hits[h]));
            comma = ", ";
        }
    }
    uint64_t beside = w->cycles > sum ? w->cycles - sum : 0;

    printf(").\n%" PRIu64 " cycles: %" PRIu64 " for them, %" PRIu64
           " for the start of the walk and for flags that it set.\n",
           w->cycles, sum, beside);
    if (w->dimension == 2 && guest_sum)
        printf("A native walk would read the guest's %u alone: %" PRIu64 " cycles. The EPT makes it %" PRIu64
               ".%" PRIu64 " times that.\n",
               guest, guest_sum, sum / guest_sum, sum * 10 / guest_sum % 10);
}

static void head(const struct walk *w, int64_t number)
{
    static const char *const accesses[] = {"access", "read",  "write", "read and write",
                                           "fetch",  "fetch", "fetch", "fetch"};

    printf("walk %" PRId64 ": %s of %s 0x%" PRIx64 " on pCPU %s, vCPU %s of VM %s, cycle %" PRIu64 "\n",
           number, accesses[w->access & 7], w->dimension == 2 ? "gVA" : "address", w->gva, w->pcpu, w->vcpu,
           w->vm, w->cycle);
    if (w->dimension == 2)
        printf("The TLBs did not have it. %u levels of the guest's tables (SDM 4.5), each entry found by %u "
               "of the EPT's\n(SDM 28.3.2): %u references if nothing is cached.\n",
               w->guest_levels, w->ept_levels,
               w->guest_levels * w->ept_levels + w->guest_levels + w->ept_levels);
    else
        puts("The TLBs did not have it; one dimension translates it.");
}

static void tail(const struct walk *w)
{
    if (strcmp(w->result, "ok") == 0) {
        printf("Result: gPA 0x%" PRIx64 ", hPA 0x%" PRIx64 ".\n", w->gpa, w->hpa);
        return;
    }
    printf("Result: %s", w->result);
    if (w->has_gpa)
        printf(" at gPA 0x%" PRIx64, w->gpa);
    puts(".");
}

int explain_walk(struct trace_reader *r, int64_t run, const char *db, int64_t number)
{
    struct walk w = {.found = false};
    struct trace_error error;
    char sql[900];

    snprintf(sql, sizeof sql,
             "SELECT pcpu, vm, vcpu, dimension, access, gva, gpa, hpa, result, cycle, cycles, "
             "(SELECT max(s.level) FROM walk_steps s JOIN walks x USING (walk) WHERE s.stage = 1 AND x.vm = "
             "w.vm), "
             "(SELECT max(s.level) FROM walk_steps s JOIN walks x USING (walk) WHERE s.stage = 2 AND x.vm = "
             "w.vm) FROM walks w WHERE walk = %" PRId64,
             number);
    if (trace_query(r, sql, take_walk, &w, &error) != TRACE_OK)
        return complain("%s; %s", error.message, error.hint);
    if (!w.found)
        return complain("run %" PRId64 " of %s has no walk %" PRId64
                        "; `SELECT max(walk) FROM walks` tells how many it has",
                        run, db, number);
    snprintf(sql, sizeof sql,
             "SELECT stage, level, address, entry, hit, cycles FROM walk_steps WHERE walk = %" PRId64
             " ORDER BY step",
             number);
    if (trace_query(r, sql, take_step, &w, &error) != TRACE_OK)
        return complain("%s; %s", error.message, error.hint);
    head(&w, number);
    draw(&w);
    total(&w);
    tail(&w);
    return STATUS_OK;
}
