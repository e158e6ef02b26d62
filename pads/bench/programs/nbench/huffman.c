/* Compression by a Huffman code that is made for the text, and the text again. */
#include "kernel.h"

enum { BYTES = 5000, SYMBOLS = 256, NODES = 2 * SYMBOLS - 1, NONE = -1 };

typedef struct {
    uint32_t weight;
    int16_t parent, child[2];
} node;

static uint8_t text[BYTES], packed[2 * BYTES], unpacked[BYTES];
static node nodes[NODES];

/* Text of words, as letters come in languages: some often, most seldom. */
static void fill(uint64_t state)
{
    for (int i = 0; i < BYTES; i++) {
        uint32_t first = draw(&state) % 26, second = draw(&state) % 26;
        text[i] = (uint8_t)(draw(&state) % 6 == 0 ? ' ' : 'a' + (first < second ? first : second));
    }
}

/* The lightest node without a parent that is not `other`. */
static int lightest(int count, int other)
{
    int found = NONE;
    for (int i = 0; i < count; i++)
        if (i != other && nodes[i].weight > 0 && nodes[i].parent == NONE &&
            (found == NONE || nodes[i].weight < nodes[found].weight))
            found = i;
    return found;
}

/* The root of the tree. */
static int plant(void)
{
    for (int i = 0; i < NODES; i++)
        nodes[i] = (node){ 0, NONE, { NONE, NONE } };
    for (int i = 0; i < BYTES; i++)
        nodes[text[i]].weight++;
    int count = SYMBOLS;
    for (;;) {
        int first = lightest(count, NONE), second = lightest(count, first);
        if (second == NONE)
            return first;
        nodes[count] = (node){ nodes[first].weight + nodes[second].weight, NONE, { (int16_t)first, (int16_t)second } };
        nodes[first].parent = nodes[second].parent = (int16_t)count;
        count++;
    }
}

/* The number of bits. */
static size_t pack(void)
{
    size_t bits = 0;
    memset(packed, 0, sizeof packed);
    for (int i = 0; i < BYTES; i++) {
        uint8_t path[SYMBOLS];
        int length = 0;
        for (int at = text[i]; nodes[at].parent != NONE; at = nodes[at].parent)
            path[length++] = nodes[nodes[at].parent].child[1] == at;
        while (length-- > 0) {
            packed[bits / 8] |= (uint8_t)(path[length] << bits % 8);
            bits++;
        }
    }
    return bits;
}

static void unpack(int root)
{
    size_t bit = 0;
    for (int i = 0; i < BYTES; i++) {
        int at = root;
        while (nodes[at].child[0] != NONE) {
            at = nodes[at].child[packed[bit / 8] >> bit % 8 & 1];
            bit++;
        }
        unpacked[i] = (uint8_t)at;
    }
}

uint64_t huffman(uint32_t rounds)
{
    uint64_t sum = NO_SUM;
    for (uint32_t round = 0; round < rounds; round++) {
        fill(seed_of(round));
        int root = plant();
        size_t bits = pack();
        unpack(root);
        if (memcmp(text, unpacked, BYTES) != 0)
            __builtin_trap();
        sum = mixed(sum, packed, (bits + 7) / 8);
    }
    return sum;
}
