// SPDX-License-Identifier: Apache-2.0
/* hvsim gdb as its user meets it: Debian's gdb at the other end of the socket. */
#include "tests/cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char said[1 << 18]; // By the last dialogue

static bool can_talk(void)
{
    return cli_can_run() && test_shell("gdb --version >/dev/null 2>&1", NULL, 0) == 0;
}
#define NEED_GDB()                                                                                           \
    do {                                                                                                     \
        if (!can_talk())                                                                                     \
            test_skip("there is no gdb, or no libhv.so in this build: install Debian's package gdb");        \
    } while (0)

/* The dialogue with an image from commands; returns what tests/gdb/dialogue.sh does. */
static int talk(const char *image, const char *commands, const char *options)
{
    char line[2000];

    snprintf(line, sizeof line, "%s '%s/tests/gdb/dialogue.sh' '%s' %s '%s' %s",
             strstr(options, "--port") ? "DIALOGUE_PORT=1" : "", test_source_dir(), test_build_dir(), image,
             cli_write_text("commands", commands), options);
    return test_shell(line, said, sizeof said);
}

/* "3718546 cycles ... digest D" of the run's last line, in `text`. */
static void summary(const char *text, char *to, size_t size)
{
    const char *at = strstr(text, "; "), *end = at ? strchr(at, '\n') : NULL;

    for (const char *next = at; next && (next = strstr(next + 1, "hvsim: ")) != NULL;) // The last one counts.
        if (strstr(next, "; ") && strstr(next, "digest"))
            at = strstr(next, "; ");
    end = at ? strchr(at, '\n') : NULL;
    snprintf(to, size, "%.*s", at && end ? (int)(end - at) : 0, at ? at : "");
}

static void run_alone(const char *image, const char *options, char *to, size_t size)
{
    hvsim("boot '%s/lib/images/%s.elf' %s", test_build_dir(), image, options);
    const char *at = strstr(cli_err, "; ");

    snprintf(to, size, "%.*s", at ? (int)strcspn(at, "\n") : 0, at ? at : "");
}

TEST(Gdb, StopsBeforeTheFirstInstruction)
{
    NEED_GDB();
    EXPECT_EQ(talk("hello", "info registers rip cs eflags\nx/i $pc\nprint $rax\nkill\n", ""), 0);
    EXPECT_STRSTR(said, "start () at");
    EXPECT_STRSTR(said, "<start>:\tcli");
    EXPECT_STRSTR(said, "= 732803074"); // 0x2badb002, of a multiboot loader.
    EXPECT_STRSTR(said, "hvsim: exit status 1");
}

TEST(Gdb, SocketAndPortAreTheSame)
{
    NEED_GDB();
    EXPECT_EQ(talk("hello", "detach\n", "--port 0"), 0);
    EXPECT_STRSTR(said, "console: hello from 64-bit mode");
    EXPECT_STRSTR(said, "hvsim: exit status 0");
}

TEST(Gdb, BreakpointsStepsRegistersAndMemory)
{
    NEED_GDB();
    EXPECT_EQ(talk("overwritten",
                   "hbreak store_square if $rcx == 3\n"
                   "continue\n"
                   "print $rax\n"
                   "stepi\n"
                   "print ((long *)&squares)[3]\n"
                   "print (long)$pc - (long)&store_square\n"
                   "print $cr0 & 0x80000001\nprint $efer & 0x500\n"
                   "print $xmm0.v2_int64[0]\n"
                   "x/gx 0\n"
                   "monitor walk &squares\n"
                   "set var $rax = 1\n"
                   "detach\n",
                   ""),
              0);
    EXPECT_STRSTR(said, "Breakpoint 1, store_square");
    EXPECT_STRSTR(said, "$1 = 9");
    EXPECT_STRSTR(said, "$2 = 9");
    EXPECT_STRSTR(said, "$3 = 4");
    EXPECT_STRSTR(said, "$4 = 2147483649");
    EXPECT_STRSTR(said, "$5 = 1280");
    EXPECT_STRSTR(said, "0x0:\t0x0000000000000000"); // Never touched: as it was loaded.
    EXPECT_STRSTR(said, "expected an address");      // gdb does not evaluate what follows `monitor`.
    EXPECT_STRSTR(said, "Could not write register"); // A run follows from its inputs alone.
    EXPECT_STRSTR(said, "hvsim: exit status 3");
}

