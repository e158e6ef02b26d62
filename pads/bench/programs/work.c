#include "work.h"

#include <stdlib.h>

#include "nbench/kernel.h"

static const struct {
    const char *name;
    uint64_t (*run)(uint32_t rounds);
} KERNELS[] = {
    { "numeric-sort", numeric_sort },
    { "string-sort", string_sort },
    { "bitfield", bitfield },
    { "fp-emulation", fp_emulation },
    { "fourier", fourier },
    { "assignment", assignment },
    { "idea", idea },
    { "huffman", huffman },
    { "neural-net", neural_net },
    { "lu-decomposition", lu_decomposition },
};

static uint64_t done(const char *name, size_t length, uint32_t rounds, const char *rest, size_t left)
{
    for (size_t i = 0; i < sizeof KERNELS / sizeof *KERNELS; i++)
        if (strlen(KERNELS[i].name) == length && memcmp(KERNELS[i].name, name, length) == 0)
            return KERNELS[i].run(rounds);
    if (length == 3 && memcmp(name, "svm", length) == 0)
        return svm_training(rounds, rest, left);
    __builtin_trap();
}

void work(const char *input, size_t length, char sum[SUM_CHARACTERS])
{
    const char *end = memchr(input, '\n', length);
    const char *space = memchr(input, ' ', length);
    if (end == NULL || space == NULL || space > end)
        __builtin_trap();
    uint32_t rounds = (uint32_t)strtoul(space + 1, NULL, 10);
    size_t used = (size_t)(end + 1 - input);
    uint64_t found = done(input, (size_t)(space - input), rounds, end + 1, length - used);
    for (int i = SUM_CHARACTERS - 1; i >= 0; i--, found >>= 4)
        sum[i] = "0123456789abcdef"[found & 15];
}
