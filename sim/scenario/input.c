// SPDX-License-Identifier: Apache-2.0
#include "sim/scenario/input.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Is there data, or somebody who could still bring some? Looks at the pipe without taking anything out of it.
static bool has_writer(int fd)
{
    int copy[2];

    if (pipe2(copy, O_CLOEXEC))
        return true;
    ssize_t seen = tee(fd, copy[1], 1, SPLICE_F_NONBLOCK);
    bool waits = seen < 0 && errno == EAGAIN;

    close(copy[0]);
    close(copy[1]);
    return seen > 0 || waits;
}

int input_open(const char *path, const char **why)
{
    // Without O_NONBLOCK opening alone would wait for a writer.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st)) {
        *why = strerror(errno);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *why = S_ISDIR(st.st_mode)                                        ? "is a folder"
           : S_ISFIFO(st.st_mode) && !has_writer(fd)                  ? "is a pipe that nobody writes to"
           : fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) < 0 ? strerror(errno)
                                                                      : NULL;
    if (!*why)
        return fd;
    close(fd);
    return -1;
}
