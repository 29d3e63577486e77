/* A BERT-shaped encoder with 8-bit weights, for one text at a time: token ids in, logits out, weights memory-mapped.

Every weight is a row of signed 8-bit numbers with one scale, stored as unsigned (plus 128) in the order in which the
CPU's dot-product instructions read it: panels of 16 outputs, 4 inputs at a time. Activations are quantized row by row
as they come and integer products are exact; the rest is fp32, in the same order everywhere, so every CPU gives the same
bits. `optimize/native.py` writes the file and compiles this source once for each CPU level; `app/native.py` picks the
best one at start.

Refuses a file whose bytes are not those that were written, and a token whose embedding row is damaged. Knows no batch,
no padding and no second thread of arithmetic: one diary entry is one call. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#endif
#if !defined(MADV_POPULATE_READ) /* Linux 5.14, glibc 2.35; an older kernel refuses it and the pages come one by one */
#define MADV_POPULATE_READ 22
#endif

enum { WIDTH = 16, GROUP = 4, PANEL = WIDTH * GROUP, TILE = 64, STRIPE = 2 * WIDTH };
enum { ALIGNMENT = 64, PAGE = 4096, QUERIES = 8, LANES = 4, CHECKERS = 2 };
enum { AHEAD = 16384 /* bytes of weights to fetch early; 4096 to 49152 measured the same, none 5 to 20 % slower */ };
enum { OFFSET = 128, LARGEST = 127 };
enum { OK, CANNOT_READ, NOT_AN_ENCODER, DAMAGED, NO_MEMORY, BAD_TOKENS, DAMAGED_ROW };
enum { POOLED_BY_GELU, POOLED_BY_TANH };

static const uint32_t MIX = 0x9E3779B1; /* odd, so that multiplying loses nothing: 2^32 / golden ratio */
static const uint64_t MIX_WIDE = 0x9E3779B97F4A7C15; /* the same of 2^64 */
static const float NOTHING = -1e30f; /* a score whose share is below what fp32 adds to 1 */

typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t integers __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef uint32_t words __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef uint32_t word __attribute__((may_alias));
#if defined(__AVX2__) && !defined(__AVX512VNNI__)
typedef int16_t number; /* AVX2's product of 8-bit numbers saturates */
#else
typedef int8_t number;
#endif
typedef number numbers __attribute__((vector_size(sizeof(number) * WIDTH), aligned(1), may_alias));

typedef struct {
    char magic[8];
    uint64_t checksum; /* of the bytes from the next field on, up to the embedding rows */
    uint64_t checked_bytes, file_bytes;
    uint32_t layers, hidden, heads, intermediate, positions, vocabulary, labels, pooling;
    float epsilon;
    uint32_t reserved;
} header;

static const char MAGIC[] = "AIDENC\0\1";

typedef struct {
    int outputs, inputs;
    const uint8_t *weights;
    const float *scales, *bias;
} matrix;

typedef struct {
    const float *gain, *shift;
} norm;

typedef struct {
    matrix attention, output, up, down;
    norm after_attention, after_feed_forward;
} layer;

typedef struct {
    number *values;
    float *scales;
    int32_t *sums;
} quantized;

typedef struct {
    const header *file;
    const float *positions, *classifier, *classifier_bias;
    const uint8_t *rows;
    size_t row_bytes;
    norm embeddings;
    matrix pooler;
    float *state, *wide, *narrow, *keys, *scores;
    quantized input;
    layer layers[];
} encoder;

/* ---- integrity: one changed 32-bit word changes the sum for certain, other damage but for one time in 2^32 ---- */

/* The turn brings the high bits, which a product only carries upwards, back to where they spread. */
static inline void mix(words *lanes, const uint8_t *data) {
    for (int i = 0; i < LANES; i++) {
        words mixed = (lanes[i] ^ ((const words *)data)[i]) * MIX;
        lanes[i] = mixed << 15 | mixed >> 17;
    }
}

