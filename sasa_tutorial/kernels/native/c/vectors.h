/* Vectors of REAL (float or double), as wide as the compiler's target allows, and the two functions of a softmax. */
#pragma once
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
#define BLOCK 8 /* channels at a time for two rows of pixels: 32 registers hold 2 x 8 sums and what is added to them */
#else
#define BLOCK 4 /* 16 registers */
#endif
#define LANES ((long)(BYTES / sizeof(REAL)))
#define INLINE static inline __attribute__((always_inline))

#ifdef REAL_IS_DOUBLE
typedef long long integer;
enum { MANTISSA = 52, BIAS = 1023 };
#define MAGIC 6755399441055744.0 /* adding 1.5 x 2^52 rounds to a whole number, found in the lowest bits */
#else
typedef int integer;
enum { MANTISSA = 23, BIAS = 127 };
#define MAGIC 12582912.0f
#endif
#define LOG2_E ((REAL)1.44269504088896340736)
#define LN_2 ((REAL)0.693147180559945309417)

typedef REAL vec __attribute__((vector_size(BYTES)));
typedef integer whole __attribute__((vector_size(BYTES)));
typedef REAL loose __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias)); /* any address */

/* Sharp attention makes weights below the smallest normal number, for which a processor may take a hundred times as long.
 * From here to `restore`, in this thread, they are 0, as numbers so small are in a sum with the largest weight, 1. */
#if defined(__SSE2__)
typedef unsigned control;
INLINE control flush_tiny_numbers(void) {
    const control before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* results, and what is read */
    return before;
}
INLINE void restore(control before) { _mm_setcsr(before); }
#elif defined(__aarch64__)
typedef unsigned long control;
INLINE void restore(control to) { __asm__ volatile("msr fpcr, %0" : : "r"(to)); }
INLINE control flush_tiny_numbers(void) {
    control before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    restore(before | 1ul << 24);
    return before;
}
#else
typedef int control;
INLINE control flush_tiny_numbers(void) { return 0; }
INLINE void restore(control before) { (void)before; }
#endif

INLINE vec load(const REAL *p) { return *(const loose *)p; }
INLINE void store(REAL *p, vec x) { *(loose *)p = x; }
INLINE vec all(REAL x) { return x - (vec){0}; }
INLINE vec kept(whole mask, vec x) { return (vec)(mask & (whole)x); } /* 0 elsewhere */
INLINE vec choose(whole mask, vec yes, vec no) { return (vec)((mask & (whole)yes) | (~mask & (whole)no)); }
/* One instruction on x86, where the compiler finds it not by itself. */
#if defined(__AVX512F__)
#define X86_MAX(type) _mm512_max_##type
#elif defined(__AVX__)
#define X86_MAX(type) _mm256_max_##type
#elif defined(__SSE2__)
#define X86_MAX(type) _mm_max_##type
#endif
INLINE vec larger(vec a, vec b) {
#if defined(X86_MAX) && defined(REAL_IS_DOUBLE)
    return (vec)X86_MAX(pd)(a, b);
#elif defined(X86_MAX)
    return (vec)X86_MAX(ps)(a, b);
#else
    return choose(a > b, a, b);
#endif
}

/* The largest of `count` vectors, in four chains: one would wait for each of its steps. */
INLINE vec largest(const vec *x, long count) {
    vec top[4] = {x[0], x[0], x[0], x[0]};
    long i = 0;
    for (; i + 4 <= count; i += 4)
        for (int n = 0; n < 4; n++) top[n] = larger(top[n], x[i + n]);
    for (; i < count; i++) top[0] = larger(top[0], x[i]);
    return larger(larger(top[0], top[1]), larger(top[2], top[3]));
}

/* Keeps a loaded vector in a register for both of its uses; the compiler would rather load it twice. */
#if defined(__x86_64__)
#define IN_REGISTER(x) __asm__("" : "+v"(x))
#elif defined(__aarch64__)
#define IN_REGISTER(x) __asm__("" : "+w"(x))
#else
#define IN_REGISTER(x)
#endif

INLINE REAL total(vec x) {
    REAL sum = 0;
    for (long lane = 0; lane < LANES; lane++) sum += x[lane];
    return sum;
}

/* 2^x for x <= 0, in two factors: 2^n by its bits, 2^(x - n) by a polynomial. Far below, where only 2^-BIAS is left, the
 * sum of the bits is exactly 0: a cell outside the image gets no weight, not a tiny one. */
