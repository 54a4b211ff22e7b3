// SPDX-License-Identifier: Apache-2.0
// Guests that do anything at all: scenarios and replay streams that the loader accepts, made of a seed.
#ifndef TESTS_WILD_WILD_H
#define TESTS_WILD_WILD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

// A generator of numbers (SplitMix64); equal seeds give equal guests on each machine.
struct wild {
    uint64_t state;
};

uint64_t wild_random(struct wild *w);
// 0..n - 1, n > 0.
uint64_t wild_below(struct wild *w, uint64_t n);
// True in `percent` of 100 cases.
bool wild_chance(struct wild *w, unsigned percent);
// A number as mistakes like it: small, around a power of two, all ones, or anything.
uint64_t wild_number(struct wild *w);

// The programs of one vCPU as text of a .stream file. `nested`: most of them then set VMX up and enter a
// guest.
void wild_stream(struct wild *w, bool nested, FILE *to);

// wild.yaml and its streams in the folder; returns false if they cannot be written.
bool wild_scenario(uint64_t seed, const char *folder);

// A machine-code image that is entered in real mode at 7C00H (flat), in 32-bit protected mode or in 64-bit
// mode (ELF).
enum wild_image { WILD_REAL, WILD_PROTECTED, WILD_LONG };
void wild_image(struct wild *w, enum wild_image kind, FILE *to);
// As wild_guests_for(), of images.
void wild_images_for(uint64_t seed, uint64_t seconds);

// The running test: guests of this and the next seeds for so many seconds, each of them twice. It fails at
// the first one whose run does not end well or not equally.
void wild_guests_for(uint64_t seed, uint64_t seconds);

#endif
