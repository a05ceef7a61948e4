/* Bodies under each other's gravity; a round is a thousand steps. */
#include "system.h"

enum { BODIES = 5 };

static struct {
    double x, y, z, vx, vy, vz, mass;
} body[BODIES] = {
    {0, 0, 0, 0, 0, 0, 39.5},
    {4.8, -1.2, -0.1, 0.6, 2.8, -0.02, 0.037},
    {8.3, 4.1, -0.4, -1.0, 1.8, 0.008, 0.011},
    {12.9, -15.1, -0.2, 1.1, 0.9, -0.01, 0.0017},
    {15.4, -25.9, 0.2, 1.0, 0.6, -0.03, 0.002},
};

static void step(double dt) {
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            double dx = body[i].x - body[j].x;
            double dy = body[i].y - body[j].y;
            double dz = body[i].z - body[j].z;
            double r2 = dx * dx + dy * dy + dz * dz;
            double pull = dt / (r2 * __builtin_sqrt(r2));
            body[i].vx -= dx * body[j].mass * pull;
            body[i].vy -= dy * body[j].mass * pull;
            body[i].vz -= dz * body[j].mass * pull;
            body[j].vx += dx * body[i].mass * pull;
            body[j].vy += dy * body[i].mass * pull;
            body[j].vz += dz * body[i].mass * pull;
        }
    for (int i = 0; i < BODIES; i++) {
        body[i].x += dt * body[i].vx;
        body[i].y += dt * body[i].vy;
        body[i].z += dt * body[i].vz;
    }
}

static void program(const char *argument) {
    for (u32 left = rounds(argument) * 1000; left; left--)
        step(0.001);
    u64 sum = 0;
    for (int i = 0; i < BODIES; i++) {
        union {
            double value;
            u64 bits;
        } x = {body[i].x}, y = {body[i].y}, z = {body[i].z};
        sum = sum * 31 + x.bits + y.bits * 3 + z.bits * 7;
    }
    hexadecimal(sum);
}
