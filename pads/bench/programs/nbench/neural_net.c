/* A net of three layers that learns patterns by back propagation. */
#include "elementary.h"
#include "kernel.h"

enum { IN = 35, MIDDLE = 8, OUT = 8, PATTERNS = 26, EPOCHS = 10 };

#define RATE 0.09
#define MOMENTUM 0.07

static double patterns[PATTERNS][IN], wanted[PATTERNS][OUT];
static double to_middle[MIDDLE][IN], to_out[OUT][MIDDLE];
static double middle_change[MIDDLE][IN], out_change[OUT][MIDDLE];
static double middle[MIDDLE], out[OUT];

static double sigmoid(double x)
{
    return 1 / (1 + exponential(-x));
}

/* Black and white patterns, of which each has to get its number in bits. */
static void fill(uint64_t state)
{
    for (int i = 0; i < PATTERNS; i++) {
        for (int j = 0; j < IN; j++)
            patterns[i][j] = draw(&state) % 2 ? 0.9 : 0.1;
        for (int j = 0; j < OUT; j++)
            wanted[i][j] = (i + 1) >> j & 1 ? 0.9 : 0.1;
    }
    for (int i = 0; i < MIDDLE; i++)
        for (int j = 0; j < IN; j++)
            to_middle[i][j] = draw_unit(&state) - 0.5;
    for (int i = 0; i < OUT; i++)
        for (int j = 0; j < MIDDLE; j++)
            to_out[i][j] = draw_unit(&state) - 0.5;
    memset(middle_change, 0, sizeof middle_change);
    memset(out_change, 0, sizeof out_change);
}

static void forward(const double in[IN])
{
    for (int i = 0; i < MIDDLE; i++) {
        double sum = 0;
        for (int j = 0; j < IN; j++)
            sum += to_middle[i][j] * in[j];
        middle[i] = sigmoid(sum);
    }
    for (int i = 0; i < OUT; i++) {
        double sum = 0;
        for (int j = 0; j < MIDDLE; j++)
            sum += to_out[i][j] * middle[j];
        out[i] = sigmoid(sum);
    }
}

static void backward(const double in[IN], const double target[OUT])
{
    double out_error[OUT], middle_error[MIDDLE] = { 0 };
    for (int i = 0; i < OUT; i++)
        out_error[i] = (target[i] - out[i]) * out[i] * (1 - out[i]);
    for (int i = 0; i < OUT; i++)
        for (int j = 0; j < MIDDLE; j++)
            middle_error[j] += out_error[i] * to_out[i][j];
    for (int i = 0; i < MIDDLE; i++)
        middle_error[i] *= middle[i] * (1 - middle[i]);
    for (int i = 0; i < OUT; i++)
        for (int j = 0; j < MIDDLE; j++) {
            out_change[i][j] = RATE * out_error[i] * middle[j] + MOMENTUM * out_change[i][j];
            to_out[i][j] += out_change[i][j];
        }
    for (int i = 0; i < MIDDLE; i++)
        for (int j = 0; j < IN; j++) {
            middle_change[i][j] = RATE * middle_error[i] * in[j] + MOMENTUM * middle_change[i][j];
            to_middle[i][j] += middle_change[i][j];
        }
}

uint64_t neural_net(uint32_t rounds)
{
    uint64_t sum = NO_SUM;
    for (uint32_t round = 0; round < rounds; round++) {
        fill(seed_of(round));
        for (int i = 0; i < EPOCHS * PATTERNS; i++) {
            forward(patterns[i % PATTERNS]);
            backward(patterns[i % PATTERNS], wanted[i % PATTERNS]);
        }
        sum = mixed(sum, to_middle, sizeof to_middle);
        sum = mixed(sum, out, sizeof out);
    }
    return sum;
}
