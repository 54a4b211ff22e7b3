// SPDX-License-Identifier: Apache-2.0
// Value change dumps. A file can be opened only before the first run of an OS process, so each test runs in a
// child of its own, and this binary itself never runs anything.
#include "sim/tests/log.h"
#include "tests/shim/shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct sim_signal *mode, *line, *wide;

static void drive(void *arg)
{
    (void)arg;
    sim_signal_set(mode, 1);
    sim_wait_until(1000);
    sim_signal_set(mode, 5);
    sim_signal_set(line, 1);
    sim_wait_until(2500);
    sim_signal_set(line, 0);
    sim_wait_until(2501);
    sim_signal_set(wide, UINT64_MAX);
    sim_wait_until(9000);
    sim_signal_set(mode, 0);
    sim_wait_until(10000);
}

static void drive_line(void *arg)
{
    (void)arg;
    sim_wait_until(4000);
    sim_signal_set(line, 1);
}

static void make_signals(void)
{
    mode = sim_signal_create("host.cpu0.mode", 3, 2);
    line = sim_signal_create("host.irq", 1, 0);
    wide = sim_signal_create("wide", 64, 0x123);
}

static void run_traced(void *arg)
{
    const char *path = arg;
    if (sim_init() != 0 || sim_vcd_open(path) != 0) {
        exit(2);
    }
    make_signals();
    sim_process_start("drives", 0, STACK_BYTES, drive, NULL);
    sim_process_start("drives too", 1, STACK_BYTES, drive_line, NULL);
    sim_run(SIM_PS_NEVER);
    if (!sim_vcd_is_open()) {
        exit(3);
    }
    sim_start_over();
    if (sim_vcd_is_open()) {
        exit(4);
    }
    // A second run is not in the file.
    sim_process_start("drives", 0, STACK_BYTES, drive, NULL);
    sim_run(SIM_PS_NEVER);
}

static void read_all(const char *path, char *text, size_t bytes)
{
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, bytes - 1, f) : 0;
    text[n] = 0;
    if (f) {
        fclose(f);
    }
}

// Everything after the definitions, without the comment and empty lines.
static const char *changes(const char *text)
{
    static char out[4096];
    const char *from = strstr(text, "$dumpvars\n");
    size_t n = 0;
    while (from && *from && n + 1 < sizeof out) {
        if (*from != '\n' || (n > 0 && out[n - 1] != '\n')) {
            out[n++] = *from;
        }
        from++;
    }
    out[n] = 0;
    return out;
}

#define ONES_16 "1111111111111111"
static const char want_changes[] = "$dumpvars\n"
                                   "b1 aaaaa\n"
                                   "0aaaab\n"
                                   "b100100011 aaaac\n"
                                   "$end\n"
                                   "#1000\nb101 aaaaa\n1aaaab\n"
                                   "#2500\n0aaaab\n"
                                   "#2501\nb" ONES_16 ONES_16 ONES_16 ONES_16 " aaaac\n"
                                   "#4000\n1aaaab\n"
                                   "#9000\nb0 aaaaa\n"
                                   "#10000\n";

TEST(Vcd, ShowsEveryChangeAtItsTime)
{
    static const char *const names[] = {"wave.vcd", "wave", "wave.dump", ".vcd"};
    char first[8192] = "";
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512], out[1024], text[8192];
        test_row("%s", names[i]);
        snprintf(path, sizeof path, "%s/%s", test_tmpdir(), names[i]);
        ASSERT_EQ(test_exit_status(run_traced, path, out, sizeof out), 0);
        EXPECT_STREQ(out, "");
        read_all(path, text, sizeof text);
        EXPECT_STREQ(changes(text), want_changes);
        EXPECT_STRSTR(text, "$scope module cpu0 $end");
        // The host's date would make equal runs differ.
        EXPECT_STRSTR(text, "$date\n     the start of the run ");
        if (i == 0) {
            memcpy(first, text, sizeof first);
        }
        EXPECT_STREQ(text, first);
    }
    char out[1024];
    char command[600];
    snprintf(command, sizeof command, "ls -A %s", test_tmpdir());
    EXPECT_EQ(test_shell(command, out, sizeof out), 0);
    EXPECT_STREQ(out, ".vcd\nwave\nwave.dump\nwave.vcd\n");
}

