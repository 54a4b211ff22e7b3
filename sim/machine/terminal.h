// SPDX-License-Identifier: Apache-2.0
// The user at the consoles of a scenario's VMs: what is typed, and when, by what the guests show. The other
// end of the ports CONSOLE and INPUT of hv/hw/board.h.
#ifndef SIM_MACHINE_TERMINAL_H
#define SIM_MACHINE_TERMINAL_H

#include "sim/image/image.h"
#include "sim/scenario/scenario.h"

// How many characters' times the first key comes after a text that was waited for: so that no answer meets a
// guest that is still between writing its prompt and reading.
#define TERMINAL_REPLY_CHARACTERS 10u

struct terminal {
    struct image_file file;    // `input`: all of it is typed,
    struct console_step whole; // by this one step.
    const struct console_step *steps;
    uint32_t step_count;
    // In a run: the next step and the byte of it; what the guest has shown since the last text that was
    // waited for was found, as far as anything is still waited for.
    uint32_t step, offset;
    bool replies; // A text was found, nothing typed since.
    uint8_t *shown;
    size_t shown_size, shown_room;
};
struct terminal_set {
    struct terminal *vms; // By VM of the scenario.
    uint32_t vm_count;
};

// Reads the inputs. -1 with `e`. terminals_free() in either case.
int terminals_load(struct terminal_set *set, const struct scenario *s, struct user_error *e);
void terminals_free(struct terminal_set *set);
// Before a run.
void terminals_reset(struct terminal_set *set);

// The guest of a VM shows a byte.
void terminals_show(struct terminal_set *set, uint32_t vm, uint8_t byte);
// Takes the next byte that is typed: a word of console_input_word(), or CONSOLE_INPUT_NONE.
uint32_t terminals_type(struct terminal_set *set, uint32_t vm);

// What is left of it, one sentence. False: nothing.
bool terminals_left(const struct terminal_set *set, uint32_t vm, char *text, size_t size);
// "N bytes typed at VM (digest D)" for each VM that has any, with commas before them where `out` is not
// empty.
void terminals_print(const struct terminal_set *set, const struct scenario *s, FILE *out);

#endif
