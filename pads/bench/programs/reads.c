/* Reads 64 bytes of the first Pad as often as its plain input says, a number. */
#include "dstyx_pad.h"

enum { WINDOW = 64 };

void pad_run(const uint8_t *plain, size_t length)
{
    uint32_t reads = 0;
    for (size_t i = 0; i < length; i++)
        reads = reads * 10 + (plain[i] - '0');
    pad_add(0);
    if (!pad_check())
        return;
    pad_open();
    uint32_t last = (uint32_t)pad_size(0) - WINDOW;
    for (uint32_t i = 0; i < reads; i++)
        free((void *)pad_read(0, i & 0xffff & last, WINDOW).at);
}
