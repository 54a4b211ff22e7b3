// SPDX-License-Identifier: Apache-2.0
// A device model as a user would write it: one-shot timer with interrupt, for the tests of the bridge.
//
//   offset  width  access  register
//   0x00    4      ro      ID       0x54494d52
//   0x08    1..8   rw      SCRATCH  bytes, any alignment within it; each access is annotated with 30 ns
//   0x10    4      wo      ARM      raises the interrupt that many ns later, and three delta cycles; 0:
//   lowers
//                                   it; 0xffffffff: raises it after the delta cycles alone
//   0x18    4      ro      SLOW     waits 100 ns in the transport; gives the time at its end in ns
#include "sim/systemc/tlm_bridge.h"

#include <cstring>
#include <stdexcept>
#include <tlm_utils/simple_target_socket.h>

namespace
{

using sc_core::SC_NS;
using sc_core::sc_time;

struct timer_device : sc_core::sc_module {
    tlm_utils::simple_target_socket<timer_device> socket;

    SC_HAS_PROCESS(timer_device);
    explicit timer_device(sc_core::sc_module_name name) : sc_module(name), socket("socket")
    {
        socket.register_b_transport(this, &timer_device::transport);
        SC_METHOD(expire);
        sensitive << expired;
        dont_initialize();
    }

  private:
    sc_core::sc_event expired;
    int deltas_left = 0;
    unsigned char scratch[8] = {};

    void expire()
    {
        if (deltas_left-- > 0) {
            expired.notify(sc_core::SC_ZERO_TIME);
        } else {
            hvsim_tlm_interrupt("timer", true);
        }
    }

    void arm(uint32_t ns)
    {
        expired.cancel();
        deltas_left = 3;
        if (ns == 0) {
            hvsim_tlm_interrupt("timer", false);
        } else {
            expired.notify(ns == 0xffffffff ? sc_core::SC_ZERO_TIME : sc_time(ns, SC_NS));
        }
    }

    void transport(tlm::tlm_generic_payload &p, sc_time &delay)
    {
        const bool read = p.is_read();
        const uint64_t at = p.get_address();
        const unsigned bytes = p.get_data_length();
        uint32_t word = 0;
        p.set_response_status(tlm::TLM_OK_RESPONSE);
        if (at >= 0x08 && at + bytes <= 0x10) {
            unsigned char *here = scratch + (at - 0x08);
            std::memcpy(read ? p.get_data_ptr() : here, read ? here : p.get_data_ptr(), bytes);
            delay += sc_time(30, SC_NS);
            return;
        }
        if (at == 0x20) {
            throw std::runtime_error("the timer has no such register");
        }
        if (bytes != 4 || read != (at == 0x00 || at == 0x18) || at % 8 != 0 || at > 0x18) {
            p.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
            return;
        }
        if (at == 0x10) {
            std::memcpy(&word, p.get_data_ptr(), 4);
            arm(word);
            return;
        }
        if (at == 0x18) {
            wait(sc_time(100, SC_NS));
        }
        word = at == 0 ? 0x54494d52 : static_cast<uint32_t>(sc_core::sc_time_stamp().value() / 1000);
        std::memcpy(p.get_data_ptr(), &word, 4);
    }
};

} // namespace

extern "C" void hvsim_models()
{
    auto *d = new timer_device("timer");
    hvsim_tlm_model("timer", d->socket);
}
