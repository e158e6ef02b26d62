/* Heap sort of integers. */
#include "kernel.h"

enum { COUNT = 8111 };

static int32_t numbers[COUNT];

/* Moves the number at `at` down to where both below it are smaller. */
static void sift(size_t at, size_t count)
{
    int32_t number = numbers[at];
    for (size_t below; (below = 2 * at + 1) < count; at = below) {
        if (below + 1 < count && numbers[below] < numbers[below + 1])
            below++;
        if (numbers[below] <= number)
            break;
        numbers[at] = numbers[below];
    }
    numbers[at] = number;
}

uint64_t numeric_sort(uint32_t rounds)
{
    uint64_t sum = NO_SUM;
    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t state = seed_of(round);
        for (size_t i = 0; i < COUNT; i++)
            numbers[i] = (int32_t)draw(&state);
        for (size_t i = COUNT / 2; i-- > 0;)
            sift(i, COUNT);
        for (size_t last = COUNT - 1; last > 0; last--) {
            int32_t largest = numbers[0];
            numbers[0] = numbers[last];
            numbers[last] = largest;
            sift(0, last);
        }
        sum = mixed(sum, numbers, sizeof numbers);
    }
    return sum;
}
