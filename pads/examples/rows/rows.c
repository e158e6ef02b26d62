/*
 * An example of a consumer in C: the number of rows in all Pads of a run, each row a line. It is
 * proposed as a result in plain, so policies have to allow that.
 */
#include <stdio.h>

#include "dstyx_pad.h"

static uint64_t rows_of(uint32_t pad)
{
    uint64_t size = pad_size(pad), rows = 0;
    for (uint64_t offset = 0; offset < size; offset += PAD_MAX_WINDOW) {
        uint64_t left = size - offset;
        pad_bytes window = pad_read(pad, offset, left < PAD_MAX_WINDOW ? left : PAD_MAX_WINDOW);
        for (size_t i = 0; i < window.length; i++)
            rows += window.at[i] == '\n';
        free((void *)window.at);
    }
    return rows;
}

void pad_run(const uint8_t *plain, size_t length)
{
    uint32_t pads = pad_count();
    for (uint32_t pad = 0; pad < pads; pad++)
        pad_add(pad);
    if (!pad_check())
        return;
    pad_open();
    uint64_t rows = 0;
    for (uint32_t pad = 0; pad < pads; pad++)
        rows += rows_of(pad);
    char text[24];
    int written = snprintf(text, sizeof text, "%llu", (unsigned long long)rows);
    pad_proposal output = { .data = { (const uint8_t *)text, written } };
    pad_propose(&output);
}
