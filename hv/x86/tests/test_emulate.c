// SPDX-License-Identifier: Apache-2.0
// Instructions of machine code that the core carries out: against the processor that runs the test where that
// can execute them, and against the manual where it cannot (device memory, faults, other modes).
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
TEST(Emulate, IntegerInstructionsDoWhatTheHostsProcessorDoes)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, against_host), 0);
}

// --- Device memory: each instruction's accesses, in order.

struct mmio_row {
    const char *assembly;
    u8 code[12], count;
    struct device_access accesses[4];
    unsigned access_count;
    u64 rax, device; // Afterwards; the device's first eight bytes.
};

// Before: rax 0x1111111122222222, rcx 4, rdx 3, rdi and rsi the device, which holds 0x8877665544332211.
static const struct mmio_row mmio_rows[] = {
    // clang-format off
    {"mov eax, [rdi]",       {0x8b, 0x07}, 2, {{false, 4, 0, 0x44332211}}, 1, 0x44332211, 0x8877665544332211},
    {"mov [rdi], ax",        {0x66, 0x89, 0x07}, 3, {{true, 2, 0, 0x2222}}, 1, 0x1111111122222222, 0x8877665544332222},
    {"mov [rdi+3], ah",      {0x88, 0x67, 0x03}, 3, {{true, 1, 3, 0x22}}, 1, 0x1111111122222222, 0x8877665522332211},
    {"mov rax, [rdi]",       {0x48, 0x8b, 0x07}, 3, {{false, 8, 0, 0x8877665544332211}}, 1, 0x8877665544332211, 0x8877665544332211},
    {"movsx rax, byte [rdi+7]", {0x48, 0x0f, 0xbe, 0x47, 0x07}, 5, {{false, 1, 7, 0x88}}, 1, 0xffffffffffffff88, 0x8877665544332211},
    {"mov dword [rdi], 7",   {0xc7, 0x07, 7, 0, 0, 0}, 6, {{true, 4, 0, 7}}, 1, 0x1111111122222222, 0x8877665500000007},
    {"movnti [rdi], eax",    {0x0f, 0xc3, 0x07}, 3, {{true, 4, 0, 0x22222222}}, 1, 0x1111111122222222, 0x8877665522222222},
    {"movbe eax, [rdi]",     {0x0f, 0x38, 0xf0, 0x07}, 4, {{false, 4, 0, 0x44332211}}, 1, 0x11223344, 0x8877665544332211},
    {"or dword [rdi], 0x40", {0x83, 0x0f, 0x40}, 3, {{false, 4, 0, 0x44332211}, {true, 4, 0, 0x44332251}}, 2, 0x1111111122222222, 0x8877665544332251},
    {"cmp [rdi], eax",       {0x39, 0x07}, 2, {{false, 4, 0, 0x44332211}}, 1, 0x1111111122222222, 0x8877665544332211},
    {"xchg [rdi], eax",      {0x87, 0x07}, 2, {{false, 4, 0, 0x44332211}, {true, 4, 0, 0x22222222}}, 2, 0x44332211, 0x8877665522222222},
    {"lock xadd [rdi], eax", {0xf0, 0x0f, 0xc1, 0x07}, 4, {{false, 4, 0, 0x44332211}, {true, 4, 0, 0x66554433}}, 2, 0x44332211, 0x8877665566554433},
    {"lock cmpxchg [rdi], edx", {0xf0, 0x0f, 0xb1, 0x17}, 4, {{false, 4, 0, 0x44332211}, {true, 4, 0, 0x44332211}}, 2, 0x44332211, 0x8877665544332211},
    {"neg word [rdi]",       {0x66, 0xf7, 0x1f}, 3, {{false, 2, 0, 0x2211}, {true, 2, 0, 0xddef}}, 2, 0x1111111122222222, 0x887766554433ddef},
    {"bts dword [rdi], 31",  {0x0f, 0xba, 0x2f, 31}, 4, {{false, 4, 0, 0x44332211}, {true, 4, 0, 0xc4332211}}, 2, 0x1111111122222222, 0x88776655c4332211},
    {"sete byte [rdi]",      {0x0f, 0x94, 0x07}, 3, {{true, 1, 0, 0}}, 1, 0x1111111122222222, 0x8877665544332200},
    {"imul eax, [rdi], 2",   {0x6b, 0x07, 2}, 3, {{false, 4, 0, 0x44332211}}, 1, 0x88664422, 0x8877665544332211},
    {"shl byte [rdi], 4",    {0xc0, 0x27, 4}, 3, {{false, 1, 0, 0x11}, {true, 1, 0, 0x10}}, 2, 0x1111111122222222, 0x8877665544332210},
    {"push qword [rdi]",     {0xff, 0x37}, 2, {{false, 8, 0, 0x8877665544332211}}, 1, 0x1111111122222222, 0x8877665544332211},
    {"lodsd",                {0xad}, 1, {{false, 4, 0, 0x44332211}}, 1, 0x44332211, 0x8877665544332211},
    {"cmpxchg8b [rdi]",      {0x0f, 0xc7, 0x0f}, 3, {{false, 8, 0, 0x8877665544332211}, {true, 8, 0, 0x8877665544332211}}, 2, 0x44332211, 0x8877665544332211},
    {"movabs eax, [device]", {0xa1, 0, 0, 0, 8, 0, 0, 0, 0}, 9, {{false, 4, 0, 0x44332211}}, 1, 0x44332211, 0x8877665544332211},
    {"rep stosb",            {0xf3, 0xaa}, 2, {{true, 1, 0, 0x22}}, 1, 0x1111111122222222, 0x8877665544332222},
    {"mov ds, [rdi] (null)", {0x8e, 0x5f, 0x10}, 3, {{false, 2, 16, 0}}, 1, 0x1111111122222222, 0x8877665544332211},
    // clang-format on
};

