// Waiting for descriptors: poll, select, epoll, eventfd, timerfd, signalfd, inotify, pipes that fill.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static volatile int handled;
static void handle(int signal) { handled = signal; }

int main(void) {
    int a[2], b[2];
    char byte = 0;
    if (pipe(a) || pipe2(b, O_NONBLOCK)) return 1;
    struct pollfd fds[3] = {{a[0], POLLIN, 0}, {a[1], POLLOUT, 0}, {99, POLLIN, 0}};
    int n = poll(fds, 3, 0);
    printf("poll %d: %x %x %x\n", n, fds[0].revents, fds[1].revents, fds[2].revents);
    printf("poll timeout %d\n", poll(fds, 1, 10));
    (void)!write(a[1], "x", 1);
    n = poll(fds, 1, -1);
    printf("poll %d: %x\n", n, fds[0].revents);
    fd_set read_set, write_set;
    FD_ZERO(&read_set);
    FD_ZERO(&write_set);
    FD_SET(a[0], &read_set);
    FD_SET(b[0], &read_set);
    FD_SET(b[1], &write_set);
    struct timeval timeout = {1, 0};
    n = select(b[1] + 1, &read_set, &write_set, 0, &timeout);
    printf("select %d: %d %d %d\n", n, !!FD_ISSET(a[0], &read_set), !!FD_ISSET(b[0], &read_set), !!FD_ISSET(b[1], &write_set));
    (void)!read(a[0], &byte, 1);
    FD_ZERO(&read_set);
    FD_SET(a[0], &read_set);
    timeout = (struct timeval){0, 20000};
    n = select(a[0] + 1, &read_set, 0, 0, &timeout);
    printf("select timeout %d left %d\n", n, (int)(timeout.tv_sec * 1000000 + timeout.tv_usec));
    n = (int)read(b[0], &byte, 1);
    printf("empty %d %s\n", n, strerror(errno));
    long filled = 0, wrote;
    static char block[4096];
    while ((wrote = write(b[1], block, sizeof block)) > 0) filled += wrote;
    printf("filled %ld %s\n", filled, strerror(errno));

    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 0x123456789abcdef0};
    printf("add %d", epoll_ctl(epoll, EPOLL_CTL_ADD, a[0], &event));
    event = (struct epoll_event){.events = EPOLLIN, .data.u64 = 0xfedcba9876543210};
    printf(" %d", epoll_ctl(epoll, EPOLL_CTL_ADD, b[0], &event));
    n = epoll_ctl(epoll, EPOLL_CTL_ADD, b[0], &event);
    printf(" again %d %s\n", n, strerror(errno));
    (void)!write(a[1], "y", 1);
    struct epoll_event events[5];
    memset(events, 0, sizeof events);
    n = epoll_wait(epoll, events, 5, 1000);
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) sum ^= events[i].data.u64 * (1 + (events[i].events == EPOLLIN));
    printf("epoll %d %016lx\n", n, (long)sum);
    n = epoll_wait(epoll, events, 5, 0);
    printf("edge %d %016lx\n", n, (long)events[0].data.u64);
    n = epoll_ctl(epoll, EPOLL_CTL_DEL, b[0], 0);
    printf("delete %d none %d\n", n, epoll_wait(epoll, events, 5, 5));
    printf("bad %d\n", epoll_wait(epoll, events, 0, 0));
    (void)!read(a[0], &byte, 1);

    int counter = eventfd(3, EFD_NONBLOCK);
    uint64_t value = 4;
    (void)!write(counter, &value, 8);
    n = (int)read(counter, &value, 8);
    printf("eventfd %d %d\n", n, (int)value);
    n = (int)read(counter, &value, 8);
    printf("eventfd %d %s\n", n, strerror(errno));
    counter = eventfd(2, EFD_SEMAPHORE);
    (void)!read(counter, &value, 8);
    printf("semaphore %d\n", (int)value);

    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct itimerspec when = {{0, 2000000}, {0, 5000000}}, now;
    timerfd_settime(timer, 0, &when, 0);
    timerfd_gettime(timer, &now);
    printf("interval %ld\n", now.it_interval.tv_nsec);
    uint64_t ticks = 0;
    while (ticks < 5 && read(timer, &value, 8) == 8) ticks += value;
    printf("ticked %d\n", ticks >= 5);

    sigset_t set, none;
    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, 0);
    int signals = signalfd(-1, &set, SFD_NONBLOCK);
    struct signalfd_siginfo info;
    n = (int)read(signals, &info, sizeof info);
    printf("signalfd %d\n", n);
    kill(getpid(), SIGUSR1);
    n = (int)read(signals, &info, sizeof info);
    printf("signalfd %d: %d from self %d\n", n, info.ssi_signo == SIGUSR1, info.ssi_pid == (unsigned)getpid());

    signal(SIGUSR1, handle);
    kill(getpid(), SIGUSR1);
    printf("pending %d", handled);
    struct timespec second = {1, 0};
    n = ppoll(fds, 1, &second, &none);
    printf(" ppoll %d %s %d\n", n, strerror(errno), handled == SIGUSR1);
    handled = 0;
    kill(getpid(), SIGUSR1);
    n = pselect(0, 0, 0, 0, &second, &none);
    printf("pselect %d %s %d\n", n, strerror(errno), handled == SIGUSR1);
    handled = 0;
    kill(getpid(), SIGUSR1);
    n = epoll_pwait(epoll, events, 5, 1000, &none);
    printf("epoll_pwait %d %s %d\n", n, strerror(errno), handled == SIGUSR1);
    sigset_t mask;
    sigprocmask(SIG_SETMASK, 0, &mask);
    printf("still blocked %d\n", sigismember(&mask, SIGUSR1));

    int notify = inotify_init1(IN_NONBLOCK);
    int watch = inotify_add_watch(notify, ".", IN_CREATE | IN_DELETE | IN_MOVED_TO);
    close(open("one", O_CREAT | O_WRONLY, 0600));
    rename("one", "two");
    unlink("two");
    _Alignas(8) char buffer[1000];
    ssize_t length = read(notify, buffer, sizeof buffer);
    for (char *p = buffer; p < buffer + length;) {
        struct inotify_event *e = (void *)p;
        printf("notified %d %x %s\n", e->wd == watch, e->mask, e->name);
        p += sizeof *e + e->len;
    }
    close(a[0]);
    fds[0] = (struct pollfd){a[1], POLLOUT, 0};
    n = poll(fds, 1, 0);
    printf("closed %d %x\n", n, fds[0].revents);
    return 0;
}
