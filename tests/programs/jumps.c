// Transfers of control beyond calls: setjmp, contexts, indirect calls, switches, deep recursion, variadic functions, computed gotos.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

static jmp_buf env;
static int depth;
static void dive(int n) {
    depth++;
    if (n == 0) longjmp(env, depth);
    dive(n - 1);
}

static ucontext_t contexts[3];
static char stacks[2][64 * 1024];
static int order[20], ordered;
static void weave(int me, int other) {
    for (int i = 0; i < 5; i++) {
        order[ordered++] = me * 10 + i;
        double kept = me * 1.5 + i;
        swapcontext(&contexts[me], &contexts[other]);
        if (kept != me * 1.5 + i) printf("lost %g\n", kept);
    }
}

static double sum(const char *kinds, ...) {
    va_list list;
    double total = 0;
    va_start(list, kinds);
    for (const char *k = kinds; *k; k++) switch (*k) {
        case 'i': total += va_arg(list, int); break;
        case 'l': total += va_arg(list, long); break;
        case 'd': total += va_arg(list, double); break;
        case 's': total += strlen(va_arg(list, char *)); break;
        case 'L': total += (double)va_arg(list, long double); break;
        }
    va_end(list);
    return total;
}

static int add(int a, int b) { return a + b; }
static int sub(int a, int b) { return a - b; }
static int mul(int a, int b) { return a * b; }
static int ack(int m, int n) { return m == 0 ? n + 1 : n == 0 ? ack(m - 1, 1) : ack(m - 1, ack(m, n - 1)); }
static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
static long deep(long n) { return n == 0 ? 0 : 1 + deep(n - 1); }

struct big { long a[7]; char tag; };
static struct big pass(struct big b, int n) {
    b.a[n % 7] += n;
    b.tag++;
    return b;
}

static long interpret(const char *code) {
    static void *labels[128];
    long stack[100], *top = stack;
    for (int i = 0; i < 128; i++) labels[i] = &&bad;
    for (int i = '0'; i <= '9'; i++) labels[i] = &&digit;
    labels['+'] = &&plus, labels['*'] = &&times, labels['-'] = &&minus, labels['d'] = &&dup, labels[0] = &&end;
    goto *labels[(int)*code];
digit: *++top = *code - '0'; goto *labels[(int)*++code];
plus: top--; top[0] += top[1]; goto *labels[(int)*++code];
times: top--; top[0] *= top[1]; goto *labels[(int)*++code];
minus: top--; top[0] -= top[1]; goto *labels[(int)*++code];
dup: top[1] = top[0]; top++; goto *labels[(int)*++code];
bad: return -1;
end: return *top;
}

static int choose(int n) {
    switch (n) {
    case 0: return 5; case 1: return 17; case 2: return 3; case 3: return 99; case 4: return 1; case 5: return 12;
    case 6: return 44; case 7: return 2; case 8: return 8; case 9: return 71; case 1000: return 6; default: return -n;
    }
}

int main(void) {
    volatile int tries = 0;
    int value = setjmp(env);
    if (tries++ < 3) dive(100 * tries);
    printf("longjmp %d after %d\n", value, tries);

    for (int i = 1; i < 3; i++) {
        getcontext(&contexts[i]);
        contexts[i].uc_stack.ss_sp = stacks[i - 1];
        contexts[i].uc_stack.ss_size = sizeof stacks[i - 1];
        contexts[i].uc_link = &contexts[0];
        makecontext(&contexts[i], (void (*)(void))weave, 2, i, 3 - i);
    }
    swapcontext(&contexts[0], &contexts[1]);
    for (int i = 0; i < ordered; i++) printf("%d ", order[i]);
    putchar('\n');

    printf("variadic %g %g\n", sum("idlsd", 1, 2.5, 3L, "four", 5.25), sum("ddddddddddiiiiiiii", 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 1, 2, 3, 4, 5, 6, 7, 8));
    printf("long double %g\n", sum("iLd", 1, 2.5L, 3.0));
    int (*volatile table[])(int, int) = {add, sub, mul};
    long total = 0;
    for (int i = 0; i < 3000; i++) total += table[i % 3](i, 7);
    printf("indirect %ld\n", total);
    printf("ack %d fib %d deep %ld\n", ack(2, 300), fib(25), deep(20000));
    struct big b = {{1, 2, 3, 4, 5, 6, 7}, 'a'};
    for (int i = 0; i < 20; i++) b = pass(b, i);
    printf("struct %ld %ld %c\n", b.a[0], b.a[6], b.tag);
    printf("interpreted %ld %ld\n", interpret("34+d*9-"), interpret("1?"));
    total = 0;
    for (int i = -3; i < 1003; i++) total += choose(i);
    printf("switch %ld\n", total);
    void *(*volatile copy)(void *, const void *, size_t) = memcpy;
    char text[20];
    copy(text, "through a pointer", 18);
    puts(text);
    return 0;
}
