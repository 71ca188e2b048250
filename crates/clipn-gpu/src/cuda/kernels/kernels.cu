// Kernels of the towers, compiled by NVRTC at run time without any header. PRECISION is 0 for f32, 1 for f16
// and 2 for bf16; HEAD is the width of an attention head.

typedef unsigned int u32;
typedef unsigned long long u64;

#if PRECISION == 0
typedef float Compute;
__device__ __forceinline__ float load(const Compute *p, u64 i) { return p[i]; }
__device__ __forceinline__ void store(Compute *p, u64 i, float v) { p[i] = v; }
#else
typedef unsigned short Compute;
#if PRECISION == 1
__device__ __forceinline__ float load(const Compute *p, u64 i) {
    float v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(p[i]));
    return v;
}
__device__ __forceinline__ void store(Compute *p, u64 i, float v) {
    Compute h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(v));
    p[i] = h;
}
#else
__device__ __forceinline__ float load(const Compute *p, u64 i) { return __uint_as_float((u32)p[i] << 16); }
__device__ __forceinline__ void store(Compute *p, u64 i, float v) {
    Compute h;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(v));
    p[i] = h;
}
#endif
__device__ __forceinline__ float load(const float *p, u64 i) { return p[i]; }
__device__ __forceinline__ void store(float *p, u64 i, float v) { p[i] = v; }
#endif

#define KERNEL extern "C" __global__ void
// Index of an element, or the end of the kernel.
#define ELEMENT(len)                                        \
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;     \
    if (i >= (len)) return;

// 1 is GELU, 2 is QuickGELU, anything else is none.
__device__ __forceinline__ float activate(float x, u32 activation) {
    if (activation == 1) return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    if (activation == 2) return x / (1.0f + expf(-1.702f * x));
    return x;
}

__device__ __forceinline__ float slope(float x, u32 activation) {
    if (activation == 1) {
        return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * expf(-0.5f * x * x) * 0.39894228f;
    }
    if (activation == 2) {
        float sigmoid = 1.0f / (1.0f + expf(-1.702f * x));
        return sigmoid + 1.702f * x * sigmoid * (1.0f - sigmoid);
    }
    return 1.0f;
}

// Sum over a block of 128 threads, in a fixed order; all threads call it.
__device__ float total(float value) {
    __shared__ float sums[128];
    __syncthreads();
    sums[threadIdx.x] = value;
    __syncthreads();
    for (u32 distance = 64; distance > 0; distance >>= 1) {
        if (threadIdx.x < distance) sums[threadIdx.x] += sums[threadIdx.x + distance];
        __syncthreads();
    }
    return sums[0];
}

// Mean and inverse standard deviation of a row; all threads of the block call it.
__device__ float2 moments(const float *row, u32 width) {
    float sum = 0.0f;
    for (u32 c = threadIdx.x; c < width; c += 128) sum += row[c];
    float mean = total(sum) / width;
    float squares = 0.0f;
    for (u32 c = threadIdx.x; c < width; c += 128) squares += (row[c] - mean) * (row[c] - mean);
    float variance = total(squares) / width;
    return make_float2(mean, 1.0f / sqrtf(variance + 1e-5f));
}

// Layer norm with gain and bias: a block for each row.
template <typename Out>
__device__ void layer_norm(const float *x, const u32 *rows, const float *gain, const float *bias, Out *out, u32 width) {
    u64 row = blockIdx.x;
    const float *source = x + (rows ? rows[row] : row) * (u64)width;
    float2 m = moments(source, width);
    for (u32 c = threadIdx.x; c < width; c += 128) {
        store(out, row * width + c, (source[c] - m.x) * m.y * gain[c] + bias[c]);
    }
}
KERNEL layer_norm_compute(const float *x, const u32 *rows, const float *gain, const float *bias, Compute *out, u32 width) {
    layer_norm(x, rows, gain, bias, out, width);
}
KERNEL layer_norm_full(const float *x, const u32 *rows, const float *gain, const float *bias, float *out, u32 width) {
    layer_norm(x, rows, gain, bias, out, width);
}

