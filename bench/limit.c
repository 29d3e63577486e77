/* What a core can do at its best: multiply-adds that never leave the registers.
 *
 * One function an instruction set, int8_* and fp32_*: it runs `rounds` of independent multiply-adds and returns how
 * many they were, or 0 where this CPU or kernel lacks the instructions. The caller takes the time.
 */
#define _GNU_SOURCE

enum { CHAINS = 12 }; /* sums in flight: two units a core times five cycles or less, and inputs fit beside them */
#define CHAINED(step) \
    step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11)

static volatile int seed = 1; /* what the compiler cannot know, it cannot compute */
static volatile float sink;

#define START(n) sums[n] = a + n; /* chains that begin alike would be computed once for all */
#define TOTAL(n) total += sums[n];

/* `name` does `step` on every chain in every round, `macs` multiply-adds each, where `present` holds. */
#define KERNEL(name, isa, present, vector, start, step, macs)                   \
    isa static __attribute__((noinline)) long run_##name(long rounds) {         \
        vector sums[CHAINS], a = start, b = start, total = start;               \
        CHAINED(START)                                                          \
        for (long round = 0; round < rounds; round++) { CHAINED(step) }         \
        CHAINED(TOTAL)                                                          \
        sink = (float)total[0] + (float)b[0];                                   \
        return rounds * CHAINS * (macs);                                        \
    }                                                                           \
    long name(long rounds) { return (present) ? run_##name(rounds) : 0; }

typedef short shorts __attribute__((vector_size(16)));
typedef float floats __attribute__((vector_size(16)));
#define MULTIPLY_ADD(n) sums[n] = sums[n] * a + b;
KERNEL(int8_plain, , 1, shorts, (shorts){} + (short)seed, MULTIPLY_ADD, 8)
KERNEL(fp32_plain, , 1, floats, (floats){} + (float)seed / 2, MULTIPLY_ADD, 4)

#ifdef __x86_64__
#include <immintrin.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ISA(names) __attribute__((target(names)))
#define HAS __builtin_cpu_supports

#define FMA_256(n) sums[n] = _mm256_fmadd_ps(sums[n], a, b);
#define FMA_512(n) sums[n] = _mm512_fmadd_ps(sums[n], a, b);
KERNEL(fp32_avx2, ISA("avx2,fma"), HAS("avx2") && HAS("fma"), __m256, _mm256_set1_ps(seed / 2.0f), FMA_256, 8)
KERNEL(fp32_avx512, ISA("avx512f"), HAS("avx512f"), __m512, _mm512_set1_ps(seed / 2.0f), FMA_512, 16)

/* Without the empty asm the product, the same in every round, would be computed once. */
#define MADDUBS(n)                                                                                             \
    __asm__("" : "+x"(a));                                                                                     \
    sums[n] = _mm256_add_epi32(sums[n], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), b));
#define VNNI_256(n) sums[n] = _mm256_dpbusd_avx_epi32(sums[n], a, b);
#define VNNI_512(n) sums[n] = _mm512_dpbusd_epi32(sums[n], a, b);
KERNEL(int8_avx2, ISA("avx2"), HAS("avx2"), __m256i, _mm256_set1_epi32(seed), MADDUBS, 32)
KERNEL(int8_avx_vnni, ISA("avxvnni"), HAS("avxvnni"), __m256i, _mm256_set1_epi32(seed), VNNI_256, 32)
KERNEL(int8_avx512_vnni, ISA("avx512f,avx512vnni"), HAS("avx512vnni"), __m512i, _mm512_set1_epi32(seed), VNNI_512, 64)

/* Linux lends the tile registers to a process that asks (Documentation/arch/x86/xstate.rst). */
enum { ASK_FOR_STATE = 0x1023, TILE_DATA = 18, TILE_ROWS = 16, TILE_BYTES = 64, TILE_CHAINS = 6 };
enum { TILE_MACS = TILE_ROWS * TILE_ROWS * TILE_BYTES };

static int tiles_lent(void) {
    return HAS("amx-int8") && syscall(SYS_arch_prctl, ASK_FOR_STATE, TILE_DATA) == 0;
}

static const struct { uint8_t palette, start_row, reserved[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } TILES = {
    .palette = 1,
    .row_bytes = {[0 ... TILE_CHAINS + 1] = TILE_BYTES},
    .rows = {[0 ... TILE_CHAINS + 1] = TILE_ROWS},
};

ISA("amx-tile,amx-int8") static __attribute__((noinline)) long run_int8_amx(long rounds) {
    _tile_loadconfig(&TILES);
    for (long round = 0; round < rounds; round++) {
        _tile_dpbusd(0, 6, 7);
        _tile_dpbusd(1, 6, 7);
        _tile_dpbusd(2, 6, 7);
        _tile_dpbusd(3, 6, 7);
        _tile_dpbusd(4, 6, 7);
        _tile_dpbusd(5, 6, 7);
    }
    _tile_release();
    return rounds * TILE_CHAINS * TILE_MACS;
}

long int8_amx(long rounds) { return tiles_lent() ? run_int8_amx(rounds) : 0; }
#endif
