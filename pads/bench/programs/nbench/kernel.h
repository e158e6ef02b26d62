/*
 * The ten kernels that are measured in the sandbox and on the host, each after what one of NBench's
 * has the name of, and written anew. A kernel does the same work `rounds` times on data that are
 * drawn from the number of the round, and gives a checksum of all that it computed: it is the same
 * on the host and in the sandbox, so nothing here depends on a library's rounding.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

uint64_t numeric_sort(uint32_t rounds);
uint64_t string_sort(uint32_t rounds);
uint64_t bitfield(uint32_t rounds);
uint64_t fp_emulation(uint32_t rounds);
uint64_t fourier(uint32_t rounds);
uint64_t assignment(uint32_t rounds);
uint64_t idea(uint32_t rounds);
uint64_t huffman(uint32_t rounds);
uint64_t neural_net(uint32_t rounds);
uint64_t lu_decomposition(uint32_t rounds);

/* What a checksum begins with. */
#define NO_SUM 0x9e3779b97f4a7c15u

/* A generator of pseudo-random numbers, which any state but 0 starts. */
static inline uint32_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

/* At least 0 and below 1. */
static inline double draw_unit(uint64_t *state)
{
    return draw(state) * (1.0 / 4294967296.0);
}

/* The state that a round starts from. */
static inline uint64_t seed_of(uint32_t round)
{
    return (round + 1) * 0x2545f4914f6cdd1du;
}

/* Adds bytes to a checksum, eight at a time. */
static inline uint64_t mixed(uint64_t sum, const void *bytes, size_t length)
{
    const uint8_t *at = (const uint8_t *)bytes;
    while (length > 0) {
        size_t part = length < 8 ? length : 8;
        uint64_t word = 0;
        memcpy(&word, at, part);
        sum = (sum ^ word) * 0x100000001b3u;
        sum ^= sum >> 29;
        at += part;
        length -= part;
    }
    return sum;
}

#endif