uint64_t encoder_checksum(const uint8_t *data, size_t size) {
    words lanes[LANES];
    uint8_t last[sizeof lanes] = {0};
    uint64_t sum = size;
    for (int i = 0; i < LANES * WIDTH; i++) lanes[i / WIDTH][i % WIDTH] = i + 1;
    for (; size >= sizeof lanes; size -= sizeof lanes, data += sizeof lanes) mix(lanes, data);
    memcpy(last, data, size);
    mix(lanes, last);
    for (int i = 0; i < LANES * WIDTH; i++) sum = (sum ^ lanes[i / WIDTH][i % WIDTH]) * MIX_WIDE;
    return sum;
}

typedef struct {
    const uint8_t *data;
    size_t size;
    uint64_t sum;
} part;

static void *check_part(void *argument) {
    part *one = argument;
    madvise((void *)((uintptr_t)one->data & ~(uintptr_t)(PAGE - 1)), one->size, MADV_POPULATE_READ);
    one->sum = encoder_checksum(one->data, one->size);
    return NULL;
}

/* The sum of `CHECKERS` equal parts, each read by a thread of its own: init has every core. */
uint64_t encoder_file_checksum(const uint8_t *data, size_t size) {
    part parts[CHECKERS];
    pthread_t threads[CHECKERS];
    uint64_t sum = 0;
    size_t share = size / CHECKERS & ~(size_t)(PAGE - 1);
    for (int i = 0; i < CHECKERS; i++) {
        parts[i] = (part){data + i * share, i + 1 < CHECKERS ? share : size - i * share, 0};
        if (i && pthread_create(&threads[i], NULL, check_part, &parts[i])) check_part(&parts[i]), threads[i] = 0;
    }
    check_part(&parts[0]);
    for (int i = 0; i < CHECKERS; i++) {
        if (i && threads[i]) pthread_join(threads[i], NULL);
        sum = (sum ^ parts[i].sum) * MIX_WIDE;
    }
    return sum;
}

/* ---- fp32 pieces ---- */

static inline vector splat(float value) { return value - (vector){0}; }

static inline vector load(const float *from) { return *(const vector *)from; }

static inline void store(float *to, vector value) { *(vector *)to = value; }

static inline float total(vector value) {
    float sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += value[i];
    return sum;
}

static inline vector larger(vector one, vector other) {
    for (int i = 0; i < WIDTH; i++) one[i] = one[i] > other[i] ? one[i] : other[i];
    return one;
}

static inline float largest(vector value) {
    float found = value[0];
    for (int i = 1; i < WIDTH; i++) found = found > value[i] ? found : value[i];
    return found;
}

static inline vector absolute(vector value) { return (vector)((integers)value & 0x7FFFFFFF); }

/* To the nearest integer, ties to even, for |value| < 2^22: the sum has no bits left for a fraction. */
static inline vector nearest(vector value) { return (value + 12582912.0f) - 12582912.0f; }

/* e^x within 2e-7 of its size, for x from -87 to 0: 2^whole times Taylor's polynomial in the rest (ln 2 folded in). */
static inline vector exponential(vector x) {
    vector power = larger(x, splat(-87.0f)) * 1.44269504f, whole = nearest(power), rest = power - whole;
    vector value = splat(1.5403530e-4f);
    value = value * rest + 1.3333558e-3f;
    value = value * rest + 9.6181291e-3f;
    value = value * rest + 5.5504109e-2f;
    value = value * rest + 2.4022651e-1f;
    value = value * rest + 6.9314718e-1f;
    value = value * rest + 1.0f;
    return (vector)((integers)value + (__builtin_convertvector(whole, integers) << 23));
}

/* x times the normal distribution's share below x; erf by Abramowitz and Stegun 7.1.26, within 1.5e-7. */
static inline vector gelu(vector x) {
    vector size = absolute(x) * 0.70710678f, t = 1.0f / (size * 0.3275911f + 1.0f);
    vector tail = splat(1.061405429f);
    tail = tail * t - 1.453152027f;
    tail = tail * t + 1.421413741f;
    tail = tail * t - 0.284496736f;
    tail = tail * t + 0.254829592f;
    tail = tail * t * exponential(-size * size) * 0.5f;
    return 0.5f * x + absolute(x) * (0.5f - tail);
}

