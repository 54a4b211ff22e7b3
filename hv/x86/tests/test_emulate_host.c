// SPDX-License-Identifier: Apache-2.0
// Instructions of machine code that the core carries out against the processor that runs the test: every form
// on registers and memory, with the flags that the manual defines.
#include "hv/x86/tests/emulate_fixture.h"
#include <string.h>
#include <sys/mman.h>

#define STATUS (X86_RFLAGS_CF | X86_RFLAGS_PF | X86_RFLAGS_AF | X86_RFLAGS_ZF | X86_RFLAGS_SF | X86_RFLAGS_OF)

// --- The host's processor.

struct native {
    u64 rax, rcx, rdx, rbx, rsi, rdi, rflags;
};
void native_run(struct native *n, void *code);
__asm__(".pushsection .text\n"
        "native_run:\n"
        "  push %rbx\n  push %r12\n  push %r13\n"
        "  mov %rdi, %r12\n  mov %rsi, %r13\n"
        "  mov 0(%r12), %rax\n  mov 8(%r12), %rcx\n  mov 16(%r12), %rdx\n  mov 24(%r12), %rbx\n"
        "  mov 32(%r12), %rsi\n  mov 40(%r12), %rdi\n  pushq 48(%r12)\n  popfq\n"
        "  call *%r13\n"
        "  pushfq\n  popq 48(%r12)\n"
        "  mov %rax, 0(%r12)\n  mov %rcx, 8(%r12)\n  mov %rdx, 16(%r12)\n  mov %rbx, 24(%r12)\n"
        "  mov %rsi, 32(%r12)\n  mov %rdi, 40(%r12)\n"
        "  cld\n"
        "  pop %r13\n  pop %r12\n  pop %rbx\n  ret\n"
        ".popsection\n");

static const u64 interesting[] = {0,          1,          2,      0x0f,   0x7f,       0x80,
                                  0xff,       0x7fff,     0x8000, 0xffff, 0x7fffffff, 0x80000000,
                                  0xffffffff, 1ull << 63, ~0ull,  33,     5,          0x123456789abcdef0};

// A small linear congruential generator: the same values in every run.
static u64 next_value(u64 *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    u64 pick = *state >> 33;

    return pick % 3 ? interesting[pick % (sizeof(interesting) / sizeof(interesting[0]))] : *state;
}

