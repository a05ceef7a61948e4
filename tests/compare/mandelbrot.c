/* Floating point: how often points of the plane can be squared before they escape. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    int size = argc > 1 ? atoi(argv[1]) : 800;
    unsigned long total = 0;
    for (int row = 0; row < size; row++)
        for (int column = 0; column < size; column++) {
            double cx = -2.0 + 2.5 * column / size, cy = -1.25 + 2.5 * row / size;
            double x = 0, y = 0;
            int i = 0;
            for (; i < 200; i++) {
                double xx = x * x, yy = y * y;
                if (xx + yy > 4)
                    break;
                y = 2 * x * y + cy;
                x = xx - yy + cx;
            }
            total += i;
        }
    printf("%lu\n", total);
}
