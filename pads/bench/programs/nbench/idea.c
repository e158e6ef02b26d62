/* The block cipher IDEA: what was enciphered is deciphered again. */
#include "kernel.h"

enum { BYTES = 4000, BLOCK = 8, ROUNDS = 8, KEYS = 6 * ROUNDS + 4 };

static uint8_t plain[BYTES], enciphered[BYTES], deciphered[BYTES];

/* The product modulo 2^16 + 1, where 0 stands for 2^16. */
static inline uint16_t times(uint16_t a, uint16_t b)
{
    if (a == 0)
        return (uint16_t)(1 - b);
    if (b == 0)
        return (uint16_t)(1 - a);
    uint32_t product = (uint32_t)a * b;
    uint32_t low = product & 0xffff, high = product >> 16;
    return (uint16_t)(low - high + (low < high));
}

/* x^(2^16 - 1), by which x is divided modulo that prime. */
static uint16_t inverse(uint16_t a)
{
    uint16_t power = a, result = 1;
    for (int bit = 0; bit < 16; bit++) {
        result = times(result, power);
        power = times(power, power);
    }
    return result;
}

/* The user's key of 128 bits, turned by 25 bits for each eight. */
static void expand(const uint16_t user[8], uint16_t keys[KEYS])
{
    for (int i = 0; i < KEYS; i++) {
        int turned = 25 * (i / 8) + 16 * (i % 8), word = turned / 16 % 8, bits = turned % 16;
        uint32_t pair = (uint32_t)user[word] << 16 | user[(word + 1) % 8];
        keys[i] = (uint16_t)(pair << bits >> 16);
    }
}

static void invert(const uint16_t keys[KEYS], uint16_t inverted[KEYS])
{
    for (int round = 0; round <= ROUNDS; round++) {
        const uint16_t *from = keys + 6 * (ROUNDS - round);
        uint16_t *to = inverted + 6 * round;
        int is_inside = round > 0 && round < ROUNDS;
        to[0] = inverse(from[0]);
        to[1] = (uint16_t)-from[is_inside ? 2 : 1];
        to[2] = (uint16_t)-from[is_inside ? 1 : 2];
        to[3] = inverse(from[3]);
        if (round < ROUNDS) {
            to[4] = from[-2];
            to[5] = from[-1];
        }
    }
}

static uint16_t word_at(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put(uint8_t *at, uint16_t word)
{
    at[0] = (uint8_t)(word >> 8);
    at[1] = (uint8_t)word;
}

static void cipher(const uint8_t *from, uint8_t *to, const uint16_t *key)
{
    uint16_t a = word_at(from), b = word_at(from + 2), c = word_at(from + 4), d = word_at(from + 6);
    for (int round = 0; round < ROUNDS; round++, key += 6) {
        a = times(a, key[0]);
        b = (uint16_t)(b + key[1]);
        c = (uint16_t)(c + key[2]);
        d = times(d, key[3]);
        uint16_t left = times(a ^ c, key[4]);
        uint16_t right = times((uint16_t)((b ^ d) + left), key[5]);
        left = (uint16_t)(left + right);
        a ^= right;
        d ^= left;
        uint16_t middle = b ^ left;
        b = c ^ right;
        c = middle;
    }
    put(to, times(a, key[0]));
    put(to + 2, (uint16_t)(c + key[1]));
    put(to + 4, (uint16_t)(b + key[2]));
    put(to + 6, times(d, key[3]));
}

uint64_t idea(uint32_t rounds)
{
    uint64_t sum = NO_SUM;
    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t state = seed_of(round);
        uint16_t user[8], keys[KEYS], inverted[KEYS];
        for (int i = 0; i < 8; i++)
            user[i] = (uint16_t)draw(&state);
        for (int i = 0; i < BYTES; i++)
            plain[i] = (uint8_t)draw(&state);
        expand(user, keys);
        invert(keys, inverted);
        for (int i = 0; i < BYTES; i += BLOCK)
            cipher(plain + i, enciphered + i, keys);
        for (int i = 0; i < BYTES; i += BLOCK)
            cipher(enciphered + i, deciphered + i, inverted);
        sum = mixed(sum, enciphered, BYTES);
        if (memcmp(plain, deciphered, BYTES) != 0)
            __builtin_trap();
    }
    return sum;
}
