/* Floating point in software: sign, exponent, and a mantissa of 64 bits in four parts. */
#include "kernel.h"

enum { PARTS = 4, PART_BITS = 16, BITS = PARTS * PART_BITS, COUNT = 300 };

/*
 * (-1)^sign · 0.mantissa · 2^exponent. The first part is the most significant one, and its highest
 * bit is set unless the number is zero.
 */
typedef struct {
    uint16_t part[PARTS];
    int16_t exponent;
    uint16_t sign;
} number;

static number one_side[COUNT], other_side[COUNT], result[COUNT];

static int is_zero(const number *a)
{
    return (a->part[0] & 0x8000) == 0;
}

static uint16_t shift_left(uint16_t part[PARTS], uint16_t bit)
{
    for (int i = PARTS - 1; i >= 0; i--) {
        uint16_t carried = part[i] >> (PART_BITS - 1);
        part[i] = (uint16_t)(part[i] << 1 | bit);
        bit = carried;
    }
    return bit;
}

static void shift_right(uint16_t part[PARTS], uint16_t bit)
{
    for (int i = 0; i < PARTS; i++) {
        uint16_t carried = part[i] & 1;
        part[i] = (uint16_t)(part[i] >> 1 | bit << (PART_BITS - 1));
        bit = carried;
    }
}

/* Moves the highest bit to its place. */
static void normalise(number *a)
{
    for (int i = 0; i < BITS && is_zero(a); i++) {
        shift_left(a->part, 0);
        a->exponent--;
    }
    if (is_zero(a))
        *a = (number){ { 0 }, 0, 0 };
}

static int compare(const uint16_t a[PARTS], const uint16_t b[PARTS])
{
    for (int i = 0; i < PARTS; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

/* The carry of a sum, or the borrow of a difference. */
static uint32_t add_parts(uint16_t a[PARTS], const uint16_t b[PARTS])
{
    uint32_t carry = 0;
    for (int i = PARTS - 1; i >= 0; i--) {
        carry += (uint32_t)a[i] + b[i];
        a[i] = (uint16_t)carry;
        carry >>= PART_BITS;
    }
    return carry;
}

static void subtract_parts(uint16_t a[PARTS], const uint16_t b[PARTS])
{
    uint32_t borrow = 0;
    for (int i = PARTS - 1; i >= 0; i--) {
        uint32_t left = (uint32_t)a[i] - b[i] - borrow;
        a[i] = (uint16_t)left;
        borrow = left >> 31;
    }
}

static number sum_of(number a, number b)
{
    if (is_zero(&a) || is_zero(&b))
        return is_zero(&a) ? b : a;
    if (a.exponent < b.exponent || (a.exponent == b.exponent && compare(a.part, b.part) < 0)) {
        number larger = b;
        b = a;
        a = larger;
    }
    for (int apart = a.exponent - b.exponent; apart > 0; apart--) {
        if (apart > BITS)
            return a;
        shift_right(b.part, 0);
    }
    if (a.sign == b.sign) {
        if (add_parts(a.part, b.part)) {
            shift_right(a.part, 1);
            a.exponent++;
        }
    } else {
        subtract_parts(a.part, b.part);
        normalise(&a);
    }
    return a;
}

static number difference_of(number a, number b)
{
    b.sign ^= !is_zero(&b);
    return sum_of(a, b);
}

static number product_of(number a, number b)
{
    uint16_t whole[2 * PARTS] = { 0 };
    if (is_zero(&a) || is_zero(&b))
        return (number){ { 0 }, 0, 0 };
    for (int i = PARTS - 1; i >= 0; i--) {
        uint32_t carry = 0;
        for (int j = PARTS - 1; j >= 0; j--) {
            carry += (uint32_t)a.part[i] * b.part[j] + whole[i + j + 1];
            whole[i + j + 1] = (uint16_t)carry;
            carry >>= PART_BITS;
        }
        whole[i] = (uint16_t)carry;
    }
    memcpy(a.part, whole, sizeof a.part);
    a.exponent = (int16_t)(a.exponent + b.exponent);
    a.sign ^= b.sign;
    normalise(&a);
    return a;
}

/* Bit by bit; zero by zero is zero. */
static number quotient_of(number a, number b)
{
    number quotient = { { 0 }, (int16_t)(a.exponent - b.exponent + 1), a.sign ^ b.sign };
    if (is_zero(&a) || is_zero(&b))
        return (number){ { 0 }, 0, 0 };
    uint16_t above = 0;
    for (int i = 0; i < BITS; i++) {
        uint16_t bit = above || compare(a.part, b.part) >= 0;
        if (bit)
            subtract_parts(a.part, b.part);
        shift_left(quotient.part, bit);
        above = shift_left(a.part, 0);
    }
    normalise(&quotient);
    return quotient;
}

static number of_integer(int32_t value)
{
    uint32_t size = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
    number a = { { (uint16_t)(size >> PART_BITS), (uint16_t)size, 0, 0 }, 32, value < 0 };
    normalise(&a);
    return a;
}

uint64_t fp_emulation(uint32_t rounds)
{
    uint64_t sum = NO_SUM;
    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t state = seed_of(round);
        for (int i = 0; i < COUNT; i++) {
            one_side[i] = of_integer((int32_t)draw(&state));
            other_side[i] = of_integer((int32_t)draw(&state));
        }
        for (int i = 0; i < COUNT; i++) {
            number a = one_side[i], b = other_side[i];
            number whole = quotient_of(sum_of(a, product_of(a, b)), b);
            result[i] = difference_of(whole, quotient_of(a, b));
        }
        sum = mixed(sum, result, sizeof result);
    }
    return sum;
}
