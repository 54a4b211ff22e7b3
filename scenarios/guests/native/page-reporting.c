// SPDX-License-Identifier: Apache-2.0
// A guest kernel's free page reporting (Linux: mm/page_reporting.c), small: an allocator of 2 MiB blocks,
// and a worker that tells the balloon device which of them are free.
//
// vCPU 0 touches memory, frees it, is idle and touches some again; its idle loop runs the worker. Every other
// vCPU allocates while the worker reports, and looks whether it keeps what it has written.
//
// With `busy` instead: tasks that fault memory in and free it, again and again (will-it-scale: page_fault1),
// one on each vCPU; the worker interrupts the first one's.
#include "scenarios/guests/native/guest.h"
#include "spec/balloon.h"

#define BLOCK (2 * MiB)
#define TASK_BLOCKS_MAX 128u

enum {
    TOUCH,
    IDLE,
    AGAIN,
    DELAY,
    ISOLATE,
    QUEUE,
    POISON,
    RACES,
    AFTER,
    BUSY,
    TASKS,
    TASK,
    PAGE,
    FAULT,
    WARM_UP
};

static const struct guest_arg args[] = {
    [TOUCH] = {"touch", "how much it touches and then frees", 64 * MiB, 0, UINT64_MAX, GUEST_BYTES},
    [IDLE] = {"idle", "how long it is idle then", 60000000000, 0, UINT64_MAX >> 20, GUEST_TIME},
    [AGAIN] = {"again", "how much it touches after that", 0, 0, UINT64_MAX, GUEST_BYTES},
    [DELAY] = {"delay", "from a free to the worker's next pass", 2000000000, 1, UINT64_MAX >> 20, GUEST_TIME},
    [ISOLATE] = {"isolate", "1: a block is off the free list while it is reported; 0: it stays on it", 1, 0,
                 1, GUEST_NUMBER},
    [QUEUE] = {"queue", "entries of the reporting queue", BALLOON_CAPACITY, 1, BALLOON_QUEUE_MAX,
               GUEST_NUMBER},
    [POISON] = {"poison", "what it fills free memory with; 0: nothing", 0, 0, UINT32_MAX, GUEST_NUMBER},
    [RACES] = {"races", "how many passes each other vCPU allocates in", 1, 1, 1000, GUEST_NUMBER},
    [AFTER] = {"after", "how long after a pass was due", 20000, 0, 1000000000, GUEST_TIME},
    [BUSY] = {"busy", "how long its task runs; 0: it has none", 0, 0, UINT64_MAX >> 20, GUEST_TIME},
    [TASKS] = {"tasks", "how many vCPUs' tasks run (vCPU 0's counts)", 1, 1, 64, GUEST_NUMBER},
    [TASK] = {"task", "how much memory a task faults in before it frees it", 16 * MiB, 2 * MiB,
              TASK_BLOCKS_MAX *BLOCK, GUEST_BYTES},
    [PAGE] = {"page", "by pages of 4KiB or 2MiB (vCPU 0's counts)", GUEST_PAGE, GUEST_PAGE, BLOCK,
              GUEST_BYTES},
    [FAULT] = {"fault", "cycles of the guest's kernel for a fault, without clearing the page", 1000, 0,
               1000000, GUEST_NUMBER},
    [WARM_UP] = {"warm_up",
                 "from the start until its faults count; a lap in which the host clears takes less",
                 500000000, 0, UINT64_MAX >> 20, GUEST_TIME},
};

#define BATCH BALLOON_CAPACITY
#define PER_PASS 16u // A pass takes at least this part of the free blocks.
#define RACE_BLOCKS 16u
#define TSC_DEADLINE 0x6e0u

// Marks: what the trace shows of the program's way.
enum { MARK_TOUCHED = 1, MARK_FREED, MARK_IDLE_OVER, MARK_AGAIN, MARK_REFUSED = 50, MARK_PASS = 100 };
#define MARK_FAULTS (1ull << 32) // Plus how many faults a task has had.

// Flags of a block.
#define FREE 1u
#define REPORTED 2u
#define OURS 4u // Of vCPU 0's script.

