// status: SIGABRT
// Death by abort(): what was flushed before it stays, what was not is lost.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void on_abort(int signal) {
    (void)signal;
    fputs("handler of SIGABRT returns\n", stderr);
}

int main(void) {
    puts("flushed");
    fflush(stdout);
    signal(SIGABRT, on_abort);
    abort();
}