static void gelu_all(float *values, int count) {
    for (int i = 0; i < count; i += WIDTH) store(values + i, gelu(load(values + i)));
}

/* `state` becomes the layer norm of `state` + `change`, a row of `width` after the other. */
static void add_and_norm(float *state, const float *change, const norm *by, int rows, int width, float epsilon) {
    for (int row = 0; row < rows; row++, state += width, change += width) {
        vector sum = {0}, squares = {0};
        for (int i = 0; i < width; i += WIDTH) {
            vector value = load(state + i) + load(change + i);
            store(state + i, value);
            sum += value;
        }
        vector mean = splat(total(sum) / width);
        for (int i = 0; i < width; i += WIDTH) squares += (load(state + i) - mean) * (load(state + i) - mean);
        vector scale = splat(1.0f / sqrtf(total(squares) / width + epsilon));
        for (int i = 0; i < width; i += WIDTH)
            store(state + i, (load(state + i) - mean) * scale * load(by->gain + i) + load(by->shift + i));
    }
}

/* Where a quantized number stands: tiles of 16 rows and 64 columns, so that a block is read from end to end. */
static inline size_t place(int row, int column, int width) {
    return (size_t)(row / WIDTH) * WIDTH * width + (column / TILE * WIDTH + row % WIDTH) * TILE + column % TILE;
}

static void quantize(const quantized *to, const float *from, int rows, int width) {
    for (int row = 0; row < rows; row++, from += width) {
        vector most = {0};
        integers sum = {0};
        for (int i = 0; i < width; i += WIDTH) most = larger(most, absolute(load(from + i)));
        float scale = largest(most) / LARGEST, inverse = scale > 0 ? 1 / scale : 0;
        for (int i = 0; i < width; i += WIDTH) {
            integers value = __builtin_convertvector(nearest(load(from + i) * inverse), integers);
            *(numbers *)(to->values + place(row, i, width)) = __builtin_convertvector(value, numbers);
            sum += value;
        }
        to->scales[row] = scale;
        to->sums[row] = 0;
        for (int i = 0; i < WIDTH; i++) to->sums[row] += sum[i];
    }
}

/* ---- integer products: a stripe of two panels, of up to `BLOCK` rows at a time ---- */

#if defined(__AMX_INT8__)
enum { BLOCK = 2 * WIDTH };

static void prepare_products(void) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) shape.rows[tile] = WIDTH, shape.row_bytes[tile] = PANEL;
    _tile_loadconfig(&shape);
}

static void finish_products(void) { _tile_release(); }

static inline void fetch(const uint8_t *panel) {
    for (int line = 0; line < WIDTH; line++) __builtin_prefetch(panel + AHEAD + line * ALIGNMENT, 0, 2);
}

/* Tiles 0 to 3 add up (rows x panel), 4 and 5 hold inputs, 6 and 7 weights. */
static void multiply(const number *input, int width, int rows, const uint8_t *panel, int32_t (*sums)[BLOCK][WIDTH]) {
    size_t next = (size_t)width * WIDTH;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (const uint8_t *end = panel + next; panel < end; panel += TILE * WIDTH, input += TILE * WIDTH) {
        fetch(panel);
        fetch(panel + next);
        _tile_loadd(4, input, TILE);
        _tile_loadd(6, panel, PANEL);
        _tile_loadd(7, panel + next, PANEL);
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        if (rows > WIDTH) {
            _tile_loadd(5, input + next, TILE);
            _tile_dpbsud(2, 5, 6);
            _tile_dpbsud(3, 5, 7);
        }
    }
    _tile_stored(0, sums[0], PANEL);
    _tile_stored(1, sums[1], PANEL);
    _tile_stored(2, sums[0][WIDTH], PANEL);
    _tile_stored(3, sums[1][WIDTH], PANEL);
}
#else
enum { BLOCK = WIDTH };

static void prepare_products(void) {}

static void finish_products(void) {}

