/* On the host: the input comes on standard input, the checksum leaves as a line. */
#include <stdio.h>

#include "work.h"

static char input[1 << 20];

int main(void)
{
    char sum[SUM_CHARACTERS];
    work(input, fread(input, 1, sizeof input, stdin), sum);
    printf("%.*s\n", SUM_CHARACTERS, sum);
}
