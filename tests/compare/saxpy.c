/* SIMD: y = a·x + y on vectors of four floats. */
#include <stdio.h>
#include <stdlib.h>

typedef float v4 __attribute__((vector_size(16)));
enum { N = 1024 };
static v4 x[N], y[N];

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 200000;
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 4; k++) {
            x[i][k] = (i * 4 + k) % 17;
            y[i][k] = (i + k) % 5;
        }
    for (int r = 0; r < rounds; r++) {
        float f = r & 1 ? -0.5f : 0.5f;
        v4 a = {f, f, f, f};
        for (int i = 0; i < N; i++)
            y[i] += a * x[i];
        __asm__ volatile("" ::: "memory");
    }
    double sum = 0;
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 4; k++)
            sum += y[i][k] * (k + 1);
    printf("%.6f\n", sum);
}
