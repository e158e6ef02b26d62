/*
 * Elementary functions by series, for arguments of a moderate size: those of two C libraries differ
 * in their last bits, and in how well they were compiled.
 */
#ifndef ELEMENTARY_H
#define ELEMENTARY_H

#include <stdint.h>
#include <string.h>

/* The nearest whole number. */
static inline int64_t nearest(double x)
{
    return (int64_t)(x < 0 ? x - 0.5 : x + 0.5);
}

static inline double from_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline double exponential(double x)
{
    int64_t power = nearest(x * 1.4426950408889634);
    double rest = x - (double)power * 0.693147180369123816490 - (double)power * 1.90821492927058770002e-10;
    double sum = 1;
    for (int i = 13; i > 0; i--)
        sum = 1 + sum * rest / i;
    return sum * from_bits((uint64_t)(power + 1023) << 52);
}

/* Of a number above 0. */
static inline double logarithm(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t power = (int64_t)(bits >> 52) - 1023;
    double mantissa = from_bits((bits & 0xfffffffffffffu) | (uint64_t)1023 << 52);
    if (mantissa > 1.4142135623730951) {
        mantissa /= 2;
        power++;
    }
    double ratio = (mantissa - 1) / (mantissa + 1), square = ratio * ratio, sum = 0;
    for (int i = 21; i > 0; i -= 2)
        sum = sum * square + 1.0 / i;
    return 2 * ratio * sum + (double)power * 0.693147180559945309417;
}

/* The sine of x and so many quarters of a turn. */
static inline double sine_from(double x, int64_t quarters)
{
    int64_t turned = nearest(x * 0.63661977236758134308);
    double rest = x - (double)turned * 1.57079632673412561417 - (double)turned * 6.07710050650619224932e-11;
    double square = rest * rest, sum = 1;
    quarters += turned;
    if (quarters & 1) {
        for (int i = 16; i > 0; i -= 2)
            sum = 1 - sum * square / (i * (i - 1));
    } else {
        for (int i = 17; i > 1; i -= 2)
            sum = 1 - sum * square / (i * (i - 1));
        sum *= rest;
    }
    return quarters & 2 ? -sum : sum;
}

static inline double sine(double x)
{
    return sine_from(x, 0);
}

static inline double cosine(double x)
{
    return sine_from(x, 1);
}

#endif
