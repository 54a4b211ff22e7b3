// SPDX-License-Identifier: Apache-2.0
// Device models in SystemC behind a TLM-2.0 socket, loaded as a user's would be. They can only be made before
// the first run of an OS process, so all tests share one timer device (systemc/tests/timer_device.cpp).
#include "sim/sim_mmio.h"
#include "sim/tests/log.h"
#include "tests/shim/shim.h"

#include <stdio.h>

enum { SPACE = 3, NS = 1000 };
#define BASE 0xfed00000u

enum { ID = 0x00, SCRATCH = 0x08, ARM = 0x10, SLOW = 0x18, THROWS = 0x20, RANGE_BYTES = 0x1000 };

static const char *device_path(void)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/lib/timer_device.so", test_build_dir());
    return path;
}

static bool prepare(void)
{
    static bool loaded;
    if (!loaded) {
        loaded = sim_init() == 0 && sim_mmio_load(device_path()) == 0;
    }
    sim_mmio_detach_all();
    return loaded && sim_mmio_attach(SPACE, BASE, RANGE_BYTES, "timer") == 0;
}

static void run_alone(void (*body)(void *), void *arg)
{
    sim_process_start("driver", 0, 64 * 1024, body, arg);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    sim_start_over();
}

static void use_registers(void *arg)
{
    static const struct {
        const char *law;
        bool write;
        uint64_t offset;
        unsigned bytes;
        uint64_t value;
        enum sim_mmio_result result;
        sim_ps_t latency_ps;
    } rows[] = {
        {"ID", false, ID, 4, 0x54494d52, SIM_MMIO_OK, 0},
        {"ID cannot be written", true, ID, 4, 1, SIM_MMIO_REFUSED, 0},
        {"width that the device refuses", false, ID, 8, 0, SIM_MMIO_REFUSED, 0},
        {"8 bytes", true, SCRATCH, 8, 0x8877665544332211, SIM_MMIO_OK, 30 * NS},
        {"back", false, SCRATCH, 8, 0x8877665544332211, SIM_MMIO_OK, 30 * NS},
        {"1 byte is the lowest", false, SCRATCH, 1, 0x11, SIM_MMIO_OK, 30 * NS},
        {"2 bytes", false, SCRATCH + 2, 2, 0x4433, SIM_MMIO_OK, 30 * NS},
        {"1 byte written", true, SCRATCH + 7, 1, 0x1ab, SIM_MMIO_OK, 30 * NS},
        {"and nothing beside it", false, SCRATCH, 8, 0xab77665544332211, SIM_MMIO_OK, 30 * NS},
        {"beyond the end", false, RANGE_BYTES, 4, 0, SIM_MMIO_NONE, 0},
        {"across the end", false, RANGE_BYTES - 2, 4, 0, SIM_MMIO_NONE, 0},
        {"before the start", false, -4ull, 4, 0, SIM_MMIO_NONE, 0},
    };
    (void)arg;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t value = rows[i].value;
        sim_ps_t latency_ps = 77;
        test_row("%s", rows[i].law);
        enum sim_mmio_result result =
            rows[i].write ? sim_mmio_write(SPACE, BASE + rows[i].offset, rows[i].bytes, value, &latency_ps)
                          : sim_mmio_read(SPACE, BASE + rows[i].offset, rows[i].bytes, &value, &latency_ps);
        EXPECT_EQ(result, rows[i].result);
        EXPECT_EQ(value, rows[i].value);
        EXPECT_EQ(latency_ps, rows[i].latency_ps);
    }
    uint64_t value;
    sim_ps_t latency_ps;
    EXPECT_EQ(sim_mmio_read(SPACE + 1, BASE, 4, &value, &latency_ps), SIM_MMIO_NONE);
    EXPECT_EQ(sim_now_ps(), 0);
}

TEST(Mmio, ReadsAndWritesRegisters)
{
    ASSERT_TRUE(prepare());
    run_alone(use_registers, NULL);
}

// --- Time. ---

static struct log got;
static struct sim_event *irq;
enum { DRIVER, OTHER, INTERRUPT };