static void device_forms(void)
{
    const u64 content = 0x8877665544332211;

    guest_setup(GUEST_LONG);
    for (u32 i = 0; i < sizeof(mmio_rows) / sizeof(mmio_rows[0]); i++) {
        const struct mmio_row *r = &mmio_rows[i];

        memset(m.device, 0, sizeof(m.device));
        memcpy(m.device, &content, 8);
        m.regs->rax = 0x1111111122222222;
        m.regs->rcx = 4;
        m.regs->rdx = 3;
        m.regs->rdi = m.regs->rsi = G_DEVICE;
        m.regs->rip = G_CODE;
        m.regs->rsp = G_STACK;
        m.regs->rflags = X86_RFLAGS_FIXED;
        test_row("%s", r->assembly);
        guest_emulate(r->code, r->count);
        EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
        EXPECT_EQ(m.access_count, r->access_count);
        for (unsigned n = 0; n < r->access_count; n++) {
            EXPECT_EQ(m.accesses[n].write, r->accesses[n].write);
            EXPECT_EQ(m.accesses[n].len, r->accesses[n].len);
            EXPECT_EQ(m.accesses[n].at, r->accesses[n].at);
            EXPECT_EQ(m.accesses[n].value, r->accesses[n].value);
        }
        EXPECT_EQ(m.regs->rax, r->rax);
        EXPECT_EQ(*(u64 *)(void *)m.device, r->device);
    }
}
TEST(Emulate, DeviceAccessesAreTheInstructions)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, device_forms), 0);
}

