// SPDX-License-Identifier: Apache-2.0
// Any bytes from the socket: packets are answered within their bounds, never a crash.
#include "tools/hvsim/gdb/tests/fake_target.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct gdb_state state;
    static struct gdb_reply reply;
    static struct rsp r;
    const struct gdb_target target = fake_target();

    memset(&state, 0, sizeof state);
    memset(&r, 0, sizeof r);
    state.current = 1;
    for (size_t i = 0; i < size; i++) {
        enum rsp_event event = rsp_feed(&r, data[i]);

        // Whoever fuzzes need not guess checksums.
        if (event != RSP_PACKET && event != RSP_BAD)
            continue;
        must(r.length <= RSP_TEXT_MAX);
        gdb_packet(&state, &target, r.text, r.length, &reply);
        must(reply.length <= RSP_TEXT_MAX && state.stop_count <= GDB_STOPS_MAX && state.selected <= 2);
        free(reply.said);
    }
    return 0;
}
