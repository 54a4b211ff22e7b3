// SPDX-License-Identifier: Apache-2.0
// What gdb's `monitor` shows of the machine around the guest.
#include "tools/hvsim/gdb/view.h"

#include "models/cpu/x86/x86_state.h"
#include "models/mem/mem.h"
#include "models/mmu/peek.h"
#include "spec/vmcs.h"
#include "tools/hvsim/qualification.h"
#include <inttypes.h>
#include <stdlib.h>

#define XP_BYTES_MAX 4096u

struct command {
    const char *name, *args, *about;
    void (*fn)(struct view *v, unsigned thread, const char *args, FILE *out);
};
static const struct command commands[];
static const size_t command_count;

static bool read_number(const char **at, uint64_t *value, FILE *out)
{
    char *end;

    *value = strtoull(*at, &end, 0);
    if (end == *at) {
        fputs("expected an address, such as 0x1000\n", out);
        return false;
    }
    *at = end;
    return true;
}

// --- Exits and time. ---

static void show_exits(struct view *v, unsigned thread, const char *args, FILE *out)
{
    (void)thread;
    (void)args;
    for (uint32_t i = 0; i < v->count; i++) {
        const struct view_vcpu *g = &v->vcpus[i];
        uint64_t all = 0;

        for (unsigned r = 0; r < VIEW_REASONS; r++)
            all += g->exits[r];
        fprintf(out, "vm %u vCPU %u: %" PRIu64 " exits\n", g->vm, g->vcpu, all);
        for (unsigned r = 0; r < VIEW_REASONS; r++)
            if (g->exits[r])
                fprintf(out, "  %-24s %10" PRIu64 "\n", exit_reason_name(r), g->exits[r]);
    }
}

static void show_cycles(struct view *v, unsigned thread, const char *args, FILE *out)
{
    const struct machine *m = machine_hardware(v->machine);

    (void)thread;
    (void)args;
    for (uint32_t i = 0; i < m->cpu_count; i++)
        fprintf(out, "cpu %u: %" PRIu64 " cycles\n", i, m->cpus[i]->now_ticks / TICKS_PER_CYCLE);
    for (uint32_t i = 0; i < v->count; i++)
        fprintf(out, "vm %u vCPU %u: %" PRIu64 " instructions begun\n", v->vcpus[i].vm, v->vcpus[i].vcpu,
                v->vcpus[i].instructions);
}