static void vectors(void)
{
    const u64 content[2] = {0x1111, 0x2222};

    guest_setup(GUEST_LONG);
    memcpy(m.device, content, 16);
    m.regs->rdi = G_DEVICE;
    EMULATE(0x66, 0x44, 0x0f, 0x6f, 0x0f); // movdqa xmm9, [rdi]
    EXPECT_EQ(m.access_count, 2);
    EXPECT_EQ(m.accesses[0].len, 8);
    EXPECT_EQ(m.accesses[1].at, 8);
    m.regs->rdi = G_DEVICE + 0x19;
    EMULATE(0x44, 0x0f, 0x11, 0x0f); // movups [rdi], xmm9
    EXPECT_EQ(m.access_count, 2);
    EXPECT_MEMEQ(m.device + 0x19, content, 16);
    EMULATE(0x44, 0x0f, 0x29, 0x0f); // movaps [rdi], xmm9
    EXPECT_EQ(m.intr_info, INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE | GP_VECTOR);
    m.sregs->cr0 |= X86_CR0_TS;
    EMULATE(0x44, 0x0f, 0x11, 0x0f);
    EXPECT_EQ(m.intr_info, INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | NM_VECTOR);
}
TEST(Emulate, SixteenByteMovesAreTwoAccessesAndKnowAlignment)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, vectors), 0);
}

// --- Two pages.

static void crossing(void)
{
    guest_setup(GUEST_LONG);
    guest_map(0x100000, G_DATA | 3);   // Memory,
    guest_map(0x101000, G_DEVICE | 3); // then the device.
    guest_store(G_DATA + 0xffe, (const u8[]){0xaa, 0xbb}, 2);
    memcpy(m.device, (const u8[]){0xcc, 0xdd}, 2);
    m.regs->rdi = 0x100ffe;
    EMULATE(0x8b, 0x07); // mov eax, [rdi]
    EXPECT_EQ(m.access_count, 1);
    EXPECT_EQ(m.accesses[0].len, 2);
    EXPECT_EQ(m.regs->rax, 0xddccbbaa);
    m.regs->rax = 0x44332211;
    EMULATE(0x89, 0x07); // mov [rdi], eax
    EXPECT_EQ(guest_load(G_DATA + 0xffe, 2), 0x2211);
    EXPECT_EQ(m.access_count, 1);
    EXPECT_EQ(m.accesses[0].value, 0x4433);
    guest_map(0x101000, (G_DEVICE + 0x1000) | 3); // Two pages of the device that are not neighbours.
    guest_map(0x100000, G_DEVICE | 3);
    EMULATE(0x83, 0x07, 0x01); // add dword [rdi], 1
    EXPECT_EQ(m.access_count, 4);
    EXPECT_EQ(m.accesses[0].at, 0xffe);
    EXPECT_EQ(m.accesses[1].at, 0x1000);
    EXPECT_TRUE(m.accesses[3].write);
}
TEST(Emulate, PartsOfAnAccessGoWhereTheirPagesAre)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, crossing), 0);
}

// --- Strings.

static void strings(void)
{
    guest_setup(GUEST_LONG);
    for (unsigned i = 0; i < 16; i++)
        m.device[i] = (u8)(i + 1);
    m.regs->rsi = G_DEVICE;
    m.regs->rdi = G_DATA;
    m.regs->rcx = 3;
    EMULATE(0xf3, 0xa5); // rep movsd: from the device all at one go
    EXPECT_EQ(m.access_count, 3);
    EXPECT_EQ(m.regs->rcx, 0);
    EXPECT_EQ(m.regs->rsi, G_DEVICE + 12);
    EXPECT_EQ(m.regs->rip, G_CODE + 2);
    EXPECT_EQ(guest_load(G_DATA, 8), 0x0807060504030201);
    m.regs->rip = G_CODE;
    m.regs->rsi = G_DATA + 3;
    m.regs->rdi = G_DEVICE + 0x100;
    m.regs->rcx = 2;
    m.regs->rflags |= X86_RFLAGS_DF;
    EMULATE(0xf3, 0xa4); // rep movsb: to it one after the other, the guest runs in between
    EXPECT_EQ(m.access_count, 1);
    EXPECT_EQ(m.regs->rcx, 1);
    EXPECT_EQ(m.regs->rsi, G_DATA + 2);
    EXPECT_EQ(m.regs->rdi, G_DEVICE + 0xff);
    EXPECT_EQ(m.regs->rip, G_CODE);
    EXPECT_EQ(m.device[0x100], 4);
    m.regs->rflags = X86_RFLAGS_FIXED;
    m.regs->rdi = G_DATA;
    m.regs->rcx = 100;
    m.regs->rax = 5;
    EMULATE(0xf2, 0xae); // repne scasb
    EXPECT_EQ(m.regs->rcx, 95);
    EXPECT_EQ(m.regs->rdi, G_DATA + 5);
    EXPECT_TRUE(m.regs->rflags & X86_RFLAGS_ZF);
    m.regs->rip = G_CODE;
    m.regs->rcx = 0;
    EMULATE(0xf3, 0xa4); // A count of nothing.
    EXPECT_EQ(m.access_count, 0);
    EXPECT_EQ(m.regs->rip, G_CODE + 2);
}
TEST(Emulate, StringsRepeatAndStop)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, strings), 0);
}

