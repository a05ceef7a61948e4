// What a debugger is tried on: calls, a variable, a signal, a thread, a status.
// status: 31
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

volatile int counter;
volatile double half = 0.5;

__attribute__((noinline)) int square(int n) {
    return n * n;
}

__attribute__((noinline)) int sum(int last) {
    int all = 0;
    for (int n = 1; n <= last; n++) {
        all += square(n);
    }
    return all;
}

void on_signal(int number) {
    counter += number;
}

void *second(void *argument) {
    counter += *(int *)argument;
    return argument;
}

void wait_for_it(void) {
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
}

int main(void) {
    signal(SIGUSR1, on_signal);
    counter = sum(3);
    raise(SIGUSR1);
    int seven = 7;
    pthread_t thread;
    pthread_create(&thread, 0, second, &seven);
    pthread_join(thread, 0);
    wait_for_it();
    half = half * 3;
    return counter;
}