// The first block of memory is the kernel's own: the queue, these words, a list link and flags per block.
enum { HEAP_AT = 32768, LINKS_AT = 65536, FLAGS_AT = 1048576 };
enum { W_LOCK, W_NR_FREE, W_DUE, W_READY, W_AVAIL, W_TASKS, W_PAGE, W_BEGIN };
#define BLOCKS_MAX ((FLAGS_AT - LINKS_AT) / 8 - 1)

struct heap {
    const struct guest_env *env;
    const uint64_t *arg;
    uint64_t first;  // Offset of the kernel's block; the others follow.
    uint32_t blocks; // Also the number of the list's head.
};

static struct heap heap_of(const struct guest_env *env, const uint64_t *arg)
{
    struct heap h = {env, arg, (BLOCK - env->memory[0].base % BLOCK) % BLOCK, 0};
    uint64_t blocks = (guest_memory_bytes(env) - h.first) / BLOCK - 1;

    h.blocks = (uint32_t)(blocks < BLOCKS_MAX ? blocks : BLOCKS_MAX);
    return h;
}

static guest_u64 *kernel_word(const struct heap *h, uint64_t at)
{
    return guest_word(h->env, h->first + at);
}
static guest_u64 *word_of(const struct heap *h, unsigned w)
{
    return kernel_word(h, HEAP_AT + 64 * w); // A cache line each.
}
static guest_u64 *links_of(const struct heap *h, uint32_t block)
{
    return kernel_word(h, LINKS_AT + 8ull * block);
}
static guest_u64 *flags_of(const struct heap *h, uint32_t block)
{
    return kernel_word(h, FLAGS_AT + 8ull * block);
}
static guest_u64 *block_word(const struct heap *h, uint32_t block)
{
    return guest_word(h->env, h->first + (block + 1ull) * BLOCK);
}

static void lock(const struct heap *h)
{
    while (atomic_exchange_explicit(word_of(h, W_LOCK), 1, memory_order_acquire))
        guest_pause();
}
static void unlock(const struct heap *h)
{
    atomic_store_explicit(word_of(h, W_LOCK), 0, memory_order_release);
}

// --- The free list: next in the low half of a link, previous in the high one. The lock is held.

static uint32_t next_of(const struct heap *h, uint32_t block)
{
    return (uint32_t)guest_load(links_of(h, block));
}
static uint32_t previous_of(const struct heap *h, uint32_t block)
{
    return (uint32_t)(guest_load(links_of(h, block)) >> 32);
}
static void set_links(const struct heap *h, uint32_t block, uint32_t previous, uint32_t next)
{
    guest_store(links_of(h, block), (uint64_t)previous << 32 | next);
}

static void insert(const struct heap *h, uint32_t block, uint32_t before, uint64_t flags)
{
    uint32_t previous = previous_of(h, before);

    set_links(h, block, previous, before);
    set_links(h, before, block, next_of(h, before));
    set_links(h, previous, previous_of(h, previous), block);
    guest_store(flags_of(h, block), flags);
    guest_store(word_of(h, W_NR_FREE), guest_load(word_of(h, W_NR_FREE)) + 1);
}
static void take(const struct heap *h, uint32_t block, uint64_t flags)
{
    uint32_t previous = previous_of(h, block), next = next_of(h, block);

    set_links(h, previous, previous_of(h, previous), next);
    set_links(h, next, previous, next_of(h, next));
    guest_store(flags_of(h, block), flags);
    guest_store(word_of(h, W_NR_FREE), guest_load(word_of(h, W_NR_FREE)) - 1);
}

// --- The allocator.

static void heap_init(const struct heap *h)
{
    set_links(h, h->blocks, h->blocks, h->blocks);
    for (uint32_t b = 0; b < h->blocks; b++)
        insert(h, b, h->blocks, FREE);
}

// A block from the list's front, whose Reported flag goes; h->blocks: none is left.
static uint32_t alloc_block(const struct heap *h, uint64_t flags)
{
    lock(h);
    uint32_t block = next_of(h, h->blocks);

    if (block != h->blocks)
        take(h, block, flags);
    unlock(h);
    return block;
}

