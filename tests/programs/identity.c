// What a process learns about itself and its system: numbers, limits, names, scheduling, random bytes, /proc/self, refused calls.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/random.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct utsname names;
    uname(&names);
    printf("%s %d\n", names.sysname, strlen(names.release) > 0);
#ifdef __x86_64__
    printf("machine %d\n", !strcmp(names.machine, "x86_64"));
#elif defined __riscv
    printf("machine %d\n", !strcmp(names.machine, "riscv64"));
#endif
    printf("pid %d %d %d\n", getpid() > 0 && getpid() == gettid(), getppid() > 0, getpgrp() == getpgid(0));
    printf("user %d %d\n", getuid() == geteuid(), getgid() == getegid());
    uid_t r, e, s;
    printf("saved %d", getresuid(&r, &e, &s));
    printf(" %d\n", r == getuid() && e == geteuid());
    printf("page %ld\n", sysconf(_SC_PAGESIZE));
    cpu_set_t set;
    printf("affinity %d", sched_getaffinity(0, sizeof set, &set));
    printf(" %d\n", CPU_COUNT(&set) > 0 && CPU_COUNT(&set) <= sysconf(_SC_NPROCESSORS_CONF));
    printf("cpu %d\n", sched_getcpu() >= 0);
    printf("policy %d %d..%d\n", sched_getscheduler(0), sched_get_priority_min(SCHED_FIFO), sched_get_priority_max(SCHED_FIFO));
    struct sysinfo info;
    printf("sysinfo %d", sysinfo(&info));
    printf(" %d\n", info.totalram > 0 && info.mem_unit > 0);
    unsigned char bytes[64] = {0}, zero[64] = {0};
    printf("random %d", (int)getrandom(bytes, sizeof bytes, 0));
    printf(" %d\n", memcmp(bytes, zero, sizeof bytes) != 0);
    printf("auxv page %ld entry %d random %d secure %ld\n", getauxval(AT_PAGESZ), getauxval(AT_ENTRY) != 0, getauxval(AT_RANDOM) != 0, getauxval(AT_SECURE));
    printf("execfn %d\n", !strcmp((char *)getauxval(AT_EXECFN), argv[0]));

    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 200;
    printf("limit %d", setrlimit(RLIMIT_NOFILE, &limit));
    getrlimit(RLIMIT_NOFILE, &limit);
    printf(" %ld", (long)limit.rlim_cur);
    printf(" %d\n", dup2(1, 300) == -1 && errno == EBADF);
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = 1ul << 40;
    printf("address space %d", setrlimit(RLIMIT_AS, &limit));
    getrlimit(RLIMIT_AS, &limit);
    printf(" %d\n", limit.rlim_cur == 1ul << 40);
    limit.rlim_cur = 10, limit.rlim_max = 5;
    printf("impossible %d\n", setrlimit(RLIMIT_CORE, &limit) == -1 && errno == EINVAL);
    printf("umask %o", umask(077));
    printf(" %o\n", umask(022));
    errno = 0;
    printf("priority %d", getpriority(PRIO_PROCESS, 0));
    printf(" %d\n", errno);
    char name[17] = "";
    prctl(PR_SET_NAME, "a name that is too long");
    prctl(PR_GET_NAME, name);
    printf("name %s dumpable %d\n", name, prctl(PR_GET_DUMPABLE));
    printf("bad option %d\n", prctl(12345, 0) == -1 && errno == EINVAL);

    char self[4096] = "", other[4096] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    snprintf(name, sizeof name, "/proc/%d/exe", getpid());
    printf("exe %d %d %d\n", n > 0, readlink(name, other, sizeof other - 1) == n && !strcmp(self, other), !strcmp(self, realpath(argv[0], 0)));
    struct stat a, b;
    printf("same file %d\n", stat("/proc/self/exe", &a) == 0 && stat(argv[0], &b) == 0 && a.st_ino == b.st_ino);
    int fd = open("/proc/self/cmdline", O_RDONLY);
    n = read(fd, other, sizeof other);
    printf("cmdline %d %d\n", argc == 1 && n == (ssize_t)strlen(argv[0]) + 1, !strcmp(other, argv[0]));
    close(fd);
    unsigned long pair[2], entry = 0;
    fd = open("/proc/self/auxv", O_RDONLY);
    while (read(fd, pair, sizeof pair) == sizeof pair)
        if (pair[0] == AT_ENTRY) entry = pair[1];
    printf("auxv %d\n", entry == getauxval(AT_ENTRY));
    close(fd);
    printf("next descriptor %d\n", dup(1));

    printf("unknown %ld", syscall(999, 1, 2, 3));
    printf(" %s\n", strerror(errno));
    printf("io_uring %ld", syscall(SYS_io_uring_setup, 1, 0));
    printf(" %s\n", errno == ENOSYS || errno == EFAULT || errno == EPERM ? "refused" : strerror(errno));
    printf("chdir %d", chdir("/"));
    printf(" %s\n", getcwd(other, sizeof other));
    errno = 0;
    char *none = getcwd(other, 1);
    printf("short %d %s\n", none == 0, strerror(errno));
    return 0;
}
