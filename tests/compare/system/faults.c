/* Page faults: fresh memory is touched, page by page, and given back. */
#include <stdio.h>
#include <sys/mman.h>

enum { PAGES = 4096, SIZE = 4096 };

int main(void) {
    long sum = 0;
    for (int round = 0; round < 40; round++) {
        char *at = mmap(0, (long)PAGES * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) return 1;
        for (long page = 0; page < PAGES; page++) {
            at[page * SIZE + round] += page + round;
            sum += at[page * SIZE + round];
        }
        munmap(at, (long)PAGES * SIZE);
    }
    printf("%ld\n", sum);
}