static void free_block(const struct heap *h, uint32_t block)
{
    if (h->arg[POISON])
        for (uint64_t at = 0; at < BLOCK; at += GUEST_PAGE)
            guest_store(block_word(h, block) + at / 8, h->arg[POISON]);
    lock(h);
    insert(h, block, next_of(h, h->blocks), FREE);
    unlock(h);
    if (guest_load(word_of(h, W_READY)) && !guest_load(word_of(h, W_DUE)))
        guest_store(word_of(h, W_DUE), guest_rdtsc() + h->arg[DELAY]);
}

// --- The device's driver.

static uint32_t read_port(enum balloon_register reg)
{
    return guest_in((uint16_t)(BALLOON_PORT + reg), 4);
}
static void write_port(enum balloon_register reg, uint32_t value)
{
    guest_out((uint16_t)(BALLOON_PORT + reg), 4, value);
}

// Without reporting if it is not offered. A guest that fills its free memory needs a device that knows: it
// would find zeroes there.
static void driver_init(const struct heap *h)
{
    uint32_t features = read_port(BALLOON_DEVICE_FEATURES);

    if (h->arg[POISON] && !(features & BALLOON_F_PAGE_POISON))
        features &= ~BALLOON_F_REPORTING;
    features &= BALLOON_F_REPORTING | BALLOON_F_PAGE_POISON;
    write_port(BALLOON_DRIVER_FEATURES, features);
    if (!(features & BALLOON_F_REPORTING))
        return;
    write_port(BALLOON_POISON_VAL, (uint32_t)h->arg[POISON]);
    write_port(BALLOON_QUEUE_NUM, (uint32_t)h->arg[QUEUE]);
    write_port(BALLOON_QUEUE_PFN, (uint32_t)((uint64_t)(uintptr_t)kernel_word(h, 0) >> 12));
    write_port(BALLOON_QUEUE_READY, 1);
    int32_t ready = (int32_t)read_port(BALLOON_QUEUE_READY);

    if (ready != 1)
        guest_mark(MARK_REFUSED + (uint64_t)-ready);
    guest_store(word_of(h, W_READY), ready == 1);
}

// One chain of descriptors that always begins with the first: the rings' entries stay 0, and only the
// available index moves, in the upper half of the ring's first 32 bits.
static void report(const struct heap *h, const uint32_t *block, uint32_t count)
{
    uint64_t avail_at = 16 * h->arg[QUEUE], used_at = (avail_at + 6 + 2 * h->arg[QUEUE] + 4095) & ~4095ull;
    uint64_t index = (guest_load(word_of(h, W_AVAIL)) + 1) & 0xffff;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t flags = 2 | (i + 1 < count ? 1 : 0); // Device-writable; another follows.

        guest_store(kernel_word(h, 16 * i), (uint64_t)(uintptr_t)block_word(h, block[i]));
        guest_store(kernel_word(h, 16 * i + 8), BLOCK | flags << 32 | (uint64_t)(i + 1) << 48);
    }
    guest_store(word_of(h, W_AVAIL), index);
    atomic_store_explicit(kernel_word(h, avail_at), index << 16, memory_order_release);
    write_port(BALLOON_QUEUE_NOTIFY, 0);
    if ((guest_load(kernel_word(h, used_at)) >> 16 & 0xffff) != index)
        guest_fail("page reporting: the device did not answer", index, guest_load(kernel_word(h, used_at)));
}

// --- The worker.

// Up to BATCH blocks from the front that are not reported yet; reported ones stand at the list's end.
static uint32_t collect(const struct heap *h, uint32_t *block)
{
    uint32_t count = 0;

    lock(h);
    for (uint32_t b = next_of(h, h->blocks); b != h->blocks && count < BATCH; count++) {
        uint32_t next = next_of(h, b);

        if (guest_load(flags_of(h, b)) & REPORTED)
            break;
        block[count] = b;
        if (h->arg[ISOLATE])
            take(h, b, 0);
        b = next;
    }
    unlock(h);
    return count;
}

static void put_back(const struct heap *h, const uint32_t *block, uint32_t count)
{
    lock(h);
    for (uint32_t i = 0; i < count; i++) {
        if (!h->arg[ISOLATE]) {
            if (!(guest_load(flags_of(h, block[i])) & FREE))
                continue; // Somebody took it meanwhile.
            take(h, block[i], 0);
        }
        insert(h, block[i], h->blocks, FREE | REPORTED);
    }
    unlock(h);
}

