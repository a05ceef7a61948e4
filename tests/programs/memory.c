// Memory: mapping, protecting, moving and unmapping, shared and file mappings, the data segment, System V segments, /proc/self/maps.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };

static sigjmp_buf back;
static void on_fault(int signal, siginfo_t *info, void *context) {
    (void)context;
    siglongjmp(back, signal == SIGSEGV ? info->si_code : 3 + info->si_code);
}
/* 'r' and 'w' as far as the byte at `p` can be read and written, 1 or 2 (SEGV_MAPERR, SEGV_ACCERR) where not, 5 (BUS_ADRERR). */
static const char *probe(volatile char *p) {
    static char text[4][3];
    static int turn;
    char *out = text[turn++ % 4];
    int code = sigsetjmp(back, 1);
    if (!code) (void)*p;
    out[0] = code ? '0' + code : 'r';
    code = sigsetjmp(back, 1);
    if (!code) *p = *p;
    out[1] = code ? '0' + code : 'w';
    return out;
}
static char *map(void *at, size_t size, int protection, int flags) {
    return mmap(at, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}
static const char *error(int failed) { return failed ? strerror(errno) : "done"; }

/* How /proc/self/maps describes the mapping that holds `p`. */
static void describe(void *p) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[500], permissions[5] = "none", name[300] = "";
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char flags[5], rest[300] = "";
        sscanf(line, "%lx-%lx %4s %*s %*s %*s %299s", &start, &end, flags, rest);
        if ((uintptr_t)p >= start && (uintptr_t)p < end) strcpy(permissions, flags), strcpy(name, rest);
    }
    fclose(maps);
    char *slash = strrchr(name, '/');
    printf("maps: %s %s\n", permissions, slash ? slash + 1 : name);
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &action, 0);
    sigaction(SIGBUS, &action, 0);

    char *m = map(0, 8 * PAGE, PROT_READ | PROT_WRITE, 0);
    memset(m, 'x', 8 * PAGE);
    printf("fresh %s\n", probe(m));
    mprotect(m + PAGE, PAGE, PROT_READ);
    mprotect(m + 2 * PAGE, PAGE, PROT_NONE);
    munmap(m + 3 * PAGE, PAGE);
    printf("parts %s %s %s %s\n", probe(m), probe(m + PAGE), probe(m + 2 * PAGE), probe(m + 3 * PAGE));
    printf("after %s\n", probe(m + 4 * PAGE));
    describe(m + PAGE);
    describe(m + 3 * PAGE);
    printf("protect a hole: %s\n", error(mprotect(m, 8 * PAGE, PROT_READ)));
    printf("unaligned: %s\n", error(munmap(m + 1, PAGE)));
    char *again = map(m + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_FIXED);
    printf("fixed %d %s zero %d\n", again == m + 3 * PAGE, probe(again), *again == 0);
    again = map(m, PAGE, PROT_READ, MAP_FIXED_NOREPLACE);
    printf("no replace %d %s\n", again == MAP_FAILED, strerror(errno));
    mprotect(m, 8 * PAGE, PROT_READ | PROT_WRITE);
    madvise(m, PAGE, MADV_DONTNEED);
    printf("dropped %d kept %c\n", m[0], m[PAGE]);
    printf("nothing: %s\n", error(map(0, 0, PROT_READ, 0) == MAP_FAILED));

    char *moved = map(0, 2 * PAGE, PROT_READ | PROT_WRITE, 0);
    strcpy(moved, "moves along");
    moved = mremap(moved, 2 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    printf("grown [%s] %s\n", moved, probe(moved + 63 * PAGE));
    char *target = map(0, 2 * PAGE, PROT_NONE, 0), *old = moved;
    moved = mremap(moved, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target);
    printf("moved %d [%s] old %s\n", moved == target, moved, probe(old));
    moved = mremap(old + PAGE, 63 * PAGE, PAGE, 0);
    printf("shrunk %d %s %s\n", moved == old + PAGE, probe(moved), probe(moved + PAGE));

    int file = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (write(file, "file contents", 13) != 13) return 1;
    char *private = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    char *shared = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    private[0] = 'P';
    shared[5] = 'S';
    char text[14] = "";
    if (pread(file, text, 13, 0) != 13) return 1;
    printf("private [%s] file [%s]\n", private, text);
    describe(private);
    describe(shared);
    printf("past the end %s\n", probe(shared + PAGE));
    int read_only = open("file", O_RDONLY);
    void *refused = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, read_only, 0);
    printf("write to read-only: %s\n", error(refused == MAP_FAILED));

    char *top = sbrk(0);
    printf("brk %d", sbrk(10 * PAGE) == top);
    top[9 * PAGE] = 'b';
    printf(" %d", sbrk(-5 * PAGE) == top + 10 * PAGE);
    printf(" %d %s\n", (char *)sbrk(0) == top + 5 * PAGE, probe(top + 9 * PAGE));
    describe(&file);

    volatile int *common = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *m = 'p';
    if (fork() == 0) {
        *common = 42;
        *m = 'c';
        _exit(0);
    }
    wait(0);
    printf("shared %d private %c\n", *common, *m);

    int id = shmget(IPC_PRIVATE, 2 * PAGE, IPC_CREAT | 0600);
    char *segment = shmat(id, 0, 0);
    strcpy(segment, "segment");
    if (fork() == 0) {
        segment[0] = 'S';
        _exit(0);
    }
    wait(0);
    printf("segment %s", segment);
    printf(" %d", shmctl(id, IPC_RMID, 0));
    printf(" %d", shmdt(segment));
    printf(" %s\n", probe(segment));

    struct iovec here = {text, 8}, there = {m + PAGE, 8};
    memcpy(m + PAGE, "by force", 8);
    ssize_t n = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
    printf("read across %zd %.8s\n", n, text);
    unsigned char resident[8];
    printf("mincore %d", mincore(m, 8 * PAGE, resident));
    printf(" %d\n", resident[1] & 1);
    printf("lock %d", mlock(m, PAGE));
    printf(" %d\n", munlock(m, PAGE));

    size_t total = 0;
    uint64_t hash = 1;
    static void *blocks[2000];
    unsigned seed = 7;
    for (int i = 0; i < 60000; i++) {
        seed = seed * 1103515245 + 12345;
        int slot = (seed >> 8) % 2000;
        size_t size = (seed >> 4) % (i % 100 ? 600 : 300000) + 1;
        if (blocks[slot] && i % 3 == 0) {
            blocks[slot] = realloc(blocks[slot], size);
        } else {
            free(blocks[slot]);
            blocks[slot] = i % 2 ? malloc(size) : calloc(1, size);
        }
        memset(blocks[slot], i, size);
        total += size;
        hash = hash * 31 + ((unsigned char *)blocks[slot])[size - 1];
    }
    printf("allocated %zu %016lx\n", total, (long)hash);
    for (int i = 0; i < 2000; i++) free(blocks[i]);
    void *aligned;
    printf("aligned %d\n", posix_memalign(&aligned, 65536, 100) == 0 && (uintptr_t)aligned % 65536 == 0);
    return 0;
}
