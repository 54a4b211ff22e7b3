// SPDX-License-Identifier: Apache-2.0
// Numbers with units as people write them in scenarios: "4KiB", "1.5ms", "0x60", "10_000".
#ifndef SIM_SCENARIO_QUANTITY_H
#define SIM_SCENARIO_QUANTITY_H

#include <stdbool.h>
#include <stdint.h>

// Each returns false if `text` is not wholly of that form or does not fit; *out then stays.
bool quantity_number(const char *text, uint64_t *out); // Decimal or 0x hexadecimal, underscores allowed.
bool quantity_bytes(const char *text, uint64_t *out);  // With B, KiB, MiB, GiB or TiB; hexadecimal without.
bool quantity_ns(const char *text, uint64_t *out);     // With ns, us, ms or s; a decimal fraction is allowed.
// Bits a second with bit/s, kbit/s, Mbit/s, Gbit/s or Tbit/s; a decimal fraction is allowed.
bool quantity_rate(const char *text, uint64_t *out);
bool quantity_bool(const char *text, bool *out); // yes no true false on off 1 0

#endif