// Instructions of ModRM: the byte follows the opcode; every register and [rdi + 16] form is tried with every
// operand size. `undefined`: flags that the manual leaves open.
struct form {
    const char *name;
    u8 opcode[3], opcode_count, reg; // reg: ModRM.reg, 8: registers.
    u8 immediate_bytes;              // 4: of operand size.
    bool byte;
    u64 undefined;
};
#define AF X86_RFLAGS_AF
#define OF X86_RFLAGS_OF
static const struct form forms[] = {
    // clang-format off
    {"add r/m8, r8",   {0x00}, 1, 8, 0, true,  0},  {"add r/m, r",    {0x01}, 1, 8, 0, false, 0},
    {"or r, r/m",      {0x0b}, 1, 8, 0, false, AF}, {"adc r/m, r",    {0x11}, 1, 8, 0, false, 0},
    {"sbb r8, r/m8",   {0x1a}, 1, 8, 0, true,  0},  {"and r/m, r",    {0x21}, 1, 8, 0, false, AF},
    {"sub r, r/m",     {0x2b}, 1, 8, 0, false, 0},  {"xor r/m8, r8",  {0x30}, 1, 8, 0, true,  AF},
    {"cmp r/m, r",     {0x39}, 1, 8, 0, false, 0},  {"add r/m8, i",   {0x80}, 1, 0, 1, true,  0},
    {"adc r/m, i",     {0x81}, 1, 2, 4, false, 0},  {"sub r/m, i8",   {0x83}, 1, 5, 1, false, 0},
    {"cmp r/m, i8",    {0x83}, 1, 7, 1, false, 0},  {"test r/m, r",   {0x85}, 1, 8, 0, false, AF},
    {"xchg r/m, r",    {0x87}, 1, 8, 0, false, 0},  {"mov r/m8, r8",  {0x88}, 1, 8, 0, true,  0},
    {"mov r/m, r",     {0x89}, 1, 8, 0, false, 0},  {"mov r8, r/m8",  {0x8a}, 1, 8, 0, true,  0},
    {"mov r, r/m",     {0x8b}, 1, 8, 0, false, 0},  {"rol r/m, 1",    {0xd1}, 1, 0, 0, false, 0},
    {"ror r/m8, i",    {0xc0}, 1, 1, 1, true,  OF}, {"rcl r/m, cl",   {0xd3}, 1, 2, 0, false, OF},
    {"rcr r/m, 1",     {0xd1}, 1, 3, 0, false, 0},  {"shl r/m, 1",    {0xd1}, 1, 4, 0, false, AF},
    {"shr r/m8, 1",    {0xd0}, 1, 5, 0, true,  AF}, {"sar r/m, i",    {0xc1}, 1, 7, 1, false, AF | OF},
    {"mov r/m8, i",    {0xc6}, 1, 0, 1, true,  0},  {"mov r/m, i",    {0xc7}, 1, 0, 4, false, 0},
    {"test r/m8, i",   {0xf6}, 1, 0, 1, true,  AF}, {"not r/m",       {0xf7}, 1, 2, 0, false, 0},
    {"neg r/m",        {0xf7}, 1, 3, 0, false, 0},  {"mul r/m8",      {0xf6}, 1, 4, 0, true,  STATUS & ~(OF | X86_RFLAGS_CF)},
    {"imul r/m",       {0xf7}, 1, 5, 0, false, STATUS & ~(OF | X86_RFLAGS_CF)},
    {"inc r/m8",       {0xfe}, 1, 0, 0, true,  0},  {"dec r/m",       {0xff}, 1, 1, 0, false, 0},
    {"cmovl r, r/m",   {0x0f, 0x4c}, 2, 8, 0, false, 0}, {"setbe r/m8", {0x0f, 0x96}, 2, 0, 0, true, 0},
    {"bt r, r",        {0x0f, 0xba}, 2, 4, 1, false, STATUS & ~X86_RFLAGS_CF & ~X86_RFLAGS_ZF},
    {"bts r/m, i8",    {0x0f, 0xba}, 2, 5, 1, false, STATUS & ~X86_RFLAGS_CF & ~X86_RFLAGS_ZF},
    {"btr r/m, i8",    {0x0f, 0xba}, 2, 6, 1, false, STATUS & ~X86_RFLAGS_CF & ~X86_RFLAGS_ZF},
    {"btc r/m, i8",    {0x0f, 0xba}, 2, 7, 1, false, STATUS & ~X86_RFLAGS_CF & ~X86_RFLAGS_ZF},
    {"shld r/m, r, i", {0x0f, 0xa4}, 2, 8, 1, false, AF | OF}, {"shrd r/m, r, i", {0x0f, 0xac}, 2, 8, 1, false, AF | OF},
    {"imul r, r/m",    {0x0f, 0xaf}, 2, 8, 0, false, STATUS & ~(OF | X86_RFLAGS_CF)},
    {"imul r, r/m, i8", {0x6b}, 1, 8, 1, false, STATUS & ~(OF | X86_RFLAGS_CF)},
    {"cmpxchg r/m8",   {0x0f, 0xb0}, 2, 8, 0, true, 0},  {"cmpxchg r/m", {0x0f, 0xb1}, 2, 8, 0, false, 0},
    {"movzx r, r/m8",  {0x0f, 0xb6}, 2, 8, 0, false, 0}, {"movzx r, r/m16", {0x0f, 0xb7}, 2, 8, 0, false, 0},
    {"bsf r, r/m",     {0x0f, 0xbc}, 2, 8, 0, false, STATUS & ~X86_RFLAGS_ZF},
    {"bsr r, r/m",     {0x0f, 0xbd}, 2, 8, 0, false, STATUS & ~X86_RFLAGS_ZF},
    {"movsx r, r/m8",  {0x0f, 0xbe}, 2, 8, 0, false, 0}, {"movsx r, r/m16", {0x0f, 0xbf}, 2, 8, 0, false, 0},
    {"xadd r/m8, r8",  {0x0f, 0xc0}, 2, 8, 0, true, 0},  {"xadd r/m, r", {0x0f, 0xc1}, 2, 8, 0, false, 0},
    {"movsxd r, r/m",  {0x63}, 1, 8, 0, false, 0},
    {"movbe r, m",     {0x0f, 0x38, 0xf0}, 3, 8, 0, false, 0}, {"movbe m, r", {0x0f, 0x38, 0xf1}, 3, 8, 0, false, 0},
    // clang-format on
};

#define DISPLACEMENT 16
static u8 native_data[64] __attribute__((aligned(64)));

