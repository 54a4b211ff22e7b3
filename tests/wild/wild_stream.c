// SPDX-License-Identifier: Apache-2.0
#include "tests/wild/wild.h"

#include "sim/scenario/stream.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

uint64_t wild_random(struct wild *w)
{
    uint64_t z = w->state += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t wild_below(struct wild *w, uint64_t n)
{
    return wild_random(w) % n;
}

bool wild_chance(struct wild *w, unsigned percent)
{
    return wild_below(w, 100) < percent;
}

uint64_t wild_number(struct wild *w)
{
    switch (wild_below(w, 6)) {
    case 0:
        return wild_below(w, 16);
    case 1:
        return 1ull << wild_below(w, 64);
    case 2:
        return (1ull << wild_below(w, 64)) - 1;
    case 3:
        return wild_below(w, 65536);
    case 4:
        return ~(uint64_t)0 - wild_below(w, 3);
    default:
        return wild_random(w);
    }
}

// --- Words of ops. ---

static const struct {
    const char *word, *args;
    unsigned min, max;
} ops[] = {
#define REPLAY_OP(name, word, args, min, max, length, section) {word, args, min, max},
#include "models/cpu/x86/replay_ops.def"
#undef REPLAY_OP
};
#define PLAIN_OPS ((uint64_t)REPLAY_LOOP) // The others make the stream's shape.

static const uint32_t msrs[] = {
#define MSR(number, name, section) number,
#define PV(number, name, origin) number,
#include "spec/msrs.def"
};

static const uint32_t fields[] = {
#define VMCS_FIELD(name, encoding, section) encoding,
#include "spec/vmcs_fields.def"
};

static const uint64_t places[] = {
    0,          0x1000,     0x2000,     0x3000,     0x100000,   0xa0000,        0x3ffffff,
    0x40000000, 0xc0000000, 0xfec00000, 0xfec00010, 0xfec00040, 0xfe000000,     0xfe001000,
    0xfee00020, 0xfee00080, 0xfee000b0, 0xfee000d0, 0xfee000f0, 0xfee00280,     0xfee00300,
    0xfee00310, 0xfee00320, 0xfee00380, 0xfee003e0, 0xfee01000, 0x100000000ull, 0x3fffffffffffull,
};

static const uint16_t ports[] = {0x20, 0x21, 0xa0, 0xa1,  0x40,  0x43,  0x60,  0x61,
                                 0x64, 0x70, 0x80, 0x3f8, 0x4d0, 0x4d1, 0xcf8, 0xfffe};

static uint64_t place(struct wild *w)
{
    switch (wild_below(w, 4)) {
    case 0:
        return wild_random(w) >> 18;
    case 1:
        return wild_below(w, 64) << 12;
    case 2:
        return 0xfee00000 + (wild_below(w, 64) << 4);
    default:
        return places[wild_below(w, COUNT(places))];
    }
}

// Exits to wait for; most of them come.
static const char *const awaited[] = {"PREEMPTION_TIMER", "EXTERNAL_INTERRUPT", "INTERRUPT_WINDOW",
                                      "EXCEPTION_NMI"};

static int argument(struct wild *w, char letter, char *to, size_t size)
{
    switch (letter) {
    case 'm':
        return snprintf(to, size, " %#x",
                        wild_chance(w, 85) ? msrs[wild_below(w, COUNT(msrs))] : (uint32_t)wild_number(w));
    case 'f':
        return snprintf(to, size, " %#x",
                        wild_chance(w, 90) ? fields[wild_below(w, COUNT(fields))] : (uint32_t)wild_number(w));
    case 'p':
        return snprintf(to, size, " %#x",
                        wild_chance(w, 70) ? ports[wild_below(w, COUNT(ports))]
                                           : (unsigned)wild_below(w, 65536));
    case 's':
        return snprintf(to, size, " %u", 1u << wild_below(w, 4));
    case 'g':
        return snprintf(to, size, " %#llx", (unsigned long long)place(w));
    case 'v':
        return snprintf(to, size, " %u", (unsigned)wild_below(w, wild_chance(w, 50) ? 32 : 256));
    case 'c':
        return snprintf(to, size, " cr%c", "0348"[wild_below(w, 4)]);
    case 'r':
        return snprintf(to, size, " %s", awaited[wild_below(w, COUNT(awaited))]);
    default:
        if (wild_chance(w, 10))
            return snprintf(to, size, " tsc+%lluus", (unsigned long long)wild_below(w, 500));
        return snprintf(to, size, " %#llx", (unsigned long long)wild_number(w));
    }
}

// The parser knows what can happen; it is asked.
static bool accepted(const char *line)
{
    static const struct stream_target target = {.clock_khz = 2100000, .tsc_khz = 2100000};
    struct stream_set set;
    struct stream_error error;
    char text[400];
    int size = snprintf(text, sizeof text, "hvsim-stream 1\n%s\n", line);

    if (!stream_parse("wild", text, (size_t)size, &target, &set, &error))
        return false;
    stream_free(&set);
    return true;
}

static void one_op(struct wild *w, FILE *to)
{
    char line[300];

    do {
        uint64_t kind = wild_below(w, PLAIN_OPS);
        unsigned count = ops[kind].min + (unsigned)wild_below(w, ops[kind].max - ops[kind].min + 1);
        size_t at = 0;

        // Rare, because little happens afterwards.
        if ((kind == REPLAY_TRIPLE || kind == REPLAY_AWAIT || kind == REPLAY_HLT) && !wild_chance(w, 20))
            continue;
        if (wild_chance(w, 60))
            at += (size_t)snprintf(line, sizeof line, "%u ",
                                   (unsigned)wild_below(w, wild_chance(w, 10) ? 50000 : 1000));
        at += (size_t)snprintf(line + at, sizeof line - at, "%s", ops[kind].word);
        for (unsigned i = 0; i < count; i++)
            at += (size_t)argument(w, ops[kind].args[i], line + at, sizeof line - at);
        if (kind == REPLAY_IRET || !accepted(line))
            line[0] = 0;
        else
            fprintf(to, "%s\n", line);
        if (line[0])
            return;
    } while (true);
}

// Things that bring an interrupt soon, in the forms that work.
static void useful_op(struct wild *w, FILE *to)
{
    switch (wild_below(w, 7)) {
    case 0:
        fprintf(to, "wrmsr IA32_TSC_DEADLINE tsc+%lluus\n", (unsigned long long)wild_below(w, 200));
        break;
    case 1:
        fprintf(to, "write 0xfee00320 4 %#x\n", (unsigned)(wild_below(w, 3) << 17 | wild_below(w, 256)));
        break;
    case 2:
        fprintf(to, "write 0xfee00300 4 %#x\n", (unsigned)wild_below(w, 1 << 20));
        break;
    case 3:
        fprintf(to, "wrmsr 0x830 %#llx\n",
                (unsigned long long)(wild_below(w, 4) << 32 | wild_below(w, 1 << 20)));
        break;
    case 4:
        fprintf(to, "wrmsr 0x1b %#x\n", 0xfee00000u | (unsigned)(wild_below(w, 16) << 8));
        break;
    case 5:
        fprintf(to, "msi %u %lluus\n", 32 + (unsigned)wild_below(w, 224),
                (unsigned long long)wild_below(w, 50));
        break;
    default:
        fprintf(to, "write 0xfec00000 4 %u\nwrite 0xfec00010 4 %#x\n", 0x10 + (unsigned)wild_below(w, 50),
                (unsigned)wild_below(w, 1 << 17));
    }
}

static void some_ops(struct wild *w, unsigned depth, FILE *to)
{
    for (uint64_t n = 1 + wild_below(w, 12); n > 0; n--) {
        if (wild_chance(w, 25)) {
            useful_op(w, to);
        } else if (depth < 4 && wild_chance(w, 15)) {
            fprintf(to, "loop %u {\n", 1 + (unsigned)wild_below(w, 20));
            some_ops(w, depth + 1, to);
            fprintf(to, "500 rdtsc\n}\n");
        } else {
            one_op(w, to);
        }
    }
}

static void handlers(struct wild *w, FILE *to)
{
    unsigned first = 0;

    for (uint64_t n = wild_below(w, 5); n > 0 && first < 200; n--) {
        first += 1 + (unsigned)wild_below(w, 40);
        fprintf(to, "on %u:\n", first);
        some_ops(w, 3, to);
        fprintf(to, "%siret\n", wild_chance(w, 80) ? "eoi\n" : "");
    }
}

// --- A hypervisor as a guest. ---

static const struct {
    const char *field;
    const char *value;
} valid_vmcs[] = {
    {"PIN_BASED_VM_EXEC_CONTROL", "0x1f"},
    {"CPU_BASED_VM_EXEC_CONTROL", "0x0401e1f2"},
    {"EXCEPTION_BITMAP", "0"},
    {"VM_EXIT_CONTROLS", "0x3efff"},
    {"VM_ENTRY_CONTROLS", "0x13ff"},
    {"VMCS_LINK_POINTER", "0xffffffffffffffff"},
    {"HOST_CR0", "0x80050033"},
    {"HOST_CR3", "0x1000000"},
    {"HOST_CR4", "0x26a0"},
    {"HOST_CS_SELECTOR", "0x10"},
    {"HOST_SS_SELECTOR", "0x18"},
    {"HOST_TR_SELECTOR", "0x40"},
    {"HOST_TR_BASE", "0xfffff80000001000"},
    {"HOST_GDTR_BASE", "0xfffff80000002000"},
    {"HOST_IDTR_BASE", "stream:main"},
    {"HOST_RSP", "0xfffff80000008000"},
    {"HOST_RIP", "label:handle"},
    {"GUEST_CR0", "0x80050033"},
    {"GUEST_CR3", "0x2000000"},
    {"GUEST_CR4", "0x26a0"},
    {"GUEST_DR7", "0x400"},
    {"GUEST_RFLAGS", "0x202"},
    {"GUEST_RIP", "label:begin"},
    {"GUEST_IDTR_BASE", "stream:l2"},
    {"GUEST_IDTR_LIMIT", "0xfff"},
    {"GUEST_GDTR_BASE", "0xfffff80220002000"},
    {"GUEST_GDTR_LIMIT", "0x7f"},
    {"GUEST_CS_SELECTOR", "0x10"},
    {"GUEST_CS_LIMIT", "0xffffffff"},
    {"GUEST_CS_AR_BYTES", "0xa09b"},
    {"GUEST_SS_SELECTOR", "0x18"},
    {"GUEST_SS_LIMIT", "0xffffffff"},
    {"GUEST_SS_AR_BYTES", "0xc093"},
    {"GUEST_DS_AR_BYTES", "0x10000"},
    {"GUEST_ES_AR_BYTES", "0x10000"},
    {"GUEST_FS_AR_BYTES", "0x10000"},
    {"GUEST_GS_AR_BYTES", "0x10000"},
    {"GUEST_LDTR_AR_BYTES", "0x10000"},
    {"GUEST_TR_SELECTOR", "0x40"},
    {"GUEST_TR_LIMIT", "0x67"},
    {"GUEST_TR_AR_BYTES", "0x8b"},
};

// A controls field with some more bits, or without some.
static void bend_controls(struct wild *w, FILE *to)
{
    static const struct {
        const char *field;
        uint32_t value;
    } controls[] = {
        {"PIN_BASED_VM_EXEC_CONTROL", 0x1f},
        {"CPU_BASED_VM_EXEC_CONTROL", 0x8401e1f2},
        {"SECONDARY_VM_EXEC_CONTROL", 0},
        {"VM_EXIT_CONTROLS", 0x3efff},
        {"VM_ENTRY_CONTROLS", 0x13ff},
        {"EXCEPTION_BITMAP", 0},
        {"VM_ENTRY_INTR_INFO_FIELD", 0x80000030},
        {"GUEST_INTERRUPTIBILITY_INFO", 0},
        {"GUEST_ACTIVITY_STATE", 0},
    };
    uint64_t i = wild_below(w, COUNT(controls));

    fprintf(to, "vmwrite %s %#x\n", controls[i].field, controls[i].value ^ 1u << wild_below(w, 32));
}

static void nested_main(struct wild *w, FILE *to)
{
    bool mostly_right = wild_chance(w, 85);

    fprintf(to, "cli\nwrmsr IA32_FEATURE_CONTROL 0x5\nmovtocr cr4 0x26a0\nwrite 0x1000 4 0x11e57ed1\n"
                "write 0x2000 4 0x11e57ed1\nvmxon 0x1000\nvmclear 0x2000\nvmptrld 0x2000\n");
    for (size_t i = 0; i < COUNT(valid_vmcs); i++)
        if (mostly_right || wild_chance(w, 97))
            fprintf(to, "vmwrite %s %s\n", valid_vmcs[i].field, valid_vmcs[i].value);
    for (uint64_t n = wild_below(w, 3); n > 0; n--)
        bend_controls(w, to);
    if (wild_chance(w, 20))
        some_ops(w, 3, to);
    fprintf(to, "vmlaunch\nhandle:\n");
    if (wild_chance(w, 40))
        bend_controls(w, to);
    some_ops(w, 2, to);
    fprintf(to, "%s300 vmresume\n500 goto handle\n", wild_chance(w, 50) ? "eoi\n" : "");
}

void wild_stream(struct wild *w, bool nested, FILE *to)
{
    bool enters = nested && wild_chance(w, 80);

    fprintf(to, "hvsim-stream 1\n");
    if (wild_chance(w, 70))
        fprintf(to, "sti\nwrite 0xfee000f0 4 0x1ff\n");
    if (enters) {
        nested_main(w, to);
    } else {
        fprintf(to, "loop {\n");
        for (uint64_t n = 1 + wild_below(w, 10); n > 0; n--)
            some_ops(w, 1, to);
        fprintf(to, "1000 rdtsc\n}\n");
    }
    handlers(w, to);
    if (enters) {
        fprintf(to, "stream l2 rip=0x400000\nbegin:\n");
        some_ops(w, 0, to);
        some_ops(w, 0, to);
        fprintf(to, "1000 goto begin\n");
        handlers(w, to);
    }
}
