/* The first coefficients of a Fourier series, of (x + 1)^x, by the trapezium rule. */
#include "elementary.h"
#include "kernel.h"

enum { COEFFICIENTS = 24, STEPS = 100 };

enum kind { COSINE, SINE };

static double value(double x, double frequency, enum kind kind)
{
    double power = exponential(x * logarithm(x + 1));
    return power * (kind == COSINE ? cosine(frequency * x) : sine(frequency * x));
}

static double integral(double length, double frequency, enum kind kind)
{
    double step = length / STEPS, sum = 0;
    for (int i = 1; i < STEPS; i++)
        sum += value(i * step, frequency, kind);
    return step * (sum + (value(0, frequency, kind) + value(length, frequency, kind)) / 2);
}

uint64_t fourier(uint32_t rounds)
{
    uint64_t sum = NO_SUM;
    for (uint32_t round = 0; round < rounds; round++) {
        double length = 2 + (round % 8) / 16.0, frequency = 6.28318530717958647693 / length;
        for (int i = 0; i < COEFFICIENTS; i++) {
            double pair[2] = { integral(length, i * frequency, COSINE), integral(length, i * frequency, SINE) };
            sum = mixed(sum, pair, sizeof pair);
        }
    }
    return sum;
}
