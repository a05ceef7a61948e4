/* Calls: Ackermann's function, deep and narrow. */
#include <stdio.h>
#include <stdlib.h>

__attribute__((noinline)) static unsigned ackermann(unsigned m, unsigned n) {
    if (m == 0)
        return n + 1;
    if (n == 0)
        return ackermann(m - 1, 1);
    return ackermann(m - 1, ackermann(m, n - 1));
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 3;
    unsigned sum = 0;
    for (int i = 0; i < rounds; i++)
        sum += ackermann(3, 8 + (i & 1));
    printf("%u\n", sum);
}
