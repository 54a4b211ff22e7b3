// SPDX-License-Identifier: Apache-2.0
// Machine-code images: from the files a user names to what lies where in a guest's memory and how its first
// processor enters it.
//
// Formats are found out by looking, in this order: a multiboot header of version 1 (Multiboot 3.1) or 2
// (Multiboot2 3.1), a Linux kernel (Linux boot, 1.1), an ELF file with a PVH entry (PVH) or without. A flat
// binary has no mark: it is one only if its load address was given. Files are hostile input: whatever is in
// them ends in a plan or in one message. Called before a run, outside of simulated time; equal files give
// equal plans, wherever they lie.
#ifndef SIM_IMAGE_IMAGE_H
#define SIM_IMAGE_IMAGE_H

#include "hv/vmm/config.h"
#include "sim/scenario/user_error.h"
#include <stdbool.h>
#include <stdint.h>

#define IMAGE_MODULES_MAX 32u
#define IMAGE_SEGMENTS_MAX 128u
#define IMAGE_FILE_BYTES_MAX (4ull << 30)
#define IMAGE_APPEND_MAX 4096u // Characters of a command line.

struct image_file {
    char *path;
    uint8_t *bytes;
    uint64_t size;
};

struct image_request {
    struct image_file image, initrd; // initrd.path NULL: none.
    struct image_file modules[IMAGE_MODULES_MAX];
    uint32_t module_count;
    const char *append;    // Command line behind the image's name; never NULL.
    uint64_t memory_bytes; // Of the guest, laid out as a PC's (hv/vmm/config.h, VMM_HOLE).
    bool flat;             // The image is one; `load`: its linear address.
    uint64_t load;
};

// A piece of guest memory: bytes, and zeroes behind them (memory is zero anyway: they only take the place).
struct image_segment {
    uint64_t gpa;
    const uint8_t *bytes; // Of a file of the request, or the plan's own.
    uint64_t size, zeroes;
    const char *what; // For messages.
};

struct image_plan {
    const char *format; // "multiboot", "multiboot 2", "bzImage", "PVH", "ELF32", "ELF64", "flat"
    struct image_segment segments[IMAGE_SEGMENTS_MAX];
    uint32_t segment_count;
    // Entry (struct vmm_program_config).
    enum vmm_cpu_mode mode;
    uint64_t rip, rax, rbx, rsi, rsp, gdt;
    uint8_t *made[IMAGE_SEGMENTS_MAX]; // Bytes of its own.
    uint32_t made_count;
};

// Reads a whole file. -1 with `e`: it cannot be read, is empty or over IMAGE_FILE_BYTES_MAX. `what` is the
// field that names it.
int image_read(const char *path, const char *what, struct image_file *file, struct user_error *e);
void image_file_free(struct image_file *file);
void image_request_free(struct image_request *r); // What image_read() has put into it.

// Plans the request. -1 with `e`: what is wrong with which file, and the cure; nothing is then left in *plan.
// The plan points into the request's files.
int image_plan_make(const struct image_request *r, struct image_plan *plan, struct user_error *e);
void image_plan_free(struct image_plan *plan);

#endif
