// only: x86_64
// Interrupts by instruction: those whose gates are open to programs, and one whose is not.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>

static void handle(int number, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    printf("signal %d code %d vector %d error %d\n", number, info->si_code, (int)regs[REG_TRAPNO], (int)regs[REG_ERR]);
    // A trap leaves RIP behind its instruction, a fault at it.
    if (regs[REG_TRAPNO] == 13) regs[REG_RIP] += 2;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, 0);
    sigaction(SIGTRAP, &action, 0);
    __asm__ volatile("int3");
    __asm__ volatile(".byte 0xcd, 3");
    __asm__ volatile("int $4");
    __asm__ volatile("int $5");
    return 0;
}
