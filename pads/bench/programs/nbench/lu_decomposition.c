/* Linear equations, solved by an LU decomposition with pivots. */
#include "kernel.h"

enum { COUNT = 101 };

static double matrix[COUNT][COUNT], right[COUNT];

static double size_of(double x)
{
    return x < 0 ? -x : x;
}

/* Puts the largest number of a column on the diagonal. */
static void choose_pivot(int column)
{
    int pivot = column;
    for (int row = column + 1; row < COUNT; row++)
        if (size_of(matrix[row][column]) > size_of(matrix[pivot][column]))
            pivot = row;
    if (pivot == column)
        return;
    double moved[COUNT], value = right[pivot];
    memcpy(moved, matrix[pivot], sizeof moved);
    memcpy(matrix[pivot], matrix[column], sizeof moved);
    memcpy(matrix[column], moved, sizeof moved);
    right[pivot] = right[column];
    right[column] = value;
}

static void solve(void)
{
    for (int column = 0; column < COUNT; column++) {
        choose_pivot(column);
        for (int row = column + 1; row < COUNT; row++) {
            double factor = matrix[row][column] / matrix[column][column];
            matrix[row][column] = factor;
            for (int i = column + 1; i < COUNT; i++)
                matrix[row][i] -= factor * matrix[column][i];
            right[row] -= factor * right[column];
        }
    }
    for (int row = COUNT - 1; row >= 0; row--) {
        for (int i = row + 1; i < COUNT; i++)
            right[row] -= matrix[row][i] * right[i];
        right[row] /= matrix[row][row];
    }
}

uint64_t lu_decomposition(uint32_t rounds)
{
    uint64_t sum = NO_SUM;
    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t state = seed_of(round);
        for (int i = 0; i < COUNT; i++) {
            for (int j = 0; j < COUNT; j++)
                matrix[i][j] = draw_unit(&state);
            right[i] = draw_unit(&state);
        }
        solve();
        sum = mixed(sum, right, sizeof right);
    }
    return sum;
}