KERNEL layer_norm_statistics(const float *x, const u32 *rows, float *out, u32 width) {
    u64 row = blockIdx.x;
    float2 m = moments(x + (rows ? rows[row] : row) * (u64)width, width);
    if (threadIdx.x == 0) {
        out[2 * row] = m.x;
        out[2 * row + 1] = m.y;
    }
}

// Adds (e - mean(e) - n * mean(e * n)) / sigma, with n the normalized row and e = d * gain.
KERNEL layer_norm_backward(const float *x, const u32 *rows, const float *statistics, const float *gain, const float *d_out, float *d_x, u32 width) {
    u64 row = blockIdx.x;
    u64 first = (rows ? rows[row] : row) * (u64)width;
    float mean = statistics[2 * row], scale = statistics[2 * row + 1];
    const float *d = d_out + row * width;
    float sum = 0.0f, products = 0.0f;
    for (u32 c = threadIdx.x; c < width; c += 128) {
        float e = d[c] * gain[c];
        sum += e;
        products += e * (x[first + c] - mean) * scale;
    }
    float mean_e = total(sum) / width;
    float mean_en = total(products) / width;
    for (u32 c = threadIdx.x; c < width; c += 128) {
        float n = (x[first + c] - mean) * scale;
        d_x[first + c] += (d[c] * gain[c] - mean_e - n * mean_en) * scale;
    }
}

// Partial sums over 128 rows of d * normalized row.
KERNEL gain_gradient(const float *x, const u32 *rows, const float *statistics, const float *d_out, float *partials, u32 count, u32 width) {
    u32 column = blockIdx.x * 64 + threadIdx.x;
    if (column >= width) return;
    u64 start = (u64)blockIdx.y * 128, end = min(start + 128, (u64)count);
    float sum = 0.0f;
    for (u64 row = start; row < end; row++) {
        u64 source = rows ? rows[row] : row;
        float normed = (x[source * width + column] - statistics[2 * row]) * statistics[2 * row + 1];
        sum += d_out[row * width + column] * normed;
    }
    partials[(u64)blockIdx.y * width + column] = sum;
}

// Partial sums over 128 rows.
template <typename In>
__device__ void column_sums(const In *x, float *partials, u32 count, u32 width, u64 stride, u64 offset) {
    u32 column = blockIdx.x * 64 + threadIdx.x;
    if (column >= width) return;
    u64 start = (u64)blockIdx.y * 128, end = min(start + 128, (u64)count);
    float sum = 0.0f;
    for (u64 row = start; row < end; row++) sum += load(x, offset + row * stride + column);
    partials[(u64)blockIdx.y * width + column] = sum;
}
KERNEL column_sums_compute(const Compute *x, float *partials, u32 count, u32 width, u64 stride, u64 offset) {
    column_sums(x, partials, count, width, stride, offset);
}
KERNEL column_sums_full(const float *x, float *partials, u32 count, u32 width, u64 stride, u64 offset) {
    column_sums(x, partials, count, width, stride, offset);
}

// Sums of partial sums, in order.
KERNEL finish_sums(const float *partials, float *out, u32 count, u32 width, float scale, u32 accumulates) {
    u32 column = blockIdx.x * 64 + threadIdx.x;
    if (column >= width) return;
    float sum = 0.0f;
    for (u32 row = 0; row < count; row++) sum += partials[(u64)row * width + column];
    sum *= scale;
    out[column] = accumulates ? out[column] + sum : sum;
}

KERNEL activate_elements(const Compute *x, Compute *out, u64 len, u32 activation) {
    ELEMENT(len)
    store(out, i, activate(load(x, i), activation));
}

KERNEL activate_backward(const Compute *x, Compute *d, u64 len, u32 activation) {
    ELEMENT(len)
    store(d, i, load(d, i) * slope(load(x, i), activation));
}

KERNEL convert(const float *x, Compute *out, u64 len) {
    ELEMENT(len)
    store(out, i, x[i]);
}