/* `dot` adds to 16 sums the products of 4 inputs and a line of a panel; `ROWS` x `PANELS` sums fit into registers. */
#if defined(__AVX512VNNI__)
enum { ROWS = 8, PANELS = 2 };
typedef integers running;

static inline running dot(running sum, const uint8_t *weights, const number *input) {
    __m512i inputs = _mm512_set1_epi32(*(const word *)input);
    return (integers)_mm512_dpbusd_epi32((__m512i)sum, _mm512_loadu_si512(weights), inputs);
}

static inline integers settle(running sum) { return sum; }
#elif defined(__AVX2__)
enum { ROWS = 2, PANELS = 1 };
typedef struct {
    __m256i pairs[4];
} running;

/* The four products of an output stay two pairs until the end. */
static inline running dot(running sum, const uint8_t *weights, const number *input) {
    __m256i inputs = _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)input));
    for (int i = 0; i < 4; i++) {
        __m256i four = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)weights + i));
        sum.pairs[i] = _mm256_add_epi32(sum.pairs[i], _mm256_madd_epi16(four, inputs));
    }
    return sum;
}

static inline integers settle(running sum) {
    union {
        __m256i halves[2];
        integers whole;
    } found;
    for (int i = 0; i < 2; i++)
        found.halves[i] =
            _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum.pairs[2 * i], sum.pairs[2 * i + 1]), 0xD8);
    return found.whole;
}
#else
enum { ROWS = 8, PANELS = 2 };
typedef integers running;

static inline running dot(running sum, const uint8_t *weights, const number *input) {
    for (int i = 0; i < WIDTH; i++)
        for (int k = 0; k < GROUP; k++) sum[i] += weights[GROUP * i + k] * input[k];
    return sum;
}

static inline integers settle(running sum) { return sum; }
#endif

static inline __attribute__((always_inline)) void multiply_rows(
    const number *input, int width, const int rows, const uint8_t *panel, int32_t *sums) {
    running found[PANELS][ROWS];
    size_t next = (size_t)width * WIDTH;
    memset(found, 0, sizeof found);
    for (int tile = 0; tile < width; tile += TILE, input += TILE * WIDTH)
        for (int at = 0; at < TILE; at += GROUP, panel += PANEL)
            for (int i = 0; i < PANELS; i++) {
                __builtin_prefetch(panel + i * next + AHEAD, 0, 2);
                for (int row = 0; row < rows; row++)
                    found[i][row] = dot(found[i][row], panel + i * next, input + row * TILE + at);
            }
    for (int i = 0; i < PANELS; i++)
        for (int row = 0; row < rows; row++) *(integers *)(sums + (i * BLOCK + row) * WIDTH) = settle(found[i][row]);
}

static void multiply(const number *input, int width, int rows, const uint8_t *panel, int32_t (*sums)[BLOCK][WIDTH]) {
    for (int i = 0; i < STRIPE / WIDTH; i += PANELS, panel += (size_t)PANELS * width * WIDTH)
        for (int row = 0; row < rows; row += ROWS)
            if (rows - row > ROWS / 2) multiply_rows(input + row * TILE, width, ROWS, panel, sums[i][row]);
            else if (rows - row > 1) multiply_rows(input + row * TILE, width, ROWS / 2, panel, sums[i][row]);
            else multiply_rows(input + row * TILE, width, 1, panel, sums[i][row]);
}
#endif

/* `to` (rows x `stride`) = input x weights for the outputs from `first` to `last`, with scales and bias. */
static void apply(const matrix *by, int first, int last, const quantized *input, int rows, float *to, int stride) {
    int32_t sums[2][BLOCK][WIDTH] __attribute__((aligned(64)));
    for (int stripe = first; stripe < last; stripe += STRIPE)
        for (int start = 0; start < rows; start += BLOCK) {
            int count = rows - start < BLOCK ? rows - start : BLOCK;
            const uint8_t *panel = by->weights + (size_t)stripe * by->inputs;
            multiply(input->values + (size_t)start * by->inputs, by->inputs, count, panel, sums);
            for (int output = stripe; output < stripe + STRIPE; output += WIDTH) {
                vector scales = load(by->scales + output), bias = load(by->bias + output);
                for (int row = 0; row < count; row++) {
                    integers signed_sum = *(const integers *)sums[(output - stripe) / WIDTH][row];
                    integers exact = signed_sum - OFFSET * input->sums[start + row];
                    vector scaled = __builtin_convertvector(exact, vector) * (scales * input->scales[start + row]);
                    store(to + (size_t)(start + row) * stride + output, scaled + bias);
                }
            }
        }
}

