/* SIMD: two pictures of 8-bit samples mixed, with rounding and saturation. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef uint8_t b16 __attribute__((vector_size(16)));
typedef uint16_t w8 __attribute__((vector_size(16)));
enum { N = 4096 };
static b16 p[N], q[N];

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 30000;
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 16; k++) {
            p[i][k] = i * 5 + k * 3;
            q[i][k] = i + k * 11;
        }
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < N; i++) {
            b16 sum = p[i] + q[i];
            b16 over = (b16)(sum < p[i]);
            w8 wide = (w8)(sum | over);
            p[i] = (b16)((wide >> 1 & 0x7f7f) + ((w8)q[i] >> 2 & 0x3f3f));
        }
        __asm__ volatile("" ::: "memory");
    }
    uint64_t total = 0;
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 16; k++)
            total = total * 3 + p[i][k];
    printf("%016llx\n", (unsigned long long)total);
}
