// SPDX-License-Identifier: Apache-2.0
// What litmus tests (tests/litmus) do not show of the C11 model: memory that changes behind its back, threads
// that move, messages, and how it forgets.
#include "models/memory/memory.h"
#include "sim/sim.h"
#include "tests/shim/shim.h"
#include <string.h>

#define CPUS 3
static uint64_t x, y;
static uint64_t field[20000];

static unsigned take_last(void *ctx, enum sim_site site, unsigned n)
{
    (void)ctx;
    return site == SIM_SITE_READ ? n - 1 : 0; // The oldest that may be read; stores come in order.
}

// Loads read the oldest store that they may, as long as `oldest`.
static struct memory *open_memory(bool oldest)
{
    struct memory *m = memory_create(CPUS);

    sim_choose_install(oldest ? take_last : NULL, NULL);
    x = y = 0;
    memset(field, 0, sizeof field);
    for (uint32_t i = 1; m && i < CPUS; i++)
        memory_cpu_starts(m, i, 0);
    return m;
}

static void close_memory(struct memory *m)
{
    sim_choose_install(NULL, NULL);
    memory_destroy(m);
}

#define LOAD(m, cpu, at, order) memory_load(m, cpu, &(at), 8, MEMORY_##order)
#define STORE(m, cpu, at, value, order) memory_store(m, cpu, &(at), 8, value, MEMORY_##order)

TEST(Memory, WithoutAChooserEveryLoadReadsTheNewest)
{
    struct memory *m = open_memory(false);

    ASSERT_TRUE(m != NULL);
    STORE(m, 0, x, 1, RELAXED);
    STORE(m, 1, x, 2, RELAXED);
    EXPECT_EQ(LOAD(m, 2, x, RELAXED), 2);
    EXPECT_EQ(x, 2);
    close_memory(m);
}

TEST(Memory, SizesAndMemoryAgree)
{
    struct memory *m = open_memory(false);
    uint8_t *byte = (uint8_t *)&x;

    ASSERT_TRUE(m != NULL);
    memory_store(m, 0, byte + 1, 1, 0xab, MEMORY_RELEASE);
    memory_store(m, 0, byte + 2, 2, 0xcdef, MEMORY_RELEASE);
    memory_store(m, 0, byte + 4, 4, 0x12345678, MEMORY_RELEASE);
    EXPECT_EQ(x, 0x12345678cdefab00);
    // One access over all of them: the newest bytes, and it synchronizes with each.
    EXPECT_EQ(LOAD(m, 1, x, ACQUIRE), 0x12345678cdefab00);
    STORE(m, 1, x, 7, RELAXED);
    EXPECT_EQ(memory_load(m, 2, byte, 1, MEMORY_RELAXED), 7);
    EXPECT_EQ(memory_rmw_read(m, 2, &x, 8, MEMORY_RELAXED), 7);
    memory_rmw_write(m, 9);
    EXPECT_EQ(x, 9);
    close_memory(m);
}

// A guest, a page walker or untimed code writes: whoever reads next sees it, nobody sees older values.
TEST(Memory, AForeignWriteEndsTheHistory)
{
    struct memory *m = open_memory(true);

    ASSERT_TRUE(m != NULL);
    STORE(m, 0, x, 1, RELAXED);
    EXPECT_EQ(LOAD(m, 1, x, RELAXED), 0);
    x = 5;
    EXPECT_EQ(LOAD(m, 2, x, RELAXED), 5);
    EXPECT_EQ(LOAD(m, 1, x, RELAXED), 5);
    close_memory(m);
}

// An object is zeroed by plain stores, published, and used by atomics: nobody who knows of the new object
// reads what the memory held before; who does not know may.
TEST(Memory, APlainStoreHidesOlderOnesFromWhomItHappensBefore)
{
    struct memory *m = open_memory(true);

    ASSERT_TRUE(m != NULL);
    STORE(m, 0, x, 1, RELAXED);
    memory_plain_store(m, 0, &x, 8);
    x = 0;
    STORE(m, 0, x, 3, RELAXED);
    EXPECT_EQ(LOAD(m, 2, x, RELAXED), 0); // As it was at first; the same number as the plain store's
    memory_plain_store(m, 0, &x, 8);
    x = 4;
    STORE(m, 0, y, 1, RELEASE);
    sim_choose_install(NULL, NULL);
    EXPECT_EQ(LOAD(m, 1, y, ACQUIRE), 1);
    sim_choose_install(take_last, NULL);
    EXPECT_EQ(LOAD(m, 1, x, RELAXED), 4);
    EXPECT_EQ(LOAD(m, 2, x, RELAXED), 0);
    close_memory(m);
}

