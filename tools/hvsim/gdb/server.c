// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/gdb/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int bind_unix(struct server *s, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof a.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(a.sun_path, path, strlen(path) + 1);
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&a, sizeof a))
        return -1;
    s->path = path;
    return 0;
}

static int bind_tcp(struct server *s, unsigned *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
    socklen_t size = sizeof a;
    int on = 1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0 || setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(s->listener, (struct sockaddr *)&a, sizeof a) ||
        getsockname(s->listener, (struct sockaddr *)&a, &size))
        return -1;
    *port = ntohs(a.sin_port);
    return 0;
}

int server_open(struct server *s, const char *path, unsigned port, char *why, size_t why_size)
{
    *s = (struct server){.listener = -1, .fd = -1};
    if (path ? bind_unix(s, path) : bind_tcp(s, &port)) {
        if (path)
            snprintf(why, why_size, "%s: %s", path, strerror(errno));
        else
            snprintf(why, why_size, "port %u: %s", port, strerror(errno));
        server_close(s);
        return -1;
    }
    if (path)
        snprintf(s->target, sizeof s->target, "%s", path);
    else
        snprintf(s->target, sizeof s->target, "localhost:%u", port);
    return 0;
}

void server_close(struct server *s)
{
    if (s->fd >= 0)
        close(s->fd);
    if (s->listener >= 0)
        close(s->listener);
    if (s->path)
        unlink(s->path);
    *s = (struct server){.listener = -1, .fd = -1};
}

bool server_listen(struct server *s)
{
    return listen(s->listener, 1) == 0;
}

bool server_accept(struct server *s, int lifeline)
{
    struct pollfd p[2] = {{.fd = s->listener, .events = POLLIN}, {.fd = lifeline, .events = POLLIN}};
    int on = 1;

    if (poll(p, 2, -1) < 0 || p[1].revents)
        return false;
    s->fd = accept(s->listener, NULL, NULL);
    if (s->fd >= 0 && !s->path)
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return s->fd >= 0;
}

int server_read(struct server *s, int lifeline, void *to, size_t size, bool wait)
{
    struct pollfd p[2] = {{.fd = s->fd, .events = POLLIN}, {.fd = lifeline, .events = POLLIN}};
    int ready = poll(p, 2, wait ? -1 : 0);

    if (ready <= 0)
        return 0;
    if (p[1].revents)
        return -1;
    ssize_t got = recv(s->fd, to, size, 0);

    return got > 0 ? (int)got : got < 0 && errno == EINTR ? 0 : -1;
}

bool server_write(struct server *s, const void *bytes, size_t size)
{
    const char *at = bytes;

    while (size) {
        ssize_t done = send(s->fd, at, size, MSG_NOSIGNAL);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}
