// SPDX-License-Identifier: Apache-2.0
/* hvsim boot: what it takes, what it refuses, and what its exit status says. */
#include "tests/cli/cli.h"

#include "sim/image/tests/image_fixture.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char loop[] = {(char)0xeb, (char)0xfe}; // jmp to itself.

TEST(Boot, HelpTellsWhatTheStatusMeans)
{
    EXPECT_EQ(hvsim("boot --help"), 0);
    EXPECT_STRSTR(cli_out, "exit status: the code that the guest writes to the debug-exit port 0xf4");
    EXPECT_STRSTR(cli_out, "124 at --until");
}

TEST(Boot, WhatCannotBeBootedIsRefusedWithAReason)
{
    static const struct {
        const char *words, *says;
    } rows[] = {
        {"", "boot: name an image"},
        {"nothing.flat", "nothing.flat: vms[0].program.image: cannot be read: No such file"},
        {".", "is a folder"},
        {"garbage", "garbage: is no image that can be booted"},
        {"elf", "elf: ends inside of its ELF header"},
        {"garbage --load 0x100000", "cannot be entered in real mode at 0x100000; load it below 1 MiB"},
        {"garbage --load -1", "vms[0].program.load: expected a number"},
        {"guest.img --hide pcdi", "`pcdi` is no feature of CPUID; did you mean `pcid`?"},
        {"guest.img --disable-exits hlt,mwiat",
         "vms[0].disable_exits[1]: `mwiat` is not known; did you mean `mwait`? (one of: mwait, hlt, pause)"},
        {"garbage --load 0x7c00 --append x", "a flat binary takes no command line"},
        {"garbage --load 0x7c00 --module garbage", "takes no modules"},
        {"garbage --load 0x7c00 --initrd nothing", "vms[0].program.initrd: cannot be read"},
        {"garbage --load 0x7c00 --input nothing", "nothing: vms[0].program.input: cannot be read"},
        {"garbage --load 0x7c00 --input empty", "empty: vms[0].program.input: is empty"},
        {"garbage --load 0x7c00 --input -", "/dev/stdin: --input -: is empty"},
        {"garbage --load 0x7c00 --input elf --script elf", "--script: and --input do not go together"},
        {"garbage --load 0x7c00 --script nothing", "nothing: --script: cannot be read"},
        {"garbage --load 0x7c00 --script zero", "zero: --script: is no text"},
        {"garbage --load 0x7c00 --script script",
         "script:2: --script: unknown step `wiat` (did you mean `wait`?)"},
        {"garbage --cpus 0", "--cpus: expected 1 to 64, got `0`"},
        {"garbage --cpus 65", "--cpus: expected 1 to 64, got `65`"},
        {"garbage --memory 12", "--memory: expected 1MiB to 2TiB"},
        {"garbage --memory 3TiB", "--memory: expected 1MiB to 2TiB"},
        {"garbage --until 5", "--until: expected a time with a unit"},
        {"garbage --uarch z80", "there is no micro-architecture `z80`"},
        {"garbage --knob x86.apicv", "--knob wants NAME=VALUE"},
        {"garbage --trace exitz --db d.db", "--trace: "},
        {"garbage --db ''", "--db wants the name of a file"},
        {"garbage garbage", "boot takes one image"},
        {"garbage --load 0x7c00 --until 1us --console /nonexistent/c", "--console /nonexistent/c: cannot be"},
    };

    cli_write_text("garbage", "This is no image of any kind.\n");
    cli_write("elf", "\177ELF\1\1\1", 7);
    cli_write("empty", "", 0);
    cli_write("zero", "type a\0", 7);
    cli_write_text("script", "# What?\nwiat a\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].words);
        EXPECT_EQ(hvsim("boot %s", rows[i].words), 2);
        EXPECT_STRSTR(cli_err, rows[i].says);
        EXPECT_STREQ(cli_out, "");
    }
}

