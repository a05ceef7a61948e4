// Floating point: printing and parsing, conversions, rounding modes, exception flags, square roots, special values.
#include <fenv.h>
#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t bits(double x) {
    uint64_t b;
    memcpy(&b, &x, 8);
    return b;
}
static uint32_t bits32(float x) {
    uint32_t b;
    memcpy(&b, &x, 4);
    return b;
}
static void flags(const char *what) {
    int f = fetestexcept(FE_ALL_EXCEPT);
    printf("%s:%s%s%s%s%s\n", what, f & FE_INVALID ? " invalid" : "", f & FE_DIVBYZERO ? " divbyzero" : "",
           f & FE_OVERFLOW ? " overflow" : "", f & FE_UNDERFLOW ? " underflow" : "", f & FE_INEXACT ? " inexact" : "");
    feclearexcept(FE_ALL_EXCEPT);
}

int main(void) {
    volatile double values[] = {0.0, -0.0, 1.0, -1.5, 0.1, 1e300, 1e-300, 5e-324, DBL_MAX, DBL_MIN, INFINITY, -INFINITY,
                                123456789.123456789, 2.5, 3.5, -2.5, 4503599627370497.5, 0.49999999999999994};
    enum { N = sizeof values / sizeof *values };
    for (int i = 0; i < N; i++) {
        double x = values[i];
        printf("%g %.17g %a %.3f %e\n", x, x, x, fabs(x) < 1e20 ? x : 0, x);
        printf("  floor %g ceil %g trunc %g rint %g round %g\n", floor(x), ceil(x), trunc(x), rint(x), round(x));
        printf("  float %a sqrt %016" PRIx64 "\n", (float)x, x >= 0 ? bits(sqrt(x)) : 0);
        if (fabs(x) < 1e9) printf("  int %d long %ld unsigned %u\n", (int)x, (long)x, x > 0 ? (unsigned)x : 0);
    }
    uint64_t sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double a = values[i], b = values[j], r[] = {a + b, a - b, a * b, a / b, fmin(a, b), fmax(a, b), fmod(a, b), fma(a, b, 1)};
            for (int k = 0; k < 8; k++) {
                if (isnan(r[k]) || (r[k] == 0 && (k == 4 || k == 5))) sum = sum * 31 + 7;
                else sum = sum * 31 + bits(r[k]);
            }
            float fa = a, fb = b, fr[] = {fa + fb, fa - fb, fa * fb, fa / fb, fmaf(fa, fb, 1)};
            for (int k = 0; k < 5; k++) sum = sum * 31 + (isnan(fr[k]) ? 7 : bits32(fr[k]));
            sum = sum * 31 + (a < b) + 2 * (a <= b) + 4 * (a == b) + 8 * (a != b) + 16 * !!isunordered(a, b);
        }
    printf("pairs %016" PRIx64 "\n", sum);

    int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
    const char *names[] = {"nearest", "down", "up", "zero"};
    volatile double one = 1, three = 3, tiny = DBL_MIN, zero = 0, huge = DBL_MAX, half = 2.5, minus = -1;
    for (int i = 0; i < 4; i++) {
        fesetround(modes[i]);
        printf("%s (%d): 1/3 %016" PRIx64 " -1/3 %016" PRIx64 " 1/3f %08x rint %g %g lrint %ld max*3 %g\n", names[i],
               fegetround() == modes[i], bits(one / three), bits(minus / three), bits32((float)one / (float)three), rint(half),
               rint(-half), lrint(half), huge * three);
        printf("  %.3f %.0f %g\n", 0.0625 * one, half, strtod("0.1", 0) - 0.1);
    }
    fesetround(FE_TONEAREST);
    feclearexcept(FE_ALL_EXCEPT);
    volatile double r = one + three;
    flags("exact");
    r = one / three;
    flags("1/3");
    r = one / zero;
    flags("1/0");
    r = zero / zero;
    flags("0/0");
    printf("nan %d\n", r != r);
    r = huge * huge;
    flags("huge*huge");
    r = tiny * (one / three);
    flags("tiny/3");
    r = sqrt(minus);
    flags("sqrt(-1)");
    volatile int n = (int)half;
    flags("int(2.5)");
    (void)n;
    feraiseexcept(FE_OVERFLOW);
    flags("raised");
    fenv_t saved;
    fesetround(FE_UPWARD);
    feholdexcept(&saved);
    r = one / three;
    feupdateenv(&saved);
    printf("held: round %d inexact %d\n", fegetround() == FE_UPWARD, !!fetestexcept(FE_INEXACT));
    fesetround(FE_TONEAREST);

    const char *texts[] = {"1", "-0x1.8p3", "1e-400", "1e400", "nan", "infinity", ".5e1x", "2.2250738585072011e-308",
                           "179769313486231580793728971405301e276", "0.1000000000000000055511151231257827"};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *end;
        double x = strtod(texts[i], &end);
        printf("%s -> %.17g rest [%s] float %.9g\n", texts[i], isnan(x) ? NAN : x, end, isnan(x) ? NAN : strtof(texts[i], 0));
    }
    volatile double x = 0.7;
    printf("%.10g %.10g %.10g %.10g %.10g\n", sin(x), cos(x), tan(x), atan2(x, 2), asin(x));
    printf("%.10g %.10g %.10g %.10g %.10g\n", exp(x), log(x), pow(x, 3.3), cbrt(x), hypot(x, 2));
    printf("%.10g %.10g %.10g %.10g\n", sinh(x), erf(x), tgamma(x), log1p(x));
    int exponent;
    double fraction = frexp(1234.5, &exponent), whole, part = modf(-3.75, &whole);
    printf("%g %d %g %g %g %d %d\n", fraction, exponent, whole, part, ldexp(0.75, 10), ilogb(1000.0), (int)lround(-2.5));
    volatile uint64_t big = 0xfffffffffffff400u;
    volatile int64_t negative = -9007199254740993;
    printf("%.17g %.17g %.9g %.9g\n", (double)big, (double)negative, (float)big, (float)negative);
    volatile double large = 1.5e19;
    printf("%" PRIu64 " %" PRId64 "\n", (uint64_t)large, (int64_t)-9.2e18);
    float matrix[16][16], vector[16] = {0};
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) matrix[i][j] = 1.0f / (1 + i + j);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) vector[i] += matrix[i][j] * (float)j;
    for (int i = 0; i < 16; i++) printf("%08x ", bits32(vector[i]));
    putchar('\n');
    return 0;
}