TEST(Memory, AThreadKnowsWhatItDidAndWhatItsCreatorDid)
{
    struct memory *m = open_memory(true);

    ASSERT_TRUE(m != NULL);
    STORE(m, 0, x, 1, RELAXED);
    memory_thread_leaves(m, 0, 7);
    STORE(m, 0, y, 1, RELAXED);
    EXPECT_EQ(LOAD(m, 1, x, RELAXED), 0);
    memory_thread_comes(m, 1, 7);
    EXPECT_EQ(LOAD(m, 1, x, RELAXED), 1);
    EXPECT_EQ(LOAD(m, 1, y, RELAXED), 0);
    close_memory(m);
}

TEST(Memory, AMessageCarriesWhatAFenceReleased)
{
    struct memory *m = open_memory(true);

    ASSERT_TRUE(m != NULL);
    STORE(m, 0, x, 1, RELAXED);
    memory_message_sent(m, 0, 1);
    memory_message_taken(m, 1);
    EXPECT_EQ(LOAD(m, 1, x, RELAXED), 0);
    memory_fence(m, 0, MEMORY_RELEASE);
    STORE(m, 0, y, 1, RELAXED); // After the fence: not carried
    memory_message_sent(m, 0, 1);
    memory_message_taken(m, 1);
    EXPECT_EQ(LOAD(m, 1, x, RELAXED), 1);
    EXPECT_EQ(LOAD(m, 1, y, RELAXED), 0);
    close_memory(m);
}

// Nobody reads, so every store could still be read: the oldest go all the same.
TEST(Memory, AHistoryHasAnEnd)
{
    struct memory *m = open_memory(true);

    ASSERT_TRUE(m != NULL);
    for (uint64_t i = 1; i <= 100000; i++)
        STORE(m, 0, x, i, RELAXED);
    EXPECT_GT(LOAD(m, 1, x, RELAXED), 100000 - 64);
    EXPECT_EQ(LOAD(m, 0, x, RELAXED), 100000);
    // Where all take part only the last ones are left.
    for (uint64_t i = 1; i <= 100000; i++) {
        memory_rmw_read(m, (uint32_t)(i % CPUS), &y, 8, MEMORY_ACQ_REL);
        memory_rmw_write(m, i);
    }
    EXPECT_EQ(y, 100000);
    close_memory(m);
}

// More locations than there is room for: those that are given up make nobody know less.
TEST(Memory, GivingUpALocationKeepsWhatItReleased)
{
    struct memory *m = open_memory(true);

    ASSERT_TRUE(m != NULL);
    STORE(m, 0, x, 1, RELAXED);
    STORE(m, 0, y, 1, RELEASE);
    for (size_t i = 0; i < sizeof field / sizeof *field; i++) {
        STORE(m, 2, field[i], 1, RELEASE);
        STORE(m, 2, x, 2 + i, RELAXED); // Its history is in use all the time.
    }
    EXPECT_EQ(LOAD(m, 1, y, ACQUIRE), 1);
    EXPECT_GE(LOAD(m, 1, x, RELAXED), 1);
    for (size_t i = 0; i < sizeof field / sizeof *field; i++)
        EXPECT_EQ(LOAD(m, 2, field[i], RELAXED), 1);
    close_memory(m);
}

TEST(Memory, AfterAResetNothingIsKnown)
{
    struct memory *m = open_memory(true);

    ASSERT_TRUE(m != NULL);
    for (int again = 0; again < 3; again++) {
        x = y = 0;
        memory_reset(m);
        memory_cpu_starts(m, 1, 0);
        STORE(m, 0, x, 1, RELAXED);
        memory_fence(m, 0, MEMORY_SEQ_CST);
        EXPECT_EQ(LOAD(m, 1, x, RELAXED), 0);
        STORE(m, 0, y, 1, RELEASE);
        EXPECT_EQ(LOAD(m, 1, y, ACQUIRE), 0);
        memory_fence(m, 1, MEMORY_SEQ_CST);
        EXPECT_EQ(LOAD(m, 1, x, RELAXED), 1); // The second of two fences
    }
    close_memory(m);
}