// --- Faults.

#define FAULT(vector) (INTR_INFO_VALID | INTR_TYPE_HARD_EXCEPTION | (vector))
#define FAULT_E(vector) (FAULT(vector) | INTR_INFO_DELIVER_CODE)

static void expect_page_fault(u32 error_code, u64 cr2)
{
    EXPECT_EQ(m.intr_info, FAULT_E(PF_VECTOR));
    EXPECT_EQ(m.error_code, error_code);
    EXPECT_EQ(t.v->gprs.cr2, cr2);
    EXPECT_EQ(m.regs->rip, G_CODE);
}

static void page_faults(void)
{
    guest_setup(GUEST_LONG);
    m.regs->rdi = 0x100000;
    m.regs->rax = 0x55;
    guest_map(0x100000, 0);
    EMULATE(0x8b, 0x07); // mov eax, [rdi]
    expect_page_fault(0, 0x100000);
    EXPECT_EQ(m.regs->rax, 0x55);
    EMULATE(0x01, 0x07); // add [rdi], eax: the write's fault
    expect_page_fault(PFERR_WRITE, 0x100000);
    guest_map(0x100000, G_DATA | X86_PTE_P);
    m.sregs->cr0 |= X86_CR0_WP;
    EMULATE(0x89, 0x07); // mov [rdi], eax
    expect_page_fault(PFERR_P | PFERR_WRITE, 0x100000);
    guest_map(0x100000, G_DATA | X86_PTE_P | 1ull << 51);
    EMULATE(0x8b, 0x07);
    expect_page_fault(PFERR_P | PFERR_RSVD, 0x100000);
    guest_map(0x101000, 0);
    guest_map(0x100000, G_DATA | X86_PTE_P | X86_PTE_RW);
    m.regs->rdi = 0x100ffe;
    EMULATE(0x89, 0x07); // Crosses: nothing is written before the second page is known.
    expect_page_fault(PFERR_WRITE, 0x101000);
    EXPECT_EQ(guest_load(G_DATA + 0xffe, 2), 0);
    m.sregs->cr4 |= X86_CR4_SMAP;
    t.v->cr4_reserved &= ~X86_CR4_SMAP;
    m.regs->rdi = G_DATA; // A user page.
    EMULATE(0x8b, 0x07);
    expect_page_fault(PFERR_P, G_DATA);
    m.regs->rflags |= X86_RFLAGS_AC;
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, 0);
}
TEST(Emulate, PageFaultsTellWhoDidWhat)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, page_faults), 0);
}

