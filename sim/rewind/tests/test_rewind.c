// SPDX-License-Identifier: Apache-2.0
// What a restart puts back, and what it does not cost.
#include "sim/rewind/rewind.h"
#include "tests/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };

#define REQUIRE_REWIND()                                                                                     \
    do {                                                                                                     \
        if (rewind_unsupported()) {                                                                          \
            test_skip(rewind_unsupported());                                                                 \
        }                                                                                                    \
    } while (0)

// What an explorer is told and what it finds out; in memory that survives.
struct plan {
    int runs;
    int wrong; // Executions whose result was not twice their value.
    uint64_t sum;
    struct rewind_stats first, last;       // After a tenth of the runs, and at the end.
    unsigned long pages_first, pages_last; // Resident.
    unsigned maps_first, maps_last;
};

static struct plan *make_plan(int runs)
{
    struct plan *plan = rewind_alloc(sizeof *plan);

    plan->runs = runs;
    return plan;
}

// On the explorer's own stack: the kernel cannot read into memory that is protected.
static size_t read_file(const char *path, char *text, size_t bytes)
{
    int file = open(path, O_RDONLY);
    size_t length = 0;
    ssize_t got;

    while (file >= 0 && (got = read(file, text + length, bytes - 1 - length)) > 0) {
        length += (size_t)got;
    }
    close(file);
    text[length] = 0;
    return length;
}

static unsigned long resident_pages(void)
{
    char text[256];

    read_file("/proc/self/statm", text, sizeof text);
    return strtoul(strchr(text, ' '), NULL, 10);
}

static unsigned mappings(void)
{
    char text[4 << 20];
    unsigned count = 0;

    for (size_t i = read_file("/proc/self/maps", text, sizeof text); i-- > 0;) {
        count += text[i] == '\n';
    }
    return count;
}

// Each execution gets its number and must end with twice that.
static void explorer(void *arg)
{
    struct plan *plan = arg;

    for (int i = 0; i < plan->runs; i++) {
        if (i == plan->runs / 10) {
            plan->first = rewind_stats();
            plan->pages_first = resident_pages();
            plan->maps_first = mappings();
        }
        plan->wrong += rewind_run(i) != 2 * i;
    }
    plan->last = rewind_stats();
    plan->pages_last = resident_pages();
    plan->maps_last = mappings();
}

static int global_data = 17;
static int global_bss[5000];

TEST(Rewind, PutsBackGlobalsHeapStackAndErrno)
{
    REQUIRE_REWIND();
    struct plan *plan = make_plan(500);
    volatile int on_stack = 3;
    int *on_heap = calloc(3000, sizeof *on_heap);
    errno = 0;
    int value = rewind_begin(explorer, plan);
    if (value >= 0) {
        bool clean = on_stack == 3 && global_data == 17 && errno == 0;
        for (int i = 0; i < 3000; i++) {
            clean &= on_heap[i] == 0 && global_bss[i] == 0;
            on_heap[i] = global_bss[i] = value + 1;
        }
        on_stack = global_data = value;
        errno = EBADF;
        free(on_heap);
        rewind_end(clean ? 2 * on_stack : -1);
    }
    ASSERT_EQ(value, REWIND_OVER);
    EXPECT_EQ(on_stack, 3);
    EXPECT_EQ(global_data, 17);
    EXPECT_EQ(on_heap[2999], 0);
    EXPECT_EQ(plan->wrong, 0);
    EXPECT_EQ(plan->last.executions, 500);
    EXPECT_EQ(plan->last.faults, plan->first.faults);
    EXPECT_GE(plan->last.pages, 3 + 5);
    free(on_heap);
    rewind_free();
}