static void on_interrupt(void *ctx, bool level)
{
    EXPECT_TRUE(sim_process_self() == NULL);
    log_add(ctx, sim_now_ps(), INTERRUPT + level);
    if (level) {
        sim_event_notify_at(irq, sim_now_ps());
    }
}

static void arm_and_wait(void *arg)
{
    sim_ps_t latency_ps;
    (void)arg;
    sim_wait_until(1000 * NS);
    EXPECT_EQ(sim_horizon_ps(), 1500 * NS); // The other.
    EXPECT_EQ(sim_mmio_write(SPACE, BASE + ARM, 4, 300, &latency_ps), SIM_MMIO_OK);
    // The device's own event counts, and goes before any rank.
    EXPECT_EQ(sim_horizon_ps(), 1300 * NS);
    EXPECT_TRUE(sim_may_continue(1300 * NS - 1, 0));
    EXPECT_FALSE(sim_may_continue(1300 * NS, 0));
    EXPECT_EQ(sim_mmio_write(SPACE, BASE + ARM, 4, 500, &latency_ps), SIM_MMIO_OK);
    EXPECT_EQ(sim_horizon_ps(), 1500 * NS);
    EXPECT_TRUE(sim_wait_event_until(irq, SIM_PS_NEVER));
    log_add(&got, sim_now_ps(), DRIVER);
    sim_wait_until(1600 * NS);
    EXPECT_EQ(sim_mmio_write(SPACE, BASE + ARM, 4, 0, &latency_ps), SIM_MMIO_OK);
}

static void due_at_1500(void *arg)
{
    (void)arg;
    sim_wait_until(1500 * NS);
    log_add(&got, sim_now_ps(), OTHER);
}

TEST(Mmio, ADevicesOwnTimeIsKeptAndItsInterruptComesBeforeTheProcessesOfItsTime)
{
    static const struct log_entry want[] = {{1500 * NS, INTERRUPT + true},
                                            {1500 * NS, DRIVER},
                                            {1500 * NS, OTHER},
                                            {1600 * NS, INTERRUPT + false}};
    ASSERT_TRUE(prepare());
    irq = sim_event_create("irq");
    ASSERT_EQ(sim_mmio_on_interrupt("timer", on_interrupt, &got), 0);
    for (int round = 0; round < 3; round++) {
        test_row("round %d", round);
        got.count = 0;
        sim_process_start("other", 7, 64 * 1024, due_at_1500, NULL);
        run_alone(arm_and_wait, NULL);
        ASSERT_EQ(got.count, sizeof want / sizeof *want);
        for (unsigned i = 0; i < got.count; i++) {
            EXPECT_EQ(got.entry[i].ps, want[i].ps);
            EXPECT_EQ(got.entry[i].who, want[i].who);
        }
    }
    sim_mmio_on_interrupt("timer", NULL, NULL);
    sim_event_destroy(irq);
}

static void read_slowly(void *arg)
{
    uint64_t *answer = arg;
    sim_ps_t latency_ps;
    sim_wait_until(10 * NS);
    EXPECT_EQ(sim_mmio_read(SPACE, BASE + SLOW, 4, answer, &latency_ps), SIM_MMIO_OK);
    EXPECT_EQ(latency_ps, 0);
    EXPECT_EQ(sim_now_ps(), 110 * NS);
    EXPECT_EQ(sim_process_self() != NULL, true);
    log_add(&got, sim_now_ps(), DRIVER);
    sim_wait_until(200 * NS);
    log_add(&got, sim_now_ps(), DRIVER);
}

static void tick_meanwhile(void *arg)
{
    (void)arg;
    for (unsigned ns = 55; ns <= 220; ns += 55) {
        sim_wait_until(ns * NS);
        log_add(&got, sim_now_ps(), OTHER);
    }
}

