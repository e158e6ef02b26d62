/*
 * Reads all data of all Pads, as a program that trains on them does, and makes a Pad of the last
 * one's data under the policies of the first one, for the custodian that is its plain input.
 */
#include "dstyx_pad.h"

void pad_run(const uint8_t *plain, size_t length)
{
    uint32_t pads = pad_count();
    for (uint32_t pad = 0; pad < pads; pad++)
        pad_add(pad);
    if (!pad_check() || length != sizeof(pad_digest))
        __builtin_trap();
    pad_open();
    pad_bytes data = { 0 };
    for (uint32_t pad = 0; pad < pads; pad++) {
        free((void *)data.at);
        data = pad_read(pad, 0, (uint32_t)pad_size(pad));
    }
    pad_proposal output = { .custodian.is_some = true, .policies = pad_describe(0).policies, .data = data };
    for (size_t i = 0; i < length; i++)
        output.custodian.digest.word[i / 8] = output.custodian.digest.word[i / 8] << 8 | plain[i];
    pad_propose(&output);
}