TEST(Rewind, PutsBackRegistersAndRoundingModes)
{
    REQUIRE_REWIND();
    struct plan *plan = make_plan(100);
    fesetround(FE_UPWARD);
    register uint64_t kept __asm__("r12") = 0x1234567;
    __asm__ volatile("" : "+r"(kept));
    int value = rewind_begin(explorer, plan);
    if (value >= 0) {
        bool clean = fegetround() == FE_UPWARD && kept == 0x1234567;
        kept = 0;
        __asm__ volatile("" : "+r"(kept));
        fesetround(FE_DOWNWARD);
        rewind_end(clean ? 2 * value : -1);
    }
    EXPECT_EQ(fegetround(), FE_UPWARD);
    fesetround(FE_TONEAREST);
    EXPECT_EQ(kept, 0x1234567);
    EXPECT_EQ(value, REWIND_OVER);
    EXPECT_EQ(plan->wrong, 0);
    rewind_free();
}

// Blocks of all sizes, also beyond what the heap held: malloc() answers the same every time.
static uint64_t allocate(int value)
{
    uint64_t sum = 0;
    uint64_t seed = 1;
    void *kept[64] = {0};

    for (int i = 0; i < 100; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t bytes = (size_t)1 << (seed >> 60) << (i % 5), slot = seed >> 32 & 63;
        free(kept[slot]);
        char *p = kept[slot] = calloc(1, bytes);
        sum = sum * 31 + (uintptr_t)p;
        for (size_t at = 0; at < bytes; at += 512) {
            sum += (unsigned char)p[at]; // 0 if calloc() keeps its word.
            p[at] = (char)(value + 1);
        }
    }
    return sum;
}

static void explore_allocations(void *arg)
{
    struct plan *plan = arg;

    for (int i = 0; i < plan->runs; i++) {
        uint64_t before = plan->sum;
        rewind_run(i);
        plan->wrong += i > 0 && plan->sum != before;
    }
}

TEST(Rewind, MallocGivesTheSameAddressesEveryTime)
{
    REQUIRE_REWIND();
    struct plan *plan = make_plan(200);
    void *large = malloc(300 << 20); // More than what the rewinder has the heap grow by.
    free(large);
    int value = rewind_begin(explore_allocations, plan);
    if (value >= 0) {
        void *growing = malloc((size_t)400 << 20);
        memset((char *)growing + (390 << 20), 1, 3 * PAGE);
        plan->sum = allocate(value) * 31 + (uintptr_t)growing;
        rewind_end(0);
    }
    EXPECT_EQ(value, REWIND_OVER);
    EXPECT_EQ(plan->wrong, 0);
    EXPECT_NE(plan->sum, 0);
    rewind_free();
}

static char *map(size_t bytes)
{
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    EXPECT_NE(p, MAP_FAILED);
    return p;
}

TEST(Rewind, PutsBackPagesOfALargeSparseMapping)
{
    REQUIRE_REWIND();
    const size_t bytes = (size_t)4 << 40, stride = ((size_t)37 << 30) + PAGE;
    struct plan *plan = make_plan(200);
    char *arena = map(bytes);
    for (size_t at = 0; at < bytes; at += 4 * stride) {
        arena[at] = 'x'; // Every fourth of the pages that are going to be written is there before.
    }
    int value = rewind_begin(explorer, plan);
    if (value >= 0) {
        bool clean = true;
        for (size_t at = 0; at < bytes; at += stride) {
            clean &= arena[at] == (at / stride % 4 ? 0 : 'x');
            arena[at] = (char)value;
        }
        rewind_end(clean ? 2 * value : -1);
    }
    EXPECT_EQ(value, REWIND_OVER);
    EXPECT_EQ(plan->wrong, 0);
    EXPECT_EQ(arena[stride], 0);
    EXPECT_GE(plan->last.pages, bytes / stride);
    munmap(arena, bytes);
    rewind_free();
}

