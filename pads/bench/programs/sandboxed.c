/* In the sandbox: the input is the plain one of its owner, the checksum a result in plain. */
#include "dstyx_pad.h"
#include "work.h"

void pad_run(const uint8_t *plain, size_t length)
{
    char sum[SUM_CHARACTERS];
    for (uint32_t pad = 0; pad < pad_count(); pad++)
        pad_add(pad);
    if (!pad_check())
        return;
    pad_open();
    work((const char *)plain, length, sum);
    pad_proposal output = { .data = { (const uint8_t *)sum, SUM_CHARACTERS } };
    pad_propose(&output);
}
