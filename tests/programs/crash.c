// status: SIGSEGV
// Death by a null pointer.
#include <stdio.h>

int main(void) {
    volatile int *volatile nowhere = 0;
    puts("about to write to address 0");
    fflush(stdout);
    *nowhere = 1;
    puts("still here");
    return 0;
}
