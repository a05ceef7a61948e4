// only: x86_64
// Faults that only x86 has: the divide error, int3, undefined instructions, misaligned vectors, and the registers handlers see.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

static sigjmp_buf back;
static void report(int signal, siginfo_t *info, void *context) {
    ucontext_t *c = context;
    greg_t *r = c->uc_mcontext.gregs;
    printf("%s code %d rcx %llx r15 %llx", strsignal(signal), info->si_code, (long long)r[REG_RCX], (long long)r[REG_R15]);
    printf(" trap %lld at pc %d\n", (long long)r[REG_TRAPNO], signal == SIGTRAP || info->si_addr == (void *)r[REG_RIP] || signal == SIGSEGV);
    siglongjmp(back, 1);
}
static void step(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    ucontext_t *c = context;
    greg_t *r = c->uc_mcontext.gregs;
    r[REG_RAX] = 0x1234;
    r[REG_EFL] |= 1;
    c->uc_mcontext.fpregs->_xmm[3].element[0] = 0xabcd;
    r[REG_RIP] += 2;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = report, .sa_flags = SA_SIGINFO | SA_NODEFER};
    int signals[] = {SIGFPE, SIGTRAP, SIGILL, SIGSEGV, SIGBUS};
    for (int i = 0; i < 5; i++) sigaction(signals[i], &action, 0);
#define TRY(text) \
    if (!sigsetjmp(back, 1)) __asm__ volatile(text ::"c"(0x77l) : "r15", "rax", "rdx", "memory", "cc", "xmm0")
    TRY("mov $0x55, %%r15; xor %%eax, %%eax; xor %%edx, %%edx; mov $1, %%ecx; dec %%ecx; div %%ecx");
    TRY("mov $0x56, %%r15; mov $0x80000000, %%eax; cltd; mov $-1, %%ecx; idiv %%ecx");
    TRY("mov $0x57, %%r15; int3");
    TRY("mov $0x58, %%r15; ud2");
    TRY("mov $0x59, %%r15; movaps 1(%%rsp), %%xmm0");
    TRY("mov $0x5a, %%r15; mov $0x8000000000000000, %%rcx; mov (%%rcx), %%eax");
    TRY("mov $0x5b, %%r15; hlt");
    TRY("mov $0x5c, %%r15; xor %%ecx, %%ecx; lock incl (%%rcx)");
    action.sa_sigaction = step;
    sigaction(SIGILL, &action, 0);
    uint64_t a = 1, x;
    unsigned char carry;
    __asm__ volatile("pxor %%xmm3, %%xmm3; clc; ud2; setc %1; movq %%xmm3, %2" : "+a"(a), "=q"(carry), "=r"(x)::"xmm3", "cc");
    printf("after the handler: rax %lx carry %d xmm3 %lx\n", (long)a, carry, (long)x);
    return 0;
}
