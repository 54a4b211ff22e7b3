// SPDX-License-Identifier: Apache-2.0
// Machine code that does anything at all: slots of random instructions, and a handler that goes on with the
// next slot after whatever exception the last one made of itself.
#include "tests/wild/wild.h"

#include <string.h>

enum { ENTRY = 0, HANDLER = 0x80, COUNTER = 0xf0, IDT_POINTER = 0xf8, IDT = 0x100, SLOTS = 0x1200 };
enum { SLOT_BYTES = 64, SLOT_COUNT = 96, IMAGE_BYTES = SLOTS + SLOT_BYTES * SLOT_COUNT, STACK = 0x6000 };
enum { FLAT_BASE = 0x7c00, ELF_BASE = 0x200000, EXIT_PORT = 0xf4 };

struct code {
    unsigned char bytes[IMAGE_BYTES];
    uint32_t base, at;
    enum wild_image kind;
};

static void byte(struct code *c, unsigned value)
{
    if (c->at < IMAGE_BYTES)
        c->bytes[c->at++] = (unsigned char)value;
}

static void bytes(struct code *c, const char *text, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        byte(c, (unsigned char)text[i]);
}
#define CODE(c, text) bytes(c, text, sizeof text - 1)

// A number of the operand size that code of this kind begins with.
static void word(struct code *c, uint32_t value)
{
    for (unsigned i = 0; i < (c->kind == WILD_REAL ? 2 : 4); i++)
        byte(c, value >> 8 * i & 0xff);
}

static void dword(struct code *c, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        byte(c, value >> 8 * i & 0xff);
}

// The same instructions in all three: 16-bit code has other ModRM bytes and shorter numbers.
static void handler(struct code *c)
{
    bool real = c->kind == WILD_REAL;

    c->at = HANDLER;
    CODE(c, "\xbc"); // mov sp, STACK
    word(c, c->base + STACK);
    CODE(c, "\xbb"); // mov bx, COUNTER
    word(c, c->base + COUNTER);
    byte(c, 0xff); // inc [bx]
    byte(c, real ? 0x07 : 0x03);
    byte(c, 0x8b); // mov ax, [bx]
    byte(c, real ? 0x07 : 0x03);
    byte(c, 0x3d); // cmp ax, SLOT_COUNT; jb
    word(c, SLOT_COUNT);
    CODE(c, "\x72\x07\x31\xc0\xe7\xf4\xf4\xeb\xfd"); // else xor ax, ax; out 0xf4, ax; hlt
    CODE(c, "\xc1\xe0\x06\x05");                     // shl ax, 6; add ax, SLOTS; jmp ax
    word(c, c->base + SLOTS);
    CODE(c, "\xff\xe0");
}

static void entry(struct code *c)
{
    c->at = ENTRY;
    if (c->kind == WILD_REAL) {
        CODE(c, "\x31\xc0\x8e\xd8\x8e\xc0\x8e\xd0\x31\xff\xb9\x00\x01"); // Segments 0; di = 0, cx = 256
        byte(c, 0xb8);                                                   // mov ax, HANDLER; stosw
        word(c, c->base + HANDLER);
        CODE(c, "\xab\x31\xc0\xab\xe2\xf7"); // xor ax, ax; stosw; loop
    } else {
        byte(c, 0xbb); // mov ebx, IDT_POINTER; lidt [ebx]
        word(c, c->base + IDT_POINTER);
        CODE(c, "\x0f\x01\x1b");
    }
    byte(c, 0xe9); // jmp HANDLER
    word(c, HANDLER - (c->at + (c->kind == WILD_REAL ? 2 : 4)));
    c->at = IDT_POINTER;
    byte(c, 0xff);
    byte(c, c->kind == WILD_LONG ? 0x0f : 0x07);
    dword(c, c->base + IDT);
    for (unsigned v = 0; v < 256 && c->kind != WILD_REAL; v++) {
        c->at = IDT + v * (c->kind == WILD_LONG ? 16 : 8);
        dword(c, ((c->base + HANDLER) & 0xffff) | 0x10 << 16);
        dword(c, ((c->base + HANDLER) & 0xffff0000) | 0x8e00);
    }
}

// Numbers at which something is: ports, MSRs, addresses of devices.
static uint32_t somewhere(struct wild *w)
{
    static const uint32_t places[] = {
        0x20,       0x21,       0x40,       0x43,       0x60,       0x64,       0x70,       0x71,
        0x92,       0xa0,       0xe0,       0xe4,       0xe8,       0x3f8,      0x3fb,      0x3fd,
        0x510,      0x511,      0xcf8,      0xcfc,      0x600,      0x604,      0x608,      0x2000,
        0x8900,     0x10,       0x1b,       0x277,      0x6e0,      0x802,      0x808,      0x80b,
        0x80f,      0x830,      0x832,      0x838,      0xc0000080, 0xc0000081, 0xc0000082, 0xc0000102,
        0x4b564d00, 0x174,      0xfee00000, 0xfee000b0, 0xfee000f0, 0xfee00300, 0xfee00320, 0xfee00380,
        0xfec00000, 0xfec00010, 0xfed00000, 0xfed000f0, 0xff000000, 0xe0000000, 0xa0000,    0x1000};

    return wild_chance(w, 80) ? places[wild_below(w, sizeof places / sizeof *places)]
                              : (uint32_t)wild_number(w);
}