/* ---- attention ---- */

/* `QUERIES` rows of scores over `count` keys become shares: e^(score - largest), and 1 over each row's sum. */
static void softmax(float *scores, int stride, int count, float *inverses) {
    for (int query = 0; query < QUERIES; query++, scores += stride) {
        for (int i = count; i < stride; i++) scores[i] = NOTHING;
        vector most = load(scores), sum = {0};
        for (int i = WIDTH; i < stride; i += WIDTH) most = larger(most, load(scores + i));
        vector top = splat(largest(most));
        for (int i = 0; i < stride; i += WIDTH) {
            vector share = exponential(load(scores + i) - top);
            store(scores + i, share);
            sum += share;
        }
        inverses[query] = 1 / total(sum);
    }
}

/* One head: queries, keys and values are `size` wide columns of `wide`; the first `queries` rows of `to` are made. */
static void attend(const encoder *one, const float *wide, int count, int queries, int size, float *to) {
    int hidden = one->file->hidden, stride = (count + WIDTH - 1) / WIDTH * WIDTH;
    const float *keys = wide + hidden, *values = wide + 2 * hidden;
    float scale = 1 / sqrtf(size), inverses[QUERIES];
    for (int row = 0; row < count; row++)
        for (int i = 0; i < size; i++) one->keys[(size_t)i * stride + row] = keys[(size_t)row * 3 * hidden + i];
    for (int query = 0; query < queries; query += QUERIES) {
        const float *asked = wide + (size_t)query * 3 * hidden;
        for (int key = 0; key < stride; key += WIDTH) {
            vector sums[QUERIES] = {{0}};
            for (int i = 0; i < size; i++)
                for (int row = 0; row < QUERIES; row++)
                    sums[row] += load(one->keys + (size_t)i * stride + key) * asked[(size_t)row * 3 * hidden + i];
            for (int row = 0; row < QUERIES; row++) store(one->scores + row * stride + key, sums[row] * scale);
        }
        softmax(one->scores, stride, count, inverses);
        for (int i = 0; i < size; i += WIDTH) {
            vector sums[QUERIES] = {{0}};
            for (int key = 0; key < count; key++)
                for (int row = 0; row < QUERIES; row++)
                    sums[row] += load(values + (size_t)key * 3 * hidden + i) * one->scores[row * stride + key];
            for (int row = 0; row < QUERIES && query + row < queries; row++)
                store(to + (size_t)(query + row) * hidden + i, sums[row] * inverses[row]);
        }
    }
}

/* ---- the model ---- */

static int embed(const encoder *one, const int32_t *ids, int count) {
    int hidden = one->file->hidden;
    for (int token = 0; token < count; token++) {
        uint32_t check;
        float scale;
        const uint8_t *row = one->rows + one->row_bytes * ids[token];
        memcpy(&check, row, sizeof check);
        memcpy(&scale, row + sizeof check, sizeof scale);
        if ((uint32_t)encoder_checksum(row + sizeof check, one->row_bytes - sizeof check) != check) return DAMAGED_ROW;
        const int8_t *values = (const int8_t *)row + sizeof check + sizeof scale;
        for (int i = 0; i < hidden; i++) one->state[(size_t)token * hidden + i] = values[i] * scale;
    }
    add_and_norm(one->state, one->positions, &one->embeddings, count, hidden, one->file->epsilon);
    return OK;
}

