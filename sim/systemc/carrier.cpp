// SPDX-License-Identifier: Apache-2.0
// SystemC as the carrier of sim/: its threads are coroutines, its kernel runs the models that users plug in.
// At any time at most one of our threads is runnable, so SystemC's own scheduling order never decides
// anything.
#define SC_INCLUDE_DYNAMIC_PROCESSES
#include <systemc>

#include "sim/kernel.h"
#include "sim/systemc/guard.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <pthread.h>
#include <string>
#include <unistd.h>

using sc_core::sc_time;

struct carrier_thread {
    sc_core::sc_event go;
    char *stack_top;
    void (*loop)(void *);
    void *arg;
    explicit carrier_thread(const char *name) : go(name), stack_top(nullptr), loop(nullptr), arg(nullptr) {}
};

namespace
{

bool initialised, elaborated;
bool has_models = true; // Known when elaboration ends: no model can be added after it.
unsigned thread_count;
sc_dt::uint64 start_ps; // SystemC's time at the start of the run.
sc_dt::uint64 max_ps;   // The end of SystemC's time.
sc_core::sc_simcontext *context;

// SystemC tells ASan of its switches, but does not know the main stack.
#if defined(__SANITIZE_ADDRESS__)
#define HVSIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HVSIM_ASAN 1
#endif
#endif
#ifdef HVSIM_ASAN
extern "C" void __sanitizer_start_switch_fiber(void **, const void *, size_t);
extern "C" void __sanitizer_finish_switch_fiber(void *, const void **, size_t *);
extern "C" void __lsan_register_root_region(const void *, size_t);
// SystemC drops the fake stack at each switch: locals must live on the real one.
extern "C" const char *__asan_default_options()
{
    return "detect_stack_use_after_return=0";
}

void back_on_main_stack()
{
    static void *bottom;
    static size_t bytes;
    if (!bottom) {
        pthread_attr_t attr;
        pthread_getattr_np(pthread_self(), &attr);
        pthread_attr_getstack(&attr, &bottom, &bytes);
        pthread_attr_destroy(&attr);
    }
    __sanitizer_start_switch_fiber(nullptr, bottom, bytes);
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
}

void tell_leak_sanitizer(const char *top, size_t bytes)
{
    __lsan_register_root_region(top - bytes, bytes);
}
#else
void back_on_main_stack() {}
void tell_leak_sanitizer(const char *, size_t) {}
#endif

void on_report(const sc_core::sc_report &report, const sc_core::sc_actions &actions)
{
    if (report.get_severity() >= sc_core::SC_ERROR) {
        sim_bug("SystemC: %s: %s (process %s)", report.get_msg_type(), report.get_msg(),
                report.get_process_name() ? report.get_process_name() : "none");
    }
    if (actions & sc_core::SC_DISPLAY) {
        std::fprintf(stderr, "hvsim: SystemC: %s: %s\n", report.get_msg_type(), report.get_msg());
    }
}

void start(const sc_time &duration)
{
    guarded("sc_start", [&] { sc_core::sc_start(duration, sc_core::SC_RUN_TO_TIME); });
    back_on_main_stack();
    if (sc_core::sc_get_status() == sc_core::SC_STOPPED) {
        sim_bug("a SystemC model called sc_stop(); a run is ended by sim_stop()");
    }
}

const char thread_prefix[] = "hvsim_thread_";

bool any_object_but_ours()
{
    for (const sc_core::sc_object *object : sc_core::sc_get_top_level_objects()) {
        if (std::strncmp(object->name(), thread_prefix, std::strlen(thread_prefix)) != 0) {
            return true;
        }
    }
    return false;
}

void thread_main(carrier_thread *t, size_t stack_bytes)
{
    // SystemC's stacks are whole pages, and its own frames above this one fill less than a page.
    auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    t->stack_top = reinterpret_cast<char *>((here + page - 1) & ~(page - 1));
    tell_leak_sanitizer(t->stack_top, stack_bytes);
    t->loop(t->arg);
    sim_bug("a coroutine's loop returned");
}

} // namespace

// libsystemc.so wants one; main() belongs to the program and does not come here.
int sc_main(int, char **)
{
    return 0;
}

int carrier_init(void)
{
    if (initialised) {
        return 0;
    }
    try {
        sc_core::sc_report_handler::set_handler(on_report);
        sc_core::sc_report_handler::set_actions(sc_core::SC_ID_NO_SC_START_ACTIVITY_, sc_core::SC_DO_NOTHING);
        if (sc_core::sc_get_time_resolution() != sc_time(1, sc_core::SC_PS)) {
            sc_core::sc_set_time_resolution(1, sc_core::SC_PS);
        }
    } catch (const std::exception &e) {
        std::fprintf(stderr, "hvsim: SystemC: %s\n", e.what());
        return -1;
    }
    context = sc_core::sc_get_curr_simcontext();
    max_ps = sc_core::sc_max_time().value();
    initialised = true;
    return 0;
}

void carrier_elaborate(void)
{
    SIM_CHECK(initialised, "sim_run() before sim_init()");
    if (!elaborated) {
        elaborated = true;
        has_models = guarded("sc_get_top_level_objects", any_object_but_ours);
        start(sc_core::SC_ZERO_TIME);
    }
}

bool carrier_is_elaborated(void)
{
    return elaborated;
}

struct carrier_thread *carrier_thread_create(size_t stack_bytes, void (*loop)(void *), void *arg)
{
    SIM_CHECK(initialised, "a process is started before sim_init()");
    return guarded("sc_spawn", [&] {
        std::string name = thread_prefix + std::to_string(thread_count++);
        auto *t = new carrier_thread((name + "_go").c_str());
        t->loop = loop;
        t->arg = arg;
        sc_core::sc_spawn_options options;
        options.set_stack_size(static_cast<int>(stack_bytes));
        options.dont_initialize();
        options.set_sensitivity(&t->go);
        sc_core::sc_spawn([t, stack_bytes] { thread_main(t, stack_bytes); }, name.c_str(), &options);
        return t;
    });
}

void *carrier_thread_stack_top(const struct carrier_thread *t)
{
    return t->stack_top;
}

void carrier_enter(struct carrier_thread *to)
{
    guarded("notify", [&] { to->go.notify(); });
    start(sc_core::SC_ZERO_TIME);
}

void carrier_switch(struct carrier_thread *, struct carrier_thread *to)
{
    guarded("wait", [&] {
        to->go.notify();
        sc_core::wait(context);
    });
}

void carrier_leave(struct carrier_thread *)
{
    guarded("wait", [] { sc_core::wait(context); });
}

sim_ps_t carrier_now_ps(void)
{
    return context->time_stamp().value() - start_ps;
}

sim_ps_t carrier_next_ps(void)
{
    // Asked before every step: without models a wait that needs no switch takes 12 ns instead of 21.
    if (!has_models) {
        return SIM_PS_NEVER;
    }
    sc_dt::uint64 at = context->time_stamp().value() + sc_core::sc_time_to_pending_activity(context).value();
    return at == max_ps ? SIM_PS_NEVER : at - start_ps;
}

void carrier_run_models_at(sim_ps_t ps)
{
    if (carrier_now_ps() < ps) {
        start(sc_time::from_value(ps - carrier_now_ps()));
    }
    while (sc_core::sc_pending_activity_at_current_time()) {
        start(sc_core::SC_ZERO_TIME);
    }
}

void carrier_start_over(void)
{
    start_ps = context->time_stamp().value();
}
