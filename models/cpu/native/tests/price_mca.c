// SPDX-License-Identifier: Apache-2.0

#include "models/cpu/native/tests/price_mca.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITERATIONS 100
#define TEXT_MAX 32768

// Reasons for a ratio of 2/3 or less, or 3/2 or more; the first that fits counts. Columns: name, explanation.
static const char *const reasons[][2] = {
    {"string", "REP string instruction: LLVM prices one step, we the start-up and the bytes"},
    {"division", "LLVM pipelines the divider otherwise; ours is uops.info's throughput"},
    {"chain", "a dependency chain longer than the scheduler covers; RThroughput knows no chains"},
    {"jump", "a taken jump, call or return has one port (6 on Skylake); LLVM lets it choose, and knows no "
             "uops of calls"},
    {"memory", "LLVM gives loads, stores or calls fewer or more uops on ports 2, 3, 4 and 7"},
    {"fusion", "micro- or macro-fusion, move elimination or zero idioms, which LLVM does not know here"},
    {"shift", "shift or rotate by CL: LLVM gives it more uops or other ports"},
    {"width", "issue of four uops a cycle; LLVM lets Skylake dispatch six"},
};
#define REASONS (sizeof reasons / sizeof reasons[0])

const char *mca_program(void)
{
    static const char *const names[] = {"llvm-mca-14", "llvm-mca"};
    char command[64];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", names[i]);
        if (system(command) == 0)
            return names[i];
    }
    return NULL;
}

const char *mca_cpu(const char *uarch)
{
    static const char *const cpus[][2] = {{"skylake-sp", "skylake-avx512"},
                                          {"sandybridge-ep", "sandybridge"}};
    for (size_t i = 0; i < sizeof cpus / sizeof cpus[0]; i++)
        if (strcmp(cpus[i][0], uarch) == 0)
            return cpus[i][1];
    return NULL;
}

static bool write_regions(struct price_table *t, const char *path, char *text)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL)
        return false;
    fputs(".intel_syntax noprefix\n", f);
    for (size_t i = 0; i < price_block_count(t); i++) {
        const struct price_block *b = price_block_at(t, i);
        if (b->instructions == 0)
            continue;
        price_block_text(t, b, text, TEXT_MAX);
        fprintf(f, "# LLVM-MCA-BEGIN b%zu\n%s# LLVM-MCA-END\n", i, text);
    }
    return fclose(f) == 0;
}

// "5.25" or "5" in hundredths.
static uint32_t hundredths(const char *text)
{
    char *end;
    unsigned long whole = strtoul(text, &end, 10);
    unsigned long part = 0;
    if (*end == '.' && end[1] >= '0' && end[1] <= '9') {
        part = (unsigned long)(end[1] - '0') * 10;
        if (end[2] >= '0' && end[2] <= '9')
            part += (unsigned long)(end[2] - '0');
    }
    return (uint32_t)(whole * 100 + part);
}

static bool has_line(const char *text, const char *start)
{
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, start, strlen(start)) == 0)
            return true;
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return false;
}

static const char *explain(const struct mca_block *m, const char *text)
{
    const struct price_block *b = m->block;
    uint32_t throughput = b->front_ticks > b->port_ticks ? b->front_ticks : b->port_ticks;
    bool dearer = m->ratio >= 1500;
    if (m->ratio < 1500 && m->ratio * 3 > 2000)
        return NULL;
    if (has_line(text, "rep "))
        return "string";
    if (has_line(text, "div ") || has_line(text, "idiv "))
        return "division";
    if (dearer && b->chain_ticks > throughput)
        return "chain";
    if (dearer && (has_line(text, "jmp ") || has_line(text, "call ") || has_line(text, "ret")))
        return "jump";
    if (dearer && b->port_ticks > b->front_ticks && (strstr(text, "[") != NULL || has_line(text, "push ")))
        return "memory";
    if (!dearer && strstr(text, ", cl\n") != NULL)
        return "shift";
    if (!dearer && (has_line(text, "j") || has_line(text, "mov ") || has_line(text, "xor ")))
        return "fusion";
    return dearer && b->front_ticks >= b->port_ticks ? "width" : "unexplained";
}

