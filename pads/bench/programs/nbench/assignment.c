/* The cheapest assignment of workers to tasks, by shortest augmenting paths with prices. */
#include "kernel.h"

enum { COUNT = 101, MOST = 1 << 20 };

static int32_t costs[COUNT][COUNT];
/* Places start at 1: the worker 0 stands for none. */
static int32_t price_of_worker[COUNT + 1], price_of_task[COUNT + 1];
static int worker_of[COUNT + 1];

/* Gives a worker a task, on the cheapest path through workers that change theirs. */
static void place(int worker)
{
    int32_t distance[COUNT + 1];
    int before[COUNT + 1], is_done[COUNT + 1] = { 0 };
    for (int task = 0; task <= COUNT; task++)
        distance[task] = INT32_MAX;
    int task = 0;
    worker_of[0] = worker;
    while (worker_of[task] != 0) {
        is_done[task] = 1;
        int at = worker_of[task], next = 0;
        int32_t least = INT32_MAX;
        for (int other = 1; other <= COUNT; other++) {
            if (is_done[other])
                continue;
            int32_t reduced = costs[at - 1][other - 1] - price_of_worker[at] - price_of_task[other];
            if (reduced < distance[other]) {
                distance[other] = reduced;
                before[other] = task;
            }
            if (distance[other] < least) {
                least = distance[other];
                next = other;
            }
        }
        for (int other = 0; other <= COUNT; other++) {
            if (is_done[other]) {
                price_of_worker[worker_of[other]] += least;
                price_of_task[other] -= least;
            } else {
                distance[other] -= least;
            }
        }
        task = next;
    }
    while (task != 0) {
        worker_of[task] = worker_of[before[task]];
        task = before[task];
    }
}

uint64_t assignment(uint32_t rounds)
{
    uint64_t sum = NO_SUM;
    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t state = seed_of(round);
        for (int i = 0; i < COUNT; i++)
            for (int j = 0; j < COUNT; j++)
                costs[i][j] = (int32_t)(draw(&state) % MOST);
        memset(price_of_worker, 0, sizeof price_of_worker);
        memset(price_of_task, 0, sizeof price_of_task);
        memset(worker_of, 0, sizeof worker_of);
        for (int worker = 1; worker <= COUNT; worker++)
            place(worker);
        sum = mixed(sum, worker_of + 1, sizeof worker_of - sizeof worker_of[0]);
    }
    return sum;
}