static void open_only(void *arg)
{
    sim_init();
    exit(sim_vcd_open(arg) == 0 ? 0 : 9);
}

TEST(Vcd, SaysWhyAFileCannotBeWritten)
{
    static char here[512];
    static const struct {
        const char *path;
        const char *says;
    } rows[] = {
        {"/no-such-folder/x.vcd",
         "hvsim: /no-such-folder/x.vcd: cannot write the value change dump: No such file"},
        {"", "cannot write the value change dump: No such file"},
        {here, "cannot write the value change dump: Is a directory"},
    };
    snprintf(here, sizeof here, "%s", test_tmpdir());
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[1024];
        EXPECT_EQ(test_exit_status(open_only, (void *)(uintptr_t)rows[i].path, out, sizeof out), 9);
        EXPECT_STRSTR(out, rows[i].says);
    }
}

// The finished file is renamed to its name, which would put it in the place of a device such as /dev/full.
TEST(Vcd, APipeOrDeviceStaysWhatItIs)
{
    char path[512], out[1024];
    struct stat about;
    snprintf(path, sizeof path, "%s/pipe", test_tmpdir());
    ASSERT_EQ(mkfifo(path, 0600), 0);
    EXPECT_EQ(test_exit_status(open_only, path, out, sizeof out), 9);
    EXPECT_STRSTR(out, "cannot write the value change dump: not a regular file");
    ASSERT_EQ(stat(path, &about), 0);
    EXPECT_TRUE(S_ISFIFO(about.st_mode));
}

static struct log order;

static void log_and_drive(void *arg)
{
    unsigned who = *(unsigned *)arg;
    for (unsigned i = 0; i < 50; i++) {
        sim_wait_until(sim_now_ps() + (i * (who + 3)) % 7);
        sim_signal_set(line, (i + who) & 1);
        log_add(&order, sim_now_ps(), who);
    }
}

static void print_order(void *arg)
{
    unsigned who[4] = {0, 1, 2, 3};
    sim_init();
    if (arg && sim_vcd_open(arg) != 0) {
        exit(2);
    }
    make_signals();
    for (unsigned i = 0; i < 4; i++) {
        sim_process_start("logs", i, STACK_BYTES, log_and_drive, &who[i]);
    }
    sim_run(SIM_PS_NEVER);
    for (unsigned i = 0; i < order.count; i++) {
        printf("%llu %u\n", (unsigned long long)order.entry[i].ps, order.entry[i].who);
    }
    sim_vcd_close();
}

TEST(Vcd, DoesNotChangeTheOrder)
{
    static char with[8192], without[8192];
    char path[512];
    snprintf(path, sizeof path, "%s/order.vcd", test_tmpdir());
    EXPECT_EQ(test_exit_status(print_order, path, with, sizeof with), 0);
    EXPECT_EQ(test_exit_status(print_order, NULL, without, sizeof without), 0);
    EXPECT_GT(strlen(with), 200 * 4);
    EXPECT_STREQ(with, without);
}

TEST(Vcd, ASignalIsOneByItsName)
{
    ASSERT_EQ(sim_init(), 0);
    struct sim_signal *a = sim_signal_create("a", 4, 0), *b = sim_signal_create("b", 4, 0);
    EXPECT_NE(a, b);
    EXPECT_EQ(sim_signal_create("a", 4, 1), a);
}

static void create_late(void *arg)
{
    if (sim_init() == 0 && sim_vcd_open(arg) == 0) {
        make_signals();
        sim_run(10);
        make_signals();
        sim_signal_create("late", 1, 0);
    }
}

TEST(Vcd, ASignalTooLateForTheFileIsABug)
{
    char path[512], out[512];
    snprintf(path, sizeof path, "%s/late.vcd", test_tmpdir());
    EXPECT_EQ(test_exit_status(create_late, path, out, sizeof out), 70);
    EXPECT_STRSTR(out, "signal late is created after the first sim_run()");
}

static void set_too_much(void *arg)
{
    (void)arg;
    sim_init();
    make_signals();
    sim_signal_set(mode, 8);
}

TEST(Vcd, AValueThatDoesNotFitIsABug)
{
    char out[512];
    EXPECT_EQ(test_exit_status(set_too_much, NULL, out, sizeof out), 70);
    EXPECT_STRSTR(out, "signal host.cpu0.mode of 3 bits is set to 8");
}