// Every other page: each is a mapping of the kernel's of its own, and it has only 65530 of them.
TEST(Rewind, DirtiesMorePagesThanTheKernelHasMappings)
{
    REQUIRE_REWIND();
    const size_t pages = 40000;
    struct plan *plan = make_plan(10);
    char *memory = map(2 * pages * PAGE);
    int value = rewind_begin(explorer, plan);
    if (value >= 0) {
        bool clean = true;
        for (size_t i = 0; i < pages; i++) {
            clean &= memory[2 * i * PAGE] == 0;
            memory[2 * i * PAGE] = 1;
        }
        rewind_end(clean ? 2 * value : -1);
    }
    EXPECT_EQ(value, REWIND_OVER);
    EXPECT_EQ(plan->wrong, 0);
    EXPECT_LT(plan->last.faults, 10000);
    EXPECT_EQ(plan->last.faults, plan->first.faults);
    EXPECT_LT(plan->maps_last, 30000);
    EXPECT_EQ(memory[0], 0);
    EXPECT_LT(mappings(), 200);
    munmap(memory, 2 * pages * PAGE);
    rewind_free();
}

TEST(Rewind, ProtectsPagesAgainThatAreNotWrittenForLong)
{
    REQUIRE_REWIND();
    struct plan *plan = make_plan(20000);
    char *memory = map(64 * PAGE);
    int value = rewind_begin(explorer, plan);
    if (value >= 0) {
        bool clean = memory[0] == 0 && memory[33 * PAGE] == 0;
        memory[0] = 1;
        if (value % 5000 == 10) {
            for (int i = 0; i < 64; i++) {
                clean &= memory[i * PAGE] == (i == 0);
                memory[i * PAGE] = 1;
            }
        }
        rewind_end(clean ? 2 * value : -1);
    }
    EXPECT_EQ(value, REWIND_OVER);
    EXPECT_EQ(plan->wrong, 0);
    EXPECT_GE(plan->last.pages_given_up, 4 * 63);
    EXPECT_LT(plan->last.pages, 40);
    munmap(memory, 64 * PAGE);
    rewind_free();
}

TEST(Rewind, AHundredThousandRestartsLeaveNothingBehind)
{
    REQUIRE_REWIND();
    struct plan *plan = make_plan(100000);
    int value = rewind_begin(explorer, plan);
    if (value >= 0) {
        // Memory mapped by an execution is gone after it; from time to time is soon enough.
        if (value % 100 == 0) {
            char *mine = map(16 * PAGE);
            mine[0] = mine[PAGE] = 1;
        }
        global_data = value;
        free(malloc(100));
        rewind_end(2 * value);
    }
    EXPECT_EQ(value, REWIND_OVER);
    EXPECT_EQ(plan->wrong, 0);
    EXPECT_LT(plan->pages_last, plan->pages_first + 100);
    EXPECT_LT(plan->maps_last, plan->maps_first + 30);
    EXPECT_LT(plan->last.faults, 100);
    EXPECT_GE(plan->last.unmapped_bytes, 900 * 16 * PAGE);
    rewind_free();
}

static void explore_in_children(void *arg)
{
    int *results = arg; // Shared.

    for (int child = 0; child < 3; child++) {
        if (fork() == 0) {
            for (int i = 0; i < 300; i++) {
                results[child] += rewind_run(1000 * child + i) == 2 * (1000 * child + i);
            }
            _exit(0);
        }
    }
    for (int i = 0; i < 300; i++) {
        results[3] += rewind_run(i) == 2 * i;
    }
    while (wait(NULL) > 0) {
    }
}

TEST(Rewind, ForkedExplorersGoOnFromTheSamePhotograph)
{
    REQUIRE_REWIND();
    int *results = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(results, MAP_FAILED);
    int *on_heap = calloc(1, sizeof *on_heap);
    int value = rewind_begin(explore_in_children, results);
    if (value >= 0) {
        *on_heap += value;
        global_bss[0] += value;
        rewind_end(*on_heap + global_bss[0]);
    }
    EXPECT_EQ(value, REWIND_OVER);
    for (int i = 0; i < 4; i++) {
        test_row("explorer %d", i);
        EXPECT_EQ(results[i], 300);
    }
    free(on_heap);
    munmap(results, PAGE);
    rewind_free();
}

// --- What is not ours. ---

static void explore_once(void *arg)
{
    (void)arg;
    rewind_run(0);
}

static void crash(void *arg)
{
    if (rewind_begin(explore_once, NULL) == 0) {
        *(volatile int *)arg = 1;
        rewind_end(0);
    }
}

static const int constant = 5;

