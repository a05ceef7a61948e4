// Signals: siginfo, masks, nesting, alternate stacks, restarting, waiting, queued values, repaired faults, timers.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void install(int signal, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    sigemptyset(&action.sa_mask);
    if (sigaction(signal, &action, 0)) perror("sigaction");
}
static void block(int how, int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    sigprocmask(how, &set, 0);
}

static char *page;
static volatile int faults;
static void repair(int signal, siginfo_t *info, void *context) {
    (void)context;
    faults++;
    if (signal != SIGSEGV || info->si_code != SEGV_ACCERR || (char *)info->si_addr != page + 100 * faults) {
        printf("fault %d: code %d\n", faults, info->si_code);
        _exit(1);
    }
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static sigjmp_buf back;
static volatile int code;
static void jump(int signal, siginfo_t *info, void *context) {
    (void)context;
    code = info->si_code;
    siglongjmp(back, signal);
}

static char *volatile nowhere = (char *)8;
static volatile sig_atomic_t alarms, depth, deepest, seen[65], value;
static void on_alarm(int signal) {
    (void)signal;
    alarms++;
}
static void nested(int signal, siginfo_t *info, void *context) {
    (void)info, (void)context;
    if (++depth > deepest) deepest = depth;
    seen[signal]++;
    if (signal == SIGUSR1 && seen[SIGUSR1] < 4) raise(SIGUSR2);
    if (signal == SIGUSR2 && seen[SIGUSR2] < 4) raise(SIGUSR1);
    depth--;
}
static void record(int signal, siginfo_t *info, void *context) {
    (void)context;
    seen[signal]++;
    code = info->si_code;
    value = info->si_value.sival_int;
}

static volatile int recursion, forever = 1;
__attribute__((noinline)) static int recurse(int n) {
    volatile char frame[1000];
    frame[0] = n;
    recursion = n;
    if (!forever) return 0;
    return recurse(n + 1) + frame[0];
}
static volatile int on_alternate;
static void overflow(int signal, siginfo_t *info, void *context) {
    char here;
    stack_t stack;
    (void)info, (void)context;
    sigaltstack(0, &stack);
    on_alternate = stack.ss_flags == SS_ONSTACK && &here >= (char *)stack.ss_sp && &here < (char *)stack.ss_sp + stack.ss_size;
    siglongjmp(back, signal);
}

static void *thread_with_signal(void *argument) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    int signal = 0;
    sigwait(&set, &signal);
    *(int *)argument = signal;
    return 0;
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    page = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    install(SIGSEGV, repair, 0);
    for (int i = 1; i <= 5; i++) {
        mprotect(page, 4096, PROT_READ);
        volatile long long *p = (void *)(page + 100 * i);
        *p += i * 11;
        printf("repaired %d: %lld\n", faults, *p);
    }

    install(SIGSEGV, jump, SA_NODEFER);
    install(SIGBUS, jump, 0);
    if (!sigsetjmp(back, 1)) *(volatile char *volatile)nowhere = 1;
    printf("unmapped: %d\n", code == SEGV_MAPERR);
    mprotect(page, 4096, PROT_NONE);
    int which;
    if (!(which = sigsetjmp(back, 1))) code = page[5];
    printf("protected: %d %d\n", which == SIGSEGV, code == SEGV_ACCERR);
    FILE *file = tmpfile();
    char *past = mmap(0, 8192, PROT_READ, MAP_SHARED, fileno(file), 0);
    if (!(which = sigsetjmp(back, 1))) code = past[5000];
    printf("past the end: %d %d\n", which == SIGBUS, code == BUS_ADRERR);

    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&stack, 0);
    install(SIGSEGV, overflow, SA_ONSTACK);
    struct rlimit limit = {1 << 20, RLIM_INFINITY};
    setrlimit(RLIMIT_STACK, &limit);
    if (!sigsetjmp(back, 1)) recurse(0);
    sigaltstack(0, &stack);
    printf("overflow: on alternate stack %d, deep %d, flags %d\n", on_alternate, recursion > 500, stack.ss_flags);
    signal(SIGSEGV, SIG_DFL);

    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, 0);
    struct itimerval every = {{0, 2000}, {0, 2000}};
    setitimer(ITIMER_REAL, &every, 0);
    volatile unsigned long spins = 0;
    while (alarms < 20) spins++;
    printf("alarms while computing: %d\n", alarms >= 20);
    int pipes[2];
    char byte = 0;
    if (pipe(pipes)) return 1;
    pid_t child = fork();
    if (child == 0) {
        usleep(30000);
        (void)!write(pipes[1], "r", 1);
        _exit(0);
    }
    alarms = 0;
    ssize_t got = read(pipes[0], &byte, 1);
    printf("restarted read: %zd %c %d\n", got, byte, alarms > 0);
    while (waitpid(child, 0, 0) != child) {}
    action.sa_flags = 0;
    sigaction(SIGALRM, &action, 0);
    got = read(pipes[0], &byte, 1);
    printf("interrupted read: %zd %s\n", got, strerror(errno));
    struct timespec long_time = {5, 0}, left = {77, 0};
    int slept = nanosleep(&long_time, &left);
    printf("interrupted sleep: %d %d %d\n", slept, errno == EINTR, left.tv_sec <= 5);
    every.it_value.tv_usec = every.it_interval.tv_usec = 100;
    setitimer(ITIMER_REAL, &every, 0);
    int into = open("/dev/null", O_WRONLY), lost = 0;
    for (int i = 0; i < 20000; i++) lost += write(into, "w", 1) != 1;
    printf("writes lost to signals: %d\n", lost);
    every = (struct itimerval){0};
    setitimer(ITIMER_REAL, &every, 0);

    install(SIGUSR1, nested, 0);
    install(SIGUSR2, nested, 0);
    raise(SIGUSR1);
    printf("nested: %d %d deepest %d\n", seen[SIGUSR1], seen[SIGUSR2], deepest);
    seen[SIGUSR1] = deepest = 0;
    seen[SIGUSR2] = 9;
    install(SIGUSR2, nested, SA_NODEFER);

    block(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    kill(getpid(), SIGUSR1);
    sigset_t pending, old;
    sigpending(&pending);
    printf("blocked: %d pending %d\n", seen[SIGUSR1], sigismember(&pending, SIGUSR1));
    block(SIG_UNBLOCK, SIGUSR1);
    printf("unblocked: %d\n", seen[SIGUSR1]);

    install(SIGRTMIN, record, 0);
    install(SIGUSR1, record, SA_RESETHAND);
    block(SIG_BLOCK, SIGRTMIN);
    for (int i = 1; i <= 3; i++) sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i * 10});
    printf("queued: %d\n", seen[SIGRTMIN]);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    siginfo_t info;
    struct timespec now = {0, 0};
    which = sigtimedwait(&set, &info, &now);
    printf("waited: %d %d %d\n", which == SIGRTMIN, info.si_value.sival_int, info.si_code == SI_QUEUE);
    block(SIG_UNBLOCK, SIGRTMIN);
    printf("delivered: %d last %d code %d\n", seen[SIGRTMIN], value, code == SI_QUEUE);
    which = sigtimedwait(&set, &info, &now);
    printf("nothing: %d %s\n", which, strerror(errno));
    seen[SIGUSR1] = 0;
    kill(getpid(), SIGUSR1);
    sigaction(SIGUSR1, 0, &action);
    printf("once: %d %d %d\n", seen[SIGUSR1], code == SI_USER, action.sa_handler == SIG_DFL);

    install(SIGUSR1, record, 0);
    block(SIG_BLOCK, SIGUSR1);
    child = fork();
    if (child == 0) {
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
    sigprocmask(SIG_SETMASK, 0, &old);
    sigdelset(&old, SIGUSR1);
    int suspended = sigsuspend(&old);
    printf("suspended: %d %d seen %d\n", suspended, errno == EINTR, seen[SIGUSR1]);
    sigpending(&pending);
    sigprocmask(SIG_SETMASK, 0, &old);
    printf("mask restored: %d\n", sigismember(&old, SIGUSR1));
    waitpid(child, 0, 0);

    pthread_t thread;
    int received = 0;
    block(SIG_BLOCK, SIGUSR2);
    pthread_create(&thread, 0, thread_with_signal, &received);
    pthread_kill(thread, SIGUSR2);
    pthread_join(thread, 0);
    printf("thread waited: %d\n", received == SIGUSR2);

    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 77};
    struct itimerspec when = {{0, 0}, {0, 3000000}};
    value = 0;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &when, 0)) perror("timer");
    while (!value) {}
    printf("timer: %d %d\n", value, code == SI_TIMER);
    timer_delete(timer);

    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    close(pipes[0]);
    got = write(pipes[1], "x", 1);
    printf("broken pipe: %zd %s\n", got, strerror(errno));
    for (int signal_number = 1; signal_number < 4; signal_number++) {
        signal(SIGCHLD, SIG_DFL);
        child = fork();
        if (child == 0) {
            struct rlimit none = {0, 0};
            setrlimit(RLIMIT_CORE, &none);
            int ends[] = {0, SIGTERM, SIGKILL, SIGSEGV};
            raise(ends[signal_number]);
            _exit(9);
        }
        int status;
        waitpid(child, &status, 0);
        printf("ended: %d %s\n", WIFSIGNALED(status), strsignal(WTERMSIG(status)));
    }
    return 0;
}