static bool read_report(struct mca_report *r, struct price_table *t, const char *path, char *text)
{
    char line[512];
    const char *at;
    const struct price_block *b = NULL;
    uint32_t cycles = 0;
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return false;
    while (fgets(line, sizeof line, f) != NULL) {
        if ((at = strstr(line, "Code Region - b")) != NULL)
            b = price_block_at(t, strtoul(at + 15, NULL, 10));
        else if (strncmp(line, "Total Cycles:", 13) == 0)
            cycles = hundredths(line + 13 + strspn(line + 13, " ")) / ITERATIONS;
        if (b == NULL || strncmp(line, "Block RThroughput:", 18) != 0)
            continue;
        struct mca_block m = {.block = b, .ours = b->ticks * 100 / UARCH_TICKS_PER_CYCLE};
        m.theirs = b->loop ? cycles : hundredths(line + 18 + strspn(line + 18, " "));
        if (m.theirs == 0 || m.ours == 0)
            continue;
        m.ratio = (uint32_t)((uint64_t)m.ours * 1000 / m.theirs);
        price_block_text(t, b, text, TEXT_MAX);
        m.class = explain(&m, text);
        r->outliers += m.class != NULL;
        r->unexplained += m.class != NULL && strcmp(m.class, "unexplained") == 0;
        r->blocks[r->count++] = m;
    }
    fclose(f);
    return true;
}

static int ratio_order(const void *a, const void *b)
{
    const struct mca_block *x = a, *y = b;
    if (x->ratio != y->ratio)
        return x->ratio < y->ratio ? -1 : 1;
    return x->block->start < y->block->start ? -1 : 1;
}

bool mca_compare(struct mca_report *r, struct price_table *t, const struct uarch *u, const char *folder,
                 char *error, size_t error_size)
{
    char in[512], out[512], command[2048];
    char *text = malloc(TEXT_MAX);
    *r = (struct mca_report){.blocks = calloc(price_block_count(t) + 1, sizeof *r->blocks)};
    if (text == NULL || r->blocks == NULL)
        abort();
    snprintf(in, sizeof in, "%s/%s.s", folder, u->name);
    snprintf(out, sizeof out, "%s/%s.mca", folder, u->name);
    snprintf(command, sizeof command,
             "%s -mcpu=%s -iterations=%d -resource-pressure=0 -instruction-info=0 '%s' >'%s' 2>'%s.errors'",
             mca_program(), mca_cpu(u->name), ITERATIONS, in, out, out);
    bool done = write_regions(t, in, text) && system(command) == 0 && read_report(r, t, out, text);
    free(text);
    if (!done || r->count == 0) {
        snprintf(error, error_size, "llvm-mca failed; see %s and %s.errors", in, out);
        mca_report_free(r);
        return false;
    }
    qsort(r->blocks, r->count, sizeof *r->blocks, ratio_order);
    r->empty = price_block_count(t) - r->count;
    r->tenth = r->blocks[r->count / 10].ratio;
    r->median = r->blocks[r->count / 2].ratio;
    r->ninetieth = r->blocks[r->count * 9 / 10].ratio;
    return true;
}

void mca_report_free(struct mca_report *r)
{
    free(r->blocks);
    *r = (struct mca_report){0};
}

static void print_block(const struct mca_block *m, struct price_table *t)
{
    char *rest = NULL;
    char *text = malloc(TEXT_MAX);
    if (text == NULL)
        abort();
    price_block_text(t, m->block, text, TEXT_MAX);
    printf("\n  %s at 0x%" PRIx64 "%s: ours %u.%02u, llvm-mca %u.%02u cycles, ratio %u.%03u, %s\n",
           m->block->function, m->block->start, m->block->loop ? " (loop)" : "", m->ours / 100, m->ours % 100,
           m->theirs / 100, m->theirs % 100, m->ratio / 1000, m->ratio % 1000, m->class);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        printf("      %s\n", line);
    free(text);
}

void mca_print(const struct mca_report *r, struct price_table *t, const struct uarch *u, size_t worst)
{
    printf("%s against llvm-mca -mcpu=%s: %zu blocks (%zu without price)\n", u->name, mca_cpu(u->name),
           r->count, r->empty);
    printf("  ratio of our price to llvm-mca's: 10th percentile %u.%03u, median %u.%03u, 90th percentile "
           "%u.%03u\n",
           r->tenth / 1000, r->tenth % 1000, r->median / 1000, r->median % 1000, r->ninetieth / 1000,
           r->ninetieth % 1000);
    printf("  %zu differ by half or more:\n", r->outliers);
    for (size_t i = 0; i < REASONS; i++) {
        size_t count = 0;
        for (size_t b = 0; b < r->count; b++)
            count += r->blocks[b].class != NULL && strcmp(r->blocks[b].class, reasons[i][0]) == 0;
        if (count > 0)
            printf("  %6zu %-10s %s\n", count, reasons[i][0], reasons[i][1]);
    }
    printf("  %6zu %s\n", r->unexplained, "unexplained");
    for (size_t b = 0; b < r->count && b < worst; b++)
        if (r->blocks[b].class != NULL)
            print_block(&r->blocks[b], t);
    for (size_t b = 0; b < r->count && b < worst; b++)
        if (r->blocks[r->count - 1 - b].class != NULL)
            print_block(&r->blocks[r->count - 1 - b], t);
}