TEST(Gdb, RegistersOfEveryKind)
{
    static const char *const says[] = {"$1 = -2",
                                       "$2 = 1234605616436508552",
                                       "$3 = 2827",
                                       "$4 = 3855",
                                       "$5 = 1234605616436508552",
                                       "$6 = 3855",
                                       "$7 = 1",
                                       "$8 = 3.14159",
                                       "$9 = 895",
                                       "$10 = 8064",
                                       "$11 = 0x12345000",
                                       "$12 = 0x54321000",
                                       "$13 = [ CF ",
                                       "$14 = 16"};

    NEED_GDB();
    EXPECT_EQ(
        talk(
            "registers",
            "break set\ncontinue\nprint $rax\nprint $rbx\nprint $r8\nprint $r15\nprint $xmm3.v2_int64[0]\n"
            "print $xmm15.v2_int64[0]\nprint $st0\nprint $st1\nprint $fctrl\nprint $mxcsr & 0x1f80\n"
            "print/x $fs_base\nprint/x $k_gs_base\nprint $eflags\nprint $cs\ninfo registers system\ndetach\n",
            ""),
        0);
    for (size_t i = 0; i < sizeof says / sizeof *says; i++)
        EXPECT_STRSTR(said, says[i]);
    EXPECT_STRSTR(said, "hvsim: exit status 0");
}

TEST(Gdb, WatchpointsSeeReadsAndWrites)
{
    NEED_GDB();
    EXPECT_EQ(talk("overwritten",
                   "watch *(long *)&sum\ncontinue\ncontinue\ndelete\n"
                   "rwatch *(long *)&balance\ncontinue\ndelete\ndetach\n",
                   ""),
              0);
    EXPECT_STRSTR(said, "Old value = 0\nNew value = 1");
    EXPECT_STRSTR(said, "Old value = 1\nNew value = 2");
    EXPECT_STRSTR(said, "Hardware read watchpoint 2: *(long *)&balance");
    EXPECT_STRSTR(said, "jne 2f"); // Behind the comparison that read it.
}

/* What the machine is asked about in words. */
TEST(Gdb, MonitorShowsTheMachineAroundTheGuest)
{
    NEED_GDB();
    EXPECT_EQ(
        talk("overwritten",
             "break check\ncontinue\nmonitor exits\nmonitor cycles\nmonitor regs\nmonitor vmcs GUEST_CR\n"
             "monitor ept 0x100000\nmonitor walk 0x100010\nmonitor xp 0x100000 4\n"
             "monitor space physical\nx/wx 0x100000\nmonitor nonsense\nkill\n",
             ""),
        0);
    EXPECT_STRSTR(said, "EPT_VIOLATION");
    EXPECT_STRSTR(said, "instructions begun");
    EXPECT_STRSTR(said, "gdtr base");
    EXPECT_STRSTR(said, "GUEST_CR3");
    EXPECT_STRSTR(said, "gpa 0x100000 is hpa 0x");
    EXPECT_STRSTR(said, "guest level 2");
    EXPECT_STRSTR(said, "linear 0x100010 is gpa 0x100010");
    EXPECT_STRSTR(said, "000000100000: 02 b0 ad 1b"); // The multiboot header
    EXPECT_STRSTR(said, "0x1badb002");
    EXPECT_STRSTR(said, "there is no `nonsense`");
}