static void accessed_dirty(void)
{
    u64 pte = G_TABLES + 0x3000 + (G_DATA >> 12) * 8;

    guest_setup(GUEST_LONG);
    m.regs->rdi = G_DATA;
    EXPECT_EQ(guest_load(pte, 8) & (X86_PTE_A | X86_PTE_D), 0);
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(guest_load(pte, 8) & (X86_PTE_A | X86_PTE_D), X86_PTE_A);
    EXPECT_TRUE(guest_load(G_TABLES, 8) & X86_PTE_A);
    m.regs->rip = G_CODE;
    EMULATE(0x89, 0x07);
    EXPECT_EQ(guest_load(pte, 8) & (X86_PTE_A | X86_PTE_D), X86_PTE_A | X86_PTE_D);
}
TEST(Emulate, WalksSetAccessedAndDirty)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, accessed_dirty), 0);
}

static void other_faults(void)
{
    guest_setup(GUEST_LONG);
    m.regs->rdi = 1ull << 47;
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
    EXPECT_EQ(m.error_code, 0);
    m.regs->rbp = 1ull << 47;
    EMULATE(0x8b, 0x45, 0x00); // mov eax, [rbp]: by SS
    EXPECT_EQ(m.intr_info, FAULT_E(SS_VECTOR));
    m.regs->rdi = G_DATA;
    EMULATE(0xf0, 0x89, 0x07); // lock mov
    EXPECT_EQ(m.intr_info, FAULT(UD_VECTOR));
    EMULATE(0xf7, 0x37); // div dword [rdi] by 0
    EXPECT_EQ(m.intr_info, FAULT(DE_VECTOR));
    EXPECT_EQ(m.regs->rip, G_CODE);
    EMULATE(0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x89, 0x07);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR)); // Sixteen bytes.
}
TEST(Emulate, OtherFaults)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, other_faults), 0);
}

static void segments(void)
{
    guest_setup(GUEST_PROT32);
    m.sregs->ds.g = 0;
    m.sregs->ds.limit = 0xffff;
    m.sregs->ds.base = G_DATA;
    guest_store(G_DATA + 0xfffc, "\x78\x56\x34\x12", 4);
    m.regs->rdi = 0xfffc;
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.regs->rax, 0x12345678);
    m.regs->rip = G_CODE;
    m.regs->rdi = 0xfffd;
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
    EMULATE(0x2e, 0x89, 0x07); // mov cs:[edi], eax: code is never written
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
    m.sregs->ds.type = X86_SEG_ACCESSED; // Read-only.
    m.regs->rdi = 0;
    EMULATE(0x89, 0x07);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, 0);
    m.regs->rip = G_CODE;
    m.sregs->ds.type = X86_SEG_ACCESSED | X86_SEG_WRITABLE | X86_SEG_EXPAND_DOWN; // Above the limit.
    m.regs->rdi = 0x10000;
    m.sregs->ds.base = 0x20000;
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, 0);
    m.regs->rip = G_CODE;
    m.regs->rdi = 0xffff;
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
    m.sregs->ds = (struct hv_segment){.unusable = 1};
    EMULATE(0x8b, 0x07);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
}
TEST(Emulate, SegmentsLimitWhatIsReached)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, segments), 0);
}

// --- After the instruction.

static void traps(void)
{
    guest_setup(GUEST_LONG);
    m.regs->rdi = G_DATA;
    m.regs->rflags |= X86_RFLAGS_TF;
    EMULATE(0x89, 0x07);
    EXPECT_EQ(m.intr_info, FAULT(DB_VECTOR));
    EXPECT_EQ(t.v->dr6 & X86_DR6_BS, X86_DR6_BS);
    EXPECT_EQ(m.regs->rip, G_CODE + 2);
    m.regs->rcx = 5;
    m.regs->rsi = G_DATA + 0x100;
    m.regs->rip = G_CODE;
    EMULATE(0xf3, 0xa4); // rep movsb: a trap after each
    EXPECT_EQ(m.intr_info, FAULT(DB_VECTOR));
    EXPECT_EQ(m.regs->rcx, 4);
    EXPECT_EQ(m.regs->rip, G_CODE);
}
TEST(Emulate, SingleStepsTrapAfterTheInstruction)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, traps), 0);
}