static void run_pass(const struct heap *h, uint64_t pass)
{
    uint32_t block[BATCH], count;
    uint64_t budget = (guest_load(word_of(h, W_NR_FREE)) + BATCH * PER_PASS - 1) / (BATCH * PER_PASS) + 1;

    do {
        count = collect(h, block);
        if (count) {
            report(h, block, count);
            put_back(h, block, count);
        }
    } while (count == BATCH && --budget);
    // More is left: the next part comes after the same time.
    guest_store(word_of(h, W_DUE), count == BATCH ? guest_rdtsc() + h->arg[DELAY] : 0);
    guest_mark(MARK_PASS + pass);
}

// --- The script.

static void sleep_until(uint64_t tsc)
{
    guest_cli(); // The interrupt is to come in HLT, not before it.
    guest_wrmsr(TSC_DEADLINE, tsc);
    guest_sti();
    guest_hlt();
}

static void idle_until(const struct heap *h, uint64_t end)
{
    uint64_t pass = 0, now;

    while ((now = guest_rdtsc()) < end) {
        uint64_t due = guest_load(word_of(h, W_DUE));

        if (due && due <= now)
            run_pass(h, ++pass);
        else
            sleep_until(due && due < end ? due : end);
    }
}

static void touch(const struct heap *h, uint64_t bytes, uint64_t content)
{
    for (uint64_t done = 0; done + BLOCK <= bytes; done += BLOCK) {
        uint32_t block = alloc_block(h, OURS);

        if (block == h->blocks) {
            guest_fail("page reporting: out of memory", done, bytes);
            return;
        }
        if (content && guest_load(block_word(h, block)) != content)
            guest_fail("page_poison", (uint64_t)(uintptr_t)block_word(h, block), content);
        guest_store(block_word(h, block), done);
    }
}

static void free_all(const struct heap *h)
{
    for (uint32_t b = 0; b < h->blocks; b++)
        if (guest_load(flags_of(h, b)) & OURS)
            free_block(h, b);
}

static void script(const struct heap *h)
{
    heap_init(h);
    driver_init(h);
    touch(h, h->arg[TOUCH], 0);
    guest_mark(MARK_TOUCHED);
    free_all(h);
    guest_mark(MARK_FREED);
    idle_until(h, guest_rdtsc() + h->arg[IDLE]);
    guest_mark(MARK_IDLE_OVER);
    touch(h, h->arg[AGAIN], h->arg[POISON]);
    guest_mark(MARK_AGAIN);
}

// Allocates what is at the list's front, all of it before it writes: the last block first, as the device
// goes the other way.
static void allocate_and_verify(const struct heap *h)
{
    uint32_t block[RACE_BLOCKS];

    for (uint32_t i = 0; i < RACE_BLOCKS; i++)
        if ((block[i] = alloc_block(h, 0)) == h->blocks)
            return;
    for (uint32_t i = RACE_BLOCKS; i-- > 0;)
        guest_store(block_word(h, block[i]), ~(uint64_t)block[i]);
    sleep_until(guest_rdtsc() + h->arg[DELAY] / 2);
    for (uint32_t i = 0; i < RACE_BLOCKS; i++) {
        uint64_t found = guest_load(block_word(h, block[i]));

        if (found != ~(uint64_t)block[i])
            guest_fail("reported_page_in_use", (uint64_t)(uintptr_t)block_word(h, block[i]), found);
    }
}

static void race(const struct heap *h)
{
    for (uint64_t n = 0, last = 0; n < h->arg[RACES];) {
        uint64_t now = guest_rdtsc(), due = guest_load(word_of(h, W_DUE));

        if (due == last || due == 0) {
            sleep_until(now + h->arg[DELAY] / 8);
            continue;
        }
        if (due + h->arg[AFTER] > now)
            sleep_until(due + h->arg[AFTER]);
        allocate_and_verify(h);
        last = due;
        n++;
    }
}

// --- Tasks.

