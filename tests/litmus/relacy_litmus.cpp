// SPDX-License-Identifier: Apache-2.0
// The litmus tests of litmus_rate.c with Relacy's headers, for tools/bench/explore.sh.
//
// relacy_litmus [EXECUTIONS]: the same lines. Relacy's full search ends early, as each test has few
// executions, so that it is started again and again; its random search needs no such thing.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <sstream>

#include <relacy/relacy.hpp>

namespace
{
// Everything is relaxed, as there.
struct store_buffering : rl::test_suite<store_buffering, 2> {
    rl::atomic<int> x[2];
    int seen[2];

    void before()
    {
        x[0]($) = 0;
        x[1]($) = 0;
    }
    void thread(unsigned i)
    {
        x[i].store(1, rl::memory_order_relaxed, $);
        seen[i] = x[1 - i].load(rl::memory_order_relaxed, $);
    }
};

struct message_passing : rl::test_suite<message_passing, 2> {
    rl::atomic<int> x, y;
    int seen[2];

    void before()
    {
        x($) = 0;
        y($) = 0;
    }
    void thread(unsigned i)
    {
        if (i == 0) {
            x.store(1, rl::memory_order_relaxed, $);
            y.store(1, rl::memory_order_release, $);
        } else {
            seen[0] = y.load(rl::memory_order_acquire, $);
            seen[1] = x.load(rl::memory_order_relaxed, $);
        }
    }
};

double processor_seconds()
{
    timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

template <class Test> void measure(const char *name, rl::scheduler_type_e search, uint64_t wanted)
{
    double best = 0;
    uint64_t executions = 0;

    for (int round = 0; round < 5; round++) {
        double begin = processor_seconds(), seconds;

        executions = 0;
        do {
            rl::test_params p;
            std::ostringstream nothing;

            p.output_stream = p.progress_stream = &nothing;
            p.progress_output_period = 1u << 30;
            p.search_type = search;
            p.iteration_count = wanted;
            if (!rl::simulate<Test>(p))
                std::exit(1);
            executions += p.stop_iteration;
        } while (executions < wanted);
        seconds = processor_seconds() - begin;
        if (round == 0 || seconds < best)
            best = seconds;
    }
    std::printf("%-16s %10llu executions %8.3f s %10.0f a second\n", name, (unsigned long long)executions,
                best, double(executions) / best);
}
} // namespace

int main(int argc, char **argv)
{
    uint64_t wanted = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 200000;

    measure<store_buffering>("SB random", rl::sched_random, wanted);
    measure<message_passing>("MP random", rl::sched_random, wanted);
    measure<store_buffering>("SB full", rl::sched_full, wanted);
    measure<message_passing>("MP full", rl::sched_full, wanted);
}
