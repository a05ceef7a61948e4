// args: start
// status: 3
// Processes: fork, exec, vfork, posix_spawn, wait in all forms, pipes between them, sessions, scripts.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void describe(const char *what, int status) {
    if (WIFEXITED(status)) printf("%s: exited %d\n", what, WEXITSTATUS(status));
    else if (WIFSIGNALED(status)) printf("%s: killed by %s\n", what, strsignal(WTERMSIG(status)));
    else printf("%s: status %x\n", what, status);
}

int main(int argc, char **argv) {
    setvbuf(stdout, 0, _IONBF, 0);
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = 0;
    if (argc > 1 && !strcmp(argv[1], "child")) {
        printf("child: argv0 [%s] argc %d last [%s] VAR=%s fd9 %s\n", strcmp(argv[0], self) ? argv[0] : "self", argc,
               argv[argc - 1], getenv("VAR") ?: "unset", fcntl(9, F_GETFD) < 0 ? "closed" : "open");
        return argc;
    }

    int status, shared = 1;
    pid_t child = fork();
    if (child == 0) {
        shared = 2;
        exit(shared + 5);
    }
    printf("waited %d", waitpid(child, &status, 0) == child);
    describe(" fork", status);
    int nobody = wait(0);
    printf("not shared: %d, no more children: %d %s\n", shared, nobody, strerror(errno));

    int map_size = 4096;
    volatile int *map = mmap(0, map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 10; i++)
        if (fork() == 0) {
            __atomic_fetch_add(map, i + 1, __ATOMIC_SEQ_CST);
            _exit(0);
        }
    int reaped = 0;
    while (wait(0) > 0) reaped++;
    printf("reaped %d, shared map %d\n", reaped, *map);

    int kept = open("/dev/null", O_RDONLY), closing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup3(closing, 9, O_CLOEXEC);
    if ((child = fork()) == 0) {
        setenv("VAR", "from the parent", 1);
        execl(self, "another name", "child", "a", "b c", (char *)0);
        _exit(127);
    }
    waitpid(child, &status, 0);
    describe("exec", status);
    dup2(kept, 9);
    if ((child = vfork()) == 0) {
        char *arguments[] = {"vforked", "child", 0}, *environment[] = {"VAR=vfork", 0};
        execve(self, arguments, environment);
        _exit(127);
    }
    waitpid(child, &status, 0);
    describe("vfork", status);
    if ((child = vfork()) == 0) _exit(33);
    waitpid(child, &status, 0);
    describe("vfork and exit", status);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "spawned.txt", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    char *arguments[] = {"spawned", "child", "x", 0};
    int error = posix_spawn(&child, self, &actions, 0, arguments, environ);
    printf("spawn: %d\n", error);
    waitpid(child, &status, 0);
    describe("spawned", status);
    char text[200] = "";
    int file = open("spawned.txt", O_RDONLY);
    n = read(file, text, sizeof text - 1);
    printf("%s", text);
    close(file);
    unlink("spawned.txt");
    error = posix_spawn(&child, "/no/such/program", 0, 0, arguments, environ);
    printf("spawn of nothing: %s\n", strerror(error));

    execl("/no/such/program", "x", (char *)0);
    printf("exec of nothing: %s\n", strerror(errno));
    execl("/", "x", (char *)0);
    printf("exec of a directory: %s\n", strerror(errno));
    file = open("plain", O_WRONLY | O_CREAT, 0644);
    n = write(file, "neither ELF nor script\n", 23);
    execl("./plain", "x", (char *)0);
    printf("exec of a plain file: %s\n", strerror(errno));
    fchmod(file, 0755);
    close(file);
    execl("./plain", "x", (char *)0);
    printf("exec of text: %s\n", strerror(errno));
    unlink("plain");
    file = open("script", O_WRONLY | O_CREAT, 0755);
    dprintf(file, "#!%s child \n", self);
    close(file);
    if ((child = fork()) == 0) {
        execl("./script", "ignored", "last", (char *)0);
        printf("script: %s\n", strerror(errno));
        _exit(127);
    }
    waitpid(child, &status, 0);
    describe("script", status);
    unlink("script");

    int down[2], up[2];
    if (pipe(down) || pipe2(up, O_CLOEXEC)) return 1;
    if ((child = fork()) == 0) {
        close(down[1]);
        char c;
        while (read(down[0], &c, 1) == 1) {
            c = c >= 'a' && c <= 'z' ? c - 32 : c;
            if (write(up[1], &c, 1) != 1) _exit(1);
        }
        _exit(0);
    }
    close(down[0]);
    close(up[1]);
    n = write(down[1], "through two pipes\n", 18);
    close(down[1]);
    memset(text, 0, sizeof text);
    for (char *p = text; read(up[0], p, 1) == 1;) p++;
    printf("%s", text);
    waitpid(child, &status, 0);
    describe("filter", status);

    if ((child = fork()) == 0) pause();
    int none = waitpid(child, &status, WNOHANG);
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
    printf("running %d stopped %d %d", none, WIFSTOPPED(status), WSTOPSIG(status) == SIGSTOP);
    kill(child, SIGCONT);
    waitpid(child, &status, WCONTINUED);
    printf(" continued %d\n", WIFCONTINUED(status));
    kill(child, SIGTERM);
    siginfo_t info = {0};
    waitid(P_PID, child, &info, WEXITED | WNOWAIT);
    printf("waitid %d %d %d\n", info.si_pid == child, info.si_code == CLD_KILLED, info.si_status == SIGTERM);
    struct rusage usage;
    wait4(child, &status, 0, &usage);
    describe("stopped", status);

    if ((child = fork()) == 0) {
        pid_t session = setsid();
        printf("session %d group %d\n", session == getpid(), getpgrp() == getpid());
        if (fork() == 0) {
            printf("grandchild: same session %d\n", getsid(0) == session);
            _exit(0);
        }
        wait(0);
        _exit(0);
    }
    waitpid(child, &status, 0);
    FILE *p = popen("echo shell $((6 * 7)); exit 3", "r");
    while (fgets(text, sizeof text, p)) printf("popen: %s", text);
    describe("pclose", pclose(p));
    describe("system", system("test -d / && exit 4"));
    if ((child = fork()) == 0) {
        struct rlimit limit = {0, 0};
        setrlimit(RLIMIT_CORE, &limit);
        abort();
    }
    waitpid(child, &status, 0);
    describe("abort", status);
    char *last[] = {"last", "child", "exec in the parent", 0}, *empty[] = {0};
    execve(self, last, empty);
    return 1;
}
