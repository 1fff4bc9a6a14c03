/* Local attention between forbidden pages: every tensor once ends exactly where memory ends, and once begins where it
 * begins. A read or write outside is a crash; the two runs must give the same bits, and those of 1 and of 3 threads. */
#include <stdio.h>
#include <sys/mman.h>

#include "local_attention.c"

enum { TENSORS = 8, TABLES = 9, ALL = TENSORS + TABLES };

static long size_of(const problem *j, int which) {
    const long pixels = j->images * j->heads * j->h * j->w, units = j->images * j->bands * j->heads;
    const long row = j->d_row * (2 * j->reach_y + 1), col = (j->d - j->d_row) * (2 * j->reach_x + 1);
    const long images = j->images * j->channels * j->h * j->w, rows = (j->keys ? 3 : 2) * j->heads * j->d;
    const long sizes[TABLES] = {row,    col,    units * row, units * col, pixels,
                                images, rows * j->channels, images, j->groups * rows * j->width};
    return which < TENSORS ? pixels * j->d : sizes[which - TENSORS];
}

/* `count` numbers between forbidden pages, at the end or the beginning of the memory between them. */
static REAL *fenced(long count, int at_end) {
    const long page = sysconf(_SC_PAGESIZE), bytes = count * sizeof(REAL), pages = (bytes + page - 1) / page + 1;
    char *all = mmap(NULL, (pages + 2) * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all + page, pages * page, PROT_READ | PROT_WRITE)) exit(3);
    return (REAL *)(at_end ? all + page + pages * page - bytes : all + page);
}

static void fill(REAL *to, long count, unsigned seed) {
    for (long i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        to[i] = (REAL)(seed >> 8) / (1 << 23) - 1;
    }
}

/* Both passes; the results, one after the other, in `result`. */
static long run(problem j, int channels_last, int at_end, int threads, REAL *result) {
    REAL *memory[ALL];
    for (int i = 0; i < ALL; i++) {
        memory[i] = fenced(size_of(&j, i), at_end);
        fill(memory[i], size_of(&j, i), i + 1);
    }
    tensor *tensors[TENSORS] = {&j.q, &j.k, &j.v, &j.grad, &j.out, &j.dq, &j.dk, &j.dv};
    const long plane = j.h * j.w, head = j.d * plane, image = j.heads * head;
    for (int i = 0; i < TENSORS; i++)
        *tensors[i] = channels_last ? (tensor){memory[i], image, j.d, 1, j.w * j.heads * j.d, j.heads * j.d}
                                    : (tensor){memory[i], image, head, plane, j.w, 1};
    j.row = memory[8], j.col = memory[9], j.drow = memory[10], j.dcol = memory[11], j.lse = memory[12];
    j.weight = memory[14], j.dweight = memory[16];
    j.x = j.dx = channels_last ? (tensor){memory[13], j.channels * plane, 0, 1, j.w * j.channels, j.channels}
                               : (tensor){memory[13], j.channels * plane, 0, plane, j.w, 1};
    j.dx.data = memory[15];
    if (local_attention(&j, 0, threads) || local_attention(&j, 1, threads)) exit(4);
    long count = 0;
    for (int i = 4; i < ALL; i++)
        for (long n = 0; n < size_of(&j, i); n++) result[count++] = memory[i][n];
    return count;
}

int main(void) {
    const struct { long images, heads, d, h, w, reach_y, reach_x, bands; } shapes[] = {
        {1, 1, 1, 1, 1, 0, 0, 1},     {2, 1, 1, 1, 5, 0, 2, 1},   {1, 2, 3, 5, 1, 3, 0, 1},   {1, 3, 4, 2, 40, 1, 3, 2},
        {1, 1, 8, 33, 2, 3, 1, 4},    {2, 2, 5, 7, 17, 2, 2, 2},  {1, 1, 13, 8, 16, 3, 3, 8}, {1, 2, 16, 9, 33, 4, 4, 1},
        {1, 1, 24, 3, 3, 2, 2, 1},    {3, 1, 8, 16, 15, 5, 5, 1}, {1, 1, 8, 40, 35, 3, 3, 3},
    };
    static REAL once[1 << 20], again[1 << 20];
    int problems = 0;
    for (unsigned i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int option = 0; option < 12; option++) {
            const int with_keys = option % 3 != 0, relative = option % 3 != 1, channels_last = option / 3 % 2;
            const long channels = option / 6 ? 5 + 4 * i : 0; /* with projections */
            problem j = {.images = shapes[i].images, .heads = shapes[i].heads, .d = shapes[i].d, .d_row = shapes[i].d / 2,
                         .h = shapes[i].h, .w = shapes[i].w, .reach_y = shapes[i].reach_y, .reach_x = shapes[i].reach_x,
                         .bands = shapes[i].bands, .relative = relative, .keys = with_keys, .channels = channels,
                         .width = (channels + 15) / 16 * 16, .groups = shapes[i].images * shapes[i].bands};
            const long count = run(j, channels_last, 1, 1, once);
            run(j, channels_last, 0, 3, again);
            if (memcmp(once, again, count * sizeof(REAL))) printf("shape %u, option %d: other bits\n", i, option), problems++;
            for (long n = 0; n < count; n++)
                if (!(once[n] - once[n] == 0)) { printf("shape %u, option %d: not finite\n", i, option), problems++; break; }
        }
    printf("%d problems\n", problems);
    return problems != 0;
}
