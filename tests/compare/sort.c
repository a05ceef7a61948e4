/* Integer: qsort with a comparison function, and a heap sort of our own. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 50000 };
static uint32_t values[N];
static uint32_t seed = 12345;

static uint32_t next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 17;
    return seed ^= seed << 5;
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void sift(uint32_t *v, int root, int end) {
    for (int child; (child = 2 * root + 1) < end; root = child) {
        if (child + 1 < end && v[child] < v[child + 1])
            child++;
        if (v[root] >= v[child])
            return;
        uint32_t t = v[root];
        v[root] = v[child];
        v[child] = t;
    }
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 15;
    uint64_t sum = 0;
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < N; i++)
            values[i] = next();
        if (r & 1) {
            qsort(values, N, sizeof values[0], compare);
        } else {
            for (int i = N / 2; i-- > 0;)
                sift(values, i, N);
            for (int end = N; end-- > 1;) {
                uint32_t t = values[0];
                values[0] = values[end];
                values[end] = t;
                sift(values, 0, end);
            }
        }
        for (int i = 0; i < N; i++)
            sum = sum * 31 + values[i];
    }
    printf("%016llx\n", (unsigned long long)sum);
}