static void show_regs(struct view *v, unsigned thread, const char *args, FILE *out)
{
    static const char *const gpr[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char *const segment[] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
    const struct gdb_regs *r = view_regs(v, thread);

    (void)args;
    for (unsigned i = 0; i < 16; i++)
        fprintf(out, "%-4s %016" PRIx64 "%s", gpr[i], r->gpr[i], i % 4 == 3 ? "\n" : "  ");
    fprintf(out, "rip  %016" PRIx64 "  rflags %08" PRIx64 "  cr0 %08" PRIx64 "  cr2 %016" PRIx64 "\n", r->rip,
            r->rflags, r->cr[0], r->cr[2]);
    fprintf(out, "cr3  %016" PRIx64 "  cr4    %08" PRIx64 "  cr8 %" PRIx64 "  efer %" PRIx64 "\n", r->cr[3],
            r->cr[4], r->cr[8], r->efer);
    for (unsigned i = 0; i < SEGMENTS; i++)
        fprintf(out, "%-4s %04x  base %016" PRIx64 "  limit %08x  rights %05x\n", segment[i], r->selector[i],
                r->base[i], r->limit[i], r->ar[i]);
    fprintf(out, "gdtr base %016" PRIx64 " limit %04x   idtr base %016" PRIx64 " limit %04x\n", r->gdtr_base,
            r->gdtr_limit, r->idtr_base, r->idtr_limit);
}

static void show_vmcs(struct view *v, unsigned thread, const char *args, FILE *out)
{
    static const struct {
        const char *name;
        uint32_t encoding;
    } fields[] = {
#define VMCS_FIELD(name, encoding, section) {#name, encoding},
#include "spec/vmcs_fields.def"
#undef VMCS_FIELD
    };
    const struct gdb_regs *r = view_regs(v, thread);
    const struct pcpu *c = v->vcpus[thread - 1].cpu;

    if (!c) {
        fputs("this vCPU was never entered\n", out);
        return;
    }
    const struct vmx *x = &c->x86->vmx;
    const struct vmcs_ref ref = {r->vmcs_hpa, mem_hpa_to_ptr(c, r->vmcs_hpa, VMX_REGION_BYTES)};

    if (!ref.mem)
        return;
    fprintf(out, "VMCS at hpa %#" PRIx64 "; what guest-state fields hold is of the last exit\n", r->vmcs_hpa);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (x->layout.offset[VMCS_SLOT(fields[i].encoding)] &&
            strncmp(fields[i].name, args, strlen(args)) == 0)
            fprintf(out, "%04x %-32s %" PRIx64 "\n", fields[i].encoding, fields[i].name,
                    vmcs_get_ref(x, &ref, fields[i].encoding));
}

// --- Tables. ---

static void show_path(const struct mmu_peek_path *path, FILE *out)
{
    for (unsigned i = 0; i < path->count; i++)
        fprintf(out, "  %s level %u  entry at hpa %#012" PRIx64 "  %016" PRIx64 "\n",
                path->steps[i].stage == 1 ? "guest" : "EPT  ", path->steps[i].level, path->steps[i].address,
                path->steps[i].entry);
}

static bool show_stage2(const struct view_vcpu *g, uint64_t gpa, FILE *out)
{
    struct mmu_peek_path path = {.count = 0};
    struct array_value page;
    bool mapped = mmu_peek_ept(g->cpu, &g->regs.space, gpa, 1, &page, &path);

    show_path(&path, out);
    if (mapped)
        fprintf(out, "gpa %#" PRIx64 " is hpa %#" PRIx64 ", %c%c%c%s\n", gpa, page.hpa | (gpa & 0xfff),
                page.rights & MMU_R ? 'r' : '-', page.rights & MMU_W ? 'w' : '-',
                page.rights & (MMU_X | MMU_XU) ? 'x' : '-', page.rights & MMU_DIRTY ? ", dirty" : "");
    else
        fprintf(out, "gpa %#" PRIx64 " is not mapped\n", gpa);
    return mapped;
}

static void show_ept(struct view *v, unsigned thread, const char *args, FILE *out)
{
    const struct gdb_regs *r = view_regs(v, thread);
    uint64_t gpa;

    if (!read_number(&args, &gpa, out))
        return;
    if (!v->vcpus[thread - 1].cpu || !r->space.ept) {
        fputs("this vCPU has no EPT now\n", out);
        return;
    }
    fprintf(out, "EPTP %#" PRIx64 "\n", r->space.eptp);
    show_stage2(&v->vcpus[thread - 1], gpa, out);
}

static void show_walk(struct view *v, unsigned thread, const char *args, FILE *out)
{
    const struct gdb_regs *r = view_regs(v, thread);
    const struct view_vcpu *g = &v->vcpus[thread - 1];
    struct mmu_peek_path path = {.count = 0};
    struct array_value page;
    uint64_t linear;

    if (!read_number(&args, &linear, out))
        return;
    if (!g->cpu) {
        fputs("this vCPU was never entered\n", out);
        return;
    }
    bool good = !r->space.paging.levels || paging_canonical(linear, r->space.paging.levels);

    good = good && mmu_peek_guest(g->cpu, &r->space, linear, 1, &page, &path) == MMU_PEEK_FOUND;
    show_path(&path, out);
    if (!good) {
        fprintf(out, "linear %#" PRIx64 " is not mapped\n", linear);
        return;
    }
    fprintf(out, "linear %#" PRIx64 " is gpa %#" PRIx64 "\n", linear, page.gpa | (linear & 0xfff));
    show_stage2(g, page.gpa | (linear & 0xfff), out);
}

// --- Memory. ---

static void dump(struct view *v, unsigned thread, enum view_space space, const char *args, FILE *out)
{
    uint8_t bytes[XP_BYTES_MAX];
    uint64_t at, size = 16;

    if (!read_number(&args, &at, out) || (*args && !read_number(&args, &size, out)))
        return;
    size = view_read_in(v, thread, space, at, bytes, size < XP_BYTES_MAX ? size : XP_BYTES_MAX);
    if (!size)
        fprintf(out, "nothing at %#" PRIx64 "\n", at);
    for (uint64_t i = 0; i < size; i++) {
        if (i % 16 == 0)
            fprintf(out, "%012" PRIx64 ":", at + i);
        fprintf(out, " %02x%s", bytes[i], i % 16 == 15 || i + 1 == size ? "\n" : "");
    }
}

static void dump_physical(struct view *v, unsigned thread, const char *args, FILE *out)
{
    dump(v, thread, VIEW_PHYSICAL, args, out);
}

static void dump_host(struct view *v, unsigned thread, const char *args, FILE *out)
{
    dump(v, thread, VIEW_HOST, args, out);
}

static void set_space(struct view *v, unsigned thread, const char *args, FILE *out)
{
    static const char *const names[] = {"virtual", "physical", "host"};

    (void)thread;
    for (unsigned i = 0; i < 3; i++)
        if (strcmp(args, names[i]) == 0)
            v->space = (enum view_space)i;
    fprintf(out, "gdb reads %s memory\n",
            v->space == VIEW_VIRTUAL    ? "guest virtual"
            : v->space == VIEW_PHYSICAL ? "guest physical"
                                        : "host physical");
}

static void help(struct view *v, unsigned thread, const char *args, FILE *out)
{
    (void)v;
    (void)thread;
    (void)args;
    for (size_t i = 0; i < command_count; i++)
        fprintf(out, "%-7s %-24s %s\n", commands[i].name, commands[i].args, commands[i].about);
}

static const struct command commands[] = {
    {"exits", "", "VM exits so far, of each vCPU by reason", show_exits},
    {"cycles", "", "where each processor is in simulated time", show_cycles},
    {"regs", "", "all registers of this vCPU", show_regs},
    {"vmcs", "[PREFIX]", "fields of its VMCS, such as GUEST_R", show_vmcs},
    {"ept", "GPA", "the EPT's entries on the way to a guest-physical address", show_ept},
    {"walk", "ADDRESS", "the entries of both dimensions for a linear address", show_walk},
    {"xp", "GPA [BYTES]", "guest-physical memory", dump_physical},
    {"xh", "HPA [BYTES]", "host-physical memory", dump_host},
    {"space", "virtual|physical|host", "what gdb's own commands read: x, print, dump", set_space},
    {"help", "", "this list", help},
};
static const size_t command_count = sizeof commands / sizeof *commands;

void view_monitor(void *view, unsigned thread, const char *command, FILE *out)
{
    struct view *v = view;
    size_t word = strcspn(command, " ");
    const char *args = command + word + strspn(command + word, " ");

    for (size_t i = 0; i < command_count; i++)
        if (strlen(commands[i].name) == word && strncmp(command, commands[i].name, word) == 0) {
            commands[i].fn(v, thread, args, out);
            return;
        }
    if (*command)
        fprintf(out, "there is no `%s`\n", command);
    help(v, thread, args, out);
}
