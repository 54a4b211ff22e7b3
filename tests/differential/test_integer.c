// SPDX-License-Identifier: Apache-2.0
// Integer instructions of the interpreter against Unicorn, an independent emulator: the same bytes from the
// same random state must end in the same registers, flags (but undefined ones), memory and exception.
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"

#include <capstone/capstone.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicorn/unicorn.h>

enum { PML4 = 0x2000, PDPT = 0x3000, PD = 0x4000, CODE = 0x10000, DATA = 0x20000, DATA_BYTES = 0x2000 };
#define TABLE (X86_PTE_P | X86_PTE_RW | X86_PTE_US | X86_PTE_A)
#define NO_VECTOR 255
#define TRIES_EACH 400

struct state {
    uint64_t gpr[16], rflags;
    unsigned char data[DATA_BYTES];
    unsigned vector; // Of the exception in which it ended
};

struct form {
    const char *name;
    unsigned char bytes[4];
    unsigned byte_count;
    const char *operands;
    unsigned ext;
    int immediate;
    uint64_t undefined;
    const char *sizes;
};
#define BYTES(...) {__VA_ARGS__}, sizeof((unsigned char[]){__VA_ARGS__})
static const struct form forms[] = {
#define CASE(name, bytes, ...) {name, bytes, __VA_ARGS__},
#include "tests/differential/cases.def"
#undef CASE
};

