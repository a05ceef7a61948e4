/* SIMD: products of matrices of floats, four columns at a time. */
#include <stdio.h>
#include <stdlib.h>

typedef float v4 __attribute__((vector_size(16)));
enum { N = 64 };
static float a[N][N];
static v4 b[N][N / 4], c[N][N / 4];

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 1500;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (i * 7 + j) % 13 - 6;
            b[i][j / 4][j % 4] = (i + j * 3) % 11 - 5;
        }
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N / 4; j++) {
                v4 sum = {0, 0, 0, 0};
                for (int k = 0; k < N; k++) {
                    float f = a[i][k];
                    sum += (v4){f, f, f, f} * b[k][j];
                }
                c[i][j] = sum;
            }
        a[r % N][r / N % N] = r % 9;
    }
    double sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            sum += c[i][j / 4][j % 4] * (i - j);
    printf("%.3f\n", sum);
}
