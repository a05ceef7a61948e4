/* The Mandelbrot set, two points at a time: a picture in colour ("color") or in letters ("plain"),
   or a checksum of a number of pictures. */
#include "system.h"

enum { COLUMNS = 76, ROWS = 52, LIMIT = 160 };

typedef double f2 __attribute__((vector_size(16)));
typedef long i2 __attribute__((vector_size(16)));

/* Steps until the points (x, y) and (x, y + dy) are further than 2 from the origin. */
static i2 steps(double x, double y, double dy) {
    f2 cx = {x, x}, cy = {y, y + dy}, zx = {0, 0}, zy = {0, 0};
    i2 count = {0, 0};
    for (int i = 0; i < LIMIT; i++) {
        f2 xx = zx * zx, yy = zy * zy;
        i2 inside = xx + yy <= 4;
        if (!(inside[0] | inside[1]))
            break;
        count -= inside;
        zy = 2 * zx * zy + cy;
        zx = xx - yy + cx;
    }
    return count;
}

static i2 cell(int column, int row) {
    double dy = 2.4 / ROWS;
    return steps(-2.15 + 3.05 * (column + 0.5) / COLUMNS, -1.2 + (row + 0.5) * dy, dy);
}

static u32 shade(long count) {
    static const u8 palette[] = {17,  18,  19,  20,  26,  32,  38,  44,  50,  49,  48,  83, 118,
                                 154, 190, 226, 220, 214, 208, 202, 196, 160, 124, 88, 52};
    return count >= LIMIT ? 16 : palette[count % sizeof palette];
}

static void draw(int color) {
    for (int row = 0; row < ROWS; row += 2) {
        for (int column = 0; column < COLUMNS; column++) {
            i2 count = cell(column, row);
            if (color) {
                text("\33[38;5;");
                decimal(shade(count[0]));
                text(";48;5;");
                decimal(shade(count[1]));
                text("m\342\226\200");
            } else {
                u32 n = count[0] + count[1];
                u32 level = 0;
                for (u32 least = 5; least < n && level < 9; least += least / 2 + 1)
                    level++;
                put(" .,:;+*o%@"[level]);
            }
        }
        text(color ? "\33[0m\n" : "\n");
    }
}

static void program(const char *argument) {
    if (argument && (*argument == 'c' || *argument == 'p')) {
        draw(*argument == 'c');
        return;
    }
    u64 sum = 0;
    for (u32 round = rounds(argument); round; round--)
        for (int row = 0; row < ROWS; row += 2)
            for (int column = 0; column < COLUMNS; column++) {
                i2 count = cell(column, row);
                sum = sum * 31 + count[0] + count[1] * 7;
            }
    hexadecimal(sum);
}