// size: 0 none, 1 66, 2 REX.W. modrm_reg and rm as encoded; memory: [rdi + 16].
static unsigned encode(const struct form *o, unsigned size, unsigned reg, bool memory, unsigned rm, u64 seed,
                       u8 *out)
{
    unsigned n = 0, immediate = o->immediate_bytes == 4 ? (size == 1 ? 2 : 4) : o->immediate_bytes;

    if (size == 1)
        out[n++] = 0x66;
    if (size == 2)
        out[n++] = 0x48;
    memcpy(out + n, o->opcode, o->opcode_count);
    n += o->opcode_count;
    out[n++] = (u8)((memory ? 0x47 : 0xc0 | rm) | reg << 3);
    if (memory)
        out[n++] = DISPLACEMENT;
    if (o->opcode[1] == 0xa4 || o->opcode[1] == 0xac) // Beyond 16 bits of a 16-bit operand is undefined.
        seed &= 15;
    for (unsigned i = 0; i < immediate; i++)
        out[n++] = (u8)(seed >> (8 * i));
    return n;
}

static void random_registers(struct native *n, u64 *seed)
{
    n->rax = next_value(seed);
    n->rcx = next_value(seed);
    n->rdx = next_value(seed);
    n->rbx = next_value(seed);
    n->rsi = next_value(seed);
    n->rflags = X86_RFLAGS_FIXED | (next_value(seed) & STATUS);
}

static void to_guest(const struct native *n)
{
    m.regs->rax = n->rax;
    m.regs->rcx = n->rcx;
    m.regs->rdx = n->rdx;
    m.regs->rbx = n->rbx;
    m.regs->rsi = n->rsi;
    m.regs->rdi = G_DATA;
    m.regs->rflags = n->rflags;
    m.regs->rip = G_CODE;
}

static void compare(const struct native *want, u64 undefined)
{
    EXPECT_EQ(m.regs->rax, want->rax);
    EXPECT_EQ(m.regs->rcx, want->rcx);
    EXPECT_EQ(m.regs->rdx, want->rdx);
    EXPECT_EQ(m.regs->rbx, want->rbx);
    EXPECT_EQ(m.regs->rsi, want->rsi);
    EXPECT_EQ(m.regs->rflags & STATUS & ~undefined, want->rflags & STATUS & ~undefined);
}

static bool host_has_movbe(void)
{
    u32 a = 1, b, c = 0, d;

    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return c >> 22 & 1;
}

static void one_form(const struct form *o, u8 *code, u64 *seed)
{
    bool memory = *seed >> 40 & 1 || o->opcode_count == 3;
    unsigned size = o->byte ? 0 : (unsigned)(*seed >> 44) % 3,
             reg = o->reg < 8 ? o->reg : (unsigned)(*seed >> 48) & 3;
    unsigned rm = (unsigned)(*seed >> 52) & 3, count;
    struct native n;
    u8 data[64], bytes[16];

    if (o->byte && o->reg == 8 && (*seed >> 56 & 1))
        reg += 4; // AH to BH.
    random_registers(&n, seed);
    for (unsigned i = 0; i < 64; i += 8) {
        u64 value = next_value(seed);

        memcpy(data + i, &value, 8);
    }
    count = encode(o, size, reg, memory, rm, next_value(seed), bytes);
    test_row("%s, size %u, reg %u, %s %u", o->name, size, reg, memory ? "memory" : "rm", rm);
    guest_store(G_DATA, data, sizeof(data));
    to_guest(&n);
    guest_emulate(bytes, count);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
    EXPECT_EQ(m.regs->rip, G_CODE + count);
    EXPECT_EQ(m.intr_info, 0);
    memcpy(code, bytes, count);
    code[count] = 0xc3; // ret
    memcpy(native_data, data, sizeof(data));
    n.rdi = (u64)native_data;
    native_run(&n, code);
    u64 undefined = o->undefined;

    // Shifts by 0 leave all flags; by one OF is defined, which is compared where the count is 1 always.
    compare(&n, undefined);
    u8 after[64];

    EXPECT_EQ(vm_read_guest(t.v->vcpu.vm, gpa(G_DATA), after, sizeof(after)), 0);
    EXPECT_MEMEQ(after, native_data, sizeof(after));
}

static void against_host(void)
{
    u8 *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    u64 seed = 12345;

    ASSERT_TRUE(code != MAP_FAILED);
    guest_setup(GUEST_LONG);
    for (u32 i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (forms[i].opcode_count == 3 && !host_has_movbe())
            continue;
        for (unsigned round = 0; round < 40; round++)
            one_form(&forms[i], code, &seed);
    }
    munmap(code, 4096);
}
TEST(EmulateHost, IntegerInstructionsDoWhatTheHostsProcessorDoes)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, against_host), 0);
}
