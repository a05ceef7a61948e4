// Clocks, sleeping and timers: what can be said about them without saying what time it is.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static volatile int alarms, notified;
static void on_alarm(int signal) {
    (void)signal;
    alarms++;
}
static void notify(union sigval value) { notified = value.sival_int; }

int main(void) {
    double start = seconds(CLOCK_MONOTONIC), wall = seconds(CLOCK_REALTIME);
    struct timespec nap = {0, 30000000};
    printf("nanosleep %d\n", nanosleep(&nap, 0));
    double slept = seconds(CLOCK_MONOTONIC) - start;
    printf("slept %s\n", slept >= 0.03 && slept < 5 ? "about right" : "wrongly");
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 10000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    printf("until %d\n", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0));
    struct timespec bad = {0, 1000000000};
    printf("bad %d", nanosleep(&bad, 0));
    printf(" %s\n", strerror(errno));
    printf("clock %d\n", clock_gettime(99, &until) == -1 && errno == EINVAL);
    struct timeval now;
    gettimeofday(&now, 0);
    double difference = now.tv_sec + now.tv_usec / 1e6 - wall;
    printf("wall %s\n", difference >= 0.02 && difference < 5 && labs((long)(time(0) - now.tv_sec)) <= 1 ? "agrees" : "differs");
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    volatile long spin = 0;
    while (seconds(CLOCK_THREAD_CPUTIME_ID) < 0.02) spin++;
    printf("cpu time %s\n", seconds(CLOCK_PROCESS_CPUTIME_ID) > cpu && clock() > 0 ? "passes" : "stands");
    struct rusage usage;
    struct tms tms;
    printf("usage %d", getrusage(RUSAGE_SELF, &usage));
    printf(" %d %d\n", usage.ru_maxrss > 0, times(&tms) != -1);
    struct timespec resolution;
    clock_getres(CLOCK_MONOTONIC, &resolution);
    printf("resolution %ld\n", resolution.tv_nsec);

    signal(SIGALRM, on_alarm);
    printf("alarm %u", alarm(100));
    printf(" %u\n", alarm(0));
    struct itimerval soon = {{0, 0}, {0, 5000}}, left;
    // Blocked until it is waited for, so that it cannot come before.
    sigset_t alarm_only, before;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarm_only, &before);
    setitimer(ITIMER_REAL, &soon, 0);
    while (!alarms) sigsuspend(&before);
    sigprocmask(SIG_SETMASK, &before, 0);
    getitimer(ITIMER_REAL, &left);
    printf("itimer %d left %ld\n", alarms, (long)left.it_value.tv_usec);
    signal(SIGVTALRM, on_alarm);
    setitimer(ITIMER_VIRTUAL, &soon, 0);
    while (alarms < 2) spin++;
    printf("virtual %d\n", alarms);

    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = notify, .sigev_value.sival_int = 7};
    struct itimerspec when = {{0, 0}, {0, 5000000}}, old;
    printf("timer %d", timer_create(CLOCK_REALTIME, &event, &timer));
    printf(" %d", timer_settime(timer, 0, &when, 0));
    for (int i = 0; i < 1000 && !notified; i++) usleep(2000);
    printf(" %d", notified);
    printf(" %d", timer_gettime(timer, &old));
    printf(" %ld %d", old.it_value.tv_nsec, timer_getoverrun(timer));
    printf(" %d\n", timer_delete(timer));

    setenv("TZ", "UTC0", 1);
    tzset();
    time_t then = 1234567890;
    char text[100];
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %A %j", gmtime(&then));
    puts(text);
    struct tm broken = {.tm_year = 124, .tm_mon = 1, .tm_mday = 30, .tm_hour = 25};
    then = mktime(&broken);
    printf("%s", ctime(&then));
    return 0;
}
