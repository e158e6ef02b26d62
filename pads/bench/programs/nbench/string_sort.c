/* Sort of strings of 4 to 80 bytes by a heap of their places, and a copy in their order. */
#include "kernel.h"

enum { COUNT = 1200, SHORTEST = 4, LONGEST = 80 };

typedef struct {
    uint32_t at, length;
} string;

static char text[COUNT * LONGEST], sorted[COUNT * LONGEST];
static string strings[COUNT];

static int is_below(string one, string other)
{
    uint32_t common = one.length < other.length ? one.length : other.length;
    int order = memcmp(text + one.at, text + other.at, common);
    return order != 0 ? order < 0 : one.length < other.length;
}

static void sift(size_t at, size_t count)
{
    string moved = strings[at];
    for (size_t below; (below = 2 * at + 1) < count; at = below) {
        if (below + 1 < count && is_below(strings[below], strings[below + 1]))
            below++;
        if (!is_below(moved, strings[below]))
            break;
        strings[at] = strings[below];
    }
    strings[at] = moved;
}

/* Strings of few letters, so that many begin alike; the bytes that they have together. */
static size_t fill(uint64_t state)
{
    size_t end = 0;
    for (size_t i = 0; i < COUNT; i++) {
        uint32_t length = SHORTEST + draw(&state) % (LONGEST - SHORTEST + 1);
        strings[i] = (string){ (uint32_t)end, length };
        for (uint32_t letter = 0; letter < length; letter++)
            text[end++] = (char)('a' + draw(&state) % 3);
    }
    return end;
}

uint64_t string_sort(uint32_t rounds)
{
    uint64_t sum = NO_SUM;
    for (uint32_t round = 0; round < rounds; round++) {
        size_t bytes = fill(seed_of(round));
        for (size_t i = COUNT / 2; i-- > 0;)
            sift(i, COUNT);
        for (size_t last = COUNT - 1; last > 0; last--) {
            string largest = strings[0];
            strings[0] = strings[last];
            strings[last] = largest;
            sift(0, last);
        }
        size_t end = 0;
        for (size_t i = 0; i < COUNT; i++) {
            memcpy(sorted + end, text + strings[i].at, strings[i].length);
            end += strings[i].length;
        }
        sum = mixed(sum, sorted, bytes);
    }
    return sum;
}