TEST(Boot, IsAScenarioThatRunTakes)
{
    static char once[sizeof cli_out];

    cli_write("guest.img", loop, sizeof loop);
    EXPECT_EQ(hvsim("boot guest.img --append 'say \"x\"' --cpus 3 --memory 64MiB --module guest.img --initrd "
                    "guest.img "
                    "--load 0x7c00 --nested --until 2ms --print-resolved"),
              0);
    EXPECT_STRSTR(cli_out, "scenario: \"guest.img\"");
    EXPECT_STRSTR(cli_out, "append: \"say \\\"x\\\"\"");
    EXPECT_STRSTR(cli_out, "load: 0x7c00");
    EXPECT_STRSTR(cli_out, "modules: [\"guest.img\"]");
    EXPECT_STRSTR(cli_out, "nested: on");
    EXPECT_STRSTR(cli_out, "run: { until: 2000000ns }");
    memcpy(once, cli_out, sizeof once);
    cli_write_text("resolved.yaml", once);
    EXPECT_EQ(hvsim("run resolved.yaml --print-resolved"), 0);
    EXPECT_STREQ(cli_out, once);
}

TEST(Boot, TheTimeLimitHasAStatusOfItsOwn)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    cli_write("loop.img", loop, sizeof loop);
    EXPECT_EQ(hvsim("boot loop.img --load 0x7c00 --until 2ms"), 124);
    EXPECT_STREQ(cli_out, ""); // All that is said on standard output is the guest's.
    EXPECT_STRSTR(cli_err, "hvsim: loop.img: time limit; 4200000 cycles (2.000 ms)");
    EXPECT_EQ(hvsim("boot loop.img --load 0x7c00 --until 2ms --json"), 124);
    EXPECT_TRUE(json_fault(cli_out) == NULL);
    EXPECT_STRSTR(cli_out, "\"end\": \"time limit\", \"status\": 124");
}

/* The row says which bytes were run, by a digest that follows from nothing else. */
TEST(Boot, TheImageIsPartOfTheRunsIdentity)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    char first[200], db[300];

    snprintf(db, sizeof db, "%s", cli_path("d.db"));
    mkdir(cli_path("folder"), 0777);
    cli_write("loop.img", loop, sizeof loop);
    cli_write("folder/loop.img", loop, sizeof loop);
    EXPECT_EQ(hvsim("boot loop.img --load 0x7c00 --until 1ms --db d.db"), 124);
    EXPECT_EQ(hvsim("boot folder/loop.img --load 0x7c00 --until 1ms --db d.db"), 124);
    cli_write("loop.img", "\xf4\xeb\xfd", 3);
    EXPECT_EQ(hvsim("boot loop.img --load 0x7c00 --until 1ms --db d.db"), 124);
    snprintf(first, sizeof first, "%s", cli_query_text(db, "SELECT setup FROM runs WHERE run = 1"));
    EXPECT_TRUE(strncmp(first, "untimed load of loop.img (flat, 2 bytes, digest ", 48) == 0);
    EXPECT_STREQ(cli_query_text(db, "SELECT setup FROM runs WHERE run = 2"), first);
    EXPECT_EQ(cli_query(db, "SELECT count(DISTINCT setup) FROM runs"), 2);
    EXPECT_EQ(cli_query(db, "SELECT count(DISTINCT digest) FROM runs WHERE run < 3"), 1);
}

/* 32-bit code as an ELF file of its own; returns hvsim's status. */
static int boot_code(const char *code, size_t size, const char *options)
{
    static struct fixture f;

    fixture_elf(&f, false);
    memcpy(f.bytes + 0x1000 + FIXTURE_ENTRY - FIXTURE_BASE, code, size);
    cli_write("code.elf", f.bytes, sizeof f.bytes);
    return hvsim("boot code.elf --until 5ms %s", options);
}
#define CODE(bytes) bytes, sizeof(bytes) - 1
#define EXIT_EAX "\xe7\xf4\xf4"           // out %eax, $0xf4; hlt
#define SEND(letter) "\xb0" letter "\xee" // mov $letter, %al; out %al, (%dx)

