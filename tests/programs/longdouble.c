// only: x86_64
// 80-bit long double: arithmetic, conversions, printing, rounding, transcendental functions.
#include <fenv.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void show(const char *what, long double x) {
    unsigned char b[16] = {0};
    memcpy(b, &x, 10);
    printf("%s %.21Lg ", what, x);
    for (int i = 9; i >= 0; i--) printf("%02x", b[i]);
    putchar('\n');
}

int main(void) {
    volatile long double values[] = {0.0L, -0.0L, 1.0L, -1.5L, 0.1L, 1e4000L, 1e-4940L, 3.6e-4951L, INFINITY, 18446744073709551615.0L, 2.5L};
    enum { N = sizeof values / sizeof *values };
    for (int i = 0; i < N; i++) {
        long double x = values[i];
        show("x", x);
        show(" sqrt", sqrtl(fabsl(x)));
        show(" rint", rintl(x));
        show(" floor", floorl(x));
        printf(" double %a float %a\n", (double)x, (float)x);
        for (int j = 0; j < N; j++) {
            long double y = values[j];
            show("  +", x + y);
            show("  *", x * y);
            if (y != 0 && !(isinf(x) && isinf(y))) show("  /", x / y);
            printf("  %d%d%d\n", x < y, x <= y, x == y);
        }
    }
    volatile long double x = 0.7L, three = 3;
    printf("%.15Lg %.15Lg %.15Lg %.15Lg\n", sinl(x), cosl(x), tanl(x), atanl(x));
    printf("%.15Lg %.15Lg %.15Lg %.15Lg\n", expl(x), logl(x), powl(x, three), log2l(x));
    printf("%.15Lg %.15Lg %.15Lg\n", fmodl(10, three), remainderl(11, three), exp2l(x));
    int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
    for (int i = 0; i < 4; i++) {
        fesetround(modes[i]);
        show("1/3", 1 / three);
        printf("%ld %lld\n", lrintl(-2.5L), llrintl(three / 2));
    }
    fesetround(FE_TONEAREST);
    volatile int64_t integer = INT64_MIN;
    volatile uint64_t natural = UINT64_MAX;
    show("int64", integer);
    show("uint64", natural);
    printf("%" PRId64 " %" PRIu64 " %d\n", (int64_t)-1.9L, (uint64_t)1.8e19L, (int)(three * 1.4L));
    feclearexcept(FE_ALL_EXCEPT);
    volatile long double r = 1 / three;
    printf("inexact %d\n", !!fetestexcept(FE_INEXACT));
    volatile long double zero = 0;
    r = three / zero;
    printf("divbyzero %d %Lg\n", !!fetestexcept(FE_DIVBYZERO), r);
    show("strtold", strtold("3.14159265358979323846264338327950288", 0));
    long double sum = 0;
    for (int i = 1; i < 1000; i++) sum += 1.0L / i;
    show("harmonic", sum);
    return 0;
}