/* One layer over `count` rows; of the result only the first `wanted` rows are made. */
static void encode(const encoder *one, const layer *by, int count, int wanted) {
    int hidden = one->file->hidden, intermediate = one->file->intermediate, size = hidden / one->file->heads;
    quantize(&one->input, one->state, count, hidden);
    apply(&by->attention, 0, hidden, &one->input, wanted, one->wide, 3 * hidden);
    apply(&by->attention, hidden, 3 * hidden, &one->input, count, one->wide, 3 * hidden);
    for (int at = 0; at < hidden; at += size) attend(one, one->wide + at, count, wanted, size, one->narrow + at);
    quantize(&one->input, one->narrow, wanted, hidden);
    apply(&by->output, 0, hidden, &one->input, wanted, one->narrow, hidden);
    add_and_norm(one->state, one->narrow, &by->after_attention, wanted, hidden, one->file->epsilon);
    quantize(&one->input, one->state, wanted, hidden);
    apply(&by->up, 0, intermediate, &one->input, wanted, one->wide, intermediate);
    gelu_all(one->wide, wanted * intermediate);
    quantize(&one->input, one->wide, wanted, intermediate);
    apply(&by->down, 0, hidden, &one->input, wanted, one->narrow, hidden);
    add_and_norm(one->state, one->narrow, &by->after_feed_forward, wanted, hidden, one->file->epsilon);
}

static void classify(const encoder *one, float *logits) {
    int hidden = one->file->hidden;
    quantize(&one->input, one->state, 1, hidden);
    apply(&one->pooler, 0, hidden, &one->input, 1, one->narrow, hidden);
    if (one->file->pooling == POOLED_BY_GELU) gelu_all(one->narrow, hidden);
    else
        for (int i = 0; i < hidden; i++) one->narrow[i] = tanhf(one->narrow[i]);
    for (uint32_t label = 0; label < one->file->labels; label++) {
        vector sum = {0};
        const float *weights = one->classifier + label * hidden;
        for (int i = 0; i < hidden; i += WIDTH) sum += load(one->narrow + i) * load(weights + i);
        logits[label] = total(sum) + one->classifier_bias[label];
    }
}

/* Logits (as many as labels) of `count` token ids, the special ones included. */
int encoder_run(encoder *one, const int32_t *ids, int count, float *logits) {
    if (count < 1 || count > (int)one->file->positions) return BAD_TOKENS;
    for (int i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= (int32_t)one->file->vocabulary) return BAD_TOKENS;
    if (embed(one, ids, count)) return DAMAGED_ROW;
    prepare_products();
    for (uint32_t i = 0; i < one->file->layers; i++)
        encode(one, &one->layers[i], count, i + 1 < one->file->layers ? count : 1);
    classify(one, logits);
    finish_products();
    return OK;
}

/* ---- opening ---- */

static void *take(const uint8_t **at, size_t size) {
    const uint8_t *found = *at;
    *at += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return (void *)found;
}

static matrix take_matrix(const uint8_t **at, int outputs, int inputs) {
    matrix one = {outputs, inputs, NULL, NULL, NULL};
    one.weights = take(at, (size_t)outputs * inputs);
    one.scales = take(at, sizeof(float) * outputs);
    one.bias = take(at, sizeof(float) * outputs);
    return one;
}

static norm take_norm(const uint8_t **at, int width) {
    norm one;
    one.gain = take(at, sizeof(float) * width);
    one.shift = take(at, sizeof(float) * width);
    return one;
}

/* Whether what the header names takes up the whole file. */
static int lay_out(encoder *one, const header *file) {
    const uint8_t *at = (const uint8_t *)file;
    int hidden = file->hidden, intermediate = file->intermediate;
    one->file = file;
    take(&at, sizeof(header));
    one->positions = take(&at, sizeof(float) * file->positions * hidden);
    one->embeddings = take_norm(&at, hidden);
    for (uint32_t i = 0; i < file->layers; i++) {
        layer *into = &one->layers[i];
        into->attention = take_matrix(&at, 3 * hidden, hidden);
        into->output = take_matrix(&at, hidden, hidden);
        into->after_attention = take_norm(&at, hidden);
        into->up = take_matrix(&at, intermediate, hidden);
        into->down = take_matrix(&at, hidden, intermediate);
        into->after_feed_forward = take_norm(&at, hidden);
    }
    one->pooler = take_matrix(&at, hidden, hidden);
    one->classifier = take(&at, sizeof(float) * file->labels * hidden);
    one->classifier_bias = take(&at, sizeof(float) * file->labels);
    one->rows = at;
    one->row_bytes = sizeof(uint32_t) + sizeof(float) + hidden;
    return at == (const uint8_t *)file + file->checked_bytes &&
           one->row_bytes * file->vocabulary == file->file_bytes - file->checked_bytes;
}