/* Each way of ending is told on standard error, and by the status; standard output is the guest's. */
TEST(Boot, TheGuestsEndIsTheCommandsStatus)
{
    static const struct {
        const char *name, *code;
        size_t size;
        int status;
        const char *says, *out;
    } rows[] = {
        {"code 0", CODE("\x31\xc0" EXIT_EAX), 0, "code.elf: exit with code 0; ", ""},
        {"code 7", CODE("\xb8\x07\0\0\0" EXIT_EAX), 7, "exit with code 7; ", ""},
        {"code 300", CODE("\xb8\x2c\x01\0\0" EXIT_EAX), 255, "exit with code 300; ", ""},
        {"code 2^32 - 1", CODE("\xb8\xff\xff\xff\xff" EXIT_EAX), 255, "exit with code 65535 or more; ", ""},
        {"console", CODE("\xba\xf8\x03\0\0" SEND("h") SEND("i") SEND("\n") "\x31\xc0" EXIT_EAX), 0,
         "exit with code 0; ", "hi\n"},
        {"power off",
         CODE("\xba\0\x89\0\0" SEND("S") SEND("h") SEND("u") SEND("t") SEND("d") SEND("o") SEND("w")
                  SEND("n") "\xf4"),
         0, "power off; ", ""},
        {"triple fault", CODE("\x0f\x0b"), 1, "triple fault; ", ""},
        {"halt", CODE("\xf4\xeb\xfd"), 1, "halted for ever: ", ""},
        {"loop", CODE("\xeb\xfe"), 124, "time limit; ", ""},
    };

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].name);
        int status = boot_code(rows[i].code, rows[i].size, "");

        if (strstr(cli_err, "no guest program at this IDTR base"))
            test_skip("this build has no interpreter of machine code");
        EXPECT_EQ(status, rows[i].status);
        EXPECT_STRSTR(cli_err, rows[i].says);
        EXPECT_STREQ(cli_out, rows[i].out);
    }
}

/* The console is in the trace with its cycles, and goes to a file if one is named. */
TEST(Boot, TheConsoleIsInTheTrace)
{
    char db[300];

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    snprintf(db, sizeof db, "%s", cli_path("c.db"));
    int status = boot_code(CODE("\xba\xf8\x03\0\0" SEND("h") SEND("i") "\x31\xc0" EXIT_EAX),
                           "--db c.db --console c.txt");

    if (strstr(cli_err, "no guest program at this IDTR base"))
        test_skip("this build has no interpreter of machine code");
    EXPECT_EQ(status, 0);
    EXPECT_STREQ(cli_out, "");
    EXPECT_STREQ(
        cli_query_text(db, "SELECT group_concat(char(a1), '') FROM events WHERE kind = 'guest_console'"),
        "hi");
    EXPECT_EQ(cli_query(db, "SELECT count(DISTINCT cycle) FROM events WHERE kind = 'guest_console'"), 2);
    EXPECT_EQ(cli_query(db, "SELECT a1 FROM events WHERE kind = 'guest_end'"), 1);
}

/* 32-bit code that is ready to receive, and sends back what it gets until that is a q. */
#define ECHO                                                                                                 \
    CODE("\x66\xba\xfc\x03\xb0\x02\xee"         /* mov $0x3fc, %dx; mov $2, %al; out %al, (%dx) */           \
         "\x66\xba\xfd\x03\xec\xa8\x01\x74\xf7" /* 1: mov $0x3fd, %dx; in (%dx), %al; test $1, %al; jz 1b */ \
         "\x66\xba\xf8\x03\xec\xee"             /* mov $0x3f8, %dx; in (%dx), %al; out %al, (%dx) */         \
         "\x3c\x71\x75\xed\x31\xc0" EXIT_EAX)   /* cmp $'q', %al; jne 1b; xor %eax, %eax */

TEST(Boot, TheInputsBytesAreTyped)
{
    static const char bytes[] = "one\nt\x01\xff\"\\o\r\n# wait\nq";
    char first[60], db[300];

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    snprintf(db, sizeof db, "%s", cli_path("i.db"));
    cli_write("typed", bytes, sizeof bytes - 1);
    EXPECT_EQ(boot_code(ECHO, "--input typed --db i.db"), 0);
    EXPECT_STREQ(cli_out, bytes);
    EXPECT_TRUE(strstr(cli_err, "input:") == NULL);
    EXPECT_EQ(boot_code(ECHO, "--input - <typed --db i.db"), 0);
    EXPECT_STREQ(cli_out, bytes);
    EXPECT_EQ(boot_code(ECHO, "--input - <typed --db i.db"), 0);
    snprintf(first, sizeof first, "%s", cli_query_text(db, "SELECT digest FROM runs WHERE run = 1"));
    EXPECT_STREQ(cli_query_text(db, "SELECT digest FROM runs WHERE run = 2"), first);
    EXPECT_STREQ(cli_query_text(db, "SELECT digest FROM runs WHERE run = 3"), first);
    cli_write_text("typed", "oneq and more");
    EXPECT_EQ(boot_code(ECHO, "--input typed --db i.db"), 0);
    EXPECT_STREQ(cli_out, "oneq");
    EXPECT_STRSTR(cli_err, "hvsim: input: ");
    EXPECT_STRSTR(cli_err, " bytes were not typed before the end");
    EXPECT_EQ(cli_query(db, "SELECT count(DISTINCT digest) FROM runs"), 2);
}

