// Code that is written while it runs: fresh, overwritten in place, by another thread, through a second mapping, on a page with data,
// unmapped and mapped anew, and read from a file by the kernel.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int (*function)(int);
enum { PAGE = 4096, ALL = PROT_READ | PROT_WRITE | PROT_EXEC };

/* Writes a function that adds `n` (0 to 127) to its argument. */
static size_t emit(uint8_t *at, int n) {
#if defined(__x86_64__)
    uint8_t code[] = {0x8d, 0x47, n, 0xc3}; /* lea eax, [rdi + n]; ret */
#elif defined(__riscv)
    uint32_t words[] = {0x0005051b | (uint32_t)n << 20, 0x00008067}; /* addiw a0, a0, n; ret */
    uint8_t code[8];
    memcpy(code, words, 8);
#endif
    memcpy(at, code, sizeof code);
    __builtin___clear_cache((char *)at, (char *)at + sizeof code);
    return sizeof code;
}

static uint8_t *shared_code;
static atomic_int turn;
static void *rewrite(void *argument) {
    for (int i = 0; i < 200; i++) {
        while (atomic_load(&turn) != 2 * i) {}
        emit(shared_code, i % 100);
        atomic_store(&turn, 2 * i + 1);
    }
    return argument;
}

int main(void) {
    uint8_t *code = mmap(0, 4 * PAGE, ALL, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    emit(code, 1);
    printf("fresh %d\n", ((function)code)(41));
    long sum = 0;
    for (int i = 0; i < 100; i++) {
        emit(code, i);
        sum += ((function)code)(i);
    }
    printf("overwritten %ld\n", sum);
    sum = 0;
    for (int round = 0; round < 50; round++) {
        emit(code, round);
        for (int i = 0; i < 100; i++) sum += ((function)code)(i);
    }
    printf("hot, then overwritten %ld\n", sum);

    volatile int *data = (volatile int *)(code + 2048);
    emit(code + PAGE - 2, 5); /* across two pages */
    for (int i = 0; i < 1000; i++) {
        *data += ((function)(code + PAGE - 2))(i);
        if (i == 500) emit(code + PAGE - 2, 7);
    }
    printf("code beside data %d\n", *data);

    mprotect(code, PAGE, PROT_READ | PROT_WRITE);
    emit(code, 9);
    mprotect(code, PAGE, PROT_READ | PROT_EXEC);
    printf("protected %d\n", ((function)code)(1));

    munmap(code, PAGE);
    code = mmap(code, PAGE, ALL, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    emit(code, 11);
    printf("mapped anew %d\n", ((function)code)(1));

    int memory = memfd_create("code", 0);
    if (ftruncate(memory, PAGE)) return 1;
    uint8_t *writable = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    uint8_t *executable = mmap(0, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, memory, 0);
    emit(writable, 13);
    printf("second mapping %d", ((function)executable)(1));
    emit(writable, 15);
    __builtin___clear_cache((char *)executable, (char *)executable + 16);
    printf(" %d\n", ((function)executable)(1));

    uint8_t buffer[16];
    int pipes[2];
    if (pipe(pipes)) return 1;
    size_t length = emit(buffer, 17);
    if (write(pipes[1], buffer, length) != (ssize_t)length) return 1;
    ssize_t got = read(pipes[0], code, sizeof buffer);
    __builtin___clear_cache((char *)code, (char *)code + 16);
    printf("read by the kernel %d %d\n", got == (ssize_t)length, ((function)code)(1));

    shared_code = code;
    emit(code, 99);
    pthread_t thread;
    sum = ((function)code)(0);
    pthread_create(&thread, 0, rewrite, 0);
    for (int i = 0; i < 200; i++) {
        while (atomic_load(&turn) != 2 * i + 1) {}
        __builtin___clear_cache((char *)code, (char *)code + 16);
        int result = ((function)code)(0);
        if (result != i % 100) printf("stale in round %d: %d\n", i, result);
        sum += result;
        atomic_store(&turn, 2 * i + 2);
    }
    pthread_join(thread, 0);
    printf("by another thread %ld\n", sum);

    emit(code, 21);
    sum = ((function)code)(0);
    pid_t child = fork();
    if (child == 0) {
        emit(code, 22);
        _exit(((function)code)(0));
    }
    int status;
    waitpid(child, &status, 0);
    printf("in a child %d, here %d\n", WEXITSTATUS(status), ((function)code)(0));

    uint8_t *many = mmap(0, 256 * PAGE, ALL, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sum = 0;
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 256 * PAGE / 64; i++) {
            emit(many + 64 * i, (i + round) % 100);
            if (i % 7 == 0) sum += ((function)(many + 64 * i))(round);
        }
    printf("many %ld\n", sum);
    return 0;
}
