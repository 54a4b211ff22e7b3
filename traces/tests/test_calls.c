// SPDX-License-Identifier: Apache-2.0
/* Calls of hypervisor functions: packed, unpacked, summed; over chunks, switches of threads and recursion. */
#include "traces/tests/fixture.h"

#include "traces/calls.h"

#include <stdio.h>
#include <string.h>

static void play(struct trace *t, const char *script)
{
    // One letter a cycle, from cycle 1: capital = call, ')' = return, '.' = nothing; thread 7 on pCPU 2.
    const char *const names[] = {['A'] = "alpha", ['B'] = "beta", ['C'] = "gamma"};

    trace_switch(t, 2, TRACE_NO_THREAD, 7, 0);
    for (uint64_t cycle = 1; *script; script++, cycle++) {
        if (*script == ')')
            trace_call_end(t, 7, cycle * 16);
        else if (*script == 'o')
            trace_switch(t, 2, 7, TRACE_NO_THREAD, cycle * 16);
        else if (*script == 'i')
            trace_switch(t, 3, TRACE_NO_THREAD, 7, cycle * 16);
        else if (*script != '.')
            trace_call_begin(t, 7, trace_text(t, names[(unsigned char)*script]), cycle * 16);
    }
}

static const struct {
    const char *name, *script;
    const char *calls;     // function depth begin cycles self, by end
    const char *functions; // function calls total self
} rows[] = {
    {"one call", "A.)", "alpha|0|1|2|2\n", "alpha|1|2|2\n"},
    {"a nested call", "AB.))", "beta|1|2|2|2\nalpha|0|1|4|2\n", "alpha|1|4|2\nbeta|1|2|2\n"},
    {"two in a row", "A.)..A)", "alpha|0|1|2|2\nalpha|0|6|1|1\n", "alpha|2|3|3\n"},
    {"recursion counts once in the total", "AA.))", "alpha|1|2|2|2\nalpha|0|1|4|2\n", "alpha|2|4|4\n"},
    {"recursion through another", "ABA.)))", "alpha|2|3|2|2\nbeta|1|2|4|2\nalpha|0|1|6|2\n",
     "alpha|2|6|4\nbeta|1|4|2\n"},
    {"time off the pCPU is nobody's", "ABo....i.))", "beta|1|2|8|3\nalpha|0|1|10|2\n",
     "alpha|1|5|2\nbeta|1|3|3\n"},
    {"a return without a call is dropped", ")A.)", "alpha|0|2|2|2\n", "alpha|1|2|2\n"},
    {"open calls end with the run", "AB..", "beta|1|2|98|98\nalpha|0|1|99|1\n",
     "alpha|1|99|1\nbeta|1|98|98\n"},
};

TEST(Calls, AreSummedAndUnpacked)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row("%s", rows[i].name);
        struct trace *t = fixture_begin("");

        play(t, rows[i].script);
        fixture_end(t, 1600);
        EXPECT_STREQ(fixture_query(t, "SELECT function, depth, begin_cycle, cycles, self_cycles FROM calls"),
                     rows[i].calls);
        EXPECT_STREQ(fixture_query(t, "SELECT function, calls, total_cycles, self_cycles FROM functions"),
                     rows[i].functions);
        trace_close(t, NULL);
    }
}

TEST(Calls, KnowTheirPcpuAndThread)
{
    struct trace *t = fixture_begin("");

    play(t, "A.)oi.A.)");
    fixture_end(t, 1600);
    EXPECT_STREQ(fixture_query(t, "SELECT run, thread, pcpu, begin_cycle FROM calls"), "1|7|2|1\n1|7|3|7\n");
    trace_close(t, NULL);
}

TEST(Calls, BelongToTheExitDuringWhichTheyBegan)
{
    struct trace *t = fixture_begin("");
    struct trace_exit e = {.thread = 7, .recorded_ns = TRACE_NOT_RECORDED, .arch = TRACE_ARCH_X86};
    uint32_t run = trace_text(t, "vcpu_run"), handle = trace_text(t, "handle");

    trace_switch(t, 2, TRACE_NO_THREAD, 7, 0);
    trace_call_begin(t, 7, run, 160);
    for (uint64_t cycle = 100; cycle < 400; cycle += 100) {
        e.seq = trace_exit_begin(t, 7, cycle * 16);
        trace_call_begin(t, 7, handle, (cycle + 10) * 16);
        trace_call_end(t, 7, (cycle + 20 + cycle / 100) * 16);
        e.exit_tick = cycle * 16;
        e.entry_tick = (cycle + 50) * 16;
        trace_exit(t, &e);
    }
    trace_call_end(t, 7, 500 * 16);
    fixture_end(t, 16000);
    EXPECT_STREQ(fixture_query(t, "SELECT function, exit_seq, cycles FROM calls"),
                 "handle|1|11\nhandle|2|12\nhandle|3|13\nvcpu_run|0|490\n");
    EXPECT_STREQ(fixture_query(t, "SELECT function, cycles FROM calls WHERE exit_seq = 2"), "handle|12\n");
    EXPECT_STREQ(fixture_query(t, "SELECT function, cycles FROM calls WHERE exit_seq = 4"), "");
    EXPECT_STREQ(fixture_query(t, "SELECT function, cycles FROM calls WHERE exit_seq = 0"), "vcpu_run|490\n");
    trace_close(t, NULL);
}

