/* Calls: through tables of functions, with targets that vary from call to call. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct shape {
    uint32_t (*area)(const struct shape *);
    uint32_t a, b;
};

static uint32_t square(const struct shape *s) { return s->a * s->a; }
static uint32_t rectangle(const struct shape *s) { return s->a * s->b; }
static uint32_t triangle(const struct shape *s) { return s->a * s->b / 2; }
static uint32_t frame(const struct shape *s) { return s->a * s->b - (s->a - 1) * (s->b - 1); }

static uint32_t (*const AREAS[])(const struct shape *) = {square, rectangle, triangle, frame};

enum { N = 1000 };
static struct shape shapes[N];

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 30000;
    uint32_t x = 7;
    for (int i = 0; i < N; i++) {
        x = x * 1103515245u + 12345u;
        shapes[i] = (struct shape){AREAS[x >> 16 & 3], x >> 20 & 255, x >> 24};
    }
    uint64_t sum = 0;
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < N; i++)
            sum += shapes[i].area(&shapes[i]) + r;
    printf("%llu\n", (unsigned long long)sum);
}