// Cycles that clearing a page takes, as measured with a block of the task's own.
static uint64_t clear_cycles(const struct heap *h, uint32_t block)
{
    guest_store(block_word(h, block), 0);
    uint64_t begin = guest_rdtsc();

    for (uint64_t at = 0; at < BLOCK; at += 8)
        guest_store(block_word(h, block) + at / 8, 0);
    return (guest_rdtsc() - begin) / (BLOCK / GUEST_PAGE);
}

// Of a block: the kernel's faults, by pages of `page` bytes, each followed by the task's writes. The clearing
// is computed, as everywhere else but in clear_cycles() it would only take long to simulate.
static uint64_t fault_in(const struct heap *h, uint32_t block, uint64_t page, uint64_t clear)
{
    for (uint64_t at = 0; at < BLOCK; at += GUEST_PAGE) {
        if (at % page == 0)
            guest_work(h->arg[FAULT] + clear * (page / GUEST_PAGE));
        guest_store(block_word(h, block) + at / 8, at ^ block);
    }
    return BLOCK / page;
}

static void verify_and_free(const struct heap *h, uint32_t block)
{
    uint64_t first = guest_load(block_word(h, block)), last_at = BLOCK - GUEST_PAGE;
    uint64_t last = guest_load(block_word(h, block) + last_at / 8);

    if (first != block || last != (last_at ^ block))
        guest_fail("task: memory is not what was written", block, first);
    free_block(h, block);
}

// The worker, a pass after the other, until all that is free is reported: where a guest stands that has been
// up for long.
static void settle(const struct heap *h)
{
    while (guest_load(word_of(h, W_READY)) && !(guest_load(flags_of(h, next_of(h, h->blocks))) & REPORTED))
        run_pass(h, 0);
    guest_store(word_of(h, W_DUE), 0);
}

static void run_if_due(const struct heap *h, uint64_t *pass)
{
    uint64_t due = guest_load(word_of(h, W_DUE));

    if (h->env->vcpu == 0 && due && due <= guest_rdtsc())
        run_pass(h, ++*pass);
}

// From `begin` on it counts; the lap before that brings back what it will use.
static void task(const struct heap *h, uint64_t page, uint64_t begin, uint64_t clear)
{
    uint32_t block[TASK_BLOCKS_MAX], count;
    uint64_t faults = 0, pass = 0, end = begin + h->arg[BUSY];

    for (unsigned lap = 0; guest_rdtsc() < end; lap++) {
        if (lap == 1) {
            guest_work_until(begin);
            faults = 0;
        }
        for (count = 0; count < h->arg[TASK] / BLOCK && guest_rdtsc() < end; count++) {
            if ((block[count] = alloc_block(h, 0)) == h->blocks)
                break;
            faults += fault_in(h, block[count], page, clear);
            run_if_due(h, &pass);
        }
        while (count > 0)
            verify_and_free(h, block[--count]);
    }
    guest_mark(MARK_FAULTS + faults);
}

static void busy(const struct heap *h)
{
    if (h->env->vcpu == 0) {
        heap_init(h);
        driver_init(h);
        settle(h);
        guest_store(word_of(h, W_TASKS), h->arg[TASKS]);
        guest_store(word_of(h, W_PAGE), h->arg[PAGE] < BLOCK ? GUEST_PAGE : BLOCK);
        atomic_store_explicit(word_of(h, W_BEGIN), guest_rdtsc(), memory_order_release);
    }
    while (atomic_load_explicit(word_of(h, W_BEGIN), memory_order_acquire) == 0)
        guest_pause();
    uint64_t begin = guest_load(word_of(h, W_BEGIN)) + h->arg[WARM_UP];

    if (h->env->vcpu >= guest_load(word_of(h, W_TASKS))) {
        sleep_until(begin + h->arg[BUSY]);
        return;
    }
    uint32_t block = alloc_block(h, 0);
    uint64_t clear = clear_cycles(h, block);

    free_block(h, block);
    task(h, guest_load(word_of(h, W_PAGE)), begin, clear);
}

static void run(const struct guest_env *env, const uint64_t *arg)
{
    struct heap h = heap_of(env, arg);

    if (arg[BUSY])
        busy(&h);
    else if (env->vcpu == 0)
        script(&h);
    else
        race(&h);
}

GUEST_PROGRAM("Frees memory and reports it to the balloon device; other vCPUs allocate meanwhile.", args,
              run);
