// SPDX-License-Identifier: Apache-2.0
// The files that an import writes. Everything is written into a hidden folder beside the results and renamed
// at the end, so that nothing is half done; files of others are not touched.
#ifndef TOOLS_HVSIM_IMPORT_OUTPUT_H
#define TOOLS_HVSIM_IMPORT_OUTPUT_H

#include "tools/hvsim/import/recording.h"

#include <stdio.h>

#define OUTPUT_PATH_MAX 4096
#define OUTPUT_NAME_MAX 64

struct output {
    char folder[OUTPUT_PATH_MAX - 256]; // As the user gave it.
    char hidden[OUTPUT_PATH_MAX - 128]; // Temporary folder in it; empty: none.
    bool made_folder;                   // by output_begin()
    char name[OUTPUT_NAME_MAX];         // Of the scenario.
    bool force;
    char error[OUTPUT_PATH_MAX + 256]; // Of the first failure.
};

struct output_scenario {
    const char *source; // File name as given.
    uint64_t lines;
    const char *uarch;
    const char *only_vm; // Name of the VM or of its threads; NULL: all.
};

// `path` names the recording. False and output->error if the folder cannot be made or written.
bool output_begin(struct output *output, const char *folder, const char *path, bool force);
// A vcpu_sink; the context is the output.
bool output_stream_text(void *context, struct vcpu *vcpu, const char *text, size_t size);
// Writes the scenario, checks that nothing of others is in the way, and moves all files to their names.
// *written is the number of files.
bool output_commit(struct output *output, const struct recording *recording,
                   const struct output_scenario *scenario, unsigned *written);
// Removes what is temporary.
void output_end(struct output *output);

// True if this vCPU is part of what is written.
bool output_selects(const struct recorded_vcpu *v, const char *only_vm);
// "x86-vmx-halt-poll-vm0-vcpu0.stream"
void output_stream_name(const struct output *output, const struct vcpu *vcpu, char *name, size_t size);

#endif