// One idea: what loads registers, then an instruction that reaches for something.
static void idea(struct wild *w, struct code *c)
{
    static const char *const reaches[] = {
        "\x02\xee",         "\x02\xef",
        "\x02\xec",         "\x02\xed", // out, in by dx
        "\x02\x0f\x30",     "\x02\x0f\x32",
        "\x02\x89\x03",     "\x02\x8b\x03", // wrmsr, rdmsr, mov [ebx]
        "\x02\x0f\x22\xc0", "\x03\x0f\x22\xd8",
        "\x03\x0f\x22\xe0", "\x03\x0f\x23\xf8", // cr0, cr3, cr4, dr7
        "\x02\x0f\xa2",     "\x03\x0f\x01\xc1",
        "\x03\x0f\x01\xd1", "\x03\x0f\x01\x13", // cpuid, vmcall, xsetbv, lgdt
        "\x03\x0f\x01\x1b", "\x03\x0f\x00\xd8",
        "\x03\x0f\x00\xd0", "\x02\x8e\xd8", // lidt, ltr, lldt, mov ds
        "\x01\xfb",         "\x01\xf4",
        "\x02\xcd\x20",     "\x01\xcc", // sti, hlt, int, int3
        "\x01\x9d",         "\x01\xcf",
        "\x01\xcb",         "\x02\xf3\xab", // popf, iret, retf, rep stos
        "\x02\xf3\x6e",     "\x02\xf3\x6c",
        "\x02\xf3\xa4",     "\x02\x0f\x0b", // rep outs, ins, movs, ud2
        "\x03\xf0\x01\x03", "\x03\x0f\xc7\x0b",
        "\x03\x0f\xae\x03", "\x02\x0f\x09", // lock add, cmpxchg8b, fxsave
        "\x03\x0f\x01\x3b", "\x02\x0f\x05",
        "\x02\x0f\x34",     "\x03\x0f\x01\xc8", // invlpg, syscall, monitor
    };
    static const unsigned char loads[] = {0xb8, 0xb9, 0xba, 0xbb, 0xbe, 0xbf};
    const char *reach = reaches[wild_below(w, sizeof reaches / sizeof *reaches)];

    for (unsigned i = 0; i < sizeof loads; i++)
        if (wild_chance(w, 50)) {
            byte(c, loads[i]);
            word(c, i == 1 && wild_chance(w, 50) ? (uint32_t)wild_below(w, 64) : somewhere(w));
        }
    bytes(c, reach + 1, (unsigned char)reach[0]);
}

static void slot(struct wild *w, struct code *c, unsigned n)
{
    uint32_t end = SLOTS + SLOT_BYTES * (n + 1);

    c->at = end - SLOT_BYTES;
    while (c->at < end - 40)
        if (wild_chance(w, 75))
            idea(w, c);
        else
            for (uint64_t count = 1 + wild_below(w, 12); count > 0; count--)
                byte(c, (unsigned)wild_random(w) & 0xff);
    c->at = end - 2;
    CODE(c, "\xcd\x40"); // int 0x40: the next one
}

// An ELF file of one segment that is the whole image, entered at its first byte.
static void elf_head(const struct code *c, FILE *to)
{
    unsigned char head[0x78] = {0x7f, 'E', 'L', 'F', 0, 1, 1};
    bool wide = c->kind == WILD_LONG;
    const uint64_t elf64[] = {ELF_BASE, 0x40, 0, 0x0038004000000000, 1},
                   program64[] = {0x700000001, 0x78, ELF_BASE, ELF_BASE, IMAGE_BYTES, STACK + 0x1000, 0x1000};
    const uint32_t elf32[] = {ELF_BASE, 0x34, 0, 0, 0x00200034, 1, 0},
                   program32[] = {1, 0x78, ELF_BASE, ELF_BASE, IMAGE_BYTES, STACK + 0x1000, 7, 0x1000};

    head[4] = wide ? 2 : 1;
    head[16] = 2;
    head[18] = wide ? 62 : 3;
    head[20] = 1;
    memcpy(head + 24, wide ? (const void *)elf64 : elf32, wide ? sizeof elf64 : sizeof elf32);
    memcpy(head + (wide ? 0x40 : 0x34), wide ? (const void *)program64 : program32,
           wide ? sizeof program64 : sizeof program32);
    fwrite(head, 1, sizeof head, to);
}

void wild_image(struct wild *w, enum wild_image kind, FILE *to)
{
    static struct code c;

    memset(&c, 0, sizeof c);
    c.kind = kind;
    c.base = kind == WILD_REAL ? FLAT_BASE : ELF_BASE;
    handler(&c);
    entry(&c);
    for (unsigned i = 0; i < SLOT_COUNT; i++)
        slot(w, &c, i);
    if (kind != WILD_REAL)
        elf_head(&c, to);
    fwrite(c.bytes, 1, sizeof c.bytes, to);
}