TEST(Mmio, OthersRunWhileADeviceWaitsInItsTransport)
{
    // At 110 ns the device is through, and then the processes that are due go by rank.
    static const struct log_entry want[] = {{55 * NS, OTHER},  {110 * NS, OTHER},  {110 * NS, DRIVER},
                                            {165 * NS, OTHER}, {200 * NS, DRIVER}, {220 * NS, OTHER}};
    uint64_t answer = 0;
    ASSERT_TRUE(prepare());
    got.count = 0;
    sim_process_start("other", 1, 64 * 1024, tick_meanwhile, NULL);
    sim_process_start("reader", 2, 64 * 1024, read_slowly, &answer);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    sim_start_over();
    EXPECT_GE(answer, 110);
    ASSERT_EQ(got.count, sizeof want / sizeof *want);
    for (unsigned i = 0; i < got.count; i++) {
        test_row("step %u", i);
        EXPECT_EQ(got.entry[i].ps, want[i].ps);
        EXPECT_EQ(got.entry[i].who, want[i].who);
    }
}

static void raise_at_once(void *arg)
{
    sim_ps_t latency_ps;
    (void)arg;
    sim_wait_until(20 * NS);
    EXPECT_EQ(sim_mmio_write(SPACE, BASE + ARM, 4, 0xffffffff, &latency_ps), SIM_MMIO_OK);
    log_add(&got, sim_now_ps(), DRIVER);
    EXPECT_EQ(sim_mmio_write(SPACE, BASE + ARM, 4, 0, &latency_ps), SIM_MMIO_OK);
}

TEST(Mmio, AnAccessReturnsWhenTheModelHasSettled)
{
    static const struct log_entry want[] = {
        {20 * NS, INTERRUPT + true}, {20 * NS, DRIVER}, {20 * NS, INTERRUPT + false}};
    ASSERT_TRUE(prepare());
    irq = sim_event_create("irq");
    ASSERT_EQ(sim_mmio_on_interrupt("timer", on_interrupt, &got), 0);
    got.count = 0;
    run_alone(raise_at_once, NULL);
    ASSERT_EQ(got.count, sizeof want / sizeof *want);
    for (unsigned i = 0; i < got.count; i++) {
        EXPECT_EQ(got.entry[i].ps, want[i].ps);
        EXPECT_EQ(got.entry[i].who, want[i].who);
    }
    sim_mmio_on_interrupt("timer", NULL, NULL);
    sim_event_destroy(irq);
}

// --- Mistakes. ---

TEST(Mmio, RangesMustBeSoundAndApart)
{
    static const struct {
        unsigned space;
        uint64_t base, bytes;
        const char *model;
        int result;
    } rows[] = {
        {SPACE, BASE, 4, "timer", -1},
        {SPACE, BASE - 4, 5, "timer", -1},
        {SPACE, BASE - 4, 1ull << 40, "timer", -1},
        {SPACE, BASE + RANGE_BYTES - 1, 4, "timer", -1},
        {SPACE, BASE - 4, 4, "timer", 0},
        {SPACE, BASE + RANGE_BYTES, 4, "timer", 0},
        {SPACE + 1, BASE, 4, "timer", 0},
        {SPACE, 0x1000, 0, "timer", -1},
        {SPACE, -8ull, 8, "timer", 0},
        {SPACE + 1, -8ull, 9, "timer", -1},
        {SPACE, 0x1000, 8, "tumer", -1},
    };
    ASSERT_TRUE(prepare());
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("row %u", i);
        EXPECT_EQ(sim_mmio_attach(rows[i].space, rows[i].base, rows[i].bytes, rows[i].model), rows[i].result);
    }
    EXPECT_EQ(sim_mmio_on_interrupt("tumer", NULL, NULL), -1);
}

static void read_what_throws(void *arg)
{
    uint64_t value;
    sim_ps_t latency_ps;
    (void)arg;
    sim_mmio_read(SPACE, BASE + THROWS, 4, &value, &latency_ps);
}

static void make_it_throw(void *arg)
{
    if (prepare()) {
        run_alone(read_what_throws, arg);
    }
}

TEST(Mmio, AModelThatThrowsIsNamed)
{
    char out[1024];
    EXPECT_EQ(test_exit_status(make_it_throw, NULL, out, sizeof out), 70);
    EXPECT_STRSTR(out, "b_transport: the timer has no such register");
}
