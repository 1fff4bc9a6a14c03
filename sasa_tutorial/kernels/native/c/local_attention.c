/* Local attention on a CPU, forward and backward, with logits that never leave the registers and the first cache.
 *
 *     out_i = sum over cells of softmax(q_i . k_cell + q_i . r_cell) v_cell          (SASA, arXiv:1906.05909, Eq. 2 and 3)
 *
 * A vector holds neighbouring pixels of one row, so a window cell is an unaligned load, whatever the width of the image.
 *
 *     vectors.h     vectors, 2^x and ln(x)
 *     shifts.h      the two loops in which the time goes: products over window cells, sums over window cells
 *     scratch.h     the problem, scratch memory, from tensors to planes and back
 *     projection.h  1x1 convolutions before the attention
 *     passes.h      forward and backward over one head of one band of an image
 *     this file     threads
 *
 * Gradients of keys and values are gathered, never scattered, and a unit of work is whole: results do not depend on the
 * number of threads.
 */
#include <stdatomic.h>
#include <unistd.h>

#include "passes.h"

/* How the work is shared out: in pieces (bundles of heads of a band, bands, or groups of bands), of which every thread
 * takes the next one until none is left. So fewer threads than asked for do, too. */
typedef struct {
    const problem *job;
    int backward;
    long pieces;
    atomic_long next;
    atomic_int failed;
} sharing;

static void work_on(sharing *all) {
    const int projected = all->job->channels != 0;
    workspace s;
    if (prepare(&s, all->job, all->backward)) {
        atomic_store(&all->failed, 1);
        return;
    }
    const long of_a_band = projected ? 1 : bundles(s.job); /* pieces */
    for (long piece; (piece = atomic_fetch_add(&all->next, 1)) < all->pieces;) {
        if (projected && all->backward) {
            backward_group(&s, piece);
            continue;
        }
        turn_to(&s, piece / of_a_band);
        if (projected) forward_band(&s);
        else if (all->backward) backward_bundle(&s, piece / of_a_band, piece % of_a_band, NULL);
        else forward_bundle(&s, piece % of_a_band);
    }
    release();
}

static void work(void *sharing_of_all) {
    const control before = flush_tiny_numbers();
    work_on(sharing_of_all);
    restore(before);
}

/* PyTorch's own threads, where they can be had: GNU's OpenMP (LLVM's has the same entry), found when this library is
 * loaded. Threads of our own would fight for the cores with those, which spin a while after each of PyTorch's operators.
 * A forked child has lost them, and must not wait for them. */
#ifdef __linux__
extern void GOMP_parallel(void (*)(void *), void *, unsigned, unsigned) __attribute__((weak));
static pid_t loaded_by;
__attribute__((constructor)) static void remember(void) { loaded_by = getpid(); }
static int shared_threads(sharing *all, int threads) {
    if (!GOMP_parallel || getpid() != loaded_by) return 0;
    GOMP_parallel(work, all, (unsigned)threads, 0);
    return 1;
}
#else
static int shared_threads(sharing *all, int threads) { return 0; }
#endif

static void *own_thread(void *all) {
    work(all);
    return NULL;
}

static void own_threads(sharing *all, int threads) {
    pthread_t *handles = malloc(threads * sizeof(pthread_t));
    int started = 0;
    if (handles)
        while (started < threads - 1 && pthread_create(&handles[started], NULL, own_thread, all) == 0) started++;
    work(all);
    while (started > 0) pthread_join(handles[--started], NULL);
    free(handles);
}

/* Returns 0, or 1 when there was no memory. */
int local_attention(const problem *job, int backward, int threads) {
    const long bands = job->images * job->bands;
    const long pieces = !job->channels ? bands * bundles(job) : backward ? job->groups : bands;
    if (threads > pieces) threads = (int)pieces;
    sharing all = {.job = job, .backward = backward, .pieces = pieces};
    if (threads <= 1) work(&all);
    else if (!shared_threads(&all, threads)) own_threads(&all, threads);
    return atomic_load(&all.failed);
}
