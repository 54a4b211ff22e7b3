// SPDX-License-Identifier: Apache-2.0
// `hvsim import`: a KVM trace recorded on a real host becomes a scenario with replay guests
// (docs/importing.md).
#ifndef TOOLS_HVSIM_IMPORT_IMPORT_H
#define TOOLS_HVSIM_IMPORT_IMPORT_H

// argv[0] is "import", then FILE and options. Returns the exit status: 0 done, 2 bad usage or input, 130
// interrupted. Everything but messages (stdout, stderr) is written below the output folder. Call once at a
// time: it handles SIGINT while it runs.
int import_main(int argc, char **argv);

#endif