static uint64_t seed = 1;
static uint64_t random64(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// Numbers that find mistakes: small ones, powers of two, their neighbours.
static uint64_t interesting(void)
{
    uint64_t r = random64();

    switch (r & 7) {
    case 0:
        return r >> 8 & 7;
    case 1:
        return 0 - (r >> 8 & 7);
    case 2:
        return 1ull << (r >> 8 & 63);
    case 3:
        return (1ull << (r >> 8 & 63)) - 1;
    case 4:
        return 0x8000000080008080ull ^ (r >> 60);
    default:
        return random64();
    }
}

// --- The two machines. ---

static bool mode_64; // Else compatibility mode, 32-bit code
static uc_engine *uc;
static csh capstone;
static uc_context *uc_fresh; // Without a trace of an earlier exception
static unsigned uc_vector;

static int uc_reg(unsigned n)
{
    static const int wide[16] = {UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX,
                                 UC_X86_REG_RSP, UC_X86_REG_RBP, UC_X86_REG_RSI, UC_X86_REG_RDI,
                                 UC_X86_REG_R8,  UC_X86_REG_R9,  UC_X86_REG_R10, UC_X86_REG_R11,
                                 UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15};
    static const int narrow[8] = {UC_X86_REG_EAX, UC_X86_REG_ECX, UC_X86_REG_EDX, UC_X86_REG_EBX,
                                  UC_X86_REG_ESP, UC_X86_REG_EBP, UC_X86_REG_ESI, UC_X86_REG_EDI};

    return mode_64 ? wide[n] : narrow[n];
}

static void on_interrupt(uc_engine *engine, uint32_t vector, void *unused)
{
    (void)unused;
    uc_vector = vector;
    uc_emu_stop(engine);
}

static void open_both(bool mode)
{
    uc_hook hook;

    mode_64 = mode;
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    bench_ept();
    bench_set64(BENCH_GUEST + PML4, PDPT | TABLE);
    bench_set64(BENCH_GUEST + PDPT, PD | TABLE);
    bench_set64(BENCH_GUEST + PD, 0 | TABLE | X86_PTE_D | X86_PTE_PS);
    bench_vmwrite(GUEST_CR3, PML4);
    bench_vmwrite(GUEST_IDTR_BASE, 0x1000);
    bench_vmwrite(EXCEPTION_BITMAP, UINT32_MAX);
    if (!mode_64) {
        bench_vmwrite(GUEST_CS_AR_BYTES, 0xc09b);
        for (unsigned name = SEG_ES; name <= SEG_DS; name += SEG_DS - SEG_ES) { // Flat.
            bench_vmwrite(GUEST_ES_SELECTOR + 2 * name, 0x18);
            bench_vmwrite(GUEST_ES_AR_BYTES + 2 * name, 0xc093);
            bench_vmwrite(GUEST_ES_LIMIT + 2 * name, UINT32_MAX);
        }
    }
    ASSERT_EQ(cs_open(CS_ARCH_X86, mode_64 ? CS_MODE_64 : CS_MODE_32, &capstone), CS_ERR_OK);
    cs_option(capstone, CS_OPT_DETAIL, CS_OPT_ON);
    ASSERT_EQ(uc_open(UC_ARCH_X86, mode_64 ? UC_MODE_64 : UC_MODE_32, &uc), UC_ERR_OK);
    uc_ctl_set_cpu_model(uc, UC_CPU_X86_SKYLAKE_CLIENT);
    uc_mem_map(uc, CODE, 0x1000, UC_PROT_ALL);
    uc_mem_map(uc, DATA, DATA_BYTES, UC_PROT_READ | UC_PROT_WRITE);
    uc_context_alloc(uc, &uc_fresh);
    uc_context_save(uc, uc_fresh);
    uc_hook_add(uc, &hook, UC_HOOK_INTR, (void *)on_interrupt, NULL, 1, 0);
}

static void close_both(void)
{
    uc_context_free(uc_fresh);
    uc_close(uc);
    cs_close(&capstone);
    bench_end();
}

static void run_unicorn(struct state *s, const unsigned char *code, unsigned length)
{
    unsigned char hlt = 0xf4;
    uc_err error;

    uc_vector = NO_VECTOR;
    uc_context_restore(uc, uc_fresh);
    uc_mem_write(uc, CODE, code, length);
    uc_mem_write(uc, CODE + length, &hlt, 1);
    uc_mem_write(uc, DATA, s->data, DATA_BYTES);
    for (unsigned i = 0; i < (mode_64 ? 16 : 8); i++)
        uc_reg_write(uc, uc_reg(i), &s->gpr[i]);
    uc_reg_write(uc, UC_X86_REG_EFLAGS, &s->rflags);
    uc_ctl_remove_cache(uc, CODE, CODE + 0x1000);
    error = uc_emu_start(uc, CODE, CODE + length, 0, 0);
    s->vector = error == UC_ERR_INSN_INVALID ? UD_VECTOR : uc_vector;
    if (error == UC_ERR_READ_UNMAPPED || error == UC_ERR_WRITE_UNMAPPED)
        s->vector = PF_VECTOR;
    for (unsigned i = 0; i < (mode_64 ? 16 : 8); i++)
        uc_reg_read(uc, uc_reg(i), &s->gpr[i]);
    uc_reg_read(uc, UC_X86_REG_EFLAGS, &s->rflags);
    uc_mem_read(uc, DATA, s->data, DATA_BYTES);
}

static void run_ours(struct state *s, const unsigned char *code, unsigned length)
{
    unsigned char *memory = bench.memory + BENCH_GUEST;
    uint32_t reason;

    memcpy(memory + CODE, code, length);
    memory[CODE + length] = 0xf4;
    memcpy(memory + DATA, s->data, DATA_BYTES);
    memcpy(bench_gprs.r, s->gpr, sizeof s->gpr);
    bench_vmwrite(GUEST_RIP, CODE);
    bench_vmwrite(GUEST_RSP, s->gpr[4]);
    bench_vmwrite(GUEST_RFLAGS, s->rflags);
    bench_vmwrite(GUEST_INTERRUPTIBILITY_INFO, 0);
    reason = bench_run();
    s->vector = NO_VECTOR;
    if (reason == EXIT_REASON_EXCEPTION_NMI)
        s->vector = bench_vmread(VM_EXIT_INTR_INFO) & INTR_INFO_VECTOR_MASK;
    else
        EXPECT_EQ(reason, EXIT_REASON_HLT);
    memcpy(s->gpr, bench_gprs.r, sizeof s->gpr);
    s->gpr[4] = bench_vmread(GUEST_RSP);
    s->rflags = bench_vmread(GUEST_RFLAGS);
    memcpy(s->data, memory + DATA, DATA_BYTES);
}

// --- Cases. ---

static bool has(const char *letters, char c)
{
    return strchr(letters, c) != NULL;
}

// Assembles a random member of the form; its length.
static unsigned assemble(const struct form *f, unsigned char *code)
{
    unsigned n = 0, skip = 0;
    uint64_t r = random64();
    bool memory = has(f->operands, 'X') || (has(f->operands, 'M') && (r & 1));
    unsigned width = has(f->sizes, 'B')   ? 1
                     : has(f->sizes, 'W') ? 4u << (mode_64 ? r >> 1 & 1 : 0)
                                          : 2u << (r >> 1) % (mode_64 ? 3 : 2);
    int immediate = f->immediate;

    if (has(f->sizes, 'L') && memory && (r >> 4 & 3) == 0)
        code[n++] = 0xf0;
    if (has(f->operands, 'S') && (r >> 6 & 1))
        code[n++] = r >> 7 & 1 ? 0xf3 : 0xf2;
    if (width == 2)
        code[n++] = 0x66;
    if (f->bytes[0] == 0x66 || f->bytes[0] >= 0xf2) {
        if (f->byte_count > 1 && f->bytes[1] == 0x0f) {
            code[n++] = f->bytes[0];
            skip = 1;
        }
    }
    // Where Unicorn is wrong by SDM vol. 2 and processors: REX with SAHF and LAHF makes AH into SPL, and
    // REX.R counts in an opcode extension. (LOCK NEG, whose flags it takes from the old value: no L in
    // cases.def.)
    if (width == 8 || (mode_64 && (r >> 8 & 3) == 0 && (f->bytes[0] & 0xfe) != 0x9e))
        code[n++] = (unsigned char)(0x40 | (width == 8 ? 8 : 0) | (r >> 10 & (f->ext == 8 ? 7 : 3)));
    memcpy(code + n, f->bytes + skip, f->byte_count - skip);
    n += f->byte_count - skip;
    if (has(f->operands, 'M') || has(f->operands, 'X') || has(f->operands, 'R')) {
        unsigned reg = f->ext == 8 ? (unsigned)(r >> 16) & 7 : f->ext, rm = (unsigned)(r >> 20) & 7;
        unsigned mod = memory ? (unsigned)((r >> 24) % 3) : 3;

        code[n++] = (unsigned char)(mod << 6 | reg << 3 | rm);
        if (mod != 3 && rm == 4)
            code[n++] = (unsigned char)(r >> 32);
        for (unsigned i = 0; i < 4; i++) // A displacement, or bytes of an immediate.
            code[n + i] = (unsigned char)(r >> (40 + i * 4));
        if (mod == 1)
            n += 1;
        else if (mod == 2 || (mod == 0 && rm == 5))
            n += 4;
        else if (mod == 0 && rm == 4 && (code[n - 1] & 7) == 5)
            n += 4;
    }
    if (immediate == -2)
        immediate = width == 2 ? 2 : 4;
    else if (immediate == -1)
        immediate = 1;
    for (uint64_t value = interesting(); immediate-- > 0; value >>= 8)
        code[n++] = (unsigned char)value;
    return n;
}

static int gpr_of(unsigned reg)
{
    static const uint16_t names[16][2] = {
        {X86_REG_RAX, X86_REG_EAX},  {X86_REG_RCX, X86_REG_ECX},  {X86_REG_RDX, X86_REG_EDX},
        {X86_REG_RBX, X86_REG_EBX},  {X86_REG_RSP, X86_REG_ESP},  {X86_REG_RBP, X86_REG_EBP},
        {X86_REG_RSI, X86_REG_ESI},  {X86_REG_RDI, X86_REG_EDI},  {X86_REG_R8, X86_REG_R8D},
        {X86_REG_R9, X86_REG_R9D},   {X86_REG_R10, X86_REG_R10D}, {X86_REG_R11, X86_REG_R11D},
        {X86_REG_R12, X86_REG_R12D}, {X86_REG_R13, X86_REG_R13D}, {X86_REG_R14, X86_REG_R14D},
        {X86_REG_R15, X86_REG_R15D}};

    for (int i = 0; i < 16; i++)
        if (names[i][0] == reg || names[i][1] == reg)
            return i;
    return -1;
}

// Makes the memory operand of `code` an address within the data; false: it cannot be.
static bool aim(struct state *s, unsigned char *code, unsigned length)
{
    uint64_t target = DATA + 64 + random64() % (DATA_BYTES - 256), address = CODE;
    const uint8_t *p = code;
    size_t left = length;
    cs_insn *in = cs_malloc(capstone);
    bool ok = cs_disasm_iter(capstone, &p, &left, &address, in) && left == 0;

    for (unsigned i = 0; ok && i < in->detail->x86.op_count; i++) {
        const x86_op_mem *m = &in->detail->x86.operands[i].mem;
        int base, index;

        if (in->detail->x86.operands[i].type != X86_OP_MEM || in->id == X86_INS_LEA)
            continue;
        base = gpr_of(m->base);
        index = gpr_of(m->index);
        ok = base >= 0 && index != base;
        if (!ok)
            break;
        if (index >= 0)
            s->gpr[index] = random64() & 0xff;
        s->gpr[base] = target - (uint64_t)m->disp - (index >= 0 ? s->gpr[index] * (unsigned)m->scale : 0);
        if (!mode_64)
            s->gpr[base] = (uint32_t)s->gpr[base];
    }
    cs_free(in, 1);
    return ok;
}

static bool equal(const struct state *a, const struct state *b, uint64_t undefined)
{
    return a->vector == b->vector &&
           (a->vector != NO_VECTOR ||
            (!((a->rflags ^ b->rflags) & ~undefined & 0xcd5) && !memcmp(a->gpr, b->gpr, sizeof a->gpr) &&
             !memcmp(a->data, b->data, DATA_BYTES)));
}

static void report(const struct form *f, const unsigned char *code, unsigned length,
                   const struct state *before, const struct state *ours, const struct state *theirs)
{
    char text[512];
    int n = snprintf(text, sizeof text, "%s:", f->name);

    for (unsigned i = 0; i < length; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %02x", code[i]);
    n += snprintf(text + n, sizeof text - (size_t)n,
                  "; vector %u, Unicorn %u; flags %llx to %llx, Unicorn %llx", ours->vector, theirs->vector,
                  (unsigned long long)before->rflags, (unsigned long long)ours->rflags,
                  (unsigned long long)theirs->rflags);
    for (unsigned i = 0; i < 16; i++)
        if (ours->gpr[i] != theirs->gpr[i])
            n += snprintf(text + n, sizeof text - (size_t)n, "; r%u %llx to %llx, Unicorn %llx", i,
                          (unsigned long long)before->gpr[i], (unsigned long long)ours->gpr[i],
                          (unsigned long long)theirs->gpr[i]);
    for (unsigned i = 0; i < DATA_BYTES; i++)
        if (ours->data[i] != theirs->data[i]) {
            snprintf(text + n, sizeof text - (size_t)n, "; [%x] %x to %x, Unicorn %x", DATA + i,
                     before->data[i], ours->data[i], theirs->data[i]);
            break;
        }
    TEST_FAIL("%s", text);
}

// Unicorn zero-extends 32-bit registers that an instruction does not write: the destination of a scan that
// finds nothing, EAX where CMPXCHG finds what it expects. Processors keep all 64 bits (SDM vol. 2, and the
// host's own).
static bool unicorn_cuts(const struct form *f, const struct state *theirs)
{
    bool scans = !strcmp(f->name, "bsf") || !strcmp(f->name, "bsr"),
         exchanges = !strcmp(f->name, "cmpxchg Ev");

    return (scans || exchanges) && (theirs->rflags & X86_RFLAGS_ZF);
}

// Shifts by a masked count of 0 change no flag, those by more than the width have an undefined CF in narrow
// operands: the mask of undefined flags is for all counts.
static bool exists(const struct form *f)
{
    return mode_64 ? !has(f->sizes, '3') : !has(f->sizes, '6');
}

static void try_one(const struct form *f, unsigned *done)
{
    static struct state before, ours, theirs;
    unsigned char code[24];
    unsigned length = assemble(f, code);

    for (unsigned i = 0; i < 16; i++)
        before.gpr[i] = interesting();
    if (f->name[0] == 's' || f->name[0] == 'r')
        before.gpr[1] = random64() & 0x3f;
    for (unsigned i = 0; i < 16 && !mode_64; i++)
        before.gpr[i] = i < 8 ? (uint32_t)before.gpr[i] : 0;
    before.gpr[4] = DATA + DATA_BYTES / 2;
    for (unsigned i = 0; i < DATA_BYTES; i += 8) {
        uint64_t value = interesting();

        memcpy(before.data + i, &value, 8);
    }
    before.rflags = X86_RFLAGS_FIXED | (random64() & 0x8d5) | (random64() & 7 ? 0 : X86_RFLAGS_DF);
    if (has(f->operands, 'S'))
        before.gpr[1] = random64() & 15;
    if (f->bytes[0] == 0xd7)
        before.gpr[3] = DATA;
    if (f->bytes[0] == 0xc9)
        before.gpr[5] = DATA + 0x100;
    if (!aim(&before, code, length))
        return;
    ours = theirs = before;
    run_ours(&ours, code, length);
    run_unicorn(&theirs, code, length);
    ++*done;
    if (unicorn_cuts(f, &theirs))
        memcpy(theirs.gpr, ours.gpr, sizeof ours.gpr);
    if (!equal(&ours, &theirs, f->undefined))
        report(f, code, length, &before, &ours, &theirs);
}

static void try_all(bool mode)
{
    unsigned done = 0;

    open_both(mode);
    for (unsigned i = 0; i < sizeof forms / sizeof *forms; i++)
        for (unsigned try = 0; try < TRIES_EACH && exists(&forms[i]); try++)
            try_one(&forms[i], &done);
    printf("%u instructions\n", done);
    EXPECT_GT(done, (unsigned)(sizeof forms / sizeof *forms) * TRIES_EACH / 2);
    close_both();
}

TEST(Differential, IntegerInstructionsIn64BitMode)
{
    try_all(true);
}

TEST(Differential, IntegerInstructionsIn32BitCode)
{
    try_all(false);
}
