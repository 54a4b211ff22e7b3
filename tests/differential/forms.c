// SPDX-License-Identifier: Apache-2.0
#include "tests/differential/forms.h"

#include "models/cpu/native/cs_register.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"

#include <capstone/capstone.h>
#include <stdio.h>
#include <string.h>

enum { PML4 = 0x2000, PDPT = 0x3000, PD = 0x4000 };
#define TABLE (X86_PTE_P | X86_PTE_RW | X86_PTE_US | X86_PTE_A)

#define BYTES(...) {__VA_ARGS__}, sizeof((unsigned char[]){__VA_ARGS__})
const struct form forms[] = {
#define CASE(name, bytes, ...) {name, bytes, __VA_ARGS__},
#include "tests/differential/cases.def"
#undef CASE
};

const unsigned form_count = sizeof forms / sizeof *forms;
bool mode_64;
static csh capstone;

static uint64_t seed = 1;
uint64_t random64(void)
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

// --- The model. ---

void form_open(bool mode)
{
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
}

void form_close(void)
{
    cs_close(&capstone);
    bench_end();
}

void run_ours(struct state *s, const unsigned char *code, unsigned length)
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

// A ModRM byte with what belongs to it; `r` is random.
static unsigned modrm(const struct form *f, unsigned char *code, uint64_t r, bool memory)
{
    unsigned reg = f->ext == 8 ? (unsigned)(r >> 16) & 7 : f->ext, rm = (unsigned)(r >> 20) & 7;
    unsigned mod = memory ? (unsigned)((r >> 24) % 3) : 3;

    unsigned n = 0;

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
    return n;
}

// The bytes of a row with `v` are map, prefix (pp) and opcode.
static unsigned vex(const struct form *f, unsigned char *code, uint64_t r, bool memory)
{
    unsigned n = 0, vvvv = has(f->operands, 'n') ? 15 : r >> 8 & 15;

    code[n++] = 0xc4;
    code[n++] =
        (unsigned char)((f->ext == 8 ? r >> 40 & 0x80 : 0x80) | (r >> 41 & 0x20) | 0x40 | f->bytes[0]);
    code[n++] = (unsigned char)((r >> 3 & 0x80) | vvvv << 3 | f->bytes[1]);
    code[n++] = f->bytes[2];
    n += modrm(f, code + n, r, memory);
    if (f->immediate)
        code[n++] = (unsigned char)random64();
    return n;
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

    if (has(f->operands, 'v'))
        return vex(f, code, r, memory);
    if (has(f->sizes, 'L') && memory && (r >> 4 & 3) == 0)
        code[n++] = 0xf0;
    if (width == 2 && (r >> 12 & 1))
        code[n++] = 0x66;
    if (has(f->operands, 'S') && (r >> 6 & 1))
        code[n++] = r >> 7 & 1 ? 0xf3 : 0xf2;
    if (width == 2 && !(r >> 12 & 1))
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
    if (has(f->operands, 'M') || has(f->operands, 'X') || has(f->operands, 'R'))
        n += modrm(f, code + n, r, memory);
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
    struct cs_register r = cs_register_of(reg);

    return r.kind == CS_REGISTER_GPR ? r.number : -1;
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

bool state_equal(const struct state *a, const struct state *b, uint64_t undefined)
{
    return a->vector == b->vector &&
           (a->vector != NO_VECTOR ||
            (!((a->rflags ^ b->rflags) & ~undefined & 0xcd5) && !memcmp(a->gpr, b->gpr, sizeof a->gpr) &&
             !memcmp(a->data, b->data, DATA_BYTES)));
}

void state_report(const struct form *f, const char *other, const unsigned char *code, unsigned length,
                  const struct state *before, const struct state *ours, const struct state *theirs)
{
    char text[512];
    int n = snprintf(text, sizeof text, "%s:", f->name);

    for (unsigned i = 0; i < length; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %02x", code[i]);
    n += snprintf(text + n, sizeof text - (size_t)n, "; vector %u, %s %u; flags %llx to %llx, %s %llx",
                  ours->vector, other, theirs->vector, (unsigned long long)before->rflags,
                  (unsigned long long)ours->rflags, other, (unsigned long long)theirs->rflags);
    for (unsigned i = 0; i < 16; i++)
        if (ours->gpr[i] != theirs->gpr[i])
            n += snprintf(text + n, sizeof text - (size_t)n, "; r%u %llx to %llx, %s %llx", i,
                          (unsigned long long)before->gpr[i], (unsigned long long)ours->gpr[i], other,
                          (unsigned long long)theirs->gpr[i]);
    for (unsigned i = 0; i < DATA_BYTES; i++)
        if (ours->data[i] != theirs->data[i]) {
            snprintf(text + n, sizeof text - (size_t)n, "; [%x] %x to %x, %s %x", DATA + i, before->data[i],
                     ours->data[i], other, theirs->data[i]);
            break;
        }
    TEST_FAIL("%s", text);
}

// Shifts by a masked count of 0 change no flag, those by more than the width have an undefined CF in narrow
// operands: the mask of undefined flags is for all counts.
bool form_exists(const struct form *f)
{
    return mode_64 ? !has(f->sizes, '3') : !has(f->sizes, '6');
}

unsigned form_make(const struct form *f, unsigned char code[CODE_BYTES_MAX], struct state *s)
{
    unsigned length = assemble(f, code);

    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = interesting();
    if (f->name[0] == 's' || f->name[0] == 'r')
        s->gpr[1] = random64() & 0x3f;
    for (unsigned i = 0; i < 16 && !mode_64; i++)
        s->gpr[i] = i < 8 ? (uint32_t)s->gpr[i] : 0;
    s->gpr[4] = DATA + DATA_BYTES / 2;
    for (unsigned i = 0; i < DATA_BYTES; i += 8) {
        uint64_t value = interesting();

        memcpy(s->data + i, &value, 8);
    }
    s->rflags = X86_RFLAGS_FIXED | (random64() & 0x8d5) | (random64() & 7 ? 0 : X86_RFLAGS_DF);
    if (has(f->operands, 'S'))
        s->gpr[1] = random64() & 15;
    if (f->bytes[0] == 0xd7)
        s->gpr[3] = DATA;
    if (f->bytes[0] == 0xc9)
        s->gpr[5] = DATA + 0x100;
    return aim(s, code, length) ? length : 0;
}

bool form_uses(const unsigned char *code, unsigned length, uint32_t registers)
{
    uint64_t address = CODE;
    const uint8_t *p = code;
    size_t left = length;
    cs_insn *in = cs_malloc(capstone);
    cs_regs read, written;
    uint8_t reads = 0, writes = 0;
    bool uses = !cs_disasm_iter(capstone, &p, &left, &address, in) ||
                cs_regs_access(capstone, in, read, &reads, written, &writes) != CS_ERR_OK;

    for (unsigned i = 0; !uses && i < (unsigned)reads + writes; i++) {
        int reg = gpr_of(i < reads ? read[i] : written[i - reads]);

        uses = reg >= 0 && (registers >> reg & 1);
    }
    for (unsigned i = 0; !uses && i < in->detail->x86.op_count; i++) {
        const cs_x86_op *o = &in->detail->x86.operands[i];

        uses = o->type == X86_OP_MEM && (o->mem.base == X86_REG_RIP || o->mem.base == X86_REG_EIP);
    }
    cs_free(in, 1);
    return uses;
}