TEST(Gdb, VcpusAreThreads)
{
    NEED_GDB();
    EXPECT_EQ(talk("overwritten",
                   "info threads\nhbreak *0x8004\ncontinue\nprint/x (long)$pc\nprint/x $cs_base\nstepi\ninfo "
                   "threads\n"
                   "print/x (long)$pc\nmonitor xp 0x9000 2\nset scheduler-locking on\nreverse-stepi\n"
                   "print/x (long)$pc\nmonitor xp 0x9000 2\ndelete\ndetach\n",
                   "--cpus 2"),
              0);
    EXPECT_STRSTR(said, "vCPU 1: not started");
    EXPECT_STRSTR(said, "[Switching to Thread 2]");
    EXPECT_STRSTR(said, "* 2    Thread 2 (vm 0 vCPU 1: in the guest)");
    EXPECT_STRSTR(said, "$1 = 0x8004");
    EXPECT_STRSTR(said, "$2 = 0x8000");
    EXPECT_STRSTR(said, "$3 = 0x8008");
    EXPECT_STRSTR(said, "000000009000: 01 00");
    EXPECT_STRSTR(said, "$4 = 0x8004");
    EXPECT_STRSTR(said, "000000009000: 00 00");
}

/* Each step back undoes the step forward: the same registers, in the opposite order. */
TEST(Gdb, ReverseStepsUndoSteps)
{
    NEED_GDB();
    EXPECT_EQ(talk("overwritten",
                   "break fill_squares\ncontinue\ndelete\n"
                   "set $n = 0\nset $sum = (long)0\n"
                   "while $n < 40\nset $sum = $sum * 3 + (long)$pc + $rax\nstepi\nset $n = $n + 1\nend\n"
                   "set $back = (long)0\nset $power = (long)1\n"
                   "while $n > 0\nreverse-stepi\nset $back = $back + ((long)$pc + $rax) * $power\n"
                   "set $power = $power * 3\nset $n = $n - 1\nend\n"
                   "print $sum == $back\nprint $pc == &fill_squares\nreverse-continue\nreverse-stepi\n"
                   "print $pc == &start\ndetach\n",
                   ""),
              0);
    EXPECT_STRSTR(said, "$1 = 1");
    EXPECT_STRSTR(said, "$2 = 1");
    EXPECT_STRSTR(said, "No more reverse-execution history.");
    EXPECT_STRSTR(said, "$3 = 1");
}

/* From the end of the run. The console is not written again by what is carried out again. */
TEST(Gdb, ReverseContinueFindsTheInstructionThatWrote)
{
    NEED_GDB();
    EXPECT_EQ(
        talk("overwritten",
             "continue\nwatch *(long *)&balance\nreverse-continue\nprint $pc == &store_square\nprint $rcx\n"
             "delete\ncontinue\ncontinue\n",
             "--cpus 2"),
        0);
    EXPECT_STRSTR(said, "Old value = 64\nNew value = 1234");
    EXPECT_STRSTR(said, "$1 = 1");
    EXPECT_STRSTR(said, "$2 = 8");
    EXPECT_STRSTR(said, "exited with code 03");
    const char *once = strstr(said, "console: balance is wrong");

    ASSERT_TRUE(once != NULL);
    EXPECT_TRUE(strstr(once + strlen("console: balance is wrong"), "balance is wrong") == NULL);
}

/* Whatever gdb does, the run is the one without it: cycles, exits, digest. */
TEST(Gdb, ChangesNothingOfTheRun)
{
    static const struct {
        const char *name, *image, *options, *commands;
    } rows[] = {
        {"attached", "hello", "", "detach\n"},
        {"to the end", "hello", "", "continue\ncontinue\n"},
        {"steps", "overwritten", "",
         "break fill_squares\ncontinue\nstepi 200\nx/8gx &squares\nmonitor walk 0\ndetach\n"},
        {"stops", "overwritten", "--cpus 2",
         "break work\nignore 1 300\nwatch *(long *)&squares\nawatch *(long "
         "*)&balance\ncontinue\ncontinue\ncontinue\n"
         "delete\ncontinue\ncontinue\n"},
        {"back and forth", "overwritten", "--cpus 2",
         "break check\ncontinue\nreverse-stepi\nreverse-stepi\nbreak store_square\nreverse-continue\n"
         "reverse-continue\nstepi\ndelete\ndetach\n"},
        {"exits", "exits", "",
         "break main\ncontinue\nstepi 500\nreverse-stepi 3\ndelete\ncontinue\ncontinue\n"},
    };

    NEED_GDB();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char alone[300], under[300];

        test_row("%s", rows[i].name);
        run_alone(rows[i].image, rows[i].options, alone, sizeof alone);
        EXPECT_EQ(talk(rows[i].image, rows[i].commands, rows[i].options), 0);
        summary(said, under, sizeof under);
        EXPECT_STRSTR(alone, "digest ");
        EXPECT_STREQ(under, alone);
    }
}

