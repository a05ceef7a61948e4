// Sockets: pairs, TCP, UDP and Unix ones, messages with descriptors and credentials, options, errors.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char accepted[20];

static void *serve(void *argument) {
    int listener = *(int *)argument, total = 0;
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    int s = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC);
    strcpy(accepted, inet_ntoa(peer.sin_addr));
    char buffer[1000];
    ssize_t n;
    while ((n = recv(s, buffer, sizeof buffer, 0)) > 0) {
        total += n;
        for (ssize_t i = 0; i < n; i++) buffer[i] ^= 0x20;
        if (send(s, buffer, n, MSG_NOSIGNAL) != n) break;
    }
    close(s);
    return (void *)(long)total;
}

int main(void) {
    char buffer[100] = "";
    int pair[2], pipes[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || pipe(pipes)) return 1;

    char control[CMSG_SPACE(sizeof(int))];
    memset(control, 0, sizeof control);
    struct iovec part = {"descriptor", 10};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = (struct cmsghdr *)control;
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &pipes[1], sizeof(int));
    printf("sendmsg %zd\n", sendmsg(pair[0], &message, 0));
    memset(control, 0, sizeof control);
    part = (struct iovec){buffer, sizeof buffer};
    printf("recvmsg %zd", recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC));
    int received;
    memcpy(&received, CMSG_DATA(c), sizeof(int));
    printf(" [%s] type %d flags %x\n", buffer, c->cmsg_type, message.msg_flags & MSG_CTRUNC);
    ssize_t n = write(received, "passed", 7);
    printf("through it %zd", n);
    n = read(pipes[0], buffer, 20);
    printf(" %zd", n);
    printf(" %s\n", buffer);
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &credentials, &length);
    printf("peer %d length %d\n", credentials.pid == getpid() && credentials.uid == getuid(), (int)length);
    shutdown(pair[0], SHUT_WR);
    printf("end of stream %zd\n", read(pair[1], buffer, 1));

    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    printf("bind %d", bind(listener, (struct sockaddr *)&address, sizeof address));
    printf(" listen %d\n", listen(listener, 5));
    length = sizeof address;
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("port %d length %d\n", address.sin_port != 0, (int)length);
    pthread_t thread;
    pthread_create(&thread, 0, serve, &listener);
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    printf("connect %d\n", connect(s, (struct sockaddr *)&address, sizeof address));
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int got = 0;
    length = sizeof got;
    getsockopt(s, IPPROTO_TCP, TCP_NODELAY, &got, &length);
    printf("nodelay %d\n", got);
    long sum = 0;
    for (int i = 0; i < 200; i++) {
        memset(buffer, 'a' + i % 26, sizeof buffer);
        if (send(s, buffer, sizeof buffer, 0) != sizeof buffer) break;
        for (size_t have = 0; have < sizeof buffer;) {
            ssize_t n = recv(s, buffer + have, sizeof buffer - have, 0);
            if (n <= 0) break;
            have += n;
        }
        sum += buffer[99];
    }
    shutdown(s, SHUT_WR);
    void *total;
    pthread_join(thread, &total);
    printf("accepted from %s\n", accepted);
    printf("echoed %ld sum %ld then %zd\n", (long)total, sum, recv(s, buffer, 1, 0));
    close(s);
    close(listener);
    s = socket(AF_INET, SOCK_STREAM, 0);
    int refused = connect(s, (struct sockaddr *)&address, sizeof address);
    printf("refused %d %s\n", refused, strerror(errno));

    int udp[2] = {socket(AF_INET, SOCK_DGRAM, 0), socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)};
    address.sin_port = 0;
    bind(udp[1], (struct sockaddr *)&address, sizeof address);
    length = sizeof address;
    getsockname(udp[1], (struct sockaddr *)&address, &length);
    n = recv(udp[1], buffer, 10, 0);
    printf("nothing yet %zd %s\n", n, strerror(errno));
    struct iovec parts[2][1] = {{{"first", 5}}, {{"second", 6}}};
    struct mmsghdr many[2] = {{{&address, length, parts[0], 1, 0, 0, 0}, 0}, {{&address, length, parts[1], 1, 0, 0, 0}, 0}};
    int sent = sendmmsg(udp[0], many, 2, 0);
    printf("sent %d: %d %d\n", sent, many[0].msg_len, many[1].msg_len);
    char texts[2][20] = {"", ""};
    struct iovec into[2][1] = {{{texts[0], 20}}, {{texts[1], 3}}};
    struct mmsghdr incoming[2] = {{{0, 0, into[0], 1, 0, 0, 0}, 0}, {{0, 0, into[1], 1, 0, 0, 0}, 0}};
    struct pollfd ready = {udp[1], POLLIN, 0};
    poll(&ready, 1, 1000);
    int count = recvmmsg(udp[1], incoming, 2, 0, 0);
    printf("received %d: %s %s truncated %d\n", count, texts[0], texts[1], !!(incoming[1].msg_hdr.msg_flags & MSG_TRUNC));
    sendto(udp[0], "again", 5, 0, (struct sockaddr *)&address, sizeof address);
    poll(&ready, 1, 1000);
    struct sockaddr_in from;
    length = sizeof from;
    n = recvfrom(udp[1], buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length);
    printf("recvfrom %zd %.5s from loopback %d\n", n, buffer, from.sin_addr.s_addr == htonl(INADDR_LOOPBACK));

    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int u = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    printf("unix %d", bind(u, (struct sockaddr *)&local, sizeof local));
    printf(" %d", listen(u, 1));
    printf(" %d", connect(client, (struct sockaddr *)&local, sizeof local));
    int server = accept(u, 0, 0);
    printf(" %zd", send(client, "local", 6, 0));
    printf(" %zd %s\n", recv(server, buffer, 6, MSG_WAITALL), buffer);
    int type;
    length = sizeof type;
    getsockopt(u, SOL_SOCKET, SO_TYPE, &type, &length);
    int none = socket(AF_INET, 77, 0);
    printf("type %d, none %d %s\n", type == SOCK_STREAM, none, strerror(errno));
    none = bind(u, (struct sockaddr *)8, sizeof local);
    printf("bad address %d %s\n", none, strerror(errno));
    return 0;
}
