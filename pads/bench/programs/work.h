/* What is measured on the host and in the sandbox: one kernel, so often, on the same input. */
#ifndef WORK_H
#define WORK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Characters of a checksum as text. */
#define SUM_CHARACTERS 16

/* Does what a first line says, `KERNEL ROUNDS`, on what follows it; the checksum in hexadecimal. */
void work(const char *input, size_t length, char sum[SUM_CHARACTERS]);

/* Trains libsvm so often on a table of numbers with a label; a checksum of the labels of its rows by
 * the last classifier. */
uint64_t svm_training(uint32_t rounds, const char *table, size_t length);

#ifdef __cplusplus
}
#endif

#endif
