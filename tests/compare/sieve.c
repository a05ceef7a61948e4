/* Integer: the sieve of Eratosthenes, several times over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 1 << 20 };
static unsigned char composite[LIMIT];

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 30;
    long count = 0;
    for (int r = 0; r < rounds; r++) {
        memset(composite, 0, sizeof composite);
        for (long i = 2; i < LIMIT; i++) {
            if (composite[i])
                continue;
            count++;
            for (long j = i * i; j < LIMIT; j += i)
                composite[j] = 1;
        }
    }
    printf("%ld\n", count);
}