// A long run of deep stacks over two threads: chunks fill in the middle of calls. Rows found by exit are
// those found by reading everything, and functions' sums are calls' sums.
TEST(Calls, ChunksAreReadAloneOrTogether)
{
    enum { EXITS = 4000, DEPTH = 30 };
    struct trace *t = fixture_begin("");
    struct trace_error error;
    uint32_t names[DEPTH];
    uint64_t tick = 16;

    for (int i = 0; i < DEPTH; i++) {
        char name[16];

        snprintf(name, sizeof name, "level_%d", i);
        names[i] = trace_text(t, name);
    }
    for (uint32_t thread = 1; thread <= 2; thread++) {
        trace_switch(t, (uint16_t)thread, TRACE_NO_THREAD, thread, tick);
        trace_call_begin(t, thread, trace_text(t, "outermost"), tick);
    }
    for (uint32_t n = 0; n < EXITS; n++) {
        uint32_t thread = 1 + n % 3 % 2;
        struct trace_exit e = {.thread = thread, .recorded_ns = TRACE_NOT_RECORDED, .arch = TRACE_ARCH_X86};

        e.exit_tick = tick += 1000;
        e.seq = trace_exit_begin(t, thread, tick);
        for (uint32_t i = 0; i < DEPTH; i++)
            trace_call_begin(t, thread, names[i], tick += 100 + n % 777);
        for (uint32_t i = 0; i < DEPTH; i++)
            trace_call_end(t, thread, tick += 50 + i);
        e.entry_tick = tick += 500;
        trace_exit(t, &e);
    }
    fixture_end(t, tick);
    struct trace_reader *reader = trace_reader_of(t, &error);
    int64_t chunks = 0;

    sscanf(fixture_read(reader, "SELECT count(*) FROM call_chunks"), "%ld", &chunks);
    EXPECT_GT(chunks, 10);
    EXPECT_STREQ(fixture_read(reader, "SELECT count(*), sum(function = 'outermost') FROM calls"),
                 "120002|2\n");
    EXPECT_STREQ(fixture_read(reader, "SELECT (SELECT sum(self_cycles) FROM calls) - (SELECT "
                                      "sum(self_cycles) FROM functions) BETWEEN 0 AND "
                                      "(SELECT count(*) - 1 FROM functions), "
                                      "(SELECT sum(calls) FROM functions)"),
                 "1|120002\n");
    for (int exit = 1; exit <= EXITS; exit += 371) {
        char sql[160];

        test_row("exit %d", exit);
        snprintf(
            sql, sizeof sql,
            "SELECT count(*), min(depth), max(depth), count(DISTINCT thread) FROM calls WHERE exit_seq = %d",
            exit);
        EXPECT_STREQ(fixture_read(reader, sql), "30|1|30|1\n");
    }
    trace_reader_close(reader);
    trace_close(t, NULL);
}

// What was packed is unpacked, at any depth, on or off a pCPU.
TEST(Calls, StateSurvivesPacking)
{
    for (size_t depth = 0; depth < 40; depth++)
        for (int off = 0; off < 2; off++) {
            struct call_stack stack = {.pcpu = 300, .exit = 123456, .last_exit = 123456}, copy = {0};
            unsigned char bytes[4096];

            for (size_t i = 0; i < depth; i++)
                call_stack_begin(&stack, (uint32_t)(i * 77), 1000000 * (i + 1));
            call_stack_off(&stack, 50000000);
            call_stack_on(&stack, 50000500, 300);
            if (off)
                call_stack_off(&stack, 50001000);
            stack.tick = stack.cycle * 16 + 5;
            EXPECT_LE(call_state_size(&stack), sizeof bytes);
            unsigned char *end = call_pack_state(bytes, &stack);
            static struct call_reader reader;

            copy.cycle = stack.cycle;
            EXPECT_TRUE(call_unpack_state(&reader, bytes, (size_t)(end - bytes), &copy));
            EXPECT_TRUE(reader.pos == end);
            EXPECT_EQ(copy.tick, stack.tick);
            EXPECT_EQ(copy.last_exit, 123456);
            while (stack.depth) {
                struct call_done a = {0}, b = {0};

                call_stack_on(&stack, 60000000, 1);
                call_stack_on(&copy, 60000000, 1);
                EXPECT_TRUE(call_stack_end(&stack, 70000000, &a) && call_stack_end(&copy, 70000000, &b));
                EXPECT_MEMEQ(&a, &b, sizeof a);
            }
            EXPECT_EQ(copy.depth, 0);
            call_stack_free(&stack);
            call_stack_free(&copy);
        }
}

