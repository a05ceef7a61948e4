/* Integer: products of small matrices. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 64 };
static uint64_t a[N][N], b[N][N], c[N][N];

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 500;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = i * 31 + j;
            b[i][j] = i ^ j * 7;
        }
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                uint64_t sum = 0;
                for (int k = 0; k < N; k++)
                    sum += a[i][k] * b[k][j];
                c[i][j] = sum;
            }
        a[r % N][r / N % N] += c[r / N % N][r % N];
    }
    uint64_t sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            sum = sum * 3 + c[i][j];
    printf("%016llx\n", (unsigned long long)sum);
}
