// only: x86_64
// Floating-point exceptions that the program has asked for: SIGFPE with its code, at the instruction, before anything is written.
#define _GNU_SOURCE
#include <fenv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>

static sigjmp_buf back;
static void report(int signal, siginfo_t *info, void *context) {
    ucontext_t *c = context;
    printf("signal %d code %d mxcsr %x in the handler: %x\n", signal, info->si_code,
           c->uc_mcontext.fpregs->mxcsr & ~0x20u, (unsigned)fegetexcept());
    siglongjmp(back, 1);
}
static void mask(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    ((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr |= 0x1f80;
}
static volatile double zero, one = 1, huge = 1e308, tiny = 1e-308;
static volatile float values[4] = {1, 2, 3, 4};

int main(void) {
    struct sigaction action = {.sa_sigaction = report, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGFPE, &action, 0);
    int kinds[] = {FE_DIVBYZERO, FE_INVALID, FE_OVERFLOW, FE_UNDERFLOW, FE_INEXACT};
    for (int i = 0; i < 5; i++) {
        feclearexcept(FE_ALL_EXCEPT);
        volatile double result = 77;
        if (!sigsetjmp(back, 1)) {
            feenableexcept(kinds[i]);
            result = one / zero;
            printf("quotient %g\n", result);
            result = zero / zero;
            printf("no number\n");
            result = huge * 10;
            printf("product %g\n", result);
            result = tiny / 10;
            printf("tiny\n");
            result = one / 3;
        }
        fedisableexcept(FE_ALL_EXCEPT);
        printf("then %g\n", result);
    }
    // Warm code: the exception comes out of a loop that has been compiled, and goes on masked.
    action.sa_sigaction = mask;
    sigaction(SIGFPE, &action, 0);
    feclearexcept(FE_ALL_EXCEPT);
    feenableexcept(FE_DIVBYZERO);
    float sum = 0;
    for (int i = 0; i < 30000; i++) {
        float divisor = i == 25000 ? 0 : values[i & 3];
        float quotient = values[i % 3] / divisor;
        sum = quotient > 1e30f ? -sum : sum + quotient;
    }
    printf("sum %g flags %d enabled %d\n", sum, fetestexcept(FE_DIVBYZERO) != 0, fegetexcept());
    return 0;
}