// Sum of the squares of each 4096 elements.
KERNEL sums_of_squares(const float *x, float *out, u64 len) {
    u64 start = (u64)blockIdx.x * 4096, end = min(start + 4096, len);
    float sum = 0.0f;
    for (u64 i = start + threadIdx.x; i < end; i += 128) sum += x[i] * x[i];
    float squares = total(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = squares;
}

KERNEL patchify(const float *pixels, Compute *out, u64 len, u32 height, u32 width, u32 patch) {
    ELEMENT(len)
    u32 area = patch * patch, columns = width / patch, patches = columns * (height / patch);
    u32 inner = i % (3 * area);
    u64 row = i / (3 * area);
    u32 at = row % patches;
    u32 y = at / columns * patch + inner % area / patch;
    u32 x = at % columns * patch + inner % patch;
    u64 channel = row / patches * 3 + inner / area;
    store(out, i, pixels[(channel * height + y) * width + x]);
}

KERNEL add_class_token(const float *patches, const float *class_token, const float *positions, float *out, u64 len, u32 length, u32 width) {
    ELEMENT(len)
    u32 column = i % width;
    u64 row = i / width;
    u64 image = row / (1 + length);
    u32 at = row % (1 + length);
    float value = at == 0 ? class_token[column] : patches[(image * length + at - 1) * width + column];
    out[i] = value + positions[at * width + column];
}

KERNEL drop_class_token(const float *x, Compute *out, u64 len, u32 length, u32 width) {
    ELEMENT(len)
    u64 row = i / width;
    store(out, i, x[(row + row / length + 1) * width + i % width]);
}

KERNEL embed_tokens(const float *table, const u32 *ids, const float *positions, const float *prompts, const float *mean, float *out, u64 len, u32 first, u32 rows, u32 texts, u32 length, u32 context, u32 width) {
    ELEMENT(len)
    u32 column = i % width;
    u64 row = i / width;
    u32 id = ids[row];
    if (id < first || id - first >= rows) return;
    u32 at = row % length * width + column;
    u32 prompt = ids[(u64)texts * length + row / length];
    float added = 0.0f;
    if (prompt == 0xffffffffu) {
        if (mean) added = mean[at];
    } else if (prompt != 0xfffffffeu && prompts) {
        added = prompts[(u64)prompt * context * width + at];
    }
    out[i] = table[(u64)(id - first) * width + column] + (positions[at] + added);
}

KERNEL scatter_rows(const float *x, const u32 *lists, float *out, u32 count, u32 width, u32 stride, u32 first, u32 rows, float scale) {
    u32 list = blockIdx.y + blockIdx.z * gridDim.y;
    u32 targets = lists[0];
    u32 column = blockIdx.x * 64 + threadIdx.x;
    if (list >= targets || column >= width) return;
    u32 destination = lists[2 + targets + list];
    if (destination < first || destination - first >= rows) return;
    u64 to = (u64)(destination - first) * stride + column;
    float sum = out[to];
    for (u32 at = lists[1 + list]; at < lists[2 + list]; at++) {
        u32 entry = lists[2 + 2 * targets + at];
        u32 row = entry & 0x7fffffffu;
        if (row < count) {
            float value = x[(u64)row * width + column];
            sum += entry & 0x80000000u ? value * scale : value;
        }
    }
    out[to] = sum;
}

KERNEL adamw(const float *gradient, const float *constants, float *parameter, float *first_moment, float *second_moment, u64 len, u32 decays) {
    ELEMENT(len)
    float g = gradient[i] * constants[7];
    float first = first_moment[i] + constants[1] * (g - first_moment[i]);
    float second = second_moment[i] * constants[2] + constants[3] * g * g;
    float root = sqrtf(second) / constants[4] + constants[5];
    first_moment[i] = first;
    second_moment[i] = second;
    parameter[i] = parameter[i] * (decays ? constants[0] : 1.0f) + constants[6] * first / root;
}

#ifdef HEAD
// Attention. A block has 64 threads for the queries, or keys, of a sequence and a head, and goes over tiles of
// 32 others in shared memory. The matrix of all pairs is never stored.
#define TILE 32
struct Place {
    u64 row, statistics, end;
    u32 head, width, position, active;
};
__device__ Place place(u32 length, u32 heads) {
    Place p;
    u64 pair = blockIdx.y + (u64)blockIdx.z * gridDim.y;
    p.head = pair % heads;
    p.row = pair / heads * length;
    p.width = heads * HEAD;
    p.position = blockIdx.x * 64 + threadIdx.x;
    p.active = p.position < length;
    p.statistics = 2 * (pair * length + p.position);
    p.end = pair * length * 2;
    return p;
}

// Loads rows of one third of queries, keys and values, or of a matrix with one third.
__device__ void load_tile(float *tile, const Compute *from, Place p, u32 start, u32 length, u32 thirds, u32 third) {
    for (u32 e = threadIdx.x; e < TILE * HEAD; e += 64) {
        u32 row = start + e / HEAD;
        tile[e] = row < length ? load(from, ((p.row + row) * thirds + third) * p.width + p.head * HEAD + e % HEAD) : 0.0f;
    }
}
__device__ void load_row(float *row, const Compute *from, Place p, u32 thirds, u32 third) {
#pragma unroll
    for (u32 c = 0; c < HEAD; c++) {
        row[c] = p.active ? load(from, ((p.row + p.position) * thirds + third) * p.width + p.head * HEAD + c) : 0.0f;
    }
}
__device__ __forceinline__ float dot(const float *a, const float *b) {
    float sum = 0.0f;
#pragma unroll
    for (u32 c = 0; c < HEAD; c++) sum += a[c] * b[c];
    return sum;
}
__device__ __forceinline__ void add_scaled(float *sum, const float *v, float f) {
#pragma unroll
    for (u32 c = 0; c < HEAD; c++) sum[c] += f * v[c];
}

KERNEL attention(const Compute *qkv, Compute *out, u32 sequences, u32 length, u32 heads, u32 causal, float scale) {
    __shared__ float keys[TILE * HEAD], values[TILE * HEAD];
    if (blockIdx.y + (u64)blockIdx.z * gridDim.y >= (u64)sequences * heads) return;
    Place p = place(length, heads);
    float query[HEAD], sums[HEAD];
    load_row(query, qkv, p, 3, 0);
    for (u32 c = 0; c < HEAD; c++) sums[c] = 0.0f;
    float largest = -3.0e38f, probabilities = 0.0f;
    u32 end = causal ? min(length, blockIdx.x * 64 + 64) : length;
    for (u32 start = 0; start < end; start += TILE) {
        __syncthreads();
        load_tile(keys, qkv, p, start, length, 3, 1);
        load_tile(values, qkv, p, start, length, 3, 2);
        __syncthreads();
        for (u32 k = 0; k < TILE; k++) {
            u32 other = start + k;
            if (other >= length || (causal && other > p.position)) continue;
            float logit = dot(query, keys + k * HEAD) * scale;
            if (logit > largest) {
                float correction = expf(largest - logit);
                probabilities *= correction;
                for (u32 c = 0; c < HEAD; c++) sums[c] *= correction;
                largest = logit;
            }
            float probability = expf(logit - largest);
            probabilities += probability;
            add_scaled(sums, values + k * HEAD, probability);
        }
    }
    if (!p.active) return;
    for (u32 c = 0; c < HEAD; c++) {
        store(out, (p.row + p.position) * p.width + p.head * HEAD + c, sums[c] / probabilities);
    }
}

KERNEL attention_statistics(const Compute *qkv, const Compute *attended, const Compute *d_out, float *out, u32 sequences, u32 length, u32 heads, u32 causal, float scale) {
    __shared__ float keys[TILE * HEAD];
    if (blockIdx.y + (u64)blockIdx.z * gridDim.y >= (u64)sequences * heads) return;
    Place p = place(length, heads);
    float query[HEAD];
    load_row(query, qkv, p, 3, 0);
    float largest = -3.0e38f, sum = 0.0f;
    u32 end = causal ? min(length, blockIdx.x * 64 + 64) : length;
    for (u32 start = 0; start < end; start += TILE) {
        __syncthreads();
        load_tile(keys, qkv, p, start, length, 3, 1);
        __syncthreads();
        for (u32 k = 0; k < TILE; k++) {
            u32 other = start + k;
            if (other >= length || (causal && other > p.position)) continue;
            float logit = dot(query, keys + k * HEAD) * scale;
            if (logit > largest) {
                sum *= expf(largest - logit);
                largest = logit;
            }
            sum += expf(logit - largest);
        }
    }
    if (!p.active) return;
    float product = 0.0f;
    for (u32 c = 0; c < HEAD; c++) {
        u64 at = (p.row + p.position) * p.width + p.head * HEAD + c;
        product += load(attended, at) * load(d_out, at);
    }
    out[p.statistics] = largest + logf(sum);
    out[p.statistics + 1] = product;
}

KERNEL attention_d_queries(const Compute *qkv, const Compute *d_out, const float *statistics, Compute *d_qkv, u32 sequences, u32 length, u32 heads, u32 causal, float scale) {
    __shared__ float keys[TILE * HEAD], values[TILE * HEAD];
    if (blockIdx.y + (u64)blockIdx.z * gridDim.y >= (u64)sequences * heads) return;
    Place p = place(length, heads);
    float query[HEAD], d[HEAD], sums[HEAD];
    load_row(query, qkv, p, 3, 0);
    load_row(d, d_out, p, 1, 0);
    for (u32 c = 0; c < HEAD; c++) sums[c] = 0.0f;
    float log_sum = p.active ? statistics[p.statistics] : 0.0f;
    float mean = p.active ? statistics[p.statistics + 1] : 0.0f;
    u32 end = causal ? min(length, blockIdx.x * 64 + 64) : length;
    for (u32 start = 0; start < end; start += TILE) {
        __syncthreads();
        load_tile(keys, qkv, p, start, length, 3, 1);
        load_tile(values, qkv, p, start, length, 3, 2);
        __syncthreads();
        for (u32 k = 0; k < TILE; k++) {
            u32 other = start + k;
            if (other >= length || (causal && other > p.position)) continue;
            float logit = dot(query, keys + k * HEAD);
            float e = dot(d, values + k * HEAD);
            add_scaled(sums, keys + k * HEAD, scale * expf(logit * scale - log_sum) * (e - mean));
        }
    }
    if (!p.active) return;
    for (u32 c = 0; c < HEAD; c++) {
        store(d_qkv, (p.row + p.position) * 3 * p.width + p.head * HEAD + c, sums[c]);
    }
}

KERNEL attention_d_keys(const Compute *qkv, const Compute *d_out, const float *statistics, Compute *d_qkv, u32 sequences, u32 length, u32 heads, u32 causal, float scale) {
    __shared__ float queries[TILE * HEAD], gradients[TILE * HEAD];
    if (blockIdx.y + (u64)blockIdx.z * gridDim.y >= (u64)sequences * heads) return;
    Place p = place(length, heads);
    float key[HEAD], value[HEAD], d_key[HEAD], d_value[HEAD];
    load_row(key, qkv, p, 3, 1);
    load_row(value, qkv, p, 3, 2);
    for (u32 c = 0; c < HEAD; c++) d_key[c] = d_value[c] = 0.0f;
    // Earlier queries do not see these keys.
    for (u32 start = causal ? blockIdx.x * 64 : 0; start < length; start += TILE) {
        __syncthreads();
        load_tile(queries, qkv, p, start, length, 3, 0);
        load_tile(gradients, d_out, p, start, length, 1, 0);
        __syncthreads();
        for (u32 q = 0; q < TILE; q++) {
            u32 other = start + q;
            if (other >= length || (causal && other < p.position)) continue;
            const float *statistic = statistics + p.end + 2 * (u64)other;
            float probability = expf(dot(key, queries + q * HEAD) * scale - statistic[0]);
            float e = dot(value, gradients + q * HEAD);
            add_scaled(d_value, gradients + q * HEAD, probability);
            add_scaled(d_key, queries + q * HEAD, scale * probability * (e - statistic[1]));
        }
    }
    if (!p.active) return;
    u64 own = (p.row + p.position) * 3 * p.width + p.head * HEAD;
    for (u32 c = 0; c < HEAD; c++) {
        store(d_qkv, own + p.width + c, d_key[c]);
        store(d_qkv, own + 2 * p.width + c, d_value[c]);
    }
}
#endif