static void shadow(void)
{
    guest_setup(GUEST_PROT32);
    u64 descriptor = 0x00cf93000000ffff; // Flat, writable data at 0x10.

    guest_store(G_GDT + 0x10, &descriptor, 8);
    m.regs->rax = 0x10;
    m.regs->rflags |= X86_RFLAGS_TF;
    EMULATE(0x8e, 0xd0);       // mov ss, ax
    EXPECT_EQ(m.intr_info, 0); // Held back.
    EXPECT_EQ(fake_vmcs_read(GUEST_INTERRUPTIBILITY_INFO), INTERRUPTIBILITY_MOV_SS);
    m.regs->rip = G_CODE;
    m.regs->rflags = X86_RFLAGS_FIXED;
    EMULATE(0xfb); // sti
    EXPECT_EQ(fake_vmcs_read(GUEST_INTERRUPTIBILITY_INFO), INTERRUPTIBILITY_STI);
    EXPECT_TRUE(m.regs->rflags & X86_RFLAGS_IF);
    EMULATE(0x90); // nop
    EXPECT_EQ(fake_vmcs_read(GUEST_INTERRUPTIBILITY_INFO), 0);
}
TEST(Emulate, StiAndMovSsHoldInterruptsBackForOneInstruction)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, shadow), 0);
}

static void segment_loads(void)
{
    static const struct {
        const char *what;
        u64 descriptor;
        u8 code[2];
        u32 intr_info, error_code;
    } rows[] = {
        {"data", 0x00cf92000000ffff, {0x8e, 0xd8}, 0, 0},
        {"readable code", 0x00cf9a000000ffff, {0x8e, 0xd8}, 0, 0},
        {"execute-only code", 0x00cf98000000ffff, {0x8e, 0xd8}, FAULT_E(GP_VECTOR), 0x18},
        {"not present", 0x00cf12000000ffff, {0x8e, 0xd8}, FAULT_E(NP_VECTOR), 0x18},
        {"a TSS", 0x00008900100000ff, {0x8e, 0xd8}, FAULT_E(GP_VECTOR), 0x18},
        {"SS not present", 0x00cf12000000ffff, {0x8e, 0xd0}, FAULT_E(SS_VECTOR), 0x18},
        {"SS read-only", 0x00cf90000000ffff, {0x8e, 0xd0}, FAULT_E(GP_VECTOR), 0x18},
        {"SS of DPL 3", 0x00cff2000000ffff, {0x8e, 0xd0}, FAULT_E(GP_VECTOR), 0x18},
    };
    guest_setup(GUEST_PROT32);
    for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hv_segment before = m.sregs->ds;

        test_row("%s", rows[i].what);
        guest_store(G_GDT + 0x18, &rows[i].descriptor, 8);
        m.regs->rax = 0x18;
        m.regs->rip = G_CODE;
        guest_emulate(rows[i].code, 2);
        EXPECT_EQ(m.intr_info, rows[i].intr_info);
        EXPECT_EQ(m.error_code, rows[i].intr_info ? rows[i].error_code : m.error_code);
        if (rows[i].intr_info == 0) {
            EXPECT_EQ(m.sregs->ds.selector, 0x18);
            EXPECT_EQ(m.sregs->ds.limit, 0xffffffff);
            EXPECT_EQ(guest_load(G_GDT + 0x1d, 1) & X86_SEG_ACCESSED, X86_SEG_ACCESSED);
        } else {
            EXPECT_EQ(m.sregs->ds.selector, before.selector);
        }
    }
    m.sregs->gdt.limit = 0x1e;
    m.regs->rax = 0x18;
    EMULATE(0x8e, 0xd8);
    EXPECT_EQ(m.intr_info, FAULT_E(GP_VECTOR));
    EXPECT_EQ(m.error_code, 0x18);
}
TEST(Emulate, SegmentLoadsCheckTheDescriptor)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, segment_loads), 0);
}
