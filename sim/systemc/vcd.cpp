// SPDX-License-Identifier: Apache-2.0
// Signals and their VCD file, written by SystemC's own tracing.
//
// SystemC looks at the traced variables just before its clock moves on, and writes what changed at the time
// it leaves. So a signal is a plain variable, and setting it means: let SystemC's clock catch up, then
// assign.
#include <sysc/tracing/sc_tracing_ids.h>
#include <systemc>

#include "sim/kernel.h"
#include "sim/systemc/guard.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include <sys/stat.h>

struct sim_signal {
    std::string name;
    unsigned bits;
    sc_dt::uint64 value;
};

namespace
{

struct vcd_file {
    sc_core::sc_trace_file *trace;
    std::string path;    // As asked for.
    std::string written; // As SystemC names it: it always appends ".vcd".
};

std::unique_ptr<vcd_file> vcd;

std::map<std::string, std::unique_ptr<sim_signal>> &all_signals()
{
    static std::map<std::string, std::unique_ptr<sim_signal>> all;
    return all;
}

void trace(sim_signal *s)
{
    sc_core::sc_trace(vcd->trace, s->value, s->name, static_cast<int>(s->bits));
}

bool ends_with(const std::string &s, const std::string &end)
{
    return s.size() > end.size() && s.compare(s.size() - end.size(), end.size(), end) == 0;
}

int complain(const std::string &path, const char *reason)
{
    std::fprintf(stderr, "hvsim: %s: cannot write the value change dump: %s\n", path.c_str(), reason);
    return -1;
}

// The header says when the file was written, in the host's time: equal runs shall give equal files. The line
// is overwritten in place, with text of the same length.
bool take_out_date(const std::string &path)
{
    FILE *f = std::fopen(path.c_str(), "r+");
    char line[256];
    bool done = false;
    if (!f) {
        return false;
    }
    if (std::fgets(line, sizeof line, f) && std::strcmp(line, "$date\n") == 0) {
        long at = std::ftell(f);
        if (std::fgets(line, sizeof line, f)) {
            std::string text(std::strlen(line) - 1, ' ');
            std::string says = "the start of the run";
            text.replace(5, std::min(says.size(), text.size() - 5), says, 0, text.size() - 5);
            done = std::fseek(f, at, SEEK_SET) == 0 && std::fputs(text.c_str(), f) >= 0;
        }
    }
    return std::fclose(f) == 0 && done;
}

int close_file()
{
    // Changes at the present are written when the clock leaves it.
    sim_ps_t end_ps = sim_kernel.now_ps > carrier_now_ps() ? sim_kernel.now_ps : carrier_now_ps() + 1;
    carrier_elaborate();
    carrier_run_models_at(end_ps);
    sc_core::sc_close_vcd_trace_file(vcd->trace);
    std::unique_ptr<vcd_file> closed = std::move(vcd);
    if (!take_out_date(closed->written) ||
        (closed->written != closed->path &&
         std::rename(closed->written.c_str(), closed->path.c_str()) != 0)) {
        return complain(closed->path, std::strerror(errno));
    }
    return 0;
}

} // namespace

int sim_vcd_open(const char *path)
{
    if (vcd || carrier_is_elaborated()) {
        return complain(path, vcd ? "another is being written" : "the first run has begun");
    }
    // The finished file takes the path's place: a device or a pipe there would be lost.
    struct stat about;
    if (stat(path, &about) == 0 && !S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode)) {
        return complain(path, "not a regular file");
    }
    FILE *probe = std::fopen(path, "w");
    if (!probe) {
        return complain(path, std::strerror(errno));
    }
    std::fclose(probe);
    return guarded("sim_vcd_open", [&] {
        const std::string suffix = ".vcd";
        auto file = std::make_unique<vcd_file>();
        file->path = path;
        std::string stem = file->path + ".part";
        if (ends_with(file->path, suffix)) {
            stem = file->path.substr(0, file->path.size() - suffix.size());
        }
        file->written = stem + suffix;
        sc_core::sc_report_handler::set_actions(sc_core::SC_ID_TRACING_TIMESCALE_UNIT_,
                                                sc_core::SC_DO_NOTHING);
        file->trace = sc_core::sc_create_vcd_trace_file(stem.c_str());
        file->trace->set_time_unit(1, sc_core::SC_PS);
        vcd = std::move(file);
        for (auto &named : all_signals()) {
            trace(named.second.get());
        }
        return 0;
    });
}

int sim_vcd_close(void)
{
    SIM_CHECK(!sim_kernel.in_run, "sim_vcd_close() within a run");
    return vcd ? guarded("sim_vcd_close", close_file) : 0;
}

bool sim_vcd_is_open(void)
{
    return vcd != nullptr;
}

struct sim_signal *sim_signal_create(const char *name, unsigned bits, uint64_t reset)
{
    SIM_CHECK(bits >= 1 && bits <= 64 && (bits == 64 || reset >> bits == 0), "signal %s: %u bits, reset %llu",
              name, bits, static_cast<unsigned long long>(reset));
    return guarded("sim_signal_create", [&] {
        std::unique_ptr<sim_signal> &s = all_signals()[name];
        if (s) {
            SIM_CHECK(s->bits == bits, "signal %s has %u bits, not %u", name, s->bits, bits);
            sim_signal_set(s.get(), reset);
            return s.get();
        }
        SIM_CHECK(!vcd || !carrier_is_elaborated(), "signal %s is created after the first sim_run()", name);
        s = std::make_unique<sim_signal>(sim_signal{name, bits, reset});
        if (vcd) {
            trace(s.get());
        }
        return s.get();
    });
}

void sim_signal_set(struct sim_signal *s, uint64_t value)
{
    SIM_CHECK(s->bits == 64 || value >> s->bits == 0, "signal %s of %u bits is set to %llu", s->name.c_str(),
              s->bits, static_cast<unsigned long long>(value));
    if (vcd && value != s->value && carrier_now_ps() != sim_kernel.now_ps) {
        if (sim_kernel.running) {
            kernel_catch_up();
        } else {
            carrier_run_models_at(sim_kernel.now_ps);
        }
    }
    s->value = value;
}
