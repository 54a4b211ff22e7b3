// SPDX-License-Identifier: Apache-2.0
#include "sim/systemc/tlm_bridge.h"

#include "sim/kernel.h"
#include "sim/sim_mmio.h"
#include "sim/systemc/guard.h"

#include <cstdio>
#include <dlfcn.h>
#include <map>
#include <memory>
#include <string>
#include <tlm_utils/simple_initiator_socket.h>
#include <utility>

namespace
{

// What stands on the other side of a model's socket.
struct bridge : sc_core::sc_module {
    tlm_utils::simple_initiator_socket<bridge> socket;
    bool level = false;
    void (*on_interrupt)(void *ctx, bool level) = nullptr;
    void *ctx = nullptr;

    explicit bridge(sc_core::sc_module_name name) : sc_module(name), socket("socket") {}
};

struct range {
    uint64_t last; // Inclusive: a range may end at the top of the address space.
    bridge *to;
};

std::map<std::string, std::unique_ptr<bridge>> &models()
{
    static std::map<std::string, std::unique_ptr<bridge>> all;
    return all;
}

// By address space and first address.
std::map<std::pair<unsigned, uint64_t>, range> &ranges()
{
    static std::map<std::pair<unsigned, uint64_t>, range> all;
    return all;
}

bridge *find_model(const char *name)
{
    auto it = models().find(name);
    return it == models().end() ? nullptr : it->second.get();
}

int complain(const char *what, const char *reason)
{
    std::fprintf(stderr, "hvsim: device model %s: %s\n", what, reason);
    return -1;
}

sim_mmio_result transact(tlm::tlm_command command, unsigned space, uint64_t addr, unsigned bytes,
                         uint64_t *value, sim_ps_t *latency_ps)
{
    SIM_CHECK(bytes >= 1 && bytes <= 8, "an access of %u bytes to a device model", bytes);
    *latency_ps = 0;
    auto it = ranges().upper_bound({space, addr});
    if (it == ranges().begin() || (--it)->first.first != space || addr > it->second.last ||
        it->second.last - addr < bytes - 1) {
        return SIM_MMIO_NONE;
    }
    unsigned char data[8];
    for (unsigned i = 0; i < 8; i++) {
        data[i] = static_cast<unsigned char>(*value >> (8 * i));
    }
    tlm::tlm_generic_payload payload;
    sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
    payload.set_command(command);
    payload.set_address(addr - it->first.second);
    payload.set_data_ptr(data);
    payload.set_data_length(bytes);
    payload.set_streaming_width(bytes);
    payload.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
    bridge *to = it->second.to;
    sim_process *self = kernel_enter_systemc();
    to->socket->b_transport(payload, delay);
    kernel_leave_systemc(self);
    *latency_ps = delay.value();
    if (!payload.is_response_ok()) {
        return SIM_MMIO_REFUSED;
    }
    if (command == tlm::TLM_READ_COMMAND) {
        *value = 0;
        for (unsigned i = 0; i < bytes; i++) {
            *value |= static_cast<uint64_t>(data[i]) << (8 * i);
        }
    }
    return SIM_MMIO_OK;
}

} // namespace

void hvsim_tlm_model(const char *name, tlm::tlm_target_socket<> &socket)
{
    SIM_CHECK(!carrier_is_elaborated(), "device model %s is made after the first sim_run()", name);
    SIM_CHECK(!find_model(name), "two device models are named %s", name);
    auto made = std::make_unique<bridge>(sc_core::sc_module_name((std::string(name) + "_bridge").c_str()));
    made->socket.bind(socket);
    models()[name] = std::move(made);
}

void hvsim_tlm_interrupt(const char *name, bool level)
{
    bridge *b = find_model(name);
    SIM_CHECK(b, "an interrupt of device model %s, which is unknown", name);
    if (b->level == level) {
        return;
    }
    b->level = level;
    if (b->on_interrupt) {
        b->on_interrupt(b->ctx, level);
    }
}

int sim_mmio_load(const char *path)
{
    SIM_CHECK(!carrier_is_elaborated(), "device models %s are loaded after the first sim_run()", path);
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object) {
        return complain(path, dlerror());
    }
    auto *make = reinterpret_cast<void (*)()>(dlsym(object, "hvsim_models"));
    if (!make) {
        return complain(path, "does not define hvsim_models()");
    }
    try {
        make();
    } catch (const std::exception &e) {
        return complain(path, e.what());
    } catch (...) {
        return complain(path, "hvsim_models() threw an exception");
    }
    return 0;
}

int sim_mmio_attach(unsigned space, uint64_t base, uint64_t bytes, const char *model)
{
    return guarded("sim_mmio_attach", [&] {
        bridge *to = find_model(model);
        if (!to) {
            return complain(model, "there is none of that name");
        }
        uint64_t last = base + (bytes - 1);
        if (bytes == 0 || last < base) {
            return complain(model, "its range is empty or goes beyond the end of addresses");
        }
        auto after = ranges().upper_bound({space, last});
        if (after != ranges().begin()) {
            auto before = std::prev(after);
            if (before->first.first == space && before->second.last >= base) {
                return complain(model, "its range overlaps that of another");
            }
        }
        ranges()[{space, base}] = range{last, to};
        return 0;
    });
}

void sim_mmio_detach_all(void)
{
    guarded("sim_mmio_detach_all", [] { ranges().clear(); });
}

enum sim_mmio_result sim_mmio_read(unsigned space, uint64_t addr, unsigned bytes, uint64_t *value,
                                   sim_ps_t *latency_ps)
{
    *value = 0;
    return guarded("b_transport",
                   [&] { return transact(tlm::TLM_READ_COMMAND, space, addr, bytes, value, latency_ps); });
}

enum sim_mmio_result sim_mmio_write(unsigned space, uint64_t addr, unsigned bytes, uint64_t value,
                                    sim_ps_t *latency_ps)
{
    return guarded("b_transport",
                   [&] { return transact(tlm::TLM_WRITE_COMMAND, space, addr, bytes, &value, latency_ps); });
}

int sim_mmio_on_interrupt(const char *model, void (*fn)(void *ctx, bool level), void *ctx)
{
    bridge *b = find_model(model);
    if (!b) {
        return complain(model, "there is none of that name");
    }
    b->on_interrupt = fn;
    b->ctx = ctx;
    return 0;
}