// Operations come back as they were packed, whether guessed, guessed at another time, or not at all.
TEST(Calls, OperationsSurvivePacking)
{
    enum { ROUNDS = 500 };
    static struct call_packer packer;
    static struct call_reader reader;
    static unsigned char bytes[ROUNDS * 64];
    struct call_stack stack = {.cycle = 7}, read = {.cycle = 7};
    struct call_done done;

    stack.tick = 7 * 16 + 3;
    call_pack_start(&packer, call_pack_state(bytes, &stack));
    for (uint64_t i = 0; i < ROUNDS; i++) {
        // Every seventh round takes longer, every fiftieth calls another function, backwards exits every
        // ninth.
        uint32_t exit = (uint32_t)(i % 9 ? i + 1 : ROUNDS - i);

        call_pack(&packer, call_operation(CALL_OP_EXIT, call_exit_operand(&stack, exit)), 33);
        call_stack_exit(&stack, exit);
        call_pack(&packer, call_operation(CALL_OP_BEGIN, i % 50 ? 5 : 300), 10 + i % 7 / 6 * i);
        call_pack(&packer, call_operation(CALL_OP_END, 0), 1u << 20);
        call_pack(&packer, call_operation(CALL_OP_EXIT, 0), 0);
    }
    call_pack_run(&packer);
    EXPECT_LE(packer.pos - bytes, 4 * ROUNDS);
    EXPECT_TRUE(call_unpack_state(&reader, bytes, (size_t)(packer.pos - bytes), &read));
    uint64_t tick = read.tick;

    for (uint64_t i = 0; i < ROUNDS; i++) {
        EXPECT_EQ(call_unpack(&reader, &read, &done), CALL_STEP_OTHER);
        EXPECT_EQ(read.exit, i % 9 ? i + 1 : ROUNDS - i);
        EXPECT_EQ(read.tick, tick += 33);
        EXPECT_EQ(call_unpack(&reader, &read, &done), CALL_STEP_BEGAN);
        EXPECT_EQ(read.tick, tick += 10 + i % 7 / 6 * i);
        EXPECT_EQ(call_unpack(&reader, &read, &done), CALL_STEP_DONE);
        EXPECT_EQ(done.function, i % 50 ? 5 : 300);
        EXPECT_EQ(read.tick, tick += 1u << 20);
        EXPECT_EQ(call_unpack(&reader, &read, &done), CALL_STEP_OTHER);
        EXPECT_EQ(read.exit, 0);
    }
    EXPECT_EQ(call_unpack(&reader, &read, &done), CALL_STEP_END_OF_CHUNK);
    call_stack_free(&stack);
    call_stack_free(&read);
}

// A run of operations longer than any chunk's ends as damage, whatever the operation: no memory without
// bound.
TEST(Calls, EndlessRunsAreDamage)
{
    static struct call_reader reader;
    struct call_stack stack = {.cycle = 100}, read = {.cycle = 100};
    unsigned char bytes[64];
    unsigned char *end = call_put(call_pack_state(bytes, &stack), UINT64_MAX << 2 | CALL_CODE_RUN);
    struct call_done done;
    uint32_t steps = 0;

    EXPECT_TRUE(call_unpack_state(&reader, bytes, (size_t)(end - bytes), &read));
    while (call_unpack(&reader, &read, &done) == CALL_STEP_BEGAN)
        steps++;
    EXPECT_EQ(steps, CALL_CHUNK_OPS);
    call_stack_free(&stack);
    call_stack_free(&read);
}

// Cut anywhere, or with any byte changed, a chunk is refused or read; never more than its bytes.
TEST(Calls, DamagedChunksEnd)
{
    static struct call_packer packer;
    static struct call_reader reader;
    struct call_stack stack = {.pcpu = 1, .cycle = 100};
    unsigned char bytes[256];

    call_stack_begin(&stack, 5, 50);
    stack.cycle = 100;
    call_pack_start(&packer, call_pack_state(bytes, &stack));
    for (uint64_t i = 0; i < 20; i++) {
        call_pack(&packer, call_operation(CALL_OP_BEGIN, 300), i % 4);
        call_pack(&packer, call_operation(CALL_OP_END, 0), 9);
    }
    call_pack_run(&packer);
    call_stack_free(&stack);
    for (size_t size = 0; size < (size_t)(packer.pos - bytes); size++)
        for (int change = 0; change < 4; change++) {
            unsigned char copy[256];
            struct call_stack read = {.cycle = 100};
            struct call_done done;
            enum call_step step = CALL_STEP_OTHER;

            memcpy(copy, bytes, size);
            if (size && change)
                copy[size / 2] ^= (unsigned char)(0x55 << (change - 1));
            if (call_unpack_state(&reader, copy, size, &read))
                while (step != CALL_STEP_END_OF_CHUNK && step != CALL_STEP_DAMAGED)
                    step = call_unpack(&reader, &read, &done);
            EXPECT_TRUE(reader.pos <= reader.end);
            call_stack_free(&read);
        }
}
