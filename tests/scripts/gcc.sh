# The compiler, the assembler and the linker, and what they make.
set -e
cat >hello.c <<'END'
#include <math.h>
#include <stdio.h>
int main(int argc, char **argv) {
    double sum = 0;
    for (int i = 1; i < 1000; i++)
        sum += sqrt(i) / (i + argc);
    printf("%s: %.6f\n", argc > 1 ? argv[1] : "none", sum);
    return argc;
}
END
gcc -O2 -Wall hello.c -o hello -lm
./hello world || echo "status $?"
gcc -O0 -S hello.c && grep -c mov hello.s