TEST(Boot, AScriptWaitsAndTypes)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    cli_write_text("script", "type ab\nwait ab\npause 2ms\ntype \"\\x63\"\nwait x\ntype q\n");
    EXPECT_EQ(boot_code(ECHO, "--script script"), 124);
    EXPECT_STREQ(cli_out, "abc");
    EXPECT_STRSTR(cli_err, "input: line 5 of the script still waits for `x`; 1 bytes were not typed");
    cli_write_text("script", "type ab\nwait ab\ntype xy\nwait x\ntype q\n");
    EXPECT_EQ(boot_code(ECHO, "--script script"), 0);
    EXPECT_STREQ(cli_out, "abxyq");
}

TEST(Boot, WhatIsTypedIsPartOfTheScenario)
{
    static char once[sizeof cli_out];

    cli_write("guest.img", loop, sizeof loop);
    cli_write("typed", "a\"b\n", 4);
    EXPECT_EQ(hvsim("boot guest.img --load 0x7c00 --input - --print-resolved <typed"), 0);
    EXPECT_STRSTR(cli_out, "script: \"type \\\"a\\\\\\\"b\\\\n\\\"\\n\"");
    memcpy(once, cli_out, sizeof once);
    cli_write_text("resolved.yaml", once);
    EXPECT_EQ(hvsim("run resolved.yaml --print-resolved"), 0);
    EXPECT_STREQ(cli_out, once);
    EXPECT_EQ(hvsim("boot guest.img --load 0x7c00 --input typed --print-resolved"), 0);
    EXPECT_STRSTR(cli_out, "input: \"typed\"");
}

/* A guest with a header of version 2 finds the magic number in EAX and, behind EBX, tags: the command line
 * first. */
TEST(Boot, Multiboot2GuestsFindTheirInformation)
{
    static const char code[] = "\x3d\x89\x62\xd7\x36\x75\x14" /* cmp $0x36d76289, %eax; jne 1f */
                               "\x83\x7b\x08\x01\x75\x0e"     /* cmpl $1, 8(%ebx); jne 1f */
                               "\x81\x7b\x10pass\x75\x05"     /* cmpl $'pass', 16(%ebx); jne 1f */
                               "\x31\xc0\xe7\xf4\xf4"         /* xor %eax, %eax; out %eax, $0xf4 */
                               "\xb8\x01\0\0\0\xe7\xf4\xf4";  /* 1: mov $1, %eax; out */
    static struct fixture f;

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    fixture_elf(&f, false);
    memcpy(f.bytes + 0x1000 + FIXTURE_ENTRY - FIXTURE_BASE, code, sizeof code - 1);
    fixture_multiboot2(&f, NULL, 0);
    cli_write("two.elf", f.bytes, sizeof f.bytes);
    EXPECT_EQ(hvsim("boot two.elf --append pass --until 5ms --db two.db"), 0);
    EXPECT_STRSTR(cli_err, "exit with code 0");
    EXPECT_STRSTR(cli_query_text(cli_path("two.db"), "SELECT setup FROM runs"), "two.elf (multiboot 2, ");
    EXPECT_EQ(hvsim("boot two.elf --append fail --until 5ms"), 1);
    fixture_multiboot2(&f, (const uint32_t[]){5, 20, 1024, 768, 32, 0}, 24);
    cli_write("two.elf", f.bytes, sizeof f.bytes);
    EXPECT_EQ(hvsim("boot two.elf"), 2);
    EXPECT_STRSTR(cli_err, "demands a video mode");
}