INLINE vec power_of_two(vec x) {
#ifdef REAL_IS_DOUBLE /* Taylor: ln(2)^n / n! */
    static const REAL terms[] = {1.3691488853904128e-12, 2.5678435993488206e-11, 4.4455382718708116e-10,
                                 7.0549116208011233e-9,  1.0178086009239699e-7,  1.3215486790144309e-6,
                                 1.5252733804059841e-5,  1.5403530393381608e-4,  1.3333558146428443e-3,
                                 9.6181291076284769e-3,  5.5504108664821579e-2,  2.4022650695910072e-1,
                                 6.9314718055994531e-1,  1.0};
#else /* minimax, as in Cephes' exp2f */
    static const REAL terms[] = {1.535336188319500e-4f, 1.339887440266574e-3f, 9.618437357674640e-3f,
                                 5.550332471162809e-2f, 2.402264791363012e-1f, 6.931472028550421e-1f, 1.0f};
#endif
    x = larger(all(-BIAS), x); /* what is no number stays none: the instruction returns its second operand */
    const vec shifted = x + MAGIC, rest = x - (shifted - MAGIC);
    vec y = all(terms[0]);
#pragma GCC unroll 16
    for (unsigned n = 1; n < sizeof terms / sizeof *terms; n++) y = y * rest + terms[n];
    return (vec)((whole)y + ((whole)shifted << MANTISSA));
}

/* ln(x) for finite x >= 1: the exponent times ln 2, and 2 artanh((m - 1) / (m + 1)) for the mantissa around 1. */
INLINE vec logarithm(vec x) {
    const integer one = (integer)BIAS << MANTISSA;
    const whole raised = (whole)x + (one - (integer)((whole)all((REAL)0.70710678118654752440))[0]);
    const whole exponent = (raised >> MANTISSA) - BIAS;
    const vec m = (vec)((whole)x - (exponent << MANTISSA)), s = (m - 1) / (m + 1), square = s * s;
    vec series = all(0);
    for (int n = sizeof(REAL) == 4 ? 9 : 21; n > 0; n -= 2) series = series * square + (REAL)1 / n;
    return __builtin_convertvector(exponent, vec) * LN_2 + 2 * s * series + (x - x); /* what is no number stays none */
}

INLINE void copy(REAL *to, const REAL *from, long count) {
    for (; count >= LANES; count -= LANES, to += LANES, from += LANES) store(to, load(from));
    for (; count > 0; count--) *to++ = *from++;
}

/* to[c][r] = from[r][c], rows `to_pitch` and `from_pitch` apart: four by four in registers, where the compiler can. */
INLINE void transpose(REAL *to, long to_pitch, const REAL *from, long from_pitch, long rows, long columns) {
    long r = 0;
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
    typedef REAL four __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
    for (; r + 4 <= rows; r += 4) {
        long c = 0;
        for (; c + 4 <= columns; c += 4) {
            const REAL *at = from + r * from_pitch + c;
            const four x0 = *(const four *)at, x1 = *(const four *)(at + from_pitch);
            const four x2 = *(const four *)(at + 2 * from_pitch), x3 = *(const four *)(at + 3 * from_pitch);
            const four low0 = __builtin_shufflevector(x0, x1, 0, 4, 1, 5), high0 = __builtin_shufflevector(x0, x1, 2, 6, 3, 7);
            const four low1 = __builtin_shufflevector(x2, x3, 0, 4, 1, 5), high1 = __builtin_shufflevector(x2, x3, 2, 6, 3, 7);
            REAL *there = to + c * to_pitch + r;
            *(four *)there = __builtin_shufflevector(low0, low1, 0, 1, 4, 5);
            *(four *)(there + to_pitch) = __builtin_shufflevector(low0, low1, 2, 3, 6, 7);
            *(four *)(there + 2 * to_pitch) = __builtin_shufflevector(high0, high1, 0, 1, 4, 5);
            *(four *)(there + 3 * to_pitch) = __builtin_shufflevector(high0, high1, 2, 3, 6, 7);
        }
        for (; c < columns; c++)
            for (long n = r; n < r + 4; n++) to[c * to_pitch + n] = from[n * from_pitch + c];
    }
#endif
#endif
    for (; r < rows; r++)
        for (long c = 0; c < columns; c++) to[c * to_pitch + r] = from[r * from_pitch + c];
}