/* Room for the longest text, in whole cache lines; the kernel hands out pages only as they are used. */
static int make_room(encoder *one) {
    size_t rows = (one->file->positions + BLOCK - 1) / BLOCK * BLOCK, hidden = one->file->hidden;
    size_t widest = 3 * hidden > one->file->intermediate ? 3 * hidden : one->file->intermediate;
    size_t narrow = sizeof(float) * rows * hidden, column = sizeof(float) * rows;
    size_t wide = sizeof(float) * rows * widest, inputs = sizeof(number) * rows * widest;
    size_t all = 3 * narrow + wide + inputs + (QUERIES + 2) * column;
    const uint8_t *at = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return 0;
    one->state = take(&at, narrow);
    one->narrow = take(&at, narrow);
    one->keys = take(&at, narrow);
    one->wide = take(&at, wide);
    one->scores = take(&at, QUERIES * column);
    one->input.values = take(&at, inputs);
    one->input.scales = take(&at, column);
    one->input.sums = take(&at, column);
    return 1;
}

static const void *map_file(const char *path, size_t *size) {
    struct stat found;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return NULL;
    void *data = fstat(file, &found) ? MAP_FAILED : mmap(NULL, found.st_size, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    *size = data == MAP_FAILED ? 0 : found.st_size;
    return data == MAP_FAILED ? NULL : data;
}

static int check(const header *file, size_t size) {
    const size_t unchecked = offsetof(header, checked_bytes);
    if (size < sizeof *file || memcmp(file->magic, MAGIC, sizeof file->magic)) return NOT_AN_ENCODER;
    if (file->file_bytes != size || file->checked_bytes < sizeof *file || file->checked_bytes > size) return DAMAGED;
    uint64_t found = encoder_file_checksum((const uint8_t *)file + unchecked, file->checked_bytes - unchecked);
    return found == file->checksum ? OK : DAMAGED;
}

static int make(const header *file, encoder **made) {
    encoder *one = calloc(1, sizeof *one + file->layers * sizeof *one->layers);
    int problem = !one ? NO_MEMORY : !lay_out(one, file) ? DAMAGED : !make_room(one) ? NO_MEMORY : OK;
    if (problem) free(one);
    else *made = one;
    return problem;
}

/* Map the file, check its bytes and hand out an encoder; anything but `OK` says why not. */
int encoder_open(const char *path, encoder **opened) {
    size_t size;
    const header *file = map_file(path, &size);
    if (!file) return CANNOT_READ;
    int problem = check(file, size);
    if (!problem) problem = make(file, opened);
    if (problem) munmap((void *)file, size);
    return problem;
}

int encoder_labels(const encoder *one) { return one->file->labels; }

/* ---- which of the compiled levels this CPU can run ---- */

#if defined(__AMX_INT8__)
enum { ASK_PERMISSION = 0x1023, TILE_DATA = 18, TILE_INT8 = 3 << 24 };

/* The kernel switches a process's tiles on when it is asked (arch_prctl, ARCH_REQ_XCOMP_PERM). */
int encoder_supported(void) {
    unsigned a, b, c, d = 0;
    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    return (d & TILE_INT8) == TILE_INT8 && __builtin_cpu_supports("avx512vnni") &&
           syscall(SYS_arch_prctl, ASK_PERMISSION, TILE_DATA) == 0;
}
#elif defined(__AVX512VNNI__)
int encoder_supported(void) { return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw"); }
#elif defined(__AVX2__)
int encoder_supported(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
int encoder_supported(void) { return 1; }
#endif