/* docs/gdb.md shows what happens; tests/gdb/dialogue.sh --renew BUILD writes it anew. */
TEST(Gdb, TheDialogueOfTheDocumentIsTheOneThatHappens)
{
    static char wanted[1 << 16];
    char line[2000];

    NEED_GDB();
    if (test_shell("gdb --version | head -1 | grep -q ' 13\\.'", NULL, 0))
        test_skip("it was recorded with gdb 13, which words things in its own way");
    snprintf(
        line, sizeof line,
        "'%s/tests/gdb/dialogue.sh' '%s' overwritten '%s/tests/gdb/reverse.gdb' --cpus 2 | sed '/^hvsim: /d'",
        test_source_dir(), test_build_dir(), test_source_dir());
    EXPECT_EQ(test_shell(line, said, sizeof said), 0);
    snprintf(line, sizeof line,
             "awk '/^<!-- dialogue -->$/ {on = 1; next} /^<!-- end of dialogue -->$/ {on = 0} on && "
             "!/^```$/' '%s/docs/gdb.md'",
             test_source_dir());
    EXPECT_EQ(test_shell(line, wanted, sizeof wanted), 0);
    EXPECT_STREQ(said, wanted);
}

/* --- What is not gdb. --- */

static uint32_t random_state = 1;

static uint32_t next_random(uint32_t below)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

/* Connects to hvsim's socket, waiting until it is there. */
static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    for (int tries = 0; tries < 300; tries++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
            return fd;
        close(fd);
        usleep(100000);
    }
    return -1;
}

static void send_packet(int fd, const char *text, size_t length)
{
    char out[400];
    uint8_t sum = 0;

    for (size_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + (uint8_t)text[i]);
    int size = snprintf(out, sizeof out, "$%.*s#%02x", (int)length, text, sum);

    send(fd, out, (size_t)size, MSG_NOSIGNAL);
}

/* Starts `hvsim gdb WORDS` in the background, with a socket in test_tmpdir(); returns the connection. Its
 * exit status will be in the file "status". */
static int start(const char *words)
{
    char line[2000];

    snprintf(line, sizeof line,
             "cd '%s' && rm -f socket status; (timeout 60 '%s/bin/hvsim' gdb %s --socket socket >out 2>err; "
             "echo $? "
             ">status) >/dev/null 2>&1 &",
             test_tmpdir(), test_build_dir(), words);
    EXPECT_EQ(test_shell(line, NULL, 0), 0);
    return connect_to(cli_path("socket"));
}

static const char *end_status(void)
{
    static char status[20];
    char line[700];

    snprintf(line, sizeof line,
             "cd '%s'; for i in $(seq 600); do [ -s status ] && break; sleep 0.1; done; cat status",
             test_tmpdir());
    test_shell(line, status, sizeof status);
    return status;
}

/* The next packet's text. */
static const char *receive(int fd)
{
    static char text[4096];
    size_t length = 0;
    char byte = 0;

    while (byte != '$' && recv(fd, &byte, 1, 0) == 1)
        ;
    while (recv(fd, &byte, 1, 0) == 1 && byte != '#')
        if (length < sizeof text - 1)
            text[length++] = byte;
    text[length] = 0;
    return text;
}

/* Ctrl-C stops a guest that would never stop by itself, also while it is sought backwards for a stop that is
 * not there. */
