// Files: reading and writing in all forms, names, links, directories, attributes, times, locks, copies, errors.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SHOW(call)                                                                            \
    do {                                                                                      \
        errno = 0;                                                                            \
        long result_ = (long)(call);                                                          \
        printf("%s = %ld%s%s\n", #call, result_, result_ < 0 ? " " : "", result_ < 0 ? strerror(errno) : ""); \
    } while (0)

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }
static long total;
static char *volatile nowhere = (char *)8;
static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)path;
    total += ftw->level * 100 + type * 10 + (S_ISREG(st->st_mode) ? st->st_size : 0);
    return 0;
}
static void describe(const char *path) {
    struct stat st;
    if (lstat(path, &st)) {
        printf("%s: %s\n", path, strerror(errno));
        return;
    }
    printf("%s: type %o mode %o links %ld size %ld blocks %d mtime %ld.%09ld\n", path, st.st_mode & S_IFMT, st.st_mode & 07777,
           S_ISDIR(st.st_mode) ? 0 : (long)st.st_nlink, S_ISDIR(st.st_mode) ? 0 : (long)st.st_size, st.st_blksize > 0,
           (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

int main(void) {
    char buffer[200] = "";
    umask(022);
    int fd = open("a", O_RDWR | O_CREAT | O_EXCL, 0666);
    SHOW(open("a", O_RDWR | O_CREAT | O_EXCL, 0666));
    SHOW(write(fd, "0123456789abcdef", 16));
    SHOW(lseek(fd, 4, SEEK_SET));
    SHOW(read(fd, buffer, 4));
    SHOW(pread(fd, buffer + 4, 100, 10));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(pwrite(fd, "XY", 2, 1));
    struct iovec parts[3] = {{buffer + 20, 3}, {buffer + 30, 5}, {buffer + 40, 50}};
    SHOW(preadv(fd, parts, 3, 0));
    struct iovec out[2] = {{"end", 3}, {" of file", 8}};
    SHOW(lseek(fd, 0, SEEK_END));
    SHOW(writev(fd, out, 2));
    SHOW(lseek(fd, 0, SEEK_SET));
    SHOW(readv(fd, parts, 3));
    printf("[%.10s] [%.3s] [%.5s] [%s]\n", buffer, buffer + 20, buffer + 30, buffer + 40);
    SHOW(lseek(fd, -1, SEEK_SET));
    SHOW(ftruncate(fd, 10000));
    SHOW(fallocate(fd, 0, 0, 20000));
    struct stat st;
    SHOW(fstat(fd, &st));
    printf("size %ld regular %d owner %d\n", (long)st.st_size, S_ISREG(st.st_mode), st.st_uid == getuid() && st.st_gid == getgid());
    struct timespec times[2] = {{1000000000, 5}, {1234567890, 123456789}};
    SHOW(futimens(fd, times));
    SHOW(chmod("a", 0640));
    describe("a");
    SHOW(link("a", "b"));
    SHOW(symlink("a", "s"));
    SHOW(readlink("s", buffer, sizeof buffer));
    SHOW(readlink("a", buffer, sizeof buffer));
    struct timeval old[2] = {{1, 0}, {2, 500000}};
    SHOW(utimes("b", old));
    describe("b");
    SHOW(rename("b", "c"));
    SHOW(stat("b", &st));
    SHOW(stat("s", &st));
    struct statx sx;
    SHOW(statx(AT_FDCWD, "s", 0, STATX_BASIC_STATS, &sx));
    printf("statx %d %ld %d\n", sx.stx_nlink, (long)sx.stx_size, sx.stx_ino == st.st_ino && sx.stx_mode == st.st_mode);
    SHOW(stat("/dev/null", &st));
    printf("device %d %d\n", major(st.st_rdev), minor(st.st_rdev));
    SHOW(access("a", R_OK | W_OK));
    SHOW(access("a", F_OK));
    SHOW(access("none", F_OK));
    SHOW(faccessat(AT_FDCWD, "c", R_OK, AT_EACCESS));

    SHOW(mkdir("d", 0755));
    SHOW(mkdir("d", 0755));
    SHOW(mkdirat(AT_FDCWD, "d/e", 0700));
    int dir = open("d", O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 40; i++) {
        char name[40];
        snprintf(name, sizeof name, "e/file%02d-with-a-long-name", i * 7 % 40);
        int f = openat(dir, name, O_WRONLY | O_CREAT, 0600);
        for (int n = 0; n < i; n++)
            if (write(f, ".", 1) != 1) return 1;
        close(f);
    }
    struct dirent **names;
    int count = scandir("d/e", &names, 0, by_name);
    printf("%d entries, %s, %s, %s\n", count, names[0]->d_name, names[2]->d_name, names[count - 1]->d_name);
    nftw("d", visit, 10, FTW_PHYS);
    printf("walked %ld\n", total);
    SHOW(rmdir("d/e"));
    SHOW(renameat2(AT_FDCWD, "c", dir, "moved", RENAME_NOREPLACE));
    SHOW(unlinkat(dir, "moved", 0));
    SHOW(chdir("d/e"));
    char *here = getcwd(0, 0);
    printf("%s\n", strrchr(here, '/'));
    SHOW(fchdir(dir));
    SHOW(chdir(".."));
    SHOW(open("a/b", O_RDONLY));
    SHOW(open("d", O_WRONLY));
    SHOW(open("s", O_RDONLY | O_NOFOLLOW));

    SHOW(lseek(fd, 0, SEEK_SET));
    int copy = open("copy", O_RDWR | O_CREAT, 0600);
    off_t from = 2;
    SHOW(sendfile(copy, fd, &from, 8));
    SHOW(copy_file_range(fd, &from, copy, 0, 6, 0));
    int pipes[2];
    if (pipe(pipes)) return 1;
    SHOW(splice(fd, &from, pipes[1], 0, 100, 0));
    int waiting = 0;
    SHOW(ioctl(pipes[0], FIONREAD, &waiting));
    printf("waiting %d from %ld\n", waiting, (long)from);
    SHOW(ioctl(fd, TIOCGWINSZ, buffer));
    SHOW(isatty(0));
    SHOW(read(pipes[0], buffer, 50));
    SHOW(fsync(copy));
    SHOW(fdatasync(copy));
    SHOW(posix_fadvise(copy, 0, 0, POSIX_FADV_SEQUENTIAL));
    char *map = mmap(0, 16, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0);
    map[0] = '!';
    SHOW(msync(map, 16, MS_SYNC));
    SHOW(pread(copy, buffer, 16, 0));
    printf("%.14s\n", buffer);
    munmap(map, 16);

    SHOW(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    SHOW(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK));
    SHOW(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    SHOW(fcntl(fd, F_SETFD, FD_CLOEXEC));
    SHOW(fcntl(fd, F_GETFD));
    SHOW(fcntl(fd, F_DUPFD, 50));
    SHOW(dup2(fd, 60));
    SHOW(dup2(60, 60));
    SHOW(dup2(61, 61));
    SHOW(dup3(fd, fd, 0));
    SHOW(close(60));
    SHOW(close(60));
    SHOW(close_range(50, 55, 0));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
    SHOW(fcntl(copy, F_SETLK, &lock));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int again = open("copy", O_RDWR);
        struct flock probe = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        SHOW(fcntl(again, F_GETLK, &probe));
        printf("locked %d %ld %ld %d\n", probe.l_type == F_WRLCK, (long)probe.l_start, (long)probe.l_len, probe.l_pid == getppid());
        SHOW(fcntl(again, F_SETLK, &probe));
        SHOW(flock(again, LOCK_EX | LOCK_NB));
        exit(0);
    }
    waitpid(child, 0, 0);
    SHOW(setxattr("copy", "user.test", "value", 5, 0) && errno != EOPNOTSUPP);
    struct statfs fs;
    SHOW(statfs(".", &fs));
    SHOW(fs.f_bsize > 0 && fs.f_namelen == 255);
    int memory = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    SHOW(write(memory, "sealed", 6));
    SHOW(fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE));
    SHOW(write(memory, "more", 4));
    SHOW(fcntl(memory, F_GET_SEALS));
    SHOW(truncate("copy", 3));
    SHOW(stat("copy", &st));
    printf("size %ld\n", (long)st.st_size);
    SHOW(mkfifo("fifo", 0600));
    SHOW(utimensat(AT_FDCWD, "fifo", times, 0));
    describe("fifo");
    char template[] = "tempXXXXXX";
    close(mkstemp(template));
    SHOW(unlink(template));
    SHOW(write(99, "x", 1));
    SHOW(lseek(memory, 0, SEEK_SET));
    SHOW(write(pipes[1], nowhere, 1));
    SHOW(read(memory, nowhere, 1));
    SHOW(open(nowhere, O_RDONLY));
    FILE *file = fopen("lines", "w+");
    for (int i = 0; i < 5000; i++) fprintf(file, "line %d\n", i);
    rewind(file);
    char *line = 0;
    size_t size = 0, lines = 0, letters = 0;
    ssize_t n;
    while ((n = getline(&line, &size, file)) > 0) lines++, letters += n;
    printf("%zu lines %zu letters at %ld\n", lines, letters, ftell(file));
    fseek(file, -10, SEEK_END);
    printf("%s", fgets(buffer, sizeof buffer, file));
    fclose(file);
    return 0;
}