TEST(Rewind, ARealFaultStillKills)
{
    REQUIRE_REWIND();
    char *guard = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *rows[] = {(void *)16, guard, (void *)(uintptr_t)&constant, (void *)0xdead000000000000};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("address %p", rows[i]);
        EXPECT_EQ(test_exit_status(crash, rows[i], NULL, 0), 128 + SIGSEGV);
    }
    munmap(guard, PAGE);
}

static void be_killed(void *arg)
{
    (void)arg;
    if (rewind_begin(explore_once, NULL) == 0) {
        kill(getpid(), SIGSEGV);
        rewind_end(0);
    }
}

TEST(Rewind, AnotherProcessCanStillKillWithTheSameSignal)
{
    REQUIRE_REWIND();
    EXPECT_EQ(test_exit_status(be_killed, NULL, NULL, 0), 128 + SIGSEGV);
}

static volatile sig_atomic_t *signals_seen; // Survives.
static volatile int signals_in_memory;      // Does not, and is protected at first.

static void on_alarm(int number)
{
    (void)number;
    (*signals_seen)++;
    signals_in_memory++;
}

// A handler that was installed without SA_ONSTACK would get its frame on a protected stack.
TEST(Rewind, SignalsArriveDuringExecutions)
{
    REQUIRE_REWIND();
    struct plan *plan = make_plan(300);
    struct sigaction action = {.sa_handler = on_alarm}, before, after;
    signals_seen = rewind_alloc(sizeof *signals_seen);
    sigaction(SIGUSR1, &action, &before);
    int value = rewind_begin(explorer, plan);
    if (value >= 0) {
        raise(SIGUSR1);
        rewind_end(signals_in_memory == 1 ? 2 * value : -1);
    }
    EXPECT_EQ(value, REWIND_OVER);
    EXPECT_EQ(plan->wrong, 0);
    EXPECT_EQ(*signals_seen, 300);
    sigaction(SIGUSR1, &before, &after);
    EXPECT_FALSE(after.sa_flags & SA_ONSTACK);
    rewind_free();
}

static void unmap_what_was_there(void *arg)
{
    if (rewind_begin(explore_once, NULL) == 0) {
        munmap(arg, PAGE);
        rewind_end(0);
    }
}

TEST(Rewind, AnExecutionMayNotUnmapWhatWasThere)
{
    REQUIRE_REWIND();
    char output[300];
    char *memory = map(3 * PAGE);
    EXPECT_EQ(test_exit_status(unmap_what_was_there, memory + PAGE, output, sizeof output), 70);
    EXPECT_STRSTR(output, "unmapped memory");
    munmap(memory, 3 * PAGE);
}

TEST(Rewind, SaysWhyIfItCannot)
{
    if (!rewind_unsupported()) {
        test_skip("this build can");
    }
    char output[300];
    EXPECT_EQ(test_exit_status(crash, (void *)16, output, sizeof output), 0);
    EXPECT_STRSTR(output, rewind_unsupported());
}

// --- Memory that survives. ---

static void explore_survivors(void *arg)
{
    uint64_t **list = arg;

    for (int i = 0; i < 50; i++) {
        rewind_run(i);
        rewind_alloc(10000); // Both sides may.
    }
    EXPECT_EQ((uintptr_t)*list % 64, 0);
}

TEST(Rewind, AllocatedMemorySurvives)
{
    REQUIRE_REWIND();
    uint64_t **list = rewind_alloc(sizeof *list);
    int value = rewind_begin(explore_survivors, list);
    if (value >= 0) {
        uint64_t *item = rewind_alloc(2 * sizeof *item);
        item[0] = (uintptr_t)*list;
        item[1] = (uint64_t)value;
        *list = item;
        rewind_end(0);
    }
    EXPECT_EQ(value, REWIND_OVER);
    uint64_t expected = 50;
    for (const uint64_t *item = *list; item; item = (const uint64_t *)(uintptr_t)item[0]) {
        EXPECT_EQ(item[1], --expected);
    }
    EXPECT_EQ(expected, 0);
    rewind_free();
}