TEST(Gdb, CtrlCStopsWhereTheRunIs)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    cli_write("loop.img", "\xeb\xfe", 2); // jmp to itself
    int fd = start("loop.img --load 0x7c00 --until 60s");

    ASSERT_TRUE(fd >= 0);
    send_packet(fd, "?", 1);
    EXPECT_STREQ(receive(fd), "T05thread:1;");
    for (int i = 0; i < 3; i++) {
        send_packet(fd, i == 1 ? "vCont;c:1" : "c", i == 1 ? 9 : 1);
        usleep(300000);
        send(fd, "\3", 1, MSG_NOSIGNAL);
        EXPECT_STREQ(receive(fd), "T02thread:1;");
        send_packet(fd, "p10", 3);
        EXPECT_STREQ(receive(fd), "007c000000000000");
    }
    send_packet(fd, "bc", 2);
    send(fd, "\3", 1, MSG_NOSIGNAL);
    EXPECT_STREQ(receive(fd), "T02thread:1;");
    send_packet(fd, "bc", 2);
    EXPECT_STREQ(receive(fd), "T05thread:1;replaylog:begin;");
    send_packet(fd, "bs", 2);
    EXPECT_STREQ(receive(fd), "T05thread:1;replaylog:begin;");
    send_packet(fd, "k", 1);
    EXPECT_STREQ(end_status(), "1\n");
    close(fd);
}

/* Packets that are nearly right, then noise, then silence: the run ends with status 1 and a word, nothing
 * else. */
TEST(Gdb, NoiseEndsTheRunInGoodOrder)
{
    static const char *const starts[] = {"m",
                                         "p",
                                         "g",
                                         "Z0,",
                                         "z2,",
                                         "vCont;",
                                         "H",
                                         "qXfer:features:read:target.xml:",
                                         "qRcmd,",
                                         "T",
                                         "X",
                                         "?",
                                         "qThreadExtraInfo,",
                                         "bs",
                                         "s",
                                         "vCont;s:"};
    char line[2000];

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (uint32_t round = 0; round < 4; round++) {
        test_row("round %u", round);
        random_state = round + 1;
        snprintf(line, sizeof line, "'%s/lib/images/overwritten.elf' --cpus 2", test_build_dir());
        int fd = start(line);

        ASSERT_TRUE(fd >= 0);
        for (int i = 0; i < 400; i++) {
            char text[120];
            int length =
                snprintf(text, sizeof text, "%s", starts[next_random(sizeof starts / sizeof *starts)]);

            for (uint32_t more = next_random(20); more; more--)
                text[length++] = "0123456789abcdef,;:-$#}x"[next_random(24)];
            send_packet(fd, text, (size_t)length);
            if (next_random(8) == 0)
                send(fd, "\xff$$#zz}#", 8, MSG_NOSIGNAL);
            while (recv(fd, line, sizeof line, MSG_DONTWAIT) > 0)
                ;
        }
        close(fd);
        const char *status = end_status();

        EXPECT_TRUE(strcmp(status, "1\n") == 0 || strcmp(status, "3\n") == 0);
    }
}

TEST(Gdb, WhatCannotBeDoneIsRefusedWithAReason)
{
    static const struct {
        const char *words, *says;
    } rows[] = {
        {"", "gdb: name an image"},
        {"nothing.flat", "cannot be read"},
        {"a b", "gdb takes one image or scenario"},
        {"x --port 65536", "--port: expected 0 to 65535"},
        {"x --socket ''", "--socket wants the name of a file"},
        {"x --db d.db", "unknown option"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].words);
        EXPECT_EQ(hvsim("gdb %s", rows[i].words), 2);
        EXPECT_STRSTR(cli_err, rows[i].says);
    }
    if (!cli_can_run())
        return;
    EXPECT_EQ(hvsim("gdb '%s/lib/images/hello.elf' --socket /nonexistent/s", test_build_dir()), 2);
    EXPECT_STRSTR(cli_err, "cannot wait for gdb at /nonexistent/s: No such file");
    EXPECT_EQ(hvsim("gdb %s", cli_scenario("stream", 3)), 2);
    EXPECT_STRSTR(cli_err, "no VM boots an image");
}
