// SPDX-License-Identifier: Apache-2.0
#include "sim/machine/machine.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

char *machine_installed_path(const char *relative)
{
    char exe[PATH_MAX], path[2 * PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

    if (n < 0)
        return NULL;
    exe[n] = 0;
    char *slash = strrchr(exe, '/');

    *slash = 0;
    snprintf(path, sizeof path, "%s/%s", exe, relative);
    return strdup(path);
}
