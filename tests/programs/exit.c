// args: one "two words" --three=3
// stdin: a line of input
// status: 42
// Arguments, environment, standard streams, constructors, exit handlers and the exit status.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((constructor)) static void before(void) { fputs("constructor\n", stderr); }
__attribute__((destructor)) static void after(void) { fputs("destructor\n", stderr); }
static void first(void) { puts("registered first"); }
static void second(void) { puts("registered second"); }

int main(int argc, char **argv, char **envp) {
    char line[100];
    printf("argc %d, argv[argc] %s\n", argc, argv[argc] ? "set" : "null");
    for (int i = 1; i < argc; i++) printf("argv[%d] = [%s]\n", i, argv[i]);
    printf("environment %s\n", envp == environ ? "matches" : "differs");
    setenv("MYNAH_TEST", "value", 1);
    printf("getenv %s\n", getenv("MYNAH_TEST"));
    while (fgets(line, sizeof line, stdin)) printf("read [%.*s]\n", (int)strcspn(line, "\n"), line);
    atexit(first);
    atexit(second);
    exit(42);
}
