// Calls that wait for a while go on, for what is left of it, after signals that are ignored.
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct timespec seconds = {2, 0};

static long by_poll(void) { return poll(0, 0, 2000); }
static long by_nanosleep(void) { return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &seconds, 0); }
static long by_epoll(void) {
    struct epoll_event event;
    return epoll_wait(epoll_create1(0), &event, 1, 2000);
}
static long by_futex(void) {
    int word = 1;
    return syscall(SYS_futex, &word, 0 /* FUTEX_WAIT */, 1, &seconds, 0, 0);
}
static long by_semaphore(void) {
    int set = semget(IPC_PRIVATE, 1, 0600);
    struct sembuf wait = {0, -1, 0};
    long result = semtimedop(set, &wait, 1, &seconds);
    semctl(set, 0, IPC_RMID);
    return result;
}

static const struct {
    const char *name;
    long (*wait)(void);
} waits[] = {{"poll", by_poll}, {"nanosleep", by_nanosleep}, {"epoll", by_epoll}, {"futex", by_futex}, {"semaphore", by_semaphore}};
enum { WAITS = sizeof waits / sizeof *waits };

int main(void) {
    // Mynah has a handler of its own for this one.
    signal(SIGSEGV, SIG_IGN);
    pid_t children[WAITS];
    for (int i = 0; i < WAITS; i++) {
        children[i] = fork();
        if (children[i]) continue;
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        long result = waits[i].wait();
        clock_gettime(CLOCK_MONOTONIC, &end);
        double time = end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9;
        // The last signal comes after 1.8 s at least.
        _exit(result > 0 ? 1 : time < 1.99 ? 2 : time > 3.7 ? 3 : 0);
    }
    for (int n = 0; n < 3; n++) {
        usleep(600000);
        for (int i = 0; i < WAITS; i++) kill(children[i], SIGSEGV);
    }
    for (int i = 0; i < WAITS; i++) {
        int status;
        waitpid(children[i], &status, 0);
        printf("%s %d\n", waits[i].name, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    }
    return 0;
}
