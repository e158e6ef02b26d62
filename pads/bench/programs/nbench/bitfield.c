/* Runs of bits in a map that are set, cleared and inverted, bit by bit. */
#include "kernel.h"

enum { BITS = 32768, RUNS = 2000, LONGEST = 256 };

static uint32_t map[BITS / 32];

enum act { SET, CLEAR, INVERT, ACTS };

static void change(enum act act, uint32_t first, uint32_t count)
{
    for (uint32_t bit = first; bit < first + count; bit++) {
        uint32_t mask = 1u << bit % 32;
        switch (act) {
        case SET:
            map[bit / 32] |= mask;
            break;
        case CLEAR:
            map[bit / 32] &= ~mask;
            break;
        default:
            map[bit / 32] ^= mask;
        }
    }
}

uint64_t bitfield(uint32_t rounds)
{
    uint64_t sum = NO_SUM;
    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t state = seed_of(round);
        memset(map, 0x55, sizeof map);
        for (int i = 0; i < RUNS; i++) {
            uint32_t first = draw(&state) % (BITS - LONGEST);
            uint32_t count = 1 + draw(&state) % LONGEST;
            change(draw(&state) % ACTS, first, count);
        }
        sum = mixed(sum, map, sizeof map);
    }
    return sum;
}
