// SPDX-License-Identifier: Apache-2.0
// Files that a user names to be read: what cannot be one is told, not waited for.
#ifndef SIM_SCENARIO_INPUT_H
#define SIM_SCENARIO_INPUT_H

// Opens for reading: a descriptor that the caller closes, or -1 with *why (static text, no file name). A pipe
// that nobody has open for writing is refused, as reading it would wait for ever; others are read until their
// end.
int input_open(const char *path, const char **why);

#endif
